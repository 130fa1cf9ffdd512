"""U-Net on neuron membranes (ISBI 2012): 30 electron micrographs of 512x512.

Paper: https://arxiv.org/abs/1505.04597
Command: segalias train --config membrane_unet --config.data.root=DIR --workdir RUN
On a laptop: --config membrane_unet:tiny

Steps are counted for 24 training images. Measured for `tiny`: IoU 65.9 over all pixels of 6
validation images (benchmarks/results/membrane_unet_tiny.json). The full size was not trained yet.
"""

from segalias_jax.recipes import unet_base


def get_config(arg: str = ""):
    """Returns the recipe.

    `arg` joins by commas "daf" for anti-aliased pooling; "fixed_ratio=R" or "final_ratio=R" for
    the fraction of the spectrum that the network sees, always or in the end; and "tiny" for a
    network that two processor cores can train.
    """
    config, tiny = unet_base.recipe("membrane_unet", arg, images=24)
    config.data.source = "membrane"
    config.data.crop = (512, 512)
    if tiny:
        unet_base.shrink_lines(config)
    return config
