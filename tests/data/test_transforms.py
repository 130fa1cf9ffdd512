import cv2
import numpy as np
import pytest

from segalias_jax.data.settings import DataSettings
from segalias_jax.data.transforms import (
    MEAN_COLOR,
    Pad,
    PhotometricDistortion,
    RandomCrop,
    RandomFlip,
    RandomResize,
    training_transforms,
)


class Script(np.random.Generator):
    """A generator that returns given draws in order and remembers their ranges."""

    def __init__(self, *draws):
        super().__init__(np.random.PCG64())
        self.draws = list(draws)
        self.ranges = []

    def _next(self, *limits):
        self.ranges.append(limits)
        return self.draws.pop(0)

    uniform = integers = random = _next


@pytest.fixture
def sample():
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (40, 60, 3), np.uint8)
    return {"image": image, "label": rng.integers(0, 5, (40, 60), np.uint8)}


@pytest.mark.parametrize(
    ("size", "base", "ratio", "expected"),
    [
        ((1024, 2048), (2049, 1025), 1.0, (1025, 2049)),
        ((1024, 2048), (2049, 1025), 0.5, (512, 1024)),
        ((375, 500), (2048, 512), 1.0, (512, 683)),
        ((500, 375), (2048, 512), 2.0, (1365, 1024)),
        ((360, 480), (), 0.7, (251, 335)),  # int(360 * 0.7) is 251, in double precision
        ((3, 400), (), 0.1, (1, 1)),  # 0.3 of the short side is floored to no pixel at all
    ],
)
def test_resize_keeps_the_aspect(size, base, ratio, expected):
    assert RandomResize((ratio, ratio), base).scaled_size(size, ratio) == expected


