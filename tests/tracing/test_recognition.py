"""Every form of a downsampling operator, in any layout, and what is none."""

import jax
import jax.numpy as jnp
import pytest
from flax import nnx
from jax import lax

from segalias_jax import ops
from segalias_jax.tracing import find_operators


def described(function, *shapes, dtype=jnp.float32):
    found = find_operators(function, *(jax.ShapeDtypeStruct(shape, dtype) for shape in shapes))
    return [
        (o.kind, o.kernel_size, o.stride, (o.in_channels, o.out_channels), o.spatial_axes)
        for o in found
    ]


def convolution(x, kernel, layout=("NHWC", "HWIO", "NHWC"), **options):
    options = {"window_strides": (2, 2), "padding": "SAME"} | options
    return lax.conv_general_dilated(x, kernel, dimension_numbers=layout, **options)


@pytest.mark.parametrize(
    "layout, shape, kernel, axes",
    [
        (("NHWC", "HWIO", "NHWC"), (2, 9, 8, 4), (3, 3, 4, 6), (1, 2)),
        (("NCHW", "OIHW", "NCHW"), (2, 4, 9, 8), (6, 4, 3, 3), (2, 3)),
        (("HWNC", "HWIO", "NHWC"), (9, 8, 2, 4), (3, 3, 4, 6), (0, 1)),
    ],
)
def test_convolutions_in_any_layout(layout, shape, kernel, axes):
    found = described(lambda x, k: convolution(x, k, layout), shape, kernel)
    assert found == [("conv", (3, 3), (2, 2), (4, 6), axes)]


@pytest.mark.parametrize(
    "kernel, options, expected",
    [
        ((3, 3, 1, 4), {"feature_group_count": 4}, ((3, 3), (2, 2), (4, 4))),
        ((3, 3, 4, 6), {"rhs_dilation": (2, 3)}, ((5, 7), (2, 2), (4, 6))),
        ((1, 5, 4, 6), {"window_strides": (2, 3)}, ((1, 5), (2, 3), (4, 6))),
        ((3, 3, 4, 6), {"padding": "VALID"}, ((3, 3), (2, 2), (4, 6))),
    ],
)
def test_grouped_dilated_and_uneven_convolutions(kernel, options, expected):
    found = described(lambda x, k: convolution(x, k, **options), (1, 16, 16, 4), kernel)
    assert found == [("conv", *expected, (1, 2))]


def pool(x, window, stride, function=lax.max, start=-jnp.inf):
    return lax.reduce_window(x, start, function, window, stride, "SAME")


@pytest.mark.parametrize(
    "function, shape, kind, size, channels, axes",
    [
        (lambda x: pool(x, (1, 3, 3, 1), (1, 2, 2, 1)), (1, 8, 9, 4), "max_pool", 3, 4, (1, 2)),
        (lambda x: pool(x, (1, 1, 2, 2), (1, 1, 2, 2)), (1, 4, 8, 9), "max_pool", 2, 4, (2, 3)),
        (lambda x: pool(x, (1, 2, 2), (1, 2, 2)), (4, 8, 8), "max_pool", 2, 4, (1, 2)),
        (lambda x: pool(x, (2, 2), (2, 2), lax.add, 0.0), (8, 8), "avg_pool", 2, 1, (0, 1)),
        (lambda x: nnx.avg_pool(x, (2, 2), (2, 2)), (1, 8, 8, 4), "avg_pool", 2, 4, (1, 2)),
        (lambda x: ops.max_pool(x, 3, stride=2, padding=1), (1, 9, 8, 4), "max_pool", 3, 4, (1, 2)),
        (ops.average_pool_2x2, (1, 8, 8, 4), "avg_pool", 2, 4, (1, 2)),
        (
            lambda x: x.reshape(2, 4, 2, 4, 2, 3).mean((2, 4)),
            (2, 8, 8, 3),
            "avg_pool",
            2,
            3,
            (1, 2),
        ),
        (lambda x: x.reshape(3, 4, 2, 4, 2).max((2, 4)), (3, 8, 8), "max_pool", 2, 3, (1, 2)),
        (lambda x: x[:, ::2, ::2], (1, 9, 8, 4), "slice", 1, 4, (1, 2)),
    ],
)
def test_poolings_in_all_forms(function, shape, kind, size, channels, axes):
    expected = (kind, (size, size), (2, 2), (channels, channels), axes)
    assert described(function, shape) == [expected]


def test_what_is_padded_enters_without_padding():
    """Minus infinity around it, as poolings pad, has no spectrum."""

    def function(x, k):
        y = convolution(jnp.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0))), k, padding="VALID")
        return ops.max_pool(y, 3, stride=2, padding=1)

    shapes = (1, 9, 8, 4), (3, 3, 4, 6)
    found = find_operators(function, *(jax.ShapeDtypeStruct(s, jnp.float32) for s in shapes))
    assert [o.input_shape for o in found] == [(1, 9, 8, 4), (1, 5, 4, 6)]


def test_a_1x1_convolution_as_a_matrix_product():
    found = described(lambda x, k: ops.conv2d(x, k, stride=2), (1, 9, 8, 4), (1, 1, 4, 6))
    assert found == [("conv", (1, 1), (2, 2), (4, 6), (1, 2))]


