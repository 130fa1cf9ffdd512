"""A small dense matrix applied along one axis: the shared core of filters, resizing and pooling.

Low passes, bilinear resizing and adaptive pooling are all linear maps along one image axis. As
matrix products they run on matrix units in any float type, have a cheap exact gradient, and need
no gather when another axis is sharded.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

from segalias_jax.errors import InputError
from segalias_jax.ops.placement import all_manual
from segalias_jax.ops.targets import Target, current_target
from segalias_jax.typing import Array


def apply_along_axis(x: Array, matrix: Array | np.ndarray, axis: int) -> Array:
    """Multiplies every line of `x` along `axis` by `matrix`.

    y[..., i, ...] = sum_j matrix[i, j] x[..., j, ...]

    Args:
      x: float array; if of integers, the matrix must hold integers, too.
      matrix: `[m, n]`, n being the length of `axis`; rounded to the type of `x`.
      axis: the axis to map.

    Returns:
      Array like `x` with length m along `axis`, in the type of `x`. Sums are kept in float32 for
      shorter types; float32 inputs are never multiplied in a shorter type (`Precision.HIGHEST`).

    Example:
      >>> apply_along_axis(jnp.array([[1.0, 3.0]]), np.array([[0.5, 0.5]]), axis=-1)
      Array([[2.]], dtype=float32)
    """
    axis = axis % x.ndim
    letters = "abcdefgh"[: x.ndim]
    result = letters.replace(letters[axis], "z")
    # Of a product with one matrix a GPU's compiler makes a transpose before and one behind; of a
    # matrix for each leading index, which it never writes out, a single kernel. On several devices
    # that is not tried, and a traced matrix would get a gradient for each index.
    constant = isinstance(matrix, np.ndarray)
    if constant and current_target() == Target(1, "cuda") and axis < x.ndim - 1:
        lead = letters[:axis]
        repeated = jnp.broadcast_to(jnp.asarray(matrix, x.dtype), x.shape[:axis] + matrix.shape)
        return jnp.einsum(
            f"{lead}z{letters[axis]},{letters}->{result}",
            *(repeated, x),
            precision=jax.lax.Precision.HIGHEST,
        )
    equation = f"{letters},z{letters[axis]}->{result}"
    return jnp.einsum(
        equation, x, jnp.asarray(matrix, x.dtype), precision=jax.lax.Precision.HIGHEST
    )


def check_floating(x: Array | np.ndarray) -> None:
    """Raises `InputError` unless an array holds floating-point numbers.

    In an integer type the weights of a filter would be rounded to 0 and 1.

    Example:
      >>> check_floating(jnp.ones(3))
    """
    if not jnp.issubdtype(x.dtype, jnp.inexact):
        raise InputError(f"x holds {x.dtype}; convert it to floating-point numbers first")


def sharded_like(x: Array, y: Array, axis: int) -> Array:
    """Keeps y = D x, a sum over `axis`, distributed as x.

    Left alone the partitioner replicates a sum over a sharded axis. Selecting between y and x
    makes it align the two; but then it gathers x before the product, unless something stands in
    between where it may change the distribution: a row that is added and taken off again (which
    the compiler removes later) lets it reduce partial sums instead.

    Args:
      x: what the product was taken of.
      y: the product.
      axis: the axis that was summed over.

    Returns:
      `y`; where `x` is not a number, neither is the result.

    Example:
      >>> x = jnp.ones((4, 2))
      >>> sharded_like(x, apply_along_axis(x, np.eye(4), 0), 0).shape
      (4, 2)
    """
    if current_target().one_device or x.shape != y.shape or all_manual():
        return y
    row = [(0, 0, 0)] * x.ndim
    row[axis] = (0, 1, 0)
    padded = jax.lax.pad(y, jnp.zeros((), y.dtype), row)
    y = jax.lax.slice_in_dim(padded, 0, x.shape[axis], axis=axis)
    return jax.lax.select(x == x, y, x)  # where x is not a number, neither is y
