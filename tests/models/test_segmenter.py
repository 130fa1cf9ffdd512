"""Models by name: shapes, gradients, errors, and what their options change."""

import jax
import jax.numpy as jnp
import numpy as np
import published
import pytest
from flax import nnx
from golden.recipe import recipe_array

from segalias_jax import layers, models
from segalias_jax.errors import InputError

TINY = dict(width=8, channels=8, auxiliary_channels=8)


def build(**config):
    return models.create_model(TINY | config, num_classes=5, rngs=nnx.Rngs(0))


@pytest.mark.parametrize("encoder", ["resnet18", "resnet34", "resnet50", "resnet101"])
def test_shapes_of_every_encoder(encoder):
    def run():
        model = build(encoder=encoder, downsample="daf", mixer="freqmix")
        channels.extend(model.encoder.channels)
        return model.with_auxiliary(jnp.ones((2, 65, 96, 3)))

    channels = []
    logits, (auxiliary,) = jax.eval_shape(run)
    assert logits.shape == auxiliary.shape == (2, 65, 96, 5)
    assert channels[-1] == 64 * (1 if encoder in ("resnet18", "resnet34") else 4)


def test_published_parameter_counts():
    """Recorded: 31,156,742 with the auxiliary head; FreqMix adds 383,450 to a ResNet-50."""
    counts = {}
    for mixer in ("none", "freqmix"):
        model = nnx.eval_shape(
            lambda mixer=mixer: models.create_model(
                {"mixer": mixer}, num_classes=19, rngs=nnx.Rngs(0)
            )
        )
        counts[mixer] = sum(p.size for p in jax.tree.leaves(nnx.state(model, nnx.Param)))
    assert counts["none"] == 31_156_742
    assert counts["freqmix"] - counts["none"] == 383_450


@pytest.fixture(scope="module")
def trained_step():
    """Gradients of the full method, on an odd size."""
    model = build(encoder="resnet18", downsample="daf", mixer="freqmix")

    @nnx.jit
    def gradients(model, x):
        def loss(model):
            logits, (auxiliary,) = model.with_auxiliary(x)
            return (jax.nn.log_softmax(logits)[..., 0] + auxiliary[..., 1] ** 2).mean()

        return nnx.grad(loss)(model)

    x = jax.random.normal(jax.random.key(0), (2, 65, 70, 3))
    return nnx.to_flat_state(gradients(model, x))


def test_every_parameter_has_a_finite_gradient(trained_step):
    for path, gradient in trained_step:
        assert bool(jnp.isfinite(gradient[...]).all()), path


def test_only_residual_branches_start_without_gradient(trained_step):
    """The last norm of a block starts at zero, so only what lies ahead of it gets none."""
    still = {path for path, g in trained_step if not bool(jnp.any(g[...] != 0))}
    assert all("stages" in path for path in still)
    assert not any("norm2" in path and "scale" in path for path in still)


def test_options_change_the_network():
    x = jax.random.normal(jax.random.key(0), (1, 64, 64, 3))
    outputs = {}
    options = {
        "baseline": {},
        "daf": {"downsample": "daf"},
        "blur": {"downsample": "blur3"},
        "flc": {"downsample": "flc"},
        "adaptive": {"downsample": "adaptive_blur"},
        "cutoff": {"downsample": "daf", "cutoff": 0.2},
        "band": {"downsample": "daf", "cutoff": 0.2, "band": "reference"},
        "freqmix": {"mixer": "freqmix"},
        "corner": {"mixer": "freqmix", "gate": "corner"},
        "align": {"align_corners": True},
        "scales": {"pool_scales": (1, 2)},
    }
    for name, option in options.items():
        # What two networks have in common has the same numbers in both.
        config = TINY | {"encoder": "resnet18"} | option
        model = published.create_published(config, recipe_array, num_classes=5)
        model.eval()
        outputs[name] = np.asarray(nnx.jit(lambda m, x: m(x))(model, x))
    names = list(outputs)
    for i, a in enumerate(names):
        for b in names[:i]:
            assert abs(outputs[a] - outputs[b]).max() > 1e-7, (a, b)


