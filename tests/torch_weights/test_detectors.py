"""Key tables of detectors: both ways, names and shapes of the published files."""

import json
import re

import detectors
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from segalias_jax import models
from segalias_jax.checkpoints import load_torch
from segalias_jax.errors import InputError
from segalias_jax.inference import load_trained
from segalias_jax.models import resnet
from segalias_jax.tasks import InstanceSegmentation
from segalias_jax.torch_weights.convert import convert, export
from segalias_jax.torch_weights.detectors import COCO_IDS, normalized
from segalias_jax.torch_weights.files import read_arrays, write_safetensors
from segalias_jax.torch_weights.load import fit_torch, torch_arrays
from segalias_jax.torch_weights.names import from_torch, key_table, leaves, to_torch

WIDE = {"name": "mask_rcnn", "encoder": "resnet50", "variant": "v1b"}
SMALL = {"name": "mask_rcnn", "encoder": "resnet18", "variant": "v1b", "width": 8}
SMALL |= {"pyramid_channels": 8, "box_channels": 6, "mask_channels": 5}

# Of torchvision's and of mmdetection's Mask R-CNN on a ResNet-50, with COCO's 80 classes.
SHAPES = {
    "torchvision": {
        "backbone.body.conv1.weight": (64, 3, 7, 7),
        "backbone.body.layer4.2.bn3.running_var": (2048,),
        "backbone.fpn.inner_blocks.0.0.weight": (256, 256, 1, 1),
        "backbone.fpn.layer_blocks.3.0.bias": (256,),
        "rpn.head.conv.0.0.weight": (256, 256, 3, 3),
        "rpn.head.cls_logits.weight": (3, 256, 1, 1),
        "rpn.head.bbox_pred.bias": (12,),
        "roi_heads.box_head.fc6.weight": (1024, 12544),
        "roi_heads.box_head.fc7.weight": (1024, 1024),
        "roi_heads.box_predictor.cls_score.weight": (81, 1024),
        "roi_heads.box_predictor.bbox_pred.weight": (324, 1024),
        "roi_heads.mask_head.3.0.weight": (256, 256, 3, 3),
        "roi_heads.mask_predictor.conv5_mask.weight": (256, 256, 2, 2),
        "roi_heads.mask_predictor.mask_fcn_logits.weight": (81, 256, 1, 1),
    },
    "mmdetection": {
        "backbone.conv1.weight": (64, 3, 7, 7),
        "backbone.layer4.2.bn3.running_var": (2048,),
        "neck.lateral_convs.0.conv.weight": (256, 256, 1, 1),
        "neck.fpn_convs.3.conv.bias": (256,),
        "rpn_head.rpn_conv.weight": (256, 256, 3, 3),
        "rpn_head.rpn_cls.weight": (3, 256, 1, 1),
        "rpn_head.rpn_reg.bias": (12,),
        "roi_head.bbox_head.shared_fcs.0.weight": (1024, 12544),
        "roi_head.bbox_head.shared_fcs.1.weight": (1024, 1024),
        "roi_head.bbox_head.fc_cls.weight": (81, 1024),
        "roi_head.bbox_head.fc_reg.weight": (320, 1024),
        "roi_head.mask_head.convs.3.conv.weight": (256, 256, 3, 3),
        "roi_head.mask_head.upsample.weight": (256, 256, 2, 2),
        "roi_head.mask_head.conv_logits.weight": (80, 256, 1, 1),
    },
}


def abstract(config, num_classes=80, **more):
    return nnx.eval_shape(
        lambda: models.create_detector(config | more, num_classes=num_classes, rngs=nnx.Rngs(0))
    )


def state_dict(model):
    """Random arrays in PyTorch's names."""
    random = np.random.default_rng(0)
    values = {
        path: abs(random.normal(size=leaf.shape)).astype(np.float32)
        for path, leaf in leaves(model).items()
    }
    return torch_arrays(model, values)


@pytest.mark.parametrize("convention", SHAPES)
def test_published_names_and_shapes(convention):
    model = abstract(WIDE, convention=convention)
    table = key_table(model)
    assert len(table) == len(leaves(model)) == 265 + 16 + 6 + 8 + 12
    shapes = {
        name: to_torch(name, np.empty(leaves(model)[table[name]].shape, np.int8)).shape
        for name in SHAPES[convention]
    }
    assert shapes == SHAPES[convention]


