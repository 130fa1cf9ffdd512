"""Semantic segmentation as a task, with networks that know nothing of it."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

import segalias_jax as sa
from segalias_jax import ops
from segalias_jax.errors import InputError
from segalias_jax.losses import segmentation_loss
from segalias_jax.tasks import SemanticSegmentation
from segalias_jax.training.sharding import create_mesh


class Coarse(nnx.Module):
    """Gives logits at a quarter of the image's size, as patch networks do."""

    def __init__(self, num_classes, rngs):
        self.conv = nnx.Conv(3, num_classes, (4, 4), (4, 4), rngs=rngs)

    def __call__(self, x):
        return self.conv(x)


def make_batch(num_classes=3, rows=4, size=(16, 12)):
    rng = np.random.default_rng(0)
    label = rng.integers(0, num_classes, (rows, *size)).astype(np.int32)
    label[0, :5] = 255
    image = rng.integers(0, 256, (rows, *size, 3), np.uint8)
    return {"image": image, "label": label, "valid": np.arange(rows) < rows - 1}


def test_coarse_logits_are_resized_to_labels_and_images():
    batch, task = (
        make_batch(),
        SemanticSegmentation(3, average="valid", class_weights=(1.0, 2.0, 3.0)),
    )
    model = Coarse(3, nnx.Rngs(0))
    image = jnp.asarray(batch["image"])
    logits = ops.resize_bilinear(model(ops.normalize_image(image)), (16, 12))
    expected = segmentation_loss(
        logits,
        (),
        jnp.asarray(batch["label"]),
        average="valid",
        class_weights=(1.0, 2.0, 3.0),
        valid=jnp.asarray(batch["valid"]),
    )
    loss, numbers = task.loss(model, jax.tree.map(jnp.asarray, batch))
    np.testing.assert_allclose(loss, expected, rtol=1e-6)
    assert numbers == {}
    np.testing.assert_array_equal(task.predict(model, image), logits.argmax(-1))
    # Floats are taken as they are.
    floats = task.logits(model, ops.normalize_image(image))
    np.testing.assert_allclose(floats, logits, atol=1e-6)


@pytest.mark.parametrize("num_classes", [2, 3])
def test_scorer_leaves_out_what_is_not_valid_and_merges(num_classes):
    batch, task = make_batch(num_classes), SemanticSegmentation(num_classes)
    prediction = np.random.default_rng(1).integers(0, num_classes, batch["label"].shape)
    whole = task.scorer()
    whole.update(prediction, batch)
    parts = []
    for rows in (slice(0, 2), slice(2, 4)):
        parts.append(task.scorer())
        parts[-1].update(prediction[rows], {key: value[rows] for key, value in batch.items()})
    expected = sa.metrics.SegmentationScores.empty(num_classes)
    expected = expected.update(prediction[:3], batch["label"][:3]).compute()
    for scorer in (whole, parts[0].merge(parts[1])):
        scores = scorer.compute()
        assert scores["mIoU"] == expected["mIoU"] and scores["DErr"] == expected["DErr"]
        assert scores[task.headline] > 0
        assert ("Dice_mean_over_images" in scores) == (num_classes == 2)
        assert "mIoU" in task.describe(scores)


def test_weights_of_parts_are_the_pixels_that_are_averaged_over():
    batch = make_batch()
    for average, pixels in (("all", 3 * 16 * 12), ("valid", 3 * 16 * 12 - 5 * 12)):
        task = SemanticSegmentation(3, average=average)
        assert float(task.weight(jax.tree.map(jnp.asarray, batch))) == pixels
    assert not SemanticSegmentation(3, terms=(("dice", 1.0),)).sums
    without = {key: jnp.asarray(batch[key]) for key in ("image", "label")}
    assert float(SemanticSegmentation(3).weight(without)) == 4 * 16 * 12


def test_accumulation_of_a_loss_that_is_no_sum_is_refused():
    with pytest.raises(InputError, match="accumulate is 2, but the loss of a batch of Semantic"):
        sa.training.Trainer(
            lambda: Coarse(3, nnx.Rngs(0)),
            SemanticSegmentation(3, terms=(("dice", 1.0),)),
            optimizer=optax.sgd(0.1),
            mesh=create_mesh(devices=jax.devices()[:1]),
            accumulate=2,
        )


@pytest.mark.parametrize(
    "options, message",
    [
        ({"num_classes": 1}, "num_classes is 1; it must be at least 2"),
        ({"precision": "float16"}, "precision is 'float16'; .*choose one of float32, bfloat16"),
        ({"class_weights": (1.0,)}, "class_weights has 1 numbers for 3 classes"),
        ({"terms": (("dyce", 1.0),)}, "'dyce'"),
        ({"focal_gamma": 3.0}, "focal_gamma is set, but terms has no 'focal'"),
        ({"boundary": "sobel"}, "'sobel'"),
    ],
)
def test_errors_name_the_argument(options, message):
    with pytest.raises(InputError, match=message):
        SemanticSegmentation(**({"num_classes": 3} | options))
