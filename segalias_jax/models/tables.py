"""What there is, by name: decoders, detectors, panoptic and universal networks, and encoders.

A new one is its file and a line here; what imports of a user's own add is known as well.
"""

from __future__ import annotations

from typing import Any

from segalias_jax.models.convnext import CONVNEXTS, ConvNeXt
from segalias_jax.models.convnextv2 import CONVNEXTV2S, ConvNeXtV2
from segalias_jax.models.deeplab import DeepLabV3Plus
from segalias_jax.models.dinov2 import DINOV2S, DINOv2
from segalias_jax.models.efficientnet import EFFICIENTNETS, EfficientNet
from segalias_jax.models.fcn import FCN
from segalias_jax.models.hrnet import HRNETS, HRNet
from segalias_jax.models.lr_aspp import LRASPP
from segalias_jax.models.mask2former import Mask2Former
from segalias_jax.models.mask_rcnn import MaskRCNN
from segalias_jax.models.mit import MITS, MiT
from segalias_jax.models.mobilenet import MOBILENETS, MobileNet
from segalias_jax.models.ocr import OCR
from segalias_jax.models.panoptic_deeplab import PanopticDeepLab
from segalias_jax.models.point_rend import PointRend
from segalias_jax.models.pspnet import PSPNet
from segalias_jax.models.resnet import RESNETS, ResNet
from segalias_jax.models.segformer import SegFormer
from segalias_jax.models.semantic_fpn import SemanticFPN
from segalias_jax.models.swin import SWINS, Swin
from segalias_jax.models.unet import DOUBLE_CONVS, DoubleConvEncoder, UNet
from segalias_jax.models.upernet import UPerNet

MODELS: dict[str, Any] = {
    "upernet": UPerNet,
    "fcn": FCN,
    "pspnet": PSPNet,
    "deeplabv3plus": DeepLabV3Plus,
    "semantic_fpn": SemanticFPN,
    "lr_aspp": LRASPP,
    "unet": UNet,
    "ocr": OCR,
    "segformer": SegFormer,
}
"""Decoders by the name of the model that they make; they take the encoder's channels first."""

DETECTORS: dict[str, Any] = {"mask_rcnn": MaskRCNN, "point_rend": PointRend}
"""Detectors by name; they take the encoder first."""

PANOPTIC: dict[str, Any] = {"panoptic_deeplab": PanopticDeepLab}
"""Networks of panoptic segmentation by name; they take the encoder first."""

UNIVERSAL: dict[str, Any] = {"mask2former": Mask2Former}
"""Networks that tell segments of any kind of classes, by name; they take the encoder first."""

ENCODERS: dict[str, Any] = {
    **{name: ResNet for name in RESNETS},
    **{name: ConvNeXt for name in CONVNEXTS},
    **{name: ConvNeXtV2 for name in CONVNEXTV2S},
    **{name: Swin for name in SWINS},
    **{name: MiT for name in MITS},
    **{name: EfficientNet for name in EFFICIENTNETS},
    **{name: MobileNet for name in MOBILENETS},
    **{name: DINOv2 for name in DINOV2S},
    **{name: HRNet for name in HRNETS},
    **{name: DoubleConvEncoder for name in DOUBLE_CONVS},
}
"""Encoders by name; they take that name first."""
