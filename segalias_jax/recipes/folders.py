"""Your own images and label maps: a folder pair or a CSV file of pairs, by this file alone.

Paper: https://arxiv.org/abs/2403.09065 (the network; the settings follow its recipes).
Command: segalias train --config folders --config.data.root=DIR --workdir RUN
On a laptop: --config folders:daf,freqmix,tiny
Look first: segalias browse --config folders \
--config.data.root=DIR --out sheet.png

As it stands: images/SPLIT/NAME.*, labels/SPLIT/NAME.* of the values 0, 1 and 255 (ignored), and the
names of the splits train and val in train.txt and val.txt. Copy the file and change what differs;
docs/datasets.md has an example for each key.
"""

from segalias_jax.recipes import base


def get_config(arg: str = ""):
    """Returns the recipe.

    `arg` joins by commas "baseline" or any of "daf" and "freqmix" (both by default), and "tiny"
    for a narrow network that two processor cores can train.
    """
    config = base.get_config()
    config.name = "folders"
    size = base.choose_variant(config, arg, sizes=("tiny",))
    config.data.source = "folders"
    config.data.classes = ("background", "object")
    config.data.crop = (256, 256)
    config.train.steps = 20000
    config.train.batch_size = 8
    config.train.eval_every = 1000
    config.eval.batch_size = 1
    base.apply_size(config, size)
    return config
