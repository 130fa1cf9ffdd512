"""Sampling rates, frequency bands of sampled axes, and the matrices that keep them; in float64.

Frequencies are in cycles per pixel. On an axis of n samples bin k has the frequency k / n; bins are
counted from zero frequency, -(n // 2) to n - n // 2 - 1.
"""

from __future__ import annotations

import functools
import math
from typing import Any

import numpy as np

from segalias_jax.errors import InputError, check_choice

BANDS = ("symmetric", "reference")


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
    check_choice("band", band, BANDS)


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
    start, stop = _bounds(length, float(cutoff), band)
    return int(start), int(stop)


@functools.lru_cache(maxsize=64)
def bounds_table(longest: int, cutoff: float, band: str) -> np.ndarray:
    """`band_bounds` of all lengths up to the longest.

    Args:
      longest: largest number of samples.
      cutoff: f, in cycles per pixel, in (0, 0.5].
      band: "symmetric" or "reference".

    Returns:
      int32 `[2, longest + 1]`, the bounds of a length in its column.

    Example:
      >>> bounds_table(128, 0.35, "reference")[:, 128].tolist()
      [-45, 45]
    """
    check_band(cutoff, band)
    table = np.stack(_bounds(np.arange(longest + 1), float(cutoff), band)).astype(np.int32)
    table.setflags(write=False)
    return table


