"""HRNet: branches of several resolutions side by side, which exchange what they found.

Filters stand ahead of every strided convolution behind the stem: of the transition that opens a
branch, and of the exchanges, where a map is halved once or more, each convolution by its own
sampling rate.
"""

from __future__ import annotations

import functools
import operator
from collections.abc import Callable

import jax
from flax import nnx

from segalias_jax import ops
from segalias_jax.errors import InputError, check_choice
from segalias_jax.layers import BatchNorm, Conv, ConvNormAct
from segalias_jax.layers.freqmix import FREQMIX_PARTS
from segalias_jax.models.blocks import BasicBlock, Bottleneck, Projection
from segalias_jax.models.stages import (
    DOWNSAMPLE,
    STRIDING,
    Filter,
    MakeMixer,
    apply_filter,
    check_mixer,
    check_remat,
    freeze_norms,
    make_filter,
    mixer_factory,
    no_mixer,
    run_block,
    stage_nyquist_frequency,
    stop_at,
)
from segalias_jax.typing import Array, Float

HRNETS = {
    "hrnet_w18": (18, (4, 1, 4, 3)),
    "hrnet_w48": (48, (4, 1, 4, 3)),
}
"""Channels of the finest branch, and number of blocks of stage 1 and of modules of the others."""

BLOCKS = 4
"""In a row in each branch of a module."""

_STEM = 64  # channels, whatever the width of the branches
_UPSAMPLE = ("bilinear", "nearest")

Maps = tuple[Float[Array, "b _ _ _"], ...]
"""Of the branches, fine to coarse."""

MakeFilter = Callable[[int, int], Filter | None]


