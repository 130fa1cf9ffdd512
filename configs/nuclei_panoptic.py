"""Panoptic-DeepLab on the nuclei of the Data Science Bowl 2018: one class of things.

Paper: https://arxiv.org/abs/1911.10194 (which does not use them)
Command: python train.py --config configs/nuclei_panoptic.py --config.data.root=DIR --workdir RUN
On a laptop: --config configs/nuclei_panoptic.py:baseline,tiny
DIR holds images/NAME.png, instances/NAME.png (16 bit, one value for each nucleus) and the lists
train.txt, val.txt and test.txt. Images are shown as the recipe "nuclei" shows them.
"""

from segalias_jax.recipes.nuclei_panoptic import get_config

__all__ = ["get_config"]
