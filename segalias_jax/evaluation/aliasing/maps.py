"""What the aliasing pictures of an image show: feature maps around filters, and FreqMix's gates.

Channels are summed up on the device, so that a few numbers for each pixel leave it, whatever the
width of the network.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Float

from segalias_jax import ops
from segalias_jax.evaluation.aliasing.analysis import AliasingAnalysis, Operator
from segalias_jax.layers.freqmix import FreqMix, Gates
from segalias_jax.metrics import ERROR_KINDS
from segalias_jax.scoring.reports.overlays import Sample
from segalias_jax.tracing.profiling import power_spectrum
from segalias_jax.typing import Array

_BINS = 128
"""Most frequencies along an axis of a spectrum that is drawn."""

Block = tuple[int, int]
"""Numbers of a stage and of a block in it, from 1 on."""


class StageMaps(NamedTuple):
    """Feature maps around the filter of an operator; root mean squares over channels.

    Attributes:
      before: what enters the filter, `[b, h, w]`.
      after: what leaves it; of another size where the filter samples itself.
      removed: what the filter takes off. Where there is none, or one that samples itself, the part
        of `before` above the operator's Nyquist frequency.
      spectra: power of each frequency before and after, zero frequency in the middle; on the
        frequencies of its own grid each.
      scores: aliasing scores before and after, in per cent, `[b, 2]`.

    Example:
      >>> StageMaps._fields
      ('before', 'after', 'removed', 'spectra', 'scores')
    """

    before: Array | np.ndarray
    after: Array | np.ndarray
    removed: Array | np.ndarray
    spectra: tuple[Array | np.ndarray, Array | np.ndarray]
    scores: Array | np.ndarray


def stage_maps(
    before: Float[Array, "b h w c"], after: Float[Array, "b h2 w2 c"], operator: Operator
) -> StageMaps:
    """Measures what pictures show of an operator.

    Args:
      before: what enters its filter.
      after: what leaves it; `before` itself where there is none.
      operator: its Nyquist frequency and its filter.

    Returns:
      The maps.

    Example:
      >>> stage = Operator("stage 2", 0.7071, 0.3536, "none")
      >>> stage_maps(jnp.ones((1, 8, 8, 2)), jnp.ones((1, 8, 8, 2)), stage).before.shape
      (1, 8, 8)
    """
    before, after = (x.astype(jnp.promote_types(x.dtype, jnp.float32)) for x in (before, after))
    cutoff, samples = operator.nyquist_frequency, before.shape != after.shape
    if operator.filter == "none" or samples:
        removed = ops.split_bands(before, cutoff)[1]
    else:
        removed = before - after
    entering, leaving = (ops.aliasing_score(x, cutoff) for x in (before, after))
    return StageMaps(
        *(jnp.sqrt(jnp.mean(jnp.square(x), -1)) for x in (before, after, removed)),
        spectra=(_spectra(before), _spectra(after)),
        # What has been sampled has nothing left that this operator would fold.
        scores=jnp.stack([entering, 0 * leaving if samples else leaving], -1),
    )


def _spectra(x: Float[Array, "b h w c"]) -> Float[Array, "b m n"]:
    bins = min(x.shape[1], _BINS), min(x.shape[2], _BINS)
    return jax.vmap(lambda one: power_spectrum(one, bins))(x)


def gates_by_block(model: nnx.Module, seen: Sequence[tuple[FreqMix, Gates]]) -> dict[Block, Gates]:
    """Finds the blocks that recorded gates belong to.

    Args:
      model: the model that was called, whose encoder keeps the contract of `models.encoder`.
      seen: of `layers.freqmix.recording_gates`.

    Returns:
      Gates by stage and block; spatial gates of groups of channels as their mean, so that each is
      a map.
    """
    paths = {id(m): path for path, m in nnx.iter_modules(model) if isinstance(m, FreqMix)}
    found = {}
    for mixer, gates in seen:
        stage, block = (int(word) for word in paths[id(mixer)] if isinstance(word, int))
        spatial = gates.spatial
        if spatial is not None:
            spatial = spatial[0].mean(-1), spatial[1].mean(-1)
        found[stage + 1, block + 1] = Gates(spatial, gates.channel)
    return found


@dataclasses.dataclass(frozen=True)
class ImageMaps:
    """All that the pictures of one image show, as arrays without a batch axis.

    Attributes:
      sample: image, label and prediction.
      reason: why this image was chosen.
      stages: maps of each operator.
      gates: by stage and block; empty without FreqMix.

    Example:
      >>> [field.name for field in dataclasses.fields(ImageMaps)]
      ['sample', 'reason', 'stages', 'gates']
    """

    sample: Sample
    reason: str
    stages: Mapping[Operator, StageMaps]
    gates: Mapping[Block, Gates]


def telling_images(analysis: AliasingAnalysis) -> dict[int, str]:
    """Chooses images to look at: those with most pixels of each kind of error near boundaries.

    Args:
      analysis: of all images.

    Returns:
      Numbers of up to three images, with the reason; an image that is chosen already leaves its
      place to the next one.
    """
    chosen: dict[int, str] = {}
    for kind in ("displacement", "false response", "merging mistake"):
        of_patches = analysis.patch_kinds[:, ERROR_KINDS.index(kind)]
        pixels = np.bincount(analysis.image, of_patches, len(analysis.names))
        for image in np.argsort(-pixels, kind="stable").tolist():
            if image not in chosen and pixels[image]:
                ahead = "most" if image == np.argmax(pixels) else "most of those left"
                chosen[image] = f"{ahead} pixels of the kind {kind}, {pixels[image]:,.0f}"
                break
    return chosen
