"""Every form of the convolution against one direct sum, forward and gradient."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from segalias_jax import ops
from segalias_jax.ops import conv
from segalias_jax.tracing import read_program

CASES = {
    "1x1": dict(kernel=(1, 1, 4, 6)),
    "1x1 strided": dict(kernel=(1, 1, 4, 6), stride=2),
    "3x3": dict(kernel=(3, 3, 4, 6), padding=1),
    "3x3 strided": dict(kernel=(3, 3, 4, 6), stride=2, padding=1),
    "3x3 dilated": dict(kernel=(3, 3, 4, 6), padding=2, dilation=2),
    "3x3 to two channels": dict(kernel=(3, 3, 4, 2), padding=1),
    "3x3 to two channels, no padding": dict(kernel=(3, 3, 4, 2)),
    "depthwise": dict(kernel=(3, 3, 1, 4), padding=1, groups=4),
    "depthwise, more padding than reach": dict(kernel=(3, 2, 1, 4), padding=4, groups=4),
    "depthwise, no padding": dict(kernel=(5, 3, 1, 4), groups=4),
    "depthwise strided": dict(kernel=(3, 3, 1, 4), stride=2, padding=1, groups=4),
    "depthwise strided, 5x5": dict(kernel=(5, 5, 1, 4), stride=2, padding=2, groups=4),
    "depthwise by 3, no padding": dict(kernel=(2, 3, 1, 4), stride=3, groups=4),
    "depthwise, same": dict(kernel=(5, 5, 1, 4), stride=2, padding="same", groups=4),
    "same": dict(kernel=(3, 3, 4, 6), stride=2, padding="same"),
    "same, size kept": dict(kernel=(3, 3, 4, 6), padding="same"),
    "depthwise dilated": dict(kernel=(3, 3, 1, 4), padding=2, dilation=2, groups=4),
    "two groups": dict(kernel=(3, 3, 2, 6), padding=1, groups=2),
}


def direct(x, kernel, stride=1, padding=0, dilation=1, groups=1):
    k1, k2, d, outputs = kernel.shape
    pads = ((padding, padding), (padding, padding))
    if padding == "same":
        sizes, reach = x.shape[1:3], [dilation * (k - 1) + 1 for k in (k1, k2)]
        pads = jax.lax.padtype_to_pads(sizes, reach, (stride, stride), "SAME")
    x = jnp.pad(x, ((0, 0), *pads, (0, 0)))
    rows = (x.shape[1] - dilation * (k1 - 1) - 1) // stride + 1
    columns = (x.shape[2] - dilation * (k2 - 1) - 1) // stride + 1
    groups_of_x = jnp.split(x, groups, -1)
    parts = []
    for part, weights in zip(groups_of_x, jnp.split(kernel, groups, -1), strict=True):
        total = 0
        for a in range(k1):
            for b in range(k2):
                top, left = a * dilation, b * dilation
                window = part[
                    :, top : top + stride * rows : stride, left : left + stride * columns : stride
                ][:, :rows, :columns]
                total += jnp.einsum("bhwc,co->bhwo", window, weights[a, b])
        parts.append(total)
    return jnp.concatenate(parts, -1)


@pytest.mark.parametrize("devices", [1, 8])
@pytest.mark.parametrize("case", CASES)
def test_forward_and_gradient(case, devices, monkeypatch):
    """The form of a 1x1 convolution depends on whether arrays can be sharded."""
    if devices == 1 and "1x1" not in case and "two channels" not in case:
        pytest.skip("the same form")
    monkeypatch.setattr(jax, "device_count", lambda: devices)
    options = dict(CASES[case])
    with jax.enable_x64(True):
        kernel = jax.random.normal(jax.random.key(0), options.pop("kernel"), jnp.float64)
        x = jax.random.normal(jax.random.key(1), (2, 9, 8, 4), jnp.float64)
        both = []
        for function in (ops.conv2d, direct):
            value = jax.value_and_grad(
                lambda x, k, f=function: jnp.sum(jnp.sin(f(x, k, **options))), argnums=(0, 1)
            )
            both.append(jax.jit(value)(x, kernel))
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-11), *both)


def test_computes_in_the_type_of_its_input():
    x = jnp.ones((1, 4, 4, 2), jnp.bfloat16)
    for outputs in (2, 8):
        assert ops.conv2d(x, jnp.ones((3, 3, 2, outputs)), padding=1).dtype == jnp.bfloat16


def test_one_device_has_one_axis_of_pixels(monkeypatch):
    """Also in the weight gradient, which else is a product over three axes."""

    def contracted():
        gradient = jax.grad(lambda k, x: jnp.sum(ops.conv2d(x, k) ** 2))
        program = read_program(gradient, jnp.ones((1, 1, 4, 6)), jnp.ones((2, 4, 4, 4)))
        return {
            len(operation.parameters["dimension_numbers"][0][0])
            for operation in program.operations
            if operation.name == "dot_general"
        }

    assert contracted() == {1, 3}
    monkeypatch.setattr(jax, "device_count", lambda: 1)
    assert contracted() == {1}


def test_sharded_rows_are_not_gathered():
    mesh = jax.make_mesh((8,), ("rows",), axis_types=(AxisType.Auto,))
    sharding = NamedSharding(mesh, PartitionSpec(None, "rows"))
    gradient = jax.jit(
        jax.grad(lambda k, x: jnp.sum(jnp.sin(ops.conv2d(x, k)))), in_shardings=(None, sharding)
    )
    kernel, x = (jax.ShapeDtypeStruct(s, jnp.float32) for s in ((1, 1, 4, 6), (2, 16, 8, 4)))
    text = gradient.lower(kernel, x).compile().as_text()
    assert "all-reduce" in text and "all-gather" not in text


def test_depthwise_in_bfloat16_sums_in_float32():
    """49 products of a constant: a sum in bfloat16 would stop growing."""
    x, kernel = jnp.full((1, 7, 7, 2), 1.0, jnp.bfloat16), jnp.full((7, 7, 1, 2), 0.01)
    y, pullback = jax.vjp(lambda x, k: ops.conv2d(x, k, groups=2), x, kernel)
    assert y.dtype == jnp.bfloat16
    rounded = float(jnp.bfloat16(0.01)) * 49
    np.testing.assert_allclose(y.astype(jnp.float32), rounded, rtol=2**-8)  # one rounding
    of_x, of_kernel = pullback(jnp.ones_like(y))
    assert (of_x.dtype, of_kernel.dtype) == (jnp.bfloat16, jnp.float32)
    np.testing.assert_array_equal(of_kernel, 1)


def test_same_padding_of_any_size():
    """In a program for all sizes, where zeros begin is known only when it runs."""
    dense, own = jax.random.normal(jax.random.key(0), (2, 3, 3, 4, 4))
    own = own[:, :, :1]

    def run(x):
        x = ops.conv2d(x, dense, stride=2, padding="same")
        return ops.conv2d(x, own, stride=2, padding="same", groups=4)

    sides = jax.export.symbolic_shape("h, w", constraints=["h >= 4", "w >= 4"])
    image = jax.ShapeDtypeStruct((1, *sides, 4), jnp.float32)
    program = jax.export.export(jax.jit(run))(image)
    for size in ((9, 8), (6, 7)):
        x = jax.random.normal(jax.random.key(1), (1, *size, 4))
        # The same products, summed in float32 in another order.
        np.testing.assert_allclose(program.call(x), run(x), atol=1e-5)


@pytest.mark.parametrize(
    "shape, side, padding",
    [((9, 5, 7, 3), 3, 1), ((1, 33, 6, 2), 5, 2), ((2, 20, 8, 5), 3, 0), ((3, 11, 4, 2), 2, 1)],
)
def test_derivatives_of_large_maps_are_taken_in_parts(shape, side, padding, monkeypatch):
    """Parts of a batch, and of an image's rows, along both arguments and along each."""
    monkeypatch.setattr(jax, "device_count", lambda: 1)
    monkeypatch.setattr(conv, "_PART", 80)
    random = np.random.default_rng(0)
    x = jnp.asarray(random.normal(size=shape), jnp.float32)
    kernel = jnp.asarray(random.normal(size=(side, side, shape[-1], 8)), jnp.float32)
    axes, pads = ("NHWC", "HWIO", "NHWC"), ((padding, padding),) * 2

    def ours(x, k):
        return jnp.sin(ops.conv2d(x, k, padding=padding))

    def plain(x, k):
        y = jax.lax.conv_general_dilated(x, k, (1, 1), pads, dimension_numbers=axes)
        return jnp.sin(y)

    def derivatives(convolve):
        y, pull = jax.vjp(convolve, x, kernel)
        _, along = jax.jvp(convolve, (x, kernel), (x + 1, kernel - 1))
        _, along_x = jax.jvp(lambda x: convolve(x, kernel), (x,), (x + 1,))
        (of_kernel,) = jax.vjp(lambda k: convolve(x, k), kernel)[1](y)
        return (*pull(y), along, along_x, of_kernel)

    assert "custom_jvp" in str(jax.make_jaxpr(ours)(x, kernel))
    found, expected = jax.jit(lambda: derivatives(ours))(), jax.jit(lambda: derivatives(plain))()
    for one, other in zip(found, expected, strict=True):
        # Sums of up to 200 products in another order.
        np.testing.assert_allclose(one, other, rtol=0, atol=1e-5 * np.abs(other).max())
