"""What encoders share: filters in front of strides, mixers, recomputation and frozen parts.

Where nothing strides there is no filter: a stage that dilates instead (output stride 16 or 8) folds
no frequencies. Its mixers stay, with the cutoff that they have where it strides.

Frozen parameters stay parameters: an encoder's number of frozen stages says which, their norms
keep the running statistics, the gradient stops after them, and the optimizer neither moves them
nor keeps state for them. So checkpoints of frozen and of unfrozen runs have the same names.
"""

from __future__ import annotations

import contextlib
import contextvars
import functools
from collections.abc import Callable, Collection, Iterator, Sequence
from typing import Protocol, runtime_checkable

import jax
import numpy as np
from flax import nnx

from segalias_jax import layers, ops
from segalias_jax.errors import InputError, check_choice
from segalias_jax.layers.freqmix import FREQMIX_PARTS, FREQMIX_STARTS
from segalias_jax.typing import Array, Float

STRIDING = ("flc", "awd")
"""Filters that stride in place of the operator behind them."""

DOWNSAMPLE = (
    *("none", "daf", "blur3", "blur5", "blur7", "adaptive_blur", "awd_keep"),
    *STRIDING,
)
MIXERS = ("none", "freqmix", "scb")

MakeMixer = Callable[[int], nnx.Module | None]


@runtime_checkable
class Filter(Protocol):
    """What goes in front of a strided operator, such as the filters of `layers.dealias`.

    Attributes:
      stride: pixels from one output to the next; above 1, the operator after it must not stride.

    Example:
      >>> isinstance(layers.BlurPool(3), Filter)
      True
    """

    stride: int

    def __call__(self, x: Array) -> Array:
        """Returns the filtered feature map."""
        ...


def stage_nyquist_frequency(in_channels: int, out_channels: int, *, kernel_size: int = 3) -> float:
    """Nyquist frequency of a stage change by stride 2, in cycles per pixel.

    Args:
      in_channels: channels before it.
      out_channels: channels after it.
      kernel_size: of the strided convolution: 3 in a ResNet, 2 in a ConvNeXt.

    Returns:
      The frequency.

    Example:
      >>> round(stage_nyquist_frequency(256, 512), 4)
      0.3536
    """
    rate = ops.equivalent_sampling_rate(kernel_size, 2, in_channels, out_channels)
    return ops.nyquist_frequency(rate)


def make_filter(
    name: str, channels: int, *, cutoff: float, band: str, rngs: nnx.Rngs
) -> Filter | None:
    """Builds the filter that goes in front of a stride of 2.

    Args:
      name: one of `DOWNSAMPLE`; those of `STRIDING` take the place of that stride.
      channels: channels of what is filtered.
      cutoff: of the filter "daf", in cycles per pixel.
      band: "symmetric", or "reference" for bands and adaptive kernels as published.
      rngs: random streams.

    Returns:
      The filter, or None for "none".

    Example:
      >>> make_filter("blur5", 8, cutoff=0.25, band="symmetric", rngs=nnx.Rngs(0)).kernel_size
      5
    """
    if name == "none":
        return None
    if name == "flc":
        return layers.FrequencyLowCut(2, band=band)
    if name == "adaptive_blur":
        softmax = "all" if band == "reference" else "group"
        return layers.AdaptiveBlur(channels, softmax=softmax, rngs=rngs)
    if name.startswith("awd"):
        stride = 2 if name in STRIDING else 1
        return layers.AdaptiveWeightedDownsampling(channels, stride=stride, rngs=rngs)
    if name.startswith("blur"):
        return layers.BlurPool(int(name.removeprefix("blur")))
    return layers.DeAliasingFilter(cutoff, band=band)


def check_remat(stages: object, count: int) -> None:
    """Raises unless the stages to be recomputed are numbers from 1 to `count`.

    Raises:
      InputError: not a collection, or one of another number.

    Example:
      >>> check_remat(True, 4)
      Traceback (most recent call last):
      segalias_jax.errors.InputError: remat is True; choose stages from 1 to 4
    """
    if not isinstance(stages, Collection) or not set(stages) <= set(range(1, count + 1)):
        raise InputError(f"remat is {stages}; choose stages from 1 to {count}")


_recorded: contextvars.ContextVar[list | None] = contextvars.ContextVar("recorded", default=None)


def apply_filter(
    filter_ahead: Filter | None, x: Float[Array, "b h w c"]
) -> Float[Array, "b _ _ c"]:
    """Applies what `make_filter` made, which may be None, in front of a stage.

    Args:
      filter_ahead: the filter.
      x: what enters the stage.

    Returns:
      What its strided operator reads.

    Example:
      >>> import jax.numpy as jnp
      >>> apply_filter(None, jnp.ones((1, 4, 4, 2))).shape
      (1, 4, 4, 2)
    """
    y = x if filter_ahead is None else filter_ahead(x)
    seen = _recorded.get()
    if seen is not None:
        seen.append((x, y))
    return y


