"""The de-aliased baseline against networks that have filters, and what is filtered in others."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from jax import lax
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from segalias_jax import models, ops
from segalias_jax.errors import InputError
from segalias_jax.models.resnet import RESNETS
from segalias_jax.tracing import (
    capture_inputs,
    dealias,
    filtered_by_default,
    find_operators,
    read_program,
)

RANDOM = np.random.default_rng(0)
IMAGES = RANDOM.standard_normal((8, 33, 32, 3)).astype(np.float32)


@pytest.fixture(autouse=True)
def shallow(monkeypatch):
    """Networks with one block a stage."""
    block, _ = RESNETS["resnet18"]
    monkeypatch.setitem(RESNETS, "resnet18", (block, (1, 1, 1, 1)))


def forward(downsample="none", **options):
    """A network in evaluation mode as a function, and its parameters."""
    options |= {"width": 8, "downsample": downsample}
    net = nnx.eval_shape(lambda: models.ResNet("resnet18", **options, rngs=nnx.Rngs(0)))
    net.eval()
    graph, state = nnx.split(net)
    # Parameters of a size that leaves something of the input, all different, norms included.
    draw = np.random.default_rng(1)
    state = jax.tree.map(
        lambda leaf: jnp.asarray(
            draw.uniform(0.1, 0.5, leaf.shape) - 0.2 * (leaf.ndim > 1), "float32"
        ),
        state,
    )
    return lambda state, x: nnx.merge(graph, state, copy=True)(x), state


def test_a_dealiased_baseline_is_our_network_on_eight_devices():
    """Values and gradients of stages 2 and 3, with the batch over the devices."""
    (baseline, state), (ours, _) = forward(), forward("daf")
    mesh = jax.make_mesh((8,), ("data",), axis_types=(AxisType.Auto,))
    images = jax.device_put(IMAGES, NamedSharding(mesh, PartitionSpec("data")))

    def loss(function, state):
        features = function(state, images)[1:3]
        return sum(jnp.mean(jnp.sin(y)) for y in features), features

    both = [
        jax.jit(jax.value_and_grad(functools.partial(loss, f), has_aux=True))(state)
        for f in (dealias(baseline), ours)
    ]
    largest = [np.abs(y).max() for y in both[1][0][1]]
    assert min(largest) > 1e-2, "a network that returns nothing proves nothing"
    for a, b in zip(*map(jax.tree.leaves, both), strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=1e-6 * max(1, np.abs(b).max()))


def steps(function, *arguments):
    """What a program does, operation by operation; opaque ones by what they return."""
    operations = read_program(function, *arguments).operations
    return [(o.name, [(t.shape, t.dtype) for t in o.output_types]) for o in operations]


@pytest.mark.parametrize(
    "ours, options",
    [
        ({"downsample": "daf"}, {}),
        ({"downsample": "blur3"}, {"filter": "blur"}),
        (
            {"downsample": "daf", "cutoff": 0.2, "remat": (1, 4), "variant": "v1d"},
            {"cutoff": 0.2},
        ),
    ],
    ids=["daf", "blur", "remat"],
)
def test_a_dealiased_baseline_does_what_our_network_does(ours, options):
    """The same operations on values of the same shapes, in the same order."""
    plain = {k: v for k, v in ours.items() if k not in ("downsample", "cutoff")}
    (baseline, state), (expected, _) = forward(**plain), forward(**ours)
    x = jax.ShapeDtypeStruct((1, 33, 32, 3), jnp.float32)
    found = steps(dealias(baseline, **options), state, x)
    assert found == steps(expected, state, x) != steps(baseline, state, x)


def convolve(x, kernel, stride=2):
    return lax.conv(x, kernel, (stride, stride), "SAME")


KERNEL = RANDOM.standard_normal((6, 3, 3, 3)).astype(np.float32)


def net(x, kernel=KERNEL):
    with jax.named_scope("stem"):
        y = convolve(x, kernel)
    with jax.named_scope("body"):
        return jax.nn.relu(y)[:, :, ::2, ::2]


CHANNELS_FIRST = IMAGES.transpose(0, 3, 1, 2)[:2]


@pytest.mark.parametrize(
    "options, filters",
    [
        ({"cutoff": 0.3}, lambda x: ops.low_pass(x, 0.3, axes=(2, 3))),
        ({"filter": "flc"}, lambda x: ops.low_pass(x, 0.25, axes=(2, 3))),
        ({}, lambda x: ops.low_pass(x, 0.25, axes=(2, 3))),
        (
            {"filter": "blur"},
            lambda x: ops.binomial_blur(x.transpose(0, 2, 3, 1), 3).transpose(0, 3, 1, 2),
        ),
    ],
    ids=["cutoff", "flc", "esr", "blur"],
)
def test_each_filter_ahead_of_the_chosen_operator(options, filters):
    expected = filters(jax.nn.relu(convolve(CHANNELS_FIRST, KERNEL)))[:, :, ::2, ::2]
    for where in (None, "body", 1, lambda o: o.kind == "slice"):
        ours = dealias(net, where=where, **options)(CHANNELS_FIRST)
        np.testing.assert_allclose(ours, expected, atol=1e-5)


def test_the_stem_if_it_is_chosen():
    filtered = ops.low_pass(jnp.asarray(CHANNELS_FIRST), 2**0.5 / 4, axes=(2, 3))
    np.testing.assert_allclose(dealias(net, where="stem")(CHANNELS_FIRST), net(filtered), atol=1e-5)


def test_under_vmap_grad_and_jit_at_once():
    clean = dealias(net)
    mapped = jax.jit(jax.vmap(jax.grad(lambda x, k: jnp.sum(clean(x[None], k) ** 2), 1), (0, None)))
    summed = mapped(CHANNELS_FIRST, KERNEL).sum(0)
    expected = jax.grad(lambda k: jnp.sum(clean(CHANNELS_FIRST, k) ** 2))(KERNEL)
    np.testing.assert_allclose(summed, expected, rtol=1e-4, atol=1e-3 * np.abs(expected).max())


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16])
def test_short_types_stay(dtype):
    x = jnp.asarray(CHANNELS_FIRST, dtype)
    assert dealias(net)(x, KERNEL.astype(dtype)).dtype == dtype


def test_operators_of_a_chosen_block_are_filtered_once():
    def function(x):
        with jax.named_scope("block"):
            return convolve(x, KERNEL[:3]) + x[:, :, ::2, ::2]

    (ours, _) = capture_inputs(dealias(function, where="block"), where="block")(CHANNELS_FIRST)[1][
        :2
    ]
    expected = ops.low_pass(jnp.asarray(CHANNELS_FIRST), 0.25, axes=(2, 3))
    np.testing.assert_allclose(ours, expected.transpose(0, 2, 3, 1), atol=1e-6)


def test_default_choice():
    pool = lambda x: lax.reduce_window(x, 0.0, lax.add, (1, 1, 2, 2), (1, 1, 2, 2), "SAME")  # noqa: E731

    def vgg(x):
        for _ in range(3):
            x = pool(convolve(x, KERNEL[:3], 1))
        return x

    assert [o.index for o in filtered_by_default(find_operators(vgg, CHANNELS_FIRST))] == [1, 2]

    def strided(x):
        return convolve(pool(convolve(convolve(x, KERNEL[:3]), KERNEL[:3])), KERNEL)

    assert [o.index for o in filtered_by_default(find_operators(strided, CHANNELS_FIRST))] == [1, 3]

    def small_images(x):  # its stem has no stride, and a residual block is the first to have one
        x = convolve(x, KERNEL[:3], 1)
        return convolve(x, KERNEL) + convolve(x, KERNEL[..., :1, :1])

    (block,) = filtered_by_default(find_operators(small_images, CHANNELS_FIRST))
    assert (block.kind, block.depth) == ("block", 0)


@pytest.mark.parametrize(
    "options, message",
    [
        ({"filter": "median"}, "filter is 'median'; choose one of daf, blur, flc"),
        ({"cutoff": 0.7}, "cutoff is 0.7"),
        ({"cutoff": "nyquist"}, "give 'esr' or a number"),
        ({"cutoff": 0.2, "filter": "blur"}, "which filter 'blur' has none of"),
    ],
)
def test_mistakes_are_told_before_anything_runs(options, message):
    with pytest.raises(InputError, match=message):
        dealias(net, **options)


@pytest.mark.parametrize(
    "function, where, message",
    [
        (
            net,
            "stage2",
            "selects none of the downsampling operators: 0 conv 'stem', 1 slice 'body'",
        ),
        (lambda x: x[:, :, ::2, ::2], None, "of 1 downsampling operators there is no other"),
        (lambda x: x, None, "the function has no downsampling operator"),
        (lambda x: x.astype(int)[:, :, ::2, ::2], 0, "reads int32"),
    ],
)
def test_mistakes_are_told_on_call(function, where, message):
    with pytest.raises(InputError, match=message):
        dealias(function, where=where)(CHANNELS_FIRST)
