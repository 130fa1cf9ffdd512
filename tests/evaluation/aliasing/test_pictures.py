"""Pictures have what was asked for, for networks with and without filters and gates."""

import cv2
import numpy as np
import pytest

from segalias_jax.evaluation.aliasing.analysis import Operator
from segalias_jax.evaluation.aliasing.maps import ImageMaps, StageMaps
from segalias_jax.evaluation.aliasing.pictures import draw
from segalias_jax.layers.freqmix import Gates
from segalias_jax.metrics import ScoreRules
from segalias_jax.scoring.reports.overlays import Sample

FILTERED = Operator("stage 2", 0.7, 0.35, "daf")
BARE = Operator("stem max pool", 0.5, 0.25, "none")
STRIDING = Operator("stage 3", 0.5, 0.25, "flc")


def _stage(after=(12, 16)):
    rng = np.random.default_rng(0)
    before, left, removed = rng.random((12, 16)), rng.random(after), rng.random((12, 16))
    return StageMaps(before, left, removed, (before, left), np.asarray([12.345, 0.5]))


def _maps(stages, gates):
    label = np.zeros((24, 32), int)
    label[:, 16:] = 1
    sample = Sample(np.zeros((24, 32, 3), np.uint8), label, np.roll(label, 2, 1), "a/b")
    return ImageMaps(sample, "most pixels", stages, gates)


def _texts(monkeypatch, maps):
    """The pictures, and all texts that are drawn in them."""
    from matplotlib.text import Text

    drawn, paint = set(), Text.draw

    def listening(self, *arguments, **options):
        drawn.add(self.get_text())
        return paint(self, *arguments, **options)

    monkeypatch.setattr(Text, "draw", listening)
    return draw(maps, ScoreRules()), drawn


@pytest.mark.parametrize("spatial", [True, False])
def test_stages_and_gates(monkeypatch, spatial):
    map_of = np.full((6, 8), 0.25)
    gates = Gates((map_of, 3 * map_of) if spatial else None, (np.arange(4) / 4, np.ones(4)))
    stages = {BARE: _stage(), FILTERED: _stage(), STRIDING: _stage((6, 8))}
    found, texts = _texts(monkeypatch, _maps(stages, {(2, 1): gates}))
    assert [p.path for p in found] == [
        f"aliasing_pictures/a_b_{x}.png" for x in ("stages", "gates")
    ]
    assert all(p.caption.startswith("a/b has the most pixels. ") for p in found)
    for picture in found:
        image = cv2.imdecode(np.frombuffer(picture.data, np.uint8), cv2.IMREAD_COLOR)
        assert image.shape[1] in (1000, 1300) and image.std() > 10
    assert "stage 2\ndaf\n12.35 % \N{RIGHTWARDS ARROW} 0.50 %" in texts
    assert "stem max pool\nno filter\n12.35 %" in texts
    assert "nothing filters\nbefore this operator" in texts and "after, on its grid" in texts
    assert ("spatial, high band, 0.750" in texts) == spatial
    assert ("no spatial gates" in texts) == (not spatial)
    assert "low band, 0.375" in texts


def test_networks_without_gates_have_no_picture_of_them(monkeypatch):
    found, _ = _texts(monkeypatch, _maps({BARE: _stage()}, {}))
    assert [p.title for p in found] == ["stages of a/b"]
