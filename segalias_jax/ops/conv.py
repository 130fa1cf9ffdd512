"""The convolutions all models use, in the form that is fastest for their shape.

Most of the choices are about XLA on a CPU, where grouped convolutions and the weight gradients of
1x1 convolutions are slow. With several devices the axes of pixels stay apart, or sharded rows would
be gathered.
"""

from __future__ import annotations

import functools
import math
from typing import Any

import jax
import jax.numpy as jnp
from jax.custom_derivatives import SymbolicZero

from segalias_jax.ops.placement import any_manual, on_any_mesh
from segalias_jax.ops.resample import image_size, strided
from segalias_jax.ops.symbolic import is_fixed
from segalias_jax.ops.targets import current_target
from segalias_jax.typing import Array, Float

_FEW_OUTPUTS = 4

_PART, _MOST_PARTS = 1 << 20, 8
"""Numbers of a map that XLA on a CPU sums a weight gradient over at its full speed, and a bound."""


@on_any_mesh
def conv2d(
    x: Float[Array, "b h w c"],
    kernel: Float[Array, "k1 k2 d o"],
    *,
    stride: int = 1,
    padding: int | str = 0,
    dilation: int = 1,
    groups: int = 1,
) -> Float[Array, "b h2 w2 o"]:
    """Two-dimensional cross-correlation with zero padding.

    y[i, j, o] = sum_{a, b, c} kernel[a, b, c, o] x[s i + d a - p, s j + d b - p, c]

    Args:
      x: feature map, channels last.
      kernel: weights; `d` is the number of input channels per group. Cast to the type of `x`.
      stride: s, in pixels.
      padding: p zeros on every side, or "same": as few as make `ceil(n / s)` outputs, half of them
        on each side and an odd one at the end, as TensorFlow does.
      dilation: d, in pixels.
      groups: number of groups into which channels are split.

    Returns:
      The feature map, `floor((n + 2 p - d (k - 1) - 1) / s) + 1` along each image axis.

    Example:
      >>> conv2d(jnp.ones((1, 5, 5, 2)), jnp.ones((3, 3, 2, 1)), stride=2, padding=1)[0, 0, 0]
      Array([8.], dtype=float32)
    """
    kernel = kernel.astype(x.dtype)
    height, width, _, outputs = kernel.shape
    if isinstance(padding, str):
        x, padding = _same(x, max(height, width), stride, dilation)
    on_cpu = current_target().platform == "cpu"
    # XLA's GPU compiler aborts on the gradient of a strided slice ahead of a product
    # (openxla/xla#47381); there, and on a TPU, a strided 1x1 convolution is a product anyway.
    if groups == 1 and height == width == 1 and padding == 0 and (stride == 1 or on_cpu):
        # XLA's CPU weight gradient of a 1x1 convolution is up to seven times slower than a
        # matrix product's.
        x = strided(x, (0, 0), image_size(x), stride) if stride > 1 else x
        return mix_channels(x, kernel[0, 0])
    one_each = 1 < groups == x.shape[-1] == outputs
    # Inside of `shard_map` a gradient of one's own would have to be summed over devices.
    if one_each and on_cpu and not any_manual():
        if stride == 1:
            return _depthwise(x, kernel, padding, dilation)
        if dilation == 1:
            return _strided_depthwise(_pad(x, padding, padding), kernel, stride)
    if groups == stride == dilation == 1 and outputs <= _FEW_OUTPUTS:
        return _project_then_shift(x, kernel, padding)
    plain = groups == stride == dilation == 1 and padding < min(height, width)
    if plain and on_cpu and current_target().one_device and is_fixed(*x.shape):
        if x.size >= 2 * _PART:
            return _large(x, kernel, padding)
    return jax.lax.conv_general_dilated(
        x,
        kernel,
        (stride, stride),
        ((padding, padding), (padding, padding)),
        rhs_dilation=(dilation, dilation),
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
        feature_group_count=groups,
    )


@on_any_mesh
def mix_channels(
    x: Float[Array, "b h w c"], matrix: Float[Array, "c o"]
) -> Float[Array, "b h w o"]:
    """Multiplies every pixel's channels by a matrix: a 1x1 convolution.

    y[i, j, o] = sum_c matrix[c, o] x[i, j, c]

    Args:
      x: feature map, channels last.
      matrix: weights, in the type of `x`.

    Returns:
      The feature map.

    Example:
      >>> mix_channels(jnp.ones((1, 1, 2, 3)), jnp.ones((3, 1)))[0, 0, :, 0].tolist()
      [3.0, 3.0]
    """
    if (
        not current_target().one_device
    ):  # merging axes would gather an image whose rows are spread out
        return jnp.einsum("bhwc,co->bhwo", x, matrix)
    # One axis of pixels: the weight gradient then sums over one axis, where XLA on a CPU transposes
    # the cotangent for a sum over three, and multiplies half as fast.
    # Lengths are written out: of an empty batch none follows from the others.
    pixels = x.reshape(math.prod(x.shape[:-1]), x.shape[-1])
    return (pixels @ matrix).reshape(*x.shape[:-1], matrix.shape[-1])


