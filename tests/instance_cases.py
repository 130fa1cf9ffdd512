"""Small objects for the tests of this folder."""

import numpy as np

from segalias_jax.scoring.instances import Objects


def rows(*texts: str, classes=None, scores=None) -> Objects:
    """Objects of a map in letters: each letter is an object, "." is none."""
    letters = sorted({c for text in texts for c in text if c != "."})
    masks = np.asarray([[[c == letter for c in text] for text in texts] for letter in letters])
    masks = masks.reshape(len(letters), len(texts), len(texts[0]))
    classes = np.ones(len(letters), int) if classes is None else np.asarray(classes)
    return Objects(classes, masks, scores)


def rectangles(boxes, size, classes=None, scores=None, crowd=None) -> Objects:
    """Filled boxes (top, left, bottom, right), which may overlap."""
    masks = np.zeros((len(boxes), *size), bool)
    for mask, (top, left, bottom, right) in zip(masks, boxes, strict=True):
        mask[top:bottom, left:right] = True
    classes = np.ones(len(boxes), int) if classes is None else np.asarray(classes)
    return Objects(classes, masks, scores, crowd)


def random_rectangles(rng, count, size=(40, 50), classes=3, scored=True) -> Objects:
    """Overlapping boxes of random classes and scores."""
    boxes = []
    for _ in range(count):
        top, left = int(rng.integers(0, size[0] - 6)), int(rng.integers(0, size[1] - 6))
        boxes.append((top, left, top + int(rng.integers(3, 15)), left + int(rng.integers(3, 15))))
    scores = rng.permutation(count) / max(1, count) if scored else None
    return rectangles(boxes, size, rng.integers(1, classes + 1, count), scores)


def perturbed(rng, true: Objects, extra: int, classes=3) -> Objects:
    """Predictions near true objects, some of another class, some twice, and some of nothing."""
    masks, labels = [], []
    for i in range(len(true)):
        for _ in range(int(rng.integers(0, 3))):
            mask = true.masks[i].window(0, 0, *true.shape)
            masks.append(np.roll(mask, rng.integers(-3, 4, 2), (0, 1)))
            other = rng.random() < 0.25
            labels.append(int(rng.integers(1, classes + 1)) if other else int(true.classes[i]))
    more = random_rectangles(rng, extra, true.shape, classes)
    masks += [mask.window(0, 0, *true.shape) for mask in more.masks]
    labels += more.classes.tolist()
    order = rng.permutation(len(masks))
    scores = rng.permutation(len(masks)) / max(1, len(masks))
    pixels = np.asarray(masks).reshape(-1, *true.shape)
    return Objects(np.asarray(labels, int)[order], pixels[order], scores)
