"""Upsampling by whole factors, and the regular pattern that it leaves."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np

from segalias_jax.errors import InputError
from segalias_jax.ops.conv import mix_channels
from segalias_jax.ops.placement import on_any_mesh
from segalias_jax.ops.spectrum import half_plane_weights, spectral_power
from segalias_jax.typing import Array, Float


@on_any_mesh
def insert_zeros(x: Float[Array, "b h w c"], factor: int) -> Float[Array, "b h2 w2 c"]:
    """Sets pixels apart and fills the gaps with zeros.

    y[f i, f j] = x[i, j],  0 everywhere else

    With a convolution after it this is a transposed convolution.

    Args:
      x: feature map, channels last.
      factor: f, pixels of the output per pixel of the input along each image axis.

    Returns:
      The map, f times as many pixels along each image axis, in the type of `x`.

    Example:
      >>> insert_zeros(jnp.ones((1, 1, 2, 1)), 2)[0, :, :, 0].tolist()
      [[1.0, 0.0, 1.0, 0.0], [0.0, 0.0, 0.0, 0.0]]
    """
    batch, height, width, channels = x.shape
    # Padding of axes of their own, not padding between pixels, which has no ONNX operator.
    gaps = (0, factor - 1)
    x = jnp.pad(x[:, :, None, :, None], ((0, 0), (0, 0), gaps, (0, 0), gaps, (0, 0)))
    return x.reshape(batch, factor * height, factor * width, channels)


@on_any_mesh
def conv2d_transpose(
    x: Float[Array, "b h w c"], kernel: Float[Array, "k k c o"]
) -> Float[Array, "b h2 w2 o"]:
    """Transposed convolution whose stride is the kernel's side, so that no two outputs overlap.

    y[k i + a, k j + b, o] = sum_c kernel[a, b, c, o] x[i, j, c]

    Args:
      x: feature map, channels last.
      kernel: weights. Cast to the type of `x`.

    Returns:
      The map, k times as many pixels along each image axis, in the type of `x`.

    Example:
      >>> kernel = jnp.arange(4.0).reshape(2, 2, 1, 1)
      >>> conv2d_transpose(jnp.ones((1, 1, 2, 1)), kernel)[0, :, :, 0].tolist()
      [[0.0, 1.0, 0.0, 1.0], [2.0, 3.0, 2.0, 3.0]]
    """
    side, _, channels, outputs = kernel.shape
    batch, height, width, _ = x.shape
    matrix = kernel.astype(x.dtype).transpose(2, 0, 1, 3).reshape(channels, -1)
    y = mix_channels(x, matrix).reshape(batch, height, width, side, side, outputs)
    y = y.transpose(0, 1, 3, 2, 4, 5)
    return y.reshape(batch, side * height, side * width, outputs)


@on_any_mesh
def checkerboard_score(x: Float[Array, "*batch h w c"], factor: int = 2) -> Float[Array, "*batch"]:
    """Power of the pattern that upsampling leaves on its grid, in per cent of all power.

    Upsampling by f repeats the spectrum of what it reads around the frequencies j / f. What a
    good one takes away there is the checkerboard: slow content c(i), seen as
    c(i) cos(2 pi j i / f). So

    score = 100 sum_{(u, v) near G} |X(u, v)|^2 / sum |X(u, v)|^2,
    G = {(j / f, k / f)} without (0, 0),  near: at most 1 / (8 f) away along both axes,

    which is a quarter of the highest frequency of the small map. The total contains the mean
    (u = v = 0), and channels are summed. Rows and columns at the end that are no whole cell of f
    pixels are left out. A constant map gives 100 (1 - 1 / f^2) after zeros were inserted, and 0
    after replication or interpolation; white noise about 100 (f^2 - 1) / (4 f)^2 always.

    Args:
      x: upsampled map, channels last.
      factor: f, of the upsampling; the number of pixels after which its pattern repeats.

    Returns:
      One score per sample: the shape of `x` without image axes and channels.

    Raises:
      InputError: `factor` is less than 2, or the map is smaller than one cell.

    Example:
      >>> float(checkerboard_score(insert_zeros(jnp.ones((1, 8, 8, 1)), 2))[0])
      75.0

    Reference:
      Odena et al., "Deconvolution and Checkerboard Artifacts", Distill 2016.
    """
    height, width = (n - n % max(factor, 1) for n in x.shape[-3:-1])
    if factor < 2 or min(height, width) == 0:
        raise InputError(
            f"factor is {factor} for a map of {x.shape[-3]}x{x.shape[-2]} pixels, but must be at "
            "least 2 and no larger than the map"
        )
    (rows, slow_rows), (columns, slow_columns) = (_near(n, factor) for n in (height, width))
    mask = np.outer(rows, columns) & ~np.outer(slow_rows, slow_columns)
    power = spectral_power(x[..., :height, :width, :]).sum(-1)
    power = power * jnp.asarray(half_plane_weights(width), power.dtype)
    total = power.sum((-2, -1))
    score = 100 * (power * mask[:, : width // 2 + 1]).sum((-2, -1))
    return score / jnp.where(total > 0, total, 1)


def _near(n: int, factor: int) -> tuple[np.ndarray, np.ndarray]:
    """Which of n bins lie at most 1 / (8 factor) from any multiple of 1 / factor, and from 0."""
    bins = np.arange(n)
    to_any, to_zero = factor * bins % n, factor * np.minimum(bins, n - bins)
    return 8 * np.minimum(to_any, n - to_any) <= n, 8 * to_zero <= n
