"""The command `segalias`: its table, its help, and how commands end."""

import errno
import runpy
import subprocess
import sys

import pytest

import segalias_jax
from segalias_jax import cli
from segalias_jax.errors import InputError


@pytest.fixture
def ending(monkeypatch):
    """Returns `main(error)`: the status of a command that raises it."""

    def main(error):
        def run(flags):
            raise error

        monkeypatch.setattr("segalias_jax.scoring.command.run", run)
        return cli.main(["score", "p", "l"])

    return main


@pytest.mark.parametrize(
    "error, status, message",
    [
        (InputError("a.png: no\nand a note"), 2, "error: a.png: no"),
        (KeyboardInterrupt(), 130, ""),
        (
            OSError(errno.ENOSPC, "No space left", "/a/b"),
            2,
            "error: /a/b: No space left; make room, then run the same command again",
        ),
        (OSError(errno.EIO, "Input/output error"), 2, "error: the disk: Input/output error; make"),
        (
            PermissionError(errno.EACCES, "Permission denied", "/a/b"),
            2,
            "error: /a/b: Permission denied; make it readable and writable, then run",
        ),
        (OSError(errno.EMFILE, "Too many open files"), 2, "error: the disk: Too many open files;"),
        (OSError(errno.ETIMEDOUT, "Timed out", "/a"), 2, "error: /a: Timed out; look whether its"),
        (OSError(errno.ENOTEMPTY, "Not empty", "/a"), 2, "error: /a: Not empty; give another"),
        (MemoryError(), 2, "error: the memory is full; end other programs, or give"),
    ],
)
def test_what_ends_a_command_is_one_line_and_a_status(ending, capsys, error, status, message):
    assert ending(error) == status
    err = capsys.readouterr().err
    assert err.startswith(message) and err.count("\n") == bool(message)


@pytest.mark.parametrize("error", [ValueError("ours"), OSError(errno.ENOTTY, "ours")])
def test_errors_of_the_program_keep_their_traceback(ending, error):
    with pytest.raises(type(error), match="ours"):
        ending(error)


def test_status_of_a_command_is_that_of_the_program(monkeypatch):
    monkeypatch.setattr("segalias_jax.scoring.command.run", lambda flags: 3)
    assert cli.main(["score", "p", "l"]) == 3


def test_commands_are_listed(capsys):
    assert cli.main(["--help"]) == 0
    listed = capsys.readouterr().out
    assert cli.main([]) == 2
    assert capsys.readouterr().out == listed
    names = [line.split()[0] for line in listed.splitlines() if line.startswith("  ")]
    expected = "train eval sweep score predict export convert models browse prepare darken summary"
    assert names == expected.split()
    assert cli.main(["--version"]) == 0
    assert capsys.readouterr().out == f"segalias_jax {segalias_jax.__version__}\n"


def test_unknown_command(capsys):
    assert cli.main(["trian", "--workdir=x"]) == 2
    err = capsys.readouterr().err
    assert err.startswith("error: command is 'trian'; did you mean 'train'? choose one of train, ")


@pytest.mark.parametrize("name", cli.COMMANDS)
def test_every_flag_is_spelled_with_dashes_and_has_help(name, capsys):
    for action in cli.create_parser(name)._actions:
        assert action.help, action.dest
        for spelling in action.option_strings:
            assert "_" not in spelling
    assert cli.main([name, "--help"]) == 0
    assert f"usage: segalias {name}" in capsys.readouterr().out


def test_only_the_chosen_command_is_imported():
    """The command that needs no device starts without JAX."""
    code = (
        "import sys; from segalias_jax import cli; status = cli.main(['score', '--help']);"
        "heavy = {'jax', 'jaxlib', 'flax', 'orbax', 'grain', 'absl'} & sys.modules.keys();"
        "assert status == 0 and not heavy, heavy"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "usage: segalias score" in done.stdout


def test_flags_of_recipes_go_to_the_recipe():
    words = "--out o --config.data.crop 8,8 --config base a --noconfig.data.flip b --config.seed -1"
    recipe, own = cli._split(words.split())
    assert own == ["--out", "o", "a"]
    assert recipe == [
        *("--config", "base", "--config.data.crop", "8,8"),
        *("--noconfig.data.flip", "b", "--config.seed", "-1"),
    ]


@pytest.mark.parametrize(
    "words, message",
    [
        ("browse --out=a.png", "--config is missing"),
        (
            "browse --out=a.png --config=quickstart --config.data.check a",
            "argument 'a' is not expe",
        ),
        ("predict --run r i --out o --config.seed=1", "--config is missing"),
        ("score p l --config=quickstart", "unknown flag --config;"),
    ],
)
def test_recipes_that_are_missing_or_surplus(words, message):
    with pytest.raises(InputError, match=message):
        cli.parse_command(words.split())


def test_recipe_is_none_where_it_may_be():
    for words in ("predict --run r i --out o", "export --run r --format onnx --out o"):
        assert cli.parse_command(words.split())[1].config is None
    assert cli.parse_command("prepare camvid --out o".split())[1].config is None


OLD = {
    "predict": "segalias_jax.predict",
    "export": "segalias_jax.export",
    "summary": "segalias_jax.models.summary",
    "browse": "segalias_jax.data.browse",
    "prepare": "segalias_jax.data.prepare",
    "convert": "segalias_jax.checkpoints.torch_convert",
}


@pytest.mark.parametrize("name", OLD)
def test_old_modules_say_what_to_call(name, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", [OLD[name], "--help"])
    monkeypatch.delitem(sys.modules, OLD[name], raising=False)
    with pytest.raises(SystemExit) as end:
        runpy.run_module(OLD[name], run_name="__main__", alter_sys=True)
    assert end.value.code == 0
    told = capsys.readouterr()
    assert told.err == f"warning: python -m {OLD[name]} will be removed; use segalias {name}\n"
    assert f"usage: segalias {name}" in told.out


def test_python_m_is_the_same_command():
    done = subprocess.run(
        [sys.executable, "-m", "segalias_jax", "--version"], capture_output=True, text=True
    )
    assert done.returncode == 0 and done.stdout.startswith("segalias_jax ")
