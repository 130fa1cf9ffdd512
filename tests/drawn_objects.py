"""Ellipses on noise: batches for detectors, data sets of them on disk, and a tiny detector."""

import json

import cv2
import jax
import numpy as np
from flax import nnx

from segalias_jax import layers
from segalias_jax.data.masks import boxes_of_masks, pack_masks
from segalias_jax.data.run_length import encode_mask
from segalias_jax.models.mask_rcnn import MaskRCNN

COLORS = np.array([[0, 0, 0], [230, 60, 60], [60, 60, 230]], np.uint8)

# A recipe's keys that shrink any detector to what is compiled and run in seconds.
TINY = {
    "model.encoder": "resnet18",
    "model.width": 8,
    "model.pyramid_channels": 8,
    "model.box_channels": 16,
    "model.mask_channels": 8,
    "model.pre_nms": 20,
    "model.post_nms": 20,
    "model.pre_nms_train": 20,
    "model.post_nms_train": 20,
    "model.rpn_samples": 32,
    "model.box_samples": 16,
    "model.max_detections": 6,
}


def draw(size, rng, *, least=1, most=3):
    """An image of noise, and the masks and classes (1 is red, 2 is blue) of its ellipses."""
    height, width = size
    image = rng.integers(90, 160, (height, width, 3), np.uint8)
    masks, classes = [], []
    for _ in range(rng.integers(least, most + 1)):
        center = int(rng.integers(8, width - 8)), int(rng.integers(8, height - 8))
        axes = tuple(int(n) for n in rng.integers(5, 10, 2))
        mask = cv2.ellipse(np.zeros(size, np.uint8), center, axes, 0, 0, 360, 1, -1) > 0
        for other in masks:
            other &= ~mask
        masks.append(mask)
        classes.append(int(rng.integers(1, 3)))
        image[mask] = COLORS[classes[-1]]
    there = [mask.any() for mask in masks]
    kept = np.array(masks)[there] if any(there) else np.zeros((0, *size), bool)
    return image, kept, np.array(classes, np.int32)[there]


