"""Every key that a recipe may set, with its default, and what its variants have in common.

A recipe starts from `get_config()` and assigns; a key that is not there is an error. Any key can be
changed on the command line too: `--config.train.batch_size=4`. The keys, their defaults, units and
meanings are declared in `segalias_jax.runs.recipe`; this prints them:
python -m segalias_jax.recipes.base
"""

from typing import Any

from segalias_jax.errors import InputError
from segalias_jax.runs.recipe import default_config, describe_keys

Config = Any  # an ml_collections.ConfigDict, whose attributes no type checker can know


def get_config() -> Config:
    """Returns all keys with their defaults, locked."""
    return default_config()


def choose_variant(config: Config, arg: str, *, sizes: tuple[str, ...]) -> str:
    """Applies a recipe argument such as "daf,freqmix,tiny" to the model.

    Args:
      config: recipe to change; gets `downsample`, `mixer` and a name that says the variant.
      arg: words separated by commas: "baseline" or any of "daf" and "freqmix" ("daf,freqmix"
        where none is given), and at most one of `sizes`.
      sizes: other words that the recipe knows.

    Returns:
      The word of `sizes` that was given, or "".

    Raises:
      InputError: unknown or contradicting words.
    """
    words = [word.strip() for word in arg.split(",") if word.strip()]
    choices = ("baseline", "daf", "freqmix", *sizes)
    for word in words:
        if word not in choices:
            raise InputError(
                f"variant {word!r} of recipe {config.name!r} does not exist; choose from "
                f"{', '.join(choices)}, joined by commas"
            )
    network = [word for word in choices[:3] if word in words] or ["daf", "freqmix"]
    size = [word for word in sizes if word in words]
    if len(size) > 1 or (len(network) > 1 and "baseline" in network):
        raise InputError(f"variants {arg!r} of recipe {config.name!r} exclude each other; drop one")
    config.model.downsample = "daf" if "daf" in network else "none"
    config.model.mixer = "freqmix" if "freqmix" in network else "none"
    config.name = f"{config.name}:{','.join(network + size)}"
    return "".join(size)


def apply_ratio(config: Config, arg: str) -> str:
    """Applies the frequency curriculum that a recipe argument such as "final_ratio=0.6" asks for.

    Args:
      config: recipe to change; its name is left as it is.
      arg: words separated by commas, of which "fixed_ratio=R" keeps the ratio R of the spectrum
        in all of the training, and "final_ratio=R" goes from 1 down to R at its end; 0 keeps the
        mean of an image alone.

    Returns:
      The other words, joined by commas.

    Raises:
      InputError: both words, one of them twice, or a ratio outside [0, 1].
    """
    schedules = {"fixed_ratio": "constant", "final_ratio": "linear"}
    words = [word.strip() for word in arg.split(",") if word.strip()]
    found = [word for word in words if word.split("=")[0].strip() in schedules]
    if len(found) > 1:
        raise InputError(f"variants {arg!r} of recipe {config.name!r} exclude each other; drop one")
    for word in found:
        name, _, value = (part.strip() for part in word.partition("="))
        try:
            ratio = float(value)
        except ValueError:
            ratio = -1.0
        if not 0 <= ratio <= 1:
            raise InputError(
                f"variant {word!r} of recipe {config.name!r} needs a number in [0, 1], "
                f"such as {name}=0.6"
            )
        config.curriculum.schedule = schedules[name]
        config.curriculum.ratio = ratio
    return ",".join(word for word in words if word not in found)


def apply_size(config: Config, size: str) -> None:
    """Applies what the words "published" and "tiny" of a recipe argument mean.

    Args:
      config: recipe to change.
      size: "published": band, cutoff and gates of the published checkpoints; "tiny": a narrow
        network, small crops and 2000 updates, which two processor cores can train; "": nothing.
    """
    if size == "published":
        config.model.band = "reference"
        config.model.cutoff = 0.35
        config.model.gate = "corner"
    if size == "tiny":
        config.data.crop = (192, 192)
        config.model.encoder = "resnet18"
        config.model.width = 32
        config.model.channels = 48
        config.model.auxiliary_channels = 64
        config.loss.average = "valid"
        config.optimizer.name = "adamw"
        config.optimizer.learning_rate = 2e-3
        config.optimizer.weight_decay = 0.02
        config.optimizer.rate_multipliers = ()
        config.schedule.end_value = 0.0
        config.schedule.warmup_steps = 50
        config.train.steps = 2000
        config.train.batch_size = 8
        config.train.eval_every = 500
        config.train.log_every = 20


if __name__ == "__main__":
    print(describe_keys())
