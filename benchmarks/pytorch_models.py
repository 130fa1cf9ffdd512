"""UPerNet in PyTorch, with mmsegmentation's names: the peer that ours is timed by.

Our weights load into it by the key tables of `segalias_jax.torch_weights`; both compute the same.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

POOL_SCALES = (1, 2, 3, 6)


class ConvNormAct(nn.Sequential):
    """Convolution without bias, batch normalization, ReLU; named `conv` and `bn`."""

    def __init__(self, in_channels: int, out_channels: int, kernel_size: int = 1):
        super().__init__()
        padding = kernel_size // 2
        self.conv = nn.Conv2d(in_channels, out_channels, kernel_size, padding=padding, bias=False)
        self.bn = nn.BatchNorm2d(out_channels)
        self.act = nn.ReLU(inplace=True)


class Bottleneck(nn.Module):
    """1x1, 3x3 (strided) and 1x1 convolutions beside a shortcut."""

    def __init__(self, in_channels: int, planes: int, stride: int):
        super().__init__()
        out_channels = 4 * planes
        self.conv1 = nn.Conv2d(in_channels, planes, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(planes)
        self.conv2 = nn.Conv2d(planes, planes, 3, stride=stride, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(planes)
        self.conv3 = nn.Conv2d(planes, out_channels, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(out_channels)
        self.downsample = None
        if stride > 1 or in_channels != out_channels:
            self.downsample = nn.Sequential(
                nn.Conv2d(in_channels, out_channels, 1, stride=stride, bias=False),
                nn.BatchNorm2d(out_channels),
            )

    def forward(self, x: Tensor) -> Tensor:
        """Applies the block."""
        y = functional.relu(self.bn1(self.conv1(x)), inplace=True)
        y = functional.relu(self.bn2(self.conv2(y)), inplace=True)
        y = self.bn3(self.conv3(y))
        y += x if self.downsample is None else self.downsample(x)
        return functional.relu(y, inplace=True)


class ResNet(nn.Module):
    """The encoder: a stem of three convolutions, pooling, and four stages."""

    def __init__(self, depths: tuple[int, ...], width: int):
        super().__init__()
        stem, in_channels = [], 3
        for stride, out_channels in ((2, width // 2), (1, width // 2), (1, width)):
            conv = nn.Conv2d(in_channels, out_channels, 3, stride=stride, padding=1, bias=False)
            stem += [conv, nn.BatchNorm2d(out_channels), nn.ReLU(inplace=True)]
            in_channels = out_channels
        self.stem = nn.Sequential(*stem)
        self.pool = nn.MaxPool2d(3, stride=2, padding=1)
        for i, depth in enumerate(depths):
            planes, blocks = width * 2**i, []
            for j in range(depth):
                blocks.append(Bottleneck(in_channels, planes, stride=2 if i and not j else 1))
                in_channels = 4 * planes
            self.add_module(f"layer{i + 1}", nn.Sequential(*blocks))

    def forward(self, x: Tensor) -> list[Tensor]:
        """Returns the four stages' feature maps, fine to coarse."""
        features = [self.pool(self.stem(x))]
        for layer in (self.layer1, self.layer2, self.layer3, self.layer4):
            features.append(layer(features[-1]))
        return features[1:]


class DecodeHead(nn.Module):
    """Pyramid pooling on top, a feature pyramid below, and the classifier."""

    def __init__(self, in_channels: Sequence[int], channels: int, num_classes: int):
        super().__init__()
        *finer, top = in_channels
        self.psp_modules = nn.ModuleList(
            nn.Sequential(nn.AdaptiveAvgPool2d(s), ConvNormAct(top, channels)) for s in POOL_SCALES
        )
        self.bottleneck = ConvNormAct(top + len(POOL_SCALES) * channels, channels, 3)
        self.lateral_convs = nn.ModuleList(ConvNormAct(c, channels) for c in finer)
        self.fpn_convs = nn.ModuleList(ConvNormAct(channels, channels, 3) for _ in finer)
        self.fpn_bottleneck = ConvNormAct(channels * len(in_channels), channels, 3)
        self.dropout = nn.Dropout2d(0.1)
        self.conv_seg = nn.Conv2d(channels, num_classes, 1)

    def forward(self, features: list[Tensor]) -> Tensor:
        """Returns logits at the size of the finest map."""
        top = features[-1]
        pooled = [resize(module(top), top) for module in self.psp_modules]
        merged = [self.bottleneck(torch.cat([top, *pooled], 1))]
        for lateral, feature in zip(reversed(self.lateral_convs), features[-2::-1], strict=True):
            y = lateral(feature)
            merged.insert(0, y + resize(merged[0], y))
        parts = [mix(y) for mix, y in zip(self.fpn_convs, merged[:-1], strict=True)]
        parts = [resize(y, parts[0]) for y in [*parts, merged[-1]]]
        return self.conv_seg(self.dropout(self.fpn_bottleneck(torch.cat(parts, 1))))


class AuxiliaryHead(nn.Module):
    """A 3x3 convolution and a classifier."""

    def __init__(self, in_channels: int, channels: int, num_classes: int):
        super().__init__()
        self.convs = nn.Sequential(ConvNormAct(in_channels, channels, 3))
        self.dropout = nn.Dropout2d(0.1)
        self.conv_seg = nn.Conv2d(channels, num_classes, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Returns logits at the size of `x`."""
        return self.conv_seg(self.dropout(self.convs(x)))


class UPerNet(nn.Module):
    """UPerNet with an auxiliary head on stage 3: on ResNet-50 v1c, or on another encoder."""

    def __init__(
        self,
        num_classes: int,
        *,
        width: int = 64,
        backbone: nn.Module | None = None,
        in_channels: Sequence[int] = (),
        channels: int = 128,
        auxiliary_channels: int = 256,
    ):
        super().__init__()
        if backbone is None:
            backbone = ResNet((3, 4, 6, 3), width)
            in_channels = [4 * width * 2**i for i in range(4)]
        self.backbone = backbone
        self.decode_head = DecodeHead(in_channels, channels, num_classes)
        self.auxiliary_head = AuxiliaryHead(in_channels[2], auxiliary_channels, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        """Returns logits at the size of the image."""
        return resize(self.decode_head(self.backbone(x)), x)

    def with_auxiliary(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Returns the logits and those of the auxiliary head."""
        features = self.backbone(x)
        return resize(self.decode_head(features), x), resize(self.auxiliary_head(features[2]), x)


def resize(y: Tensor, like: Tensor) -> Tensor:
    """Bilinear interpolation to the size of another map."""
    return functional.interpolate(y, like.shape[2:], mode="bilinear", align_corners=False)
