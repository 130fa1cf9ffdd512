"""`segalias train` and `segalias eval`: every error on the command line is one sentence."""

import argparse
import json
import os
import sys
import time
from pathlib import Path

import pytest

from segalias_jax import cli
from segalias_jax.errors import InputError
from segalias_jax.runs import command
from segalias_jax.runs.recipes import flat_items
from segalias_jax.runs.studies import Studies
from segalias_jax.runs.workdir import save_recipe
from segalias_jax.training.interrupts import Interrupted

ROOT = Path(__file__).parents[2]
# How ml_collections loads a file.
pytestmark = pytest.mark.filterwarnings("ignore:the load_module:DeprecationWarning")


@pytest.fixture(autouse=True)
def recipes_importable(monkeypatch):
    monkeypatch.setattr(sys, "path", [str(ROOT), *sys.path])  # as `python train.py` does


@pytest.fixture
def parse(monkeypatch):
    """Returns `parse(*words)`: what training or evaluation is called with."""
    called = []
    monkeypatch.setattr(command, "train", lambda *asked: called.append(asked))
    monkeypatch.setattr(command, "evaluate_run", lambda *asked: called.append(asked))

    def parse(*words, name="train"):
        run, flags = cli.parse_command([name, *words])
        assert run(flags) == 0
        return called.pop()

    return parse


def test_default_recipe_and_overrides(parse):
    config, workdir, launch = parse(
        "--workdir=run",
        "--config.train.steps=7",
        "--config.model.cutoff=0.25",
        "--config.data.crop=96,64",
        "--config.data.photometric=false",
    )
    assert workdir == Path("run")
    assert config.name == "quickstart:daf,freqmix"
    assert (config.train.steps, config.model.cutoff, config.data.crop) == (7, 0.25, (96, 64))
    assert not config.data.photometric
    assert config.is_locked
    assert (launch.resume, launch.coordinator) == ("auto", "") and launch.started <= time.time()


def test_flags_of_the_start(parse):
    for dashes in ("--num-processes=4 --process-id=0", "--num_processes 4 --process_id 0"):
        line = f"--workdir=run --resume=old --coordinator=h:1 {dashes}"
        *_, launch = parse(*line.split())
        given = launch.resume, launch.coordinator, launch.num_processes, launch.process_id
        assert given == ("old", "h:1", 4, 0)
        assert not launch.profile
    assert parse("--workdir=run", "--profile")[2].profile


def test_a_signal_is_a_status_and_one_line(monkeypatch, capsys):
    def interrupted(*asked):
        raise Interrupted("SIGTERM: saved step 3")

    monkeypatch.setattr(command, "train", interrupted)
    assert cli.main(["train", "--workdir=run"]) == 75
    assert capsys.readouterr().err == "SIGTERM: saved step 3; the same command resumes the run\n"


@pytest.mark.parametrize("recipe", ["camvid:daf,tiny", f"{ROOT}/configs/camvid.py:daf,tiny"])
def test_recipe_by_name_and_by_file_with_variant_in_any_order(parse, recipe):
    config, *_ = parse("--config.seed", "3", "--workdir", "run", "--config", recipe)
    assert config.name == "camvid:daf,tiny" and config.seed == 3


@pytest.mark.parametrize(
    "arguments, message",
    [
        ("--config.data.rot=x", "--config.data.rot: .* no such key; did you mean data.root"),
        ("--config.dta.root=x", "--config.dta.root: .* did you mean data.root"),
        ("--config.root=x", "--config.root: .* did you mean data.root"),
        ("--noconfig.data.flp", "--config.data.flp: .* did you mean data.flip"),
        ("--config.zzz=1", "--config.zzz: .* python -m segalias_jax.recipes.base lists"),
        ("--config.train.steps=abc", "--config.train.steps=abc"),
        ("--config.data.crop=a,b", "data.crop: .* is not two positive integers"),
        ("--config=no.py", "--config: no recipe file no.py"),
        (f"--config={ROOT}/pyproject.toml", "is no Python file"),
        (f"--config={ROOT}/configs/camvid.py:dav", "variant 'dav' .* baseline, daf, freqmix"),
        ("--wrkdir=x", "unknown flag --wrkdir; did you mean --workdir"),
        ("--config", "Missing value for flag --config"),
        ("extra", "argument 'extra' is not expected"),
        ("--num-processes=two", "--num-processes: invalid int value: 'two'"),
    ],
)
def test_errors(parse, arguments, message):
    with pytest.raises(InputError, match=message) as caught:
        parse("--workdir=w", *arguments.split())
    assert "\n" not in str(caught.value)


