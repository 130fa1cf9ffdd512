"""Statistics of a data set against direct sums over all pixels."""

import json
from pathlib import Path

import numpy as np
import pytest
from trees import values, write, write_images

from segalias_jax.data import create_source
from segalias_jax.data.settings import read_settings
from segalias_jax.data.sources import open_split
from segalias_jax.data.tools.statistics import Statistics, collect_statistics

CLASSES = ("sky", "road", "pole")


def opened(root, **keys):
    config = {"source": "folders", "root": str(root), "classes": CLASSES, "names": ""} | keys
    return open_split(read_settings(config | {"on_error": "skip"}), "train")


@pytest.fixture
def tree(tmp_path):
    """Three pairs; the class 2 is nowhere, class 1 in two of them."""
    for name, stored in (("a", (0, 1, 255)), ("b", (0,)), ("c", (0, 0, 0, 1))):
        write_images(tmp_path / f"images/train/{name}.png")
        write(tmp_path / f"labels/train/{name}.png", values(*stored))
    return tmp_path


def test_sums_are_those_of_all_pixels(tree):
    source = opened(tree)
    found = collect_statistics(source, range(3), threads=2)
    images = np.stack([source[i]["image"] for i in range(3)]).reshape(-1, 3)
    labels = np.stack([source[i]["label"] for i in range(3)])
    # Both sum whole numbers in float64; only the last division rounds.
    mean, deviation = found.mean_and_deviation()
    np.testing.assert_allclose(mean, images.mean(0), rtol=1e-13)
    np.testing.assert_allclose(deviation, images.std(0), rtol=1e-12)
    share = np.bincount(labels[labels < 255], minlength=3) / (labels < 255).sum()
    np.testing.assert_array_equal(found.class_shares(), share)
    assert found.ignored_share == (labels == 255).mean()
    assert found.stored == {0: (labels == 0).sum(), 1: (labels == 1).sum(), 255: 16}


def test_weights_are_those_of_their_definitions(tree):
    source = opened(tree)
    found = collect_statistics(source, range(3))
    p = found.class_shares()
    expected = [(1 - p[0]) / p[0], (1 - p[1]) / p[1], np.inf]
    np.testing.assert_array_equal(found.inverse_weights(), expected)
    # 6x8 pixels: 16 of each of 0, 1, 255; then 48 of 0; then 36 of 0 and 12 of 1.
    frequency = np.array([100 / (32 + 48 + 48), 28 / (32 + 48)])
    expected = [*np.median(frequency) / frequency, np.inf]
    np.testing.assert_allclose(found.median_frequency_weights(), expected, rtol=1e-15)
    # The weight (1 - p) / p makes a class weigh as much as all other pixels.
    np.testing.assert_allclose(found.inverse_weights()[:2] * p[:2], 1 - p[:2], rtol=1e-15)


def test_what_is_wrong_is_counted_and_listed(tree):
    write_images(*(tree / f"images/train/{name}.png" for name in "defg"))
    write(tree / "labels/train/d.png", values(0, 7))
    write(tree / "labels/train/e.png", np.zeros((3, 3), np.uint8))
    image = tree / "images/train/f.png"
    image.write_bytes(image.read_bytes()[:40])
    write(tree / "labels/train/f.png", values(0))
    found = collect_statistics(opened(tree), range(7))
    assert found.images == 4 and found.stored[7] == 24 and found.labels[254] == 24
    assert [Path(reason.split(":")[0]).name for reason in found.unusable] == [
        "e.png", "f.png", "g.*",
    ]  # fmt: skip
    text = found.table(CLASSES)
    assert "pixels of no class: 24" in text and "unusable: 3: " in text and "7 (24)" in text


def test_colors_are_listed_as_colors(tree):
    colored = np.zeros((6, 8, 3), np.uint8)
    colored[0] = (1, 2, 255)  # blue first
    for name in "abc":
        write(tree / f"labels/train/{name}.png", colored)
    source = opened(tree, colors=((0, 0, 0, 0), (255, 2, 1, 1)))
    found = collect_statistics(source, [0])
    assert found.stored == {"#000000": 40, "#ff0201": 8} and found.labels[1] == 8


def test_numbers_are_plain_json(tree):
    found = collect_statistics(opened(tree), range(3))
    content = json.loads(json.dumps(found.as_dict(CLASSES), allow_nan=False))
    assert content["classes"][2]["inverse_weight"] is None
    assert content["height"] == [6, 6] and content["stored_values"]["255"] == 16
    assert "never seen: pole" in found.table(CLASSES)
    empty = Statistics(3).as_dict(CLASSES)
    assert empty["images"] == 0 and empty["ignored_share"] == 0


def test_real_camvid_has_the_pixel_counts_of_its_readme(real_data):
    root = real_data("camvid")
    source = create_source({"source": "camvid", "root": str(root)}, "val")
    found = collect_statistics(source, range(len(source)), progress=False)
    rows = [line.split("|") for line in (root / "README.md").read_text().splitlines()]
    counts = [int(row[3]) for row in rows if len(row) == 6 and row[1].split()[0].isdigit()]
    assert [*found.labels[:11], found.labels[255]] == counts
