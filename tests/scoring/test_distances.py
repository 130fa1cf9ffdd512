"""Distances: those of a naive reference, closed forms, and what a missing class costs."""

import dataclasses

import numpy as np
import pytest

from segalias_jax.errors import InputError
from segalias_jax.metrics import ScoreRules
from segalias_jax.metrics.distance_counts import OFFSET_BINS, DistanceCounts, DistanceSettings
from segalias_jax.scoring import host_bands
from segalias_jax.scoring.distances import count_distances
from segalias_jax.scoring.thinning import skeleton

EVERY_RULE = [
    ScoreRules(ignore=ignore, reduce_zero_label=zero)
    for ignore in ("reference", "exclude")
    for zero in (False, True)
]


def _maps(size, seed=0, classes=4, void=0.1):
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, classes, (-(-size[0] // 4), -(-size[1] // 4)))
    label = coarse.repeat(4, 0).repeat(4, 1)[: size[0], : size[1]].astype(np.uint8)
    prediction = np.roll(label, (1, 2), (0, 1)).copy()
    noisy = rng.random(size) < 0.03
    prediction[noisy] = rng.integers(0, classes, noisy.sum())
    label[rng.random(size) < void] = 255
    return prediction, label


def _surface(mask):
    framed = np.pad(mask, 1)
    inside = framed[:-2, 1:-1] & framed[2:, 1:-1] & framed[1:-1, :-2] & framed[1:-1, 2:]
    return np.argwhere(mask & ~inside)


def _naive(prediction, label, c, settings):
    """Distances between all surface pixels of a class, in float64."""
    counted = label != 255
    masks = [(ids == c) & counted for ids in (label, prediction)]
    surfaces = [_surface(mask) for mask in masks]
    apart = (surfaces[0][:, None] - surfaces[1][None]) * np.asarray(settings.spacing, np.float64)
    return masks, surfaces, np.sqrt((apart**2).sum(-1))


@pytest.mark.parametrize("size", [(1, 1), (1, 17), (19, 1), (23, 31), (40, 9)])
@pytest.mark.parametrize("spacing", [(1, 1), (0.7, 2.0)])
@pytest.mark.parametrize("seed", range(3))
def test_counts_are_those_of_all_pairs(size, spacing, seed):
    prediction, label = _maps(size, seed)
    settings = DistanceSettings(spacing, (0, 1, 2.5), widths=())
    counts = count_distances(prediction, label, ScoreRules(), 4, settings)
    assert counts.diagonal == np.hypot(size[0] * spacing[0], size[1] * spacing[1])
    for c in range(4):
        masks, surfaces, apart = _naive(prediction, label, c, settings)
        assert counts.surface[:, c].tolist() == [len(points) for points in surfaces]
        lines = [skeleton(mask) for mask in masks]
        assert counts.skeleton[:, c].tolist() == [line.sum() for line in lines]
        covered = [(line & mask).sum() for line, mask in zip(lines, masks[::-1], strict=True)]
        assert counts.covered[:, c].tolist() == covered
        if not apart.size:
            assert not counts.total[:, c].any() and not counts.within[..., c].any()
            continue
        both = apart.min(1), apart.min(0)
        np.testing.assert_allclose(counts.total[:, c], [d.sum() for d in both], rtol=1e-14)
        np.testing.assert_array_equal(counts.quantile[:, c], [np.quantile(d, 0.95) for d in both])
        np.testing.assert_array_equal(counts.largest[:, c], [d.max() for d in both])
        for i, tolerance in enumerate(settings.tolerances):
            assert counts.within[i, :, c].tolist() == [(d <= tolerance).sum() for d in both]
        inside = masks[0][tuple(surfaces[1].T)]
        signed = np.where(inside, -both[1], both[1])
        near = signed[abs(signed) <= 16 * min(spacing)]
        np.testing.assert_allclose(counts.offset[c], near.sum(), atol=1e-12)
        bins = np.rint(2 * near / min(spacing)).astype(int) + 32
        assert counts.offsets[c].tolist() == np.bincount(bins, minlength=OFFSET_BINS).tolist()


@pytest.mark.parametrize("rules", EVERY_RULE)
@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.int64])
def test_perfect_predictions_are_perfect_whatever_is_under_void(rules, dtype):
    label = _maps((40, 50))[1].astype(dtype)
    if rules.reduce_zero_label:
        label = np.where(label == 255, 0, label + 1).astype(dtype)
        label[5:20, 7] = 255
    void = host_bands.ignored_pixels(label, rules)
    prediction = label - rules.reduce_zero_label
    prediction[void] = np.random.default_rng(3).integers(0, 9, void.sum())
    counts = count_distances(prediction, label, rules, 4)
    assert counts.surface.all() and not counts.total.any() and not counts.largest.any()
    assert (counts.within == counts.surface).all()
    assert (counts.covered == counts.skeleton).all()
    assert (counts.met == counts.contour).all()
    assert (counts.trimap[:, 0] == counts.trimap[:, 1]).all()
    assert (counts.trimap[:, 0] == counts.trimap[:, 2]).all()


