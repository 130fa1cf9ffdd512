"""What `eval.py` can find out about a trained network beside its scores."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from absl import flags
from ml_collections import config_dict

from segalias_jax import data, evaluation
from segalias_jax.errors import InputError
from segalias_jax.evaluation.aliasing import (analysis as aliasing, report as aliasing_report, patches, robustness)
from segalias_jax.models.cost.downsampling import find_downsampling
from segalias_jax.models.cost.scopes import read_model
from segalias_jax.tracing import find_operators
from segalias_jax.runs import (scoring, setup)
from segalias_jax.training.curriculum import read_curriculum
from segalias_jax.training.sharding import shard_batch
from segalias_jax.training.state import TrainState, merge_model
from segalias_jax.training.step import create_recorded
from segalias_jax.typing import Array


@dataclasses.dataclass(frozen=True)
class Studies:
    """What is asked for beside the scores.

    Attributes:
      aliasing: whether aliasing scores are related to the boundary errors.
      shift: whether predictions of shifted images are compared.
      corruptions: what images are made worse by, to see what scores do.

    Example:
      >>> Studies().corruptions
      ()
    """

    aliasing: bool = False
    shift: bool = False
    corruptions: tuple[robustness.Corruption, ...] = ()


def define_flags(values: flags.FlagValues) -> Callable[[], Studies]:
    """Defines the flags --aliasing, --shift, --robustness, --blur_sizes and --noise_sigmas.

    Args:
      values: where they are defined.

    Returns:
      What reads them, once the command line is parsed; raises `InputError` for a wrong value.

    Example:
      >>> values = flags.FlagValues()
      >>> read = define_flags(values)
      >>> values(["eval.py", "--shift", "--robustness=noise", "--noise_sigmas=20"])
      ['eval.py']
      >>> read().shift, [corruption.name for corruption in read().corruptions]
      (True, ['noise 20'])
    """
    texts = {
        "robustness": "What images are made worse by: blur, noise, or blur,noise.",
        "blur_sizes": f"Sides of the kernels in pixels ({_joined(robustness.BLUR_SIZES)}).",
        "noise_sigmas": f"Of the noise, in 0..255 ({_joined(robustness.NOISE_SIGMAS)}).",
    }
    switches = {
        "aliasing": "Relate aliasing scores to boundary errors.",
        "shift": "Measure how stable predictions are under shifts by one pixel.",
    }
    for name, text in switches.items():
        flags.DEFINE_boolean(name, False, text, flag_values=values)
    for name, text in texts.items():
        flags.DEFINE_string(name, "", text, flag_values=values)
    return lambda: Studies(values.aliasing, values.shift, _corruptions(values))


def _corruptions(values: flags.FlagValues) -> tuple[robustness.Corruption, ...]:
    kinds = [word.strip() for word in values.robustness.split(",") if word.strip()]
    levels = {
        "blur": _numbers("blur_sizes", values) or robustness.BLUR_SIZES,
        "noise": _numbers("noise_sigmas", values) or robustness.NOISE_SIGMAS,
    }
    for kind, name in (("blur", "blur_sizes"), ("noise", "noise_sigmas")):
        if values[name].value and kind not in kinds:
            raise InputError(f"--{name} is for --robustness={kind}; give that too")
    # An unknown kind has one level, at which it is refused.
    return tuple(
        robustness.Corruption(kind, level) for kind in kinds for level in levels.get(kind, (0,))
    )


def _numbers(name: str, values: flags.FlagValues) -> tuple[float, ...]:
    text = values[name].value
    try:
        return tuple(float(word) for word in text.split(",") if word.strip())
    except ValueError:
        raise InputError(f"--{name}: {text!r} has to be numbers, such as 5,10") from None


def _joined(levels: tuple[int | float, ...]) -> str:
    return ",".join(f"{level:g}" for level in levels)


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


def measure_shift(
    config: config_dict.ConfigDict, parts: setup.Parts, state: TrainState, source: data.Source
) -> float:
    """Returns `evaluation.mean_shift_consistency` of a state.

    Args:
      config: the recipe.
      parts: what the run computes with.
      state: arrays of the run.
      source: the split.

    Returns:
      A share in [0, 1].
    """
    predict, rows = scoring.predictor(config, parts, state)
    batches = scoring.stored_batches(config, source, batch_size=rows)
    progress = {"total": len(source), "progress": "shift consistency"}
    return evaluation.mean_shift_consistency(predict, batches, **progress)


def run_studies(
    studies: Studies,
    config: config_dict.ConfigDict,
    parts: setup.Parts,
    state: TrainState,
    source: data.Source,
    folder: Path,
    *,
    checkpoint: str,
) -> None:
    """Does what is asked for, prints its tables and writes its files.

    The network is shown whole images in their own size, whatever the section `eval` says.

    Args:
      studies: what is asked for; its shift is `measure_shift`'s.
      config: the recipe.
      parts: what the run computes with.
      state: arrays of the run.
      source: the split.
      folder: where to write.
      checkpoint: which state it is, in words.
    """
    if not (studies.aliasing or studies.corruptions):
        return
    operators, inspect = _inspector(config, parts, state)
    rows = scoring.batch_rows(config, parts.mesh)
    options = scoring.scoring_options(config, source) | {"total": len(source)}
    name = f"{config.name} on {config.data.source} {config.data.eval_split}"
    settings = scoring.describe(config, state, source, checkpoint=checkpoint)
    settings["shown"] = "whole images in their own size"

    def read() -> Any:
        return scoring.stored_batches(config, source, batch_size=rows)

    if studies.aliasing:
        _, analysis = aliasing.study(inspect, read(), operators, progress="aliasing", **options)
        found = aliasing_report.AliasingReport(analysis, f"Aliasing of {name}", settings)
        print(found.table())
        found.save(folder)
        print(f"report: {folder / aliasing_report.FILES[-1]}")
    if studies.corruptions:
        table = robustness.measure_robustness(
            inspect,
            read,
            studies.corruptions,
            operators,
            title=f"Robustness of {name}",
            settings=settings,
            **options,
        )
        print(table.table())
        table.save(folder)
        print(f"report: {folder / robustness.FILES[-1]}")


def _stages(
    config: config_dict.ConfigDict, parts: setup.Parts, state: TrainState
) -> dict[int, aliasing.Operator]:
    """The stages that stride, by their place among what the encoder's filters are recorded as."""
    model = merge_model(parts.graph, state.parameters, state.statistics)
    program = read_model(model, (1, *config.data.crop, 3))[0]
    # Filters stand ahead of all stages but the first.
    return {
        int(found.part.removeprefix("stage")) - 2: aliasing.Operator(
            found.part.replace("stage", "stage "),
            found.sampling_rate,
            found.nyquist_frequency,
            found.filter,
        )
        for found in find_downsampling(model, program)
        if found.kind == "stage"
    }


