"""Objects of images of any size by a detector's run, and by programs exported from it."""

import cv2
import numpy as np
import pytest

import segalias_jax as sa
from segalias_jax.data.masks import boxes_of_masks, paste_masks
from segalias_jax.errors import InputError
from segalias_jax.inference import DetectedObjects, InstancePredictor
from segalias_jax.inference.instance_predictor import DetectionSettings, detection_settings
from segalias_jax.runs.instance_recipe import InstanceRecipe


@pytest.fixture(scope="module")
def predictor(detector_run):
    return sa.Predictor(detector_run)


def image_of(size, seed=0):
    height, width = size
    small = np.random.default_rng(seed).integers(0, 256, (height // 4, width // 4, 3), np.uint8)
    return cv2.resize(small, (width, height))


def test_objects_are_those_of_the_network_at_the_size_of_the_image(predictor):
    """Resizing by hand, boxes times the ratio, masks pasted there."""
    image = image_of((120, 160))
    found = predictor(image)
    assert isinstance(predictor, InstancePredictor) and isinstance(found, DetectedObjects)
    assert len(found) > 2 and found.size == (120, 160)
    resized = np.zeros((1, 64, 96, 3), np.uint8)
    resized[0, :, :85] = cv2.resize(image, (85, 64), interpolation=cv2.INTER_LINEAR)
    detections = predictor._detect(resized, np.array([[64, 85]], np.int32))
    there = np.asarray(detections.classes[0]) > 0
    ratios = np.array([160 / 85, 120 / 64] * 2)
    boxes = np.asarray(detections.boxes[0])[there] * ratios
    np.testing.assert_allclose(found.boxes, boxes, rtol=1e-6)
    np.testing.assert_array_equal(found.scores, np.asarray(detections.scores[0])[there])
    np.testing.assert_array_equal(found.classes, np.asarray(detections.classes[0])[there])
    masks = paste_masks(np.asarray(detections.masks[0])[there], boxes, (120, 160))
    assert masks.any()
    np.testing.assert_array_equal(found.masks, masks)
    assert found.names == tuple(("dog", "cat", "bird")[k - 1] for k in found.classes)
    assert (np.diff(found.scores) <= 0).all()


def test_one_program_for_all_images_of_a_format(predictor):
    sizes = [(60, 80), (64, 96), (33, 41), (200, 301)]
    for size in sizes:
        assert predictor(image_of(size)).size == size
    detect = predictor._detect.__closure__
    (compiled,) = [c.cell_contents for c in detect if hasattr(c.cell_contents, "_cache_size")]
    assert compiled._cache_size() == 1


@pytest.mark.parametrize(
    "short, long, padded, size, seen, filled",
    [
        (800, 1333, (), (480, 640), (800, 1066), (800, 1344)),
        (800, 1333, (), (640, 480), (1066, 800), (1344, 800)),
        (800, 1333, (), (300, 900), (444, 1333), (800, 1344)),
        (800, 1333, (1344, 1344), (640, 480), (1066, 800), (1344, 1344)),
        (64, 96, (64, 96), (90, 60), (96, 64), (96, 64)),  # which the given size does not hold
    ],
)
def test_sizes(short, long, padded, size, seen, filled):
    settings = DetectionSettings(short, long, padded=padded)
    assert settings.seen_size(size) == seen and settings.padded_size(seen) == filled


def test_the_threshold_leaves_objects_out(predictor, detector_run):
    image = image_of((60, 80))
    every = predictor(image)
    least = float(every.scores[2])
    some = sa.Predictor(detector_run, score_threshold=least)(image)
    assert len(some) == (every.scores >= least).sum() < len(every)
    np.testing.assert_array_equal(some.boxes, every.boxes[: len(some)])


def test_what_is_seen_of_many_images_is_padded_for_the_largest(detector_run, tmp_path):
    predictor = sa.Predictor(detector_run)
    for k, size in enumerate([(60, 80), (64, 70)]):
        cv2.imwrite(str(tmp_path / f"{k}.png"), image_of(size))
    (tmp_path / "2.png").write_bytes(b"nothing")
    predictor.pad_for(sorted(tmp_path.iterdir()))
    assert predictor.settings.padded == (64, 96)


def test_stream_and_errors(predictor, tmp_path):
    cv2.imwrite(str(tmp_path / "a.png"), image_of((60, 80)))
    (tmp_path / "b.png").write_bytes(b"nothing")
    found = list(predictor.stream([tmp_path / "a.png", tmp_path / "b.png"]))
    assert isinstance(found[0].prediction, DetectedObjects) and "b.png" in str(found[1].error)
    for refused in (predictor.probabilities, predictor.logits):
        with pytest.raises(InputError, match="a detector has no .* of pixels"):
            refused(image_of((60, 80)))
    assert repr(predictor).endswith("', 3 classes of objects, short=64, long=96)")


@pytest.mark.parametrize(
    "settings, message",
    [
        ({"window": (4, 4)}, "window: is for recipes of semantic segmentation; leave it out"),
        ({"score_threshold": 1.5}, "score_threshold: 1.5 is no number from 0 to 1"),
    ],
)
def test_errors_in_the_settings(settings, message):
    with pytest.raises(InputError, match=message):
        detection_settings(InstanceRecipe().data, threshold=0.5, **settings)


def test_masks_lie_in_their_boxes(predictor):
    found = predictor(image_of((60, 80)))
    filled = found.masks.any((1, 2))
    inner = boxes_of_masks(found.masks[filled])
    # Pasting grows a box by a cell's fraction of it and rounds to pixels.
    outer = found.boxes[filled] + np.array([-1, -1, 1, 1]) * (1 + 80 / 28)
    assert filled.any() and (inner[:, :2] >= outer[:, :2]).all()
    assert (inner[:, 2:] <= outer[:, 2:]).all()
