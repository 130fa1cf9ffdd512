"""Programs run again: the same results, and hooks in every kind of called program."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from segalias_jax.tracing.operations import read_jaxpr
from segalias_jax.tracing.replay import Replay, hoist


def down(x):
    return x[::2, ::2] * 2


@jax.custom_vjp
def doubled(x):
    return 2 * x


doubled.defvjp(lambda x: (2 * x, None), lambda _, g: (7 * g,))


@jax.custom_vjp
def sliced_deep(x):
    return down(x + 1)


sliced_deep.defvjp(lambda x: (down(x + 1), x), lambda x, g: (7 * x,))


def scanned(x):
    def step(carry, row):
        return carry + down(x + row).sum(), down(row - x)

    return lax.scan(step, jnp.zeros(()), jnp.arange(3.0))


FUNCTIONS = {
    "plain": lambda x: down(x + 1),
    "jit": jax.jit(lambda x: jax.jit(down)(x + 1)),
    "remat": jax.checkpoint(lambda x: down(x + 1)),
    "custom_vjp": sliced_deep,
    "relu": lambda x: down(jax.nn.relu(x)),
    "scan": scanned,
    "cond": lambda x: lax.cond(x[0, 0] > 0, lambda y: down(y + 1), lambda y: y[:4, :4], x),
    "switch": lambda x: lax.switch(1, [down, lambda y: down(y - 1), lambda y: y[:4, :4]], x),
    "while": lambda x: lax.while_loop(lambda c: c[0, 0] < 9, lambda c: c + down(c)[0, 0], x),
}
X = np.random.default_rng(0).standard_normal((8, 8)).astype(np.float32)
X[0, 0] = 1


def run(closed, replacements=None, records=None, x=X):
    return Replay(closed.jaxpr, replacements or {}, records or {})(closed.consts, [x])


def slices(closed):
    """Sites of all strided slices that can be replayed."""
    operations = read_jaxpr(closed, every_branch=True).operations
    return [(o.path, 0) for o in operations if o.name == "slice" and o.parameters["strides"]]


@pytest.mark.parametrize("name", FUNCTIONS)
def test_replays_are_what_they_replay(name):
    function = FUNCTIONS[name]
    closed = jax.make_jaxpr(function)(X)
    outputs, recorded = run(closed)
    assert recorded == {}
    for ours, expected in zip(outputs, jax.tree.leaves(function(X)), strict=True):
        np.testing.assert_array_equal(ours, expected)


@pytest.mark.parametrize("name", [n for n in FUNCTIONS if n != "while"])
@pytest.mark.parametrize("transform", [lambda f: f, jax.jit], ids=["eager", "jit"])
def test_replacements_reach_every_program(name, transform):
    """What is sliced twice is read doubled, so that results are those of doubled slices."""
    closed = jax.make_jaxpr(FUNCTIONS[name])(X)
    sites = slices(closed)
    assert sites
    replay = functools.partial(run, closed, dict.fromkeys(sites, lambda x: 2 * x))
    outputs, _ = transform(replay)(x=X)
    expected = jax.tree.leaves(FUNCTIONS[name](X))
    for ours, value in zip(outputs, expected, strict=True):
        np.testing.assert_allclose(ours, 2 * value, rtol=1e-6)


def test_records_of_rounds_and_branches():
    closed = jax.make_jaxpr(scanned)(X)
    first, second = slices(closed)
    _, recorded = run(closed, {}, {first: jnp.mean, second: lambda x: x})
    np.testing.assert_allclose(recorded[first], X.mean() + np.arange(3), rtol=1e-5)
    np.testing.assert_array_equal(recorded[second][2], 2 - X)

    closed = jax.make_jaxpr(FUNCTIONS["switch"])(X)
    first, second = slices(closed)
    _, recorded = run(closed, {}, {first: jnp.mean, second: jnp.mean})
    assert np.isnan(recorded[first])
    np.testing.assert_allclose(recorded[second], X.mean() - 1, rtol=1e-6)


def primitives(jaxpr):
    """Names of all equations, those of called programs included."""
    for equation in jaxpr.eqns:
        yield equation.primitive.name
        for value in jax.tree.leaves(tuple(equation.params.values()), is_leaf=_is_program):
            if _is_program(value):
                yield from primitives(getattr(value, "jaxpr", value))


def _is_program(value):
    return hasattr(value, "eqns")


@pytest.mark.parametrize("name, kept", [("jit", "jit"), ("remat", "remat2"), ("scan", "scan")])
def test_programs_stay_what_they_are(name, kept):
    closed = jax.make_jaxpr(FUNCTIONS[name])(X)
    replay = functools.partial(run, closed, dict.fromkeys(slices(closed), lambda x: 2 * x))
    before = list(primitives(closed.jaxpr))
    after = list(primitives(jax.make_jaxpr(replay)(x=X).jaxpr))
    assert after.count(kept) == before.count(kept) > 0


def test_derivatives_of_ones_own_are_kept():
    """Around what is changed, and where the change can be made outside."""

    def function(x):
        return down(doubled(x)).sum()

    closed = jax.make_jaxpr(function)(X)
    replay = functools.partial(run, closed, dict.fromkeys(slices(closed), lambda x: 2 * x))
    gradient = jax.grad(lambda x: replay(x=x)[0][0])(X)
    np.testing.assert_array_equal(gradient[::2, ::2], np.full((4, 4), 28.0))


@jax.custom_vjp
def sliced(x):
    return down(x)


sliced.defvjp(lambda x: (down(x), x), lambda x, g: (7 * x,))


def test_hoisting_goes_as_far_out_as_all_readers_do():
    program = read_jaxpr(jax.make_jaxpr(jax.jit(sliced))(X))
    assert hoist(program, program.inputs[0], [(program.operations[0].path, 0)]) == (((0,), 0),)

    both = jax.make_jaxpr(jax.jit(lambda x: (jax.jit(down)(x), x.sum())))(X)
    program = read_jaxpr(both)
    assert hoist(program, program.inputs[0], [(program.operations[0].path, 0)]) == (((0, 0), 0),)

    closed = jax.make_jaxpr(lambda x: sliced(x + 1))(X)
    program = read_jaxpr(closed)
    sites = hoist(program, program.operations[0].outputs[0], [(program.operations[1].path, 0)])
    replay = functools.partial(run, closed, dict.fromkeys(sites, lambda x: 2 * x))
    gradient = jax.grad(lambda x: replay(x=x)[0][0].sum())(X)
    np.testing.assert_allclose(gradient, 28 * (X + 1), rtol=1e-6)


def test_names_and_lines_survive():
    @jax.jit
    def inner(x):
        with jax.named_scope("inner"):
            return down(x)

    def function(x):
        with jax.named_scope("outer"):
            return inner(x)

    closed = jax.make_jaxpr(function)(X)
    replay = functools.partial(run, closed, dict.fromkeys(slices(closed), lambda x: 2 * x))
    again = read_jaxpr(jax.make_jaxpr(replay)(x=X))
    before = [o for o in read_jaxpr(closed).operations if o.name == "slice"]
    after = [o for o in again.operations if o.name == "slice"]
    assert [o.scope for o in after] == [o.scope for o in before] == ["outer/inner"]


def test_shardings_of_called_programs_are_kept():
    mesh = jax.make_mesh((8,), ("rows",), axis_types=(AxisType.Auto,))
    rows = NamedSharding(mesh, PartitionSpec("rows"))
    inner = jax.jit(lambda x, y: (x * y, down(x)), in_shardings=(rows, None), out_shardings=None)
    closed = jax.make_jaxpr(lambda x: inner(x, x + 1))(X)
    again = jax.make_jaxpr(functools.partial(run, closed, {((1, 1), 0): jnp.sin}))(x=X)
    (call,) = [e for e in again.jaxpr.eqns if e.primitive.name == "jit"]
    assert call.params["in_shardings"][0] == rows
    outputs, _ = run(closed, {((1, 1), 0): jnp.sin})
    np.testing.assert_allclose(outputs[1], down(np.sin(X)), rtol=1e-6)
