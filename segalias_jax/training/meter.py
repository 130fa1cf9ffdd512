"""Numbers of training steps, collected on the way."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from typing import Any

import jax

from segalias_jax.errors import InputError


class Meter:
    """Collects the numbers of steps without making the device wait.

    The numbers of a step are fetched when the next one has been started.

    Args:
      batch_size: images per step.

    Example:
      >>> meter = Meter(4)
      >>> for step in (1, 2):
      ...     meter.add(step, {"loss": float(step), "rate": 0.5})
      >>> line = meter.read()
      >>> line["step"], line["loss"], line["rate"]
      (2, 1.5, 0.5)
    """

    def __init__(self, batch_size: int):
        self.batch_size = batch_size
        self._waiting: tuple[int, Mapping[str, Any]] | None = None
        self._compiled = False
        self.restart()

    def restart(self) -> None:
        """Forgets the numbers so far and starts the clock."""
        self._lines: list[dict[str, float]] = []
        self._restart_clock()

    def add(self, step: int, metrics: Mapping[str, Any]) -> None:
        """Takes the numbers of a step.

        Args:
          step: updates made.
          metrics: scalars, possibly still being computed.

        Raises:
          InputError: the loss of the step before is no number.
        """
        self._fetch()
        self._waiting = step, metrics
        self._timed += 1
        if not self._compiled:  # the first step says how long compilation takes, not training
            jax.block_until_ready(metrics)
            self._compiled = True
            self._restart_clock()

    def read(self) -> dict[str, Any]:
        """Returns the mean loss and the last of the other numbers since `restart`, and restarts.

        Raises:
          InputError: a loss is no number.
        """
        self._fetch()
        speed = self._timed * self.batch_size / (time.perf_counter() - self._start)
        loss = sum(line["loss"] for line in self._lines) / len(self._lines)
        line = self._lines[-1] | {"loss": loss, "images_per_second": round(speed, 3)}
        self.restart()
        return line

    def _restart_clock(self) -> None:
        self._timed = 0
        self._start = time.perf_counter()

    def _fetch(self) -> None:
        if self._waiting is None:
            return
        step, metrics = self._waiting
        self._waiting = None
        numbers = {key: float(value) for key, value in jax.device_get(dict(metrics)).items()}
        if not math.isfinite(numbers["loss"]):
            raise InputError(
                f"step {step}: the loss is {numbers['loss']}; lower optimizer.learning_rate or "
                "lengthen schedule.warmup_steps, and start in another --workdir"
            )
        self._lines.append({"step": step, **numbers})
