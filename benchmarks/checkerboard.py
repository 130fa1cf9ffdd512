"""Which pattern does each upsampling of a U-Net leave behind?

    python benchmarks/checkerboard.py [--draws N]

Smooth feature maps of 32x32 pixels and 16 channels (white noise after a low pass, then ReLU) go
through `layers.UpConv` and through that and a 3x3 convolution, with initial weights, N times (60).
Means and standard deviations over draws of `ops.checkerboard_score` go to
`results/checkerboard.json`, and one draw with its spectrum to `docs/pictures/checkerboard.png`.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import jax
import matplotlib
import numpy as np
from common import RESULTS
from flax import nnx

from segalias_jax import layers, ops
from segalias_jax.files import write_text

matplotlib.use("Agg")
from matplotlib import pyplot as plt

PICTURE = Path(__file__).parents[1] / "docs" / "pictures" / "checkerboard.png"
SMALL, LARGE, CHANNELS = 32, 64, 16


def draw(method: str, seed: int) -> dict[str, jax.Array]:
    """One draw of weights and maps: what comes out of each step."""
    maps, up, mix = jax.random.split(jax.random.key(seed), 3)
    noise = jax.random.normal(maps, (1, SMALL, SMALL, CHANNELS))
    x = jax.nn.relu(ops.low_pass(noise, 0.1))
    layer = layers.UpConv(CHANNELS, CHANNELS // 2, method=method, rngs=nnx.Rngs(up))
    conv = layers.Conv(CHANNELS // 2, CHANNELS // 2, 3, rngs=nnx.Rngs(mix))
    y = layer(x, (LARGE, LARGE))
    return {"upsampling": y, "upsampling and 3x3 convolution": conv(y)}


def measure(draws: int) -> dict[str, dict[str, list[float]]]:
    """Mean and standard deviation of the score, by method and step."""
    results = {}
    for method in layers.UPSAMPLE:
        scores = [
            {step: float(ops.checkerboard_score(y)[0]) for step, y in draw(method, seed).items()}
            for seed in range(draws)
        ]
        results[method] = {
            step: [round(float(f([s[step] for s in scores])), 3) for f in (np.mean, np.std)]
            for step in scores[0]
        }
    return results


def show(results: dict[str, dict[str, list[float]]]) -> None:
    """Plots one channel of one draw after the convolution, and the power spectrum of all."""
    step = "upsampling and 3x3 convolution"
    figure, axes = plt.subplots(2, len(results), figsize=(11, 5.8), layout="constrained")
    for column, (method, scores) in zip(axes.T, results.items(), strict=True):
        y = np.asarray(draw(method, 0)[step][0])
        column[0].imshow(y[:40, :40, 0], cmap="gray")
        column[0].set_title(f'upsample="{method}"\nscore {scores[step][0]:.1f} %')
        power = np.square(np.abs(np.fft.fft2(y, axes=(0, 1)))).sum(-1)
        power = np.fft.fftshift(power / power.sum())
        column[1].imshow(
            np.log10(power + 1e-12), vmin=-8, vmax=-1, cmap="magma", extent=(-0.5, 0.5, 0.5, -0.5)
        )
        column[1].set_xlabel("cycles per pixel")
        column[0].set(xticks=[], yticks=[])
    axes[0, 0].set_ylabel("a feature map")
    axes[1, 0].set_ylabel("its power")
    PICTURE.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(PICTURE, dpi=80)
    plt.close(figure)


def main() -> None:
    """Measures, prints and saves."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--draws", type=int, default=60)
    draws = parser.parse_args().draws
    results = measure(draws)
    for method, scores in results.items():
        print(method, *(f"| {step}: {m:.2f} +- {s:.2f}" for step, (m, s) in scores.items()))
    text = json.dumps({"unit": "per cent", "draws": draws, "scores": results}, indent=1)
    write_text(RESULTS / "checkerboard.json", text + "\n")
    show(results)


if __name__ == "__main__":
    main()
