"""`train.py` and `eval.py` are the commands of the same names, from a checkout.

Whole runs by these commands are in tests/test_wheel.py.
"""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from tiny import environment

ROOT = Path(__file__).parents[1]


@pytest.fixture
def run_script(tmp_path):
    def run(script, *arguments):
        command = [sys.executable, str(ROOT / script), *arguments]
        variables = environment(tmp_path)
        return subprocess.run(command, cwd=tmp_path, env=variables, capture_output=True, text=True)

    return run


@pytest.mark.parametrize(
    "script, arguments, message",
    [
        ("train.py", ("--workdir=new", "--config.data.rot=x"), "did you mean data.root"),
        ("train.py", ("--workdir=new", f"--config={ROOT}/configs/camvid.py"), "data.root: not set"),
        ("eval.py", ("--workdir=new",), "new holds no run; give the folder of one"),
        ("eval.py", ("--labels=new",), "give two folders, PREDICTIONS and LABELS, not 1"),
    ],
)
def test_errors_are_one_line_and_status_2(run_script, tmp_path, script, arguments, message):
    result = run_script(script, *arguments)
    assert result.returncode == 2
    assert result.stderr.startswith("error: ") and message in result.stderr
    assert result.stderr.count("\n") == 1
    assert not (tmp_path / "new").exists()


def test_scores_of_folders(run_script, tmp_path):
    for folder in ("p", "l"):
        (tmp_path / folder).mkdir()
        np.save(tmp_path / folder / "a.npy", np.arange(48, dtype=np.uint8).reshape(6, 8) // 16)
    arguments = ("--predictions", "p", "--labels", "l", "--num_classes", "3", "--out", "o")
    result = run_script("eval.py", *arguments)
    assert result.returncode == 0, result.stderr
    assert "| 100.00 |" in result.stdout and (tmp_path / "o" / "report.html").is_file()
