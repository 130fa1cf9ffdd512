"""Every mistake on the command line is one sentence that names the flag."""

import errno
import sys
import time
from pathlib import Path

import pytest
from absl import flags

from segalias_jax.errors import InputError
from segalias_jax.runs import command as cli
from segalias_jax.training.interrupts import Interrupted

ROOT = Path(__file__).parents[2]
# How ml_collections loads a file.
pytestmark = pytest.mark.filterwarnings("ignore:the load_module:DeprecationWarning")


@pytest.fixture(autouse=True)
def recipes_importable(monkeypatch):
    monkeypatch.setattr(sys, "path", [str(ROOT), *sys.path])  # as `python train.py` does


def parse(*argv):
    default = ROOT / "configs" / "quickstart.py"
    return cli.parse(["train.py", *argv], default_recipe=default, values=flags.FlagValues())


def test_default_recipe_and_overrides():
    config, workdir, launch = parse(
        "--workdir=run",
        "--config.train.steps=7",
        "--config.model.cutoff=0.25",
        "--config.data.crop=96,64",
        "--config.data.photometric=false",
    )
    assert workdir == Path("run")
    assert (config.train.steps, config.model.cutoff, config.data.crop) == (7, 0.25, (96, 64))
    assert not config.data.photometric
    assert config.is_locked
    assert (launch.resume, launch.coordinator) == ("auto", "") and launch.started <= time.time()


def test_flags_of_the_start():
    *_, launch = parse(
        "--workdir=run", "--resume=old", "--coordinator=h:1", "--num_processes=4", "--process_id=0"
    )
    told = launch.resume, launch.coordinator, launch.num_processes, launch.process_id
    assert told == ("old", "h:1", 4, 0)
    assert not launch.profile and parse("--workdir=run", "--profile")[2].profile


@pytest.mark.parametrize(
    "error, status, message",
    [
        (InputError("data.root: no"), 2, "error: data.root: no"),
        (
            OSError(errno.ENOSPC, "No space left", "/a/b"),
            2,
            "error: /a/b: No space left; make room",
        ),
        (
            PermissionError(errno.EACCES, "Permission denied", "/a/b"),
            2,
            "error: /a/b: Permission denied; make it readable and writable, then run",
        ),
        (Interrupted("SIGTERM: saved step 3"), 75, "SIGTERM: saved step 3; the same command goes"),
    ],
)
def test_what_ends_a_run_early_is_one_line(capsys, error, status, message):
    with pytest.raises(SystemExit) as caught, cli.telling_mistakes():
        raise error
    assert caught.value.code == status
    told = capsys.readouterr().err
    assert told.startswith(message) and told.count("\n") == 1


def test_recipe_with_variant_in_any_order():
    config, *_ = parse("--workdir", "run", "--config", f"{ROOT}/configs/camvid.py:daf,tiny")
    assert config.name == "camvid:daf,tiny"


@pytest.mark.parametrize(
    "arguments, message",
    [
        ("--config.data.rot=x", "--config.data.rot: .* no such key; did you mean data.root"),
        ("--config.dta.root=x", "--config.dta.root: .* did you mean data.root"),
        ("--config.root=x", "--config.root: .* did you mean data.root"),
        ("--noconfig.data.flp", "--config.data.flp: .* did you mean data.flip"),
        ("--config.zzz=1", "--config.zzz: .* configs/base.py lists all keys"),
        ("--config.train.steps=abc --workdir=w", "--config.train.steps=abc"),
        ("--config.data.crop=a,b --workdir=w", "--config.data.crop: .* numbers"),
        ("--config=no.py", "--config: no recipe file no.py"),
        (f"--config={ROOT}/pyproject.toml", "is no Python file"),
        (f"--config={ROOT}/configs/camvid.py:dav", "variant 'dav' .* baseline, daf, freqmix"),
        ("--wrkdir=x", "'wrkdir'. Did you mean: workdir"),
        ("--config", "Missing value for flag --config"),
        ("--workdir=w extra", "argument 'extra' is not expected"),
        ("", "--workdir is missing; pass --workdir=DIR"),
    ],
)
def test_mistakes(arguments, message):
    with pytest.raises(InputError, match=message) as caught:
        parse(*arguments.split())
    assert "\n" not in str(caught.value)


def test_key_that_a_recipe_file_invents_is_named(tmp_path):
    recipe = tmp_path / "mine.py"
    recipe.write_text(
        "from configs import base\n"
        "def get_config():\n"
        "    config = base.get_config()\n"
        "    config.data.rot = 'x'\n"
        "    return config\n"
    )
    with pytest.raises(InputError, match='mine.py: .*Did you mean "root" instead of "rot"'):
        parse(f"--config={recipe}", "--workdir=run")
