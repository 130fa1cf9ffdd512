"""Deterministic weights, images and targets for the detectors, numpy only: the rules of recipe.py
carried on to the kinds of key a Mask R-CNN has.  Keys are the torchvision state_dict names, conv
weights OIHW, deconvolution weights IOHW, linear weights (out, in).

recipe_array(key, shape)     float32 weight (int64 0 for num_batches_tracked)
recipe_input(shape, seed)    float32 standard normal (as in recipe.py)
recipe_image(h, w, seed)     float32 (3, h, w) in [0, 1]: blocks of several sizes, flat shapes
recipe_targets(h, w, n, classes, seed)   boxes (n, 4) float32, labels (n,) int64 in 1..classes-1,
                             masks (n, h, w) uint8: ellipses and rectangles, in tight boxes"""

import zlib

import numpy as np

# (end of key, standard deviation of what the layer puts out, for an input of mean square 1)
_GAIN = (
    ("rpn.head.cls_logits.weight", 1.8),
    ("rpn.head.bbox_pred.weight", 0.4),
    ("roi_heads.box_predictor.cls_score.weight", 2.4),
    ("roi_heads.box_predictor.bbox_pred.weight", 2.0),
    ("roi_heads.mask_predictor.mask_fcn_logits.weight", 3.0),
)


def recipe_array(key, shape, seed=0):
    shape = tuple(int(s) for s in shape)
    rng = np.random.RandomState((zlib.crc32(key.encode()) + seed) & 0xFFFFFFFF)
    if key.endswith("num_batches_tracked"):
        return np.zeros(shape, np.int64)
    if key.endswith("running_mean"):
        a = 0.1 * rng.randn(*shape)
    elif key.endswith("running_var"):
        a = rng.uniform(0.5, 1.5, shape)
    elif len(shape) in (2, 4):
        fan_in = int(np.prod(shape[1:]))
        if key.endswith("conv5_mask.weight"):  # deconvolution IOHW, kernel = stride = 2
            fan_in = shape[0]
        gain = np.sqrt(2.0)  # a ReLU follows
        if ".fpn." in key or key.startswith(("inner_blocks", "layer_blocks")):
            gain = 0.6  # no ReLU, and the levels add up
        for end, g in _GAIN:
            if key.endswith(end):
                gain = g
        a = rng.randn(*shape) * (gain / np.sqrt(fan_in))
        if fan_in > 150:  # rows of sum 0: after a ReLU all inputs
            a = a - a.mean(axis=tuple(range(1, a.ndim)), keepdims=True)  # are >= 0 and would add up
    elif len(shape) == 1 and key.endswith("weight"):  # BN gamma; small at the end of a residual
        last = key.endswith(("bn3.weight", "bn2.weight")) and ".layer" in key
        lo, hi = (0.2, 0.6) if last else (0.5, 1.5)
        a = rng.uniform(lo, hi, shape)
    elif len(shape) == 1 and key.endswith("bias"):
        a = 0.1 * rng.randn(*shape)
        if key.endswith("cls_score.bias"):
            a[0] += 7.0  # background: else every RoI is an object
    else:
        raise ValueError((key, shape))
    return a.astype(np.float32)


def recipe_input(shape, seed):
    return np.random.RandomState(seed).randn(*shape).astype(np.float32)


def recipe_image(h, w, seed):
    rng = np.random.RandomState(seed)
    img = np.full((3, h, w), 0.45)
    for cell, amp in ((64, 0.16), (24, 0.12), (8, 0.07), (2, 0.04)):
        g = rng.randn(3, -(-h // cell), -(-w // cell)) * amp
        img = img + g.repeat(cell, 1).repeat(cell, 2)[:, :h, :w]
    for i in range(14):
        cy, cx = rng.uniform(0, h), rng.uniform(0, w)
        ry, rx = rng.uniform(5, h / 3.5), rng.uniform(5, w / 3.5)
        colour = rng.uniform(0, 1, 3)
        img = np.where(
            _shape(h, w, cy, cx, ry, rx, i % 2 == 0)[None],
            0.35 * img + 0.65 * colour[:, None, None],
            img,
        )
    return np.clip(img, 0, 1).astype(np.float32)


def recipe_targets(h, w, n, classes, seed):
    rng = np.random.RandomState(seed)
    boxes, labels, masks = [], [], []
    while len(boxes) < n:
        cy, cx = rng.uniform(8, h - 8), rng.uniform(8, w - 8)
        ry, rx = rng.uniform(6, h / 3.2), rng.uniform(6, w / 3.2)
        m = _shape(h, w, cy, cx, ry, rx, rng.uniform() < 0.7)
        label = rng.randint(1, classes)
        ys, xs = np.nonzero(m)
        if len(ys) < 40:
            continue
        boxes.append([xs.min(), ys.min(), xs.max() + 1, ys.max() + 1])
        labels.append(label)
        masks.append(m)
    return (np.array(boxes, np.float32), np.array(labels, np.int64), np.array(masks, np.uint8))


def _shape(h, w, cy, cx, ry, rx, ellipse):
    y = (np.arange(h)[:, None] + 0.5 - cy) / ry
    x = (np.arange(w)[None] + 0.5 - cx) / rx
    return y * y + x * x <= 1 if ellipse else (abs(y) <= 0.8) & (abs(x) <= 0.8)
