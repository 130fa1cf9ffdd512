"""What do few levels, poolings, upsamplings and offsets do to a field of radar echoes?

    python examples/gallery/radar_fields.py --out DIR

Takes one field of 136x136 pixels, drawn by `segalias_jax.data.radar` (`read_svrimg` there reads
real ones), and shows: steps of 20 dBZ, by the nearest step and by Floyd and Steinberg's dithering;
an encoder of edges, ReLU and 3x3 max pooling, three times, and decoders that insert zeros or copy
values, with the checkerboards that they leave; how rare strong echo is; and how scores of the mask
of 40 dBZ and more fall when it is moved up, its last rows kept. Writes radar_levels.png,
radar_coder.png and radar_offsets.png.

Source: Floyd and Steinberg, "An adaptive algorithm for spatial grey scale", Proceedings of the
Society for Information Display 17(2), 1976; Odena et al., "Deconvolution and Checkerboard
Artifacts", Distill 2016; Haberlie, Ashley and Karpinski, "Mean storms", International Journal of
Climatology 41, 2021, for fields of this size (SVRIMG).
"""

from __future__ import annotations

import time
from bisect import bisect_right
from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path

import cv2
import jax
import jax.numpy as jnp
import numpy as np
from figures import BLUE, DBZ, DBZ_STEPS, GRAY, ORANGE, plt, publish, read_flags, save
from matplotlib.colors import ListedColormap, PowerNorm
from matplotlib.patches import Patch

from segalias_jax import ops
from segalias_jax.data.radar import LEVELS, STRONG, draw_reflectivity
from segalias_jax.data.tools.dithering import dither, quantize
from segalias_jax.data.tools.offsets import move_up, offset_scores
from segalias_jax.scoring.reports.tables import markdown_table

OFFSETS = 20
# Eight neighbors against their middle: 0 where a field is flat.
EDGES = np.where(np.arange(9).reshape(3, 3) == 4, 8.0, -1.0)[..., None, None].astype(np.float32)
METHODS: dict[str, Callable[[jax.Array], jax.Array]] = {
    "zeros": lambda x: ops.insert_zeros(x, 3),
    "copies": lambda x: ops.resize_nearest(x, (3 * x.shape[1], 3 * x.shape[2])),
}


def drawn_field() -> np.ndarray:
    """The field of the gallery, in dBZ."""
    return draw_reflectivity(np.random.default_rng(6))


def encode(field: np.ndarray) -> list[jax.Array]:
    """Edges, ReLU and the maxima of 3x3 pixels, three times: sides of 45, 15 and 5."""
    x, maps = jnp.asarray(field, jnp.float32)[None, ..., None], []
    for _ in range(3):
        # The border repeats, since zeros beyond it would be the strongest edge of all.
        padded = jnp.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)), mode="edge")
        edges = jax.lax.conv_general_dilated(
            padded, EDGES, (1, 1), "VALID", dimension_numbers=("NHWC", "HWIO", "NHWC")
        )
        x = ops.max_pool(jax.nn.relu(edges), 3, stride=3)
        maps.append(x)
    return maps


def decode(x: jax.Array, method: str) -> list[jax.Array]:
    """Three times the side, three times: 15, 45 and 135."""
    maps = []
    for _ in range(3):
        x = METHODS[method](x)
        maps.append(x)
    return maps


