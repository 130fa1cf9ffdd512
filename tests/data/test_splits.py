"""Splits: lists, folders, CSV files, and a user's own label values."""

import numpy as np
import pytest
from trees import SIZE, seen, values, write, write_images

from segalias_jax.data import check_source, create_source
from segalias_jax.data.splits import check_splits, same_content, split_hash
from segalias_jax.errors import InputError

CLASSES = ("background", "thing")


def folders(root, **keys):
    return {"source": "folders", "root": str(root), "classes": CLASSES} | keys


@pytest.fixture
def tree(tmp_path):
    """Three images in nested folders, as JPEG and PNG, with labels of another suffix."""
    names = ("a", "city/b", "city/c.d")
    for name in names:
        write_images(tmp_path / f"images/train/{name}.{'PNG' if name == 'a' else 'jpg'}")
        write(tmp_path / f"labels/train/{name}.bmp", values(0, 1, 255))
    (tmp_path / "train.txt").write_text("city/c.d.jpg\n\n  a  \n")
    return tmp_path


def test_lists_keep_their_order_and_folders_are_sorted(tree):
    assert create_source(folders(tree), "train").names == ["city/c.d", "a"]
    everything = create_source(folders(tree, names=""), "train")
    assert everything.names == ["a", "city/b", "city/c.d"]
    check_source(everything)
    assert seen(everything[1]["label"]) == [0, 1, 255]


def test_other_files_in_the_folders_do_not_count(tree):
    for name in ("images/train/notes.txt", "images/train/.a.jpg", "labels/train/a.xml"):
        (tree / name).write_text("no image")
    assert len(create_source(folders(tree, names=""), "train")) == 3


def test_roots_may_be_relative(tree, monkeypatch):
    monkeypatch.chdir(tree)
    for root in (".", "./", "images/.."):
        assert len(create_source(folders(root, names=""), "train")) == 3


def test_two_files_of_one_name_are_refused(tree):
    write_images(tree / "images/train/a.jpg")
    with pytest.raises(InputError, match=r"a\.PNG and a\.jpg both go by the name 'a'; remove one"):
        create_source(folders(tree), "train")


def test_image_without_label_in_a_folder(tree):
    (tree / "labels/train/city/b.bmp").unlink()
    with pytest.raises(InputError, match=r"b\.jpg: image without label, .*city/b\.\* is missing$"):
        create_source(folders(tree, names=""), "train")


def test_missing_splits_name_those_there_are(tree):
    message = r"^split 'val': .*val\.txt is missing; choose from train$"
    with pytest.raises(InputError, match=message):
        create_source(folders(tree), "val")
    with pytest.raises(InputError, match=r"^split 'val': .*images/val is missing; .* train$"):
        create_source(folders(tree, names=""), "val")


def test_without_any_list_it_says_what_to_write(tree):
    for path in tree.glob("*.txt"):
        path.unlink()
    whole = folders(tree, images="images/train/{name}.*")
    with pytest.raises(InputError, match=r"train\.txt is missing; write the names of its images"):
        create_source(whole, "train")


def test_splits_joined_by_a_plus(tree):
    (tree / "more.txt").write_text("b")
    write_images(tree / "images/more/b.png")
    write(tree / "labels/more/b.png", values(1))
    assert create_source(folders(tree), "train+more").names == ["city/c.d", "a", "b"]
    with pytest.raises(InputError, match=r"^split 'train\+train': its parts share images"):
        create_source(folders(tree), "train+train")


def test_names_that_are_listed_twice(tree):
    (tree / "train.txt").write_text("a\ncity/b\na\n")
    with pytest.raises(InputError, match=r"train\.txt: names a more than once; remove"):
        create_source(folders(tree), "train")


def test_csv_of_pairs_by_recipe_alone(tmp_path):
    write_images(tmp_path / "x/one.png", tmp_path / "two.png")
    for name in ("l1", "l2", "fov"):
        write(tmp_path / f"{name}.png", values(0, 255))
    text = "\ufeffimage,label,region,name\nx/one.png,l1.png,,first\ntwo.png,l2.png,fov.png,\n"
    (tmp_path / "val.csv").write_text(text, encoding="utf-8")
    source = create_source(folders(tmp_path, names="{split}.csv", threshold=100), "val")
    assert source.names == ["first", "two"]
    assert [seen(source[i]["label"]) for i in (0, 1)] == [[0, 1], [1, 255]]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a.png,b.png\n", r"val\.csv: the first line must name the columns image and label"),
        ("image,label\na.png\n", r"val\.csv: line 2 lacks an image or a label"),
        ("image,label\n", r"val\.csv: holds no images"),
        ("image,label\nno.png,no2.png\n", r"no\.png: no such image, though .*val\.csv names it"),
    ],
)
def test_malformed_csv(tmp_path, text, message):
    (tmp_path / "val.csv").write_text(text)
    with pytest.raises(InputError, match=message):
        create_source(folders(tmp_path, names="{split}.csv"), "val")


def test_list_in_another_encoding(tree):
    (tree / "train.txt").write_bytes("grün".encode("latin-1"))
    with pytest.raises(InputError, match=r"train\.txt: not a text file in UTF-8"):
        create_source(folders(tree), "train")


