"""`sa.Predictor`: arrays, files and folders, and what cannot be predicted."""

import cv2
import jax
import numpy as np
import pytest

import segalias_jax as sa
from segalias_jax.errors import InputError
from segalias_jax.inference.predictor import find_images, load_image


@pytest.fixture(scope="module")
def predictor(run):
    return sa.Predictor(run[1])


def test_settings_and_classes_are_those_of_the_run(predictor, run):
    assert predictor.settings.mode == "slide" and predictor.settings.window == (32, 32)
    assert len(predictor.classes) == 8 and predictor.palette.shape == (8, 3)
    changed = sa.Predictor(run[1], mode="whole", scales=(0.5, 1.0)).settings
    assert changed.mode == "whole" and changed.scales == (0.5, 1.0)
    # A whole image is one window; a batch of two would be computed for nothing.
    assert (predictor.settings.batch_size, changed.batch_size) == (2, 1)


def test_arrays_files_and_streams_agree(predictor, images, tmp_path):
    path = tmp_path / "a.png"
    cv2.imwrite(str(path), images[0][..., ::-1])
    expected = predictor(images[0])
    assert expected.shape == (40, 56) and len(np.unique(expected)) > 1
    np.testing.assert_array_equal(predictor(path), expected)
    np.testing.assert_array_equal(predictor.probabilities(str(path)).argmax(-1), expected)
    items = [path, images[1], tmp_path / "missing.png", images[0]]
    results = list(predictor.stream(items, probabilities=True))
    assert [result.source is item for result, item in zip(results, items, strict=True)] == [
        True
    ] * 4
    assert "missing.png: cannot be read" in str(results[2].error)
    assert results[2].prediction is None and results[2].image is None
    np.testing.assert_array_equal(results[3].prediction.classes(), expected)
    np.testing.assert_allclose(results[3].prediction.scores().sum(-1), 1, rtol=1e-5)


def test_flipped_images_are_averaged_in(run, images, predictor):
    """What both see is the same then; the windows of this size lie symmetrically."""
    flipping = sa.Predictor(run[1], flip=True)
    found = flipping.probabilities(images[0])
    flipped = flipping.probabilities(images[0][:, ::-1].copy())
    np.testing.assert_allclose(flipped[:, ::-1], found, rtol=0, atol=1e-5)
    assert np.abs(found - predictor.probabilities(images[0])).max() > 1e-3


def test_logits_are_those_of_which_probabilities_are_the_softmax(predictor, images, run):
    logits = predictor.logits(images[0])
    assert logits.shape == (40, 56, 8) and logits.dtype == np.float32
    np.testing.assert_allclose(
        jax.nn.softmax(logits), predictor.probabilities(images[0]), rtol=0, atol=1e-6
    )
    assert np.abs(logits.sum(-1) - 1).max() > 1e-2  # no probabilities themselves
    with pytest.raises(InputError, match="logits are those of one view, not of 2"):
        sa.Predictor(run[1], flip=True).logits(images[0])


def test_overlay_mixes_the_colors_of_the_classes(predictor, images):
    colors = predictor.palette[predictor(images[0])].astype(float)
    found = predictor.overlay(images[0])
    assert found.dtype == np.uint8
    np.testing.assert_allclose(found, (images[0] + colors) / 2, atol=0.5)


def test_repr_says_what_is_predicted_and_how(predictor, run):
    assert repr(predictor) == (
        f"Predictor('{run[1]}', 8 classes, mode='slide', window=(32, 32), stride=(24, 24), "
        "batch_size=2)"
    )
    whole = sa.Predictor(run[1], mode="whole", flip=True)
    assert repr(whole) == f"Predictor('{run[1]}', 8 classes, mode='whole', flip=True)"


def test_find_images_sorts_frames_and_names_results(tmp_path):
    for name in ("video/frame_10.png", "video/frame_2.png", "video/sub/x.JPG", "video/notes.txt"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    for name in ("y.webp", "2\u00b22.png"):  # a superscript is a digit, but no number
        (tmp_path / name).touch()
    found = find_images([tmp_path / "video", tmp_path / "y.webp"])
    assert list(found) == ["frame_2", "frame_10", "sub/x", "y"]
    assert "2\u00b22" in find_images([tmp_path])
    (tmp_path / "frame_2.jpg").touch()
    with pytest.raises(InputError, match="both be written as frame_2; predict them into two"):
        find_images([tmp_path / "video", tmp_path / "frame_2.jpg"])
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="empty: no .png or .jpg"):
        find_images([tmp_path / "empty"])


@pytest.mark.parametrize(
    "shape, dtype, message",
    [
        ((4, 4), np.uint8, r"\(height, width, 3\), not \(4, 4\)"),
        ((4, 4, 4), np.uint8, r"not \(4, 4, 4\); convert it to RGB"),
        ((4, 4, 3), np.float32, "bytes 0 to 255 .uint8., not float32"),
        ((0, 4, 3), np.uint8, r"\(0, 4, 3\) has no pixel"),
    ],
)
def test_arrays_of_another_kind_are_refused(shape, dtype, message):
    with pytest.raises(InputError, match=message):
        load_image(np.zeros(shape, dtype))
