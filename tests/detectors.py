"""The recorded Mask R-CNN on a ResNet-18: its weights, images and objects, from the recipe."""

import numpy as np
import published
from flax import nnx
from golden.recipe_instances import recipe_array, recipe_image, recipe_targets

from segalias_jax import models

CONFIG = {"name": "mask_rcnn", "encoder": "resnet18", "variant": "v1b"}
CONFIG |= {"pre_nms": 300, "post_nms": 150, "pre_nms_train": 1000, "post_nms_train": 1000}
CONFIG |= {"rpn_samples": 64, "box_samples": 48}
MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def recorded_model(dtype=np.float32) -> models.MaskRCNN:
    make = nnx.eval_shape(lambda: models.create_detector(CONFIG, num_classes=8, rngs=nnx.Rngs(0)))
    published.load_published(make, recipe_array, dtype)
    published.settle_rngs(make)
    make.eval()
    return make


def padded_images(images, dtype=np.float32):
    """Normalized images in one batch, zeros behind their ends; and their sizes."""
    sizes = np.array([image.shape[1:] for image in images], np.int32)
    height, width = (-(-sizes.max(0) // 32) * 32).tolist()
    batch = np.zeros((len(images), height, width, 3))
    for row, image in zip(batch, images, strict=True):
        whole = (np.moveaxis(image.astype(np.float64), 0, -1) - MEAN) / DEVIATION
        row[: image.shape[1], : image.shape[2]] = whole
    return batch.astype(dtype), sizes


def recorded_batch(dtype=np.float32):
    """Images and objects of the recorded step, with room for one object more than there are."""
    image, sizes = padded_images(
        [recipe_image(160, 224, 2500), recipe_image(176, 160, 2501)], dtype
    )
    given = [recipe_targets(160, 224, 5, 9, 2550), recipe_targets(176, 160, 3, 9, 2551)]
    room, (height, width) = 6, image.shape[1:3]
    boxes, classes = np.zeros((2, room, 4), dtype), np.zeros((2, room), np.int32)
    masks = np.zeros((2, room, height, width), np.uint8)
    for i, (box, label, mask) in enumerate(given):
        count = len(label)
        boxes[i, :count], classes[i, :count] = box, label
        masks[i, :count, : mask.shape[1], : mask.shape[2]] = mask
    batch = {"boxes": boxes, "classes": classes, "crowd": np.zeros((2, room), bool)}
    batch |= {"masks": np.packbits(masks, axis=-1), "size": sizes, "valid": np.ones(2, bool)}
    return image, batch