class Descent(nnx.Module):
    """3x3 convolutions that each halve a map: ReLU(norm(conv(filter(x)))), the last without ReLU.

    Args:
      in_channels: channels read, of all maps in between too.
      out_channels: channels written.
      halvings: number of convolutions.
      stride: of each; 1 where filters stride.
      make_filter: builds the filter ahead of a convolution from its channels read and written.
      rngs: random streams.

    Example:
      >>> options = {"halvings": 2, "stride": 2, "make_filter": lambda *_: None}
      >>> [conv.kernel.shape for conv in Descent(4, 16, **options, rngs=nnx.Rngs(0)).convs]
      [(3, 3, 4, 4), (3, 3, 4, 16)]
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        halvings: int,
        stride: int,
        make_filter: MakeFilter,
        rngs: nnx.Rngs,
    ):
        widths = [in_channels] * (halvings - 1) + [out_channels]
        self.filters = nnx.List([make_filter(in_channels, width) for width in widths])
        conv = functools.partial(Conv, stride=stride, rngs=rngs)
        self.convs = nnx.List([conv(in_channels, width, 3) for width in widths])
        self.norms = nnx.List([BatchNorm(width) for width in widths])

    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b h2 w2 o"]:
        """Halves the map, sizes rounded up."""
        for k, conv in enumerate(self.convs):
            x = jax.nn.relu(x) if k > 0 else x
            filter_ahead = self.filters[k]
            x = self.norms[k](conv(x if filter_ahead is None else filter_ahead(x)))
        return x


class Exchange(nnx.Module):
    """Every branch becomes the sum of all, brought to its size and channels.

    y_i = ReLU(sum_{j < i} descent_ij(x_j) + x_i + sum_{j > i} up(norm(conv1x1(x_j))))

    Args:
      channels: of the branches, fine to coarse.
      stride: of convolutions that halve; 1 where filters stride.
      make_filter: builds the filter ahead of such a convolution.
      upsample: "bilinear" or "nearest".
      align_corners: of "bilinear", see `ops.resize_bilinear`.
      rngs: random streams.
    """

    def __init__(
        self,
        channels: tuple[int, ...],
        *,
        stride: int,
        make_filter: MakeFilter,
        upsample: str,
        align_corners: bool,
        rngs: nnx.Rngs,
    ):
        self.upsample, self.align_corners = upsample, align_corners

        def path(i: int, j: int) -> nnx.Module | None:
            if i == j:
                return None
            if i < j:
                return Projection(channels[j], channels[i], stride=1, rngs=rngs)
            return Descent(
                *(channels[j], channels[i]),
                halvings=i - j,
                stride=stride,
                make_filter=make_filter,
                rngs=rngs,
            )

        every = range(len(channels))
        self.paths = nnx.List([nnx.List([path(i, j) for j in every]) for i in every])

    def __call__(self, maps: Maps) -> Maps:
        """Returns as many maps, of the same sizes."""
        results = []
        for i, row in enumerate(self.paths):
            parts = []
            for j, path in enumerate(row):
                y = maps[j] if path is None else path(maps[j])
                parts.append(self._enlarge(y, maps[i], 2 ** (j - i)) if j > i else y)
            results.append(jax.nn.relu(functools.reduce(operator.add, parts)))
        return tuple(results)

    def _enlarge(self, y: Array, like: Array, factor: int) -> Array:
        size = ops.image_size(like)
        if self.upsample == "nearest":
            return ops.resize_nearest(y, size)
        resize = functools.partial(ops.resize_bilinear, align_corners=self.align_corners)
        # Twice, as published: where strides rounded up, the first one is too large.
        height, width = ops.image_size(y)
        return resize(resize(y, (factor * height, factor * width)), size)


class BranchesModule(nnx.Module):
    """Basic blocks in each branch, then an exchange.

    Args:
      channels: of the branches, fine to coarse.
      make_mixers: for each branch, builds the mixer of a block, or returns None.
      branched: whether blocks have a `layers.SmoothConvolutionBranch`.
      exchange: what follows the blocks.
      rngs: random streams.
    """

    def __init__(
        self,
        channels: tuple[int, ...],
        *,
        make_mixers: tuple[MakeMixer, ...],
        branched: bool,
        exchange: Exchange,
        rngs: nnx.Rngs,
    ):
        branches = []
        for width, make_mixer in zip(channels, make_mixers, strict=True):
            block = functools.partial(
                BasicBlock, width, width, make_mixer=make_mixer, branched=branched, rngs=rngs
            )
            branches.append(nnx.List([block() for _ in range(BLOCKS)]))
        self.branches = nnx.List(branches)
        self.exchange = exchange

    def __call__(self, maps: Maps, *, remat: bool) -> Maps:
        """Applies both; with `remat` the backward pass computes the blocks again."""
        deeper = []
        for x, branch in zip(maps, self.branches, strict=True):
            for block in branch:
                x = run_block(block, x, remat=remat)
            deeper.append(x)
        return self.exchange(tuple(deeper))


class Transition(nnx.Module):
    """A convolution that opens a branch, and one that narrows the map of stage 1 beside it.

    Args:
      in_channels: channels of the coarsest branch.
      out_channels: channels of the new branch.
      stride: of the convolution that opens it; 1 where a filter strides.
      kept_channels: of what the map itself becomes, by a 3x3 convolution; None leaves it.
      rngs: random streams.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        stride: int,
        kept_channels: int | None,
        rngs: nnx.Rngs,
    ):
        self.opened = ConvNormAct(in_channels, out_channels, 3, stride=stride, rngs=rngs)
        self.kept = (
            None if kept_channels is None else ConvNormAct(in_channels, kept_channels, 3, rngs=rngs)
        )


