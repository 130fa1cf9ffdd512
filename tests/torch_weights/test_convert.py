"""The command, in both directions."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest

from segalias_jax import cli
from segalias_jax.torch_weights.files import read_arrays

torch = pytest.importorskip("torch")
ROOT = Path(__file__).parents[2]
SMALL = {"encoder": "resnet18", "width": 8, "channels": 8, "auxiliary_channels": 8}
FLAGS = [f"--config.model.{key}={value}" for key, value in SMALL.items()]
# How ml_collections loads a file.
pytestmark = pytest.mark.filterwarnings("ignore:the load_module:DeprecationWarning")


@pytest.fixture
def run(monkeypatch, capsys):
    """Runs the command line and returns its exit status and output."""
    monkeypatch.setattr(sys, "path", [str(ROOT), *sys.path])  # as in the root

    def run(*argv, recipe="base.py"):
        config = [f"--config={ROOT}/configs/{recipe}"]
        status = cli.main(["convert", *config, *FLAGS, *map(str, argv)])
        return status, "".join(capsys.readouterr())

    return run


@pytest.fixture
def saved(tmp_path, state_dict):
    """A small segmenter of five classes as a `.pth` file, and its arrays."""
    arrays = {name: np.array(array) for name, array in state_dict().items()}
    path = tmp_path / "w.pth"
    torch.save({"state_dict": {k: torch.from_numpy(v) for k, v in arrays.items()}}, path)
    return path, arrays


def test_there_and_back(run, saved, tmp_path):
    path, arrays = saved
    status, told = run(path, tmp_path / "w")
    assert status == 0 and "w.pth (mmsegmentation names) written to" in told, told
    source = json.loads((tmp_path / "w" / "source.json").read_text())
    assert source["file"] == "w.pth" and len(source["sha256"]) == 64 and source["missing"] == []
    status, told = run(tmp_path / "w", tmp_path / "back.safetensors", "--to-safetensors")
    assert status == 0, told
    back = read_arrays(tmp_path / "back.safetensors")
    assert back.keys() == arrays.keys() - {"backbone.bn1.num_batches_tracked"}
    for name, array in back.items():
        np.testing.assert_array_equal(array, arrays[name], err_msg=name)


def test_backbone_there_and_back(run, saved, tmp_path):
    prefix = "backbone."
    arrays = {k.removeprefix(prefix): v for k, v in saved[1].items() if k.startswith(prefix)}
    fc = {"fc.weight": torch.zeros(10, 64), "fc.bias": torch.zeros(10)}
    torch.save({k: torch.from_numpy(v) for k, v in arrays.items()} | fc, tmp_path / "r18.pth")
    status, told = run(tmp_path / "r18.pth", tmp_path / "r18", "--allow-missing=mixer")
    assert status == 0 and "open-mmlab names, without mixer, decoder" in told, told
    status, told = run(tmp_path / "r18", tmp_path / "r18.safetensors", "--to-safetensors")
    assert status == 0, told
    back = read_arrays(tmp_path / "r18.safetensors")
    assert back.keys() == arrays.keys() - {"bn1.num_batches_tracked"}


def test_errors_write_nothing(run, saved, tmp_path):
    path, _ = saved
    (tmp_path / "there").mkdir()
    (tmp_path / "cut.pth").write_bytes(path.read_bytes()[:5000])
    before = sorted(tmp_path.iterdir())
    for argv, message in (
        ((path,), "DST is missing"),
        ((path, tmp_path / "there"), "is there already"),
        ((tmp_path / "cut.pth", tmp_path / "new"), "is no whole PyTorch file"),
        ((tmp_path / "no.pth", tmp_path / "new"), "is not there"),
        ((path, tmp_path / "new", "--config.model.width=16"), "shapes or values that differ"),
        ((path, tmp_path / "new", "--allow-missing=tail"), "part is 'tail'; choose one of"),
        ((path, tmp_path / "new", "--alow-missing=head"), "did you mean --allow-missing?"),
        ((path, tmp_path / "new.safetensors", "--to-safetensors"), "is a file; make a checkpoint"),
    ):
        status, told = run(*argv)
        assert status == 2 and told.startswith("error: ") and message in told, told
        assert told.count("\n") == 1
    assert sorted(tmp_path.iterdir()) == before


def test_without_recipe(capsys):
    assert cli.main(["convert", "a.pth", "b"]) == 2
    assert "--config is missing" in capsys.readouterr().err


def test_export_of_another_model(run, saved, tmp_path):
    assert run(saved[0], tmp_path / "w")[0] == 0
    argv = (tmp_path / "w", tmp_path / "o.safetensors", "--to-safetensors")
    status, told = run(*argv, "--config.model.channels=16")
    assert status == 2 and "does not fit the model: parameters/classifier/conv/kernel" in told
    assert not (tmp_path / "o.safetensors").exists()
