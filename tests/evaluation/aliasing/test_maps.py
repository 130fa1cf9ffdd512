"""Maps around filters against the filters themselves, and gates by the blocks that made them."""

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from segalias_jax import layers, ops
from segalias_jax.evaluation.aliasing.analysis import AliasingAnalysis, Operator
from segalias_jax.evaluation.aliasing.maps import gates_by_block, stage_maps, telling_images
from segalias_jax.layers.freqmix import recording_gates
from segalias_jax.models.resnet import ResNet

MAPS = jax.jit(stage_maps, static_argnums=2)
DAF, NONE, FLC = (Operator("stage 2", 0.7, 0.25, name) for name in ("daf", "none", "flc"))


def _features(shape=(2, 12, 15, 3)):
    return jnp.asarray(np.random.default_rng(0).normal(size=shape), jnp.float32)


def _rms(x):
    return np.sqrt(np.square(np.asarray(x, np.float64)).mean(-1))


def test_what_a_filter_takes_off():
    x = _features()
    y = ops.low_pass(x, 0.25)
    found = MAPS(x, y, DAF)
    # float32 against float64
    for mine, expected in ((found.before, x), (found.after, y), (found.removed, x - y)):
        np.testing.assert_allclose(mine, _rms(expected), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(found.scores[:, 0], ops.aliasing_score(x, 0.25), rtol=1e-6)
    assert float(found.scores[:, 1].max()) < 1e-8
    power = np.square(np.abs(np.fft.fft2(np.asarray(x, np.float64), axes=(1, 2)))).sum(-1) / 180
    shifted = np.fft.fftshift(power, axes=(1, 2))
    np.testing.assert_allclose(found.spectra[0], shifted, rtol=1e-4, atol=1e-4)
    u, v = (np.fft.fftshift(np.fft.fftfreq(n)) for n in (12, 15))
    outside = np.maximum(abs(u)[:, None], abs(v)) > 0.25
    spectrum = np.asarray(found.spectra[1])
    assert spectrum[:, outside].max() < 1e-9 * spectrum.max()


def test_without_a_filter_what_folds_is_shown():
    x = _features()
    found = MAPS(x, x, NONE)
    np.testing.assert_allclose(found.removed, _rms(x - ops.low_pass(x, 0.25)), rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(found.scores[:, 0], found.scores[:, 1])


def test_a_filter_that_samples():
    x = _features((1, 16, 16, 2))
    found = MAPS(x, ops.frequency_low_cut(x), FLC)
    assert found.before.shape == found.removed.shape == (1, 16, 16)
    assert found.after.shape == (1, 8, 8) and float(found.scores[0, 1]) == 0


def test_gates_are_those_of_their_block(monkeypatch):
    """They leave a compiled function, and are what a mixer's own gates say of what enters it."""
    network = ResNet("resnet18", width=8, downsample="daf", mixer="freqmix", rngs=nnx.Rngs(0))
    network.eval()
    mixer, entering, call = network.stages[2][1].mixer, [], layers.FreqMix.__call__

    def listening(self, x):
        if self is mixer:
            entering.append(x)
        return call(self, x)

    monkeypatch.setattr(layers.FreqMix, "__call__", listening)

    @jax.jit
    def look(image):
        with recording_gates() as seen:
            network(image)
        (x,) = entering
        low, high = ops.split_bands(x, mixer.cutoff)
        levels = [jnp.sqrt(jnp.mean(jnp.square(band), (1, 2)) + 1e-8) for band in (low, high)]
        channel = mixer.low_gate(levels[0]), mixer.high_gate(levels[1])
        return gates_by_block(network, seen), mixer.spatial_gate(x), channel

    image = jnp.asarray(np.random.default_rng(0).normal(size=(2, 32, 48, 3)), jnp.float32)
    found, logits, channel = look(image)
    assert list(found) == [(stage, block) for stage in (2, 3, 4) for block in (1, 2)]
    assert found[2, 1].spatial[0].shape == (2, 4, 6) and found[4, 2].channel[1].shape == (2, 64)
    gates = found[3, 2]
    for mine, logit in zip(gates.spatial, np.moveaxis(np.asarray(logits), -1, 0), strict=True):
        np.testing.assert_allclose(mine, 1 / (1 + np.exp(-logit)), rtol=1e-6)
    for mine, expected in zip(gates.channel, channel, strict=True):
        np.testing.assert_allclose(mine, expected, rtol=1e-6)


def test_images_with_most_of_each_kind():
    """Image 2 leads in two kinds, so the second of these goes to the next one."""
    pixels = np.zeros((5, 5), int)
    pixels[:, 3], pixels[:, 1] = (0, 4, 2, 3, 1), (0, 1, 5, 0, 0)  # image 2 has patches 2 and 3
    image = np.asarray([0, 1, 2, 2, 3])
    zeros = np.zeros((5, 1))
    analysis = AliasingAnalysis(
        (DAF,),
        tuple("abcd"),
        np.zeros((4, 1, 2)),
        image,
        zeros,
        np.zeros((5, 3)),
        pixels,
        np.zeros((5, 8), int),
    )
    assert telling_images(analysis) == {
        2: "most pixels of the kind displacement, 5",
        1: "most of those left pixels of the kind false response, 1",
    }
