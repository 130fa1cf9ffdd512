"""Mask R-CNN on COCO: 80 classes, 118,287 training images, short side 800, 12 epochs of 16 images.

Paper: https://arxiv.org/abs/2403.09065 (its appendix: box AP 37.2 and mask AP 34.1 without, 38.6
and 35.4 with daf,freqmix; where both sit in the detector is not published, so they stand as in the
segmentation networks)
Command: python train.py --config configs/coco_instances.py --config.data.root=DIR --workdir RUN
Published schedule of the detector: 12 epochs, a tenth of the rate from epochs 8 and 11, from
weights of ImageNet (--config.model.pretrained=DIR, see segalias convert). Not trained here yet.
Mask2Former in place of Mask R-CNN: --config configs/coco_instances.py:mask2former
(its published schedule: 50 epochs, crops of 1024x1024 at scales of 0.1 to 2, mask AP 43.7;
https://arxiv.org/abs/2112.01527)
"""

from segalias_jax.recipes.coco_instances import get_config

__all__ = ["get_config"]
