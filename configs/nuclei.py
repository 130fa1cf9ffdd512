"""Mask R-CNN on the nuclei of the Data Science Bowl 2018: one class, 1 to 375 touching objects.

Paper: https://arxiv.org/abs/2403.09065 (which does not use them)
Command: python train.py --config configs/nuclei.py --config.data.root=DIR --workdir RUN
On a laptop: --config configs/nuclei.py:daf,freqmix,tiny
DIR holds images/NAME.png, instances/NAME.png (16 bit, one value for each nucleus) and the lists
train.txt, val.txt and test.txt. "baseline,tiny" reached PQ 69.5 on val in 77 minutes of processor
time (docs/instances.md).
"""

from segalias_jax.recipes.nuclei import get_config

__all__ = ["get_config"]
