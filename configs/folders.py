"""Your own images and label maps: a folder pair or a CSV file of pairs, by this file alone.

Paper: https://arxiv.org/abs/2403.09065 (the network; the settings follow its recipes).
Command: python train.py --config configs/folders.py --config.data.root=DIR --workdir RUN
On a laptop: --config configs/folders.py:daf,freqmix,tiny
Look first: python -m segalias_jax.data.tools.browse --config configs/folders.py \
--config.data.root=DIR --out sheet.png

As it stands: images/SPLIT/NAME.*, labels/SPLIT/NAME.* of the values 0, 1 and 255 (ignored), and the
names of the splits train and val in train.txt and val.txt. Copy the file and change what differs;
docs/datasets.md has an example for each key.
"""

from segalias_jax.recipes.folders import get_config

__all__ = ["get_config"]
