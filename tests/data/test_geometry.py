import cv2
import numpy as np
import pytest

from segalias_jax.data.geometry import (
    MEAN_COLOR,
    Pad,
    RandomCrop,
    RandomFlip,
    RandomResize,
    RandomRotation,
    ResizedCrop,
)


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


def test_resize_is_opencvs(sample, script):
    rng = script(1.37)
    resized = RandomResize((0.5, 2.0))(sample, rng)
    # int(60 * 1.37) = 82, int(40 * 1.37) = 54: the short side limits, 54 / 40 = 1.35
    expected = cv2.resize(sample["image"], (81, 54), interpolation=cv2.INTER_LINEAR)
    assert rng.ranges == [(0.5, 2.0)]
    np.testing.assert_array_equal(resized["image"], expected)
    rows, columns = (np.arange(54) * 40 // 54), (np.arange(81) * 60 // 81)
    np.testing.assert_array_equal(resized["label"], sample["label"][rows][:, columns])


def test_crop_takes_the_drawn_window(sample, script):
    rng = script(7, 11)
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
def test_crop_is_drawn_again_until_classes_mix(row, windows, script):
    label = np.array([row], np.uint8)
    rng = script(*[value for left in windows for value in (0, left)])
    cropped = RandomCrop((1, 4), 0.75)({"image": label[..., None], "label": label}, rng)
    np.testing.assert_array_equal(cropped["label"], label[:, windows[-1] : windows[-1] + 4])
    assert not rng.draws


def test_crop_gives_up_after_ten_windows(sample, script):
    flat = sample | {"label": np.zeros((40, 60), np.uint8)}
    rng = script(*[0, 0] * 10, 5, 6)
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


def test_flip(sample, script):
    flipped = RandomFlip(0.5)(sample, script(0.49))
    np.testing.assert_array_equal(flipped["image"], sample["image"][:, ::-1])
    np.testing.assert_array_equal(flipped["label"], sample["label"][:, ::-1])
    assert RandomFlip(0.5)(sample, script(0.5)) is sample


def test_pad_fills_bottom_and_right(sample, script):
    padded = Pad((50, 50))(sample, script())
    assert padded["image"].shape == (50, 60, 3) and padded["label"].shape == (50, 60)
    np.testing.assert_array_equal(padded["image"][:40], sample["image"])
    np.testing.assert_array_equal(padded["label"][:40], sample["label"])
    assert (padded["label"][40:] == 255).all() and (padded["image"][40:] == MEAN_COLOR).all()
    assert Pad((40, 60))(sample, script()) is sample


def test_padding_is_zero_after_normalization():
    mean = np.array([123.675, 116.28, 103.53])
    assert np.abs(np.array(MEAN_COLOR) - mean).max() < 0.5


def test_resize_interpolates_between_pixel_centers(sample):
    """Against float64 arithmetic at half-pixel positions; the bytes are within rounding of it."""
    resized = RandomResize((1.6, 1.6))(sample, np.random.default_rng(0))["image"]
    rows, columns = (
        np.clip((np.arange(new) + 0.5) * old / new - 0.5, 0, old - 1)
        for new, old in zip(resized.shape, (40, 60), strict=False)
    )
    image = np.pad(sample["image"], ((0, 1), (0, 1), (0, 0)), mode="edge").astype(float)
    for axis, at in enumerate((rows, columns)):
        low = at.astype(int)
        share = (at - low).reshape((-1, 1, 1) if axis == 0 else (1, -1, 1))
        image = image.take(low, axis) * (1 - share) + image.take(low + 1, axis) * share
    # OpenCV rounds the weights to 1/2048: 255 / 2048 off on each axis at most, then to a byte.
    assert np.abs(resized - image).max() < 0.5 + 2 * 255 / 2048


def test_jitter_scales_each_side_on_its_own(sample, script):
    rng = script(1.5, 0.8, 1.1)
    resized = RandomResize((1.0, 2.0), jitter=0.2)(sample, rng)
    assert rng.ranges == [(1.0, 2.0), (0.8, 1.2), (0.8, 1.2)]
    assert resized["label"].shape == (48, 99)  # 40 * 1.5 * 0.8, 60 * 1.5 * 1.1
    assert RandomResize((1.0, 2.0), jitter=0.2).smallest_size((40, 60)) == (32, 48)


@pytest.mark.parametrize("jitter", [0.0, 0.3])
@pytest.mark.parametrize("ratio", [0.5, 1.0, None])  # halving is a case of its own in OpenCV
def test_crop_before_resize_gives_the_bytes_of_crop_after_resize(ratio, jitter):
    sizes = np.random.default_rng(5)
    for seed in range(40):
        height, width, *window = (int(side) for side in sizes.integers(2, 90, 4))
        image = sizes.integers(0, 256, (height, width, 3), np.uint8)
        label = cv2.resize(sizes.integers(0, 4, (3, 5), np.uint8), (width, height), interpolation=0)
        resize = RandomResize((0.3, 2.5) if ratio is None else (ratio, ratio), jitter=jitter)
        crop = RandomCrop(tuple(window), cat_max_ratio=0.6)
        generators = [np.random.default_rng(seed) for _ in range(2)]
        sample = {"image": image, "label": label}
        ours = ResizedCrop(resize, crop)(sample, generators[0])
        expected = crop(resize(sample, generators[1]), generators[1])
        for key in ("image", "label"):
            np.testing.assert_array_equal(ours[key], expected[key], err_msg=str((seed, key)))
        assert generators[0].bit_generator.state == generators[1].bit_generator.state


def test_crop_before_resize_at_the_published_size():
    """2049 x 1025 from 2048 x 1024: positions are large, and OpenCV's are float32."""
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (1024, 2048, 3), np.uint8)
    label = cv2.resize(rng.integers(0, 19, (32, 64), np.uint8), (2048, 1024), interpolation=0)
    resize, crop = RandomResize((0.5, 2.0), (2049, 1025)), RandomCrop((768, 768))
    for seed in range(6):
        generators = [np.random.default_rng(seed) for _ in range(2)]
        sample = {"image": image, "label": label}
        ours = ResizedCrop(resize, crop)(sample, generators[0])
        expected = crop(resize(sample, generators[1]), generators[1])
        for key in ("image", "label"):
            np.testing.assert_array_equal(ours[key], expected[key])


