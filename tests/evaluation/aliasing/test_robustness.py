"""Worse images, and what they do to scores and aliasing scores."""

import json
import math

import cv2
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from segalias_jax.errors import InputError
from segalias_jax.evaluation.aliasing.analysis import Operator, operator_powers
from segalias_jax.evaluation.aliasing.robustness import (
    FILES,
    Corruption,
    RobustnessReport,
    corrupted,
    measure_robustness,
)
from segalias_jax.metrics import rows_shown

OPERATORS = (Operator("image", 0.5, 0.25, "none"),)


def _batches(rows=2):
    rng = np.random.default_rng(0)
    image = np.kron(rng.integers(40, 216, (3, 6, 6, 3)), np.ones((1, 8, 8, 1), int))
    image = image.astype(np.uint8)
    for start in range(0, 3, rows):
        chosen = np.arange(start, start + rows)
        yield {
            "image": image[chosen % 3],
            "label": image[chosen % 3, ..., 0].astype(np.int32) // 64,
            "valid": chosen < 3,
        }


@jax.jit
def inspect(image):
    powers = operator_powers(*[image.astype(jnp.float32)] * 2, 0.25, (1, 1))
    return image[..., 0].astype(jnp.int32) // 64, powers[None]


def _images(batches):
    return np.concatenate([batch["image"][batch["valid"]] for batch in batches])


def test_noise_has_its_sigma_and_is_the_same_for_every_batch_size():
    clean = _images(_batches()).astype(float)
    noise = {
        sigma: _images(corrupted(_batches(rows), Corruption("noise", sigma))) - clean
        for sigma, rows in ((4.0, 2), (8.0, 1))
    }
    for sigma, found in noise.items():
        # rounding adds 1/12; the sample deviation of 20736 numbers is known to 0.5 %
        assert found.std() == pytest.approx((sigma**2 + 1 / 12) ** 0.5, rel=0.025)
    # The same draws at both levels: only rounding sets them apart.
    assert np.abs(noise[8.0] - 2 * noise[4.0]).max() <= 1.5
    assert np.abs(noise[4.0][0] - noise[4.0][1]).max() > 5


def test_published_noise_cuts_fractions_off():
    image = np.full((64, 64, 3), 128, np.uint8)
    rounded = Corruption("noise", 4).apply(image, 0).astype(float)
    cut = Corruption("noise_reference", 4).apply(image, 0).astype(float)
    # The same draws: one lower where the fraction is a half or more.
    assert set(np.unique(rounded - cut)) == {0, 1}
    assert (rounded - cut).mean() == pytest.approx(0.5, abs=0.02)


def test_blur_is_a_normalized_kernel_of_its_size():
    image = np.zeros((15, 15, 3), np.uint8)
    image[7, 7] = 255
    found = Corruption("blur", 5).apply(image, 0)
    taps = cv2.getGaussianKernel(5, 0)
    expected = np.zeros((15, 15))
    expected[5:10, 5:10] = 255 * taps @ taps.T
    np.testing.assert_allclose(found[..., 1], expected, atol=1)  # whole numbers
    assert image.sum() == 3 * 255


def test_filling_rows_and_given_batches_stay_as_they_are():
    batches = list(_batches())
    before = [batch["image"].copy() for batch in batches]
    worse = list(corrupted(batches, Corruption("noise", 20.0)))
    for batch, kept, noisy in zip(batches, before, worse, strict=True):
        np.testing.assert_array_equal(batch["image"], kept)
        filling = ~batch["valid"]
        np.testing.assert_array_equal(noisy["image"][filling], kept[filling])
        assert (noisy["image"][batch["valid"]] != kept[batch["valid"]]).any()


@pytest.fixture(scope="module")
def report():
    corruptions = (Corruption("blur", 3), Corruption("noise", 10.0), Corruption("noise", 30.0))
    options = {"title": "Robustness", "settings": {"data": "made up"}, "num_classes": 4}
    return measure_robustness(inspect, _batches, corruptions, OPERATORS, **options)


def test_blur_takes_frequencies_away_and_noise_adds_them(report):
    names = [row["input"] for row in report.rows]
    assert names == ["unchanged", "blur 3x3", "noise 10", "noise 30"]
    unchanged, blurred, noisy, noisier = report.rows
    assert unchanged["mIoU"] == 1 and unchanged["DErr"] == 0
    assert blurred["before"][0] < unchanged["before"][0] < noisy["before"][0] < noisier["before"][0]
    assert noisier["mIoU"] < noisy["mIoU"] < 1


def test_files(report, tmp_path):
    report.save(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == set(FILES)
    content = json.loads((tmp_path / "robustness.json").read_text())
    assert [row["input"] for row in content["rows"]] == [row["input"] for row in report.rows]
    assert content["operators"][0]["nyquist_frequency"] == 0.25
    assert report.table() in (tmp_path / "robustness.md").read_text()
    page = (tmp_path / "robustness.html").read_text()
    assert "<td>noise 30</td>" in page and "aliasing image" in page


def test_scores_without_a_value_are_null(tmp_path):
    """A map of one class has no predicted boundary, and JSON has no NaN."""
    names = [row.name for row in rows_shown("corruption", source="classes")]
    row = {"input": "noise 20", "before": [], "after": []} | dict.fromkeys(names, math.nan)
    RobustnessReport((row,), (), "Robustness", {}).save(tmp_path)
    text = (tmp_path / "robustness.json").read_text()
    assert "NaN" not in text and json.loads(text)["rows"][0]["DErr"] is None


@pytest.mark.parametrize(
    "kind, level, message",
    [
        ("fog", 1, "kind of corruption is 'fog'; choose one of blur, noise"),
        ("blur", 4, "blur of 4 pixels"),
        ("blur", 2.5, "blur of 2.5 pixels"),
        ("blur", 1, "odd sizes from 3 on"),
        ("noise", 0, "noise of 0"),
        ("noise", 300.0, "up to 255"),
    ],
)
def test_levels_that_cannot_be(kind, level, message):
    with pytest.raises(InputError, match=message):
        Corruption(kind, level)
