"""Frequency curriculum: how much of an image's spectrum a network gets to see, and when."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import config_dict

from segalias_jax.analysis.objective import Logits, best_ratio
from segalias_jax.errors import InputError
from segalias_jax.ops import check_ratio, normalize_image, ratio_low_pass
from segalias_jax.typing import Array, Float, Int, UInt8

EVALUATE = ("full", "final")
ADAPTIVE = "adaptive"


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
      ratio: e, in (0, 1]; 1 for the full spectrum. For "adaptive" the smallest choice, below 1.
      schedule: one of `SCHEDULES`.
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
      InputError: an unknown name, or a number out of range, by its key in the section `curriculum`.

    Example:
      >>> Curriculum(ratio=1.5)
      Traceback (most recent call last):
      segalias_jax.errors.InputError: curriculum.ratio is 1.5, but must lie in (0, 1]
    """

    ratio: float = 1.0
    schedule: str = "constant"
    start: float = 1.0
    stairs: int = 4
    band: str = "square"
    every: int = 500
    choices: int = 16
    alpha: float = 1.0
    beta: float = 1.0
    evaluate: str = "full"
    steps: int = 1

    def __post_init__(self):
        """Checks every value."""
        for key, choices in (("schedule", (*SCHEDULES, ADAPTIVE)), ("evaluate", EVALUATE)):
            if getattr(self, key) not in choices:
                raise InputError(
                    f"curriculum.{key} is {getattr(self, key)!r}; choose one of "
                    f"{', '.join(choices)}"
                )
        check_ratio("curriculum.ratio", self.ratio)
        check_ratio("curriculum.start", self.start)
        try:
            check_ratio("ratio", self.ratio, self.band)
        except InputError as error:
            raise InputError(f"curriculum.{error}") from None
        for key, least in (("stairs", 2), ("every", 1), ("choices", 2), ("alpha", 0), ("beta", 0)):
            if not least <= getattr(self, key) < math.inf:
                raise InputError(
                    f"curriculum.{key} is {getattr(self, key)}; it must be at least {least}"
                )
        if self.adaptive and self.ratio == 1:
            raise InputError(
                "curriculum.ratio is 1.0, but the smallest ratio that curriculum.schedule "
                "'adaptive' may choose has to be below 1"
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

        A function of the state and of the batch of that step, so a run that goes on from any step
        chooses as the unbroken one does.

        Args:
          present: the ratio of the update before.
          step: t, updates made before; the first choice is made at t = k.
          logits: the network in evaluation mode.
          image: the batch of this step.
        """
        shares = np.arange(self.choices) / self.choices
        ratios = jnp.asarray(self.ratio + (1 - self.ratio) * shares, jnp.float32)
        weights = {"alpha": self.alpha, "beta": self.beta, "band": self.band}

        def choose() -> Array:
            return best_ratio(logits, normalize_image(image), ratios, **weights)

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


def _linear(curriculum: Curriculum, step: Int[Array, ""]) -> Float[Array, ""]:
    # The difference is taken between whole numbers, so that the end is the ratio itself.
    left = (curriculum.steps - step) / curriculum.steps
    return curriculum.ratio + (curriculum.start - curriculum.ratio) * left


def _cosine(curriculum: Curriculum, step: Int[Array, ""]) -> Float[Array, ""]:
    left = (1 + jnp.cos(math.pi * (step / curriculum.steps))) / 2
    return curriculum.ratio + (curriculum.start - curriculum.ratio) * left


def _step(curriculum: Curriculum, step: Int[Array, ""]) -> Float[Array, ""]:
    last = curriculum.stairs - 1
    # Where each level begins, in whole steps: a product with the step could overflow.
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


def read_curriculum(config: config_dict.ConfigDict | Mapping[str, Any]) -> Curriculum:
    """Reads the section `curriculum` of a recipe.

    Args:
      config: the recipe; that of a run from before there were curricula has no such section.

    Returns:
      The curriculum.

    Raises:
      InputError: an unknown key, or as for `Curriculum`.

    Example:
      >>> read_curriculum({"curriculum": {"ratio": 0.6}, "train": {"steps": 100}}).steps
      100
    """
    section = dict(config.get("curriculum", {}))
    known = [field.name for field in dataclasses.fields(Curriculum) if field.name != "steps"]
    for key in section:
        if key not in known:
            raise InputError(f"curriculum.{key} does not exist; choose one of {', '.join(known)}")
    return Curriculum(**section, steps=config["train"]["steps"])
