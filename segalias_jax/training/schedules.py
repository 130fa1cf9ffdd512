"""Learning rate as a function of the step."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence

import jax.numpy as jnp

from segalias_jax.errors import InputError, check_choice
from segalias_jax.settings import integer, number
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
      warmup_ratio: fraction of the rate at step 0.

    Returns:
      The rate.

    Example:
      >>> [f"{poly(t, base=0.01, steps=80000, warmup_steps=200):.5f}" for t in (0, 200, 80000)]
      ['0.00100', '0.00998', '0.00010']

    Reference:
      Chen et al., "When Semantic Segmentation Meets Frequency Aliasing", ICLR 2024.
    """
    # The difference is taken between integers: 1 - t/T loses all digits near the end.
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
      warmup_ratio: fraction of the rate at step 0.

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
      warmup_ratio: fraction of the rate at step 0.

    Returns:
      The rate.

    Example:
      >>> [f"{constant(t, base=1.0, warmup_steps=4):.3f}" for t in (0, 2, 4, 9)]
      ['0.100', '0.550', '1.000', '1.000']
    """
    return base * _warm_up(step, warmup_steps, warmup_ratio)


def multistep(
    step: int | Int[Array, ""],
    *,
    base: float,
    milestones: Sequence[int],
    warmup_steps: int = 0,
    warmup_ratio: float = 0.1,
) -> Float[Array, ""]:
    """A tenth of the rate from every milestone on, after a linear warm-up.

    r(t) = base 10^-n(t), n(t) the number of milestones m <= t; times 1 - (1 - t/W) (1 - ratio)
    while t < W.

    Args:
      step: t, 0 for the first update.
      base: rate before the first milestone.
      milestones: updates.
      warmup_steps: W, number of updates of the warm-up; 0 for none.
      warmup_ratio: fraction of the rate at step 0.

    Returns:
      The rate.

    Example:
      >>> [f"{multistep(t, base=1.0, milestones=(9, 11)):.2f}" for t in (8, 9, 11)]
      ['1.00', '0.10', '0.01']

    Reference:
      He, Gkioxari, Dollar and Girshick, "Mask R-CNN", ICCV 2017 (the schedule of its training).
    """
    passed = sum((jnp.asarray(step >= m, jnp.float32) for m in milestones), start=jnp.zeros(()))
    return base * 0.1**passed * _warm_up(step, warmup_steps, warmup_ratio)


def _warm_up(step: int | Int[Array, ""], steps: int, ratio: float) -> Float[Array, ""]:
    if not steps:
        return jnp.ones(())
    return 1 - jnp.maximum(steps - step, 0) / steps * (1 - ratio)


SCHEDULES = ("poly", "cosine", "constant", "multistep")
"""Names that `create_schedule` knows."""


def create_schedule(
    name: str,
    *,
    learning_rate: float,
    steps: int,
    power: float = 0.9,
    end_value: float = 1e-4,
    warmup_steps: int = 0,
    warmup_ratio: float = 0.1,
    milestones: Sequence[int] = (),
) -> Schedule:
    """Returns a schedule by its name: `poly`, `cosine`, `constant` or `multistep`.

    A rate multiplier scales the rate that the decay starts from, not the one it ends at.

    Args:
      name: one of `SCHEDULES`.
      learning_rate: rate that the decay starts from at factor 1.
      steps: number of updates of the whole run.
      power: exponent of "poly"; unused by the others.
      end_value: rate that the decay ends at; of "poly" and "cosine".
      warmup_steps: updates of the warm-up; 0 for none.
      warmup_ratio: fraction of the rate at step 0.
      milestones: updates from which on "multistep" takes a tenth; unused by the others.

    Returns:
      `schedule(step, factor=1.0) -> rate`.

    Raises:
      InputError: unknown name, a number out of range, or a warm-up longer than the run.

    Example:
      >>> schedule = create_schedule(
      ...     "poly", learning_rate=0.5, steps=10, power=1.0, end_value=0.0
      ... )
      >>> print(schedule(5), schedule(5, factor=2.0))
      0.25 0.5
    """
    check_choice("name", name, SCHEDULES)
    integer(least=1)("steps", steps)
    integer(least=0)("warmup_steps", warmup_steps)
    for argument, value in (
        ("learning_rate", learning_rate),
        ("power", power),
        ("end_value", end_value),
        ("warmup_ratio", warmup_ratio),
    ):
        number(least=0)(argument, value)
    if name == "multistep" and (not milestones or max(milestones) >= steps):
        raise InputError(
            f"milestones is {tuple(milestones)}; give one or more updates, all below the {steps} "
            "steps of the run (steps)"
        )
    if warmup_steps > steps:
        raise InputError(
            f"warmup_steps is {warmup_steps}, more than the {steps} steps of the run (steps)"
        )

    rates: dict[str, Callable[..., Float[Array, ""]]] = {
        "poly": functools.partial(poly, steps=steps, power=power, end_value=end_value),
        "cosine": functools.partial(cosine, steps=steps, end_value=end_value),
        "constant": constant,
        "multistep": functools.partial(multistep, milestones=tuple(milestones)),
    }
    rate = rates[name]
    return lambda step, factor=1.0: rate(
        step, base=learning_rate * factor, warmup_steps=warmup_steps, warmup_ratio=warmup_ratio
    )
