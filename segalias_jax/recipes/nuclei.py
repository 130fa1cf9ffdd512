"""Mask R-CNN on the nuclei of the Data Science Bowl 2018: one class, 1 to 375 touching objects.

Paper: https://arxiv.org/abs/2403.09065 (which does not use them)
Command: segalias train --config nuclei --config.data.root=DIR --workdir RUN
On a laptop: --config nuclei:daf,freqmix,tiny
DIR holds images/NAME.png, instances/NAME.png (16 bit, one value for each nucleus) and the lists
train.txt, val.txt and test.txt. "baseline,tiny" reached PQ 69.5 on val in 77 minutes of processor
time (docs/instances.md).
"""

from segalias_jax.recipes import instance_base


def get_config(arg: str = ""):
    """Returns the recipe.

    `arg` joins by commas "baseline" or any of "daf" and "freqmix" (both by default), and "tiny"
    for a narrow network that two processor cores can train.
    """
    config, size = instance_base.recipe("nuclei", arg, sizes=("tiny",))
    read_nuclei(config)
    # Learned from random parameters, whose statistics have to be learned too.
    config.model.frozen_stages = -1
    config.model.frozen_norm = False
    config.model.anchor_sizes = (8, 16, 32, 64, 128)
    config.model.anchor_ratios = (0.5, 1.0, 2.0)
    config.model.max_detections = 400
    # Boxes of nuclei that touch overlap little, and what is scored from 0.4 to 0.5 is right often
    # enough: both are the best tried on training images, see docs/instances.md.
    config.model.nms_threshold = 0.3
    config.eval.threshold = 0.4
    config.optimizer.name = "adamw"
    config.optimizer.learning_rate = 1e-3
    config.optimizer.weight_decay = 0.02
    config.schedule.name = "cosine"
    config.schedule.end_value = 0.0
    config.schedule.warmup_steps = 500
    config.train.batch_size = 16
    config.train.steps = 10000
    config.train.eval_every = 1000
    config.eval.headline = "PQ"
    if size == "tiny":
        _shrink(config)
    return config


def read_nuclei(config) -> None:
    """Says where the data are, and at which size images are shown."""
    config.data.source = "instance_maps"
    config.data.classes = ("nucleus",)
    config.data.images = "images/{name}.png"
    config.data.maps = "instances/{name}.png"
    config.data.names = "{split}.txt"
    config.data.crop = (256, 256)
    config.data.short = (512, 512)
    config.data.long = 1408
    config.data.max_objects = 256
    # A third of the nuclei are in an eighth of the images, of which a crop shows a seventh.
    config.data.repeat_by_objects = True


def read_small_nuclei(config) -> None:
    """Shows them at the sizes of the variant "tiny", to a small encoder, a few at a time."""
    # Nuclei are 7 to 42 pixels wide in most images, which are shown at twice their size.
    config.data.crop = (224, 224)
    config.data.ratio_range = (0.75, 1.33)
    config.data.long = 1088  # the longest of val keep 85 % of their size
    config.data.max_objects = 96
    config.model.encoder = "resnet18"
    config.model.width = 32
    config.train.batch_size = 4


def _shrink(config) -> None:
    read_small_nuclei(config)
    config.model.pyramid_channels = 48
    config.model.box_channels = 128
    config.model.mask_channels = 32
    config.model.anchor_sizes = (12, 24, 48, 96, 192)
    config.model.pre_nms_train = 400
    config.model.post_nms_train = 300
    config.model.box_samples = 96
    config.optimizer.learning_rate = 1.5e-3
    config.schedule.warmup_steps = 100
    config.train.steps = 8000
    config.train.eval_every = 2000
    config.train.log_every = 50
