"""Frequency curriculum: how much of an image's spectrum a network gets to see, and when.

The low pass stands between normalization and network, in `Curriculum.network_input`, which steps,
validation, predictors and exported programs all call: crops and windows are filtered each by
itself. The ratio is a number of the program, not a constant of it, so that a run compiles once. An
adaptive curriculum chooses inside of the training step, from the state and the batch of that step,
and the ratio is in the state: a run that was killed anywhere chooses as the unbroken one does.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from segalias_jax.analysis.objective import Logits, best_ratio
from segalias_jax.errors import InputError
from segalias_jax.ops import normalize_image, ratio_low_pass
from segalias_jax.ops.ratio import RATIO_BANDS
from segalias_jax.settings import check_settings, integer, number, one_of, setting
from segalias_jax.typing import Array, Float, Int, UInt8

EVALUATE = ("full", "final")
ADAPTIVE = "adaptive"


def _linear(curriculum: Curriculum, step: Int[Array, ""]) -> Float[Array, ""]:
    # The difference is taken between integers, so that the end is the ratio itself.
    left = (curriculum.steps - step) / curriculum.steps
    return curriculum.ratio + (curriculum.start - curriculum.ratio) * left


def _cosine(curriculum: Curriculum, step: Int[Array, ""]) -> Float[Array, ""]:
    left = (1 + jnp.cos(math.pi * (step / curriculum.steps))) / 2
    return curriculum.ratio + (curriculum.start - curriculum.ratio) * left


def _step(curriculum: Curriculum, step: Int[Array, ""]) -> Float[Array, ""]:
    last = curriculum.stairs - 1
    # Where each level begins, in integers: a product with the step could overflow.
    begins = [math.ceil(n * curriculum.steps / curriculum.stairs) for n in range(1, last + 1)]
    level = jnp.sum(step >= jnp.asarray(begins, jnp.int32))
    return curriculum.ratio + (curriculum.start - curriculum.ratio) * ((last - level) / last)


SCHEDULES: dict[str, Callable[[Curriculum, Any], Any]] = {
    "constant": lambda curriculum, step: curriculum.ratio,
    "linear": _linear,
    "cosine": _cosine,
    "step": _step,
}
"""Ratios as functions of the step, by name."""


@dataclasses.dataclass(frozen=True)
class Curriculum:
    """What the network sees of an image: its low pass by a ratio that follows the step.

    x = F^-1( M(r(t)) . F(normalized image) ),  with M of `ops.ratio_mask`. Normalization comes
    first; the order matters to rounding alone, as the mean is always kept.

    Over the T steps of a run r goes from the start s to the final ratio e, up or down:

        constant  r(t) = e
        linear    r(t) = e + (s - e) (1 - t/T)
        cosine    r(t) = e + (s - e) (1 + cos(pi t/T)) / 2
        step      r(t) = s + (e - s) floor(L t/T) / (L - 1)
        adaptive  s, then every k updates the best of n ratios between e and 1 for the batch at hand

    The best is the least of `analysis.best_ratio` for the network as it is then. The ratio is part
    of the state of the run.

    Args:
      ratio: e, in [0, 1]; 1 for the full spectrum. For "adaptive" the smallest choice, below 1.
      schedule: one of `SCHEDULES`, or "adaptive".
      start: s, in (0, 1]; unused by "constant".
      stairs: L, levels of "step", each of the same number of steps.
      band: "square" or "round".
      every: k, updates between choices of "adaptive".
      choices: n, ratios that "adaptive" tries, r = e + (1 - e) i/n for i = 0 ... n - 1.
      alpha: weight of the saliency in "adaptive", see `analysis.optimal_frequency_ratio`.
      beta: weight of the variation in "adaptive".
      evaluate: what is predicted from: "full" spectra, or those of the "final" ratio, which is the
        present one where it is adaptive.
      steps: T, number of updates of the run.

    Raises:
      InputError: an unknown name, or a number out of range.

    Example:
      >>> Curriculum(ratio=1.5)
      Traceback (most recent call last):
      segalias_jax.errors.InputError: ratio is 1.5; it must be at least 0 and at most 1
    """

    ratio: float = setting(
        1.0,
        """fraction of each axis's spectrum that the network sees of an image in the end; 1 for all
        of it; the smallest that "adaptive" may choose""",
        check=number(least=0, most=1),
    )
    schedule: str = setting(
        "constant",
        """"constant"; or from `start` to `ratio` over the run, up or down, by a "linear" or
        "cosine" course or in levels ("step"); or "adaptive": the best one for the network""",
        check=one_of((*SCHEDULES, ADAPTIVE)),
    )
    start: float = setting(
        1.0, 'fraction at the first update; unused by "constant"', check=number(least=0, most=1)
    )
    stairs: int = setting(4, 'levels of "step", start and end among them', check=integer(least=2))
    band: str = setting(
        "square",
        'shape of what is kept: "square", or "round", the disc inside of it',
        check=one_of(RATIO_BANDS),
    )
    every: int = setting(
        500,
        'updates between choices of "adaptive", before the first of which it is `start`',
        unit="updates",
        check=integer(least=1),
    )
    choices: int = setting(
        16, 'ratios that "adaptive" tries each time, on one batch', check=integer(least=2)
    )
    alpha: float = setting(
        1.0, 'weight of the saliency of both bands, "adaptive" only', check=number(least=0)
    )
    beta: float = setting(
        1.0, 'weight of the total variation of both bands, "adaptive" only', check=number(least=0)
    )
    evaluate: str = setting(
        "full",
        'predict from "full" spectra, or from those of the "final" ratio',
        check=one_of(EVALUATE),
    )
    steps: int = 1

    def __post_init__(self) -> None:
        """Checks every value."""
        check_settings(self)
        if self.adaptive and self.ratio == 1:
            raise InputError(
                "ratio is 1.0, but the smallest ratio that the schedule 'adaptive' may choose has "
                "to be below 1"
            )

    @property
    def adaptive(self) -> bool:
        """Whether the ratio is part of the state, and follows the network."""
        return self.schedule == ADAPTIVE

    @property
    def active(self) -> bool:
        """Whether anything is ever cut off."""
        return self.ratio < 1 or (self.schedule != "constant" and self.start < 1)

    def training_ratio(self, step: int | Int[Array, ""]) -> Float[Array, ""] | None:
        """Returns r(t), float32, of a ratio that is not adaptive; None without a curriculum.

        Args:
          step: t, updates made before; 0 for the first one.

        Example:
          >>> curriculum = Curriculum(0.6, schedule="linear", steps=4)
          >>> [f"{curriculum.training_ratio(t):.2f}" for t in range(5)]
          ['1.00', '0.90', '0.80', '0.70', '0.60']
        """
        if not self.active:
            return None
        ratio = SCHEDULES[self.schedule](self, jnp.minimum(step, self.steps))
        return jnp.asarray(ratio, jnp.float32)

    def adapted_ratio(
        self,
        present: Float[Array, ""],
        step: Int[Array, ""],
        logits: Logits,
        image: UInt8[Array, "b h w 3"],
    ) -> Float[Array, ""]:
        """Returns the ratio of a step of an adaptive curriculum: the best one, or the present one.

        It is a function of the state and of the batch of that step alone.

        Args:
          present: the ratio of the update before.
          step: t, updates made before; the first choice is made at t = k.
          logits: the network in evaluation mode.
          image: the batch of this step.
        """
        fractions = np.arange(self.choices) / self.choices
        ratios = jnp.asarray(self.ratio + (1 - self.ratio) * fractions, jnp.float32)

        def choose() -> Array:
            return best_ratio(
                logits,
                normalize_image(image),
                ratios,
                alpha=self.alpha,
                beta=self.beta,
                band=self.band,
            )

        due = (step > 0) & (step % self.every == 0)
        return jax.lax.cond(due, choose, lambda: present)

    def evaluation_ratio(self, present: Any = None) -> Array | float | None:
        """Returns the ratio that is predicted with; None for full spectra.

        Args:
          present: that of the state where the curriculum is adaptive; else unused.

        Example:
          >>> [Curriculum(0.6, evaluate=e).evaluation_ratio() for e in ("full", "final")]
          [None, 0.6]
        """
        if self.evaluate == "full":
            return None
        if self.adaptive:
            return present
        return self.ratio if self.ratio < 1 else None

    def network_input(
        self, image: UInt8[Array, "b h w 3"], ratio: Float[Array, ""] | float | None
    ) -> Float[Array, "b h w 3"]:
        """Returns what the network sees of images: normalized, and low-passed by a ratio.

        Args:
          image: RGB bytes; a window or a crop is filtered by itself.
          ratio: `training_ratio` or `evaluation_ratio`.

        Example:
          >>> Curriculum(0.5).network_input(jnp.zeros((1, 4, 4, 3), jnp.uint8), 0.5).shape
          (1, 4, 4, 3)
        """
        x = normalize_image(image)
        return x if ratio is None else ratio_low_pass(x, ratio, band=self.band)
