"""Backbones of other code bases: the same features as torch computes, and back without loss."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from segalias_jax.errors import InputError
from segalias_jax.models import ResNet
from segalias_jax.models.blocks import BasicBlock, Bottleneck
from segalias_jax.models.convnext import CONVNEXTS, ConvNeXt
from segalias_jax.models.resnet import RESNETS
from segalias_jax.torch_weights.load import fit_torch, torch_arrays
from segalias_jax.torch_weights.names import leaves

torch = pytest.importorskip("torch")

import torch_backbones as theirs  # noqa: E402

DEPTHS = {"resnet18": (1, 1, 1, 1), "resnet50": (1, 1, 2, 3)}

# Name, options of ours, strides and dilations of theirs, table.
CASES = {
    "v1b": (
        "resnet50",
        {"variant": "v1b"},
        ((1, 2, 2, 2), ((1,), (1,), (1, 1), (1, 1, 1))),
        "torchvision",
    ),
    "v1c stride 16, multi-grid": (
        "resnet50",
        {"output_stride": 16, "multi_grid": (1, 2, 4)},
        ((1, 2, 2, 1), ((1,), (1,), (1, 1), (1, 2, 4))),
        "open-mmlab",
    ),
    "v1d": (
        "resnet50",
        {"variant": "v1d", "output_stride": 8, "contract_dilation": True},
        ((1, 2, 1, 1), ((1,), (1,), (1, 2), (2, 4, 4))),
        "open-mmlab",
    ),
    "v1d basic blocks stride 8": (
        "resnet18",
        {"variant": "v1d", "output_stride": 8},
        ((1, 2, 1, 1), ((1,), (1,), (2,), (4,))),
        "open-mmlab",
    ),
}


@pytest.fixture(autouse=True)
def shallow(monkeypatch):
    """Networks with every kind of block, but few of them."""
    monkeypatch.setitem(RESNETS, "resnet18", (BasicBlock, DEPTHS["resnet18"]))
    monkeypatch.setitem(RESNETS, "resnet50", (Bottleneck, DEPTHS["resnet50"]))
    monkeypatch.setitem(CONVNEXTS, "convnext_tiny", (8, (1, 1, 2, 1)))


def abstract(make):
    return nnx.eval_shape(lambda: make(rngs=nnx.Rngs(0)))


def features_of(model, arrays, x):
    """Feature maps of a model without numbers, filled with `arrays` by path."""
    state = nnx.state(model, nnx.Any(nnx.Param, nnx.BatchStat))
    for path, variable in nnx.to_flat_state(state):
        variable.set_value(jnp.asarray(arrays[path]))
    nnx.update(model, state)
    model.eval()
    graph, state = nnx.split(model)
    return jax.jit(lambda state, x: nnx.merge(graph, state)(x))(state, jnp.asarray(x))


def assert_close(ours, expected):
    for a, b in zip(ours, expected, strict=True):
        # Sums of up to a thousand products, in another order.
        np.testing.assert_allclose(a, b, rtol=0, atol=1e-5 * np.abs(b).max())


def resnet(case):
    name, options, (strides, dilations), table = CASES[case]
    there = theirs.ResNet(
        width=8,
        bottleneck=name == "resnet50",
        strides=strides,
        dilations=dilations,
        variant=options.get("variant", "v1c"),
        classes=7,
    )
    ours = abstract(lambda rngs: ResNet(name, width=8, rngs=rngs, **options))
    return theirs.randomise(there), ours, table


@pytest.mark.parametrize("case", CASES)
def test_resnet_computes_what_torch_does(case):
    there, ours, table = resnet(case)
    arrays = theirs.arrays_of(there)
    filled, source = fit_torch(arrays, ours, "/dev/null")
    assert (source.table, source.missing) == (table, ())
    back = torch_arrays(ours, filled)
    counters = {name for name in arrays if name.endswith("num_batches_tracked")}
    assert back.keys() | counters | {"fc.weight", "fc.bias"} == arrays.keys()
    for name, array in back.items():
        np.testing.assert_array_equal(array, arrays[name], err_msg=name)
    x = np.random.default_rng(0).normal(size=(2, 49, 66, 3)).astype(np.float32)
    features = features_of(ours, filled, x)
    assert_close(features, theirs.run(there, x))
    sizes = [-(-66 // stride) for stride in ours.strides]
    assert [feature.shape[2] for feature in features] == sizes


def test_convnext_computes_what_torch_does():
    there = theirs.randomise(theirs.ConvNeXt(width=8, depths=(1, 1, 2, 1)))
    ours = abstract(lambda rngs: ConvNeXt("convnext_tiny", rngs=rngs))
    arrays = theirs.arrays_of(there)
    filled, source = fit_torch(arrays, ours, "/dev/null")
    assert (source.table, source.missing) == ("timm", ("output_norm",))
    norms = {path for path in leaves(ours) if path[0] == "output_norms"}
    assert filled.keys() | norms == leaves(ours).keys() and len(norms) == 8
    back = torch_arrays(ours, filled)
    assert back.keys() == {name for name in arrays if not name.startswith("head.")}
    for name, array in back.items():
        np.testing.assert_array_equal(array, arrays[name], err_msg=name)
    # Odd sizes: both drop the last rows.
    x = np.random.default_rng(0).normal(size=(2, 47, 71, 3)).astype(np.float32)
    fresh = {path: np.full(8 * 2 ** path[1], path[2] == "scale", np.float32) for path in norms}
    features = features_of(ours, filled | fresh, x)
    last = [torch.from_numpy(f) for f in theirs.run(there, x)]
    expected = [torch.nn.functional.layer_norm(f, f.shape[-1:], eps=1e-6).numpy() for f in last]
    assert_close(features, expected)


@pytest.mark.parametrize("case, other", [("v1b", "v1c"), ("v1d", "v1b"), ("v1d", "v1c")])
def test_wrong_variant_is_told(case, other):
    there = theirs.arrays_of(resnet(case)[0])
    ours = abstract(lambda rngs: ResNet("resnet50", width=8, variant=other, rngs=rngs))
    with pytest.raises(InputError, match=f"its names are those of variant='{case}'"):
        fit_torch(there, ours, "/dev/null")


def test_another_network_gets_no_such_hint():
    there = theirs.arrays_of(theirs.ConvNeXt(width=8, depths=(1, 1, 2, 1)))
    with pytest.raises(InputError) as caught:
        fit_torch(there, resnet("v1b")[1], "/dev/null")
    assert "variant" not in str(caught.value)
