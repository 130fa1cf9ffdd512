"""Models by name: `create_model` and the tables of what there is.

Constructors say which settings they read: `create_model` hands an encoder or decoder those of
`ModelConfig` that its signature names, and a setting that has been changed but that neither of the
chosen ones names is refused. So a new model is its class, a line in its table, and its own settings
in `ModelConfig`; nothing else lists what belongs to what.
"""

from __future__ import annotations

import dataclasses
import importlib
import inspect
from collections.abc import Mapping
from typing import Any

from flax import nnx
from ml_collections import config_dict

from segalias_jax.errors import InputError, check_choice
from segalias_jax.layers.freqmix import FREQMIX_PARTS
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
from segalias_jax.models.mask_rcnn import MaskRCNN
from segalias_jax.models.mit import MiT
from segalias_jax.models.mobilenet import MobileNet
from segalias_jax.models.ocr import OCR
from segalias_jax.models.panoptic_deeplab import PanopticDeepLab, PanopticMaps
from segalias_jax.models.point_rend import PointRend
from segalias_jax.models.pspnet import PSPNet
from segalias_jax.models.resnet import ResNet, stage_nyquist_frequency
from segalias_jax.models.segformer import SegFormer
from segalias_jax.models.segmenter import Segmenter
from segalias_jax.models.semantic_fpn import SemanticFPN
from segalias_jax.models.swin import Swin
from segalias_jax.models.tables import DETECTORS, ENCODERS, MODELS, PANOPTIC, UNIVERSAL
from segalias_jax.models.unet import DoubleConvEncoder, UNet
from segalias_jax.models.upernet import UPerNet
from segalias_jax.settings import check_settings, integer, names, number, numbers, parse, setting

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
    "MaskDetections",
    "MaskRCNN",
    "MiT",
    "MobileNet",
    "ModelConfig",
    "PSPNet",
    "PanopticDeepLab",
    "PanopticMaps",
    "PointRend",
    "ResNet",
    "SegFormer",
    "Segmenter",
    "SemanticFPN",
    "Summary",
    "Swin",
    "UNet",
    "UPerNet",
    "create_detector",
    "create_encoder",
    "create_model",
    "create_panoptic",
    "fold_branches",
    "stage_nyquist_frequency",
    "summarize",
]

# What `create_model` itself reads; all other keys are keywords of what it calls.
_OWN_KEYS = ("name", "encoder", "auxiliary", "pretrained", "imports")
_INTEGERS = numbers(integer(), "integers")


