"""Error pictures and the sheet of samples."""

import numpy as np
import pytest

from segalias_jax.metrics import ERROR_KINDS, ScoreRules, error_kinds
from segalias_jax.scoring import KIND_COLORS, Sample, error_overlay, overlay_sheet
from segalias_jax.scoring.cause_counts import CAUSES
from segalias_jax.scoring.reports import overlays

PALETTE = np.asarray([[0, 0, 0], [200, 30, 30], [30, 200, 30]], np.uint8)


def _sample(height=60, width=90):
    rng = np.random.default_rng(0)
    label = np.zeros((height, width), np.int32)
    label[height // 4 :, width // 3 :] = 1
    prediction = np.roll(label, 3, 1)
    prediction[height // 2 :, : width // 6] = 2
    label[-12:-6, -12:-6] = 2  # missed by the prediction
    label[:4] = 255
    image = rng.integers(0, 256, (height, width, 3)).astype(np.uint8)
    return Sample(image, label, prediction, "first")


def test_every_wrong_pixel_has_the_color_of_its_kind():
    """Right pixels are gray, ignored ones darker and hatched, wrong ones colored."""
    sample, rules = _sample(), ScoreRules(width=5)
    before = sample.image.copy()
    picture = error_overlay(sample.image, sample.label, sample.prediction, rules=rules)
    kinds = np.asarray(error_kinds(sample.prediction, sample.label, rules))
    for kind, name in enumerate(ERROR_KINDS[1:], start=1):
        assert (kinds == kind).any()
        assert (picture[kinds == kind] == KIND_COLORS[name]).all()
    quiet = picture[(kinds == 0) | (kinds == 255)]
    assert (quiet == quiet[:, :1]).all() and quiet.max() < 150
    np.testing.assert_array_equal(sample.image, before)


def test_colors_differ_in_lightness_from_the_gray_below():
    """Luminance of every error color is above the lightest gray of a right pixel."""
    lightest = error_overlay(np.full((1, 1, 3), 255, np.uint8), *np.zeros((2, 1, 1), np.int32))
    for color in KIND_COLORS.values():
        assert np.dot(color, (0.2126, 0.7152, 0.0722)) > 0.85 * lightest.max()


@pytest.mark.parametrize("size", [(60, 90), (128, 128), (360, 480), (300, 1200)])
def test_sheet_of_small_and_large_pictures(size):
    """Cells stay between readable and handy; panels are there unscaled where they fit."""
    sample = _sample(*size)
    sheet = overlay_sheet([sample, sample], classes=["a", "b", "c"], palette=PALETTE)
    assert sheet.dtype == np.uint8 and 4 * 360 < sheet.shape[1] < 4 * 600
    if size == (360, 480):
        np.testing.assert_array_equal(sheet[80 : 80 + 360, 16 : 16 + 480], sample.image)


def test_more_classes_than_bytes_tell_apart():
    label = np.full((4, 4), 2, np.int32)
    sample = Sample(np.zeros((4, 4, 3), np.uint8), label, label + 350, "one")
    _, truth, prediction, _ = overlays.panels(
        sample, colors := overlays.spread_palette(400), ScoreRules()
    )
    assert (truth == colors[2]).all() and (prediction == colors[352]).all()


def test_sheet_copes_with_odd_labels():
    """Predictions that are no class, labels ignored throughout, unequal sizes, 0 = ignored."""
    odd = Sample(
        np.zeros((40, 50, 3), np.uint8),
        np.full((40, 50), 255, np.int32),
        np.full((40, 50), 300, np.int32),
        "odd",
    )
    rules = ScoreRules(reduce_zero_label=True)
    sheet = overlay_sheet([_sample(), odd], classes=["a", "b", "c"], palette=PALETTE, rules=rules)
    assert sheet.min() < 50


def test_many_class_names_are_broken_into_lines():
    """150 classes make a taller sheet, not a wider one."""
    label = np.arange(150 * 16, dtype=np.int32).reshape(40, 60) % 150
    sample = Sample(np.zeros((40, 60, 3), np.uint8), label, label, "many")
    palette = np.zeros((150, 3), np.uint8)
    few = overlay_sheet([_sample(40, 60)], classes=["x"] * 3, palette=palette[:3])
    many = overlay_sheet([sample], classes=[f"class {i}" for i in range(150)], palette=palette)
    assert many.shape[1] == few.shape[1] and many.shape[0] > few.shape[0] + 200


def test_spread_colors_differ():
    """No two of many classes share a color."""
    assert len(np.unique(overlays.spread_palette(100), axis=0)) == 100


def test_colors_of_causes_differ_for_everybody():
    """In CIE Lab, as people see them who lack one kind of cone (Machado et al. 2009), and gray."""
    lacking = (
        "1 0 0 0 1 0 0 0 1",
        ".152286 1.052583 -.204868 .114503 .786281 .099216 -.003882 -.048116 1.051998",
        ".367322 .860646 -.227968 .280085 .672501 .047413 -.011820 .042940 .968881",
        "1.255528 -.076749 -.178779 -.078411 .930809 .147602 .004733 .691367 .303900",
    )
    cones = [np.asarray(row.split(), np.float64).reshape(3, 3) for row in lacking]
    to_xyz = ".4124 .3576 .1805 .2126 .7152 .0722 .0193 .1192 .9505".split()
    to_xyz = np.asarray(to_xyz, np.float64).reshape(3, 3)
    rgb = np.asarray([*overlays.CAUSE_COLORS.values(), (70, 70, 70)]) / 255
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    assert tuple(overlays.CAUSE_COLORS) == CAUSES
    for matrix in cones:
        seen = np.clip(linear @ matrix.T, 0, 1) @ to_xyz.T / to_xyz.sum(1)
        x, y, z = np.where(seen > 0.008856, np.cbrt(seen), 7.787 * seen + 16 / 116).T
        lab = np.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], 1)
        apart = np.linalg.norm(lab[:, None] - lab, axis=-1) + 1000 * np.eye(len(lab))
        assert apart.min() > 24
