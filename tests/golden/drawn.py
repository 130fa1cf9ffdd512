"""Weights and images that follow from names and sizes, so that recordings need not store them."""

import zlib

import numpy as np


def draw(name, shape):
    """Weights of a leaf, by its PyTorch name; norms and running variances are positive."""
    random = np.random.RandomState(zlib.crc32(name.encode()))
    if name.endswith("num_batches_tracked"):
        return np.zeros(shape, np.int64)
    if name.endswith("running_var") or (len(shape) == 1 and name.endswith("weight")):
        values = random.uniform(0.5, 1.5, shape)
    elif len(shape) == 1:
        values = 0.2 * random.normal(size=shape)
    elif len(shape) == 3:  # tokens and positions
        values = random.normal(size=shape)
    else:
        values = random.normal(size=shape) * np.prod(shape[1:]) ** -0.5
    return values.astype(np.float32)


def image(height, width):
    """What the networks read."""
    return np.random.RandomState(0).normal(size=(1, height, width, 3)).astype(np.float32)


def fill(network):
    """Draws all weights of a PyTorch network, in evaluation mode."""
    import torch

    state = network.state_dict()
    drawn = {name: torch.from_numpy(draw(name, tuple(v.shape))) for name, v in state.items()}
    network.load_state_dict(drawn)
    return network.eval()


def run(function, height, width):
    """Maps that a PyTorch function makes of the image, with channels last."""
    import torch

    x = torch.from_numpy(np.moveaxis(image(height, width), -1, 1).copy())
    with torch.no_grad():
        return [np.moveaxis(y.numpy(), 1, -1) for y in function(x)]
