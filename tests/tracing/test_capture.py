"""What enters operators, beside what a function returns."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from segalias_jax.errors import InputError
from segalias_jax.tracing import capture_inputs


def net(x, kernel):
    y = jax.nn.relu(lax.conv(x, kernel, (2, 2), "SAME"))
    y = jax.checkpoint(jax.jit(lambda y: jnp.sin(y)[:, :, ::2, ::2]))(y)
    return {"y": y}


RANDOM = np.random.default_rng(0)
X = RANDOM.standard_normal((2, 3, 9, 12)).astype(np.float32)
KERNEL = RANDOM.standard_normal((5, 3, 3, 3)).astype(np.float32)


@pytest.mark.parametrize("transform", [lambda f: f, jax.jit], ids=["eager", "jit"])
def test_inputs_are_channels_last(transform):
    outputs, (image, features) = transform(capture_inputs(net))(X, KERNEL)
    np.testing.assert_allclose(outputs["y"], net(X, KERNEL)["y"], rtol=1e-6)
    np.testing.assert_array_equal(image, X.transpose(0, 2, 3, 1))
    assert features.shape == (2, 5, 6, 5)
    np.testing.assert_allclose(features[:, ::2, ::2], outputs["y"].transpose(0, 2, 3, 1), rtol=1e-6)


def test_under_vmap_and_grad():
    captured = capture_inputs(net, where=1)
    _, (features,) = captured(X, KERNEL)
    _, (mapped,) = jax.vmap(captured, (0, None))(X[:, None], KERNEL)
    np.testing.assert_allclose(mapped[:, 0], features, atol=1e-6)

    def loss(kernel):
        outputs, (features,) = captured(X, kernel)
        return outputs["y"].sum() + features.sum()

    gradient = jax.grad(loss)(KERNEL)
    assert np.abs(gradient).max() > 0


def test_rounds_are_stacked_and_branches_not_taken_are_nan():
    def rounds(x):
        return lax.scan(lambda c, _: (c + 1, c[::2, ::2]), x, None, length=3)

    _, (entering,) = capture_inputs(rounds)(jnp.ones((4, 4)))
    np.testing.assert_array_equal(entering[:, 0, 0, 0], [1, 2, 3])

    def branches(x):
        return lax.cond(x[0, 0] > 5, lambda x: x[::2, ::2], lambda x: x[1::2, 1::2], x)

    _, (taken, other) = capture_inputs(branches)(jnp.ones((4, 4)))
    assert (taken == 1).all() and np.isnan(other).all()


def test_no_such_operator():
    lines = r"0 conv 'test_capture.py:\d+', 1 slice 'test_capture.py:\d+'"
    with pytest.raises(InputError, match=lines):
        capture_inputs(net, where="stage2")(X, KERNEL)