def test_cutoff_comes_from_the_equivalent_sampling_rate():
    model = nnx.eval_shape(lambda: build(encoder="resnet18", downsample="daf", mixer="freqmix"))
    np.testing.assert_allclose(model.encoder.filters[0].cutoff, 2**0.5 / 4)
    np.testing.assert_allclose(model.encoder.stages[1][0].mixer.cutoff, 2**0.5 / 4)
    fixed = nnx.eval_shape(lambda: build(encoder="resnet18", downsample="daf", cutoff=0.35))
    assert fixed.encoder.filters[2].cutoff == 0.35


def test_where_filters_and_mixers_sit():
    model = nnx.eval_shape(lambda: build(encoder="resnet18", downsample="daf", mixer="freqmix"))
    assert [type(f) for f in model.encoder.filters] == [layers.DeAliasingFilter] * 3
    mixed = [[block.mixer is not None for block in stage] for stage in model.encoder.stages]
    assert mixed == [[False] * 2] + [[True] * 2] * 3


def test_dropout_only_in_training():
    model = build(encoder="resnet18", dropout=0.5)
    x = jax.random.normal(jax.random.key(0), (1, 32, 32, 3))
    run = nnx.jit(lambda m, x: m(x))
    model.eval()
    np.testing.assert_array_equal(run(model, x), run(model, x))
    model.train()
    assert float(abs(run(model, x) - run(model, x)).max()) > 0


@pytest.mark.parametrize(
    "config,message",
    [
        (
            {"name": "upernett"},
            "^name is 'upernett'; did you mean 'upernet'. choose one of deeplabv3plus, fcn, ",
        ),
        (
            {"encoder": "resnet19"},
            "^encoder is 'resnet19'; did you mean 'resnet1.*choose one of convnext_base",
        ),
        ({"downsample": "fft"}, "downsample is 'fft'; choose one of none, daf, "),
        ({"mixer": "cbam"}, "mixer is 'cbam'; choose one of none, freqmix"),
        ({"mixer": "freqmix", "gate": "adafreq"}, "gate is 'adafreq'; choose one of energy"),
        ({"downsample": "daf", "band": "round"}, "band is 'round'; choose one of symmetric"),
        ({"downsample": "daf", "cutoff": 0.6}, "cutoff is 0.6"),
        ({"pretrained": "r50"}, "^pretrained: create_model makes random parameters"),
        ({"auxiliary_stage": 5}, "auxiliary_stage is 5; choose 1 to 4"),
        ({"dropout": 1.5}, r"dropout is 1.5, but must lie in \[0, 1\)"),
        ({"name": "fcn", "num_convs": 0}, "num_convs is 0, but must be at least 1"),
        (
            {"num_convs": 1},
            "^num_convs is 1, which neither upernet nor resnet18 reads; .* one of fcn",
        ),
        (
            {"name": "fcn", "pool_scales": (1,)},
            "^pool_scales is .1,., which neither fcn .* one of upernet, pspnet",
        ),
        ({"imports": ("no_such_encoders",)}, "^imports names 'no_such_encoders', which cannot be"),
        ({"width": "wide"}, "^width is 'wide'; it must be an integer"),
        ({"chanels": 3}, "^chanels: unknown key; did you mean channels"),
    ],
)
def test_wrong_configurations(config, message):
    with pytest.raises(InputError, match=message):
        nnx.eval_shape(lambda: build(**{"encoder": "resnet18"} | config))


def test_a_recipe_may_import_an_encoder(tmp_path, monkeypatch):
    (tmp_path / "encoders_of_mine.py").write_text(
        "from segalias_jax import models\nmodels.ENCODERS['mine'] = models.ResNet\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(InputError, match="^encoder is 'mine'; .* or name its module in imports"):
        models.ModelConfig(encoder="mine")
    try:
        assert models.ModelConfig(encoder="mine", imports=("encoders_of_mine",)).encoder == "mine"
    finally:
        models.ENCODERS.pop("mine")


def test_encoders_keep_the_contract():
    encoder = nnx.eval_shape(lambda: models.ResNet("resnet18", width=8, rngs=nnx.Rngs(0)))
    assert isinstance(encoder, models.Encoder)
    features = jax.eval_shape(
        lambda: models.ResNet("resnet18", width=8, rngs=nnx.Rngs(0))(jnp.ones((1, 64, 96, 3)))
    )
    shapes = [(64 // s, 96 // s, c) for s, c in zip(encoder.strides, encoder.channels, strict=True)]
    assert [f.shape[1:] for f in features] == shapes