def test_rotation_by_a_quarter_is_exact(script):
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (25, 25, 3), np.uint8)
    label = rng.integers(0, 9, (25, 25), np.uint8)
    draws = script(90.0)
    turned = RandomRotation(120.0)({"image": image, "label": label}, draws)
    assert draws.ranges == [(-120.0, 120.0)]
    np.testing.assert_array_equal(turned["image"], np.rot90(image))
    np.testing.assert_array_equal(turned["label"], np.rot90(label))


def test_rotation_fills_the_corners_and_turns_image_and_label_alike(script):
    y, x = np.mgrid[:41, :61]
    ramp = (2 * x + y).astype(np.uint8)  # bilinear interpolation of a plane is the plane
    label = (x > 30).astype(np.uint8)
    sample = {"image": np.stack([ramp] * 3, -1), "label": label}
    turned = RandomRotation(30.0)(sample, script(17.0))
    angle = np.deg2rad(17.0)
    across, down = x - 30, y - 20
    from_x = np.cos(angle) * across - np.sin(angle) * down + 30
    from_y = np.sin(angle) * across + np.cos(angle) * down + 20
    inside = (from_x > 1) & (from_x < 59) & (from_y > 1) & (from_y < 39)
    # Older OpenCV rounds positions to 1/32 pixel: 3 levels per pixel / 64, then to a byte.
    error = np.abs(turned["image"][..., 0] - (2 * from_x + from_y))[inside]
    assert error.max() < 0.5 + 3 / 32
    clear = inside & (np.abs(from_x - 30.5) > 0.1)
    np.testing.assert_array_equal(turned["label"][clear], (from_x > 30.5)[clear])
    outside = (from_x < -1) | (from_x > 61) | (from_y < -1) | (from_y > 41)
    assert outside.any() and (turned["label"][outside] == 255).all()
    assert (turned["image"][outside] == MEAN_COLOR).all()