def _ahead_of_stages(
    config: config_dict.ConfigDict, parts: setup.Parts, state: TrainState
) -> dict[int, aliasing.Operator]:
    """The stem's operators that can fold anything, by their number in the program."""
    image = jax.ShapeDtypeStruct((1, *config.data.crop, 3), np.uint8)
    operators = find_operators(lambda image: parts.logits(state, image), image)
    first = min((o.index for o in operators if "stage" in o.name), default=0)
    return {
        o.index: aliasing.Operator(
            f"stem {o.kind}".replace("_", " "), o.sampling_rate, o.nyquist_frequency, "none"
        )
        for o in operators
        if o.index < first and o.nyquist_frequency < 0.5
    }


def _inspector(
    config: config_dict.ConfigDict, parts: setup.Parts, state: TrainState
) -> tuple[list[aliasing.Operator], aliasing.Inspect]:
    """Where a network samples, and what predicts and measures the feature maps there."""
    stem, stages = (find(config, parts, state) for find in (_ahead_of_stages, _stages))
    operators = [*stem.values(), *stages.values()]

    def measure(
        image: Array, entering: Sequence[Array], seen: Sequence[tuple[Array, Array]]
    ) -> Array:
        pairs = [(x, x) for x in entering] + [seen[place] for place in stages]
        grid = patches.patch_grid(image.shape[1:3], aliasing.PATCH)
        powers = [
            aliasing.operator_powers(*pair, operator.nyquist_frequency, grid)
            for pair, operator in zip(pairs, operators, strict=True)
        ]
        return jnp.stack(powers)

    where = (lambda operator: operator.index in stem) if stem else None
    recorded = create_recorded(
        parts.graph,
        measure,
        where=where,
        precision=config.train.precision,
        curriculum=read_curriculum(config),
    )

    def inspect(image: np.ndarray) -> tuple[Array, Array]:
        return recorded(state, shard_batch({"image": image}, parts.mesh)["image"])

    return operators, inspect
