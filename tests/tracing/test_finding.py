"""Arguments that are no arrays, programs that are not entered, and the choice of operators."""

import jax
import jax.numpy as jnp
import pytest
from jax import lax

from segalias_jax.errors import InputError
from segalias_jax.tracing import choose, find_operators
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