@pytest.mark.parametrize("size", [3, 5])
def test_a_depthwise_convolution_as_shifted_products(size):
    """Each slice meets numbers of its own channels, as no average does."""

    def convolve(x, kernel):
        return ops.conv2d(x, kernel, stride=2, padding=size // 2, groups=6)

    found = described(convolve, (1, 16, 16, 6), (size, size, 1, 6))
    assert found == [("conv", (size, size), (2, 2), (6, 6), (1, 2))]


def test_slices_of_one_value_that_go_separate_ways():
    """Two matrix products of every second pixel and a pooling beside them are three operators."""

    def function(x, a, b):
        joined = x[:, ::2, ::2] @ a + jax.nn.relu(x[:, ::2, ::2] @ b)
        return joined, ops.average_pool_2x2(x) @ a

    *_, pool = found = described(function, (1, 8, 8, 4), (4, 6), (4, 6))
    assert [kind for kind, *_ in found] == ["conv", "conv", "block", "avg_pool"]
    assert {rest for _, *rest in map(tuple, found[:3]) for rest in [tuple(rest)]} == {
        ((1, 1), (2, 2), (4, 6), (1, 2))
    }
    assert pool == ("avg_pool", (2, 2), (2, 2), (4, 4), (1, 2))


def embed_by_reshape(x, matrix):
    b, h, w, c = x.shape
    x = x.reshape(b, h // 4, 4, w // 4, 4, c).transpose(0, 1, 3, 2, 4, 5)
    return x.reshape(b, -1, 16 * c) @ matrix


def embed_by_einsum(x, matrix):
    x = x.reshape(2, 4, 4, 2, 4, 3)
    return jnp.einsum("bhpwqc,pqcd->bhwd", x, matrix.reshape(4, 4, 3, 10))


def embed_by_slices(x, matrix):
    parts = [x[:, a::4, b::4] for a in range(4) for b in range(4)]
    return jnp.concatenate(parts, -1) @ matrix


def embed_by_convolution(x, matrix):
    return convolution(x, matrix.reshape(4, 4, 3, 10), window_strides=(4, 4))


@pytest.mark.parametrize(
    "embed", [embed_by_reshape, embed_by_einsum, embed_by_slices, embed_by_convolution]
)
def test_patch_embeddings_in_all_forms(embed):
    (found,) = described(embed, (2, 16, 8, 3), (48, 10))
    assert found[0] == ("conv" if embed is embed_by_convolution else "patches")
    assert found[1:] == ((4, 4), (4, 4), (3, 10), (1, 2))


def test_pixels_that_only_become_channels():
    def function(x):
        return x.reshape(3, 4, 2, 4, 2).transpose(1, 3, 0, 2, 4).reshape(16, 12)

    assert described(function, (3, 8, 8)) == [("patches", (2, 2), (2, 2), (3, 12), (1, 2))]


def windows(x):
    x = x.reshape(2, 2, 4, 2, 4, 3).transpose(0, 1, 3, 2, 4, 5)
    return x.reshape(8, 16, 3)


def upsampled(x, k):
    return convolution(x, k, padding=((1, 1), (1, 1)), lhs_dilation=(3, 3))


@pytest.mark.parametrize(
    "function, shapes",
    [
        (lambda x: x[..., ::2], [(2, 8, 8, 4)]),
        (lambda x: x[:, ::2], [(2, 8, 8, 4)]),
        (windows, [(2, 8, 8, 3)]),
        (upsampled, [(2, 8, 8, 3), (3, 3, 3, 3)]),
        (lambda x: ops.max_pool(x, 3, stride=1), [(2, 8, 8, 3)]),
        (lambda x: pool(x, (1, 2, 2, 2, 1), (1, 2, 2, 2, 1)), [(2, 8, 8, 8, 3)]),
        (lambda x, k: lax.conv(x, k, (2,), "SAME"), [(2, 3, 8), (4, 3, 3)]),
        (lambda x, k: lax.conv(x, k, (2, 2, 2), "SAME"), [(2, 3, 8, 8, 8), (4, 3, 3, 3, 3)]),
        (lambda x, k: convolution(x, k, window_strides=(2, 1)), [(2, 8, 8, 3), (3, 3, 3, 3)]),
        (lambda x: jax.image.resize(x, (2, 4, 4, 3), "linear"), [(2, 8, 8, 3)]),
    ],
)
def test_left_out(function, shapes):
    """One axis or three, windows of attention, and what does not lose pixels."""
    assert described(function, *shapes) == []


def test_under_vmap():
    def function(x, k):
        return jax.vmap(lambda image: pool(image, (1, 2, 2), (1, 2, 2)))(
            jax.vmap(lambda image: lax.conv(image[None], k, (2, 2), "SAME")[0])(x)
        )

    found = find_operators(function, jnp.ones((5, 3, 16, 16)), jnp.ones((7, 3, 3, 3)))
    assert [(o.kind, o.in_channels, o.out_channels, o.batch_axes) for o in found][1] == (
        "max_pool",
        7,
        7,
        (0,),
    )
    assert (found[0].kind, found[0].in_channels, found[0].out_channels) == ("conv", 3, 7)
