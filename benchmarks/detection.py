"""Detectors: do they learn a few photographs by heart, and where does the time of a step go?

    SEGALIAS_DATA=DIR python benchmarks/detection.py --overfit --workdir NEW
    python benchmarks/detection.py --time [--repeats N] [--peer PYTHON] [--cores N]

`--overfit` trains a narrow Mask R-CNN from random parameters on the first eight images of
`coco_permissive` whose objects are all of at least 32x32 pixels, through the recipe as
`segalias train` would, and scores it on the same eight: mask AP50 has to be 0.95 or more. What came
out goes to `results/detection_overfit.json`.

`--time` measures a training step of Mask R-CNN on ResNet-18 with images of 416x608, its parts, and
RoIAlign and NMS by themselves, in processor time on one core, which other programs on the machine
disturb least. With `--peer`, a Python that has torch and torchvision (none is needed beside JAX),
PyTorch takes turns in a process of its own, see `detection_peer.py`. Its whole step reads masks of
the proposals that fit an object alone, ours of 128 boxes. The table goes to this device's result
file.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import common
import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from segalias_jax import models, ops
from segalias_jax.files import write_text
from segalias_jax.models.detections import Truths
from segalias_jax.runs.recipes import load_recipe
from segalias_jax.runs.train import train
from segalias_jax.tasks import InstanceSegmentation

RESULT = Path(__file__).parent / "results" / "detection_overfit.json"
IMAGES, LEAST_SIDE = 8, 32
WANTED = 0.95
SIZE = 416, 608
OBJECTS = 8
CLASSES = 81  # with the background
POOLED = ((7, 512), (14, 128))
WHOLE = "whole step without the optimizer"
MODULES = ("encoder and pyramid", "RPN", "box head of 512 boxes", "mask head of 128 boxes")
PEER = ("torch", "torchvision", "operators")

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


def squares(arrays: Iterable[jax.Array]) -> jax.Array:
    """The sum of squares of all numbers, whose gradient needs them all."""
    return sum((jnp.square(array).sum() for array in arrays), start=jnp.zeros(()))


def our_calls() -> dict[str, Callable[[], Any]]:
    """A training step of the published detector on ResNet-18, its parts, and operators alone."""
    config = {"name": "mask_rcnn", "encoder": "resnet18", "variant": "v1b", "frozen_norm": True}
    model = models.create_detector(config, num_classes=CLASSES - 1, rngs=nnx.Rngs(0))
    task, batch = InstanceSegmentation(CLASSES - 1), drawn_batch(1)
    graph, state = nnx.split(model)
    x = task.network_input(batch["image"], batch["size"])
    masks = Truths.of_batch(batch).masks[0]
    rng = np.random.default_rng(0)
    pooled = [
        jnp.asarray(rng.random((1, count, cells, cells, 256)), jnp.float32)
        for cells, count in POOLED
    ]
    low = rng.uniform(0, (500, 300), (1, 2000, 2))
    boxes = jnp.asarray(np.concatenate([low, low + rng.uniform(8, 100, low.shape)], -1), np.float32)
    scores = jnp.asarray(rng.random(2000), jnp.float32)
    pixels = jnp.asarray(rng.standard_normal((1, 104, 152, 256)), jnp.float32)

    def encode(state: Any) -> Any:
        model = nnx.merge(graph, state)
        return model.levels(model.encoder(x))

    levels = jax.jit(encode)(state)

    def propose(state: Any, levels: Any) -> Any:
        model = nnx.merge(graph, state)
        anchors = model.rpn.anchors(tuple(ops.image_size(level) for level in levels), SIZE)
        return model.rpn.propose(
            *model.rpn(levels),
            anchors,
            batch["size"],
            pre_nms=model.pre_nms_train,
            post_nms=model.post_nms_train,
        )

    def part(name: str) -> Callable[..., jax.Array]:
        def total(state: Any, given: Any) -> jax.Array:
            outputs = getattr(nnx.merge(graph, state), name)(given)
            return squares(jax.tree.leaves(outputs))

        return total

    def gradient(function: Callable[..., Any], *arguments: Any) -> Callable[[], Any]:
        over = tuple(range(len(arguments)))
        compiled = jax.jit(jax.value_and_grad(function, argnums=over, allow_int=True))
        return lambda: compiled(*arguments)

    def compiled(function: Callable[..., Any], *arguments: Any) -> Callable[[], Any]:
        program = jax.jit(function)
        return lambda: program(*arguments)

    def target(masks: jax.Array, boxes: jax.Array) -> jax.Array:
        index = jnp.zeros(len(boxes), jnp.int32)
        return ops.roi_align_masks(masks, boxes, index, 28, image_size=batch["size"][0])

    calls = {
        WHOLE: gradient(lambda state: task.loss(nnx.merge(graph, state), batch)[0], state),
        "encoder and pyramid": gradient(lambda s: squares(encode(s)), state),
        "RPN": gradient(part("rpn"), state, levels),
        "box head of 512 boxes": gradient(part("box_head"), state, pooled[0]),
        "mask head of 128 boxes": gradient(part("mask_head"), state, pooled[1]),
        "RPN forward, best anchors and NMS": compiled(propose, state, levels),
        "targets of 128 masks": compiled(target, masks, boxes[0, :128]),
    }
    for cells, count in POOLED:

        def align(x: jax.Array, cells: int = cells, count: int = count) -> jax.Array:
            return ops.roi_align(x, boxes[:, :count], cells, scale=0.25, aligned=False)

        name = f"RoIAlign, {count} boxes of {cells}x{cells} cells"
        calls[f"{name}, forward"] = compiled(align, pixels)
        calls[f"{name}, and gradient"] = gradient(lambda x, a=align: squares([a(x)]), pixels)
    for count in (1000, 2000):
        some = boxes[0, :count], scores[:count]
        calls[f"NMS of {count} boxes"] = compiled(lambda b, s: ops.nms_mask(b, s, 0.7), *some)
    return calls


class Peer:
    """PyTorch in a process and an environment of its own, see `detection_peer.py`."""

    def __init__(self, python: str, cores: int):
        script = Path(__file__).with_name("detection_peer.py")
        words = [python, str(script), *map(str, (*SIZE, CLASSES, cores))]
        self.process = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=-1, text=True)
        self.about = self._answer()

    def ms(self, name: str) -> float:
        """Milliseconds of processor time of a call."""
        assert self.process.stdin is not None
        self.process.stdin.write(f"{name}\n")
        self.process.stdin.flush()
        return self._answer()

    def _answer(self) -> Any:
        assert self.process.stdout is not None
        return json.loads(self.process.stdout.readline())


def measure(peer: Peer | None, repeats: int) -> list[dict[str, Any]]:
    """Medians of processor time of all calls, each in turn with the peer's; and their quotient."""
    calls = our_calls()
    shared = set(peer.about["names"]) if peer else set()
    ours, theirs = defaultdict(list), defaultdict(list)
    for turn in range(repeats + 1):  # the first one compiles, and fills caches
        for name, call in calls.items():
            used = time.process_time()
            jax.block_until_ready(call())
            took = 1e3 * (time.process_time() - used)
            other = peer.ms(name) if peer and name in shared else None
            if turn:
                ours[name].append(took)
                theirs[name] += [] if other is None else [other]
    parts = "sum of the four parts"
    for times in (ours, theirs):
        times[parts] = [sum(one) for one in zip(*(times[name] for name in MODULES), strict=True)]
    found = {name: statistics.median(times) for name, times in theirs.items() if times}
    rows = []
    for name, times in ours.items():
        row: dict[str, Any] = {"call": name, "ours, ms": round(statistics.median(times), 1)}
        if peer and name in found:
            row["PyTorch, ms"] = round(found[name], 1)
            row["ours / PyTorch"] = round(statistics.median(times) / found[name], 2)
        rows.append(row)
    if peer:
        print({key: value for key, value in peer.about.items() if key != "names"})
        rows[0]["peer"] = ", ".join(f"{key} {peer.about[key]}" for key in PEER)
    return rows


def main() -> None:
    """Does what the flags say."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--overfit", action="store_true", help="learn eight photographs by heart")
    parser.add_argument("--time", action="store_true", help="processor time of operators and step")
    parser.add_argument("--repeats", type=int, default=5, help="runs of each call")
    parser.add_argument("--cores", type=int, default=1, help="that both sides may use")
    parser.add_argument("--peer", default="", help="Python with torch and torchvision")
    parser.add_argument("--workdir", type=Path, help="folder of that run, new or to go on with")
    flags = parser.parse_args()
    if not (flags.overfit or flags.time):
        parser.error("say --overfit or --time")
    if flags.overfit and not flags.workdir:
        parser.error("--overfit needs --workdir")
    if flags.time:
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: flags.cores])
        peer = Peer(flags.peer, flags.cores) if flags.peer else None
        common.save("detection", measure(peer, flags.repeats))
    if flags.overfit:
        overfit(flags.workdir)


if __name__ == "__main__":
    main()
