import os

import cv2
import numpy as np
import pytest

from segalias_jax.data import SOURCES, Source, check_source, create_source, fingerprint
from segalias_jax.errors import InputError

SIZE = (12, 16)


def write(path, array):
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), array)


@pytest.fixture
def camvid(tmp_path):
    """A tree in CamVid's layout: three training pairs whose labels hold all stored values."""
    label = np.arange(SIZE[0] * SIZE[1], dtype=np.uint8).reshape(SIZE) % 12
    for split, names in (("train", "abc"), ("val", "d")):
        for name in names:
            write(tmp_path / "images" / split / f"{name}.jpg", np.zeros((*SIZE, 3), np.uint8))
            write(tmp_path / "labels" / split / f"{name}.png", label)
        (tmp_path / f"{split}.txt").write_text("\n".join(names) + "\n")
    return {"source": "camvid", "root": str(tmp_path)}, tmp_path


@pytest.fixture
def cityscapes(tmp_path):
    """A tree in the official Cityscapes layout with every id from 0 to 33, and 255."""
    ids = np.resize(np.append(np.arange(34), 255).astype(np.uint8), SIZE)
    for city in ("ulm", "aachen"):
        name = f"{city}_000000_000019"
        image = tmp_path / "leftImg8bit/train" / city / f"{name}_leftImg8bit.png"
        write(image, np.zeros((*SIZE, 3), np.uint8))
        write(tmp_path / "gtFine/train" / city / f"{name}_gtFine_labelIds.png", ids)
    return {"source": "cityscapes", "root": str(tmp_path)}, tmp_path


def test_camvid_maps_void_to_ignored(camvid):
    source = create_source(camvid[0], "train")
    label = source[1]["label"]
    assert isinstance(source, Source) and len(source) == 3
    assert source.names == ["a", "b", "c"] and source.size(0) == SIZE
    assert label.dtype == np.uint8 and sorted(set(label.flat)) == [*range(11), 255]
    assert len(source.classes) == len(source.palette) == 11


def test_cityscapes_ids_become_train_ids(cityscapes):
    config, root = cityscapes
    source = create_source(config, "train")
    label = source[0]["label"].ravel()[:35]
    # (id, train id) as its authors list them, one row of the table a line
    expected = {7: 0, 8: 1, 11: 2, 12: 3, 13: 4, 17: 5, 19: 6, 20: 7, 21: 8, 22: 9, 23: 10}
    expected |= {24: 11, 25: 12, 26: 13, 27: 14, 28: 15, 31: 16, 32: 17, 33: 18}
    assert source.names == ["aachen_000000_000019", "ulm_000000_000019"]
    assert label[:34].tolist() == [expected.get(i, 255) for i in range(34)] and label[34] == 255
    assert len(source.classes) == len(source.palette) == 19


def test_cityscapes_prefers_train_ids_where_all_exist(cityscapes):
    config, root = cityscapes
    for path in sorted(root.glob("gtFine/*/*/*_labelIds.png")):
        before = create_source(config, "train").pairs[0].label.name
        assert before.endswith("labelIds.png")
        new = path.with_name(path.name.replace("labelIds", "labelTrainIds"))
        write(new, np.full(SIZE, 18, np.uint8))
    source = create_source(config, "train")
    assert source.pairs[0].label.name.endswith("labelTrainIds.png")
    assert set(source[1]["label"].flat) == {18}


@pytest.mark.parametrize("name", ["camvid", "cityscapes"])
def test_roots_that_are_unset_missing_or_empty(name, tmp_path):
    config = {"source": name}
    with pytest.raises(InputError, match=r"^data\.root: not set; pass --config\.data\.root=DIR"):
        create_source(config, "train")
    with pytest.raises(InputError, match=r"^data\.root: no folder .*nowhere; pass"):
        create_source(config | {"root": str(tmp_path / "nowhere")}, "train")
    with pytest.raises(InputError, match=rf"^data\.root: the folder {tmp_path} is empty; pass"):
        create_source(config | {"root": str(tmp_path)}, "train")


def test_unknown_source_lists_the_choices():
    with pytest.raises(InputError, match=rf"'pascal'; choose from {', '.join(SOURCES)}$"):
        create_source({"source": "pascal"}, "train")


def test_missing_split_lists_the_choices(camvid, cityscapes):
    with pytest.raises(InputError, match=r"^split 'trian': .*trian\.txt is missing; .*train, val$"):
        create_source(camvid[0], "trian")
    with pytest.raises(InputError, match=r"^split 'val': .*leftImg8bit/val is missing; .*train$"):
        create_source(cityscapes[0], "val")


