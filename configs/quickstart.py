"""The embedded default: procedural scenes, a narrow network, minutes on a laptop.

Paper: https://arxiv.org/abs/2403.09065 (the network; the scenes are this project's own).
Command: python train.py --workdir RUN

Measured: 2 to 4 minutes on two processor cores (of several machines), mIoU 63.6
(benchmarks/results/quickstart.json).
"""

from segalias_jax.recipes.quickstart import get_config

__all__ = ["get_config"]
