"""Filters that go before a strided operator; all are called as `filter(x) -> y`.

`stride` says whether a filter downsamples itself (then the operator after it must not).
"""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
from flax import nnx

from segalias_jax import ops
from segalias_jax.errors import InputError, check_choice
from segalias_jax.layers.conv import BatchNorm, Conv
from segalias_jax.ops.placement import on_any_mesh
from segalias_jax.typing import Array, Float


class DeAliasingFilter(nnx.Module):
    """Removes what a following stride would fold: `ops.low_pass` as a layer.

    Args:
      cutoff: the operator's Nyquist frequency, in cycles per pixel, in (0, 0.5]; see
        `ops.equivalent_sampling_rate` and `ops.nyquist_frequency`.
      band: "symmetric" or "reference", see `ops.low_pass`.
      method: "auto", "matmul" or "fft", see `ops.low_pass`.
      learnable: makes the cutoff a parameter, which needs the symmetric band and "auto".
      width: of a learnable filter's edge, in bins, see `ops.soft_low_pass`; 0 for the exact band,
        whose cutoff has no gradient.

    Raises:
      InputError: `cutoff` outside (0, 0.5], an unknown name, a negative `width`, or a learnable
        filter with another band or method.

    Example:
      >>> DeAliasingFilter(0.35)(jnp.ones((1, 8, 8, 3))).shape
      (1, 8, 8, 3)
      >>> DeAliasingFilter(0.35, learnable=True).cutoff[...]
      Array(0.35, dtype=float32)

    Reference:
      Chen et al., "When Semantic Segmentation Meets Frequency Aliasing", ICLR 2024.
    """

    stride = 1

    def __init__(
        self,
        cutoff: float,
        *,
        band: str = "symmetric",
        method: str = "auto",
        learnable: bool = False,
        width: float = 2.0,
    ):
        ops.check_band(cutoff, band)
        ops.check_method(method)
        if learnable and (band, method) != ("symmetric", "auto"):
            raise InputError(
                f"a learnable filter has band 'symmetric' and method 'auto', not {band!r} and "
                f"{method!r}; leave them out"
            )
        if width < 0:
            raise InputError(f"width is {width}, but must not be negative")
        self.cutoff = nnx.Param(jnp.asarray(cutoff, jnp.float32)) if learnable else cutoff
        self.band, self.method, self.learnable, self.width = band, method, learnable, width

    def __call__(self, x: Float[Array, "*batch h w c"]) -> Float[Array, "*batch h w c"]:
        """Filters height and width of `x`."""
        if isinstance(self.cutoff, nnx.Param):
            return ops.soft_low_pass(x, self.cutoff[...], width=self.width)
        return ops.low_pass(x, self.cutoff, band=self.band, method=self.method)


class BlurPool(nnx.Module):
    """Binomial blur, `ops.binomial_blur`, as a layer without parameters.

    Args:
      kernel_size: number of taps per axis, 1 to 7.
      stride: pixels from one output to the next; 1 before an operator that strides itself.

    Example:
      >>> BlurPool(3, stride=2)(jnp.ones((1, 8, 8, 3))).shape
      (1, 4, 4, 3)

    Reference:
      Zhang, "Making Convolutional Networks Shift-Invariant Again", ICML 2019.
    """

    def __init__(self, kernel_size: int, *, stride: int = 1):
        self.kernel_size, self.stride = kernel_size, stride

    @property
    def taps(self) -> tuple[float, ...]:
        """Weights along one axis."""
        return ops.binomial_taps(self.kernel_size)

    def __call__(self, x: Float[Array, "*batch h w c"]) -> Float[Array, "*batch h2 w2 c"]:
        """Blurs height and width of `x`."""
        return ops.binomial_blur(x, self.kernel_size, stride=self.stride)


class FrequencyLowCut(nnx.Module):
    """Downsamples by cropping the spectrum, `ops.frequency_low_cut`, without parameters.

    Args:
      stride: pixels of the input per pixel of the output.
      band: "symmetric", or "reference" for the published bounds and gain.

    Raises:
      InputError: `stride` below 1, or an unknown band.

    Example:
      >>> FrequencyLowCut(2)(jnp.ones((1, 8, 9, 3))).shape
      (1, 4, 5, 3)

    Reference:
      Grabinski et al., "FrequencyLowCut Pooling", ECCV 2022.
    """

    def __init__(self, stride: int = 2, *, band: str = "symmetric"):
        if stride < 1:
            raise InputError(f"stride is {stride}, but must be at least 1")
        ops.check_band(0.5 / stride, band)
        self.stride, self.band = stride, band

    def __call__(self, x: Float[Array, "*batch h w c"]) -> Float[Array, "*batch h2 w2 c"]:
        """Downsamples height and width of `x`."""
        return ops.frequency_low_cut(x, self.stride, band=self.band)


