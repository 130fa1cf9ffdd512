"""Records features of a narrow DINOv2 of transformers; run where that is installed, without JAX.

    python tests/golden/record_dinov2.py

Weights follow from their names in timm (`drawn.draw`), so that only features are stored.
"""

from pathlib import Path

import numpy as np
from drawn import draw, run

FILE = Path(__file__).with_name("j_dinov2_narrow.npz")
WIDTH, HEADS, DEPTHS, SIZE = 16, 1, (1, 2, 1, 1), (65, 95)
KEEP = np.s_[:, :, ::2]

COUNTS = {"dinov2_small": 22_056_192, "dinov2_base": 86_579_712}
"""Parameters of timm's networks without a classifier, printed by `main`."""


OUTER = {
    "embeddings.cls_token": "cls_token",
    "embeddings.position_embeddings": "pos_embed",
    "embeddings.patch_embeddings.projection.weight": "patch_embed.proj.weight",
    "embeddings.patch_embeddings.projection.bias": "patch_embed.proj.bias",
    "layernorm.weight": "norm.weight",
    "layernorm.bias": "norm.bias",
}
"""Names of transformers, and of timm."""


def to_transformers(arrays, depth):
    """Gives arrays with names of timm those of files of transformers."""
    found = {theirs: arrays[name] for theirs, name in OUTER.items()}
    found["embeddings.mask_token"] = np.zeros((1, arrays["norm.bias"].size), np.float32)
    for layer, block in ((f"encoder.layer.{i}", f"blocks.{i}") for i in range(depth)):
        for k in (1, 2):
            found[f"{layer}.layer_scale{k}.lambda1"] = arrays[f"{block}.ls{k}.gamma"]
        for kind in ("weight", "bias"):
            for name in ("norm1", "norm2", "mlp.fc1", "mlp.fc2"):
                found[f"{layer}.{name}.{kind}"] = arrays[f"{block}.{name}.{kind}"]
            found[f"{layer}.attention.output.dense.{kind}"] = arrays[f"{block}.attn.proj.{kind}"]
            parts = [f"{layer}.attention.attention.{p}.{kind}" for p in ("query", "key", "value")]
            found |= zip(parts, np.split(arrays[f"{block}.attn.qkv.{kind}"], 3), strict=True)
    return found


def build(width, heads, depths):
    """The network of transformers, from a file with drawn weights."""
    import tempfile

    import timm
    from safetensors.numpy import save_file
    from transformers import Dinov2Backbone, Dinov2Config

    sizes = {"embed_dim": width, "depth": sum(depths), "num_heads": heads, "num_classes": 0}
    state = timm.create_model("vit_small_patch14_dinov2", **sizes).state_dict()
    arrays = {name: draw(name, tuple(array.shape)) for name, array in state.items()}
    config = Dinov2Config(
        hidden_size=width,
        num_hidden_layers=sum(depths),
        num_attention_heads=heads,
        image_size=518,
        patch_size=14,
        out_indices=[int(i) for i in np.cumsum(depths)],
    )
    with tempfile.TemporaryDirectory() as folder:
        # Files have other names than the modules of this version.
        Dinov2Backbone(config).save_pretrained(folder)
        file = Path(folder) / "model.safetensors"
        save_file(to_transformers(arrays, sum(depths)), file, metadata={"format": "pt"})
        return Dinov2Backbone.from_pretrained(folder).eval()


def main():
    """Writes the file."""
    import timm

    for name, theirs in zip(COUNTS, ("small", "base"), strict=True):
        network = timm.create_model(f"vit_{theirs}_patch14_dinov2", num_classes=0)
        print(name, sum(p.numel() for p in network.parameters()))
    network = build(WIDTH, HEADS, DEPTHS)
    maps = run(lambda x: network(x).feature_maps, *SIZE)
    np.savez_compressed(FILE, **{f"stage{i + 1}": y[KEEP] for i, y in enumerate(maps)})


if __name__ == "__main__":
    main()
