"""What a decoder may expect of an encoder."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from segalias_jax.typing import Array, Float


@runtime_checkable
class Encoder(Protocol):
    """An image network that returns feature maps of several resolutions.

    Attributes:
      channels: channels of each feature map, fine to coarse.
      strides: pixels of the image per pixel of each feature map, fine to coarse.
    """

    channels: tuple[int, ...]
    strides: tuple[int, ...]

    def __call__(self, x: Float[Array, "b h w 3"]) -> tuple[Float[Array, "b _ _ _"], ...]:
        """Returns the feature maps, fine to coarse."""
        ...
