"""The published recipe on ADE20K, 150 classes: crops of 512, 80,000 steps of 16.

Paper: https://arxiv.org/abs/2403.09065
Command: python train.py --config configs/ade20k.py --config.data.root=DIR --workdir RUN
On a laptop: --config configs/ade20k.py:daf,freqmix,tiny

DIR is ADEChallengeData2016. Label 0 is ignored, label k + 1 is class k (`reduce_zero_label`).

The paper's mIoU on the validation set (encoder pretrained on ImageNet, images resized to a short
side of 512 and multiples of 32): baseline 38.87, daf,freqmix 40.35. This recipe scores in the same
way, but starts from random parameters unless model.pretrained names some; it was not trained here
yet.
"""

from segalias_jax.recipes.ade20k import get_config

__all__ = ["get_config"]
