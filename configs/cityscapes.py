"""The published recipe on Cityscapes: UPerNet on ResNet-50 v1c, crops of 768, 80,000 steps of 8.

Paper: https://arxiv.org/abs/2403.09065
Command: python train.py --config configs/cityscapes.py --config.data.root=DIR --workdir RUN
Published network to the letter: --config configs/cityscapes.py:published
Published row "FLC": --config configs/cityscapes.py:daf,flc
Mask2Former in place of UPerNet: --config configs/cityscapes.py:mask2former
(its published schedule: 90,000 steps of 16 crops of 512x1024, whole images, mIoU 79.4;
https://arxiv.org/abs/2112.01527)

Published mIoU on the validation set (windows of 768, stride 512, encoder pretrained on ImageNet):
baseline 78.1, daf 79.3, daf,freqmix 79.7. This recipe scores in the same way, but starts from
random parameters; --config.eval.mode=whole scores whole images.
"""

from segalias_jax.recipes.cityscapes import get_config

__all__ = ["get_config"]
