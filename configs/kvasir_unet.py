"""U-Net with a frequency curriculum on Kvasir-SEG: 800 / 100 / 100 endoscopic images, polyps.

Paper: https://arxiv.org/abs/1505.04597 (the network; the setting is that of the curriculum)
Command: python train.py --config configs/kvasir_unet.py --config.data.root=DIR --workdir RUN
With a curriculum: --config configs/kvasir_unet.py:final_ratio=0.6
On a laptop: --config configs/kvasir_unet.py:tiny

Measured for `tiny`: Dice 77.9 as the mean over the 100 test images, 81.2 over all their pixels
(benchmarks/results/kvasir_unet_tiny.json). The full size was not trained yet.
"""

from segalias_jax.recipes.kvasir_unet import get_config

__all__ = ["get_config"]
