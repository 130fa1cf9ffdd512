"""How much of what enters each downsampling operator of a function lies above what it can carry."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from segalias_jax import ops
from segalias_jax.tracing.capture import channels_last, record_inputs
from segalias_jax.tracing.finding import Traced, trace
from segalias_jax.tracing.operators import DownsamplingOperator
from segalias_jax.tracing.profile_report import AliasingReport, OperatorAliasing
from segalias_jax.typing import Array, Float

_SPECTRUM_BINS = 64


def profile_aliasing(
    function: Callable[..., Any], *arguments: Any, cutoff: float | None = None
) -> AliasingReport:
    """Measures the aliasing at every downsampling operator of a function.

    score = 100 * sum_{(u, v) outside} |X(u, v)|^2 / sum_{(u, v)} |X(u, v)|^2: `ops.aliasing_score`
    of what enters the operator, X its spectrum, "outside" the square |u|, |v| <= cutoff.

    Operators are those of `find_operators`. One program is compiled that computes what enters them
    and reduces it on the device; nothing after the last operator is computed. 16-bit feature maps
    are measured in float32.

    Args:
      function: any function of arrays.
      *arguments: its arguments: arrays, trees of them, and anything else, which is not traced.
      cutoff: in cycles per pixel, for all operators; None takes each one's own
        `nyquist_frequency`.

    Returns:
      The report.

    Raises:
      InputError: `cutoff` outside (0, 0.5].

    Example:
      >>> checkerboard = jnp.indices((8, 8)).sum(0)[None, ..., None] % 2 * 2.0 - 1
      >>> (down,) = profile_aliasing(lambda x: x[:, ::2, ::2], checkerboard).operators
      >>> down.operator.kind, down.score, down.cutoff
      ('slice', 100.0, 0.25)

    Reference:
      Chen et al., "When Semantic Segmentation Meets Frequency Aliasing", ICLR 2024.
    """
    if cutoff is not None:
        ops.check_band(cutoff)
    traced = trace(function, arguments, {})
    cutoffs = [o.nyquist_frequency if cutoff is None else cutoff for o in traced.operators]
    found = jax.device_get(_compiled(traced, cutoffs)(traced.constants, traced.arguments))
    return AliasingReport(
        tuple(
            OperatorAliasing(
                operator=o,
                cutoff=cutoffs[o.index],
                scores=found[o.index]["scores"].reshape(-1),
                ran=found[o.index]["ran"].reshape(-1),
                energy=float(found[o.index]["energy"].sum()),
                energy_above=float(found[o.index]["energy_above"].sum()),
                spectrum=found[o.index]["spectrum"].reshape(-1, *_spectrum_shape(o)).mean(0),
            )
            for o in traced.operators
        ),
        traced.not_looked_into,
    )


def compile_profile(function: Callable[..., Any], *arguments: Any) -> Callable[[], dict[int, Any]]:
    """Compiles the program that `profile_aliasing` runs, to be timed.

    Args:
      function: as there.
      *arguments: as there.

    Returns:
      A function that runs it on the device.

    Example:
      >>> run = compile_profile(lambda x: x[::2, ::2], jnp.ones((4, 4)))
      >>> float(run()[0]["energy"])
      16.0
    """
    traced = trace(function, arguments, {})
    constants, arrays = traced.constants, traced.arguments
    cutoffs = [o.nyquist_frequency for o in traced.operators]
    program = _compiled(traced, cutoffs).lower(constants, arrays).compile()
    return functools.partial(program, constants, arrays)


def _compiled(traced: Traced, cutoffs: Sequence[float]) -> Any:
    """What is measured, under jit; arrays that the function holds are arguments too.

    They would be constants else, which a compiler may fold for long.
    """
    measures = {
        o.index: functools.partial(_measure, cutoff=f)
        for o, f in zip(traced.operators, cutoffs, strict=True)
    }

    def measured(constants: Any, arguments: Any) -> dict[int, Any]:
        given = dataclasses.replace(traced, constants=constants, arguments=arguments)
        return record_inputs(given, measures)[1]

    return jax.jit(measured)


def _spectrum_shape(operator: DownsamplingOperator) -> tuple[int, int]:
    """Number of frequencies along each axis that a spectrum is kept at.

    Args:
      operator: the operator.

    Returns:
      For height and width.

    Example:
      >>> from segalias_jax.tracing.finding import find_operators
      >>> (down,) = find_operators(lambda x: x[::2, ::2], jnp.ones((100, 8)))
      >>> _spectrum_shape(down)
      (64, 8)
    """
    height, width = (operator.input_shape[axis] for axis in operator.spatial_axes)
    return min(height, _SPECTRUM_BINS), min(width, _SPECTRUM_BINS)


def _measure(x: Array, operator: DownsamplingOperator, *, cutoff: float) -> dict[str, Array]:
    x = channels_last(x, operator)
    x = x.astype(jnp.promote_types(x.dtype, jnp.float32))
    scores = ops.aliasing_score(x, cutoff)
    energy = jnp.sum(jnp.square(x), (-3, -2, -1))
    return {
        "scores": scores,
        # What a branch that was not taken leaves here is False, see `Replay`.
        "ran": jnp.ones(scores.shape, bool),
        "energy": energy,
        "energy_above": scores / 100 * energy,
        "spectrum": power_spectrum(x, _spectrum_shape(operator)),
    }


def power_spectrum(x: Float[Array, "*batch h w c"], bins: tuple[int, int]) -> Float[Array, "m n"]:
    """Power of each frequency, summed over channels and averaged over samples.

    P(u, v) = mean_b sum_c |X(u, v)|^2 / (h w)

    Args:
      x: feature map, channels last.
      bins: number of bins along each axis, h and w at most; bins hold the mean of P.

    Returns:
      The spectrum, zero frequency at `[m // 2, n // 2]`.

    Example:
      >>> power_spectrum(jnp.ones((2, 2, 1)), (2, 2)).tolist()
      [[0.0, 0.0], [0.0, 4.0]]
    """
    height, width = x.shape[-3:-1]
    half = jnp.square(jnp.abs(jnp.fft.rfft2(x, axes=(-3, -2)))).sum(-1)
    half = half.reshape(-1, *half.shape[-2:]).mean(0) / (height * width)
    # The other half mirrors this one: P(-u, -v) = P(u, v).
    mirrored = jnp.roll(half[::-1], 1, 0)[:, 1 : (width + 1) // 2][:, ::-1]
    power = jnp.fft.fftshift(jnp.concatenate([half, mirrored], 1))
    rows, columns = (_binning(n, m) for n, m in zip((height, width), bins, strict=True))
    return jnp.linalg.multi_dot([rows, power, columns.T], precision=jax.lax.Precision.HIGHEST)


def _binning(length: int, bins: int) -> np.ndarray:
    """Averages neighbors among the sorted frequencies of an axis."""
    place = np.arange(length) * bins // length
    matrix = (place == np.arange(bins)[:, None]).astype(np.float32)
    return matrix / matrix.sum(1, keepdims=True)
