"""The contract of `models.encoder`, over every entry of the table and one from outside."""

import inspect
import re
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from segalias_jax import layers, models
from segalias_jax.errors import InputError
from segalias_jax.models import efficientnet, hrnet
from segalias_jax.models.convnext import CONVNEXTS
from segalias_jax.models.convnextv2 import CONVNEXTV2S
from segalias_jax.models.cost.downsampling import find_downsampling
from segalias_jax.models.cost.scopes import read_model
from segalias_jax.models.dinov2 import DINOV2S
from segalias_jax.models.mit import MITS
from segalias_jax.models.mobilenet import MOBILENETS
from segalias_jax.models.resnet import RESNETS
from segalias_jax.models.stages import (
    apply_filter,
    frozen_parameters,
    make_filter,
    recording_filters,
)
from segalias_jax.models.swin import SWINS
from segalias_jax.torch_weights import names
from segalias_jax.torch_weights.load import fit_torch, torch_arrays
from segalias_jax.tracing import profile_aliasing, read_program

SIZE = 64


def make(name, **options):
    """An encoder, abstract and narrow, with those of the options that it takes."""
    cls = models.ENCODERS[name]
    taken = {"width": 8} | options
    taken = {key: value for key, value in taken.items() if key in keywords(cls)}
    return nnx.eval_shape(lambda: cls(name, **taken, rngs=nnx.Rngs(0)))


def keywords(cls):
    parameters = inspect.signature(cls.__init__).parameters.values()
    return {p.name for p in parameters if p.kind is p.KEYWORD_ONLY}


def learned_filter(name):
    """A filter with parameters, where nothing is known against it: images have too few channels."""
    return "none" if models.ENCODERS[name] is models.DINOv2 else "adaptive_blur"


def trace(net, height=SIZE, width=SIZE, dtype=jnp.float32):
    """Shapes of the features, and of what enters and leaves the filters."""

    def run(state, x):
        copy = nnx.merge(graph, state)
        with recording_filters() as seen:
            features = copy(x)
        return features, list(seen)

    graph, state = nnx.split(net)
    return jax.eval_shape(run, state, jax.ShapeDtypeStruct((2, height, width, 3), dtype))


def check_construction(name):
    parameters = list(inspect.signature(models.ENCODERS[name].__init__).parameters.values())
    assert parameters[1].name == "name" and "rngs" in keywords(models.ENCODERS[name])
    assert all(p.kind is p.KEYWORD_ONLY for p in parameters[2:])
    assert keywords(models.ENCODERS[name]) - {"rngs"} <= set(vars(models.ModelConfig()))


def check_features(net):
    assert isinstance(net, models.Encoder) and isinstance(net, nnx.Module)
    assert len(net.channels) == len(net.strides) and list(net.strides) == sorted(net.strides)
    for height, width, dtype in ((64, 96, jnp.float32), (65, 95, jnp.bfloat16)):
        features, _ = trace(net, height, width, dtype)
        assert [f.shape[-1] for f in features] == list(net.channels)
        assert {f.dtype for f in features} == {jnp.dtype(dtype)}
        for feature, stride in zip(features, net.strides, strict=True):
            assert feature.shape[0] == 2
            assert abs(feature.shape[1] - height / stride) < 1
            assert abs(feature.shape[2] - width / stride) < 1


def check_filters(name):
    """Without filters, and with them and recomputation of all stages."""
    every = tuple(range(1, len(make(name).strides) + 1))
    for options in ({}, {"downsample": "blur3", "remat": every}):
        net = make(name, **options)
        _, seen = trace(net)
        assert len(seen) == len(net.strides) - 1
        for i, (before, after) in enumerate(seen):
            side = SIZE // net.strides[i]
            assert before.shape[:3] == (2, side, side) and before.shape == after.shape
            # The first stage of an HRNet is wider than the branch that it becomes.
            narrowed = i == 0 and isinstance(net, models.HRNet)
            assert before.shape[3] == net.channels[i] or narrowed