@contextlib.contextmanager
def recording_filters() -> Iterator[list[tuple[Array, Array]]]:
    """Collects what each `apply_filter` reads and returns, in the order of the stages.

    Before and after a filter are what the encoder hands to it and what its strided operator reads.
    Without a filter both are the same map: nothing hypothetical is measured.

    Example:
      >>> import jax.numpy as jnp
      >>> with recording_filters() as seen:
      ...     y = apply_filter(layers.BlurPool(3), jnp.eye(4).reshape(1, 4, 4, 1))
      >>> [float(x.max()) for x in seen[0]]
      [1.0, 0.5]
    """
    seen: list[tuple[Array, Array]] = []
    token = _recorded.set(seen)
    try:
        yield seen
    finally:
        _recorded.reset(token)


def no_mixer(channels: int) -> None:
    """Returns None: no mixer, for any number of channels.

    Example:
      >>> no_mixer(8) is None
      True
    """
    return None


def check_mixer(
    mixer: str, *, cutoff: float | None, parts: Sequence[str], start: str | None
) -> None:
    """Raises unless an encoder's arguments `mixer`, `mixer_cutoff` and so on fit together.

    Args:
      mixer: must be one of `MIXERS`; but for "freqmix", all others must be at their defaults.
      cutoff: None, or must lie in (0, 0.5] cycles per pixel.
      parts: must be some of `FREQMIX_PARTS`.
      start: None, or must be one of `FREQMIX_STARTS`.

    Raises:
      InputError: one of them is not so.

    Example:
      >>> check_mixer("freqmix", cutoff=0.7, parts=("spatial",), start=None)
      Traceback (most recent call last):
      segalias_jax.errors.InputError: mixer_cutoff is 0.7, but must lie in (0, 0.5] cycles per pixel
    """
    check_choice("mixer", mixer, MIXERS)
    given = {
        "mixer_cutoff": cutoff is not None,
        "mixer_parts": tuple(parts) != FREQMIX_PARTS,
        "mixer_start": start is not None,
    }
    for name, is_given in given.items():
        if is_given and mixer != "freqmix":
            raise InputError(f"{name} is set, but mixer is {mixer!r}; leave it out")
    if cutoff is not None and not 0 < cutoff <= 0.5:
        raise InputError(f"mixer_cutoff is {cutoff}, but must lie in (0, 0.5] cycles per pixel")
    if not parts or isinstance(parts, str) or not set(parts) <= set(FREQMIX_PARTS):
        raise InputError(f"mixer_parts is {parts}; name {' or '.join(FREQMIX_PARTS)}, or both")
    if start is not None:
        check_choice("mixer_start", start, FREQMIX_STARTS)


def mixer_factory(
    name: str,
    *,
    cutoff: float,
    band: str,
    gate: str,
    reduction: int,
    parts: Sequence[str] = FREQMIX_PARTS,
    start: str | None = None,
    rngs: nnx.Rngs,
) -> MakeMixer:
    """Returns a function that builds the mixers of a stage.

    Args:
      name: one of `MIXERS`; "scb" stands beside a convolution, not behind it, so that blocks
        themselves build it.
      cutoff: where the low band ends, in cycles per pixel.
      band: of FreqMix.
      gate: of FreqMix.
      reduction: of FreqMix.
      parts: of FreqMix.
      start: of FreqMix.
      rngs: random streams.

    Returns:
      A function of the number of channels.

    Example:
      >>> mixer_factory(
      ...     "none", cutoff=0.35, band="symmetric", gate="energy", reduction=16, rngs=nnx.Rngs(0)
      ... )(8) is None
      True
    """
    if name != "freqmix":
        return no_mixer
    return functools.partial(
        layers.FreqMix,
        cutoff=cutoff,
        band=band,
        gate=gate,
        reduction=reduction,
        parts=tuple(parts),
        start=start,
        rngs=rngs,
    )


def drop_path_rates(
    drop_path: float, depths: Sequence[int], *, frozen_stages: int
) -> list[list[float]]:
    """Returns how often training drops the branch of each block, by stage.

    Block k of n, from 0, drops with probability k / (n - 1) drop_path; frozen ones never do.

    Args:
      drop_path: probability of the last block.
      depths: number of blocks of each stage.
      frozen_stages: as for `freeze_norms`.

    Returns:
      Probabilities.

    Raises:
      InputError: `drop_path` outside [0, 1).

    Example:
      >>> drop_path_rates(0.5, (1, 2), frozen_stages=-1)
      [[0.0], [0.25, 0.5]]

    Reference:
      Huang et al., "Deep Networks with Stochastic Depth", ECCV 2016.
    """
    if not 0 <= drop_path < 1:
        raise InputError(f"drop_path is {drop_path}, but must lie in [0, 1)")
    rates = iter(np.linspace(0, drop_path, sum(depths)))
    return [
        [float(next(rates)) * (i >= frozen_stages) for _ in range(count)]
        for i, count in enumerate(depths)
    ]


