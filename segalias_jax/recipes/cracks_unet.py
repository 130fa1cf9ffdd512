"""U-Net on road cracks (CrackForest): 118 images of 480x320, of which cracks are 1.6 %.

Paper: https://arxiv.org/abs/1505.04597
Command: segalias train --config cracks_unet --config.data.root=DIR --workdir RUN
On a laptop: --config cracks_unet:tiny

The set has no split of its own; steps are counted for 72 training images. It was not trained here
yet.
"""

from segalias_jax.recipes import unet_base


def get_config(arg: str = ""):
    """Returns the recipe.

    `arg` joins by commas "daf" for anti-aliased pooling; "fixed_ratio=R" or "final_ratio=R" for
    the fraction of the spectrum that the network sees, always or in the end; and "tiny" for a
    network that two processor cores can train.
    """
    config, tiny = unet_base.recipe("cracks_unet", arg, images=72)
    config.data.source = "crackforest"
    config.data.crop = (320, 480)
    config.loss.terms = (("cross_entropy", 1.0), ("dice", 1.0))
    if tiny:
        unet_base.shrink_lines(config)
    return config
