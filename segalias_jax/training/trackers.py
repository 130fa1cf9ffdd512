"""Numbers of a run for TensorBoard and Weights & Biases, beside `metrics.jsonl`."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ml_collections import config_dict

from segalias_jax.errors import InputError
from segalias_jax.runs.recipes import flat_items


class Trackers:
    """Hands numbers on to the services that a recipe's section `track` names.

    Args:
      config: the recipe.
      workdir: folder of the run.

    Raises:
      InputError: the package of a service is not installed.

    Example:
      >>> config = config_dict.ConfigDict({"track": {"tensorboard": False, "wandb": ""}})
      >>> with Trackers(config, Path("run")) as trackers:
      ...     trackers.write({"step": 1, "loss": 0.5})
    """

    def __init__(self, config: config_dict.ConfigDict, workdir: Path):
        self._board, self._run = None, None
        if config.track.tensorboard:
            package = _load("tensorboardX", "track.tensorboard", "segalias_jax[tensorboard]")
            self._board = package.SummaryWriter(str(workdir / "tensorboard"))
        if config.track.wandb:
            package = _load("wandb", "track.wandb", "wandb")
            name = workdir.absolute().name
            self._run = package.init(
                project=config.track.wandb,
                name=name,
                id=name,
                resume="allow",
                dir=str(workdir),
                config=flat_items(config),
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


def check_trackers(config: config_dict.ConfigDict) -> None:
    """Raises if the package of a service that a recipe names is not installed.

    Args:
      config: the recipe.

    Raises:
      InputError: naming the key and what to install.

    Example:
      >>> check_trackers(config_dict.ConfigDict({"track": {"tensorboard": False, "wandb": ""}}))
    """
    if config.track.tensorboard:
        _load("tensorboardX", "track.tensorboard", "segalias_jax[tensorboard]")
    if config.track.wandb:
        _load("wandb", "track.wandb", "wandb")


def _load(module: str, key: str, package: str) -> Any:
    try:
        return importlib.import_module(module)
    except ImportError:
        raise InputError(
            f"{key}: {module} is not installed; pip install '{package}' or unset the key"
        ) from None
