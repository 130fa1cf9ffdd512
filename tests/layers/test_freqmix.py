"""FreqMix against the recordings of the published module, and against what it promises."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from segalias_jax import layers, ops
from segalias_jax.errors import InputError


def set_gate(conv, weight, bias):
    conv.kernel[...] = jnp.asarray(weight.transpose(2, 3, 1, 0))
    conv.bias[...] = jnp.asarray(bias)


def load(mixer, z, prefix="w."):
    """Published weights; the roll of the gate's input goes into its first weights."""
    set_gate(
        mixer.spatial_gate,
        z[f"{prefix}freq_weight_conv.weight"],
        z[f"{prefix}freq_weight_conv.bias"],
    )
    for gate, name in ((mixer.low_gate, "low"), (mixer.high_gate, "high")):
        key = f"{prefix}channel_att_{name}"
        first = z[f"{key}.1.weight"]
        set_gate(gate.reduce, np.roll(first, -(first.shape[1] // 2), 1), z[f"{key}.1.bias"])
        set_gate(gate.expand, z[f"{key}.3.weight"], z[f"{key}.3.bias"])


TAGS = [
    (33, activation, f"n2_{size}")
    for activation in ("sigmoid", "softmax")
    for size in ("16x16", "17x23")
] + [(64, "sigmoid", f"n{n}_{size}") for n in (1, 3) for size in ("16x16", "17x23")]


@pytest.mark.parametrize("channels, activation, tag", TAGS)
def test_published_module(golden, assert_recorded, channels, activation, tag):
    z = golden(f"b_freqmix_c{channels}")
    with jax.enable_x64(True):
        mixer = layers.FreqMix(
            channels, gate="corner", band="reference", activation=activation, rngs=nnx.Rngs(0)
        )
        load(mixer, z)
        params = nnx.state(mixer, nnx.Param)
        params = jax.tree.map(lambda p: p.astype(jnp.float64), params)
        x = jnp.asarray(np.moveaxis(z[f"x_{tag}"], 1, -1), jnp.float64)
        cotangent = jnp.asarray(np.moveaxis(z[f"ct_{tag}"], 1, -1), jnp.float64)
        found = with_and_without_residual(mixer, params, x, cotangent)
    for residual, (y, of_params, of_x) in enumerate(found):
        case = f"{activation}_res{residual}_{tag}"
        # Recorded in float32, with errors of some 1e-7 of the largest value.
        assert_recorded(np.moveaxis(y, -1, 1), z[f"y_{case}"], 1e-6)
        assert_recorded(np.moveaxis(of_x, -1, 1), z[f"gx_{case}"], 2e-6)
        if case.startswith("sigmoid_res0"):
            check_weight_gradients(of_params, z, f"gw_{case}.", assert_recorded)


def with_and_without_residual(mixer, params, x, cotangent):
    """Outputs and gradients without and with it, in one program: they share all but a sum."""
    graphs = []
    for mixer.residual in (False, True):
        graphs.append(nnx.graphdef(mixer))

    @jax.jit
    def run(params, x, cotangent):
        found = []
        for graph in graphs:
            y, pullback = jax.vjp(lambda p, x, graph=graph: nnx.merge(graph, p)(x), params, x)
            found.append((y, *pullback(cotangent)))
        return found

    return jax.device_get(run(params, x, cotangent))


def check_weight_gradients(of_params, z, prefix, assert_recorded):
    """Compares the gradient of every weight, brought into the published layout."""
    names = {
        "freq_weight_conv": of_params["spatial_gate"],
        "channel_att_low.1": of_params["low_gate"]["reduce"],
        "channel_att_low.3": of_params["low_gate"]["expand"],
        "channel_att_high.1": of_params["high_gate"]["reduce"],
        "channel_att_high.3": of_params["high_gate"]["expand"],
    }
    for name, ours in names.items():
        weight = ours["kernel"][...].transpose(3, 2, 0, 1)
        if name.endswith(".1"):
            weight = np.roll(weight, weight.shape[1] // 2, 1)
        assert_recorded(weight, z[f"{prefix}{name}.weight"], 5e-6, name)
        assert_recorded(ours["bias"][...], z[f"{prefix}{name}.bias"], 5e-6, name)


@pytest.mark.parametrize("gate", ["energy", "magnitude", "corner"])
@pytest.mark.parametrize("size", [(9, 11), (1, 1)], ids=str)
def test_no_sample_influences_another(gate, size):
    mixer = layers.FreqMix(32, gate=gate, rngs=nnx.Rngs(0))

    @jax.jit
    def run(x):
        def first(x):
            y = mixer(x)
            return y[0].sum(), y

        return jax.grad(first, has_aux=True)(x)

    x = np.random.default_rng(0).normal(size=(3, *size, 32)).astype(np.float32)
    changed = x.copy()
    changed[1] = 7.0
    gradient, y = run(x)
    np.testing.assert_array_equal(y[::2], run(changed)[1][::2])
    assert float(abs(gradient[0]).max()) > 0
    np.testing.assert_array_equal(gradient[1:], 0)
    # Of constant zeros too, where statistics have roots of nothing.
    assert np.isfinite(run(np.zeros_like(x))[0]).all()


def test_energy_and_magnitude_are_those_of_the_spectrum():
    from segalias_jax.layers import freqmix
    from segalias_jax.ops.band_power import split_bands_and_power

    @jax.jit
    def statistics(x):
        *bands, power = split_bands_and_power(x, 0.35)
        return [
            (band, jnp.sqrt(energy), freqmix._mean_magnitude(band))
            for band, energy in zip(bands, power, strict=True)
        ]

    x = np.random.default_rng(0).normal(size=(2, 9, 12, 3)).astype(np.float32)
    for band, energy, magnitude in statistics(x):
        spectrum = np.fft.fft2(np.asarray(band, np.float64), axes=(1, 2), norm="ortho")
        np.testing.assert_allclose(energy, np.sqrt((abs(spectrum) ** 2).mean((1, 2))), rtol=1e-5)
        # The small term under the root weighs where the band is empty.
        np.testing.assert_allclose(magnitude, abs(spectrum).mean((1, 2)), atol=1e-4)


@pytest.mark.parametrize("gate", ["energy", "magnitude", "corner"])
def test_gradient_against_finite_differences(gate):
    with jax.enable_x64(True):
        mixer = layers.FreqMix(8, gate=gate, reduction=2, cutoff=0.3, rngs=nnx.Rngs(0))
        x, direction = np.random.default_rng(0).normal(size=(2, 2, 6, 7, 8))

        @jax.jit
        @jax.value_and_grad
        def loss(t):
            return jnp.sum(jnp.sin(mixer(x + t * direction)))

        numeric = (loss(1e-5)[0] - loss(-1e-5)[0]) / 2e-5
        np.testing.assert_allclose(loss(0.0)[1], numeric, rtol=1e-7)


def test_cutoff_and_groups_are_used():
    mixers = [
        layers.FreqMix(8, rngs=nnx.Rngs(0), **options)
        for options in (
            {},
            {"cutoff": 0.2},
            {"band": "reference"},
            {"spatial_groups": 2},
            {"residual": True},
            {"activation": "softmax"},
            {"gate": "corner"},
            {"reduction": 2},
        )
    ]
    x = np.random.default_rng(0).normal(size=(1, 16, 16, 8)).astype(np.float32)
    outputs = jax.device_get(jax.jit(lambda x: [mixer(x) for mixer in mixers])(x))
    for i, a in enumerate(outputs):
        for b in outputs[:i]:
            assert float(abs(a - b).max()) > 1e-4


@pytest.mark.parametrize(
    "blocks, reduction, count",
    [((4, 6, 3), 16, 383_450), ((4, 23, 3), 16, 749_596), ((4, 6, 3), 4, 1_318_682)],
)
def test_parameter_count_of_the_paper(blocks, reduction, count):
    """What FreqMix adds to a ResNet-50, to a ResNet-101, and to a ResNet-50 at reduction 4."""
    total = 0
    for number, planes in zip(blocks, (128, 256, 512), strict=True):
        mixer = nnx.eval_shape(
            lambda planes=planes: layers.FreqMix(planes, reduction=reduction, rngs=nnx.Rngs(0))
        )
        total += number * sum(p.size for p in jax.tree.leaves(nnx.state(mixer, nnx.Param)))
    assert total == count


@pytest.mark.parametrize(
    "options,message",
    [
        ({"gate": "mean"}, "gate is 'mean'; choose one of energy, magnitude, corner"),
        ({"activation": "tanh"}, "activation is 'tanh'"),
        ({"cutoff": 0.7}, "cutoff is 0.7"),
        ({"reduction": 0}, "reduction is 0, but must be at least 1"),
        ({"spatial_groups": 3}, "spatial_groups is 3, which does not divide 8"),
    ],
)
def test_wrong_arguments(options, message):
    with pytest.raises(InputError, match=message):
        layers.FreqMix(8, rngs=nnx.Rngs(0), **options)


@pytest.mark.parametrize(
    ("gate", "leading"),
    [
        ("energy", ()),
        ("energy", (2, 3)),
        ("energy", (2, 0)),
        ("magnitude", (2, 3)),
        ("magnitude", (0,)),
        ("corner", (2, 3)),
        ("corner", (0,)),
    ],
)
def test_any_leading_axes(gate, leading):
    """One image alone, as Equinox calls layers; batches of batches; and none."""
    mixer = layers.FreqMix(8, gate=gate, reduction=2, rngs=nnx.Rngs(0))
    x = np.random.default_rng(0).normal(size=(*leading, 6, 7, 8)).astype(np.float32)

    @jax.jit
    def run(x):
        images = x.reshape(-1, 6, 7, 8)
        one_by_one = jax.lax.map(lambda image: mixer(image[None])[0], images) if x.size else images
        return mixer(x), one_by_one.reshape(x.shape), jax.grad(lambda x: mixer(x).sum())(x)

    y, one_by_one, gradient = run(x)
    assert y.shape == x.shape
    np.testing.assert_allclose(y, one_by_one, atol=1e-6)
    assert gradient.shape == x.shape


def gates(mixer):
    """The convolutions of all gates, by name."""
    return {
        "spatial": mixer.spatial_gate,
        **{
            f"{band}.{part}": getattr(getattr(mixer, f"{band}_gate"), part)
            for band in ("low", "high")
            for part in ("reduce", "expand")
        },
    }


def test_published_gates_start_as_pytorch_does():
    """kaiming_uniform with a = sqrt(5): uniform within +-1/sqrt(fan-in), biases too."""
    mixer = layers.FreqMix(512, gate="corner", spatial_groups=64, rngs=nnx.Rngs(0))
    fan_in = {"spatial": 9 * 512, "reduce": 512, "expand": 512 // 16}
    for name, conv in gates(mixer).items():
        bound = fan_in[name.split(".")[-1]] ** -0.5
        for draws in (np.asarray(conv.kernel[...]).ravel(), np.asarray(conv.bias[...])):
            count = draws.size
            assert abs(draws).max() <= bound, name
            # The largest of n uniform draws is within a fraction 12 / n of the bound, but for
            # one in e^12; mean and variance have deviations of 1 / sqrt(3 n) and 2 / (3 sqrt(5 n)).
            assert abs(draws).max() >= bound * (1 - 12 / count), name
            assert abs(draws.mean()) <= bound * 5 / (3 * count) ** 0.5, name
            spread = 5 * 2 / (3 * (5 * count) ** 0.5)
            assert abs((draws**2).mean() / bound**2 - 1 / 3) <= spread, name


def test_starts_are_apart_and_named():
    for gate in ("energy", "magnitude", "corner"):
        mixer = nnx.eval_shape(lambda gate=gate: layers.FreqMix(32, gate=gate, rngs=nnx.Rngs(0)))
        assert mixer.start == ("pytorch" if gate == "corner" else "even")
    even = gates(layers.FreqMix(8, gate="corner", start="even", rngs=nnx.Rngs(0)))
    assert not any(conv.bias[...].any() for conv in even.values())
    assert float(abs(even["spatial"].kernel[...]).max()) < 0.06  # normal, of deviation 0.01
    drawn = gates(layers.FreqMix(8, start="pytorch", rngs=nnx.Rngs(0)))
    assert all(conv.bias[...].any() for conv in drawn.values())


BOTH = ("spatial", "channel")


@pytest.mark.parametrize(
    "parts, options",
    [
        (BOTH, {"gate": "energy", "reduction": 2, "spatial_groups": 2}),
        (BOTH, {"gate": "corner", "reduction": 2, "band": "reference", "activation": "softmax"}),
        (("spatial",), {}),
        (("channel",), {"gate": "magnitude", "reduction": 2}),
    ],
    ids=str,
)
def test_identity_starts_as_one_and_learns(parts, options):
    mixer = layers.FreqMix(8, parts=parts, start="identity", rngs=nnx.Rngs(0), **options)
    x = jax.random.normal(jax.random.key(0), (2, 7, 8, 8))
    graph, parameters = nnx.split(mixer)

    @jax.jit
    def run(parameters, x):
        def cubes(parameters):
            y = nnx.merge(graph, parameters)(x)
            return (y**3).sum(), y

        return jax.grad(cubes, has_aux=True)(parameters)

    gradient, y = run(parameters, x)
    np.testing.assert_allclose(y, x, rtol=0, atol=2e-6)  # rounding of low + (x - low)
    last = [("spatial_gate",)] if "spatial" in parts else []
    last += [("low_gate", "expand"), ("high_gate", "expand")] if "channel" in parts else []
    for path in last:
        for leaf in ("kernel", "bias"):
            part = gradient
            for name in (*path, leaf):
                part = part[name]
            assert float(abs(part[...]).max()) > 1e-3, (path, leaf)


def test_one_part_alone_is_the_equation_without_the_other():
    """y = low s_low + high s_high, and y = low c_low + high c_high."""
    x = jax.random.normal(jax.random.key(0), (2, 7, 9, 8))
    band = "reference"
    both = layers.FreqMix(8, band=band, reduction=2, rngs=nnx.Rngs(0))
    spatial = layers.FreqMix(8, band=band, parts=("spatial",), rngs=nnx.Rngs(1))
    channel = layers.FreqMix(8, band=band, reduction=2, parts=("channel",), rngs=nnx.Rngs(2))
    spatial.spatial_gate = both.spatial_gate
    channel.low_gate, channel.high_gate = both.low_gate, both.high_gate

    @jax.jit
    def outputs(x):
        low, high = ops.split_bands(x, 0.35, band=band)
        s = jax.nn.sigmoid(both.spatial_gate(x))
        s = s[..., :1], s[..., 1:]
        c = [
            gate(jnp.sqrt((part**2).mean((1, 2)) + 1e-8))[:, None, None]
            for gate, part in ((both.low_gate, low), (both.high_gate, high))
        ]
        return (
            (spatial(x), low * s[0] + high * s[1]),
            (channel(x), low * c[0] + high * c[1]),
            (both(x), low * s[0] * c[0] + high * s[1] * c[1]),
        )

    for ours, expected in outputs(x):
        np.testing.assert_allclose(ours, expected, atol=1e-6)


def test_one_part_alone_has_its_parameters_only():
    counts = {}
    for parts in (("spatial",), ("channel",), ("channel", "spatial")):
        mixer = nnx.eval_shape(
            lambda parts=parts: layers.FreqMix(32, parts=parts, rngs=nnx.Rngs(0))
        )
        counts[parts] = sum(p.size for p in jax.tree.leaves(nnx.state(mixer, nnx.Param)))
    spatial, channel, both = counts.values()
    assert (spatial, channel) == (9 * 32 * 2 + 2, 2 * (32 * 2 + 2 + 2 * 32 + 32))
    assert both == spatial + channel


@pytest.mark.parametrize("options", [{"parts": ("spatial",)}, {"parts": ("channel",)}], ids=str)
def test_linen_users_get_the_same(options):
    x = jax.random.normal(jax.random.key(0), (2, 6, 7, 8))
    module = nnx.bridge.to_linen(layers.FreqMix, 8, **options)
    variables = jax.eval_shape(module.init, jax.random.key(0), x)
    assert jax.eval_shape(module.apply, variables, x).shape == x.shape
    names = set(variables["params"])
    assert ("spatial_gate" in names) == ("spatial" in options["parts"])
    assert ("low_gate" in names) == ("channel" in options["parts"])


@pytest.mark.parametrize(
    "options,message",
    [
        ({"parts": ()}, r"parts is \(\); name spatial or channel, or both, once each"),
        ({"parts": ("spatial", "spatial")}, "or both, once each"),
        ({"parts": ("spatal",)}, "part is 'spatal'; did you mean 'spatial'?"),
        ({"parts": ("spatial",), "gate": "corner"}, "gate or reduction is set, but parts is"),
        ({"parts": ("spatial",), "reduction": 4}, "gate or reduction is set, but parts is"),
        (
            {"parts": ("channel",), "activation": "softmax"},
            "spatial_groups or activation is set, but parts is",
        ),
        ({"start": "zeros"}, "start is 'zeros'; choose one of even, pytorch, identity"),
        ({"start": "identity", "residual": True}, "start is 'identity', but residual adds"),
    ],
)
def test_parts_and_starts_that_cannot_be(options, message):
    with pytest.raises(InputError, match=message):
        layers.FreqMix(8, rngs=nnx.Rngs(0), **options)
