"""Trains one experiment and measures all that is told of it.

Everything but "timing" is a function of recipe, data and versions: a run that was killed and
resumed gives the same numbers.
"""

from __future__ import annotations

import dataclasses
import importlib.metadata
import json
import os
import platform
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
from flax import nnx

import segalias_jax as sa
from benchmarks.evidence import counts
from benchmarks.evidence.plan import GRATING_CONTRAST, Experiment, grating_frequencies
from segalias_jax.data.low_light import darken
from segalias_jax.evaluation.aliasing.robustness import Corruption
from segalias_jax.evaluation.aliasing.shift import mean_shift_consistency
from segalias_jax.inference.predictor import load_image
from segalias_jax.inference.trained import load_trained
from segalias_jax.metrics import ScoreRules
from segalias_jax.runs import setup
from segalias_jax.runs.evaluate import evaluate_run
from segalias_jax.runs.instances import true_objects
from segalias_jax.runs.recipe import Recipe
from segalias_jax.runs.studies import Studies
from segalias_jax.runs.tasks import bind
from segalias_jax.runs.train import train
from segalias_jax.runs.workdir import MACHINE_KEYS
from segalias_jax.scoring.counting import CountSettings, count_pair
from segalias_jax.scoring.image_counts import count_image
from segalias_jax.scoring.instances import InstanceScorer
from segalias_jax.scoring.instances.object_causes import FOUND, IOU
from segalias_jax.scoring.instances.totals import Totals
from segalias_jax.scoring.reports.tables import json_text
from segalias_jax.training.sharding import shard_batch

CORRUPTIONS = (
    *(Corruption("blur", size) for size in (3, 5, 9)),
    *(Corruption("noise", sigma) for sigma in (5.0, 10.0, 20.0)),
)
"""Under which mIoU is measured."""

FOLDED = (Corruption("blur", 3), Corruption("blur", 9), Corruption("noise", 20.0))
"""Under which aliasing scores are measured, too."""

TIMED = 10
"""Steps, and images, whose time is taken."""

_VERSIONS = ("jax", "jaxlib", "flax", "optax", "numpy", "opencv-python-headless", "segalias-jax")

Image = np.ndarray


def run(experiment: Experiment, workdir: Path) -> dict[str, Any]:
    """Trains an experiment, or resumes it, and measures its last state.

    Args:
      experiment: what is trained.
      workdir: folder of the run.

    Returns:
      What its result file holds.

    Raises:
      InputError: an error in the recipe or the data.
      Interrupted: a signal during training; the same call resumes.
    """
    recipe: Any = experiment.recipe()  # of either task
    train(recipe, workdir)
    scored = dataclasses.replace(
        recipe, data=dataclasses.replace(recipe.data, eval_split=experiment.study.split)
    )
    binding = bind(scored)
    binding.open_sources()
    source = binding.scored
    chosen = _chosen(len(source), experiment.study.images)
    content: dict[str, Any] = {
        "set": experiment.study.name,
        "variant": experiment.variant,
        "seed": experiment.seed,
        "split": experiment.study.split,
        "recipe": {k: v for k, v in recipe.to_flat().items() if k not in MACHINE_KEYS},
        "versions": _versions(),
        "classes": list(source.classes),
        "images": [source.names[i] for i in chosen],
    }
    if isinstance(recipe, Recipe):
        content |= _measure_maps(experiment, scored, workdir, source, chosen)
    else:
        content |= _measure_objects(experiment.study.dark, workdir, source, chosen)
    content["timing"] = _timing(binding, workdir, source)
    jax.clear_caches()  # of the programs of this network, which the next run does not need
    return json.loads(json_text(content))


def _chosen(number: int, most: int) -> list[int]:
    """Indices of images, evenly spread; all of them where there are no more."""
    most = min(most or number, number)
    return np.linspace(0, number - 1, most).round().astype(int).tolist()


def _versions() -> dict[str, str]:
    found = {"python": platform.python_version()}
    for name in _VERSIONS:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found[name] = "not installed"
    return found


