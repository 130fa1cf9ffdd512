"""Key tables of MobileNets: torchvision, whose names segmenters have too."""

from __future__ import annotations

from flax import nnx

from segalias_jax.models import MobileNet
from segalias_jax.models.inverted_residual import InvertedResidual
from segalias_jax.torch_weights.rules import EncoderNames, Path, Rules

_SQUEEZE: Rules = [(r"\.excite\.squeeze$", ".excite.fc1"), (r"\.excite\.excite$", ".excite.fc2")]

_HEAD_OF_2 = r"^(features\.18|classifier)\."
_HEAD_OF_3 = r"^classifier\."


def mobilenet_names(encoder: nnx.Module, alone: bool) -> EncoderNames:
    """Returns the key table of a MobileNet.

    Args:
      encoder: the `MobileNet`.
      alone: whether as an image network, or inside a segmenter.

    Returns:
      Names of torchvision, inside a segmenter too.

    Example:
      >>> make = lambda: MobileNet("mobilenet_v2", rngs=nnx.Rngs(0))
      >>> mobilenet_names(nnx.eval_shape(make), True).table
      'torchvision'
    """
    assert isinstance(encoder, MobileNet)
    second = encoder.version == 2
    paths: list[Path] = [("stem", i) for i in range(len(encoder.stem))]
    for i, stage in enumerate(encoder.stages):
        paths += [("stages", i, j) for j in range(len(stage))]
    modules = [*encoder.stem, *(block for stage in encoder.stages for block in stage)]
    rules: Rules = list(_SQUEEZE)
    for number, (path, module) in enumerate(zip(paths, modules, strict=True)):
        ours = r"^" + r"\.".join(map(str, path)) + r"\."
        theirs = f"features.{number}."
        if isinstance(module, InvertedResidual):
            rules += _block(ours, theirs + ("conv." if second else "block."), module, second)
        else:
            rules += _pair(ours, theirs)
    return EncoderNames("torchvision", rules, ignored=_HEAD_OF_2 if second else _HEAD_OF_3)


def _block(ours: str, theirs: str, block: InvertedResidual, second: bool) -> Rules:
    """Its layers count on, those that it lacks left out."""
    rules: Rules = []
    count = 0
    if block.expand is not None:
        rules += _pair(ours + r"expand\.", f"{theirs}{count}.")
        count += 1
    rules += _pair(ours + r"separable\.depthwise\.", f"{theirs}{count}.")
    count += 1
    if block.separable.excite is not None:
        rules.append((ours + r"separable\.excite\.", f"{theirs}{count}."))
        count += 1
    project = ours + r"separable\.project\."
    if second:  # whose projection is no group of its own
        return [
            *rules,
            (project + "conv$", f"{theirs}{count}"),
            (project + "norm$", f"{theirs}{count + 1}"),
        ]
    return rules + _pair(project, f"{theirs}{count}.")


def _pair(ours: str, theirs: str) -> Rules:
    return [
        (ours + "conv$", theirs + "0"),
        (ours + "norm$", theirs + "1"),
        (ours + r"mixer\b", theirs + "mixer"),
    ]
