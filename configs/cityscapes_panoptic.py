r"""Panoptic-DeepLab on Cityscapes: 8 classes of things and 11 of stuff, 90,000 updates of 32 crops.

Paper: https://arxiv.org/abs/1911.10194 (the schedule of its published program, with crops of
512x1024); the filters are those of https://arxiv.org/abs/2403.09065, which has no such network.
Command: python train.py --config configs/cityscapes_panoptic.py --workdir RUN \
    --config.data.root=DIR
Mask2Former in place of Panoptic-DeepLab: --config configs/cityscapes_panoptic.py:mask2former
(its published schedule: 90,000 updates of 16 crops, PQ 62.1; https://arxiv.org/abs/2112.01527)
Not trained here yet.
"""

from segalias_jax.recipes.cityscapes_panoptic import get_config

__all__ = ["get_config"]