def filled(net):
    """An abstract network with random numbers, which costs no compiling; evaluates."""
    random = np.random.default_rng(0)
    for path, variable in nnx.to_flat_state(nnx.state(net, nnx.Any(nnx.Param, nnx.BatchStat))):
        # Negative variances have no root.
        draw = random.uniform if path[-1] == "var" else random.standard_normal
        variable.set_value(jnp.asarray(draw(size=variable.shape), jnp.float32))
    net.eval()
    return net


def check_aliasing(name):
    """Every operator that can carry what its filter lets through gets nothing beyond."""
    net = filled(make(name, downsample="daf", filter_place="depthwise"))
    cutoffs = {f"stage{i + 2}": f.cutoff for i, f in enumerate(getattr(net, "filters", ()))}
    if not cutoffs:
        cutoffs = {"stem": net.stem.filter.cutoff}
    image = jnp.asarray(np.random.default_rng(1).normal(size=(1, SIZE, 80, 3)), jnp.float32)
    report = profile_aliasing(net, image)
    # Rounding of float32 leaves 1e-12 of the power.
    clean = {o.operator.index for o in report.operators if 0 <= o.score < 1e-9}
    for part, cutoff in cutoffs.items():
        able = [
            o.operator
            for o in report.operators
            if part in (o.operator.name or o.operator.module) and o.cutoff >= cutoff - 1e-9
        ]
        assert able, f"{part}: {report.table()}"
        # Of a block each operator may have a filter of its own, and the block none.
        filtered = [o.index in clean or bool(o.members) and clean >= {*o.members} for o in able]
        assert all(filtered), report.table()


def check_scopes(name):
    """Each stage but the first that strides is one operator, whose rate sets the cutoff."""
    net = make(name, downsample="daf")
    found = [
        d
        for d in find_downsampling(net, read_model(net, (1, SIZE, SIZE, 3))[0])
        if d.kind == "stage"
    ]
    filter_ahead = "daf" if "downsample" in keywords(models.ENCODERS[name]) else "none"
    read = [before.shape[-1] for before, _ in trace(net)[1]]
    assert [(d.part, d.in_channels, d.filter) for d in found] == [
        (f"stage{i + 2}", read[i], filter_ahead)
        for i in range(len(net.strides) - 1)
        if net.strides[i + 1] > net.strides[i]
    ]
    for d in found:
        assert d.cutoff == pytest.approx(d.nyquist_frequency)


def check_frozen(name):
    """No gradient enters what is frozen, it enters all else."""
    freezes = "frozen_stages" in keywords(models.ENCODERS[name])
    net = make(name, frozen_stages=2, downsample=learned_filter(name), mixer="freqmix")
    graph, parameters, rest = nnx.split(net, nnx.Param, ...)

    def loss(parameters, rest, x):
        features = nnx.merge(graph, parameters, rest, copy=True)(x)
        return sum((feature**2).sum() for feature in features)

    x = jax.ShapeDtypeStruct((2, SIZE, SIZE, 3), jnp.float32)
    program = read_program(jax.grad(loss), parameters, rest, x)
    paths = ["/".join(map(str, path)) for path, _ in nnx.to_flat_state(parameters)]
    unreached = {
        path
        for path, value in zip(paths, program.outputs, strict=True)
        if not depends_on_inputs(program, value)
    }
    assert unreached == frozen_parameters(net)
    assert bool(unreached) == freezes


def depends_on_inputs(program, value):
    makers = {v: o for o in program.operations for v in o.outputs}
    waiting, seen = [value], set()
    while waiting:
        value = waiting.pop()
        if value in program.inputs:
            return True
        if value is not None and value not in seen and value in makers:
            seen.add(value)
            waiting += makers[value].inputs
    return False


def check_weight_names(name):
    for options in (
        {"downsample": "blur3"},
        {"downsample": learned_filter(name), "mixer": "freqmix"},
    ):
        net = make(name, **options)
        if type(net) not in names.ENCODERS:
            with pytest.raises(InputError, match=f"for the encoder {type(net).__name__}; add its"):
                names.key_table(net)
            return
        assert set(names.key_table(net).values()) == names.leaves(net).keys()
        values = {
            path: np.arange(np.prod(leaf.shape), dtype=np.float32).reshape(leaf.shape)
            for path, leaf in names.leaves(net).items()
        }
        back, source = fit_torch(torch_arrays(net, values), net, "/dev/null")
        assert source.table and back.keys() == values.keys()
        for path, array in values.items():
            np.testing.assert_array_equal(back[path], array)


