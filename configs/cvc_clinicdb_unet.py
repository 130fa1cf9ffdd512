"""U-Net with a frequency curriculum on CVC-ClinicDB: 612 endoscopic images of 384x288, polyps.

Paper: https://arxiv.org/abs/1505.04597 (the network; the setting is that of the curriculum)
Command: python train.py --config configs/cvc_clinicdb_unet.py --config.data.root=DIR --workdir RUN
With a curriculum: --config configs/cvc_clinicdb_unet.py:final_ratio=0.6
On a laptop: --config configs/cvc_clinicdb_unet.py:tiny

The set has no split of its own; steps are counted for 490 training images, four of five. It was not
trained here yet.
"""

from segalias_jax.recipes.cvc_clinicdb_unet import get_config

__all__ = ["get_config"]