def make_batch(rows, size=(32, 32), *, seed=0, room=4, empty=(), invalid=()):
    """A batch as recipes make it; `empty` rows show no object, `invalid` ones only fill it up."""
    rng = np.random.default_rng(seed)
    height, width = size
    batch = {
        "image": np.zeros((rows, height, width, 3), np.uint8),
        "size": np.tile(np.array(size, np.int32), (rows, 1)),
        "boxes": np.zeros((rows, room, 4), np.float32),
        "classes": np.zeros((rows, room), np.int32),
        "crowd": np.zeros((rows, room), np.bool_),
        "masks": np.zeros((rows, room, height, -(-width // 8)), np.uint8),
        "valid": ~np.isin(np.arange(rows), invalid),
    }
    for row in range(rows):
        image, masks, classes = draw(size, rng, most=room)
        batch["image"][row] = image
        if row not in empty:
            count = len(masks)
            batch["boxes"][row, :count] = boxes_of_masks(masks)
            batch["classes"][row, :count] = classes
            batch["masks"][row, :count] = pack_masks(masks)
    return batch


class Encoder(nnx.Module):
    """Two maps, of an eighth as many operations to compile as a published network."""

    channels, strides = (8, 8), (4, 8)

    def __init__(self, norm, rngs):
        def layer(read, stride):
            conv = layers.Conv(read, 8, 3, stride=stride, use_bias=not norm, rngs=rngs)
            return nnx.List([conv, nnx.BatchNorm(8, rngs=rngs)] if norm else [conv])

        self.first, self.second, self.third = layer(3, 2), layer(8, 2), layer(8, 2)

    def __call__(self, x):
        maps = []
        for part in (self.first, self.second, self.third):
            for layer in part:
                x = layer(x)
            x = jax.nn.relu(x)
            maps.append(x)
        return tuple(maps[1:])


def make_detector(*, num_classes=2, norm=True, **sizes):
    """A detector that is compiled quickly; with `norm` it has statistics, too."""
    rngs = nnx.Rngs(0)
    sizes = {"rpn_samples": 32, "box_samples": 32, "max_detections": 6} | sizes
    return MaskRCNN(
        Encoder(norm, rngs),
        num_classes=num_classes,
        pyramid_channels=8,
        box_channels=16,
        mask_channels=8,
        anchor_sizes=(8, 16, 32),
        pre_nms=20,
        post_nms=20,
        pre_nms_train=20,
        post_nms_train=20,
        rngs=rngs,
        **sizes,
    )


def write_coco(root, splits, *, images="{split}", annotations="annotations/instances_{split}.json"):
    """A tree of COCO's layout with two classes: numbers of images by split."""
    for number, (split, count) in enumerate(splits.items()):
        rng = np.random.default_rng(number)
        folder = root / images.format(split=split)
        path = root / annotations.format(split=split)
        folder.mkdir(parents=True, exist_ok=True)
        path.parent.mkdir(parents=True, exist_ok=True)
        listed, objects = [], []
        for index in range(count):
            size = (48, 64) if index % 2 else (64, 48)
            image, masks, classes = draw(size, rng)
            name = f"{split}_{index:03d}.png"
            cv2.imwrite(str(folder / name), image[..., ::-1])
            listed.append({"id": index + 1, "file_name": name, "height": size[0], "width": size[1]})
            for mask, box, label in zip(masks, boxes_of_masks(masks), classes, strict=True):
                x1, y1, x2, y2 = (float(x) for x in box)
                objects.append(
                    {
                        "id": len(objects) + 1,
                        "image_id": index + 1,
                        "category_id": 10 * int(label),
                        "bbox": [x1, y1, x2 - x1, y2 - y1],
                        "area": int(mask.sum()),
                        "iscrowd": 0,
                        "segmentation": encode_mask(mask),
                    }
                )
        categories = [{"id": 10, "name": "red"}, {"id": 20, "name": "blue"}]
        text = {"images": listed, "annotations": objects, "categories": categories}
        path.write_text(json.dumps(text))
    return root


def write_maps(root, splits):
    """Images, 16-bit maps of one class and lists of names, as the recipe of nuclei reads them."""
    for folder in ("images", "instances"):
        (root / folder).mkdir(parents=True, exist_ok=True)
    for number, (split, count) in enumerate(splits.items()):
        rng = np.random.default_rng(number)
        names = [f"{split}{index:03d}" for index in range(count)]
        for name in names:
            image, masks, _ = draw((48, 48), rng)
            cv2.imwrite(str(root / "images" / f"{name}.png"), image[..., ::-1])
            values = np.zeros((48, 48), np.uint16)
            for value, mask in enumerate(masks, 1):
                values[mask] = value
            cv2.imwrite(str(root / "instances" / f"{name}.png"), values)
        (root / f"{split}.txt").write_text("\n".join(names) + "\n")
    return root


def write_cityscapes(root, splits):
    """The official tree: persons (24) and cars (26) on road (7), a group of cars among them."""
    for number, (split, count) in enumerate(splits.items()):
        rng = np.random.default_rng(number)
        pictures, maps = (root / kind / split / "town" for kind in ("leftImg8bit", "gtFine"))
        for folder in (pictures, maps):
            folder.mkdir(parents=True, exist_ok=True)
        for index in range(count):
            image, masks, classes = draw((48, 64), rng)
            name = f"town_{index:06d}_000019"
            cv2.imwrite(str(pictures / f"{name}_leftImg8bit.png"), image[..., ::-1])
            values = np.full((48, 64), 7, np.uint16)
            values[:4, :4] = 26
            for value, (mask, label) in enumerate(zip(masks, classes, strict=True)):
                values[mask] = 1000 * (22 + 2 * label) + value
            cv2.imwrite(str(maps / f"{name}_gtFine_instanceIds.png"), values)
    return root
