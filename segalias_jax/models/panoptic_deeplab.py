"""Panoptic-DeepLab on any encoder: classes of pixels, centers of objects, and offsets to them."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx

from segalias_jax import ops
from segalias_jax.errors import InputError
from segalias_jax.layers import AtrousPyramidPooling, Conv, ConvNormAct, SeparableConvNormAct
from segalias_jax.models.encoder import Encoder, read_features
from segalias_jax.typing import Array, Float

FUSED_STRIDES = (8, 4)
"""Pixels of the image per pixel of the maps that decoders add to what they pooled, in turn."""


class PanopticMaps(NamedTuple):
    """What the network says of every pixel of images.

    Attributes:
      semantic: [b, h, w, n + 1], logits of the classes, of which 0 is none.
      center: [b, h, w], heat, near 1 at centers of objects.
      offset: [b, h, w, 2], (rows, columns) to the center of the pixel's object.
    """

    semantic: Any
    center: Any
    offset: Any


class PanopticDecoder(nnx.Module):
    """Pools the coarsest features at several dilations, and refines them twice by finer ones.

    y <- sep5x5([up(y), conv1x1(f)]) for f of stride 8 and then of stride 4, from
    y = AtrousPyramidPooling(f_n); sep5x5 is a convolution of each channel and a 1x1 one.

    Args:
      in_channels: channels of the encoder's features, fine to coarse.
      fused: indices of the features that are added, coarse to fine.
      pooled_channels: channels of the pooling.
      channels: channels of the result.
      low_level_channels: channels of each of the added features.
      dilations: of the pooling, in pixels of the coarsest features.
      align_corners: of every resizing, see `ops.resize_bilinear`.
      rngs: random streams.

    Example:
      >>> decoder = PanopticDecoder(
      ...     (8, 16), fused=(1, 0), pooled_channels=8, channels=4, low_level_channels=(2, 2),
      ...     dilations=(1, 2), align_corners=False, rngs=nnx.Rngs(0)
      ... )
      >>> decoder((jnp.ones((1, 8, 8, 8)), jnp.ones((1, 4, 4, 16)))).shape
      (1, 8, 8, 4)
    """

    def __init__(
        self,
        in_channels: tuple[int, ...],
        *,
        fused: tuple[int, ...],
        pooled_channels: int,
        channels: int,
        low_level_channels: tuple[int, ...],
        dilations: tuple[int, ...],
        align_corners: bool,
        rngs: nnx.Rngs,
    ):
        self.fused, self.align_corners = fused, align_corners
        self.pyramid = AtrousPyramidPooling(
            in_channels[-1],
            pooled_channels,
            dilations=dilations,
            align_corners=align_corners,
            rngs=rngs,
        )
        self.low_levels, self.refine = nnx.List(), nnx.List()
        read = pooled_channels
        for index, low in zip(fused, low_level_channels, strict=True):
            self.low_levels.append(ConvNormAct(in_channels[index], low, rngs=rngs))
            self.refine.append(SeparableConvNormAct(read + low, channels, 5, rngs=rngs))
            read = channels

    def __call__(self, features: tuple[Float[Array, "b _ _ _"], ...]) -> Float[Array, "b h w c"]:
        """Returns one feature map at the size of the finest one that is added."""
        y = self.pyramid(features[-1])
        for index, low, refine in zip(self.fused, self.low_levels, self.refine, strict=True):
            fine = low(features[index])
            y = ops.resize_bilinear(y, ops.image_size(fine), align_corners=self.align_corners)
            y = refine(jnp.concatenate([y, fine], -1))
        return y


class PanopticHead(nnx.Module):
    """A separable 5x5 convolution, then a 1x1 one.

    Args:
      in_channels: channels read.
      channels: channels in between.
      out_channels: channels written.
      rngs: random streams.

    Example:
      >>> PanopticHead(8, 4, 2, rngs=nnx.Rngs(0))(jnp.ones((1, 5, 5, 8))).shape
      (1, 5, 5, 2)
    """

    def __init__(self, in_channels: int, channels: int, out_channels: int, *, rngs: nnx.Rngs):
        self.mix = SeparableConvNormAct(in_channels, channels, 5, rngs=rngs)
        # Small, as classifiers begin: the losses of centers and offsets have large weights.
        normal = jax.nn.initializers.normal(0.001)
        self.out = Conv(channels, out_channels, use_bias=True, kernel_init=normal, rngs=rngs)

    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b h w o"]:
        """Applies both."""
        return self.out(self.mix(x))


class PanopticDeepLab(nnx.Module):
    """Says of every pixel its class, whether it is the center of an object, and where that is.

    Two decoders of their own, one for classes and one of half the width for centers and offsets;
    `ops.find_centers`, `ops.group_pixels` and `ops.merge_segments` make objects of the maps.

    Args:
      encoder: an `Encoder` with features of strides 4 and 8.
      num_classes: classes of things and stuff, without background.
      channels: channels of the decoder of classes; added features have a quarter (stride 8) and an
        eighth of a decoder's.
      dilations: of the pooling, in pixels of the coarsest features.
      align_corners: of every resizing, see `ops.resize_bilinear`.
      rngs: random streams.

    Raises:
      InputError: an encoder without such features, or fewer than 16 channels.

    Example:
      >>> from segalias_jax.models import create_panoptic
      >>> config = {"name": "panoptic_deeplab", "encoder": "resnet18", "width": 8, "channels": 16}
      >>> model = nnx.eval_shape(lambda: create_panoptic(config, num_classes=3, rngs=nnx.Rngs(0)))
      >>> maps = nnx.eval_shape(lambda model: model(jnp.ones((1, 33, 64, 3))), model)
      >>> maps.semantic.shape, maps.center.shape, maps.offset.shape
      ((1, 33, 64, 4), (1, 33, 64), (1, 33, 64, 2))

    Reference:
      Cheng et al., "Panoptic-DeepLab: A Simple, Strong, and Fast Baseline for Bottom-Up Panoptic
      Segmentation", CVPR 2020. Its dilated convolutions are not separable.
    """

    def __init__(
        self,
        encoder: Encoder,
        *,
        num_classes: int,
        channels: int = 256,
        dilations: tuple[int, ...] = (1, 12, 24, 36),
        align_corners: bool = False,
        rngs: nnx.Rngs,
    ):
        if missing := [stride for stride in FUSED_STRIDES if stride not in encoder.strides]:
            raise InputError(
                f"the encoder's strides are {', '.join(map(str, encoder.strides))}, but "
                f"panoptic_deeplab reads stride {missing[0]}; choose another encoder"
            )
        if channels < 16:
            raise InputError(f"channels is {channels}; panoptic_deeplab needs 16 or more")
        self.encoder, self.align_corners = encoder, align_corners
        self.num_classes = num_classes

        def decoder(width: int) -> PanopticDecoder:
            return PanopticDecoder(
                encoder.channels,
                fused=tuple(encoder.strides.index(stride) for stride in FUSED_STRIDES),
                pooled_channels=channels,
                channels=width,
                low_level_channels=(width // 4, width // 8),
                dilations=dilations,
                align_corners=align_corners,
                rngs=rngs,
            )

        half = channels // 2
        self.semantic_decoder, self.instance_decoder = decoder(channels), decoder(half)
        self.semantic = PanopticHead(channels, channels, num_classes + 1, rngs=rngs)
        self.center = PanopticHead(half, half // 4, 1, rngs=rngs)
        self.offset = PanopticHead(half, half // 4, 2, rngs=rngs)

    def __call__(self, x: Float[Array, "b h w 3"]) -> PanopticMaps:
        """Returns float32 maps at the size of the normalized images `x`."""
        return self.maps(read_features(self.encoder, x), ops.image_size(x))

    def maps(
        self, features: tuple[Float[Array, "b _ _ _"], ...], size: tuple[Any, Any]
    ) -> PanopticMaps:
        """Returns the maps of images whose features are known.

        Args:
          features: of the encoder, fine to coarse.
          size: (height, width) of the images.
        """
        features = tuple(features)
        with jax.named_scope("semantic"):
            semantic = self._to_image(self.semantic(self.semantic_decoder(features)), size)
        with jax.named_scope("instances"):
            y = self.instance_decoder(features)
            center = self._to_image(self.center(y), size)[..., 0]
            # Heads tell distances in pixels of their own.
            offset = self._to_image(self.offset(y), size) * FUSED_STRIDES[-1]
        return PanopticMaps(semantic, center, offset)

    def _to_image(self, x: Array, size: tuple[Any, Any]) -> Array:
        x = x.astype(jnp.promote_types(x.dtype, jnp.float32))
        return ops.resize_bilinear(x, size, align_corners=self.align_corners)
