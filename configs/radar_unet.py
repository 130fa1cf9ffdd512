"""U-Net on radar fields: where is reflectivity 40 dBZ or more, seen in five dithered levels?

Paper: https://arxiv.org/abs/1505.04597
Command: python train.py --config configs/radar_unet.py --workdir RUN
On a laptop: --config configs/radar_unet.py:tiny

Fields are drawn, no file is read; --config.data.source=svrimg --config.data.root=DIR takes those of
SVRIMG, which are not dithered. Steps are counted for 1000 training fields. Measured for `tiny`: IoU
= CSI 88.6 over all pixels of 50 validation fields (benchmarks/results/radar_unet_tiny.json). The
full size was not trained yet.
"""

from segalias_jax.recipes.radar_unet import get_config

__all__ = ["get_config"]
