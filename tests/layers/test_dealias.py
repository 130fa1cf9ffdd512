"""The filters as layers."""

import inspect

import jax
import jax.numpy as jnp
import numpy as np
import published
import pytest
from flax import nnx
from flax.nnx import bridge

from segalias_jax import layers, ops
from segalias_jax.errors import InputError


def test_filter_is_the_low_pass():
    x = jax.random.normal(jax.random.key(0), (2, 12, 17, 3))
    for options in ({}, {"band": "reference"}, {"method": "fft"}):
        expected = jax.jit(lambda x, options=options: ops.low_pass(x, 0.35, **options))(x)
        found = jax.jit(layers.DeAliasingFilter(0.35, **options))(x)
        np.testing.assert_array_equal(found, expected)


def test_filters_have_no_parameters():
    for layer in (layers.DeAliasingFilter(0.3), layers.BlurPool(3)):
        assert not jax.tree.leaves(nnx.state(layer))


def test_nothing_is_left_to_fold():
    """Behind the filter a stride changes no frequency: the aliasing score is 0."""
    x = jax.random.normal(jax.random.key(0), (1, 32, 32, 4))
    assert float(ops.aliasing_score(x, 0.25)[0]) > 50
    assert float(ops.aliasing_score(layers.DeAliasingFilter(0.25)(x), 0.25)[0]) < 1e-9


def test_cutoff_is_checked_at_once():
    with pytest.raises(InputError, match="cutoff is 0.6"):
        layers.DeAliasingFilter(0.6)


def test_linen_users_can_wrap_it():
    import flax.linen as nn
    from flax.nnx import bridge

    class Model(nn.Module):
        @nn.compact
        def __call__(self, x):
            return bridge.to_linen(layers.DeAliasingFilter, 0.25, skip_rng=True)(x)

    x = jax.random.normal(jax.random.key(0), (1, 8, 8, 2))
    y, _ = Model().init_with_output(jax.random.key(0), x)
    np.testing.assert_allclose(y, ops.low_pass(x, 0.25), atol=1e-6)


@pytest.mark.parametrize("name", ["c16_g4_k5", "c32_g8_k3", "c64_g8_k3"])
@pytest.mark.parametrize("case", ["n1_16x16", "n2_17x23"])
def test_published_adaptive_blur(golden, assert_recorded, name, case):
    z = golden(f"c_adablur_{name}")
    channels, groups, kernel_size = (int(word[1:]) for word in name.split("_"))
    with jax.enable_x64(True):
        blurs = {
            stride: layers.AdaptiveBlur(
                channels,
                kernel_size=kernel_size,
                groups=groups,
                stride=stride,
                softmax="all",
                rngs=nnx.Rngs(0),
            )
            for stride in (1, 2)
        }
        for blur in blurs.values():
            published.load_published(blur, lambda key, _: z[f"w.{key}"], np.float64)
        x = jnp.asarray(np.moveaxis(z[f"x_{case}"], 1, -1), jnp.float64)
        cotangents = {
            s: jnp.asarray(np.moveaxis(z[f"ct_eval_{case}_s{s}"], 1, -1), jnp.float64)
            for s in blurs
        }

        @nnx.jit
        def run(blurs, x, cotangents):  # one program for both strides, which share most of it
            found = {}
            for stride, blur in blurs.items():
                blur.eval()
                y, pullback = jax.vjp(blur, x)
                gradient = pullback(cotangents[stride])[0]
                blur.train()
                found[stride] = {"y_eval": y, "gx_eval": gradient, "y_train": blur(x)}
            return found

        found = run(blurs, x, cotangents)
    for stride, outputs in found.items():
        for key, ours in outputs.items():
            # Recorded in float32, with errors up to 1e-6 of the largest value.
            recorded = z[f"{key}_{case}_s{stride}"]
            assert_recorded(np.moveaxis(np.asarray(ours), -1, 1), recorded, 5e-6)


def test_adaptive_blur_by_group_keeps_constants():
    x = jnp.full((2, 7, 9, 12), 3.0)
    blur, run = (
        layers.AdaptiveBlur(12, groups=3, rngs=nnx.Rngs(0)),
        nnx.jit(lambda blur, x: blur(x)),
    )
    np.testing.assert_allclose(run(blur, x), 3.0, rtol=1e-6)
    noise = np.random.default_rng(0).normal(size=x.shape).astype(np.float32)
    changed = noise.copy()
    changed[1] = 0.0
    blur.eval()
    np.testing.assert_array_equal(run(blur, noise)[0], run(blur, changed)[0])


