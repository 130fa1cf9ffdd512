"""Shifted predictions against pixels counted one by one."""

import json

import numpy as np
import pytest

from segalias_jax.errors import FlagParser, InputError
from segalias_jax.metrics import BinaryScores, ScoreRules, SegmentationScores
from segalias_jax.scoring import Scorer, offsets
from segalias_jax.scoring.command import add_flags, run
from segalias_jax.scoring.image_counts import CountPlan


def by_hand(prediction, label, offset, classes):
    """Right, true and predicted pixels of the four shifts."""
    counts = np.zeros((3, classes), int)
    for down, right in ((0, 1), (0, -1), (1, 0), (-1, 0)):
        for i, j in np.ndindex(*label.shape):
            y, x = i - down * offset, j - right * offset
            inside = 0 <= y < label.shape[0] and 0 <= x < label.shape[1]
            if inside and label[i, j] != 255:
                counts[1, label[i, j]] += 1
                counts[2, prediction[y, x]] += 1
                counts[0, label[i, j]] += label[i, j] == prediction[y, x]
    return counts


@pytest.mark.parametrize("reduce_zero_label", [False, True])
def test_equals_pixels_counted_by_hand(reduce_zero_label):
    rng = np.random.default_rng(0)
    prediction = rng.integers(0, 4, (7, 9)).astype(np.uint8)
    label = rng.integers(0, 4, (7, 9)).astype(np.uint8)
    label[rng.random(label.shape) < 0.2] = 255
    rules = ScoreRules(reduce_zero_label=reduce_zero_label)
    stored = np.where(label == 255, 0, label + 1) if reduce_zero_label else label
    distances = (1, 3, 8, 20)  # farther than the picture is high, and than it is wide
    found = offsets.count_offsets(
        prediction, stored.astype(np.uint8), distances, num_classes=4, rules=rules
    )
    for row, offset in enumerate(distances, start=1):
        np.testing.assert_array_equal(found[row], by_hand(prediction, label, offset, 4))
    whole = SegmentationScores.empty(4).update(prediction, label).compute()
    scores = offsets.offset_scores(found[None])
    np.testing.assert_allclose(scores["IoU"][0], whole["IoU"], rtol=1e-14)
    np.testing.assert_allclose(scores["mIoU"][0], whole["mIoU"], rtol=1e-14)
    assert np.isnan(scores["mIoU"][4])


@pytest.mark.parametrize("share", [0, 0.4])
def test_two_classes_at_offset_0_are_those_of_the_binary_scores(share):
    """Also where no image has any foreground."""
    rng = np.random.default_rng(1)
    prediction, label = (rng.random((2, 4, 6, 8)) < share).astype(np.uint8)
    prediction[2] = label[2] = 0  # nothing to find
    label[3] = 255  # in no mean
    sums = [
        offsets.count_offsets(p, y, (2,), num_classes=2, rules=ScoreRules())
        for p, y in zip(prediction, label, strict=True)
    ]
    scores = offsets.offset_scores(np.stack(sums))
    expected = BinaryScores.empty(2).update(prediction, label).compute()
    for name in ("IoU", "Dice"):
        for average in ("mean_over_images", "pixels_of_all_images"):
            key = f"{name}_{average}"
            np.testing.assert_allclose(scores[key][0], expected[key], atol=2**-25)


def test_a_disc_falls_as_its_overlap_does():
    """Two discs of radius r, d apart, share 2 r^2 acos(d / 2r) - d / 2 sqrt(4 r^2 - d^2)."""
    i, j = np.indices((201, 201)) - 100
    radius, distances = 60.0, (1, 2, 5, 10, 20)
    ids = (i * i + j * j <= radius**2).astype(np.uint8)
    sums = offsets.count_offsets(ids, ids, distances, num_classes=2, rules=ScoreRules())
    found = offsets.offset_scores(sums[None])["IoU_pixels_of_all_images"]
    d = np.asarray((0, *distances), float)
    overlap = 2 * radius**2 * np.arccos(d / 2 / radius) - d / 2 * np.sqrt(4 * radius**2 - d * d)
    expected = overlap / (2 * np.pi * radius**2 - overlap)
    np.testing.assert_allclose(found, expected, atol=2e-3)  # of pixels instead of a disc


@pytest.mark.parametrize("wrong", [(0,), (2, 1), (1, 1)])
def test_offsets_out_of_order_are_refused(wrong):
    with pytest.raises(InputError, match="offsets: .* must be pixels from 1 on in ascending order"):
        offsets.check_offsets(wrong)


STEPS = {"up": (-1, 0), "down": (1, 0), "left": (0, -1), "right": (0, 1)}


def moved_by_hand(prediction, direction, offset, edge):
    """The shifted map, pixel by pixel; -1 where nothing counts."""
    height, width = prediction.shape
    down, right = (offset * step for step in STEPS[direction])
    result = np.full(prediction.shape, -1)
    for i, j in np.ndindex(height, width):
        y, x = i - down, j - right
        if 0 <= y < height and 0 <= x < width:
            result[i, j] = prediction[y, x]
        elif edge == "keep":
            result[i, j] = prediction[i, j]
        elif edge == "replicate":
            result[i, j] = prediction[min(max(y, 0), height - 1), min(max(x, 0), width - 1)]
        elif edge == "wrap":
            result[i, j] = prediction[y % height, x % width]
    return result


