"""Filters in the frequency domain, as matrix products or transforms, and the aliasing score.

Frequencies are in cycles per pixel, so 0.5 is the Nyquist limit of the pixel grid itself. Bands
are square: a bin (u, v) is inside when both |u| and |v| are at most the cutoff.

Such a band is separable, so the low pass is one n x n matrix per axis: no FFT in an export, any
float type, and sharded axes other than the filtered one need no communication. The published
lopsided band (`band="reference"`) differs from that by a correction of rank two.
"""

from __future__ import annotations

import contextlib
import contextvars
import math
from collections.abc import Iterator

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from segalias_jax.errors import InputError, check_choice
from segalias_jax.ops.axis import apply_along_axis, check_floating, sharded_like
from segalias_jax.ops.bands import (
    band_bounds,
    band_matrix,
    check_band,
    half_plane_mask,
    low_cut_bounds,
    odd_factors,
    resampling_matrix,
)
from segalias_jax.ops.placement import any_manual, on_any_mesh
from segalias_jax.ops.symbolic import band_operators, is_fixed
from segalias_jax.ops.targets import current_target
from segalias_jax.typing import Array, Float

_METHODS = ("auto", "matmul", "fft")

_products_only = contextvars.ContextVar("products_only", default=False)


@contextlib.contextmanager
def products_only() -> Iterator[None]:
    """Within, "auto" is always "matmul": for programs that must not contain a transform.

    Example:
      >>> with products_only():
      ...     choose_method(jnp.zeros((4096, 4096, 1)), (0, 1), "auto")
      'matmul'
    """
    token = _products_only.set(True)
    try:
        yield
    finally:
        _products_only.reset(token)


@on_any_mesh
def low_pass(
    x: Float[Array, ...],
    cutoff: Float[Array, ""] | float,
    *,
    axes: tuple[int, ...] = (-3, -2),
    band: str = "symmetric",
    method: str = "auto",
) -> Float[Array, ...]:
    """Removes spatial frequencies above `cutoff`.

    y = Re F^-1( M . F(x) ),  M(u, v) = 1 inside the square band |u|, |v| <= cutoff.

    The mask is separable, so the filter is one small real matrix per axis (the Dirichlet kernel
    of the band): y = D_h x D_w^T. Both methods give the same numbers.

    Args:
      x: real signal, of any floating type and any leading axes.
      cutoff: in cycles per pixel, in (0, 0.5].
      axes: one or two axes to filter; height and width of an NHWC array by default.
      band: "symmetric", which is a projection, or "reference", the published lopsided band (of
        which, as published, the real part of the result is kept).
      method: "matmul", "fft" (16-bit floats are transformed in float32), or "auto", the faster
        of the two.

    Returns:
      Array of the shape and type of `x`.

    Raises:
      InputError: `cutoff` traced or outside (0, 0.5], an unknown name, not one or two axes, or
        integers in `x`.

    Example:
      >>> checkerboard = jnp.indices((4, 4)).sum(0)[..., None] % 2 * 2.0
      >>> low_pass(checkerboard, 0.25)[..., 0].tolist()[0]
      [1.0, 1.0, 1.0, 1.0]

    Reference:
      Chen et al., "When Semantic Segmentation Meets Frequency Aliasing", ICLR 2024 (DAF).
    """
    if isinstance(cutoff, Tracer):
        raise InputError(
            "cutoff is traced, but this filter is made before the program runs; give a number, or "
            "take soft_low_pass, whose cutoff may be traced"
        )
    cutoff = float(cutoff)
    axes = _checked_axes(x, axes)
    check_floating(x)
    check_method(method)
    lengths = [x.shape[axis] for axis in axes]
    if not is_fixed(*lengths) and choose_method(x, axes, method) == "matmul":
        return _separable(x, *band_operators(lengths, cutoff, band), axes)
    bounds = tuple(band_bounds(n, cutoff, band=band) for n in lengths)
    if all(stop - start == n for (start, stop), n in zip(bounds, lengths, strict=True)):
        return x
    if choose_method(x, axes, method) == "fft":
        return _low_pass_fft(x, bounds, axes)
    return _low_pass_matmul(x, bounds, axes, fused=method == "auto" and fuses_products(x, axes))


