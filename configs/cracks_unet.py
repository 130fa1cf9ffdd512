"""U-Net on road cracks (CrackForest): 118 images of 480x320, of which cracks are 1.6 %.

Paper: https://arxiv.org/abs/1505.04597
Command: python train.py --config configs/cracks_unet.py --config.data.root=DIR --workdir RUN
On a laptop: --config configs/cracks_unet.py:tiny

The set has no split of its own; steps are counted for 72 training images. It was not trained here
yet.
"""

from segalias_jax.recipes.cracks_unet import get_config

__all__ = ["get_config"]
