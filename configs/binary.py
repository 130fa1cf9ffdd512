"""Sets of two classes: polyps, neuron membranes, cracks, retina vessels.

Paper: https://arxiv.org/abs/2403.09065 (which uses none of them; the recipe follows its others).
Command: python train.py --config configs/binary.py --config.data.source=kvasir_seg \
--config.data.root=DIR --workdir RUN
On a laptop: --config configs/binary.py:daf,freqmix,tiny

data.source is "kvasir_seg", "cvc_clinicdb", "membrane", "crackforest" or "drive" (whose splits are
training and test); docs/datasets.md says what DIR holds. It was not trained here yet.
"""

from segalias_jax.recipes.binary import get_config

__all__ = ["get_config"]
