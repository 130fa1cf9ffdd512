"""A linear layer for vectors that are no pixels of a map."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from flax import nnx

from segalias_jax.ops.placement import on_any_mesh
from segalias_jax.typing import Array, Float

xavier_uniform = jax.nn.initializers.xavier_uniform()
"""Glorot and Bengio 2010, which transformers begin with."""

_matmul = on_any_mesh(jnp.matmul)


class Linear(nnx.Module):
    """y = x W + b for every vector.

    Computes in the type of its input; parameters stay in theirs.

    Args:
      in_channels: channels read.
      out_channels: channels written.
      kernel_init: initializer of W; b begins with 0.
      rngs: random streams; "params" is drawn from.

    Example:
      >>> Linear(3, 8, rngs=nnx.Rngs(0))(jnp.ones((2, 5, 3))).shape
      (2, 5, 8)
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        kernel_init=xavier_uniform,
        rngs: nnx.Rngs,
    ):
        shape = (in_channels, out_channels)
        self.kernel = nnx.Param(kernel_init(rngs.params(), shape, jnp.float32))
        self.bias = nnx.Param(jnp.zeros(out_channels, jnp.float32))

    def __call__(self, x: Float[Array, "*batch c"]) -> Float[Array, "*batch o"]:
        """Applies the layer."""
        return _matmul(x, self.kernel[...].astype(x.dtype)) + self.bias[...].astype(x.dtype)
