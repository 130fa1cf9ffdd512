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
from segalias_jax.models.convnext import CONVNEXTS, ConvNeXt
from segalias_jax.models.convnextv2 import CONVNEXTV2S, ConvNeXtV2
from segalias_jax.models.cost.complexity import Summary, summarize
from segalias_jax.models.deeplab import DeepLabV3Plus
from segalias_jax.models.detections import Detections
from segalias_jax.models.dinov2 import DINOV2S, DINOv2
from segalias_jax.models.encoder import Encoder
from segalias_jax.models.fcn import FCN
from segalias_jax.models.feature_pyramid import FeaturePyramid
from segalias_jax.models.folding import fold_branches
from segalias_jax.models.mask_rcnn import MaskRCNN
from segalias_jax.models.mit import MITS, MiT
from segalias_jax.models.point_rend import PointRend
from segalias_jax.models.pspnet import PSPNet
from segalias_jax.models.resnet import RESNETS, ResNet, stage_nyquist_frequency
from segalias_jax.models.segmenter import Segmenter
from segalias_jax.models.semantic_fpn import SemanticFPN
from segalias_jax.models.swin import SWINS, Swin
from segalias_jax.models.unet import DOUBLE_CONVS, DoubleConvEncoder, UNet
from segalias_jax.models.upernet import UPerNet
from segalias_jax.settings import check_settings, integer, names, number, numbers, parse, setting

MODELS: dict[str, Any] = {
    "upernet": UPerNet,
    "fcn": FCN,
    "pspnet": PSPNet,
    "deeplabv3plus": DeepLabV3Plus,
    "semantic_fpn": SemanticFPN,
    "unet": UNet,
}
"""Decoders by the name of the model that they make; they take the encoder's channels first."""

DETECTORS: dict[str, Any] = {"mask_rcnn": MaskRCNN, "point_rend": PointRend}
"""Detectors by name; they take the encoder first."""

ENCODERS: dict[str, Any] = {
    **{name: ResNet for name in RESNETS},
    **{name: ConvNeXt for name in CONVNEXTS},
    **{name: ConvNeXtV2 for name in CONVNEXTV2S},
    **{name: Swin for name in SWINS},
    **{name: MiT for name in MITS},
    **{name: DINOv2 for name in DINOV2S},
    **{name: DoubleConvEncoder for name in DOUBLE_CONVS},
}
"""Encoders by name; they take that name first."""

__all__ = [
    "DETECTORS",
    "ENCODERS",
    "FCN",
    "MODELS",
    "ConvNeXt",
    "ConvNeXtV2",
    "DINOv2",
    "DeepLabV3Plus",
    "Detections",
    "DoubleConvEncoder",
    "Encoder",
    "FeaturePyramid",
    "MaskRCNN",
    "MiT",
    "ModelConfig",
    "PSPNet",
    "PointRend",
    "ResNet",
    "Segmenter",
    "SemanticFPN",
    "Summary",
    "Swin",
    "UNet",
    "UPerNet",
    "create_detector",
    "create_model",
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
        """decoder: "upernet", "fcn", "pspnet", "deeplabv3plus", "semantic_fpn", "unet", or one that
        `imports` adds to `models.MODELS`; or a detector: "mask_rcnn", "point_rend" """,
    )
    encoder: str = setting(
        "resnet50",
        """"resnet18", "resnet34", "resnet50", "resnet101" or "resnet152"; "convnext_tiny",
        "convnext_small" or "convnext_base"; "convnextv2_tiny" or "convnextv2_base";
        "swin_tiny", "swin_small" or "swin_base"; "mit_b0" to "mit_b5";
        "dinov2_small" or "dinov2_base"; "double_conv" (that of U-Net); or one that `imports` adds
        to `models.ENCODERS`. A key below is read by the encoders or decoders that it speaks of; set
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
        """of the decoder; None: 128 for "upernet" and "semantic_fpn", 64 for "unet" (finest map),
        512 for all others""",
    )
    pool_scales: tuple[int, ...] = setting(
        (1, 2, 3, 6),
        'bins per side of the pyramid pooling: "upernet", "pspnet"',
        check=_INTEGERS,
    )
    dilations: tuple[int, ...] = setting(
        (1, 12, 24, 36),
        'of "deeplabv3plus"',
        unit="pixels of the coarsest features",
        check=_INTEGERS,
    )
    low_level_channels: int = setting(48, 'of the finest features in "deeplabv3plus"')
    num_convs: int = setting(2, 'convolutions in a row: "fcn"')
    concat_input: bool = setting(True, 'join the encoder\'s features again behind them: "fcn"')
    pyramid_channels: int = setting(
        256, 'of the pyramid below the heads: "semantic_fpn", detectors'
    )
    upsample: str = setting("bilinear", 'of "unet": "zeros", "nearest", "bilinear" or "transpose"')
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
        "", 'folder of converted weights, or of a run, to start from; "" for random parameters'
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
        for key, table in (("name", MODELS | DETECTORS), ("encoder", ENCODERS)):
            check_choice(key, getattr(self, key), sorted(table))
        self._refuse_what_nothing_reads()

    def _refuse_what_nothing_reads(self) -> None:
        readers = (
            (ENCODERS[self.encoder], DETECTORS[self.name])
            if self.name in DETECTORS
            else (ENCODERS[self.encoder], MODELS[self.name], Segmenter)
        )
        taken = set(_OWN_KEYS).union(*map(_keywords, readers))
        if self.name in DETECTORS:
            taken.remove("auxiliary")
        tables = ENCODERS | MODELS | DETECTORS
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
    c = _checked(config, MODELS, "create_model", "create_detector")
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
    c = _checked(config, DETECTORS, "create_detector", "create_model")
    encoder = _build(ENCODERS[c.encoder], c, c.encoder, rngs=rngs)
    return _build(DETECTORS[c.name], c, encoder, num_classes=num_classes, rngs=rngs)


def _checked(
    config: Mapping[str, Any] | config_dict.ConfigDict | ModelConfig,
    table: dict[str, Any],
    builder: str,
    other: str,
) -> ModelConfig:
    """Reads a configuration whose name must stand in `table`, and not be built by `other`."""
    c = config if isinstance(config, ModelConfig) else parse(ModelConfig, config)
    if c.name not in table:
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
