"""The transformer decoder of Mask2Former: queries that read only where their own mask is."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx

from segalias_jax import ops
from segalias_jax.layers import LayerNorm, Linear
from segalias_jax.models.mask2former_pixels import LEVELS, sine_positions
from segalias_jax.typing import Array, Bool, Float

_EPSILON = 1e-5
_normal = jax.nn.initializers.normal(1.0)


class Segments(NamedTuple):
    """What queries tell, each of one segment at most.

    Attributes:
      class_logits: [b, q, n + 1], of the classes, of which the last is "no object".
      mask_logits: [b, q, h, w], of the pixels of the finest features to belong to the segment.
    """

    class_logits: Any
    mask_logits: Any


class Attention(nnx.Module):
    """Attention of some vectors to others, by several heads, and a projection.

    y = project(softmax(q k^T / sqrt(d)) v),  q = query(x + a), k = key(z + b), v = value(z)

    Args:
      channels: number of channels, preserved.
      heads: number of heads, of d = channels / heads channels each.
      rngs: random streams.

    Example:
      >>> attention = Attention(8, heads=2, rngs=nnx.Rngs(0))
      >>> attention(jnp.ones((1, 3, 8)), jnp.ones((1, 5, 8)), 0.0, 0.0).shape
      (1, 3, 8)
    """

    def __init__(self, channels: int, *, heads: int, rngs: nnx.Rngs):
        self.heads = heads
        self.query, self.key = (Linear(channels, channels, rngs=rngs) for _ in range(2))
        self.value, self.project = (Linear(channels, channels, rngs=rngs) for _ in range(2))

    def __call__(
        self,
        x: Float[Array, "b n c"],
        z: Float[Array, "b k c"],
        of_x: Any,
        of_z: Any,
        allowed: Bool[Array, "b n k"] | None = None,
    ) -> Float[Array, "b n c"]:
        """Applies it, in the type of `x`.

        Args:
          x: those that ask.
          z: those that are read.
          of_x: positions a, added to `x`.
          of_z: positions b, added to `z` in keys, not in values.
          allowed: which of z each of x may read, one of them at least; None for all.
        """
        query, key, value = (
            y.reshape(*y.shape[:2], self.heads, -1)
            for y in (self.query(x + of_x), self.key(z + of_z), self.value(z))
        )
        query = query * query.shape[-1] ** -0.5
        logits = jnp.einsum("bqhd,bkhd->bhqk", query, key)
        logits = logits.astype(jnp.promote_types(x.dtype, jnp.float32))
        if allowed is not None:
            logits = jnp.where(allowed[:, None], logits, -jnp.inf)
        weights = jax.nn.softmax(logits, axis=-1).astype(x.dtype)
        return self.project(jnp.einsum("bhqk,bkhd->bqhd", weights, value).reshape(x.shape))


class QueryLayer(nnx.Module):
    """Masked attention to pixels, attention of queries to each other, and a small network.

    x = norm1(x + cross(x, z));  y = norm2(x + own(x, x));  norm3(y + reduce(relu(expand(y))))

    Args:
      channels: number of channels, preserved.
      heads: of both attentions.
      feedforward: channels inside of the network.
      rngs: random streams.
    """

    def __init__(self, channels: int, *, heads: int, feedforward: int, rngs: nnx.Rngs):
        self.cross = Attention(channels, heads=heads, rngs=rngs)
        self.norm1 = LayerNorm(channels, epsilon=_EPSILON)
        self.own = Attention(channels, heads=heads, rngs=rngs)
        self.norm2 = LayerNorm(channels, epsilon=_EPSILON)
        self.expand = Linear(channels, feedforward, rngs=rngs)
        self.reduce = Linear(feedforward, channels, rngs=rngs)
        self.norm3 = LayerNorm(channels, epsilon=_EPSILON)

    def __call__(
        self,
        x: Float[Array, "b q c"],
        pixels: Float[Array, "b k c"],
        of_queries: Float[Array, "q c"],
        of_pixels: Float[Array, "k c"],
        allowed: Bool[Array, "b q k"],
    ) -> Float[Array, "b q c"]:
        """Applies the layer.

        Args:
          x: queries.
          pixels: of one map.
          of_queries: positions of the queries.
          of_pixels: positions of the pixels.
          allowed: pixels that each query reads.
        """
        x = self.norm1(x + self.cross(x, pixels, of_queries, of_pixels, allowed))
        x = self.norm2(x + self.own(x, x, of_queries, of_queries))
        return self.norm3(x + self.reduce(jax.nn.relu(self.expand(x))))


class QueryDecoder(nnx.Module):
    """Queries that read three maps in turn, each where it saw its segment before.

    Before the first layer and after each, all queries tell their segments: a class, and the mask
    whose logits are products of an embedding of theirs with those of the pixels. The next layer
    lets a query read the pixels of the next map inside of its mask, and all where that is empty.

    Args:
      channels: of queries and pixels.
      num_classes: classes, without "no object".
      queries: their number, and that of segments at most.
      layers: of the decoder.
      heads: of its attentions.
      feedforward: channels inside of its layers.
      rngs: random streams.

    Example:
      >>> decoder = QueryDecoder(
      ...     8, num_classes=3, queries=5, layers=2, heads=2, feedforward=8, rngs=nnx.Rngs(0)
      ... )
      >>> levels = tuple(jnp.ones((1, n, n, 8)) for n in (2, 4, 8))
      >>> told = decoder(jnp.ones((1, 16, 16, 8)), levels)
      >>> len(told), told[-1].class_logits.shape, told[-1].mask_logits.shape
      (3, (1, 5, 4), (1, 5, 16, 16))

    Reference:
      Cheng et al., "Masked-attention Mask Transformer for Universal Image Segmentation", CVPR 2022.
    """

    def __init__(
        self,
        channels: int,
        *,
        num_classes: int,
        queries: int,
        layers: int,
        heads: int,
        feedforward: int,
        rngs: nnx.Rngs,
    ):
        def embedding(count: int) -> nnx.Param:
            return nnx.Param(_normal(rngs.params(), (count, channels), jnp.float32))

        self.query_features, self.query_positions = embedding(queries), embedding(queries)
        self.level_embedding = embedding(LEVELS)
        self.layers = nnx.List(
            [
                QueryLayer(channels, heads=heads, feedforward=feedforward, rngs=rngs)
                for _ in range(layers)
            ]
        )
        self.norm = LayerNorm(channels, epsilon=_EPSILON)
        self.classes = Linear(channels, num_classes + 1, rngs=rngs)
        self.masks = nnx.List([Linear(channels, channels, rngs=rngs) for _ in range(3)])

    def __call__(
        self, pixels: Float[Array, "b h w c"], levels: tuple[Float[Array, "b _ _ c"], ...]
    ) -> tuple[Segments, ...]:
        """Returns what queries tell before the first layer and after each, in the type of `pixels`.

        Args:
          pixels: embeddings of the pixels of the finest map.
          levels: three maps, coarse to fine.
        """
        batch, channels = pixels.shape[0], pixels.shape[-1]
        sizes = [ops.image_size(level) for level in levels]
        positions = [sine_positions(*size, channels).astype(pixels.dtype) for size in sizes]
        positions = [p.reshape(-1, channels) for p in positions]
        rows = [
            (level + embedding.astype(level.dtype)).reshape(batch, -1, channels)
            for level, embedding in zip(levels, self.level_embedding[...], strict=True)
        ]
        of_queries = self.query_positions[...].astype(pixels.dtype)
        x = self.query_features[...].astype(pixels.dtype)
        x = jnp.broadcast_to(x, (batch, *x.shape))
        told = [self.tell(x, pixels)]
        for i, layer in enumerate(self.layers):
            at = i % LEVELS
            allowed = readable(told[-1].mask_logits, sizes[at])
            x = layer(x, rows[at], of_queries, positions[at], allowed)
            told.append(self.tell(x, pixels))
        return tuple(told)

    def tell(self, x: Float[Array, "b q c"], pixels: Float[Array, "b h w c"]) -> Segments:
        """Returns the segments of queries.

        Args:
          x: queries.
          pixels: embeddings of the pixels.
        """
        y = x = self.norm(x)
        for i, layer in enumerate(self.masks):
            y = layer(y if i == 0 else jax.nn.relu(y))
        return Segments(self.classes(x), jnp.einsum("bqc,bhwc->bqhw", y, pixels))


def readable(mask_logits: Float[Array, "b q h w"], size: tuple[Any, Any]) -> Bool[Array, "b q k"]:
    """Returns which pixels of a map queries read: those of their masks, or all of an empty one.

    Args:
      mask_logits: of the pixels of the finest features.
      size: height and width of the map, to which logits are resized bilinearly. No gradient goes
        through it.

    Returns:
      One row of pixels for each query.

    Example:
      >>> logits = jnp.asarray([[[[1.0, -1.0]], [[-1.0, -1.0]]]])
      >>> readable(logits, (1, 2)).tolist()
      [[[True, False], [True, True]]]
    """
    maps = jax.lax.stop_gradient(mask_logits).transpose(0, 2, 3, 1)
    inside = jax.nn.sigmoid(ops.resize_bilinear(maps, size)) >= 0.5
    inside = inside.transpose(0, 3, 1, 2).reshape(*mask_logits.shape[:2], -1)
    return inside | ~inside.any(-1, keepdims=True)