class AdaptiveBlur(nnx.Module):
    """Blur with a kernel of its own at every pixel and for every group of channels.

    y[i, j, c] = sum_{a, b} w[i, j, g(c), a, b] x[i + a - p, j + b - p, c],
    w = softmax(norm(conv(x))), borders reflected, p = (kernel_size - 1) // 2

    Args:
      channels: number of channels, preserved.
      kernel_size: odd number of taps per axis.
      groups: groups of neighboring channels that share a kernel.
      stride: pixels from one output to the next; 1 before an operator that strides itself.
      softmax: "group": each kernel sums to 1, so that a constant stays what it is; "all": all
        kernels of a pixel together do, as the published code has it.
      rngs: random streams.

    Raises:
      InputError: an even `kernel_size`, groups that do not divide `channels`, or an unknown name.

    Example:
      >>> AdaptiveBlur(16, groups=4, rngs=nnx.Rngs(0))(jnp.ones((1, 8, 8, 16))).shape
      (1, 8, 8, 16)

    Reference:
      Zou et al., "Delving Deeper into Anti-aliasing in ConvNets", BMVC 2020.
    """

    def __init__(
        self,
        channels: int,
        *,
        kernel_size: int = 3,
        groups: int = 8,
        stride: int = 1,
        softmax: str = "group",
        rngs: nnx.Rngs,
    ):
        if kernel_size % 2 == 0:
            raise InputError(f"kernel_size is {kernel_size}, but must be odd")
        if channels % groups:
            raise InputError(f"groups is {groups}, which does not divide {channels} channels")
        check_choice("softmax", softmax, ("group", "all"))
        self.kernel_size, self.groups, self.softmax = kernel_size, groups, softmax
        self.stride = stride
        weights = groups * kernel_size**2
        self.conv = Conv(channels, weights, kernel_size, padding=0, rngs=rngs)
        self.norm = BatchNorm(weights)

    def __call__(self, x: Float[Array, "*batch h w c"]) -> Float[Array, "*batch h2 w2 c"]:
        """Blurs every pixel with its own kernels."""
        *batch, height, width, channels = x.shape
        k, reach = self.kernel_size, (self.kernel_size - 1) // 2
        if any(side <= reach for side in (height, width)):
            raise InputError(
                f"an adaptive blur of {k} taps needs more than {reach} pixels along each image "
                f"axis, but the input has {height}x{width}"
            )
        if len(batch) != 1:
            y = self(x.reshape(math.prod(batch), height, width, channels))
            return y.reshape(*batch, *y.shape[1:])
        logits = self.norm(_conv_reflected(x, self.conv.kernel[...]))
        return _blur_by_logits(
            x, logits, size=k, groups=self.groups, stride=self.stride, softmax=self.softmax
        )


@on_any_mesh
def _conv_reflected(x: Array, kernel: Array) -> Array:
    """Convolution at stride 1 that keeps the size; beyond borders is the reflected map."""
    return ops.conv2d(_reflected(x, kernel.shape[0] // 2), kernel)


@on_any_mesh
def _blur_by_logits(
    x: Array, logits: Array, *, size: int, groups: int, stride: int, softmax: str
) -> Array:
    """Weighs the neighbors of every pixel, by kernels that a softmax makes of its logits."""
    height, width, channels = x.shape[1:]
    weights = logits[:, ::stride, ::stride]
    if softmax == "group":
        weights = weights.reshape(*weights.shape[:3], groups, size * size)
    weights = jax.nn.softmax(weights).reshape(*weights.shape[:3], groups, size, size)
    padded = _reflected(x, size // 2)
    grouped = padded.reshape(*padded.shape[:3], groups, channels // groups)
    y = jnp.zeros((), x.dtype)
    for i in range(size):
        for j in range(size):
            window = grouped[:, i : i + height : stride, j : j + width : stride]
            y += window * weights[..., i, j, None]
    return y.reshape(*y.shape[:3], channels)


def _reflected(x: Array, reach: int) -> Array:
    return jnp.pad(x, ((0, 0), (reach, reach), (reach, reach), (0, 0)), mode="reflect")
