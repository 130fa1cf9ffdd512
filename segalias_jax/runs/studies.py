"""What is found out about a trained network beside its scores: aliasing, shifts, corruptions."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from segalias_jax.errors import InputError
from segalias_jax.evaluation.aliasing import analysis, patches, report, robustness
from segalias_jax.evaluation.aliasing.shift import mean_shift_consistency
from segalias_jax.models.cost.downsampling import find_downsampling
from segalias_jax.models.cost.scopes import read_model
from segalias_jax.models.stages import recording_filters
from segalias_jax.runs.setup import reduces_zero
from segalias_jax.runs.validation import RecipeValidation
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
      shift: whether predictions of shifted images are compared.
      corruptions: of the images, to see what scores do.

    Example:
      >>> Studies().corruptions
      ()
    """

    aliasing: bool = False
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
    operators, inspect = _inspector(validation, state)
    rows = validation.batch_rows(validation.trainer.mesh)
    name = f"{recipe.name} on {recipe.data.source} {recipe.data.eval_split}"
    settings = validation.describe(state, checkpoint=checkpoint)
    settings["shown"] = "whole images in their own size"

    def read() -> Any:
        return validation.batches(source, batch_size=rows)

    if studies.aliasing:
        _, found = analysis.study(
            inspect,
            read(),
            operators,
            num_classes=len(source.classes),
            reduce_zero_label=reduces_zero(source),
            boundary=recipe.eval.boundary,
            ignore=recipe.eval.ignore,
            total=len(source),
            progress="aliasing",
        )
        table = report.AliasingReport(found, f"Aliasing of {name}", settings)
        print(table.table())
        table.save(folder)
        print(f"report: {folder / report.FILES[-1]}")
    if studies.corruptions:
        measured = robustness.measure_robustness(
            inspect,
            read,
            studies.corruptions,
            operators,
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


def _inspector(
    validation: RecipeValidation, state: TrainState
) -> tuple[list[analysis.Operator], analysis.Inspect]:
    """Where a network samples, and what predicts and measures the feature maps there."""
    stem, stages = _stem(validation, state), _stages(validation, state)
    operators = [*stem.values(), *stages.values()]

    def measure(
        image: Array, entering: Sequence[Array], seen: Sequence[tuple[Array, Array]]
    ) -> Array:
        pairs = [(x, x) for x in entering] + [seen[place] for place in stages]
        height, width = image.shape[1:3]
        grid = patches.patch_grid((height, width), analysis.PATCH)
        powers = [
            analysis.operator_powers(*pair, operator.nyquist_frequency, grid)
            for pair, operator in zip(pairs, operators, strict=True)
        ]
        return jnp.stack(powers)

    task = validation.task

    def recorded(model: nnx.Module, carry: Any, image: Array) -> tuple[Array, Array]:
        def forward(image: Array) -> tuple[Array, list[tuple[Array, Array]]]:
            with recording_filters() as seen:
                return task.logits(model, image, **task.prediction_inputs(carry)), seen

        if stem:
            where = lambda operator: operator.index in stem  # noqa: E731
            (logits, seen), entering = capture_inputs(forward, where)(image)
        else:
            (logits, seen), entering = forward(image), ()
        return jnp.argmax(logits, axis=-1).astype(jnp.int32), measure(image, entering, seen)

    compiled = compile_forward(validation.trainer.graph, recorded)

    def inspect(image: np.ndarray) -> tuple[Array, Array]:
        return compiled(state, shard_batch({"image": image}, validation.trainer.mesh)["image"])

    return operators, inspect
