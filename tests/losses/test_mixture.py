"""The loss of a recipe: weights, heads, and keys that fit."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from configs import base
from segalias_jax import losses
from segalias_jax.errors import InputError
from segalias_jax.losses import LOSSES, segmentation_loss
from segalias_jax.runs.sections import QUERY_KEYS

TERMS = (("focal", 2.0), ("lovasz_softmax", 0.5), ("dice", 1.0))


def sample(seed=0):
    rng = np.random.default_rng(seed)
    label = rng.integers(0, 4, (2, 5, 6)).astype(np.int32)
    label[rng.random(label.shape) < 0.3] = 255
    return jnp.asarray(rng.normal(0, 2, (2, 5, 6, 4)), jnp.float32), jnp.asarray(label)


def test_auxiliary_heads_are_added_with_their_weight():
    logits, label = sample(4)
    other, _ = sample(5)
    loss = segmentation_loss(logits, (other, other), label, auxiliary_weight=0.25, average="valid")
    one, two = (losses.cross_entropy(x, label, average="valid") for x in (logits, other))
    np.testing.assert_allclose(loss, one + 0.5 * two, rtol=1e-6)


def test_auxiliary_heads_may_have_terms_of_their_own():
    # As a Lovasz loss of the published runs, which the decode head alone has.
    (logits, label), (other, _) = sample(4), sample(5)
    terms = (("cross_entropy", 1.0), ("lovasz_softmax", 0.5))
    loss = segmentation_loss(
        logits,
        (other,),
        label,
        terms=terms,
        auxiliary_terms=(("cross_entropy", 1.0),),
        auxiliary_weight=0.25,
    )
    one, two = (losses.cross_entropy(x, label) for x in (logits, other))
    expected = one + 0.5 * losses.lovasz_softmax(logits, label) + 0.25 * two
    np.testing.assert_allclose(loss, expected, rtol=1e-6)


def test_terms_are_added_with_their_weights_and_options():
    logits, label = sample()
    weights = (1.0, 2.0, 3.0, 4.0)
    loss = segmentation_loss(
        logits, (), label, terms=TERMS, focal_gamma=1.0, average="valid", class_weights=weights
    )
    expected = (
        2 * losses.focal_loss(logits, label, gamma=1.0, average="valid", class_weights=weights)
        + 0.5 * losses.lovasz_softmax(logits, label, class_weights=weights)
        + losses.dice_loss(logits, label, class_weights=weights)
    )
    np.testing.assert_allclose(loss, expected, rtol=1e-6)


def test_the_recipe_knows_every_option_with_its_default():
    section = base.get_config().loss.to_dict()
    section = {key: value for key, value in section.items() if key not in QUERY_KEYS}
    logits, label = sample()
    label = jnp.minimum(label, 1)
    for name in LOSSES:
        scores = logits[..., :2] if name == "lovasz_hinge" else logits
        recipe = segmentation_loss(scores, (), label, **section | {"terms": ((name, 1.0),)})
        takes = {"average": "all"} if name in ("ohem", "focal", "boundary") else {}
        np.testing.assert_array_equal(recipe, LOSSES[name](scores, label, **takes), err_msg=name)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"terms": (("huber", 1.0),)}, "^terms has 'huber'; choose from cross_entropy, "),
        ({"terms": ()}, "at least one"),
        ({"auxiliary_terms": (("huber", 1.0),)}, "^auxiliary_terms has 'huber'; choose from "),
        ({"terms": (("lovasz_hinge", 1.0),)}, "^terms has 'lovasz_hinge', .* two classes, not 4"),
        ({"terms": (("dice", 1.0), ("dice", 2.0))}, "each loss once"),
        ({"focal_gamma": 3.0}, "^focal_gamma is set, but terms has no 'focal'"),
        ({"gamma": 3.0}, "^gamma is no option of a loss; options are focal_gamma"),
        ({"average": "mean"}, "^average is 'mean'"),
        ({"class_weights": (1.0,)}, "1 numbers for 4 classes"),
        (
            {"terms": (("generalized_dice", 1.0),), "class_weights": (1.0,) * 4},
            "generalized_dice takes none",
        ),
    ],
)
def test_mistakes_name_the_key(options, message):
    logits, label = sample()
    with pytest.raises(InputError, match=message):
        segmentation_loss(logits, (), label, **options)


@pytest.mark.parametrize("name", LOSSES)
def test_no_label_or_logit_that_is_wrong_vanishes(name):
    """Among 400 right pixels one is wrong."""
    channels = 2 if name == "lovasz_hinge" else 3
    logits = jax.random.normal(jax.random.key(0), (1, 20, 20, channels))
    label = jnp.zeros((1, 20, 20), jnp.int32).at[0, :3].set(1).at[0, 19].set(255)
    loss = LOSSES[name]
    assert bool(jnp.isfinite(jax.jit(loss)(logits, label)))
    for value in (-1, channels, 254):
        wrong = label.at[0, 10, 10].set(value)
        assert bool(jnp.isnan(jax.jit(loss)(logits, wrong))), value
        with pytest.raises(InputError, match=f"^label has {value} in 1 pixels, which is neither"):
            loss(logits, wrong)
    assert bool(jnp.isnan(jax.jit(loss)(logits.at[0, 10, 10, 1].set(jnp.nan), label)))
    assert bool(jnp.isfinite(jax.jit(loss)(logits.at[0, 19, 10, 1].set(jnp.nan), label)))
