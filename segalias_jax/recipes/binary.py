"""Sets of two classes: polyps, neuron membranes, cracks, retina vessels.

Paper: https://arxiv.org/abs/2403.09065 (which uses none of them; the recipe follows its others).
Command: segalias train --config binary --config.data.source=kvasir_seg \
--config.data.root=DIR --workdir RUN
On a laptop: --config binary:daf,freqmix,tiny

data.source is "kvasir_seg", "cvc_clinicdb", "membrane", "crackforest" or "drive" (whose splits are
training and test); docs/datasets.md says what DIR holds. It was not trained here yet.
"""

from segalias_jax.recipes import base


def get_config(arg: str = ""):
    """Returns the recipe.

    `arg` joins by commas "baseline" or any of "daf" and "freqmix" (both by default), and "tiny"
    for a narrow network that two processor cores can train.
    """
    config = base.get_config()
    config.name = "binary"
    size = base.choose_variant(config, arg, sizes=("tiny",))
    config.data.source = "kvasir_seg"
    config.data.crop = (320, 320)
    config.data.cat_max_ratio = 1.0  # thin structures never fill a quarter of a crop
    config.train.steps = 20000
    config.train.batch_size = 8
    config.train.eval_every = 1000
    config.eval.batch_size = 1
    base.apply_size(config, size)
    return config
