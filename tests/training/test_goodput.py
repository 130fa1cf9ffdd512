"""Seconds by phase, over restarts."""

import json

import pytest

from segalias_jax.training import goodput as account_module
from segalias_jax.training.goodput import Account


@pytest.fixture
def clock(monkeypatch):
    now = [1000.0]
    monkeypatch.setattr(account_module.time, "time", lambda: now[0])
    return now


def spend(account, clock, **seconds):
    for phase, count in seconds.items():
        account.start(phase)
        clock[0] += count
    account.start("data")


def test_all_time_is_somewhere_and_the_useful_share_is_of_all(clock, tmp_path):
    account = Account(tmp_path, started=990.0)
    spend(account, clock, compilation=5, steps=60, evaluation=20, saving=5)
    account.stepped()
    record = account.record()
    assert record["seconds"] == {
        **{"initialization": 10, "compilation": 5, "data": 0},
        **{"steps": 60, "evaluation": 20, "saving": 5},
    }
    assert record["useful"] == 0.8
    assert record["seconds_to_first_step"] == 100


def test_what_a_restart_repeats_is_lost(clock, tmp_path):
    account = Account(tmp_path)
    spend(account, clock, steps=10)
    account.mark(4)
    spend(account, clock, steps=7, evaluation=3)
    account.write()
    clock[0] += 100  # time between two starts belongs to nobody
    again = Account(tmp_path)
    again.resume(4)
    spend(again, clock, steps=10)
    record = again.record()
    assert record["starts"] == 2 and record["lost_to_restarts"] == 10
    assert record["seconds"]["steps"] == 20 and record["seconds"]["evaluation"] == 0
    assert record["useful"] == round(20 / 30, 4)


def test_damaged_record_is_begun_anew(clock, tmp_path):
    (tmp_path / "goodput.json").write_text("{")
    account = Account(tmp_path)
    account.write()
    assert json.loads((tmp_path / "goodput.json").read_text())["starts"] == 1


@pytest.mark.parametrize(
    "content",
    [
        "[]",
        "{}",
        "\0\0",
        '{"seconds": {"steps": "a"}}',
        '{"seconds": 3, "marks": [1], "starts": "x", "lost_to_restarts": null}',
        '{"seconds": {}, "marks": {"a": {}}, "starts": 1, "lost_to_restarts": 1e999}',
    ],
)
def test_a_damaged_record_is_begun_anew(tmp_path, content):
    (tmp_path / "goodput.json").write_text(content)
    account = Account(tmp_path)
    account.resume(10)
    account.mark(10)
    account.write()
    assert json.loads((tmp_path / "goodput.json").read_text())["starts"] == 1
