"""What a model starts from: weights by name, a PyTorch file, converted weights or a run.

The one resolver of `model.pretrained` and of `models.create_encoder(pretrained=...)`. PyTorch files
are fitted in memory by the key tables, as `segalias convert` does.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import jax.numpy as jnp
from flax import nnx

from segalias_jax.checkpoints.pretrained import (
    fill_state,
    fill_trees,
    fitting,
    read_source,
    read_weights,
)
from segalias_jax.errors import InputError
from segalias_jax.torch_weights import files, named
from segalias_jax.torch_weights.load import Source, checkpoint_names, fit_torch
from segalias_jax.torch_weights.names import leaves
from segalias_jax.torch_weights.zoo import is_name

Tree = TypeVar("Tree")

_MAY_STAY = ("head", "auxiliary", "mixer", "filter")
"""Parts that stay random where a PyTorch file lacks them, or has them for other classes."""


def required_settings(pretrained: str) -> dict[str, Any]:
    """Returns what a model has to be built with for some weights, as far as a table knows.

    Args:
      pretrained: as for `fill`.

    Returns:
      Keys of a recipe's section `model`, "encoder" among them.

    Raises:
      InputError: an unknown name.

    Example:
      >>> required_settings("torchvision:resnet50")
      {'encoder': 'resnet50', 'variant': 'v1b'}
      >>> required_settings("runs/camvid")
      {}
    """
    if not is_name(pretrained):
        return {}
    weights, _ = named.read_name(pretrained)
    return ({"encoder": weights.encoder} if weights.encoder else {}) | dict(weights.settings)


def check_settings(pretrained: str, settings: Mapping[str, Any]) -> None:
    """Raises where a model is another than a table says that some weights are for.

    Args:
      pretrained: as for `fill`.
      settings: what the model is built with; keys that it lacks are not compared.

    Raises:
      InputError: an unknown name, or settings that differ, all of them; nothing was fetched.

    Example:
      >>> check_settings("torchvision:resnet50", {"encoder": "resnet50", "variant": "v1c"})
      Traceback (most recent call last):
      segalias_jax.errors.InputError: torchvision:resnet50 needs variant='v1b', not 'v1c'
    """
    differing = [
        f"{key}={value!r}, not {settings[key]!r}"
        for key, value in required_settings(pretrained).items()
        if key in settings and settings[key] != value
    ]
    if differing:
        raise InputError(f"{pretrained} needs {' and '.join(differing)}")


def fill(
    pretrained: str,
    trees: Tree,
    create_model: Callable[[], nnx.Module],
    *,
    whole: bool = False,
) -> tuple[Tree, Source, str]:
    """Puts weights into the state of a new run.

    Args:
      pretrained: a name such as "torchvision:resnet50", see `torch_weights.zoo`; a `.pth`, `.pt`,
        `.bin` or `.safetensors` file; or a folder, as for `fill_state`.
      trees: as for `fill_state`.
      create_model: makes the model of that state.
      whole: whether no part may stay as it is.

    Returns:
      The trees, filled; where the weights came from; and a sentence about both.

    Raises:
      InputError: weights that are not there, cannot be fetched or do not fit.

    Example:
      >>> fill("no.pth", {}, lambda: nnx.Linear(2, 3, rngs=nnx.Rngs(0)))
      Traceback (most recent call last):
      segalias_jax.errors.InputError: no.pth is not there; give the path of a weights file
    """
    path, name = _torch_file(pretrained)
    if path is None:
        trees, told = fill_state(pretrained, trees, whole=whole)
        source = read_source(pretrained)
        return trees, source or Source(pretrained, "", "segalias_jax", ()), told
    arrays = files.read_arrays(path)
    model = nnx.eval_shape(create_model)
    filled, source = fit_torch(arrays, model, path, () if whole else _MAY_STAY)
    source = dataclasses.replace(source, name=name)
    paths = checkpoint_names(model)
    ours = {paths[at]: array for at, array in filled.items()}
    missing = () if whole else source.missing
    trees, told = fill_trees(ours, trees, missing=missing, where=pretrained)
    return trees, source, f"{told} ({source.table} names in {path}, sha256 {source.sha256})"


def fill_encoder(pretrained: str, encoder: nnx.Module) -> Source:
    """Puts weights into an encoder; those of a whole network are taken without its heads.

    Args:
      pretrained: as for `fill`.
      encoder: changed in place.

    Returns:
      Where the weights came from.

    Raises:
      InputError: weights that are not there, cannot be fetched or do not fit.

    Example:
      >>> fill_encoder("no/such/run", nnx.Linear(2, 3, rngs=nnx.Rngs(0)))
      Traceback (most recent call last):
      segalias_jax.errors.InputError: no/such/run is not there; give the folder of a checkpoint
    """
    path, name = _torch_file(pretrained)
    names = checkpoint_names(encoder)
    if path is not None:
        filled, source = fit_torch(files.read_arrays(path), encoder, path, ("mixer", "filter"))
        source = dataclasses.replace(source, name=name)
    else:
        arrays, known = read_weights(pretrained)
        source = known or Source(pretrained, "", "segalias_jax", ())
        inside = {
            long.replace("/encoder/", "/", 1): array
            for long, array in arrays.items()
            if long.split("/")[1] == "encoder"
        }
        shapes = {names[at]: leaf.shape for at, leaf in leaves(encoder).items()}
        taken = fitting(inside, shapes, source.missing, pretrained)
        filled = {at: inside[long] for at, long in names.items() if long in taken}
    state = nnx.state(encoder, nnx.Any(nnx.Param, nnx.BatchStat))
    for at, variable in nnx.to_flat_state(state):
        if at in filled:
            variable.set_value(jnp.asarray(filled[at], variable.dtype))
    nnx.update(encoder, state)
    return source


def _torch_file(pretrained: str) -> tuple[Path | None, str]:
    """The PyTorch file that weights are in, and their name; None for a folder."""
    if is_name(pretrained):
        return named.locate(pretrained).path, pretrained
    path = Path(pretrained)
    return (path if path.suffix in files.ENDINGS and not path.is_dir() else None), ""
