"""What `segalias predict` writes of a detector's run, scored beside `segalias eval`."""

import json
import shutil

import cv2
import numpy as np
import pytest

import segalias_jax as sa
from segalias_jax import cli
from segalias_jax.data.maps import read_map
from segalias_jax.data.run_length import decode_mask
from segalias_jax.runs import setup
from segalias_jax.runs.evaluate import evaluate_run

SCORES = ("PQ", "accuracy_50", "SQ", "RQ")


@pytest.fixture(autouse=True)
def keep_the_cache(monkeypatch):
    monkeypatch.setattr("segalias_jax.inference.command.enable_compilation_cache", lambda: None)
    monkeypatch.setattr(setup, "enable_compilation_cache", lambda: None)


def predict(*words):
    return cli.main(["predict", *map(str, words)])


def test_scores_of_the_results_are_those_of_the_recipe(
    detector_run, coco_tree, detector_recipe, torch_file, tmp_path, capsys
):
    """Weights in torchvision's names, converted, by `eval`; and by `predict`, then `score`."""
    changes = {f"--config.{key}": value for key, value in _small(detector_recipe).items()}
    words = ["--config", "coco_instances:baseline", *(f"{k}={v}" for k, v in changes.items())]
    assert cli.main(["convert", str(torch_file), str(tmp_path / "weights"), *words]) == 0
    assert "(torchvision names)" in capsys.readouterr().out
    config = detector_recipe.copy_and_resolve_references().unlock()
    config.model.pretrained = str(tmp_path / "weights")
    evaluate_run(config.lock(), tmp_path / "scored")
    expected = json.loads((tmp_path / "scored/eval/report.json").read_text())["scores"]
    truth, out = coco_tree / "set.json", tmp_path / "out"
    assert predict("--run", detector_run, coco_tree / "images", "--out", out, "--ids", truth) == 0
    rows = json.loads((out / "detections.json").read_text())
    about = json.loads((out / "images.json").read_text())
    assert {row["image_id"] for row in rows} == {40, 43} == {one["id"] for one in about["images"]}
    assert {row["category_id"] for row in rows} <= {3, 7, 20}
    assert {one["id"]: one["name"] for one in about["categories"]} == {
        3: "dog",
        7: "cat",
        20: "bird",
    }
    words = [out / "detections.json", truth, "--instances", "--score-threshold=0.2"]
    assert cli.main(["score", *map(str, words), "--out", str(tmp_path / "report")]) == 0
    found = json.loads((tmp_path / "report/report.json").read_text())["scores"]
    assert {key: found[key] for key in SCORES} == {key: expected[key] for key in SCORES}


def _small(config):
    keys = ("encoder", "width", "pyramid_channels", "box_channels", "mask_channels", "anchor_sizes")
    return {f"model.{key}": config.model[key] for key in keys}


def test_results_overlays_and_maps(detector_run, coco_tree, tmp_path, capsys):
    out, frames = tmp_path / "out", tmp_path / "frames"
    shutil.copytree(coco_tree / "images", frames)
    (frames / "photo2.png").write_bytes(b"nothing")
    words = ["--run", detector_run, frames, "--out", out, "--maps", "--score-threshold", "0.3"]
    assert predict(*words) == 1
    told = capsys.readouterr()
    assert "2 images in" in told.out and f"left out {frames / 'photo2.png'}" in told.err
    about = json.loads((out / "images.json").read_text())
    assert [(one["id"], one["file_name"]) for one in about["images"]] == [
        (1, "photo0.png"),
        (2, "photo1.png"),
    ]
    manifest = json.loads((out / "predictions.json").read_text())
    assert manifest["divisor"] == 1000 and manifest["settings"]["padded"] == [64, 96]
    predictor = sa.Predictor(detector_run, score_threshold=0.3)
    rows = json.loads((out / "detections.json").read_text())
    for k, one in enumerate(about["images"]):
        found = predictor(frames / f"photo{k}.png")
        own = [row for row in rows if row["image_id"] == one["id"]]
        assert len(own) == len(found) > 0 and found.to_coco(one["id"]) == own
        for row, mask in zip(own, found.masks, strict=True):
            np.testing.assert_array_equal(decode_mask(row["segmentation"]), mask)
        ids = read_map(out / f"maps/photo{k}.png")
        np.testing.assert_array_equal(ids, found.instance_map(1000))
        assert set(np.unique(ids)) <= {
            0,
            *(int(label) * 1000 + i for i, label in enumerate(found.classes, 1)),
        }
        overlay = cv2.imread(str(out / f"overlays/photo{k}.png"))[..., ::-1]
        np.testing.assert_array_equal(overlay, found.overlay())
    # Again, of fewer images: the lists are those of the last call.
    assert predict("--run", detector_run, frames / "photo1.png", "--out", out) == 0
    assert len(json.loads((out / "images.json").read_text())["images"]) == 1


@pytest.mark.parametrize(
    "words, message",
    [
        (["--window", "8,8"], "--window: is for semantic segmentation, and"),
        (["--no-flip"], "--flip: is for semantic segmentation, and"),
        (["--label-ids"], "is a run of instance segmentation; leave it out"),
        (["--score-threshold", "2"], "score_threshold: 2.0 is no number from 0 to 1"),
        (["--ids", "other.json"], "has no image of file name photo0.png; leave out --ids"),
    ],
)
def test_errors_are_one_line(
    detector_run, coco_tree, tmp_path, capsys, words, message, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    other = json.loads((coco_tree / "set.json").read_text())
    other["images"] = [{"id": 1, "file_name": "x.png", "height": 4, "width": 4}]
    (tmp_path / "other.json").write_text(json.dumps(other | {"annotations": []}))
    image = coco_tree / "images/photo0.png"
    assert predict("--run", detector_run, image, *words, "--out", tmp_path / "out") == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ") and message in error and error.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_flags_of_objects_are_refused_elsewhere(run, images, tmp_path, capsys):
    cv2.imwrite(str(tmp_path / "a.png"), images[0])
    words = ["--run", run[1], tmp_path / "a.png", "--out", tmp_path / "out", "--maps"]
    assert predict(*words) == 2
    assert "--maps: is for instance segmentation, and" in capsys.readouterr().err
