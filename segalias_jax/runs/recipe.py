"""A recipe as one frozen dataclass per section, parsed and checked once.

Recipes are written, stored and overridden as plain data, an `ml_collections.ConfigDict`; what runs
gets a `Recipe`, whose attributes have the same names and are of one form each. Sections that some
part of the library has as a dataclass of its own are just that; the others are declared here. Every
default and all documentation of keys comes from these declarations.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

from ml_collections import config_dict

from segalias_jax.data.instance_settings import InstanceSettings, read_instance_settings
from segalias_jax.data.settings import DataSettings, read_settings
from segalias_jax.errors import InputError
from segalias_jax.evaluation.views import MODES, ViewSettings, read_view_settings
from segalias_jax.losses import AVERAGES, BALANCED, LOSSES, SUMS_OVER_PIXELS, check_loss
from segalias_jax.losses.pixel import check_class_weights
from segalias_jax.metrics import BOUNDARY_RULES, IGNORE_RULES
from segalias_jax.models import UNIVERSAL, ModelConfig
from segalias_jax.runs.sections import (
    QUERY_KEYS,
    Checked,
    CheckpointSection,
    MeshSection,
    OptimizerSection,
    QueryLossSection,
    ScheduleSection,
    TrackSection,
    TrainSection,
    refuse_unread,
)
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
from segalias_jax.training.curriculum import Curriculum

_COUNT = integer(least=1)
_AMOUNT = number(least=0)
_TERMS = pairs("('dice', 1.0)")


def _class_weights(name: str, value: Any) -> tuple[float, ...] | str:
    """Numbers, or the word for counting them."""
    check_class_weights(value, None, name=name)
    return value if isinstance(value, str) else tuple(float(weight) for weight in value)


@dataclasses.dataclass(frozen=True)
class LossSection(QueryLossSection):
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
class EvalSection(Checked):
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


Self = TypeVar("Self", bound="BaseRecipe")


@dataclasses.dataclass(frozen=True)
class BaseRecipe:
    """What the recipes of all tasks have in common; each task has a class of its own.

    Every attribute has the name of its key, as `recipe.train.batch_size` that of train.batch_size.

    Raises:
      InputError: sections that contradict each other, by the key.

    Example:
      >>> [name for name in BaseRecipe.sections()]
      ['optimizer', 'schedule', 'train', 'mesh', 'checkpoint', 'track']
    """

    name: str = setting("base", "name of the recipe, in reports")
    seed: int = setting(0, "of parameters, order, augmentation and dropout", check=integer(least=0))
    optimizer: OptimizerSection = dataclasses.field(default_factory=OptimizerSection)
    schedule: ScheduleSection = dataclasses.field(default_factory=ScheduleSection)
    train: TrainSection = dataclasses.field(default_factory=TrainSection)
    mesh: MeshSection = dataclasses.field(default_factory=MeshSection)
    checkpoint: CheckpointSection = dataclasses.field(default_factory=CheckpointSection)
    track: TrackSection = dataclasses.field(default_factory=TrackSection)

    def __post_init__(self) -> None:
        """Checks what no section can check by itself."""
        check_settings(self)
        steps, accumulate = self.train.steps, self.train.accumulate
        if self.schedule.warmup_steps > steps:
            raise InputError(
                f"schedule.warmup_steps is {self.schedule.warmup_steps}, more than the {steps} "
                "steps of the run (train.steps)"
            )
        if self.train.batch_size % accumulate:
            raise InputError(
                f"train.batch_size is {self.train.batch_size}, which does not split evenly in "
                f"{accumulate} parts (train.accumulate); choose a multiple of {accumulate}"
            )

    @property
    def pretrained(self) -> str:
        """Weights that a run starts from; "" for none."""
        return ""

    @property
    def freezes(self) -> bool:
        """Whether some parameters of the network get no updates."""
        return False

    @classmethod
    def sections(cls) -> dict[str, type]:
        """Returns what each section of a recipe is parsed into."""
        fields = dataclasses.fields(cls)
        return {f.name: f.default_factory for f in fields if isinstance(f.default_factory, type)}

    @classmethod
    def from_config(cls: type[Self], config: config_dict.ConfigDict | Mapping[str, Any]) -> Self:
        """Parses a recipe, with all checks that need no data and no devices.

        Args:
          config: the recipe; keys and sections that it lacks, as one of an older version may, have
            their defaults.

        Returns:
          The recipe.

        Raises:
          InputError: an unknown key or a value that cannot be, by section and key.
        """
        kinds = cls.sections()
        parts: dict[str, Any] = {}
        own: dict[str, Any] = {}
        for key in config:
            (parts if key in kinds else own)[key] = config[key]
        sections: dict[str, Any] = {}
        for name, kind in kinds.items():
            given = parts.get(name, {})
            if isinstance(given, kind):
                sections[name] = given
            elif not isinstance(given, Mapping | config_dict.ConfigDict):
                raise InputError(f"{name}: {given!r} is no section; give its keys, as {name}.KEY")
            elif kind is DataSettings and "source" in given:
                sections[name] = read_settings(given)
            elif kind is InstanceSettings:
                sections[name] = read_instance_settings(given)
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
        for key in sorted((*to_dict(self), *self.sections())):
            part = getattr(self, key)
            if key in self.sections():
                found = {f"{key}.{name}": value for name, value in sorted(to_dict(part).items())}
                usual = {f"{key}.{name}": getattr(type(part), name) for name in to_dict(part)}
            else:
                found, usual = {key: part}, {"task": "semantic"}
            flat |= {k: v for k, v in found.items() if k not in _LATER or v != usual[k]}
        return flat


@dataclasses.dataclass(frozen=True)
class Recipe(BaseRecipe):
    """A recipe of semantic segmentation: what `from_config` parsed, or whoever makes one himself.

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

    task: str = setting("semantic", "what is learned", check=one_of(("semantic",)))
    data: DataSettings = dataclasses.field(default_factory=DataSettings)
    model: ModelConfig = dataclasses.field(default_factory=ModelConfig)
    loss: LossSection = dataclasses.field(default_factory=LossSection)
    curriculum: Curriculum = dataclasses.field(default_factory=Curriculum)
    eval: EvalSection = dataclasses.field(default_factory=EvalSection)

    def __post_init__(self) -> None:
        """Checks the sections against each other, and gives the curriculum its length."""
        super().__post_init__()
        steps, accumulate = self.train.steps, self.train.accumulate
        if self.curriculum.steps != steps:
            curriculum = dataclasses.replace(self.curriculum, steps=steps)
            object.__setattr__(self, "curriculum", curriculum)  # frozen for all others
        name = self.model.name
        by_queries = name in UNIVERSAL
        own = [field.name for field in dataclasses.fields(self.loss)]
        unread = [key for key in own if (key in QUERY_KEYS) != by_queries]
        refuse_unread(self.loss, unread, where="loss", network=name)
        if by_queries and (accumulate > 1 or self.mesh.spatial > 1):
            raise InputError(
                f"train.accumulate is {accumulate} and mesh.spatial {self.mesh.spatial}, but the "
                f"loss of {name} is over whole masks of a whole batch; set both to 1"
            )
        terms = (*self.loss.terms, *self.loss.auxiliary_terms)
        whole = [name for name, _ in terms if name not in SUMS_OVER_PIXELS]
        if accumulate > 1 and whole:
            raise InputError(
                f"train.accumulate is {accumulate}, but the loss {whole[0]!r} of a batch is no sum "
                "over parts of it; set it to 1, or leave that loss out"
            )
        self.eval.views(self.data.crop)

    @property
    def pretrained(self) -> str:
        """Weights that a run starts from; "" for none."""
        return self.model.pretrained

    @property
    def freezes(self) -> bool:
        """Whether some parameters of the network get no updates."""
        return self.model.frozen_stages >= 0 or self.model.frozen_norm


