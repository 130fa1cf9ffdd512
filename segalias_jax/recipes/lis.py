"""Mask R-CNN on LIS, instances in low light: 8 classes, 600x400, 12 epochs of 16 images.

Paper: https://arxiv.org/abs/2403.09065 (+1.2 AP on PointRend, +1.1 on Mask2Former); the set, its
noise and the recipe are those of https://arxiv.org/abs/2304.14298 (mask AP 31.8 with its own
filters, 19.8 without).
Command: segalias train --config lis --config.data.root=DIR --workdir RUN
With that paper's filters, branches and loss: --config lis:low_light
Mask2Former in place of Mask R-CNN: --config lis:mask2former
(published there: mask AP 21.4, and 35.6 with its own filters)

The published training starts from COCO's weights (--config.model.pretrained=DIR), sees normal-light
images with synthesized noise, and is tested on real dark ones. Not trained here yet.
"""

from segalias_jax.recipes import instance_base, mask2former_base


def get_config(arg: str = ""):
    """Returns the recipe.

    `arg` joins by commas "baseline" or any of "daf" and "freqmix" (both by default), and at most
    one of "low_light", for adaptive weighted downsampling, the smooth branch and the loss between
    the features of dark and of normal images, in place of the other filters and mixers, and
    "mask2former", for that network and its optimizer.
    """
    config, size = instance_base.recipe("lis", arg, sizes=("low_light", "mask2former"))
    config.data.source = "coco"
    config.data.annotations = "annotations/lis_coco_png_{split}.json"
    config.data.images = "images"
    config.data.train_split = "JPG_train+1"
    config.data.eval_split = "JPG_test+1"
    config.data.short = (400, 400)
    config.data.long = 600
    config.data.interpolation = "nearest"
    config.data.padded = (608, 608)
    config.data.dark = 1.0
    instance_base.train_for(config, images=1561, epochs=12, milestones=(9, 11))
    if size == "low_light":
        config.model.downsample = "awd"
        config.model.mixer = "scb"
        config.optimizer.rate_multipliers = (("/filters/", 2.0), ("/branch/", 2.0))
        config.data.dark_pair = True
    if size == "mask2former":
        mask2former_base.use_mask2former(config)
    return config
