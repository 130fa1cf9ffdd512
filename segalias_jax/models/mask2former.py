"""Mask2Former on any encoder: segments of semantic, instance or panoptic classes, as a set."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx

from segalias_jax.errors import InputError
from segalias_jax.models.encoder import Encoder, read_features
from segalias_jax.models.mask2former_pixels import LEVELS, PixelDecoder
from segalias_jax.models.mask2former_queries import QueryDecoder, Segments
from segalias_jax.typing import Array, Float

FINEST_STRIDE = 4
"""Features of an encoder that are finer are not read."""


class QueriedSegments(NamedTuple):
    """What the queries of a Mask2Former tell of images, as float32 arrays.

    Attributes:
      class_logits: [b, q, n + 1], of the classes, of which the last is "no object".
      mask_logits: [b, q, h / 4, w / 4], of the pixels of the encoder's finest features.
      auxiliary: the same pairs before the first decoder layer and after all but the last.
    """

    class_logits: Any
    mask_logits: Any
    auxiliary: tuple[Segments, ...]


class Mask2Former(nnx.Module):
    """Tells a set of segments of an image, each with a class and a mask.

    What the classes are is a matter of the truths that it is trained with: stuff, objects or both.
    Filters stand in the encoder alone, see `models.encoder`: the decoders stride nowhere, but they
    resize masks to coarser maps bilinearly, as published, which no filter precedes.

    Args:
      encoder: an `Encoder` with three features of stride 4 or more at least. The three coarsest are
        refined by attention, finer ones of stride 4 or more join a pyramid.
      num_classes: classes, without "no object".
      channels: of all maps and queries inside; 32 or a multiple, or fewer.
      queries: segments of an image at most.
      pixel_layers: layers of deformable attention.
      decoder_layers: layers that queries go through.
      pixel_feedforward: channels inside of the former layers' networks.
      feedforward: channels inside of the latter layers' networks.
      heads: of all attentions.
      points: that each head of deformable attention reads in each map.
      rngs: random streams.

    Raises:
      InputError: an encoder without such features, or channels that heads or norms cannot share.

    Example:
      >>> from segalias_jax.models import create_universal
      >>> config = {"name": "mask2former", "encoder": "resnet18", "width": 8, "channels": 16,
      ...           "queries": 10, "decoder_layers": 3, "feedforward": 16, "pixel_layers": 1,
      ...           "pixel_feedforward": 16}
      >>> make = lambda: create_universal(config, num_classes=3, rngs=nnx.Rngs(0))
      >>> told = nnx.eval_shape(lambda: make()(jnp.ones((1, 33, 64, 3))))
      >>> told.class_logits.shape, told.mask_logits.shape, len(told.auxiliary)
      ((1, 10, 4), (1, 10, 9, 16), 3)

    Reference:
      Cheng et al., "Masked-attention Mask Transformer for Universal Image Segmentation", CVPR 2022.
    """

    def __init__(
        self,
        encoder: Encoder,
        *,
        num_classes: int,
        channels: int = 256,
        queries: int = 100,
        pixel_layers: int = 6,
        decoder_layers: int = 9,
        pixel_feedforward: int = 1024,
        feedforward: int = 2048,
        heads: int = 8,
        points: int = 4,
        rngs: nnx.Rngs,
    ):
        strides = encoder.strides
        first = sum(stride < FINEST_STRIDE for stride in strides)
        if len(strides) - first < LEVELS:
            raise InputError(
                f"the encoder's strides are {', '.join(map(str, strides))}, but mask2former reads "
                f"{LEVELS} of {FINEST_STRIDE} or more; choose another encoder"
            )
        if channels % heads or channels % 2 or (channels > 32 and channels % 32):
            raise InputError(
                f"channels is {channels}; mask2former needs a multiple of its {heads} heads, even, "
                "and one of 32 where it is more than that"
            )
        self.encoder, self.num_classes = encoder, num_classes
        self.pixel_decoder = PixelDecoder(
            encoder.channels[first:],
            channels=channels,
            layers=pixel_layers,
            heads=heads,
            points=points,
            feedforward=pixel_feedforward,
            rngs=rngs,
        )
        self.query_decoder = QueryDecoder(
            channels,
            num_classes=num_classes,
            queries=queries,
            layers=decoder_layers,
            heads=heads,
            feedforward=feedforward,
            rngs=rngs,
        )

    def __call__(self, x: Float[Array, "b h w 3"]) -> QueriedSegments:
        """Returns what the queries tell of the normalized images `x`."""
        return self.segments(read_features(self.encoder, x))

    def segments(self, features: tuple[Float[Array, "b _ _ _"], ...]) -> QueriedSegments:
        """Returns what the queries tell of images whose features are known.

        Args:
          features: of the encoder, fine to coarse.
        """
        read = sum(stride >= FINEST_STRIDE for stride in self.encoder.strides)
        with jax.named_scope("pixel_decoder"):
            pixels, levels = self.pixel_decoder(tuple(features)[-read:])
        with jax.named_scope("query_decoder"):
            told = self.query_decoder(pixels, levels)
        wide = jnp.promote_types(pixels.dtype, jnp.float32)
        *auxiliary, last = [Segments(*(y.astype(wide) for y in pair)) for pair in told]
        return QueriedSegments(*last, tuple(auxiliary))
