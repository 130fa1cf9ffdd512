"""The wheel, installed beside its dependencies alone, outside of any checkout: every command works.

Training, evaluation and their files are looked at here, too, with the real network at its smallest.
"""

import importlib.metadata
import json
import re
import shutil
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

import cv2
import numpy as np
import pytest
from packaging.requirements import Requirement
from tiny import TINY, environment

ROOT = Path(__file__).parents[1]


def normal(name):
    return re.sub("[-_.]+", "-", name).lower()


def needed(requirements, extras=("",), names=frozenset()):
    """Names of the distributions that requirements stand for, directly or not."""
    for requirement in map(Requirement, requirements):
        name, marker = normal(requirement.name), requirement.marker
        if marker and not any(marker.evaluate({"extra": extra}) for extra in extras):
            continue
        if name in names and not requirement.extras:
            continue
        try:
            further = importlib.metadata.requires(name) or ()
        except importlib.metadata.PackageNotFoundError:
            continue
        names = needed(further, ("", *requirement.extras), names | {name})
    return names


def undeclared(wheel):
    """Modules that are installed here, but would not be after `pip install WHEEL`."""
    (metadata,) = importlib.metadata.distributions(name="segalias_jax", path=[str(wheel)])
    allowed = needed(metadata.requires) | {"segalias-jax"}
    installed = importlib.metadata.packages_distributions()
    return {
        module
        for module, owners in installed.items()
        if not allowed & {normal(owner) for owner in owners}
    }


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """Returns `run(*words)`, which calls the command of a fresh installation in `run.folder`."""
    folder = tmp_path_factory.mktemp("wheel")
    # From a copy, since building leaves files, and takes up those that it left.
    source = folder / "source"
    ignored = shutil.ignore_patterns("__pycache__")
    shutil.copytree(ROOT / "segalias_jax", source / "segalias_jax", ignore=ignored)
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet"]
    options = ("--no-deps", "--no-build-isolation", "--no-index")
    subprocess.run([*pip, "wheel", *options, "-w", folder, source], check=True)
    (wheel,) = folder.glob("segalias_jax-*.whl")
    venv.create(folder / "venv", symlinks=True)
    bin = folder / "venv" / "bin"
    pip += ["--python", str(bin / "python")]
    subprocess.run([*pip, "install", "--no-deps", "--no-index", wheel], check=True)
    # Behind its own packages those of this environment, but for what the wheel does not ask for.
    place = {"base": str(folder / "venv"), "platbase": str(folder / "venv")}
    packages = Path(sysconfig.get_path("purelib", vars=place))
    here = {sysconfig.get_path(kind) for kind in ("purelib", "platlib")}
    (packages / "environment.pth").write_text("".join(f"{path}\n" for path in here))
    (packages / "sitecustomize.py").write_text(
        f"import sys\nsys.modules.update(dict.fromkeys({sorted(undeclared(packages))!r}))\n"
    )
    variables = environment(folder)
    variables.pop("PYTHONPATH", None)
    (folder / "work").mkdir()

    def run(*words, program="segalias"):
        return subprocess.run(
            [bin / program, *map(str, words)],
            cwd=run.folder,
            env=variables,
            capture_output=True,
            text=True,
        )

    run.folder, run.packages = folder / "work", packages
    return run


@pytest.fixture(scope="module")
def trained(installed):
    result = installed("train", "--config", "quickstart", "--workdir", "run", *TINY)
    assert result.returncode == 0, result.stderr
    return result


def test_what_is_installed(installed):
    code = "import segalias_jax, sys; print(segalias_jax.__file__, 'pytest' in sys.modules)"
    result = installed("-c", code, program="python")
    package = installed.packages / "segalias_jax"
    assert result.stdout == f"{package / '__init__.py'} True\n", result.stderr
    assert (package / "py.typed").is_file()
    assert not list(installed.packages.glob("tests*")) + list(installed.packages.glob("configs*"))
    assert installed("--version").stdout.startswith("segalias_jax ")


def test_every_command_is_there_without_extras(installed):
    names = [line.split()[0] for line in installed("--help").stdout.splitlines() if line[:1] == " "]
    assert len(names) == 12
    code = "from segalias_jax import cli\n" + "".join(
        f"print(cli.create_parser({name!r}).prog)\n" for name in names
    )
    result = installed("-c", code, program="python")
    assert result.stdout.splitlines() == [f"segalias {name}" for name in names], result.stderr


