"""U-Net on neuron membranes (ISBI 2012): 30 electron micrographs of 512x512.

Paper: https://arxiv.org/abs/1505.04597
Command: python train.py --config configs/membrane_unet.py --config.data.root=DIR --workdir RUN
On a laptop: --config configs/membrane_unet.py:tiny

Steps are counted for 24 training images. Measured for `tiny`: IoU 65.9 over all pixels of 6
validation images (benchmarks/results/membrane_unet_tiny.json). The full size was not trained yet.
"""

from segalias_jax.recipes.membrane_unet import get_config

__all__ = ["get_config"]
