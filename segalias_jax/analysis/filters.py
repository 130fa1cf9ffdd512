"""How alike the filters of a network's downsampling convolutions are.

Filters that point in one direction keep one thing of what they read; those at right angles keep
as many as there are of them. The paper reports that trained networks keep theirs nearly orthogonal,
which is what its equivalent sampling rate presumes.
"""

from __future__ import annotations

import dataclasses

import numpy as np
from flax import nnx
from jaxtyping import Float

from segalias_jax.errors import InputError
from segalias_jax.notebook import ShownInNotebooks


@dataclasses.dataclass(frozen=True)
class Orthogonality(ShownInNotebooks):
    """Mean |cos| between the filters of each downsampling convolution.

    Attributes:
      operators: the convolution's path in the module, and its value.

    Example:
      >>> Orthogonality({"stem": 0.1, "stage2": 0.3}).mean
      0.2
    """

    operators: dict[str, float]

    @property
    def mean(self) -> float:
        """Mean over the convolutions."""
        return float(np.mean(list(self.operators.values())))

    def __float__(self) -> float:
        return self.mean

    def table(self) -> str:
        """Returns a line for each convolution and one for the mean, as Markdown."""
        rows = [*self.operators.items(), ("mean", self.mean)]
        return "\n".join(
            ["| filters of | mean abs(cos) |", "|---|---:|"]
            + [f"| {name} | {value:.4f} |" for name, value in rows]
        )


def orthogonality(model: nnx.Module) -> Orthogonality:
    """Measures the filters of all convolutions of a module that stride.

    With w_i the weights of output channel i, all taps and input channels as one vector,

    m = 2 / (n (n - 1)) sum_{i < j} |w_i . w_j| / (|w_i| |w_j|)

    m is 0 for orthogonal filters and 1 for parallel ones; n random vectors of length d have about
    sqrt(2 / (pi d)). Depthwise and other grouped convolutions are left out, since their filters
    read different channels.

    Args:
      model: an encoder or any other module, whose convolutions have a `kernel`, [h, w, in, out],
        and a `stride` or `strides`.

    Returns:
      The values.

    Raises:
      InputError: no convolution of the module strides.

    Example:
      >>> from segalias_jax.layers import Conv
      >>> conv = Conv(2, 2, 1, stride=2, rngs=nnx.Rngs(0))
      >>> conv.kernel[...] = np.asarray([[[[1.0, 1.0], [0.0, 1.0]]]])
      >>> print(f"{orthogonality(conv).mean:.4f} = cos(45 degrees)")
      0.7071 = cos(45 degrees)

    Reference:
      Chen et al., "When Semantic Segmentation Meets Frequency Aliasing", ICLR 2024.
    """
    found = {}
    for path, module in nnx.iter_modules(model):
        kernel = getattr(module, "kernel", None)
        stride = np.max(getattr(module, "strides", None) or getattr(module, "stride", None) or 1)
        groups = getattr(module, "feature_group_count", None) or getattr(module, "groups", 1)
        if isinstance(kernel, nnx.Variable) and kernel.ndim == 4 and stride > 1 and groups == 1:
            found[".".join(map(str, path))] = _mean_cosine(np.asarray(kernel[...], np.float64))
    if not found:
        raise InputError(
            f"model: {type(model).__name__} has no convolution with a stride and one group; give "
            "an encoder"
        )
    return Orthogonality(dict(sorted(found.items())))


def _mean_cosine(kernel: Float[np.ndarray, "h w i o"]) -> float:
    filters = kernel.reshape(-1, kernel.shape[-1])
    length = np.linalg.norm(filters, axis=0)
    # A filter of zeros has no direction; it is at a right angle to all others.
    cosines = np.abs(np.divide(filters, length, where=length > 0, out=0 * filters).T @ filters)
    cosines = np.divide(cosines, length, where=length > 0, out=0 * cosines)
    count = len(cosines)
    return float((cosines.sum() - np.trace(cosines)) / max(count * (count - 1), 1))
