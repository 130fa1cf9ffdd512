"""The OCR decoder: every pixel looks at what the regions of the classes look like.

A classifier of its own says where the regions are, and learns as the auxiliary head of other models
does: `OCR.with_auxiliary` returns its logits beside the map.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from flax import nnx

from segalias_jax import ops
from segalias_jax.layers import Conv, ConvNormAct
from segalias_jax.typing import Array, Float


def gather_regions(
    features: Float[Array, "b h w c"], logits: Float[Array, "b h w k"]
) -> Float[Array, "b 1 k c"]:
    """Averages features over soft regions.

    r_k = sum_p m_kp f_p,  m_k = softmax over all pixels p of the logits of class k

    Args:
      features: a feature map.
      logits: for each class; of the same size.

    Returns:
      Features of each region, as the pixels of a map of one row.

    Example:
      >>> gather_regions(jnp.arange(4.0).reshape(1, 2, 2, 1), jnp.zeros((1, 2, 2, 3))).ravel()
      Array([1.5, 1.5, 1.5], dtype=float32)
    """
    wide = logits.astype(jnp.promote_types(logits.dtype, jnp.float32))
    masks = jax.nn.softmax(wide, axis=(1, 2)).astype(features.dtype)
    return jnp.einsum("bhwk,bhwc->bkc", masks, features)[:, None]


class ObjectAttention(nnx.Module):
    """Attention from pixels to regions, and what it found joined to what was there.

    y = mix([out(softmax(q k^T / sqrt(d)) v), x]),  q = query(x), k = key(r), v = value(r)

    Each is one 1x1 convolution with norm and ReLU; query and key are two.

    Args:
      channels: of pixels and regions, preserved.
      inner: channels d of queries, keys and values.
      rngs: random streams.

    Example:
      >>> attention = ObjectAttention(4, inner=2, rngs=nnx.Rngs(0))
      >>> attention(jnp.ones((1, 3, 5, 4)), jnp.ones((1, 1, 7, 4))).shape
      (1, 3, 5, 4)
    """

    def __init__(self, channels: int, *, inner: int, rngs: nnx.Rngs):
        self.query, self.key = (
            nnx.List([ConvNormAct(c, inner, rngs=rngs) for c in (channels, inner)])
            for _ in range(2)
        )
        self.value = ConvNormAct(channels, inner, rngs=rngs)
        self.out = ConvNormAct(inner, channels, rngs=rngs)
        self.mix = ConvNormAct(2 * channels, channels, rngs=rngs)

    def __call__(
        self, x: Float[Array, "b h w c"], regions: Float[Array, "b 1 k c"]
    ) -> Float[Array, "b h w c"]:
        """Applies it, in the type of `x`."""
        query, key = x, regions
        for of_pixels, of_regions in zip(self.query, self.key, strict=True):
            query, key = of_pixels(query), of_regions(key)
        logits = jnp.einsum("bhwd,bkd->bhwk", query, key[:, 0]) * query.shape[-1] ** -0.5
        wide = logits.astype(jnp.promote_types(x.dtype, jnp.float32))
        weights = jax.nn.softmax(wide, axis=-1).astype(x.dtype)
        found = jnp.einsum("bhwk,bkd->bhwd", weights, self.value(regions)[:, 0])
        return self.mix(jnp.concatenate([self.out(found), x], -1))


class OCR(nnx.Module):
    """Object-contextual representations, on all features of an encoder such as HRNet.

    f = [f_1, up(f_2), ..., up(f_n)];  regions: classifier(conv1x1(f));
    y = attention(conv3x3(f), regions gathered from it)

    Args:
      in_channels: channels of the encoder's features, fine to coarse.
      channels: channels of the result; the attention has half as many inside.
      num_classes: number of regions.
      align_corners: of every resizing, see `ops.resize_bilinear`.
      rngs: random streams.

    Example:
      >>> decoder = OCR((8, 16), channels=4, num_classes=5, rngs=nnx.Rngs(0))
      >>> features = jnp.ones((1, 8, 8, 8)), jnp.ones((1, 4, 4, 16))
      >>> y, (logits,) = decoder.with_auxiliary(features)
      >>> y.shape, logits.shape
      ((1, 8, 8, 4), (1, 8, 8, 5))

    Reference:
      Yuan et al., "Object-Contextual Representations for Semantic Segmentation", ECCV 2020.
    """

    def __init__(
        self,
        in_channels: tuple[int, ...],
        *,
        channels: int = 512,
        num_classes: int,
        align_corners: bool = False,
        rngs: nnx.Rngs,
    ):
        total = sum(in_channels)
        self.channels, self.align_corners = channels, align_corners
        self.region_mix = ConvNormAct(total, total, rngs=rngs)
        normal = jax.nn.initializers.normal(0.01)
        # Of regions; the classifier of the result is the segmenter's.
        self.classifier = Conv(total, num_classes, use_bias=True, kernel_init=normal, rngs=rngs)
        self.bottleneck = ConvNormAct(total, channels, 3, rngs=rngs)
        self.attention = ObjectAttention(channels, inner=max(channels // 2, 1), rngs=rngs)

    def __call__(self, features: tuple[Float[Array, "b _ _ _"], ...]) -> Float[Array, "b h w c"]:
        """Returns one feature map at the size of `features[0]`."""
        return self.with_auxiliary(features)[0]

    def with_auxiliary(
        self, features: tuple[Float[Array, "b _ _ _"], ...]
    ) -> tuple[Float[Array, "b h w c"], tuple[Float[Array, "b h w n"], ...]]:
        """Returns the feature map, and the logits of the regions, of the same size."""
        with jax.named_scope("ocr"):
            logits = self.classifier(self._joined(self.region_mix, features))
            x = self._joined(self.bottleneck, features)
            return self.attention(x, gather_regions(x, logits)), (logits,)

    def _joined(self, layer: ConvNormAct, features: tuple[Array, ...]) -> Array:
        """Applies a layer to all features, joined at the size of the finest."""
        y = ops.joined_conv2d(
            features,
            layer.conv.kernel[...],
            ops.image_size(features[0]),
            align_corners=self.align_corners,
        )
        return jax.nn.relu(layer.norm(y))
