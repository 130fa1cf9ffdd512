"""Learning rate as a function of the step."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import jax.numpy as jnp

from segalias_jax.errors import InputError
from segalias_jax.typing import Array, Float, Int

Schedule = Callable[..., Float[Array, ""]]
"""`schedule(step, factor=1.0)`: the rate at `step` for parameters with rate multiplier `factor`."""


def poly(
    step: int | Int[Array, ""],
    *,
    base: float,
    steps: int,
    power: float = 0.9,
    end_value: float = 1e-4,
    warmup_steps: int = 0,
    warmup_ratio: float = 0.1,
) -> Float[Array, ""]:
    """Polynomial decay with a linear warm-up that scales it.

    r(t) = (base - end) (1 - t/T)^power + end, times 1 - (1 - t/W) (1 - ratio) while t < W.

    Args:
      step: t, 0 for the first update.
      base: rate that the decay starts from.
      steps: T, number of updates.
      power: exponent of the decay.
      end_value: rate that the decay ends at.
      warmup_steps: W, number of updates of the warm-up; 0 for none.
      warmup_ratio: share of the rate at step 0.

    Returns:
      The rate.

    Example:
      >>> [f"{poly(t, base=0.01, steps=80000, warmup_steps=200):.5f}" for t in (0, 200, 80000)]
      ['0.00100', '0.00998', '0.00010']

    Reference:
      Chen et al., "When Semantic Segmentation Meets Frequency Aliasing", ICLR 2024.
    """
    # The difference is taken between whole numbers: 1 - t/T loses all digits near the end.
    left = (steps - jnp.minimum(step, steps)) / steps
    rate = (base - end_value) * left**power + end_value
    return rate * _warm_up(step, warmup_steps, warmup_ratio)


def cosine(
    step: int | Int[Array, ""],
    *,
    base: float,
    steps: int,
    end_value: float = 0.0,
    warmup_steps: int = 0,
    warmup_ratio: float = 0.1,
) -> Float[Array, ""]:
    """Half a cosine wave with a linear warm-up that scales it.

    r(t) = (base - end) (1 + cos(pi t/T)) / 2 + end, times 1 - (1 - t/W) (1 - ratio) while t < W.

    Args:
      step: t, 0 for the first update.
      base: rate that the decay starts from.
      steps: T, number of updates.
      end_value: rate that the decay ends at.
      warmup_steps: W, number of updates of the warm-up; 0 for none.
      warmup_ratio: share of the rate at step 0.

    Returns:
      The rate.

    Example:
      >>> [f"{cosine(t, base=1.0, steps=4):.3f}" for t in (0, 1, 2, 4)]
      ['1.000', '0.854', '0.500', '0.000']

    Reference:
      Loshchilov and Hutter, "SGDR: Stochastic Gradient Descent with Warm Restarts", ICLR 2017.
    """
    wave = (1 + jnp.cos(jnp.pi * (jnp.minimum(step, steps) / steps))) / 2
    return ((base - end_value) * wave + end_value) * _warm_up(step, warmup_steps, warmup_ratio)


def constant(
    step: int | Int[Array, ""],
    *,
    base: float,
    warmup_steps: int = 0,
    warmup_ratio: float = 0.1,
) -> Float[Array, ""]:
    """One rate after a linear warm-up.

    r(t) = base, times 1 - (1 - t/W) (1 - ratio) while t < W.

    Args:
      step: t, 0 for the first update.
      base: the rate.
      warmup_steps: W, number of updates of the warm-up; 0 for none.
      warmup_ratio: share of the rate at step 0.

    Returns:
      The rate.

    Example:
      >>> [f"{constant(t, base=1.0, warmup_steps=4):.3f}" for t in (0, 2, 4, 9)]
      ['0.100', '0.550', '1.000', '1.000']
    """
    return base * _warm_up(step, warmup_steps, warmup_ratio)


def _warm_up(step: int | Int[Array, ""], steps: int, ratio: float) -> Float[Array, ""]:
    if not steps:
        return jnp.ones(())
    return 1 - jnp.maximum(steps - step, 0) / steps * (1 - ratio)


SCHEDULES = {
    "poly": (poly, ("power", "end_value")),
    "cosine": (cosine, ("end_value",)),
    "constant": (constant, ()),
}
"""Schedules by name, with the recipe keys that each reads beside those of the warm-up."""


def create_schedule(config: Mapping[str, Any], *, learning_rate: float, steps: int) -> Schedule:
    """Builds the schedule of a recipe.

    A rate multiplier scales the rate that the decay starts from, not the one it ends at.

    Args:
      config: section `schedule` of a recipe.
      learning_rate: rate that the decay starts from at factor 1.
      steps: number of updates of the whole run.

    Returns:
      `schedule(step, factor=1.0) -> rate`.

    Raises:
      InputError: unknown name, a number out of range, or a warm-up longer than the run.

    Example:
      >>> config = dict(name="poly", power=1.0, end_value=0.0, warmup_steps=0, warmup_ratio=0.1)
      >>> schedule = create_schedule(config, learning_rate=0.5, steps=10)
      >>> print(schedule(5), schedule(5, factor=2.0))
      0.25 0.5
    """
    name = config["name"]
    if name not in SCHEDULES:
        raise InputError(f"schedule.name is {name!r}; choose one of {', '.join(SCHEDULES)}")
    if config["warmup_steps"] > steps:
        raise InputError(
            f"schedule.warmup_steps is {config['warmup_steps']}, more than the {steps} steps "
            "of the run (train.steps)"
        )
    rate, keys = SCHEDULES[name]
    options = {key: config[key] for key in (*keys, "warmup_steps", "warmup_ratio")}
    numbers = {"optimizer.learning_rate": learning_rate}
    for key, value in (numbers | {f"schedule.{k}": v for k, v in options.items()}).items():
        if not 0 <= value < math.inf:
            raise InputError(f"{key} is {value}; it must be at least 0")
    options |= {} if name == "constant" else {"steps": steps}
    return lambda step, factor=1.0: rate(step, base=learning_rate * factor, **options)
