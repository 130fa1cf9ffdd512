import cv2
import numpy as np
import pytest
from golden.recipe_instances import recipe_image, recipe_targets

from segalias_jax.data.instance_settings import InstanceSettings
from segalias_jax.data.instance_transforms import (
    ObjectCrop,
    ObjectFlip,
    ResizedObjectCrop,
    ResizeSides,
    evaluation_resize,
    fixed_arrays,
    largest,
    object_transforms,
    padded_size,
)
from segalias_jax.data.masks import boxes_of_masks, unpack_masks
from segalias_jax.data.transforms import apply_transforms


def sample_of(height=61, width=83, count=4, seed=0):
    boxes, labels, masks = recipe_targets(height, width, count, 9, seed)
    image = np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)
    return {
        "image": image,
        "boxes": boxes,
        "classes": labels.astype(np.int32),
        "crowd": np.arange(count) == 1,
        "masks": masks.astype(bool),
    }


def assert_equal(one, other):
    assert one.keys() == other.keys()
    for key in one:
        np.testing.assert_array_equal(one[key], other[key], err_msg=key)


def test_sizes_are_those_of_the_recorded_table(golden):
    for *size, short, long, height, width, below, across in golden("i_masks")[
        "size_table"
    ].tolist():
        resized = ResizeSides((short, short), long).scaled_size(tuple(size), short)
        assert resized == (height, width)
        assert padded_size([resized]) == (below, across)


@pytest.mark.parametrize(("index", "size"), [(0, (90, 130)), (1, (70, 200))])
def test_resizing_equals_what_was_recorded(golden, index, size):
    recorded = golden("i_masks")
    boxes, labels, masks = recipe_targets(*size, 3, 9, 9230 + index)
    mean, deviation = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
    sample = {
        "image": (recipe_image(*size, 9200 + index).transpose(1, 2, 0) - mean) / deviation,
        "boxes": boxes,
        "classes": labels.astype(np.int32),
        "crowd": np.zeros(3, bool),
        "masks": masks.astype(bool),
    }
    resized = ResizeSides((100, 100), 170)(sample, np.random.default_rng(0))
    height, width = recorded["transform_sizes"][index]
    assert resized["image"].shape == (height, width, 3)
    padded = np.zeros((128, 192, 3))
    padded[:height, :width] = resized["image"]
    shown = padded[::3, ::3].transpose(2, 0, 1)
    # Recorded as float32, of values up to 3.
    np.testing.assert_allclose(shown, recorded["transform_batch"][index], rtol=0, atol=3e-7)
    np.testing.assert_allclose(
        padded.sum((0, 1)), recorded["transform_batch_sum"][index], rtol=1e-9
    )
    np.testing.assert_allclose(resized["boxes"], recorded[f"transform_boxes_{index}"], rtol=1e-6)
    expected = unpack_masks(recorded[f"transform_masks_{index}"], int(width))
    np.testing.assert_array_equal(resized["masks"], expected)


def test_pixels_are_resized_as_opencv_does_it(script):
    sample = sample_of()
    resized = ResizeSides((90, 110), 200)(sample, script(97))
    # 97 / 61 * 83 = 131.98, of which the fraction is dropped.
    expected = cv2.resize(sample["image"], (131, 97), interpolation=cv2.INTER_LINEAR)
    np.testing.assert_array_equal(resized["image"], expected)
    assert resized["masks"].shape == (4, 97, 131)


def test_nearest_shows_the_same_pixels_of_image_and_masks():
    sample = sample_of()
    # A red pixel wherever the first mask is, so that both can be compared.
    sample["image"][..., 0] = 255 * sample["masks"][0]
    resized = ResizeSides((40, 40), 200, interpolation="nearest")(sample, np.random.default_rng(0))
    np.testing.assert_array_equal(resized["image"][..., 0] == 255, resized["masks"][0])


def test_the_ratio_multiplies_the_scale(script):
    resize = ResizeSides((100, 100), 1000, ratio_range=(0.5, 2.0))
    assert resize.draw_size((50, 70), script(1.5)) == (150, 210)
    assert resize.largest_size((50, 70)) == (200, 280)


def test_flipping_twice_gives_the_same():
    sample = sample_of()
    rng = np.random.default_rng(0)
    flipped = ObjectFlip(1.0)(sample, rng)
    np.testing.assert_array_equal(flipped["boxes"], boxes_of_masks(flipped["masks"]))
    np.testing.assert_array_equal(flipped["image"], sample["image"][:, ::-1])
    assert_equal(ObjectFlip(1.0)(flipped, rng), sample)
    assert ObjectFlip(0.0)(sample, rng) is sample


