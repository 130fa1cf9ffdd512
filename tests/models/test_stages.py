"""What encoders share: filters by name, recomputation, frozen parts."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from segalias_jax import layers, models
from segalias_jax.errors import InputError
from segalias_jax.models.blocks import BasicBlock
from segalias_jax.models.convnext import ConvNeXtBlock
from segalias_jax.models.stages import (
    STRIDING,
    apply_filter,
    check_mixer,
    freeze_norms,
    frozen_parameters,
    make_filter,
    mixer_factory,
    recording_filters,
    run_block,
    stage_nyquist_frequency,
)


@pytest.mark.parametrize(
    "name, kind",
    [
        ("none", type(None)),
        ("daf", layers.DeAliasingFilter),
        ("flc", layers.FrequencyLowCut),
        ("blur3", layers.BlurPool),
        ("adaptive_blur", layers.AdaptiveBlur),
        ("awd", layers.AdaptiveWeightedDownsampling),
        ("awd_keep", layers.AdaptiveWeightedDownsampling),
    ],
)
def test_filters_by_name(name, kind):
    made = make_filter(name, 8, cutoff=0.3, band="reference", rngs=nnx.Rngs(0))
    assert type(made) is kind
    if name == "daf":
        assert (made.cutoff, made.band) == (0.3, "reference")
    if name == "adaptive_blur":
        assert made.softmax == "all"
    if made is not None:
        assert made.stride == (2 if name in STRIDING else 1)


def test_nyquist_frequency_follows_kernel_and_channels():
    """ESR = min(K, sqrt(C_out / C_in)) / 2, and half of it."""
    assert stage_nyquist_frequency(8, 8) == 0.25
    for kernel_size in (2, 3):
        root = stage_nyquist_frequency(8, 16, kernel_size=kernel_size)
        assert root == pytest.approx(2**0.5 / 4)
    assert stage_nyquist_frequency(8, 8 * 16, kernel_size=1) == 0.25
    assert stage_nyquist_frequency(8, 8 * 16, kernel_size=2) == 0.5


def kept_bytes(run, *arguments):
    """Size of everything that a backward pass needs."""
    pullback = jax.eval_shape(lambda *a: jax.vjp(run, *a)[1], *arguments)
    return sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(pullback))


def test_recomputation_changes_memory_and_nothing_else():
    """Outputs, gradients and statistics are the same; fewer bytes are kept."""
    block = BasicBlock(4, 4, rngs=nnx.Rngs(0))
    block.norm2.scale.set_value(jnp.ones(4))
    graph, parameters, rest = nnx.split(block, nnx.Param, ...)
    x = jax.random.normal(jax.random.key(1), (3, 8, 8, 4))

    def forward(parameters, x, remat):
        block = nnx.merge(graph, parameters, rest, copy=True)
        y = run_block(block, x, remat=remat)
        return jnp.sum(jnp.sin(y)), (y, nnx.state(block, nnx.BatchStat))

    gradient = jax.jit(jax.grad(forward, argnums=(0, 1), has_aux=True), static_argnums=2)
    plain, again = gradient(parameters, x, False), gradient(parameters, x, True)
    assert plain[1][1]["norm1"]["mean"][...].any(), "statistics have moved"
    for a, b in zip(jax.tree.leaves(plain), jax.tree.leaves(again), strict=True):
        # The compiler may order sums otherwise; nothing else differs.
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5)
    kept = [kept_bytes(lambda p, x, r=r: forward(p, x, r)[0], parameters, x) for r in (False, True)]
    assert kept[1] < 0.5 * kept[0]


@pytest.mark.parametrize(
    "make, name, blocks",
    [
        (models.ResNet, "resnet18", (2, 2, 2, 2)),
        (models.ConvNeXt, "convnext_tiny", (3, 3, 9, 3)),
        (models.DoubleConvEncoder, "double_conv", (1, 1, 1, 1, 1)),
    ],
)
def test_recomputation_by_stage(make, name, blocks):
    """The blocks of the stages named, and no others, stand inside a recomputed part."""
    for stages in ((), (2,), (1, 3)):
        net = nnx.eval_shape(lambda s=stages: make(name, width=8, remat=s, rngs=nnx.Rngs(0)))
        graph, state = nnx.split(net)
        traced = jax.make_jaxpr(lambda s, x, g=graph: nnx.merge(g, s)(x))
        equations = traced(state, jax.ShapeDtypeStruct((5, 32, 32, 3), jnp.float32)).jaxpr.eqns
        recomputed = [e for e in equations if e.primitive.name in ("remat2", "checkpoint")]
        outputs = [v.aval.shape for e in recomputed for v in e.outvars if v.aval.shape[:1] == (5,)]
        widths = [8 * 2 ** (stage - 1) for stage in stages for _ in range(blocks[stage - 1])]
        assert [shape[-1] for shape in outputs] == widths
    wrong = len(blocks) + 1
    with pytest.raises(InputError, match=rf"remat is \({wrong},\); choose stages from 1 to"):
        make(name, width=8, remat=(wrong,), rngs=nnx.Rngs(0))


def test_recomputation_draws_the_same_paths():
    outputs, counts, kept = [], [], []
    x = jax.random.normal(jax.random.key(1), (8, 3, 3, 4))
    for remat in (False, True):
        block = ConvNeXtBlock(4, drop_path=0.5, rngs=nnx.Rngs(0))
        block.gamma.set_value(jnp.ones(4))
        graph, state = nnx.split(block)

        def run(state, graph=graph, remat=remat):
            return run_block(nnx.merge(graph, state, copy=True), x, remat=remat)

        parameters, rest = nnx.split_state(state, nnx.Param, ...)
        kept.append(
            kept_bytes(lambda p, rest=rest, run=run: run(nnx.merge_state(p, rest)), parameters)
        )
        outputs.append(run_block(block, x, remat=remat))
        counts.append(int(block.drop_path.rngs.count[...]))
    np.testing.assert_allclose(*outputs, rtol=1e-5, atol=1e-6)
    assert counts == [1, 1] and kept[1] < 0.5 * kept[0]


def test_mixers_by_name():
    options = dict(cutoff=0.3, band="symmetric", gate="corner", reduction=4, rngs=nnx.Rngs(0))
    assert mixer_factory("none", **options)(8) is mixer_factory("scb", **options)(8) is None
    mixer = mixer_factory("freqmix", **options)(8)
    assert (mixer.cutoff, mixer.gate, mixer.low_gate.reduce.kernel.shape[-1]) == (0.3, "corner", 2)


class Encoder(nnx.Module):
    """The least that has parts to freeze."""

    def __init__(self, frozen_stages):
        self.frozen_stages = frozen_stages
        self.stem = nnx.List([layers.BatchNorm(2)])
        self.filters = nnx.List([None, layers.BatchNorm(2), None])
        self.stages = nnx.List([nnx.List([layers.BatchNorm(2)]) for _ in range(4)])
        freeze_norms(self, frozen_stages)


@pytest.mark.parametrize(
    "frozen_stages, frozen",
    [
        (-1, set()),
        (0, {"stem/0"}),
        (2, {"stem/0", "stages/0/0", "stages/1/0"}),
        (3, {"stem/0", "stages/0/0", "stages/1/0", "stages/2/0", "filters/1"}),
    ],
)
def test_frozen_parts(frozen_stages, frozen):
    model = nnx.Dict(encoder=Encoder(frozen_stages), decoder=layers.BatchNorm(2))
    paths = {f"encoder/{part}/{leaf}" for part in frozen for leaf in ("scale", "bias")}
    assert frozen_parameters(model) == paths
    norms = {"/".join(map(str, p)) for p, m in nnx.iter_modules(model) if getattr(m, "frozen", 0)}
    assert norms == {f"encoder/{part}" for part in frozen}


def test_all_norms_frozen():
    model = nnx.List([layers.ConvNormAct(3, 4, rngs=nnx.Rngs(0))])
    freeze_norms(model, -1, everywhere=True)
    assert frozen_parameters(model) == {"0/norm/scale", "0/norm/bias"}
    with pytest.raises(InputError, match="frozen_stages is 5; choose one of -1, 0, 1, 2, 3, 4"):
        freeze_norms(model, 5)


@pytest.mark.parametrize("encoder", ["resnet18", "convnext_tiny"])
@pytest.mark.parametrize("downsample", ["none", "blur3"])
def test_recorded_filters(encoder, downsample):
    """All three stages that stride, in their order, with remat too; nothing outside."""
    make = models.ResNet if encoder == "resnet18" else models.ConvNeXt
    options = {"width": 8, "downsample": downsample, "remat": (1, 2, 3, 4)}
    net = nnx.eval_shape(lambda: make(encoder, **options, rngs=nnx.Rngs(0)))
    net.eval()
    seen = []

    def forward(x):
        with recording_filters() as found:
            net(x)
        seen.extend(found)
        return [jnp.stack(pair) for pair in found]

    graph, state = nnx.split(net)

    def run(state, x):
        nonlocal net
        net = nnx.merge(graph, state)
        return forward(x)

    shapes = jax.eval_shape(run, state, jnp.zeros((1, 64, 64, 3)))
    assert [pair.shape[1:] for pair in shapes] == [(1, 16 // n, 16 // n, 8 * n) for n in (1, 2, 4)]
    assert all((before is after) == (downsample == "none") for before, after in seen)
    apply_filter(None, jnp.zeros((1, 4, 4, 1)))
    assert len(seen) == 3


BOTH = ("spatial", "channel")
MIXED = dict(width=8, downsample="daf", mixer="freqmix")


@pytest.mark.parametrize(
    "make, name, options, filtered, mixed",
    [
        (models.ResNet, "resnet18", {}, 2**0.5 / 4, 2**0.5 / 4),  # of twice the channels
        (models.ResNet, "resnet18", {"cutoff": 0.3}, 0.3, 0.3),
        (models.ResNet, "resnet18", {"mixer_cutoff": 0.2}, 2**0.5 / 4, 0.2),
        (models.ConvNeXt, "convnext_tiny", {"cutoff": 0.3, "mixer_cutoff": 0.2}, 0.3, 0.2),
    ],
)
def test_mixers_have_a_cutoff_parts_and_a_start_of_their_own(make, name, options, filtered, mixed):
    own = {"mixer_parts": ("channel",), "mixer_start": "identity"}
    if "mixer_cutoff" not in options:
        own = {"mixer_parts": BOTH, "mixer_start": None}
    net = nnx.eval_shape(lambda: make(name, **MIXED | own | options, rngs=nnx.Rngs(0)))
    assert net.filters[0].cutoff == pytest.approx(filtered, rel=1e-12)
    mixers = [module for _, module in nnx.iter_modules(net) if isinstance(module, layers.FreqMix)]
    assert mixers and mixers[0].cutoff == pytest.approx(mixed, rel=1e-12)
    assert {mixer.parts for mixer in mixers} == {own["mixer_parts"]}
    assert {mixer.start for mixer in mixers} == {own["mixer_start"] or "even"}


@pytest.mark.parametrize(
    "mixer, options, message",
    [
        ("none", {"cutoff": 0.3}, "mixer_cutoff is set, but mixer is 'none'; leave it out"),
        ("none", {"parts": ("spatial",)}, "mixer_parts is set, but mixer is 'none'"),
        ("none", {"start": "even"}, "mixer_start is set, but mixer is 'none'"),
        ("freqmix", {"cutoff": 0.0}, r"mixer_cutoff is 0.0, but must lie in \(0, 0.5\]"),
        ("freqmix", {"parts": ("space",)}, "mixer_parts is .*; name spatial or channel, or both"),
        ("freqmix", {"parts": ()}, "mixer_parts is .*; name spatial or channel, or both"),
        ("freqmix", {"start": "one"}, "mixer_start is 'one'; choose one of even, pytorch, ident"),
        ("freqmax", {}, "mixer is 'freqmax'; did you mean 'freqmix'?"),
    ],
)
def test_mixers_that_cannot_be(mixer, options, message):
    with pytest.raises(InputError, match=message):
        check_mixer(mixer, **{"cutoff": None, "parts": BOTH, "start": None} | options)
