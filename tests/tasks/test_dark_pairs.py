"""Training on images and their darkened copies: the losses of both, and what is between them."""

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from segalias_jax import models
from segalias_jax.layers import AdaptiveWeightedDownsampling
from segalias_jax.losses import disturbance_suppression
from segalias_jax.models.blocks import Bottleneck
from segalias_jax.recipes import lis
from segalias_jax.tasks.instances import InstanceSegmentation


class Detector(nnx.Module):
    """The least that a task needs, with a smooth branch and weights that stride; it draws, too."""

    def __init__(self, rngs):
        self.block = Bottleneck(3, 4, branched=True, rngs=rngs)
        self.block.norm3.scale.set_value(jnp.ones(16))  # so that it is not its shortcut
        self.filter = AdaptiveWeightedDownsampling(16, rngs=rngs)

    def encoder(self, x):
        y = self.block(x[:, ::4, ::4])
        return y, self.filter(y)

    def losses(self, image, batch, key, *, features, average):
        return {
            f"loss_{average}": features[1].mean() * jax.random.uniform(key),
            "size": image.sum(),
        }


def test_a_step_on_dark_pairs():
    """Losses of both, one more between their features; gradients reach branch and weights."""
    model = Detector(nnx.Rngs(0))
    model.eval()  # norms keep their statistics, as in the recipe
    random = np.random.default_rng(0)
    image = random.integers(0, 256, (1, 32, 32, 3)).astype(np.uint8)
    batch = {"image": image, "dark": image // 8, "size": np.array([[32, 30]], np.int32)}
    task = InstanceSegmentation(2)
    graph, parameters, rest = nnx.split(model, nnx.Param, ...)

    @jax.jit
    def run(parameters, batch):
        def loss(parameters):
            return task.loss(nnx.merge(graph, parameters, rest), batch)

        (total, losses), gradient = jax.value_and_grad(loss, has_aux=True)(parameters)
        model = nnx.merge(graph, parameters, rest)
        inputs = [task.network_input(batch[name], batch["size"]) for name in ("image", "dark")]
        clean, dark = map(model.encoder, inputs)
        alone = [(x.sum(), maps[1].mean()) for x, maps in zip(inputs, (clean, dark), strict=True)]
        return total, losses, gradient, alone, disturbance_suppression(dark, clean)

    total, losses, gradient, alone, between = run(parameters, jax.tree.map(jnp.asarray, batch))
    assert losses.keys() == {"loss_batch", "size", "dark_loss_batch", "dark_size", "disturbance"}
    np.testing.assert_allclose(total, sum(losses.values()), rtol=1e-5)
    np.testing.assert_allclose(losses["disturbance"], between, rtol=1e-5)
    assert 0 < between < 2 * 0.001
    draws = []
    for prefix, (pixels, mean) in zip(("", "dark_"), alone, strict=True):
        np.testing.assert_allclose(losses[f"{prefix}size"], pixels, rtol=1e-5)
        draws.append(losses[f"{prefix}loss_batch"] / mean)
    assert abs(draws[0] - draws[1]) > 1e-3, "each image draws samples of its own"
    for path, leaf in nnx.to_flat_state(gradient):
        assert np.isfinite(leaf[...]).all() and np.any(leaf[...] != 0), path


def test_the_recipe_has_filters_branches_and_pairs():
    config = lis.get_config("low_light")
    assert config.data.dark_pair and config.data.dark == 1.0
    net = nnx.eval_shape(
        lambda: models.create_detector(config.model.to_dict(), num_classes=8, rngs=nnx.Rngs(0))
    ).encoder
    assert isinstance(net, models.ResNet)
    assert [layer.stride for layer in net.filters] == [2, 2, 2]
    assert all(block.branch is not None for stage in net.stages for block in stage)
    twice = dict(config.optimizer.rate_multipliers)
    paths = ["/".join(map(str, path)) for path, _ in nnx.to_flat_state(nnx.state(net, nnx.Param))]
    doubled = {path for path in paths if any(part in f"encoder/{path}" for part in twice)}
    assert doubled == {path for path in paths if "branch" in path or path.startswith("filters")}
    assert set(twice.values()) == {2.0} and len(doubled) == 2 * 16 + 5 * 3
    assert not lis.get_config("").optimizer.rate_multipliers
