"""RoIAlign against recorded numbers and a naive form of its definition."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from golden.recipe_instances import recipe_input

from segalias_jax import ops
from segalias_jax.errors import InputError


def channels_last(x):
    return np.moveaxis(x, 1, -1)


@pytest.mark.parametrize("stride", [4, 8, 16, 32])
def test_recorded_values_and_gradients(golden, stride):
    with golden("i_roi_align") as file:
        recorded = dict(file)
    cases = [name[2:] for name in recorded if name.startswith(f"y_s{stride}_")]
    if not cases:
        pytest.skip("not in the sample of the recordings")
    x, rois = recorded[f"x_s{stride}"], recorded[f"rois_s{stride}"]
    image = rois[:, 0].astype(int)
    # All boxes on both images: each box's own is picked below.
    boxes = jnp.broadcast_to(jnp.asarray(rois[:, 1:]), (2, len(rois), 4))

    def pooled(x, case, method):
        _, size, aligned, ratio = case.split("_")
        y = ops.roi_align(
            x,
            boxes,
            int(size[1:]),
            scale=1 / stride,
            aligned=aligned == "a1",
            sampling_ratio=2 if ratio == "r2" else 0,
            method=method,
        )
        return y[image, np.arange(len(rois))]

    @jax.jit
    def run(x):
        results = {}
        for case in cases:
            for method in ("gather", "product") if case.endswith("r2") else ("product",):
                y, pull = jax.vjp(functools.partial(pooled, case=case, method=method), x)
                shape = (len(rois), x.shape[-1], *y.shape[1:3])
                slope = jnp.asarray(channels_last(recipe_input(shape, 1007)))
                results[case, method] = y, pull(slope)[0]
        return results

    for (case, method), (y, gradient) in run(jnp.asarray(channels_last(x))).items():
        message = f"{case} {method}"
        np.testing.assert_allclose(
            y, channels_last(recorded[f"y_{case}"]), rtol=0, atol=2e-5, err_msg=message
        )
        # Up to 49 numbers add up in one pixel.
        bound = 2e-6 * max(10, np.abs(recorded[f"gx_{case}"]).max())
        np.testing.assert_allclose(
            gradient, channels_last(recorded[f"gx_{case}"]), rtol=0, atol=bound, err_msg=message
        )


def naive(feature, box, size, scale, aligned, ratio):
    """Sample after sample, by the definition."""
    offset = 0.5 if aligned else 0.0
    x1, y1, x2, y2 = np.asarray(box, np.float64) * scale - offset
    height, width = y2 - y1, x2 - x1
    if not aligned:
        height, width = max(height, 1.0), max(width, 1.0)
    rows, columns = (ratio or max(1, int(np.ceil(side / size))) for side in (height, width))
    result = np.zeros((size, size, feature.shape[-1]))
    for i, j, a, b in np.ndindex(size, size, rows, columns):
        y = y1 + (i + (a + 0.5) / rows) * height / size
        x = x1 + (j + (b + 0.5) / columns) * width / size
        result[i, j] += bilinear(feature, y, x) / (rows * columns)
    return result


def bilinear(feature, y, x):
    height, width = feature.shape[:2]
    if not (-1 <= y <= height and -1 <= x <= width):
        return 0
    y, x = np.clip(y, 0, height - 1), np.clip(x, 0, width - 1)
    i, j = int(y), int(x)
    k, m = min(i + 1, height - 1), min(j + 1, width - 1)
    v, u = y - i, x - j
    upper = (1 - u) * feature[i, j] + u * feature[i, m]
    lower = (1 - u) * feature[k, j] + u * feature[k, m]
    return (1 - v) * upper + v * lower


def test_levels_samples_and_boxes_far_outside():
    """Boxes much larger than the map need more samples than any bound by its size allows."""
    random = np.random.default_rng(0)
    maps = [random.normal(size=(1, n, m, 2)) for n, m in ((13, 9), (7, 5))]
    boxes = np.array([[[-3, 2, 30, 17], [20, 20, 90, 30], [-40, -60, 200, 90], [5, 5, 5, 5]]])
    levels = np.array([[0, 1, 1, 0]])
    with jax.enable_x64(True):
        arrays = [jnp.asarray(part, jnp.float64) for part in (*maps, boxes)]
        for aligned, ratio, method in (
            (True, 3, "gather"),
            (False, 3, "product"),
            (True, 0, "auto"),
        ):
            pool = functools.partial(
                ops.roi_align_levels,
                size=3,
                scales=(0.5, 0.25),
                aligned=aligned,
                sampling_ratio=ratio,
                method=method,
            )
            y = jax.jit(pool)(tuple(arrays[:2]), arrays[2], jnp.asarray(levels))
            expected = [
                naive(maps[level][0], box, 3, (0.5, 0.25)[level], aligned, ratio)
                for box, level in zip(boxes[0], levels[0], strict=True)
            ]
            np.testing.assert_allclose(y[0], expected, rtol=0, atol=1e-12)


def test_many_boxes_are_those_of_few():
    """More than are computed at a time, and no multiple of it."""
    random = np.random.default_rng(1)
    x = jnp.asarray(random.normal(size=(2, 6, 8, 3)), jnp.float32)
    corner, side = random.uniform(0, 20, (2, 2, 70, 2))
    boxes = jnp.asarray(np.concatenate([corner, corner + side], -1), jnp.float32)
    pool = jax.jit(lambda boxes: ops.roi_align(x, boxes, 2, scale=0.25))
    halves = [pool(boxes[:, :35]), pool(boxes[:, 35:])]
    np.testing.assert_allclose(pool(boxes), np.concatenate(halves, 1), rtol=0, atol=1e-6)


def test_boxes_get_no_gradient():
    x, boxes = jnp.ones((1, 4, 4, 1)).cumsum(1), jnp.array([[[0.0, 0.0, 3.0, 3.0]]])
    gradient = jax.grad(lambda boxes: ops.roi_align(x, boxes, 2, scale=1.0).sum())(boxes)
    assert not gradient.any()


def test_levels_are_the_recorded_ones(golden):
    recorded = golden("i_masks")
    boxes = jnp.concatenate([recorded["levels_boxes_0"], recorded["levels_boxes_1"]])
    levels = ops.roi_levels(boxes.astype(jnp.float32), finest=2, coarsest=5)
    np.testing.assert_array_equal(levels, recorded["levels_index"])


def test_recorded_mask_targets(golden):
    recorded = golden("i_masks")
    masks, boxes, index = (
        jnp.asarray(recorded[f"target_{part}"]) for part in ("truths", "boxes", "index")
    )
    # In an image that is padded: what lies behind its end is never read.
    padded = jnp.pad(masks, ((0, 0), (0, 4), (0, 2)), constant_values=255)
    padded = padded.at[:, :60, 10].set(masks[..., 10] | 0b1111)
    run = jax.jit(lambda masks, size: ops.roi_align_masks(masks, boxes, index, 28, image_size=size))
    targets = run(padded, jnp.array([60, 84]))
    np.testing.assert_allclose(targets, recorded["mask_targets_28"], rtol=0, atol=1e-5)


def test_errors():
    x, boxes = jnp.ones((1, 4, 4, 1)), jnp.ones((1, 1, 4))
    with pytest.raises(InputError, match="method is 'gather', which needs to know the number"):
        ops.roi_align(x, boxes, 2, scale=1.0, sampling_ratio=0, method="gather")
    with pytest.raises(InputError, match="method is 'scatter'; choose one of auto, gather, produc"):
        ops.roi_align(x, boxes, 2, scale=1.0, method="scatter")