def make_drop_path(rate: float, *, rngs: nnx.Rngs) -> nnx.Dropout | None:
    """Builds what drops the branch of a block, for each sample by itself.

    Args:
      rate: probability, see `drop_path_rates`.
      rngs: random stream "dropout".

    Returns:
      The layer; None where nothing is ever dropped.

    Example:
      >>> make_drop_path(0.0, rngs=nnx.Rngs(0)) is None
      True
    """
    # One draw for all pixels and channels of a sample.
    return nnx.Dropout(rate, broadcast_dims=(1, 2, 3), rngs=rngs) if rate else None


def run_block(
    block: nnx.Module, x: Float[Array, "b h w c"], *, remat: bool
) -> Float[Array, "b _ _ _"]:
    """Applies a block; with `remat` the backward pass computes it again.

    Args:
      block: a block of an encoder.
      x: its input.
      remat: whether only `x` is kept for the gradient, not what the block computes inside.

    Returns:
      The block's output; running statistics move once, as without `remat`.

    Example:
      >>> import jax.numpy as jnp
      >>> run_block(nnx.Conv(3, 4, (1, 1), rngs=nnx.Rngs(0)), jnp.ones((1, 2, 2, 3)), remat=True).shape
      (1, 2, 2, 4)
    """  # noqa: E501
    return nnx.remat(lambda block, x: block(x))(block, x) if remat else block(x)


def freeze_norms(encoder: nnx.Module, frozen_stages: int, *, everywhere: bool = False) -> None:
    """Makes batch norms keep their running statistics in training, see `layers.BatchNorm`.

    Args:
      encoder: changed in place.
      frozen_stages: -1 for none, 0 for the stem, k for the stem and stages 1 to k.
      everywhere: all norms instead.

    Raises:
      InputError: another number of stages.

    Example:
      >>> freeze_norms(nnx.List([]), 5)
      Traceback (most recent call last):
      segalias_jax.errors.InputError: frozen_stages is 5; choose one of -1, 0, 1, 2, 3, 4
    """
    check_choice("frozen_stages", frozen_stages, range(-1, 5))
    parts = _frozen_parts(frozen_stages)
    for path, module in nnx.iter_modules(encoder):
        if isinstance(module, layers.BatchNorm):
            module.frozen = everywhere or any(path[: len(part)] == part for part in parts)


def stop_at(x: Float[Array, "*shape"], stage: int, frozen_stages: int) -> Float[Array, "*shape"]:
    """Stops the gradient after what is frozen, so that no backward pass enters it.

    Args:
      x: output of a stage.
      stage: its number; 0 for the stem.
      frozen_stages: as for `freeze_norms`.

    Returns:
      `x`.

    Example:
      >>> import jax.numpy as jnp
      >>> [float(jax.grad(lambda x: 3 * stop_at(x, i, 1))(jnp.ones(()))) for i in (1, 2)]
      [0.0, 3.0]
    """
    return jax.lax.stop_gradient(x) if stage <= frozen_stages else x


def frozen_parameters(model: nnx.Module) -> frozenset[str]:
    """Returns the parameters that training must leave as they are.

    Those are what an encoder's `frozen_stages` covers, and scale and bias of frozen norms.

    Args:
      model: a model, an encoder, abstract ones too.

    Returns:
      Their paths, keys joined by "/".

    Example:
      >>> norm = layers.BatchNorm(4)
      >>> norm.frozen = True
      >>> sorted(frozen_parameters(norm))
      ['bias', 'scale']
    """
    roots = set()
    for path, module in nnx.iter_modules(model):
        if getattr(module, "frozen", False):
            roots.add(path)
        stages = getattr(module, "frozen_stages", -1)
        roots |= {(*path, *part) for part in _frozen_parts(stages)}
    parameters = dict(nnx.to_flat_state(nnx.state(model, nnx.Param)))
    return frozenset(
        "/".join(map(str, path))
        for path in parameters
        if any(path[:length] in roots for length in range(len(path) + 1))
    )


def _frozen_parts(frozen_stages: int) -> list[tuple]:
    """Paths inside an encoder; what goes in front of a stage belongs to that stage."""
    if frozen_stages < 0:
        return []
    in_front = ("filters", "downsample_norms", "downsamples")
    return [
        ("stem",),
        *(("stages", i) for i in range(frozen_stages)),
        *((name, i) for i in range(frozen_stages - 1) for name in in_front),
    ]
