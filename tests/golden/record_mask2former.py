"""Records what narrow Mask2Formers of transformers tell; run where that is installed, without JAX.

    python tests/golden/record_mask2former.py

Weights follow from their names (`drawn.draw`), those of transformers' files: none is zero, as many
are where training begins. With them is deformable attention by itself, of drawn arrays, and its
gradients, where points lie at centers of pixels, beyond the maps and anywhere.
"""

import tempfile
from pathlib import Path

import numpy as np
from drawn import draw, image

FILE = Path(__file__).with_name("j_mask2former_narrow.npz")
CLASSES, QUERIES, CHANNELS, HEADS = 5, 7, 32, 8
LAYERS, FEEDFORWARD = {"pixel": 2, "query": 4}, {"pixel": 16, "query": 24}
# Sizes at which the windows of a Swin shift along both axes or along none, see `models.swin`.
SIZES = {"resnet": (97, 129), "swin": (65, 95)}
WIDTHS = {"resnet": 8, "swin": 8}
DEPTHS = {"resnet": (1, 1, 1, 1), "swin": (2, 1, 2, 1)}
KEEP = np.s_[..., ::3, ::3]

LEVELS, POINTS = ((4, 8), (2, 4), (1, 2)), 3
NAMES = ("levels.0", "levels.1", "levels.2", "points", "weights", "slope")


def attention_arrays():
    """Values of three maps, points in pixels of their map, weights, and the slope of the result."""
    batch, queries, heads, channels = 2, 6, 2, 3
    random = np.random.RandomState(0)
    values = [random.normal(size=(batch, *size, heads, channels)) for size in LEVELS]
    shape = (batch, queries, heads, len(LEVELS), POINTS)
    points = random.uniform(-2, 9, (*shape, 2))
    points[:, 0] = np.floor(points[:, 0]) + 0.5  # centers
    points[:, 1] /= 8
    weights = random.uniform(size=shape)
    slope = random.normal(size=(batch, queries, heads, channels))
    return dict(zip(NAMES, (*values, points, weights, slope), strict=True))


def attention():
    """Its result and its gradients, as transformers computes them."""
    import torch
    from transformers.models.mask2former.modeling_mask2former import (
        multi_scale_deformable_attention,
    )

    arrays = {name: torch.from_numpy(a) for name, a in attention_arrays().items()}
    inputs = [arrays[name].requires_grad_() for name in NAMES[:-1]]
    *levels, points, weights = inputs
    values = torch.cat([level.flatten(1, 2) for level in levels], 1)
    sides = torch.tensor([(width, height) for height, width in LEVELS], dtype=points.dtype)
    fractions = points / sides[:, None]
    y = multi_scale_deformable_attention(values, list(LEVELS), fractions, weights)
    (y * arrays["slope"].flatten(2)).sum().backward()
    gradients = {f"attention/d_{n}": a.grad for n, a in zip(NAMES, inputs, strict=False)}
    named = {"attention/result": y.detach().reshape(arrays["slope"].shape)} | gradients
    return {name: a.numpy() for name, a in named.items()}


def network(kind):
    """A Mask2Former with drawn weights, in float64."""
    from safetensors.numpy import load_file, save_file
    from transformers import (
        Mask2FormerConfig,
        Mask2FormerForUniversalSegmentation,
        ResNetConfig,
        SwinConfig,
    )

    width, options = WIDTHS[kind], {"depths": list(DEPTHS[kind])}
    options["out_features"] = [f"stage{i + 1}" for i in range(4)]
    if kind == "swin":
        backbone = SwinConfig(embed_dim=width, num_heads=[1, 1, 1, 2], window_size=7, **options)
    else:
        channels = [4 * width * 2**i for i in range(4)]
        backbone = ResNetConfig(embedding_size=width, hidden_sizes=channels, **options)
    config = Mask2FormerConfig(
        backbone_config=backbone,
        feature_size=CHANNELS,
        mask_feature_size=CHANNELS,
        hidden_dim=CHANNELS,
        encoder_layers=LAYERS["pixel"],
        decoder_layers=LAYERS["query"] + 1,  # what is told before the first layer counts as one
        encoder_feedforward_dim=FEEDFORWARD["pixel"],
        dim_feedforward=FEEDFORWARD["query"],
        num_attention_heads=HEADS,
        num_queries=QUERIES,
        num_labels=CLASSES,
    )
    with tempfile.TemporaryDirectory() as folder:
        # Files have other names than the modules of this version.
        Mask2FormerForUniversalSegmentation(config).save_pretrained(folder)
        file = Path(folder) / "model.safetensors"
        named = {name: draw(name, array.shape) for name, array in load_file(file).items()}
        save_file(named, file, metadata={"format": "pt"})
        net = Mask2FormerForUniversalSegmentation.from_pretrained(folder).eval().double()
    if kind == "swin":
        for i, stage in enumerate(net.model.pixel_level_module.encoder.swin.encoder.layers):
            sides = [-(-side // (4 * 2**i)) for side in SIZES[kind]]
            assert len({side > 7 for side in sides}) == 1  # one rule for both axes
            for k, layer in enumerate(stage.blocks):
                layer.shift_size = 3 if k % 2 and sides[0] > 7 else 0
    return net


def told(kind):
    """Logits of classes and masks before the first layer and after each."""
    import torch
    from torch.nn.functional import interpolate

    x = torch.from_numpy(np.moveaxis(image(*SIZES[kind]), -1, 1).astype(np.float64))
    with torch.no_grad():
        output = network(kind)(x, output_auxiliary_logits=True)
    pairs = [
        (p["class_queries_logits"], p["masks_queries_logits"]) for p in output.auxiliary_logits
    ]
    pairs.append((output.class_queries_logits, output.masks_queries_logits))
    for i, (_, masks) in enumerate(pairs[:-1]):
        stride = (32, 16, 8)[i % 3]
        maps = interpolate(
            masks, size=[-(-side // stride) for side in SIZES[kind]], mode="bilinear"
        )
        # Which side of zero a logit is on must not be a matter of rounding.
        assert maps.abs().min() > 1e-5 * maps.abs().max(), (kind, i)
    classes, masks = (torch.stack(part).numpy() for part in zip(*pairs, strict=True))
    found = {f"{kind}/classes": classes, f"{kind}/masks": masks[KEEP]}
    return {name: array.astype(np.float32) for name, array in found.items()}


def main():
    """Writes the file."""
    np.savez_compressed(FILE, **attention(), **told("resnet"), **told("swin"))


if __name__ == "__main__":
    main()
