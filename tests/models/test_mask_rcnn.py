"""The whole detector: recorded numbers of torchvision's, stage by stage, and its losses."""

import json
from typing import Any

import detectors
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from golden.recipe_instances import recipe_image

from segalias_jax import models, ops
from segalias_jax.errors import InputError
from segalias_jax.models import roi_heads
from segalias_jax.models.detections import Proposals, Truths
from segalias_jax.torch_weights.names import key_table, to_torch

LEVELS = ("0", "1", "2", "3", "pool")


def grids(levels):
    return tuple((level.shape[1], level.shape[2]) for level in levels)


@nnx.jit
def stages(model, image, size):
    levels = model.levels(model.encoder(image))
    logits, deltas = model.rpn(levels)
    anchors = model.rpn.anchors(grids(levels), ops.image_size(image))
    proposals = model.rpn.propose(
        logits, deltas, anchors, size, pre_nms=model.pre_nms, post_nms=model.post_nms
    )
    pooled = model.pool(levels, proposals.boxes, 7)
    class_logits, box_deltas = model.box_head(pooled)
    detections = model.detect_in(levels, proposals, size)
    mask_pooled = model.pool(levels, detections.boxes, 14)
    return {
        "levels": levels,
        "rpn_logits": jnp.concatenate(logits, 1),
        "rpn_deltas": jnp.concatenate(deltas, 1),
        "proposals": proposals,
        "box_pool": pooled,
        "class_logits": class_logits,
        "box_deltas": box_deltas,
        "detections": detections,
        "mask_pool": mask_pooled,
        "mask_logits": model.mask_head(mask_pooled),
    }


def close(ours, recorded, bound, message):
    np.testing.assert_allclose(ours, recorded, rtol=0, atol=bound, err_msg=message)


CASES = {
    "i_maskrcnn_r18": [(160, 224, 2007)],
    "i_maskrcnn_r18_pair": [(160, 224, 2138), (176, 160, 2139)],
}


@pytest.mark.parametrize("case", CASES)
def test_every_recorded_stage(golden, golden_json, case):
    if not golden_json(case).with_suffix(".npz").exists():
        pytest.skip("not in the sample of the recordings")
    recorded = golden(case)
    image, size = detectors.padded_images([recipe_image(*given) for given in CASES[case]])
    found = stages(detectors.recorded_model(), jnp.asarray(image), jnp.asarray(size))
    compare_maps(found, recorded)
    count = 150 * len(image)
    flat = {
        name: np.asarray(found[name]).reshape(count, -1)
        for name in ("box_pool", "class_logits", "box_deltas")
    }
    for name in ("class_logits", "box_deltas"):
        # Of unoptimized programs, logits of 3 round to 1.03e-4; else to 8e-5.
        np.testing.assert_allclose(flat[name], recorded[name], rtol=1e-5, atol=1e-4, err_msg=name)
    # Sums over 12,544 features: as far apart as their mean error.
    close(flat["box_pool"].sum(1, dtype=np.float64), recorded["box_pool_sum"], 0.05, "box_pool")
    for i in range(len(image)):
        proposals = found["proposals"]
        assert proposals.valid[i].all()
        close(proposals.boxes[i], recorded[f"proposals_{i}"], 2e-3, "proposals")
        close(proposals.scores[i], recorded[f"proposal_scores_{i}"], 5e-5, "proposal scores")
        compare_detections(found["detections"], recorded, i)
    compare_masks(found, recorded, size)


def compare_maps(found, recorded):
    for level, name in zip(found["levels"], LEVELS, strict=True):
        ours = np.moveaxis(np.asarray(level), -1, 1)
        for key in recorded.files:
            if key.startswith(f"feat_{name}_every"):
                every = int(key.rpartition("every")[2])
                close(ours[:, ::every], recorded[key], 1e-4, key)
    close(found["rpn_logits"], recorded["rpn_logits"], 1e-4, "rpn_logits")
    close(found["rpn_deltas"], recorded["rpn_deltas"], 1e-4, "rpn_deltas")