@pytest.mark.parametrize("edge", offsets.EDGES)
@pytest.mark.parametrize("direction", STEPS)
def test_directions_and_edges_equal_pixels_moved_by_hand(direction, edge):
    rng = np.random.default_rng(0)
    prediction, label = rng.integers(0, 3, (2, 6, 9)).astype(np.uint8)
    label[rng.random(label.shape) < 0.2] = 255
    distances = (1, 4, 7, 20)  # farther than the image is high, and than it is wide
    found = offsets.count_offsets(
        prediction,
        label,
        distances,
        num_classes=3,
        rules=ScoreRules(),
        direction=direction,
        edge=edge,
    )
    for row, offset in enumerate((0, *distances)):
        moved = moved_by_hand(prediction, direction, offset, edge)
        counted = (moved >= 0) & (label != 255)
        for c in range(3):
            true, predicted = (label == c) & counted, (moved == c) & counted
            assert found[row, :, c].tolist() == [
                (true & predicted).sum(),
                true.sum(),
                predicted.sum(),
            ]


def test_all_directions_are_added_up():
    rng = np.random.default_rng(1)
    prediction, label = rng.integers(0, 3, (2, 6, 9)).astype(np.uint8)
    options = dict(num_classes=3, rules=ScoreRules(), edge="keep")
    whole = offsets.count_offsets(prediction, label, (2,), **options)
    parts = [
        offsets.count_offsets(prediction, label, (2,), direction=direction, **options)
        for direction in STEPS
    ]
    np.testing.assert_array_equal(whole[1], sum(part[1] for part in parts))


def test_a_radar_mask_shifted_up_by_1_to_20_of_136_rows():
    """The IoU of a mask of echoes above 40 dBZ and the same mask, its last rows kept, by hand."""
    rng = np.random.default_rng(2)
    rows, columns = np.indices((136, 200))
    label = np.zeros((136, 200), np.uint8)
    for _ in range(40):  # small cells, a few of them on the last rows
        y, x, size = rng.integers(0, 136), rng.integers(0, 200), rng.uniform(1, 6)
        label |= ((rows - y) ** 2 + (columns - x) ** 2 <= size**2).astype(np.uint8)
    distances = tuple(range(1, 21))
    sums = offsets.count_offsets(
        label, label, distances, num_classes=2, rules=ScoreRules(), direction="up", edge="keep"
    )
    found = offsets.offset_scores(sums[None])["IoU_pixels_of_all_images"]
    expected = [1.0]
    for offset in distances:
        moved = label.copy()
        moved[: 136 - offset] = label[offset:]
        expected.append((moved & label).sum() / (moved | label).sum())
    np.testing.assert_allclose(found, expected, rtol=1e-14)
    assert expected[1] > expected[3] > expected[6] and expected[20] < 0.3


@pytest.mark.parametrize(
    "options, message",
    [
        ({"offset_direction": "north"}, "offset_direction is 'north'; choose one of all, up, down"),
        ({"offset_edge": "reflect"}, "offset_edge is 'reflect'; choose one of ignore, keep, repl"),
        (
            {"offset_direction": "up", "offsets": ()},
            "offset_direction is set, but there are no off",
        ),
        ({"offset_edge": "wrap", "offsets": ()}, "offset_edge is set, but there are no offsets"),
    ],
)
def test_directions_and_edges_that_cannot_be(options, message):
    with pytest.raises(InputError, match=message):
        Scorer(2, **{"offsets": (1,)} | options)


def test_reports_say_direction_and_edge():
    ids = np.asarray([[0, 1, 1], [1, 0, 0]], np.uint8)
    scorer = Scorer(2, offsets=(1,), offset_direction="up", offset_edge="keep").update(ids, ids)
    report = scorer.report()
    assert "shifted up by 1 px" in report.table()
    assert report.rules()["offsets"].startswith(
        "predictions are shifted up; pixels that the shifted"
    )
    assert CountPlan.from_json(scorer.plan.to_json()) == scorer.plan
    earlier = Scorer(2, offsets=(1,)).plan
    content = earlier.to_json()
    del content["offset_direction"], content["offset_edge"]
    assert CountPlan.from_json(content) == earlier


def test_the_command_shifts_as_its_flags_say(tmp_path):
    ids = np.asarray([[0, 0, 1], [0, 1, 1], [1, 1, 0]], np.uint8)
    np.save(tmp_path / "a.npy", ids)
    parser = FlagParser("score")
    add_flags(parser)
    words = [str(tmp_path), str(tmp_path), "--num-classes=2", f"--out={tmp_path / 'report'}"]
    words += ["--offsets=1", "--offset-direction=up", "--offset-edge=keep", "--pictures=0"]
    assert run(parser.parse(words)) == 0
    content = json.loads((tmp_path / "report" / "report.json").read_text())
    # 011 110 110, the last row kept, against 001 011 110: 4 pixels of both, 7 of either.
    moved = np.asarray([[0, 1, 1], [1, 1, 0], [1, 1, 0]])
    expected = (moved & ids).sum() / (moved | ids).sum()
    assert "shifted up by 1 px" in (tmp_path / "report" / "report.md").read_text()
    assert _numbers(content)["IoU_pixels_of_all_images_shifted_1px"] == pytest.approx(expected)


def _numbers(content):
    """All numbers of a nested report by their last name."""
    found = {}
    for name, value in content.items():
        found |= _numbers(value) if isinstance(value, dict) else {name: value}
    return found
