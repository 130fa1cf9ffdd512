"""Resizing and pooling of feature maps, equal to PyTorch's to rounding."""

from __future__ import annotations

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from segalias_jax.errors import InputError
from segalias_jax.ops import symbolic
from segalias_jax.ops.axis import apply_along_axis, check_floating
from segalias_jax.ops.placement import on_any_mesh
from segalias_jax.ops.symbolic import is_fixed
from segalias_jax.ops.targets import current_target
from segalias_jax.typing import Array, Float, Int, Side


def image_size(x: Float[Array, "*batch h w c"]) -> tuple[Side, Side]:
    """Returns height and width of a feature map.

    Args:
      x: feature map, channels last.

    Returns:
      The lengths of its image axes.

    Example:
      >>> image_size(jnp.ones((2, 4, 6, 3)))
      (4, 6)
    """
    return x.shape[-3], x.shape[-2]


@on_any_mesh
def resize_bilinear(
    x: Float[Array, "*batch h w c"], size: tuple[Side, Side], *, align_corners: bool = False
) -> Float[Array, "*batch h2 w2 c"]:
    """Bilinear interpolation to `size`, without anti-aliasing.

    Output pixel i reads position (i + 1/2) n / m - 1/2, clamped to the image; with
    `align_corners`, position i (n - 1) / (m - 1), so that corner pixels keep their values.

    Args:
      x: feature map, channels last.
      size: height and width wanted, in pixels.
      align_corners: which of the two sampling grids.

    Returns:
      The resized map, in the type of `x`.

    Raises:
      InputError: `size` is not positive, or `x` holds integers.

    Example:
      >>> import jax.numpy as jnp
      >>> resize_bilinear(jnp.arange(2.0).reshape(1, 2, 1), (1, 4))[0, :, 0].tolist()
      [0.0, 0.25, 0.75, 1.0]
    """
    if any(side < 1 for side in size):
        raise InputError(f"size is {size}, but must be positive")
    check_floating(x)
    # Rows last: their product leaves the enlarged map in its own order, that of columns does not.
    for axis, length in ((-2, size[1]), (-3, size[0])):
        n = x.shape[axis]
        if length != n:
            make = bilinear_matrix if is_fixed(n, length) else symbolic.bilinear_matrix
            x = apply_along_axis(x, make(n, length, align_corners), axis)
    return x


def bilinear_taps(
    n: int, m: int, *, align_corners: bool = False
) -> tuple[Int[np.ndarray, "2 m"], Float[np.ndarray, "2 m"]]:
    """The two samples that each output of a bilinear interpolation reads, see `resize_bilinear`.

    Args:
      n: number of samples.
      m: number of outputs.
      align_corners: which of the two sampling grids.

    Returns:
      Positions of the two samples, and their weights, which sum to 1.

    Example:
      >>> samples, weights = bilinear_taps(2, 4)
      >>> samples.tolist(), weights[1].tolist()
      ([[0, 0, 0, 1], [1, 1, 1, 1]], [0.0, 0.25, 0.75, 0.25])
    """
    i = np.arange(m)
    if align_corners:
        position = i * ((n - 1) / (m - 1) if m > 1 else 0.0)
    else:
        position = np.maximum((i + 0.5) * n / m - 0.5, 0)
    low = np.minimum(position.astype(np.int64), n - 1)
    share = position - low
    return np.stack([low, np.minimum(low + 1, n - 1)]), np.stack([1 - share, share])


@functools.lru_cache(maxsize=256)
def bilinear_matrix(n: int, m: int, align_corners: bool) -> np.ndarray:
    """Returns the weights of `resize_bilinear` along one axis.

    Args:
      n: pixels of the input.
      m: pixels of the output.
      align_corners: which of the two sampling grids.

    Returns:
      float64 `[m, n]`, at most two weights per row, which sum to 1.

    Example:
      >>> bilinear_matrix(2, 3, False).tolist()
      [[1.0, 0.0], [0.5, 0.5], [0.0, 1.0]]
    """
    samples, weights = bilinear_taps(n, m, align_corners=align_corners)
    matrix = np.zeros((m, n))
    for sample, weight in zip(samples, weights, strict=True):
        matrix[np.arange(m), sample] += weight
    return matrix


