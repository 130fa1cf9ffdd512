import dataclasses
import json
import pickle
from pathlib import Path

import cv2
import numpy as np
import pytest
from trees import write

from segalias_jax.data import create_source, eval_batches, restore_zero_label
from segalias_jax.data.labels import (
    LabelRule,
    identity_lookup,
    mapped_lookup,
    threshold_lookup,
)
from segalias_jax.errors import InputError
from segalias_jax.evaluation import evaluate

WHERE = Path("mask.png")
COLORS = LabelRule(2, reading="colors", colors=((0, 0, 0, 0), (255, 0, 10, 1), (9, 9, 9, 255)))
RULES = [LabelRule(3, identity_lookup(3)), LabelRule(2, threshold_lookup(127), "gray"), COLORS]


def png(array):
    return cv2.imencode(".png", array)[1].tobytes()


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.reading)
def test_rules_can_be_stored_as_json_and_pickled(rule):
    assert LabelRule(**json.loads(json.dumps(dataclasses.asdict(rule)))) == rule
    assert pickle.loads(pickle.dumps(rule)) == rule


def test_values_of_classes_come_before_ignored_ones():
    lookup = mapped_lookup([(7, 0), (11, 1)], ignored=range(34))
    assert [lookup[v] for v in (0, 7, 11, 33, 34, 255)] == [255, 0, 1, 255, 254, 255]


def test_colors_become_classes_whatever_else_is_in_the_file():
    bgr = np.array([[[10, 0, 255], [0, 0, 0], [9, 9, 9]]], np.uint8)
    assert COLORS.read(png(bgr), WHERE).tolist() == [[1, 0, 255]]
    with_alpha = np.concatenate([bgr, np.full((1, 3, 1), 255, np.uint8)], -1)
    assert COLORS.read(png(with_alpha), WHERE).tolist() == [[1, 0, 255]]


@pytest.mark.parametrize("color", [(0, 0, 1), (255, 255, 255), (255, 0, 9)])
def test_unknown_colors_are_named(color):
    bgr = np.zeros((2, 2, 3), np.uint8)
    bgr[1, 0] = color[::-1]
    message = rf"^mask\.png: label color \({color[0]}, {color[1]}, {color[2]}\) is outside the 2"
    with pytest.raises(InputError, match=message):
        COLORS.read(png(bgr), WHERE)


def test_masks_of_two_shades_may_be_saved_in_any_way():
    mask = np.array([[0, 255], [3, 250]], np.uint8)
    rule, inverted = (
        LabelRule(2, threshold_lookup(127, inverted=turned), "gray") for turned in (False, True)
    )
    for array in (mask, np.stack([mask] * 3, -1)):
        assert rule.read(png(array), WHERE).tolist() == [[0, 1], [0, 1]]
        assert inverted.read(png(array), WHERE).tolist() == [[1, 0], [1, 0]]


def test_color_masks_without_their_colors_say_which_key_is_missing():
    with pytest.raises(InputError, match=r"this one has 3 of 8 bits; .* by data\.colors$"):
        RULES[0].read(png(np.zeros((2, 2, 3), np.uint8)), WHERE)


def test_zero_label_is_reduced_where_the_lookup_does_so():
    assert LabelRule(2, mapped_lookup([(1, 0), (2, 1)], ignored=[0])).reduces_zero
    others = [
        LabelRule(2, identity_lookup(2)),
        LabelRule(2, mapped_lookup([(1, 0), (2, 1)])),
        LabelRule(2, mapped_lookup([(1, 1), (2, 0)], ignored=[0])),
        COLORS,
    ]
    assert not any(rule.reduces_zero for rule in others)


def test_scores_of_ade20k_are_those_of_its_stored_labels(tmp_path):
    # A ramp whose boundaries cancel, next to ignored pixels.
    columns = [*np.zeros(20), *range(1, 44)]
    stored = np.repeat([columns], 32, axis=0).astype(np.uint8)
    write(tmp_path / "annotations/validation/a.png", stored)
    write(tmp_path / "images/validation/a.jpg", np.zeros((*stored.shape, 3), np.uint8))
    source = create_source({"source": "ade20k", "root": str(tmp_path)}, "validation")

    def counts(batches, reduced):
        def predict(image):
            return np.full(image.shape[:3], 8, np.int32)

        result = evaluate(predict, batches, num_classes=150, reduce_zero_label=reduced)
        return result.scores.totals()

    plain = list(eval_batches(source, batch_size=1))
    raw = [{**plain[0], "label": stored[None].astype(np.int32)}]
    ours = counts(restore_zero_label(plain), source.rule.reduces_zero)
    np.testing.assert_array_equal(ours, counts(raw, True))
