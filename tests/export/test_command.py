"""The command `segalias export`."""

import json

import pytest

import segalias_jax as sa
from segalias_jax import cli


def export(*words):
    return cli.main(["export", *map(str, words)])


def test_writes_a_program(run, tmp_path, capsys):
    words = ("--run", run[1], "--format", "stablehlo", "--out", tmp_path / "new", "--batch", 2)
    assert export(*words, "--size", "33,40") == 0
    assert f"written to {tmp_path / 'new/model.stablehlo'}" in capsys.readouterr().out
    manifest = json.loads((tmp_path / "new/manifest.json").read_text())
    assert manifest["input"]["shape"] == [2, 33, 40, 3]
    settings = sa.Predictor(tmp_path / "new").settings
    assert (settings.window, settings.stride, settings.batch_size) == ((33, 40), (22, 26), 2)
    assert export(*words) == 2
    assert "new is there already" in capsys.readouterr().err


@pytest.mark.parametrize(
    "words, message",
    [
        (["--run", "nowhere", "--format", "onnx"], "nowhere is not there"),
        (["--run", "RUN", "--format", "tflite"], "invalid choice: 'tflite'"),
        (
            ["--run", "RUN", "--format", "onnx", "--size", "8"],
            "'8' is neither H,W such as",
        ),
        (["--run", "RUN"], "--format is missing"),
    ],
)
def test_errors_are_one_line_and_status_2(run, tmp_path, capsys, words, message):
    words = [run[1] if word == "RUN" else word for word in words]
    assert export(*words, "--out", tmp_path / "out") == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ") and message in error and error.count("\n") == 1
    assert not (tmp_path / "out").exists()
