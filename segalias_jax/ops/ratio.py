"""Low passes by a ratio of the spectrum, which may be computed on the way: one program for all.

A ratio r counts against the Nyquist limit of the pixel grid: r = 1 keeps everything, r = 0.5 what
half as many samples along each axis could carry.
"""

from __future__ import annotations

from types import ModuleType

import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from segalias_jax.errors import InputError, check_choice
from segalias_jax.ops.axis import apply_along_axis, sharded_like
from segalias_jax.ops.fourier import low_pass, soft_low_pass
from segalias_jax.ops.placement import on_any_mesh
from segalias_jax.typing import Array, Bool, Float

RATIO_BANDS = ("square", "round")


@on_any_mesh
def ratio_low_pass(
    x: Float[Array, "*batch h w c"], ratio: Float[Array, ""] | float, *, band: str = "square"
) -> Float[Array, "*batch h w c"]:
    """Keeps a ratio of the spectrum of an image.

    y = Re F^-1( M . F(x) ),  with the mask M of `ratio_mask`

    The mean is always kept; ratio 0 keeps nothing else. Matrix products alone, for any ratio: a
    square band is one matrix per axis, which is made from the ratio; a round one, which is not
    separable, is cut out of the Hartley transform H x H^T,
    H[k, t] = cos(2 pi k t / n) + sin(2 pi k t / n), whose matrix is real and its own inverse but
    for the factor n.

    Args:
      x: real signal, of any floating type and any leading axes.
      ratio: r, in [0, 1]; may be traced, then nothing is recompiled when it changes.
      band: "square" or "round".

    Returns:
      Array of the shape and type of `x`.

    Raises:
      InputError: an unknown band, or a number outside [0, 1].

    Example:
      >>> checkerboard = jnp.indices((4, 4)).sum(0)[..., None] % 2 * 2.0
      >>> ratio_low_pass(checkerboard, 0.5)[..., 0].tolist()[0]
      [1.0, 1.0, 1.0, 1.0]
    """
    height, width = x.shape[-3:-1]
    if isinstance(ratio, Tracer):
        check_ratio("ratio", 1.0, band)
        if band == "square":
            return soft_low_pass(x, ratio / 2, width=0.0)
        mask = _mask(jnp, (height, width), (height, width), ratio, band)
    else:
        ratio = float(ratio)
        check_ratio("ratio", ratio, band)
        if ratio == 1:
            return x
        if band == "square":
            # No operator has the cutoff 0; below the first bin there is the mean alone, as well.
            return low_pass(x, max(ratio, 1e-9) / 2)
        mask = _mask(np, (height, width), (height, width), ratio, band)
    matrices = [_hartley_matrix(n) / np.sqrt(n) for n in (height, width)]
    y = _both_axes(x, matrices)
    return _both_axes(y * jnp.asarray(mask, y.dtype)[..., None], matrices)


def ratio_mask(
    size: tuple[int, int], ratio: Float[Array, ""], *, band: str = "square"
) -> Bool[Array, "h k"]:
    """Bins of a real transform that a ratio keeps.

    square: |k| <= r h / 2 and |l| <= r w / 2; round: sqrt((k / h)^2 + (l / w)^2) <= r / 2, the disc
    (in cycles per pixel) inside that square. r = 1 keeps everything, corners too.

    Args:
      size: (h, w) of the image in pixels.
      ratio: r, in [0, 1]. A bin that it misses by less than 2e-6 counts as kept, so that rounding
        decides nothing.
      band: "square" or "round".

    Returns:
      Mask over the bins of `jnp.fft.rfft2`, of which there are w // 2 + 1 along the last axis.

    Example:
      >>> ratio_mask((4, 4), jnp.float32(0.5)).astype(int).tolist()
      [[1, 1, 0], [1, 1, 0], [0, 0, 0], [1, 1, 0]]
    """
    return jnp.asarray(_mask(jnp, size, (size[0], size[1] // 2 + 1), ratio, band))


def check_ratio(key: str, ratio: float, band: str = "square") -> None:
    """Raises `InputError` unless a band of this ratio and name exists.

    Args:
      key: what the ratio is called, for the message.
      ratio: must lie in [0, 1].
      band: must be "square" or "round".

    Raises:
      InputError: one of them is not.

    Example:
      >>> check_ratio("ratio", 0.6, "round")
    """
    if not 0 <= ratio <= 1:
        raise InputError(f"{key} is {ratio}, but must lie in [0, 1]")
    check_choice("band", band, RATIO_BANDS)


def _mask(
    library: ModuleType,
    size: tuple[int, int],
    bins: tuple[int, int],
    ratio: Float[Array, ""] | float,
    band: str,
) -> Array | np.ndarray:
    # In units of the Nyquist limit, so that they compare with the ratio itself.
    down, right = (
        2 * np.abs(np.fft.fftfreq(n))[:count] for n, count in zip(size, bins, strict=True)
    )
    if band == "square":
        reach = np.maximum(down[:, None], right)
    else:
        reach = np.hypot(down[:, None], right)
    reach = library.asarray(reach, np.float32)
    return (reach <= ratio + 2e-6) | (ratio >= 1)


def _hartley_matrix(n: int) -> np.ndarray:
    # Reduced before the angle is taken: it stays exact for long axes.
    angle = 2 * np.pi * (np.outer(np.arange(n), np.arange(n)) % n) / n
    return np.cos(angle) + np.sin(angle)


def _both_axes(x: Array, matrices: list[np.ndarray]) -> Array:
    for axis, matrix in ((-2, matrices[1]), (-3, matrices[0])):
        axis += x.ndim
        x = sharded_like(x, apply_along_axis(x, matrix, axis), axis)
    return x
