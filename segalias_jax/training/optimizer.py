"""Optimizers with rates by parameter path.

Parameters are nested dictionaries of arrays; the path of one is its keys joined by "/".
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from segalias_jax.errors import check_choice
from segalias_jax.settings import number, pairs
from segalias_jax.training.schedules import Schedule
from segalias_jax.typing import Array, Int

Multipliers = Sequence[tuple[str, float]]

OPTIMIZERS = ("sgd", "adamw")
"""Names that `create_optimizer` knows."""


def create_optimizer(
    name: str,
    schedule: Schedule,
    *,
    momentum: float = 0.9,
    weight_decay: float = 0.0,
    clip_norm: float = 0.0,
    rate_multipliers: Multipliers = (),
    frozen: Collection[str] = (),
) -> optax.GradientTransformation:
    """Returns an optimizer whose rates follow a schedule and the paths of parameters.

    "sgd": d = g + wd p; b = momentum b + d, starting at b = d; p -= rate b.
    "adamw": p -= rate (m / (sqrt(v) + 1e-8) + wd p), with beta1 = momentum and beta2 = 0.999.
    Weight decay acts on every parameter, biases and normalizations too, as in the published code.
    With `clip_norm` > 0, g is scaled down first where the norm of all gradients together is larger.
    Frozen parameters never change, whatever the rate, and have no state.

    Args:
      name: "sgd" or "adamw".
      schedule: rate by step and multiplier.
      momentum: fraction of the old direction that is kept, in [0, 1).
      weight_decay: wd, at least 0.
      clip_norm: largest norm of the gradient; 0 for none.
      rate_multipliers: pairs (substring of a path, factor of the rate), see `rate_multiplier`.
      frozen: paths of parameters that stay as they are.

    Returns:
      A transformation whose `update` needs the parameters.

    Raises:
      InputError: unknown name, a number out of range, or a multiplier that is none.

    Example:
      >>> rate = lambda step, factor=1.0: 0.5 * factor
      >>> optimizer = create_optimizer("sgd", rate, rate_multipliers=(("b", 2.0),))
      >>> parameters = {"a": jnp.ones(()), "b": jnp.ones(())}
      >>> updates, _ = optimizer.update(parameters, optimizer.init(parameters), parameters)
      >>> print(updates["a"], updates["b"])
      -0.5 -1.0
    """
    check_choice("name", name, OPTIMIZERS)
    number(least=0, below=1)("momentum", momentum)
    number(least=0)("weight_decay", weight_decay)
    number(least=0)("clip_norm", clip_norm)
    multipliers = pairs()("rate_multipliers", rate_multipliers)
    parts = [optax.clip_by_global_norm(clip_norm)] if clip_norm else []
    decay = optax.add_decayed_weights(weight_decay)
    if name == "sgd":
        parts += [decay, optax.trace(momentum)]
    else:  # decoupled: decay is no part of what the moments average
        parts += [optax.scale_by_adam(b1=momentum), decay]
    rated = optax.chain(*parts, _scale_by_path(schedule, multipliers))
    if not frozen:
        return rated

    def labels(parameters: Any) -> Any:
        of_path = [
            "frozen" if path in frozen else "trained" for path in parameter_paths(parameters)
        ]
        return jax.tree.unflatten(jax.tree.structure(parameters), of_path)

    return optax.partition({"trained": rated, "frozen": optax.set_to_zero()}, labels)


def rate_multiplier(path: str, multipliers: Multipliers) -> float:
    """Returns the factor of the first pair whose substring occurs in `path`, else 1.

    Args:
      path: keys joined by "/".
      multipliers: pairs (substring, factor).

    Returns:
      The factor.

    Example:
      >>> rate_multiplier("encoder/stages/1/mixer/kernel", (("decoder", 3.0), ("mixer", 2.0)))
      2.0
    """
    return next((float(factor) for part, factor in multipliers if part in path), 1.0)


def parameter_paths(parameters: Any) -> list[str]:
    """Lists the paths of all parameters in the order of their leaves.

    Args:
      parameters: nested dictionaries of arrays.

    Returns:
      One path per leaf.

    Example:
      >>> parameter_paths({"decoder": {0: {"kernel": 1.0}}})
      ['decoder/0/kernel']
    """
    leaves = jax.tree_util.tree_leaves_with_path(parameters)
    return [jax.tree_util.keystr(path, simple=True, separator="/") for path, _ in leaves]


class StepState(NamedTuple):
    """Updates counted for the schedule, those too that were skipped.

    Attributes:
      step: the number.

    Example:
      >>> StepState(3).step
      3
    """

    step: Int[Array, ""] | int


def _scale_by_path(schedule: Schedule, multipliers: Multipliers) -> optax.GradientTransformation:
    def init(params: Any) -> StepState:
        return StepState(jnp.zeros((), jnp.int32))

    def update(updates: Any, state: Any, params: Any = None) -> tuple[Any, StepState]:
        leaves, tree = jax.tree.flatten(updates)
        factors = [rate_multiplier(path, multipliers) for path in parameter_paths(updates)]
        # One rate for each factor: a network has hundreds of parameters, and tracing takes time.
        rates = {factor: schedule(state.step, factor=factor) for factor in dict.fromkeys(factors)}
        scaled = [-rates[factor] * leaf for factor, leaf in zip(factors, leaves, strict=True)]
        return jax.tree.unflatten(tree, scaled), StepState(state.step + 1)

    return optax.GradientTransformation(init, update)