@on_any_mesh
def split_bands(
    x: Float[Array, ...],
    cutoff: Float[Array, ""] | float,
    *,
    axes: tuple[int, ...] = (-3, -2),
    band: str = "symmetric",
    method: str = "auto",
) -> tuple[Float[Array, ...], Float[Array, ...]]:
    """Splits a signal into the part below `cutoff` and the rest.

    low = low_pass(x),  high = x - low

    Args:
      x: real signal.
      cutoff: in cycles per pixel, in (0, 0.5].
      axes: as for `low_pass`.
      band: as for `low_pass`.
      method: as for `low_pass`.

    Returns:
      `(low, high)`, both like `x`.

    Raises:
      InputError: as for `low_pass`.

    Example:
      >>> low, high = split_bands(jnp.ones((4, 4, 1)), 0.25)
      >>> float(abs(high).max())
      0.0

    Reference:
      Chen et al., "When Semantic Segmentation Meets Frequency Aliasing", ICLR 2024 (FreqMix).
    """
    low = low_pass(x, cutoff, axes=axes, band=band, method=method)
    return low, x - low


@on_any_mesh
def soft_low_pass(
    x: Float[Array, ...],
    cutoff: Float[Array, ""] | float,
    *,
    width: float,
    axes: tuple[int, ...] = (-3, -2),
) -> Float[Array, ...]:
    """Low pass with a smooth edge, differentiable in its cutoff.

    y = Re F^-1( M_h M_w . F(x) ),  M(k) = s((f n - |k|) / width + 1/2) on an axis of n samples,
    s(t) = 3 t^2 - 2 t^3 clipped to [0, 1]. The gain is 1/2 at the cutoff f; with width 0 it is
    the exact symmetric band of `low_pass`. An edge narrower than a bin can lie between two bins,
    where the cutoff has no gradient.

    Args:
      x: real signal, of any floating type and any leading axes.
      cutoff: f, in cycles per pixel; may be traced. Beyond (0, 0.5] the mask saturates.
      width: of the edge, in bins.
      axes: axes to filter.

    Returns:
      Array of the shape and type of `x`.

    Raises:
      InputError: `x` holds integers.

    Example:
      >>> slope = jax.grad(lambda f: soft_low_pass(jnp.eye(8)[..., None], f, width=2.0)[0, 0, 0])
      >>> bool(slope(0.3) > 0)
      True
    """
    check_floating(x)
    for axis in reversed(axes):
        n = x.shape[axis]
        bins = np.abs(np.fft.fftfreq(n, 1 / n))
        distance = cutoff * n - bins
        if width == 0:
            mask = (distance >= -1e-6 * n).astype(jnp.float32)
        else:
            t = jnp.clip(distance / width + 0.5, 0, 1)
            mask = t * t * (3 - 2 * t)
        t = np.arange(n)
        table = jnp.asarray(np.cos(2 * np.pi * np.outer(t, t) / n) / n, mask.dtype)
        kernel = jnp.matmul(table, mask, precision=jax.lax.Precision.HIGHEST)
        x = sharded_like(x, apply_along_axis(x, kernel[(t[:, None] - t) % n], axis), axis)
    return x


