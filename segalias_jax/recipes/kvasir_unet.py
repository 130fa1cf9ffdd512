"""U-Net with a frequency curriculum on Kvasir-SEG: 800 / 100 / 100 endoscopic images, polyps.

Paper: https://arxiv.org/abs/1505.04597 (the network; the setting is that of the curriculum)
Command: segalias train --config kvasir_unet --config.data.root=DIR --workdir RUN
With a curriculum: --config kvasir_unet:final_ratio=0.6
On a laptop: --config kvasir_unet:tiny

Measured for `tiny`: Dice 77.9 as the mean over the 100 test images, 81.2 over all their pixels
(benchmarks/results/kvasir_unet_tiny.json). The full size was not trained yet.
"""

from segalias_jax.recipes import unet_base


def get_config(arg: str = ""):
    """Returns the recipe.

    `arg` joins by commas "daf" for anti-aliased pooling; "fixed_ratio=R" or "final_ratio=R" for
    the fraction of the spectrum that the network sees, always or in the end; and "tiny" for a
    network that two processor cores can train.
    """
    config, tiny = unet_base.recipe("kvasir_unet", arg, images=800)
    config.data.source = "kvasir_seg"
    config.data.resize = (352, 352)
    config.data.crop = (352, 352)
    config.eval.resize = (352, 352)
    if tiny:
        unet_base.shrink_polyps(config)
    return config
