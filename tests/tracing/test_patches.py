"""Which axes a reshape cuts."""

import pytest

from segalias_jax.tracing.patches import split_axes


@pytest.mark.parametrize(
    "before, after, expected",
    [
        ((2, 8, 12, 3), (2, 4, 2, 3, 4, 3), (1, 2)),
        ((3, 8, 8), (3, 4, 2, 4, 2), (1, 2)),
        ((8, 8), (2, 4, 2, 4), (0, 1)),
        ((2, 8, 8, 4), (2, 8, 8, 2, 2), None),
        ((2, 8, 8, 4), (2, 8, 8, 2, 2, 1), None),
        ((2, 64, 3), (2, 8, 8, 3), None),
        ((2, 6, 6, 3), (2, 9, 2, 2, 2, 3), None),
    ],
)
def test_split_axes(before, after, expected):
    assert split_axes(before, after) == expected
