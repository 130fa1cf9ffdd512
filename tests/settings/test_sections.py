"""Dataclasses of settings: defaults, documentation and errors out of one declaration."""

import dataclasses

import pytest
from ml_collections import config_dict

from segalias_jax import settings
from segalias_jax.errors import InputError


@dataclasses.dataclass(frozen=True)
class Shape:
    crop: tuple[int, ...] = settings.setting(
        (8, 8), "training crop", unit="pixels", check=settings.size()
    )
    steps: int = settings.setting(10, "updates", check=settings.integer(least=1))
    flip: bool = settings.setting(False, "flip half of them")
    threshold: int | None = settings.setting(None, "gray value")
    weights: tuple[float, ...] | str = settings.setting(
        (), "weights or a word", check=settings.Check(lambda name, value: value)
    )
    total: int = 1

    def __post_init__(self):
        settings.check_settings(self)
        if self.steps > self.total * 100:
            raise InputError(f"steps is {self.steps}, more than {self.total * 100}")


def test_values_are_checked_however_they_are_given():
    assert Shape(crop=[4, 6]).crop == (4, 6)
    read = settings.parse(Shape, {"crop": [4, 6], "steps": 2e1, "flip": None, "threshold": None})
    assert read == Shape((4, 6), 20) and type(read.steps) is int
    read = settings.parse(Shape, config_dict.ConfigDict({"steps": 300}), total=3)
    assert (read.steps, read.total) == (300, 3)
    with pytest.raises(InputError, match=r"^crop: 5 is not two positive"):
        Shape(crop=5)


@pytest.mark.parametrize(
    "given, message",
    [
        ({"crop": 5}, r"crop: 5 is not two positive integers, .*; write --config.a.crop=64,64$"),
        ({"steps": 0}, r"steps is 0; it must be at least 1$"),
        ({"threshold": 1.5}, r"threshold is 1.5; it must be an integer$"),
        ({"step": 1}, r"step: unknown key; did you mean a.steps\?$"),
        ({"zzz": 1}, r"zzz: unknown key; choose from crop, steps, flip, threshold, weights$"),
        ({"total": 5}, r"total: unknown key; choose from crop"),
        ({"steps": 200}, r"steps is 200, more than 100$"),
    ],
)
def test_a_section_is_named_for_whoever_wrote_one(given, message):
    with pytest.raises(InputError, match=rf"^a\.{message}"):
        settings.parse(Shape, given, section="a")
    with pytest.raises(InputError) as caught:
        settings.parse(Shape, given)
    assert not str(caught.value).startswith("a.") and "--config" not in str(caught.value)


def test_defaults_take_values_of_their_type_only():
    section = settings.defaults(Shape).lock()
    assert set(section) == set(settings.settings_of(Shape))
    assert settings.parse(Shape, section) == Shape()
    section.threshold = 3
    section.weights = "balanced"
    with pytest.raises(TypeError):
        section.steps = "many"
    with pytest.raises(TypeError):
        section.threshold = "x"


def test_documentation_names_default_unit_and_help_of_every_setting():
    assert settings.documentation(Shape, "a").splitlines()[:4] == [
        "a.crop = (8, 8)  [pixels]",
        "    training crop; two positive integers, (height, width)",
        "a.steps = 10",
        "    updates; at least 1",
    ]
    assert settings.to_dict(Shape()).keys() == settings.settings_of(Shape).keys()
