"""The table of scores: complete, consistent, open to others."""

import numpy as np
import pytest

from segalias_jax.errors import InputError
from segalias_jax.metrics import (
    SCORES,
    BinaryScores,
    BinaryTotals,
    Score,
    SegmentationScores,
    find_score,
    register_score,
    unregister_score,
)


def _label():
    return np.repeat(np.asarray([[0, 0, 1, 1, 2, 2]]), 6, 0)


def test_every_number_of_a_state_has_a_row():
    label = _label()
    scores = SegmentationScores.empty(3).update(np.roll(label, 1, 1), label).compute()
    for name, value in scores.items():
        row = find_score(name)
        assert name == (row.per_class if np.ndim(value) else row.name)
        assert row.rule and row.title
    binary = BinaryTotals.empty().add(np.ones((2, 2, 256), int)).compute()
    for name in binary:
        for end in ("_best", "_best_threshold", "_mean_of_thresholds"):
            name = name.removesuffix(end)
        assert SCORES[name].name == name


def test_errors_have_less_as_the_better_direction():
    for name, row in SCORES.items():
        if row.unit == "%":
            assert (row.direction == "smaller") == any(
                word in name
                for word in ("Err", "error", "response", "mistake", "displacement", "Boundary_")
            )


def test_frequency_weighted_iou_is_that_of_a_loop_over_pixels():
    """Class 3 is predicted but nowhere true; class 4 is nowhere; 255 is ignored."""
    rng = np.random.default_rng(0)
    label = rng.choice([0, 0, 0, 1, 2, 255], (2, 9, 11)).astype(np.int32)
    prediction = np.where(rng.random(label.shape) < 0.3, 3, label % 3).astype(np.int32)
    states = [
        SegmentationScores.empty(5).update(*pair) for pair in zip(prediction, label, strict=True)
    ]
    found = states[0].merge(states[1]).compute()["fwIoU"]
    pairs = [(t, p) for t, p in zip(label.flat, prediction.flat, strict=True) if t != 255]
    expected = 0.0
    for c in range(5):
        true = sum(t == c for t, _ in pairs)
        union = sum(c in pair for pair in pairs)
        if true:
            expected += true / len(pairs) * sum(t == p == c for t, p in pairs) / union
    assert np.isclose(found, expected, rtol=0, atol=1e-12) and 0.3 < expected < 0.9
    nothing = SegmentationScores.empty(5).update(prediction, np.full_like(label, 255)).compute()
    assert np.isnan(nothing["fwIoU"])


@pytest.fixture
def registered():
    """Returns `add(row)`; all rows are removed again."""
    names = []

    def add(row):
        names.append(register_score(row).name)

    yield add
    for name in names:
        unregister_score(name)


def test_a_registered_score_is_computed_by_both_engines(registered):
    registered(
        Score(
            "mJaccardLoss",
            lambda counts: 1 - counts.all.right / (counts.all.true + counts.all.predicted),
            average="classes",
            direction="smaller",
            per_class="JaccardLoss",
        )
    )
    label = _label()
    device = SegmentationScores.empty(3).update(label, label)
    for scores in (device.compute(), device.host().compute()):
        assert scores["mJaccardLoss"] == 0.5 and scores["JaccardLoss"].tolist() == [0.5] * 3
    unregister_score("mJaccardLoss")
    assert "mJaccardLoss" not in device.compute()
    register_score(Score("mJaccardLoss", lambda counts: counts.all.right.sum(-1), shown=()))


def test_a_registered_score_of_binary_segmentation(registered):
    before = BinaryScores.empty(4)
    for average, ending in (("images", "mean_over_images"), ("pixels", "pixels_of_all_images")):
        registered(
            Score(
                f"specificity_{ending}",
                lambda counts: (counts.rejections, counts.rejections + counts.false_alarms),
                source="foreground",
                average=average,
                per_image=f"specificity_{average}",
            )
        )
    bins = np.asarray([[[3, 0, 1, 0], [0, 0, 1, 1]], [[1, 0, 0, 1], [1, 0, 0, 1]]])
    device, host = BinaryScores.empty(4).add(bins), BinaryTotals.empty(4).add(bins)
    for scores in (device.compute(), host.compute()):
        assert scores["specificity_mean_over_images"] == pytest.approx((3 / 4 + 1 / 2) / 2)
        assert scores["specificity_pixels_of_all_images"] == pytest.approx(4 / 6)
    with pytest.raises(InputError, match="with and without specificity_mean_over_images do not"):
        before.merge(device)


def test_names_are_taken_once():
    with pytest.raises(InputError, match="score 'IoU' is there already; choose another name"):
        register_score(Score("IoU", lambda counts: counts.all.right))
    with pytest.raises(InputError, match="score is 'nothing'"):
        unregister_score("nothing")


@pytest.mark.parametrize(
    "formula, average, message",
    [
        (lambda counts: counts.all.right, "", r"\[2, 3\] .*one number for each image, \[2\]"),
        (
            lambda counts: counts.all.right.sum(),
            "",
            r"returns \[\] for counts \[2 images, 3 classes",
        ),
        (
            lambda counts: counts.all.right.sum(-1),
            "classes",
            r"returns \[2\] .*average='classes' .*a number for each class, \[2, 3\]",
        ),
    ],
)
def test_a_formula_of_another_shape_is_refused(formula, average, message):
    with pytest.raises(InputError, match=message):
        register_score(Score("misshapen", formula, average=average))
    assert "misshapen" not in SCORES
