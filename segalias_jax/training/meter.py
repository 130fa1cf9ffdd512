"""Numbers of training steps, collected on the way."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Mapping
from typing import Any

import jax
from tqdm import tqdm

from segalias_jax.errors import InputError


class NonFiniteError(InputError):
    """A loss or gradient that is no finite number.

    Args:
      step: where it turned up.
      what: "loss" or "grad_norm".
      value: nan or an infinity.

    Example:
      >>> raise NonFiniteError(3, "loss", math.nan)
      Traceback (most recent call last):
      segalias_jax.training.meter.NonFiniteError: step 3: the loss is nan; lower the learning rate \
or lengthen its warm-up, and start in another folder
    """

    def __init__(self, step: int, what: str, value: float):
        self.step = step
        super().__init__(
            f"step {step}: the {what} is {value}; lower the learning rate or lengthen its warm-up, "
            "and start in another folder"
        )


class Meter:
    """Collects the numbers of steps without making the device wait.

    The numbers of a step are fetched when the next one has been started.

    Args:
      skip: how many steps in a row may be without finite numbers; they are told of and left out.

    Example:
      >>> meter = Meter()
      >>> for step in (1, 2):
      ...     meter.add(step, {"loss": float(step), "rate": 0.5}, images=4)
      >>> line = meter.read()
      >>> line["step"], line["loss"], line["rate"]
      (2, 1.5, 0.5)
    """

    def __init__(self, *, skip: int = 0):
        self._skip, self._in_row = skip, 0
        self._waiting: tuple[int, Mapping[str, Any]] | None = None
        self._compiled = False
        self.restart()

    def restart(self) -> None:
        """Forgets the numbers so far and starts the clock."""
        self._lines: list[dict[str, float]] = []
        self._skipped = 0
        self._restart_clock()

    def add(self, step: int, metrics: Mapping[str, Any], *, images: int) -> None:
        """Takes the numbers of a step.

        Args:
          step: updates made.
          metrics: scalars, possibly still being computed.
          images: that the step was made with, or rows of another kind.

        Raises:
          NonFiniteError: the numbers of the step before are not finite.
        """
        self.fetch()
        self._waiting = step, metrics
        self._timed += images
        if not self._compiled:  # the first step says how long compilation takes, not training
            jax.block_until_ready(metrics)
            self._compiled = True
            self._restart_clock()

    def read(self) -> dict[str, Any]:
        """Returns the mean loss and the last of the other numbers since `restart`, and restarts.

        Where steps were skipped, "skipped" is their number.

        Raises:
          NonFiniteError: a step's numbers are not finite.
        """
        self.fetch()
        speed = self._timed / (time.perf_counter() - self._start)
        finite = [line["loss"] for line in self._lines if math.isfinite(line["loss"])]
        loss = sum(finite) / len(finite) if finite else math.nan
        line = self._lines[-1] | {"loss": loss, "images_per_second": round(speed, 3)}
        line |= {"skipped": self._skipped} if self._skipped else {}
        self.restart()
        return line

    def fetch(self) -> None:
        """Waits for the numbers of the last step.

        Raises:
          NonFiniteError: they are not finite.
        """
        if self._waiting is None:
            return
        step, metrics = self._waiting
        self._waiting = None
        numbers = {key: float(value) for key, value in jax.device_get(dict(metrics)).items()}
        wrong = [key for key in ("loss", "grad_norm") if not math.isfinite(numbers.get(key, 0.0))]
        self._in_row = self._in_row + 1 if wrong else 0
        if self._in_row > self._skip:
            raise NonFiniteError(step, wrong[0], numbers[wrong[0]])
        if wrong:
            self._skipped += 1
            told = f"warning: step {step}: the {wrong[0]} is {numbers[wrong[0]]}; update skipped"
            tqdm.write(told, file=sys.stderr)
        self._lines.append({"step": step, **numbers})

    def _restart_clock(self) -> None:
        self._timed = 0
        self._start = time.perf_counter()


def describe_step(line: Mapping[str, Any]) -> str:
    """Puts the numbers of some steps into words.

    Args:
      line: record with "loss", "images_per_second" and possibly "rate".

    Returns:
      Text for the bar.

    Example:
      >>> describe_step({"loss": 1.23456, "rate": 0.0123, "images_per_second": 41.26})
      'loss 1.235, rate 1.23e-02, 41.3 images/s'
    """
    speed = f"{line['images_per_second']:.1f} images/s"
    rate = f"rate {line['rate']:.2e}, " if "rate" in line else ""
    return f"loss {line['loss']:.3f}, {rate}{speed}"
