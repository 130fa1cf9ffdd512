"""A stand-in for a network, with everything that a step has to carry along."""

import jax
import pytest
from flax import nnx


class SmallModel(nnx.Module):
    def __init__(self, num_classes, rngs):
        self.encoder = nnx.Conv(3, 6, (3, 3), rngs=rngs)
        self.norm = nnx.BatchNorm(6, rngs=rngs)
        self.dropout = nnx.Dropout(0.3, rngs=rngs)
        self.decoder = nnx.Conv(6, num_classes, (1, 1), rngs=rngs)
        self.auxiliary = nnx.Conv(6, num_classes, (1, 1), rngs=rngs)

    def features(self, x):
        return jax.nn.relu(self.dropout(self.norm(self.encoder(x))))

    def __call__(self, x):
        return self.decoder(self.features(x))

    def with_auxiliary(self, x):
        features = self.features(x)
        return self.decoder(features), (self.auxiliary(features),)


@pytest.fixture(scope="session")
def small_model():
    """Returns `make(num_classes, rngs)`, a network that compiles in no time."""
    return SmallModel