@pytest.mark.parametrize("shift", [1, 3, 7])
def test_a_shifted_square(shift):
    """Each side that moves across itself is off by the shift; corners are nearer than that."""
    label = np.zeros((60, 60), np.uint8)
    label[20:40, 20:40] = 1
    counts = count_distances(np.roll(label, shift, 1), label, ScoreRules(), 2)
    assert counts.largest[:, 1].tolist() == [shift, shift]
    assert counts.quantile[:, 1].tolist() == [shift, shift]
    offsets = counts.offsets[1]
    # Inside, the ends of a side are nearer to the sides beside it.
    assert offsets[32 + 2 * shift] >= 20 and offsets[32 - 2 * shift] >= 20 - 2 * shift
    assert offsets.sum() == counts.surface[1, 1] == 76


@pytest.mark.parametrize("grown", [1, 2])
def test_a_grown_square_lies_outside(grown):
    label = np.zeros((60, 60), np.uint8)
    label[20:40, 20:40] = 1
    larger = np.zeros_like(label)
    larger[20 - grown : 40 + grown, 20 - grown : 40 + grown] = 1
    settings = DistanceSettings(skeletons=False, widths=())
    out, into = (
        count_distances(*pair, ScoreRules(), 2, settings)
        for pair in ((larger, label), (label, larger))
    )
    side = 20 + 2 * grown
    corner = np.hypot(grown, grown)
    # The other pixels of the corners reach further along the side.
    assert out.offset[1] >= grown * 4 * (side - 1) and out.largest[1, 1] == corner
    assert into.offset[1] == -grown * 76


@pytest.mark.parametrize("pixels", [1, 50, 300])
def test_strips_do_not_matter(monkeypatch, pixels):
    maps, rules = _maps((45, 37)), ScoreRules(ignore="exclude")
    settings = DistanceSettings(widths=(1, 3, 4))
    whole = count_distances(*maps, rules, 4, settings)
    monkeypatch.setattr(host_bands, "STRIP_PIXELS", pixels)
    monkeypatch.setattr(host_bands, "BAND_PIXELS", pixels)
    pieces = count_distances(*maps, rules, 4, settings)
    for field in dataclasses.fields(DistanceCounts):
        one, other = getattr(whole, field.name), getattr(pieces, field.name)
        np.testing.assert_array_equal(one, other, err_msg=field.name)


def test_stray_values_and_settings_are_told():
    prediction, label = _maps((9, 9))
    with pytest.raises(InputError, match="prediction holds the value 3, which is no class 0..2"):
        count_distances(np.full_like(label, 3), np.minimum(label, 2), ScoreRules(), 3)
    with pytest.raises(InputError, match="label holds the value"):
        count_distances(np.zeros_like(label), label, ScoreRules(), 2)
    with pytest.raises(InputError, match="shape"):
        count_distances(prediction[:3], label, ScoreRules(), 4)
    for name, wrong in (("spacing", (1, 0)), ("tolerances", (-1,)), ("widths", (0, 1))):
        with pytest.raises(InputError, match=name):
            dataclasses.replace(DistanceSettings(), **{name: wrong})