def hold_contract(name):
    check_construction(name)
    check_features(make(name))
    check_filters(name)
    check_aliasing(name)
    check_scopes(name)
    check_frozen(name)
    check_weight_names(name)


# HRNets take longest: tests/models/test_hrnet.py has theirs.
@pytest.mark.parametrize("name", [n for n in models.ENCODERS if not n.startswith("hrnet")])
def test_names_at_full_depth(name):
    net = make(name)
    if type(net) in names.ENCODERS:
        assert set(names.key_table(net).values()) == names.leaves(net).keys()


# ResNet has two kinds of blocks; else the members of a family differ in numbers only.
SMALLEST = {cls: name for name, cls in reversed(models.ENCODERS.items())}.values()


@pytest.mark.parametrize("name", [*SMALLEST, "resnet50"])
def test_contract(name, monkeypatch):
    """With one block in each stage, where a table says how many: gradients are traced."""
    for table in (RESNETS, CONVNEXTS, CONVNEXTV2S, SWINS, MITS, DINOV2S, hrnet.HRNETS):
        for entry, (block_or_width, _) in table.items():
            monkeypatch.setitem(table, entry, (block_or_width, (1, 1, 1, 1)))
    short = [(*group[:-1], 1) for group in efficientnet.GROUPS]
    monkeypatch.setattr(efficientnet, "GROUPS", short)
    for entry, (stem, activation, rows, *others) in MOBILENETS.items():
        strided = tuple(row for row in rows if row.stride == 2 or row is rows[0])
        monkeypatch.setitem(MOBILENETS, entry, (stem, activation, strided, *others))
    monkeypatch.setattr(hrnet, "BLOCKS", 1)
    hold_contract(name)


class Patches(nnx.Module):
    """Two stages of linear layers on pixels: an encoder that is in no table."""

    channels, strides = (8, 16), (2, 4)

    def __init__(self, name, *, downsample="none", rngs):
        self.stem = layers.ConvNormAct(3, 8, 3, stride=2, rngs=rngs)
        self.filters = nnx.List(
            [make_filter(downsample, 8, cutoff=2**0.5 / 4, band="symmetric", rngs=rngs)]
        )
        self.stages = nnx.List(
            [nnx.Linear(8, 8, rngs=rngs), layers.Conv(8, 16, 3, stride=2, rngs=rngs)]
        )

    def __call__(self, x):
        x = self.stem(x)
        with jax.named_scope("stage1"):
            first = self.stages[0](x).astype(x.dtype)
        with jax.named_scope("stage2"):
            second = self.stages[1](apply_filter(self.filters[0], first))
        return first, second


def patches_names(encoder, alone):
    return names.EncoderNames("mine", [(r"^stages\.0", "pixels"), (r"^stages\.1", "down")])


@pytest.fixture
def patches(monkeypatch):
    """What a user does to add an encoder, undone after the test."""
    monkeypatch.setitem(models.ENCODERS, "patches", Patches)
    monkeypatch.setitem(names.ENCODERS, Patches, patches_names)


def create():
    config = {"name": "fcn", "encoder": "patches", "channels": 4, "auxiliary": False}
    config |= {"downsample": "blur3"}
    return models.create_model(config, num_classes=5, rngs=nnx.Rngs(0))


def test_an_encoder_from_outside_keeps_the_contract(patches):
    hold_contract("patches")


def test_the_example_of_the_documentation_keeps_the_contract(monkeypatch):
    page = (Path(__file__).parents[2] / "docs/howto/own_model.md").read_text()
    codes = re.findall(r"```python\n(.*?)```", page, re.S)
    (code,) = (code for code in codes if "ENCODERS" in code)
    example = {}
    exec(code[: code.index("sa.models.ENCODERS")], example)
    monkeypatch.setitem(models.ENCODERS, "two_stages", example["TwoStages"])
    hold_contract("two_stages")