def test_resize_is_opencvs(sample):
    rng = Script(1.37)
    resized = RandomResize((0.5, 2.0))(sample, rng)
    # int(60 * 1.37) = 82, int(40 * 1.37) = 54: the short side limits, 54 / 40 = 1.35
    expected = cv2.resize(sample["image"], (81, 54), interpolation=cv2.INTER_LINEAR)
    assert rng.ranges == [(0.5, 2.0)]
    np.testing.assert_array_equal(resized["image"], expected)
    rows, columns = (np.arange(54) * 40 // 54), (np.arange(81) * 60 // 81)
    np.testing.assert_array_equal(resized["label"], sample["label"][rows][:, columns])


def test_crop_takes_the_drawn_window(sample):
    rng = Script(7, 11)
    cropped = RandomCrop((20, 30), cat_max_ratio=1.0)(sample, rng)
    assert rng.ranges == [(21,), (31,)]
    np.testing.assert_array_equal(cropped["image"], sample["image"][7:27, 11:41])
    np.testing.assert_array_equal(cropped["label"], sample["label"][7:27, 11:41])


def test_crop_keeps_a_side_that_is_too_short(sample):
    cropped = RandomCrop((100, 30))(sample, np.random.default_rng(0))
    assert cropped["label"].shape == (40, 30) and cropped["image"].shape == (40, 30, 3)


@pytest.mark.parametrize(
    ("row", "windows"),
    [
        ([0, 0, 1, 1, 2, 2, 2, 2], [0]),
        ([0, 0, 0, 1, 1, 2, 2, 2], [0, 2]),  # the first is 3 of 4 one class: not below 0.75
        ([0, 0, 0, 0, 1, 1, 2, 2], [0, 0, 1, 2]),
        ([0, 255, 255, 255, 0, 1, 255, 255], [0, 3]),  # ignored pixels count for nothing
        ([255, 255, 255, 255, 255, 0, 1, 1], [0, 1, 4]),
    ],
)
def test_crop_is_drawn_again_until_classes_mix(row, windows):
    label = np.array([row], np.uint8)
    rng = Script(*[value for left in windows for value in (0, left)])
    cropped = RandomCrop((1, 4), 0.75)({"image": label[..., None], "label": label}, rng)
    np.testing.assert_array_equal(cropped["label"], label[:, windows[-1] : windows[-1] + 4])
    assert not rng.draws


def test_crop_gives_up_after_ten_windows(sample):
    flat = sample | {"label": np.zeros((40, 60), np.uint8)}
    rng = Script(*[0, 0] * 10, 5, 6)
    cropped = RandomCrop((20, 20))(flat, rng)
    np.testing.assert_array_equal(cropped["image"], sample["image"][5:25, 6:26])


def test_crops_respect_the_largest_share():
    label = np.zeros((60, 60), np.uint8)
    label[:30, :30] = 1
    sample = {"image": np.zeros((60, 60, 3), np.uint8), "label": label}
    shares = []
    for seed in range(50):
        crop = RandomCrop((20, 20), tries=1000)(sample, np.random.default_rng(seed))["label"]
        shares.append(np.bincount(crop.ravel()).max() / crop.size)
    assert max(shares) < 0.75


def test_flip(sample):
    flipped = RandomFlip(0.5)(sample, Script(0.49))
    np.testing.assert_array_equal(flipped["image"], sample["image"][:, ::-1])
    np.testing.assert_array_equal(flipped["label"], sample["label"][:, ::-1])
    assert RandomFlip(0.5)(sample, Script(0.5)) is sample


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
def test_photometric_distortion_equals_whole_image_arithmetic(sample, steps, contrast_last):
    values = dict(brightness=-21.7, contrast=1.43, saturation=0.61, hue=-18)
    chosen = {k: v if steps >> i & 1 else None for i, (k, v) in enumerate(values.items())}

    def draws(*keys):
        return [d for k in keys for d in ((1, chosen[k]) if chosen[k] is not None else (0,))]

    middle = ["saturation", "hue"]
    order = [*middle, "contrast"] if contrast_last else ["contrast", *middle]
    rng = Script(*draws("brightness"), int(contrast_last), *draws(*order))
    distorted = PhotometricDistortion()(sample, rng)
    expected = reference_distortion(sample["image"], **chosen, contrast_last=contrast_last)
    np.testing.assert_array_equal(distorted["image"], expected)
    assert distorted["label"] is sample["label"] and not rng.draws


def test_photometric_distortion_draws_from_the_published_ranges(sample):
    rng = Script(1, 0.0, 0, 1, 1.0, 1, 1.0, 1, 0)
    PhotometricDistortion()(sample, rng)
    coin = (2,)
    expected = [coin, (-32.0, 32.0), coin, coin, (0.5, 1.5), coin, (0.5, 1.5), coin, (-18, 18)]
    assert rng.ranges == expected


def test_pad_fills_bottom_and_right(sample):
    padded = Pad((50, 50))(sample, Script())
    assert padded["image"].shape == (50, 60, 3) and padded["label"].shape == (50, 60)
    np.testing.assert_array_equal(padded["image"][:40], sample["image"])
    np.testing.assert_array_equal(padded["label"][:40], sample["label"])
    assert (padded["label"][40:] == 255).all() and (padded["image"][40:] == MEAN_COLOR).all()
    assert Pad((40, 60))(sample, Script()) is sample


def test_padding_is_zero_after_normalization():
    mean = np.array([123.675, 116.28, 103.53])
    assert np.abs(np.array(MEAN_COLOR) - mean).max() < 0.5


def test_no_transform_changes_what_it_was_given(sample):
    before = {key: value.copy() for key, value in sample.items()}
    settings = DataSettings("synthetic", crop=(64, 48), flip=1.0)
    for seed in range(20):
        out = sample
        for transform in training_transforms(settings):
            out = transform(out, np.random.default_rng(seed))
        assert out["image"].shape == (64, 48, 3) and out["label"].shape == (64, 48)
    for key, value in before.items():
        np.testing.assert_array_equal(sample[key], value)


def test_transforms_follow_the_recipe():
    settings = DataSettings("synthetic", photometric=False, flip=0.0, pad=False, crop=(8, 9))
    assert training_transforms(settings) == (
        RandomResize((0.5, 2.0), ()),
        RandomCrop((8, 9), 0.75),
    )
