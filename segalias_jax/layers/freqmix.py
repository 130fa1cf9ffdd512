"""FreqMix: learned weights for the low and the high frequencies of a feature map.

Spatial gates with softmax are twice the softmax over the two bands, as in the recorded weights: a
map that is gated evenly keeps its size.

Gates that begin evenly let half of a band through, and two of them a quarter. In front of a norm,
where the published module stands, that is nothing; behind a pretrained linear projection it
changes all features. No sigmoid is 1 and still learns, so the start "identity" divides each gate
by the value that it begins with.
"""

from __future__ import annotations

import contextlib
import contextvars
import math
from collections.abc import Iterator
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from segalias_jax import ops
from segalias_jax.errors import InputError, check_choice
from segalias_jax.layers.conv import Conv
from segalias_jax.ops.band_power import split_bands_and_power
from segalias_jax.ops.placement import on_any_mesh
from segalias_jax.ops.symbolic import band_operators, is_fixed
from segalias_jax.typing import Array, Float

_GATES = ("energy", "magnitude", "corner")
_ACTIVATIONS = ("sigmoid", "softmax")

FREQMIX_PARTS = ("spatial", "channel")
"""Gates that FreqMix can have."""

FREQMIX_STARTS = ("even", "pytorch", "identity")
"""What gates can begin with."""


class Gates(NamedTuple):
    """The weights that a FreqMix gave to its two bands, low and high; None for a part it lacks.

    Attributes:
      spatial: one for each pixel, `[b, h, w, 1]`, or `[b, h, w, c]` with groups of channels.
      channel: one for each channel, `[b, c]`.

    Example:
      >>> Gates(None, None).spatial is None
      True
    """

    spatial: tuple[Array, Array] | None
    channel: tuple[Array, Array] | None


_recorded: contextvars.ContextVar[list | None] = contextvars.ContextVar("gates", default=None)


@contextlib.contextmanager
def recording_gates() -> Iterator[list[tuple[FreqMix, Gates]]]:
    """Collects each FreqMix that is called, with its gates, in the order of the calls.

    Not inside of what `nnx.remat` recomputes, whose values do not leave it.

    Example:
      >>> mixer = FreqMix(32, parts=("channel",), rngs=nnx.Rngs(0))
      >>> with recording_gates() as seen:
      ...     y = mixer(jnp.ones((1, 9, 9, 32)))
      >>> seen[0][0] is mixer, seen[0][1].spatial, seen[0][1].channel[0].shape
      (True, None, (1, 32))
    """
    seen: list[tuple[FreqMix, Gates]] = []
    token = _recorded.set(seen)
    try:
        yield seen
    finally:
        _recorded.reset(token)


class _ChannelGate(nnx.Module):
    """One weight per channel from one number per channel: two small matrices and a sigmoid.

    g = sigmoid(W2 relu(W1 v + b1) + b2)

    Args:
      channels: length of v and of g.
      hidden: length in between.
      start: of `FREQMIX_STARTS`.
      rngs: random streams.

    Example:
      >>> _ChannelGate(8, 2, start="even", rngs=nnx.Rngs(0))(jnp.zeros((1, 8)))[0, 0]
      Array(0.5, dtype=float32)
    """

    def __init__(self, channels: int, hidden: int, *, start: str, rngs: nnx.Rngs):
        self.reduce = Conv(channels, hidden, use_bias=True, rngs=rngs)
        if start == "pytorch":
            _draw_as_pytorch(self.reduce, rngs)
        self.expand = _last_conv(hidden, channels, 1, start=start, rngs=rngs)

    def __call__(self, statistic: Float[Array, "b c"]) -> Float[Array, "b c"]:
        """Returns the weights, in (0, 1)."""
        y = jax.nn.relu(self.reduce(statistic[:, None, None]))
        return jax.nn.sigmoid(self.expand(y))[:, 0, 0]