def test_an_encoder_from_outside_makes_a_model(patches):
    model = nnx.eval_shape(create)
    logits = nnx.eval_shape(
        lambda m, x: m(x), model, jax.ShapeDtypeStruct((1, 33, 48, 3), jnp.float32)
    )
    assert logits.shape == (1, 33, 48, 5)
    summary = models.summarize(model, (1, SIZE, SIZE, 3))
    parts = [part.name for part in summary.parts]
    assert parts == ["stem", "stage1", "stage2", "decoder", "classifier", "other"]
    stages = [d for d in summary.downsampling if d.kind == "stage"]
    assert [(d.part, d.filter) for d in stages] == [("stage2", "blur3")]
    assert "blur3" in summary.table()


@pytest.mark.parametrize(
    "channels, returned, found",
    [
        ((8, 12), lambda maps: maps, r"maps of \(8, 16\) channels, but its channels are \(8, 12\)"),
        ((8, 16), lambda maps: maps[1], "what is no tuple of maps"),
        ((8, 16), lambda maps: maps[1:], r"maps of \(16,\) channels, but"),
    ],
)
def test_maps_that_an_encoder_does_not_promise(monkeypatch, patches, channels, returned, found):
    class Broken(Patches):
        def __call__(self, x):
            return returned(super().__call__(x))

    monkeypatch.setattr(Broken, "channels", channels)
    monkeypatch.setitem(models.ENCODERS, "patches", Broken)
    model = nnx.eval_shape(create)
    x = jax.ShapeDtypeStruct((1, 32, 32, 3), jnp.float32)
    with pytest.raises(InputError, match=f"encoder Broken returns {found}"):
        nnx.eval_shape(lambda m, x: m(x), model, x)
    with pytest.raises(InputError, match=f"encoder Broken returns {found}"):
        nnx.eval_shape(lambda m, x: m.with_auxiliary(x), model, x)


def test_an_encoder_from_outside_has_weights_both_ways(patches):
    model = nnx.eval_shape(create)
    random = np.random.default_rng(0)
    values = {
        # Negative variances are refused.
        path: random.uniform(0.5, 2.0, size=leaf.shape).astype(np.float32)
        for path, leaf in names.leaves(model).items()
    }
    arrays = torch_arrays(model, values)
    # PyTorch's linear layers keep [outputs, inputs].
    linear = values["encoder", "stages", 0, "kernel"]
    np.testing.assert_array_equal(arrays["backbone.pixels.weight"], linear.T)
    assert arrays["backbone.down.weight"].shape == (16, 8, 3, 3)
    back, source = fit_torch(arrays, model, "/dev/null")
    assert source.table == "mine" and back.keys() == values.keys()
    for path, array in values.items():
        np.testing.assert_array_equal(back[path], array)
    alone = torch_arrays(model.encoder, {p[1:]: a for p, a in values.items() if p[0] == "encoder"})
    back, source = fit_torch(alone, model, "/dev/null")
    assert source.missing == ("decoder", "head", "auxiliary")
    assert back.keys() == {path for path in values if path[0] == "encoder"}


def test_no_encoder_gets_the_names_of_another(patches, monkeypatch):
    monkeypatch.delitem(names.ENCODERS, Patches)
    message = (
        "no PyTorch names are known for the encoder Patches; add its key table to "
        "segalias_jax.torch_weights.names.ENCODERS"
    )
    model = nnx.eval_shape(create)

    class Derived(models.ResNet):
        pass

    derived = nnx.eval_shape(lambda: Derived("resnet18", width=8, rngs=nnx.Rngs(0)))
    for net in (model, model.encoder):
        for refused in (
            lambda net=net: names.key_table(net),
            lambda net=net: names.fixed_arrays(net),
            lambda net=net: torch_arrays(net, {}),
            lambda net=net: fit_torch({"fc.bias": np.zeros(2)}, net, "/dev/null"),
        ):
            with pytest.raises(InputError) as caught:
                refused()
            assert str(caught.value) == message
    with pytest.raises(InputError, match="for the encoder Derived; add its key table"):
        names.key_table(derived)
