"""What is kept of an image: exact in JSON, and the aggregated Jaccard index."""

import json

import numpy as np
import pytest
from instance_cases import perturbed, random_rectangles, rows

from segalias_jax.errors import InputError
from segalias_jax.scoring.instances.overlaps import Overlaps
from segalias_jax.scoring.instances.records import (
    InstanceRecord,
    RecordSettings,
    aggregated_jaccard,
    record_image,
)


def test_json_is_exact():
    rng = np.random.default_rng(0)
    true = random_rectangles(rng, 6, scored=False)
    settings = RecordSettings(3, threshold=0.2)
    one = record_image(perturbed(rng, true, 3), true, settings, name='a "b"\n')
    again = InstanceRecord.from_json(json.loads(one.to_json()))
    assert again.to_json() == one.to_json()
    assert (again.name, again.size) == ('a "b"\n', (40, 50))
    assert np.isnan(again.true.offsets).sum() == np.isnan(one.true.offsets).sum() > 0


def test_uncertain_predictions_count_in_precision_alone():
    true, predicted = rows("aa.b"), rows("aa.b", scores=[0.9, 0.4])
    one = record_image(predicted, true, RecordSettings(1))
    assert (len(one.predicted), len(one.results), len(one.tide.scores)) == (1, 2, 2)
    assert one.results[1]["score"] == 0.4
    assert record_image(predicted, true, RecordSettings(1, kinds=())).results == ()


def naive_jaccard(predicted, true) -> tuple[int, int]:
    masks = [
        [mask.window(0, 0, *objects.shape) for mask in objects.masks]
        for objects in (predicted, true)
    ]
    inner = union = 0
    used = set()
    for t, mask in enumerate(masks[1]):
        best = (0.0, -1)
        for p, other in enumerate(masks[0]):
            if predicted.classes[p] == true.classes[t]:
                iou = (mask & other).sum() / (mask | other).sum()
                best = max(best, (iou, -p))
        if best[0] > 0:
            p = -best[1]
            used.add(p)
            inner += (mask & masks[0][p]).sum()
            union += (mask | masks[0][p]).sum()
        else:
            union += mask.sum()
    return inner, union + sum(m.sum() for p, m in enumerate(masks[0]) if p not in used)


def test_aggregated_jaccard_index_of_whole_masks():
    rng = np.random.default_rng(1)
    for _ in range(10):
        true = random_rectangles(rng, int(rng.integers(0, 7)), scored=False)
        predicted = perturbed(rng, true, 2)
        found = aggregated_jaccard(Overlaps.of(predicted, true))
        assert found == naive_jaccard(predicted, true)


@pytest.mark.parametrize(
    "settings, words",
    [
        ({"num_classes": 0}, "num_classes: 0"),
        ({"threshold": float("nan")}, "threshold: nan is no score"),
        ({"max_detections": 10}, "max_detections: 10 must be more than 10"),
        ({"kinds": ("mask",)}, "'mask' is none of bbox, segm, boundary"),
    ],
)
def test_settings_out_of_range(settings, words):
    with pytest.raises(InputError, match=words):
        RecordSettings(**({"num_classes": 2} | settings))


def test_classes_and_sizes_that_do_not_fit():
    settings = RecordSettings(1)
    with pytest.raises(InputError, match=r"predicted class 2 is none of 1\.\.1"):
        record_image(rows("a", classes=[2]), rows("a"), settings)
    with pytest.raises(InputError, match="masks of 2x1 pixels are predicted, and those of 1x1"):
        record_image(rows("aa"), rows("a"), settings)
