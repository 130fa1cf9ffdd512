"""Parts of arrays whose lengths are symbolic, in onnxruntime beside what JAX computes."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from segalias_jax import ops
from segalias_jax.errors import InputError
from segalias_jax.ops.resample import strided

pytest.importorskip("onnx")
runtime = pytest.importorskip("onnxruntime")

from segalias_jax.export.onnx_rules import to_onnx  # noqa: E402

SHAPE = jax.export.symbolic_shape("b, h, w, 3", constraints=["h >= 6", "w >= 6"])
TABLE = np.arange(40, dtype=np.float32) ** 2


def at(x, index):
    return jax.lax.dynamic_slice(x, (0, index, 0, 0), (x.shape[0], 2, *x.shape[2:]))


FUNCTIONS = {
    "steps": lambda x: jnp.concatenate([x[:, ::2], x[:, 1:-1:3]], axis=1),
    "strides": lambda x: strided(x, (1, 0), (x.shape[1] - 1, x.shape[2]), 2),
    "backwards": lambda x: x[:, ::-1],
    "inner": lambda x: x[:, 1:-1, :-3],
    "borders": lambda x: ops.binomial_blur(jnp.pad(x, ((0, 0), (0, 2), (1, 0), (0, 0))), 5),
    "last": lambda x: x[:, -1:] + x[-1:, :1, -1:],
    "corner": lambda x: x[:, 0, 1] + x[:, -1, -1],
    "grid": lambda x: x[:, 1::2, :-1:3],
    "even": lambda x: ops.average_pool_2x2(x),
    "positions": lambda x: x * jax.lax.broadcasted_iota(jnp.float32, x.shape, 1),
    "fixed positions": lambda x: x + jax.lax.broadcasted_iota(jnp.int32, x.shape, 3),
    "table": lambda x: x * jax.lax.dynamic_index_in_dim(jnp.asarray(TABLE), x.shape[1]),
    "inside": lambda x: at(x, x.shape[1] // 3),
    "moved inside": lambda x: at(x, x.shape[2]) + at(x, jnp.asarray(x.shape[2]) * -5),
    "whole": lambda x: jax.lax.dynamic_slice(x, [jnp.asarray(n) for n in x.shape], x.shape),
    "places": lambda x: x[:, :, :, jnp.array([2, 0, 2])],
    "halves": lambda x: jnp.stack(jnp.split(x, 3, axis=-1), axis=1) + x.shape[2],
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_equals_jax(name):
    function = FUNCTIONS[name]
    image = jax.ShapeDtypeStruct(SHAPE, jnp.float32)
    model = to_onnx(function, {"x": image}, ["y"])
    options = {"providers": ["CPUExecutionProvider"]}
    session = runtime.InferenceSession(model.SerializeToString(), **options)
    for shape in ((1, 6, 9, 3), (2, 11, 8, 3)):
        x = np.random.default_rng(0).normal(size=shape).astype(np.float32)
        (found,) = session.run(["y"], {"x": x})
        expected = np.asarray(function(jnp.asarray(x)))
        assert found.shape == expected.shape
        # Sums of 25 products, of size 1.
        np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize(
    "function, message",
    [
        (lambda x: jnp.pad(x, ((0, 0), (0, x.shape[2]), (0, 0), (0, 0))), "at the borders only"),
        (lambda x: x[:, ::2, 1:-3], "whole axes only"),
        (lambda x: x.at[jnp.array([0]), 0, 0, 0].set(1), "in 'promise_in_bounds' alone, not"),
        (lambda x: x.at[:, jnp.array([0])].set(1), "single numbers only"),
    ],
)
def test_what_has_no_rule_is_refused(function, message):
    image = jax.ShapeDtypeStruct(SHAPE, jnp.float32)
    with pytest.raises(InputError, match=message):
        to_onnx(function, {"x": image}, ["y"])
