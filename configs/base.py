"""Every key that a recipe may set, with its default; `python configs/base.py` prints them all.

A recipe starts from `base.get_config()` and assigns; a key that is not there is an error. Any key
can be changed on the command line too: `--config.train.batch_size=4`.
"""

from segalias_jax.recipes.base import apply_ratio, apply_size, choose_variant, get_config
from segalias_jax.runs.recipe import describe_keys

__all__ = ["apply_ratio", "apply_size", "choose_variant", "get_config"]

if __name__ == "__main__":
    print(describe_keys())