class FreqMix(nnx.Module):
    """Weighs low and high frequencies by place and by channel.

    low = low_pass(x),  high = x - low
    y = low . s_low . c_low + high . s_high . c_high  (+ x with `residual`)

    s = activation(conv3x3(x)), [..., h, w, 1], is one weight per pixel and band (and group of
    channels), c, [..., 1, 1, channels], one weight per channel and band from a statistic of that
    band of the same sample:

    * "energy": its root mean square over pixels, which by Parseval's theorem is its spectrum's;
    * "magnitude": the mean magnitude of its orthonormal spectrum;
    * "corner": sqrt(g(Re)^2 + g(Im)^2 + 1e-8) of the band's complex value at the first pixel.
      This is what the published code computes (the mean of a spectrum is the signal's first
      value) and what published weights need; Im differs from 0 only for `band="reference"`.

    Without "spatial" or "channel" among the `parts`, s or c is 1 and has no parameters.

    Gates begin, by `start`:

    * "even": with small weights and no bias, so that every sigmoid is near 1/2 and y, with two of
      them, near x/4;
    * "pytorch": with the draws of PyTorch's convolutions, all weights and biases uniform within
      +-1/sqrt(fan-in), as published: its initializer of the network passes the gates over;
    * "identity": at s = c = 1 and so y = x, up to rounding. The last weights are 0, and s and c
      are what they are under "even", divided by their value there: within (0, 2) for sigmoids.

    Args:
      channels: number of channels, preserved.
      cutoff: where low ends, in cycles per pixel, in (0, 0.5].
      reduction: factor from channels to the hidden width of the channel gates.
      gate: the channel gate's statistic.
      band: as for `ops.low_pass`.
      spatial_groups: groups of channels that share a spatial gate.
      activation: of the spatial gates: "sigmoid" of each, or twice the "softmax" over the two
        bands.
      residual: whether `x` is added.
      parts: the gates: "spatial", "channel" or both.
      start: "even", "pytorch" or "identity"; None: "pytorch" for the gate "corner", which is there
        to reproduce what was published, else "even".
      rngs: random streams.

    Raises:
      InputError: an unknown name, `cutoff` outside (0, 0.5], `reduction` below 1, groups that do
        not divide `channels`, an option of a gate that is not among the `parts`, or the start
        "identity" with `residual`, which doubles.

    Example:
      >>> FreqMix(32, rngs=nnx.Rngs(0))(jnp.ones((1, 9, 9, 32))).shape
      (1, 9, 9, 32)

    Reference:
      Chen et al., "When Semantic Segmentation Meets Frequency Aliasing", ICLR 2024.
    """

    def __init__(
        self,
        channels: int,
        *,
        cutoff: float = 0.35,
        reduction: int = 16,
        gate: str = "energy",
        band: str = "symmetric",
        spatial_groups: int = 1,
        activation: str = "sigmoid",
        residual: bool = False,
        parts: tuple[str, ...] = FREQMIX_PARTS,
        start: str | None = None,
        rngs: nnx.Rngs,
    ):
        ops.check_band(cutoff, band)
        check_choice("gate", gate, _GATES)
        check_choice("activation", activation, _ACTIVATIONS)
        if reduction < 1:
            raise InputError(f"reduction is {reduction}, but must be at least 1")
        if channels % spatial_groups:
            raise InputError(
                f"spatial_groups is {spatial_groups}, which does not divide {channels}"
            )
        _check_parts(
            tuple(parts),
            of_spatial=(spatial_groups, activation) != (1, "sigmoid"),
            of_channel=(gate, reduction) != ("energy", 16),
        )
        if start is None:
            start = "pytorch" if gate == "corner" else "even"
        check_choice("start", start, FREQMIX_STARTS)
        if start == "identity" and residual:
            raise InputError(
                "start is 'identity', but residual adds the input once more; leave one of them out"
            )
        self.cutoff, self.gate, self.band = cutoff, gate, band
        self.spatial_groups, self.activation, self.residual = spatial_groups, activation, residual
        self.parts, self.start = tuple(parts), start
        hidden = max(channels // reduction, 1)
        spatial, channel = "spatial" in parts, "channel" in parts
        self.spatial_gate = (
            _last_conv(channels, 2 * spatial_groups, 3, start=start, rngs=rngs) if spatial else None
        )
        self.low_gate, self.high_gate = (
            _ChannelGate(channels, hidden, start=start, rngs=rngs) if channel else None
            for _ in range(2)
        )

    @property
    def published(self) -> bool:
        """Whether weights of the published module mean here what they mean there."""
        return (
            self.gate == "corner"
            and self.start != "identity"
            and set(self.parts) == set(FREQMIX_PARTS)
        )

    def __call__(self, x: Float[Array, "*batch h w c"]) -> Float[Array, "*batch h w c"]:
        """Mixes the two bands of `x`; no sample influences another one's output."""
        if x.ndim != 4:
            return self(x.reshape(math.prod(x.shape[:-3]), *x.shape[-3:])).reshape(x.shape)
        with jax.named_scope("freqmix"):
            spatial = channel = power = None
            if self.low_gate is not None and self.gate == "energy":
                low, high, power = split_bands_and_power(x, self.cutoff, band=self.band)
            else:
                low, high = ops.split_bands(x, self.cutoff, band=self.band)
            if self.spatial_gate is not None:
                spatial = _spatial_weights(
                    self.spatial_gate(x),
                    repeats=x.shape[-1] // self.spatial_groups if self.spatial_groups > 1 else 1,
                    activation=self.activation,
                    start=self.start,
                )
                y_low, y_high = low * spatial[0], high * spatial[1]
            else:
                y_low, y_high = low, high
            if self.low_gate is not None and self.high_gate is not None:
                channel = self._channel_weights(x, low, high, power)
                y_low *= channel[0][:, None, None]
                y_high *= channel[1][:, None, None]
            seen = _recorded.get()
            if seen is not None:
                seen.append((self, Gates(spatial, channel)))
            y = y_low + y_high
            return y + x if self.residual else y

    def _channel_weights(
        self, x: Array, low: Array, high: Array, power: tuple[Array, Array] | None
    ) -> tuple[Array, Array]:
        """The channel gates of both bands, computed in float32 and returned in the type of x."""
        assert self.low_gate is not None and self.high_gate is not None
        if self.gate == "corner":
            corners = _corner_values(x, self.cutoff, self.band)
            weights = [
                jnp.sqrt(gate(re) ** 2 + gate(im) ** 2 + 1e-8)
                for gate, (re, im) in zip((self.low_gate, self.high_gate), corners, strict=True)
            ]
        else:
            if power is not None:
                # The small term keeps the gradient of an empty band finite.
                statistics = [jnp.sqrt(of_band + 1e-8) for of_band in power]
            else:
                statistics = [_mean_magnitude(of_band) for of_band in (low, high)]
            gates = self.low_gate, self.high_gate
            weights = [gate(value) for gate, value in zip(gates, statistics, strict=True)]
        if self.start == "identity":
            even = math.sqrt(0.5 + 1e-8) if self.gate == "corner" else 0.5
            weights = [weight / even for weight in weights]
        return weights[0].astype(x.dtype), weights[1].astype(x.dtype)


def _check_parts(parts: tuple[str, ...], *, of_spatial: bool, of_channel: bool) -> None:
    """Raises unless parts are known, each once, and options are set of these only."""
    if not parts or len(set(parts)) < len(parts):
        raise InputError(f"parts is {parts}; name {' or '.join(FREQMIX_PARTS)}, or both, once each")
    for part in parts:
        check_choice("part", part, FREQMIX_PARTS)
    if of_spatial and "spatial" not in parts:
        raise InputError(f"spatial_groups or activation is set, but parts is {parts}; leave it out")
    if of_channel and "channel" not in parts:
        raise InputError(f"gate or reduction is set, but parts is {parts}; leave it out")


def _last_conv(channels: int, outputs: int, size: int, *, start: str, rngs: nnx.Rngs) -> Conv:
    """The convolution whose outputs go into a sigmoid or softmax, as gates begin."""
    zeros, normal = jax.nn.initializers.zeros, jax.nn.initializers.normal(0.01)
    init = zeros if start == "identity" else normal
    conv = Conv(channels, outputs, size, use_bias=True, kernel_init=init, rngs=rngs)
    if start == "pytorch":
        _draw_as_pytorch(conv, rngs)
    return conv


def _draw_as_pytorch(conv: Conv, rngs: nnx.Rngs) -> None:
    """Draws weights and bias within +-1/sqrt(fan-in).

    PyTorch calls that `kaiming_uniform_` with a = sqrt(5), whose bound is sqrt(6 / (1 + a^2)) over
    the root of the fan-in.
    """
    assert conv.bias is not None
    bound = 1 / math.sqrt(math.prod(conv.kernel.shape[:-1]))
    for parameter in (conv.kernel, conv.bias):
        shape = parameter.shape
        parameter[...] = jax.random.uniform(rngs.params(), shape, jnp.float32, -bound, bound)


@on_any_mesh
def _spatial_weights(
    logits: Array, *, repeats: int, activation: str, start: str
) -> tuple[Array, Array]:
    """The spatial gates of both bands, computed in float32 and returned in the type of logits.

    They are one channel wide, or as wide as `repeats` makes their groups.
    """
    bands = jnp.stack(jnp.split(_wide(logits), 2, axis=-1))
    if activation == "softmax":
        weights = 2 * jax.nn.softmax(bands, axis=0)
    else:
        weights = jax.nn.sigmoid(bands) * (2 if start == "identity" else 1)
    if repeats > 1:
        weights = jnp.repeat(weights, repeats, axis=-1)
    weights = weights.astype(logits.dtype)
    return weights[0], weights[1]


def _wide(x: Array) -> Array:
    return x.astype(jnp.promote_types(x.dtype, jnp.float32))


def _mean_magnitude(band: Array) -> Array:
    height, width = band.shape[1:3]
    magnitude = jnp.sqrt(ops.spectral_power(band) / (height * width) + 1e-8)
    twice = jnp.asarray(ops.half_plane_weights(width), magnitude.dtype)
    highest = jax.lax.Precision.HIGHEST  # a mean, which must not be one of rounded numbers
    total = jnp.einsum("bhwc,w->bc", magnitude, twice, precision=highest)
    return total / (height * width)


@on_any_mesh
def _corner_values(x: Array, cutoff: float, band: str) -> tuple[tuple, tuple]:
    """(Re, Im) at the first pixel of the complex low band z and of x - z, each `[b, c]`.

    z[0, 0] = sum_ij a_h[i] a_w[j] x[i, j] with a the first row of each axis's band operator.
    """
    rows: list[Array | np.ndarray] = []
    for length in x.shape[1:3]:
        if not is_fixed(length):
            (matrix,), ((left, right),) = band_operators([length], cutoff, band)
            odd = jnp.matmul(left[0], right, precision=jax.lax.Precision.HIGHEST)
            rows.append(jnp.stack(jnp.broadcast_arrays(matrix[0], odd)))
            continue
        kernel = ops.band_kernel(length, *ops.band_bounds(length, cutoff, band=band))
        first_row = kernel[-np.arange(length) % length]
        rows.append(np.stack([np.real(first_row), np.imag(first_row)]))
    x = _wide(x)
    down, right = (jnp.asarray(row, x.dtype) for row in rows)
    highest = jax.lax.Precision.HIGHEST
    z = jnp.einsum(
        "bpwc,qw->bpqc",
        jnp.einsum("bhwc,ph->bpwc", x, down, precision=highest),
        right,
        precision=highest,
    )
    re, im = z[:, 0, 0] - z[:, 1, 1], z[:, 0, 1] + z[:, 1, 0]
    return (re, im), (x[:, 0, 0] - re, -im)