def _measure_maps(
    experiment: Experiment, recipe: Recipe, workdir: Path, source: Any, chosen: list[int]
) -> dict[str, Any]:
    """Scores, causes, stability and aliasing of a network that predicts class maps."""
    predictor = sa.Predictor(workdir)
    rules = ScoreRules(recipe.eval.boundary, recipe.eval.ignore, setup.reduces_zero(source))
    plan = counts.count_plan(len(source.classes), rules)
    samples = [source[i] for i in chosen]
    images = [
        count_image(predictor(sample["image"]), sample["label"], plan, name=source.names[i])
        for i, sample in zip(chosen, samples, strict=True)
    ]
    bands, causes = counts.image_arrays(images)
    found = counts.scores_of(bands.sum(0)[None], causes.sum(0)[None])
    scored = lambda change: _miou(predictor, samples, plan.settings, change)  # noqa: E731
    content: dict[str, Any] = {
        "scores": {name: float(values[0]) for name, values in found.items()},
        "shift_consistency": _shift_consistency(predictor, samples),
        "corruptions": {one.name: scored(one.apply) for one in CORRUPTIONS},
        "cost": _cost(workdir, recipe),
        "counts": {"bands": counts.pack(bands), "causes": counts.pack(causes)},
    }
    if experiment.study.gratings:
        content["gratings"] = {
            name: scored(lambda image, index, f=frequency: add_grating(image, index, f))
            for name, frequency in grating_frequencies().items()
        }
    if experiment.study.aliasing:
        content["aliasing"] = _aliasing(recipe, workdir)
    return content


def _miou(
    predictor: sa.Predictor,
    samples: list[Mapping[str, Any]],
    settings: CountSettings,
    change: Callable[[Image, int], Image],
) -> float:
    """Returns mIoU of images that are changed before they are predicted."""
    total = np.zeros((settings.num_classes,) * 2, np.int64)
    for index, sample in enumerate(samples):
        prediction = predictor(change(sample["image"], index))
        total += count_pair(prediction, sample["label"], settings).regions.sum(0)
    right, true, predicted = total.diagonal(), total.sum(1), total.sum(0)
    union = true + predicted - right
    return float((right[union > 0] / union[union > 0]).mean())


def add_grating(image: Image, index: int, frequency: float) -> Image:
    """Adds a sine of a frequency to all channels of an image.

    Args:
      image: uint8 [h, w, 3].
      index: of the image: even ones get it along the rows, odd ones along the columns, each with a
        phase of its own.
      frequency: in cycles per pixel.

    Returns:
      The image, rounded.

    Example:
      >>> add_grating(np.full((2, 4, 3), 100, np.uint8), 0, 0.25)[..., 0].tolist()
      [[85, 87, 115, 113], [85, 87, 115, 113]]
    """
    phase = np.random.default_rng(index).uniform(0, 2 * np.pi)
    axis = 1 - index % 2
    wave = GRATING_CONTRAST * np.sin(2 * np.pi * frequency * np.arange(image.shape[axis]) + phase)
    shape = [1, 1, 1]
    shape[axis] = -1
    return np.clip(np.rint(image + wave.reshape(shape)), 0, 255).astype(np.uint8)


def _shift_consistency(predictor: sa.Predictor, samples: list[Mapping[str, Any]]) -> float:
    def predict(image: np.ndarray) -> np.ndarray:
        return np.stack([predictor(one) for one in image]).astype(np.int32)

    batches = ({"image": one["image"][None], "valid": np.ones(1, bool)} for one in samples)
    return mean_shift_consistency(predict, batches)


def _cost(workdir: Path, recipe: Any) -> dict[str, Any]:
    """Parameters, and operations for one crop."""
    total = sa.models.summarize(load_trained(workdir).model, (1, *recipe.data.crop, 3)).total
    return {
        "parameters": total.parameters,
        "gflop": total.flops / 1e9,
        "crop": list(recipe.data.crop),
    }


def _aliasing(recipe: Recipe, workdir: Path) -> dict[str, Any]:
    """Aliasing scores of each operator, their relation to errors, and what corruption adds."""
    evaluate_run(recipe, workdir, studies=Studies(aliasing=True, corruptions=FOLDED))
    folder = workdir / "eval"
    report = json.loads((folder / "aliasing.json").read_text())
    robustness = json.loads((folder / "robustness.json").read_text())
    names = [operator["name"] for operator in report["operators"]]
    return {
        "operators": {
            row["name"]: {
                "nyquist_frequency": row["nyquist_frequency"],
                "filter": row["filter"],
                "before": row["before"]["mean"],
                "after": row["after"]["mean"],
            }
            for row in report["operators"]
        },
        "before, by input": {
            row["input"]: dict(zip(names, row["before"], strict=True)) for row in robustness["rows"]
        },
        "correlations": [
            {key: row[key] for key in ("operator", "error", "value", "low", "high")}
            for row in report["correlations"]
        ],
        "displacements less others": [
            {key: row[key] for key in ("operator", "than", "value", "low", "high")}
            for row in report["median_differences"]
        ],
    }


def _measure_objects(dark: bool, workdir: Path, source: Any, chosen: list[int]) -> dict[str, Any]:
    """Scores of a network that finds objects of one class, in images as they are or darkened."""
    predictor = sa.Predictor(workdir)
    change = darken_as_command if dark else unchanged
    sums = _object_sums(predictor, source, chosen, change)
    content: dict[str, Any] = {
        "scores": _object_scores(sums),
        "cost": {"parameters": _parameters(load_trained(workdir).model)},
        "counts": {"objects": counts.pack(sums)},
    }
    if dark:
        as_taken = _object_scores(_object_sums(predictor, source, chosen, unchanged))
        content["as taken"] = {name: as_taken[name] for name in counts.OBJECTS}
    return content