def test_colors_ids_and_thresholds_of_a_recipe(tmp_path):
    write_images(tmp_path / "images/val/a.png")
    (tmp_path / "val.txt").write_text("a")
    colored = np.zeros((*SIZE, 3), np.uint8)
    colored[:, 4:] = (0, 0, 200)  # OpenCV writes blue first
    label = tmp_path / "labels/val/a.png"
    for stored, keys in (
        (colored, {"colors": ((0, 0, 0, 255), (200, 0, 0, 1), (1, 1, 1, 0))}),
        (np.where(colored[..., 2], 7, 3), {"id_map": ((7, 1), (3, 255))}),
        (np.where(colored[..., 2], 1, 9), {"ignored": (9,)}),
    ):
        write(label, stored.astype(np.uint8))
        source = create_source(folders(tmp_path, **keys), "val")
        np.testing.assert_array_equal(source[0]["label"], np.where(colored[..., 2], 1, 255))
    assert create_source(
        folders(tmp_path, colors=((9, 8, 7, 1), (5, 5, 5, 1), (1, 1, 1, 0))), "val"
    ).palette.tolist() == [[1, 1, 1], [9, 8, 7]]


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"classes": ()}, r"^data\.classes: not set"),
        (
            {"id_map": ((7, 2),)},
            r"^data\.id_map: \(7, 2\) names class 2, but data\.classes na",
        ),
        ({"colors": ((1, 2, 3, 4),)}, r"^data\.colors: \(1, 2, 3, 4\) names class 4"),
        ({"id_map": ((7, 1),), "threshold": 5}, r"^data\.id_map: contradicts data\.threshold"),
        ({"ignored": (1,), "threshold": 5}, r"^data\.ignored: contradicts data\.threshold; set"),
        ({"ignored": (1,), "colors": ((1, 2, 3, 1),)}, r"^data\.ignored: contradicts data\.colors"),
        ({"ignored": (1,)}, r"^data\.ignored: 1 is stored for class '.*'; remove it, or say by"),
        ({"ignored": (7,), "id_map": ((7, 1),)}, r"^data\.ignored: 7 is stored for class"),
        ({"classes": ("a",), "threshold": 5}, r"^data\.threshold: makes two classes, .* names 1"),
        ({"labels": "labels/a.png"}, r"^data\.labels: 'labels/a\.png' lacks \{name\}"),
    ],
)
def test_contradicting_keys(tree, keys, message):
    with pytest.raises(InputError, match=message):
        create_source(folders(tree, **keys), "train")


def test_keys_of_folders_are_not_for_other_sources(tree):
    with pytest.raises(InputError, match=r"^data\.ignored: only data\.source='folders' reads it"):
        create_source({"source": "camvid", "root": str(tree), "ignored": (3,)}, "train")


def test_hash_identifies_the_images_of_a_split():
    names = ["b", "a"]
    assert split_hash(names) == split_hash(sorted(names)) and len(split_hash(names)) == 64
    assert len({split_hash(n) for n in (["a"], ["a", "b"], ["ab"], ["b"])}) == 4


def test_images_in_two_splits_are_an_error_unless_the_names_say_so(tmp_path):
    names = {"train": range(9), "val": range(2, 20), "test": range(20, 22)}
    write_images(*(tmp_path / f"images/{i}.png" for i in range(22)))
    write(tmp_path / "label.png", values(0, 1))
    for split, listed in names.items():
        rows = [f"images/{i}.png,label.png" for i in listed]
        (tmp_path / f"{split}.csv").write_text("\n".join(["image,label", *rows]))
    config = folders(tmp_path, names="{split}.csv")
    for keys in ({}, {"on_error": "skip"}):
        train, val, test, both = (
            create_source(config | keys, split) for split in ("train", "val", "test", "val+test")
        )
        message = r"^splits 'train' and 'val' share 7 images: .*2\.png, .*6\.png, \.\.\.; "
        with pytest.raises(InputError, match=message):
            check_splits("train", "val", (train, val))
        assert check_splits("val+test", "val", (both, val)) == ""
        assert check_splits("train", "test", (train, test)) == ""


def test_other_files_of_one_name_are_a_remark(tree):
    write_images(tree / "images/val/a.png")
    write(tree / "labels/val/a.png", values(0))
    sources = [create_source(folders(tree, names=""), split) for split in ("train", "val")]
    expected = "splits 'train' and 'val' both have an image named a"
    assert check_splits("train", "val", sources) == expected


def test_equal_files_of_other_names_are_found(tree):
    first = create_source(folders(tree), "train")
    copy = tree / "images/val/copy.jpg"
    copy.parent.mkdir()
    copy.write_bytes((tree / "images/train/city/c.d.jpg").read_bytes())
    write_images(tree / "images/val/new.png")
    write(tree / "images/val/new.png", values(3))
    for name in ("copy", "new"):
        write(tree / f"labels/val/{name}.png", values(0))
    second = create_source(folders(tree, names=""), "val")
    assert same_content(first, second) == [("city/c.d", "copy")]
