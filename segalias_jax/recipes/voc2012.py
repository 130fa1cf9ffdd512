"""The published recipe on PASCAL VOC 2012 with the augmented list: crops of 512, 40,000 steps.

Paper: https://arxiv.org/abs/2403.09065
Command: segalias train --config voc2012 --config.data.root=DIR --workdir RUN
On a laptop: --config voc2012:daf,freqmix,tiny

DIR is VOCdevkit/VOC2012, with the further labels in SegmentationClassAug and the list
ImageSets/Segmentation/train_aug.txt (10,582 images; where it is called otherwise, name it by
--config.data.train_split).

The paper's mIoU on the validation set (whole images, encoder pretrained on ImageNet): baseline
74.3, daf,freqmix 76.1. This recipe starts from random parameters unless model.pretrained names
some; it was not trained here yet.
"""

from segalias_jax.recipes import base


def get_config(arg: str = ""):
    """Returns the recipe.

    `arg` joins by commas "baseline" or any of "daf" and "freqmix" (both by default), and at most
    one of "published", for the band, cutoff and gates of the published checkpoints, and "tiny",
    for a narrow network that two processor cores can train.
    """
    config = base.get_config()
    config.name = "voc2012"
    size = base.choose_variant(config, arg, sizes=("published", "tiny"))
    config.data.source = "voc2012"
    config.data.train_split = "train_aug"
    config.data.resize = (2048, 512)
    config.data.ratio_range = (0.5, 2.0)
    config.data.crop = (512, 512)
    config.schedule.warmup_steps = 0  # the published warm-up is that of Cityscapes alone
    config.train.steps = 40000
    config.train.batch_size = 16
    config.train.eval_every = 4000
    config.eval.batch_size = 1
    config.eval.resize = (2048, 512)
    base.apply_size(config, size)
    if size == "published":
        # The checkpoint's name and its 32.47 million parameters say 4; its configuration says 16.
        config.model.reduction = 4
    if size == "tiny":
        config.data.resize = config.eval.resize = (1024, 256)
    return config
