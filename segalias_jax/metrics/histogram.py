"""Joint histograms of pixels, in the form that a platform counts fastest.

A CPU and a GPU add to one cell of memory after the other. A TPU has no such instruction and takes
every addition by itself, but multiplies matrices of one-hot rows of int8 exactly, in int32.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

from segalias_jax import ops
from segalias_jax.typing import Array, Integer, UInt32


def joint_histogram(
    row: Integer[Array, "images pixels"],
    column: Integer[Array, "images pixels"],
    *,
    rows: int,
    columns: int,
) -> UInt32[Array, "images {rows} {columns}"]:
    """Counts the pixels of each image by two numbers.

    counts[n, i, j] = |{p: row[n, p] = i, column[n, p] = j}|

    Args:
      row: first number of each pixel; pixels outside of [0, rows) are in no count.
      column: second number, in [0, columns).
      rows: how many first numbers there are.
      columns: how many second numbers there are.

    Returns:
      The counts, exact below 2^32 pixels an image.

    Example:
      >>> row, column = jnp.asarray([[0, 1, 1, -1]]), jnp.asarray([[2, 0, 0, 1]])
      >>> joint_histogram(row, column, rows=2, columns=3).tolist()
      [[[0, 0, 1], [2, 0, 0]]]
    """
    if ops.current_target().platform == "tpu":
        pixels_of_row = jax.nn.one_hot(row, rows, dtype=jnp.int8)
        pixels_of_column = jax.nn.one_hot(column, columns, dtype=jnp.int8)
        counts = jnp.einsum(
            "npi,npj->nij", pixels_of_row, pixels_of_column, preferred_element_type=jnp.int32
        )
        return counts.astype(jnp.uint32)  # modulo 2^32, so that no count below that is lost
    # All images share one histogram: a scatter for each would be as many programs.
    size = len(row) * rows * columns
    image = jax.lax.broadcasted_iota(jnp.int32, row.shape, 0)
    cell = (image * rows + row) * columns + column
    cell = jnp.where((row >= 0) & (row < rows), cell, size)  # out of range, hence dropped
    counts = jnp.zeros(size, jnp.uint32).at[cell.ravel()].add(1, mode="drop")
    return counts.reshape(-1, rows, columns)
