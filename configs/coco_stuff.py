"""COCO-Stuff 164k, 171 classes, with the settings that the paper uses on ADE20K.

Paper: https://arxiv.org/abs/2403.09065 (which does not use COCO-Stuff and has no number for it).
Command: python train.py --config configs/coco_stuff.py --config.data.root=DIR --workdir RUN
On a laptop: --config configs/coco_stuff.py:daf,freqmix,tiny

DIR holds images/train2017, images/val2017 and annotations/train2017, annotations/val2017 (what the
release calls stuffthingmaps), as NAME.png or, where all are converted, NAME_labelTrainIds.png. It
was not trained here yet.
"""

from segalias_jax.recipes.coco_stuff import get_config

__all__ = ["get_config"]
