"""Models by name: `create_model` and the tables of what there is.

Constructors say which settings they read: `create_model` hands an encoder or decoder those of
`ModelConfig` that its signature names, and a setting that has been changed but that neither of the
chosen ones names is refused. So a new model is its class, a line in its table, and its own settings
in `ModelConfig`; nothing else lists what belongs to what.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from flax import nnx
from ml_collections import config_dict

from segalias_jax.errors import InputError, check_choice
from segalias_jax.models.config import ModelConfig, keywords
from segalias_jax.models.convnext import ConvNeXt
from segalias_jax.models.convnextv2 import ConvNeXtV2
from segalias_jax.models.cost.complexity import Summary, summarize
from segalias_jax.models.deeplab import DeepLabV3Plus
from segalias_jax.models.detections import Detections, MaskDetections
from segalias_jax.models.dinov2 import DINOv2
from segalias_jax.models.efficientnet import EfficientNet
from segalias_jax.models.encoder import Encoder
from segalias_jax.models.fcn import FCN
from segalias_jax.models.feature_pyramid import FeaturePyramid
from segalias_jax.models.folding import fold_branches
from segalias_jax.models.hrnet import HRNet
from segalias_jax.models.lr_aspp import LRASPP
from segalias_jax.models.mask2former import Mask2Former, QueriedSegments
from segalias_jax.models.mask2former_queries import Segments
from segalias_jax.models.mask_rcnn import MaskRCNN
from segalias_jax.models.mit import MiT
from segalias_jax.models.mobilenet import MobileNet
from segalias_jax.models.ocr import OCR
from segalias_jax.models.panoptic_deeplab import PanopticDeepLab, PanopticMaps
from segalias_jax.models.point_rend import PointRend
from segalias_jax.models.pspnet import PSPNet
from segalias_jax.models.queries import QuerySegmenter
from segalias_jax.models.resnet import ResNet, stage_nyquist_frequency
from segalias_jax.models.segformer import SegFormer
from segalias_jax.models.segmenter import Segmenter
from segalias_jax.models.semantic_fpn import SemanticFPN
from segalias_jax.models.swin import Swin
from segalias_jax.models.tables import DETECTORS, ENCODERS, MODELS, PANOPTIC, UNIVERSAL
from segalias_jax.models.unet import DoubleConvEncoder, UNet
from segalias_jax.models.upernet import UPerNet
from segalias_jax.settings import parse

__all__ = [
    "DETECTORS",
    "ENCODERS",
    "FCN",
    "LRASPP",
    "MODELS",
    "OCR",
    "PANOPTIC",
    "UNIVERSAL",
    "ConvNeXt",
    "ConvNeXtV2",
    "DINOv2",
    "DeepLabV3Plus",
    "Detections",
    "DoubleConvEncoder",
    "EfficientNet",
    "Encoder",
    "FeaturePyramid",
    "HRNet",
    "Mask2Former",
    "MaskDetections",
    "MaskRCNN",
    "MiT",
    "MobileNet",
    "ModelConfig",
    "PSPNet",
    "PanopticDeepLab",
    "PanopticMaps",
    "PointRend",
    "QueriedSegments",
    "QuerySegmenter",
    "ResNet",
    "SegFormer",
    "Segmenter",
    "Segments",
    "SemanticFPN",
    "Summary",
    "Swin",
    "UNet",
    "UPerNet",
    "create_detector",
    "create_encoder",
    "create_model",
    "create_panoptic",
    "create_universal",
    "fold_branches",
    "stage_nyquist_frequency",
    "summarize",
]


def create_model(
    config: Mapping[str, Any] | config_dict.ConfigDict | ModelConfig,
    *,
    num_classes: int,
    rngs: nnx.Rngs,
) -> Segmenter | QuerySegmenter:
    """Builds a freshly initialized model.

    Args:
      config: a `ModelConfig`, or a mapping with some of its settings; those left out have their
        defaults.
      num_classes: number of classes.
      rngs: random streams "params" and "dropout".

    Returns:
      A model that maps normalized images `[b, h, w, 3]` to logits `[b, h, w, num_classes]`.

    Raises:
      InputError: an unknown key, name or value; the message lists the choices.

    Example:
      >>> import jax.numpy as jnp
      >>> config = {"encoder": "resnet18", "width": 8, "channels": 8, "auxiliary_channels": 8}
      >>> model = create_model(config, num_classes=5, rngs=nnx.Rngs(0))
      >>> model(jnp.ones((2, 33, 64, 3))).shape
      (2, 33, 64, 5)
    """
    c = _checked(config, MODELS | UNIVERSAL, "create_model")
    encoder = _build(ENCODERS[c.encoder], c, c.encoder, rngs=rngs)
    if c.name in UNIVERSAL:
        return _build(QuerySegmenter, c, encoder, num_classes=num_classes, rngs=rngs)
    decoder = _build(
        MODELS[c.name],
        c,
        encoder.channels,
        strides=encoder.strides,
        num_classes=num_classes,
        rngs=rngs,
    )
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


def create_encoder(
    name: str,
    *,
    pretrained: str = "",
    settings: Mapping[str, Any] | None = None,
    rngs: nnx.Rngs,
) -> Encoder:
    """Builds an encoder alone, as a feature extractor for a head of one's own.

    Its attributes `channels` and `strides` say what it returns, fine to coarse.

    Args:
      name: one of `ENCODERS`.
      pretrained: weights to fill it with, as recipes name them in `model.pretrained`; those of
        whole networks are taken without their heads. "" for random parameters.
      settings: keys of `ModelConfig` that the encoder reads, such as "downsample"; those that
        `pretrained` needs and that are not given are set.
      rngs: random streams "params" and "dropout".

    Returns:
      The encoder, which maps normalized images `[b, h, w, 3]` to feature maps.

    Raises:
      InputError: an unknown name, key or value; or weights that are not there, cannot be fetched,
        or are for another encoder.

    Example:
      >>> import jax.numpy as jnp
      >>> settings = {"width": 8, "downsample": "daf"}
      >>> encoder = create_encoder("resnet18", settings=settings, rngs=nnx.Rngs(0))
      >>> encoder.strides, [f.shape for f in encoder(jnp.ones((1, 32, 32, 3)))][-1]
      ((4, 8, 16, 32), (1, 1, 1, 64))
    """
    check_choice("encoder", name, sorted(ENCODERS))
    given = dict(settings or {})
    for key in given:
        check_choice(f"setting of {name}", key, sorted(keywords(ENCODERS[name]) - {"rngs"}))
    if pretrained:
        # Upwards, and only here: key tables and checkpoints stand above the models that they fill.
        from segalias_jax.checkpoints import start

        start.check_settings(pretrained, given | {"encoder": name})
        needed = start.required_settings(pretrained)
        given = {k: v for k, v in needed.items() if k in keywords(ENCODERS[name])} | given
    encoder = _build(ENCODERS[name], parse(ModelConfig, given | {"encoder": name}), name, rngs=rngs)
    if pretrained:
        start.fill_encoder(pretrained, encoder)
    return encoder


def create_detector(
    config: Mapping[str, Any] | config_dict.ConfigDict | ModelConfig,
    *,
    num_classes: int,
    rngs: nnx.Rngs,
) -> MaskRCNN:
    """Builds a freshly initialized detector.

    Args:
      config: a `ModelConfig`, or a mapping with some of its settings; its name is one of
        `DETECTORS`.
      num_classes: number of classes, without background.
      rngs: random streams "params" and "dropout".

    Returns:
      A detector with the methods `detect` and `losses`.

    Raises:
      InputError: an unknown key, name or value; the message lists the choices.

    Example:
      >>> config = {"name": "mask_rcnn", "encoder": "resnet50", "variant": "v1b"}
      >>> make = lambda: create_detector(config, num_classes=80, rngs=nnx.Rngs(0))
      >>> nnx.eval_shape(make).box_head.first.kernel.shape
      (7, 7, 256, 1024)
    """
    c = _checked(config, DETECTORS, "create_detector")
    encoder = _build(ENCODERS[c.encoder], c, c.encoder, rngs=rngs)
    return _build(DETECTORS[c.name], c, encoder, num_classes=num_classes, rngs=rngs)


def create_panoptic(
    config: Mapping[str, Any] | config_dict.ConfigDict | ModelConfig,
    *,
    num_classes: int,
    rngs: nnx.Rngs,
) -> PanopticDeepLab:
    """Builds a freshly initialized network of panoptic segmentation.

    Args:
      config: a `ModelConfig`, or a mapping with some of its settings; its name is one of
        `PANOPTIC`.
      num_classes: number of classes of things and stuff, without background.
      rngs: random streams "params" and "dropout".

    Returns:
      A model that maps normalized images `[b, h, w, 3]` to `PanopticMaps`.

    Raises:
      InputError: an unknown key, name or value; the message lists the choices.

    Example:
      >>> config = {"name": "panoptic_deeplab", "encoder": "resnet50", "output_stride": 16}
      >>> make = lambda: create_panoptic(config, num_classes=19, rngs=nnx.Rngs(0))
      >>> nnx.eval_shape(make).semantic.out.kernel.shape
      (1, 1, 256, 20)
    """
    c = _checked(config, PANOPTIC, "create_panoptic")
    encoder = _build(ENCODERS[c.encoder], c, c.encoder, rngs=rngs)
    return _build(PANOPTIC[c.name], c, encoder, num_classes=num_classes, rngs=rngs)


def create_universal(
    config: Mapping[str, Any] | config_dict.ConfigDict | ModelConfig,
    *,
    num_classes: int,
    rngs: nnx.Rngs,
) -> Mask2Former:
    """Builds a freshly initialized network that tells segments of any kind of classes.

    Args:
      config: a `ModelConfig`, or a mapping with some of its settings; its name is one of
        `UNIVERSAL`.
      num_classes: number of classes, without "no object".
      rngs: random streams "params" and "dropout".

    Returns:
      A model that maps normalized images `[b, h, w, 3]` to `QueriedSegments`.

    Raises:
      InputError: an unknown key, name or value; the message lists the choices.

    Example:
      >>> config = {"name": "mask2former", "encoder": "swin_tiny"}
      >>> make = lambda: create_universal(config, num_classes=80, rngs=nnx.Rngs(0))
      >>> nnx.eval_shape(make).query_decoder.classes.kernel.shape
      (256, 81)
    """
    c = _checked(config, UNIVERSAL, "create_universal")
    encoder = _build(ENCODERS[c.encoder], c, c.encoder, rngs=rngs)
    return _build(UNIVERSAL[c.name], c, encoder, num_classes=num_classes, rngs=rngs)


def _checked(
    config: Mapping[str, Any] | config_dict.ConfigDict | ModelConfig,
    table: dict[str, Any],
    builder: str,
) -> ModelConfig:
    """Reads a configuration whose name must stand in `table`, that of what `builder` builds."""
    c = config if isinstance(config, ModelConfig) else parse(ModelConfig, config)
    if c.name not in table:
        tables = {"create_model": MODELS, "create_detector": DETECTORS}
        tables |= {"create_panoptic": PANOPTIC, "create_universal": UNIVERSAL}
        other = next(name for name, others in tables.items() if c.name in others)
        raise InputError(f"name is {c.name!r}, which models.{other} builds")
    if c.pretrained:
        raise InputError(
            f"pretrained: {builder} makes random parameters; leave it out and fill the model by "
            "checkpoints.load_torch"
        )
    return c


def _build(make: type, config: ModelConfig, *arguments: Any, **more: Any) -> Any:
    """Calls `make` with those of all keywords that it takes; what is None keeps its default."""
    given = {k: v for k, v in (vars(config) | more).items() if v is not None}
    return make(*arguments, **{k: v for k, v in given.items() if k in keywords(make)})
