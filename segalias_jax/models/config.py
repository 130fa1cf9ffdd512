"""What can be said about a model: the section `model` of a recipe.

Constructors say which settings they read; see `segalias_jax.models`.
"""

from __future__ import annotations

import dataclasses
import importlib
import inspect

from segalias_jax.errors import InputError, check_choice
from segalias_jax.layers.freqmix import FREQMIX_PARTS
from segalias_jax.models.segmenter import Segmenter
from segalias_jax.models.tables import DETECTORS, ENCODERS, MODELS, PANOPTIC, UNIVERSAL
from segalias_jax.settings import check_settings, integer, names, number, numbers, setting

# What `create_model` itself reads; all other keys are keywords of what it calls.
_OWN_KEYS = ("name", "encoder", "auxiliary", "pretrained", "imports")
# Which have heads of their own.
_WHOLE = DETECTORS | PANOPTIC | UNIVERSAL
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
leave it at 2, or choose one of fcn
    """

    name: str = setting(
        "upernet",
        """decoder: "upernet", "fcn", "pspnet", "deeplabv3plus", "semantic_fpn", "lr_aspp", "unet",
        "ocr", "segformer", or one that `imports` adds to `models.MODELS`; a detector: "mask_rcnn",
        "point_rend"; "panoptic_deeplab"; or "mask2former" """,
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
        (finest map), 256 for "segformer", "panoptic_deeplab" and "mask2former", 512 for all
        others""",
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
    pyramid_channels: int = setting(
        256, 'of the pyramid below heads: "semantic_fpn", detectors', check=integer(least=1)
    )
    upsample: str = setting(
        "bilinear",
        """of "unet": "zeros", "nearest", "bilinear" or "transpose"; of the exchanges of HRNets:
        "bilinear", or "nearest" as in networks for images""",
    )
    box_channels: int = setting(
        1024, "of the layers that tell class and box: detectors", check=integer(least=1)
    )
    mask_channels: int = setting(
        256, "of the convolutions that tell the mask: detectors", check=integer(least=1)
    )
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
    pre_nms: int = setting(
        1000, "best anchors of each level that are looked at: detectors", check=integer(least=1)
    )
    post_nms: int = setting(1000, "proposals that are kept: detectors", check=integer(least=1))
    pre_nms_train: int = setting(2000, "the same in training, as pre_nms", check=integer(least=1))
    post_nms_train: int = setting(2000, "the same in training, as post_nms", check=integer(least=1))
    rpn_samples: int = setting(
        256, "anchors of an image whose loss is taken: detectors", check=integer(least=1)
    )
    box_samples: int = setting(
        512, "proposals of an image whose loss is taken: detectors", check=integer(least=4)
    )
    rpn_nms_threshold: float = setting(
        0.7, "largest IoU of two proposals: detectors", check=number(least=0, most=1)
    )
    nms_threshold: float = setting(
        0.5, "largest IoU of detections of a class: detectors", check=number(least=0, most=1)
    )
    score_threshold: float = setting(
        0.05, "detections have higher scores: detectors", check=number(least=0, most=1)
    )
    max_detections: int = setting(100, "of an image: detectors", check=integer(least=1))
    queries: int = setting(
        100, 'segments of an image at most: "mask2former"', check=integer(least=1)
    )
    pixel_layers: int = setting(6, 'of deformable attention: "mask2former"', check=integer(least=0))
    decoder_layers: int = setting(
        9, 'that queries go through: "mask2former"', check=integer(least=0)
    )
    pixel_feedforward: int = setting(
        1024, 'channels inside of the former: "mask2former"', check=integer(least=1)
    )
    feedforward: int = setting(
        2048, 'channels inside of the latter: "mask2former"', check=integer(least=1)
    )
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
        for key, table in (
            ("name", MODELS | DETECTORS | PANOPTIC | UNIVERSAL),
            ("encoder", ENCODERS),
        ):
            try:
                check_choice(key, getattr(self, key), sorted(table))
            except InputError as error:
                raise InputError(f"{error}, or name its module in imports") from None
        self._refuse_what_nothing_reads()

    def _refuse_what_nothing_reads(self) -> None:
        readers = (
            (ENCODERS[self.encoder], _WHOLE[self.name])
            if self.name in _WHOLE
            else (ENCODERS[self.encoder], MODELS[self.name], Segmenter)
        )
        taken = set(_OWN_KEYS).union(*map(keywords, readers))
        if self.name in _WHOLE:
            taken.remove("auxiliary")
        tables = ENCODERS | MODELS | _WHOLE
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if field.name not in taken and value != field.default:
                others = [n for n, c in tables.items() if field.name in keywords(c)]
                raise InputError(
                    f"{field.name} is {value!r}, which neither {self.name} nor "
                    f"{self.encoder} reads; leave it at {field.default!r}, or choose one of "
                    f"{', '.join(others)}"
                )


def keywords(make: type) -> set[str]:
    """Returns the names of what a constructor takes by keyword only.

    Args:
      make: the class.

    Example:
      >>> sorted(keywords(Segmenter) & {"dropout", "queries"})
      ['dropout']
    """
    parameters = inspect.signature(make.__init__).parameters.values()
    return {p.name for p in parameters if p.kind is p.KEYWORD_ONLY}
