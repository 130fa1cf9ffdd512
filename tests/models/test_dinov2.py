"""DINOv2 beside what transformers computes, its filter on the image, and its names both ways."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from drawn_networks import assert_recorded, drawn_arrays, features, fill, image
from flax import nnx

from segalias_jax.errors import InputError
from segalias_jax.models.cost.downsampling import find_downsampling
from segalias_jax.models.cost.scopes import read_model
from segalias_jax.models.dinov2 import DINOV2S, DINOv2, DINOv2Block

import record_dinov2 as recorded  # isort: skip  # found by drawn_networks


def abstract(name="dinov2_small", **options):
    return nnx.eval_shape(lambda: DINOv2(name, rngs=nnx.Rngs(0), **options))


@pytest.fixture
def narrow(monkeypatch):
    monkeypatch.setitem(DINOV2S, "dinov2_small", (recorded.WIDTH, recorded.DEPTHS))


@pytest.mark.parametrize("name", DINOV2S)
def test_number_of_parameters(name):
    """Those of timm without a classifier."""
    leaves = jax.tree.leaves(nnx.state(abstract(name), nnx.Param))
    assert sum(leaf.size for leaf in leaves) == recorded.COUNTS[name]


def test_features_are_those_of_transformers(narrow):
    net = abstract()
    arrays = drawn_arrays(net)
    file = recorded.to_transformers(arrays, sum(recorded.DEPTHS))
    fill(net, {f"dinov2.{name}": a for name, a in file.items()}, table="timm", given=arrays)
    # Both round in float32, in other orders; 3e-6 of the largest is seen.
    found = features(net, image(*recorded.SIZE))
    assert_recorded(found, recorded.FILE, recorded.KEEP, relative=1e-5)


def test_files_of_timm_and_original_ones(narrow):
    net = abstract()
    arrays = drawn_arrays(net)
    extra = {"mask_token": np.zeros((1, recorded.WIDTH)), "head.bias": np.zeros(9)}
    fill(net, arrays | extra, table="timm", given=arrays)


def test_the_filter_stands_ahead_of_the_patches():
    """min(14, sqrt(12 / 3)) / 14 samples per pixel; for as many channels as a patch has, all."""
    net = abstract(width=12, downsample="daf")
    (found,) = find_downsampling(net, read_model(net, (1, 56, 56, 3))[0])
    assert (found.part, found.filter, found.kernel_size) == ("stem", "daf", (14, 14))
    assert found.sampling_rate == pytest.approx(1 / 7)
    assert found.cutoff == pytest.approx(1 / 14)
    assert abstract("dinov2_base", downsample="daf").stem.filter.cutoff == 0.5


def test_frozen_blocks_drop_nothing_and_others_ever_more():
    stages = abstract(width=8, drop_path=0.33, frozen_stages=2).stages
    blocks = [block for stage in stages for block in stage]
    rates = [0.0 if b.drop_path is None else b.drop_path.rate for b in blocks]
    np.testing.assert_allclose(rates, [0.0] * 6 + [0.18, 0.21, 0.24, 0.27, 0.3, 0.33])


def test_a_path_is_dropped_for_a_whole_sample():
    block = DINOv2Block(4, heads=1, drop_path=0.5, rngs=nnx.Rngs(0))
    for scale in (block.scale1, block.scale2):
        scale.gamma.set_value(jnp.ones(4))
    x = jax.random.normal(jax.random.key(0), (32, 1, 3, 4))
    changed = np.asarray(nnx.jit(lambda block, x: block(x) != x)(block, x)).any(3)[:, 0]
    # A quarter of the samples drops both branches.
    assert set(changed.sum(1).tolist()) == {0, 3}


@pytest.mark.parametrize(
    "options, message",
    [
        ({"name": "dinov2_giant"}, f"choose one of {', '.join(DINOV2S)}"),
        ({"downsample": "adaptive_blur"}, "choose one of none, daf, blur3, blur5, blur7"),
        ({"drop_path": 1.0}, r"drop_path is 1.0, but must lie in \[0, 1\)"),
        ({"width": 200}, "width is 200, which 3 heads cannot share; choose a multiple of 64"),
    ],
)
def test_what_cannot_be(options, message):
    with pytest.raises(InputError, match=message):
        abstract(**options)


def test_sizes_are_rounded_down_known_or_not():
    net = abstract(width=8)
    constraints = ["h >= 14", "w >= 14"]
    symbolic = jax.export.symbolic_shape("b, h, w, 3", constraints=constraints)
    for shape, size in (((1, 27, 42, 3), (1, 3)), (symbolic, None)):
        image = jax.ShapeDtypeStruct(shape, jnp.bfloat16)
        found = nnx.eval_shape(lambda n, x: n(x), net, image)
        # As JAX writes the length of a convolution.
        size = ((shape[1] - 14) // 14 + 1, (shape[2] - 14) // 14 + 1) if size is None else size
        assert {(f.shape, f.dtype) for f in found} == {
            ((shape[0], *size, 8), jnp.dtype(jnp.bfloat16))
        }
    with pytest.raises(InputError, match="needs 14 pixels along each image axis, .* has 13x64"):
        nnx.eval_shape(lambda n, x: n(x), net, jnp.ones((1, 13, 64, 3)))
