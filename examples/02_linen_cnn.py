"""A Linen CNN: where it aliases, how it learns with filters, on the parameters that it has.

python examples/02_linen_cnn.py
"""

import jax
import jax.numpy as jnp
from flax import linen

import segalias_jax as sa


class CNN(linen.Module):
    """Three convolutions with poolings, and a classifier."""

    @linen.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Returns the logits of ten classes."""
        for channels in (8, 16):
            x = linen.relu(linen.Conv(channels, (3, 3))(x))
            x = linen.avg_pool(x, (2, 2), strides=(2, 2))
        x = linen.relu(linen.Conv(32, (3, 3), strides=(2, 2))(x))
        return linen.Dense(10)(x.mean((1, 2)))


def main() -> None:
    """Profiles and de-aliases the network, and takes a gradient."""
    images = jax.random.normal(jax.random.key(0), (2, 32, 32, 3))
    network = CNN()
    variables = network.init(jax.random.key(1), images)
    print(sa.profile_aliasing(network.apply, variables, images).table())

    filtered = sa.dealias(network.apply)  # all but the stem and the first pooling
    print(sa.profile_aliasing(filtered, variables, images).table())
    gradient = jax.jit(jax.grad(lambda variables: jnp.sum(filtered(variables, images) ** 2)))
    kernel = gradient(variables)["params"]["Conv_0"]["kernel"]
    print(f"gradient of the first kernel: {kernel.shape}, norm {jnp.linalg.norm(kernel):.3f}")


if __name__ == "__main__":
    main()
