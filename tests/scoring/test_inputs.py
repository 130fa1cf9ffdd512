"""What stored values become: maps of ids, masks of 255, Cityscapes' ids."""

from pathlib import Path

import numpy as np
import pytest

from segalias_jax.errors import InputError
from segalias_jax.scoring.inputs import InputOptions, MapReader, map_readers, parse_changes
from segalias_jax.scoring.matching import Pair


def pairs(folder, predictions, labels, name="a{}.npy", label_name=None):
    found = []
    for i, (prediction, label) in enumerate(zip(predictions, labels, strict=True)):
        paths = []
        for kind, ids, form in (("p", prediction, name), ("l", label, label_name or name)):
            path = folder / kind / form.format(i)
            path.parent.mkdir(exist_ok=True)
            np.save(path, np.asarray([ids]))
            paths.append(path)
        found.append(Pair(str(i), *paths))
    return found


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.uint16, np.int64])
def test_changes_are_made_at_once(dtype):
    ids = np.asarray([[0, 1, 7, 100]], dtype)
    reader = MapReader(changes=((0, 1), (1, 0), (7, 200)))
    assert reader.changed(ids).tolist() == [[1, 0, 200, 100]]
    assert reader.changed(ids).dtype == np.uint8
    assert MapReader(changes=((7, 300), (300, 2))).changed(ids).tolist() == [[0, 1, 300, 100]]
    large = np.asarray([[0, 1000]], np.int32)
    assert MapReader(changes=((1000, 2),)).changed(large).tolist() == [[0, 2]]
    assert MapReader().changed(large) is large


@pytest.mark.parametrize(
    "text, message",
    [("1", "is no list of ids such as 255=1,7=0"), ("a=1", "no list"), ("1=2,1=3", "2 and 3"),
     ("1=99999999999", "ids are below")],
)  # fmt: skip
def test_changes_that_make_no_sense(text, message):
    with pytest.raises(InputError, match=message):
        parse_changes(text)
    assert parse_changes("-1=255, 255=1") == {-1: 255, 255: 1}


@pytest.mark.parametrize(
    "predictions, labels, sides",
    [
        ([[0, 255]], [[0, 255]], {"predictions", "labels"}),
        ([[0, 1]], [[0, 255], ], {"labels"}),
        ([[0, 255]], [[0, 1]], {"predictions"}),
        ([[0, 0], [0, 255]], [[0, 0], [255, 255]], {"predictions", "labels"}),
        ([[0, 1], [0, 1]], [[0, 255], [1, 255]], set()),  # void beside class 1
        ([[0, 1]], [[0, 0]], set()),
        ([[0, 1]], [[255, 255]], set()),  # nothing but void
    ],
)  # fmt: skip
def test_masks_of_255_are_told_from_void(tmp_path, predictions, labels, sides):
    found = pairs(tmp_path, predictions, labels)
    readers = map_readers(found, InputOptions(), num_classes=2)
    assert {notice.partition(" ")[0] for notice in readers.notices} == sides
    for side, reader in (("predictions", readers.prediction), ("labels", readers.label)):
        assert reader.changes == (((255, 1),) if side in sides else ())
        for notice in readers.notices:
            assert "255 is class 1 and nothing is ignored; --map-" in notice


def test_masks_are_left_alone_where_it_is_said_or_meant(tmp_path):
    found = pairs(tmp_path, [[0, 255]], [[0, 255]])
    kept = InputOptions(changes={255: 255})
    for options, more in (
        (kept, {}),
        (InputOptions(), {"num_classes": 3}),
        (InputOptions(), {"reduce_zero_label": True}),
    ):
        readers = map_readers(found, options, **({"num_classes": 2} | more))
        assert not readers.notices
    one = map_readers(found, InputOptions(label_changes={255: 1}), num_classes=2)
    assert one.label.changes == ((255, 1),) and len(one.notices) == 1
    readers = map_readers(found, InputOptions(), num_classes=2, probabilities=True)
    assert [notice.partition(" ")[0] for notice in readers.notices] == ["labels"]


@pytest.mark.parametrize(
    "name, values, official",
    [
        ("x{}_gtFine_labelIds.npy", [7, 11], True),  # by the name
        ("x{}_pred.npy", [7, 26], True),  # by a value that is no train id
        ("x{}_pred.npy", [0, 18, 255], False),
    ],
)
def test_ids_of_cityscapes(tmp_path, name, values, official):
    found = pairs(tmp_path, [values], [[7] * len(values)], name, "x{}_gtFine_labelIds.npy")
    readers = map_readers(found, InputOptions(), num_classes=19)
    assert readers.official and readers.cityscapes
    assert readers.label.changed(np.asarray([[7, 11, 33, 0, 255, 40]])).tolist() == [
        [0, 2, 18, 255, 255, 40]
    ]
    assert bool(readers.prediction.changes) == official
    assert bool(readers.notices) == (official and "pred" in name)
    assert not map_readers(found, InputOptions(), num_classes=34).official
    assert (
        dict(map_readers(found, InputOptions(), num_classes=19, ignore_label=99).label.changes)[0]
        == 99
    )
    said = map_readers(found, InputOptions(changes={7: 5}), num_classes=19)
    assert dict(said.label.changes)[7] == 5


def test_options_are_read_by_both_sides():
    options = InputOptions(changes={1: 2}, prediction_changes={1: 3}, key="ids", max_pixels=9)
    readers = map_readers([], options, num_classes=2)
    assert (readers.prediction.changes, readers.label.changes) == (((1, 3),), ((1, 2),))
    assert readers.label.key == "ids" and readers.label.max_pixels == 9
    with pytest.raises(InputError, match="missing.png: cannot be read"):
        readers.label.size(Path("missing.png"))