def checkerboard(x: jax.Array) -> float:
    """Power of the pattern that enlarging 5x5 values has left, in per cent."""
    return float(ops.checkerboard_score(x, x.shape[1] // 5)[0])


def level_table(field: np.ndarray) -> str:
    """What the levels keep: the mean, means of 9x9 pixels, and the strong part."""

    def local(values: np.ndarray) -> np.ndarray:
        return cv2.boxFilter(np.float64(values), -1, (9, 9))

    rows = [["values", "mean, dBZ", "RMS error of 9x9 means, dBZ", "IoU of 40 dBZ and more"]]
    strong = field >= STRONG
    for name, values in (
        ("as they are", field),
        ("nearest of 5 levels", quantize(field, LEVELS)),
        ("5 levels, dithered", dither(field, LEVELS)),
    ):
        error = np.sqrt(np.square(local(values) - local(field)).mean())
        found = values >= STRONG
        iou = np.sum(found & strong) / np.sum(found | strong)
        rows.append([name, f"{values.mean():.2f}", f"{error:.2f}", f"{100 * iou:.1f}"])
    return markdown_table(rows, names=True)


def coder_table(field: np.ndarray) -> str:
    """Sides of all maps, and the power of the checkerboards."""
    maps = encode(field)
    rows = [["", *(f"step {k}" for k in (1, 2, 3))]]
    rows.append(["sides of the encoder's maps", *(f"{x.shape[1]}x{x.shape[2]}" for x in maps)])
    for method in METHODS:
        decoded = decode(maps[-1], method)
        scores = [f"{checkerboard(x):.1f} %" for x in decoded]
        rows.append([f"{method}: sides", *(f"{x.shape[1]}x{x.shape[2]}" for x in decoded)])
        rows.append([f"{method}: checkerboard score", *scores])
    return markdown_table(rows, names=True)


def imbalance_table(field: np.ndarray) -> str:
    """How well "nowhere" does, and the weight that makes both classes equal."""
    rows = [["echo of", "share p", 'accuracy of "nowhere"', "its IoU", "(1 - p) / p"]]
    for least in (20, 30, 40, 50):
        p = (field >= least).mean()
        row = [f"{least} dBZ and more", f"{100 * p:.2f} %", f"{100 - 100 * p:.2f} %", "0"]
        rows.append([*row, f"{(1 - p) / p:.1f}"])
    return markdown_table(rows, names=True)


def offset_table(field: np.ndarray) -> str:
    """Scores of the mask moved up by 1 to 20 rows."""
    scores = offset_scores(field >= STRONG, OFFSETS)
    rows = [["rows", *(str(score.rows) for score in scores)]]
    rows.append(["IoU", *(f"{score.iou:.3f}"[1:] for score in scores)])
    rows.append(["accuracy", *(f"{score.accuracy:.3f}"[1:] for score in scores)])
    return markdown_table(rows, names=True)


def looped(values: np.ndarray) -> np.ndarray:
    """Dithers pixel by pixel, as the rule is usually written, for `dithering_cost`."""
    height, width = values.shape
    rows, out = values.tolist(), np.zeros(values.shape, int)
    middles = [(a + b) / 2 for a, b in pairwise(LEVELS)]
    for i in range(height):
        for j in range(width):
            out[i, j] = level = LEVELS[bisect_right(middles, rows[i][j])]
            error = rows[i][j] - level
            if j + 1 < width:
                rows[i][j + 1] += error * (7 / 16)
            if i + 1 < height:
                if j > 0:
                    rows[i + 1][j - 1] += error * (3 / 16)
                rows[i + 1][j] += error * (5 / 16)
                if j + 1 < width:
                    rows[i + 1][j + 1] += error * (1 / 16)
    return out


def dithering_cost() -> str:
    """Processor time of `dither` and of a loop, in turn, for images of several sizes."""
    rows = [["images", "dither, ms", "loop, ms", "ratio"]]
    for shape in ((136, 136), (64, 136, 136), (1024, 1024)):
        values = np.random.default_rng(0).uniform(0, 80, shape)
        images = values.reshape(-1, *shape[-2:])
        times = []
        for _ in range(3):
            start = time.process_time()
            dithered = dither(values, LEVELS)
            middle = time.process_time()
            loop = np.stack([looped(image) for image in images])
            times.append((middle - start, time.process_time() - middle))
            np.testing.assert_array_equal(dithered.reshape(loop.shape), loop)
        ours, theirs = np.min(times, axis=0)
        name = " x ".join(map(str, shape))
        rows.append([name, f"{1e3 * ours:.1f}", f"{1e3 * theirs:.1f}", f"{theirs / ours:.1f}"])
    return markdown_table(rows, names=True)


def show(axis: plt.Axes, values: np.ndarray, title: str) -> None:
    """Draws a field in colors of reflectivity."""
    axis.imshow(values, cmap=DBZ, norm=DBZ_STEPS, interpolation="nearest")
    axis.set(xticks=[], yticks=[], title=title)


def draw_levels(path: Path, field: np.ndarray) -> None:
    """The field, its nearest levels, dithered, and both seen from afar."""
    figure, axes = plt.subplots(1, 4, figsize=(11, 3.1))
    dithered = dither(field, LEVELS)
    show(axes[0], field, "reflectivity")
    show(axes[1], quantize(field, LEVELS), "nearest of 0, 20, 40, 60, 80")
    show(axes[2], dithered, "dithered to the same levels")
    show(axes[3], cv2.boxFilter(np.float64(dithered), -1, (5, 5)), "5x5 means of the dithered")
    bar = plt.cm.ScalarMappable(DBZ_STEPS, DBZ)
    figure.colorbar(bar, ax=axes, label="dBZ", ticks=range(0, 81, 20), pad=0.01)
    save(figure, path)


def draw_coder(path: Path, field: np.ndarray) -> None:
    """Maps of the encoder above, of the two decoders below."""
    maps = encode(field)
    figure, axes = plt.subplots(3, 4, figsize=(9.5, 7.4))
    show(axes[0, 0], field, "field, 136x136")
    rows = {"encoder": maps} | {f"decoder: {name}": decode(maps[-1], name) for name in METHODS}
    for row, (name, found) in zip(axes, rows.items(), strict=True):
        row[0].set_ylabel(name, fontsize=10)
        if name != "encoder":
            found = [maps[-1], *found]
        for axis, x in zip(row[-len(found) :], found, strict=True):
            image = np.asarray(x[0, ..., 0])
            colors = {"cmap": "magma", "norm": PowerNorm(0.5, 0, image.max())}
            if "zeros" in name and len(image) > 15:  # pixels too small to be seen
                axis.imshow(0 * image, **colors)
                i, j = np.nonzero(image)
                axis.scatter(j, i, c=image[i, j], s=9, marker="s", linewidth=0, **colors)
            else:
                axis.imshow(image, interpolation="nearest", **colors)
            title = f"{image.shape[0]}x{image.shape[1]}"
            if name != "encoder" and x is not maps[-1]:
                title += f", checkerboard {checkerboard(x):.0f} %"
            axis.set(xticks=[], yticks=[], title=title)
    save(figure, path)


def draw_offsets(path: Path, field: np.ndarray) -> None:
    """The mask moved by 1, 5 and 20 rows, and both scores."""
    mask = field >= STRONG
    figure, axes = plt.subplots(1, 4, figsize=(11.5, 3.1), width_ratios=(1, 1, 1, 1.5))
    legend = {"neither": "#f0f0f0", "false": ORANGE, "missed": "#f0c828", "both": BLUE}
    for axis, rows in zip(axes, (1, 5, 20), strict=False):
        shown = move_up(mask, rows) + 2 * mask
        axis.imshow(shown, cmap=ListedColormap([*legend.values()]), vmin=0, vmax=3)
        axis.set(xticks=[], yticks=[], title=f"moved up by {rows}")
    handles = [Patch(color=color, label=name) for name, color in [*legend.items()][1:]]
    axes[1].legend(
        handles=handles, loc="upper center", bbox_to_anchor=(0.5, -0.01), ncols=3, frameon=False
    )
    scores = offset_scores(mask, OFFSETS)
    for name, values, color in (
        ("accuracy", [score.accuracy for score in scores], GRAY),
        ("IoU = CSI", [score.iou for score in scores], BLUE),
    ):
        axes[3].plot(range(1, OFFSETS + 1), values, "o-", color=color, markersize=3, label=name)
    axes[3].axhline(1 - mask.mean(), color=ORANGE, ls=":", label='accuracy of "nowhere"')
    axes[3].set(
        xlabel="rows moved", ylim=(0, 1.02), xlim=(0, OFFSETS + 0.5), xticks=range(0, 21, 5)
    )
    axes[3].grid(alpha=0.3)
    axes[3].legend(frameon=False, loc="center right")
    save(figure, path)


def tables(field: np.ndarray) -> dict[str, str]:
    """Every table that depends on the field alone."""
    return {
        "radar levels": level_table(field),
        "radar coder": coder_table(field),
        "radar imbalance": imbalance_table(field),
        "radar offsets": offset_table(field),
    }


def main(arguments: Sequence[str] | None = None) -> None:
    """Writes three figures and the tables."""
    flags = read_flags(__doc__, arguments)
    field = drawn_field()
    draw_levels(flags.out / "radar_levels.png", field)
    draw_coder(flags.out / "radar_coder.png", field)
    draw_offsets(flags.out / "radar_offsets.png", field)
    publish(tables(field) | {"dithering cost": dithering_cost()}, flags.page)


if __name__ == "__main__":
    main()
