"""The best ratio against brute force, on drawn and on real images."""

import json

import cv2
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import segalias_jax as sa
from segalias_jax import data, ops
from segalias_jax.analysis import distinct_ratios, optimal_frequency_ratio
from segalias_jax.errors import InputError

SIZE = (16, 20)
FINE = (np.arange(2000) + 0.5) / 2000
ALPHA, BETA = 1.0, 0.25


class Network(nnx.Module):
    """Takes statistics of a batch while it is trained, which an analysis must not do."""

    def __init__(self, rngs):
        self.first = nnx.Conv(3, 8, (3, 3), rngs=rngs)
        self.norm = nnx.BatchNorm(8, rngs=rngs)
        self.second = nnx.Conv(8, 3, (3, 3), rngs=rngs)

    def __call__(self, x):
        return self.second(jnp.tanh(self.norm(self.first(x))))


def drawn_images(count):
    section = {"source": "synthetic", "num_eval": count, "image_size": SIZE}
    source = data.create_source(section, "val")
    return [np.asarray(source[i]["image"]) for i in range(count)]


def real_images(folder, count):
    paths = sorted((folder / "images").rglob("*.jpg"))[:count]
    return [cv2.resize(cv2.imread(str(path)), SIZE[::-1])[..., ::-1] for path in paths]


def as_batches(images, rows):
    """The last one filled up, as evaluation fills it."""
    for first in range(0, len(images), rows):
        part = images[first : first + rows]
        filled = part + [np.zeros_like(part[0])] * (rows - len(part))
        yield {"image": np.stack(filled), "valid": np.arange(rows) < len(part)}


def brute_force(network, images, band):
    """Objective of every image at every fine ratio, written down from the text."""

    @jax.jit
    def gradient(x):
        return jax.grad(lambda x: network(x).max(-1).sum())(x)

    def saliency(x):
        slope = np.asarray(gradient(jnp.asarray(x, jnp.float32)))
        return np.sqrt((slope**2).sum(-1)).mean((1, 2))

    def variation(x):
        down, right = np.zeros_like(x), np.zeros_like(x)
        down[:, :-1], right[:, :, :-1] = x[:, 1:] - x[:, :-1], x[:, :, 1:] - x[:, :, :-1]
        return np.sqrt((down**2 + right**2).sum(-1)).mean((1, 2))

    x = (np.stack(images) - np.array(ops.IMAGENET_MEAN)) / ops.IMAGENET_STD
    u, v = np.fft.fftfreq(SIZE[0])[:, None], np.fft.fftfreq(SIZE[1])[None]
    values, last = [], None
    for ratio in FINE:
        mask = np.maximum(abs(u), abs(v)) if band == "square" else np.hypot(u, v)
        mask = (mask <= ratio / 2)[..., None]
        if last is None or (mask != last).any():
            low = np.fft.ifft2(np.fft.fft2(x, axes=(1, 2)) * mask, axes=(1, 2)).real
            high = x - low
            terms = saliency(low) + saliency(high), variation(low) + variation(high)
            value = -ALPHA * terms[0] + BETA * terms[1]
        values.append(value)
        last = mask
    return np.stack(values, 1)


def check_least(brute, ratio, value):
    """The objective of a ratio is the least one, to what float32 transforms differ by."""
    place = np.searchsorted(FINE, ratio)
    nearest = brute[max(place - 1, 0) : place + 1].min()  # of the same band, or the next one
    np.testing.assert_allclose([value, nearest], brute.min(), rtol=3e-5)


@pytest.fixture(scope="module")
def network():
    model = nnx.jit(lambda: Network(nnx.Rngs(0)))()
    model.train()
    return model


