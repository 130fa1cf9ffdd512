"""Pairing by name."""

import pytest

from segalias_jax.errors import InputError
from segalias_jax.scoring.matching import match_folders


def _fill(folder, *names):
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return folder


def _names(matches):
    return [(p.name, p.prediction.name, p.label.name) for p in matches.pairs]


@pytest.mark.parametrize("end", ["", "_leftImg8bit", "_gtFine_labelIds", "_gtFine_labelTrainIds"])
def test_names_of_cityscapes(tmp_path, end):
    stem = "bonn_000001_000019"
    predictions = _fill(tmp_path / "p", f"{stem}{end}.png")
    labels = _fill(tmp_path / "l", f"val/bonn/{stem}_gtFine_labelIds.png",
                   f"val/bonn/{stem}_gtFine_color.png", f"val/bonn/{stem}_gtFine_polygons.json",
                   f"val/bonn/{stem}_gtFine_instanceIds.png")  # fmt: skip
    images = _fill(tmp_path / "i", f"bonn/{stem}_leftImg8bit.png")
    (pair,) = match_folders(predictions, labels, images).pairs
    assert pair.name == stem and pair.label.name == f"{stem}_gtFine_labelIds.png"
    assert pair.image.name == f"{stem}_leftImg8bit.png"
    _fill(labels, f"val/bonn/{stem}_gtFine_labelTrainIds.png")
    (pair,) = match_folders(predictions, labels).pairs
    assert pair.label.name == f"{stem}_gtFine_labelTrainIds.png"


def test_suffix_and_case_do_not_matter_and_hidden_files_do_not_count(tmp_path):
    predictions = _fill(tmp_path / "p", "b.npy", "a.PNG", "._a.png", "readme.txt")
    labels = _fill(tmp_path / "l", "a.png", "b.png")
    assert [name for name, *_ in _names(match_folders(predictions, labels))] == ["a", "b"]


def test_paths_tell_equal_names_apart(tmp_path):
    names = ("one/0001.png", "two/0001.png")
    matches = match_folders(_fill(tmp_path / "p", *names), _fill(tmp_path / "l", *names))
    assert [pair.name for pair in matches.pairs] == ["one/0001", "two/0001"]
    assert all(p.prediction.parent.name == p.label.parent.name for p in matches.pairs)


def test_what_is_left_over_is_told(tmp_path):
    predictions = _fill(tmp_path / "p", "a.png", "b.png")
    labels = _fill(tmp_path / "l", "a.png", "c.png")
    lonely = dict(match_folders(predictions, labels).lonely)
    assert lonely == {
        str(predictions / "b.png"): f"no label of this name in {labels}",
        str(labels / "c.png"): f"no prediction of this name in {predictions}",
    }


@pytest.mark.parametrize(
    "predicted, true, message",
    [
        ((), ("a.png",), "p: no .png or .*.bmp file is in there; it is empty"),
        (("a.jpg",), ("a.png",), "it holds .jpg files"),
        (("a.png",), ("b.png",), "no prediction has the name of a label"),
        (("a.png", "a.npy"), ("a.png",), "a.png: a.npy has the same name"),
    ],
)
def test_folders_without_pairs_are_told(tmp_path, predicted, true, message):
    (tmp_path / "p").mkdir()
    with pytest.raises(InputError, match=message):
        match_folders(_fill(tmp_path / "p", *predicted), _fill(tmp_path / "l", *true))
