"""U-Net on radar fields: where is reflectivity 40 dBZ or more, seen in five dithered levels?

Paper: https://arxiv.org/abs/1505.04597
Command: segalias train --config radar_unet --workdir RUN
On a laptop: --config radar_unet:tiny

Fields are drawn, no file is read; --config.data.source=svrimg --config.data.root=DIR takes those of
SVRIMG, which are not dithered. Steps are counted for 1000 training fields. Measured for `tiny`: IoU
= CSI 88.6 over all pixels of 50 validation fields (benchmarks/results/radar_unet_tiny.json). The
full size was not trained yet.
"""

from segalias_jax.recipes import unet_base


def get_config(arg: str = ""):
    """Returns the recipe.

    `arg` joins by commas "daf" for anti-aliased pooling; "fixed_ratio=R" or "final_ratio=R" for
    the fraction of the spectrum that the network sees, always or in the end; and "tiny" for a
    network that two processor cores can train.
    """
    config, tiny = unet_base.recipe("radar_unet", arg, images=1000)
    config.data.source = "radar"
    config.data.image_size = (136, 136)
    config.data.crop = (136, 136)
    config.data.ratio_range = (1.0, 1.0)  # resizing would blur the levels
    config.data.photometric = False  # gray values are a measurement
    if tiny:
        unet_base.shrink_lines(config)
        config.data.num_eval = 50
        config.data.crop = (64, 64)
        config.loss.class_weights = ()  # the score is IoU, and edges are what is missed
        config.eval.batch_size = 10
    return config