# Of mmdetection's PointRend, and of the low-light network of LIS inside of it.
POINT_REND = {
    "roi_head.mask_head.downsample_conv.conv.weight": (256, 256, 2, 2),
    "roi_head.mask_head.fcs.0.weight": (1024, 12544),
    "roi_head.mask_head.fcs.1.bias": (1024,),
    "roi_head.mask_head.fc_logits.weight": (80 * 49, 1024),
    "roi_head.point_head.fcs.0.conv.weight": (256, 256 + 80, 1),
    "roi_head.point_head.fcs.2.conv.bias": (256,),
    "roi_head.point_head.fc_logits.weight": (80, 256 + 80, 1),
    "backbone.AdaD.1.weight_net.0.weight": (9 * 256, 1, 3, 3),
    "backbone.AdaD.3.weight_net.1.running_mean": (9 * 1024,),
    "backbone.AdaD.2.channel_net.1.weight": (128, 512, 1, 1),
    "backbone.AdaD.2.channel_net.3.weight": (512, 128, 1, 1),
    "backbone.layer1.0.llpf.weight": (64, 1, 3, 3),
    "backbone.layer4.2.learnable_conv1.weight": (512, 512, 1, 1),
}
LOW_LIGHT = {"name": "point_rend", "downsample": "awd", "mixer": "scb"}


def test_names_and_shapes_of_point_rend_in_low_light():
    model = abstract(WIDE | LOW_LIGHT, convention="mmdetection", variant="v1a")
    table = key_table(model)
    of_filters, of_branches = 3 * (1 + 4 + 2), 2 * 16
    assert len(table) == len(leaves(model)) == 265 + 16 + 6 + 8 + of_filters + of_branches + 16
    shapes = {
        name: to_torch(name, np.empty(leaves(model)[table[name]].shape, np.int8)).shape
        for name in POINT_REND
    }
    assert shapes == POINT_REND
    with pytest.raises(InputError, match="known for point_rend with convention 'torchvision'"):
        key_table(abstract(SMALL, name="point_rend"))


@pytest.mark.parametrize(
    "convention, more", [(c, {}) for c in SHAPES] + [("mmdetection", LOW_LIGHT)]
)
def test_there_and_back(convention, more, tmp_path):
    model = abstract(SMALL | more, num_classes=4, convention=convention)
    arrays = state_dict(model)
    write_safetensors(tmp_path / "w.safetensors", arrays, {})
    filled, source = fit_torch(arrays, model, tmp_path / "w.safetensors")
    assert source.table == convention and not source.missing
    assert {path: array.shape for path, array in filled.items()} == {
        path: leaf.shape for path, leaf in leaves(model).items()
    }
    back = torch_arrays(model, filled)
    assert back.keys() == arrays.keys()
    for name, array in arrays.items():
        np.testing.assert_array_equal(back[name], array, err_msg=name)


def test_mmdetections_background_is_last_and_has_no_box():
    name = "roi_head.bbox_head.fc_cls.bias"
    assert from_torch(name, np.array([1.0, 2.0, 9.0])).tolist() == [9.0, 1.0, 2.0]
    name = "roi_head.bbox_head.fc_reg.bias"
    assert from_torch(name, np.arange(1.0, 9.0)).tolist() == [0] * 4 + list(range(1, 9))
    name = "roi_head.mask_head.conv_logits.weight"
    ours = from_torch(name, np.ones((2, 5, 1, 1)))
    assert ours.shape == (1, 1, 5, 3) and ours[0, 0, 0].tolist() == [0, 1, 1]


@pytest.mark.parametrize(
    "name", ["roi_heads.box_head.fc6.weight", "roi_head.bbox_head.shared_fcs.0.weight"]
)
def test_first_layer_reads_channels_before_cells(name):
    """W x is the same, of features flattened there by (channel, row, column)."""
    random = np.random.default_rng(0)
    theirs, features = random.normal(size=(3, 5 * 49)), random.normal(size=(7, 7, 5))
    ours = from_torch(name, theirs)
    expected = theirs @ features.transpose(2, 0, 1).ravel()
    np.testing.assert_allclose(np.einsum("ijco,ijc->o", ours, features), expected)


def test_transposed_kernel_starts_with_its_inputs():
    name = "roi_heads.mask_predictor.conv5_mask.weight"
    theirs = np.random.default_rng(0).normal(size=(4, 3, 2, 2))
    ours = from_torch(name, theirs)
    assert ours.shape == (2, 2, 4, 3) and ours[1, 0, 3, 2] == theirs[3, 2, 1, 0]


