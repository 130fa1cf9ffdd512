"""What do a median and a box blur leave of pixels that were flipped?

    python examples/gallery/median_and_blur.py --out DIR

Pixels of a binary image are flipped with probability p. A 3x3 median is wrong where five or more of
the nine are,

    q = sum_{k=5..9} C(9, k) p^k (1 - p)^(9 - k),

which is less than p below 1/2. A box blur errs everywhere: its value is off by p in the mean, with
a variance of p (1 - p) / 9. Measures both on 512x512 pixels, the processor time of both filters,
and writes median_and_blur.png.

Source: Huang, Yang and Tang, "A fast two-dimensional median filtering algorithm", IEEE Transactions
on Acoustics, Speech, and Signal Processing 27(1), 1979, for the filter. Texts that give p / 9 for a
box blur count one flipped pixel of the nine.
"""

from __future__ import annotations

import functools
import math
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from figures import BLUE, GRAY, ORANGE, plt, publish, read_flags, save

from segalias_jax import ops
from segalias_jax.scoring.reports.tables import markdown_table

PROBABILITIES = (0.05, 0.1, 0.2, 0.3, 0.4, 0.5)
SIDE = 512


def wrong_after_median(p: float, size: int = 3) -> float:
    """Probability that more than half of size^2 pixels are flipped."""
    n = size * size
    return sum(math.comb(n, k) * p**k * (1 - p) ** (n - k) for k in range(n // 2 + 1, n + 1))


@functools.partial(jax.jit, static_argnames="size")
def box_blur(x: jax.Array, size: int = 3) -> jax.Array:
    """Means of squares, rows and then columns, without the border."""
    height, width = (n - size + 1 for n in x.shape[:2])
    rows = sum(x[i : i + height] for i in range(size))
    return sum(rows[:, j : j + width] for j in range(size)) / size**2


def measure(p: float) -> dict[str, float]:
    """Flips pixels of a black image: what is white then is wrong."""
    flips = jnp.float32(np.random.default_rng(0).random((SIDE, SIDE)) < p)
    median = np.asarray(ops.median_filter(flips[..., None], 3)[1:-1, 1:-1, 0], np.float64)
    blurred = np.asarray(box_blur(flips), np.float64)
    return {
        "median": float(median.mean()),
        "blur": float(blurred.mean()),
        "median_rms": float(np.sqrt(np.square(median).mean())),
        "blur_rms": float(np.sqrt(np.square(blurred).mean())),
    }


def table() -> str:
    """Closed forms beside what was measured."""
    head = ["p", "wrong after median: q", "measured", "mean error of blur: p", "measured"]
    rows = [[*head, "RMS error of median: sqrt(q)", "measured", "of blur", "measured"]]
    for p in PROBABILITIES:
        q, found = wrong_after_median(p), measure(p)
        rms = math.sqrt(p * p + p * (1 - p) / 9)
        rates = (q, found["median"], p, found["blur"])
        errors = (math.sqrt(q), found["median_rms"], rms, found["blur_rms"])
        row = [f"{100 * rate:.3f} %" for rate in rates] + [f"{error:.3f}" for error in errors]
        rows.append([f"{p}", *row])
    return markdown_table(rows)


def processor_time(
    function: Callable[[jax.Array], jax.Array], x: jax.Array, repeats: int = 7
) -> float:
    """Least milliseconds of one call."""
    function(x).block_until_ready()
    times = []
    for _ in range(repeats):
        start = time.process_time()
        function(x).block_until_ready()
        times.append(time.process_time() - start)
    return 1000 * min(times)


def cost() -> str:
    """Processor time of both filters for 512x512 pixels and 16 channels, by the window's side."""
    x = jax.random.uniform(jax.random.key(0), (512, 512, 16))
    rows = [["window", "values", "median, ms", "box blur, ms"]]
    for size in (3, 5, 7):
        median = jax.jit(functools.partial(ops.median_filter, size=size))
        blur = functools.partial(box_blur, size=size)
        times = [processor_time(f, x) for f in (median, blur)]
        rows.append([f"{size}x{size}", f"{size * size}", *(f"{t:.0f}" for t in times)])
    return markdown_table(rows)


def drawn() -> np.ndarray:
    """A disc, a box and a thin line."""
    y, x = np.indices((120, 120))
    disc = (y - 42) ** 2 + (x - 40) ** 2 < 26**2
    box = (abs(y - 84) < 22) & (abs(x - 84) < 22)
    line = abs(x + y - 150) < 2
    return np.float32(disc | box | (line & (y < 60)))


def draw(path: Path, measured: dict[float, dict[str, float]]) -> None:
    """The filters at work above, their errors below."""
    image = drawn()
    flips = np.random.default_rng(1).random(image.shape) < 0.1
    noisy = np.where(flips, 1 - image, image)
    median = np.asarray(ops.median_filter(jnp.asarray(noisy)[..., None], 3)[..., 0])
    blurred = np.asarray(box_blur(jnp.pad(jnp.asarray(noisy), 1, mode="symmetric")))
    figure, axes = plt.subplot_mosaic(
        [["a", "b", "c", "d"], ["q", "q", "r", "r"]], figsize=(9.5, 5.6), height_ratios=(1, 1.15)
    )
    wrong = [abs(found - image).mean() for found in (noisy, median)]
    rms = np.sqrt(np.square(blurred - image).mean())
    panels = {
        "image": image,
        f"p = 0.1 flipped: {100 * wrong[0]:.1f} % wrong": noisy,
        f"3x3 median: {100 * wrong[1]:.1f} % wrong": median,
        f"3x3 box blur: RMS error {rms:.2f}": blurred,
    }
    for name, (title, shown) in zip("abcd", panels.items(), strict=True):
        axes[name].imshow(shown, cmap="gray", vmin=0, vmax=1, interpolation="nearest")
        axes[name].set(xticks=[], yticks=[], title=title)
    p = np.linspace(0.001, 0.6, 200)
    q = np.array([wrong_after_median(x) for x in p])
    axes["q"].plot(p, p, color=GRAY, label="nothing done: p")
    axes["q"].plot(p, q, color=BLUE, label="3x3 median: q")
    axes["q"].plot(
        measured.keys(), [m["median"] for m in measured.values()], "o", color=BLUE, label="measured"
    )
    axes["q"].plot(
        measured.keys(), [m["blur"] for m in measured.values()], "x", color=ORANGE,
        label="mean of the box blur, measured",
    )  # fmt: skip
    axes["q"].set(xlabel="p, probability of a flip", ylabel="wrong", title="What is left wrong")
    axes["r"].plot(p, np.sqrt(p), color=GRAY, label="nothing done")
    axes["r"].plot(p, np.sqrt(q), color=BLUE, label="3x3 median")
    axes["r"].plot(p, np.sqrt(p * p + p * (1 - p) / 9), color=ORANGE, label="3x3 box blur")
    for name, color in (("median_rms", BLUE), ("blur_rms", ORANGE)):
        axes["r"].plot(measured.keys(), [m[name] for m in measured.values()], "o", color=color)
    axes["r"].set(
        xlabel="p", ylabel="RMS error", title="Few large errors, or small ones everywhere"
    )
    for name in "qr":
        axes[name].legend(frameon=False)
        axes[name].grid(alpha=0.3)
    save(figure, path)


def main(arguments: Sequence[str] | None = None) -> None:
    """Draws the figure and writes the tables."""
    flags = read_flags(__doc__, arguments)
    draw(flags.out / "median_and_blur.png", {p: measure(p) for p in PROBABILITIES})
    publish({"median": table(), "median cost": cost()}, flags.page)


if __name__ == "__main__":
    main()
