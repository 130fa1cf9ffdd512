"""Image networks in torch, for comparisons: names and layouts are those of published weights."""

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F


class Residual(nn.Module):
    """A basic block or a bottleneck."""

    def __init__(self, inputs, planes, *, bottleneck, stride, dilation, pooled):
        super().__init__()
        middle = dict(stride=stride, padding=dilation, dilation=dilation)
        outputs = planes * (4 if bottleneck else 1)
        if bottleneck:
            plan = [(inputs, planes, 1, {}), (planes, planes, 3, middle), (planes, outputs, 1, {})]
        else:
            plan = [(inputs, planes, 3, middle), (planes, planes, 3, dict(padding=1))]
        self.depth = len(plan)
        for i, (n, m, kernel, options) in enumerate(plan, 1):
            setattr(self, f"conv{i}", nn.Conv2d(n, m, kernel, bias=False, **options))
            setattr(self, f"bn{i}", nn.BatchNorm2d(m))
        self.downsample = None
        if stride != 1 or inputs != outputs:
            pool = [nn.AvgPool2d(stride, stride, ceil_mode=True, count_include_pad=False)]
            conv = nn.Conv2d(inputs, outputs, 1, stride=1 if pooled else stride, bias=False)
            parts = (pool if pooled else []) + [conv, nn.BatchNorm2d(outputs)]
            self.downsample = nn.Sequential(*parts)

    def forward(self, x):
        y = x
        for i in range(1, self.depth + 1):
            y = getattr(self, f"bn{i}")(getattr(self, f"conv{i}")(y))
            y = F.relu(y) if i < self.depth else y
        return F.relu(y + (x if self.downsample is None else self.downsample(x)))


class ResNet(nn.Module):
    """Stages as lists of dilations, one for each block."""

    def __init__(self, *, width, bottleneck, strides, dilations, variant, classes=None):
        super().__init__()
        self.variant, half = variant, width // 2
        if variant == "v1b":
            self.conv1 = nn.Conv2d(3, width, 7, stride=2, padding=3, bias=False)
            self.bn1 = nn.BatchNorm2d(width)
        else:
            layers = []
            for n, m, stride in ((3, half, 2), (half, half, 1), (half, width, 1)):
                conv = nn.Conv2d(n, m, 3, stride=stride, padding=1, bias=False)
                layers += [conv, nn.BatchNorm2d(m), nn.ReLU()]
            self.stem = nn.Sequential(*layers)
        inputs = width
        for i, (stride, of_blocks) in enumerate(zip(strides, dilations, strict=True)):
            blocks = []
            for j, dilation in enumerate(of_blocks):
                options = dict(stride=1 if j else stride, dilation=dilation)
                options |= dict(bottleneck=bottleneck, pooled=variant == "v1d")
                blocks.append(Residual(inputs, width * 2**i, **options))
                inputs = width * 2**i * (4 if bottleneck else 1)
            setattr(self, f"layer{i + 1}", nn.Sequential(*blocks))
        if classes:
            self.fc = nn.Linear(inputs, classes)

    def forward(self, x):
        x = F.relu(self.bn1(self.conv1(x))) if self.variant == "v1b" else self.stem(x)
        x = F.max_pool2d(x, 3, stride=2, padding=1)
        features = []
        for i in range(4):
            x = getattr(self, f"layer{i + 1}")(x)
            features.append(x)
        return features


class LayerNorm2d(nn.LayerNorm):
    """Over the channels of an image."""

    def forward(self, x):
        return super().forward(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class ConvNeXtBlock(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.conv_dw = nn.Conv2d(channels, channels, 7, padding=3, groups=channels)
        self.norm = nn.LayerNorm(channels, eps=1e-6)
        self.mlp = nn.ModuleDict(
            {"fc1": nn.Linear(channels, 4 * channels), "fc2": nn.Linear(4 * channels, channels)}
        )
        self.gamma = nn.Parameter(torch.ones(channels))

    def forward(self, x):
        y = self.norm(self.conv_dw(x).permute(0, 2, 3, 1))
        y = self.mlp["fc2"](F.gelu(self.mlp["fc1"](y))) * self.gamma
        return x + y.permute(0, 3, 1, 2)


class ConvNeXtStage(nn.Module):
    def __init__(self, inputs, channels, depth):
        super().__init__()
        reduce = [LayerNorm2d(inputs, eps=1e-6), nn.Conv2d(inputs, channels, 2, stride=2)]
        self.downsample = nn.Sequential(*reduce) if inputs != channels else nn.Identity()
        self.blocks = nn.Sequential(*[ConvNeXtBlock(channels) for _ in range(depth)])

    def forward(self, x):
        return self.blocks(self.downsample(x))


class ConvNeXt(nn.Module):
    def __init__(self, *, width, depths, classes=10):
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, width, 4, stride=4), LayerNorm2d(width, eps=1e-6))
        stages = [
            ConvNeXtStage(width * 2 ** max(i - 1, 0), width * 2**i, depth)
            for i, depth in enumerate(depths)
        ]
        self.stages = nn.Sequential(*stages)
        last = width * 8
        self.head = nn.ModuleDict({"norm": LayerNorm2d(last), "fc": nn.Linear(last, classes)})

    def forward(self, x):
        x, features = self.stem(x), []
        for stage in self.stages:
            x = stage(x)
            features.append(x)
        return features


def randomise(module, seed=0):
    """Moves every parameter and statistic away from what makes mistakes invisible."""
    torch.manual_seed(seed)
    with torch.no_grad():
        for tensor in [*module.parameters(), *module.buffers()]:
            if tensor.is_floating_point():
                tensor.add_(0.1 * torch.rand_like(tensor))
    return module.eval()


def arrays_of(module):
    """The state dict as arrays."""
    return {name: tensor.numpy().copy() for name, tensor in module.state_dict().items()}


def run(module, x):
    """Feature maps of NHWC images, NHWC."""
    with torch.no_grad():
        features = module(torch.from_numpy(np.moveaxis(x, -1, 1).copy()))
    return [np.moveaxis(f.numpy(), 1, -1) for f in features]
