"""The light wheel: scoring in an environment that has NumPy and OpenCV and nothing else."""

import ast
import importlib.util
import json
import os
import pkgutil
import re
import shutil
import subprocess
import sys
import sysconfig
import venv
from importlib import metadata
from pathlib import Path

import cv2
import numpy as np
import pytest

import segalias_jax.scoring
from segalias_jax import cli

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def build():
    """The module `setup` of the wheel."""
    path = ROOT / "packaging" / "score" / "setup.py"
    spec = importlib.util.spec_from_file_location("score_setup", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """Returns `run(*words)`, which calls the command of a fresh installation."""
    folder = tmp_path_factory.mktemp("score")
    source = folder / "source"
    ignored = shutil.ignore_patterns("__pycache__", "build", "*.egg-info")
    for name in ("segalias_jax", "packaging"):
        shutil.copytree(ROOT / name, source / name, ignore=ignored, symlinks=True)
    for name in ("pyproject.toml", "LICENSE"):
        shutil.copy(ROOT / name, source)
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet"]
    options = ("--no-deps", "--no-build-isolation", "--no-index")
    subprocess.run(
        [*pip, "wheel", *options, "-w", folder, source / "packaging" / "score"], check=True
    )
    (wheel,) = folder.glob("segalias_score-*.whl")
    venv.create(folder / "venv", symlinks=True)
    place = {"base": str(folder / "venv"), "platbase": str(folder / "venv")}
    packages = Path(sysconfig.get_path("purelib", vars=place))
    for name in ("numpy", "opencv-python-headless"):
        for file in metadata.files(name) or ():
            top = file.parts[0]
            if top != ".." and not (packages / top).exists():
                (packages / top).symlink_to(Path(file.locate()).parents[len(file.parts) - 2])
    pip += ["--python", str(folder / "venv" / "bin" / "python")]
    # With its dependencies: what it asks for beyond those two is nowhere to be found.
    subprocess.run([*pip, "install", "--no-index", wheel], check=True)
    variables = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "PYTHONHOME")}

    def run(*words, program="segalias"):
        return subprocess.run(
            [folder / "venv" / "bin" / program, *map(str, words)],
            cwd=folder,
            env=variables,
            capture_output=True,
            text=True,
        )

    run.folder, run.packages = folder, packages
    return run


def test_every_module_that_scoring_loads_is_in_it(build):
    """A fresh interpreter imports all of scoring; what it has loaded, the wheel holds."""
    names = [
        m.name
        for m in pkgutil.walk_packages(segalias_jax.scoring.__path__, "segalias_jax.scoring.")
    ]
    code = (
        f"import importlib, sys\nfor name in {['segalias_jax.cli', *names]}:\n"
        "    importlib.import_module(name)\n"
        "print(*[m for m in sys.modules if m.split('.')[0] == 'segalias_jax'])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    chosen = build.modules()
    assert set(done.stdout.split()) | {"segalias_jax.__main__"} <= set(chosen)
    assert not [
        name for name in chosen if re.match(r"segalias_jax\.(ops|layers|runs|models)", name)
    ]


def test_modules_import_numpy_and_opencv_alone(build):
    """Others are imported inside functions, behind a test, or for type checkers."""
    allowed = {*sys.stdlib_module_names, "numpy", "cv2", "segalias_jax"}
    for name, path in build.modules().items():
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, ast.Import | ast.ImportFrom):
                whole = (
                    [a.name for a in node.names] if isinstance(node, ast.Import) else [node.module]
                )
                assert {one.split(".")[0] for one in whole} <= allowed, f"{name}: {whole}"


def test_metadata(installed):
    (found,) = metadata.distributions(name="segalias-score", path=[str(installed.packages)])
    about = found.metadata
    assert about["Version"] == segalias_jax.__version__
    assert about["License-Expression"] == "Apache-2.0" and about["Author"]
    assert about["Description"].startswith("# segalias-score")
    plain = {re.match(r"[\w-]+", r)[0] for r in found.requires if "extra ==" not in r}
    assert plain == {"numpy", "opencv-python-headless"}
    assert [r for r in found.requires if "extra ==" in r] == ['isal>=1.7; extra == "isal"']
    package = installed.packages / "segalias_jax"
    assert (package / "py.typed").is_file() and not (package / "ops").exists()
    assert any(file.name == "LICENSE" for file in found.files)


def _numbers(folder):
    content = json.loads((folder / "report.json").read_text())
    return {k: v for k, v in content.items() if k not in ("command", "date", "settings", "title")}


def test_scores_are_those_of_the_whole_package(installed):
    rng = np.random.default_rng(0)
    for kind in ("predictions", "labels", "images"):
        (installed.folder / kind).mkdir()
    for name in "abc":
        label = rng.integers(0, 3, (6, 8)).astype(np.uint8).repeat(9, 0).repeat(9, 1)
        label[:4] = 255
        cv2.imwrite(str(installed.folder / "labels" / f"{name}.png"), label)
        other = np.roll(np.minimum(label, 2), 2, 1)
        cv2.imwrite(str(installed.folder / "predictions" / f"{name}.png"), other)
        cv2.imwrite(
            str(installed.folder / "images" / f"{name}.png"), np.full((54, 72, 3), 90, np.uint8)
        )
    words = ["score", "predictions", "labels", "--num-classes=3", "--images=images", "--offsets=1"]
    result = installed(*words, "--out", "light")
    assert result.returncode == 0, result.stderr
    before = os.getcwd()
    os.chdir(installed.folder)
    try:
        assert cli.main([*words, "--out", "whole"]) == 0
    finally:
        os.chdir(before)
    light, whole = (installed.folder / name for name in ("light", "whole"))
    assert _numbers(light) == _numbers(whole)
    assert sorted(p.name for p in light.iterdir()) == sorted(p.name for p in whole.iterdir())
    code = (
        "import sys, segalias_jax.scoring as s; [getattr(s, name) for name in s.__all__];"
        "print([m for m in ('jax', 'jaxtyping', 'tqdm', 'matplotlib') if m in sys.modules])"
    )
    assert installed("-c", code, program="python").stdout == "[]\n"


def test_other_commands_say_what_to_install(installed):
    listed = [line for line in installed("--help").stdout.splitlines() if line[:1] == " "]
    assert len(listed) == 1 and listed[0].startswith("  score")
    for words in (["train"], ["eval", "--workdir=x"], ["browse", "--config=camvid"]):
        result = installed(*words)
        assert result.returncode == 2 and "pip install segalias_jax" in result.stderr
        assert result.stderr.count("\n") == 1
