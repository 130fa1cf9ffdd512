"""Products along both image axes in one kernel for TPUs: the map is read once and written once.

XLA runs one product after the other, each through the chip's memory, and lays the map out anew
behind them. Here an image's block of 128 channels stays in the chip's vector memory in between.
"""

from __future__ import annotations

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import pallas as pl
from jax.experimental.pallas import tpu as pltpu

from segalias_jax.ops.symbolic import is_fixed
from segalias_jax.ops.targets import current_target
from segalias_jax.typing import Array, Float

_LANES = 128  # channels of a block: the width of the chip's registers
_COLUMNS = 16  # pixels that are multiplied together along the height, a packed tile of bfloat16
_ROWS = 4  # lines that are multiplied together along the width, one for each matrix unit
_VMEM_BYTES = 128 << 20  # of a v5e; what a program is compiled for says no more than "tpu"


def fuses(x: Array, axes: tuple[int, ...]) -> bool:
    """Whether a filter of these axes is one kernel on what is compiled for.

    It is on one TPU, of a bfloat16 NHWC map in whole tiles that fits its vector memory. The
    partitioner of programs for several devices does not know how to divide a kernel, and would
    gather the map.

    Args:
      x: the map.
      axes: the axes to filter, not negative.

    Example:
      >>> fuses(jnp.zeros((1, 32, 32, 128), jnp.bfloat16), (1, 2))
      False
    """
    if current_target().platform != "tpu" or not current_target().one_device:
        return False
    if x.ndim != 4 or axes != (1, 2) or x.dtype != jnp.bfloat16:
        return False
    _, height, width, channels = x.shape
    if not is_fixed(height, width):
        return False
    whole = channels % _LANES == 0 and width % _COLUMNS == 0 and height % 8 == 0
    return whole and _held_bytes(height, width, buffers=1) <= _available_bytes()


def fused_products(
    x: Float[Array, "b h w c"],
    down: np.ndarray,
    across: np.ndarray,
    *,
    power: bool = False,
    interpret: bool = False,
) -> tuple[Float[Array, "b h w c"], Float[Array, "b 2 c"] | None]:
    """Multiplies height and width of a map by a square matrix each.

    y[b, :, :, c] = D x[b, :, :, c] A^T,  p[b, 0, c] = |y[b, :, :, c]|^2,
    p[b, 1, c] = |x[b, :, :, c] - y[b, :, :, c]|^2

    Sums are float32; between the two products the map is rounded to its own type, as by two calls
    of `apply_along_axis`. jax cannot differentiate a kernel: the caller says what its transpose is.

    Args:
      x: a map that `fuses`.
      down: D, `[h, h]`, rounded to the type of `x`.
      across: A, `[w, w]`, likewise.
      power: whether p is summed up, while both maps are at hand.
      interpret: run it step by step on any device, for tests.

    Returns:
      y, like `x`, and p in float32 or None.

    Example:
      >>> x = jnp.ones((1, 8, 16, 128), jnp.bfloat16)
      >>> y, _ = fused_products(x, np.eye(8), 2 * np.eye(16), interpret=True)
      >>> y[0, 0, 0, 0]
      Array(2, dtype=bfloat16)
    """
    batch, height, width, channels = x.shape
    buffers = 2 if _held_bytes(height, width, buffers=2) <= _available_bytes() else 1
    block = pl.BlockSpec(
        (1, height, width, _LANES),
        lambda image, part: (image, 0, 0, part),
        pipeline_mode=None if interpret else pl.Buffered(buffers),
    )
    matrices = [jnp.asarray(matrix, x.dtype) for matrix in (down, across)]
    whole = [pl.BlockSpec(matrix.shape, lambda image, part: (0, 0)) for matrix in matrices]
    sums = pl.BlockSpec((1, 2, _LANES), lambda image, part: (image, 0, part))
    results = [jax.ShapeDtypeStruct(x.shape, x.dtype)]
    results += [jax.ShapeDtypeStruct((batch, 2, channels), jnp.float32)] if power else []
    y, *p = pl.pallas_call(
        _multiply_block,
        out_shape=results,
        grid=(batch, channels // _LANES),
        in_specs=[block, *whole],
        out_specs=[block, sums] if power else [block],
        scratch_shapes=[pltpu.VMEM((height, width, _LANES), x.dtype)],
        compiler_params=pltpu.CompilerParams(
            vmem_limit_bytes=_available_bytes(), dimension_semantics=("parallel", "parallel")
        ),
        cost_estimate=pl.CostEstimate(
            flops=2 * x.size * (height + width),
            bytes_accessed=2 * x.size * x.dtype.itemsize,
            transcendentals=0,
        ),
        name="fused_products" if buffers == 2 else "fused_products_in_turn",
        interpret=interpret,
    )(x, *matrices)
    return y, p[0] if power else None


def _multiply_block(x: Any, down: Any, across: Any, y: Any, *rest: Any) -> None:
    """One image's block: all of its columns, then all of its lines."""
    *power, between = rest
    _, height, width, channels = x.shape
    # Products of bfloat16 are exact; what the process asks of float32 has no form in a kernel.
    multiply = functools.partial(
        jnp.dot, precision=jax.lax.Precision.DEFAULT, preferred_element_type=jnp.float32
    )

    def multiply_columns(part: Array, _: None) -> None:
        columns = pl.ds(pl.multiple_of(part * _COLUMNS, _COLUMNS), _COLUMNS)
        wide = x[0, :, columns, :].reshape(height, _COLUMNS * channels)
        product = multiply(down[...], wide).astype(x.dtype)
        between[:, columns, :] = product.reshape(height, _COLUMNS, channels)

    def multiply_lines(part: Array, sums: list[Array]) -> list[Array]:
        lines = [part * _ROWS + i for i in range(_ROWS)]
        wide = jnp.concatenate([between[line] for line in lines], 1)
        product = multiply(across[...], wide).astype(x.dtype)
        for i, line in enumerate(lines):
            low = y[0, line] = product[:, i * channels : (i + 1) * channels]
            if power:
                low, whole = low.astype(jnp.float32), x[0, line].astype(jnp.float32)
                # Registers hold eight lines of pixels, which are added up at the end.
                sums = [
                    total + jnp.square(band).reshape(-1, 8, channels).sum(0)
                    for total, band in zip(sums, (low, whole - low), strict=True)
                ]
        return sums

    jax.lax.fori_loop(0, width // _COLUMNS, multiply_columns, None)
    none = [jnp.zeros((8, channels), jnp.float32) for _ in range(2 * len(power))]
    sums = jax.lax.fori_loop(0, height // _ROWS, multiply_lines, none)
    for p in power:
        p[0] = jnp.stack([total.sum(0) for total in sums])


def _held_bytes(height: int, width: int, *, buffers: int) -> int:
    """Vector memory of a kernel: blocks that come and go, what is in between, and matrices."""
    block = 2 * height * width * _LANES
    return (2 * buffers + 1) * block + 2 * 2 * (height**2 + width**2)


def _available_bytes() -> int:
    """Vector memory that a kernel may take: the rest is the compiler's own."""
    here = jax.default_backend() == "tpu"
    held = pltpu.get_tpu_info().vmem_capacity_bytes if here else _VMEM_BYTES
    return held * 7 // 8
