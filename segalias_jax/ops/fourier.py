"""Frequencies of sampled signals: sampling rates, bands, the low pass and the aliasing score.

Frequencies are in cycles per pixel, so 0.5 is the Nyquist limit of the pixel grid itself. Bands
are square: a bin (u, v) is inside when both |u| and |v| are at most the cutoff.
"""

from __future__ import annotations

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np

from segalias_jax.errors import InputError
from segalias_jax.ops.axis import apply_along_axis
from segalias_jax.typing import Array, Float

BANDS = ("symmetric", "reference")
METHODS = ("auto", "matmul", "fft")


def equivalent_sampling_rate(
    kernel_size: int, stride: int, in_channels: int, out_channels: int
) -> float:
    """Samples per pixel and axis that a downsampling operator really takes.

    ESR = min(K, sqrt(C_out / C_in)) / s

    A strided operator that widens its channels keeps more samples than its stride says: a 2x2
    stride-2 operator with four times the channels can keep everything.

    Args:
      kernel_size: side length K of the operator's kernel, in pixels.
      stride: s, in pixels.
      in_channels: C_in.
      out_channels: C_out.

    Returns:
      The equivalent sampling rate, in samples per pixel.

    Raises:
      InputError: an argument is not positive.

    Example:
      >>> round(equivalent_sampling_rate(3, 2, 256, 512), 4)
      0.7071

    Reference:
      Chen et al., "When Semantic Segmentation Meets Frequency Aliasing", ICLR 2024.
    """
    given = dict(
        kernel_size=kernel_size, stride=stride, in_channels=in_channels, out_channels=out_channels
    )
    for name, value in given.items():
        if value <= 0:
            raise InputError(f"{name} is {value}, but must be positive")
    return min(kernel_size, math.sqrt(out_channels / in_channels)) / stride


def nyquist_frequency(esr: float) -> float:
    """Highest frequency that an equivalent sampling rate can carry, in cycles per pixel.

    f = min(ESR, 1) / 2: above it frequencies fold onto lower ones. The pixel grid itself carries
    nothing above 0.5.

    Args:
      esr: equivalent sampling rate, in samples per pixel.

    Returns:
      The Nyquist frequency, in (0, 0.5].

    Raises:
      InputError: `esr` is not positive.

    Example:
      >>> nyquist_frequency(equivalent_sampling_rate(1, 2, 64, 64))
      0.25

    Reference:
      Chen et al., "When Semantic Segmentation Meets Frequency Aliasing", ICLR 2024.
    """
    if esr <= 0:
        raise InputError(f"esr is {esr}, but must be positive")
    return min(esr, 1.0) / 2


