"""Records features of timm's EfficientNets and torchvision's MobileNets; run without JAX.

    python tests/golden/record_efficientnet.py

Weights follow from their names (`draw`), so that only features are stored; computed in float64.
"""

import zlib
from pathlib import Path

import numpy as np

NAMES = ("efficientnet_lite0", "efficientnet_b0", "mobilenet_v2", "mobilenet_v3_small")
TAKEN = {"mobilenet_v2": (3, 6, 13, 17), "mobilenet_v3_small": (1, 3, 8, 12)}  # of torchvision's
SIZES = ((64, 64), (65, 70))  # where both sides are even "same" padding is uneven
KEEP = np.s_[:, ::3, ::3, ::7]


def path(name):
    return Path(__file__).with_name(f"j_{name}.npz")


def draw(name, shape):
    """Weights of a leaf."""
    random = np.random.RandomState(zlib.crc32(name.encode()))
    if len(shape) == 4:
        values = random.normal(size=shape) * (2 / np.prod(shape[1:])) ** 0.5
    elif name.endswith(("weight", "running_var")):
        values = random.uniform(0.5, 1.5, shape)
    else:
        values = 0.2 * random.normal(size=shape)
    return values.astype(np.float32)


def image(size):
    """What timm's networks read."""
    return np.random.RandomState(size[1]).normal(size=(1, *size, 3)).astype(np.float32)


def main():
    """Writes the files."""
    import timm
    import torch
    import torchvision

    for name in NAMES:
        if name in TAKEN:
            net = getattr(torchvision.models, name)().eval()
        else:
            net = timm.create_model(
                f"tf_{name}", features_only=True, out_indices=(1, 2, 3, 4)
            ).eval()
        for key, value in net.state_dict().items():
            if value.dtype == torch.float32:
                value.copy_(torch.from_numpy(draw(key, tuple(value.shape))))
        net = net.double()
        features = {}
        for size in SIZES:
            x = torch.from_numpy(np.moveaxis(image(size), -1, 1).copy()).double()
            with torch.no_grad():
                if name in TAKEN:
                    maps = [net.features[: i + 1](x) for i in TAKEN[name]]
                else:
                    maps = net(x)
            for i, feature in enumerate(maps):
                features[f"{size[1]}.{i}"] = np.moveaxis(feature.numpy(), 1, -1)[KEEP].astype(
                    np.float32
                )
        np.savez_compressed(path(name), **features)


if __name__ == "__main__":
    main()
