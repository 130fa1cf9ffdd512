"""Batches with a position: what makes a resumed run see what the unbroken one saw.

The batch of a step must be a function of the number of the step alone. A `Stream` says so itself.
Of a Grain iterator the state is kept beside each checkpoint. Anything else that can be iterated
over is begun anew and read up to the step, which is exact where it gives the same batches again.
"""

from __future__ import annotations

import contextlib
import queue
import threading
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Protocol, runtime_checkable

from segalias_jax.errors import InputError
from segalias_jax.progress import progress_bar
from segalias_jax.training.task import Batch


@runtime_checkable
class Stream(Protocol):
    """Batches that can be begun at any step."""

    def start(self, step: int) -> Iterator[Batch]:
        """Returns the batches of steps `step` + 1, `step` + 2 and so on, without an end."""
        ...


class IteratedStream:
    """A stream made of anything that can be iterated over.

    What can be iterated over again, such as a list or a Grain data set, is repeated without an end.

    Args:
      batches: an iterable of batches.

    Example:
      >>> stream = IteratedStream([{"x": 1}, {"x": 2}])
      >>> batches = stream.start(1)
      >>> [next(batches)["x"] for _ in range(3)]
      [2, 1, 2]
    """

    def __init__(self, batches: Iterable[Batch]):
        self._batches = batches
        self._iterator: Any = None
        self._begin: Any = None  # state of a Grain iterator that was saved with a checkpoint

    def position(self) -> Any:
        """Returns the state of a Grain iterator after the batch that it gave last, else None."""
        get_state = getattr(self._iterator, "get_state", None)
        return get_state() if get_state else None

    def begin_at(self, position: Any) -> None:
        """Makes the next `start` go on from a position instead of reading up to its step."""
        self._begin = position

    def start(self, step: int) -> Iterator[Batch]:
        """Returns the batches from a step on."""
        self._iterator = iter(self._batches)
        if self._begin is not None and hasattr(self._iterator, "set_state"):
            self._iterator.set_state(self._begin)
            step = 0
        given = self._repeated()
        with progress_bar("reading up to the step", step, unit="batch") as bar:
            for _ in range(step):
                next(given)
                bar.update()
        return given

    def _repeated(self) -> Iterator[Batch]:
        again = self._iterator is not self._batches
        while True:
            count = 0
            for batch in self._iterator:
                yield batch
                count += 1
            if not again or not count:
                raise InputError(
                    "batches: they ended before the last step; pass an iterable that can be gone "
                    "through again, such as a list, or an iterator without an end"
                )
            self._iterator = iter(self._batches)


def as_stream(batches: Iterable[Batch] | Stream) -> Stream:
    """Returns a stream of whatever was given as batches.

    Args:
      batches: a `Stream`, or anything that can be iterated over.

    Raises:
      InputError: it is neither.

    Example:
      >>> next(as_stream([{"x": 1}]).start(0))
      {'x': 1}
    """
    if isinstance(batches, Stream):
        return batches
    if not isinstance(batches, Iterable):
        raise InputError(
            f"batches is {type(batches).__name__}, which cannot be iterated over; pass an iterable "
            "of dictionaries of arrays"
        )
    return IteratedStream(batches)


class Ahead:
    """Prepares items in a thread of its own, one ahead of who asks.

    Args:
      items: read by the thread alone.
      prepare: applied to each there, such as putting a batch on the devices.

    Example:
      >>> with Ahead(iter([1, 2]), lambda x: 10 * x) as ahead:
      ...     list(ahead)
      [10, 20]
    """

    def __init__(self, items: Iterator[Any], prepare: Callable[[Any], Any]):
        self._items, self._prepare = items, prepare
        self._ready: queue.Queue[tuple[Any, BaseException | None]] = queue.Queue(1)
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._work, daemon=True, name="batches")
        self._thread.start()

    def __enter__(self) -> Ahead:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> Any:
        item, error = self._ready.get()
        if error is not None:
            self._ready.put((None, error))  # whoever asks again gets the same answer
            raise error
        return item

    def close(self) -> None:
        """Ends the thread, and what it reads from."""
        self._over.set()
        with contextlib.suppress(queue.Empty):
            while True:
                self._ready.get_nowait()
        # What waits for a disk that hangs is left behind; the thread does not keep a process.
        self._thread.join(timeout=10.0)
        if not self._thread.is_alive() and hasattr(self._items, "close"):
            self._items.close()  # pyright: ignore[reportAttributeAccessIssue]

    def _work(self) -> None:
        try:
            for item in self._items:
                if not self._put(self._prepare(item), None):
                    return
            self._put(None, StopIteration())
        except BaseException as error:  # raised where the item is asked for
            self._put(None, error)

    def _put(self, item: Any, error: BaseException | None) -> bool:
        while not self._over.is_set():
            with contextlib.suppress(queue.Full):
                self._ready.put((item, error), timeout=0.1)
                return True
        return False
