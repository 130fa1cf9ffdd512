"""Flags of studies; whole studies are run by tests/test_entry_points.py."""

import pytest
from absl import flags

from segalias_jax.errors import InputError
from segalias_jax.runs import studies
from segalias_jax.runs.studies import Studies


def read(*argv):
    values = flags.FlagValues()
    reader = studies.define_flags(values)
    values(["eval.py", *argv])
    return reader()


def test_nothing_is_asked_for_by_default():
    assert read() == Studies()


def test_levels():
    asked = read("--aliasing", "--robustness=noise, blur", "--blur_sizes=5")
    assert asked.aliasing and not asked.shift
    names = [corruption.name for corruption in asked.corruptions]
    assert names == ["noise 5", "noise 10", "noise 15", "noise 20", "blur 5x5"]


@pytest.mark.parametrize(
    "argv, message",
    [
        (["--robustness=fog,blur"], "kind of corruption is 'fog'; choose one of blur, noise"),
        (["--robustness=blur", "--blur_sizes=4"], "blur of 4 pixels cannot be; give odd sizes"),
        (["--robustness=noise", "--noise_sigmas=ten"], "--noise_sigmas: 'ten' has to be numbers"),
        (["--robustness=noise", "--noise_sigmas=nan"], "noise of nan cannot be"),
        (["--blur_sizes=3"], "--blur_sizes is for --robustness=blur"),
        (["--robustness=blur", "--noise_sigmas=3"], "--noise_sigmas is for --robustness=noise"),
    ],
)
def test_mistakes(argv, message):
    with pytest.raises(InputError, match=message):
        read(*argv)


def test_several_processes_are_refused(monkeypatch):
    monkeypatch.setattr(studies.jax, "process_count", lambda: 2)
    studies.check_studies(Studies())
    with pytest.raises(InputError, match="run in one process"):
        studies.check_studies(Studies(shift=True))
