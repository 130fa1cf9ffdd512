"""Mask R-CNN on LIS, instances in low light: 8 classes, 600x400, 12 epochs of 16 images.

Paper: https://arxiv.org/abs/2403.09065 (+1.2 AP on PointRend, +1.1 on Mask2Former); the set, its
noise and the recipe are those of https://arxiv.org/abs/2304.14298 (mask AP 31.8 with its own
filters, 19.8 without).
Command: python train.py --config configs/lis.py --config.data.root=DIR --workdir RUN
With that paper's filters, branches and loss: --config configs/lis.py:low_light
Mask2Former in place of Mask R-CNN: --config configs/lis.py:mask2former
(published there: mask AP 21.4, and 35.6 with its own filters)

The published training starts from COCO's weights (--config.model.pretrained=DIR), sees normal-light
images with synthesized noise, and is tested on real dark ones. Not trained here yet.
"""

from segalias_jax.recipes.lis import get_config

__all__ = ["get_config"]
