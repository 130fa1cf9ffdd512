"""Branches of training that become part of a convolution for prediction."""

from __future__ import annotations

from typing import TypeVar

from flax import nnx

from segalias_jax.models.blocks import BasicBlock, Bottleneck

M = TypeVar("M", bound=nnx.Module)


def fold_branches(model: M) -> M:
    """Returns a copy of a model whose smooth branches are part of the convolutions beside them.

    It computes the same, up to rounding, in the time of a network without branches: for prediction
    and export. `layers.SmoothConvolutionBranch` says what the kernels are. Branches of a ConvNeXt
    stay, since they mix channels and the convolution beside them does not.

    Args:
      model: a network with `mixer="scb"`, or a part of one; without branches it is only copied.

    Returns:
      The copy, with the parameters that it would have with `mixer="none"`.

    Example:
      >>> import jax.numpy as jnp
      >>> from segalias_jax.models.resnet import ResNet
      >>> net = ResNet("resnet18", width=8, mixer="scb", rngs=nnx.Rngs(0))
      >>> fold_branches(net).stages[0][0].branch is None, net.stages[0][0].branch is None
      (True, False)
    """
    copy = nnx.clone(model)
    for _, block in nnx.iter_modules(copy):
        if isinstance(block, BasicBlock | Bottleneck) and block.branch is not None:
            block.conv2.kernel.set_value(block.branch.folded(block.conv2.kernel[...]))
            block.branch = None
    return copy
