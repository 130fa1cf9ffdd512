"""mmsegmentation's networks in PyTorch, with its names: what converted weights are held against.

Written for these tests; import after `pytest.importorskip("torch")`.
"""

import torch
from torch import nn
from torch.nn import functional


class ConvNorm(nn.Module):
    def __init__(self, inputs, outputs, size=1, *, dilation=1, groups=1):
        super().__init__()
        padding = dilation * (size // 2)
        self.conv = nn.Conv2d(
            inputs, outputs, size, 1, padding, dilation=dilation, groups=groups, bias=False
        )
        self.bn = nn.BatchNorm2d(outputs)

    def forward(self, x):
        return torch.relu(self.bn(self.conv(x)))


class Separable(nn.Module):
    def __init__(self, inputs, outputs, dilation=1):
        super().__init__()
        self.depthwise_conv = ConvNorm(inputs, inputs, 3, dilation=dilation, groups=inputs)
        self.pointwise_conv = ConvNorm(inputs, outputs)

    def forward(self, x):
        return self.pointwise_conv(self.depthwise_conv(x))


class Plain(nn.Module):
    """A convolution alone, under the name that it has inside a sequence with a norm."""

    def __init__(self, inputs, outputs, size):
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, size, padding=size // 2)

    def forward(self, x):
        return self.conv(x)


class Head(nn.Module):
    """What all heads share: a classifier, and resizing with or without aligned corners."""

    def __init__(self, channels, num_classes, align_corners):
        super().__init__()
        self.conv_seg = nn.Conv2d(channels, num_classes, 1)
        self.align_corners = align_corners

    def resize(self, x, size):
        return functional.interpolate(
            x, tuple(size), mode="bilinear", align_corners=self.align_corners
        )

    def pool(self, x):
        size = x.shape[2:]
        return torch.cat([x] + [self.resize(module(x), size) for module in self.psp_modules], 1)


def pyramid(inputs, channels, scales):
    pools = (nn.AdaptiveAvgPool2d(n) for n in scales)
    return nn.ModuleList(nn.Sequential(pool, ConvNorm(inputs, channels)) for pool in pools)


class UPerHead(Head):
    def __init__(self, inputs, channels, *shared, scales=(1, 2, 3, 6)):
        super().__init__(channels, *shared)
        self.psp_modules = pyramid(inputs[-1], channels, scales)
        self.bottleneck = ConvNorm(inputs[-1] + len(scales) * channels, channels, 3)
        self.lateral_convs = nn.ModuleList(ConvNorm(c, channels) for c in inputs[:-1])
        self.fpn_convs = nn.ModuleList(ConvNorm(channels, channels, 3) for _ in inputs[:-1])
        self.fpn_bottleneck = ConvNorm(len(inputs) * channels, channels, 3)

    def forward(self, features):
        levels = [mix(f) for mix, f in zip(self.lateral_convs, features, strict=False)]
        levels.append(self.bottleneck(self.pool(features[-1])))
        for i in range(len(levels) - 1, 0, -1):
            levels[i - 1] = levels[i - 1] + self.resize(levels[i], levels[i - 1].shape[2:])
        levels[:-1] = [mix(y) for mix, y in zip(self.fpn_convs, levels, strict=False)]
        levels = [self.resize(y, levels[0].shape[2:]) for y in levels]
        return self.conv_seg(self.fpn_bottleneck(torch.cat(levels, 1)))


class PSPHead(Head):
    def __init__(self, inputs, channels, *shared, scales=(1, 2, 3, 6)):
        super().__init__(channels, *shared)
        self.psp_modules = pyramid(inputs[-1], channels, scales)
        self.bottleneck = ConvNorm(inputs[-1] + len(scales) * channels, channels, 3)

    def forward(self, features):
        return self.conv_seg(self.bottleneck(self.pool(features[-1])))


class FCNHead(Head):
    def __init__(self, inputs, channels, *shared, convs=2, concat=True, at=-1):
        super().__init__(channels, *shared)
        widths = [inputs[at], *[channels] * (convs - 1)]
        self.convs = nn.Sequential(*(ConvNorm(c, channels, 3) for c in widths))
        self.conv_cat = ConvNorm(inputs[at] + channels, channels, 3) if concat else None
        self.at = at

    def forward(self, features):
        x = features[self.at]
        y = self.convs(x)
        return self.conv_seg(self.conv_cat(torch.cat([x, y], 1)) if self.conv_cat else y)


class DepthwiseSeparableASPPHead(Head):
    def __init__(self, inputs, channels, *shared, dilations=(1, 12, 24, 36), low=48):
        super().__init__(channels, *shared)
        top = inputs[-1]
        self.image_pool = nn.Sequential(nn.AdaptiveAvgPool2d(1), ConvNorm(top, channels))
        self.aspp_modules = nn.ModuleList(
            ConvNorm(top, channels) if d == 1 else Separable(top, channels, d) for d in dilations
        )
        self.bottleneck = ConvNorm((1 + len(dilations)) * channels, channels, 3)
        self.c1_bottleneck = ConvNorm(inputs[0], low)
        self.sep_bottleneck = nn.Sequential(
            Separable(channels + low, channels), Separable(channels, channels)
        )

    def forward(self, features):
        x, fine = features[-1], self.c1_bottleneck(features[0])
        parts = [self.resize(self.image_pool(x), x.shape[2:])]
        y = self.bottleneck(torch.cat(parts + [module(x) for module in self.aspp_modules], 1))
        y = torch.cat([self.resize(y, fine.shape[2:]), fine], 1)
        return self.conv_seg(self.sep_bottleneck(y))


class FPN(nn.Module):
    def __init__(self, inputs, channels):
        super().__init__()
        self.lateral_convs = nn.ModuleList(Plain(c, channels, 1) for c in inputs)
        self.fpn_convs = nn.ModuleList(Plain(channels, channels, 3) for _ in inputs)

    def forward(self, features):
        levels = [mix(f) for mix, f in zip(self.lateral_convs, features, strict=True)]
        for i in range(len(levels) - 1, 0, -1):
            size = levels[i - 1].shape[2:]
            levels[i - 1] = levels[i - 1] + functional.interpolate(levels[i], size=size)
        return [mix(y) for mix, y in zip(self.fpn_convs, levels, strict=True)]


class FPNHead(Head):
    def __init__(self, inputs, channels, *shared):
        super().__init__(channels, *shared)
        self.scale_heads = nn.ModuleList()
        for level, width in enumerate(inputs):
            layers = []
            for i in range(max(level, 1)):
                layers.append(ConvNorm(channels if i else width, channels, 3))
                if level:
                    mode = dict(mode="bilinear", align_corners=self.align_corners)
                    layers.append(nn.Upsample(scale_factor=2, **mode))
            self.scale_heads.append(nn.Sequential(*layers))

    def forward(self, features):
        parts = [head(f) for head, f in zip(self.scale_heads, features, strict=True)]
        return self.conv_seg(sum(self.resize(y, parts[0].shape[2:]) for y in parts))


class BasicBlock(nn.Module):
    def __init__(self, inputs, outputs, stride):
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.downsample = None
        if stride > 1:
            shortcut = nn.Conv2d(inputs, outputs, 1, stride, bias=False)
            self.downsample = nn.Sequential(shortcut, nn.BatchNorm2d(outputs))

    def forward(self, x):
        y = self.bn2(self.conv2(torch.relu(self.bn1(self.conv1(x)))))
        return torch.relu(y + (self.downsample(x) if self.downsample else x))


class ResNet18(nn.Module):
    """With the deep stem (v1c), and a width of one's own."""

    def __init__(self, width):
        super().__init__()
        stem, inputs = [], 3
        for outputs, stride in ((width // 2, 2), (width // 2, 1), (width, 1)):
            stem += [nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)]
            stem += [nn.BatchNorm2d(outputs), nn.ReLU()]
            inputs = outputs
        self.stem = nn.Sequential(*stem)
        for i in range(4):
            outputs = width * 2**i
            first = BasicBlock(inputs, outputs, 2 if i else 1)
            setattr(self, f"layer{i + 1}", nn.Sequential(first, BasicBlock(outputs, outputs, 1)))
            inputs = outputs

    def forward(self, x):
        x, features = functional.max_pool2d(self.stem(x), 3, 2, 1), []
        for i in range(4):
            x = getattr(self, f"layer{i + 1}")(x)
            features.append(x)
        return features


class Segmenter(nn.Module):
    """A backbone, a neck where there is one, a head and an auxiliary head."""

    def __init__(self, backbone, neck, decode_head, auxiliary_head):
        super().__init__()
        self.backbone, self.neck = backbone, neck
        self.decode_head, self.auxiliary_head = decode_head, auxiliary_head

    def forward(self, x):
        features = self.backbone(x)
        y = self.decode_head(features if self.neck is None else self.neck(features))
        z = self.auxiliary_head(features)
        return [self.decode_head.resize(y, x.shape[2:]) for y in (y, z)]


def build(name, inputs, channels, num_classes, *, align_corners=False, auxiliary=256, **options):
    """A network without a backbone, by the name that its decoder has with us."""
    shared, neck, at = (num_classes, align_corners), None, options.pop("auxiliary_stage", 3)
    if name == "semantic_fpn":
        width = options.pop("pyramid", 256)
        neck, inputs_of_head = FPN(inputs, width), [width] * len(inputs)
        head = FPNHead(inputs_of_head, channels, *shared)
    else:
        make = {
            "upernet": UPerHead,
            "fcn": FCNHead,
            "pspnet": PSPHead,
            "deeplabv3plus": DepthwiseSeparableASPPHead,
        }[name]
        head = make(inputs, channels, *shared, **options)
    extra = FCNHead(inputs, auxiliary, *shared, convs=1, concat=False, at=at - 1)
    return Segmenter(None, neck, head, extra)
