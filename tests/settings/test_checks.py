"""Checks of values: what is taken, in which form, and the sentence about what is not."""

import math

import pytest

from segalias_jax import settings
from segalias_jax.errors import InputError

SIZE = settings.size()
OPTIONAL = settings.size("(long, short)", optional=True)
RANGE = settings.interval(above=0)
COUNT = settings.integer(least=1)
FRACTION = settings.number(above=0, most=1)
NAMES = settings.names("at most 2 different names", most=2)


@pytest.mark.parametrize(
    "check, given, expected",
    [
        (COUNT, 1e4, 10000),
        (settings.integer(), -3, -3),
        (FRACTION, 1, 1.0),
        (SIZE, [4.0, 8], (4, 8)),
        (OPTIONAL, (), ()),
        (RANGE, (1, 2), (1.0, 2.0)),
        (settings.numbers(COUNT, "factors"), [1, 2e0], (1, 2)),
        (NAMES, ["a", "b"], ("a", "b")),
        (settings.pairs(), [["dice", 1]], (("dice", 1.0),)),
        (settings.pairs(), (), ()),
    ],
)
def test_values_get_one_form(check, given, expected):
    read = check("key", given)
    assert read == expected and type(read) is type(expected)
    if isinstance(expected, tuple):
        assert [type(item) for item in read] == [type(item) for item in expected]


@pytest.mark.parametrize(
    "check, given, message",
    [
        (COUNT, 0, "key is 0; it must be at least 1"),
        (COUNT, 1.5, "key is 1.5; it must be an integer"),
        (COUNT, True, "key is True; it must be an integer"),
        (COUNT, "3", "key is '3'; it must be an integer"),
        (FRACTION, 0, "key is 0; it must be above 0 and at most 1"),
        (FRACTION, math.nan, "key is nan; it must be above 0 and at most 1"),
        (FRACTION, math.inf, "key is inf; it must be above 0 and at most 1"),
        (FRACTION, "x", "key is 'x'; it must be a number"),
        (settings.switch(), 1, "key: 1 is not True or False"),
        (settings.text(), 1, "key: 1 is not a text"),
        (SIZE, 64, "key: 64 is not two positive integers, (height, width)"),
        (SIZE, (4, 5, 6), "key: (4, 5, 6) is not two positive integers, (height, width)"),
        (OPTIONAL, (0, 1), "key: (0, 1) is not two positive integers, (long, short), or ()"),
        (RANGE, (2, 1), "key: (2, 1) is not (smallest, largest) with 0 < smallest <= largest"),
        (settings.one_of(("a", "b")), "c", "key is 'c'; choose one of a, b"),
        (settings.numbers(COUNT, "factors"), (0,), "key: (0,) is not factors"),
        (settings.numbers(COUNT, "factors", some=True), (), "key: () is not factors"),
        (NAMES, ("a,b",), "key: ('a,b',) is not at most 2 different names"),
        (NAMES, ("a", "b", "c"), "key: ('a', 'b', 'c') is not at most 2 different names"),
        (NAMES, "ab", "key: 'ab' is not at most 2 different names"),
        (settings.pairs(), "dice", "key: 'dice' is no list of pairs such as ('name', 1.0)"),
        (settings.pairs(), ("dice", 1.0), "key: 'dice' is no pair such as ('name', 1.0)"),
        (settings.pairs(), (("a",),), "key: ('a',) is no pair such as ('name', 1.0)"),
        (settings.pairs(), (("a", "2"),), "key: ('a', '2') is no pair such as ('name', 1.0)"),
        (settings.pairs(), ("ab",), "key: 'ab' is no pair such as ('name', 1.0)"),
    ],
)
def test_other_values_are_named_in_one_sentence(check, given, message):
    with pytest.raises(InputError) as caught:
        check("key", given)
    assert str(caught.value) == message
