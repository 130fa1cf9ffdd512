r"""Mask R-CNN on Cityscapes: 8 classes of things, 2,975 training images of 2048x1024.

Paper: https://arxiv.org/abs/2403.09065 (which has no instances of Cityscapes); the schedule is that
of https://arxiv.org/abs/1703.06870: 24,000 updates of 8 images, a tenth of the rate from 18,000 on,
short sides of 800 to 1024, mask AP 31.5 on the validation set.
Command: python train.py --config configs/cityscapes_instances.py --workdir RUN \
    --config.data.root=DIR
Not trained here yet.
"""

from segalias_jax.recipes.cityscapes_instances import get_config

__all__ = ["get_config"]
