"""The ratio of the spectrum to train with, solved from a trained network.

The objective only changes where a ratio lets another bin in, so one ratio for each distinct band is
all there is to compute, exactly, and not a continuum. Images are transformed once; the number of
ratios is an argument of the program.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from matplotlib.figure import Figure

from segalias_jax.analysis.objective import TERMS, Logits, image_terms, objective
from segalias_jax.errors import InputError
from segalias_jax.notebook import ShownInNotebooks
from segalias_jax.ops import check_ratio, normalize_image, ratio_mask
from segalias_jax.progress import progress_bar
from segalias_jax.typing import Array, Float

_VALLEYS = 3
"""Lowest valleys of a curve that are searched; a curve of few images is rough."""

_REFINED = 12
"""Ratios that a step of the bracketing search computes at a time."""

_MOST = 2048
"""Bands that are distinguished; of more, as many are taken in even distances."""


@dataclasses.dataclass(frozen=True)
class FrequencyRatio(ShownInNotebooks):
    """Where the objective of `optimal_frequency_ratio` is least, and what it is made of.

    Attributes:
      ratio: r of the least mean objective over all images.
      ratios: r at which all images were computed, ascending, [k].
      terms: s(low_r), s(high_r), sigma(low_r), sigma(high_r) of every image there, [n, k, 4].
      image_ratios: r of the least objective of each image, [n].
      image_objectives: that objective, [n].
      names: of the images.
      weights: alpha and beta.

    Example:
      >>> one = np.array([0.5])
      >>> result = FrequencyRatio(0.5, one, np.ones((1, 1, 4)), one, 0 * one, ["a"], (1.0, 1.0))
      >>> result.objective
      array([0.])
    """

    ratio: float
    ratios: Float[np.ndarray, " k"]
    terms: Float[np.ndarray, "n k 4"]
    image_ratios: Float[np.ndarray, " n"]
    image_objectives: Float[np.ndarray, " n"]
    names: list[str]
    weights: tuple[float, float]

    @property
    def objective(self) -> Float[np.ndarray, " k"]:
        """Mean objective of the images at every ratio."""
        alpha, beta = self.weights
        return np.asarray(objective(self.terms.astype(np.float64), alpha, beta)).mean(0)

    def table(self) -> str:
        """Returns the curve of the data set as Markdown, the least marked by an arrow."""
        columns = ("ratio", *(name.replace("_", " ") for name in TERMS), "objective")
        lines = ["| " + " | ".join(columns) + " |", "|" + "---|" * len(columns)]
        rows = zip(self.ratios, self.terms.mean(0), self.objective, strict=True)
        for ratio, terms, value in rows:
            numbers = " | ".join(f"{term:.4g}" for term in (*terms, value))
            mark = " <-" if ratio == self.ratio else ""
            lines.append(f"| {ratio:.4f} | {numbers}{mark} |")
        return "\n".join(lines)

    def to_json(self) -> dict[str, Any]:
        """Returns all numbers as JSON can hold them."""
        return {
            "ratio": self.ratio,
            "alpha": self.weights[0],
            "beta": self.weights[1],
            "ratios": self.ratios.tolist(),
            "objective": self.objective.tolist(),
            **{name: self.terms[..., i].mean(0).tolist() for i, name in enumerate(TERMS)},
            "images": [
                {"name": name, "ratio": ratio, "objective": value}
                for name, ratio, value in zip(
                    self.names,
                    self.image_ratios.tolist(),
                    self.image_objectives.tolist(),
                    strict=True,
                )
            ],
        }

    def plot(self, path: Path | None = None) -> Figure:
        """Draws the objective with its terms, and the images' own ratios.

        Args:
          path: PNG file to write; None for none.

        Returns:
          The figure.
        """
        figure = Figure(figsize=(9, 3.5), layout="constrained")
        left, right = figure.subplots(1, 2)
        means = self.terms.mean(0)
        left.plot(self.ratios, self.objective, color="black", label="objective")
        for i, name in enumerate(TERMS):
            left.plot(self.ratios, means[:, i], "--", linewidth=1, label=name.replace("_", " "))
        left.axvline(self.ratio, color="tab:red", linewidth=1, label=f"r = {self.ratio:.3f}")
        left.set(xlabel="ratio", xlim=(0, 1))
        left.legend(fontsize="small")
        right.hist(self.image_ratios, bins=20, range=(0, 1), color="tab:blue")
        right.axvline(self.ratio, color="tab:red", linewidth=1)
        right.set(xlabel="best ratio of an image", ylabel="images", xlim=(0, 1))
        if path is not None:
            figure.savefig(path, dpi=120)
        return figure


def optimal_frequency_ratio(
    model: nnx.Module | Logits,
    batches: Iterable[Mapping[str, Any]],
    alpha: float = 1.0,
    beta: float = 1.0,
    *,
    band: str = "square",
    ratios: int = 128,
    progress: str | None = "frequency ratio",
) -> FrequencyRatio:
    """Minimizes over r in (0, 1) what training on the ratio r of the spectrum trades off.

    -alpha (s(low_r) + s(high_r)) + beta (sigma(low_r) + sigma(high_r)),  low_r the low pass of the
    image by the ratio r (`ops.ratio_low_pass`), high_r the rest, s the `saliency` of either to the
    network and sigma its `total_variation`. (Variances would not do: those of two disjoint bands
    add up to the image's, whatever r is.)

    For each size of a batch one program is compiled, which later calls with the same model share,
    whatever the weights. It transforms every image once, and takes any ratios. Where images can be
    cut to at most `ratios` bands, as an axis of n pixels can to n / 2 square ones, the minimum is
    exact: all of them are computed. Else a grid of bands in even distances is, and then those next
    to the lowest three valleys, until none is left in between, for every image and for the mean of
    all; that misses a valley between two of the grid.

    Args:
      model: trained network, in any mode, or a function of normalized images to logits.
      batches: dictionaries with "image", uint8[b,h,w,3], as `data.eval_batches` gives; rows whose
        "valid" is False count nowhere, "name" names the others. The images are kept in memory.
      alpha: weight of the saliency.
      beta: weight of the variation.
      band: "square" or "round".
      ratios: r in the grid.
      progress: title of the progress bar, which appears after two seconds; None: no bar.

    Returns:
      The ratio of the data set and those of the images, with the curve and its terms.

    Raises:
      InputError: no images, an unknown band, fewer than three ratios, or a negative weight.

    Example:
      >>> image = np.random.default_rng(0).integers(0, 256, (2, 8, 8, 3), np.uint8)
      >>> result = optimal_frequency_ratio(lambda x: x**2, [{"image": image}], alpha=0.0)
      >>> round(result.ratio, 3), result.image_ratios.shape
      (0.125, (2,))

    Reference:
      The choice of the ratio was left open where the curriculum was published.
    """
    check_ratio("ratio", 1.0, band)
    for key, value in (("alpha", alpha), ("beta", beta)):
        if not 0 <= value < np.inf:
            raise InputError(f"{key} is {value}; it must be a number that is not negative")
    if ratios < 3:
        raise InputError(f"ratios is {ratios}; it must be at least 3")
    images = _Images(model, batches, band, ratios)
    choices = distinct_ratios(images.sizes, band=band)
    grid = np.unique(np.linspace(0, len(choices) - 1, min(ratios, len(choices))).round())
    found: list[dict[int, np.ndarray]] = [{} for _ in images.names]
    with progress_bar(progress, len(images.names)) as bar:
        for part in images.parts:
            images.add(found, part, [grid.astype(int).tolist()] * len(part.rows), choices)
            bar.update(len(part.rows))
        weigh = functools.partial(_weighed, alpha=alpha, beta=beta)
        common = _search_common(images, found, choices, weigh)
        for part in images.parts:
            _search_each(images, part, found, choices, weigh)
    every = sorted(common)
    best = min(every, key=lambda i: (common[i], i))
    own = [min(weigh(terms).items(), key=lambda item: item[::-1]) for terms in found]
    return FrequencyRatio(
        ratio=float(choices[best]),
        ratios=choices[every],
        terms=np.array([[terms[i] for i in every] for terms in found]),
        image_ratios=np.array([choices[i] for i, _ in own]),
        image_objectives=np.array([value for _, value in own]),
        names=images.names,
        weights=(alpha, beta),
    )


def distinct_ratios(sizes: Sequence[tuple[int, int]], *, band: str = "square") -> np.ndarray:
    """Lists one ratio in (0, 1) for each band that images of some sizes can be cut to.

    Args:
      sizes: (h, w) in pixels.
      band: "square" or "round".

    Returns:
      Ascending ratios, each in the middle of those that keep the same bins; at most `_MOST`.

    Example:
      >>> distinct_ratios([(8, 4)]).tolist()
      [0.125, 0.375, 0.625, 0.875]
    """
    reached = {0.0, 1.0}
    for height, width in set(sizes):
        down, right = (2 * np.arange(n // 2 + 1) / n for n in (height, width))
        bins = np.hypot(down[:, None], right).ravel() if band == "round" else [*down, *right]
        reached.update(np.round(bins, 5).tolist())  # below that, masks take bins for reached
    edges = np.array(sorted(edge for edge in reached if edge <= 1))
    middles = (edges[1:] + edges[:-1]) / 2
    kept = np.linspace(0, len(middles) - 1, min(len(middles), _MOST)).round().astype(int)
    return middles[kept]


@dataclasses.dataclass(frozen=True)
class _Part:
    """A batch: its images, which rows of it count, and the place of the first among all images."""

    image: np.ndarray
    rows: np.ndarray
    first: int


class _Images:
    """All images, and the program that computes terms of them."""

    def __init__(
        self,
        model: nnx.Module | Logits,
        batches: Iterable[Mapping[str, Any]],
        band: str,
        slots: int,
    ):
        self.parts: list[_Part] = []
        self.names: list[str] = []
        for batch in batches:
            image = np.asarray(batch["image"])
            rows = np.flatnonzero(batch.get("valid", np.ones(len(image), bool)))
            self.parts.append(_Part(image, rows, len(self.names)))
            places = range(len(self.names), len(self.names) + len(rows))
            self.names += list(batch.get("name", map(str, places)))
        if not self.names:
            raise InputError("there is no image in batches; give at least one")
        self.sizes = [part.image.shape[1:3] for part in self.parts]
        self._slots = max(slots, _REFINED)
        module = isinstance(model, nnx.Module)
        self._network, self._state = nnx.split(model) if module else (model, None)
        self._band = band

    def add(
        self,
        found: list[dict[int, np.ndarray]],
        part: _Part,
        wanted: list[list[int]],
        choices: np.ndarray,
    ) -> None:
        """Computes the terms of a batch's images, each at choices of its own."""
        count = max(map(len, wanted))
        ratios = np.ones((self._slots, len(part.image)), np.float32)
        for row, indices in zip(part.rows, wanted, strict=True):
            ratios[: len(indices), row] = choices[indices]
        terms = np.asarray(
            _compute(
                self._network, self._state, part.image, ratios, np.int32(count), band=self._band
            )
        )
        for place, (row, indices) in enumerate(zip(part.rows, wanted, strict=True), part.first):
            found[place].update(zip(indices, terms[: len(indices), row], strict=True))


@functools.partial(jax.jit, static_argnames=("network", "band"))
def _compute(
    network: nnx.GraphDef[Any] | Logits,
    state: Any,
    image: Array,
    ratios: Array,
    count: Array,
    *,
    band: str,
) -> Array:
    """Terms of images at ratios of their own, [k, b, 4]; those after the first `count` are 0."""
    if isinstance(network, nnx.GraphDef):
        module = nnx.merge(network, state)
        module.eval()
        logits: Logits = module
    else:
        logits = network
    image = normalize_image(image)
    _, height, width, _ = image.shape
    size = (height, width)
    spectrum = jnp.fft.rfft2(image, axes=(1, 2))

    def add(i: Array, terms: Array) -> Array:
        mask = jax.vmap(lambda ratio: ratio_mask(size, ratio, band=band))(ratios[i])
        low = jnp.fft.irfft2(spectrum * mask[..., None], s=size, axes=(1, 2))
        return terms.at[i].set(image_terms(logits, image, low))

    # As many turns as there are ratios: the grid and the refinements share the program.
    return jax.lax.fori_loop(0, count, add, jnp.zeros((*ratios.shape, len(TERMS))))


def _weighed(terms: Mapping[int, np.ndarray], *, alpha: float, beta: float) -> dict[int, float]:
    values = objective(np.array(list(terms.values()), np.float64), alpha, beta)
    return dict(zip(terms, values.tolist(), strict=True))


def _between(values: Mapping[int, float], count: int) -> list[int]:
    """Choices between the valleys so far and their neighbors; none where they touch."""
    order = sorted(values)
    padded = [-1, *order, count]
    valleys = [
        (values[i], low, high)
        for low, i, high in zip(padded, order, padded[2:], strict=False)
        if values[i] <= min(values.get(low, np.inf), values.get(high, np.inf))
    ]
    lowest = sorted(valleys)[:_VALLEYS]
    inside = sorted({i for _, low, high in lowest for i in range(low + 1, high)} - values.keys())
    spread = np.linspace(0, len(inside) - 1, min(len(inside), _REFINED)).round().astype(int)
    return [inside[i] for i in spread]


def _search_common(
    images: _Images,
    found: list[dict[int, np.ndarray]],
    choices: np.ndarray,
    weigh: Callable[[Mapping[int, np.ndarray]], dict[int, float]],
) -> dict[int, float]:
    """Brackets the mean of all images; returns it at every choice that was computed."""
    while True:
        weighed = [weigh(terms) for terms in found]
        mean = {i: float(np.mean([values[i] for values in weighed])) for i in weighed[0]}
        wanted = _between(mean, len(choices))
        if not wanted:
            return mean
        for part in images.parts:
            images.add(found, part, [wanted] * len(part.rows), choices)


def _search_each(
    images: _Images,
    part: _Part,
    found: list[dict[int, np.ndarray]],
    choices: np.ndarray,
    weigh: Callable[[Mapping[int, np.ndarray]], dict[int, float]],
) -> None:
    """Brackets every image of a batch by itself."""
    places = range(part.first, part.first + len(part.rows))
    while any(wanted := [_between(weigh(found[place]), len(choices)) for place in places]):
        images.add(found, part, wanted, choices)
