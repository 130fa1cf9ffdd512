"""Numbers of a run for TensorBoard and Weights & Biases, beside `metrics.jsonl`."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from segalias_jax.errors import InputError


class Trackers:
    """Hands numbers on to TensorBoard and Weights & Biases.

    Args:
      workdir: folder of the run.
      tensorboard: whether `tensorboard/` is written there.
      wandb: project at Weights & Biases; "" for none.
      about: what the run is of, for those services; a recipe's values by key, say.

    Raises:
      InputError: the package of a service is not installed.

    Example:
      >>> with Trackers(Path("run")) as trackers:
      ...     trackers.write({"step": 1, "loss": 0.5})
    """

    def __init__(
        self,
        workdir: Path,
        *,
        tensorboard: bool = False,
        wandb: str = "",
        about: Mapping[str, Any] | None = None,
    ):
        self._board, self._run = None, None
        if tensorboard:
            package = _load("tensorboardX", "tensorboard", "segalias_jax[tensorboard]")
            self._board = package.SummaryWriter(str(workdir / "tensorboard"))
        if wandb:
            package = _load("wandb", "wandb", "wandb")
            name = workdir.absolute().name
            self._run = package.init(
                project=wandb,
                name=name,
                id=name,
                resume="allow",
                dir=str(workdir),
                config=dict(about or {}),
            )

    def __enter__(self) -> Trackers:
        return self

    def __exit__(self, *_: object) -> None:
        if self._board is not None:
            self._board.close()
        if self._run is not None:
            self._run.finish()

    def write(self, line: Mapping[str, Any]) -> None:
        """Hands on the numbers of a line of `metrics.jsonl`; lists stay there."""
        numbers = {key: float(v) for key, v in line.items() if isinstance(v, int | float)}
        step = int(numbers.pop("step"))
        if self._board is not None:
            for key, value in numbers.items():
                self._board.add_scalar(key, value, step)
        if self._run is not None:
            self._run.log(numbers, step=step)


def check_trackers(*, tensorboard: bool, wandb: str) -> None:
    """Raises if the package of a service is not installed.

    Args:
      tensorboard: as for `Trackers`.
      wandb: as for `Trackers`.

    Raises:
      InputError: naming the argument and what to install.

    Example:
      >>> check_trackers(tensorboard=False, wandb="")
    """
    if tensorboard:
        _load("tensorboardX", "tensorboard", "segalias_jax[tensorboard]")
    if wandb:
        _load("wandb", "wandb", "wandb")


def _load(module: str, key: str, package: str) -> Any:
    try:
        return importlib.import_module(module)
    except ImportError:
        raise InputError(
            f"{key}: {module} is not installed; pip install '{package}' or unset it"
        ) from None
