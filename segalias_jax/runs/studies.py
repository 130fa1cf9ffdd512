"""What is found out about a trained network beside its scores: aliasing, shifts, corruptions."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from segalias_jax.errors import InputError
from segalias_jax.evaluation.aliasing import (
    analysis,
    maps,
    patches,
    pictures,
    report,
    robustness,
)
from segalias_jax.evaluation.aliasing.shift import mean_shift_consistency
from segalias_jax.layers.freqmix import Gates, recording_gates
from segalias_jax.metrics import ScoreRules
from segalias_jax.models.cost.downsampling import find_downsampling
from segalias_jax.models.cost.scopes import read_model
from segalias_jax.models.stages import recording_filters
from segalias_jax.runs.setup import reduces_zero
from segalias_jax.runs.validation import RecipeValidation, SourceShare
from segalias_jax.scoring.reports.overlays import Sample
from segalias_jax.tracing import capture_inputs, find_operators
from segalias_jax.training.sharding import shard_batch
from segalias_jax.training.state import TrainState, merge_model
from segalias_jax.training.step import compile_forward
from segalias_jax.typing import Array


@dataclasses.dataclass(frozen=True)
class Studies:
    """What is asked for beside the scores.

    Attributes:
      aliasing: whether aliasing scores are related to the boundary errors.
      pictures: whether that study draws feature maps and gates of a few images.
      shift: whether predictions of shifted images are compared.
      corruptions: of the images, to see what scores do.

    Example:
      >>> Studies().corruptions
      ()
    """

    aliasing: bool = False
    pictures: bool = False
    shift: bool = False
    corruptions: tuple[robustness.Corruption, ...] = ()


def check_studies(studies: Studies) -> None:
    """Raises where several processes are to do what one does.

    Args:
      studies: what is asked for.

    Raises:
      InputError: naming the flags.

    Example:
      >>> check_studies(Studies())
    """
    if jax.process_count() > 1 and studies != Studies():
        raise InputError(
            "--aliasing, --shift and --robustness run in one process; leave out --coordinator"
        )


def measure_shift(validation: RecipeValidation, state: TrainState) -> float:
    """Returns `evaluation.mean_shift_consistency` of a state, in [0, 1].

    Args:
      validation: what is looked at.
      state: arrays of the run.
    """
    predict, rows = validation.predictor(state)
    return mean_shift_consistency(
        predict,
        validation.batches(validation.source, batch_size=rows),
        total=len(validation.source),
        progress="shift consistency",
    )


def run_studies(
    studies: Studies,
    validation: RecipeValidation,
    state: TrainState,
    folder: Path,
    *,
    checkpoint: str,
) -> None:
    """Does what is asked for, prints its tables and writes its files.

    The network is shown whole images in their own size, whatever the section `eval` says.

    Args:
      studies: what is asked for; its shift is `measure_shift`'s.
      validation: what is looked at.
      state: arrays of the run.
      folder: where to write.
      checkpoint: which state it is, in words.
    """
    if not (studies.aliasing or studies.corruptions):
        return
    recipe, source = validation.recipe, validation.source
    name = f"{recipe.name} on {recipe.data.source} {recipe.data.eval_split}"
    settings = validation.describe(state, checkpoint=checkpoint)
    settings["shown"] = "whole images in their own size"
    network = _Network(validation, state)
    if studies.aliasing:
        _study_aliasing(network, f"Aliasing of {name}", settings, folder, studies.pictures)
    if studies.corruptions:
        measured = robustness.measure_robustness(
            network.inspect,
            network.batches,
            studies.corruptions,
            network.operators,
            title=f"Robustness of {name}",
            settings=settings,
            num_classes=len(source.classes),
            reduce_zero_label=reduces_zero(source),
            boundary=recipe.eval.boundary,
            ignore=recipe.eval.ignore,
            total=len(source),
        )
        print(measured.table())
        measured.save(folder)
        print(f"report: {folder / robustness.FILES[-1]}")


def _study_aliasing(
    network: _Network, title: str, settings: dict[str, str], folder: Path, draw: bool
) -> None:
    source, rules = network.validation.source, network.validation.recipe.eval
    _, found = analysis.study(
        network.inspect,
        network.batches(),
        network.operators,
        num_classes=len(source.classes),
        reduce_zero_label=reduces_zero(source),
        boundary=rules.boundary,
        ignore=rules.ignore,
        total=len(source),
        progress="aliasing",
    )
    drawn: tuple[report.Picture, ...] = ()
    if draw:
        chosen = maps.telling_images(found)
        drawn = tuple(
            picture
            for one in network.maps_of(chosen)
            for picture in pictures.draw(
                one, ScoreRules(rules.boundary, rules.ignore, reduces_zero(source))
            )
        )
    table = report.AliasingReport(found, title, settings, drawn)
    print(table.table())
    table.save(folder)
    print(f"report: {folder / report.FILES[-1]}")


def _stages(validation: RecipeValidation, state: TrainState) -> dict[int, analysis.Operator]:
    """The stages that stride, by their place among what the encoder's filters are recorded as."""
    model = merge_model(validation.trainer.graph, state.parameters, state.statistics)
    program = read_model(model, (1, *validation.recipe.data.crop, 3))[0]
    # Filters stand before all stages but the first.
    return {
        int(found.part.removeprefix("stage")) - 2: analysis.Operator(
            found.part.replace("stage", "stage "),
            found.sampling_rate,
            found.nyquist_frequency,
            found.filter,
        )
        for found in find_downsampling(model, program)
        if found.kind == "stage"
    }


