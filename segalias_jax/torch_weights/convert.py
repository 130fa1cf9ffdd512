"""PyTorch weights to a checkpoint of ours, and back.

    python -m segalias_jax.torch_weights.convert SRC DST --config FILE[:VARIANT]
    python -m segalias_jax.torch_weights.convert SRC DST --config FILE --to-safetensors

The first reads SRC, a `.pth`, `.pt` or `.safetensors` file, and writes the folder DST, which
recipes take as --config.model.pretrained=DST; `--allow-missing=head,mixer` names parts of the model
that SRC need not fill. The second reads a run's or a converted folder and writes a file.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from absl import flags, logging
from flax import nnx

from segalias_jax import models
from segalias_jax.checkpoints import pretrained
from segalias_jax.errors import InputError, exiting_on_mistakes
from segalias_jax.runs.recipes import parse_recipe
from segalias_jax.torch_weights import files as torch_files
from segalias_jax.torch_weights.load import Source, fit_torch, torch_arrays
from segalias_jax.torch_weights.names import leaves, table_name


def convert(
    src: Path, dst: Path, config: Mapping[str, Any], *, allow_missing: Iterable[str] = ()
) -> Source:
    """Writes a checkpoint with the weights of a PyTorch file.

    Args:
      src: the file, see `load_torch`.
      dst: a new folder.
      config: section `model` of a recipe.
      allow_missing: parts of the model that the file need not fill, see `load_torch`.

    Returns:
      Where the weights came from.

    Raises:
      InputError: the file or the model cannot be used; nothing is written then.

    Example:
      >>> convert(Path("no.pth"), Path("r50"), {})
      Traceback (most recent call last):
      segalias_jax.errors.InputError: no.pth is not there; give the path of a weights file
    """
    pretrained.check_new(dst)
    arrays = torch_files.read_arrays(src)
    classifier = arrays.get("decode_head.conv_seg.weight", np.empty(1))
    model = _abstract_model(config, max(len(classifier), 1) if classifier.ndim else 1)
    filled, source = fit_torch(arrays, model, src, allow_missing)
    names = _our_names(model)
    pretrained.save_weights(dst, {names[path]: array for path, array in filled.items()}, source)
    return source


def export(src: Path, dst: Path, config: Mapping[str, Any]) -> int:
    """Writes a `.safetensors` file with the weights of a checkpoint, in PyTorch's naming.

    What came from a backbone alone gets a backbone's names again.

    Args:
      src: folder of a run (its best checkpoint is taken) or of converted weights.
      dst: a new `.safetensors` file.
      config: section `model` of the recipe of `src`.

    Returns:
      Number of arrays written.

    Raises:
      InputError: no checkpoint, one of another model, or a file that cannot be written.

    Example:
      >>> export(Path("no"), Path("r50.safetensors"), {})
      Traceback (most recent call last):
      segalias_jax.errors.InputError: no is not there; give the folder of a checkpoint
    """
    pretrained.check_new(dst)
    arrays, source = pretrained.read_weights(src)
    classifier = arrays.get("parameters/classifier/conv/bias", np.empty(1))
    model = _abstract_model(config, len(classifier))
    names, variables = _our_names(model), leaves(model)
    shapes = {names[path]: variable.shape for path, variable in variables.items()}
    missing = () if source is None else source.missing
    taken = pretrained.fitting(arrays, shapes, missing, str(src))
    there = {path: arrays[name] for path, name in names.items() if name in taken}
    if source is not None and source.table == table_name(model, alone=True):
        model, there = model.encoder, {at[1:]: a for at, a in there.items() if at[0] == "encoder"}
    named = torch_arrays(model, there)
    torch_files.write_safetensors(dst, named, {"checkpoint": Path(src).name})
    return len(named)


def main(argv: Sequence[str]) -> None:
    """Runs the command; a mistake ends in one line on stderr and exit status 2.

    Args:
      argv: the command line, the program's name first.

    Example:
      >>> main(["torch_convert", "--help"])  # doctest: +SKIP
    """
    logging.set_verbosity(logging.WARNING)  # the checkpoint library tells of every file
    with exiting_on_mistakes():
        _run(argv)


def _run(argv: Sequence[str]) -> None:
    values = flags.FlagValues()
    values.set_gnu_getopt(True)
    flags.DEFINE_list("allow-missing", [], "Parts to leave as they are.", flag_values=values)
    flags.DEFINE_bool("to-safetensors", False, "The other way.", flag_values=values)
    if {"--help", "-h"} & set(argv):
        print(__doc__)
        return
    config, rest = parse_recipe(argv, values=values)
    if len(rest) != 2:
        raise InputError(f"give SRC and DST, two paths, not {len(rest)}; --help tells of both")
    src, dst = (Path(path) for path in rest)
    if values["to-safetensors"].value:
        print(f"{export(src, dst, config.model.to_dict())} arrays written to {dst}")
        return
    source = convert(src, dst, config.model.to_dict(), allow_missing=values["allow-missing"].value)
    left = f", without {', '.join(source.missing)}" if source.missing else ""
    print(f"{source.file} ({source.table} names{left}) written to {dst}")


def _abstract_model(config: Mapping[str, Any], num_classes: int) -> nnx.Module:
    config = {**config, "pretrained": ""}
    return nnx.eval_shape(
        lambda: models.create_model(config, num_classes=num_classes, rngs=nnx.Rngs(0))
    )


def _our_names(model: nnx.Module) -> dict[tuple, str]:
    """Path of a leaf in a checkpoint, by its path in the model."""
    return {
        path: "/".join(
            ["parameters" if isinstance(v, nnx.Param) else "statistics", *map(str, path)]
        )
        for path, v in leaves(model).items()
    }


if __name__ == "__main__":
    main(sys.argv)