def band_bounds(length: int, cutoff: float, *, band: str = "symmetric") -> tuple[int, int]:
    """First kept frequency bin of an axis, and the one after the last.

    "symmetric": all integers k with |k| <= cutoff * length. "reference": the bounds of the
    published code, round(n/2 - n f) - n//2 and round(n/2 + n f) - n//2 with halves rounded to
    even, which keep one negative bin more than positive ones on most even lengths.

    Args:
      length: number n of samples along the axis.
      cutoff: f, in cycles per pixel, in (0, 0.5].
      band: "symmetric" or "reference".

    Returns:
      `(first, last + 1)`, bins counted from zero frequency, within [-(n//2), n - n//2].

    Raises:
      InputError: `cutoff` outside (0, 0.5], or an unknown band.

    Example:
      >>> band_bounds(128, 0.35), band_bounds(128, 0.35, band="reference")
      ((-44, 45), (-45, 45))

    Reference:
      Chen et al., "When Semantic Segmentation Meets Frequency Aliasing", ICLR 2024 (DAF).
    """
    check_band(cutoff, band)
    lowest, end = -(length // 2), length - length // 2
    if band == "reference":
        # Double precision and rounding half to even, both as published: float32 moves bounds.
        middle, reach = length / 2, length * float(cutoff)
        return round(middle - reach) + lowest, round(middle + reach) + lowest
    # The small term keeps a product like 0.35 * 20 from falling just below its integer.
    highest = math.floor(length * float(cutoff) + 1e-9)
    return max(-highest, lowest), min(highest + 1, end)


def check_band(cutoff: float, band: str = "symmetric") -> None:
    """Raises `InputError` unless a band of this cutoff and name exists.

    Args:
      cutoff: must lie in (0, 0.5] cycles per pixel.
      band: must be "symmetric" or "reference".

    Raises:
      InputError: one of them is not so.

    Example:
      >>> check_band(0.35, "reference")
    """
    if not 0 < cutoff <= 0.5:
        raise InputError(f"cutoff is {cutoff}, but must lie in (0, 0.5] cycles per pixel")
    if band not in BANDS:
        raise InputError(f"band is {band!r}; choose one of {', '.join(BANDS)}")


def low_pass(
    x: Float[Array, ...],
    cutoff: float,
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
      InputError: `cutoff` outside (0, 0.5], an unknown name, or not one or two axes.

    Example:
      >>> checkerboard = jnp.indices((4, 4)).sum(0)[..., None] % 2 * 2.0
      >>> low_pass(checkerboard, 0.25)[..., 0].tolist()[0]
      [1.0, 1.0, 1.0, 1.0]

    Reference:
      Chen et al., "When Semantic Segmentation Meets Frequency Aliasing", ICLR 2024 (DAF).
    """
    axes = _checked_axes(x, axes)
    bounds = tuple(band_bounds(x.shape[axis], cutoff, band=band) for axis in axes)
    if all(stop - start == x.shape[axis] for (start, stop), axis in zip(bounds, axes, strict=True)):
        return x
    if choose_method(x, axes, method) == "fft":
        return _low_pass_fft(x, bounds, axes)
    return _low_pass_matmul(x, bounds, axes)


def split_bands(
    x: Float[Array, ...],
    cutoff: float,
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


def aliasing_score(
    x: Float[Array, ...],
    cutoff: float,
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
    if reduce not in ("pooled", "channel_mean"):
        raise InputError(f"reduce is {reduce!r}; choose one of pooled, channel_mean")
    _, high = split_bands(x, cutoff, axes=axes)
    sum_axes = tuple(axis % x.ndim for axis in axes)
    sum_axes += (x.ndim - 1,) if reduce == "pooled" else ()
    above, total = _power(high, sum_axes), _power(x, sum_axes)
    score = 100 * above / jnp.where(total > 0, total, 1)
    return score if reduce == "pooled" else score.mean(-1)


def _power(x: Array, axes: tuple[int, ...]) -> Array:
    accumulator = jnp.promote_types(x.dtype, jnp.float32)
    return jnp.sum(jnp.square(x.astype(accumulator)), axes)


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
    if method not in METHODS:
        raise InputError(f"method is {method!r}; choose one of {', '.join(METHODS)}")
    if method != "auto":
        return method
    if x.dtype.itemsize < 4:
        return "matmul"
    longest = max(x.shape[axis] for axis in axes)
    return "matmul" if longest <= MATMUL_UP_TO.get(jax.default_backend(), 1024) else "fft"


MATMUL_UP_TO = {"cpu": 512}
"""Longest axis, by platform, up to which the product form is the faster one."""


def _checked_axes(x: Array, axes: tuple[int, ...]) -> tuple[int, ...]:
    if len(axes) not in (1, 2):
        raise InputError(f"axes is {axes}, but a low pass takes one or two axes")
    return tuple(axis % x.ndim for axis in axes)


@functools.lru_cache(maxsize=256)
def band_kernel(length: int, start: int, stop: int) -> np.ndarray:
    """Impulse response of a band on a ring: complex128 `[length]`, (1/n) sum_k e^{2 pi i k t / n}.

    Example:
      >>> band_kernel(4, -2, 2).real.tolist()
      [1.0, 0.0, 0.0, 0.0]
    """
    mask = np.zeros(length)
    mask[np.arange(start, stop) % length] = 1
    kernel = np.fft.ifft(mask)
    kernel.setflags(write=False)
    return kernel


@functools.lru_cache(maxsize=256)
def _circulant(length: int, start: int, stop: int) -> np.ndarray:
    """The real part of the band operator as a matrix, float64 `[n, n]`."""
    t = np.arange(length)
    return band_kernel(length, start, stop).real[(t[:, None] - t) % length]


def _low_pass_matmul(x: Array, bounds: tuple[tuple[int, int], ...], axes: tuple[int, ...]) -> Array:
    # The second image axis first: its product stays local when the first one is sharded.
    y = x
    for (start, stop), axis in reversed(tuple(zip(bounds, axes, strict=True))):
        if stop - start < x.shape[axis]:
            y = apply_along_axis(y, _circulant(x.shape[axis], start, stop), axis)
    odd = [_odd_factors(x.shape[a], *b) for a, b in zip(axes, bounds, strict=True)]
    if len(axes) == 2 and all(left.size for left, _ in odd):
        y = y - _odd_part(x, odd, axes)
    return y


@functools.lru_cache(maxsize=256)
def _odd_factors(length: int, start: int, stop: int) -> tuple[np.ndarray, np.ndarray]:
    """Low-rank factors of S = Im(band operator): S = left @ right, left `[n, 2k]`.

    Pairs of bins +k and -k cancel in S, so only the k bins without their mirror image remain:
    one at most for the published bounds, none for the symmetric band.
    """
    kept = set(np.arange(start, stop) % length)
    alone = [k for k in sorted(kept) if (-k) % length not in kept]
    angle = 2 * np.pi * np.outer(np.arange(length), alone) / length
    sin, cos = np.sin(angle), np.cos(angle)
    left = np.concatenate([sin, -cos], 1) / length
    return left, np.concatenate([cos, sin], 1).T


def _odd_part(x: Array, factors: list, axes: tuple[int, ...]) -> Array:
    """S_h x S_w^T, the imaginary parts' share of the published filter's real output."""
    for which in (1, 0):
        for pair, axis in reversed(tuple(zip(factors, axes, strict=True))):
            x = apply_along_axis(x, pair[which], axis)
    return x


def _low_pass_fft(x: Array, bounds: tuple[tuple[int, int], ...], axes: tuple[int, ...]) -> Array:
    lengths = tuple(x.shape[axis] for axis in axes)
    mask = jnp.asarray(_half_plane_mask(lengths, bounds))
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


@functools.lru_cache(maxsize=64)
def _half_plane_mask(lengths: tuple[int, ...], bounds: tuple[tuple[int, int], ...]) -> np.ndarray:
    """The mask (M(k) + M(-k)) / 2 on the bins of a real transform, float64.

    Keeping the real part after a lopsided mask is the same as this symmetrised mask, and a real
    transform needs only its half with non-negative frequencies of the last axis.
    """
    masks = []
    for length, (start, stop) in zip(lengths, bounds, strict=True):
        mask = np.zeros(length)
        mask[np.arange(start, stop) % length] = 1
        masks.append(mask)
    full = functools.reduce(np.multiply.outer, masks)
    mirrored = full
    for axis, length in enumerate(lengths):
        mirrored = np.take(mirrored, -np.arange(length) % length, axis)
    return ((full + mirrored) / 2)[..., : lengths[-1] // 2 + 1]
