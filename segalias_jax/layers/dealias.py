"""Filters that go ahead of a strided operator; all are called as `filter(x) -> x`."""

from __future__ import annotations

from flax import nnx

from segalias_jax import ops
from segalias_jax.typing import Array, Float


class DeAliasingFilter(nnx.Module):
    """Removes what a following stride would fold: `ops.low_pass` as a layer without parameters.

    Args:
      cutoff: the operator's Nyquist frequency, in cycles per pixel, in (0, 0.5]; see
        `ops.equivalent_sampling_rate` and `ops.nyquist_frequency`.
      band: "symmetric" or "reference", see `ops.low_pass`.
      method: "auto", "matmul" or "fft", see `ops.low_pass`.

    Raises:
      InputError: `cutoff` outside (0, 0.5], or an unknown band.

    Example:
      >>> import jax.numpy as jnp
      >>> DeAliasingFilter(0.35)(jnp.ones((1, 8, 8, 3))).shape
      (1, 8, 8, 3)

    Reference:
      Chen et al., "When Semantic Segmentation Meets Frequency Aliasing", ICLR 2024.
    """

    def __init__(self, cutoff: float, *, band: str = "symmetric", method: str = "auto"):
        ops.check_band(cutoff, band)
        self.cutoff, self.band, self.method = cutoff, band, method

    def __call__(self, x: Float[Array, "*batch h w c"]) -> Float[Array, "*batch h w c"]:
        """Filters height and width of `x`."""
        return ops.low_pass(x, self.cutoff, band=self.band, method=self.method)


class BlurPool(nnx.Module):
    """Binomial blur, `ops.binomial_blur`, as a layer without parameters.

    Args:
      kernel_size: number of taps per axis, 1 to 7.
      stride: pixels from one output to the next; 1 ahead of an operator that strides itself.

    Example:
      >>> import jax.numpy as jnp
      >>> BlurPool(3, stride=2)(jnp.ones((1, 8, 8, 3))).shape
      (1, 4, 4, 3)

    Reference:
      Zhang, "Making Convolutional Networks Shift-Invariant Again", ICML 2019.
    """

    def __init__(self, kernel_size: int, *, stride: int = 1):
        self.kernel_size, self.stride = kernel_size, stride

    def __call__(self, x: Float[Array, "*batch h w c"]) -> Float[Array, "*batch h2 w2 c"]:
        """Blurs height and width of `x`."""
        return ops.binomial_blur(x, self.kernel_size, stride=self.stride)
