from pathlib import Path

import cv2
import numpy as np
import pytest

from segalias_jax.data.condition import data_condition, describe_changes
from segalias_jax.data.instance_source import (
    InstanceStream,
    batch_size_of,
    create_instance_source,
    instance_eval_batches,
    left_out,
    repeated_by_objects,
    with_objects,
)
from segalias_jax.data.instance_transforms import evaluation_resize
from segalias_jax.data.masks import unpack_masks
from segalias_jax.data.pipeline import resume_step, stream_state
from segalias_jax.data.skipping import describe_skipped
from segalias_jax.data.sources import check_source, fingerprint
from segalias_jax.data.splits import check_splits
from segalias_jax.errors import InputError


@pytest.fixture
def section(coco_set):
    """Returns the `data` section of a small COCO set."""
    return {
        "source": "coco",
        "root": str(coco_set()),
        "annotations": "set.json",
        "images": "images",
        "short": (24, 40),
        "long": 80,
        "max_objects": 3,
        "threads": 2,
    }


def opened(section):
    return create_instance_source(section, "train")


def taken(stream, step, count):
    batches = stream.start(step)
    found = [next(batches) for _ in range(count)]
    batches.close()
    return found


def assert_equal(one, other):
    assert one.keys() == other.keys()
    for key in one:
        np.testing.assert_array_equal(one[key], other[key], err_msg=key)


def test_a_batch_has_the_decided_fields(section):
    (batch,) = taken(InstanceStream(section, opened(section), batch_size=4, seed=0), 0, 1)
    assert {key: (array.shape, str(array.dtype)) for key, array in batch.items()} == {
        "image": ((4, 64, 96, 3), "uint8"),
        "valid": ((4,), "bool"),
        "size": ((4, 2), "int32"),
        "boxes": ((4, 3, 4), "float32"),
        "classes": ((4, 3), "int32"),
        "crowd": ((4, 3), "bool"),
        "masks": ((4, 3, 64, 12), "uint8"),
    }
    assert batch["valid"].all()


def test_every_batch_has_one_size_and_matching_objects(section):
    section |= {"crop": (30, 40), "ratio_range": (0.5, 1.5), "photometric": True}
    for batch in taken(InstanceStream(section, opened(section), batch_size=3, seed=1), 0, 6):
        assert batch["image"].shape == (3, 32, 64, 3)
        masks = unpack_masks(batch["masks"], 64)
        for row, (height, width) in enumerate(batch["size"]):
            assert not batch["image"][row, height:].any()
            assert not batch["image"][row, :, width:].any()
            there = batch["classes"][row] > 0
            np.testing.assert_array_equal(masks[row].any((1, 2)), there)
            x1, y1, x2, y2 = batch["boxes"][row, there].T
            assert (x1 >= 0).all() and (x2 <= width).all() and (x1 < x2).all()
            assert (y1 >= 0).all() and (y2 <= height).all() and (y1 < y2).all()


def test_a_stream_begins_anywhere_and_is_shared_by_processes(section):
    source = opened(section)
    stream = InstanceStream(section, source, batch_size=2, seed=0)
    whole = taken(stream, 0, 4)
    assert_equal(taken(stream, 3, 1)[0], whole[3])
    parts = [
        InstanceStream(section, source, batch_size=2, seed=0, process_index=k, process_count=2)
        for k in range(2)
    ]
    rows = [taken(part, 2, 1)[0] for part in parts]
    joined = {key: np.concatenate([row[key] for row in rows]) for key in rows[0]}
    assert_equal(joined, whole[2])
    other = taken(InstanceStream(section, source, batch_size=2, seed=1), 0, 4)
    assert any((a["image"] != b["image"]).any() for a, b in zip(whole, other, strict=True))


def test_threads_and_workers_make_the_same_batches(section):
    source = opened(section)
    first = taken(InstanceStream(section, source, batch_size=2, seed=0), 1, 2)
    threads = InstanceStream(section | {"threads": 1}, source, batch_size=2, seed=0)
    workers = InstanceStream(section | {"workers": 1}, source, batch_size=2, seed=0)
    for stream in (threads, workers):
        for one, other in zip(taken(stream, 1, 2), first, strict=True):
            assert_equal(one, other)


