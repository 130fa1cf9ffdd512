"""Pairs of files in a fifth of the memory that paths take: a set may have a hundred thousand."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import overload

from segalias_jax.scoring.matching import Pair

_BETWEEN = "\0"  # no name of a file has it
_PLAIN = type(Path())


class PairList(Sequence[Pair]):
    """A list of pairs, whose paths are made when they are asked for.

    Args:
      pairs: the first ones.

    Example:
      >>> pairs = PairList([Pair("a", Path("p/a.png"), Path("l/a.png"))])
      >>> pairs[0].label.name, pairs[0].image
      ('a.png', None)
    """

    def __init__(self, pairs: Iterable[Pair] = ()):
        self._kept: list[str | Pair] = []
        for pair in pairs:
            self.append(pair)

    def append(self, pair: Pair) -> None:
        """Adds a pair."""
        paths = (pair.prediction, pair.label, pair.image)
        if all(path is None or type(path) is _PLAIN for path in paths):
            words = (pair.name, *("" if path is None else str(path) for path in paths))
            self._kept.append(_BETWEEN.join(words))
        else:
            self._kept.append(pair)  # files of archives know where they lie

    def __len__(self) -> int:
        return len(self._kept)

    @overload
    def __getitem__(self, index: int) -> Pair: ...
    @overload
    def __getitem__(self, index: slice) -> list[Pair]: ...
    def __getitem__(self, index: int | slice) -> Pair | list[Pair]:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        kept = self._kept[index]
        if not isinstance(kept, str):
            return kept
        name, prediction, label, image = kept.split(_BETWEEN)
        return Pair(name, Path(prediction), Path(label), Path(image) if image else None)
