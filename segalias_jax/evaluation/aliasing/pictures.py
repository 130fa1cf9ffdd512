"""Pictures of what happens at the operators of a network, for single images.

Sequential maps that color-blind people can read, each with its scale; lines differ in dash and
brightness as well as in color.
"""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure, SubFigure
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator

from segalias_jax.evaluation.aliasing.analysis import Operator
from segalias_jax.evaluation.aliasing.maps import ImageMaps, StageMaps
from segalias_jax.evaluation.aliasing.report import Picture
from segalias_jax.layers.freqmix import Gates
from segalias_jax.metrics import ScoreRules
from segalias_jax.scoring.reports import page
from segalias_jax.scoring.reports.overlays import KIND_COLORS, error_overlay
from segalias_jax.typing import Array, UInt8

STAGES_CAPTION = (
    "Above, the image and its wrong pixels by kind. Below, a row for each operator that "
    "downsamples, with its filter and the aliasing score before and after it. Before, after: root "
    "mean square over channels of what enters the filter and of what the operator samples, on one "
    "scale. Removed: what the filter took off, or without a filter what lies above the operator's "
    "Nyquist frequency and folds, on a scale of its own. Spectra: power of each frequency on a "
    "logarithmic scale, zero frequency in the middle; what is outside the square folds."
)
GATES_CAPTION = (
    "A row for each FreqMix. The maps are its spatial gates of the low and the high band, on one "
    "scale: bright pixels let more of the band through. The curves are its channel gates of both "
    "bands, each sorted by size: a curve that is flat weighs all channels alike. Numbers are means "
    "of the gates; a block where both maps are 0 adds nothing but its norm's constant."
)

_DECADES = 6
_LEAST_SPREAD = 0.05
_WIDTH, _GATES_WIDTH, _DPI = 13.0, 10.0, 100


def stages_picture(maps: ImageMaps, rules: ScoreRules) -> UInt8[np.ndarray, "h w 3"]:
    """Draws the feature maps around each filter, their spectra, and what was removed.

    Args:
      maps: of one image.
      rules: what kinds of error are.

    Returns:
      RGB image; `STAGES_CAPTION` says what is seen.
    """
    height, width = maps.sample.label.shape
    # Three maps and two spectra lie beside each other, with a title above them.
    row = 0.5 + max(0.17 * _WIDTH * height / width, 0.12 * _WIDTH)
    top = 0.5 + 0.33 * _WIDTH * height / width
    figure = Figure(figsize=(_WIDTH, top + row * len(maps.stages)), layout="constrained")
    parts: Any = figure.subfigures(2, 1, height_ratios=(top, row * len(maps.stages)))
    above, below = parts
    _draw_errors(above, maps, rules)
    ratios = {"width_ratios": (3, 3, 3, 2, 2)}
    lines = below.subplots(len(maps.stages), 5, squeeze=False, gridspec_kw=ratios)
    for panels, (operator, one) in zip(lines, maps.stages.items(), strict=True):
        _draw_stage(below, panels, operator, one)
    return _pixels(figure)


def _draw_errors(figure: SubFigure, maps: ImageMaps, rules: ScoreRules) -> None:
    sample = maps.sample
    panels = figure.subplots(1, 2)
    panels[0].imshow(sample.image)
    panels[0].set_title(sample.name)
    panels[1].imshow(error_overlay(sample.image, sample.label, sample.prediction, rules=rules))
    panels[1].set_title("errors by kind")
    keys = [
        Patch(facecolor=(r / 255, g / 255, b / 255), edgecolor="black", label=kind)
        for kind, (r, g, b) in KIND_COLORS.items()
    ]
    panels[1].legend(handles=keys, loc="center left", bbox_to_anchor=(1.02, 0.5))
    for axes in panels:
        axes.axis("off")


def _draw_stage(figure: SubFigure, panels: Any, operator: Operator, maps: StageMaps) -> None:
    before, after, removed, *spectra = panels
    filtered = operator.filter != "none"
    entering, leaving = np.asarray(maps.scores).tolist()
    most = _bright(maps.before)
    image = before.imshow(maps.before, vmin=0, vmax=most, cmap="viridis")
    before.set_title("before the filter" if filtered else "enters")
    name = f"{operator.name}\n{operator.filter if filtered else 'no filter'}\n{entering:.2f} %"
    before.set_ylabel(
        f"{name} \N{RIGHTWARDS ARROW} {leaving:.2f} %" if filtered else name,
        rotation=0,
        ha="right",
        va="center",
    )
    if filtered:
        after.imshow(maps.after, vmin=0, vmax=most, cmap="viridis")
        after.set_title("after the filter")
    else:
        after.text(0.5, 0.5, "nothing filters\nbefore this operator", ha="center", va="center")
        after.set_frame_on(False)
    figure.colorbar(image, ax=after, extend="max", ticks=MaxNLocator(4))
    image = removed.imshow(maps.removed, vmin=0, vmax=_bright(maps.removed), cmap="viridis")
    figure.colorbar(image, ax=removed, extend="max", ticks=MaxNLocator(4))
    same = maps.before.shape == maps.after.shape
    removed.set_title("removed" if filtered and same else "above Nyquist")
    for axes in (before, after, removed):
        axes.set(xticks=[], yticks=[])
    power = [np.asarray(one) for one in maps.spectra]
    whole = float(power[0].max()) or 1.0
    _draw_spectrum(spectra[0], power[0] / whole, operator.nyquist_frequency)
    spectra[0].set_title("spectrum before" if filtered else "spectrum")
    figure.colorbar(spectra[0].images[0], ax=spectra[1], label="decades")
    if not filtered:
        spectra[1].axis("off")
        return
    _draw_spectrum(spectra[1], power[1] / whole, operator.nyquist_frequency if same else 0.5)
    spectra[1].set_title("after" if same else "after, on its grid")