@pytest.mark.parametrize("which, band, ratios", [("drawn", "round", 200), ("real", "square", 20)])
def test_equals_brute_force_on_twenty_images(network, real_data, which, band, ratios):
    images = drawn_images(20) if which == "drawn" else real_images(real_data("kvasir_seg"), 20)
    before = jax.tree.map(np.array, nnx.to_pure_dict(nnx.state(network)))
    batches = as_batches(images, 8)
    options = {"band": band, "ratios": ratios, "progress": None}
    result = optimal_frequency_ratio(network, batches, ALPHA, BETA, **options)
    evaluated = nnx.merge(*nnx.split(network))
    evaluated.eval()
    brute = brute_force(evaluated, images, band)
    assert len(result.image_ratios) == 20
    for row, ratio, value in zip(brute, result.image_ratios, result.image_objectives, strict=True):
        check_least(row, ratio, value)
    check_least(brute.mean(0), result.ratio, result.objective.min())
    after = jax.tree.map(np.array, nnx.to_pure_dict(nnx.state(network)))
    jax.tree.map(np.testing.assert_array_equal, before, after)
    assert not network.norm.use_running_average, "the model is left in its mode"


def test_a_bracket_ends_in_the_valley():
    """Variation alone has one valley, at the full spectrum or at none of it."""
    image = np.random.default_rng(0).integers(0, 256, (3, 40, 36, 3), np.uint8)
    image[2] = np.arange(0, 240, 6, np.uint8)[:, None, None]
    options = {"alpha": 0.0, "progress": None}
    batches = [{"image": image, "name": ["a", "b", "c"]}]
    exact = optimal_frequency_ratio(jnp.tanh, batches, **options)
    found = optimal_frequency_ratio(jnp.tanh, batches, ratios=5, **options)
    assert len(exact.ratios) == len(distinct_ratios([(40, 36)])) and exact.names == ["a", "b", "c"]
    assert len(found.ratios) < len(exact.ratios)
    assert found.ratio == exact.ratio
    np.testing.assert_array_equal(found.image_ratios, exact.image_ratios)
    np.testing.assert_allclose(found.image_objectives, exact.image_objectives, rtol=1e-6)
    assert set(found.ratios) <= set(exact.ratios)


def test_what_is_reported(tmp_path):
    image = np.random.default_rng(0).integers(0, 256, (2, 8, 6, 3), np.uint8)
    batches = [{"image": image[:1]}, {"image": image[1:, :6]}]
    result = sa.analysis.optimal_frequency_ratio(jnp.tanh, batches, 0.5, 2.0)
    assert result.names == ["0", "1"] and len(result.ratios) == len(distinct_ratios([(8, 6)]))
    content = json.loads(json.dumps(result.to_json()))
    assert content["ratio"] == result.ratio and len(content["images"]) == 2
    parts = [np.array(content[key]) for key in ("saliency_low", "saliency_high")]
    parts += [np.array(content[key]) for key in ("variation_low", "variation_high")]
    expected = -0.5 * (parts[0] + parts[1]) + 2.0 * (parts[2] + parts[3])
    np.testing.assert_allclose(content["objective"], expected, rtol=1e-6)
    assert content["ratios"][int(np.argmin(expected))] == content["ratio"]
    marked = [line for line in result.table().splitlines() if "<-" in line]
    assert len(marked) == 1 and marked[0].startswith(f"| {result.ratio:.4f} |")
    result.plot(tmp_path / "ratio.png")
    assert cv2.imread(str(tmp_path / "ratio.png")).shape[2] == 3


@pytest.mark.parametrize("band", ["square", "round"])
def test_distinct_ratios_keep_different_bins_and_leave_none_out(band):
    size = (12, 10)
    masks = jax.jit(jax.vmap(lambda ratio: ops.ratio_mask(size, ratio, band=band)))
    ratios = distinct_ratios([size], band=band)
    kept, every = (
        {mask.tobytes() for mask in np.asarray(masks(jnp.asarray(values, jnp.float32)))}
        for values in (ratios, np.linspace(0.001, 0.999, 999))
    )
    assert len(kept) == len(ratios) and kept == every


@pytest.mark.parametrize(
    "options, message",
    [
        ({"band": "disc"}, "band is 'disc'; choose one of square, round"),
        ({"alpha": -1.0}, "alpha is -1.0; it must be a number that is not negative"),
        ({"beta": float("nan")}, "beta is nan"),
        ({"ratios": 2}, "ratios is 2; it must be at least 3"),
        ({}, "there is no image in batches"),
    ],
)
def test_mistakes(options, message):
    with pytest.raises(InputError, match=message):
        optimal_frequency_ratio(lambda x: x, [], **options)