def unchanged(image: Image, index: int) -> Image:
    """Returns an image as it is."""
    return image


def darken_as_command(image: Image, index: int) -> Image:
    """Darkens an image as `segalias darken` does with a folder of this split alone."""
    return darken(image, np.random.default_rng([0, index]))


def _object_sums(
    predictor: Any, source: Any, chosen: list[int], change: Callable[[Image, int], Image]
) -> np.ndarray:
    """Counts `OBJECT_SUMS` of images that are changed before objects are found in them."""
    scorer = InstanceScorer(1, kinds=())
    for index in chosen:
        found = predictor(change(load_image(source.pairs[index].image), index))
        scorer.update(found.objects, true_objects(source, index), name=source.names[index])
    return np.stack([object_sums(record) for record in scorer.images])


def object_sums(record: Any) -> np.ndarray:
    """Returns `OBJECT_SUMS` of one image, from what a scorer keeps of it."""
    lost, extra = (
        [int(((side.causes == k) & (side.matched == 0)).sum()) for k in range(FOUND)]
        for side in (record.true, record.predicted)
    )
    hits = Totals.of([record], 1).hits(IOU)[:, 0].tolist()
    return np.asarray([*hits, round(1e6 * record.true.matched.sum()), *lost, *extra], np.int64)


def _object_scores(sums: np.ndarray) -> dict[str, float]:
    scores = counts.object_scores(sums.sum(0)[None])
    return {name: float(values[0]) for name, values in scores.items()}


def _parameters(model: nnx.Module) -> int:
    return sum(leaf.size for leaf in jax.tree.leaves(nnx.state(model, nnx.Param)))


def _timing(binding: Any, workdir: Path, source: Any) -> dict[str, Any]:
    """Processor seconds per step and image, and how busy others kept the machine meanwhile."""
    recipe = binding.recipe
    with BusyOthers() as others:
        steps = _steps(binding, recipe)
        step = _median_time(lambda: next(steps), TIMED)
        predictor, image = sa.Predictor(workdir), _first_image(source)
        one = _median_time(lambda: _read(predictor(image)), TIMED)
    return {
        "processor seconds per step": step,
        "processor seconds per image": one,
        "others' processors": others.number,
        "processors": os.cpu_count(),
        "processor": platform.processor() or platform.machine(),
    }


def _read(found: Any) -> Any:
    """Waits for the objects that a detector is still looking for; maps are there already."""
    return found if isinstance(found, np.ndarray) else found.objects


def _first_image(source: Any) -> Any:
    """Pixels of the first image of a split of maps; of one of objects, its file."""
    return source.pairs[0].image if hasattr(source, "instances") else source[0]["image"]


def _steps(binding: Any, recipe: Any) -> Iterator[Any]:
    """Makes the same update again and again."""
    mesh = setup.open_mesh(recipe)
    task = binding.create_task(None)
    trainer = setup.create_trainer(recipe, task, binding.create_model(task), mesh)
    batch = shard_batch(next(binding.stream().start(0)), mesh, spatial=task.spatial)
    state = trainer.state
    while True:
        state, numbers = trainer.train_step(state, batch)
        yield jax.block_until_ready(numbers)


def _median_time(call: Callable[[], Any], number: int) -> float:
    """Median processor time of this process, after a first call that compiles."""
    call()
    times = []
    for _ in range(number):
        start = time.process_time()
        call()
        times.append(time.process_time() - start)
    return float(np.median(times))


class BusyOthers:
    """Measures how many processors other processes keep busy while it is entered.

    Attributes:
      number: of processors, in the mean; None where the system does not say.
    """

    number: float | None = None

    def __enter__(self) -> BusyOthers:
        self._start = time.perf_counter(), time.process_time(), _busy_seconds()
        return self

    def __exit__(self, *_: object) -> None:
        began, own, busy = self._start
        ended = _busy_seconds()
        if busy is not None and ended is not None:
            others = ended - busy - (time.process_time() - own)
            self.number = round(max(0.0, others / (time.perf_counter() - began)), 2)


def _busy_seconds() -> float | None:
    path = Path("/proc/stat")
    if not path.exists():
        return None
    # user, nice, system, idle, waiting, interrupts of both kinds, stolen
    user, nice, system, _, _, *others = map(int, path.read_text().split("\n")[0].split()[1:9])
    return (user + nice + system + sum(others)) / os.sysconf("SC_CLK_TCK")
