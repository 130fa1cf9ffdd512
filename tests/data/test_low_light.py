import math

import numpy as np
import pytest

from segalias_jax.data.low_light import (
    Camera,
    Darken,
    LowLight,
    add_noise,
    darken,
    demosaic,
    mosaic,
    process,
    tukey_lambda,
    unprocess,
)


def camera_of(rgb=1.25, red=2.1, blue=1.7, *, gain=1.0, ratio=10.0, read=1.0, shape=0.1, row=0.2):
    return Camera(gain, ratio, read, shape, row, float(rgb), float(red), float(blue))


@pytest.mark.parametrize("k", [0, 1, 2])
def test_stages_equal_what_the_published_code_computes(golden, k):
    recorded = golden("i_lis_noise")
    camera = camera_of(*recorded["gains"][k])
    linear = unprocess(recorded["image"].astype(np.float64), camera)
    np.testing.assert_allclose(linear, recorded[f"unprocessed_{k}"], rtol=0, atol=1e-6)
    raw = mosaic(linear)
    np.testing.assert_allclose(raw, recorded[f"bayer_{k}"], rtol=0, atol=1e-6)
    back = process(recorded[f"unprocessed_{k}"].astype(np.float64), camera)
    np.testing.assert_allclose(back, recorded[f"way_back_{k}"], rtol=0, atol=1e-6)
    raw = np.clip(raw, 0, 1)
    published = np.rint(255 * demosaic(raw, form="reference")).astype(np.uint8)
    np.testing.assert_array_equal(published, recorded[f"processed_uint8_{k}"])
    # With red and blue in their places, and rounded to 16 bits instead of 8 before.
    ours = 255 * demosaic(raw)
    np.testing.assert_allclose(ours, recorded[f"processed_unswapped_{k}"], rtol=0, atol=1.0)
    assert abs(ours - recorded[f"processed_uint8_{k}"]).max() > 10


def test_tone_gamma_and_colors_are_inverted(golden):
    recorded = golden("i_lis_noise")
    neutral = camera_of(1, 1, 1)
    linear = unprocess(recorded["image"].astype(np.float64), neutral)
    np.testing.assert_allclose(linear, recorded["inverse_ccm"], rtol=0, atol=1e-6)
    np.testing.assert_allclose(process(linear, neutral), recorded["image"], rtol=0, atol=1e-6)


class Unquantized(np.random.Generator):
    """Draws without the error of quantization, which the recorded moments are without."""

    def __init__(self):
        super().__init__(np.random.PCG64(0))

    def uniform(self, low, high, size):
        return np.zeros(size)


def test_noise_has_the_recorded_moments(golden):
    rng = Unquantized()
    for row in golden("i_lis_noise")["noise_table"][[0, 6, 7, 11]]:
        gain, ratio, level, read, _, rows, shape = row[:7]
        mean, variance, at_zero, at_one = row[27:31]
        camera = camera_of(gain=gain, ratio=ratio, read=read, shape=shape, row=rows)
        # One pixel a row, so that each has an offset of its own.
        noisy = add_noise(np.full((1_000_000, 1), level), rng, camera)
        # Each with its own error: 4 standard errors of two means of 1e6 draws.
        assert abs(noisy.mean() - mean) < 4 * math.sqrt(2 * variance / 1e6)
        assert abs(noisy.var() / variance - 1) < 0.01
        assert abs((noisy == 0).mean() - at_zero) < 0.005
        assert abs((noisy == 1).mean() - at_one) < 0.005


@pytest.mark.parametrize("shape", [0.0142857, 0.1, 0.2])
def test_tukeys_lambda_has_its_exact_variance(shape):
    draws = tukey_lambda(np.random.default_rng(0), shape, 3.0, (1_000_000,))
    beta = math.gamma(shape + 1) ** 2 / math.gamma(2 * shape + 2)
    exact = 9 * 2 / shape**2 * (1 / (1 + 2 * shape) - beta)
    assert abs(draws.var() / exact - 1) < 0.01
    assert abs(draws.mean()) < 4 * math.sqrt(exact / 1e6)


