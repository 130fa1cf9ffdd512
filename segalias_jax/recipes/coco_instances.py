"""Mask R-CNN on COCO: 80 classes, 118,287 training images, short side 800, 12 epochs of 16 images.

Paper: https://arxiv.org/abs/2403.09065 (its appendix: box AP 37.2 and mask AP 34.1 without, 38.6
and 35.4 with daf,freqmix; where both sit in the detector is not published, so they stand as in the
segmentation networks)
Command: segalias train --config coco_instances --config.data.root=DIR --workdir RUN
Published schedule of the detector: 12 epochs, a tenth of the rate from epochs 8 and 11, from
weights of ImageNet (--config.model.pretrained=DIR, see segalias convert). Not trained here yet.
Mask2Former in place of Mask R-CNN: --config coco_instances:mask2former
(its published schedule: 50 epochs, crops of 1024x1024 at scales of 0.1 to 2, mask AP 43.7;
https://arxiv.org/abs/2112.01527)
"""

from segalias_jax.recipes import instance_base, mask2former_base


def get_config(arg: str = ""):
    """Returns the recipe.

    `arg` joins by commas "baseline" or any of "daf" and "freqmix" (both by default), and
    "mask2former" for that network and its schedule.
    """
    config, size = instance_base.recipe("coco_instances", arg, sizes=("mask2former",))
    config.data.source = "coco"
    config.data.train_split = "train2017"
    config.data.eval_split = "val2017"
    config.data.short = (800, 800)
    config.data.long = 1333
    config.data.padded = (1344, 1344)
    instance_base.train_for(config, images=117266, epochs=12, milestones=(8, 11))
    if size == "mask2former":
        mask2former_base.use_mask2former(config)
        config.data.crop = (1024, 1024)
        config.data.ratio_range = (0.1, 2.0)
        config.train.steps = 368750
        config.train.eval_every = 36875
        config.schedule.milestones = (327778, 355092)
    return config
