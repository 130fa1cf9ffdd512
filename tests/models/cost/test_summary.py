"""The command."""

import json
import sys
import time
from pathlib import Path

import pytest

from segalias_jax import cli
from segalias_jax.models.cost import summary

ROOT = Path(__file__).parents[3]
# How ml_collections loads a file.
pytestmark = pytest.mark.filterwarnings("ignore:the load_module:DeprecationWarning")


@pytest.fixture
def run(monkeypatch, capsys):
    """Runs the command line and returns its exit status and output."""
    monkeypatch.setattr(sys, "path", [str(ROOT), *sys.path])  # as in the root

    def run(*argv, recipe="cityscapes.py:published"):
        small = ["--config.model.encoder=resnet18", "--config.model.width=8"]
        status = cli.main(["summary", "--config", f"{ROOT}/configs/{recipe}", *small, *argv])
        return status, "".join(capsys.readouterr())

    return run


def test_prints_and_writes(run, tmp_path):
    path = tmp_path / "summary.json"
    status, told = run("--size", "64", "96", "--batch=2", "--count-only", "--json", str(path))
    assert status == 0, told
    assert "cityscapes:daf,freqmix,published: upernet on resnet18, 19 classes" in told
    assert "input: 2 x 64 x 96 x 3" in told and "0.3500" in told
    content = json.loads(path.read_text())
    assert content["image_shape"] == [2, 64, 96, 3] and content["downsampling"][2]["cutoff"] == 0.35


def test_the_size_is_the_crop_of_the_recipe(run):
    assert "input: 1 x 768 x 768 x 3" in run("--count-only")[1]


def test_tells_that_it_compiles(run, monkeypatch):
    asked, counting = [], summary.summarize

    def slow(model, shape, *, compiled):
        time.sleep(0.1)
        asked.append(compiled)
        return counting(model, shape)

    monkeypatch.setattr(summary, "_TELL_AFTER", 0.01)
    monkeypatch.setattr(summary, "summarize", slow)
    told = [run(*argv, "--size", "32", "32")[1] for argv in ((), ("--count-only",))]
    assert asked == [True, False]
    assert ["compiling the forward pass" in text for text in told] == [True, False]


@pytest.mark.parametrize(
    "argv, message",
    [
        (["--size", "64"], "argument --size: expected 2 arguments"),
        (["--size", "64", "0"], "argument --size: '0' is no positive integer"),
        (["--sise", "64", "64"], "unknown flag --sise; did you mean --size?"),
        (["more"], "argument 'more' is not expected"),
        (
            ["--config.model.encoder=resnet19"],
            "model.encoder is 'resnet19'; did you mean 'resnet18'?",
        ),
        (["--config.model.widht=8"], "did you mean model.width"),
        (["--count-only", "--size", "32", "32", "--json=no/x.json"], "no/x.json cannot be written"),
    ],
)
def test_errors_are_one_line_and_status_2(run, argv, message):
    status, told = run(*argv)
    errors = [line for line in told.splitlines() if line.startswith("error: ")]
    assert status == 2 and len(errors) == 1 and message in errors[0]
