"""Counts in a file: in order, in little memory, and there after a kill."""

import json

import numpy as np
import pytest
from counted_maps import PLANS, maps

from segalias_jax.errors import InputError
from segalias_jax.scoring import counts_file
from segalias_jax.scoring.counts_file import CountsFile, Journal, file_stamp
from segalias_jax.scoring.image_counts import count_image

PLAN = PLANS["default"]


def counted(name, seed=0):
    return count_image(*maps(seed), PLAN, name=name)


@pytest.mark.parametrize("limit", [1 << 24, 100])
def test_images_come_back_in_their_order(monkeypatch, limit):
    """From memory, and from a file without a name."""
    monkeypatch.setattr(counts_file, "_IN_MEMORY", limit)
    kept = CountsFile(PLAN)
    images = [counted(str(i), i) for i in range(5)]
    for one in images:
        kept.add(one)
    lines = [one.to_json().encode() for one in images]
    assert list(kept.lines()) == lines and len(kept) == 5
    assert [one.name for one in kept] == list("01234")
    assert kept[-1].name == "4" and [one.name for one in kept[1:3]] == ["1", "2"]
    kept.sort([4, 0, 3, 1, 2])
    assert [one.name for one in kept] == list("40312")
    kept.add_line(lines[0])  # reading moved the file's place
    assert kept[5].to_json().encode() == lines[0] and kept[0].name == "4"


def write_journal(path, count=3):
    journal = Journal(path, PLAN, {"reading": "as it is"})
    for i in range(count):
        journal.add_stamped(counted(str(i), i), str(i), [i, 7])
    return path.read_bytes()


def test_a_journal_gives_back_what_has_not_changed(tmp_path):
    path = tmp_path / "o" / "j.jsonl"
    before = write_journal(path)
    journal = Journal(path, PLAN, {"reading": "as it is"}, resume=True)
    assert path.read_bytes() == before and len(journal) == 0
    assert journal.knows("2", [2, 7]) and not journal.knows("2", [3, 7])
    assert journal.take("2", [2, 7]) and journal.take("0", [0, 7])
    assert not journal.take("1", [1, 8]) and not journal.take("9", [])
    journal.add_stamped(counted("1", 5), "1", [1, 8])
    assert [one.name for one in journal] == ["2", "0", "1"]
    np.testing.assert_array_equal(journal[2].pair.regions, counted("1", 5).pair.regions)
    again = Journal(path, PLAN, {"reading": "as it is"}, resume=True)
    assert again.take("1", [1, 8])  # the later of two lines


@pytest.mark.parametrize("cut", [1, 40, 300])
def test_a_line_that_was_cut_off_is_counted_again(tmp_path, cut):
    path = tmp_path / "j.jsonl"
    whole = write_journal(path)
    path.write_bytes(whole[:-cut])
    journal = Journal(path, PLAN, {"reading": "as it is"}, resume=True)
    assert [journal.knows(str(i), [i, 7]) for i in range(3)] == [True, True, False]
    journal.add_stamped(counted("2", 2), "2", [2, 7])
    assert path.read_bytes() == whole


def test_a_journal_without_a_whole_line_begins_anew(tmp_path):
    path = tmp_path / "j.jsonl"
    whole = write_journal(path, 1)
    path.write_bytes(whole[:20])
    journal = Journal(path, PLAN, {"reading": "as it is"}, resume=True)
    journal.add_stamped(counted("0"), "0", [0, 7])
    assert path.read_bytes() == whole


def test_zeros_after_a_power_cut_are_cut_off(tmp_path):
    path = tmp_path / "j.jsonl"
    whole = write_journal(path)
    path.write_bytes(whole + b"\0" * 50 + b"\n")
    journal = Journal(path, PLAN, {"reading": "as it is"}, resume=True)
    assert journal.knows("2", [2, 7]) and path.read_bytes() == whole


def test_what_a_journal_does_not_fit_is_refused(tmp_path):
    path = tmp_path / "j.jsonl"
    before = write_journal(path)
    with pytest.raises(InputError, match="unfinished run is in there; add --resume"):
        Journal(path, PLAN, {"reading": "as it is"})
    with pytest.raises(InputError, match="has reading as it is, not by colors; resume"):
        Journal(path, PLAN, {"reading": "by colors"}, resume=True)
    with pytest.raises(InputError, match="has boundary_iou 0.02, not 0"):
        Journal(path, PLANS["none"], {"reading": "as it is"}, resume=True)
    assert path.read_bytes() == before
    path.write_bytes(json.dumps({"mine": 1}).encode() + b"\n")
    with pytest.raises(InputError, match="not a journal of scores"):
        Journal(path, PLAN, {}, resume=True)


def test_a_journal_in_which_nothing_was_counted_leaves_nothing(tmp_path):
    Journal(tmp_path / "o" / "j.jsonl", PLAN, {}).drop_empty()
    assert not (tmp_path / "o").exists()
    path = tmp_path / "o" / "k.jsonl"
    write_journal(path)
    Journal(path, PLAN, {"reading": "as it is"}, resume=True).drop_empty()
    assert path.exists()


def test_stamps_change_with_files(tmp_path):
    path = tmp_path / "a"
    path.write_bytes(b"1")
    before = file_stamp(path)
    path.write_bytes(b"12")
    assert file_stamp(path) != before and file_stamp(tmp_path / "b") == [0, 0]