def compare_detections(detections, recorded, i):
    """The same choice, in the same order; nothing after it."""
    classes, boxes, scores = (
        np.asarray(part[i]) for part in (detections.classes, detections.boxes, detections.scores)
    )
    count = len(recorded[f"det_labels_{i}"])
    np.testing.assert_array_equal(classes[:count], recorded[f"det_labels_{i}"])
    close(boxes[:count], recorded[f"det_boxes_{i}"], 2e-3, "boxes")
    close(scores[:count], recorded[f"det_scores_{i}"], 5e-5, "scores")
    for part in (classes, boxes, scores, np.asarray(detections.masks[i])):
        assert not part[count:].any()


def compare_masks(found, recorded, size):
    kept = np.asarray(found["detections"].classes) > 0
    logits = np.moveaxis(np.asarray(found["mask_logits"])[kept], -1, 1)
    # Boxes are 1e-3 pixels apart, so that what is pooled from them differs more than they round.
    close(logits[:2], recorded["mask_logits_first"], 3e-4, "mask_logits")
    close(logits.sum((2, 3), dtype=np.float64), recorded["mask_logits_sum"], 0.1, "mask_logits")
    if "mask_logits_of_label" in recorded:
        label = np.asarray(found["detections"].classes)[kept]
        own = logits[np.arange(len(label)), label]
        np.testing.assert_allclose(own, recorded["mask_logits_of_label"], rtol=1e-3, atol=1e-3)
    masks = np.asarray(found["detections"].masks)[kept]
    wide = np.exp(-logits[np.arange(len(masks)), np.asarray(found["detections"].classes)[kept]])
    np.testing.assert_allclose(masks, 1 / (1 + wide), rtol=1e-5, atol=1e-6)


def recorded_samples(recorded, kind, count):
    index, positive, valid = (np.zeros((2, count), t) for t in (np.int32, bool, bool))
    for i in range(2):
        chosen = [recorded[f"{kind}_{sign}_{i}"] for sign in ("pos", "neg")]
        total = sum(map(len, chosen))
        index[i, :total] = np.concatenate(chosen)
        positive[i, : len(chosen[0])], valid[i, :total] = True, True
    return ops.Samples(*map(jnp.asarray, (index, positive, valid)))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_recorded_losses_and_gradients(golden, golden_json, dtype):
    """Of recorded samples of recorded proposals; the labels of all, and our proposals, too."""
    path = golden_json("i_maskrcnn_train")
    if not path.exists():
        pytest.skip("not in the sample of the recordings")
    recorded, numbers = golden("i_maskrcnn_train"), json.loads(path.read_text())
    with jax.enable_x64(dtype == np.float64):
        model = detectors.recorded_model(dtype)
        image, batch = detectors.recorded_batch(dtype)
        truths = Truths.of_batch(jax.tree.map(jnp.asarray, batch))
        of_anchors, of_boxes = (
            recorded_samples(recorded, kind, n) for kind, n in (("rpn", 64), ("roi", 48))
        )
        boxes = np.stack([recorded["proposals_0"], recorded["proposals_1"]]).astype(dtype)
        whole = Proposals(jnp.asarray(boxes), jnp.ones((2, 1000)), jnp.ones((2, 1000), bool))
        graph, parameters, rest = nnx.split(model, nnx.Param, ...)

        def losses(parameters, image):
            model = nnx.merge(graph, parameters, rest)
            levels = model.levels(model.encoder(image))
            logits, deltas = model.rpn(levels)
            anchors = model.rpn.anchors(grids(levels), ops.image_size(image))
            match = model.rpn.match(jnp.concatenate(anchors), truths)
            found = model.rpn.losses(logits, deltas, anchors, match, of_anchors, truths)
            proposals = model.rpn.propose(
                logits, deltas, anchors, truths.sizes, pre_nms=1000, post_nms=1000
            )
            every, exist = roi_heads.candidates(whole, truths)
            of_every = roi_heads.match_candidates(every, exist, truths)
            found |= model.head_losses(levels, every, of_every, of_boxes, truths, jax.random.key(0))
            return sum(found.values()), (found, match, of_every, proposals)

        run = jax.jit(jax.grad(losses, has_aux=True))
        gradient, (found, match, of_every, proposals) = run(parameters, jnp.asarray(image))
    wide = dtype == np.float64
    for name, value in numbers["losses"].items():
        assert abs(float(found[name]) - value) < (1e-9 if wide else 2e-6), name
    for i, count in enumerate((5, 3)):
        label = np.clip(np.asarray(match[i]), -2, 0)
        ours = np.select([label == 0, label == -1], [1, 0], -1)
        np.testing.assert_array_equal(ours, recorded[f"rpn_anchor_labels_{i}"])
        truth = np.asarray(of_every[i])[: 1000 + count]
        label = np.where(truth >= 0, batch["classes"][i][np.maximum(truth, 0)], 0)
        np.testing.assert_array_equal(label, recorded[f"roi_labels_all_{i}"])
        if wide:
            close(proposals.boxes[i], recorded[f"proposals_{i}"], 1e-9, "proposals")
    compare_gradients(model, gradient, recorded, numbers, 1e-6 if wide else 1e-2)


