"""Encoder, decoder and classifiers put together.

Classifiers begin with normal weights of deviation 0.01, as in mmsegmentation; see `layers.conv` for
all other convolutions.
"""

from __future__ import annotations

from typing import Protocol, runtime_checkable

import jax
import jax.numpy as jnp
from flax import nnx

from segalias_jax import ops
from segalias_jax.errors import InputError
from segalias_jax.layers import Conv, ConvNormAct
from segalias_jax.models.encoder import Encoder, read_features
from segalias_jax.typing import Array, Float


@runtime_checkable
class Decoder(Protocol):
    """Maps an encoder's features to one feature map; an `nnx.Module`.

    One that tells classes on its way has a method `with_auxiliary`, too, which returns the map and
    a tuple of their logits; these are trained as those of the auxiliary head are.

    Attributes:
      channels: of the result.

    Example:
      >>> from segalias_jax.models import FCN
      >>> isinstance(nnx.eval_shape(lambda: FCN((8, 16), channels=4, rngs=nnx.Rngs(0))), Decoder)
      True
    """

    channels: int

    def __call__(self, features: tuple[Float[Array, "b _ _ _"], ...]) -> Float[Array, "b h w c"]:
        """Returns one feature map."""
        ...


class Classifier(nnx.Module):
    """Dropout of whole channels, then one logit per class and pixel.

    Args:
      channels: channels read.
      num_classes: logits written.
      dropout: fraction of channels dropped in training.
      rngs: random streams "params" and "dropout".
    """

    def __init__(self, channels: int, num_classes: int, *, dropout: float, rngs: nnx.Rngs):
        self.dropout = nnx.Dropout(dropout, broadcast_dims=(1, 2), rngs=rngs)
        normal = jax.nn.initializers.normal(0.01)
        self.conv = Conv(channels, num_classes, use_bias=True, kernel_init=normal, rngs=rngs)

    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b h w n"]:
        """Returns logits."""
        return self.conv(self.dropout(x))


class FCNHead(nnx.Module):
    """A 3x3 convolution and a classifier on one feature map.

    Args:
      in_channels: channels read.
      channels: channels in between.
      num_classes: logits written.
      dropout: fraction of channels dropped in training.
      rngs: random streams "params" and "dropout".

    Reference:
      Long et al., "Fully Convolutional Networks for Semantic Segmentation", CVPR 2015.
    """

    def __init__(
        self, in_channels: int, channels: int, num_classes: int, *, dropout: float, rngs: nnx.Rngs
    ):
        self.mix = ConvNormAct(in_channels, channels, 3, rngs=rngs)
        self.classifier = Classifier(channels, num_classes, dropout=dropout, rngs=rngs)

    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b h w n"]:
        """Returns logits at the size of `x`."""
        return self.classifier(self.mix(x))


class Segmenter(nnx.Module):
    """Dense prediction: encoder, decoder, classifier, and an auxiliary head for training.

    Args:
      encoder: an `Encoder`.
      decoder: a `Decoder`.
      num_classes: number of classes.
      auxiliary_channels: width of the FCN head on one of the encoder's feature maps; None for no
        such head.
      auxiliary_stage: that feature map, counted from 1, fine to coarse.
      dropout: fraction of channels dropped before the classifiers in training.
      align_corners: of resizing logits to the image, see `ops.resize_bilinear`.
      rngs: random streams "params" and "dropout".

    Raises:
      InputError: the encoder has no such stage, or `dropout` outside [0, 1).
    """

    def __init__(
        self,
        encoder: Encoder,
        decoder: Decoder,
        *,
        num_classes: int,
        auxiliary_channels: int | None,
        auxiliary_stage: int = 3,
        dropout: float,
        align_corners: bool,
        rngs: nnx.Rngs,
    ):
        if not 0 <= dropout < 1:
            raise InputError(f"dropout is {dropout}, but must lie in [0, 1)")
        self.encoder, self.decoder = encoder, decoder
        self.align_corners = align_corners
        self.classifier = Classifier(decoder.channels, num_classes, dropout=dropout, rngs=rngs)
        self.auxiliary_stage = auxiliary_stage
        auxiliary = None
        if auxiliary_channels is not None:
            most = len(encoder.channels)
            if not 1 <= auxiliary_stage <= most:
                raise InputError(f"auxiliary_stage is {auxiliary_stage}; choose 1 to {most}")
            read = encoder.channels[auxiliary_stage - 1]
            auxiliary = FCNHead(read, auxiliary_channels, num_classes, dropout=dropout, rngs=rngs)
        self.auxiliary = auxiliary

    def __call__(self, x: Float[Array, "b h w 3"]) -> Float[Array, "b h w n"]:
        """Returns float32 logits at the size of the normalized image `x`."""
        logits = self.classifier(self.decoder(read_features(self.encoder, x)))
        return self._to_image(logits, x)

    def with_auxiliary(
        self, x: Float[Array, "b h w 3"]
    ) -> tuple[Float[Array, "b h w n"], tuple[Float[Array, "b h w n"], ...]]:
        """Returns the logits, and a tuple of those that the decoder and the auxiliary head add."""
        features = read_features(self.encoder, x)
        of_decoder = getattr(self.decoder, "with_auxiliary", None)
        y, auxiliary = of_decoder(features) if of_decoder else (self.decoder(features), ())
        if self.auxiliary is not None:
            auxiliary = (*auxiliary, self.auxiliary(features[self.auxiliary_stage - 1]))
        logits = self._to_image(self.classifier(y), x)
        return logits, tuple(self._to_image(scores, x) for scores in auxiliary)

    def _to_image(self, logits: Array, x: Array) -> Array:
        logits = logits.astype(jnp.promote_types(logits.dtype, jnp.float32))
        return ops.resize_bilinear(logits, ops.image_size(x), align_corners=self.align_corners)
