"""Programs as lists of operations, and the cost of each against closed forms."""

import jax
import jax.numpy as jnp
import pytest
from jax import lax

from segalias_jax.tracing import flops, read_program


def total(function, *shapes):
    arguments = [jax.ShapeDtypeStruct(shape, jnp.float32) for shape in shapes]
    return sum(map(flops, read_program(function, *arguments).operations))


def convolution(x, kernel, **options):
    return lax.conv_general_dilated(
        x, kernel, dimension_numbers=("NHWC", "HWIO", "NHWC"), **options
    )


@pytest.mark.parametrize(
    "options, kernel, expected",
    [
        (dict(window_strides=(1, 1), padding="SAME"), (3, 3, 4, 6), 2 * 9 * 8 * 9 * 4 * 6),
        (dict(window_strides=(2, 2), padding="SAME"), (3, 3, 4, 6), 2 * 5 * 4 * 9 * 4 * 6),
        (
            dict(window_strides=(1, 1), padding="SAME", feature_group_count=4),
            (3, 3, 1, 4),
            2 * 9 * 8 * 9 * 4,
        ),
    ],
)
def test_flops_of_convolutions(options, kernel, expected):
    count = total(lambda x, k: convolution(x, k, **options), (1, 9, 8, 4), kernel)
    assert count == expected


@pytest.mark.parametrize(
    "function, shapes, expected",
    [
        (lambda a, b: jnp.einsum("bij,bjk->bik", a, b), [(2, 3, 4), (2, 4, 5)], 2 * 2 * 3 * 4 * 5),
        (lambda x: jnp.exp(x) * x + 1, [(3, 5)], 3 * 15),
        (lambda x: jnp.sum(x), [(3, 5)], 15),
        (lambda x: x[:, ::2].T.astype(jnp.int32), [(3, 5)], 0),
        (
            lambda x: lax.reduce_window(x, -jnp.inf, lax.max, (2, 2), (2, 2), "VALID"),
            [(4, 6)],
            6 * 4,
        ),
    ],
)
def test_flops_of_other_operations(function, shapes, expected):
    assert total(function, *shapes) == expected


def doubled(x):
    return 2 * x


@jax.custom_vjp
def with_gradient(x):
    return 2 * x


with_gradient.defvjp(lambda x: (2 * x, None), lambda _, g: (g,))


@pytest.mark.parametrize(
    "function, expected",
    [
        (jax.jit(doubled), 16),
        (jax.checkpoint(doubled), 16),
        (with_gradient, 16),
        (jax.nn.relu, 16),  # has a derivative of its own
        (lambda x: jax.vmap(doubled)(x), 16),
        (lambda x: lax.scan(lambda c, _: (jax.jit(doubled)(c), None), x, None, length=5)[0], 80),
        (lambda x: lax.fori_loop(0, 5, lambda i, c: 2 * c + i, x), 5 * (2 * 16 + 1)),
        (lambda x: lax.cond(x[0, 0] > 0, lambda y: y @ y, doubled, x), 2 * 4**3),
        (lambda x: jax.jit(doubled)(x) + jax.jit(doubled)(2 * x), 4 * 16),
    ],
)
def test_goes_into_called_programs(function, expected):
    assert total(function, (4, 4)) == expected


def test_values_lead_from_the_outputs_to_the_inputs():
    """Also through programs that are called twice, whose variables are the same."""

    def function(x, y):
        with jax.named_scope("outer"):
            return jax.jit(doubled)(x), jax.jit(doubled)(y)

    program = read_program(function, 1.0, 2.0)
    makers = {value: o for o in program.operations for value in o.outputs}
    read = [next(v for v in makers[output].inputs if v is not None) for output in program.outputs]
    assert tuple(read) == program.inputs
    assert {o.scope for o in program.operations} == {"outer"}


def test_scopes_go_on_inside_of_called_programs():
    @jax.jit
    def inner(x):
        with jax.named_scope("inner"):
            return 2 * x

    def function(x):
        with jax.named_scope("outer"):
            return inner(x)

    assert [o.scope for o in read_program(function, 1.0).operations] == ["outer/inner"]


def test_a_while_loop_is_listed_once():
    program = read_program(
        lambda x: lax.while_loop(lambda c: c[0] < 3.0, lambda c: c + 1, x), jnp.ones(2)
    )
    names = [operation.name for operation in program.operations]
    assert names.count("add") == 1 and names.count("lt") == 1
