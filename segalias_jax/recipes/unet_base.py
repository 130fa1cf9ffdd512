"""What the recipes of U-Net share: the published setting, and sizes for two processor cores."""

from segalias_jax.errors import InputError
from segalias_jax.recipes import base
from segalias_jax.recipes.base import Config


def recipe(name: str, arg: str, *, images: int) -> tuple[Config, bool]:
    """Returns a U-Net's recipe with the published setting of its frequency curriculum.

    That is 200 epochs in batches of 16 by Adam with a rate of 1e-4 that a cosine lowers to 1e-6.

    Args:
      name: of the recipe.
      arg: words separated by commas: "daf" for anti-aliased pooling, "fixed_ratio=R" or
        "final_ratio=R", see `base.apply_ratio`, and "tiny".
      images: of the training split.

    Returns:
      The recipe, and whether the word "tiny" was given, whose meaning is left to the recipe.

    Raises:
      InputError: unknown or contradicting words.
    """
    config = base.get_config()
    config.name = name
    config.curriculum.evaluate = "final"  # as the network saw images in the end
    words = [word for word in base.apply_ratio(config, arg).split(",") if word]
    for word in words:
        if word not in ("daf", "tiny"):
            raise InputError(
                f"variant {word!r} of recipe {name!r} does not exist; choose from daf, tiny, "
                "fixed_ratio=R and final_ratio=R, joined by commas"
            )
    given = ",".join(word.strip() for word in arg.split(",") if word.strip())
    config.name = f"{name}:{given}" if given else name
    config.model.name = "unet"
    config.model.encoder = "double_conv"
    config.model.downsample = "daf" if "daf" in words else "none"
    config.model.auxiliary = False
    config.model.dropout = 0.0
    config.data.ratio_range = (0.75, 1.25)
    config.data.cat_max_ratio = 1.0
    config.loss.average = "valid"
    config.optimizer.name = "adamw"
    config.optimizer.learning_rate = 1e-4
    config.optimizer.weight_decay = 0.0  # so that it is Adam
    config.optimizer.rate_multipliers = ()
    config.schedule.name = "cosine"
    config.schedule.end_value = 1e-6
    config.schedule.warmup_steps = 0
    config.train.batch_size = 16
    config.train.steps = 200 * images // config.train.batch_size
    config.train.eval_every = config.train.steps // 10
    return config, "tiny" in words


def shrink(config: Config) -> None:
    """Applies what the word "tiny" means for all of them: a higher rate and small batches.

    Args:
      config: recipe to change.
    """
    config.loss.terms = (("cross_entropy", 1.0), ("dice", 1.0))
    config.optimizer.learning_rate = 2e-3
    config.optimizer.weight_decay = 0.05
    config.schedule.end_value = 0.0
    config.schedule.warmup_steps = 20
    config.train.batch_size = 8
    config.train.log_every = 20


def shrink_polyps(config: Config) -> None:
    """Applies "tiny" for polyps, which are large: a narrow ResNet on images of 96 pixels.

    Args:
      config: recipe to change.
    """
    shrink(config)
    config.data.resize = (96, 96)
    config.data.crop = (96, 96)
    config.eval.resize = (96, 96)
    config.eval.batch_size = 10
    config.data.rotation = 180.0  # an endoscope has no upper side
    config.data.photometric = False  # color tells polyps apart, and few epochs cannot learn both
    config.model.encoder = "resnet18"
    config.model.width = 24
    config.model.channels = 24
    config.loss.class_weights = (1.0, 3.0)
    config.train.steps = 4000
    config.train.eval_every = 1000


def shrink_lines(config: Config) -> None:
    """Applies "tiny" for lines a few pixels wide: the plain encoder, narrow, on small crops.

    Args:
      config: recipe to change.
    """
    shrink(config)
    config.data.crop = (128, 128)
    config.data.photometric = False
    config.model.width = 8
    config.model.channels = 8
    config.loss.class_weights = (1.0, 3.0)
    config.optimizer.learning_rate = 5e-3
    config.train.steps = 600
    config.train.eval_every = 300
