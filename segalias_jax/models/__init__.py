"""Models by name: `create_model` and the tables of what there is."""

from __future__ import annotations

import dataclasses
import difflib
import inspect
from collections.abc import Mapping
from typing import Any

from flax import nnx

from segalias_jax.errors import InputError
from segalias_jax.models.convnext import CONVNEXTS, ConvNeXt
from segalias_jax.models.cost.complexity import Summary, summarize
from segalias_jax.models.deeplab import DeepLabV3Plus
from segalias_jax.models.encoder import Encoder
from segalias_jax.models.fcn import FCN
from segalias_jax.models.pspnet import PSPNet
from segalias_jax.models.resnet import RESNETS, ResNet, stage_nyquist_frequency
from segalias_jax.models.segmenter import Segmenter
from segalias_jax.models.semantic_fpn import SemanticFPN
from segalias_jax.models.unet import DOUBLE_CONVS, DoubleConvEncoder, UNet
from segalias_jax.models.upernet import UPerNet

MODELS = {
    "upernet": UPerNet,
    "fcn": FCN,
    "pspnet": PSPNet,
    "deeplabv3plus": DeepLabV3Plus,
    "semantic_fpn": SemanticFPN,
    "unet": UNet,
}
"""Decoders by the name of the model that they make; they take the encoder's channels first."""

ENCODERS = {
    **{name: ResNet for name in RESNETS},
    **{name: ConvNeXt for name in CONVNEXTS},
    **{name: DoubleConvEncoder for name in DOUBLE_CONVS},
}
"""Encoders by name; they take that name first."""

__all__ = [
    "ENCODERS",
    "FCN",
    "MODELS",
    "ConvNeXt",
    "DeepLabV3Plus",
    "DoubleConvEncoder",
    "Encoder",
    "ModelConfig",
    "PSPNet",
    "ResNet",
    "Segmenter",
    "SemanticFPN",
    "Summary",
    "UNet",
    "UPerNet",
    "create_model",
    "stage_nyquist_frequency",
    "summarize",
]

# What `create_model` itself reads; all other keys are keywords of what it calls.
_OWN_KEYS = ("name", "encoder", "auxiliary", "pretrained")


@dataclasses.dataclass(frozen=True)
class ModelConfig:
    """Everything that a recipe's section `model` may say; see `configs/base.py` for the meaning.

    None stands for the default of the encoder or decoder.

    Example:
      >>> ModelConfig(encoder="resnet18").auxiliary_channels
      256
    """

    name: str = "upernet"
    encoder: str = "resnet50"
    variant: str = "v1c"
    width: int | None = None
    output_stride: int = 32
    multi_grid: tuple[int, ...] = ()
    contract_dilation: bool = False
    frozen_stages: int = -1
    frozen_norm: bool = False
    drop_path: float = 0.0
    remat: tuple[int, ...] = ()
    downsample: str = "none"
    mixer: str = "none"
    cutoff: float | None = None
    band: str = "symmetric"
    gate: str = "energy"
    reduction: int = 16
    channels: int | None = None
    pool_scales: tuple[int, ...] = (1, 2, 3, 6)
    dilations: tuple[int, ...] = (1, 12, 24, 36)
    low_level_channels: int = 48
    num_convs: int = 2
    concat_input: bool = True
    pyramid_channels: int = 256
    upsample: str = "bilinear"
    dropout: float = 0.1
    auxiliary: bool = True
    auxiliary_channels: int = 256
    auxiliary_stage: int = 3
    align_corners: bool = False
    pretrained: str = ""

    @classmethod
    def from_mapping(cls, config: Mapping[str, Any]) -> ModelConfig:
        """Reads a recipe's section; a key or name that nothing reads is an `InputError`."""
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
        lists = {key: tuple(value) for key, value in config.items() if isinstance(value, list)}
        read = cls(**{**config, **lists})
        read._refuse_what_nothing_reads()
        return read

    def _refuse_what_nothing_reads(self) -> None:
        readers = (ENCODERS[self.encoder], MODELS[self.name], Segmenter)
        taken = set(_OWN_KEYS).union(*map(_keywords, readers))
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if field.name not in taken and value != field.default:
                others = [n for n, c in (ENCODERS | MODELS).items() if field.name in _keywords(c)]
                raise InputError(
                    f"model.{field.name} is {value!r}, which neither {self.name} nor "
                    f"{self.encoder} reads; leave it out, or choose one of {', '.join(others)}"
                )


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
      >>> config = {"encoder": "resnet18", "width": 8, "channels": 8, "auxiliary_channels": 8}
      >>> model = create_model(config, num_classes=5, rngs=nnx.Rngs(0))
      >>> model(jnp.ones((2, 33, 64, 3))).shape
      (2, 33, 64, 5)
    """
    c = ModelConfig.from_mapping(dict(config))
    if c.pretrained:
        raise InputError(
            "model.pretrained: create_model makes random parameters; leave the key out and fill "
            "the model by checkpoints.load_torch"
        )
    encoder = _build(ENCODERS[c.encoder], c, c.encoder, rngs=rngs)
    decoder = _build(MODELS[c.name], c, encoder.channels, strides=encoder.strides, rngs=rngs)
    return Segmenter(
        encoder,
        decoder,
        num_classes=num_classes,
        auxiliary_channels=c.auxiliary_channels if c.auxiliary else None,
        auxiliary_stage=c.auxiliary_stage,
        dropout=c.dropout,
        align_corners=c.align_corners,
        rngs=rngs,
    )


def _build(make: type, config: ModelConfig, *arguments: Any, **more: Any) -> Any:
    """Calls `make` with those of all keywords that it takes; what is None keeps its default."""
    given = {k: v for k, v in (vars(config) | more).items() if v is not None}
    return make(*arguments, **{k: v for k, v in given.items() if k in _keywords(make)})


def _keywords(make: type) -> set[str]:
    parameters = inspect.signature(make.__init__).parameters.values()
    return {p.name for p in parameters if p.kind is p.KEYWORD_ONLY}
