"""Operators on meshes whose axes are explicit, the default of `jax.make_mesh`.

There every array's type says how it is distributed, and jax refuses to pad, slice or split an axis
whose parts would then be of unequal size, which is what windows and filters do to height and width.
So an operator's inside is left to the partitioner, and only what it returns has a type again.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

import jax
import numpy as np
from jax.core import Tracer
from jax.sharding import NamedSharding, PartitionSpec

_P = ParamSpec("_P")
_R = TypeVar("_R")


def on_any_mesh(operator: Callable[_P, _R]) -> Callable[_P, _R]:
    """Makes an operator work on arrays that are distributed over explicit axes of a mesh.

    What it returns is distributed as its first array is, axis by axis as far as lengths can be
    divided so; other axes are whole on every device. On any other array nothing changes.

    Args:
      operator: a function of arrays, and of other values that are not traced.

    Returns:
      The same function.

    Example:
      >>> @on_any_mesh
      ... def neighbors(x):
      ...     return x[1:] + x[:-1]
      >>> mesh = jax.make_mesh((jax.device_count(),), ("a",))
      >>> x = jax.device_put(np.arange(8.0), NamedSharding(mesh, PartitionSpec("a")))
      >>> neighbors(x).tolist()
      [1.0, 3.0, 5.0, 7.0, 9.0, 11.0, 13.0]
    """

    @functools.wraps(operator)
    def placed(*arguments: _P.args, **options: _P.kwargs) -> _R:
        leaves, structure = jax.tree.flatten((arguments, options))
        places = [i for i, leaf in enumerate(leaves) if isinstance(leaf, jax.Array | np.ndarray)]
        arrays = [leaves[i] for i in places]
        sharding = next(filter(None, map(explicit_sharding, arrays)), None)
        if sharding is None:
            return operator(*arguments, **options)

        def inside(*arrays: Any) -> Any:
            filled = list(leaves)
            for i, array in zip(places, arrays, strict=True):
                filled[i] = array
            given, named = jax.tree.unflatten(structure, filled)
            call: Any = operator
            return call(*given, **named)

        shapes = [jax.ShapeDtypeStruct(array.shape, array.dtype) for array in arrays]
        # In the same context as the call itself, where nothing has a type of the mesh.
        written = jax.eval_shape(inside, *shapes)
        result = jax.tree.map(lambda y: _like(sharding, y.shape), written)
        axes = sharding.mesh.explicit_axes
        apply: Any = jax.sharding.auto_axes(inside, axes=axes, out_sharding=result)
        if any(isinstance(array, Tracer) for array in arrays):
            # Differentiated outside of jit, cotangents would keep the type of the inside.
            apply = jax.jit(apply)
        return apply(*arrays)

    return placed


def explicit_sharding(x: Any) -> NamedSharding | None:
    """Returns how an array is distributed over explicit axes; None where its type does not say.

    Example:
      >>> explicit_sharding(np.ones(3))
    """
    sharding = getattr(jax.typeof(x), "sharding", None)
    if not isinstance(sharding, NamedSharding) or not sharding.mesh.explicit_axes:
        return None
    return sharding


def all_manual() -> bool:
    """Whether this is traced inside of a `jax.shard_map` over all axes of the mesh.

    Example:
      >>> all_manual()
      False
    """
    mesh = jax.sharding.get_abstract_mesh()
    return bool(mesh.axis_names) and set(mesh.manual_axes) == set(mesh.axis_names)


def any_manual() -> bool:
    """Whether this is traced inside of a `jax.shard_map`.

    Example:
      >>> any_manual()
      False
    """
    return bool(jax.sharding.get_abstract_mesh().manual_axes)


def _like(sharding: NamedSharding, shape: tuple[int, ...]) -> NamedSharding:
    """The same distribution of another shape, as far as that can be divided."""
    mesh, spec = sharding.mesh, []
    for length, names in zip(shape, (*sharding.spec, *[None] * len(shape)), strict=False):
        spec.append(names if length % _parts(mesh, names) == 0 else None)
    return NamedSharding(mesh, PartitionSpec(*spec))


def _parts(mesh: Any, names: str | tuple[str, ...] | None) -> int:
    names = (names,) if isinstance(names, str) else names or ()
    return int(np.prod([mesh.shape[name] for name in names]))
