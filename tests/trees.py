"""Tiny data sets in the layouts that the real ones have."""

import cv2
import numpy as np

SIZE = (6, 8)


def write(path, array):
    """Saves an image, and the folders above it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), array)


def write_images(*paths):
    """Saves an RGB image of random colors at each path."""
    rng = np.random.default_rng(0)
    for path in paths:
        write(path, rng.integers(0, 256, (*SIZE, 3), np.uint8))


def values(*stored):
    """A label map that shows all of the stored values, in order."""
    return np.resize(np.asarray(stored, np.uint8), SIZE)


def seen(label):
    """The classes that a label map shows."""
    return sorted(set(label.ravel().tolist()))