def test_score(installed):
    for folder in ("predictions", "labels"):
        (installed.folder / folder).mkdir()
        for name in "ab":
            ids = np.arange(48, dtype=np.uint8).reshape(6, 8) // 16
            cv2.imwrite(str(installed.folder / folder / f"{name}.png"), ids)
    result = installed("score", "predictions", "labels", "--out", "scored")
    assert result.returncode == 0, result.stderr
    assert "| 100.00 |" in result.stdout
    assert (installed.folder / "scored" / "report.html").is_file()


def test_training_shows_progress_and_leaves_a_report(trained, installed):
    assert "quickstart:daf,freqmix" in trained.stdout
    assert "step 2: loss" in trained.stdout and "step 4: loss" in trained.stdout
    assert "mIoU" in trained.stdout and "fine stripes" in trained.stdout
    assert "training: 100%" in trained.stderr and "images/s" in trained.stderr
    workdir = installed.folder / "run"
    assert (workdir / "report.md").read_text().startswith("# quickstart")
    assert len(list((workdir / "pictures").glob("*.png"))) == 1
    assert (workdir / "curves.png").stat().st_size > 1000
    recipe = json.loads((workdir / "recipe.json").read_text())
    assert recipe["model.width"] == 8 and recipe["data.crop"] == [64, 64]
    lines = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines if "loss" in line] == [1, 2, 3, 4]
    assert {"loss", "rate", "images_per_second", "grad_norm"} <= lines[0].keys()


ERRORS = {
    ("train", "--workdir=run", *TINY, "--config.seed=1"): "seed is 0 there and 1 here",
    ("eval", "--workdir=run", "--robustness=fog"): "--robustness is 'fog'; choose one of blur",
    ("eval", "--workdir=run", "--config.model.width=16"): "model.width is 8 there and 16 here",
    # What comes with extras is asked for where it is needed, by name.
    ("export", "--run=run", "--format=onnx", "--out=p"): "segalias_jax[onnx]",
    ("export", "--run=run", "--format=savedmodel", "--out=p"): "segalias_jax[savedmodel]",
    ("convert", "--config=quickstart", "w.pth", "w"): "segalias_jax[torch]",
    ("prepare", "camvid", "--root=labels", "--out=p"): "segalias_jax[tfds]",
}


def test_errors_are_one_line_and_status_2(trained, installed):
    (installed.folder / "w.pth").write_bytes(b"PK\3\4")
    code = f"from segalias_jax import cli\nfor w in {list(ERRORS)}: print(cli.main(w))"
    result = installed("-c", code, program="python")  # one process, for the time it takes to start
    assert result.stdout == "2\n" * len(ERRORS)
    told = result.stderr.splitlines()
    for line, message in zip(told, ERRORS.values(), strict=True):
        assert line.startswith("error: ") and message in line


def test_evaluation_repeats_the_scores_of_training(trained, installed):
    studies = ("--shift", "--aliasing", "--pictures", "--robustness=noise", "--noise-sigmas=20")
    result = installed("eval", "--workdir", "run", *studies)
    assert result.returncode == 0, result.stderr
    assert "| mIoU" in result.stdout.replace("  ", " ") and "eval/report.md" in result.stdout
    summaries = [
        json.loads((installed.folder / path).read_text())["summary"]
        for path in ("run/report.json", "run/eval/report.json")
    ]
    assert 0.2 < summaries[1].pop("shift_consistency") < 1
    assert summaries[0] == summaries[1]
    assert "shift_consistency |" in result.stdout
    # The scores of the studies are those of the report; the filters leave nothing to fold.
    folder = installed.folder / "run" / "eval"
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
    drawn = {path.name.rsplit("_", 1)[1] for path in (folder / "aliasing_pictures").iterdir()}
    assert drawn == {"stages.png", "gates.png"}


def test_predict_and_export(trained, installed):
    image = np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8)
    cv2.imwrite(str(installed.folder / "image.png"), image)
    result = installed("predict", "--run", "run", "image.png", "--out", "predicted")
    assert result.returncode == 0, result.stderr
    ids = cv2.imread(str(installed.folder / "predicted/maps/image.png"), cv2.IMREAD_UNCHANGED)
    assert ids.shape[:2] == (64, 64)
    result = installed("export", "--run", "run", "--format", "stablehlo", "--out", "program")
    assert result.returncode == 0, result.stderr
    manifest = json.loads((installed.folder / "program/manifest.json").read_text())
    assert manifest["input"]["shape"][1:] == [64, 64, 3]
