import cv2
import numpy as np
import pytest

from segalias_jax.data.appearance import GaussianBlur, GaussianNoise, MedianFilter
from segalias_jax.data.geometry import RandomCrop, RandomResize, RandomRotation, ResizedCrop
from segalias_jax.data.settings import DataSettings
from segalias_jax.data.transforms import apply_transforms, random_resize, training_transforms

EVERYTHING = {
    "scale_jitter": 0.2,
    "rotation": 20.0,
    "blur": (0.5, 1.5),
    "noise": (0.0, 20.0),
    "median": 3,
}


def published_recipe(image, label, rng, *, base, crop):
    """The published training transforms, step by step on whole images with OpenCV and NumPy."""

    def change(x, alpha=1.0, beta=0.0):
        scaled = x.astype(np.float32) * np.float32(alpha) + np.float32(beta)
        return np.clip(scaled, 0, 255).astype(np.uint8)

    height, width = label.shape
    ratio = rng.uniform(0.5, 2.0)
    long, short = (int(side * ratio) for side in base)
    scale = min(long / max(height, width), short / min(height, width))
    size = (int(width * scale + 0.5), int(height * scale + 0.5))
    image = cv2.resize(image, size, interpolation=cv2.INTER_LINEAR)
    label = cv2.resize(label, size, interpolation=cv2.INTER_NEAREST)

    def window():
        top, left = (
            rng.integers(max(n - c, 0) + 1) for n, c in zip(label.shape, crop, strict=True)
        )
        return np.s_[top : top + crop[0], left : left + crop[1]]

    cut = window()
    for _ in range(10):
        values, counts = np.unique(label[cut], return_counts=True)
        counts = counts[values != 255]
        if len(counts) > 1 and counts.max() / counts.sum() < 0.75:
            break
        cut = window()
    image, label = image[cut], label[cut]
    if rng.random() < 0.5:
        image, label = image[:, ::-1], label[:, ::-1]
    if rng.integers(2):
        image = change(image, beta=rng.uniform(-32, 32))
    last = rng.integers(2)
    if not last and rng.integers(2):
        image = change(image, alpha=rng.uniform(0.5, 1.5))
    if rng.integers(2):
        hsv = cv2.cvtColor(np.ascontiguousarray(image), cv2.COLOR_RGB2HSV)
        hsv[..., 1] = change(hsv[..., 1], alpha=rng.uniform(0.5, 1.5))
        image = cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB)
    if rng.integers(2):
        hsv = cv2.cvtColor(np.ascontiguousarray(image), cv2.COLOR_RGB2HSV)
        hsv[..., 0] = (hsv[..., 0].astype(int) + rng.integers(-18, 18)) % 180
        image = cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB)
    if last and rng.integers(2):
        image = change(image, alpha=rng.uniform(0.5, 1.5))
    missing = [(0, c - n) for n, c in zip(label.shape, crop, strict=True)]
    label = np.pad(label, missing, constant_values=255)
    normalized = (image - np.array([123.675, 116.28, 103.53])) / [58.395, 57.12, 57.375]
    return np.pad(normalized, [*missing, (0, 0)]), label


def test_training_transforms_are_the_published_recipe():
    data = np.random.default_rng(0)
    settings = DataSettings("cityscapes", resize=(129, 65), crop=(48, 48))
    image = cv2.resize(data.integers(0, 256, (16, 32, 3), np.uint8), (128, 64))
    label = cv2.resize(data.integers(0, 5, (4, 8), np.uint8), (128, 64), interpolation=0)
    label[:5] = 255
    steps = training_transforms(settings)
    for seed in range(40):
        ours = apply_transforms(
            steps, {"image": image, "label": label}, np.random.default_rng(seed)
        )
        expected, expected_label = published_recipe(
            image, label, np.random.default_rng(seed), base=(129, 65), crop=(48, 48)
        )
        np.testing.assert_array_equal(ours["label"], expected_label)
        mean, std = np.array([123.675, 116.28, 103.53]), np.array([58.395, 57.12, 57.375])
        difference = np.abs((ours["image"] - mean) / std - expected)
        covered = expected.any(-1)
        assert difference[covered].max() == 0
        # Padding is the mean color, half a gray level from the 0 of the recipe at most.
        assert not (~covered).any() or difference[~covered].max() < 0.5 / std.min()


def test_no_transform_changes_what_it_was_given(sample):
    before = {key: value.copy() for key, value in sample.items()}
    settings = DataSettings("synthetic", crop=(64, 48), flip=1.0, **EVERYTHING)
    for seed in range(20):
        out = sample
        for transform in training_transforms(settings):
            out = transform(out, np.random.default_rng(seed))
        assert out["image"].shape == (64, 48, 3) and out["label"].shape == (64, 48)
        assert out["image"].dtype == out["label"].dtype == np.uint8
    for key, value in before.items():
        np.testing.assert_array_equal(sample[key], value)


def test_transforms_follow_the_recipe():
    settings = DataSettings("synthetic", photometric=False, flip=0.0, pad=False, crop=(8, 9))
    crop = RandomCrop((8, 9), 0.75)
    assert training_transforms(settings) == (ResizedCrop(RandomResize((0.5, 2.0), ()), crop),)


def test_order_of_what_the_published_recipes_lack():
    settings = DataSettings("synthetic", photometric=False, flip=0.0, pad=False, **EVERYTHING)
    assert random_resize(settings) == RandomResize((0.5, 2.0), (), 0.2)
    assert training_transforms(settings)[1:] == (
        RandomRotation(20.0),
        GaussianBlur((0.5, 1.5)),
        GaussianNoise((0.0, 20.0)),
        MedianFilter(3),
    )


@pytest.mark.parametrize("seed", range(3))
def test_transforms_draw_from_the_generator_alone(sample, seed):
    steps = training_transforms(DataSettings("synthetic", crop=(24, 24), **EVERYTHING))
    one, two = (apply_transforms(steps, sample, np.random.default_rng(seed)) for _ in range(2))
    for key in one:
        np.testing.assert_array_equal(one[key], two[key])
