"""Records features of a narrow ConvNeXt V2 of timm; run where that is installed, without JAX.

    python tests/golden/record_convnextv2.py

Weights follow from their names in timm (`drawn.draw`), so that only features are stored.
"""

from pathlib import Path

import numpy as np
from drawn import draw, fill, run

FILE = Path(__file__).with_name("j_convnextv2_narrow.npz")
WIDTH, DEPTHS, SIZE = 8, (1, 1, 2, 1), (65, 95)
KEEP = np.s_[:, ::2, ::2, ::3]

COUNTS = {"convnextv2_tiny": 27_866_496, "convnextv2_base": 87_692_800}
"""Parameters of timm's networks without the classifier, its norm included: printed by `main`."""


def features(network):
    """The features of timm, each with the norm that mmsegmentation gives it."""
    import torch
    from torch.nn import functional

    def normalized(x):
        x = network.stem(x)
        for i, stage in enumerate(network.stages):
            x = stage(x)
            channels = x.shape[1]
            scale, bias = (
                torch.from_numpy(draw(f"norm{i}.{name}", (channels,)))
                for name in ("weight", "bias")
            )
            y = functional.layer_norm(x.permute(0, 2, 3, 1), (channels,), scale, bias, 1e-6)
            yield y.permute(0, 3, 1, 2)

    return normalized


def main():
    """Writes the file."""
    import timm

    for name in COUNTS:
        network = timm.create_model(name, num_classes=0)
        print(name, sum(p.numel() for p in network.parameters()))
    widths = tuple(WIDTH * 2**i for i in range(4))
    network = fill(timm.create_model("convnextv2_tiny", dims=widths, depths=DEPTHS))
    maps = run(features(network), *SIZE)
    np.savez_compressed(FILE, **{f"stage{i + 1}": y[KEEP] for i, y in enumerate(maps)})


if __name__ == "__main__":
    main()
