"""Records features of a narrow Swin of transformers; run where that is installed, without JAX.

    python tests/golden/record_swin.py

Weights follow from their names in timm (`draw`), so that only features are stored. The network of
transformers shifts windows at any size; here, as in timm, nothing is shifted where one window
covers the map.
"""

import re
import zlib
from pathlib import Path

import numpy as np

FILE = Path(__file__).with_name("j_swin_narrow.npz")
WIDTH, DEPTHS, SIZE = 16, (2, 2, 2, 2), (131, 165)  # windows fill neither rows nor columns
KEEP = np.s_[:, ::4, ::4, ::3]


def draw(name, shape):
    """Weights of a leaf of timm's Swin, or of one of mmsegmentation's norms of features."""
    random = np.random.RandomState(zlib.crc32(name.encode()))
    if "norm" in name:
        values = random.uniform(0.5, 1.5, shape)
    elif name.endswith("bias_table"):
        values = random.normal(size=shape)
    elif len(shape) == 1:
        values = 0.2 * random.normal(size=shape)
    else:
        values = random.normal(size=shape) * np.prod(shape[1:]) ** -0.5
    return values.astype(np.float32)


def image():
    """What the networks read."""
    return np.random.RandomState(0).normal(size=(1, *SIZE, 3)).astype(np.float32)


WORDS = {
    "attention.o_proj": "attn.proj",
    "layernorm_before": "norm1",
    "layernorm_after": "norm2",
    "mlp.fc1": "mlp.fc1",
    "mlp.fc2": "mlp.fc2",
}
STEM = {"patch_embeddings.projection": "patch_embed.proj", "norm": "patch_embed.norm"}


def weights_of(name, shape):
    """Weights of a leaf of transformers."""
    block = re.search(r"layers\.(\d)\.blocks\.(\d+)\.(.+)$", name)
    merging = re.search(r"layers\.(\d)\.downsample\.(.+)$", name)
    output = re.search(r"^hidden_states_norms\.stage(\d)\.(.+)$", name)
    stem = re.search(r"embeddings\.(.+)\.(weight|bias)$", name)
    if merging:
        return draw(f"layers.{int(merging[1]) + 1}.downsample.{merging[2]}", shape)
    if output:
        return draw(f"norm{int(output[1]) - 1}.{output[2]}", shape)
    if not block:
        return draw(f"{STEM[stem[1]]}.{stem[2]}" if stem else "norm", shape)
    inside, leaf = block[3].rsplit(".", 1)
    start = f"layers.{block[1]}.blocks.{block[2]}"
    if leaf.startswith("relative_position_bias_table"):
        return draw(f"{start}.attn.{leaf}", shape)
    part = ["attention.q_proj", "attention.k_proj", "attention.v_proj"]
    if inside in part:  # one array in timm
        whole = draw(f"{start}.attn.qkv.{leaf}", (3 * shape[0], *shape[1:]))
        return np.split(whole, 3)[part.index(inside)]
    return draw(f"{start}.{WORDS[inside]}.{leaf}", shape)


def main():
    """Writes the file."""
    import torch
    from transformers import SwinBackbone, SwinConfig

    stages = [f"stage{i + 1}" for i in range(4)]
    heads = [max(WIDTH * 2**i // 32, 1) for i in range(4)]
    config = SwinConfig(
        embed_dim=WIDTH, depths=list(DEPTHS), num_heads=heads, window_size=7, out_features=stages
    )
    net = SwinBackbone(config).eval()
    for name, parameter in net.named_parameters():
        parameter.data = torch.from_numpy(weights_of(name, tuple(parameter.shape)))
    for i, stage in enumerate(net.swin.encoder.layers):
        sides = [-(-side // (4 * 2**i)) for side in SIZE]
        assert len({side > 7 for side in sides}) == 1  # one rule for both axes
        for k, layer in enumerate(stage.blocks):
            layer.shift_size = 3 if k % 2 and sides[0] > 7 else 0
    with torch.no_grad():
        maps = net(torch.from_numpy(np.moveaxis(image(), -1, 1).copy())).feature_maps
    features = {f"stage{i + 1}": np.moveaxis(f.numpy(), 1, -1)[KEEP] for i, f in enumerate(maps)}
    np.savez_compressed(FILE, **features)


if __name__ == "__main__":
    main()