def _project_then_shift(x: Array, kernel: Array, padding: int) -> Array:
    """All taps as one matrix product, then shifted sums over the few outputs."""
    height, width, channels, outputs = kernel.shape
    taps = kernel.transpose(2, 0, 1, 3).reshape(channels, -1)
    y = _pad(mix_channels(x, taps), padding, padding)
    rows, columns = y.shape[1] - height + 1, y.shape[2] - width + 1
    y = y.reshape(*y.shape[:3], height, width, outputs)
    parts = [y[:, a : a + rows, b : b + columns, a, b] for a in range(height) for b in range(width)]
    return sum(parts[1:], parts[0])


@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3))
def _depthwise(x: Array, kernel: Array, padding: int, dilation: int) -> Array:
    """One kernel per channel, as shifted multiply-adds.

    XLA's grouped convolution takes up to sixteen times as long on a CPU, and its gradient as well
    as the one that JAX derives from the shifts: hence the gradient of our own.
    """
    height, width = kernel.shape[:2]
    wide = jnp.promote_types(x.dtype, jnp.float32)
    padded = _pad(x, padding, padding).astype(wide)
    rows = padded.shape[1] - dilation * (height - 1)
    columns = padded.shape[2] - dilation * (width - 1)
    y = jnp.zeros((x.shape[0], rows, columns, x.shape[-1]), wide)
    for a in range(height):
        for b in range(width):
            i, j = a * dilation, b * dilation
            y += padded[:, i : i + rows, j : j + columns] * kernel[a, b, 0].astype(wide)
    return y.astype(x.dtype)


def _depthwise_forward(x: Array, kernel: Array, padding: int, dilation: int):
    return _depthwise(x, kernel, padding, dilation), (x, kernel)


