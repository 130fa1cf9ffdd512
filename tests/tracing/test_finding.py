"""Arguments that are no arrays, programs that are not entered, and the choice of operators."""

import jax
import jax.numpy as jnp
import pytest
from flax import linen, nnx
from jax import lax
from jax.sharding import PartitionSpec as P

from segalias_jax.errors import InputError
from segalias_jax.layers import BatchNorm
from segalias_jax.tracing import choose, dealias, find_operators, profile_aliasing
from segalias_jax.tracing.finding import trace


def net(x):
    with jax.named_scope("body/down1"):
        x = x[:, ::2, ::2]
    with jax.named_scope("body/down2"):
        return x[:, ::2, ::2]


X = jnp.ones((1, 16, 16, 3))


@pytest.mark.parametrize(
    "where, expected",
    [
        (None, [0, 1]),
        ("down2", [1]),
        ("body", [0, 1]),
        ("*/down?", [0, 1]),
        ("down?", None),
        (1, [1]),
        (2, None),
        (lambda o: o.depth > 0, [1]),
        (lambda o: False, None),
    ],
)
def test_choice(where, expected):
    operators = find_operators(net, X)
    if expected is None:
        with pytest.raises(InputError, match="0 slice 'body/down1', 1 slice 'body/down2'"):
            choose(operators, where)
    else:
        assert [o.index for o in choose(operators, where)] == expected


def test_only_arrays_are_traced():
    def function(parts, x, *, stride, name):
        return parts["act"](x)[:, ::stride, ::stride] if name == "down" else x

    traced = trace(function, ({"act": jax.nn.relu, "w": X}, X), {"stride": 2, "name": "down"})
    assert len(traced.arguments) == 2 and [o.kind for o in traced.operators] == ["slice"]


@pytest.mark.parametrize(
    "wrap, count",
    [
        (jax.jit, 2),
        (jax.checkpoint, 2),
        (lambda f: lambda x: lax.map(f, x[None]), 2),
        (lambda f: lambda x: lax.cond(True, f, lambda x: x[:, :4, :4], x), 2),
        (lambda f: lambda x: lax.while_loop(lambda c: c[1] < 2, lambda c: (f(x), 3), (f(x), 1)), 2),
        (lambda f: jax.jit(jax.vmap(jax.jit(f))), 2),
    ],
    ids=["jit", "remat", "map", "cond", "while", "vmap"],
)
def test_goes_into_called_programs_except_endless_ones(wrap, count):
    function = wrap(net) if wrap is not None else net
    x = X[None] if "vmap" in str(wrap) else X
    assert len(find_operators(function, x)) == count


class InTraining(nnx.Module):
    def __init__(self, norm):
        self.conv = nnx.Conv(4, 8, (3, 3), strides=2, rngs=nnx.Rngs(0))
        self.norm = norm

    def __call__(self, x):
        return self.norm(self.conv(x))


@pytest.mark.parametrize("norm", [lambda: nnx.BatchNorm(8, rngs=nnx.Rngs(0)), lambda: BatchNorm(8)])
def test_a_model_in_training_mode_is_told_so(norm):
    model = InTraining(norm())
    with pytest.raises(InputError, match=r"call model.eval\(\)"):
        profile_aliasing(model, IMAGE)
    model.eval()
    assert len(profile_aliasing(model, IMAGE).operators) == 1


IMAGE = jnp.ones((1, 16, 16, 4))


def halve(x):
    return x[:, ::2, ::2]


def looped(x):
    return jax.lax.fori_loop(0, x.shape[0] * jnp.int32(x[0, 0, 0, 0]), lambda _, y: spread(y), x)


def spread(x):
    return jnp.repeat(jnp.repeat(halve(x), 2, 1), 2, 2)


def sharded(x):
    mesh = jax.make_mesh((1,), ("a",), devices=jax.devices()[:1])
    return jax.shard_map(halve, mesh=mesh, in_specs=P(), out_specs=P())(x)


@pytest.mark.parametrize(
    "function,what",
    [
        (jax.export.export(jax.jit(halve))(IMAGE).call, "a program of jax.export at "),
        (looped, "slice in a while loop at test_finding.py:"),
        (sharded, "slice in shard_map at test_finding.py:"),
        (lambda x: jnp.take(x, jnp.arange(0, 16, 2), 1), "every n-th pixel by an index at test_"),
        (lambda x: jax.image.resize(x, (1, 8, 8, 4), "bilinear"), "jax.image.resize at test_"),
        (lambda x: jax.image.resize(x, (1, 8, 8, 4), "nearest"), "jax.image.resize at test_"),
    ],
)
def test_what_was_not_looked_into_is_named(function, what):
    assert what in profile_aliasing(function, IMAGE).table().splitlines()[-1]
    assert profile_aliasing(function, IMAGE).to_json()["not_looked_into"]
    with pytest.raises(InputError, match=f"no downsampling operator; not looked into: {what}"):
        dealias(function, where="stem")(IMAGE)


def test_operators_without_names_go_by_their_line():
    (only,) = find_operators(halve, IMAGE)
    assert only.name == "" and only.source.startswith("test_finding.py:")
    assert choose([only], only.source) == [only]
    with pytest.raises(InputError, match=f"operators: 0 slice '{only.source}'"):
        choose([only], only.source[:-1])


def test_the_mean_of_a_whole_image_is_no_operator():
    def pooled(x):
        return linen.avg_pool(halve(x), (8, 8), (8, 8))

    assert [o.kind for o in find_operators(pooled, IMAGE)] == ["slice"]


def test_counts_of_a_window_at_the_border_are_no_operator():
    def pooled(x):
        return linen.avg_pool(x, (3, 3), (2, 2), "SAME", count_include_pad=False)

    assert [o.input_shape for o in find_operators(pooled, IMAGE)] == [(1, 16, 16, 4)]


@pytest.mark.parametrize("by_slices", [True, False])
def test_patches_that_are_normalized_before_the_product(by_slices):
    """Patch merging: four neighbors joined, normalized and mapped to twice the channels."""

    def merging(x, kernel):
        b, h, w, c = x.shape
        if by_slices:
            starts = ((0, 0), (1, 0), (0, 1), (1, 1))
            y = jnp.concatenate([x[:, i::2, j::2] for i, j in starts], -1)
        else:
            y = x.reshape(b, h // 2, 2, w // 2, 2, c).transpose(0, 1, 3, 4, 2, 5)
            y = y.reshape(b, h // 2, w // 2, 4 * c)
        y = (y - y.mean(-1, keepdims=True)) * jax.lax.rsqrt(y.var(-1, keepdims=True) + 1e-5)
        return y @ kernel

    (patches,) = find_operators(merging, IMAGE, jnp.ones((16, 8)))
    assert (patches.kind, patches.in_channels, patches.out_channels) == ("patches", 4, 8)
    assert round(patches.nyquist_frequency, 4) == 0.3536
