"""Pairing by name."""

import os
import tarfile
import zipfile

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


OFFICIAL = "frankfurt_000000_000294_gtFine_labelIds.png"


@pytest.mark.parametrize(
    "name",
    [
        "frankfurt_000000_000294_pred.png",
        "frankfurt_000000_000294_leftImg8bit_pred.png",
        "frankfurt_000000_000294_leftImg8bitresult.tif",
        "sub/frankfurt_000000_000294_gtFine_labelIds_pred.PNG",
    ],
)
def test_predictions_with_official_names_of_cityscapes(tmp_path, name):
    """The official program takes every file that begins with the name of the frame."""
    predictions = _fill(tmp_path / "p", name, name.replace("000294", "000576"))
    labels = _fill(tmp_path / "l", *(f"val/frankfurt/{OFFICIAL}".replace("000294", n)
                                     for n in ("000294", "000576")))  # fmt: skip
    matches = match_folders(predictions, labels)
    assert [pair.name for pair in matches.pairs] == [
        "frankfurt_000000_000294",
        "frankfurt_000000_000576",
    ]
    assert not matches.lonely and not matches.notices


def test_affixes_are_found_out_and_said(tmp_path):
    predictions = _fill(tmp_path / "p", "bonn/a_pred.png", "ulm/b_pred.png")
    labels = _fill(tmp_path / "l", "a_mask.tif", "b_mask.tif")
    images = _fill(tmp_path / "i", "img_a.jpg", "img_b.jpg")
    matches = match_folders(predictions, labels, images)
    assert [pair.name for pair in matches.pairs] == ["a", "b"]
    assert [pair.image.name for pair in matches.pairs] == ["img_a.jpg", "img_b.jpg"]
    assert matches.notices == (
        "names are matched as by --pattern '{name}_pred'",
        "names are matched as by --label-pattern '{name}_mask'",
    )


def test_patterns_choose_files_and_name_them(tmp_path):
    predictions = _fill(tmp_path / "p", "a_pred.png", "a_color.png", "b_pred.png", "b_color.png")
    labels = _fill(tmp_path / "l", "a.png", "a.tif", "b.png", "b.tif")
    matches = match_folders(
        predictions, labels, pattern="{name}_pred.png", label_pattern="{name}.tif"
    )
    assert _names(matches) == [("a", "a_pred.png", "a.tif"), ("b", "b_pred.png", "b.tif")]
    assert matches.notices[0] == f"2 files in {predictions} are not named '{{name}}_pred.png'" + (
        " and left aside"
    )
    with pytest.raises(InputError, match="p: no file is named '{name}_x'; it holds a_color.png, "):
        match_folders(predictions, labels, pattern="{name}_x")
    with pytest.raises(InputError, match=r"a.png has the same name; .* --pattern '\{name\}.tif'"):
        match_folders(predictions, labels, pattern="{name}_pred.png")


def test_names_on_both_sides_and_a_pattern_are_shown_where_nothing_fits(tmp_path):
    predictions = _fill(tmp_path / "p", "a.png", "b.png", "c.png")
    labels = _fill(tmp_path / "l", "x.tif", "y.tif")
    message = (
        r"it holds a.png, b.png, ..., and .*l x.tif, y.tif; say how they are named, such as "
        r"--pattern '\{name\}_pred.png' and --label-pattern '\{name\}.tif'"
    )
    with pytest.raises(InputError, match=message):
        match_folders(predictions, labels)


def test_one_side_may_have_a_folder_more_above(tmp_path):
    names = ("one/0001.png", "two/0001.png")
    predictions = _fill(tmp_path / "p", *names)
    labels = _fill(tmp_path / "l", *(f"val/{name}" for name in names))
    images = _fill(tmp_path / "i", *(f"val/{name}" for name in names))
    matches = match_folders(predictions, labels, images)
    assert [pair.name for pair in matches.pairs] == ["one/0001", "two/0001"]
    for pair in matches.pairs:
        assert pair.prediction.parent.name == pair.label.parent.name == pair.image.parent.name


def test_names_that_are_no_text_are_matched_and_shown(tmp_path):
    name = os.fsdecode(b"a\xff.png")
    matches = match_folders(_fill(tmp_path / "p", name), _fill(tmp_path / "l", name))
    assert [pair.name for pair in matches.pairs] == ["a\\xff"]
    (tmp_path / "l" / name).rename(tmp_path / "l" / "b.png")
    _fill(tmp_path / "p", "b.png")
    matches = match_folders(tmp_path / "p", tmp_path / "l")
    assert matches.lonely[0][0] == f"{tmp_path / 'p'}/a\\xff.png"


def test_unusable_things_come_first(tmp_path):
    predictions = _fill(tmp_path / "p", "a.png", "b.png")
    os.mkfifo(predictions / "c.png")
    matches = match_folders(predictions, _fill(tmp_path / "l", "a.png"))
    assert [os.path.basename(path) for path, _ in matches.lonely] == ["c.png", "b.png"]


@pytest.mark.parametrize("kind", ["p.zip", "p.tar", "p.tar.gz"])
def test_archives_in_place_of_folders(tmp_path, kind):
    names = ("top/one/0001.png", "top/two/0001.png", "top/.hidden.png", "__MACOSX/._x.png")
    path = tmp_path / kind
    if kind.endswith("zip"):
        with zipfile.ZipFile(path, "w") as archive:
            for name in names:
                archive.writestr(name, b"")
    else:
        with tarfile.open(path, "w:gz" if kind.endswith("gz") else "w") as archive:
            for name in names:
                archive.addfile(tarfile.TarInfo(name))
    labels = _fill(tmp_path / "l", "one/0001.png", "two/0001.png")
    for matches in (match_folders(path, labels), match_folders(labels, path)):
        assert [pair.name for pair in matches.pairs] == ["one/0001", "two/0001"]
