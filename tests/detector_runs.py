"""A detector with drawn weights: as a file in torchvision's names, and as the folder of a run."""

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from flax import nnx
from run_folders import compile_once  # noqa: F401

from segalias_jax import models
from segalias_jax.checkpoints import CheckpointStore
from segalias_jax.runs import recipes
from segalias_jax.runs.workdir import CHECKPOINTS, save_classes, save_recipe
from segalias_jax.torch_weights.load import torch_arrays
from segalias_jax.torch_weights.names import leaves
from segalias_jax.training.state import split_model

ROOT = Path(__file__).parents[1]
CLASSES = ("cat", "dog", "bird")
CATEGORIES = {
    1: 7,
    2: 3,
    3: 20,
}  # ids of the ground truth; in their order classes are dog, cat, bird
SIZES = ((60, 80), (64, 90))
SMALL = {
    "model.encoder": "resnet18",
    "model.width": 8,
    "model.pyramid_channels": 8,
    "model.box_channels": 16,
    "model.mask_channels": 8,
    "model.anchor_sizes": (8, 12, 16, 24, 32),
    "model.pre_nms": 40,
    "model.post_nms": 60,
    "model.max_detections": 8,
    "model.frozen_stages": -1,
    "data.source": "coco",
    "data.annotations": "set.json",
    "data.images": "images",
    "data.train_split": "set",
    "data.eval_split": "set",
    "data.short": (64, 64),
    "data.long": 96,
    "data.padded": (),
    "data.check": False,
    "eval.threshold": 0.2,
    "eval.images": 0,
    "eval.headline": "PQ",
}


@pytest.fixture(scope="session")
def coco_tree(tmp_path_factory):
    """A data set of two images with two objects each, in COCO's layout."""
    root, random = tmp_path_factory.mktemp("coco"), np.random.default_rng(0)
    (root / "images").mkdir()
    images, annotations = [], []
    for k, (height, width) in enumerate(SIZES):
        picture = random.integers(0, 256, (height // 4, width // 4, 3), np.uint8)
        picture = cv2.resize(picture, (width, height))
        assert cv2.imwrite(str(root / f"images/photo{k}.png"), picture)
        name = {"file_name": f"photo{k}.png", "height": height, "width": width}
        images.append({"id": 40 + 3 * k, **name})
        for x in (5, 40):
            box = [x, 10, 25, 30]
            runs = np.zeros((height, width), bool)
            runs[10:40, x : x + 25] = True
            polygon = [[x, 10, x + 25, 10, x + 25, 40, x, 40]]
            entry = {"id": len(annotations) + 1, "image_id": 40 + 3 * k, "category_id": 3}
            entry |= {"bbox": box, "area": 750, "iscrowd": 0, "segmentation": polygon}
            annotations.append(entry)
    named = [{"id": CATEGORIES[k], "name": name} for k, name in enumerate(CLASSES, 1)]
    content = {"images": images, "annotations": annotations, "categories": named}
    (root / "set.json").write_text(json.dumps(content))
    return root


@pytest.fixture(scope="session")
def detector_recipe(coco_tree):
    """Its recipe; classes are in the order of the ids of their categories."""
    config = recipes.load_recipe("coco_instances:baseline")
    config.update_from_flattened_dict(SMALL | {"data.root": str(coco_tree)})
    return config


@pytest.fixture(scope="session")
def detector_model(detector_recipe):
    """A network whose classes, boxes and masks differ from place to place."""
    random = np.random.default_rng(1)
    config = detector_recipe.model.to_dict()
    # Drawn by one program, not by hundreds that are compiled one after the other.
    model = nnx.jit(
        lambda: models.create_detector(config, num_classes=len(CLASSES), rngs=nnx.Rngs(0))
    )()
    for head, factor in (("box_head.logits", 60), ("box_head.deltas", 100), ("rpn.logits", 20)):
        part: Any = model
        for name in head.split("."):
            part = getattr(part, name)
        part.kernel[...] = part.kernel[...] * factor
    logits: Any = model.mask_head.logits
    logits.bias[...] = random.normal(size=len(CLASSES) + 1).astype(np.float32)
    model.eval()
    return model


@pytest.fixture(scope="session")
def detector_run(tmp_path_factory, compile_once, detector_recipe, detector_model):  # noqa: F811
    """The folder of its run."""
    folder = tmp_path_factory.mktemp("detector")
    _, parameters, statistics = split_model(detector_model)
    save_recipe(recipes.flat_items(detector_recipe), folder)
    colors = np.array([[200, 0, 0], [0, 200, 0], [0, 0, 200]], np.uint8)
    save_classes(folder, ("dog", "cat", "bird"), colors)
    with CheckpointStore(folder / CHECKPOINTS) as store:
        store.save(0, {"parameters": parameters, "statistics": statistics})
    return folder


@pytest.fixture(scope="session")
def torch_file(tmp_path_factory, detector_model):
    """Its weights as torchvision names them."""
    from segalias_jax.torch_weights.files import write_safetensors

    values = {path: np.asarray(leaf[...]) for path, leaf in leaves(detector_model).items()}
    path = tmp_path_factory.mktemp("weights") / "detector.safetensors"
    write_safetensors(path, torch_arrays(detector_model, values), {})
    return path
