"""What is trained: data sets, their variants and seeds, in the order in which they run.

All seeds of a set see the same images for scoring, and all variants of a seed the same batches in
the same order. Every run is scored after its last step, so that nothing is chosen by its score.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from segalias_jax import ops
from segalias_jax.errors import InputError
from segalias_jax.runs.recipe import BaseRecipe
from segalias_jax.runs.recipes import flat_items, load_recipe
from segalias_jax.runs.tasks import parse_recipe

BASELINE = "baseline"
"""Name of the variant that the others of a set are compared with."""

DATA = "SEGALIAS_DATA"
"""Environment variable that says where the data sets lie."""

NETWORKS: dict[str, dict[str, Any]] = {
    BASELINE: {"model.downsample": "none", "model.mixer": "none"},
    "blur3": {"model.downsample": "blur3", "model.mixer": "none"},
    "flc": {"model.downsample": "flc", "model.mixer": "none"},
    "daf": {"model.downsample": "daf", "model.mixer": "none"},
    "freqmix": {"model.downsample": "none", "model.mixer": "freqmix"},
    "daf+freqmix": {"model.downsample": "daf", "model.mixer": "freqmix"},
}
"""Filters before strides, and mixers in blocks, by the name of the variant."""

CURRICULA: dict[str, dict[str, Any]] = {
    BASELINE: {},
    "fixed .9": {"curriculum.schedule": "constant", "curriculum.ratio": 0.9},
    "fixed .6": {"curriculum.schedule": "constant", "curriculum.ratio": 0.6},
    "final .9": {"curriculum.schedule": "linear", "curriculum.ratio": 0.9},
    "final .6": {"curriculum.schedule": "linear", "curriculum.ratio": 0.6},
    "adaptive": {
        "curriculum.schedule": "adaptive",
        "curriculum.ratio": 0.5,
        "curriculum.every": 100,
    },
}
"""What the network sees of the spectrum; the baseline sees all of it."""

GRATING_CONTRAST = 20
"""Gray values from the mean of a grating to its maximum."""

_OPERATORS = {
    "stem convolution": (1, 3, 3, 8),
    "stem pooling": (2, 3, 16, 16),
    "stage 2": (4, 3, 16, 32),
    "stage 3": (8, 3, 32, 64),
    "stage 4": (16, 3, 64, 128),
}
"""Image pixels per pixel of what an operator of the drawn scenes' network samples, its kernel's
side, and its channels before and after; all stride by 2."""


def grating_frequencies() -> dict[str, float]:
    """Frequencies a fifth below and above the Nyquist limit of each operator, in cycles per pixel.

    Example:
      >>> round(grating_frequencies()["stage 2, above"], 4)
      0.1061
    """
    frequencies = {}
    for name, (pixels, kernel, before, after) in _OPERATORS.items():
        rate = ops.equivalent_sampling_rate(kernel, 2, before, after)
        limit = ops.nyquist_frequency(rate) / pixels
        for side, factor in (("below", 0.8), ("above", 1.2)):
            frequencies[f"{name}, {side}"] = factor * limit
    return frequencies


def _networks(*names: str) -> dict[str, dict[str, Any]]:
    return {name: NETWORKS[name] for name in names}


@dataclasses.dataclass(frozen=True)
class Study:
    """A data set, and what is compared on it.

    Attributes:
      name: of the set, as in names of files.
      title: of the set in words.
      recipe: that all runs start from, by name.
      folder: of the data below `DATA`; "" where images are drawn.
      split: that is scored.
      changes: keys of the recipe that all runs have in common, "train.steps" among them.
      variants: by name the further keys; the first is the baseline.
      seeds: of each variant.
      aliasing: whether aliasing scores are measured, for which images are shown in their own size.
      gratings: whether scores are measured with gratings added, above and below Nyquist limits.
      images: most images that are scored, evenly spread over the split; 0 for all.
      dark: whether images are darkened before objects are found in them.
      borrowed: variants whose runs are those of another study, as "study/variant".
      trained: variants that train as one of another study, as "study/variant", and are scored anew.
      remark: what a reader must know of the set and the network.
    """

    name: str
    title: str
    recipe: str
    folder: str
    split: str
    changes: Mapping[str, Any]
    variants: Mapping[str, Mapping[str, Any]]
    seeds: Sequence[int]
    aliasing: bool = True
    gratings: bool = False
    images: int = 0
    dark: bool = False
    borrowed: Mapping[str, str] = dataclasses.field(default_factory=dict)
    trained: Mapping[str, str] = dataclasses.field(default_factory=dict)
    remark: str = ""

    def stem(self, variant: str, seed: int) -> str:
        """Name of the result file of a run, without its ending."""
        name = self.borrowed.get(variant, f"{self.name}/{variant}")
        return _as_file(f"{name}/{seed}")


def _as_file(name: str) -> str:
    return name.replace("/", "_").replace(" ", "_")


@dataclasses.dataclass(frozen=True)
class Experiment:
    """One training.

    Attributes:
      study: data set and what is compared on it.
      variant: one of the study's.
      seed: one of the study's.

    Example:
      >>> Experiment(STUDIES[0], "daf", 1).name
      'drawn/daf/1'
    """

    study: Study
    variant: str
    seed: int

    @property
    def name(self) -> str:
        """Set, variant and seed."""
        return f"{self.study.name}/{self.variant}/{self.seed}"

    @property
    def stem(self) -> str:
        """The name as that of a file."""
        return self.study.stem(self.variant, self.seed)

    @property
    def folder(self) -> str:
        """Name of the folder in which it trains, which two that train alike have in common."""
        trained = self.study.trained.get(self.variant, f"{self.study.name}/{self.variant}")
        return _as_file(f"{trained}/{self.seed}")

    def recipe(self) -> BaseRecipe:
        """Returns the recipe with all keys of the study, the variant and the seed.

        Raises:
          InputError: the recipe does not exist or does not know a key, or `DATA` is not set.
        """
        config: Any = load_recipe(self.study.recipe)
        root = os.environ.get(DATA, "")
        if self.study.folder and not root:
            raise InputError(f"{self.name}: set {DATA} to the folder of the data sets")
        changes = {**self.study.changes, **self.study.variants[self.variant], "seed": self.seed}
        if self.study.folder:
            changes["data.root"] = str(Path(root) / self.study.folder)
        # Of a run that ends with its last step, the only checkpoint that is scored is that one.
        changes["train.eval_every"] = changes["train.steps"]
        known = flat_items(config)
        for key, value in changes.items():
            if key not in known:
                raise InputError(f"{self.name}: recipe {self.study.recipe} has no key {key}")
            section, _, name = key.rpartition(".")
            with config.unlocked():
                setattr(config[section] if section else config, name, value)
        return parse_recipe(config)


_SCENES = {
    "data.image_size": (96, 96),
    "data.crop": (96, 96),
    "data.num_train": 2000,
    "train.steps": 2400,
}
_POLYPS = {"train.steps": 2000}
_LINES = {
    "model.encoder": "resnet18",
    "model.width": 16,
    "model.channels": 16,
    "optimizer.learning_rate": 3e-3,
    "train.steps": 600,
}
_STREETS = {"train.steps": 800}
_NUCLEI = {"train.steps": 1200}
_DARK = {"data.dark": 1.0}

STUDIES: tuple[Study, ...] = (
    Study(
        name="drawn",
        title="drawn scenes",
        recipe="quickstart:baseline",
        folder="",
        split="test",
        changes=_SCENES,
        variants=NETWORKS,
        seeds=range(5),
        gratings=True,
        remark="Scenes of 96x96 pixels and 8 classes: thin poles, three shapes, and three textures "
        "of 2.2 to 10 pixels a period that fill any shape; UPerNet on a ResNet-18 of 16 channels. "
        "Bands around boundaries, 15 pixels wide, hold most of so small a scene",
    ),
    Study(
        name="kvasir",
        title="polyps (Kvasir-SEG)",
        recipe="kvasir_unet:tiny",
        folder="kvasir_seg",
        split="test",
        changes=_POLYPS,
        variants=CURRICULA,
        seeds=range(3),
        aliasing=False,  # the network sees them at a quarter of their size
        remark="A U-Net on a ResNet-18 of 24 channels, which sees images at 96x96 pixels. "
        "Corruptions and shifts are those of the images of 352x352, so that weak ones vanish",
    ),
    Study(
        name="membranes",
        title="membranes (ISBI 2012)",
        recipe="membrane_unet:tiny",
        folder="membrane",
        split="val",
        changes=_LINES,
        variants=_networks(BASELINE, "daf", "daf+freqmix"),
        seeds=range(3),
        remark="A U-Net on a ResNet-18 of 16 channels, whose finest map has a quarter of the "
        "image's resolution: U-Net's plain encoder takes no mixer. Six images are scored",
    ),
    Study(
        name="cracks",
        title="road cracks (CrackForest)",
        recipe="cracks_unet:tiny",
        folder="crackforest",
        split="test",
        changes=_LINES,
        variants=_networks(BASELINE, "daf", "daf+freqmix"),
        seeds=range(3),
        remark="The network of the membranes",
    ),
    Study(
        name="camvid",
        title="streets (CamVid), from weights of ImageNet",
        recipe="camvid:lite0",
        folder="camvid",
        split="test",
        changes=_STREETS,
        variants=NETWORKS,
        seeds=range(3),
        images=117,
    ),
    Study(
        name="nuclei",
        title="nuclei (Data Science Bowl 2018), single objects",
        recipe="nuclei:baseline,tiny",
        folder="dsb2018",
        split="test",
        changes=_NUCLEI,
        variants=_networks(BASELINE, "daf", "daf+freqmix"),
        seeds=range(3),
        aliasing=False,
    ),
    Study(
        name="dark",
        title="nuclei in the dark, with a camera's noise",
        recipe="nuclei:baseline,tiny",
        folder="dsb2018",
        split="test",
        changes=_NUCLEI,
        variants={
            "noise": _DARK,
            "clean": {},
            "noise, pairs": _DARK | {"data.dark_pair": True},
            "noise, awd": _DARK | {"model.downsample": "awd"},
            "noise, scb": _DARK | {"model.mixer": "scb"},
            "noise, daf": _DARK | {"model.downsample": "daf"},
            "noise, freqmix": _DARK | {"model.mixer": "freqmix"},
        },
        seeds=range(3),
        aliasing=False,
        dark=True,
        trained={"clean": "nuclei/baseline"},
        remark="The nuclei above, scored with 10 to 100 times less light, as `segalias darken` has "
        "it. All were trained on darkened images, but for `clean`, trained on images as they are; "
        "`pairs` on both and the loss between their features (DSL). The last four have that filter "
        "or mixer besides",
    ),
    Study(
        name="cutoff",
        title="drawn scenes, cutoffs as factors of 1/4 cycles per pixel",
        recipe="quickstart:daf",
        folder="",
        split="test",
        changes=_SCENES,
        variants={
            "x1.41": {},
            "x1": {"model.cutoff": 0.25},
            "x1.2": {"model.cutoff": 0.3},
            "x1.6": {"model.cutoff": 0.4},
        },
        seeds=range(3),
        borrowed={"x1.41": "drawn/daf"},
    ),
    Study(
        name="stem",
        title="drawn scenes, an idea of our own: the filter at the stem's pooling, too",
        recipe="quickstart:daf",
        folder="",
        split="test",
        changes=_SCENES,
        variants={
            "daf": {},
            "daf+stem": {
                "model.imports": ("benchmarks.evidence.stem_filter",),
                "model.encoder": "resnet18_stem_filter",
            },
        },
        seeds=range(5),
        gratings=True,
        borrowed={"daf": "drawn/daf"},
        remark="Means of the first row are those of the drawn scenes above",
    ),
)
"""In the order in which they run."""


def experiments(studies: Sequence[Study] = STUDIES) -> list[Experiment]:
    """Lists all trainings: of a set all variants of a seed, then the next seed.

    So a plan that is stopped early has compared all variants, with fewer seeds.

    Args:
      studies: the sets.

    Example:
      >>> [one.name for one in experiments()][:2]
      ['drawn/baseline/0', 'drawn/blur3/0']
    """
    return [
        Experiment(study, variant, seed)
        for study in studies
        for seed in study.seeds
        for variant in study.variants
        if variant not in study.borrowed
    ]