def low_cut_bounds(length: int, stride: int, *, band: str = "symmetric") -> tuple[int, int]:
    """First frequency bin that `frequency_low_cut` keeps of an axis, and the one after the last.

    "symmetric": the bins |k| < m / 2 that m = ceil(n / stride) samples can distinguish.
    "reference": the published crop of the shifted spectrum at stride 2, int(n/4) to int(3n/4), end
    excluded, and for any stride floor(n/2 - n/(2 stride)) to floor(n/2 + n/(2 stride)). It is not
    the published band at cutoff 1/4, whose bounds are rounded: they differ at two of four lengths.

    Args:
      length: number n of samples along the axis.
      stride: samples per sample of the result.
      band: "symmetric" or "reference".

    Returns:
      `(first, last + 1)`, bins counted from zero frequency.

    Raises:
      InputError: `stride` below 1, an unknown band, or no bin at all (one sample, "reference").

    Example:
      >>> low_cut_bounds(18, 2, band="reference"), band_bounds(18, 0.25, band="reference")
      ((-5, 4), (-5, 5))

    Reference:
      Grabinski et al., "FrequencyLowCut Pooling", ECCV 2022.
    """
    if stride < 1:
        raise InputError(f"stride is {stride}, but must be at least 1")
    check_choice("band", band, BANDS)
    if band == "symmetric":
        reach = (-(-length // stride) - 1) // 2
        return -reach, reach + 1
    start, stop = (length * (stride + side) // (2 * stride) for side in (-1, 1))
    if start == stop:
        raise InputError(
            f"the band 'reference' keeps nothing of {length} pixels at stride {stride}; give "
            "larger images, or choose the band 'symmetric'"
        )
    return start - length // 2, stop - length // 2


def _bounds(length: Any, cutoff: float, band: str) -> tuple[Any, Any]:
    """The rules, for one length or an array of them."""
    lowest, end = -(length // 2), length - length // 2
    if band == "reference":
        # Double precision and rounding half to even, both as published: float32 moves bounds.
        middle, reach = length / 2, length * cutoff
        return np.rint(middle - reach) + lowest, np.rint(middle + reach) + lowest
    # The small term keeps a product like 0.35 * 20 from falling just below its integer.
    highest = np.floor(length * cutoff + 1e-9)
    return np.maximum(-highest, lowest), np.minimum(highest + 1, end)


@functools.lru_cache(maxsize=256)
def band_kernel(length: int, start: int, stop: int) -> np.ndarray:
    """Impulse response of a band on a ring: h[t] = (1/n) sum_k e^{2 pi i k t / n}.

    Args:
      length: number n of samples.
      start: first bin k.
      stop: bin after the last.

    Returns:
      complex128 `[length]`.

    Example:
      >>> band_kernel(4, -2, 2).real.tolist()
      [1.0, 0.0, 0.0, 0.0]
    """
    kernel = np.fft.ifft(_mask(length, start, stop))
    kernel.setflags(write=False)
    return kernel


@functools.lru_cache(maxsize=256)
def band_matrix(length: int, start: int, stop: int) -> np.ndarray:
    """Real part of the operator that keeps a band: C[i, j] = Re h[i - j] on a ring.

    Args:
      length: number n of samples.
      start: first bin kept.
      stop: bin after the last.

    Returns:
      float64 `[length, length]`, circulant and symmetric.

    Example:
      >>> band_matrix(2, 0, 1).tolist()
      [[0.5, 0.5], [0.5, 0.5]]
    """
    t = np.arange(length)
    return np.real(band_kernel(length, start, stop))[(t[:, None] - t) % length]


@functools.lru_cache(maxsize=256)
def resampling_matrix(length: int, samples: int, start: int, stop: int) -> np.ndarray:
    """Real part of the operator that keeps a band and reads it at other places.

    C[i, j] = (1/n) sum_k cos(2 pi k (i / m - j / n)): sample i of m lies at i n / m.

    Args:
      length: number n of samples.
      samples: number m of samples wanted.
      start: first bin kept.
      stop: bin after the last.

    Returns:
      float64 `[samples, length]`; a constant stays what it is.

    Example:
      >>> resampling_matrix(4, 2, 0, 1).tolist()
      [[0.25, 0.25, 0.25, 0.25], [0.25, 0.25, 0.25, 0.25]]
    """
    bins = np.arange(start, stop)
    to, of = _angles(bins, samples), _angles(bins, length)
    return (np.cos(to) @ np.cos(of).T + np.sin(to) @ np.sin(of).T) / length


@functools.lru_cache(maxsize=256)
def odd_factors(
    length: int, start: int, stop: int, samples: int | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Low-rank factors of the imaginary part S = left @ right of such an operator.

    Bins +k and -k cancel in S, so only the k bins without their mirror image remain: one at
    most for the published bounds, none for the symmetric band.

    Args:
      length: number n of samples.
      start: first bin kept.
      stop: bin after the last.
      samples: number m of samples wanted; n where not given.

    Returns:
      float64 `left [m, 2 k]` and `right [2 k, n]`.

    Example:
      >>> left, right = odd_factors(8, -3, 3)
      >>> left.shape, right.shape
      ((8, 2), (2, 8))
    """
    kept = set(np.arange(start, stop) % length)
    alone = np.array([k for k in range(start, stop) if (-k) % length not in kept], int)
    to, of = _angles(alone, samples or length), _angles(alone, length)
    left = np.concatenate([np.sin(to), -np.cos(to)], 1) / length
    return left, np.concatenate([np.cos(of), np.sin(of)], 1).T


@functools.lru_cache(maxsize=64)
def half_plane_mask(lengths: tuple[int, ...], bounds: tuple[tuple[int, int], ...]) -> np.ndarray:
    """The mask (M(k) + M(-k)) / 2 on the bins of a real transform.

    Keeping the real part after a lopsided mask is the same as this symmetrized mask, and a real
    transform has only the half of it with non-negative frequencies along the last axis.

    Args:
      lengths: of the axes.
      bounds: first bin kept and the one after the last, for each axis.

    Returns:
      float64 array, one axis for each length, the last one with n // 2 + 1 bins.

    Example:
      >>> half_plane_mask((4,), ((-2, 1),)).tolist()
      [1.0, 0.5, 1.0]
    """
    masks = [_mask(length, *bound) for length, bound in zip(lengths, bounds, strict=True)]
    full = functools.reduce(np.multiply.outer, masks)
    mirrored = full
    for axis, length in enumerate(lengths):
        mirrored = np.take(mirrored, -np.arange(length) % length, axis)
    return ((full + mirrored) / 2)[..., : lengths[-1] // 2 + 1]


def _mask(length: int, start: int, stop: int) -> np.ndarray:
    mask = np.zeros(length)
    mask[np.arange(start, stop) % length] = 1
    return mask


def _angles(bins: np.ndarray, samples: int) -> np.ndarray:
    return 2 * np.pi * np.outer(np.arange(samples), bins) / samples
