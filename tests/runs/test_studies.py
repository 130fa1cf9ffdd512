"""Checks of studies; whole studies are run by tests/test_wheel.py."""

import pytest

from segalias_jax.errors import InputError
from segalias_jax.runs import studies
from segalias_jax.runs.studies import Studies


def test_several_processes_are_refused(monkeypatch):
    monkeypatch.setattr(studies.jax, "process_count", lambda: 2)
    studies.check_studies(Studies())
    with pytest.raises(InputError, match="run in one process"):
        studies.check_studies(Studies(shift=True))
