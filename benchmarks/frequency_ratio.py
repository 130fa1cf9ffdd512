"""How much faster is the best frequency ratio solved than searched by brute force?

    python benchmarks/frequency_ratio.py --images DIR

Both compute saliency and variation of the same images with the same network, in turn. Brute force
takes every ratio of a fine grid: a transform and a masked inverse, and the network's gradient for
both bands, in one compiled program called per ratio. Compilation counts for neither.
"""

import argparse
from pathlib import Path

import common
import cv2
import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from segalias_jax import models, ops
from segalias_jax.analysis import objective, optimal_frequency_ratio
from segalias_jax.analysis.objective import image_terms


def read_images(folder: Path, count: int, side: int) -> np.ndarray:
    """The first pictures of a folder, resized to squares."""
    paths = sorted(p for p in folder.rglob("*") if p.suffix in (".jpg", ".png"))[:count]
    return np.stack([cv2.resize(cv2.imread(str(p)), (side, side))[..., ::-1] for p in paths])


def create_network() -> nnx.Module:
    """A network small enough for a processor; its weights do not change how much is computed."""
    section = {"encoder": "resnet18", "width": 8, "channels": 8, "auxiliary": False}
    model = models.create_model(section, num_classes=2, rngs=nnx.Rngs(0))
    model.eval()
    return model


def brute_force(model: nnx.Module, batches: list[np.ndarray], ratios: np.ndarray):
    """Returns `search()`: the ratios of the least objective of every image and of the mean."""
    graph, state = nnx.split(model)

    @jax.jit
    def terms(state, image, ratio):
        image = ops.normalize_image(image)
        size = image.shape[1:3]
        mask = ops.ratio_mask(size, ratio)[..., None]
        low = jnp.fft.irfft2(jnp.fft.rfft2(image, axes=(1, 2)) * mask, s=size, axes=(1, 2))
        return image_terms(nnx.merge(graph, state), image, low)

    def search():
        curves = [
            [objective(np.asarray(terms(state, image, np.float32(r))), 1.0, 1.0) for r in ratios]
            for image in batches
        ]
        values = np.concatenate(curves, 1)
        return ratios[values.argmin(0)], ratios[values.mean(1).argmin()], values.min(0)

    return search


def main() -> None:
    """Times both and holds their results equal."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=Path, required=True, help="folder of pictures")
    parser.add_argument("--count", type=int, default=20, help="pictures")
    parser.add_argument("--side", type=int, default=128, help="of the pictures, in pixels")
    parser.add_argument("--fine", type=int, default=1000, help="ratios of the brute force")
    parser.add_argument("--repeats", type=int, default=3)
    own = parser.parse_args()
    images = read_images(own.images, own.count, own.side)
    batches = [images[first : first + 4] for first in range(0, len(images), 4)]
    model = create_network()
    fine = (np.arange(own.fine) + 0.5) / own.fine
    search = brute_force(model, batches, fine)
    results = {}

    def solve():
        given = [{"image": image} for image in batches]
        results["ours"] = optimal_frequency_ratio(model, given, progress=None)

    def brute():
        results["brute"] = search()

    solve()
    brute_force(model, batches[:1], fine[:1])()
    times = common.medians({"ours": solve, "brute force": brute}, own.repeats)
    (each, mean, least), ours = results["brute"], results["ours"]
    row = {
        "case": f"{own.count} images of {own.side}x{own.side}, {own.fine} ratios",
        "ours ms, compilation included": round(times["ours"]),
        "brute force ms": round(times["brute force"]),
        "brute force / ours": round(times["brute force"] / times["ours"], 1),
        "largest difference of the minimum": f"{np.abs(ours.image_objectives - least).max():.1e}",
        "largest difference of r": round(float(np.abs(ours.image_ratios - each).max()), 4),
        "difference of the set's r": round(float(abs(ours.ratio - mean)), 4),
    }
    common.save("frequency_ratio", [row])


if __name__ == "__main__":
    main()
