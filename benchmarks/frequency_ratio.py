"""How much faster is the best frequency ratio solved than searched by brute force?

    python benchmarks/frequency_ratio.py --images DIR

Both compute saliency and variation of the same images with the same network, in turn. Brute force
takes every ratio of a fine grid: a transform and a masked inverse, and the network's gradient for
both bands, in one compiled program called per ratio. Compilation counts for neither.
"""

import argparse
import functools
from pathlib import Path

import common
import cv2
import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from segalias_jax import layers, ops
from segalias_jax.analysis import objective, optimal_frequency_ratio
from segalias_jax.analysis.objective import image_terms


def read_images(folder: Path, count: int, side: int) -> np.ndarray:
    """The first pictures of a folder, resized to squares."""
    paths = sorted(p for p in folder.rglob("*") if p.suffix in (".jpg", ".png"))[:count]
    return np.stack([cv2.resize(cv2.imread(str(p)), (side, side))[..., ::-1] for p in paths])


class Network(nnx.Module):
    """A network so small that transforms and masks take as large a part as they ever do."""

    def __init__(self, rngs: nnx.Rngs):
        self.first = layers.ConvNormAct(3, 8, 3, rngs=rngs)
        self.second = layers.ConvNormAct(8, 8, 3, rngs=rngs)
        self.classifier = layers.Conv(8, 2, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        """Returns logits."""
        return self.classifier(self.second(self.first(x)))


@functools.partial(jax.jit, static_argnames="graph")
def terms_at(graph: nnx.GraphDef, state, image: jax.Array, ratio: jax.Array) -> jax.Array:
    """Terms of all images at one ratio."""
    image = ops.normalize_image(image)
    size = image.shape[1:3]
    mask = ops.ratio_mask(size, ratio)[..., None]
    low = jnp.fft.irfft2(jnp.fft.rfft2(image, axes=(1, 2)) * mask, s=size, axes=(1, 2))
    return image_terms(nnx.merge(graph, state), image, low)


def brute_force(model: nnx.Module, images: np.ndarray, ratios: np.ndarray) -> np.ndarray:
    """Objective of every image at every ratio, [k, n]."""
    graph, state = nnx.split(model)
    terms = [np.asarray(terms_at(graph, state, images, np.float32(r))) for r in ratios]
    return objective(np.stack(terms), 1.0, 1.0)


def main() -> None:
    """Times both and compares their results."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=Path, required=True, help="folder of pictures")
    parser.add_argument("--count", type=int, default=20, help="pictures")
    parser.add_argument("--side", type=int, default=64, help="of the pictures, in pixels")
    parser.add_argument("--fine", type=int, default=500, help="ratios of the brute force")
    parser.add_argument("--repeats", type=int, default=3)
    own = parser.parse_args()
    images = read_images(own.images, own.count, own.side)
    model = Network(nnx.Rngs(0))
    model.eval()
    fine = (np.arange(own.fine) + 0.5) / own.fine
    results = {}

    def solve():
        results["ours"] = optimal_frequency_ratio(model, [{"image": images}], progress=None)

    def search(ratios=fine):
        results["brute"] = brute_force(model, images, ratios)

    solve()
    search(fine[:1])
    times = common.medians({"ours": solve, "brute force": search}, own.repeats)
    curves, ours = results["brute"], results["ours"]
    least = curves.min(0)

    def band_of(ratios):
        return np.floor(np.asarray(ratios) * own.side / 2)

    each = band_of(ours.image_ratios) == band_of(fine[curves.argmin(0)])
    mean = band_of(ours.ratio) == band_of(fine[curves.mean(1).argmin()])
    row = {
        "case": f"{own.count} images of {own.side}x{own.side}, {own.fine} ratios",
        "ours ms": round(times["ours"]),
        "brute force ms": round(times["brute force"]),
        "brute force / ours": round(times["brute force"] / times["ours"], 1),
        "images with the same band": f"{each.sum()} of {own.count}",
        "data set with the same band": "yes" if mean else "no",
        "difference of the minimum": f"{np.abs(ours.image_objectives / least - 1).max():.0e}",
    }
    common.save("frequency_ratio", [row])


if __name__ == "__main__":
    main()
