"""COCO-Stuff 164k, 171 classes, with the settings that the paper uses on ADE20K.

Paper: https://arxiv.org/abs/2403.09065 (which does not use COCO-Stuff and has no number for it).
Command: segalias train --config coco_stuff --config.data.root=DIR --workdir RUN
On a laptop: --config coco_stuff:daf,freqmix,tiny

DIR holds images/train2017, images/val2017 and annotations/train2017, annotations/val2017 (what the
release calls stuffthingmaps), as NAME.png or, where all are converted, NAME_labelTrainIds.png. It
was not trained here yet.
"""

from segalias_jax.recipes import base


def get_config(arg: str = ""):
    """Returns the recipe.

    `arg` joins by commas "baseline" or any of "daf" and "freqmix" (both by default), and "tiny"
    for a narrow network that two processor cores can train.
    """
    config = base.get_config()
    config.name = "coco_stuff"
    size = base.choose_variant(config, arg, sizes=("tiny",))
    config.data.source = "coco_stuff"
    config.data.train_split = "train2017"
    config.data.eval_split = "val2017"
    config.data.resize = (2048, 512)
    config.data.ratio_range = (0.5, 2.0)
    config.data.crop = (512, 512)
    config.train.steps = 80000
    config.train.batch_size = 16
    config.train.eval_every = 8000
    config.eval.batch_size = 1
    config.eval.resize = (2048, 512)
    config.eval.multiple = 32
    base.apply_size(config, size)
    if size == "tiny":
        config.data.resize = config.eval.resize = (1024, 256)
    return config
