"""Pairs of files in a fifth of the memory that paths take: a set may have a hundred thousand."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from pathlib import Path
from typing import NamedTuple, overload

from segalias_jax.scoring.sources import packed

_BETWEEN = "\0"  # no name of a file has it


class Pair(NamedTuple):
    """A prediction, its label, the image of both where there is one, and their name."""

    name: str
    prediction: Path
    label: Path
    image: Path | None = None


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
        paths = [path and packed(path) for path in pair[1:]]
        if all(path is None or isinstance(path, str) for path in paths):
            self._kept.append(_BETWEEN.join((pair.name, *(str(path or "") for path in paths))))
        else:
            self._kept.append(pair)  # files of archives know where they lie

    def extend(self, pairs: PairList) -> None:
        """Adds the pairs of another list, and makes none of them."""
        self._kept.extend(pairs._kept)

    def sort(self) -> None:
        """Puts the pairs into the order of their names."""
        self._kept.sort(
            key=lambda kept: kept.partition(_BETWEEN)[0] if isinstance(kept, str) else kept.name
        )

    def without(self, left_out: Collection[int]) -> PairList:
        """Returns the pairs but for some.

        Args:
          left_out: indices of those that are left out.
        """
        found = PairList()
        found._kept = [kept for i, kept in enumerate(self._kept) if i not in left_out]
        return found

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
