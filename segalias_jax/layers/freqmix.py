"""FreqMix: learned weights for the low and the high frequencies of a feature map.

Spatial gates with softmax are twice the softmax over the two bands, as in the recorded weights: a
map that is gated evenly keeps its size.
"""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from segalias_jax import ops
from segalias_jax.errors import InputError, check_choice
from segalias_jax.layers.conv import Conv
from segalias_jax.ops.placement import on_any_mesh
from segalias_jax.ops.symbolic import band_operators, is_fixed
from segalias_jax.typing import Array, Float

_GATES = ("energy", "magnitude", "corner")
_ACTIVATIONS = ("sigmoid", "softmax")

_gate_init = jax.nn.initializers.normal(0.01)


class _ChannelGate(nnx.Module):
    """One weight per channel from one number per channel: two small matrices and a sigmoid.

    g = sigmoid(W2 relu(W1 v + b1) + b2)

    Args:
      channels: length of v and of g.
      hidden: length in between.
      rngs: random streams.

    Example:
      >>> _ChannelGate(8, 2, rngs=nnx.Rngs(0))(jnp.zeros((1, 8)))[0, 0]
      Array(0.5, dtype=float32)
    """

    def __init__(self, channels: int, hidden: int, *, rngs: nnx.Rngs):
        self.reduce = Conv(channels, hidden, use_bias=True, rngs=rngs)
        self.expand = Conv(hidden, channels, use_bias=True, kernel_init=_gate_init, rngs=rngs)

    def __call__(self, statistic: Float[Array, "b c"]) -> Float[Array, "b c"]:
        """Returns the weights, in (0, 1)."""
        y = jax.nn.relu(self.reduce(statistic[:, None, None]))
        return jax.nn.sigmoid(self.expand(y))[:, 0, 0]


class FreqMix(nnx.Module):
    """Weighs low and high frequencies by place and by channel.

    low = low_pass(x),  high = x - low
    y = low . s_low . c_low + high . s_high . c_high  (+ x with `residual`)

    s = activation(conv3x3(x)) is one weight per pixel and band (per group of channels), c one
    weight per channel and band from a statistic of that band of the same sample:

    * "energy": its root mean square over pixels, which by Parseval's theorem is its spectrum's;
    * "magnitude": the mean magnitude of its orthonormal spectrum;
    * "corner": sqrt(g(Re)^2 + g(Im)^2 + 1e-8) of the band's complex value at the first pixel.
      This is what the published code computes (the mean of a spectrum is the signal's first
      value) and what published weights need; Im differs from 0 only for `band="reference"`.

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
      rngs: random streams.

    Raises:
      InputError: an unknown name, `cutoff` outside (0, 0.5], `reduction` below 1, or groups that do
        not divide `channels`.

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
        self.cutoff, self.gate, self.band = cutoff, gate, band
        self.spatial_groups, self.activation, self.residual = spatial_groups, activation, residual
        hidden = max(channels // reduction, 1)
        self.spatial_gate = Conv(
            channels, 2 * spatial_groups, 3, use_bias=True, kernel_init=_gate_init, rngs=rngs
        )
        self.low_gate = _ChannelGate(channels, hidden, rngs=rngs)
        self.high_gate = _ChannelGate(channels, hidden, rngs=rngs)

    def __call__(self, x: Float[Array, "*batch h w c"]) -> Float[Array, "*batch h w c"]:
        """Mixes the two bands of `x`; no sample influences another one's output."""
        if x.ndim != 4:
            return self(x.reshape(math.prod(x.shape[:-3]), *x.shape[-3:])).reshape(x.shape)
        with jax.named_scope("freqmix"):
            low, high = ops.split_bands(x, self.cutoff, band=self.band)
            low_weight, high_weight = self._channel_weights(x, low, high)
            spatial_low, spatial_high = _spatial_weights(
                self.spatial_gate(x),
                repeats=x.shape[-1] // self.spatial_groups if self.spatial_groups > 1 else 1,
                activation=self.activation,
            )
            y = low * spatial_low * low_weight[:, None, None]
            y += high * spatial_high * high_weight[:, None, None]
            return y + x if self.residual else y

    def _channel_weights(self, x: Array, low: Array, high: Array) -> tuple[Array, Array]:
        """The channel gates of both bands, computed in float32 and returned in the type of x."""
        if self.gate == "corner":
            corners = _corner_values(x, self.cutoff, self.band)
            weights = [
                jnp.sqrt(gate(re) ** 2 + gate(im) ** 2 + 1e-8)
                for gate, (re, im) in zip((self.low_gate, self.high_gate), corners, strict=True)
            ]
        else:
            statistic = _root_mean_square if self.gate == "energy" else _mean_magnitude
            weights = [self.low_gate(statistic(low)), self.high_gate(statistic(high))]
        return weights[0].astype(x.dtype), weights[1].astype(x.dtype)


@on_any_mesh
def _spatial_weights(logits: Array, *, repeats: int, activation: str) -> tuple[Array, Array]:
    """The spatial gates of both bands, computed in float32 and returned in the type of logits.

    They are one channel wide, or as wide as `repeats` makes their groups.
    """
    bands = jnp.stack(jnp.split(_wide(logits), 2, axis=-1))
    if activation == "softmax":
        weights = 2 * jax.nn.softmax(bands, axis=0)
    else:
        weights = jax.nn.sigmoid(bands)
    if repeats > 1:
        weights = jnp.repeat(weights, repeats, axis=-1)
    weights = weights.astype(logits.dtype)
    return weights[0], weights[1]


def _wide(x: Array) -> Array:
    return x.astype(jnp.promote_types(x.dtype, jnp.float32))


def _root_mean_square(band: Array) -> Array:
    # The small term keeps the gradient of an empty band finite.
    return jnp.sqrt(jnp.mean(jnp.square(_wide(band)), (1, 2)) + 1e-8)


def _mean_magnitude(band: Array) -> Array:
    height, width = band.shape[1:3]
    magnitude = jnp.sqrt(ops.spectral_power(band) / (height * width) + 1e-8)
    twice = jnp.asarray(ops.half_plane_weights(width), magnitude.dtype)
    return jnp.einsum("bhwc,w->bc", magnitude, twice) / (height * width)


@on_any_mesh
def _corner_values(x: Array, cutoff: float, band: str) -> tuple[tuple, tuple]:
    """(Re, Im) at the first pixel of the complex low band z and of x - z, each `[b, c]`.

    z[0, 0] = sum_ij a_h[i] a_w[j] x[i, j] with a the first row of each axis's band operator.
    """
    rows: list[Array | np.ndarray] = []
    for length in x.shape[1:3]:
        if not is_fixed(length):
            (matrix,), ((left, right),) = band_operators([length], cutoff, band)
            rows.append(jnp.stack(jnp.broadcast_arrays(matrix[0], left[0] @ right)))
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
