"""Batches with a position, and the thread that prepares them."""

import itertools
import threading

import grain
import pytest

from segalias_jax.errors import InputError
from segalias_jax.training.streams import Ahead, IteratedStream, as_stream


def take(stream, step, count):
    return [batch["x"] for batch in itertools.islice(stream.start(step), count)]


def test_lists_are_repeated_and_begun_at_any_step():
    stream = as_stream([{"x": n} for n in range(3)])
    assert take(stream, 0, 7) == [0, 1, 2, 0, 1, 2, 0]
    assert take(stream, 4, 3) == [1, 2, 0]


def test_what_says_its_position_is_asked_for_it():
    class Counting:
        def start(self, step):
            return ({"x": n} for n in itertools.count(step))

    stream = Counting()
    assert as_stream(stream) is stream and take(as_stream(stream), 5, 2) == [5, 6]


def test_grain_goes_on_from_a_position_without_reading_up_to_it():
    def make():
        return IteratedStream(
            grain.MapDataset.source(list(range(5)))
            .shuffle(seed=1)
            .map(lambda n: {"x": n})
            .repeat()
            .to_iter_dataset()
        )

    stream = make()
    batches = stream.start(0)
    seen = [next(batches)["x"] for _ in range(4)]
    position = stream.position()
    following = [next(batches)["x"] for _ in range(3)]
    other = make()
    other.begin_at(position)
    assert take(other, 4, 3) == following
    assert take(make(), 0, 4) == seen and take(make(), 4, 3) == following


@pytest.mark.parametrize("batches", [iter([{"x": 1}]), []], ids=["iterator", "empty list"])
def test_an_end_is_one_sentence(batches):
    stream = as_stream(batches).start(0)
    with pytest.raises(InputError, match="batches: they ended before the last step"):
        list(stream)


def test_prepared_items_come_in_order_and_errors_at_their_turn():
    def items():
        yield from range(3)
        raise ValueError("the disk went away")

    with Ahead(items(), lambda n: 10 * n) as ahead:
        assert [next(ahead) for _ in range(3)] == [0, 10, 20]
        for _ in range(2):  # whoever asks again gets the same answer
            with pytest.raises(ValueError, match="the disk went away"):
                next(ahead)


def test_few_are_prepared_ahead_and_the_source_is_closed():
    prepared, closed = [], threading.Event()

    def items():
        try:
            yield from itertools.count()
        finally:
            closed.set()

    with Ahead(items(), prepared.append) as ahead:
        next(ahead)
    assert closed.is_set() and len(prepared) <= 4
