"""Networks whose branches are folded equal those that have them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from segalias_jax import models
from segalias_jax.models.blocks import BasicBlock


def test_a_folded_block_computes_the_same():
    """A basic block; recorded bottlenecks are folded in test_blocks."""
    block = BasicBlock(4, 6, stride=2, dilation=2, branched=True, rngs=nnx.Rngs(0))
    block.norm2.scale.set_value(jnp.full(6, 0.5))  # so that it is not its shortcut
    block.eval()
    x = jax.random.normal(jax.random.key(1), (2, 9, 7, 4))
    np.testing.assert_allclose(models.fold_branches(block)(x), block(x), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    "name, folds", [("resnet18", True), ("resnet50", True), ("convnext_tiny", False)]
)
def test_parameters_left(name, folds):
    """Those of a network without branches; a ConvNeXt's do not fold."""

    def parameters(mixer, fold):
        def make():
            net = models.ENCODERS[name](name, width=4, mixer=mixer, rngs=nnx.Rngs(0))
            return models.fold_branches(net) if fold else net

        state = nnx.state(nnx.eval_shape(make), nnx.Param)
        return {path for path, _ in nnx.to_flat_state(state)}

    whole, left = parameters("scb", False), parameters("scb", True)
    assert left == (parameters("none", False) if folds else whole) <= whole
    of_branches = {path for path in whole if "branch" in path}
    assert {path[1] for path in of_branches} == {0, 1, 2, 3}, "stage 1 has them, too"
