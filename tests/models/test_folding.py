"""Networks whose branches are folded equal those that have them."""

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from segalias_jax import models


def parameters(net):
    return {path for path, _ in nnx.to_flat_state(nnx.state(net, nnx.Param))}


def test_a_folded_network_computes_the_same():
    """Basic blocks here; recorded bottlenecks are folded in test_blocks."""
    net = models.ResNet("resnet18", width=4, mixer="scb", rngs=nnx.Rngs(0))
    for path, leaf in nnx.to_flat_state(nnx.state(net, nnx.Param)):
        if path[-1] == "scale":  # so that blocks are not their shortcuts
            leaf.set_value(jnp.full(leaf.shape, 0.5))
    net.eval()
    plain = models.fold_branches(net)
    bare = nnx.eval_shape(lambda: models.ResNet("resnet18", width=4, rngs=nnx.Rngs(0)))
    assert parameters(plain) == parameters(bare) < parameters(net)
    x = jax.random.normal(jax.random.key(1), (1, 33, 47, 3))
    ours, theirs = nnx.jit(lambda *nets: [net(x) for net in nets])(plain, net)
    for one, other in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5 * float(abs(other).max()))


def test_what_does_not_fold():
    """A branch that mixes channels beside a convolution of each channel."""
    make = lambda **more: models.ConvNeXt("convnext_tiny", width=4, rngs=nnx.Rngs(0), **more)
    net = nnx.eval_shape(lambda: make(mixer="scb"))
    blocks = [block for stage in net.stages for block in stage]
    assert all(block.branch is not None for block in blocks)
    assert parameters(models.fold_branches(net)) == parameters(net)
    assert parameters(nnx.eval_shape(make)) < parameters(net)