def test_each_form_of_the_noise_has_its_own_rows_and_quantization():
    # Without light, with nothing read and strong rows, only rows and quantization remain.
    camera = camera_of(read=1e-9, row=50.0, ratio=1.0)
    level = np.full((64, 32), 0.5)
    shots = np.random.default_rng(1)

    def noise_of(form, row):
        quiet = camera_of(gain=1e-9, read=1e-9, row=row, ratio=1.0)
        return add_noise(level, shots, quiet, form=form) * 15871 - 0.5 * 15871

    text, published = noise_of("text", 50.0), noise_of("reference", 50.0)
    # One offset a row of the sensor, or one for each of the two planes in it.
    assert text.std(1).max() < 0.6 and text.mean(1).std() > 30
    assert published[:, ::2].std(1).max() < 0.6 and published[:, 1::2].std(1).max() < 0.6
    assert abs(published[:, 0] - published[:, 1]).mean() > 30
    text, published = noise_of("text", 1e-9), noise_of("reference", 1e-9)
    assert abs(text.std() - math.sqrt(1 / 12)) < 0.02
    assert published.std() < 0.01 and abs(published.mean()) < 0.5
    assert camera.row_scale == 50.0


def test_cameras_are_drawn_as_the_model_says():
    rng = np.random.default_rng(0)
    cameras = [Camera.draw(LowLight(ratio=(10.0, 50.0)), rng) for _ in range(1500)]
    gains = np.log([camera.gain for camera in cameras])
    assert math.log(0.2182) - 1e-3 <= gains.min() and gains.max() <= math.log(13.9642)
    for name, slope, bias, deviation in (
        ("read_scale", 0.6559, 1.0927, 0.286),
        ("row_scale", 0.4713, -0.8079, 0.244),
    ):
        scales = np.log([getattr(camera, name) for camera in cameras])
        fitted = np.polyfit(gains, scales, 1)
        np.testing.assert_allclose(fitted, [slope, bias], atol=0.03)
        assert (
            abs((scales - np.polyval(fitted, gains)).std() - deviation) < 0.02
        )  # four standard errors
    for name, low, high in (("ratio", 10, 50), ("red_gain", 1.9, 2.4), ("blue_gain", 1.5, 1.9)):
        drawn = np.array([getattr(camera, name) for camera in cameras])
        assert low <= drawn.min() < low + 0.1 * (high - low)
        assert high >= drawn.max() > high - 0.1 * (high - low)
    inverse = np.array([1 / camera.rgb_gain for camera in cameras])
    assert abs(inverse.mean() - 0.8) < 0.012 and abs(inverse.std() - 0.1) < 0.01


@pytest.mark.parametrize("size", [(7, 10), (8, 9), (1, 1), (64, 96)])
@pytest.mark.parametrize("form", ["text", "reference"])
def test_any_size_is_darkened_and_depends_on_the_seed_alone(size, form):
    image = np.random.default_rng(0).integers(0, 256, (*size, 3), np.uint8)
    settings = LowLight(form=form)
    first, second, other = (
        darken(image, np.random.default_rng([seed, 3]), settings) for seed in (5, 5, 6)
    )
    assert first.shape == image.shape and first.dtype == np.uint8
    np.testing.assert_array_equal(first, second)
    if size == (64, 96):
        assert (first != other).any()
        assert first.mean() < image.mean() / 2


def test_developing_gives_the_image_back_where_there_is_light():
    rng = np.random.default_rng(0)
    image = np.repeat(np.repeat(rng.integers(60, 140, (8, 8, 3), np.uint8), 16, 0), 16, 1)
    camera = camera_of(gain=0.22, ratio=1.0, read=0.1, row=0.1)
    developed = darken(image, rng, LowLight(develop=True), camera)
    # Within blocks of one color, where demosaicing does not mix; a value of 60 is 1 % of the light,
    # whose photons alone make an error of 3 %, which the color matrix doubles.
    inner = np.s_[8::16, 8::16]
    assert abs(developed[inner].astype(int) - image[inner]).max() <= 10
    linear = darken(image, rng, LowLight(), camera)
    assert linear.mean() < 0.6 * image.mean()


def test_the_transform_replaces_or_adds():
    sample = {"image": np.full((6, 8, 3), 200, np.uint8)}
    rng = np.random.default_rng(0)
    replaced = Darken(LowLight())(sample, rng)
    assert sorted(replaced) == ["image"] and (replaced["image"] != 200).any()
    pair = Darken(LowLight(), pair=True)(sample, rng)
    assert (pair["image"] == 200).all() and (pair["dark"] != 200).any()
    never = Darken(LowLight(), probability=0.0, pair=True)(sample, rng)
    assert (never["dark"] == 200).all()
