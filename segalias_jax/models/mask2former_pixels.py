"""The pixel decoder of Mask2Former: deformable attention on three maps, then a pyramid.

Lists of maps go from coarse to fine in here, against the rest of the library: so are the rows of
its embeddings and the numbers of its layers in all published files.
"""

from __future__ import annotations

import math
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from segalias_jax import ops
from segalias_jax.layers import Conv, GroupNorm, LayerNorm, Linear
from segalias_jax.typing import Array, Float

LEVELS = 3
"""Maps that attention reads, the coarsest ones of an encoder."""

_GROUPS = 32
_EPSILON = 1e-5
_TEMPERATURE = 10_000.0

_conv = jax.nn.initializers.variance_scaling(1.0, "fan_in", "uniform")
_normal = jax.nn.initializers.normal(1.0)


def sine_positions(height: Any, width: Any, channels: int) -> Float[Array, "h w c"]:
    """Returns what tells a transformer where each pixel of a map is.

    p[i, j] = [f(2 pi (i + 1) / (h + 1e-6)), f(2 pi (j + 1) / (w + 1e-6))],
    f(t)_2k = sin(t / 10000^(4 k / c)), f(t)_2k+1 = cos(t / 10000^(4 k / c))

    Positions are fractions of the map, so that those of maps of one image agree roughly.

    Args:
      height: of the map.
      width: of the map.
      channels: c, of the result, an even number; half of them for each axis.

    Returns:
      Numbers of [-1, 1], float32.

    Example:
      >>> sine_positions(4, 1, 4)[:, 0, 0].round(4).tolist()
      [1.0, 0.0, -1.0, -0.0]

    Reference:
      Carion et al., "End-to-End Object Detection with Transformers", ECCV 2020.
    """
    half = channels // 2
    index = jnp.arange(half)
    periods = _TEMPERATURE ** (2 * (index // 2).astype(jnp.float32) / half)

    def axis(length: Any) -> Array:
        fraction = jnp.arange(1, length + 1, dtype=jnp.float32) / (length + 1e-6)
        angle = (2 * math.pi * fraction)[:, None] / periods
        return jnp.where(index % 2 == 0, jnp.sin(angle), jnp.cos(angle))

    shape = (height, width, half)
    down = jnp.broadcast_to(axis(height)[:, None], shape)
    return jnp.concatenate([down, jnp.broadcast_to(axis(width)[None], shape)], -1)


def star(heads: int, points: int) -> Float[Array, " n"]:
    """Returns the offsets with which deformable attention begins, in pixels of every map.

    o[m, l, p] = p d_m / max|d_m|,  d_m = (cos(2 pi m / heads), sin(2 pi m / heads)),  p from 1

    Args:
      heads: one for each direction.
      points: one for each distance.

    Returns:
      Offsets (across, down) by head, map and point, in one row.

    Example:
      >>> star(4, 2).reshape(4, LEVELS, 2, 2)[1, 0].round(4).tolist()
      [[-0.0, 1.0], [-0.0, 2.0]]
    """
    angle = jnp.arange(heads) * (2 * math.pi / heads)
    steps = jnp.stack([jnp.cos(angle), jnp.sin(angle)], -1)
    steps /= jnp.abs(steps).max(-1, keepdims=True)
    steps = steps[:, None, None] * jnp.arange(1, points + 1)[:, None]
    return jnp.tile(steps, (1, LEVELS, 1, 1)).reshape(-1)


class DeformableAttention(nnx.Module):
    """Every pixel of some maps reads them all, at points that it chooses around itself.

    y = project(deformable_attention(value(x), u, softmax(weights(q)))),  u = center + offsets(q)

    See `ops.deformable_attention`. Offsets begin as the steps of a star, a direction for each head
    and a distance for each point, and weights as equal ones.

    Args:
      channels: number of channels, preserved.
      heads: that share the channels.
      points: that each head reads in each map.
      rngs: random streams.
    """

    def __init__(self, channels: int, *, heads: int, points: int, rngs: nnx.Rngs):
        self.heads, self.points = heads, points
        count = heads * LEVELS * points
        zeros = jax.nn.initializers.zeros
        self.offsets = Linear(channels, 2 * count, kernel_init=zeros, rngs=rngs)
        self.offsets.bias.set_value(star(heads, points))
        self.weights = Linear(channels, count, kernel_init=zeros, rngs=rngs)
        self.value = Linear(channels, channels, rngs=rngs)
        self.project = Linear(channels, channels, rngs=rngs)

    def __call__(
        self,
        x: Float[Array, "b n c"],
        positions: Float[Array, "n c"],
        sizes: tuple[tuple[Any, Any], ...],
    ) -> Float[Array, "b n c"]:
        """Applies it, in the type of `x`.

        Args:
          x: pixels of all maps in a row, one map after the other.
          positions: added to those that ask, not to those that are read.
          sizes: height and width of each map.
        """
        batch, count, channels = x.shape
        heads = (batch, count, self.heads, LEVELS)
        query = x + positions
        # Points stay exact where values are bfloat16: they are numbers of pixels.
        wide = jnp.promote_types(x.dtype, jnp.float32)
        offsets = self.offsets(query).astype(wide).reshape(*heads, self.points, 2)
        weights = self.weights(query).astype(wide).reshape(*heads[:3], -1)
        weights = jax.nn.softmax(weights, -1).reshape(*heads, self.points)
        values = self.value(x).reshape(batch, count, self.heads, channels // self.heads)
        maps = _maps_of(values, sizes)
        points = _centers(sizes, wide)[None, :, None, :, None] + offsets
        y = ops.deformable_attention(maps, points, weights)
        return self.project(y.reshape(x.shape))


def _maps_of(row: Array, sizes: tuple[tuple[Any, Any], ...]) -> list[Array]:
    """Maps whose pixels stand in a row, [b, n, ...], one map after the other."""
    start, maps = 0, []
    for height, width in sizes:
        stop = start + height * width
        maps.append(row[:, start:stop].reshape(row.shape[0], height, width, *row.shape[2:]))
        start = stop
    return maps


def _centers(sizes: tuple[tuple[Any, Any], ...], dtype: jnp.dtype) -> Float[Array, "n l 2"]:
    """Where the center of each pixel of each map lies in all of them, in their pixels."""
    fractions = []
    for height, width in sizes:
        down = (jnp.arange(height, dtype=dtype) + 0.5) / height
        across = (jnp.arange(width, dtype=dtype) + 0.5) / width
        grid = jnp.meshgrid(across, down)
        fractions.append(jnp.stack(grid, -1).reshape(height * width, 2))
    scale = jnp.asarray([(width, height) for height, width in sizes], dtype)
    return jnp.concatenate(fractions)[:, None] * scale


class DeformableLayer(nnx.Module):
    """Deformable attention, then a small network on each pixel, each beside a shortcut.

    y = norm1(x + attention(x));  z = norm2(y + reduce(relu(expand(y))))

    Args:
      channels: number of channels, preserved.
      heads: of the attention.
      points: of the attention.
      feedforward: channels inside of the network.
      rngs: random streams.
    """

    def __init__(self, channels: int, *, heads: int, points: int, feedforward: int, rngs: nnx.Rngs):
        self.attention = DeformableAttention(channels, heads=heads, points=points, rngs=rngs)
        self.norm1 = LayerNorm(channels, epsilon=_EPSILON)
        self.expand = Linear(channels, feedforward, rngs=rngs)
        self.reduce = Linear(feedforward, channels, rngs=rngs)
        self.norm2 = LayerNorm(channels, epsilon=_EPSILON)

    def __call__(
        self,
        x: Float[Array, "b n c"],
        positions: Float[Array, "n c"],
        sizes: tuple[tuple[Any, Any], ...],
    ) -> Float[Array, "b n c"]:
        """Applies the layer, see `DeformableAttention`."""
        x = self.norm1(x + self.attention(x, positions, sizes))
        return self.norm2(x + self.reduce(jax.nn.relu(self.expand(x))))


class ConvGroupNorm(nnx.Module):
    """Convolution, then group normalization in 32 groups, or as many as there are channels.

    Args:
      in_channels: channels read.
      out_channels: channels written.
      kernel_size: side length, in pixels.
      use_bias: of the convolution.
      rngs: random streams.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int = 1,
        *,
        use_bias: bool = False,
        rngs: nnx.Rngs,
    ):
        self.conv = Conv(
            in_channels, out_channels, kernel_size, use_bias=use_bias, kernel_init=_conv, rngs=rngs
        )
        self.norm = GroupNorm(out_channels, groups=min(_GROUPS, out_channels), epsilon=_EPSILON)

    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b h w o"]:
        """Applies both."""
        return self.norm(self.conv(x))


class PixelDecoder(nnx.Module):
    """Refines an encoder's three coarsest maps by attention, and the finer ones by a pyramid.

    Args:
      in_channels: channels of the encoder's features, fine to coarse: of those of the pyramid,
        which may be none, then of three for the attention.
      channels: of all maps inside and of the results.
      layers: of deformable attention.
      heads: of each layer.
      points: of each layer, see `DeformableAttention`.
      feedforward: channels inside of each layer.
      rngs: random streams.

    Example:
      >>> sizes = {"layers": 1, "heads": 2, "points": 2, "feedforward": 8}
      >>> decoder = PixelDecoder((4, 6, 8, 10), channels=8, **sizes, rngs=nnx.Rngs(0))
      >>> features = [jnp.ones((1, 16 // 2**i, 8, c)) for i, c in enumerate((4, 6, 8, 10))]
      >>> pixels, levels = nnx.jit(PixelDecoder.__call__)(decoder, tuple(features))
      >>> pixels.shape, [level.shape for level in levels]
      ((1, 16, 8, 8), [(1, 2, 8, 8), (1, 4, 8, 8), (1, 8, 8, 8)])

    Reference:
      Cheng et al., "Masked-attention Mask Transformer for Universal Image Segmentation", CVPR 2022.
    """

    def __init__(
        self,
        in_channels: tuple[int, ...],
        *,
        channels: int,
        layers: int,
        heads: int,
        points: int,
        feedforward: int,
        rngs: nnx.Rngs,
    ):
        self.inputs = nnx.List(
            [ConvGroupNorm(c, channels, use_bias=True, rngs=rngs) for c in in_channels[:-4:-1]]
        )
        self.level_embedding = nnx.Param(_normal(rngs.params(), (LEVELS, channels), jnp.float32))
        self.layers = nnx.List(
            [
                DeformableLayer(
                    channels, heads=heads, points=points, feedforward=feedforward, rngs=rngs
                )
                for _ in range(layers)
            ]
        )
        finer = in_channels[:-LEVELS]
        self.laterals = nnx.List([ConvGroupNorm(c, channels, rngs=rngs) for c in finer])
        self.outputs = nnx.List([ConvGroupNorm(channels, channels, 3, rngs=rngs) for _ in finer])
        self.pixels = Conv(channels, channels, use_bias=True, kernel_init=_conv, rngs=rngs)

    def __call__(
        self, features: tuple[Float[Array, "b _ _ _"], ...]
    ) -> tuple[Float[Array, "b h w c"], tuple[Float[Array, "b _ _ c"], ...]]:
        """Returns vectors of all pixels of the finest map, and three maps, coarse to fine.

        Args:
          features: of the encoder, fine to coarse.
        """
        maps = [layer(f) for layer, f in zip(self.inputs, features[:-4:-1], strict=True)]
        sizes = tuple(ops.image_size(x) for x in maps)
        positions = jnp.concatenate(
            [
                sine_positions(*size, x.shape[-1]).reshape(-1, x.shape[-1]) + embedding
                for size, x, embedding in zip(sizes, maps, self.level_embedding[...], strict=True)
            ]
        ).astype(maps[0].dtype)
        batch, channels = maps[0].shape[0], maps[0].shape[-1]
        row = jnp.concatenate([x.reshape(batch, -1, channels) for x in maps], 1)
        for layer in self.layers:
            row = layer(row, positions, sizes)
        levels = _maps_of(row, sizes)
        y = levels[-1]
        for i in reversed(range(len(self.laterals))):
            lateral = self.laterals[i](features[i])
            y = lateral + ops.resize_bilinear(y, ops.image_size(lateral))
            y = jax.nn.relu(self.outputs[i](y))
        return self.pixels(y), tuple(levels)
