"""Forms for platforms that are not here: chosen, lowered, and equal to those that are."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from segalias_jax import ops
from segalias_jax.errors import InputError
from segalias_jax.tracing import read_program


def names(function, *shapes):
    return {operation.name for operation in read_program(function, *shapes).operations}


def image(*shape):
    return jax.ShapeDtypeStruct(shape, jnp.float32)


def test_the_default_is_this_process():
    here = ops.current_target()
    assert here == ops.Target(jax.device_count(), jax.default_backend())
    with ops.target(1, "tpu"), ops.target(4, "cuda"):
        assert ops.current_target() == ops.Target(4, "cuda")
    assert ops.current_target() == here


@pytest.mark.parametrize(("devices", "platform"), [(0, "tpu"), (1, "npu")])
def test_what_is_no_target_is_refused(devices, platform):
    with pytest.raises(InputError, match="devices is 0|platform"), ops.target(devices, platform):
        pass


@pytest.mark.parametrize("platform", ["cpu", "cuda", "tpu"])
def test_a_large_low_pass_is_a_transform_but_on_a_tpu(platform):
    x = image(1, 512, 1024, 2)
    with ops.target(1, platform):
        found = names(lambda x: ops.low_pass(x, 0.25), x)
    assert ("fft" in found) == (platform != "tpu")
    with ops.target(2, platform):
        assert "fft" not in names(lambda x: ops.low_pass(x, 0.3), x)


def test_a_strided_1x1_is_a_convolution_but_on_a_cpu():
    """The gradient of a strided slice ahead of a product aborts XLA's compiler for GPUs."""
    x, kernel = image(1, 7, 8, 3), image(1, 1, 3, 5)

    def make():  # a new function, since a known one is not traced again
        return lambda x, kernel: ops.conv2d(x, kernel, stride=2)

    forms = {}
    for platform in ("cpu", "cuda", "tpu"):
        with ops.target(1, platform):
            found = names(make(), x, kernel)
            assert ("conv_general_dilated" in found) == (platform != "cpu")
            values = [
                np.asarray(jax.random.normal(jax.random.key(1), s.shape)) for s in (x, kernel)
            ]
            forms[platform] = jax.vjp(make(), *map(jnp.asarray, values))
    y, pull = forms["cpu"]
    # Sums of three products, in another order at most.
    np.testing.assert_allclose(forms["cuda"][0], y, rtol=1e-6, atol=1e-6)
    for ours, theirs in zip(forms["cuda"][1](y), pull(y), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("platform", ["cuda", "tpu"])
def test_programs_lower_for_their_target(platform):
    def loss(x, kernel):
        y = ops.low_pass(ops.conv2d(x, kernel, stride=2), 0.3)
        return jnp.sum(ops.max_pool(y, 3, stride=2, padding=1) ** 2)

    with ops.target(1, platform):
        traced = jax.jit(jax.grad(loss, (0, 1))).trace(image(1, 17, 24, 3), image(1, 1, 3, 5))
        assert "stablehlo" in traced.lower(lowering_platforms=(platform,)).as_text()
