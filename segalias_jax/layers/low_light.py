"""Layers of "Instance Segmentation in the Dark": what suppresses noise where a network samples."""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
from flax import nnx

from segalias_jax import ops
from segalias_jax.errors import InputError
from segalias_jax.layers.conv import BatchNorm, Conv
from segalias_jax.ops.placement import on_any_mesh
from segalias_jax.typing import Array, Float


class AdaptiveWeightedDownsampling(nnx.Module):
    """Averages 3x3 neighbors by weights that follow the content of the map, and downsamples.

    y[i, j, c] = sum_k softmax_k(w[i, j, g(c), k] a[c]) x[s i + k_1 - 1, s j + k_2 - 1, c],
    w = norm(conv3x3(x)) with stride s,  a = conv1x1(relu(conv1x1(mean(x))))

    Borders of x are reflected in the sum, and zero in the convolution. Known as AWD.

    Args:
      channels: number of channels, preserved.
      groups: groups of neighboring channels whose w are computed from each other alone; None for
        one for each channel.
      stride: pixels from one output to the next; 1 before an operator that strides itself.
      rngs: random streams.

    Raises:
      InputError: groups that do not divide `channels`, or fewer than four channels.

    Example:
      >>> layer = AdaptiveWeightedDownsampling(8, stride=2, rngs=nnx.Rngs(0))
      >>> layer(jnp.ones((1, 11, 13, 8))).shape
      (1, 6, 7, 8)

    Reference:
      Chen et al., "Instance Segmentation in the Dark", IJCV 2023.
    """

    kernel_size = 3

    def __init__(
        self,
        channels: int,
        *,
        groups: int | None = None,
        stride: int = 2,
        rngs: nnx.Rngs,
    ):
        groups = channels if groups is None else groups
        if channels % groups:
            raise InputError(f"groups is {groups}, which does not divide {channels} channels")
        if channels < _SQUEEZE:
            raise InputError(f"channels is {channels}, but must be at least {_SQUEEZE}")
        self.groups, self.stride = groups, stride
        self.conv = Conv(channels, 9 * groups, 3, stride=stride, groups=groups, rngs=rngs)
        self.norm = BatchNorm(9 * groups)
        self.squeeze = Conv(channels, channels // _SQUEEZE, rngs=rngs)
        self.excite = Conv(channels // _SQUEEZE, channels, rngs=rngs)

    def __call__(self, x: Float[Array, "*batch h w c"]) -> Float[Array, "*batch h2 w2 c"]:
        """Downsamples height and width of `x`."""
        *batch, height, width, channels = x.shape
        if min(height, width) < 2:
            raise InputError(
                "adaptive weighted downsampling needs at least 2 pixels along each image axis, "
                f"but the input has {height}x{width}"
            )
        if len(batch) != 1:
            y = self(x.reshape(math.prod(batch), height, width, channels))
            return y.reshape(*batch, *y.shape[1:])
        factor = self.excite(jax.nn.relu(self.squeeze(x.mean((1, 2), keepdims=True))))
        return _weighted_mean(x, self.norm(self.conv(x)), factor, stride=self.stride)


_SQUEEZE = 4


@on_any_mesh
def _weighted_mean(x: Array, logits: Array, factor: Array, *, stride: int) -> Array:
    """Means over 3x3 pixels, by the softmax of logits times a factor of the channel."""
    height, width, channels = x.shape[1:]
    groups = logits.shape[-1] // 9
    shape = (*logits.shape[:3], groups, 1, 9)
    scores = logits.reshape(shape) * factor.reshape(-1, 1, 1, groups, channels // groups, 1)
    weights = jax.nn.softmax(scores).reshape(*logits.shape[:3], channels, 9)
    padded = jnp.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)), mode="reflect")
    y = jnp.zeros((), x.dtype)
    for k in range(9):
        i, j = divmod(k, 3)
        y += weights[..., k] * padded[:, i : i + height : stride, j : j + width : stride]
    return y


class SmoothConvolutionBranch(nnx.Module):
    """Adds a convolution of the smoothed input to that of a 3x3 convolution. Known as SCB.

    y = conv3x3(x) + conv1x1(h * x),  h[c] = softmax(k[c]) over 3x3 taps of each channel

    It stands beside a block's 3x3 convolution, before the norm. As both are linear, training's two
    branches fold into one convolution, see `folded`:
    K[a, b, i, o] = K3[a, b, i, o] + h[a, b, i] K1[i, o].

    Args:
      channels: channels read.
      out_channels: channels written; None for as many.
      stride: of the convolution that it stands beside, in pixels.
      dilation: of that convolution, in pixels.
      rngs: random streams.

    Example:
      >>> SmoothConvolutionBranch(8, stride=2, rngs=nnx.Rngs(0))(jnp.ones((1, 5, 5, 8))).shape
      (1, 3, 3, 8)

    Reference:
      Chen et al., "Instance Segmentation in the Dark", IJCV 2023. Its script for folding takes the
      filter of the output channel, which is another network.
    """

    def __init__(
        self,
        channels: int,
        out_channels: int | None = None,
        *,
        stride: int = 1,
        dilation: int = 1,
        rngs: nnx.Rngs,
    ):
        # The published kernel starts as a binomial one, which passes the softmax like any other.
        taps = jnp.asarray(ops.binomial_taps(3), jnp.float32)
        self.taps = nnx.Param(jnp.tile((taps[:, None] * taps)[..., None], (1, 1, channels)))
        self.conv = Conv(channels, out_channels or channels, rngs=rngs)
        self.stride, self.dilation = stride, dilation

    @property
    def smoothing(self) -> Float[Array, "3 3 c"]:
        """The smoothing kernel of each channel, whose taps sum to 1."""
        taps = self.taps[...]
        return jax.nn.softmax(taps.reshape(9, -1), axis=0).reshape(taps.shape)

    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b h2 w2 o"]:
        """Returns what is added to the output of the convolution that read `x` too."""
        smooth = ops.conv2d(
            x,
            self.smoothing[:, :, None, :],
            stride=self.stride,
            padding=self.dilation,
            dilation=self.dilation,
            groups=x.shape[-1],
        )
        return self.conv(smooth)

    def folded(self, kernel: Float[Array, "3 3 c o"]) -> Float[Array, "3 3 c o"]:
        """Returns the kernel of one convolution that equals both.

        Args:
          kernel: of the convolution that this branch stands beside.
        """
        return kernel + self.smoothing[..., None] * self.conv.kernel[...][0, 0]
