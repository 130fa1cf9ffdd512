"""`train.py` and `eval.py` as a person runs them, with the real network at its smallest."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
TINY = (
    "--config.train.steps=4",
    "--config.train.eval_every=2",
    "--config.train.log_every=1",
    "--config.train.batch_size=2",
    "--config.eval.batch_size=2",
    "--config.eval.images=1",
    "--config.schedule.warmup_steps=1",
    "--config.data.image_size=64,64",
    "--config.data.crop=64,64",
    "--config.data.num_train=4",
    "--config.data.num_eval=3",
    "--config.model.width=8",
    "--config.model.channels=8",
    "--config.model.auxiliary_channels=8",
    "--config.model.reduction=4",
)


@pytest.fixture(scope="module")
def run_script(tmp_path_factory):
    folder = tmp_path_factory.mktemp("entry_points")
    # Compiling takes most of the time of so small a run, and what it saves here is nothing.
    flags = "--xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true"
    environment = os.environ | {
        "XLA_FLAGS": flags,
        "JAX_PLATFORMS": "cpu",
        "JAX_COMPILATION_CACHE_DIR": str(folder / "cache"),
    }

    def run(script, *arguments):
        command = [sys.executable, str(ROOT / script), *arguments]
        return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)

    run.folder = folder
    return run


@pytest.fixture(scope="module")
def trained(run_script):
    result = run_script("train.py", "--workdir", "run", *TINY)
    assert result.returncode == 0, result.stderr
    return result


def test_training_shows_progress_and_leaves_a_report(trained, run_script):
    assert "quickstart:daf,freqmix" in trained.stdout
    assert "step 2: loss" in trained.stdout and "step 4: loss" in trained.stdout
    assert "mIoU" in trained.stdout and "fine stripes" in trained.stdout
    assert "training: 100%" in trained.stderr and "images/s" in trained.stderr
    workdir = run_script.folder / "run"
    assert (workdir / "report.md").read_text().startswith("# quickstart")
    assert len(list((workdir / "pictures").glob("*.png"))) == 1
    assert (workdir / "curves.png").stat().st_size > 1000
    recipe = json.loads((workdir / "recipe.json").read_text())
    assert recipe["model.width"] == 8 and recipe["data.crop"] == [64, 64]
    lines = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines if "loss" in line] == [1, 2, 3, 4]
    assert {"loss", "rate", "images_per_second", "grad_norm"} <= lines[0].keys()


def test_evaluation_repeats_the_scores_of_training(trained, run_script):
    studies = ("--shift", "--aliasing", "--robustness=noise", "--noise_sigmas=20")
    result = run_script("eval.py", "--workdir", "run", *TINY, *studies)
    assert result.returncode == 0, result.stderr
    assert "| mIoU" in result.stdout.replace("  ", " ") and "eval/report.md" in result.stdout
    summaries = [
        json.loads((run_script.folder / path).read_text())["summary"]
        for path in ("run/report.json", "run/eval/report.json")
    ]
    assert 0.2 < summaries[1].pop("shift_consistency") < 1
    assert summaries[0] == summaries[1]
    assert "shift_consistency |" in result.stdout
    # The scores of the studies are those of the report; the filters leave nothing to fold.
    folder = run_script.folder / "run" / "eval"
    unchanged, noisy = json.loads((folder / "robustness.json").read_text())["rows"]
    assert unchanged["mIoU"] == summaries[0]["mIoU"] and noisy["input"] == "noise 20"
    operators = json.loads((folder / "aliasing.json").read_text())["operators"]
    names = [operator["name"] for operator in operators]
    assert names == ["stem conv", "stem max pool", "stage 2", "stage 3", "stage 4"]
    for operator, before in zip(operators, unchanged["before"], strict=True):
        assert 0 < operator["before"]["mean"] == before
        filtered = operator["name"].startswith("stage")
        assert operator["filter"] == ("daf" if filtered else "none")
        assert operator["after"]["mean"] < 1e-6 if filtered else operator["after"]["mean"] == before
    assert (folder / "aliasing.html").stat().st_size > 1000


@pytest.mark.parametrize(
    "script, arguments, message",
    [
        ("train.py", ("--workdir=new", "--config.data.rot=x"), "did you mean data.root"),
        ("train.py", ("--workdir=run", *TINY, "--config.seed=1"), "seed is 0 there and 1 here"),
        ("eval.py", ("--workdir=new",), "new holds no checkpoint"),
        ("eval.py", ("--workdir=new", "--robustness=fog"), "kind of corruption is 'fog'; choose"),
    ],
)
def test_mistakes_are_one_line_and_status_2(trained, run_script, script, arguments, message):
    result = run_script(script, *arguments)
    assert result.returncode == 2
    assert result.stderr.startswith("error: ") and message in result.stderr
    assert result.stderr.count("\n") == 1
    assert not (run_script.folder / "new").exists()