@dataclasses.dataclass(frozen=True)
class ModelConfig:
    """Everything that can be said about a model.

    None stands for the default of the encoder or decoder. A setting that neither of the two reads
    is an error unless it has its default, so that none is ever ignored; what the values of a
    setting are is therefore left to its reader. `segalias_jax.settings.documentation` prints what
    each says.

    Raises:
      InputError: an unknown name, a module that cannot be imported, or a setting nothing reads.

    Example:
      >>> ModelConfig(encoder="resnet18").auxiliary_channels
      256
      >>> ModelConfig(num_convs=1)
      Traceback (most recent call last):
      segalias_jax.errors.InputError: num_convs is 1, which neither upernet nor resnet50 reads; \
leave it out, or choose one of fcn
    """

    name: str = setting(
        "upernet",
        """decoder: "upernet", "fcn", "pspnet", "deeplabv3plus", "semantic_fpn", "lr_aspp", "unet",
        "ocr", "segformer", or one that `imports` adds to `models.MODELS`; a detector: "mask_rcnn",
        "point_rend"; or "panoptic_deeplab" """,
    )
    encoder: str = setting(
        "resnet50",
        """"resnet18" to "resnet152", "convnext_tiny", "convnextv2_tiny", "efficientnet_lite0",
        "mobilenet_v2", "swin_tiny", "mit_b0", "dinov2_small", "hrnet_w18", "double_conv" (of
        U-Net) and their relatives, which `segalias models` lists; or one that `imports` adds to
        `models.ENCODERS`. A key below is read by the encoders or decoders that it speaks of; set
        for others, it is an error""",
    )
    variant: str = setting("v1c", 'stem and shortcuts of ResNets: "v1a", "v1b", "v1c" or "v1d"')
    width: int | None = setting(None, "channels of stage 1; None: as published")
    output_stride: int = setting(
        32, "image pixels per pixel of stage 4 of ResNets: 32, 16 or 8", unit="pixels"
    )
    multi_grid: tuple[int, ...] = setting(
        (),
        "factors of the dilations in the blocks of a ResNet's stage 4; () for none",
        check=_INTEGERS,
    )
    contract_dilation: bool = setting(
        False, "halve the dilation of the first block of dilated stages"
    )
    frozen_stages: int = setting(-1, "stages that are not trained, after the stem (0); -1 for none")
    frozen_norm: bool = setting(
        False, "normalize by the running statistics, and keep them, in training too"
    )
    drop_path: float = setting(
        0.0,
        "fraction of the last blocks that an image skips in training: ConvNeXt, Swin, MiT, DINOv2",
    )
    remat: tuple[int, ...] = setting(
        (),
        """stages (1 is the finest) whose blocks compute their activations again for the gradient:
        less memory, more time; () for none""",
        check=_INTEGERS,
    )
    downsample: str = setting(
        "none",
        """filter before strides: "none", "daf", "flc", "adaptive_blur", "blur3", "blur5" or
        "blur7"; "awd" or "awd_keep" (adaptive weighted downsampling, in place of the stride or
        ahead of it)""",
    )
    mixer: str = setting(
        "none",
        """in the blocks: "none"; "freqmix", from stage 2 on; or "scb", a smooth branch beside their
        widest convolution, which `models.fold_branches` folds into it""",
    )
    filter_place: str = setting(
        "block",
        """of inverted residuals: "block", ahead of the one that strides, or "depthwise", inside of
        it, ahead of its strided convolution""",
    )
    cutoff: float | None = setting(
        None,
        "of the filters, and of FreqMix; None: each operator's own Nyquist frequency",
        unit="cycles/pixel",
    )
    band: str = setting(
        "symmetric", 'bins kept: "symmetric", or "reference", which is the published one'
    )
    gate: str = setting(
        "energy", 'channel gate of FreqMix: "energy", "magnitude" or "corner" (published)'
    )
    reduction: int = setting(16, "channels per hidden channel of FreqMix's gates")
    mixer_cutoff: float | None = setting(
        None, "of FreqMix, apart from the filters'; None: as theirs", unit="cycles/pixel"
    )
    mixer_parts: tuple[str, ...] = setting(
        FREQMIX_PARTS,
        'gates of FreqMix: "spatial", "channel" or both',
        check=names("names of gates", example="spatial"),
    )
    mixer_start: str | None = setting(
        None,
        """what FreqMix's gates begin with: "even", "pytorch" (published) or "identity"; None:
        "pytorch" for the gate "corner", else "even" """,
    )
    channels: int | None = setting(
        None,
        """of the decoder; None: 128 for "upernet", "semantic_fpn" and "lr_aspp", 64 for "unet"
        (finest map), 256 for "segformer" and "panoptic_deeplab", 512 for all others""",
    )
    pool_scales: tuple[int, ...] = setting(
        (1, 2, 3, 6),
        'bins per side of the pyramid pooling: "upernet", "pspnet"',
        check=_INTEGERS,
    )
    dilations: tuple[int, ...] = setting(
        (1, 12, 24, 36),
        'of "deeplabv3plus", "panoptic_deeplab"',
        unit="pixels of the coarsest features",
        check=_INTEGERS,
    )
    low_level_channels: int = setting(48, 'of the finest features in "deeplabv3plus"')
    num_convs: int = setting(2, 'convolutions in a row: "fcn"')
    concat_input: bool = setting(True, 'join the encoder\'s features again behind them: "fcn"')
    lateral_norm: bool = setting(False, 'norm and ReLU after linear layers: "segformer"')
    pyramid_channels: int = setting(256, 'of the pyramid below heads: "semantic_fpn", detectors')
    upsample: str = setting(
        "bilinear",
        """of "unet": "zeros", "nearest", "bilinear" or "transpose"; of the exchanges of HRNets:
        "bilinear", or "nearest" as in networks for images""",
    )
    box_channels: int = setting(1024, "of the layers that tell class and box: detectors")
    mask_channels: int = setting(256, "of the convolutions that tell the mask: detectors")
    anchor_sizes: tuple[int, ...] = setting(
        (),
        "side of the square anchor of each level: detectors; (): eight times its stride",
        unit="pixels",
        check=_INTEGERS,
    )
    anchor_ratios: tuple[float, ...] = setting(
        (0.5, 1.0, 2.0),
        "heights over widths of the anchors: detectors",
        check=numbers(number(above=0), "positive numbers"),
    )
    convention: str = setting(
        "torchvision",
        """whose rounding of anchors and alignment of boxes a detector has: "torchvision" or
        "mmdetection", as its weights need""",
    )
    pre_nms: int = setting(1000, "best anchors of each level that are looked at: detectors")
    post_nms: int = setting(1000, "proposals that are kept: detectors")
    pre_nms_train: int = setting(2000, "the same in training, as pre_nms")
    post_nms_train: int = setting(2000, "the same in training, as post_nms")
    rpn_samples: int = setting(256, "anchors of an image whose loss is taken: detectors")
    box_samples: int = setting(512, "proposals of an image whose loss is taken: detectors")
    rpn_nms_threshold: float = setting(0.7, "largest IoU of two proposals: detectors")
    nms_threshold: float = setting(0.5, "largest IoU of detections of a class: detectors")
    score_threshold: float = setting(0.05, "detections have higher scores: detectors")
    max_detections: int = setting(100, "of an image: detectors")
    dropout: float = setting(0.1, "fraction of channels dropped before the classifiers")
    auxiliary: bool = setting(True, "whether there is an auxiliary head")
    auxiliary_channels: int = setting(256, "of that head")
    auxiliary_stage: int = setting(3, "stage of the encoder that it reads, from 1")
    align_corners: bool = setting(False, "of all bilinear resizing inside the model")
    pretrained: str = setting(
        "",
        """weights to start from: a name, as "torchvision:resnet50" (`segalias models` lists all) or
        "hf:ORG/REPO/FILE"; a PyTorch file; or the folder of converted weights or of a run; "" for
        random parameters""",
    )
    imports: tuple[str, ...] = setting(
        (),
        "modules imported first, which add to `models.ENCODERS` or `models.MODELS`",
        check=names("names of modules", example="my_encoders"),
    )

    def __post_init__(self) -> None:
        """Imports what it names, then checks every value."""
        check_settings(self)
        for module in self.imports:
            # Wherever a recipe is read, training or predicting, its encoder is known from here on.
            try:
                importlib.import_module(module)
            except ImportError as error:
                raise InputError(
                    f"imports names {module!r}, which cannot be imported ({error}); put its folder "
                    "on PYTHONPATH"
                ) from None
        for key, table in (("name", MODELS | DETECTORS | PANOPTIC), ("encoder", ENCODERS)):
            check_choice(key, getattr(self, key), sorted(table))
        self._refuse_what_nothing_reads()

    def _refuse_what_nothing_reads(self) -> None:
        whole = DETECTORS | PANOPTIC  # which have heads of their own
        readers = (
            (ENCODERS[self.encoder], whole[self.name])
            if self.name in whole
            else (ENCODERS[self.encoder], MODELS[self.name], Segmenter)
        )
        taken = set(_OWN_KEYS).union(*map(_keywords, readers))
        if self.name in whole:
            taken.remove("auxiliary")
        tables = ENCODERS | MODELS | whole
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if field.name not in taken and value != field.default:
                others = [n for n, c in tables.items() if field.name in _keywords(c)]
                raise InputError(
                    f"{field.name} is {value!r}, which neither {self.name} nor "
                    f"{self.encoder} reads; leave it out, or choose one of {', '.join(others)}"
                )


