"""Random state dicts in PyTorch's naming, of a network that is quick to build."""

import numpy as np
import pytest
from flax import nnx

from segalias_jax import models
from segalias_jax.torch_weights.load import torch_arrays
from segalias_jax.torch_weights.names import leaves

SMALL = {"encoder": "resnet18", "width": 8, "channels": 8, "auxiliary_channels": 8}


@pytest.fixture(scope="session")
def abstract_model():
    """Returns `make(num_classes, **config)`, a model without numbers."""

    def make(num_classes=5, **config):
        return nnx.eval_shape(
            lambda: models.create_model(SMALL | config, num_classes=num_classes, rngs=nnx.Rngs(0))
        )

    return make


@pytest.fixture(scope="session")
def state_dict(abstract_model):
    """Returns `make(num_classes, **config)`, random arrays as mmsegmentation would save them."""

    def make(num_classes=5, **config):
        random, model = np.random.default_rng(0), abstract_model(num_classes, **config)
        values = {
            path: abs(random.normal(size=leaf.shape)).astype(np.float32)
            for path, leaf in leaves(model).items()
        }
        return torch_arrays(model, values) | {"backbone.bn1.num_batches_tracked": np.array(7)}

    return make
