"""The line that stands for a bar where tqdm is not installed."""

import time

from segalias_jax import progress
from segalias_jax.progress import PlainBar, progress_bar


def test_work_that_is_soon_over_shows_nothing(capsys):
    with PlainBar("scoring", 3) as bar:
        for _ in range(3):
            bar.update()
    with PlainBar(None, 3, delay=0) as silent:
        silent.update(3)
    assert capsys.readouterr().err == "" and bar.n == silent.n == 3


def test_a_line_is_rewritten_and_cleared(capsys, monkeypatch):
    now = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    with PlainBar("scoring", 40, start=10) as bar:
        for now[0] in (1.0, 2.5, 2.6, 3.0):
            bar.update(5)
            bar.set_postfix_str("loss 1")
    assert capsys.readouterr().err.split("\r")[1:] == [
        "scoring: 20/40 images, 4.0/s, loss 1",
        "scoring: 30/40 images, 6.7/s, loss 1",
        " " * 36,
        "",
    ]


def test_it_is_used_without_tqdm(monkeypatch):
    monkeypatch.setattr(progress, "tqdm", None)
    bar = progress_bar("scoring", 7)
    assert isinstance(bar, PlainBar) and bar.total == 7
