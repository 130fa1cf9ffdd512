import dataclasses
import json

import cv2
import numpy as np
import pytest
from ml_collections import config_dict

from segalias_jax.data.instance_settings import InstanceSettings
from segalias_jax.data.instances import Instances
from segalias_jax.data.tools import browse
from segalias_jax.data.tools.browse_objects import browse_objects, object_picture
from segalias_jax.errors import FlagParser, InputError


def settings_of(root):
    return InstanceSettings(
        "coco", str(root), "set.json", "images", short=(40, 40), long=80, flip=0.0
    )


def test_objects_are_counted_as_the_files_have_them(coco_set):
    sheet, statistics, source = browse_objects(settings_of(coco_set()), "train", count=2)
    assert source.classes == ("nucleus", "cell")
    assert statistics.objects == [1, 1] and statistics.crowds == [1, 0]
    assert statistics.sizes == [2, 0, 0]
    assert (statistics.images, statistics.empty, statistics.most) == (3, 2, 2)
    assert sheet.dtype == np.uint8 and sheet.ndim == 3


def test_what_cannot_be_used_is_listed(coco_set, annotation):
    root = coco_set(annotations=[annotation(1, 9, 3, [[1, 1, 5]])])
    _, statistics, source = browse_objects(settings_of(root), "train")
    assert statistics.images == 2
    assert "annotation 1 of b.png" in statistics.table(source.classes)


def objects_of(crowd):
    masks = np.zeros((2, 110, 220), bool)
    masks[0, 20:60, 30:80], masks[1, 20:60, 120:200] = True, True
    return Instances.of_masks(masks, classes=[1, 2], crowd=[False, crowd])


@pytest.mark.parametrize("crowd", [False, True])
def test_masks_are_tinted_and_crowds_hatched(crowd):
    sample = {"image": np.zeros((110, 220, 3), np.uint8), **vars(objects_of(crowd))}
    palette = np.array([[200, 0, 0], [0, 200, 0]], np.uint8)
    picture = object_picture(sample, ["a", "b"], palette)
    assert picture.shape == (220, 440, 3)
    assert (picture[70:110, 70:150] == [70, 0, 0]).all()  # .35 of the color over black
    second = (picture[70:110, 250:390] == 0).all(-1).mean()
    assert second == pytest.approx(0.75, abs=0.01) if crowd else second == 0
    assert (picture[150:, :] == 0).all()


def test_names_are_drawn_only_where_they_tell_something():
    sample = {"image": np.zeros((110, 220, 3), np.uint8), **vars(objects_of(False))}
    palette = np.full((2, 3), 99, np.uint8)
    named = object_picture(sample, ["a", "b"], palette)
    plain = object_picture(sample | {"classes": np.array([1, 1])}, ["a"], palette)
    above = np.s_[28:38, 61:70]  # above the first box
    assert named[above].any() and not plain[above].any()


def test_the_command_shows_a_recipe_about_objects(coco_set, tmp_path, capsys):
    sheet, numbers = tmp_path / "sheet.png", tmp_path / "numbers.json"
    parser = FlagParser("browse")
    browse.add_flags(parser)
    flags = parser.parse([f"--out={sheet}", f"--json={numbers}"])
    data = dataclasses.asdict(settings_of(coco_set()))
    flags.config = config_dict.ConfigDict({"data": data, "seed": 0})
    assert browse.run(flags) == 0
    shown = capsys.readouterr().out
    assert "coco, split train, 3 images" in shown and "2 objects, at most 2 an image" in shown
    assert cv2.imread(str(sheet)) is not None
    written = json.loads(numbers.read_text())
    assert written["objects"] == [1, 1] and written["classes"] == ["nucleus", "cell"]
    flags.duplicates = True
    with pytest.raises(InputError, match="--duplicates"):
        browse.run(flags)
