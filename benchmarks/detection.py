"""Detectors: do they learn a few photographs by heart, and where does the time of a step go?

    SEGALIAS_DATA=DIR python benchmarks/detection.py --overfit --workdir NEW
    python benchmarks/detection.py --time [--repeats N]

`--overfit` trains a narrow Mask R-CNN from random parameters on the first eight images of
`coco_permissive` whose objects are all of at least 32x32 pixels, through the recipe as
`segalias train` would, and scores it on the same eight: mask AP50 has to be 0.95 or more. What came
out goes to `results/detection_overfit.json`.

`--time` measures RoIAlign and NMS by themselves, and a training step of Mask R-CNN on ResNet-18
with images of 416x608 and its parts, in processor time, which other programs on the machine disturb
least. The tables go to this device's result file.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import common
import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from segalias_jax import models, ops
from segalias_jax.files import write_text
from segalias_jax.models import roi_heads
from segalias_jax.models.detections import Truths
from segalias_jax.runs.recipes import load_recipe
from segalias_jax.runs.train import train
from segalias_jax.tasks import InstanceSegmentation

RESULT = Path(__file__).parent / "results" / "detection_overfit.json"
IMAGES, LEAST_SIDE = 8, 32
WANTED = 0.95
SIZE = 416, 608
OBJECTS = 8

OVERFIT = {
    "data.images": "images",
    "data.train_split": "chosen",
    "data.eval_split": "chosen",
    "data.short": (224, 224),
    "data.long": 320,
    "data.flip": 0.0,
    "data.max_objects": 16,
    "data.padded": (),
    "model.encoder": "resnet18",
    "model.width": 16,
    "model.anchor_sizes": (16, 32, 64, 128, 256),
    "model.frozen_stages": -1,
    "model.frozen_norm": False,
    "model.pyramid_channels": 48,
    "model.box_channels": 128,
    "model.mask_channels": 32,
    "model.pre_nms_train": 400,
    "model.post_nms_train": 200,
    "model.pre_nms": 400,
    "model.post_nms": 200,
    "model.box_samples": 32,
    "optimizer.name": "adamw",
    "optimizer.learning_rate": 2e-3,
    "schedule.name": "cosine",
    "schedule.end_value": 0.0,
    "schedule.milestones": (),
    "schedule.warmup_steps": 50,
    "train.batch_size": 4,
    "train.steps": 500,
    "train.eval_every": 250,
    "train.log_every": 20,
    "eval.batch_size": 4,
}


def choose(root: Path) -> dict[str, Any]:
    """COCO's file of the first images whose objects are all large enough, and their categories."""
    whole = json.loads((root / "instances.json").read_text())
    objects = defaultdict(list)
    for one in whole["annotations"]:
        objects[one["image_id"]].append(one)
    chosen = [
        image
        for image in sorted(whole["images"], key=lambda image: image["file_name"])
        if objects[image["id"]]
        and all(one["area"] >= LEAST_SIDE**2 and not one["iscrowd"] for one in objects[image["id"]])
    ][:IMAGES]
    annotations = [one for image in chosen for one in objects[image["id"]]]
    there = {one["category_id"] for one in annotations}
    categories = [one for one in whole["categories"] if one["id"] in there]
    return {"images": chosen, "annotations": annotations, "categories": categories}