def test_a_stream_names_its_images_and_keeps_its_position(section):
    source = opened(section)
    stream = InstanceStream(section, source, batch_size=3, seed=0)
    assert sorted(stream.describe(2).split(", ")) == ["a.png", "b.png", "c.png"]
    state = stream_state(source, step=7, batch_size=3, seed=0)
    assert resume_step(state, source, batch_size=3, seed=0) == 7
    with pytest.raises(InputError, match="its list of images|number of images"):
        resume_step(state, with_objects(source), batch_size=3, seed=0)


def test_changed_files_are_noticed_as_those_of_label_maps_are(section):
    source = opened(section)
    before, condition = fingerprint(source), data_condition(source)
    assert fingerprint(opened(section)) == before
    assert fingerprint(opened(section | {"classes": ("cell",)})) != before
    path = source.pairs[1].image
    path.write_bytes(path.read_bytes() + b" ")
    assert fingerprint(source) != before
    assert describe_changes(condition, data_condition(source)) == "1 image is changed (b.png)"
    with pytest.raises(InputError, match="share 1 image"):
        check_splits("train", "val", (source, with_objects(source)))


def test_a_pair_has_the_dark_image_too(section):
    section |= {"dark": 1.0, "dark_pair": True}
    (batch,) = taken(InstanceStream(section, opened(section), batch_size=2, seed=0), 0, 1)
    assert batch["dark"].shape == batch["image"].shape
    assert (batch["dark"] != batch["image"]).any()


def test_scored_batches_hold_each_image_once(section):
    source = opened(section)
    first, last = instance_eval_batches(section, source, batch_size=2)
    assert first["name"] == ["a.png", "b.png"] and last["name"] == ["c.png"]
    assert first["index"] == [0, 1] and last["index"] == [2]
    assert first["valid"].tolist() == [True, True] and last["valid"].tolist() == [True, False]
    assert first["image"].shape == last["image"].shape == (2, 64, 96, 3)
    # 40 is the largest short side: 20x30 becomes 40x60, 12x40 is held by the long side, 80.
    assert first["size"].tolist() == [[40, 60], [40, 40]]
    assert last["size"].tolist() == [[24, 80], [0, 0]]
    resize = evaluation_resize(InstanceStream(section, source, batch_size=1, seed=0).settings)
    expected = resize(source[0], np.random.default_rng(0))
    np.testing.assert_array_equal(first["image"][0, :40, :60], expected["image"])
    np.testing.assert_array_equal(first["boxes"][0, :2], expected["boxes"])
    assert first["crowd"][1].tolist() == [True, False, False]


def test_images_without_objects_are_left_out(section):
    source = opened(section)
    chosen = with_objects(source)
    # The crowd of b.png is no object.
    assert chosen.names == ["a.png"] and len(chosen) == 1
    assert with_objects(chosen) is chosen
    assert create_instance_source(section, "train", training=True).names == ["a.png"]
    kept = create_instance_source(section | {"empty": True}, "train", training=True)
    assert kept.names == source.names
    (batch,) = taken(InstanceStream(section, chosen, batch_size=2, seed=0), 0, 1)
    assert (batch["classes"][:, :2] > 0).all()


def test_images_with_many_objects_are_shown_more_often(section):
    """Two objects, a crowd alone and none: the mean is 2/3, and 2 / (2/3) = 3."""
    source = opened(section)
    repeated = repeated_by_objects(source)
    assert repeated.names == ["a.png"] * 3 + ["b.png", "c.png"]
    assert_equal(repeated[2], source[0])
    stream = InstanceStream(section | {"repeat_by_objects": True}, source, batch_size=5, seed=0)
    assert sorted(stream.describe(1).split(", ")) == repeated.names
    (batch,) = taken(stream, 0, 1)
    assert ((batch["classes"] > 0) & ~batch["crowd"]).sum() == 3 * 2


def test_objects_that_batches_leave_out_are_counted(section):
    assert left_out(opened(section), 1) == (1, 1)
    assert left_out(opened(section), 2) == (0, 0)