@on_any_mesh
def frequency_low_cut(
    x: Float[Array, ...],
    stride: int = 2,
    *,
    axes: tuple[int, ...] = (-3, -2),
    band: str = "symmetric",
) -> Float[Array, ...]:
    """Downsamples by cutting the low frequencies out of the spectrum: nothing can alias.

    y = Re F_m^-1( crop( F_n(x) ) )

    "symmetric": m = ceil(n / stride) samples, the bins |k| < m / 2 that they can distinguish, and a
    constant stays what it is. "reference": the published bounds, int(n/4) to int(3n/4) of the
    shifted spectrum at stride 2 (`bands.low_cut_bounds`), as many samples as bins, and the
    published gain n / m along each axis, 4 for halved images. Every bin keeps its frequency, where
    the published inverse transform would move all by one bin at lengths of 4 j + 2.

    Args:
      x: real signal, of any floating type and any leading axes.
      stride: pixels of `x` per pixel of the result.
      axes: one or two axes to downsample.
      band: "symmetric" or "reference".

    Returns:
      Array like `x`, shorter along `axes`.

    Raises:
      InputError: `stride` below 1, an unknown band, not one or two axes, integers in `x`, or no
        bin at all: one pixel, "reference".

    Example:
      >>> frequency_low_cut(jnp.ones((9, 8, 1)))[..., 0].shape
      (5, 4)

    Reference:
      Grabinski et al., "FrequencyLowCut Pooling", ECCV 2022.
    """
    if stride < 1:
        raise InputError(f"stride is {stride}, but must be at least 1")
    axes = _checked_axes(x, axes)
    check_floating(x)
    check_band(0.5 / stride, band)
    matrices, odd = [], []
    for axis in axes:
        n = x.shape[axis]
        if not is_fixed(n):
            raise InputError("frequency_low_cut needs a fixed size; export with --size H,W")
        start, stop = low_cut_bounds(n, stride, band=band)
        m, gain = -(-n // stride), 1.0
        if band == "reference":
            m = stop - start
            gain = n / m
        matrices.append(gain * resampling_matrix(n, m, start, stop))
        left, right = odd_factors(n, start, stop, m)
        odd.append((gain * left, right))
    return _separable(x, matrices, odd, axes)


@on_any_mesh
def aliasing_score(
    x: Float[Array, ...],
    cutoff: Float[Array, ""] | float,
    *,
    axes: tuple[int, int] = (-3, -2),
    reduce: str = "pooled",
) -> Float[Array, "*batch"]:
    """Share of a signal's power that lies above `cutoff`, in per cent.

    score = 100 * sum_{(u, v) outside} |X(u, v)|^2 / sum_{(u, v)} |X(u, v)|^2

    "Outside" is everything but the square |u|, |v| <= cutoff, what a stride with that Nyquist
    frequency folds. The zero frequency counts in the total; an all-zero signal scores 0. By
    Parseval's theorem both sums are taken over pixels, in float32 at least.

    Args:
      x: feature map, channels last.
      cutoff: the operator's Nyquist frequency, in cycles per pixel, in (0, 0.5].
      axes: the two image axes.
      reduce: "pooled" sums power over channels before dividing; "channel_mean" divides per
        channel and averages.

    Returns:
      One score per sample: the shape of `x` without `axes` and channels.

    Raises:
      InputError: `cutoff` outside (0, 0.5], or an unknown `reduce`.

    Example:
      >>> checkerboard = jnp.indices((4, 4)).sum(0)[..., None] % 2 * 2.0 - 1
      >>> float(aliasing_score(checkerboard, 0.25))
      100.0

    Reference:
      Chen et al., "When Semantic Segmentation Meets Frequency Aliasing", ICLR 2024.
    """
    check_choice("reduce", reduce, ("pooled", "channel_mean"))
    _, high = split_bands(x, cutoff, axes=axes)
    sum_axes = tuple(axis % x.ndim for axis in axes)
    sum_axes += (x.ndim - 1,) if reduce == "pooled" else ()
    above, total = _power(high, sum_axes), _power(x, sum_axes)
    score = 100 * above / jnp.where(total > 0, total, 1)
    return score if reduce == "pooled" else score.mean(-1)


def _power(x: Array, axes: tuple[int, ...]) -> Array:
    accumulator = jnp.promote_types(x.dtype, jnp.float32)
    return jnp.sum(jnp.square(x.astype(accumulator)), axes)


def check_method(method: str) -> None:
    """Raises `InputError` unless a method of this name exists.

    Example:
      >>> check_method("fft")
    """
    check_choice("method", method, _METHODS)


def choose_method(x: Array, axes: tuple[int, ...], method: str) -> str:
    """Resolves "auto" to "matmul" or "fft" for an array, by its type, size and device.

    Args:
      x: the array to filter.
      axes: the axes to filter.
      method: "auto", "matmul" or "fft".

    Returns:
      "matmul" or "fft".

    Raises:
      InputError: an unknown name.

    Example:
      >>> choose_method(jnp.zeros((64, 64, 8)), (0, 1), "auto")
      'matmul'
    """
    check_method(method)
    if method != "auto":
        return method
    # A 16-bit transform does not exist, and that of a sharded array gathers all of it.
    compiled_for = current_target()
    if _products_only.get() or x.dtype.itemsize < 4 or not compiled_for.one_device:
        return "matmul"
    lengths = [x.shape[axis] for axis in axes]
    if not is_fixed(*lengths):
        return "matmul"
    most = _MATMUL_UP_TO.get(compiled_for.platform, 512)
    return "matmul" if sum(lengths) <= most else "fft"


_MATMUL_UP_TO = {"cpu": 400, "cuda": 512, "rocm": 512, "tpu": math.inf}
"""Sum of the axes' lengths up to which the product form is the faster one, by platform.

Its operations per pixel are twice that sum, those of the FFT hardly grow. Measured by
`benchmarks/ops.py` on a CPU; for GPUs it was counted, not measured. The compiler of TPUs
estimates ten times the cycles for the FFT of a map of 256x512 pixels.
"""


def fuses_products(x: Array, axes: tuple[int, ...]) -> bool:
    """Whether "auto" multiplies both axes of a map at once, in a kernel of `fused_products`.

    Args:
      x: the map.
      axes: the axes to filter, not negative.

    Example:
      >>> fuses_products(jnp.zeros((1, 32, 32, 128)), (1, 2))
      False
    """
    # Inside of `shard_map` no linear solve would say what the transpose of a kernel is.
    if current_target().platform != "tpu" or _products_only.get() or any_manual():
        return False
    from segalias_jax.ops.fused_products import fuses  # imports what only a TPU needs

    return fuses(x, axes)


def _checked_axes(x: Array, axes: tuple[int, ...]) -> tuple[int, ...]:
    if len(axes) not in (1, 2):
        raise InputError(f"axes is {axes}, but a low pass takes one or two axes")
    return tuple(axis % x.ndim for axis in axes)


def _low_pass_matmul(
    x: Array, bounds: tuple[tuple[int, int], ...], axes: tuple[int, ...], *, fused: bool
) -> Array:
    lengths = [x.shape[axis] for axis in axes]
    matrices = [band_matrix(n, *bound) for n, bound in zip(lengths, bounds, strict=True)]
    odd = [odd_factors(n, *bound) for n, bound in zip(lengths, bounds, strict=True)]

    def apply(_, x: Array) -> Array:
        return _separable(x, matrices, odd, axes, fused=fused)

    if any_manual():  # as of jax 0.10 a linear solve has no lowering inside of `shard_map`
        return apply(None, x)
    # The filter is its own transpose, which differentiation of the products would not find out:
    # their transposed form is half as fast on a CPU. A linear solve is the one operation of jax
    # that takes a transpose from its caller and still works under jvp and vmap; nothing is solved.
    return jax.lax.custom_linear_solve(lambda y: y, x, apply, symmetric=True)


def _separable(
    x: Array, matrices: list, odd: list, axes: tuple[int, ...], *, fused: bool = False
) -> Array:
    """Real part of a separable complex operator: C_h x C_w^T - S_h x S_w^T."""
    y = x
    if fused:
        from segalias_jax.ops.fused_products import fused_products

        y, _ = fused_products(x, *matrices)
    else:
        # The second image axis first: its product stays local when the first one is sharded.
        for matrix, axis in reversed(tuple(zip(matrices, axes, strict=True))):
            y = sharded_like(y, apply_along_axis(y, matrix, axis), axis)
    if len(axes) == 2 and all(left.size for left, _ in odd):
        y = y - _odd_part(x, odd, axes)
    return y


def _odd_part(x: Array, factors: list, axes: tuple[int, ...]) -> Array:
    """S_h x S_w^T, the imaginary parts' contribution to the published filter's real output."""
    for which in (1, 0):
        for pair, axis in reversed(tuple(zip(factors, axes, strict=True))):
            x = apply_along_axis(x, pair[which], axis)
    return x


def _low_pass_fft(x: Array, bounds: tuple[tuple[int, int], ...], axes: tuple[int, ...]) -> Array:
    lengths = tuple(x.shape[axis] for axis in axes)
    mask = jnp.asarray(half_plane_mask(lengths, bounds))
    shape = [1] * x.ndim
    for axis, size in zip(axes, mask.shape, strict=True):
        shape[axis] = size
    # Axes are only reshaped into place, so both must come in ascending order.
    if list(axes) != sorted(axes):
        mask = mask.T
    computed = x.astype(jnp.promote_types(x.dtype, jnp.float32))
    spectrum = jnp.fft.rfftn(computed, axes=axes)
    spectrum = spectrum * mask.reshape(shape).astype(computed.dtype)
    return jnp.fft.irfftn(spectrum, s=lengths, axes=axes).astype(x.dtype)
