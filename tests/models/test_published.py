"""Whole networks at full width, with every filter, against recordings of the published code."""

import jax.numpy as jnp
import numpy as np
import published
import pytest
from flax import nnx
from golden.recipe import recipe_array, recipe_input

PUBLISHED = {"band": "reference", "gate": "corner", "cutoff": 0.35}
NETWORKS = {
    "baseline_uper128": {},
    "baseline_uper512": {"channels": 512},
    "blur3_uper128": {"downsample": "blur3"},
    "blur7_uper128": {"downsample": "blur7"},
    "adablur_uper128": {"downsample": "adaptive_blur"},
    "daf_uper128": {"downsample": "daf"},
    "freqmix_daf_uper128": {"downsample": "daf", "mixer": "freqmix"},
    "freqmix_daf_uper128_ac1": {"downsample": "daf", "mixer": "freqmix", "align_corners": True},
}
IMAGES = {"n1_64x96": ((1, 3, 64, 96), 500), "n2_65x97": ((2, 3, 65, 97), 501)}


@nnx.jit
def run(model, x):
    features = model.encoder(x)
    outputs = {f"feat{i}": feature for i, feature in enumerate(features)}
    outputs["decoder"] = model.classifier(model.decoder(features))
    return outputs | {"aux": model.auxiliary(features[-2]), "logits": model(x)}


@pytest.mark.parametrize("network", NETWORKS)
def test_full_network(golden, network):
    recorded = golden(f"d_full_{network}")
    model = published.create_published(PUBLISHED | NETWORKS[network], recipe_array)
    model.eval()
    compared = set()
    for case, (shape, seed) in IMAGES.items():
        names = [name for name in recorded.files if case in name]
        if not names:
            continue  # the sample in the repository has one image of each network
        outputs = run(model, jnp.asarray(np.moveaxis(recipe_input(shape, seed), 1, -1)))
        for name in names:
            compare(outputs[name.split("_")[0]], recorded[name], name)
        compared.update(names)
    assert compared == set(recorded.files) and len(compared) >= 6


def compare(ours, recorded, name):
    # Of features the first channels are recorded, of logits in the repository each seventh.
    ours = np.moveaxis(np.asarray(ours), -1, 1)
    if recorded.ndim == 1:
        ours = ours.reshape(-1)[::7]
    else:
        ours = ours[:, : recorded.shape[1]]
    # Both sides round in float32, in another order: 1e-4 on logits of size 20.
    bound = 1e-4 * max(1, np.abs(recorded).max() / 20)
    np.testing.assert_allclose(ours, recorded, rtol=0, atol=bound, err_msg=name)
