"""Patches of a vision transformer in NNX: an operator of stride 16, chosen by its number.

python examples/03_nnx_patch_embedding.py
"""

import jax
from flax import nnx

import segalias_jax as sa


class PatchEmbedding(nnx.Module):
    """16x16 pixels become one token of 192 numbers."""

    def __init__(self, rngs: nnx.Rngs):
        self.project = nnx.Linear(16 * 16 * 3, 192, rngs=rngs)
        self.norm = nnx.LayerNorm(192, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        """Returns a token for each patch of the images."""
        b, h, w, c = x.shape
        patches = x.reshape(b, h // 16, 16, w // 16, 16, c).transpose(0, 1, 3, 2, 4, 5)
        return self.norm(self.project(patches.reshape(b, -1, 16 * 16 * c)))


def main() -> None:
    """Profiles and de-aliases the embedding."""
    embed = PatchEmbedding(nnx.Rngs(0))
    images = jax.random.normal(jax.random.key(0), (2, 32, 32, 3))
    report = sa.profile_aliasing(embed, images)
    print(report.table())

    # The stem is left alone by default, so name it: by number, name or any rule.
    filtered = sa.dealias(embed, where=0)
    print(sa.profile_aliasing(filtered, images).table())
    before, after = embed(images), jax.jit(filtered)(images)
    print(f"tokens {after.shape}, changed by up to {abs(after - before).max():.3f}")


if __name__ == "__main__":
    main()
