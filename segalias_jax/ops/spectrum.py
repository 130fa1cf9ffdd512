"""Power of the two-dimensional spectrum of feature maps, by a transform or by products."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np

from segalias_jax.ops.axis import apply_along_axis, check_floating
from segalias_jax.ops.fourier import choose_method
from segalias_jax.ops.placement import on_any_mesh
from segalias_jax.ops.symbolic import is_fixed
from segalias_jax.typing import Array, Float, Side


@on_any_mesh
def spectral_power(
    x: Float[Array, "*batch h w c"], *, method: str = "auto"
) -> Float[Array, "*batch h k c"]:
    """Power of each frequency of a real image, on the bins of `jnp.fft.rfft2`.

    P(u, v) = |sum_ij x[i, j] e^{-2 pi i (u i / h + v j / w)}|^2,  0 <= v <= w / 2

    The other half mirrors this one, see `half_plane_weights`.

    Args:
      x: feature map, channels last, of any floating type and any leading axes.
      method: as for `low_pass`. On several devices "auto" takes products: the partitioner (of XLA
        as of jax 0.10.2) ends the process at the transform of an image whose rows or columns are
        spread over more devices than each has of them.

    Returns:
      Powers, w // 2 + 1 along the last image axis, in float32 at least.

    Raises:
      InputError: an unknown method, or integers in `x`.

    Example:
      >>> spectral_power(jnp.ones((2, 2, 1)))[..., 0].round(4).tolist()
      [[16.0, 0.0], [0.0, 0.0]]
    """
    check_floating(x)
    method = choose_method(x, (-3, -2), method)
    x = x.astype(jnp.promote_types(x.dtype, jnp.float32))
    height, width = x.shape[-3:-1]
    if method == "fft" or not is_fixed(height, width):
        spectrum = jnp.fft.rfft2(x, axes=(-3, -2))
        return jnp.square(spectrum.real) + jnp.square(spectrum.imag)
    rows, columns = _waves(height, height), _waves(width // 2 + 1, width)
    even, odd = (apply_along_axis(x, wave, -2) for wave in columns)
    real = apply_along_axis(even, rows[0], -3) - apply_along_axis(odd, rows[1], -3)
    imaginary = apply_along_axis(odd, rows[0], -3) + apply_along_axis(even, rows[1], -3)
    return jnp.square(real) + jnp.square(imaginary)


def half_plane_weights(width: Side) -> Float[Array | np.ndarray, " k"]:
    """How often each column of `spectral_power` stands in the whole spectrum: twice, but for some.

    Args:
      width: of the image in pixels.

    Returns:
      1 for the first column and on even widths for the last one, 2 for all others.

    Example:
      >>> half_plane_weights(4).tolist(), half_plane_weights(3).tolist()
      ([1.0, 2.0, 1.0], [1.0, 2.0])
    """
    if not is_fixed(width):
        column = jnp.arange(width // 2 + 1)
        return jnp.where((column == 0) | (2 * column == width), 1.0, 2.0)
    weights = np.full(width // 2 + 1, 2.0)
    weights[0] = 1
    if width % 2 == 0:
        weights[-1] = 1
    return weights


def _waves(bins: int, length: int) -> tuple[np.ndarray, np.ndarray]:
    """Cosines and sines `[bins, length]` of the first frequencies of an axis."""
    # Reduced before the angle is taken: it stays exact for long axes.
    angle = 2 * np.pi * (np.outer(np.arange(bins), np.arange(length)) % length) / length
    return np.cos(angle), np.sin(angle)
