"""The figures of docs/concepts.md: sampling, a filter ahead of it, and the errors at boundaries.

    python benchmarks/concepts.py

Everything in them is computed by the library's own operators and scores; nothing is drawn by hand.
"""

from __future__ import annotations

from pathlib import Path

import jax.numpy as jnp
import matplotlib
import numpy as np

from segalias_jax import ops
from segalias_jax.metrics import ScoreRules
from segalias_jax.scoring import KIND_COLORS, error_overlay

matplotlib.use("Agg")
from matplotlib import patches
from matplotlib import pyplot as plt

PICTURES = Path(__file__).parents[1] / "docs" / "pictures"
SIDE = 128


def sampled_cosine() -> None:
    """A cosine at 0.4 cycles per pixel, of which every second pixel is kept."""
    pixels, fine = np.arange(24), np.linspace(0, 23, 1200)
    figure, axes = plt.subplots(2, 1, figsize=(7, 3), sharex=True, layout="constrained")
    for axis, filtered in zip(axes, (False, True), strict=True):
        signal = np.cos(2 * np.pi * 0.4 * np.arange(240))
        if filtered:
            signal = np.asarray(ops.low_pass(jnp.asarray(signal), 0.25, axes=(0,)))
        axis.plot(pixels, signal[:24], "o", color="0.7", ms=4, label="pixels")
        if not filtered:
            axis.plot(fine, np.cos(2 * np.pi * 0.4 * fine), color="0.85", zorder=0)
            axis.plot(fine, np.cos(2 * np.pi * 0.1 * fine), "--", lw=1, color="C3")
        axis.plot(pixels[::2], signal[:24:2], "o", color="C3", label="what a stride of 2 keeps")
        axis.set(ylim=(-1.3, 1.3), yticks=(-1, 0, 1))
        axis.set_title("with a low pass at 0.25 first" if filtered else "without", fontsize=9)
    axes[0].legend(loc="upper right", ncols=2, fontsize=8)
    axes[1].set_xlabel("pixel")
    figure.savefig(PICTURES / "concepts_sampling.png", dpi=110)


def zone_plate() -> None:
    """A pattern of all frequencies, downsampled with and without a filter, and the spectra."""
    y, x = np.mgrid[:SIDE, :SIDE] / SIDE
    plate = np.cos(np.pi * 0.5 * SIDE * (x**2 + y**2))  # 0 at one corner, 0.5 at two others
    filtered = np.asarray(ops.low_pass(jnp.asarray(plate)[..., None], 0.25))[..., 0]
    score = float(ops.aliasing_score(jnp.asarray(plate)[None, ..., None], 0.25).squeeze())
    shown = {
        f"pattern: {score:.0f} % of its\npower above 0.25": plate,
        "every second pixel": plate[::2, ::2],
        "filtered at 0.25": filtered,
        "filtered, then\nevery second pixel": filtered[::2, ::2],
    }
    figure, axes = plt.subplots(2, 4, figsize=(8, 4.4), layout="constrained")
    for (title, image), (above, below) in zip(shown.items(), axes.T, strict=True):
        above.imshow(image, cmap="gray", vmin=-1, vmax=1)
        above.set_title(title, fontsize=9)
        window = np.outer(np.hanning(len(image)), np.hanning(len(image)))
        power = np.abs(np.fft.fftshift(np.fft.fft2(image * window))) ** 2
        below.imshow(np.log10(power + 1e-2), cmap="magma", extent=(-0.5, 0.5, 0.5, -0.5))
        if len(image) == SIDE:
            square = patches.Rectangle((-0.25, -0.25), 0.5, 0.5, fill=False, color="w", ls=":")
            below.add_patch(square)
        above.axis("off")
        below.set(xticks=(-0.5, 0, 0.5), yticks=())
    axes[1, 0].set_ylabel("power spectrum", fontsize=9)
    figure.supxlabel("cycles per pixel of the grid above", fontsize=9)
    figure.savefig(PICTURES / "concepts_filter.png", dpi=90)


def drawn_maps() -> tuple[np.ndarray, np.ndarray]:
    """A truth with two objects, and a prediction with one error of each kind."""
    y, x = np.mgrid[:SIDE, :SIDE]
    label = np.uint8((x - 36) ** 2 + (y - 36) ** 2 < 24**2)
    label[70:118, 74:84] = 1  # two bars, between which there is a gap
    label[70:118, 96:106] = 1
    prediction = np.uint8((x - 41) ** 2 + (y - 36) ** 2 < 24**2)  # displaced
    prediction[70:118, 74:106] = 1  # merged
    prediction |= np.uint8((x - 28) ** 2 + (y - 98) ** 2 < 10**2)  # a false response
    return label, prediction


def boundary_errors() -> None:
    """Truth, prediction, and the kind of every wrong pixel."""
    label, prediction = drawn_maps()
    gray = np.full((SIDE, SIDE, 3), 128, np.uint8)
    kinds = error_overlay(gray, label, prediction, rules=ScoreRules(width=9))
    figure, axes = plt.subplots(1, 3, figsize=(8, 3.5), layout="constrained")
    shown = {"truth": label, "prediction": prediction, "kinds of error": kinds}
    for axis, (title, image) in zip(axes, shown.items(), strict=True):
        axis.imshow(image, cmap="gray", interpolation="nearest")
        axis.set_title(title, fontsize=9)
        axis.axis("off")
    marks = [patches.Patch(color=np.asarray(c) / 255, label=n) for n, c in KIND_COLORS.items()]
    figure.legend(handles=marks, loc="outside lower center", ncols=4, fontsize=8)
    figure.savefig(PICTURES / "concepts_errors.png", dpi=110)


if __name__ == "__main__":
    sampled_cosine()
    zone_plate()
    boundary_errors()
