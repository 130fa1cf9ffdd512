"""States on the disk: those of runs, and weights that PyTorch code wrote."""

from segalias_jax.checkpoints.pretrained import fill_state, read_weights
from segalias_jax.checkpoints.store import CheckpointStore
from segalias_jax.torch_weights.load import Source, load_torch

__all__ = ["CheckpointStore", "Source", "fill_state", "load_torch", "read_weights"]
