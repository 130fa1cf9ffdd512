"""Which prediction is a loss least at, where positives are rare?

    python examples/gallery/loss_curves.py --out DIR

Of a pixel that nothing is known of but that a fraction p of all are positive, a network that says
y pays, in the mean,

    L(y) = -a p log y - (1 - p) log(1 - y),

which is least at y = a p / (1 - p + a p): at p without a weight, at 1/2 with a = (1 - p) / p. Draws
the curves for p = .5, .05 and .005, and finds the minima by the gradient of
`segalias_jax.losses.cross_entropy`. Writes loss_curves.png.

Source: King and Zeng, "Logistic regression in rare events data", Political Analysis 9(2), 2001, for
weights of rare positives.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from figures import BLUE, GREEN, ORANGE, plt, publish, read_flags, save

from segalias_jax.losses import cross_entropy
from segalias_jax.scoring.reports.tables import markdown_table

RATES = (0.5, 0.05, 0.005)
PIXELS = 200  # in which all rates are whole numbers of positives


def best_answer(p: float, weight: float) -> float:
    """Where the expected loss is least."""
    return weight * p / (1 - p + weight * p)


def expected_loss(y: np.ndarray, p: float, weight: float) -> np.ndarray:
    """The loss of answering y everywhere."""
    return -weight * p * np.log(y) - (1 - p) * np.log1p(-y)


@functools.partial(jax.jit, static_argnames="weight")
def slope(logit: jax.Array, label: jax.Array, weight: float) -> jax.Array:
    """Derivative of the library's loss of one logit for all pixels."""

    def loss(logit: jax.Array) -> jax.Array:
        logits = jnp.zeros((1, 1, PIXELS, 2)).at[..., 1].set(logit)
        return cross_entropy(logits, label, class_weights=(1.0, weight))

    return jax.grad(loss)(logit)


def found_answer(p: float, weight: float) -> float:
    """Halves an interval of logits until the slope is 0."""
    label = (jnp.arange(PIXELS) < round(p * PIXELS)).astype(jnp.int32)[None, None]
    low, high = -12.0, 12.0
    for _ in range(40):
        middle = (low + high) / 2
        if slope(jnp.float32(middle), label, weight) < 0:
            low = middle
        else:
            high = middle
    return 1 / (1 + np.exp(-low))


def tables() -> dict[str, str]:
    """Minima in closed form and as they were found."""
    rows = [["p", "a", "a p / (1 - p + a p)", "found"]]
    for p in RATES:
        balanced = (1 - p) / p
        for weight in sorted({1.0, 19.0, round(balanced, 9)}):
            answers = best_answer(p, weight), found_answer(p, weight)
            rows.append([f"{p}", f"{weight:g}", *(f"{answer:.4f}" for answer in answers)])
    return {"loss minima": markdown_table(rows)}


def draw(path: Path) -> None:
    """Curves without and with weights, and their minima."""
    y = 1 / (1 + np.exp(-np.linspace(-9, 9, 600)))
    figure, axes = plt.subplots(1, 2, figsize=(9.5, 3.8), sharey=True)
    rare = RATES[-1]
    curves = (
        ("no weight: the answer is p", [(p, 1.0) for p in RATES]),
        (f"p = {rare}: weights move the answer", [(rare, a) for a in (1.0, 19.0, 199.0)]),
    )
    for axis, (title, cases) in zip(axes, curves, strict=True):
        for (p, weight), color in zip(cases, (BLUE, GREEN, ORANGE), strict=True):
            answer = best_answer(p, weight)
            least = expected_loss(np.float64(answer), p, weight)
            name = f"p = {p}" if axis is axes[0] else f"a = {weight:g}"
            axis.plot(y, expected_loss(y, p, weight) / least, color=color, label=name)
            axis.plot(answer, 1, "o", color=color)
        axis.set(
            xscale="logit", xlim=(1e-4, 0.9999), ylim=(0.5, 5), title=title,
            xlabel="y, what is answered for every pixel",
        )  # fmt: skip
        axis.set_xticks(
            [0.0005, 0.005, 0.05, 0.5, 0.95], ["0.0005", "0.005", "0.05", "0.5", "0.95"]
        )
        axis.xaxis.set_minor_locator(plt.NullLocator())
        axis.grid(alpha=0.3)
        axis.legend(frameon=False, loc="lower right")
    axes[0].set_ylabel("expected loss / its least value")
    save(figure, path)


def main(arguments: Sequence[str] | None = None) -> None:
    """Draws the figure and writes the table."""
    flags = read_flags(__doc__, arguments)
    draw(flags.out / "loss_curves.png")
    publish(tables(), flags.page)


if __name__ == "__main__":
    main()