def test_empty_split(camvid):
    config, root = camvid
    (root / "val.txt").write_text("")
    with pytest.raises(InputError, match=r"val\.txt: holds no images; check"):
        create_source(config, "val")


def test_missing_files_of_a_pair(camvid):
    config, root = camvid
    (root / "labels/train/b.png").unlink()
    with pytest.raises(InputError, match=r"b\.jpg: image without label, .*b\.png is missing$"):
        create_source(config, "train")
    (root / "images/train/a.jpg").unlink()
    with pytest.raises(InputError, match=r"a\.jpg: no such image, though .*train\.txt names it$"):
        create_source(config, "train")


def test_label_value_outside_the_classes(camvid, cityscapes):
    write(camvid[1] / "labels/train/c.png", np.full(SIZE, 12, np.uint8))
    source = create_source(camvid[0], "train")
    message = r"c\.png: label value 12 is outside the 11 classes .*; map it .* 255 \(ignored\)$"
    with pytest.raises(InputError, match=message):
        check_source(source)
    with pytest.raises(InputError, match=message):  # also where nobody checked before
        source[2]
    path = create_source(cityscapes[0], "train").pairs[1].label
    write(path, np.full(SIZE, 34, np.uint8))
    with pytest.raises(InputError, match="label value 34 is outside the 19 classes"):
        check_source(create_source(cityscapes[0], "train"), threads=1, progress=False)


def test_first_bad_file_is_reported(camvid):
    config, root = camvid
    for name in "bc":
        write(root / f"labels/train/{name}.png", np.full(SIZE, 99, np.uint8))
    with pytest.raises(InputError, match=r"b\.png"):
        check_source(create_source(config, "train"))


def test_label_of_another_size_than_its_image(camvid):
    config, root = camvid
    write(root / "labels/train/b.png", np.zeros((5, 7), np.uint8))
    source = create_source(config, "train")
    for attempt in (lambda: check_source(source), lambda: source[1]):
        message = r"b\.png: the label has 7x5 pixels, its image .*b\.jpg 16x12; they must"
        with pytest.raises(InputError, match=message):
            attempt()


def test_unreadable_image_is_found_by_the_check(camvid):
    config, root = camvid
    path = root / "images/train/c.jpg"
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(InputError, match=r"c\.jpg: the file is truncated"):
        check_source(create_source(config, "train"))


def test_image_rotated_by_its_camera_fits_its_label(camvid):
    config, root = camvid
    stored = cv2.imencode(".jpg", np.zeros((SIZE[1], SIZE[0], 3), np.uint8))[1].tobytes()
    tiff = b"II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x06\0\0\0\0\0\0\0"  # orientation 6
    exif = b"Exif\0\0" + tiff
    segment = b"\xff\xe1" + (len(exif) + 2).to_bytes(2, "big") + exif
    (root / "images/train/a.jpg").write_bytes(stored[:2] + segment + stored[2:])
    source = create_source(config, "train")
    assert source[0]["image"].shape[:2] == source.size(0) == SIZE
    check_source(source)


def test_fingerprint_tells_every_change_of_the_files(camvid):
    config, root = camvid
    marks = [fingerprint(create_source(config, split)) for split in ("train", "val")]
    assert marks == [fingerprint(create_source(config, split)) for split in ("train", "val")]
    label = root / "labels/train/b.png"
    for path in (label, root / "images/train/a.jpg"):
        before = path.stat()
        path.write_bytes(path.read_bytes())  # as large as before, and made to look as old
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
        marks.append(fingerprint(create_source(config, "train")))
    (root / "train.txt").write_text("a\nb\n")
    marks.append(fingerprint(create_source(config, "train")))
    marks.append(fingerprint(create_source(config | {"exif": False}, "train")))
    assert len(set(marks)) == len(marks)
    skipping = create_source(config | {"on_error": "skip"}, "train")
    assert fingerprint(skipping) == ""  # what it skips has to be found each time


def test_real_camvid(real_data):
    config = {"source": "camvid", "root": str(real_data("camvid"))}
    sizes = {}
    for split in ("train", "val", "test"):
        source = create_source(config, split)
        check_source(source)
        sizes[split] = len(source)
    assert sizes == {"train": 367, "val": 101, "test": 233}
    assert source.size(0) == source[0]["image"].shape[:2] == (360, 480)


def test_real_camvid_names_and_colors_are_its_own(real_data):
    root = real_data("camvid")
    source = create_source({"source": "camvid", "root": str(root)}, "val")
    rows = [line.split() for line in (root / "palette.txt").read_text().splitlines()[1:12]]
    assert list(source.classes) == (root / "classes.txt").read_text().split()[:11]
    assert source.palette.tolist() == [[int(v) for v in row[1:4]] for row in rows]
