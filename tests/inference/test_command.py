"""The command `segalias predict`, and its maps scored beside the scores of `segalias eval`."""

import json
import struct

import cv2
import numpy as np
import pytest

from segalias_jax import cli, data, evaluation
from segalias_jax.data.maps import read_map
from segalias_jax.runs import setup
from segalias_jax.runs.evaluate import evaluate_run

SIX = ("mIoU", "BIoU", "BAcc", "FErr", "MErr", "DErr")


@pytest.fixture(autouse=True)
def keep_the_cache(monkeypatch):
    monkeypatch.setattr("segalias_jax.inference.command.enable_compilation_cache", lambda: None)
    monkeypatch.setattr(setup, "enable_compilation_cache", lambda: None)


def predict(*words):
    return cli.main(["predict", *map(str, words)])


def test_folder_with_a_bad_file(run, images, tmp_path, capsys):
    """The good ones are written, the bad one is told of, and the status is 1."""
    frames = tmp_path / "frames"
    frames.mkdir()
    for i, image in enumerate(images[:2]):
        cv2.imwrite(str(frames / f"f{i}.png"), image[..., ::-1])
    (frames / "f3.png").write_bytes((frames / "f0.png").read_bytes()[:100])
    claims = bytearray((frames / "f0.png").read_bytes())
    claims[16:24] = struct.pack(">II", 30_000, 30_000)
    (frames / "f4.png").write_bytes(claims)
    assert predict("--run", run[1], frames, "--out", tmp_path / "out", "--no-overlays") == 1
    told = capsys.readouterr()
    assert "2 images in" in told.out and "images/s after the first" in told.out
    assert f"left out {frames / 'f3.png'}: the file is truncated" in told.err
    assert f"left out {frames / 'f4.png'}: claims 30000x30000 pixels" in told.err
    maps = sorted(path.name for path in (tmp_path / "out/maps").iterdir())
    assert maps == ["f0.png", "f1.png"] and not (tmp_path / "out/overlays").exists()
    manifest = json.loads((tmp_path / "out/predictions.json").read_text())
    assert manifest["images"] == 2 and set(manifest["left out"]) == {
        str(frames / "f3.png"),
        str(frames / "f4.png"),
    }
    assert manifest["settings"]["window"] == [32, 32] and len(manifest["classes"]) == 8


def test_results_do_not_get_among_the_images(run, images, tmp_path, capsys):
    """Overlays would be images of the next call, and a folder of images no place for maps."""
    frames = tmp_path / "frames"
    frames.mkdir()
    cv2.imwrite(str(frames / "f0.png"), images[0][..., ::-1])
    before = (frames / "f0.png").read_bytes()
    for out, given in (("frames/out", "frames"), ("frames", "frames"), (".", "frames/f0.png")):
        assert predict("--run", run[1], tmp_path / given, "--out", tmp_path / out) == 2
        told = capsys.readouterr().err
        assert "which is predicted; name a folder elsewhere" in told and told.count("\n") == 1
    assert list(frames.iterdir()) == [frames / "f0.png"]
    assert (frames / "f0.png").read_bytes() == before


@pytest.mark.parametrize(
    "words, message",
    [
        (["--run", "RUN", "nowhere"], "nowhere: no such file or folder"),
        (["--run", "nowhere", "IMAGE"], "nowhere is not there; give the folder of a checkpoint"),
        (["--run", "RUN", "IMAGE", "--window", "8"], "window: (8,) is not two positive integers"),
        (["--run", "RUN", "IMAGE", "--window", "a,b"], "'a,b' is no list such as 1,2"),
        (["--run", "RUN", "IMAGE", "--label-ids"], "is for the 19 classes of Cityscapes"),
        (["--run", "RUN"], "IMAGE is missing"),
        (["--run", "RUN", "IMAGE", "--scale", "x"], "unknown flag --scale; did you mean --scales?"),
    ],
)
def test_errors_are_one_line_and_status_2(run, images, tmp_path, capsys, words, message):
    cv2.imwrite(str(tmp_path / "a.png"), images[0])
    names = {"RUN": run[1], "IMAGE": tmp_path / "a.png"}
    words = [names.get(word, word) for word in words]
    assert predict(*words, "--out", tmp_path / "out") == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ") and message in error and error.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_scores_of_the_maps_are_those_of_the_recipe(run, tmp_path, capsys):
    """`segalias eval` on the recipe, and `segalias score` on what `segalias predict` wrote."""
    config, folder = run
    config = config.copy_and_resolve_references().unlock()
    config.model.pretrained = str(folder)
    evaluate_run(config.lock(), tmp_path / "scored")
    source = data.create_source(config.data, "val")
    for name in ("images", "labels"):
        (tmp_path / name).mkdir()
    for i, name in enumerate(source.names):
        cv2.imwrite(str(tmp_path / f"images/{name}.png"), source[i]["image"][..., ::-1])
        cv2.imwrite(str(tmp_path / f"labels/{name}.png"), source[i]["label"])
    assert predict("--run", folder, tmp_path / "images", "--out", tmp_path / "out") == 0
    report = evaluation.evaluate_folders(
        tmp_path / "out/maps", tmp_path / "labels", num_classes=len(source.classes)
    )
    summary = json.loads((tmp_path / "scored/eval/report.json").read_text())["summary"]
    assert {key: summary[key] for key in SIX} == {key: report.scores[key] for key in SIX}
    ids = read_map(tmp_path / f"out/maps/{source.names[0]}.png")
    assert len(np.unique(ids)) > 1  # the drawn weights predict something
    assert (tmp_path / f"out/overlays/{source.names[0]}.png").exists()
