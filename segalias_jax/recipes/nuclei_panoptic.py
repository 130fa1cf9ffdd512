"""Panoptic-DeepLab on the nuclei of the Data Science Bowl 2018: one class of things.

Paper: https://arxiv.org/abs/1911.10194 (which does not use them)
Command: segalias train --config nuclei_panoptic --config.data.root=DIR --workdir RUN
On a laptop: --config nuclei_panoptic:baseline,tiny
DIR holds images/NAME.png, instances/NAME.png (16 bit, one value for each nucleus) and the lists
train.txt, val.txt and test.txt. Images are shown as the recipe "nuclei" shows them.
"""

from segalias_jax.recipes import nuclei, panoptic_base


def get_config(arg: str = ""):
    """Returns the recipe.

    `arg` joins by commas "baseline" or any of "daf" and "freqmix" (both by default), and "tiny"
    for a narrow network that two processor cores can train.
    """
    config, size = panoptic_base.recipe("nuclei_panoptic", arg, sizes=("tiny",))
    nuclei.read_nuclei(config)
    config.loss.sigma = 6.0  # centers of nuclei that touch lie 14 pixels apart
    config.loss.small_area = 0  # all are small
    config.eval.max_centers = 400
    config.train.batch_size = 16
    config.train.steps = 10000
    config.train.eval_every = 1000
    if size == "tiny":
        _shrink(config)
    return config


def _shrink(config) -> None:
    nuclei.read_small_nuclei(config)
    config.model.channels = 48
    config.model.dilations = (1, 3, 6)
    config.optimizer.learning_rate = 2e-3
    config.schedule.warmup_steps = 100
    config.train.steps = 3000
    config.train.eval_every = 1000
