"""Who answers for whom: the cheapest assignment of predictions to truths, with static shapes."""

from __future__ import annotations

import jax.numpy as jnp
import optax

from segalias_jax.typing import Array, Bool, Float, Int

# Costs beyond it are as good as infinite; much larger ones would swallow the rest in float32.
_MOST = 1e6


def cheapest_assignment(costs: Float[Array, "n m"], valid: Bool[Array, " n"]) -> Int[Array, " n"]:
    """Assigns to each row a column of its own, at the least sum of costs (Hungarian method).

    a = argmin over injective a of sum_i costs[i, a(i)], i over the valid rows

    Where there are more valid rows than columns, every column is taken, by those rows that make the
    sum least. Costs that are not finite are taken for very large ones, as a training that diverges
    makes them.

    Args:
      costs: of each row (a truth) with each column (a prediction).
      valid: rows that are there; others, which only fill up a length, get no column.

    Returns:
      The column of each row, -1 for none.

    Example:
      >>> costs = jnp.array([[1.0, 2.0, 9.0], [1.0, 4.0, 9.0], [0.0, 0.0, 0.0]])
      >>> cheapest_assignment(costs, jnp.array([True, True, False])).tolist()
      [1, 0, -1]

    Reference:
      Kuhn, "The Hungarian method for the assignment problem", 1955; `optax.assignment`.
    """
    rows, columns = costs.shape
    found = jnp.nan_to_num(costs, nan=_MOST, posinf=_MOST, neginf=_MOST).clip(-_MOST, _MOST)
    found = jnp.where(valid[:, None], found, 0)
    spread = found.max() - found.min() + 1
    # Each row has a column to itself besides, which means none: of those that only fill up, it is
    # found at once; others take it where all columns are taken, since the sum over any exchange of
    # columns is less than what it costs.
    none = jnp.where(valid, found.max() + columns * spread, -1)[:, None]
    own = jnp.eye(rows, dtype=bool)
    far = jnp.where(own, none, jnp.maximum(none, 0) + spread)
    row, column = optax.assignment.hungarian_algorithm(jnp.concatenate([found, far], 1))
    given = jnp.where(column < columns, column, -1).astype(jnp.int32)
    return jnp.zeros(rows, jnp.int32).at[row].set(given)