class HRNet(nnx.Module):
    """A network that keeps its finest resolution and adds coarser branches, as an encoder.

    Each stage but the first opens a branch of half the resolution and twice the channels. The
    features are the maps of the four branches after stage 4. Stage 1 is one branch of bottlenecks
    with 256 channels, which the first transition narrows to those of branches 1 and 2.

    `downsample="daf"` puts a de-aliasing filter ahead of each 3x3 convolution of stride 2 behind
    the stem: of the three transitions, which read the coarsest branch and are what
    `stages.recording_filters` sees, and of the exchanges, 47 in all modules together. The other
    path of the first transition, which does not stride, reads what is not filtered.
    `mixer="freqmix"` puts FreqMix after the second convolution of every block of branches 2, 3 and
    4, with the cutoff of the transition that opened the branch; `mixer="scb"` puts a smooth branch
    beside that convolution in every block (the 3x3 one of bottlenecks). All are off by default.

    Sizes are rounded up at each stride, as PyTorch does. Norms begin as in `ResNet`.

    Args:
      name: "hrnet_w18" or "hrnet_w48".
      width: channels of the finest branch; None for the network's own. Stem and stage 1, of 64 and
        256 channels, shrink likewise, rounded down.
      downsample: "none", "daf", "flc" (crops the spectrum, in place of a stride), "blur3", "blur5",
        "blur7" (binomial), "adaptive_blur" (3x3, 8 groups), "awd" (adaptive weighted downsampling,
        in place of a stride) or "awd_keep" (the same without a stride).
      mixer: "none", "freqmix" or "scb".
      cutoff: of the filters, in cycles per pixel; None takes each convolution's own Nyquist
        frequency, from its equivalent sampling rate (3x3 kernel, stride 2, the channels that this
        convolution reads and writes). The first transition reads all 256 channels of stage 1 for
        36 or 96 of its own, sqrt(36 / 256) / 4 = .094 for "hrnet_w18" and .153 for "hrnet_w48": it
        has room for no more, and finer detail goes through the branch beside it, which keeps the
        resolution. The others have .354, convolutions within an exchange .25 to .5. A network that
        was trained without filters loses less by one `cutoff=0.35` for all.
      band: "symmetric", or "reference" for bands (and adaptive kernels) as published for ResNet.
      gate: of FreqMix.
      reduction: of FreqMix.
      mixer_cutoff: of FreqMix, in cycles per pixel; None takes the filter's.
      mixer_parts: gates of FreqMix: "spatial", "channel" or both.
      mixer_start: what its gates begin with, see `layers.FreqMix`.
      upsample: of the exchanges: "bilinear", as mmsegmentation has it, to the power of two that
        lies between the branches and from there to the size that is needed, or "nearest", as
        networks for images have it (timm).
      align_corners: of "bilinear".
      frozen_stages: what training leaves as it is, statistics too: -1 nothing, 0 the stem, k the
        stem and stages 1 to k, with the transitions before them. No gradient enters it.
      frozen_norm: whether training leaves all batch norms and their statistics as they are.
      remat: stages, from 1, whose blocks are recomputed in the backward pass, which keeps less in
        memory.
      rngs: random streams.

    Raises:
      InputError: an unknown name, with the choices, or numbers that do not fit the network.

    Example:
      >>> HRNet("hrnet_w32", rngs=nnx.Rngs(0))
      Traceback (most recent call last):
      segalias_jax.errors.InputError: encoder is 'hrnet_w32'; did you mean 'hrnet_w48'? choose \
one of hrnet_w18, hrnet_w48

    Reference:
      Wang et al., "Deep High-Resolution Representation Learning for Visual Recognition", TPAMI
      2020.
    """

    strides = (4, 8, 16, 32)

    def __init__(
        self,
        name: str,
        *,
        width: int | None = None,
        downsample: str = "none",
        mixer: str = "none",
        cutoff: float | None = None,
        band: str = "symmetric",
        gate: str = "energy",
        reduction: int = 16,
        mixer_cutoff: float | None = None,
        mixer_parts: tuple[str, ...] = FREQMIX_PARTS,
        mixer_start: str | None = None,
        upsample: str = "bilinear",
        align_corners: bool = False,
        frozen_stages: int = -1,
        frozen_norm: bool = False,
        remat: tuple[int, ...] = (),
        rngs: nnx.Rngs,
    ):
        check_choice("encoder", name, HRNETS)
        check_choice("downsample", downsample, DOWNSAMPLE)
        check_choice("upsample", upsample, _UPSAMPLE)
        check_mixer(mixer, cutoff=mixer_cutoff, parts=mixer_parts, start=mixer_start)
        check_remat(remat, 4)
        own_width, depths = HRNETS[name]
        width = own_width if width is None else width
        if downsample == "adaptive_blur" and width % 8:
            raise InputError(
                f"downsample is 'adaptive_blur', whose 8 groups do not divide the {width} channels "
                f"of {name}; choose another filter"
            )
        self.channels = tuple(width * 2**i for i in range(4))
        self.frozen_stages, self.remat = frozen_stages, remat
        stem = _STEM * width // own_width
        self.stem = nnx.List([ConvNormAct(c, stem, 3, stride=2, rngs=rngs) for c in (3, stem)])
        stride, branched = 1 if downsample in STRIDING else 2, mixer == "scb"

        def limit(before: int, after: int) -> float:
            return stage_nyquist_frequency(before, after) if cutoff is None else cutoff

        def filter_between(before: int, after: int) -> Filter | None:
            limited = limit(before, after)
            return make_filter(downsample, before, cutoff=limited, band=band, rngs=rngs)

        # What a transition reads: stage 1 is wider than the branch that it becomes.
        coarsest = (stem * Bottleneck.expansion, *self.channels[1:-1])
        mixers: tuple[MakeMixer, ...] = (no_mixer,)
        filters, downsamples = [], []
        stages = [_first_stage(stem, depths[0], branched=branched, rngs=rngs)]
        for i, before in enumerate(coarsest, 1):
            after = self.channels[i]
            filters.append(filter_between(before, after))
            kept = width if i == 1 else None
            downsamples.append(
                Transition(before, after, stride=stride, kept_channels=kept, rngs=rngs)
            )
            make_mixer = mixer_factory(
                mixer,
                cutoff=limit(before, after) if mixer_cutoff is None else mixer_cutoff,
                band=band,
                gate=gate,
                reduction=reduction,
                parts=mixer_parts,
                start=mixer_start,
                rngs=rngs,
            )
            mixers = (*mixers, make_mixer)
            exchange = functools.partial(
                Exchange,
                self.channels[: i + 1],
                stride=stride,
                make_filter=filter_between,
                upsample=upsample,
                align_corners=align_corners,
                rngs=rngs,
            )
            module = functools.partial(
                BranchesModule,
                self.channels[: i + 1],
                make_mixers=mixers,
                branched=branched,
                rngs=rngs,
            )
            stages.append(nnx.List([module(exchange=exchange()) for _ in range(depths[i])]))
        self.filters, self.downsamples = nnx.List(filters), nnx.List(downsamples)
        self.stages = nnx.List(stages)
        freeze_norms(self, frozen_stages, everywhere=frozen_norm)

    def __call__(self, x: Float[Array, "b h w 3"]) -> tuple[Float[Array, "b _ _ _"], ...]:
        """Returns the maps of the four branches, fine to coarse."""
        for layer in self.stem:
            x = layer(x)
        x = stop_at(x, 0, self.frozen_stages)
        with jax.named_scope("stage1"):
            for block in self.stages[0]:
                x = run_block(block, x, remat=1 in self.remat)
        maps = (stop_at(x, 1, self.frozen_stages),)
        for i, stage in enumerate(self.stages[1:], 1):
            with jax.named_scope(f"stage{i + 1}"):
                transition = self.downsamples[i - 1]
                opened = transition.opened(apply_filter(self.filters[i - 1], maps[-1]))
                if transition.kept is not None:
                    maps = tuple(transition.kept(y) for y in maps)
                maps = (*maps, opened)
                for module in stage:
                    maps = module(maps, remat=i + 1 in self.remat)
            maps = tuple(stop_at(y, i + 1, self.frozen_stages) for y in maps)
        return maps


def _first_stage(stem: int, depth: int, *, branched: bool, rngs: nnx.Rngs) -> nnx.List:
    widths = [stem] + [stem * Bottleneck.expansion] * (depth - 1)
    return nnx.List([Bottleneck(c, stem, branched=branched, rngs=rngs) for c in widths])
