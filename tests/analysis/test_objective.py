"""Saliency and variation in closed form, and the ratio that a compiled program picks."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from segalias_jax import ops
from segalias_jax.analysis import best_ratio, objective, saliency, total_variation
from segalias_jax.analysis.objective import image_terms


def make_images(shape):
    return np.random.default_rng(0).normal(size=shape).astype(np.float32)


def test_saliency_of_a_linear_network_is_the_norm_of_its_weights():
    weights = np.array([[3.0, 0.1], [4.0, 0.0], [0.0, 0.2]], np.float32)
    image = abs(make_images((2, 5, 7, 3)))  # the first logit is the larger one everywhere
    np.testing.assert_allclose(saliency(lambda x: x @ weights, jnp.asarray(image)), 5, rtol=1e-6)


def test_saliency_of_a_nonlinear_network_by_finite_differences():
    weights = make_images((3, 4)).astype(np.float64)
    image = make_images((1, 2, 3, 3)).astype(np.float64)

    def score(image):
        return np.tanh(image @ weights).max(-1).sum()

    gradient = np.zeros_like(image)
    for place in np.ndindex(image.shape):
        step = np.zeros_like(image)
        step[place] = 1e-6
        gradient[place] = (score(image + step) - score(image - step)) / 2e-6
    with jax.enable_x64(True):
        computed = saliency(lambda x: jnp.tanh(x @ weights), jnp.asarray(image))
    expected = np.sqrt((gradient**2).sum(-1)).mean()
    np.testing.assert_allclose(computed, [expected], rtol=1e-6)  # it is given in float32


def test_total_variation_of_a_ramp_and_of_an_edge():
    ramp = np.broadcast_to(np.float32(2) * np.arange(5)[:, None, None], (1, 5, 4, 3))
    edge = np.zeros((1, 5, 4, 3))
    edge[:, :, 2:] = 1
    both = np.concatenate([ramp, edge]).astype(np.float32)
    # Four of five rows have a difference of 2, one of four columns one of 1, in three channels.
    expected = [4 / 5 * np.sqrt(3 * 4), 1 / 4 * np.sqrt(3)]
    np.testing.assert_allclose(jax.jit(total_variation)(both), expected, rtol=1e-6)


def test_variances_of_two_bands_add_up_whatever_the_ratio():
    """Which is why the objective takes the total variation."""
    image = make_images((2, 12, 10, 3))

    @jax.jit
    def split(image, ratio):
        low = ops.ratio_low_pass(image, ratio)
        return low, image - low, total_variation(low) + total_variation(image - low)

    variations = []
    for ratio in (0.3, 0.7):
        low, high, variation = map(np.asarray, split(image, np.float32(ratio)))
        sums = low.var((1, 2)) + high.var((1, 2))
        np.testing.assert_allclose(sums, image.var((1, 2)), rtol=1e-5)
        variations.append(variation)
    assert np.abs(variations[0] - variations[1]).min() > 1e-2


def test_the_ratio_picked_is_that_of_the_least_mean():
    image = jnp.asarray(make_images((3, 12, 8, 3)))
    ratios = (0.2, 0.4, 0.6, 0.8)

    @jax.jit
    def means(image):
        lows = [ops.ratio_low_pass(image, ratio, band="round") for ratio in ratios]
        terms = jnp.stack([image_terms(jnp.tanh, image, low) for low in lows])
        return objective(terms, 3.0, 1.0).mean(1)

    options = {"alpha": 3.0, "beta": 1.0, "band": "round"}
    picked = jax.jit(lambda x: best_ratio(jnp.tanh, x, jnp.array(ratios), **options))(image)
    assert float(picked) == np.float32(ratios[int(np.argmin(means(image)))])


@pytest.mark.parametrize("band", ["square", "round"])
def test_variation_of_both_bands_is_least_at_both_ends(band):
    """It is a seminorm: TV(low) + TV(high) >= TV(x), equal where a band is constant."""
    x = jax.random.normal(jax.random.key(0), (3, 16, 20, 3)).cumsum(1)
    whole = np.asarray(total_variation(x))
    sums = []
    for ratio in (1.0, 0.9, 0.7, 0.5, 0.3, 0.2, 0.01):
        low = ops.ratio_low_pass(x, ratio, band=band)
        sums.append(np.asarray(total_variation(low) + total_variation(x - low)))
    np.testing.assert_allclose(sums[0], whole, rtol=1e-6)
    np.testing.assert_allclose(sums[-1], whole, rtol=1e-5)  # the mean alone is left
    assert all((between > 1.01 * whole).all() for between in sums[1:-1])
