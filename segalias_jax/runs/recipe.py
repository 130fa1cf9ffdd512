"""A recipe as one frozen dataclass per section, parsed and checked once.

Recipes are written, stored and overridden as plain data, an `ml_collections.ConfigDict`; what runs
gets a `Recipe`, whose attributes have the same names and are of one form each. Sections that some
part of the library has as a dataclass of its own are just that; the others are declared here. Every
default and all documentation of keys comes from these declarations.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from ml_collections import config_dict

from segalias_jax.data.settings import DataSettings, read_settings
from segalias_jax.errors import InputError
from segalias_jax.evaluation.views import MODES, ViewSettings, read_view_settings
from segalias_jax.losses import AVERAGES, BALANCED, LOSSES, SUMS_OVER_PIXELS, check_loss
from segalias_jax.losses.pixel import check_class_weights
from segalias_jax.metrics import BOUNDARY_RULES, IGNORE_RULES
from segalias_jax.models import ModelConfig
from segalias_jax.settings import (
    Check,
    check_settings,
    defaults,
    documentation,
    integer,
    number,
    numbers,
    one_of,
    pairs,
    parse,
    setting,
    size,
    to_dict,
)
from segalias_jax.tasks.semantic import PRECISIONS
from segalias_jax.training.curriculum import Curriculum
from segalias_jax.training.optimizer import OPTIMIZERS
from segalias_jax.training.schedules import SCHEDULES
from segalias_jax.training.trainer import NONFINITE

_COUNT = integer(least=1)
_AMOUNT = number(least=0)
_TERMS = pairs("('dice', 1.0)")


def _class_weights(name: str, value: Any) -> tuple[float, ...] | str:
    """Numbers, or the word for counting them."""
    check_class_weights(value, None, name=name)
    return value if isinstance(value, str) else tuple(float(weight) for weight in value)


class _Checked:
    def __post_init__(self) -> None:
        check_settings(self)


@dataclasses.dataclass(frozen=True)
class LossSection(_Checked):
    """Section `loss`: what is minimized.

    Example:
      >>> LossSection().terms
      (('cross_entropy', 1.0),)
    """

    auxiliary_weight: float = setting(0.4, "weight of the auxiliary head's loss", check=_AMOUNT)
    terms: tuple[tuple[str, float], ...] = setting(
        (("cross_entropy", 1.0),),
        f"(name, weight) of what is summed: {', '.join(LOSSES)} (two classes)",
        check=_TERMS,
    )
    auxiliary_terms: tuple[tuple[str, float], ...] = setting(
        (), "the same for the auxiliary head; () for `terms`", check=_TERMS
    )
    average: str = setting(
        "all",
        '"all": over all pixels, ignored ones counting 0; "valid": over labeled ones',
        check=one_of(AVERAGES),
    )
    class_weights: tuple[float, ...] | str = setting(
        (),
        f"""one number per class, none, or "{BALANCED}": (1 - p) / p of each class, p being its
        fraction of the training pixels (two classes: 1 for the background)""",
        check=Check(_class_weights),
    )
    focal_gamma: float = setting(2.0, 'exponent of "focal"', check=_AMOUNT)
    ohem_threshold: float = setting(
        0.7,
        '"ohem" keeps pixels whose class has at most this probability',
        check=number(least=0, most=1),
    )
    ohem_min_kept: int = setting(
        100_000, "pixels per batch that it keeps at least", unit="pixels", check=_COUNT
    )
    boundary_weight: float = setting(
        5.0, 'of pixels near a boundary, in "boundary"', check=number(above=0)
    )
    boundary_width: int = setting(
        15, "side of the square that makes that band", unit="pixels", check=_COUNT
    )
    tversky_alpha: float = setting(0.3, 'weight of false positives in "tversky"')
    tversky_beta: float = setting(0.7, 'weight of false negatives in "tversky"')

    def __post_init__(self) -> None:
        super().__post_init__()
        self.check(num_classes=None)

    def check(self, *, num_classes: int | None) -> None:
        """Raises where terms, options and classes do not fit; see `losses.check_loss`.

        Args:
          num_classes: number of classes of the data; None where it is not known yet.

        Raises:
          InputError: by the key, without the section.
        """
        check_loss(
            self.terms,
            auxiliary_terms=self.auxiliary_terms,
            average=self.average,
            class_weights=self.class_weights,
            num_classes=num_classes,
            focal_gamma=self.focal_gamma,
            ohem_threshold=self.ohem_threshold,
            ohem_min_kept=self.ohem_min_kept,
            boundary_weight=self.boundary_weight,
            boundary_width=self.boundary_width,
            tversky_alpha=self.tversky_alpha,
            tversky_beta=self.tversky_beta,
        )


@dataclasses.dataclass(frozen=True)
class OptimizerSection(_Checked):
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
class ScheduleSection(_Checked):
    """Section `schedule`: arguments of `training.schedules.create_schedule`.

    Example:
      >>> ScheduleSection().name
      'poly'
    """

    name: str = setting("poly", "course of the learning rate", check=one_of(SCHEDULES))
    power: float = setting(0.9, 'exponent of the decay, "poly" only', check=_AMOUNT)
    end_value: float = setting(
        1e-4, 'rate at the end, whatever the multiplier; unused by "constant"', check=_AMOUNT
    )
    warmup_steps: int = setting(
        200, "length of the warm-up; 0 for none", unit="updates", check=integer(least=0)
    )
    warmup_ratio: float = setting(0.1, "fraction of the rate at the first update", check=_AMOUNT)


@dataclasses.dataclass(frozen=True)
class TrainSection(_Checked):
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
class MeshSection(_Checked):
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
class CheckpointSection(_Checked):
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
class TrackSection(_Checked):
    """Section `track`: where else the numbers of a run go.

    Example:
      >>> TrackSection().tensorboard
      False
    """

    tensorboard: bool = setting(False, "write RUN/tensorboard; needs segalias_jax[tensorboard]")
    wandb: str = setting("", 'project at Weights & Biases, a package of its own; "" for none')


@dataclasses.dataclass(frozen=True)
class EvalSection(_Checked):
    """Section `eval`: how images are shown to a network, and how it is scored.

    Example:
      >>> EvalSection(mode="slide").views((96, 96)).stride
      (64, 64)
    """

    batch_size: int = setting(
        1, "images, or windows, at a time, over all devices; bounds the memory", check=_COUNT
    )
    mode: str = setting(
        "whole",
        '"whole" images, or "slide": windows, averaged where they overlap',
        check=one_of(MODES),
    )
    window: tuple[int, ...] = setting(
        (),
        'of windows, "slide" only; () for data.crop',
        unit="pixels",
        check=size(optional=True),
    )
    stride: tuple[int, ...] = setting(
        (),
        "from one window to the next; () for two thirds of the window",
        unit="pixels",
        check=size("(down, right)", optional=True),
    )
    resize: tuple[int, ...] = setting(
        (),
        "sides to predict at; () for the image's own size",
        unit="pixels",
        check=size("(long, short)", optional=True),
    )
    multiple: int = setting(1, "sides are rounded up to a multiple of this", unit="pixels")
    scales: tuple[float, ...] = setting(
        (1.0,),
        "factors of that size, whose probabilities are averaged",
        check=numbers(number(above=0), "at least one positive factor", some=True),
    )
    flip: bool = setting(False, "average with the flipped image's probabilities")
    boundary: str = setting(
        "laplacian",
        '"laplacian": as published; "exact": any neighbor differs',
        check=one_of(BOUNDARY_RULES),
    )
    ignore: str = setting(
        "reference",
        '"reference": ignored pixels make boundaries; "exclude": they do not',
        check=one_of(IGNORE_RULES),
    )
    images: int = setting(6, "overlay pictures in the report", check=integer(least=0))

    def views(self, crop: Sequence[int], **changes: Any) -> ViewSettings:
        """Returns how images are shown; see `evaluation.read_view_settings`.

        Args:
          crop: (height, width) that the network was trained with.
          **changes: of `ViewSettings`, which go before the section's values.
        """
        return read_view_settings(self, crop, **changes)


SECTIONS: dict[str, type] = {
    "data": DataSettings,
    "model": ModelConfig,
    "loss": LossSection,
    "curriculum": Curriculum,
    "optimizer": OptimizerSection,
    "schedule": ScheduleSection,
    "train": TrainSection,
    "mesh": MeshSection,
    "checkpoint": CheckpointSection,
    "track": TrackSection,
    "eval": EvalSection,
}
"""What each section of a recipe is parsed into."""

# Keys that runs of earlier versions do not have; as long as they say nothing, nor do later runs.
_LATER = ("imports", "mixer_cutoff", "mixer_parts", "mixer_start", "auxiliary_terms")


@dataclasses.dataclass(frozen=True)
class Recipe:
    """All of a recipe: what `from_config` parsed, or whoever makes one without a file.

    Every attribute has the name of its key, as `recipe.train.batch_size` that of train.batch_size.
    `curriculum.steps` is no key: it is `train.steps`.

    Raises:
      InputError: sections that contradict each other, by the key.

    Example:
      >>> Recipe.from_config({"train": {"steps": 1e3}}).train.steps
      1000
      >>> Recipe.from_config({"train": {"stepps": 10}})
      Traceback (most recent call last):
      segalias_jax.errors.InputError: train.stepps: unknown key; did you mean train.steps?
    """

    name: str = setting("base", "name of the recipe, in reports")
    seed: int = setting(0, "of parameters, order, augmentation and dropout", check=integer(least=0))
    data: DataSettings = dataclasses.field(default_factory=DataSettings)
    model: ModelConfig = dataclasses.field(default_factory=ModelConfig)
    loss: LossSection = dataclasses.field(default_factory=LossSection)
    curriculum: Curriculum = dataclasses.field(default_factory=Curriculum)
    optimizer: OptimizerSection = dataclasses.field(default_factory=OptimizerSection)
    schedule: ScheduleSection = dataclasses.field(default_factory=ScheduleSection)
    train: TrainSection = dataclasses.field(default_factory=TrainSection)
    mesh: MeshSection = dataclasses.field(default_factory=MeshSection)
    checkpoint: CheckpointSection = dataclasses.field(default_factory=CheckpointSection)
    track: TrackSection = dataclasses.field(default_factory=TrackSection)
    eval: EvalSection = dataclasses.field(default_factory=EvalSection)

    def __post_init__(self) -> None:
        """Checks what no section can check by itself, and gives the curriculum its length."""
        check_settings(self)
        steps, accumulate = self.train.steps, self.train.accumulate
        if self.curriculum.steps != steps:
            curriculum = dataclasses.replace(self.curriculum, steps=steps)
            object.__setattr__(self, "curriculum", curriculum)  # frozen for all others
        if self.schedule.warmup_steps > steps:
            raise InputError(
                f"schedule.warmup_steps is {self.schedule.warmup_steps}, more than the {steps} "
                "steps of the run (train.steps)"
            )
        terms = (*self.loss.terms, *self.loss.auxiliary_terms)
        whole = [name for name, _ in terms if name not in SUMS_OVER_PIXELS]
        if accumulate > 1 and whole:
            raise InputError(
                f"train.accumulate is {accumulate}, but the loss {whole[0]!r} of a batch is no sum "
                "over parts of it; set it to 1, or leave that loss out"
            )
        if self.train.batch_size % accumulate:
            raise InputError(
                f"train.batch_size is {self.train.batch_size}, which does not split evenly in "
                f"{accumulate} parts (train.accumulate); choose a multiple of {accumulate}"
            )
        self.eval.views(self.data.crop)

    @classmethod
    def from_config(cls, config: config_dict.ConfigDict | Mapping[str, Any]) -> Recipe:
        """Parses a recipe, with all checks that need no data and no devices.

        Args:
          config: the recipe; keys and sections that it lacks, as one of an older version may, have
            their defaults.

        Returns:
          The recipe.

        Raises:
          InputError: an unknown key or a value that cannot be, by section and key.
        """
        parts: dict[str, Any] = {}
        own: dict[str, Any] = {}
        for key in config:
            (parts if key in SECTIONS else own)[key] = config[key]
        sections: dict[str, Any] = {}
        for name, kind in SECTIONS.items():
            given = parts.get(name, {})
            if isinstance(given, kind):
                sections[name] = given
            elif not isinstance(given, Mapping | config_dict.ConfigDict):
                raise InputError(f"{name}: {given!r} is no section; give its keys, as {name}.KEY")
            elif name == "data" and "source" in given:
                sections[name] = read_settings(given)
            else:
                sections[name] = parse(kind, given, section=name)
        return parse(cls, own, **sections)

    def to_flat(self) -> dict[str, Any]:
        """Returns all values by dotted key, in the order of `runs.recipes.flat_items`.

        Keys that came after the first release are left out where they have their default, so that
        a folder of an earlier run holds the same recipe.

        Example:
          >>> list(Recipe().to_flat())[:2]
          ['checkpoint.every', 'checkpoint.keep_best']
        """
        flat: dict[str, Any] = {}
        for key in sorted(("name", "seed", *SECTIONS)):
            part = getattr(self, key)
            if key not in SECTIONS:
                flat[key] = part
                continue
            for name, value in sorted(to_dict(part).items()):
                if name not in _LATER or value != getattr(type(part), name):
                    flat[f"{key}.{name}"] = value
        return flat


def default_config() -> config_dict.ConfigDict:
    """Returns all keys of a recipe with their defaults, locked.

    Example:
      >>> default_config().train.batch_size
      8
    """
    config = defaults(Recipe)
    for name, kind in SECTIONS.items():
        config[name] = defaults(kind)
    return config.lock()


def describe_keys() -> str:
    """Returns the documentation of all keys: default, unit, meaning and values.

    Example:
      >>> print(describe_keys().splitlines()[0])
      name = 'base'
    """
    parts = [documentation(Recipe)]
    parts += [documentation(kind, name) for name, kind in SECTIONS.items()]
    return "\n\n".join(parts)