def test_a_crop_makes_boxes_anew_and_drops_what_has_vanished(script):
    sample = sample_of()
    cropped = ObjectCrop((30, 28))(sample, script(2, 3))
    window = sample["masks"][:, 2:32, 3:31]
    left = window.any((1, 2))
    assert 0 < left.sum() < len(left)  # the draw of the targets has both
    np.testing.assert_array_equal(cropped["masks"], window[left])
    np.testing.assert_array_equal(cropped["boxes"], boxes_of_masks(window[left]))
    for key in ("classes", "crowd"):
        np.testing.assert_array_equal(cropped[key], sample[key][left])
    np.testing.assert_array_equal(cropped["image"], sample["image"][2:32, 3:31])


@pytest.mark.parametrize("crop", [(30, 40), (300, 50), (300, 300)])
@pytest.mark.parametrize("interpolation", ["bilinear", "nearest"])
def test_resizing_a_window_equals_a_window_of_the_resized(crop, interpolation):
    sample = sample_of()
    resize = ResizeSides((50, 120), 160, (0.7, 1.4), interpolation)
    for seed in range(5):
        whole = resize(sample, rng := np.random.default_rng(seed))
        expected = ObjectCrop(crop)(whole, rng)
        got = ResizedObjectCrop(resize, ObjectCrop(crop))(sample, np.random.default_rng(seed))
        assert_equal(got, expected)


def test_objects_too_small_for_a_pixel_are_dropped():
    sample = sample_of(60, 60, count=1)
    sample["masks"] = np.zeros((1, 60, 60), bool)
    sample["masks"][0, 1, 1] = True
    resized = ResizeSides((10, 10), 10)(sample, np.random.default_rng(0))
    assert resized["masks"].shape == (0, 10, 10) and resized["boxes"].shape == (0, 4)


def test_transforms_leave_the_given_arrays_as_they_are():
    sample = sample_of()
    before = {key: array.copy() for key, array in sample.items()}
    settings = InstanceSettings(
        "coco", short=(50, 90), long=150, crop=(40, 60), flip=1.0, photometric=True, dark=1.0
    )
    steps = object_transforms(settings)
    first = apply_transforms(steps, sample, np.random.default_rng(3))
    assert_equal(sample, before)
    assert_equal(first, apply_transforms(steps, sample, np.random.default_rng(3)))
    other = apply_transforms(steps, sample, np.random.default_rng(4))
    assert other["image"].shape != first["image"].shape or (other["image"] != first["image"]).any()


def test_scoring_takes_the_largest_side_and_no_ratio():
    settings = InstanceSettings("coco", short=(40, 90), long=150, ratio_range=(0.5, 2.0))
    assert evaluation_resize(settings).draw_size((60, 80), np.random.default_rng(0)) == (90, 120)


def test_rows_have_one_size_and_zeros_beyond_the_image():
    sample = sample_of()
    row = fixed_arrays(sample | {"dark": sample["image"] // 2}, (64, 96), 6)
    assert row["size"].tolist() == [61, 83]
    np.testing.assert_array_equal(row["image"][:61, :83], sample["image"])
    np.testing.assert_array_equal(row["dark"][:61, :83], sample["image"] // 2)
    assert not row["image"][61:].any() and not row["image"][:, 83:].any()
    masks = unpack_masks(row["masks"], 96)
    np.testing.assert_array_equal(masks[:4, :61, :83], sample["masks"])
    assert masks.sum() == sample["masks"].sum()
    np.testing.assert_array_equal(row["boxes"][:4], sample["boxes"])
    assert row["classes"][:4].tolist() == sample["classes"].tolist()
    assert not row["classes"][4:].any() and not row["boxes"][4:].any()
    assert row["crowd"].tolist() == [False, True, False, False, False, False]


def test_of_too_many_objects_the_largest_stay_in_their_order():
    sample = sample_of(count=7)
    areas = sample["masks"].sum((1, 2))
    kept = sorted(sorted(range(7), key=lambda k: (-areas[k], k))[:3])
    assert largest(sample["masks"], 3).tolist() == kept
    row = fixed_arrays(sample, (64, 96), 3)
    np.testing.assert_array_equal(row["boxes"], sample["boxes"][kept])
    assert unpack_masks(row["masks"], 96).sum() == areas[kept].sum()