def test_unusable_images_are_replaced_and_count_nowhere(section):
    root = Path(section["root"])
    (root / "images/b.png").unlink()
    with pytest.raises(InputError, match="its image b.png is missing"):
        opened(section)
    section |= {"on_error": "skip", "empty": True}
    source = create_instance_source(section, "train", training=True)
    assert source.names == ["a.png", "b.png", "c.png"] and not fingerprint(source)
    (batch,) = taken(InstanceStream(section, source, batch_size=6, seed=0), 0, 1)
    names = InstanceStream(section, source, batch_size=6, seed=0).describe(1).split(", ")
    assert batch["valid"].tolist() == [name != "b.png" for name in names]
    first, last = instance_eval_batches(section, source, batch_size=2)
    assert first["name"] == ["a.png"] and first["index"] == [0] and last["index"] == [2]
    assert first["valid"].tolist() == last["valid"].tolist() == [True, False]
    assert "1 of 3: " in describe_skipped(source) and "b.png" in describe_skipped(source)
    with pytest.raises(InputError, match="1 samples cannot be used, more than data.max_skipped=0"):
        check_source(create_instance_source(section | {"max_skipped": 0}, "train"))


def test_broken_maps_keep_their_place_in_the_order(tmp_path):
    for kind in ("images", "maps"):
        (tmp_path / kind).mkdir()
    for name, value in (("a", 0), ("b", 1), ("c", 2)):
        cv2.imwrite(str(tmp_path / f"images/{name}.png"), np.zeros((16, 16, 3), np.uint8))
        cv2.imwrite(str(tmp_path / f"maps/{name}.png"), np.full((16, 16), value, np.uint16))
    (tmp_path / "maps/c.png").write_bytes(b"no map")
    maps = {"source": "instance_maps", "root": str(tmp_path), "classes": ("cell",)}
    maps |= {"images": "images/{name}.png", "maps": "maps/{name}.png"}
    with pytest.raises(InputError, match=r"c\.png"):
        create_instance_source(maps, "train", training=True)
    source = create_instance_source(maps | {"on_error": "skip"}, "train", training=True)
    assert source.names == ["b", "c"] and not source.skipped()
    assert left_out(source, 1) == (0, 0) and list(source.skipped()) == [1]
    assert [source.count(k) for k in (0, 1)] == [1, 0]
    assert not source[1]["valid"] and "valid" not in source[0]


def test_the_size_of_batches_holds_all_images_or_is_an_error(section):
    source = opened(section)
    assert batch_size_of(section, source, training=True) == (64, 96)
    given = section | {"padded": (64, 128)}
    assert batch_size_of(given, source, training=False) == (64, 128)
    small = section | {"padded": (32, 96)}
    reason = "data.padded: 32x96 does not hold a.png, which is resized to 40x60; use 64x96"
    with pytest.raises(InputError, match=reason):
        InstanceStream(small, source, batch_size=2, seed=0)
    with pytest.raises(InputError, match="does not hold data.crop"):
        batch_size_of(small | {"crop": (40, 40)}, source, training=True)


def test_all_kinds_of_sources_are_opened(section, tmp_path):
    (tmp_path / "maps").mkdir()
    for name, size in (("a", (20, 30)), ("b", (16, 16)), ("c", (12, 40))):
        cv2.imwrite(str(tmp_path / "maps" / f"{name}.png"), np.full(size, 2003, np.uint16))
    maps = {
        "source": "instance_maps",
        "root": str(tmp_path),
        "images": "images/{name}.*",
        "maps": "maps/{name}.png",
    }
    one = create_instance_source(maps | {"classes": ("cell",)}, "train")
    assert one[0]["classes"].tolist() == [1]
    two = create_instance_source(maps | {"classes": ("a", "b"), "divisor": 1000}, "train")
    assert two[0]["classes"].tolist() == [2]
    listed = maps | {"classes": ("a", "b"), "divisor": 1000, "id_map": ((2, 1),)}
    assert create_instance_source(listed, "train")[0]["classes"].tolist() == [1]
    with pytest.raises(InputError, match="data.classes: not set"):
        create_instance_source(maps, "train")
    with pytest.raises(InputError, match="data.id_map: it names class 3, but data.classes names"):
        create_instance_source(listed | {"id_map": ((2, 3),)}, "train")
    with pytest.raises(InputError, match="leftImg8bit/train is missing"):
        create_instance_source({"source": "cityscapes_instances", "root": str(tmp_path)}, "train")
    with pytest.raises(InputError, match="data.root: not set"):
        create_instance_source({"source": "coco"}, "train")
