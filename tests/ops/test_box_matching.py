"""Matches against recorded ones; samples against what they must hold."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from segalias_jax import ops

RULES = {
    "rpn": {"high": 0.7, "low": 0.3, "low_quality": True},
    "rpn_nolow": {"high": 0.7, "low": 0.3},
    "roi": {"high": 0.5, "low": 0.5},
}


@pytest.mark.parametrize("case, size", [("0", "128x192"), ("1", "160x224")])
def test_matches_are_the_recorded_ones(golden, case, size):
    recorded = golden("i_boxes")
    # Two more truths that do not exist, one of them like an anchor.
    anchors = jnp.asarray(recorded[f"anchors_{size}"])
    truths = jnp.concatenate(
        [jnp.asarray(recorded[f"match_{case}_gt"]), anchors[:1], jnp.zeros((1, 4))]
    )
    valid = jnp.arange(10) < 8

    @jax.jit
    def matches(truths, anchors, proposals):
        iou = ops.box_iou(truths, anchors)
        found = {rule: ops.match_boxes(iou, valid, **given) for rule, given in RULES.items()}
        iou = ops.box_iou(truths, proposals)
        return found | {"proposals_roi": ops.match_boxes(iou, valid, **RULES["roi"])}

    found = matches(truths, anchors, jnp.asarray(recorded[f"match_{case}_proposals"]))
    for rule, ours in found.items():
        np.testing.assert_array_equal(ours, recorded[f"match_{case}_{rule}"], err_msg=rule)


def test_without_truths_all_is_background():
    match = ops.match_boxes(
        jnp.full((3, 4), 0.9), jnp.zeros(3, bool), low=0.3, high=0.7, low_quality=True
    )
    assert match.tolist() == [-1] * 4


@pytest.mark.parametrize(
    "positives, negatives, expected",
    [(9, 20, (3, 9)), (2, 20, (2, 10)), (9, 4, (3, 4)), (0, 0, (0, 0)), (0, 30, (0, 12))],
)
def test_numbers_of_samples(positives, negatives, expected):
    index = jnp.arange(30)
    positive, negative = index < positives, index >= 30 - negatives
    samples = ops.sample_boxes(
        jax.random.key(1), positive, negative, count=12, positive_fraction=0.25
    )
    chosen, is_positive, valid = (
        np.asarray(part) for part in (samples.index, samples.positive, samples.valid)
    )
    assert (is_positive.sum(), (valid & ~is_positive).sum()) == expected
    assert np.asarray(positive)[chosen[is_positive]].all()
    assert np.asarray(negative)[chosen[valid & ~is_positive]].all()
    assert len(set(chosen[valid])) == valid.sum()
    # Positives, negatives, then nothing.
    kinds = np.where(is_positive, 0, np.where(valid, 1, 2))
    assert (np.diff(kinds) >= 0).all()


def test_every_box_is_equally_likely():
    positive = jnp.arange(10) < 4

    @jax.vmap
    def draw(key):
        samples = ops.sample_boxes(key, positive, ~positive, count=4, positive_fraction=0.5)
        return jnp.zeros(10).at[samples.index].add(samples.valid)

    share = draw(jax.random.split(jax.random.key(0), 2000)).mean(0)
    # Two of four, and two of six; four standard errors of 2,000 draws.
    np.testing.assert_allclose(share, [1 / 2] * 4 + [1 / 3] * 6, atol=4 * 0.5 / np.sqrt(2000))
