"""Scores of images and patches by construction, and errors that follow them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from segalias_jax import ops
from segalias_jax.errors import InputError
from segalias_jax.evaluation import evaluate
from segalias_jax.evaluation.aliasing.analysis import (
    AliasingAnalysis,
    Operator,
    operator_powers,
    study,
)
from segalias_jax.metrics import ERROR_KINDS
from segalias_jax.scoring.causes import error_types
from segalias_jax.scoring.reports.overlays import KIND_COLORS, error_overlay

OPERATORS = (Operator("fine", 0.5, 0.25, "daf"), Operator("coarse", 0.7, 0.35, "none"))


@jax.jit
def inspect(image):
    """The first channel is the prediction, all are features, the first operator has a filter."""
    x = image.astype(jnp.float32)
    half = x[:, ::2, ::2]
    pairs = (x, ops.low_pass(x, 0.25)), (half, half)
    powers = [
        operator_powers(*pair, operator.nyquist_frequency, (2, 3))
        for pair, operator in zip(pairs, OPERATORS, strict=True)
    ]
    return image[..., 0].astype(jnp.int32) // 64, jnp.stack(powers)


def _batches(count=5, rows=2):
    rng = np.random.default_rng(0)
    image = np.kron(rng.integers(0, 256, (count, 4, 6, 3)), np.ones((1, 8, 8, 1), int))
    image = image.astype(np.uint8)
    label = np.roll(image[..., 0] // 64, 1, 2).astype(np.int32)
    for start in range(0, count, rows):
        chosen = np.arange(start, start + rows)
        valid = chosen < count
        yield {
            "image": image[chosen % count],
            "label": label[chosen % count],
            "valid": valid,
            "name": [f"image {i}" for i in chosen[valid]],
        }


@pytest.fixture(scope="module")
def found():
    return study(inspect, _batches(), OPERATORS, num_classes=4)


def test_scores_are_those_of_an_evaluation(found):
    expected = evaluate(lambda image: inspect(image)[0], _batches(), num_classes=4)
    np.testing.assert_array_equal(found[0].scores.counts, expected.scores.counts)


def test_scores_of_images_are_aliasing_scores(found):
    """Of what enters the filter and what leaves it; rows that fill up a batch are left out."""
    images = np.concatenate([batch["image"][batch["valid"]] for batch in _batches()])
    x = jnp.asarray(images, jnp.float32)
    analysis = found[1]
    assert analysis.names == tuple(f"image {i}" for i in range(5))
    assert analysis.scores.shape == (5, 2, 2)
    # float32 sums in another order
    np.testing.assert_allclose(analysis.scores[:, 0, 0], ops.aliasing_score(x, 0.25), rtol=1e-5)
    assert analysis.scores[:, 0, 1].max() < 1e-10  # rounding of what was filtered out
    coarse = ops.aliasing_score(x[:, ::2, ::2], 0.35)
    np.testing.assert_allclose(analysis.scores[:, 1], np.stack([coarse] * 2, 1), rtol=1e-5)


def test_patches_are_counted_with_their_image(found):
    analysis = found[1]
    assert analysis.image.tolist() == np.repeat(np.arange(5), 6).tolist()
    assert len(analysis.patch_scores) == len(analysis.patch_errors) == 30
    assert analysis.near.tolist() == [not np.isnan(row).all() for row in analysis.patch_errors]


def test_pixels_of_kinds_are_those_of_the_overlays(found):
    """Of each patch as many as an overlay paints in the color of a kind; the same for causes."""
    analysis = found[1]
    images = [i for batch in _batches() for i in zip(batch["image"], batch["label"], strict=True)]
    for n, (image, label) in enumerate(images[:5]):
        prediction = image[..., 0].astype(np.int32) // 64
        painted = error_overlay(image, label, prediction)
        causes = error_types(prediction, label, num_classes=4)[0]
        kinds = analysis.patch_kinds[analysis.image == n].reshape(2, 3, -1)
        by_cause = analysis.patch_causes[analysis.image == n].reshape(2, 3, -1)
        for r, c in np.ndindex(2, 3):
            patch = np.s_[16 * r : 16 * r + 16, 16 * c : 16 * c + 16]
            colors = painted[patch].reshape(-1, 3)
            for name, color in KIND_COLORS.items():
                assert kinds[r, c, ERROR_KINDS.index(name)] == (colors == color).all(1).sum()
            assert kinds[r, c].sum() == by_cause[r, c].sum() == 16 * 16
            counts = np.bincount(causes[patch].ravel(), minlength=8)
            np.testing.assert_array_equal(by_cause[r, c], counts)


def _made(errors, scores, images):
    n = len(scores)
    return AliasingAnalysis(
        (OPERATORS[0],),
        tuple(map(str, range(images))),
        np.ones((images, 1, 2)),
        np.arange(n) % images,
        np.asarray(scores, float)[:, None],
        np.asarray(errors, float),
        np.zeros((n, 5), int),
        np.zeros((n, 8), int),
    )


def test_errors_that_follow_the_score():
    """FErr falls with the score, DErr rises, MErr does not vary and is missing half the time."""
    scores = np.random.default_rng(3).permutation(400) / 4
    merging = np.where(scores < 50, 0.25, np.nan)
    made = _made(np.stack([1 - scores / 100, merging, (scores / 100) ** 2], 1), scores, 20)
    rows = {row["error"]: row for row in made.correlations()}
    assert rows["FErr"]["value"] == pytest.approx(-1) and rows["DErr"]["value"] == pytest.approx(1)
    assert rows["FErr"]["high"] == pytest.approx(-1) and rows["DErr"]["low"] == pytest.approx(1)
    assert np.isnan(rows["MErr"]["value"]) and rows["MErr"]["patches"] == 200
    bins = made.bins(4)
    assert [row["patches"] for row in bins] == [100] * 4
    assert [row["from"] for row in bins] == [0, 25, 50, 75]
    mean = [np.arange(25 * b, 25 * b + 25, 0.25).mean() for b in range(4)]
    np.testing.assert_allclose([row["score"] for row in bins], mean, rtol=1e-12)
    np.testing.assert_allclose(
        [row["FErr"]["value"] for row in bins], 1 - np.asarray(mean) / 100, rtol=1e-12
    )
    np.testing.assert_array_equal([row["MErr"]["value"] for row in bins], [0.25] * 2 + [np.nan] * 2)
    assert all(row["FErr"]["low"] < row["FErr"]["value"] < row["FErr"]["high"] for row in bins)


def test_patches_far_from_boundaries_are_in_no_bin():
    made = _made([[np.nan] * 3, [0.5] * 3, [0.25] * 3, [np.nan] * 3], [9, 1, 3, 0], 2)
    rows = made.bins(2)
    assert [row["score"] for row in rows] == [1, 3] and made.near.tolist() == [0, 1, 1, 0]
    assert [row["FErr"]["value"] for row in rows] == [0.5, 0.25]


def test_errors_that_do_not_follow_the_score():
    """A correlation of 0, known to 1 / sqrt(n)."""
    rng = np.random.default_rng(4)
    made = _made(rng.random((900, 3)), rng.random(900), 90)
    for row in made.correlations():
        assert abs(row["value"]) < 4 / 30
        # 90 images tell the width to a quarter or so
        assert row["high"] - row["low"] == pytest.approx(2 * 1.96 / 30, rel=0.4)


def test_equal_scores_fill_all_bins():
    bins = _made(np.zeros((30, 3)), np.zeros(30), 3).bins(10)
    assert [row["patches"] for row in bins] == [3] * 10


def test_a_filter_that_samples_leaves_nothing_to_fold():
    x = jnp.asarray(np.random.default_rng(0).normal(size=(1, 16, 16, 2)), jnp.float32)
    powers = operator_powers(x, ops.frequency_low_cut(x), 0.25, (2, 2))
    assert float(powers[0, 0].min()) > 0 and float(powers[1, 0].max()) == 0
    np.testing.assert_array_equal(powers[0, 1], powers[1, 1])


def test_data_without_a_boundary():
    batches = [
        {"image": np.zeros((1, 16, 24, 3), np.uint8), "label": np.zeros((1, 16, 24), np.int32)}
        | {"valid": np.asarray([True])}
    ]
    with pytest.raises(InputError, match="no image has a pixel near a boundary"):
        study(inspect, batches, OPERATORS, num_classes=4)