@on_any_mesh
def resize_bicubic(
    x: Float[Array, "*batch h w c"], size: tuple[Side, Side]
) -> Float[Array, "*batch h2 w2 c"]:
    """Bicubic interpolation to `size`, without anti-aliasing, as PyTorch's without aligned corners.

    Output pixel i reads four samples around (i + 1/2) n / m - 1/2, by the cubic kernel with
    a = -3/4; beyond the border is the last sample.

    Args:
      x: feature map, channels last.
      size: height and width wanted, in pixels.

    Returns:
      The resized map, in the type of `x`.

    Raises:
      InputError: `size` is not positive, or `x` holds integers.

    Example:
      >>> import jax.numpy as jnp
      >>> resize_bicubic(jnp.arange(2.0).reshape(1, 2, 1), (1, 1))[0, :, 0].tolist()
      [0.5]

    Reference:
      Keys, "Cubic Convolution Interpolation for Digital Image Processing", 1981.
    """
    if any(side < 1 for side in size):
        raise InputError(f"size is {size}, but must be positive")
    check_floating(x)
    for axis, length in ((-2, size[1]), (-3, size[0])):
        n = x.shape[axis]
        if length != n:
            x = apply_along_axis(x, _bicubic_matrix(n, length), axis)
    return x


def _bicubic_matrix(n: Side, m: Side) -> np.ndarray | Array:
    numpy = np if is_fixed(n, m) else jnp
    # Two columns more on each side, for samples beyond the border.
    position = (2 * numpy.arange(m)[:, None] + 1) * n / numpy.asarray(2 * m) - 0.5
    d = abs(position - (numpy.arange(n + 4) - 2))
    near = (1.25 * d - 2.25) * d**2 + 1
    far = -0.75 * (((d - 5) * d + 8) * d - 4)
    weights = numpy.where(d <= 1, near, numpy.where(d < 2, far, 0))
    first = weights[:, :3].sum(1, keepdims=True)
    last = weights[:, n + 1 :].sum(1, keepdims=True)
    if n == 1:
        return numpy.ones_like(first)
    return numpy.concatenate([first, weights[:, 3 : n + 1], last], 1)


@on_any_mesh
def resize_nearest(
    x: Float[Array, "*batch h w c"], size: tuple[Side, Side]
) -> Float[Array, "*batch h2 w2 c"]:
    """Copies pixels to `size`: output pixel i of m is input pixel floor(i n / m).

    Args:
      x: feature map, channels last.
      size: height and width wanted, in pixels.

    Returns:
      The resized map, in the type of `x`.

    Raises:
      InputError: `size` is not positive.

    Example:
      >>> import jax.numpy as jnp
      >>> resize_nearest(jnp.arange(2.0).reshape(1, 2, 1), (1, 3))[0, :, 0].tolist()
      [0.0, 0.0, 1.0]
    """
    if any(side < 1 for side in size):
        raise InputError(f"size is {size}, but must be positive")
    for axis, length in ((-3, size[0]), (-2, size[1])):
        n = x.shape[axis]
        if length != n:
            # A product, not a gather: XLA's scatter, the gradient of a gather, is slow.
            make = _nearest_matrix if is_fixed(n, length) else symbolic.nearest_matrix
            x = apply_along_axis(x, make(n, length), axis)
    return x


