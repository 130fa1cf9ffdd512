"""The step up: each way of it, any size, and what a constant map shows of it."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from segalias_jax import layers, ops
from segalias_jax.errors import InputError


def up(method, **options):
    layer = layers.UpConv(4, 3, method=method, rngs=nnx.Rngs(0), **options)
    layer.bias[...] = jnp.arange(1.0, 4.0)
    return layer


def test_every_method():
    size = 9, 15  # a row less and a column more than twice as many
    x = np.random.default_rng(0).normal(size=(2, 5, 7, 4)).astype(np.float32)
    for method in layers.UPSAMPLE:
        layer = up(method)
        kernel, bias = np.asarray(layer.kernel), np.asarray(layer.bias)
        small, large = x @ kernel[0, 0] + bias, np.zeros((2, 10, 14, 3), np.float32)
        if method == "transpose":
            for a, b in np.ndindex(2, 2):
                large[:, a::2, b::2] = x @ kernel[a, b] + bias
        elif method == "zeros":
            large[:, ::2, ::2] = small
        else:
            resize = {"nearest": ops.resize_nearest, "bilinear": ops.resize_bilinear}[method]
            large = resize(jnp.asarray(small), size)
        # The last pixel stands in for one that is missing.
        rows, columns = (
            np.minimum(np.arange(m), n - 1) for m, n in zip(size, large.shape[1:3], strict=True)
        )
        # Sums of four products of numbers of size 1.
        found = layer(jnp.asarray(x), size)
        np.testing.assert_allclose(found, large[:, rows][:, :, columns], atol=5e-6)


def test_align_corners():
    x = jax.random.normal(jax.random.key(1), (1, 5, 7, 4))
    small = ops.conv2d_transpose(x, up("bilinear").kernel[...]) + jnp.arange(1.0, 4.0)
    expected = ops.resize_bilinear(small, (9, 13), align_corners=True)
    np.testing.assert_array_equal(up("bilinear", align_corners=True)(x, (9, 13)), expected)


@pytest.mark.parametrize("method", layers.UPSAMPLE)
def test_types(method):
    """Computes in the type of its input; parameters and their gradients stay in float32."""

    def run(layer, x):
        y = layer(x, (4, 5))
        return y.sum().astype(jnp.float32), y

    x = jax.ShapeDtypeStruct((1, 2, 3, 4), jnp.bfloat16)
    layer = nnx.eval_shape(lambda: up(method))
    gradient, y = nnx.eval_shape(nnx.grad(run, has_aux=True), layer, x)
    assert y.dtype == jnp.bfloat16
    assert {leaf.dtype for leaf in jax.tree.leaves(gradient)} == {jnp.dtype("float32")}


def test_which_methods_leave_a_checkerboard():
    """A constant map stays constant under copies and interpolation alone."""
    x = jnp.ones((1, 8, 8, 4))
    layer = {m: layers.UpConv(4, 3, method=m, rngs=nnx.Rngs(0)) for m in layers.UPSAMPLE}
    score = {m: float(ops.checkerboard_score(f(x, (16, 16)))[0]) for m, f in layer.items()}
    assert abs(score["zeros"] - 75) < 1e-3 and 5 < score["transpose"] < 100
    assert max(score["nearest"], score["bilinear"]) < 1e-6


def test_unknown_method():
    with pytest.raises(InputError, match="method is 'cubic'; choose one of zeros, nearest"):
        up("cubic")
