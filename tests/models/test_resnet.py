"""Blocks and encoders against recordings of the published code."""

import jax
import jax.numpy as jnp
import numpy as np
import published
import pytest
from flax import nnx
from golden.recipe import recipe_array

from segalias_jax import layers, models
from segalias_jax.models.blocks import Bottleneck


@pytest.mark.parametrize("mode", ["eval", "train"])
@pytest.mark.parametrize("case", ["n1_32x32", "n3_33x47"])
def test_published_bottleneck(golden, assert_recorded, mode, case):
    z = golden("d_nybottleneck_s2")
    with jax.enable_x64(True):
        rngs = nnx.Rngs(0)
        block = Bottleneck(
            64,
            32,
            stride=2,
            rngs=rngs,
            make_mixer=lambda c: layers.FreqMix(c, gate="corner", band="reference", rngs=rngs),
        )
        published.load_published(block, lambda name, _: z[f"w.{name}"], np.float64)
        getattr(block, mode)()
        x, cotangent = (
            jnp.asarray(np.moveaxis(z[f"{k}_{case}"], 1, -1), jnp.float64) for k in ("x", "ct")
        )
        graph, params, rest = nnx.split(block, nnx.Param, ...)

        @jax.jit
        def run(params, rest, x, cotangent):
            def forward(params, x):
                block = nnx.merge(graph, params, rest, copy=True)
                return block(x), nnx.state(block, nnx.BatchStat)

            y, pullback, stats = jax.vjp(forward, params, x, has_aux=True)
            return y, stats, *pullback(cotangent)

        y, stats, of_params, of_x = jax.device_get(run(params, rest, x, cotangent))
    assert_recorded(np.moveaxis(y, -1, 1), z[f"y_{mode}_{case}"], 1e-6)
    assert_recorded(np.moveaxis(of_x, -1, 1), z[f"gx_{mode}_{case}"], 2e-6)
    names = published.published_names(block)
    for path, gradient in nnx.to_flat_state(of_params):
        name = names[path]
        ours = published.to_torch(name, np.asarray(gradient[...]))
        # Recorded in float32: the gradient ahead of a norm in training cancels to rounding.
        assert_recorded(ours, z[f"gw_{mode}_{case}.{name}"], 1e-5, name)
    if mode == "train":
        for path, stat in nnx.to_flat_state(stats):
            name = names[path]
            assert_recorded(stat[...], z[f"post_{case}.{name}"], 1e-6, name)


SMALL = {
    "d_small_baseline": {},
    "d_small_daf": {"downsample": "daf"},
    "d_small_freqmix_daf": {"downsample": "daf", "mixer": "freqmix"},
}


@pytest.mark.parametrize("name", SMALL)
@pytest.mark.parametrize("align_corners", [False, True])
def test_published_network(golden, name, align_corners):
    """A whole segmenter: features, heads and logits, for an even and an odd size."""
    z = golden(name)
    config = dict(
        SMALL[name],
        encoder="resnet50",
        width=16,
        channels=16,
        auxiliary_channels=32,
        cutoff=0.35,
        band="reference",
        gate="corner",
        align_corners=align_corners,
    )
    model = models.create_model(config, num_classes=19, rngs=nnx.Rngs(0))
    published.load_published(model, recipe_array)
    model.eval()

    @nnx.jit
    def run(model, x):
        features = model.encoder(x)
        heads = model.classifier(model.decoder(features)), model.auxiliary(features[-2])
        return features, *heads, model(x)

    for case in ("n1_64x96", "n2_65x97"):
        features, decoder, auxiliary, logits = run(
            model, jnp.asarray(np.moveaxis(z[f"x_{case}"], 1, -1))
        )
        for i, feature in enumerate(features):
            compare(feature[..., :16], z[f"feat{i}_{case}"])
        compare(auxiliary, z[f"aux_{case}"])
        tag = f"ac{int(align_corners)}_{case}"
        compare(decoder, z[f"decoder_{tag}"])
        compare(logits, z[f"logits_{tag}"])


def compare(ours, recorded):
    # Both sides round in float32, in another order: 1e-4 on logits of size 20.
    ours = np.moveaxis(ours, -1, 1)
    ours = ours if ours.shape == recorded.shape else ours.reshape(-1)[::7]
    bound = 1e-4 * max(1, np.abs(recorded).max() / 20)
    np.testing.assert_allclose(ours, recorded, rtol=0, atol=bound)