def _nearest_matrix(n: int, m: int) -> np.ndarray:
    return np.eye(n)[np.arange(m) * n // m]


@on_any_mesh
def adaptive_avg_pool(
    x: Float[Array, "*batch h w c"], size: tuple[Side, Side]
) -> Float[Array, "*batch h2 w2 c"]:
    """Averages an image over a grid of `size` cells.

    Cell i of m averages pixels floor(i n / m) to ceil((i + 1) n / m) - 1; cells overlap where m
    does not divide n.

    Args:
      x: feature map, channels last.
      size: number of cells along height and width.

    Returns:
      The cell means, in the type of `x`.

    Raises:
      InputError: `size` is not positive, or `x` holds integers.

    Example:
      >>> import jax.numpy as jnp
      >>> adaptive_avg_pool(jnp.arange(4.0).reshape(1, 4, 1), (1, 2))[0, :, 0].tolist()
      [0.5, 2.5]
    """
    if any(side < 1 for side in size):
        raise InputError(f"size is {size}, but must be positive")
    check_floating(x)
    for axis, cells in ((-3, size[0]), (-2, size[1])):
        make = _pooling_matrix if is_fixed(x.shape[axis]) else symbolic.pooling_matrix
        x = apply_along_axis(x, make(x.shape[axis], cells), axis)
    return x


@functools.lru_cache(maxsize=256)
def _pooling_matrix(n: int, m: int) -> np.ndarray:
    i = np.arange(m)
    start, stop = i * n // m, -((i + 1) * n // -m)
    pixel = np.arange(n)
    inside = (pixel >= start[:, None]) & (pixel < stop[:, None])
    return inside / inside.sum(1, keepdims=True)


@on_any_mesh
def max_pool(
    x: Float[Array, "b h w c"], window: int, *, stride: int, padding: int = 0
) -> Float[Array, "b h2 w2 c"]:
    """Maximum over square windows; padding never wins.

    Args:
      x: feature map, channels last.
      window: side length, in pixels.
      stride: step between windows, in pixels.
      padding: pixels added on every side.

    Returns:
      The maxima, `floor((n + 2 padding - window) / stride) + 1` along each image axis.

    Example:
      >>> import jax.numpy as jnp
      >>> max_pool(jnp.arange(4.0).reshape(1, 1, 4, 1), 1, stride=2)[0, 0, :, 0].tolist()
      [0.0, 2.0]
    """
    target = current_target()
    if not target.one_device:
        return _max_of_shifts(x, window, stride, padding)
    if target.platform == "cpu":
        return _max_on_cpu(x, window, stride, padding)
    return _max_of_windows(x, window, stride, padding)


@on_any_mesh
def crop_or_extend(
    x: Float[Array, "b h w c"], size: tuple[Side, Side]
) -> Float[Array, "b h2 w2 c"]:
    """Cuts rows and columns off the end, or repeats the last ones, until the map has a size.

    Args:
      x: feature map, channels last.
      size: height and width wanted, in pixels.

    Returns:
      The map at `size`, in the type of `x`.

    Example:
      >>> crop_or_extend(jnp.arange(2.0).reshape(1, 2, 1, 1), (3, 1)).ravel().tolist()
      [0.0, 1.0, 1.0]
    """
    for axis, length in ((1, size[0]), (2, size[1])):
        n = x.shape[axis]
        if length > n:
            last = jax.lax.slice_in_dim(x, n - 1, n, axis=axis)
            x = jnp.concatenate([x] + [last] * (length - n), axis)
    return x if x.shape[1:3] == tuple(size) else strided(x, (0, 0), size, 1)


@on_any_mesh
def max_pool_2x2(x: Float[Array, "b h w c"], *, stride: int = 2) -> Float[Array, "b h2 w2 c"]:
    """Maximum over windows of 2x2 pixels, which start at every pixel or at every second one.

    Windows that reach over the last row or column are what is left of them.

    Args:
      x: feature map, channels last.
      stride: 2 for windows side by side, 1 for one at each pixel.

    Returns:
      The maxima, `ceil(n / stride)` along each image axis.

    Example:
      >>> x = jnp.array([1.0, 3.0, 2.0]).reshape(1, 1, 3, 1)
      >>> [max_pool_2x2(x, stride=s)[0, 0, :, 0].tolist() for s in (1, 2)]
      [[3.0, 3.0, 2.0], [3.0, 2.0]]
    """
    fixed = is_fixed(*x.shape[1:3])
    # No window reaches a copy after an even side, so that a symbolic side has one in any case.
    height, width = (n + (n % 2 if fixed and stride > 1 else 1) for n in x.shape[1:3])
    x = crop_or_extend(x, (height, width))  # copies of the last row change no maximum
    # XLA's gradient of windows takes five times as long on a CPU.
    return _max_of_shifts(x, 2, stride, 0)


@on_any_mesh
def average_pool_2x2(x: Float[Array, "b h w c"]) -> Float[Array, "b h2 w2 c"]:
    """Averages over windows of 2x2 pixels, side by side.

    On an odd side the last window covers one row (column) alone, and averages that, as PyTorch's
    pooling does with `ceil_mode=True` and `count_include_pad=False`.

    Args:
      x: feature map, channels last.

    Returns:
      The means, `ceil(n / 2)` along each image axis.

    Example:
      >>> average_pool_2x2(jnp.arange(3.0).reshape(1, 1, 3, 1))[0, 0, :, 0].tolist()
      [0.5, 2.0]
    """
    height, width = x.shape[1:3]
    # A copy of the last row leaves the mean of what is there; an even symbolic side ignores it.
    more = [n % 2 if is_fixed(n) else 1 for n in (height, width)]
    for axis in (1, 2):
        if more[axis - 1]:
            n = x.shape[axis]
            last = jax.lax.slice_in_dim(x, n - 1, n, axis=axis)
            x = jnp.concatenate([x, last], axis)
    parts = [
        strided(x, (a, b), (height + a * more[0], width + b * more[1]), 2)
        for a in range(2)
        for b in range(2)
    ]
    return sum(parts[1:], parts[0]) / 4


def strided(
    x: Float[Array, "b h w c"], start: tuple[int, int], stop: tuple[Side, Side], stride: int
) -> Float[Array, "b h2 w2 c"]:
    """Takes every `stride`-th pixel along height and width.

    The same as indexing; but symbolic lengths of the result are written as those of a convolution
    are, (n - 1) // stride + 1, and so known to be equal to them.

    Args:
      x: feature map, channels last.
      start: first row and column.
      stop: row and column after the last.
      stride: step, in pixels.

    Returns:
      The pixels.

    Example:
      >>> strided(jnp.arange(5.0).reshape(1, 1, 5, 1), (0, 1), (1, 5), 2).ravel().tolist()
      [1.0, 3.0]
    """
    first, last = (0, *start, 0), (x.shape[0], *stop, x.shape[3])
    return jax.lax.slice(x, first, last, (1, stride, stride, 1))


def _max_of_windows(x: Array, window: int, stride: int, padding: int) -> Array:
    lowest = np.array(-np.inf, x.dtype)  # concrete, or the maximum has no gradient
    pads = ((0, 0), (padding, padding), (padding, padding), (0, 0))
    shape, strides = (1, window, window, 1), (1, stride, stride, 1)
    return jax.lax.reduce_window(x, lowest, jax.lax.max, shape, strides, pads)


def _max_of_shifts(x: Array, window: int, stride: int, padding: int) -> Array:
    """The same, as the larger of shifted images; the first of equal ones gets the gradient.

    The partitioner (of XLA as of jax 0.10.2) loses gradients of windows that reach over the border
    between two devices where height is sharded. And the gradient of `jnp.max` looks for the
    maximum once more: where the compiler recomputes what was pooled, rounded otherwise (as XLA
    does without optimization), it finds none and divides by their number, 0.
    """
    sides = (0, 0, 0), (padding, padding, 0)
    x = jax.lax.pad(x, np.array(-np.inf, x.dtype), [sides[0], sides[1], sides[1], sides[0]])
    batch, height, width, channels = x.shape
    rows, columns = ((n - window) // stride * stride + 1 for n in (height, width))
    shifts = [
        jax.lax.slice(
            x, (0, i, j, 0), (batch, i + rows, j + columns, channels), (1, stride, stride, 1)
        )
        for i in range(window)
        for j in range(window)
    ]
    # What is no number wins, as in `jnp.max`: it must not vanish.
    return functools.reduce(lambda y, part: jax.lax.select((y >= part) | (y != y), y, part), shifts)


# XLA's gradient of windows takes four to nine times as long on a CPU; its maxima do not.
_max_on_cpu = jax.custom_jvp(_max_of_windows, nondiff_argnums=(1, 2, 3))


@_max_on_cpu.defjvp
def _shifted(window: int, stride: int, padding: int, primals: Any, tangents: Any) -> Any:
    pool = functools.partial(_max_of_shifts, window=window, stride=stride, padding=padding)
    return jax.jvp(pool, primals, tangents)