def compare_gradients(model, gradient, recorded, numbers, bound):
    of_leaf = dict(nnx.to_flat_state(gradient))
    norms, compared = numbers["grad_norms"], set()
    for name, path in key_table(model).items():
        if path not in of_leaf:
            continue
        ours = to_torch(name, np.asarray(of_leaf[path][...], np.float64))
        norm = np.linalg.norm(ours)
        assert abs(norm - norms[name]) <= bound * norms[name], name
        compared.add(name)
        if f"grad_{name}" in recorded:
            difference = np.linalg.norm(ours - recorded[f"grad_{name}"])
            assert difference <= bound * norms[name], name
    assert compared == set(norms)


class Waves(nnx.Module):
    """An encoder that costs nothing: pixels of the image, and a number to learn."""

    channels, strides = (3, 3), (8, 16)

    def __init__(self):
        self.scale = nnx.Param(jnp.ones(3))

    def __call__(self, x):
        return tuple(self.scale[...] * x[:, ::stride, ::stride] for stride in self.strides)


def small(**options: Any):
    given: dict[str, Any] = {
        "pyramid_channels": 6,
        "box_channels": 8,
        "mask_channels": 5,
        "box_samples": 12,
    }
    given |= {"pre_nms_train": 20, "post_nms_train": 16, "max_detections": 4}
    given |= {"pre_nms": 20, "post_nms": 16}
    return models.MaskRCNN(Waves(), num_classes=3, rngs=nnx.Rngs(0), **given | options)


def test_losses_of_any_batch():
    """Gradients reach every parameter; crowds, filling and rows without an image change nothing.

    All anchors are sampled, so that those of the coarsest levels are.
    """
    random = np.random.default_rng(0)
    image = jnp.asarray(random.normal(size=(2, 64, 64, 3)), jnp.float32)
    masks = np.zeros((2, 3, 64, 64), np.uint8)
    masks[:, 0, 8:40, 8:40] = masks[:, 1, 30:60, 20:64] = masks[:, 2, :9, :9] = 1
    boxes = jnp.tile(jnp.array([[8.0, 8, 40, 40], [20, 30, 64, 60], [0, 0, 9, 9]]), (2, 1, 1))
    batch = {
        "boxes": boxes,
        "classes": jnp.array([[1, 3, 0], [2, 0, 0]], jnp.int32),
        "crowd": jnp.zeros((2, 3), bool),
        "masks": jnp.asarray(np.packbits(masks, axis=-1)),
        "size": jnp.array([[64, 60], [48, 64]], jnp.int32),
        "valid": jnp.ones(2, bool),
    }
    graph, parameters, rest = nnx.split(small(rpn_samples=300), nnx.Param, ...)

    @jax.jit
    def run(parameters, image, batch, key):
        def losses(parameters):
            found = nnx.merge(graph, parameters, rest).losses(image, batch, key)
            return sum(found.values()), found

        return jax.grad(losses, has_aux=True)(parameters)

    key = jax.random.key(0)
    gradient, found = run(parameters, image, batch, key)
    assert found.keys() == {
        *("loss_objectness", "loss_rpn_box_reg", "loss_classifier", "loss_box_reg", "loss_mask")
    }
    assert all(np.isfinite(value) and value > 0 for value in found.values())
    for path, leaf in nnx.to_flat_state(gradient):
        assert np.isfinite(leaf[...]).all() and np.any(leaf[...] != 0), path
    again = run(parameters, image, batch, key)[1]
    assert again == found
    other = run(parameters, image, batch, jax.random.key(1))[1]
    assert other != found

    third = batch["classes"].at[:, 2].set(2)
    crowds = batch | {"classes": third, "crowd": batch["crowd"].at[:, 2].set(True)}
    assert run(parameters, image, crowds, key)[1] == found

    def of_first(second):
        given = {k: v.at[1].set(v[1] + second.astype(v.dtype)) for k, v in batch.items()}
        rows = given | {"valid": jnp.array([True, False]), "crowd": batch["crowd"]}
        changed = image.at[1].add(second)
        rows["size"] = batch["size"]
        return run(parameters, changed, rows, key)[1]

    one, two = of_first(jnp.float32(0)), of_first(jnp.float32(1))
    assert one == two and one != found

    nothing = batch | {"classes": jnp.zeros_like(batch["classes"])}
    found = run(parameters, image, nothing, key)[1]
    assert found["loss_mask"] == found["loss_box_reg"] == found["loss_rpn_box_reg"] == 0
    assert found["loss_objectness"] > 0 and found["loss_classifier"] > 0


