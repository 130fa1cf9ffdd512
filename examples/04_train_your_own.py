"""Trains an MLP-mixer, written here, on arrays from a plain iterator.

    python examples/04_train_your_own.py FOLDER STEPS

Killed at any moment, the same command resumes and ends with the same bits.
"""

import sys

import numpy as np
import optax
from flax import nnx

import segalias_jax as sa


class Mixer(nnx.Module):
    """Mixes patches and channels in turn, and gives a logit per class for every patch."""

    def __init__(self, num_classes, *, size=32, patch=4, width=32, depth=2, rngs):
        patches = (size // patch) ** 2
        self.embed = nnx.Conv(3, width, (patch, patch), (patch, patch), rngs=rngs)
        self.across = nnx.List([nnx.Linear(patches, patches, rngs=rngs) for _ in range(depth)])
        self.within = nnx.List([nnx.Linear(width, width, rngs=rngs) for _ in range(depth)])
        self.classify = nnx.Linear(width, num_classes, rngs=rngs)

    def __call__(self, x):
        """Returns logits of patches, which the task resizes to the labels."""
        x = self.embed(x)
        rows = x.reshape(len(x), -1, x.shape[-1])
        for across, within in zip(self.across, self.within, strict=True):
            rows += across(nnx.gelu(rows).swapaxes(1, 2)).swapaxes(1, 2)
            rows += within(nnx.gelu(rows))
        return self.classify(rows).reshape(*x.shape[:3], -1)


def drawn(seed, rows=8, size=32):
    """Yields batches of noisy images, the brighter half of which is class 1."""
    rng = np.random.default_rng(seed)
    while True:
        edge = rng.integers(8, size - 8, (rows, 1, 1))
        label = np.int32(np.broadcast_to(np.arange(size) >= edge, (rows, size, size)))
        noisy = rng.normal(90 + 70 * label[..., None], 20, (rows, size, size, 3))
        yield {"image": np.uint8(noisy.clip(0, 255)), "label": label}


if __name__ == "__main__":
    held_out = drawn(seed=1)
    fitted = sa.fit(
        lambda: Mixer(2, rngs=nnx.Rngs(0)),
        sa.tasks.SemanticSegmentation(num_classes=2),
        drawn(seed=0),
        optimizer=optax.adamw(3e-3),
        steps=int(sys.argv[2]),
        workdir=sys.argv[1],
        validation=[next(held_out) for _ in range(4)],
        eval_every=40,
        log_every=10,
    )
    print(f"best step {fitted.best_step}, accuracy {fitted.history[-1]['aAcc']:.3f}")