def overfit(workdir: Path) -> None:
    """Trains, or goes on with it, scores, and writes down what came out."""
    root = Path(os.environ["SEGALIAS_DATA"]) / "coco_permissive"
    chosen = choose(root)
    workdir.mkdir(parents=True, exist_ok=True)
    annotations = workdir.resolve() / "chosen.json"
    write_text(annotations, json.dumps(chosen))
    config = load_recipe("coco_instances:baseline")
    where = {"data.root": str(root), "data.annotations": str(annotations)}
    config.update_from_flattened_dict(OVERFIT | where)
    fitted = train(config, workdir / "run")
    seconds = json.loads((workdir / "run" / "goodput.json").read_text())["seconds"]
    scores = next(line for line in reversed(fitted.history) if "segm_AP50" in line)
    result = {
        "images": [image["file_name"] for image in chosen["images"]],
        "objects": len(chosen["annotations"]),
        "classes": len(chosen["categories"]),
        "settings": {key: value for key, value in OVERFIT.items() if not key.startswith("data")},
        "short_side": OVERFIT["data.short"][0],
        "steps": fitted.step,
        **{key: round(scores[key], 4) for key in ("segm_AP50", "segm_AP", "PQ", "accuracy_50")},
        "wanted_AP50": WANTED,
        "minutes": round(sum(seconds.values()) / 60, 1),
        "machine": common.machine(),
    }
    write_text(RESULT, json.dumps(result, indent=1) + "\n")
    print(json.dumps(result, indent=1))
    if scores["segm_AP50"] < WANTED:
        sys.exit(f"mask AP50 is {scores['segm_AP50']:.3f}, not {WANTED}")


def processor_ms(call: Callable[[], Any], repeats: int) -> float:
    """Milliseconds of processor time of a call that was compiled before."""
    jax.block_until_ready(call())
    used = time.process_time()
    for _ in range(repeats):
        jax.block_until_ready(call())
    return 1e3 * (time.process_time() - used) / repeats


def drawn_batch(rows: int) -> Mapping[str, jax.Array]:
    """Images of noise with rectangles for objects."""
    rng = np.random.default_rng(0)
    height, width = SIZE
    low = rng.uniform(0, (width - 100, height - 100), (rows, OBJECTS, 2))
    high = low + rng.uniform(30, 100, (rows, OBJECTS, 2))
    y, x = np.arange(height)[:, None], np.arange(width)
    (x1, y1), (x2, y2) = (np.moveaxis(corner, -1, 0)[..., None, None] for corner in (low, high))
    masks = (x >= x1) & (x < x2) & (y >= y1) & (y < y2)
    return {
        "image": jnp.asarray(rng.integers(0, 256, (rows, height, width, 3), np.uint8)),
        "size": jnp.full((rows, 2), jnp.array(SIZE), jnp.int32),
        "valid": jnp.ones(rows, bool),
        "boxes": jnp.asarray(np.concatenate([low, high], -1), jnp.float32),
        "classes": jnp.ones((rows, OBJECTS), jnp.int32),
        "crowd": jnp.zeros((rows, OBJECTS), bool),
        "masks": jnp.asarray(np.packbits(masks, axis=-1)),
    }


def operators(repeats: int) -> list[dict[str, Any]]:
    """RoIAlign and NMS alone, at the sizes that the published detector has at 416x608."""
    rng = np.random.default_rng(0)
    low = rng.uniform(0, (500, 300), (1, 2000, 2))
    boxes = jnp.asarray(
        np.concatenate([low, low + rng.uniform(8, 100, low.shape)], -1), jnp.float32
    )
    features = jnp.asarray(rng.standard_normal((1, 104, 152, 256)), jnp.float32)
    scores = jnp.asarray(rng.random(2000), jnp.float32)

    def align(features: jax.Array, boxes: jax.Array, cells: int) -> jax.Array:
        return ops.roi_align(features, boxes, cells, scale=0.25, aligned=False)

    rows = []
    for cells, count in ((7, 512), (14, 128)):
        part = boxes[:, :count]
        forward = jax.jit(lambda x, part=part, cells=cells: align(x, part, cells))
        gradient = jax.jit(jax.grad(lambda x, f=forward: f(x).sum()))
        name = f"RoIAlign, {count} boxes of {cells}x{cells} cells, 256 channels"
        for way, call in (("forward", forward), ("forward and gradient", gradient)):
            took = processor_ms(lambda call=call: call(features), repeats)
            rows.append({"operator": f"{name}, {way}", "processor ms": round(took, 1)})
    for count in (1000, 2000):
        call = jax.jit(lambda b, s: ops.nms_mask(b, s, 0.7))
        took = processor_ms(lambda c=call, n=count: c(boxes[0, :n], scores[:n]), repeats)
        rows.append({"operator": f"NMS of {count} boxes", "processor ms": round(took, 1)})
    return rows


