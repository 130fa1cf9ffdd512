"""Detectors as programs: the same objects in the same order by JAX, StableHLO and onnxruntime."""

import json

import cv2
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import segalias_jax as sa
from segalias_jax import cli, models
from segalias_jax.errors import InputError
from segalias_jax.export import export_model
from segalias_jax.inference import check_program, load_exported, load_trained


@pytest.fixture(scope="module")
def trained(detector_run):
    return load_trained(detector_run)


def padded_images(count=3):
    random, rows = np.random.default_rng(2), []
    for height, width in ((64, 85), (50, 96), (64, 96))[:count]:
        small = random.integers(0, 256, (16, 24, 3), np.uint8)
        row = np.full((1, 64, 96, 3), 255, np.uint8)  # padding may hold anything
        row[0, :height, :width] = cv2.resize(small, (width, height))
        rows.append((row, np.array([[height, width]], np.int32)))
    return rows


def check_same(found, expected):
    """Of masks and boxes the tolerances that other runtimes are held to."""
    boxes, scores, classes, masks = found
    np.testing.assert_array_equal(classes, expected.classes)
    np.testing.assert_allclose(scores, expected.scores, atol=1e-5)
    np.testing.assert_allclose(boxes, expected.boxes, atol=1e-3)
    np.testing.assert_allclose(masks, expected.masks, atol=1e-4)


def test_onnxruntime_finds_the_same_objects(trained, detector_run, tmp_path):
    pytest.importorskip("onnx")
    runtime = pytest.importorskip("onnxruntime")
    export_model(trained, tmp_path / "onnx", format="onnx")
    session = runtime.InferenceSession(
        str(check_program(tmp_path / "onnx")), providers=["CPUExecutionProvider"]
    )
    manifest = json.loads((tmp_path / "onnx/manifest.json").read_text())
    assert manifest["task"] == "instances" and manifest["input"]["shape"] == [1, 64, 96, 3]
    predictor = sa.Predictor(detector_run)
    numbers = set()
    for image, size in padded_images():
        names = [manifest[key]["name"] for key in ("input", "size")]
        found = session.run(list(manifest["outputs"]), dict(zip(names, (image, size), strict=True)))
        for array, (name, about) in zip(found, manifest["outputs"].items(), strict=True):
            assert list(array.shape) == about["shape"] and array.dtype == about["dtype"], name
        expected = predictor._detect(image, size)
        check_same(found, expected)
        numbers.add(int((found[2] > 0).sum()))
    assert max(numbers) > 2


class Maps(nnx.Module):
    """An encoder of no account: masks start from levels."""

    channels, strides = (3, 3), (8, 16)

    def __call__(self, x):
        return (x, x)


def test_onnxruntime_refines_the_same_masks():
    """What PointRend has beyond Mask R-CNN: doublings, points, and their numbers put back."""
    pytest.importorskip("onnx")
    runtime = pytest.importorskip("onnxruntime")
    from segalias_jax.export.onnx_rules import to_onnx

    random = np.random.default_rng(0)
    given = {"pyramid_channels": 6, "box_channels": 8, "mask_channels": 5}
    model = models.PointRend(Maps(), num_classes=3, rngs=nnx.Rngs(0), **given)
    head = model.mask_head
    head.subdivisions, head.refined_points = 3, 200
    for layer in (head.coarse.logits, head.points.logits):  # which start at zero, nearly
        kernel = random.normal(size=layer.kernel.shape).astype(np.float32)
        layer.kernel.set_value(jnp.asarray(kernel))
    level = random.normal(size=(1, 8, 8, 6)).astype(np.float32)
    boxes = np.array([[[8.0, 4, 44, 40], [20, 30, 64, 60]]], np.float32)
    classes = np.array([[2, 1]], np.int32)
    arrays = {"level": level, "boxes": boxes, "classes": classes}

    def masks(level, boxes, classes):
        return model.masks((level,), boxes, classes)

    shapes = {key: jax.ShapeDtypeStruct(x.shape, x.dtype) for key, x in arrays.items()}
    program = to_onnx(masks, shapes, ["masks"]).SerializeToString()
    session = runtime.InferenceSession(program, providers=["CPUExecutionProvider"])
    (found,) = session.run(None, arrays)
    expected = np.asarray(jax.jit(masks)(*arrays.values()))
    assert found.shape[2:] == (model.mask_side,) * 2 and expected.std() > 0.1
    # A point as unsure as another may be chosen instead of it: numbers that differ by rounding.
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_stablehlo_predicts_as_the_run(trained, detector_run, tmp_path, capsys):
    words = ["--run", str(detector_run), "--out", str(tmp_path / "new"), "--size", "64,96"]
    assert cli.main(["export", *words, "--format", "stablehlo"]) == 0
    exported, run = sa.Predictor(tmp_path / "new"), sa.Predictor(detector_run)
    image = padded_images(1)[0][0][0, :60, :80]
    one, other = exported(image), run(image)
    found = one._detections
    check_same([found.boxes, found.scores, found.classes, found.masks], other._detections)
    assert exported.classes == run.classes and len(one) > 1
    with pytest.raises(InputError, match="takes one image of 64x96 pixels, and this one would be"):
        exported(np.zeros((80, 60, 3), np.uint8))
    with pytest.raises(InputError, match="holds a program of task instances, not semantic"):
        load_exported(tmp_path / "new")
    with pytest.raises(InputError, match="padded: is fixed in an exported program"):
        sa.Predictor(tmp_path / "new", padded=(64, 64))


@pytest.mark.parametrize(
    "options, message",
    [
        ({"size": "any"}, "size is 'any', but programs of detectors have a size; give H,W"),
        ({"size": (60, 96)}, "detectors take multiples of 32; give 64,96"),
        ({"batch": 2}, "batch is 2, but programs of detectors take one image"),
        ({"format": "savedmodel"}, "detectors have 'stablehlo' and 'onnx'"),
    ],
)
def test_what_is_refused(trained, tmp_path, options, message):
    with pytest.raises(InputError, match=message):
        export_model(trained, tmp_path / "new", **{"format": "stablehlo"} | options)
    assert not (tmp_path / "new").exists()
