"""Everything that a training step changes, as one tree of arrays.

The step works on plain nested dictionaries, not on modules: handing a module to a compiled function
walks its whole graph in Python at every call.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from flax import nnx
from jax.sharding import Mesh, NamedSharding

from segalias_jax.training.sharding import replicated, state_shardings
from segalias_jax.typing import Array


class TrainState(NamedTuple):
    """Arrays of a run.

    Attributes:
      step: updates made so far.
      parameters: nested dictionaries of what the optimizer changes.
      statistics: batch statistics and the random state of dropout.
      optimizer: state of the optimizer.
      average: moving average of the parameters, which predictions use; empty where none is kept.
      task: what the task carries from step to step, see `Task.carry`; empty for most.

    Example:
      >>> TrainState(0, {}, {}, ())._fields
      ('step', 'parameters', 'statistics', 'optimizer', 'average', 'task')
    """

    step: Any
    parameters: Any
    statistics: Any
    optimizer: Any
    average: Any = ()
    task: Any = ()


def create_state(
    model: nnx.Module | Callable[[], nnx.Module],
    optimizer: optax.GradientTransformation,
    mesh: Mesh,
    *,
    average: bool = False,
    abstract: bool = False,
    carry: Any = (),
) -> tuple[nnx.GraphDef, TrainState]:
    """Initializes a model and its optimizer on the mesh, see `sharding.state_sharding`.

    Args:
      model: a module, whose arrays are copied, or a function that makes one.
      optimizer: transformation of the gradients.
      mesh: the devices.
      average: whether an average of the parameters is kept.
      abstract: whether shapes and places are enough, for a state that will be read or never be.
      carry: what the task carries, at the start.

    Returns:
      The structure of the model and the state at step 0.

    Example:
      >>> from segalias_jax.training.sharding import create_mesh
      >>> make = lambda: nnx.Linear(3, 4, rngs=nnx.Rngs(0))
      >>> graph, state = create_state(make, optax.sgd(0.1), create_mesh())
      >>> state.parameters["kernel"].shape
      (3, 4)
    """
    graphs = []

    def state_of(parameters: Any, statistics: Any) -> TrainState:
        parameters, statistics = jax.tree.map(_strong, (parameters, statistics))
        return TrainState(
            step=jnp.zeros((), jnp.int32),
            parameters=parameters,
            statistics=statistics,
            optimizer=optimizer.init(parameters),
            average=parameters if average else (),
            task=jax.tree.map(jnp.asarray, carry),
        )

    def initialize() -> TrainState:
        # A module has to be split outside: its arrays would be constants of the program.
        graph, parameters, statistics = split_model(model())
        graphs.append(graph)
        return state_of(parameters, statistics)

    given: tuple[Any, ...] = ()
    if isinstance(model, nnx.Module):
        graph, parameters, statistics = split_model(model)
        graphs.append(graph)
        given = parameters, statistics
    make = state_of if given else initialize
    # One program that the compilation cache can keep. It runs once, so on a CPU optimizing it is a
    # waste: of 20 s for a ResNet-18 on two cores, 15 went there.
    on_cpu = mesh.devices.flat[0].platform == "cpu"
    shardings = replicated(mesh)
    if abstract or mesh.shape["fsdp"] > 1:  # to know shapes takes a second
        shapes = jax.eval_shape(make, *given)
        shardings = state_shardings(shapes, mesh)
        if abstract:
            return graphs[0], jax.tree.map(_placed, shapes, shardings)
    options = {"xla_backend_optimization_level": 0, "xla_llvm_disable_expensive_passes": True}
    compiled = jax.jit(make, out_shardings=shardings, compiler_options=options if on_cpu else None)
    # Copied, since a step consumes the state and the module stays its owner's.
    state = compiled(*jax.device_put(given, replicated(mesh), may_alias=False))
    return graphs[0], state


def _placed(x: jax.ShapeDtypeStruct, sharding: NamedSharding) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding)


def _strong(x: Array) -> Array:
    # Updates have a fixed dtype; a weak one in the first state would make every step compile anew.
    return x.astype(x.dtype) if x.weak_type else x


def move_average(average: Any, parameters: Any, step: Array, decay: float) -> Any:
    """Moves averaged parameters towards new ones.

    a <- d a + (1 - d) p,  d = min(decay, (1 + t) / (10 + t)), so that the random start is forgotten

    Args:
      average: a; empty where none is kept.
      parameters: p.
      step: t, updates made before.
      decay: share that is kept in the long run.

    Returns:
      The new average, empty where none is kept.

    Example:
      >>> print(move_average({"a": jnp.zeros(())}, {"a": jnp.ones(())}, jnp.int32(0), 0.99)["a"])
      0.9
    """
    if not average:
        return average
    t = step.astype(jnp.float32)
    kept = jnp.minimum(decay, (1 + t) / (10 + t))
    return jax.tree.map(lambda a, p: p + kept * (a - p), average, parameters)


def count_parameters(state: TrainState) -> int:
    """Returns the number of numbers that the optimizer changes.

    Args:
      state: arrays of a run.

    Returns:
      The number.

    Example:
      >>> count_parameters(TrainState(0, {"kernel": jnp.zeros((3, 4))}, {}, ()))
      12
    """
    return sum(leaf.size for leaf in jax.tree.leaves(state.parameters))


def split_model(model: nnx.Module) -> tuple[nnx.GraphDef, Any, Any]:
    """Takes a model apart.

    Args:
      model: the model.

    Returns:
      Its structure, its parameters and its other arrays.

    Example:
      >>> graph, parameters, statistics = split_model(nnx.BatchNorm(4, rngs=nnx.Rngs(0)))
      >>> sorted(parameters), sorted(statistics)
      (['bias', 'scale'], ['mean', 'var'])
    """
    graph, parameters, statistics = nnx.split(model, nnx.Param, ...)
    return graph, nnx.to_pure_dict(parameters), nnx.to_pure_dict(statistics)


def merge_model(graph: nnx.GraphDef, parameters: Any, statistics: Any) -> nnx.Module:
    """Puts a model together again.

    Args:
      graph: structure from `split_model`.
      parameters: parameters from `split_model`.
      statistics: other arrays from `split_model`.

    Returns:
      A model that shares no variable with any other.

    Example:
      >>> model = merge_model(*split_model(nnx.Linear(3, 4, rngs=nnx.Rngs(0))))
      >>> model(jnp.ones((2, 3))).shape
      (2, 4)
    """
    # Without the copy, variables belong to an outer trace and cannot be written inside a gradient.
    return nnx.merge(graph, parameters, statistics, copy=True)
