"""Patterns, and affixes that are found out."""

from pathlib import Path

import pytest

from segalias_jax.errors import InputError
from segalias_jax.scoring.naming import Affixes, find_affixes, pattern_reader

SUFFIXES = (".png", ".tif")


@pytest.mark.parametrize(
    "pattern, path, name",
    [
        ("{name}_pred.png", "p/b/a_pred.png", "a"),
        ("{name}_pred.png", "p/a_pred.tif", None),
        ("{name}_pred", "p/a_pred.tif", "a"),
        ("pred_{name}", "p/pred_a.b.png", "a.b"),
        ("{name}_*_pred.png", "p/a_07_pred.png", "a"),
        ("*/{name}/pred.png", "p/b/a/pred.png", "a"),
        ("{name}/pred.png", "p/b/a/pred.png", "b/a"),
        ("{name}/pred.png", "p/pred.png", None),
        ("{name}.png", "p/.png", None),
        ("[{name}](1).png", "p/[a](1).png", "a"),
    ],
)
def test_patterns(pattern, path, name):
    assert pattern_reader(pattern, SUFFIXES, "--pattern")(Path(path), Path("p")) == name


@pytest.mark.parametrize("pattern", ["a.png", "{name}{name}.png", "{stem}.png"])
def test_patterns_hold_the_name_once(pattern):
    with pytest.raises(InputError, match=r"--pattern: .* must hold \{name\} once"):
        pattern_reader(pattern, SUFFIXES, "--pattern")


@pytest.mark.parametrize(
    "predicted, true, patterns",
    [
        ("a_pred b_pred", "a b", ("{name}_pred", "{name}")),
        ("pred-a pred-b", "a b", ("pred-{name}", "{name}")),
        ("a b", "x.a.jpg x.b.jpg", ("{name}", "x.{name}.jpg")),
        ("1_pred 2_pred", "1_mask 2_mask", ("{name}_pred", "{name}_mask")),
        ("a1pred b2pred", "a1 b2", ("{name}pred", "{name}")),
        ("f_01_pred f_02_pred", "f_01 f_02", ("{name}_pred", "{name}")),
        ("a_pred", "a_gt", ("{name}_pred", "{name}_gt")),
        ("21_training_out 22_training_out", "21_manual1 22_manual1",
         ("{name}_training_out", "{name}_manual1")),
        ("a_pred b_pred", "a c", ("{name}_pred", "{name}")),
        # Words that are no kinds of files are names.
        ("bonn_1 bonn_2", "ulm_1 ulm_2", None),
        ("img_cat", "img_dog", None),
        ("a_1 b_1", "c d", None),
        ("a", "b", None),
    ],
)  # fmt: skip
def test_affixes(predicted, true, patterns):
    found = find_affixes(predicted.split(), true.split())
    assert (found and tuple(one.pattern for one in found)) == patterns


def test_two_ways_that_differ_are_none():
    """x_a is a by its end, and x by its beginning."""
    assert find_affixes(["x_1_y", "x_2_y"], ["x_1", "1_y", "x_2", "2_y"]) is None
    assert Affixes("a_", "_b").stripped("a_c_b") == "c"
