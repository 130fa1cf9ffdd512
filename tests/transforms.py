"""What works under which transform of jax: every public operator, layer, loss and score.

`python tests/transforms.py` computes the whole table and writes docs/transforms.md; with names of
rows behind it, those are computed and printed. tests/test_transforms.py runs a part of it.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from tiny import QUICK_FLAGS

os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ.setdefault("XLA_FLAGS", f"--xla_force_host_platform_device_count=8 {QUICK_FLAGS}")

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P

import segalias_jax as sa
from segalias_jax import layers, losses, metrics, ops

PAGE = Path(__file__).parents[1] / "docs" / "transforms.md"
SHAPE = (8, 16, 16, 8)
SPECS = {"batch": P("a"), "height": P(None, "a"), "width": P(None, None, "a")}
SPECS |= {"channels": P(None, None, None, "a")}


class Row(NamedTuple):
    """One line of the table.

    `apply` maps an input to arrays. `kind` of input: "image" (floats), "bytes" or "labels".
    `whole`: its results are not those of images one by one, so it cannot be mapped or distributed
    by image. `why_not`: what cannot be, and the reason.
    """

    apply: Callable[[Any], Any]
    kind: str = "image"
    whole: bool = False
    why_not: dict[str, str] = {}


COUNTS = "counts have no derivative"
NO_DERIVATIVE = {"grad": COUNTS, "jvp": COUNTS, "remat": COUNTS}
INTEGERS = NO_DERIVATIVE | dict.fromkeys(("x64", "bfloat16", "float16"), "reads integers")
BYTES = {"grad": "reads integers", "jvp": "reads integers", "remat": "reads integers"}
BYTES |= dict.fromkeys(("x64", "bfloat16", "float16"), "reads integers")


REVERSE_ONLY = {
    "jvp": "its gradient on a CPU is one of its own, which jax does not take forward: can't apply "
    "forward-mode autodiff (jvp) to a custom_vjp function"
}


def draw(kind: str) -> Any:
    if kind == "image":
        return jax.random.normal(jax.random.key(0), SHAPE)
    if kind == "bytes":
        return jax.random.randint(jax.random.key(0), (8, 16, 16, 3), 0, 256).astype(jnp.uint8)
    return jax.random.randint(jax.random.key(0), (8, 16, 16), 0, 4)


def operators() -> dict[str, Row]:
    kernel = jax.random.normal(jax.random.key(1), (3, 3, 8, 8)) / 8
    small = jax.random.normal(jax.random.key(2), (3, 3, 16, 8)) / 8

    def joined(x: Any) -> Any:
        return ops.joined_conv2d((x, ops.average_pool_2x2(x)), small, (16, 16))

    def attended(x: Any) -> Any:
        corners = jnp.array([[1.0, 2, 12, 7.5], [-3, 5, 8, 9], [14, 0, 0.2, 17]], x.dtype)
        points = jnp.broadcast_to(corners.reshape(3, 1, 1, 2, 2), (len(x), 3, 1, 2, 2, 2))
        weights = jnp.broadcast_to(
            jnp.arange(1, 5.0, dtype=x.dtype).reshape(2, 2), points.shape[:-1]
        )
        levels = (x[:, :, :, None], ops.average_pool_2x2(x)[:, :, :, None])
        return ops.deformable_attention(levels, points, weights)

    def boxes(x: Any) -> Any:
        corners = jnp.array([[1.0, 2, 20, 30], [-3, 5, 8, 9], [14, 0, 40, 17]], x.dtype)
        return jnp.broadcast_to(corners, (len(x), 3, 4))

    return {
        "adaptive_avg_pool": Row(lambda x: ops.adaptive_avg_pool(x, (3, 4))),
        "aliasing_score": Row(lambda x: ops.aliasing_score(x, 0.25)),
        "average_pool_2x2": Row(ops.average_pool_2x2),
        "binomial_blur": Row(lambda x: ops.binomial_blur(x, 3, stride=2)),
        "boundary_band": Row(lambda y: ops.boundary_band(y, width=3), "labels", False, INTEGERS),
        "checkerboard_score": Row(ops.checkerboard_score),
        "conv2d": Row(lambda x: ops.conv2d(x, kernel, stride=2, padding=1)),
        "conv2d, one kernel per channel": Row(
            lambda x: ops.conv2d(x, kernel[:, :, :1], padding=1, groups=8), why_not=REVERSE_ONLY
        ),
        "conv2d_transpose": Row(lambda x: ops.conv2d_transpose(x, kernel[:2, :2])),
        "crop_or_extend": Row(lambda x: ops.crop_or_extend(x, (15, 17))),
        "deformable_attention": Row(attended),
        "dilate": Row(lambda y: ops.dilate(y > 1, 3), "labels", False, INTEGERS),
        "frequency_low_cut": Row(ops.frequency_low_cut),
        "insert_zeros": Row(lambda x: ops.insert_zeros(x, 2)),
        "joined_conv2d": Row(joined),
        "label_boundary": Row(ops.label_boundary, "labels", False, INTEGERS),
        "low_pass": Row(lambda x: ops.low_pass(x, 0.35)),
        "low_pass, band='reference'": Row(lambda x: ops.low_pass(x, 0.35, band="reference")),
        "majority_filter": Row(
            lambda y: ops.majority_filter(y, 3, num_classes=4), "labels", False, INTEGERS
        ),
        "max_pool": Row(lambda x: ops.max_pool(x, 3, stride=2, padding=1)),
        "max_pool_2x2": Row(ops.max_pool_2x2),
        "median_filter": Row(lambda x: ops.median_filter(x, 3)),
        "normalize_image": Row(ops.normalize_image, "bytes", False, BYTES),
        "ratio_low_pass": Row(lambda x: ops.ratio_low_pass(x, 0.5)),
        "ratio_low_pass, band='round'": Row(lambda x: ops.ratio_low_pass(x, 0.5, band="round")),
        "resize_bicubic": Row(lambda x: ops.resize_bicubic(x, (24, 10))),
        "resize_bilinear": Row(lambda x: ops.resize_bilinear(x, (24, 10))),
        "resize_nearest": Row(lambda x: ops.resize_nearest(x, (24, 10))),
        "roi_align": Row(lambda x: ops.roi_align(x, boxes(x), 3, scale=0.5, method="gather")),
        "roi_align, method='product'": Row(
            lambda x: ops.roi_align(x, boxes(x), 3, scale=0.5, method="product")
        ),
        "roi_align_levels": Row(
            lambda x: ops.roi_align_levels(
                (x, ops.average_pool_2x2(x)),
                boxes(x),
                jnp.broadcast_to(jnp.arange(3) % 2, (len(x), 3)),
                3,
                scales=(0.5, 0.25),
            )
        ),
        "sample_points": Row(lambda x: ops.sample_points(x, boxes(x)[..., :2])),
        "shift_consistency": Row(
            lambda x: ops.shift_consistency(lambda x: x.argmax(-1), x),
            "image",
            False,
            NO_DERIVATIVE,
        ),
        "soft_low_pass": Row(lambda x: ops.soft_low_pass(x, 0.3, width=2.0)),
        "spectral_power": Row(ops.spectral_power),
        "split_bands": Row(lambda x: ops.split_bands(x, 0.35)[1]),
        "strided": Row(
            lambda x: ops.strided(x, (0, 0), (16, 16), 2),
            why_not={"Explicit mesh": "a plain slice, which jax refuses unless lengths divide"},
        ),
        "dealias": Row(sa.dealias(lambda x: ops.average_pool_2x2(x + 1), where=0)),
    }


NOT_ARRAYS = {
    *("band_bounds", "band_kernel", "bilinear_taps", "binomial_taps", "check_band", "check_method"),
    *("check_ratio", "choose_method", "equivalent_sampling_rate", "image_size", "ratio_mask"),
    *("nyquist_frequency", "products_only", "half_plane_weights", "IMAGENET_MEAN", "IMAGENET_STD"),
    *("Target", "current_target", "platform_name", "target"),
    "apply_along_axis",  # beneath all filters
    *("BACKGROUND", "BETWEEN", "ROI_METHODS", "Samples", "base_anchors", "grid_anchors"),
    *("best_of", "box_area", "box_iou", "clip_boxes", "decode_boxes", "encode_boxes"),
    *("match_boxes", "nms", "nms_mask", "roi_align_masks", "roi_levels", "sample_boxes"),
    *("sample_mask_points", "wide_enough"),
    *("find_centers", "group_pixels", "merge_segments"),
}
"""Names of `ops` that read no image: numbers, and boxes, or segments, of one image by itself."""


def modules() -> dict[str, Callable[[], nnx.Module]]:
    rngs = nnx.Rngs(0)
    return {
        "AdaptiveBlur": lambda: layers.AdaptiveBlur(8, groups=2, rngs=rngs),
        "AdaptiveWeightedDownsampling": lambda: layers.AdaptiveWeightedDownsampling(8, rngs=rngs),
        "AtrousPyramidPooling": lambda: layers.AtrousPyramidPooling(
            8, 8, dilations=(1, 2), rngs=rngs
        ),
        "BatchNorm": lambda: layers.BatchNorm(8),
        "BlurPool": lambda: layers.BlurPool(3, stride=2),
        "Conv": lambda: layers.Conv(8, 8, 3, stride=2, rngs=rngs),
        "ConvNormAct": lambda: layers.ConvNormAct(8, 8, 3, rngs=rngs),
        "DeAliasingFilter": lambda: layers.DeAliasingFilter(0.35),
        "DeAliasingFilter, learnable": lambda: layers.DeAliasingFilter(0.35, learnable=True),
        "FreqMix": lambda: layers.FreqMix(8, reduction=2, rngs=rngs),
        "FreqMix, gate='magnitude'": lambda: layers.FreqMix(8, gate="magnitude", rngs=rngs),
        "FreqMix, gate='corner'": lambda: layers.FreqMix(
            8, gate="corner", band="reference", activation="softmax", spatial_groups=4, rngs=rngs
        ),
        "FrequencyLowCut": lambda: layers.FrequencyLowCut(2),
        "GroupNorm": lambda: layers.GroupNorm(8, groups=4),
        "LayerNorm": lambda: layers.LayerNorm(8),
        "Linear": lambda: layers.Linear(8, 6, rngs=rngs),
        "MedianFilter": lambda: layers.MedianFilter(3),
        "PyramidPooling": lambda: layers.PyramidPooling(8, 8, pool_scales=(1, 2), rngs=rngs),
        "ResponseNorm": lambda: layers.ResponseNorm(8),
        "SeparableConvNormAct": lambda: layers.SeparableConvNormAct(8, 8, rngs=rngs),
        "SmoothConvolutionBranch": lambda: layers.SmoothConvolutionBranch(8, rngs=rngs),
    } | {
        f"UpConv, method={method!r}": lambda method=method: layers.UpConv(
            8, 8, method=method, rngs=rngs
        )
        for method in layers.UPSAMPLE
    }


def layer_rows() -> dict[str, Row]:
    """All in evaluation mode: in training, norms are those of the images that they see."""
    rows = {}
    for name, make in modules().items():
        module = make()
        module.eval()
        graph, state = nnx.split(module)
        size = ((32, 32),) if name.startswith("UpConv") else ()
        rows[name] = Row(
            lambda x, graph=graph, state=state, size=size: nnx.merge(graph, state)(x, *size),
            why_not=REVERSE_ONLY
            if name in ("SeparableConvNormAct", "AtrousPyramidPooling", "SmoothConvolutionBranch")
            else {},
        )
    return rows


def loss_rows() -> dict[str, Row]:
    label = draw("labels")[:1].at[:, 0].set(255)

    def row(name: str, loss: Callable[..., Any]) -> Row:
        channels = 2 if name == "lovasz_hinge" else 8

        def apply(logits: Any) -> Any:
            own = jnp.broadcast_to(label, logits.shape[:3])
            return loss(logits[..., :channels], own % 2 if channels == 2 else own)

        slicing = "its two channels cannot be divided; the row cuts them out of 8"
        refused = {"Explicit mesh": slicing} if channels == 2 else {}
        return Row(apply, whole=True, why_not=refused)

    return {name: row(name, loss) for name, loss in losses.LOSSES.items()}


def score_rows() -> dict[str, Row]:
    rules = metrics.ScoreRules(width=3)
    segmentation = metrics.SegmentationScores.empty(4, width=3)
    binary = metrics.BinaryScores.empty(8)

    def count(y: Any) -> Any:
        return segmentation.update(y, jnp.flip(y, 1)).counts

    def thresholds(x: Any) -> Any:
        return binary.update(jnp.clip(-x.min(-1), 0, 1), (x.max(-1) > 1).astype(jnp.int32)).sums

    return {
        "SegmentationScores.update": Row(count, "labels", True, INTEGERS),
        "BinaryScores.update": Row(thresholds, "image", True, NO_DERIVATIVE),
        "region_map": Row(
            lambda y: metrics.region_map(y, jnp.flip(y, 1), rules), "labels", False, INTEGERS
        ),
        "error_kinds": Row(
            lambda y: metrics.error_kinds(y, jnp.flip(y, 1), rules), "labels", False, INTEGERS
        ),
    }


def all_rows() -> dict[str, dict[str, Row]]:
    return {
        "`ops` and `sa.dealias`": operators(),
        "`layers`, in evaluation mode": layer_rows(),
        "`losses`": loss_rows(),
        "`metrics`": score_rows(),
    }


def close(ours: Any, expected: Any, tolerance: float = 2e-5) -> None:
    ours, expected = (np.asarray(y, np.float64) for y in (ours, expected))
    scale = np.abs(expected).max() if expected.size else 1
    np.testing.assert_allclose(ours, expected, rtol=0, atol=tolerance * max(scale, 1e-3))


def pulled(row: Row, apply: Callable | None = None) -> Callable[[Any], Any]:
    """Gradient of a sum of sines of what a row returns: every output has a weight of its own."""
    apply = apply or row.apply
    return jax.grad(lambda x: jnp.sum(jnp.sin(apply(x) / 256)))


def both(row: Row, apply: Callable | None = None) -> Callable[[Any], Any]:
    """Result, and the gradient where there is one."""
    own = apply or row.apply
    if "grad" in row.why_not:
        return lambda x: (own(x),)
    return lambda x: (own(x), pulled(row, apply)(x))


def by_image(row: Row, x: Any) -> Any:
    return np.stack([np.asarray(row.apply(x[i : i + 1])) for i in range(len(x))])


def under_jit(row: Row, x: Any) -> None:
    close(jax.jit(row.apply)(x), row.apply(x))


def under_grad(row: Row, x: Any) -> None:
    """Against the derivative along one direction, forward, in float64.

    What has a gradient of its own on a CPU goes forward as on any other platform.
    """
    platform = "tpu" if "jvp" in row.why_not else jax.default_backend()
    with jax.enable_x64(True):
        x = jnp.asarray(x, jnp.float64)
        slope = jax.random.normal(jax.random.key(3), x.shape, jnp.float64)
        with ops.target(jax.device_count(), platform):
            _, along = jax.jvp(lambda x: jnp.sum(jnp.sin(row.apply(x) / 256)), (x,), (slope,))
        close(jnp.vdot(pulled(row)(x), slope), along, 1e-10)


def under_jvp(row: Row, x: Any) -> None:
    """Against a difference of values in float64."""
    with jax.enable_x64(True):
        x = jnp.asarray(x, jnp.float64)
        slope = jax.random.normal(jax.random.key(3), x.shape, jnp.float64)
        _, along = jax.jvp(row.apply, (x,), (slope,))
        numeric = (row.apply(x + 1e-7 * slope) - row.apply(x - 1e-7 * slope)) / 2e-7
        close(along, numeric, 1e-4)


def under_vmap(row: Row, x: Any) -> None:
    close(jax.vmap(row.apply)(x[:2, None]), by_image(row, x[:2]))


def under_scan(row: Row, x: Any) -> None:
    _, stacked = jax.lax.scan(lambda carry, x: (carry, row.apply(x)), 0, x[:2, None])
    close(stacked, by_image(row, x[:2]))


def under_remat(row: Row, x: Any) -> None:
    close(pulled(row, jax.checkpoint(row.apply))(x), pulled(row)(x))


def under_shard_map(row: Row, x: Any) -> None:
    """On all devices and on one; what is no result of single images, of the images of each."""
    for devices, kind in ((8, AxisType.Auto), (8, AxisType.Explicit), (1, AxisType.Auto)):
        mesh = jax.make_mesh(
            (devices,), ("a",), axis_types=(kind,), devices=jax.devices()[:devices]
        )

        def apply(x: Any) -> Any:
            y = row.apply(x)
            return y[None] if row.whole else y

        mapped = jax.shard_map(apply, mesh=mesh, in_specs=P("a"), out_specs=P("a"))
        with jax.set_mesh(mesh):
            found = jax.jit(both(row, mapped))(jax.device_put(x, NamedSharding(mesh, P("a"))))
        parts = [both(row, apply)(part) for part in jnp.split(x, devices)]
        for ours, *expected in zip(found, *parts, strict=True):
            close(ours, np.concatenate(expected))


def on_mesh(kind: AxisType) -> Callable[[Row, Any], None]:
    def check(row: Row, x: Any) -> None:
        mesh = jax.make_mesh((8,), ("a",), axis_types=(kind,))
        expected = jax.jit(both(row))(x)
        for place, spec in SPECS.items():
            if len(spec) > x.ndim or x.shape[len(spec) - 1] % 8:
                continue
            with jax.set_mesh(mesh):
                found = jax.jit(both(row))(jax.device_put(x, NamedSharding(mesh, spec)))
            for ours, right in zip(found, expected, strict=True):
                try:
                    close(ours, right)
                except AssertionError as error:
                    raise AssertionError(f"{place}: {error}") from None

    return check


def in_x64(row: Row, x: Any) -> None:
    expected = row.apply(x)
    with jax.enable_x64(True):
        y = row.apply(jnp.asarray(x, jnp.float64))
        counts = row.why_not.get("grad") == COUNTS
        assert counts or y.dtype == jnp.float64, y.dtype
        close(y, expected, 1e-4)


def in_short(dtype: Any, tolerance: float) -> Callable[[Row, Any], None]:
    def check(row: Row, x: Any) -> None:
        x = x.astype(dtype)
        y, expected = row.apply(x), row.apply(x.astype(jnp.float32))
        if row.why_not.get("grad") == COUNTS:  # counts of what was rounded
            close(y, expected, 1e-6)
            return
        assert y.dtype in (dtype, jnp.float32), y.dtype
        close(y, expected, tolerance)

    return check


TRANSFORMS: dict[str, Callable[[Row, Any], None]] = {
    "jit": under_jit,
    "grad": under_grad,
    "jvp": under_jvp,
    "vmap": under_vmap,
    "scan": under_scan,
    "remat": under_remat,
    "shard_map": under_shard_map,
    "Auto mesh": on_mesh(AxisType.Auto),
    "Explicit mesh": on_mesh(AxisType.Explicit),
    "x64": in_x64,
    "bfloat16": in_short(jnp.bfloat16, 0.04),
    "float16": in_short(jnp.float16, 0.005),
}


def cell(row: Row, transform: str) -> str:
    """Empty where it works, as it must; else what was raised."""
    try:
        TRANSFORMS[transform](row, draw(row.kind))
    except Exception as error:
        first = next(iter(str(error).strip().splitlines()), "")
        return f"{type(error).__name__}: {first[:300]}"
    return ""


def page(cells: dict[str, dict[str, dict[str, str]]]) -> str:
    """The table; whatever is not yes is a note."""
    notes: dict[str, int] = {}
    lines = [
        "# Transforms",
        "",
        "Every *yes* is a comparison of numbers, none is an absence of errors alone: against the",
        "result without the transform; in float64 `jvp` against differences of values to 1e-4,",
        "`grad` against `jvp` to 1e-10; meshes of 8 devices forward and backward with batch,",
        "height, width and channels distributed in turn, `shard_map` over 8 devices and one.",
        "*Auto* and *Explicit* are the types of a mesh's axes; explicit ones are the default of",
        "`jax.make_mesh`.",
        "",
        f"Written by `make transforms` (`tests/transforms.py`) with jax {jax.__version__}.",
    ]
    for title, rows in cells.items():
        lines += ["", f"## {title}", "", f"| | {' | '.join(TRANSFORMS)} |"]
        lines.append("|---" * (len(TRANSFORMS) + 1) + "|")
        for name, found in rows.items():
            marks = []
            for transform in TRANSFORMS:
                reason = found[transform]
                number = notes.setdefault(reason, len(notes) + 1) if reason else 0
                marks.append(f"no ({number})" if number else "yes")
            lines.append(f"| `{name}` | {' | '.join(marks)} |")
    lines += ["", "## Notes", ""] + [f"{number}. {note}" for note, number in notes.items()]
    return "\n".join(lines) + "\n"


def main(names: list[str]) -> int:
    cells: dict[str, dict[str, dict[str, str]]] = {}
    failed = 0
    for title, rows in all_rows().items():
        cells[title] = {}
        for name, row in rows.items():
            if names and not any(part in name for part in names):
                continue
            found = cells[title][name] = {}
            for transform in TRANSFORMS:
                reason = row.why_not.get(transform)
                found[transform] = reason or cell(row, transform)
                if found[transform] and not reason:
                    failed += 1
                    print(f"{name}: {transform}: {found[transform]}", flush=True)
            print("done", name, file=sys.stderr, flush=True)
    if not names:
        PAGE.write_text(page(cells))  # failures, too, are notes
    return failed > 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
