"""Sections that the recipes of every task have, from the optimizer to the trackers."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable

from segalias_jax.errors import InputError, check_choice
from segalias_jax.losses.queries import QueryLoss
from segalias_jax.settings import (
    check_settings,
    integer,
    number,
    numbers,
    one_of,
    pairs,
    setting,
)
from segalias_jax.tasks.semantic import PRECISIONS
from segalias_jax.training.optimizer import OPTIMIZERS
from segalias_jax.training.schedules import SCHEDULES
from segalias_jax.training.trainer import NONFINITE

MATMUL_PRECISIONS = ("default", "high", "highest")
_COUNT = integer(least=1)
_AMOUNT = number(least=0)


class Checked:
    """A section that checks its values when it is made."""

    def __post_init__(self) -> None:
        """Raises `InputError` for a value that its setting refuses."""
        check_settings(self)


def refuse_unread(section: Checked, keys: Iterable[str], *, where: str, network: str) -> None:
    """Raises `InputError` where one of the keys of a section does not have its default.

    Args:
      section: of a recipe.
      keys: that a network does not read.
      where: name of the section.
      network: name of the network.

    Example:
      >>> refuse_unread(OptimizerSection(), ["momentum"], where="optimizer", network="unet")
    """
    for key in keys:
        value = getattr(section, key)
        if value != getattr(type(section), key):
            raise InputError(
                f"{where}.{key} is {value!r}, which model.name={network} does not read; leave it "
                "out"
            )


@dataclasses.dataclass(frozen=True)
class QueryLossSection(Checked):
    """Keys of the section `loss` that networks of queries read; see `losses.queries.QueryLoss`.

    Example:
      >>> QueryLossSection().queries() == QueryLoss()
      True
    """

    query_terms: tuple[tuple[str, float], ...] = setting(
        (("class", 2.0), ("mask", 5.0), ("dice", 5.0)),
        """(name, weight) of what is summed, and compared when queries are assigned to objects:
        "mask2former" """,
        check=pairs("('dice', 5.0)"),
    )
    no_object_weight: float = setting(
        0.1, 'of queries without an object, in "class": "mask2former"', check=_AMOUNT
    )
    points: int = setting(12544, 'of a mask that are read: "mask2former"', check=integer(least=4))

    def __post_init__(self) -> None:
        """Checks the names of the terms, too."""
        super().__post_init__()
        for name, _ in self.query_terms:
            check_choice("query_terms", name, ("class", "mask", "dice"))

    def queries(self) -> QueryLoss:
        """Returns the loss, as the tasks take it; terms that are left out weigh nothing."""
        weights = {"class": 0.0, "mask": 0.0, "dice": 0.0} | dict(self.query_terms)
        return QueryLoss(
            class_weight=weights["class"],
            mask_weight=weights["mask"],
            dice_weight=weights["dice"],
            no_object_weight=self.no_object_weight,
            points=self.points,
        )


QUERY_KEYS = tuple(field.name for field in dataclasses.fields(QueryLossSection))
"""The keys of the section `loss` that networks of queries alone read."""


@dataclasses.dataclass(frozen=True)
class OptimizerSection(Checked):
    """Section `optimizer`: arguments of `training.optimizer.create_optimizer`, and the rate.

    Example:
      >>> OptimizerSection().momentum
      0.9
    """

    name: str = setting("sgd", "how parameters follow their gradients", check=one_of(OPTIMIZERS))
    learning_rate: float = setting(0.01, "per update, where the decay starts", check=_AMOUNT)
    momentum: float = setting(
        0.9, "fraction of the old direction kept (AdamW: beta1)", check=number(least=0, below=1)
    )
    weight_decay: float = setting(
        5e-4, "of every parameter; in the gradient (sgd), or decoupled (adamw)", check=_AMOUNT
    )
    clip_norm: float = setting(
        0.0,
        "norm that the gradient of all parameters is scaled down to; 0 for none",
        check=_AMOUNT,
    )
    rate_multipliers: tuple[tuple[str, float], ...] = setting(
        (("decoder", 2.0), ("classifier", 2.0), ("auxiliary", 2.0), ("mixer", 2.0)),
        "(substring of a parameter's path, factor of its rate); the first that occurs counts",
        check=pairs("('decoder', 2.0)"),
    )


@dataclasses.dataclass(frozen=True)
class ScheduleSection(Checked):
    """Section `schedule`: arguments of `training.schedules.create_schedule`.

    Example:
      >>> ScheduleSection().name
      'poly'
    """

    name: str = setting("poly", "course of the learning rate", check=one_of(SCHEDULES))
    power: float = setting(0.9, 'exponent of the decay, "poly" only', check=_AMOUNT)
    end_value: float = setting(
        1e-4, 'rate at the end, whatever the multiplier; "poly" and "cosine"', check=_AMOUNT
    )
    milestones: tuple[int, ...] = setting(
        (),
        'from which on "multistep" takes a tenth of the rate',
        unit="updates",
        check=numbers(integer(least=1), "positive integers"),
    )
    warmup_steps: int = setting(
        200, "length of the warm-up; 0 for none", unit="updates", check=integer(least=0)
    )
    warmup_ratio: float = setting(0.1, "fraction of the rate at the first update", check=_AMOUNT)


@dataclasses.dataclass(frozen=True)
class TrainSection(Checked):
    """Section `train`: how long, in what batches, and what is done about trouble.

    Example:
      >>> TrainSection().batch_size
      8
    """

    steps: int = setting(80000, "length of the run", unit="updates", check=_COUNT)
    batch_size: int = setting(8, "images per update, over all devices", unit="images", check=_COUNT)
    eval_every: int = setting(
        4000, "between validations, each of which saves a checkpoint", unit="updates", check=_COUNT
    )
    log_every: int = setting(50, "between lines of metrics.jsonl", unit="updates", check=_COUNT)
    precision: str = setting(
        "float32", "of the network; parameters are float32", check=one_of(PRECISIONS)
    )
    matmul_precision: str = setting(
        "default",
        """of float32 products on a TPU or GPU: "default" is bfloat16 and TF32 there, "high" three
        such products, "highest" all of float32; filters and losses have all of it in any case""",
        check=one_of(MATMUL_PRECISIONS),
    )
    accumulate: int = setting(
        1,
        """parts that a batch is computed in, one after the other, for less memory; gradients are
        those of the whole batch, but batch normalization sees a part at a time""",
        check=_COUNT,
    )
    ema_decay: float = setting(
        0.0,
        "fraction that averaged parameters keep per update; 0 for none, 0.999 is usual",
        check=number(least=0, below=1),
    )
    nonfinite: str = setting(
        "stop",
        'a loss or gradient that is no finite number: "stop" the run, or "skip" the update',
        check=one_of(NONFINITE),
    )
    nonfinite_limit: int = setting(
        10, "skipped in a row, after which the run stops", unit="updates", check=_COUNT
    )
    stall_seconds: float = setting(
        600.0,
        "after which a step that is not over is reported; 0 for never",
        unit="seconds",
        check=_AMOUNT,
    )


@dataclasses.dataclass(frozen=True)
class MeshSection(Checked):
    """Section `mesh`: arguments of `training.sharding.create_mesh`.

    Example:
      >>> MeshSection().data
      -1
    """

    data: int = setting(-1, "devices that share a batch; -1 for all that are left")
    fsdp: int = setting(
        1, "devices that share a batch and the arrays of parameters and optimizer", check=_COUNT
    )
    spatial: int = setting(1, "devices that share the height of an image", check=_COUNT)


@dataclasses.dataclass(frozen=True)
class CheckpointSection(Checked):
    """Section `checkpoint`: when the state is saved, and what is kept.

    Example:
      >>> CheckpointSection().keep_last
      2
    """

    every: int = setting(
        0,
        "between checkpoints; 0 for those of validations only",
        unit="updates",
        check=integer(least=0),
    )
    keep_last: int = setting(2, "latest checkpoints kept", check=_COUNT)
    keep_best: int = setting(
        1,
        "checkpoints kept beside them, by mIoU; in binary segmentation by the images' Dice",
        check=_COUNT,
    )


@dataclasses.dataclass(frozen=True)
class TrackSection(Checked):
    """Section `track`: where else the numbers of a run go.

    Example:
      >>> TrackSection().tensorboard
      False
    """

    tensorboard: bool = setting(False, "write RUN/tensorboard; needs segalias_jax[tensorboard]")
    wandb: str = setting("", 'project at Weights & Biases, a package of its own; "" for none')
