"""Error pictures and the sheet of samples."""

import numpy as np
import pytest

from segalias_jax.errors import InputError
from segalias_jax.metrics import ERROR_KINDS, ScoreRules, error_kinds
from segalias_jax.scoring import (
    CAUSE_COLORS,
    CAUSES,
    KIND_COLORS,
    Sample,
    cause_overlay,
    error_overlay,
    error_types,
    overlay_sheet,
)
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


def test_every_wrong_pixel_has_the_color_of_its_cause():
    sample = _sample()
    causes, _ = error_types(sample.prediction, sample.label, num_classes=3)
    picture = cause_overlay(sample.image, sample.label, sample.prediction)
    for code, name in enumerate(CAUSES, start=1):
        colors = np.unique(picture[causes == code], axis=0).tolist()
        dark = (np.asarray(CAUSE_COLORS[name]) // 3).tolist()
        assert all(color in (dark, list(CAUSE_COLORS[name])) for color in colors)
    assert {"displacement", "missed object"} <= {
        CAUSES[k - 1] for k in np.unique(causes) if 0 < k < 8
    }
    quiet = picture[(causes == 0) | (causes == 255)]
    assert (quiet == quiet[:, :1]).all() and quiet.max() <= 92


# Machado, Oliveira and Fernandes, "A Physiologically-based Model for Simulation of Color Vision
# Deficiency", 2009: missing cones of each kind, on linear RGB.
VISION = {
    "usual": np.eye(3),
    "protanope": [[0.152, 1.053, -0.205], [0.115, 0.786, 0.099], [-0.004, -0.048, 1.052]],
    "deuteranope": [[0.367, 0.861, -0.228], [0.280, 0.673, 0.047], [-0.012, 0.043, 0.969]],
    "tritanope": [[1.256, -0.077, -0.179], [-0.078, 0.931, 0.148], [0.005, 0.691, 0.304]],
}


@pytest.mark.parametrize("vision", VISION)
def test_colors_of_causes_are_told_apart_by_everybody(vision):
    """Distances in CIELAB, among each other and to the lightest gray of what is right."""
    rgb = np.asarray([*CAUSE_COLORS.values(), (92, 92, 92)]) / 255
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    seen = np.clip(linear @ np.asarray(VISION[vision]).T, 0, 1)
    xyz = (
        seen
        @ np.asarray([[0.4124, 0.2126, 0.0193], [0.3576, 0.7152, 0.1192], [0.1805, 0.0722, 0.9505]])
        / (0.9505, 1, 1.089)
    )
    x, y, z = np.where(xyz > 0.008856, np.cbrt(xyz), 7.787 * xyz + 16 / 116).T
    lab = np.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], 1)
    apart = np.linalg.norm(lab[:, None] - lab, axis=-1)
    assert apart[~np.eye(len(lab), dtype=bool)].min() > 25
    if vision == "usual":
        assert (lab[:-1, 0] > lab[-1, 0]).all()


def test_thumbnails_show_causes_of_the_whole_maps():
    """A pixel shows the highest cause of those it stands for; sizes need no common divisor."""
    sample = _sample(61, 90)
    causes, _ = error_types(sample.prediction, sample.label, num_classes=3)
    small = cause_overlay(np.zeros((17, 31, 3), np.uint8), sample.label, sample.prediction)
    assert small.shape == (17, 31, 3)
    for i, j in np.ndindex(17, 31):
        block = causes[i * 61 // 17 : (i + 1) * 61 // 17, j * 90 // 31 : (j + 1) * 90 // 31]
        wrong = block[(block > 0) & (block < 255)]
        if wrong.size:
            color = np.asarray(CAUSE_COLORS[CAUSES[wrong.max() - 1]])
            assert small[i, j].tolist() in (color.tolist(), (color // 3).tolist())
        else:
            assert small[i, j].max() <= 92
    four = overlays.panels(sample, PALETTE, ScoreRules(), longest=45)
    assert {panel.shape for panel in four} == {(31, 45, 3)}
    with pytest.raises(InputError, match="image of 91x61 pixels, maps of 90x61; give an image"):
        cause_overlay(np.zeros((61, 91, 3), np.uint8), sample.label, sample.prediction)