# Keys that runs of earlier versions do not have; as long as they say nothing, nor do later runs.
_LATER = frozenset(
    (
        *("data.stuff", "data.repeat_by_objects", "task", "schedule.milestones"),
        *("loss.auxiliary_terms", "model.imports"),
        *("model.mixer_cutoff", "model.mixer_parts", "model.mixer_start", "model.box_channels"),
        *("model.filter_place", "model.lateral_norm", "train.matmul_precision"),
        *("model.mask_channels", "model.anchor_sizes", "model.anchor_ratios", "model.convention"),
        *("model.pre_nms", "model.post_nms", "model.pre_nms_train", "model.post_nms_train"),
        *("model.rpn_samples", "model.box_samples", "model.rpn_nms_threshold"),
        *("model.nms_threshold", "model.score_threshold", "model.max_detections"),
        *("loss.query_terms", "loss.no_object_weight", "loss.points"),
        *("eval.least_probable", "eval.overlap"),
        *("model.queries", "model.pixel_layers", "model.decoder_layers"),
        *("model.pixel_feedforward", "model.feedforward"),
    )
)


def default_config(cls: type[BaseRecipe] = Recipe) -> config_dict.ConfigDict:
    """Returns all keys of a recipe with their defaults, locked.

    Args:
      cls: the recipes of a task.

    Example:
      >>> default_config().train.batch_size
      8
    """
    config = defaults(cls)
    for name, kind in cls.sections().items():
        config[name] = defaults(kind)
    return config.lock()


def describe_keys(cls: type[BaseRecipe] = Recipe) -> str:
    """Returns the documentation of all keys: default, unit, meaning and values.

    Args:
      cls: the recipes of a task.

    Example:
      >>> print(describe_keys().splitlines()[0])
      name = 'base'
    """
    parts = [documentation(cls)]
    parts += [documentation(kind, name) for name, kind in cls.sections().items()]
    return "\n\n".join(parts)