def _stem(validation: RecipeValidation, state: TrainState) -> dict[int, analysis.Operator]:
    """The stem's operators that can fold anything, by their number in the program."""
    image = jax.ShapeDtypeStruct((1, *validation.recipe.data.crop, 3), np.uint8)
    operators = find_operators(lambda image: validation.logits(state, image), image)
    first = min((o.index for o in operators if "stage" in o.name), default=0)
    return {
        o.index: analysis.Operator(
            f"stem {o.kind}".replace("_", " "), o.sampling_rate, o.nyquist_frequency, "none"
        )
        for o in operators
        if o.index < first and o.nyquist_frequency < 0.5
    }


class _Network:
    """A state's network, whose forward pass also returns what enters the operators that sample.

    Attributes:
      validation: what is looked at.
      operators: where it samples.
    """

    def __init__(self, validation: RecipeValidation, state: TrainState):
        self.validation, self._state = validation, state
        self._stem, self._at_stages = _stem(validation, state), _stages(validation, state)
        self.operators = [*self._stem.values(), *self._at_stages.values()]

    def batches(self, indices: Sequence[int] | None = None) -> Iterator[Mapping[str, Any]]:
        """Reads the split, or some images of it."""
        rows = self.validation.batch_rows(self.validation.trainer.mesh)
        source = self.validation.source
        chosen = source if indices is None else SourceShare(source, indices)
        return self.validation.batches(chosen, batch_size=rows)

    @functools.cached_property
    def inspect(self) -> analysis.Inspect:
        """What predicts, and measures the feature maps at the operators; compiled once."""

        def measure(model: nnx.Module, carry: Any, image: Array) -> tuple[Array, Array]:
            classes, pairs, _ = self._recorded(model, carry, image)
            height, width = image.shape[1:3]
            grid = patches.patch_grid((height, width), analysis.PATCH)
            powers = [
                analysis.operator_powers(*pair, operator.nyquist_frequency, grid)
                for pair, operator in zip(pairs, self.operators, strict=True)
            ]
            return classes, jnp.stack(powers)

        return self._compiled(measure)

    def maps_of(self, chosen: Mapping[int, str]) -> Iterator[maps.ImageMaps]:
        """Yields what pictures show of some images, given their numbers and why they are chosen."""

        def look(model: nnx.Module, carry: Any, image: Array) -> Any:
            classes, pairs, gates = self._recorded(model, carry, image)
            stages = [
                maps.stage_maps(*pair, operator)
                for pair, operator in zip(pairs, self.operators, strict=True)
            ]
            return classes, stages, gates

        seen = self._compiled(look)
        reasons = iter(chosen.values())
        for batch in self.batches(list(chosen)):
            found = jax.tree.map(np.asarray, seen(batch["image"]))
            for n, row in enumerate(np.flatnonzero(batch["valid"])):
                classes, stages, gates = jax.tree.map(lambda array, row=row: array[row], found)
                image, label = (np.asarray(batch[key][row]) for key in ("image", "label"))
                sample = Sample(image, label, classes, batch["name"][n])
                by_operator = dict(zip(self.operators, stages, strict=True))
                yield maps.ImageMaps(sample, next(reasons), by_operator, gates)

    def _recorded(
        self, model: nnx.Module, carry: Any, image: Array
    ) -> tuple[Array, list[tuple[Array, Array]], dict[maps.Block, Gates]]:
        """Class ids, feature maps before and after the filter of each operator, and gates."""
        task = self.validation.task
        part: Any
        for _, part in nnx.iter_modules(model):
            if hasattr(part, "remat"):
                part.remat = ()  # what is to be computed again cannot be recorded

        def forward(image: Array) -> tuple[Array, list[tuple[Array, Array]], Any]:
            with recording_filters() as seen, recording_gates() as mixed:
                logits = task.logits(model, image, **task.prediction_inputs(carry))
            return logits, seen, maps.gates_by_block(model, mixed)

        if self._stem:
            where = lambda operator: operator.index in self._stem  # noqa: E731
            (logits, seen, gates), entering = capture_inputs(forward, where)(image)
        else:
            (logits, seen, gates), entering = forward(image), ()
        pairs = [(x, x) for x in entering] + [seen[place] for place in self._at_stages]
        return jnp.argmax(logits, axis=-1).astype(jnp.int32), pairs, gates

    def _compiled(self, forward: Callable[[nnx.Module, Any, Array], Any]) -> Callable[..., Any]:
        mesh = self.validation.trainer.mesh
        compiled = compile_forward(self.validation.trainer.graph, forward)
        return lambda image: compiled(self._state, shard_batch({"image": image}, mesh)["image"])
