"""The published recipe on PASCAL VOC 2012 with the augmented list: crops of 512, 40,000 steps.

Paper: https://arxiv.org/abs/2403.09065
Command: python train.py --config configs/voc2012.py --config.data.root=DIR --workdir RUN
On a laptop: --config configs/voc2012.py:daf,freqmix,tiny

DIR is VOCdevkit/VOC2012, with the further labels in SegmentationClassAug and the list
ImageSets/Segmentation/train_aug.txt (10,582 images; where it is called otherwise, name it by
--config.data.train_split).

The paper's mIoU on the validation set (whole images, encoder pretrained on ImageNet): baseline
74.3, daf,freqmix 76.1. This recipe starts from random parameters unless model.pretrained names
some; it was not trained here yet.
"""

from segalias_jax.recipes.voc2012 import get_config

__all__ = ["get_config"]
