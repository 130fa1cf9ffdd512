"""A network of queries that is compiled and learns in seconds, in place of Mask2Former."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from drawn_objects import Encoder
from flax import nnx

from segalias_jax import ops
from segalias_jax.models import Mask2Former
from segalias_jax.models.queries import class_scores


class Told(NamedTuple):
    """What `models.Mask2Former.segments` returns."""

    class_logits: Any
    mask_logits: Any
    auxiliary: Any


class Decoder(nnx.Module):
    """Tells class and mask of a query; its classes have the name that Mask2Former's have."""

    def __init__(self, channels, num_classes, rngs):
        self.classes = nnx.Linear(channels, num_classes + 1, rngs=rngs)
        self.masks = nnx.Linear(channels, channels, rngs=rngs)

    def __call__(self, query, pixels):
        masks = jnp.einsum("bqc,bhwc->bqhw", self.masks(query), pixels)
        return self.classes(query), masks


class Queries(Mask2Former):
    """Queries that look at all pixels once; what they tell after it, and with `both` before it."""

    def __init__(self, *, num_classes=2, queries=6, channels=16, both=False, rngs):
        self.both = both
        self.encoder = Encoder(True, rngs)
        self.pixels = nnx.Linear(8, channels, rngs=rngs)
        self.first = nnx.Param(jax.random.normal(rngs.params(), (queries, channels)))
        self.value = nnx.Linear(channels, channels, rngs=rngs)
        self.query_decoder = Decoder(channels, num_classes, rngs)

    def __call__(self, x):
        """Logits of classes of pixels, as `models.queries.QuerySegmenter` has them."""
        told = self.segments(self.encoder(x))
        scores = class_scores(told.class_logits, told.mask_logits, ops.image_size(x))
        return jnp.log(scores + 1e-9)

    def segments(self, features):
        pixels = self.pixels(features[0])
        flat = pixels.reshape(len(pixels), -1, pixels.shape[-1])
        query = jnp.broadcast_to(self.first[...], (len(flat), *self.first.shape))
        seen = jax.nn.softmax(query @ flat.mT) @ self.value(flat)
        others = [self.query_decoder(query, pixels)] if self.both else []
        return Told(*self.query_decoder(query + seen, pixels), others)
