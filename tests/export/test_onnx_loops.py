"""Loops, gathers in batches and the largest values, in onnxruntime beside what JAX computes."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from segalias_jax import ops
from segalias_jax.errors import InputError

pytest.importorskip("onnx")
runtime = pytest.importorskip("onnxruntime")

from segalias_jax.export.onnx_rules import to_onnx  # noqa: E402


def until_small(x):
    """Halves a row until it is small; rows of a batch stop at different times."""
    return jax.lax.while_loop(lambda y: jnp.abs(y).max() > 0.1, lambda y: y / 2 - 1e-3, x)


def kept(x):
    """Suppression with ties, over random boxes."""
    corner = jnp.abs(x[:, :2]) * 8
    boxes = jnp.concatenate([corner, corner + 4 + jnp.abs(x[:, 2:4])], 1)
    scores = jnp.floor(x[:, 4] * 2)
    index, valid = ops.nms(boxes, scores, 0.4, max_outputs=12, valid=x[:, 5] > -1)
    return jnp.where(valid, index, -1).astype(jnp.float32)


FUNCTIONS = {
    "while": lambda x: jax.lax.while_loop(lambda s: s.sum() < 50, lambda s: s + 1.5, x),
    "never": lambda x: jax.lax.while_loop(lambda s: s.max() > 1e9, lambda s: s + 1, x),
    "while of rows": jax.vmap(until_small),
    "for": lambda x: jax.lax.fori_loop(0, (x > 0).sum(), lambda i, s: s * 0.9 + i, x),
    "scan": lambda x: jax.lax.scan(lambda c, row: (c + row, c * row), x[0], x)[1],
    "carry": lambda x: jax.lax.scan(lambda c, row: (c * 0.5 + row, None), x[0], x)[0],
    "map": lambda x: jax.lax.map(lambda row: jnp.tanh(row), x),
    "nested": lambda x: jax.lax.map(until_small, x, batch_size=4),
    "largest": lambda x: jax.lax.top_k(jnp.floor(x), 4)[1].astype(jnp.float32),
    "of each row": lambda x: jnp.take_along_axis(
        x, jax.lax.top_k(x, 3)[1], 1, mode="promise_in_bounds"
    ),
    "truth": lambda x: jnp.where(x[:, 0] > 0, (x > 0).all(1), (x > 1).any(1)).astype(jnp.float32),
    "suppression": kept,
    "suppression of batches": lambda x: jax.vmap(kept)(jnp.stack([x, x[::-1], x * 1.5])),
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_equals_jax(name):
    function = jax.jit(FUNCTIONS[name])
    x = np.random.default_rng(0).normal(size=(24, 6)).astype(np.float32)
    model = to_onnx(function, {"x": jax.ShapeDtypeStruct(x.shape, x.dtype)}, ["y"])
    options = {"providers": ["CPUExecutionProvider"]}
    session = runtime.InferenceSession(model.SerializeToString(), **options)
    for drawn in (x, -x):
        (found,) = session.run(["y"], {"x": drawn})
        expected = np.asarray(function(drawn))
        assert found.shape == expected.shape and np.ptp(expected) > 0
        np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-6)


def test_several_inputs_and_outputs():
    number = jax.ShapeDtypeStruct((3,), np.float32)
    model = to_onnx(lambda a, b: (a - b, a * b), {"a": number, "b": number}, ["less", "times"])
    session = runtime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    a, b = np.arange(3, dtype=np.float32), np.full(3, 5, np.float32)
    times, less = session.run(["times", "less"], {"b": b, "a": a})
    np.testing.assert_array_equal(less, a - b)
    np.testing.assert_array_equal(times, a * b)


def test_what_has_no_rule_is_refused():
    backwards = lambda x: jax.lax.scan(lambda c, r: (c + r, c), x[0], x, reverse=True)[1]  # noqa: E731
    with pytest.raises(InputError, match="no rule for loops that run backwards"):
        to_onnx(backwards, {"x": jax.ShapeDtypeStruct((4, 2), np.float32)}, ["y"])
    (h,) = jax.export.symbolic_shape("h")
    with pytest.raises(InputError, match="loops over arrays of fixed sizes only"):
        to_onnx(FUNCTIONS["while"], {"x": jax.ShapeDtypeStruct((2, h), np.float32)}, ["y"])