def _depthwise_backward(padding: int, dilation: int, saved: tuple[Array, Array], cotangent: Array):
    x, kernel = saved
    height, width = kernel.shape[:2]
    # The gradient by x is the correlation with the kernel turned round; where the padding was
    # wider than the kernel reaches, the rows beyond are cropped instead.
    reach = [dilation * (side - 1) - padding for side in (height, width)]
    of_x = _depthwise(_pad(cotangent, *reach), kernel[::-1, ::-1], 0, dilation)
    wide = jnp.promote_types(x.dtype, jnp.float32)
    padded, cotangent = _pad(x, padding, padding).astype(wide), cotangent.astype(wide)

    def tap(i: Array) -> Array:
        corner = (0, dilation * (i // width), dilation * (i % width), 0)
        window = jax.lax.dynamic_slice(padded, corner, cotangent.shape)
        return jnp.sum(window * cotangent, (0, 1, 2))

    # A loop: all taps at once would take seconds to compile, and five times as long to run.
    of_kernel = jax.lax.map(tap, jnp.arange(height * width)).reshape(kernel.shape)
    return of_x, of_kernel.astype(kernel.dtype)


_depthwise.defvjp(_depthwise_forward, _depthwise_backward)


@functools.partial(jax.custom_vjp, nondiff_argnums=(2,))
def _strided_depthwise(x: Array, kernel: Array, stride: int) -> Array:
    """One kernel per channel with a stride, without padding; as shifted multiply-adds, too."""
    height, width = kernel.shape[:2]
    wide = jnp.promote_types(x.dtype, jnp.float32)
    rows, columns = ((n - k) // stride for n, k in zip(image_size(x), (height, width), strict=True))
    y = jnp.zeros((), wide)
    for a in range(height):
        for b in range(width):
            stop = (a + rows * stride + 1, b + columns * stride + 1)
            y += strided(x, (a, b), stop, stride).astype(wide) * kernel[a, b, 0].astype(wide)
    return y.astype(x.dtype)


def _on_grids(x: Array, kernel: Array, stride: int) -> Array:
    """The same as a sum over grids of every `stride`-th pixel: each meets the taps that fall on it.

    Without strides of their own, these have a quick gradient.
    """
    height, width = kernel.shape[:2]
    rows, columns = ((n - k) // stride for n, k in zip(image_size(x), (height, width), strict=True))
    parts: list[Array] = []
    for a in range(min(stride, height)):
        for b in range(min(stride, width)):
            taps = kernel[a::stride, b::stride]
            last = (rows + taps.shape[0] - 1, columns + taps.shape[1] - 1)
            stop = (a + last[0] * stride + 1, b + last[1] * stride + 1)
            parts.append(_depthwise(strided(x, (a, b), stop, stride), taps, 0, 1))
    return sum(parts[1:], parts[0])


def _strided_depthwise_forward(x: Array, kernel: Array, stride: int):
    return _strided_depthwise(x, kernel, stride), (x, kernel)


def _strided_depthwise_backward(stride: int, saved: tuple[Array, Array], cotangent: Array):
    wide = [part.astype(jnp.promote_types(part.dtype, jnp.float32)) for part in saved]
    _, pullback = jax.vjp(lambda x, kernel: _on_grids(x, kernel, stride), *wide)
    of_x, of_kernel = pullback(cotangent.astype(wide[0].dtype))
    return of_x.astype(saved[0].dtype), of_kernel.astype(saved[1].dtype)


_strided_depthwise.defvjp(_strided_depthwise_forward, _strided_depthwise_backward)


def _correlate(x: Array, kernel: Array, pads: tuple[tuple[int, int], ...]) -> Array:
    axes = ("NHWC", "HWIO", "NHWC")
    return jax.lax.conv_general_dilated(x, kernel, (1, 1), pads, dimension_numbers=axes)


@functools.partial(jax.custom_jvp, nondiff_argnums=(2,))
def _large(x: Array, kernel: Array, padding: int) -> Array:
    """A stride of 1 over a map that no cache holds.

    XLA's weight gradient takes twice as long for it as for the parts of it, whose concatenation
    the derivative along the kernel is here: its transpose adds up the parts'.
    """
    return _correlate(x, kernel, ((padding, padding),) * 2)


@functools.partial(_large.defjvp, symbolic_zeros=True)
def _large_derivative(padding: int, primals: Any, tangents: Any) -> tuple[Array, Any]:
    (x, kernel), (along_x, along_kernel) = primals, tangents
    y = _large(x, kernel, padding)
    terms = []
    if not isinstance(along_x, SymbolicZero):
        terms.append(_large(along_x, kernel, padding))
    if not isinstance(along_kernel, SymbolicZero):
        terms.append(_in_parts(x, along_kernel, padding))
    return y, sum(terms[1:], terms[0])


def _in_parts(x: Array, kernel: Array, padding: int) -> Array:
    """The same of some images at a time, or of some rows of all."""
    (batch, height), reach = x.shape[:2], kernel.shape[0] - 1
    parts, sides = min(x.size // _PART, _MOST_PARTS), (padding, padding)
    if batch >= parts:
        # A power of two: images are summed over as channels are, in whole vectors.
        images = 1 << (batch // parts).bit_length() - 1
        some = [
            _correlate(x[i : i + images], kernel, (sides,) * 2) for i in range(0, batch, images)
        ]
        return jnp.concatenate(some)
    outputs = height + 2 * padding - reach
    rows, some = -(-outputs // parts), []
    for j in range(0, outputs, rows):
        first, last = j - padding, min(j + rows, outputs) + reach - padding
        pads = (max(-first, 0), max(last - height, 0)), sides
        some.append(_correlate(x[:, max(first, 0) : min(last, height)], kernel, pads))
    return jnp.concatenate(some, 1)


def _same(x: Array, side: int, stride: int, dilation: int) -> tuple[Array, int]:
    """The image with those zeros of "same" that a number for every side does not say."""
    reach = dilation * (side - 1) + 1
    sizes = image_size(x)
    lengths = [(n - 1) // stride * stride + reach for n in sizes]
    if not is_fixed(*sizes):
        # Where zeros begin depends on the remainder of an unknown size: they are cut off again.
        most = (reach - 1) // 2
        x = jnp.pad(x, ((0, 0), (most, reach), (most, reach), (0, 0)))
        starts = [most - (m - n) // 2 for m, n in zip(lengths, sizes, strict=True)]
        for axis, start, length in zip((1, 2), starts, lengths, strict=True):
            x = jax.lax.dynamic_slice_in_dim(x, jnp.asarray(start), length, axis)
        return x, 0
    # A stride beyond the kernel leaves pixels out at the end.
    totals = [max(m - n, 0) for m, n in zip(lengths, sizes, strict=True)]
    (top, bottom), (left, right) = ((t // 2, t - t // 2) for t in totals)
    if top == bottom == left == right:
        return x, top
    return jnp.pad(x, ((0, 0), (top, bottom), (left, right), (0, 0))), 0


def _pad(x: Array, rows: int, columns: int) -> Array:
    """Zeros around an image; negative numbers crop."""
    if rows == columns == 0:
        return x
    pads = ((0, 0, 0), (rows, rows, 0), (columns, columns, 0), (0, 0, 0))
    return jax.lax.pad(x, jnp.zeros((), x.dtype), pads)
