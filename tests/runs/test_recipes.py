"""Recipes by their file, wherever they are called from."""

import pytest
from absl import flags

from segalias_jax.errors import InputError
from segalias_jax.runs import recipes


def test_recipe_whose_imports_are_not_found(tmp_path):
    (tmp_path / "mine.py").write_text("from no_such_package import base\n")
    with pytest.raises(InputError, match="No module named 'no_such_package'; call from the folder"):
        recipes.load_recipe(str(tmp_path / "mine.py"))


def test_class_names_are_the_only_texts_in_a_tuple(tmp_path):
    lines = ["from ml_collections import config_dict", "def get_config():"]
    lines.append("    data = {'classes': ('a', 'b'), 'crop': (1, 2)}")
    lines.append("    return config_dict.ConfigDict({'data': data})")
    (tmp_path / "mine.py").write_text("\n".join(lines))
    argv = ["x.py", f"--config={tmp_path}/mine.py"]
    classes = "--config.data.classes=('c', 'd', 'e')"
    config, _ = recipes.parse_recipe([*argv, classes], values=flags.FlagValues())
    assert config.data.classes == ("c", "d", "e")
    with pytest.raises(InputError, match=r"^data\.crop: .*'c'.* is not two positive integers"):
        recipes.parse_recipe([*argv, "--config.data.crop=('c', 'd')"], values=flags.FlagValues())


def test_recipe_is_needed_where_there_is_no_default():
    with pytest.raises(InputError, match="--config is missing; pass --config=NAME or"):
        recipes.parse_recipe(["x.py"], values=flags.FlagValues())


def parse(*arguments):
    argv = ["x.py", "--config=quickstart", *arguments]
    return recipes.parse_recipe(argv, values=flags.FlagValues())


def test_recipes_have_names_where_no_file_is_called_so(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert recipes.load_recipe("camvid:daf,tiny").name == "camvid:daf,tiny"
    config, rest = recipes.parse_recipe(
        ["x.py", "--config", "camvid:daf", "more"], values=flags.FlagValues()
    )
    assert config.name == "camvid:daf" and rest == ["more"]
    (tmp_path / "camvid").write_text("")
    with pytest.raises(InputError, match="camvid is no Python file"):
        recipes.load_recipe("camvid")
    with pytest.raises(
        InputError, match="no recipe 'camvd'; did you mean camvid. choose one of ad"
    ):
        recipes.load_recipe("camvd")


def test_overrides_are_those_of_the_command_line():
    config, rest = parse(
        "--config.train.steps=1e4",
        "--config.train.batch_size",
        "2e0",
        "--config.model.width=3.2e1",
        "--config.optimizer.learning_rate=1e-3",
        "--config.data.classes=sky",
        "--config.data.classes=road",
        "--noconfig.data.photometric",
        "--config.loss.class_weights=balanced",
        "--config.model.imports=a.b",
        "rest",
    )
    assert (config.train.steps, config.train.batch_size, config.model.width) == (10000, 2, 32)
    assert config.optimizer.learning_rate == 1e-3 and config.data.classes == ("sky", "road")
    assert not config.data.photometric and config.loss.class_weights == "balanced"
    assert config.model.imports == ("a.b",) and rest == ["rest"] and config.is_locked


@pytest.mark.parametrize(
    "argument, message",
    [
        ("data.crop=64", r"^data.crop: \(64,\) is not two .*; write --config.data.crop=64,64$"),
        ("data.classes=bg,fg", r"^data.classes: .*; write --config.data.classes=\"\('sky','road'"),
        (
            "loss.terms=dice",
            r"^loss.terms: 'dice' is no pair .*--config.loss.terms=\"\(\('dice',1.0",
        ),
        ("loss.name=dice", r"^--config.loss.name: .*loss.terms=.*choose from cross_entropy, focal"),
        ("optimizer.lr=1", r"^--config.optimizer.lr: .* did you mean optimizer.learning_rate"),
        ("train.steps=1.5e0", r"train.steps=1.5e0"),
        ("train.steps=0", r"^train.steps is 0; it must be at least 1"),
        ("eval.ignore=none", r"^eval.ignore is 'none'; choose one of reference, exclude"),
        ("loss.class_weights=even", r"^loss.class_weights is 'even'; give one number per class"),
        ("zzz=1", "python -m segalias_jax.recipes.base lists all keys"),
    ],
)
def test_errors_say_what_to_write(argument, message):
    with pytest.raises(InputError, match=message):
        parse(f"--config.{argument}")


@pytest.mark.parametrize(
    "text", ["def get_config(:", "1 / 0", "raise OSError(2)", "def get_config(): return None", "\0"]
)
def test_a_recipe_with_an_error_is_one_sentence(tmp_path, text):
    path = tmp_path / "mine.py"
    path.write_text(text)
    with pytest.raises(InputError, match="mine.py: .+"):
        recipes.load_recipe(str(path))