@pytest.mark.parametrize("size", ["16x16", "32x48", "64x20"])
def test_published_low_cut(golden, assert_recorded, size):
    z = golden("a_flc_pooling")

    @jax.jit
    def run(x, cotangent):
        y, pullback = jax.vjp(layers.FrequencyLowCut(2, band="reference"), x)
        return y, pullback(cotangent)[0]

    y, gradient = run(*(np.moveaxis(z[f"ds_{key}_{size}"], 1, -1) for key in ("x", "ct")))
    assert_recorded(np.moveaxis(y, -1, 1), z[f"ds_y_{size}"], 1e-6)
    assert_recorded(np.moveaxis(gradient, -1, 1), z[f"ds_gx_{size}"], 1e-6)


@pytest.mark.parametrize("size", [(8, 8), (9, 7), (1, 2)], ids=str)
def test_low_cut_halves_and_keeps_what_fits(size):
    height, width = size
    x = jnp.full((1, height, width, 2), 3.0)
    y = jax.jit(layers.FrequencyLowCut(2))(x)
    assert y.shape == (1, -(-height // 2), -(-width // 2), 2)
    np.testing.assert_allclose(y, 3.0, rtol=1e-5)


@pytest.mark.parametrize("size", [(5, 7), (9, 10), (18, 8), (6, 11), (2, 3)], ids=str)
def test_low_cut_of_the_published_bins_at_any_size(size):
    """Sides that 4 does not divide, against transforms in float64: gain n / m along each axis."""
    x = np.random.default_rng(0).normal(size=(*size, 2))
    y = np.fft.fft2(x, axes=(0, 1))
    for axis, n in enumerate(size):
        bins = np.arange(n // 4, 3 * n // 4) - n // 2
        samples = np.arange(len(bins))
        waves = np.exp(2j * np.pi * np.outer(samples, bins) / len(bins)) / len(bins)
        y = np.moveaxis(np.tensordot(waves, np.take(y, bins % n, axis), (1, axis)), 0, axis)
    with jax.enable_x64(True):
        ours = jax.jit(layers.FrequencyLowCut(2, band="reference"))(x[None])[0]
    np.testing.assert_allclose(ours, y.real, atol=1e-12)
    if not any(n % 4 == 2 for n in size):
        # As published: of those lengths, the shift back would take another bin for the zeroth.
        shifted = np.fft.fftshift(np.fft.fft2(x, axes=(0, 1)), (0, 1))
        crop = shifted[tuple(slice(int(n / 4), int(3 * n / 4)) for n in size)]
        published = np.fft.ifft2(np.fft.ifftshift(crop, (0, 1)), axes=(0, 1)).real
        np.testing.assert_allclose(ours, published, atol=1e-12)


def test_low_cut_is_low_pass_then_stride():
    """Of a signal within the band, cropping the spectrum is reading every second pixel."""
    x = jax.random.normal(jax.random.key(0), (1, 16, 16, 3))
    smooth = ops.low_pass(x, 0.2)
    np.testing.assert_allclose(layers.FrequencyLowCut(2)(smooth), smooth[:, ::2, ::2], atol=1e-6)


@pytest.mark.parametrize("size", [(16, 20), (13, 9)], ids=str)
def test_learnable_cutoff_of_no_width_is_the_exact_band(size):
    x = jax.random.normal(jax.random.key(0), (2, *size, 3))
    for cutoff in (0.2, 0.25, 0.35, 0.5):
        layer = layers.DeAliasingFilter(cutoff, learnable=True, width=0.0)
        exact = layers.DeAliasingFilter(cutoff)
        found, expected = jax.jit(lambda x, both=(layer, exact): [f(x) for f in both])(x)
        np.testing.assert_allclose(found, expected, atol=2e-6)


@pytest.mark.parametrize("width", [1.0, 3.0])
@pytest.mark.parametrize("cutoff", [0.23, 0.35])
def test_gradient_of_the_cutoff(width, cutoff):
    with jax.enable_x64(True):
        x = np.random.default_rng(0).normal(size=(1, 16, 23, 2))

        @jax.jit
        @jax.value_and_grad
        def loss(cutoff):
            return jnp.sum(jnp.sin(ops.soft_low_pass(jnp.asarray(x), cutoff, width=width)))

        numeric = (loss(cutoff + 1e-6)[0] - loss(cutoff - 1e-6)[0]) / 2e-6
        gradient = loss(cutoff)[1]
        assert abs(gradient) > 1e-3
        np.testing.assert_allclose(gradient, numeric, rtol=1e-7)


def test_cutoff_learns_what_a_task_needs():
    """Asked for the low frequencies of an image, it finds the cutoff they were made with."""
    x = jax.random.normal(jax.random.key(0), (1, 32, 32, 4))
    wanted = ops.low_pass(x, 0.3)
    layer = layers.DeAliasingFilter(0.2, learnable=True, width=4.0)

    @nnx.jit
    def step(layer):
        gradient = nnx.grad(lambda layer: jnp.mean((layer(x) - wanted) ** 2))(layer)
        layer.cutoff[...] -= 0.05 * gradient.cutoff[...]

    for _ in range(100):
        step(layer)
    np.testing.assert_allclose(layer.cutoff[...], 0.3, atol=0.02)


@pytest.mark.parametrize(
    "make,message",
    [
        (lambda r: layers.DeAliasingFilter(0.3, band="round"), "band is 'round'"),
        (lambda r: layers.DeAliasingFilter(0.3, method="dct"), "method is 'dct'; choose one of"),
        (lambda r: layers.DeAliasingFilter(0.3, learnable=True, method="fft"), "a learnable"),
        (lambda r: layers.DeAliasingFilter(0.3, learnable=True, width=-1.0), "width is -1.0"),
        (lambda r: layers.FrequencyLowCut(0), "stride is 0"),
        (lambda r: layers.AdaptiveBlur(8, kernel_size=2, rngs=r), "kernel_size is 2"),
        (lambda r: layers.AdaptiveBlur(8, groups=3, rngs=r), "groups is 3"),
        (lambda r: layers.AdaptiveBlur(8, softmax="none", rngs=r), "softmax is 'none'"),
        (lambda r: layers.AdaptiveBlur(8, rngs=r)(jnp.ones((1, 1, 4, 8))), "has 1x4"),
    ],
)
def test_wrong_arguments(make, message):
    with pytest.raises(InputError, match=message):
        make(nnx.Rngs(0))


LAYERS = {
    "AdaptiveBlur": lambda: ((16,), {"groups": 4}),
    "AdaptiveWeightedDownsampling": lambda: ((16,), {}),
    "AtrousPyramidPooling": lambda: ((16, 8), {"dilations": (1, 2)}),
    "BatchNorm": lambda: ((16,), {}),
    "BlurPool": lambda: ((3,), {}),
    "Conv": lambda: ((16, 8, 3), {}),
    "ConvNormAct": lambda: ((16, 8, 3), {}),
    "DeAliasingFilter": lambda: ((0.3,), {"learnable": True}),
    "FreqMix": lambda: ((16,), {}),
    "FrequencyLowCut": lambda: ((2,), {}),
    "GroupNorm": lambda: ((16,), {"groups": 4}),
    "LayerNorm": lambda: ((16,), {}),
    "Linear": lambda: ((16, 8), {}),
    "MedianFilter": lambda: ((3,), {}),
    "ResponseNorm": lambda: ((16,), {}),
    "PyramidPooling": lambda: ((16, 8), {"pool_scales": (1, 2)}),
    "SeparableConvNormAct": lambda: ((16, 8), {}),
    "SmoothConvolutionBranch": lambda: ((16,), {}),
    "UpConv": lambda: ((16, 8), {}),
}


def takes_rngs(name):
    return "rngs" in inspect.signature(getattr(layers, name).__init__).parameters


@pytest.mark.parametrize("name", [n for n in layers.__all__ if n != "UPSAMPLE"])
def test_linen_takes_every_layer(name):
    arguments, options = LAYERS[name]()
    kind, x = getattr(layers, name), jax.random.normal(jax.random.key(0), (2, 8, 9, 16))
    module = bridge.to_linen(kind, *arguments, **options, skip_rng=not takes_rngs(name))
    size = ((16, 18),) if name == "UpConv" else ()

    @jax.jit
    def run(x):
        variables = module.init(jax.random.key(0), x, *size)
        return module.apply(variables, x, *size, mutable=["batch_stats"])

    y, changed = run(x)

    def make():
        rngs = {"rngs": nnx.Rngs(1)} if takes_rngs(name) else {}
        return kind(*arguments, **options, **rngs)

    ours = nnx.eval_shape(make)
    expected = nnx.eval_shape(lambda ours, x: ours(x, *size), ours, x)
    assert y.shape == expected.shape and y.dtype == jnp.float32
    if jax.tree.leaves(nnx.state(ours, nnx.BatchStat)):
        assert jax.tree.leaves(changed), "running statistics stayed"


def test_adaptive_blur_under_functional_use():
    blur = layers.AdaptiveBlur(16, groups=4, rngs=nnx.Rngs(0))
    graph, state = nnx.split(blur)
    x = jax.random.normal(jax.random.key(0), (2, 8, 9, 16))

    def loss(x, **options):
        return jnp.sum(nnx.merge(graph, state, **options)(x) ** 2)

    with pytest.raises(InputError, match=r"call model.eval\(\) first"):
        jax.grad(loss)(x)
    assert jax.eval_shape(jax.grad(lambda x: loss(x, copy=True)), x).shape == x.shape
    blur.eval()
    graph, state = nnx.split(blur)
    y, one, more, none, gradient = jax.jit(
        lambda x: (blur(x), blur(x[0]), blur(x[None]), blur(x[:0]), jax.grad(loss)(x))
    )(x)
    np.testing.assert_allclose(one, y[0], atol=1e-6)
    np.testing.assert_allclose(more, y[None], atol=1e-6)
    assert none.shape == (0, 8, 9, 16) and gradient.shape == x.shape
