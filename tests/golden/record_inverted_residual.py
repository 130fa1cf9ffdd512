"""Records features of timm's EfficientNet-Lite0 and torchvision's MobileNetV3 in float64.

    python tests/golden/record_inverted_residual.py

needs timm 1.0 and torchvision; all weights follow from their names, see recipe.py. The image of an
EfficientNet-Lite0 is what our encoder makes of a normalized one, (u - 127) / 128.
"""

from pathlib import Path

import numpy as np
from recipe import recipe_array, recipe_input

FILE = Path(__file__).parent / "j_inverted_residual.npz"
SIZES = {"efficientnet_lite0": (65, 94), "mobilenet_v3_small": (66, 95)}
"""Odd and even, also on the way down."""


def image(name):
    """A normalized image."""
    return recipe_input((1, *SIZES[name], 3), 5)


def kept(feature):
    """Some pixels and channels of a feature map, channels last."""
    return np.asarray(feature)[0, ::2, 1::3, :: feature.shape[-1] // 7]


def main():
    import timm
    import torch
    import torchvision

    mean, deviation = np.array([123.675, 116.28, 103.53]), np.array([58.395, 57.12, 57.375])
    recorded = {}
    for name in SIZES:
        x = image(name).astype(np.float64)
        if name == "efficientnet_lite0":
            network = timm.create_model(f"tf_{name}")
            x = (x * deviation + mean - 127) / 128
            layers, ends = [network.conv_stem, network.bn1, *network.blocks], (3, 4, 6, 8)
        else:
            network = torchvision.models.get_model(name)
            layers, ends = list(network.features), (1, 3, 8, 12)
        state = {k: torch.from_numpy(recipe_array(k, v.shape)) for k, v in _feature_arrays(network)}
        network.load_state_dict(state, strict=False)
        network.double().eval()
        y = torch.from_numpy(x.transpose(0, 3, 1, 2))
        with torch.no_grad():
            for i, layer in enumerate(layers):
                y = layer(y)
                if i in ends:
                    feature = y.numpy().transpose(0, 2, 3, 1)
                    recorded[f"{name}.{ends.index(i)}"] = kept(feature).astype(np.float32)
                    recorded[f"{name}.{ends.index(i)}.largest"] = np.abs(feature).max()
    np.savez_compressed(FILE, **recorded)


def _feature_arrays(network):
    return [(k, v) for k, v in network.state_dict().items() if "classifier" not in k]


if __name__ == "__main__":
    main()