def step_parts(repeats: int) -> list[dict[str, Any]]:
    """A training step of the published detector on ResNet-18, and its parts one by one."""
    config = {"name": "mask_rcnn", "encoder": "resnet18", "variant": "v1b"}
    model = models.create_detector(config, num_classes=80, rngs=nnx.Rngs(0))
    task, batch = InstanceSegmentation(80), drawn_batch(1)
    graph, state = nnx.split(model)
    x = task.network_input(batch["image"], batch["size"])
    truths = Truths.of_batch(batch)

    def features(state: Any) -> Any:
        model = nnx.merge(graph, state)
        return model.levels(model.encoder(x))

    levels = jax.jit(features)(state)
    count = model.box_samples
    sides = jax.random.uniform(jax.random.key(0), (1, count, 2), minval=20.0, maxval=200.0)
    boxes = jnp.concatenate([jnp.zeros_like(sides), sides], -1) + 50
    most = int(count * roi_heads.POSITIVE_FRACTION)

    def proposals(state: Any, levels: Any) -> Any:
        model = nnx.merge(graph, state)
        grids = tuple(ops.image_size(level) for level in levels)
        anchors = model.rpn.anchors(grids, SIZE)
        return model.rpn.propose(
            *model.rpn(levels),
            anchors,
            batch["size"],
            pre_nms=model.pre_nms_train,
            post_nms=model.post_nms_train,
        )

    def box_part(state: Any, levels: Any) -> jax.Array:
        model = nnx.merge(graph, state)
        logits, deltas = model.box_head(model.pool(levels, boxes, 7))
        return logits.sum() + deltas.sum()

    def mask_part(state: Any, levels: Any) -> jax.Array:
        model = nnx.merge(graph, state)
        return model.mask_head(model.pool(levels, boxes[:, :most], 14)).sum()

    def targets(masks: jax.Array, boxes: jax.Array) -> jax.Array:
        index = jnp.zeros(most, jnp.int32)
        return ops.roi_align_masks(masks, boxes, index, 28, image_size=batch["size"][0])

    def gradient(function: Callable[..., Any], *arguments: Any) -> Callable[[], Any]:
        over = tuple(range(len(arguments)))
        compiled = jax.jit(jax.grad(function, argnums=over, allow_int=True))
        return lambda: compiled(*arguments)

    whole = gradient(lambda state: task.loss(nnx.merge(graph, state), batch)[0], state)
    propose, target = jax.jit(proposals), jax.jit(targets)
    calls = {
        "whole step without the optimizer": whole,
        "encoder and pyramid": gradient(lambda s: sum(f.sum() for f in features(s)), state),
        "RPN forward, top-k and NMS": lambda: propose(state, levels),
        f"box head of {count} boxes with its RoIAlign": gradient(box_part, state, levels),
        f"mask head of {most} boxes with its RoIAlign": gradient(mask_part, state, levels),
        "targets of the masks": lambda: target(truths.masks[0], boxes[0, :most]),
    }
    took = {name: processor_ms(call, repeats) for name, call in calls.items()}
    total = took["whole step without the optimizer"]
    return [
        {"part": name, "processor ms": round(ms), "of the step": f"{ms / total:.0%}"}
        for name, ms in took.items()
    ]


def main() -> None:
    """Does what the flags say."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--overfit", action="store_true", help="learn eight photographs by heart")
    parser.add_argument("--time", action="store_true", help="processor time of operators and step")
    parser.add_argument("--repeats", type=int, default=5, help="runs of each call")
    parser.add_argument("--workdir", type=Path, help="folder of that run, new or to go on with")
    flags = parser.parse_args()
    if not (flags.overfit or flags.time):
        parser.error("say --overfit or --time")
    if flags.overfit and not flags.workdir:
        parser.error("--overfit needs --workdir")
    if flags.time:
        common.save("detection operators", operators(flags.repeats))
        common.save("detection step", step_parts(flags.repeats))
    if flags.overfit:
        overfit(flags.workdir)


if __name__ == "__main__":
    main()
