"""Pairs come out as they went in."""

import zipfile
from pathlib import Path

from segalias_jax.data.archives import archived_files
from segalias_jax.scoring.matching import Pair
from segalias_jax.scoring.pair_list import PairList


def test_pairs_come_back(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as file:
        file.writestr("b.png", "text")
    (stored,) = archived_files(tmp_path / "a.zip")
    pairs = [
        Pair("a", Path("p/a.png"), Path("l/a.png"), Path("i/a.jpg")),
        Pair("\udcff b", Path("p/\udcff b.png"), Path("/l/x")),
        Pair("b", Path("p/b.png"), stored),
    ]
    kept = PairList(pairs[:1])
    for pair in pairs[1:]:
        kept.append(pair)
    assert list(kept) == pairs and len(kept) == 3 and kept[-1] == pairs[2]
    assert kept[1:] == pairs[1:] and kept[2].label.read_bytes() == b"text"
    twice = PairList(pairs[:2])
    twice.extend(kept)
    assert list(twice) == [*pairs[:2], *pairs]
    twice.sort()
    assert [pair.name for pair in twice] == ["a", "a", "b", "\udcff b", "\udcff b"]
    assert list(kept.without({1})) == [pairs[0], pairs[2]] and len(kept) == 3
