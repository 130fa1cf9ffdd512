"""Layers of low-light segmentation, against numbers recorded from the published code."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from golden.recipe_instances import recipe_array, recipe_input

from segalias_jax import layers, ops
from segalias_jax.errors import InputError

# Float32 against recorded float64: a few roundings of sums over 9 to 144 numbers.
TOLERANCE = 4e-6
AWD = {
    "awd0": ((2, 16, 12, 18), {}),
    "awd1": ((2, 8, 11, 13), {}),
    "awd2": ((1, 8, 9, 10), {"stride": 1}),
    "awd3": ((1, 16, 10, 12), {"groups": 4}),
}


def nhwc(array):
    return jnp.asarray(np.transpose(array, (0, 2, 3, 1)))


def filled(module, **names):
    """Gives a module the recipe's weights of the published names, by our paths."""
    for path, name in names.items():
        target = module
        for part in path.split("__"):
            target = getattr(target, part)
        shape = target.shape
        if len(shape) == 4:
            array = recipe_array(name, tuple(shape[i] for i in (3, 2, 0, 1)))
            array = np.transpose(array, (2, 3, 1, 0))
        else:
            array = recipe_array(name, shape)
        target.set_value(jnp.asarray(array))
    return module


def awd(name):
    shape, options = AWD[name]
    layer = layers.AdaptiveWeightedDownsampling(shape[1], **options, rngs=nnx.Rngs(0))
    return filled(
        layer,
        conv__kernel=f"{name}.weight_net.0.weight",
        norm__scale=f"{name}.weight_net.1.weight",
        norm__bias=f"{name}.weight_net.1.bias",
        norm__mean=f"{name}.weight_net.1.running_mean",
        norm__var=f"{name}.weight_net.1.running_var",
        squeeze__kernel=f"{name}.channel_net.1.weight",
        excite__kernel=f"{name}.channel_net.3.weight",
    )


@pytest.mark.parametrize("mode", ["eval", "train"])
@pytest.mark.parametrize("name", AWD)
def test_published_adaptive_weighted_downsampling(golden, assert_recorded, name, mode):
    z, layer = golden("i_lis_modules"), awd(name)
    getattr(layer, mode)()
    number = int(name[-1])
    x = nhwc(recipe_input(AWD[name][0], 8000 + number))
    graph, parameters, rest = nnx.split(layer, nnx.Param, ...)

    def forward(parameters, x):
        return nnx.merge(graph, parameters, rest, copy=True)(x)

    y, pull = jax.vjp(jax.jit(forward), parameters, x)
    g = nhwc(recipe_input((y.shape[0], y.shape[3], *y.shape[1:3]), 8020 + number))
    gradients, gx = pull(g)

    def nchw(array):
        return np.transpose(array, (0, 3, 1, 2))

    assert_recorded(nchw(y), z[f"{name}_{mode}_y"], TOLERANCE)
    assert_recorded(nchw(gx), z[f"{name}_{mode}_gx"], TOLERANCE)
    for part, published in (
        (gradients["conv"]["kernel"][...], "weight_net.0.weight"),
        (gradients["squeeze"]["kernel"][...], "channel_net.1.weight"),
        (gradients["excite"]["kernel"][...], "channel_net.3.weight"),
    ):
        recorded = z[f"{name}_{mode}_g_{published}"]
        assert_recorded(np.transpose(part, (3, 2, 0, 1)), recorded, TOLERANCE, published)


def test_weights_of_a_constant_map_are_a_mean():
    layer = layers.AdaptiveWeightedDownsampling(4, rngs=nnx.Rngs(0))
    y = layer(jnp.full((2, 3, 5, 7, 4), 3.0))  # any leading axes
    np.testing.assert_allclose(y, np.full((2, 3, 3, 4, 4), 3.0), rtol=1e-6)


def branch(name, channels, stride, dilation=1):
    layer = layers.SmoothConvolutionBranch(
        channels, stride=stride, dilation=dilation, rngs=nnx.Rngs(0)
    )
    filled(layer, conv__kernel=f"{name}.learnable_conv1.weight")
    taps = recipe_array(f"{name}.llpf.weight", (channels, 1, 3, 3))
    layer.taps.set_value(jnp.asarray(np.transpose(taps[:, 0], (1, 2, 0))))
    return layer


@pytest.mark.parametrize("name, channels", [("scb0", 12), ("scb1", 8), ("scb2", 8)])
def test_published_fold_of_the_smooth_branch(golden, assert_recorded, name, channels):
    z, layer = golden("i_lis_modules"), branch(name, channels, 1)
    kernel = recipe_array(f"{name}.conv2.weight", (channels, channels, 3, 3))
    folded = layer.folded(jnp.asarray(np.transpose(kernel, (2, 3, 1, 0))))
    assert_recorded(np.transpose(folded, (3, 2, 0, 1)), z[f"{name}_folded"], TOLERANCE)
    smoothing = np.transpose(layer.smoothing, (2, 0, 1))
    assert_recorded(smoothing.reshape(-1), z[f"{name}_llpf_softmax"].reshape(-1), TOLERANCE)


@pytest.mark.parametrize("stride, dilation, size", [(1, 1, (7, 9)), (2, 1, (8, 7)), (1, 2, (9, 9))])
def test_the_smooth_branch_folds_into_one_convolution(stride, dilation, size):
    layer = branch("scb1", 8, stride, dilation)
    x = jax.random.normal(jax.random.key(0), (2, *size, 8))
    kernel = jax.random.normal(jax.random.key(1), (3, 3, 8, 8)) / 9
    options = {"stride": stride, "padding": dilation, "dilation": dilation}
    both = ops.conv2d(x, kernel, **options) + layer(x)
    one = ops.conv2d(x, layer.folded(kernel), **options)
    # Sums of 72 products in another order.
    np.testing.assert_allclose(one, both, atol=1e-5)


def test_the_smooth_branch_starts_nearly_as_a_mean(golden):
    smoothing = layers.SmoothConvolutionBranch(5, rngs=nnx.Rngs(0)).smoothing
    recorded = golden("i_lis_modules")["llpf_at_initialisation"].reshape(3, 3)
    np.testing.assert_allclose(smoothing[..., 0], recorded, atol=1e-6)
    np.testing.assert_allclose(smoothing.sum((0, 1)), 1, atol=1e-6)


def test_errors():
    with pytest.raises(InputError, match="groups is 3, which does not divide 8 channels"):
        layers.AdaptiveWeightedDownsampling(8, groups=3, rngs=nnx.Rngs(0))
    with pytest.raises(InputError, match="channels is 2, but must be at least 4"):
        layers.AdaptiveWeightedDownsampling(2, rngs=nnx.Rngs(0))
    with pytest.raises(InputError, match="at least 2 pixels along each image axis"):
        layers.AdaptiveWeightedDownsampling(4, rngs=nnx.Rngs(0))(jnp.ones((1, 1, 4, 4)))
