"""Models by name: `create_model` and the tables of what there is."""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Mapping
from typing import Any

from flax import nnx

from segalias_jax.errors import InputError
from segalias_jax.models.encoder import Encoder
from segalias_jax.models.resnet import RESNETS, ResNet, stage_nyquist_frequency
from segalias_jax.models.segmenter import Segmenter
from segalias_jax.models.upernet import UPerNet

MODELS = {"upernet": UPerNet}
"""Decoders by the name of the model that they make."""

ENCODERS = {name: ResNet for name in RESNETS}
"""Encoders by name."""

__all__ = [
    "ENCODERS",
    "MODELS",
    "Encoder",
    "ModelConfig",
    "ResNet",
    "Segmenter",
    "UPerNet",
    "create_model",
    "stage_nyquist_frequency",
]


@dataclasses.dataclass(frozen=True)
class ModelConfig:
    """Everything that a recipe's section `model` may say; see `configs/base.py` for the meaning.

    Example:
      >>> ModelConfig(encoder="resnet18").channels
      128
    """

    name: str = "upernet"
    encoder: str = "resnet50"
    width: int = 64
    downsample: str = "none"
    mixer: str = "none"
    cutoff: float | None = None
    band: str = "symmetric"
    gate: str = "energy"
    reduction: int = 16
    channels: int = 128
    pool_scales: tuple[int, ...] = (1, 2, 3, 6)
    dropout: float = 0.1
    auxiliary: bool = True
    auxiliary_channels: int = 256
    align_corners: bool = False
    pretrained: str = ""

    @classmethod
    def from_mapping(cls, config: Mapping[str, Any]) -> ModelConfig:
        """Reads a recipe's section; an unknown key or model name is an `InputError`."""
        known = [field.name for field in dataclasses.fields(cls)]
        for key in config:
            if key not in known:
                close = difflib.get_close_matches(key, known, 1)
                hint = f"did you mean {close[0]!r}?" if close else f"keys are {', '.join(known)}"
                raise InputError(f"model.{key} is no key of a model; {hint}")
        for key, table in (("name", MODELS), ("encoder", ENCODERS)):
            if config.get(key, getattr(cls, key)) not in table:
                raise InputError(
                    f"model.{key} is {config[key]!r}; choose one of {', '.join(sorted(table))}"
                )
        return cls(**config)


def create_model(config: Any, *, num_classes: int, rngs: nnx.Rngs) -> Segmenter:
    """Builds a freshly initialised model.

    Args:
      config: section `model` of a recipe, or any mapping; keys left out take the defaults of
        `ModelConfig`.
      num_classes: number of classes.
      rngs: random streams "params" and "dropout".

    Returns:
      A model that maps normalised images `[b, h, w, 3]` to logits `[b, h, w, num_classes]`.

    Raises:
      InputError: an unknown key, name or value; the message lists the choices.

    Example:
      >>> import jax.numpy as jnp
      >>> model = create_model({"encoder": "resnet18", "width": 8}, num_classes=5, rngs=nnx.Rngs(0))
      >>> model(jnp.ones((2, 33, 64, 3))).shape
      (2, 33, 64, 5)
    """
    c = ModelConfig.from_mapping(dict(config))
    if c.pretrained:
        raise InputError(
            "model.pretrained: create_model makes random parameters; leave the key out and fill "
            "the model by checkpoints.load_torch"
        )
    encoder = ENCODERS[c.encoder](
        c.encoder,
        width=c.width,
        downsample=c.downsample,
        mixer=c.mixer,
        cutoff=c.cutoff,
        band=c.band,
        gate=c.gate,
        reduction=c.reduction,
        rngs=rngs,
    )
    decoder = MODELS[c.name](
        encoder.channels,
        channels=c.channels,
        pool_scales=tuple(c.pool_scales),
        align_corners=c.align_corners,
        rngs=rngs,
    )
    return Segmenter(
        encoder,
        decoder,
        num_classes=num_classes,
        auxiliary_channels=c.auxiliary_channels if c.auxiliary else None,
        dropout=c.dropout,
        align_corners=c.align_corners,
        rngs=rngs,
    )
