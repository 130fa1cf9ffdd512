"""What `profile_aliasing` found, as numbers, a table and a figure."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np

from segalias_jax.notebook import ShownInNotebooks
from segalias_jax.tracing.operators import DownsamplingOperator

CONVENTIONS = (
    "above: share of the energy that enters an operator above its Nyquist frequency (or the given "
    "cutoff), outside of the square band, zero frequency in the total; mean over samples. block: "
    "the operators ahead of it that are joined, as one. Nyquist: in cycles per pixel."
)


@dataclasses.dataclass(frozen=True, eq=False)
class OperatorAliasing:
    """Aliasing at one downsampling operator.

    Attributes:
      operator: the operator.
      cutoff: beyond which energy counts as above, in cycles per pixel.
      scores: aliasing score of each sample (and round of a loop) in per cent; NaN where a branch
        of the program was not taken, or where what enters is not finite.
      ran: of each score, whether the operator ran.
      energy: sum of squares of what enters it, over all samples.
      energy_above: the part of it above the cutoff.
      spectrum: power by frequency, zero frequency in the middle; see `power_spectrum`.

    Example:
      >>> from segalias_jax.tracing import profile_aliasing
      >>> (down,) = profile_aliasing(lambda x: x[::2, ::2], np.ones((8, 8))).operators
      >>> down.scores, down.energy, down.energy_above, down.spectrum.shape
      (array([0.], dtype=float32), 64.0, 0.0, (8, 8))
    """

    operator: DownsamplingOperator
    cutoff: float
    scores: np.ndarray
    ran: np.ndarray
    energy: float
    energy_above: float
    spectrum: np.ndarray

    @property
    def score(self) -> float:
        """Mean score of the samples, in per cent; NaN where the operator did not run."""
        return float(self.scores[self.ran].mean()) if self.ran.any() else math.nan

    @property
    def score_text(self) -> str:
        """The score, or "not run": a branch was not taken, which is not the same as NaN."""
        return f"{self.score:.2f}" if self.ran.any() else "not run"


@dataclasses.dataclass(frozen=True, eq=False)
class AliasingReport(ShownInNotebooks):
    """Aliasing at all downsampling operators of a function.

    Attributes:
      operators: one entry each, in running order.
      not_looked_into: what may sample, too, and is not among them: programs of `jax.export`, what
        is in a `while` loop or `shard_map`, pixels read by an index, `jax.image.resize`.

    Example:
      >>> from segalias_jax.tracing import profile_aliasing
      >>> report = profile_aliasing(lambda x: x[::2, ::2], np.ones((8, 8)))
      >>> print(report.table().splitlines()[1].split()[1:5])
      ['slice', '8x8', '1x1/2', '1']
    """

    operators: tuple[OperatorAliasing, ...]
    not_looked_into: tuple[str, ...] = ()

    def table(self) -> str:
        """Returns a line for each operator, with its place, numbers and score.

        A last line names what was not looked into, where there is such.
        """
        head = ("", "kind", "input", "kernel", "channels", "rate", "Nyquist", "above %")
        head += ("name", "source")
        rows = [head, *(_row(found) for found in self.operators)]
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        left = ("kind", "name", "source")
        lines = [
            "  ".join(
                cell.ljust(width) if name in left else cell.rjust(width)
                for name, cell, width in zip(head, row, widths, strict=True)
            ).rstrip()
            for row in rows
        ]
        if self.not_looked_into:
            lines.append(f"not looked into: {'; '.join(self.not_looked_into)}")
        return "\n".join(lines)

    def to_json(self) -> dict[str, Any]:
        """Returns everything but the spectra, in types that JSON has; NaN is null."""
        return {
            "conventions": CONVENTIONS,
            "operators": [_record(f) for f in self.operators],
            "not_looked_into": list(self.not_looked_into),
        }

    def plot(self) -> Any:
        """Draws the spectrum of what enters each operator, and the band that it can carry.

        Brightness is power on a logarithmic scale of seven decades; zero frequency is in the
        middle. Returns a `matplotlib.figure.Figure`.
        """
        from matplotlib.figure import Figure  # takes longer to import than all layers

        columns = min(max(len(self.operators), 1), 4)
        lines = max(math.ceil(len(self.operators) / columns), 1)
        figure = Figure(figsize=(2.6 * columns, 2.9 * lines), layout="constrained")
        panels = figure.subplots(lines, columns, squeeze=False).ravel()
        for panel in panels[len(self.operators) :]:
            panel.axis("off")
        for panel, found in zip(panels, self.operators, strict=False):
            self._draw(panel, found)
        return figure

    def _draw(self, panel: Any, found: OperatorAliasing) -> None:
        operator, f = found.operator, found.cutoff
        most = np.nan_to_num(found.spectrum).max()
        if most > 0:
            decades = np.log10(np.maximum(found.spectrum / most, 1e-7))
            height, width = (operator.input_shape[axis] for axis in operator.spatial_axes)
            top, left = (-(n // 2) / n - 0.5 / n for n in (height, width))
            extent = (left, left + 1, top + 1, top)
            panel.imshow(decades, extent=extent, vmin=-7, vmax=0, cmap="magma")
        corners = [-f, f, f, -f, -f]
        panel.plot(corners, corners[1:] + corners[1:2], color="tab:cyan", linewidth=1)
        panel.set(xlim=(-0.5, 0.5), ylim=(0.5, -0.5), xticks=(-0.5, 0, 0.5), yticks=(-0.5, 0, 0.5))
        title = f"{operator.index} {operator.kind} {(operator.name or operator.module)[-24:]}"
        told = f"{found.score_text} % above {f:.3f}" if found.ran.any() else found.score_text
        panel.set_title(f"{title}\n{told}", fontsize=8)
        panel.tick_params(labelsize=7)


def _row(found: OperatorAliasing) -> tuple[str, ...]:
    o = found.operator
    height, width = (o.input_shape[axis] for axis in o.spatial_axes)
    stride = str(o.stride[0]) if o.stride[0] == o.stride[1] else f"{o.stride[0]}x{o.stride[1]}"
    return (
        str(o.index),
        o.kind,
        f"{height}x{width}",
        f"{o.kernel_size[0]}x{o.kernel_size[1]}/{stride}",
        f"{o.in_channels} > {o.out_channels}",
        f"{o.sampling_rate:.3f}",
        f"{found.cutoff:.3f}",
        found.score_text,
        o.name or o.module,
        o.source,
    )


def _record(found: OperatorAliasing) -> dict[str, Any]:
    operator = found.operator
    record = dataclasses.asdict(operator) | {
        "batch_axes": operator.batch_axes,
        "sampling_rate": operator.sampling_rate,
        "nyquist_frequency": operator.nyquist_frequency,
        "cutoff": found.cutoff,
        "score": found.score,
        "scores": found.scores.tolist(),
        "ran": found.ran.tolist(),
        "energy": found.energy,
        "energy_above": found.energy_above,
    }
    return {key: _plain(value) for key, value in record.items()}


def _plain(value: Any) -> Any:
    if isinstance(value, tuple | list):
        return [_plain(v) for v in value]
    return None if isinstance(value, float) and math.isnan(value) else value