def _bright(values: Array | np.ndarray) -> float:
    """The end of a scale that a few large values do not darken."""
    return float(np.percentile(values, 99.5)) or 1.0


def _draw_spectrum(axes: Axes, power: np.ndarray, band: float) -> None:
    decades = np.log10(np.maximum(power, 10.0**-_DECADES))
    top, left = (-(n // 2) / n - 0.5 / n for n in power.shape)
    extent = (left, left + 1, top + 1, top)
    axes.imshow(decades, extent=extent, vmin=-_DECADES, vmax=0, cmap="inferno")
    corners = [-band, band, band, -band, -band]
    # Black below white: seen on bright and on dark ground.
    for color, wide in (("black", 3), ("white", 1.4)):
        axes.plot(corners, corners[1:] + corners[1:2], color=color, linewidth=wide)
    axes.set(xlim=(-0.5, 0.5), ylim=(0.5, -0.5), xticks=(-0.5, 0, 0.5), yticks=(-0.5, 0, 0.5))


def gates_picture(maps: ImageMaps) -> UInt8[np.ndarray, "h w 3"]:
    """Draws the gates of each FreqMix.

    Args:
      maps: of one image, with gates.

    Returns:
      RGB image; `GATES_CAPTION` says what is seen.
    """
    height, width = maps.sample.label.shape
    row = 0.7 + 0.28 * _GATES_WIDTH * height / width
    figure = Figure(figsize=(_GATES_WIDTH, row * len(maps.gates)), layout="constrained")
    lines = figure.subplots(len(maps.gates), 3, squeeze=False)
    for panels, ((stage, block), gates) in zip(lines, sorted(maps.gates.items()), strict=True):
        panels[0].set_ylabel(f"stage {stage}\nblock {block}", rotation=0, ha="right", va="center")
        _draw_gates(figure, panels, gates)
    return _pixels(figure)


def _draw_gates(figure: Figure, panels: Any, gates: Gates) -> None:
    bands = ("low band", "high band")
    for axes in panels[:2]:
        axes.set(xticks=[], yticks=[])
    if gates.spatial is None:
        for axes in panels[:2]:
            axes.text(0.5, 0.5, "no spatial gates", ha="center", va="center")
    else:
        both = np.stack([np.asarray(one) for one in gates.spatial])
        # Rounding is not to look like structure.
        spread = max(float(np.ptp(both)), _LEAST_SPREAD)
        least = max(0.0, float(both.min() + both.max() - spread) / 2)
        for axes, gate, band in zip(panels, both, bands, strict=False):
            axes.imshow(gate, vmin=least, vmax=least + spread, cmap="cividis")
            axes.set_title(f"spatial, {band}, {gate.mean():.3f}")
        figure.colorbar(panels[1].images[0], ax=panels[1])
    if gates.channel is None:
        panels[2].text(0.5, 0.5, "no channel gates", ha="center", va="center")
        panels[2].set(xticks=[], yticks=[])
        return
    for i, (gate, band) in enumerate(zip(gates.channel, bands, strict=True)):
        panels[2].plot(
            np.sort(np.asarray(gate))[::-1],
            color=page.SERIES_COLORS[(0, 4)[i]],
            linestyle=("-", "--")[i],
            label=f"{band}, {np.mean(gate):.3f}",
        )
    panels[2].set_title("channel gates, sorted")
    panels[2].set_xlabel("channels by their gate")
    panels[2].grid(alpha=0.3)
    # Room for the legend above all curves.
    panels[2].set_ylim(0, 1.4 * float(max(np.max(gate) for gate in gates.channel)))
    panels[2].legend(loc="upper right")


def _pixels(figure: Figure) -> np.ndarray:
    figure.set_dpi(_DPI)
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()


def draw(maps: ImageMaps, rules: ScoreRules) -> list[Picture]:
    """Draws all pictures of an image: its stages and, where there are any, its gates.

    Args:
      maps: of the image.
      rules: what kinds of error are.

    Returns:
      The pictures.
    """
    name, file = maps.sample.name, maps.sample.name.replace("/", "_")
    why = f"{name} has the {maps.reason}. "
    rows = (
        ("stages", stages_picture(maps, rules), STAGES_CAPTION),
        (
            "gates",
            gates_picture(maps) if maps.gates else None,
            GATES_CAPTION,
        ),
    )
    return [
        Picture(f"aliasing_pictures/{file}_{what}.png", f"{what} of {name}", why + caption, _png(p))
        for what, p, caption in rows
        if p is not None
    ]


def _png(picture: np.ndarray) -> bytes:
    return cv2.imencode(".png", picture[..., ::-1])[1].tobytes()