def test_names_of_torchvisions_own_file():
    """Written before 2022, with logits for all of COCO's ids."""
    old = {
        "backbone.fpn.inner_blocks.2.weight": "backbone.fpn.inner_blocks.2.0.weight",
        "backbone.fpn.layer_blocks.0.bias": "backbone.fpn.layer_blocks.0.0.bias",
        "rpn.head.conv.bias": "rpn.head.conv.0.0.bias",
        "roi_heads.mask_head.mask_fcn1.weight": "roi_heads.mask_head.0.0.weight",
        "backbone.body.layer1.0.conv1.weight": "backbone.body.layer1.0.conv1.weight",
        "rpn.head.cls_logits.bias": "rpn.head.cls_logits.bias",
    }
    arrays = {name: np.array([float(i)]) for i, name in enumerate(old)}
    found = normalized(arrays, 3)
    assert {new: found[new][0] for new in old.values()} == dict(
        zip(old.values(), range(6), strict=True)
    )
    assert len(COCO_IDS) == 80 and COCO_IDS[-1] == 90
    arrays = {"roi_heads.box_predictor.bbox_pred.bias": np.arange(364.0)}
    rows = normalized(arrays, 80)["roi_heads.box_predictor.bbox_pred.bias"].reshape(81, 4)
    assert rows[:, 0].tolist() == [0, *(4 * i for i in COCO_IDS)]
    assert len(normalized(arrays, 90)["roi_heads.box_predictor.bbox_pred.bias"]) == 364


def test_recorded_model_has_the_recorded_names(golden_json):
    """And another number of classes is refused, unless the heads may be missing."""
    model = abstract(detectors.CONFIG, num_classes=8)
    path = golden_json("i_maskrcnn_r18")
    if path.exists():
        names = json.loads(path.read_text())["state_keys"]
        ours = {name for name in names if not name.endswith("num_batches_tracked")}
        assert set(key_table(model)) == ours


def test_other_classes_and_backbones_alone(tmp_path):
    path = tmp_path / "w.safetensors"
    arrays = state_dict(abstract(SMALL, num_classes=4))
    write_safetensors(path, arrays, {})
    model = abstract(SMALL, num_classes=7)
    with pytest.raises(InputError, match=r"cls_score.bias is \(5,\) in the file and \(8,\) here"):
        fit_torch(arrays, model, path)
    filled, source = fit_torch(arrays, model, path, ["head"])
    assert source.missing == ("head",) and ("pyramid", "laterals", 0, "kernel") in filled
    assert ("box_head", "logits", "bias") not in filled

    prefix = "backbone.body."
    alone = {k.removeprefix(prefix): v for k, v in arrays.items() if k.startswith(prefix)}
    path = tmp_path / "backbone.safetensors"
    write_safetensors(path, alone | {"fc.bias": np.zeros(1000, np.float32)}, {})
    detector = models.create_detector(SMALL, num_classes=4, rngs=nnx.Rngs(0))
    source = load_torch(path, detector)
    assert source.table == "torchvision"
    ours = leaves(detector)["encoder", "stages", 0, 0, "conv1", "kernel"][...]
    theirs = alone["layer1.0.conv1.weight"]
    np.testing.assert_array_equal(ours, from_torch("conv1.weight", theirs))


TO_MMDETECTION = [
    (r"^backbone\.body\.", "backbone."),
    (r"^backbone\.fpn\.inner_blocks\.(\d)\.0", r"neck.lateral_convs.\1.conv"),
    (r"^backbone\.fpn\.layer_blocks\.(\d)\.0", r"neck.fpn_convs.\1.conv"),
    (r"^rpn\.head\.conv\.0\.0", "rpn_head.rpn_conv"),
    (r"^rpn\.head\.cls_logits", "rpn_head.rpn_cls"),
    (r"^rpn\.head\.bbox_pred", "rpn_head.rpn_reg"),
    (r"^roi_heads\.box_head\.fc6", "roi_head.bbox_head.shared_fcs.0"),
    (r"^roi_heads\.box_head\.fc7", "roi_head.bbox_head.shared_fcs.1"),
    (r"^roi_heads\.box_predictor\.cls_score", "roi_head.bbox_head.fc_cls"),
    (r"^roi_heads\.box_predictor\.bbox_pred", "roi_head.bbox_head.fc_reg"),
    (r"^roi_heads\.mask_head\.(\d)\.0", r"roi_head.mask_head.convs.\1.conv"),
    (r"^roi_heads\.mask_predictor\.conv5_mask", "roi_head.mask_head.upsample"),
    (r"^roi_heads\.mask_predictor\.mask_fcn_logits", "roi_head.mask_head.conv_logits"),
]


