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
    assert len(analysis.image) == len(analysis.patch_errors) <= 5 * 6
    assert set(analysis.image) == set(range(5))
    assert not np.isnan(analysis.patch_errors).all(1).any()


def _made(errors, scores, images):
    n = len(scores)
    return AliasingAnalysis(
        (OPERATORS[0],),
        tuple(map(str, range(images))),
        np.ones((images, 1, 2)),
        np.arange(n) % images,
        np.asarray(scores, float)[:, None],
        np.asarray(errors, float),
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