def create_model(
    config: Mapping[str, Any] | config_dict.ConfigDict | ModelConfig,
    *,
    num_classes: int,
    rngs: nnx.Rngs,
) -> Segmenter:
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
    c = _checked(config, MODELS, "create_model")
    encoder = _build(ENCODERS[c.encoder], c, c.encoder, rngs=rngs)
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
        check_choice(f"setting of {name}", key, sorted(_keywords(ENCODERS[name]) - {"rngs"}))
    if pretrained:
        # Upwards, and only here: key tables and checkpoints stand above the models that they fill.
        from segalias_jax.checkpoints import start

        start.check_settings(pretrained, given | {"encoder": name})
        needed = start.required_settings(pretrained)
        given = {k: v for k, v in needed.items() if k in _keywords(ENCODERS[name])} | given
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


def _checked(
    config: Mapping[str, Any] | config_dict.ConfigDict | ModelConfig,
    table: dict[str, Any],
    builder: str,
) -> ModelConfig:
    """Reads a configuration whose name must stand in `table`, that of what `builder` builds."""
    c = config if isinstance(config, ModelConfig) else parse(ModelConfig, config)
    if c.name not in table:
        tables = {"create_model": MODELS, "create_detector": DETECTORS, "create_panoptic": PANOPTIC}
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
    return make(*arguments, **{k: v for k, v in given.items() if k in _keywords(make)})


def _keywords(make: type) -> set[str]:
    parameters = inspect.signature(make.__init__).parameters.values()
    return {p.name for p in parameters if p.kind is p.KEYWORD_ONLY}
