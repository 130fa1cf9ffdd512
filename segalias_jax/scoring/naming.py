"""How files of one image are named on two sides: patterns, and affixes that are found out."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from segalias_jax.errors import InputError

_PLACE = "{name}"
# What people put before or after the name of an image to say what the file is of it.
_KNOWN = re.compile(
    r"(pred|prob|out|res|seg|mask|gt|ground|truth|lab|anno|target|true|img|image|leftimg|manual|"
    r"train|test|val|map|id|class|final|jpe?g|png|tiff?|frame|color|fine)[a-z]*\d*|\d"
)


class Affixes(NamedTuple):
    """What stands before and after the name that a file shares with its partner.

    Example:
      >>> Affixes("", "_pred").stripped("a_pred")
      'a'
    """

    prefix: str = ""
    suffix: str = ""

    def stripped(self, stem: str) -> str:
        """The name without them."""
        return stem.removeprefix(self.prefix).removesuffix(self.suffix)

    @property
    def pattern(self) -> str:
        """The same as a pattern."""
        return f"{self.prefix}{_PLACE}{self.suffix}"

    @property
    def known(self) -> bool:
        """Whether they are words for what a file is, rather than part of a name."""
        words = re.split(r"[\W_]+", f"{self.prefix} {self.suffix}".lower())
        return all(_KNOWN.fullmatch(word) for word in words if word)


def pattern_reader(
    pattern: str, suffixes: Sequence[str], flag: str
) -> Callable[[Path, Path], str | None]:
    """Makes the function that takes the shared name out of a path.

    Args:
      pattern: how files are named: `{name}` is what both sides share and `*` anything but a slash.
        With a slash it is compared with the path below the folder, otherwise with the name; without
        a suffix of a map, any such suffix does.
      suffixes: of files that are looked at.
      flag: that the pattern comes from, named in errors.

    Returns:
      A function of a path and the folder above it: the name, or None for a file that is not named
      so.

    Raises:
      InputError: the pattern does not hold `{name}` once.

    Example:
      >>> read = pattern_reader("{name}_pred.png", (".png",), "--pattern")
      >>> read(Path("p/a_pred.png"), Path("p")), read(Path("p/a.png"), Path("p"))
      ('a', None)
    """
    if pattern.count(_PLACE) != 1:
        raise InputError(
            f"{flag}: {pattern!r} must hold {_PLACE} once, as '{_PLACE}_pred.png' does"
        )
    bare = os.path.splitext(pattern)[1].lower() not in suffixes
    parts = re.split(r"(\{name\}|\*)", pattern)
    regex = re.compile(
        "".join({_PLACE: "(.+)", "*": "[^/]*"}.get(p, re.escape(p)) for p in parts), re.DOTALL
    )

    def read(path: Path, root: Path) -> str | None:
        whole = path.relative_to(root).as_posix() if "/" in pattern else path.name
        found = regex.fullmatch(whole.removesuffix(path.suffix) if bare else whole)
        return found[1] if found else None

    return read


def find_affixes(predicted: Sequence[str], true: Sequence[str]) -> tuple[Affixes, Affixes] | None:
    """Finds out by which affixes, common to all names of a side, two sides differ.

    On one side anything may be stripped; on both sides only known words for what a file is (pred,
    mask, gt, ...), and of a single name those only.

    Args:
      predicted: names of one side, without suffix.
      true: names of the other side.

    Returns:
      The affixes of both sides that pair most names, the shortest ones; None where there are none,
      or different ones pair as many names differently.

    Example:
      >>> find_affixes(["a_pred", "b_pred"], ["a", "b"])
      (Affixes(prefix='', suffix='_pred'), Affixes(prefix='', suffix=''))
    """
    most, best, pairing = 0, None, {}
    ways = [(a, b) for a in _affixes(predicted) for b in _affixes(true)]
    ways.sort(key=lambda way: sum(len(part) for affixes in way for part in affixes))
    for first, second in ways:
        both_sides = any(first) and any(second)
        single = min(len(predicted), len(true)) == 1
        if (both_sides or single) and not (first.known and second.known):
            continue
        names = {second.stripped(stem): stem for stem in true}
        pairs = {stem: names.get(first.stripped(stem)) for stem in predicted}
        pairs = {one: other for one, other in pairs.items() if other is not None}
        if len(pairs) > most:
            most, best, pairing = len(pairs), (first, second), pairs
        elif len(pairs) == most and pairs != pairing:
            best = None
    return best


def _affixes(stems: Sequence[str]) -> list[Affixes]:
    """All that may be stripped from every one of the names, nothing first."""
    shortest = min(map(len, stems))
    heads = ["", *_heads(stems)]
    tails = ["", *(head[::-1] for head in _heads([stem[::-1] for stem in stems]))]
    return [Affixes(a, b) for a in heads for b in tails if len(a) + len(b) < shortest]


def _heads(stems: Sequence[str]) -> Iterator[str]:
    """Common beginnings that end at a separator, and one of letters."""
    first, last = min(stems), max(stems)  # what these two share, all between them do
    common = first[: next((i for i, c in enumerate(first) if c != last[i : i + 1]), len(first))]
    for found in re.finditer(r"[_\-. ]+", common):
        if found.end():
            yield common[: found.end()]
    # Up to a separator they were met above.
    if letters := re.match(r"[^\W\d_]+(?![^\W\d_]|[_\-. ])", common):
        yield letters[0]
