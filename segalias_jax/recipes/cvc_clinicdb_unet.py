"""U-Net with a frequency curriculum on CVC-ClinicDB: 612 endoscopic images of 384x288, polyps.

Paper: https://arxiv.org/abs/1505.04597 (the network; the setting is that of the curriculum)
Command: segalias train --config cvc_clinicdb_unet --config.data.root=DIR --workdir RUN
With a curriculum: --config cvc_clinicdb_unet:final_ratio=0.6
On a laptop: --config cvc_clinicdb_unet:tiny

The set has no split of its own; steps are counted for 490 training images, four of five. It was not
trained here yet.
"""

from segalias_jax.recipes import unet_base


def get_config(arg: str = ""):
    """Returns the recipe.

    `arg` joins by commas "daf" for anti-aliased pooling; "fixed_ratio=R" or "final_ratio=R" for
    the fraction of the spectrum that the network sees, always or in the end; and "tiny" for a
    network that two processor cores can train.
    """
    config, tiny = unet_base.recipe("cvc_clinicdb_unet", arg, images=490)
    config.data.source = "cvc_clinicdb"
    config.data.crop = (288, 384)
    if tiny:
        unet_base.shrink_polyps(config)
    return config