@pytest.mark.parametrize(
    "encoder, convention", [("convnext_tiny", "mmdetection"), ("double_conv", "torchvision")]
)
def test_any_encoder_filter_and_mixer(encoder, convention):
    config = {"name": "mask_rcnn", "encoder": encoder, "width": 8, "convention": convention}
    config |= {"pyramid_channels": 8, "box_channels": 8, "mask_channels": 8}
    if encoder != "double_conv":
        config |= {"downsample": "daf", "mixer": "freqmix"}

    def run(image, size):
        model = models.create_detector(config, num_classes=3, rngs=nnx.Rngs(0))
        return model.detect(image, size)

    image, size = (
        jax.ShapeDtypeStruct(shape, t)
        for shape, t in (((2, 64, 96, 3), jnp.bfloat16), ((2, 2), jnp.int32))
    )
    found = jax.eval_shape(run, image, size)
    assert found.boxes.shape == (2, 100, 4) and found.masks.shape == (2, 100, 28, 28)
    assert found.boxes.dtype == found.masks.dtype == found.scores.dtype == jnp.float32
    assert found.classes.dtype == jnp.int32


def test_one_program_for_all_images_of_a_padded_size():
    graph, state = nnx.split(small())
    traced = []

    @jax.jit
    def detect(state, image, size):
        traced.append(image.shape)
        return nnx.merge(graph, state).detect(image, size)

    for height in (33, 64):
        image = jnp.zeros((1, 64, 64, 3)).at[:, :height].set(1.0)
        found = detect(state, image, jnp.array([[height, 50]]))
        assert float(found.boxes[..., 3].max()) <= height
        assert float(found.boxes[..., 2].max()) <= 50
    assert len(traced) == 1


@pytest.mark.parametrize(
    "config, message",
    [
        ({"output_stride": 8}, "strides are 4, 8, 8, 8, but mask_rcnn needs strides that double"),
        ({"pool_scales": (1,)}, r"pool_scales is \(1,\), which neither mask_rcnn nor resnet50 rea"),
        ({"auxiliary": False}, "auxiliary is False, which neither mask_rcnn nor resnet50 reads"),
        ({"name": "upernet"}, "name is 'upernet', which models.create_model builds"),
        ({"pretrained": "r50"}, "pretrained: create_detector makes random parameters"),
        ({"anchor_ratios": (0.5, -1.0)}, "anchor_ratios"),
    ],
)
def test_settings_that_do_not_fit(config, message):
    config = {"name": "mask_rcnn"} | config
    with pytest.raises(InputError, match=message):
        nnx.eval_shape(lambda: models.create_detector(config, num_classes=3, rngs=nnx.Rngs(0)))


def test_a_detector_is_no_segmenter():
    with pytest.raises(InputError, match="'mask_rcnn', which models.create_detector builds"):
        models.create_model({"name": "mask_rcnn"}, num_classes=3, rngs=nnx.Rngs(0))