def test_run_without_folder(parse):
    for name in ("train", "eval"):
        with pytest.raises(InputError, match=f"--workdir is missing; segalias {name} --help lists"):
            parse(name=name)


def test_key_that_a_recipe_file_invents_is_named(parse, tmp_path):
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


def test_evaluation_takes_the_recipe_of_the_run(parse, tmp_path):
    trained, *_ = parse("--workdir=run", "--config=camvid:daf,tiny", "--config.model.width=8")
    save_recipe(flat_items(trained), tmp_path)
    flag = f"--workdir={tmp_path}"
    config, workdir, launch, studies = parse(flag, "--config.data.eval_split=test", name="eval")
    assert workdir == tmp_path and launch.resume == "auto" and studies == Studies()
    assert config.is_locked
    assert flat_items(config) == flat_items(trained) | {"data.eval_split": "test"}
    named, *_ = parse(flag, "--config=quickstart", name="eval")
    assert named.name == "quickstart:daf,freqmix"


def test_recipe_of_an_older_run_gets_the_defaults_of_newer_keys(parse, tmp_path):
    trained, *_ = parse("--workdir=run", "--config.eval.images=5")
    items = json.loads(json.dumps(flat_items(trained)))
    del items["eval.flip"], items["loss.ohem_threshold"]
    (tmp_path / "recipe.json").write_text(json.dumps(items))
    config, *_ = parse(f"--workdir={tmp_path}", name="eval")
    assert flat_items(config) == flat_items(trained)


@pytest.mark.parametrize(
    "flag, message",
    [
        ("--config.data.rot=x", "config.data.rot"),
        ("--config.eval.images=x", "--config.eval.images=x"),
        ("--config.data.check a", "argument 'a' is not expected; write --config.KEY=VALUE"),
        ("--resume=never", "unknown flag --resume"),
    ],
)
def test_errors_in_what_differs_from_the_recipe_of_the_run(parse, tmp_path, flag, message):
    trained, *_ = parse("--workdir=run")
    save_recipe(flat_items(trained), tmp_path)
    with pytest.raises(InputError, match=message) as caught:
        parse(f"--workdir={tmp_path}", *flag.split(), name="eval")
    assert "\n" not in str(caught.value)


def test_folder_without_a_run_is_told(parse, tmp_path):
    with pytest.raises(InputError, match=r"^--workdir: .* holds no run; give the folder of one"):
        parse(f"--workdir={tmp_path}", name="eval")


def studies(parse, line):
    return parse("--workdir=w", "--config=quickstart", *line.split(), name="eval")[3]


def test_levels_of_studies(parse):
    asked = studies(parse, "--aliasing --robustness=noise,blur --blur-sizes=5")
    assert asked.aliasing and not asked.shift and not asked.pictures
    assert studies(parse, "--aliasing --pictures").pictures
    names = [corruption.name for corruption in asked.corruptions]
    assert names == ["noise 5", "noise 10", "noise 15", "noise 20", "blur 5x5"]
    asked = studies(parse, "--shift --robustness noise --noise_sigmas 20")
    assert asked.shift and [corruption.name for corruption in asked.corruptions] == ["noise 20"]


@pytest.mark.parametrize(
    "line, message",
    [
        ("--robustness=fog,blur", "--robustness is 'fog'; choose one of blur, noise"),
        ("--robustness=blur --blur-sizes=4", "blur of 4 pixels cannot be; give odd sizes"),
        ("--robustness=noise --noise-sigmas=ten", "--noise-sigmas: 'ten' is no list of numbers"),
        ("--robustness=noise --noise-sigmas=nan", "noise of nan cannot be"),
        ("--pictures", "--pictures is for --aliasing; give that too"),
        ("--blur-sizes=3", "--blur-sizes is for --robustness=blur"),
        ("--robustness=blur --noise-sigmas=3", "--noise-sigmas is for --robustness=noise"),
    ],
)
def test_errors_in_studies(parse, line, message):
    with pytest.raises(InputError, match=message):
        studies(parse, line)


def test_training_outlives_its_readers(monkeypatch, tmp_path):
    """As in `segalias train | head -1`."""
    reading, writing = os.pipe()
    os.close(reading)
    said = []

    def train(*_):
        print("a line that nobody reads", flush=True)
        print("another one", file=sys.stderr, flush=True)
        said.append(True)

    monkeypatch.setattr(command, "train", train)
    with os.fdopen(writing, "w") as stream:
        monkeypatch.setattr(sys, "stdout", stream)
        flags = argparse.Namespace(config=None, workdir=tmp_path, resume="auto", profile=False)
        flags.coordinator, flags.num_processes, flags.process_id = "", -1, -1
        assert command.run_training(flags) == 0 and said
