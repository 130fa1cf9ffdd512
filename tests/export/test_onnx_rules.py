"""Rules of the ONNX export, each in onnxruntime beside what JAX computes."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from segalias_jax import ops
from segalias_jax.errors import InputError

onnx = pytest.importorskip("onnx")
runtime = pytest.importorskip("onnxruntime")

from segalias_jax.export.onnx_rules import to_onnx  # noqa: E402

RNG = np.random.default_rng(0)
MATRIX = RNG.normal(size=(6, 6)).astype(np.float32)
KERNEL = RNG.normal(size=(3, 3, 2, 4)).astype(np.float32)
WIDE = RNG.normal(size=(3, 3, 4, 5)).astype(np.float32)

FUNCTIONS = {
    "elements": lambda x: jnp.tanh(x) * jnp.exp(-jnp.abs(x)) + jnp.maximum(x, 0) ** 3,
    "norm": lambda x: (
        (x - x.mean(-1, keepdims=True)) * jax.lax.rsqrt(jnp.square(x).sum(-1) + 1)[..., None]
    ),
    "gelu": lambda x: jax.nn.gelu(x, approximate=False),
    "softmax": jax.nn.softmax,
    "select": lambda x: jnp.where((x > 0.5) | ~(x != 0) & (x < 1), x, jnp.float32(-1)),
    "waves": lambda x: jnp.sin(3 * x) - jnp.cos(x) + jnp.sign(x) * jnp.floor(2 * x),
    "remainders": lambda x: jnp.fmod((9 * x).astype(int), 4) + jnp.fmod(x, 0.3),
    "modulo": lambda x: (9 * x).astype(int) % -4 + (9 * x).astype(int) // 4,
    "clipped": lambda x: jax.lax.clamp(-0.5, x, x[:, :1, :1].max()) + jnp.clip(x, 0, 1),
    "attention": lambda x: jnp.einsum("bhwc,bhvc->bwhv", x, jnp.roll(x, 2, axis=2)),
    "groups": lambda x: ops.conv2d(
        x, jnp.asarray(KERNEL[:, :, :1]), padding=1, groups=4, stride=2, dilation=2
    ),
    "up": lambda x: (
        ops.insert_zeros(x, 2) + ops.conv2d_transpose(x, jnp.asarray(WIDE[:2, :2, :, :4]))
    ),
    "down": lambda x: ops.max_pool_2x2(x, stride=1)[:, ::2, ::2] - ops.max_pool_2x2(x),
    "transposed": lambda x: jax.lax.conv_transpose(x, WIDE, (2, 2), "SAME"),
    "transposed, tight": lambda x: jax.lax.conv_transpose(x, WIDE[1:, 1:], (2, 2), "VALID"),
    "means": lambda x: ops.average_pool_2x2(x[:, :5, 1:]),
    "pool": lambda x: ops.max_pool(x, 3, stride=2, padding=1),
    "blur": lambda x: ops.binomial_blur(x, 3, stride=2),
    "low pass": lambda x: ops.low_pass(x, 0.3, band="reference", method="matmul"),
    "resize": lambda x: ops.resize_bilinear(ops.adaptive_avg_pool(x, (2, 3)), (9, 5)),
    "strides": lambda x: jnp.concatenate([x[:, ::2, 1:5:3], x[:, ::-2, -1:0:-3]], axis=-1),
    "pieces": lambda x: jnp.stack(jnp.split(x, 2, axis=-1))[1] + x[:, 2:3, 0:1, 1:3],
    "places": lambda x: x[:, jnp.array([[0, 3], [5, 1]]), jnp.array([[1, 2], [0, 5]])],
    "reshaped": lambda x: x.reshape(x.shape[0], 3, 2, 12, 2).transpose(0, 3, 1, 4, 2).max(3),
    "matrix": lambda x: jnp.einsum("ij,bjwc->bwic", MATRIX, x) @ KERNEL[0, 0, :, :].repeat(2, 0),
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_equals_jax(name):
    function = FUNCTIONS[name]
    (batch,) = jax.export.symbolic_shape("b")
    shape = jax.ShapeDtypeStruct((batch, 6, 6, 4), jnp.float32)
    model = to_onnx(function, {"x": shape}, ["y"])
    options = {"providers": ["CPUExecutionProvider"]}
    session = runtime.InferenceSession(model.SerializeToString(), **options)
    for rows in (1, 3):
        x = RNG.normal(size=(rows, 6, 6, 4)).astype(np.float32)
        (found,) = session.run(["y"], {"x": x})
        # float32 on both sides, sums of at most 36 terms of size 10.
        np.testing.assert_allclose(found, function(jnp.asarray(x)), rtol=1e-5, atol=2e-5)


def test_pooling_on_one_device(monkeypatch):
    """Which is another program, of reshaped windows."""
    monkeypatch.setattr(jax, "device_count", lambda: 1)
    test_equals_jax("down")


@pytest.mark.parametrize(
    "function, message",
    [
        (jnp.cumsum, "no rule for the operation 'cumsum'"),
        (lambda x: x[:, jnp.argsort(x[0, :, 0, 0])], "no rule for the operation"),
        (lambda x: jnp.floor(x).astype(int) & 3, "operations on bits"),
        (lambda x: jax.lax.conv(x, x[:1], (1, 1), "SAME"), "constant kernels only"),
    ],
)
def test_unknown_operations_are_refused(function, message):
    shape = jax.ShapeDtypeStruct((1, 6, 6, 4), jnp.float32)
    with pytest.raises(InputError, match=message):
        to_onnx(function, {"x": shape}, ["y"])
