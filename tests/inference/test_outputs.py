"""Files of predictions: palette PNGs, overlays, and folders that are left alone."""

import json

import cv2
import jax
import numpy as np
import pytest

from segalias_jax.data.classes import CITYSCAPES, CITYSCAPES_IDS
from segalias_jax.data.maps import read_map
from segalias_jax.errors import InputError
from segalias_jax.evaluation import SlidingPredictor, ViewSettings
from segalias_jax.inference.outputs import PredictionFolder, color_overlay, encode_map
from segalias_jax.inference.predictor import Result


@pytest.mark.parametrize("size", [(1, 1), (5, 300)])
def test_maps_hold_ids_and_show_colors(tmp_path, size):
    rng = np.random.default_rng(0)
    ids = rng.integers(0, 200, size).astype(np.uint8)
    palette = rng.integers(0, 256, (190, 3)).astype(np.uint8)
    path = tmp_path / "a.png"
    path.write_bytes(encode_map(ids, palette))
    np.testing.assert_array_equal(read_map(path), ids)
    shown = cv2.imread(str(path))[..., ::-1]
    known = ids < 190
    np.testing.assert_array_equal(shown[known], palette[ids[known]])
    assert (shown[~known] == 0).all()


def make_result(size=(6, 7)):
    """Nineteen classes; the red channel says which one."""
    image = np.random.default_rng(0).integers(0, 19, (*size, 3)).astype(np.uint8)
    slider = SlidingPredictor(_one_hot, ViewSettings())
    return Result("a", image, slider.start(image, probabilities=True))


def _one_hot(windows):
    return 5 * jax.nn.one_hot(windows[..., 0], 19)


def test_cityscapes_server_names_and_ids(tmp_path):
    result = make_result()
    folder = PredictionFolder(tmp_path / "new", *CITYSCAPES, label_ids=True)
    folder.write("bonn/bonn_000001_000019_leftImg8bit", result)
    path = tmp_path / "new/maps/bonn/bonn_000001_000019_gtFine_labelIds.png"
    np.testing.assert_array_equal(read_map(path), np.asarray(CITYSCAPES_IDS)[result.image[..., 0]])
    colors = cv2.imread(str(path))[..., ::-1]
    np.testing.assert_array_equal(colors, CITYSCAPES[1][result.image[..., 0]])
    with pytest.raises(InputError, match="label_ids is for the 19 classes of Cityscapes"):
        PredictionFolder(tmp_path / "new", ["sky"], np.zeros((1, 3), np.uint8), label_ids=True)


def test_overlays_and_probabilities(tmp_path):
    result = make_result()
    folder = PredictionFolder(tmp_path, *CITYSCAPES, overlays=True, probabilities=True)
    folder.write("sub/a", result)
    overlay = cv2.imread(str(tmp_path / "overlays/sub/a.png"))[..., ::-1]
    classes = result.prediction.classes()
    np.testing.assert_array_equal(overlay, color_overlay(result.image, classes, CITYSCAPES[1]))
    probabilities = np.load(tmp_path / "probabilities/sub/a.npz")["arr_0"]
    assert probabilities.dtype == np.float16 and probabilities.shape == (6, 7, 19)
    np.testing.assert_allclose(probabilities, result.prediction.scores(), rtol=0, atol=1e-3)


def test_only_folders_of_predictions_are_written_into(tmp_path):
    folder = PredictionFolder(tmp_path / "new", *CITYSCAPES)
    folder.write_manifest({"run": "r"})
    assert json.loads((tmp_path / "new/predictions.json").read_text())["run"] == "r"
    PredictionFolder(tmp_path / "new", *CITYSCAPES)
    (tmp_path / "new/predictions.json").unlink()
    (tmp_path / "new/.predictions.json.123.tmp").touch()  # of a call that was killed
    PredictionFolder(tmp_path / "new", *CITYSCAPES)
    (tmp_path / "new/thesis.txt").touch()
    with pytest.raises(InputError, match="new: holds other files than predictions"):
        PredictionFolder(tmp_path / "new", *CITYSCAPES)
    with pytest.raises(InputError, match=r"thesis.txt: not a folder"):
        PredictionFolder(tmp_path / "new/thesis.txt", *CITYSCAPES)


def test_maps_of_two_runs_are_not_mixed(tmp_path, monkeypatch):
    """A run is the same under another spelling of its path."""
    monkeypatch.chdir(tmp_path)
    PredictionFolder(tmp_path / "out", *CITYSCAPES).write_manifest({"run": "runs/one"})
    before = (tmp_path / "out/predictions.json").read_bytes()
    again = PredictionFolder(tmp_path / "out", *CITYSCAPES)
    with pytest.raises(InputError, match="out: holds predictions of the run runs/one; choose an"):
        again.write_manifest({"run": "runs/two"})
    assert (tmp_path / "out/predictions.json").read_bytes() == before
    again.write_manifest({"run": str(tmp_path / "runs/one")})


@pytest.mark.parametrize("content", [None, '{"annotations": []}', "[1, 2]", "{"])
def test_maps_of_other_origin_are_left_alone(tmp_path, content):
    """Without predictions.json beside them, or with one that another program wrote."""
    (tmp_path / "maps").mkdir()
    (tmp_path / "maps/a.png").write_bytes(b"mine")
    if content is not None:
        (tmp_path / "predictions.json").write_text(content)
    with pytest.raises(InputError, match="holds other files than predictions"):
        PredictionFolder(tmp_path, *CITYSCAPES)


def test_a_file_that_cannot_be_written_is_as_it_was(tmp_path, monkeypatch):
    folder = PredictionFolder(tmp_path, *CITYSCAPES)
    folder.write("a", make_result())
    before = (tmp_path / "maps/a.png").read_bytes()

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(InputError, match=r"a.png: cannot be written \(No space left on device\)"):
        folder.write("a", make_result((3, 4)))
    assert (tmp_path / "maps/a.png").read_bytes() == before
    assert [path.name for path in (tmp_path / "maps").iterdir()] == ["a.png"]


def test_a_result_without_a_prediction_is_not_written(tmp_path):
    with pytest.raises(InputError, match="b.png: has no prediction to write .truncated."):
        PredictionFolder(tmp_path, *CITYSCAPES).write(
            "b", Result("b.png", error=InputError("truncated"))
        )
