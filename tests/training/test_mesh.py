"""Steps on meshes of eight devices equal those of one, and what travels between devices."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

from segalias_jax import layers, ops
from segalias_jax.errors import InputError
from segalias_jax.tasks import SemanticSegmentation
from segalias_jax.training.sharding import batch_sharding, create_mesh, shard_batch, state_sharding
from segalias_jax.training.state import create_state
from segalias_jax.training.step import create_train_step

TASK = SemanticSegmentation(3, average="valid")
MESHES = {"8x1x1": (8, 1, 1), "2x4x1": (2, 4, 1), "2x1x4": (2, 1, 4), "2x2x2": (2, 2, 2)}
HEIGHT, WIDTH, ROWS = 48, 40, 8
COLLECTIVE = re.compile(
    r"= (.+?) (all-gather|all-reduce|all-to-all|collective-permute|reduce-scatter)(?:-start)?\("
)
pytestmark = pytest.mark.skipif(jax.device_count() < 8, reason="needs 8 devices")


# Compiled without LLVM's expensive passes: so small a program is run for milliseconds.
QUICK = {"xla_backend_optimization_level": 0, "xla_llvm_disable_expensive_passes": True}


class Network(nnx.Module):
    """One of everything: strides, filter, mixer, norms, dropout, pooling, resizing.

    Its heights are 24, 12, 6 and 3, the last two of which four devices cannot share evenly.
    """

    def __init__(self, rngs):
        self.stem = layers.ConvNormAct(3, 16, 3, stride=2, rngs=rngs)
        self.filter = layers.DeAliasingFilter(0.35)
        self.stage = layers.ConvNormAct(16, 32, 3, stride=2, rngs=rngs)
        self.mixer = layers.FreqMix(32, reduction=4, rngs=rngs)
        self.coarse = layers.ConvNormAct(32, 32, 3, stride=2, rngs=rngs)
        self.coarsest = layers.ConvNormAct(32, 32, 3, stride=2, rngs=rngs)
        self.pyramid = layers.PyramidPooling(32, 16, pool_scales=(1, 2), rngs=rngs)
        self.dropout = nnx.Dropout(0.1, rngs=rngs)
        self.classifier = layers.Conv(16 + 32, 3, use_bias=True, rngs=rngs)

    def with_auxiliary(self, x):
        size = x.shape[1:3]
        x = ops.max_pool(self.stem(x), 3, stride=1, padding=1)
        x = self.mixer(self.stage(self.filter(x)))
        top = self.pyramid(self.coarsest(self.coarse(x)))
        x = jnp.concatenate([x, ops.resize_bilinear(top, x.shape[1:3])], -1)
        return ops.resize_bilinear(self.classifier(self.dropout(x)), size), ()


def make_batch():
    rng = np.random.default_rng(0)
    label = rng.integers(0, 3, (ROWS, HEIGHT, WIDTH)).astype(np.int32)
    label[:2, :9] = 255
    image = rng.integers(0, 256, (ROWS, HEIGHT, WIDTH, 3), np.uint8)
    return {"image": image, "label": label, "valid": np.arange(ROWS) < ROWS - 1}


def build(mesh):
    optimizer = optax.sgd(0.05, momentum=0.9)
    graph, state = create_state(lambda: Network(nnx.Rngs(0)), optimizer, mesh, average=True)
    step = create_train_step(graph, TASK, optimizer, mesh, average=0.9)
    batch = shard_batch(make_batch(), mesh)
    return step.lower(state, batch).compile(compiler_options=QUICK), state, batch


def run_steps(mesh):
    step, state, batch = build(mesh)
    losses = []
    for _ in range(5):
        state, metrics = step(state, batch)
        losses.append(float(metrics["loss"]))
    return losses, state, step.as_text()


@pytest.fixture(scope="module")
def one_device():
    return run_steps(create_mesh(devices=jax.devices()[:1]))


@pytest.mark.parametrize("name", MESHES)
def test_five_steps_equal_those_of_one_device(name, one_device):
    losses, state, _ = one_device
    mesh = create_mesh(*MESHES[name])
    many, other, text = run_steps(mesh)
    np.testing.assert_allclose(many, losses, rtol=1e-5)
    for part in ("parameters", "statistics", "average"):
        pairs = zip(*(jax.tree.leaves(getattr(s, part)) for s in (state, other)), strict=True)
        for a, b in pairs:
            if not jax.dtypes.issubdtype(a.dtype, jax.dtypes.prng_key):
                np.testing.assert_allclose(b, a, atol=1e-5)
    kernels = (other.parameters, other.optimizer[0].trace, other.average)
    for tree in kernels:
        kernel = tree["coarse"]["conv"]["kernel"]
        share = kernel.addressable_shards[0].data.size / kernel.size
        assert share == 1 / mesh.shape["fsdp"]
    if mesh.shape["spatial"] > 1:
        check_no_whole_activation_is_gathered(text, mesh)


def check_no_whole_activation_is_gathered(text, mesh):
    """Nothing gathered is larger than a device's share of the largest activation.

    What is gathered are coarse maps that a resize enlarges, or that have too few rows to share.
    """
    rows = ROWS // (mesh.shape["data"] * mesh.shape["fsdp"])
    largest = rows * (HEIGHT // 2) * (WIDTH // 2) * 16
    widths = {WIDTH, WIDTH // 2, WIDTH // 4, WIDTH // 8}  # no parameter has such an axis
    found = [
        (kind, [int(n) for n in dims.split(",") if n])
        for shape, kind in COLLECTIVE.findall(text)
        for dims in re.findall(r"\[([\d,]*)\]", shape)
    ]
    activations = [(kind, dims) for kind, dims in found if widths & set(dims)]
    assert any(kind == "collective-permute" for kind, _ in activations), "rows are exchanged"
    gathered = [np.prod(d) for kind, d in activations if kind in ("all-gather", "all-to-all")]
    assert max(gathered, default=0) <= largest // mesh.shape["spatial"], activations


def test_where_arrays_live():
    mesh = create_mesh(2, 2, 2)
    assert tuple(state_sharding((3, 3, 64, 32), mesh).spec) == (None, None, "fsdp")
    assert state_sharding((64,), mesh).is_fully_replicated  # small
    assert state_sharding((81, 81, 81), mesh).is_fully_replicated  # no axis divides
    assert tuple(batch_sharding((8, 48, 40, 3), mesh).spec) == (("data", "fsdp"), "spatial")
    assert tuple(batch_sharding((8, 47, 40, 3), mesh).spec) == (("data", "fsdp"),)
    assert create_mesh(fsdp=2).shape == {"data": 4, "fsdp": 2, "spatial": 1}


@pytest.mark.parametrize("sizes", [(3, 1, 1), (-1, 3, 1), (-1, 16, 1), (8, 0, 1), (8, 1, 2)])
def test_sizes_that_the_devices_do_not_make_are_refused(sizes):
    with pytest.raises(InputError, match=r"^(data, fsdp and|fsdp is)"):
        create_mesh(*sizes)
