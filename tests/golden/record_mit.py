"""Records features of a narrow MiT of transformers; run where that is installed, without JAX.

    python tests/golden/record_mit.py

Weights follow from their names in files of transformers (`draw`); only features are stored.
"""

import tempfile
import zlib
from pathlib import Path

import numpy as np

FILE = Path(__file__).with_name("j_mit_narrow.npz")
WIDTH, DEPTHS, SIZE = 8, (1, 2, 1, 1), (65, 95)
KEEP = np.s_[:, ::2, ::2, ::3]

COUNTS = {
    "mit_b0": 3_319_392,
    "mit_b1": 13_151_424,
    "mit_b2": 24_196_288,
    "mit_b3": 44_072_128,
    "mit_b4": 60_842_688,
    "mit_b5": 81_443_008,
}
"""Parameters of transformers' `SegformerModel`, printed by `main`."""


def draw(name, shape):
    """Weights of a leaf."""
    random = np.random.RandomState(zlib.crc32(name.encode()))
    if "norm" in name:
        values = random.uniform(0.5, 1.5, shape)
    elif len(shape) == 1:
        values = 0.2 * random.normal(size=shape)
    else:
        values = random.normal(size=shape) * np.prod(shape[1:]) ** -0.5
    return values.astype(np.float32)


def image():
    """What the networks read."""
    return np.random.RandomState(0).normal(size=(1, *SIZE, 3)).astype(np.float32)


def build(width, depths):
    """The network of transformers."""
    from transformers import SegformerConfig, SegformerModel

    heads = [1, 2, 5, 8]
    sizes = [width * h for h in heads]
    config = SegformerConfig(
        hidden_sizes=sizes, depths=list(depths), num_attention_heads=heads, sr_ratios=[8, 4, 2, 1]
    )
    return SegformerModel(config).eval(), SegformerModel


def main():
    """Writes the file."""
    import torch
    from safetensors.numpy import load_file, save_file

    for width, depths in (
        *((32, (2, 2, 2, 2)), (64, (2, 2, 2, 2)), (64, (3, 4, 6, 3)), (64, (3, 4, 18, 3))),
        *((64, (3, 8, 27, 3)), (64, (3, 6, 40, 3))),
    ):
        with torch.device("meta"):
            net, _ = build(width, depths)
        print(width, depths, sum(p.numel() for p in net.parameters()))
    net, make = build(WIDTH, DEPTHS)
    with tempfile.TemporaryDirectory() as folder:
        # Files have other names than the modules of this version.
        net.save_pretrained(folder)
        file = Path(folder) / "model.safetensors"
        named = {name: draw(name, array.shape) for name, array in load_file(file).items()}
        save_file(named, file, metadata={"format": "pt"})
        net = make.from_pretrained(folder).eval()
    with torch.no_grad():
        x = torch.from_numpy(np.moveaxis(image(), -1, 1).copy())
        maps = net(x, output_hidden_states=True).hidden_states
    features = {f"stage{i + 1}": np.moveaxis(f.numpy(), 1, -1)[KEEP] for i, f in enumerate(maps)}
    np.savez_compressed(FILE, **features)


if __name__ == "__main__":
    main()
