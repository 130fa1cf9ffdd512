"""Sides of other images, or of none, are refused before anything is scored."""

import json

import numpy as np
import pytest

from segalias_jax.data.run_length import encode_mask
from segalias_jax.errors import InputError
from segalias_jax.scoring.instances.instance_inputs import open_inputs
from segalias_jax.scoring.instances.map_files import MapOptions

IDS = {"a": np.asarray([[1, 1, 0, 2]]), "b": np.asarray([[0, 3, 3, 0]])}


@pytest.fixture
def sides(tmp_path):
    """Folders of maps, and the same in JSON."""
    truth = {"images": [], "annotations": [], "categories": [{"id": 4, "name": "cell"}]}
    for kind in ("pred", "true"):
        (tmp_path / kind).mkdir()
    for k, (name, ids) in enumerate(IDS.items()):
        for kind in ("pred", "true"):
            np.save(tmp_path / kind / f"{name}.npy", ids)
        truth["images"].append({"id": k, "file_name": f"{name}.png", "height": 1, "width": 4})
        for value in np.unique(ids[ids > 0]).tolist():
            number = len(truth["annotations"])
            one = {"id": number, "image_id": k, "category_id": 4, "iscrowd": 0, "score": 0.5}
            truth["annotations"].append({**one, "segmentation": encode_mask(ids == value)})
    (tmp_path / "gt.json").write_text(json.dumps(truth))
    (tmp_path / "dt.json").write_text(json.dumps(truth["annotations"]))
    return tmp_path


@pytest.mark.parametrize("predictions", ["pred", "dt.json", "gt.json"])
@pytest.mark.parametrize("truths", ["true", "gt.json"])
def test_every_pair_of_forms_is_the_same_objects(sides, predictions, truths):
    if truths == "true" and predictions != "pred":
        with pytest.raises(InputError, match="results refer to images by the ids of a ground"):
            open_inputs(sides / predictions, sides / truths)
        return
    inputs = open_inputs(sides / predictions, sides / truths)
    assert [one.name.removesuffix(".png") for one in inputs.images] == ["a", "b"]
    assert inputs.scored == predictions.endswith("t.json")
    assert inputs.classes == (("cell",) if truths == "gt.json" else None)
    for image in inputs.images:
        for objects in image.load():
            ids = IDS[image.name.removesuffix(".png")]
            assert objects.shape == (1, 4)
            areas = [int((ids == value).sum()) for value in np.unique(ids[ids > 0])]
            assert objects.areas.tolist() == areas


def test_images_without_predictions_are_told(sides):
    (sides / "dt.json").write_text("[]")
    inputs = open_inputs(sides / "dt.json", sides / "gt.json")
    assert inputs.notices == ("2 of 2 images have no prediction",)
    assert len(inputs.images) == 2


@pytest.mark.parametrize(
    "change, truths, words",
    [
        (
            lambda d: (d / "pred/b.npy").unlink(),
            "true",
            r"b\.npy: no prediction of this name.*--keep-going",
        ),
        (lambda d: (d / "pred/b.npy").unlink(), "gt.json", r"no map is there for b\.png of"),
        (lambda d: np.save(d / "pred/c.npy", IDS["a"]), "true", r"c\.npy: no label of this name"),
        (lambda d: np.save(d / "pred/c.npy", IDS["a"]), "gt.json", r"c\.npy: is for no image of"),
        (lambda d: (d / "gt.json").unlink(), "gt.json", r"gt\.json: no such file"),
        (lambda d: (d / "gt.json").write_text("[]"), "gt.json", "is a list of results"),
    ],
)
def test_other_images_are_refused(sides, change, truths, words):
    change(sides)
    with pytest.raises(InputError, match=words):
        open_inputs(sides / "pred", sides / truths)


def test_maps_say_no_class_where_there_are_several(sides):
    content = json.loads((sides / "gt.json").read_text())
    content["categories"].append({"id": 5, "name": "other"})
    (sides / "gt.json").write_text(json.dumps(content))
    with pytest.raises(InputError, match="has 2 classes, and instance maps say none"):
        open_inputs(sides / "pred", sides / "gt.json")
    assert len(open_inputs(sides / "pred", sides / "gt.json", options=MapOptions(1000)).images) == 2


def test_class_maps_have_the_names_of_the_maps(sides):
    (sides / "classes").mkdir()
    for name, ids in IDS.items():
        np.save(sides / "classes" / f"{name}.npy", (ids > 0) * 2)
    folders = [sides / "classes"] * 2
    inputs = open_inputs(sides / "pred", sides / "true", class_maps=folders)
    assert inputs.images[0].load()[0].classes.tolist() == [2, 2]
    (sides / "classes" / "b.npy").unlink()
    with pytest.raises(InputError, match=r"b\.npy: no class map of this name"):
        open_inputs(sides / "pred", sides / "true", class_maps=folders)
    with pytest.raises(InputError, match="is for two folders of maps"):
        open_inputs(sides / "pred", sides / "gt.json", class_maps=folders)
