import cv2
import numpy as np
import pytest

from segalias_jax.data.appearance import (
    GaussianBlur,
    GaussianNoise,
    MedianFilter,
    PhotometricDistortion,
)


def reference_distortion(image, brightness, contrast, saturation, hue, contrast_last):
    """Photometric distortion on whole float images; None leaves a step out."""

    def convert(x, alpha=1.0, beta=0.0):
        scaled = x.astype(np.float32) * np.float32(alpha) + np.float32(beta)
        return np.clip(scaled, 0, 255).astype(np.uint8)

    if brightness is not None:
        image = convert(image, beta=brightness)
    if contrast is not None and not contrast_last:
        image = convert(image, alpha=contrast)
    if saturation is not None:
        hsv = cv2.cvtColor(image, cv2.COLOR_RGB2HSV)
        hsv[..., 1] = convert(hsv[..., 1], alpha=saturation)
        image = cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB)
    if hue is not None:
        hsv = cv2.cvtColor(image, cv2.COLOR_RGB2HSV)
        hsv[..., 0] = (hsv[..., 0].astype(int) + hue) % 180
        image = cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB)
    if contrast is not None and contrast_last:
        image = convert(image, alpha=contrast)
    return image


@pytest.mark.parametrize("contrast_last", [False, True])
@pytest.mark.parametrize("steps", range(16))
def test_photometric_distortion_equals_whole_image_arithmetic(sample, steps, contrast_last, script):
    values = dict(brightness=-21.7, contrast=1.43, saturation=0.61, hue=-18)
    chosen = {k: v if steps >> i & 1 else None for i, (k, v) in enumerate(values.items())}

    def draws(*keys):
        return [d for k in keys for d in ((1, chosen[k]) if chosen[k] is not None else (0,))]

    middle = ["saturation", "hue"]
    order = [*middle, "contrast"] if contrast_last else ["contrast", *middle]
    rng = script(*draws("brightness"), int(contrast_last), *draws(*order))
    distorted = PhotometricDistortion()(sample, rng)
    expected = reference_distortion(sample["image"], **chosen, contrast_last=contrast_last)
    np.testing.assert_array_equal(distorted["image"], expected)
    assert distorted["label"] is sample["label"] and not rng.draws


def test_photometric_distortion_draws_from_the_published_ranges(sample, script):
    rng = script(1, 0.0, 0, 1, 1.0, 1, 1.0, 1, 0)
    PhotometricDistortion()(sample, rng)
    coin = (2,)
    expected = [coin, (-32.0, 32.0), coin, coin, (0.5, 1.5), coin, (0.5, 1.5), coin, (-18, 18)]
    assert rng.ranges == expected


def test_noise_has_the_drawn_strength_and_is_rounded(script):
    gray = {"image": np.full((200, 200, 3), 128, np.uint8)}
    step = GaussianNoise((5.0, 20.0))
    noisy = step(gray, np.random.default_rng(3))["image"]
    rng = np.random.default_rng(3)
    sigma = rng.uniform(5.0, 20.0)
    expected = 128 + sigma * rng.standard_normal(noisy.shape, np.float32).astype(np.float64)
    # float32 leaves 255 * 2^-24 of error: a byte differs only where the fraction is one half.
    assert np.abs(noisy - expected).max() < 0.5 + 1e-4
    assert abs(noisy.std() - sigma) < 0.02 * sigma  # 120,000 values: 0.2 % is one deviation
    np.testing.assert_array_equal(noisy, step(gray, np.random.default_rng(3))["image"])


def test_noise_saturates():
    edges = {"image": np.array([[[0, 255, 128]]], np.uint8).repeat(500, 1)}
    noisy = GaussianNoise((40.0, 40.0))(edges, np.random.default_rng(0))["image"]
    below, above = noisy[0, :, 0], noisy[0, :, 1]
    assert 200 < np.count_nonzero(below == 0) < 300 and below.max() < 200
    assert 200 < np.count_nonzero(above == 255) < 300 and above.min() > 55


@pytest.mark.parametrize("sigma", [0.4, 1.0, 2.7])
def test_blur_is_a_normalized_gaussian(sample, sigma):
    blurred = GaussianBlur((sigma, sigma))(sample, np.random.default_rng(0))["image"]
    radius = (round(6 * sigma + 1) | 1) // 2  # of OpenCV's kernel for bytes
    weights = np.exp(-(np.arange(-radius, radius + 1) ** 2) / (2 * sigma**2))
    weights /= weights.sum()
    expected = np.pad(sample["image"].astype(float), ((radius,) * 2,) * 2 + ((0, 0),), "reflect")
    for axis in (0, 1):
        shifts = np.lib.stride_tricks.sliding_window_view(expected, 2 * radius + 1, axis)
        expected = shifts @ weights
    # OpenCV rounds each weight to 1/256, on both axes.
    assert np.abs(blurred - expected).max() < 1.5
    assert np.abs(blurred - expected).mean() < 0.5


def test_blur_of_no_width_is_none(sample):
    assert GaussianBlur((0.0, 0.0))(sample, np.random.default_rng(0)) is sample


@pytest.mark.parametrize("size", [3, 5, 9])
def test_median_of_each_square(sample, size):
    image = np.pad(sample["image"], ((size // 2,) * 2,) * 2 + ((0, 0),), "edge")
    squares = np.lib.stride_tricks.sliding_window_view(image, (size, size), (0, 1))
    filtered = MedianFilter(size)(sample, np.random.default_rng(0))["image"]
    np.testing.assert_array_equal(filtered, np.median(squares, (-2, -1)))
