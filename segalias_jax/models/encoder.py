"""What all else relies on of an encoder: the contract that every entry of `ENCODERS` keeps.

Adding an encoder is its file, its line in `models.ENCODERS`, and, where PyTorch weights exist, its
key table. `tests/models/test_encoder.py` holds this contract over all entries, and over an encoder
that it registers itself; stages count from 1.

- **Construction** (`create_model`): the name in the table comes first; all else is keyword-only,
  with the names and meanings that `ModelConfig` has, and `rngs`. An encoder is given the keys of a
  recipe that its signature names, and a recipe that sets another key is refused. What is `None` in
  a recipe is left to the encoder's own default.
- **Features** (decoders, `Segmenter`): calling it with an image returns one map for each entry of
  `channels` and `strides`, fine to coarse, each the output of a stage, or, in a network of parallel
  branches, that of the last stage in the branch that a stage opened, in the type of the image.
  Strides of neighbors may be equal. An image side that a stride does not divide is rounded up or
  down, by less than one pixel.
- **Scopes** (`models.cost`, the aliasing study): all operations of stage k, and what belongs in
  front of it, run in `jax.named_scope(f"stage{k}")`. All other operations of the encoder count as
  its stem, where everything stands that strides in front of stage 1.
- **Filters** (`stages.recording_filters`): every stage but the first passes what enters it through
  `stages.apply_filter`, once, in the order of the stages, without a filter too (None), and not
  inside of what `nnx.remat` recomputes: item i of the record belongs to stage i + 2. What stage k
  hands to the filter of stage k + 1 has the stride of stage k. Filters within the stem, such as one
  on the image ahead of a patch embedding, are none of these: they stand in no record.
- **Names of parts** (`stages.frozen_parameters`, `torch_weights.parts`): a stem is `stem`; blocks
  are `stages[k - 1]`; what goes in front of stage k + 1 is item k - 1 of `filters` or of
  `downsample_norms` and `downsamples`; norms on the features handed out are `output_norms`; a
  block's mixer is `mixer`.
- **Frozen stages**: an encoder that takes `frozen_stages` keeps it as an attribute, calls
  `stages.freeze_norms` at the end of its constructor and `stages.stop_at` after each stage. Then
  no gradient enters the stem and the stages 1 to `frozen_stages`, and `stages.frozen_parameters`
  lists their parameters. One that does not take it freezes nothing.
- **Recomputation**: an encoder that takes `remat` runs the blocks of those stages by
  `stages.run_block`. Results, gradients and statistics are the same.
- **Weight names** (`torch_weights.names.ENCODERS`): by the class itself, not by its bases, a
  function that returns the key table. Each parameter and statistic has one name, and no two have
  the same. Weights of an encoder without a key table are refused, both ways.
"""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from segalias_jax.errors import InputError
from segalias_jax.typing import Array, Float


@runtime_checkable
class Encoder(Protocol):
    """An image network that returns feature maps of several resolutions.

    It is an `nnx.Module`; the head of this module says what else is relied on.

    Attributes:
      channels: channels of each feature map, fine to coarse.
      strides: pixels of the image per pixel of each feature map, fine to coarse.

    Example:
      >>> from flax import nnx
      >>> from segalias_jax.models import ResNet
      >>> isinstance(nnx.eval_shape(lambda: ResNet("resnet18", width=8, rngs=nnx.Rngs(0))), Encoder)
      True
    """

    channels: tuple[int, ...]
    strides: tuple[int, ...]

    def __call__(self, x: Float[Array, "b h w 3"]) -> tuple[Float[Array, "b _ _ _"], ...]:
        """Returns the feature maps, fine to coarse."""
        ...


def read_features(
    encoder: Encoder, x: Float[Array, "b h w 3"]
) -> tuple[Float[Array, "b _ _ _"], ...]:
    """Calls an encoder and checks its maps, before a decoder fails on them far from the cause.

    Args:
      encoder: the encoder, which may be a user's own.
      x: the image.

    Returns:
      The feature maps, fine to coarse.

    Raises:
      InputError: other maps than its `channels` promise.

    Example:
      >>> import jax.numpy as jnp
      >>> class Halved:
      ...     channels, strides = (3, 6), (1, 2)
      ...     def __call__(self, x):
      ...         return x, x[:, ::2, ::2]
      >>> read_features(Halved(), jnp.ones((1, 8, 8, 3)))
      Traceback (most recent call last):
      segalias_jax.errors.InputError: encoder Halved returns maps of (3, 3) channels, but its \
channels are (3, 6); one map [b, h, w, channels] for each is needed, fine to coarse
    """
    features = encoder(x)
    if isinstance(features, tuple | list):
        channels = tuple(feature.shape[-1] for feature in features)
        found = f"maps of {channels} channels"
    else:
        channels, found = None, "what is no tuple of maps"
    if channels != tuple(encoder.channels):
        raise InputError(
            f"encoder {type(encoder).__name__} returns {found}, but its channels are "
            f"{tuple(encoder.channels)}; one map [b, h, w, channels] for each is needed, fine to "
            "coarse"
        )
    return tuple(features)
