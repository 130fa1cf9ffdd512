"""Deterministic weights, numpy only: lets any framework rebuild the same model
without shipping the state dict.  Keys are the PyTorch state_dict names, conv
weights OIHW.  recipe_array(key, shape) -> float32 (int64 0 for num_batches_tracked).
Buffers named '*.filt' (fixed binomial filters) are NOT covered: keep them."""

import zlib

import numpy as np


def recipe_array(key, shape, seed=0):
    shape = tuple(int(s) for s in shape)
    rng = np.random.RandomState((zlib.crc32(key.encode()) + seed) & 0xFFFFFFFF)
    if key.endswith("num_batches_tracked"):
        return np.zeros(shape, np.int64)
    if key.endswith("running_mean"):
        a = 0.1 * rng.randn(*shape)
    elif key.endswith("running_var"):
        a = rng.uniform(0.5, 1.5, shape)
    elif len(shape) == 4:  # conv weight OIHW
        fan_in = shape[1] * shape[2] * shape[3]
        a = rng.randn(*shape) * np.sqrt(2.0 / fan_in)
    elif len(shape) == 1 and key.endswith("weight"):  # BN gamma
        lo, hi = (0.2, 0.6) if key.endswith("bn3.weight") else (0.5, 1.5)
        a = rng.uniform(lo, hi, shape)
    elif len(shape) == 1 and key.endswith("bias"):  # BN beta / conv bias
        a = 0.1 * rng.randn(*shape)
    else:
        raise ValueError((key, shape))
    return a.astype(np.float32)


def recipe_input(shape, seed):
    """float32 standard normal, numpy legacy RandomState (stable across versions)."""
    return np.random.RandomState(seed).randn(*shape).astype(np.float32)
