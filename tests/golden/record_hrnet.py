"""Records features of a narrow HRNet of timm; run where that is installed, without JAX.

    python tests/golden/record_hrnet.py

Weights follow from their names in timm (`drawn.draw`), so that only features are stored: at 64x96
pixels those of timm, whose exchanges copy pixels, at 65x95 those with bilinear exchanges as
mmsegmentation has them, by timm's layers.
"""

from pathlib import Path

import numpy as np
from drawn import fill, run

WIDTH, DEPTHS, BLOCKS = 4, (1, 1, 2, 1), 1
CASES = {"nearest": (64, 96), "bilinear": (65, 95)}
FILES = {kind: Path(__file__).with_name(f"j_hrnet_{kind}.npz") for kind in CASES}
KEEP = np.s_[:, ::2, ::2]

COUNTS = {"hrnet_w18": 9_562_260, "hrnet_w48": 65_325_120}
"""Parameters of timm's networks up to the branches, printed by `main`."""


def exchange(module, maps):
    """A fusion of timm's module, but that maps are interpolated: by a factor, then to size."""
    import torch
    from torch.nn import functional

    results = []
    for i, row in enumerate(module.fuse_layers):
        parts = []
        for j, layer in enumerate(row):
            y = maps[j]
            if j > i:
                y, factor = layer[1](layer[0](y)), 2 ** (j - i)
                y = functional.interpolate(y, scale_factor=factor, mode="bilinear")
                y = functional.interpolate(y, size=maps[i].shape[2:], mode="bilinear")
            else:
                y = layer(y)
            parts.append(y)
        results.append(module.fuse_act(torch.stack(parts).sum(0)))
    return results


def features(network, kind):
    """A function from images to the maps of the four branches."""
    import types

    def module_forward(module, maps):
        return exchange(module, [b(x) for b, x in zip(module.branches, maps, strict=True)])

    if kind == "bilinear":
        for stage in (network.stage2, network.stage3, network.stage4):
            for module in stage:
                module.forward = types.MethodType(module_forward, module)

    def maps_of(x):
        x = network.act1(network.bn1(network.conv1(x)))
        return network.stages(network.act2(network.bn2(network.conv2(x))))

    return maps_of


def narrow():
    """A network of timm with narrow branches; stem and stage 1 have the channels that all have."""
    from timm.models.hrnet import HighResolutionNet

    config = {"stem_width": 64}
    for i, depth in enumerate(DEPTHS, 1):
        first = i == 1
        config[f"stage{i}"] = {
            "num_modules": 1 if first else depth,
            "num_branches": i,
            "block_type": "BOTTLENECK" if first else "BASIC",
            "num_blocks": (depth,) if first else (BLOCKS,) * i,
            "num_channels": (64,) if first else tuple(WIDTH * 2**k for k in range(i)),
            "fuse_method": "SUM",
        }
    return fill(HighResolutionNet(config, num_classes=1))


def main():
    """Writes the files."""
    import re

    import timm

    encoder = re.compile(r"(conv1|conv2|bn1|bn2|layer1|transition\d|stage\d)\.")
    for name in COUNTS:
        network = timm.create_model(name)
        print(name, sum(p.numel() for n, p in network.named_parameters() if encoder.match(n)))
    for kind, size in CASES.items():
        maps = run(features(narrow(), kind), *size)
        kept = {f"stage{i + 1}": y[KEEP] for i, y in enumerate(maps)}
        np.savez_compressed(FILES[kind], **kept)


if __name__ == "__main__":
    main()
