"""Convolution and batch normalization with PyTorch's conventions, and their usual sequence.

Initial weights are mmsegmentation's: Kaiming normal by the outputs for convolutions before a norm,
in decoders too, and 0 for the scale of the last norm of a residual block. Batch normalization is
our own, since PyTorch's running variance is the unbiased one and flax's the biased one, and
recorded runs show the difference.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from flax import errors, nnx

from segalias_jax import ops
from segalias_jax.errors import InputError
from segalias_jax.typing import Array, Float

kaiming_normal = jax.nn.initializers.variance_scaling(2.0, "fan_out", "normal")
"""He et al. 2015 for ReLU networks, by the number of outputs, untruncated."""


class Conv(nnx.Module):
    """Two-dimensional convolution with square kernels: `ops.conv2d` and its weights.

    Computes in the type of its input; parameters stay in theirs.

    Args:
      in_channels: channels read.
      out_channels: channels written.
      kernel_size: side length, in pixels.
      stride: step, in pixels.
      padding: zeros on every side, or "same", see `ops.conv2d`; None keeps the size at stride 1, of
        odd kernels.
      dilation: distance of neighboring taps, in pixels.
      groups: number of groups into which channels are split.
      use_bias: whether a bias is added.
      kernel_init: initializer of the kernel.
      rngs: random streams; "params" is drawn from.

    Example:
      >>> Conv(3, 8, 3, stride=2, rngs=nnx.Rngs(0))(jnp.ones((1, 5, 5, 3))).shape
      (1, 3, 3, 8)
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int = 1,
        *,
        stride: int = 1,
        padding: int | str | None = None,
        dilation: int = 1,
        groups: int = 1,
        use_bias: bool = False,
        kernel_init=kaiming_normal,
        rngs: nnx.Rngs,
    ):
        shape = (kernel_size, kernel_size, in_channels // groups, out_channels)
        self.kernel = nnx.Param(kernel_init(rngs.params(), shape, jnp.float32))
        self.bias = nnx.Param(jnp.zeros(out_channels, jnp.float32)) if use_bias else None
        self.stride = stride
        self.padding = dilation * (kernel_size - 1) // 2 if padding is None else padding
        self.dilation, self.groups = dilation, groups

    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b h2 w2 o"]:
        """Applies the convolution."""
        y = ops.conv2d(
            x,
            self.kernel[...],
            stride=self.stride,
            padding=self.padding,
            dilation=self.dilation,
            groups=self.groups,
        )
        return y if self.bias is None else y + self.bias[...].astype(x.dtype)


class BatchNorm(nnx.Module):
    """Batch normalization with PyTorch's running statistics.

    y = scale (x - m) / sqrt(v + epsilon) + bias

    In training m and v are the batch's mean and (biased) variance over everything but channels,
    and running statistics move by `momentum` of the way towards m and the *unbiased* variance; in
    evaluation they are the running ones. Statistics are computed and kept in float32 at least.
    Under `jax.jit` with a sharded batch they are those of the whole batch.

    Set `frozen` and the norm uses its running statistics in training too, and nothing of it
    changes: scale and bias get no gradient.

    Args:
      channels: number of channels.
      scale_init: initial value of `scale`; 0 for the last norm of a residual block.
      epsilon: added to the variance.
      momentum: fraction that running statistics move in a training step.

    Example:
      >>> norm = BatchNorm(4)
      >>> print(f"{norm(jnp.arange(8.0).reshape(2, 1, 1, 4))[1, 0, 0, 0]:.4f}")
      1.0000
    """

    def __init__(
        self,
        channels: int,
        *,
        scale_init: float = 1.0,
        epsilon: float = 1e-5,
        momentum: float = 0.1,
    ):
        # Typed in full: weakly typed arrays would change type, and recompile, after a step.
        self.scale = nnx.Param(jnp.full(channels, scale_init, jnp.float32))
        self.bias = nnx.Param(jnp.zeros(channels, jnp.float32))
        self.mean = nnx.BatchStat(jnp.zeros(channels, jnp.float32))
        self.var = nnx.BatchStat(jnp.ones(channels, jnp.float32))
        self.epsilon, self.momentum = epsilon, momentum
        self.use_running_average = False
        self.frozen = False

    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b h w c"]:
        """Normalises, and in training mode updates the running statistics."""
        mean, var, scale, bias = (
            part[...] for part in (self.mean, self.var, self.scale, self.bias)
        )
        if self.frozen:
            scale, bias = jax.lax.stop_gradient((scale, bias))
        elif not self.use_running_average:
            mean, var = self._batch_statistics(x)
        factor = scale * jax.lax.rsqrt(var + self.epsilon)
        shift = bias - mean * factor
        return (x * factor + shift).astype(x.dtype)

    def _batch_statistics(self, x: Array) -> tuple[Array, Array]:
        wide = x.astype(jnp.promote_types(x.dtype, jnp.float32))
        mean, var = _moments(wide, around=jax.lax.stop_gradient(self.mean[...]))
        count = x.size // x.shape[-1]
        unbiased = var * (count / max(count - 1, 1))
        for stat, new in ((self.mean, mean), (self.var, unbiased)):
            moved = stat[...] + self.momentum * (jax.lax.stop_gradient(new) - stat[...])
            try:
                stat.set_value(moved)  # by an index, flax asks tracers what they answer slowly
            except errors.TraceContextError:
                raise InputError(
                    "a BatchNorm in training mode changes its running statistics, but its model "
                    "was made outside of this transform of jax; call model.eval() first, use the "
                    "transform of flax.nnx, or merge with nnx.merge(graph, state, copy=True)"
                ) from None
        return mean, var


def _moments(x: Array, *, around: Array) -> tuple[Array, Array]:
    """Mean and biased variance of each channel.

    Deviations from the mean wait for the mean: two messages between devices, one behind the other,
    and two more in the gradient. Deviations from anything else need not wait, and what they lose
    to rounding is the square of how many standard deviations that is away from the mean.
    """
    if ops.current_target().one_device:
        mean = x.mean((0, 1, 2))
        return mean, jnp.square(x - mean).mean((0, 1, 2))
    apart = x - around
    offset, square = apart.mean((0, 1, 2)), jnp.square(apart).mean((0, 1, 2))
    return around + offset, jnp.maximum(square - jnp.square(offset), 0)


class ConvNormAct(nnx.Module):
    """Convolution without bias, batch normalization, ReLU.

    Args:
      in_channels: channels read.
      out_channels: channels written.
      kernel_size: side length, in pixels.
      stride: step, in pixels.
      dilation: distance of neighboring taps, in pixels.
      groups: number of groups into which channels are split.
      rngs: random streams.

    Example:
      >>> ConvNormAct(3, 8, 3, rngs=nnx.Rngs(0))(jnp.ones((1, 5, 5, 3))).shape
      (1, 5, 5, 8)
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int = 1,
        *,
        stride: int = 1,
        dilation: int = 1,
        groups: int = 1,
        rngs: nnx.Rngs,
    ):
        self.conv = Conv(
            in_channels,
            out_channels,
            kernel_size,
            stride=stride,
            dilation=dilation,
            groups=groups,
            rngs=rngs,
        )
        self.norm = BatchNorm(out_channels)

    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b h2 w2 o"]:
        """Applies the three in order."""
        return jax.nn.relu(self.norm(self.conv(x)))


class SeparableConvNormAct(nnx.Module):
    """A convolution of each channel by itself, then a 1x1 one; norm and ReLU after both.

    Args:
      in_channels: channels read.
      out_channels: channels written.
      kernel_size: side of the first one, in pixels.
      dilation: distance of neighboring taps, in pixels.
      rngs: random streams.

    Example:
      >>> SeparableConvNormAct(3, 8, dilation=2, rngs=nnx.Rngs(0))(jnp.ones((1, 5, 5, 3))).shape
      (1, 5, 5, 8)

    Reference:
      Chollet, "Xception: Deep Learning with Depthwise Separable Convolutions", CVPR 2017.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int = 3,
        *,
        dilation: int = 1,
        rngs: nnx.Rngs,
    ):
        self.depthwise = ConvNormAct(
            in_channels, in_channels, kernel_size, dilation=dilation, groups=in_channels, rngs=rngs
        )
        self.pointwise = ConvNormAct(in_channels, out_channels, rngs=rngs)

    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b h w o"]:
        """Applies both."""
        return self.pointwise(self.depthwise(x))
