"""Rows of the table of scores."""

import numpy as np
import pytest

from segalias_jax.errors import InputError
from segalias_jax.metrics import Band, ClassCounts, Score


def _row(**fields):
    return Score("x", lambda counts: counts.all.right / counts.all.true, **fields)


def _counts(shape=()):
    bands = Band(np.full((*shape, 4), 1), np.full((*shape, 4), 4), np.full((*shape, 4), 2))
    return ClassCounts(bands, bands, bands, bands, bands)


@pytest.mark.parametrize(
    "field, value, message",
    [
        ("unit", "percent", "unit is 'percent'; choose one of %, pixels, images"),
        ("direction", "up", "direction is 'up'"),
        ("average", "class", "average is 'class'; did you mean 'classes'"),
        ("source", "pixel", "source is 'pixel'"),
        ("shown", ("tabel",), "shown is 'tabel'; did you mean 'table'"),
    ],
)
def test_unknown_words_are_refused(field, value, message):
    with pytest.raises(InputError, match=message):
        _row(**{field: value})


def test_averages_and_complements():
    counts = _counts()
    mean, error = _row(average="classes"), _row(average="classes", complement=True)
    assert mean.of_set(counts) == 0.25 and error.of_set(counts) == 0.75
    assert error.of_classes(counts).tolist() == [0.75] * 4
    assert _row(average="sum").of_set(counts) == 1
    many = _counts((3,))
    assert error.of_each(many).tolist() == [0.75] * 3
    assert _row(average="sum").of_each(many).tolist() == [1] * 3
