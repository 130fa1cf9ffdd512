"""An Equinox ResNet: where it aliases, and the same network with filters, on the same parameters.

python examples/01_equinox_resnet.py
"""

import equinox as eqx
import jax

import segalias_jax as sa


class Block(eqx.Module):
    """Two 3x3 convolutions and a strided shortcut."""

    conv1: eqx.nn.Conv2d
    conv2: eqx.nn.Conv2d
    shortcut: eqx.nn.Conv2d

    def __init__(self, in_channels: int, out_channels: int, key: jax.Array):
        keys = jax.random.split(key, 3)
        self.conv1 = eqx.nn.Conv2d(in_channels, out_channels, 3, stride=2, padding=1, key=keys[0])
        self.conv2 = eqx.nn.Conv2d(out_channels, out_channels, 3, padding=1, key=keys[1])
        self.shortcut = eqx.nn.Conv2d(in_channels, out_channels, 1, stride=2, key=keys[2])

    def __call__(self, x: jax.Array, *, key: jax.Array | None = None) -> jax.Array:
        """Applies the block to one image, channels first; nothing in it is random."""
        return jax.nn.relu(self.conv2(jax.nn.relu(self.conv1(x))) + self.shortcut(x))


def make_network(key: jax.Array) -> eqx.nn.Sequential:
    """Stem, pooling and two strided blocks."""
    keys = jax.random.split(key, 3)
    stem = eqx.nn.Conv2d(3, 8, 7, stride=2, padding=3, key=keys[0])
    pool = eqx.nn.MaxPool2d(3, stride=2, padding=1)
    return eqx.nn.Sequential([stem, pool, Block(8, 16, keys[1]), Block(16, 32, keys[2])])


def main() -> None:
    """Profiles and de-aliases the network."""
    network = make_network(jax.random.key(0))
    images = jax.random.normal(jax.random.key(1), (2, 3, 32, 32))

    def forward(network: eqx.Module, images: jax.Array) -> jax.Array:
        return jax.vmap(network)(images)

    print(sa.profile_aliasing(forward, network, images).table())
    filtered = sa.dealias(forward)  # filters what enters both blocks, as the paper does
    print(sa.profile_aliasing(filtered, network, images).table())
    print("features:", eqx.filter_jit(filtered)(network, images).shape)


if __name__ == "__main__":
    main()