def test_mmdetections_file_of_the_recorded_network_is_the_recorded_network():
    """So that it finds what was recorded of torchvision's, see tests/models/test_mask_rcnn.py."""
    recorded = detectors.recorded_model()
    arrays = {}
    for name, path in key_table(recorded).items():
        array = to_torch(name, np.asarray(leaves(recorded)[path][...]))
        for pattern, replacement in TO_MMDETECTION:
            name = re.sub(pattern, replacement, name)
        if "fc_cls" in name:
            array = np.concatenate([array[1:], array[:1]])
        elif "fc_reg" in name or "conv_logits" in name:
            array = array[4 if "fc_reg" in name else 1 :]
        arrays[name] = array
    model = abstract(detectors.CONFIG, num_classes=8, convention="mmdetection")
    filled, source = fit_torch(arrays, model, "/dev/null")
    assert source.table == "mmdetection"
    for path, leaf in leaves(recorded).items():
        ours, expected = filled[path], np.asarray(leaf[...])
        if path[:2] in (("box_head", "deltas"), ("mask_head", "logits")):  # nobody reads the
            first = 4 if path[0] == "box_head" else 1  # background's
            ours, expected = ours[..., first:], expected[..., first:]
        np.testing.assert_array_equal(ours, expected, err_msg=str(path))


def test_what_is_for_bgr_bytes_detects_the_same_in_normalized_rgb(
    tmp_path, detector_recipe, monkeypatch
):
    """A file of mmdetection's "caffe" networks, as its own code shows it images."""
    kind, _ = resnet.RESNETS["resnet50"]
    monkeypatch.setitem(resnet.RESNETS, "resnet50", (kind, (1, 1, 1, 1)))  # compiled sooner
    config = detector_recipe.copy_and_resolve_references()
    config.model.update({"encoder": "resnet50", "variant": "v1a", "convention": "mmdetection"})
    section = config.model.to_dict()
    theirs = models.create_detector(section, num_classes=3, rngs=nnx.Rngs(0))
    for layer, factor in (
        (theirs.box_head.logits, 60),
        (theirs.box_head.deltas, 100),
        (theirs.rpn.logits, 20),
        (theirs.encoder.stem[0].conv, 1 / 58),
    ):
        layer.kernel.set_value(factor * layer.kernel[...])
    theirs.eval()
    arrays = {
        name: to_torch(name, np.asarray(leaves(theirs)[path][...]))
        for name, path in key_table(theirs).items()
    }
    path = tmp_path / "caffe.safetensors"
    write_safetensors(path, arrays, {})
    convert(path, tmp_path / "ours", section)
    ours = load_trained(tmp_path / "ours", config).model
    image = np.random.default_rng(0).integers(0, 256, (1, 64, 96, 3), np.uint8)
    size = jnp.array([[57, 90]])  # the rest is padding, zero whatever the bytes are
    less_mean = image[..., ::-1] - np.array([103.53, 116.28, 123.675], np.float32)
    seen = np.zeros_like(less_mean)
    seen[:, :57, :90] = less_mean[:, :57, :90]
    graph, _ = nnx.split(theirs)
    detect = jax.jit(lambda state, x: nnx.merge(graph, state).detect(x, size))
    expected = detect(nnx.state(theirs), seen)
    task = InstanceSegmentation(3)
    found = detect(nnx.state(ours), task.network_input(jnp.asarray(image), size))
    np.testing.assert_array_equal(found.classes, expected.classes)
    assert (np.asarray(found.classes) > 0).sum() > 2
    np.testing.assert_allclose(found.scores, expected.scores, atol=1e-5)
    np.testing.assert_allclose(found.boxes, expected.boxes, atol=1e-3)
    np.testing.assert_allclose(found.masks, expected.masks, atol=1e-5)
    # Without the change of the kernel another image would be seen.
    other = detect(nnx.state(theirs), task.network_input(jnp.asarray(image), size))
    assert np.abs(other.boxes - expected.boxes).max() > 1
    # And the way back gives their file again.
    export(tmp_path / "ours", tmp_path / "back.safetensors", section)
    back = read_arrays(tmp_path / "back.safetensors")
    assert back.keys() == arrays.keys()
    for name, array in arrays.items():
        np.testing.assert_allclose(back[name], array, rtol=2e-7, err_msg=name)
