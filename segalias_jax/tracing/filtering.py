"""Functions rewritten so that what enters their downsampling operators is filtered.

"flc" here is the low pass of that pooling, and the operator keeps its stride. Cropping the spectrum
instead would run the program up to the operator at another size, which a traced program cannot.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from segalias_jax import ops
from segalias_jax.errors import InputError, check_choice
from segalias_jax.tracing.finding import Where, choose, trace
from segalias_jax.tracing.operators import DownsamplingOperator
from segalias_jax.tracing.replay import Replay

FILTERS = ("daf", "blur", "flc")
ESR = "esr"
_BLUR_TAPS = 3


def dealias(
    function: Callable[..., Any],
    cutoff: float | str = ESR,
    where: Where = None,
    filter: str = "daf",
) -> Callable[..., Any]:
    """Makes a function filter what enters its downsampling operators, and nothing else.

    y = operator( F^-1( M . F(x) ) ),  M(u, v) = 1 inside |u|, |v| <= cutoff: `ops.low_pass`

    Parameters and results keep their shapes, so checkpoints stay valid. The function may be one of
    any library; the result works under `jax.jit`, `jax.grad`, `jax.vmap` and on sharded arrays. It
    traces `function` on each call, so jit it where it is called more than once. What was under
    `jit`, `jax.checkpoint`, `scan` or `cond` still is; functions with derivatives of their own keep
    them, except those inside of which something is filtered.

    By default those operators are chosen that the paper filters: all but the stem (a convolution or
    slice that no operator comes before) and the first pooling; of the operators of a block the
    block as one, also where it is the first that downsamples, so that branch and shortcut see what
    is filtered once, at the rate of the block. After a block nothing changes: whatever else reads
    what enters it, such as a decoder, reads it unfiltered.

    Args:
      function: any function of arrays; what is no array among its arguments is not traced.
      cutoff: "esr" for each operator's own `nyquist_frequency`, or a number of cycles per pixel for
        all; of the filter "daf".
      where: other operators than by default: a part of the name, or a pattern for all of it; an
        index in `find_operators`; a function that says yes or no to an operator. Operators in a
        block that is chosen are filtered by the block alone.
      filter: "daf": `ops.low_pass`; "blur": `ops.binomial_blur` with 3 taps; "flc": the low pass
        at 1 / (2 stride), as frequency low-cut pooling keeps no more (the operator keeps its
        stride, where that pooling would crop the spectrum instead).

    Returns:
      A function of the same arguments.

    Raises:
      InputError: an unknown filter, a cutoff that does not go with it or lies outside (0, 0.5]; and
        on call, if no operator is chosen, or if it reads integers.

    Example:
      >>> def net(x):
      ...     with jax.named_scope("down"):
      ...         return x[:, ::2, ::2]
      >>> checkerboard = jnp.indices((8, 8)).sum(0)[None, ..., None] % 2 * 2.0
      >>> float(net(checkerboard).max()), float(dealias(net, where="down")(checkerboard).max())
      (0.0, 1.0)

    Reference:
      Chen et al., "When Semantic Segmentation Meets Frequency Aliasing", ICLR 2024; Zhang, "Making
      Convolutional Networks Shift-Invariant Again", ICML 2019 (blur); Grabinski et al.,
      "FrequencyLowCut Pooling", ECCV 2022 (flc).
    """
    check_choice("filter", filter, FILTERS)
    fixed = None if cutoff == ESR else cutoff
    if fixed is not None:
        if filter != "daf":
            raise InputError(f"cutoff is {cutoff!r}, which filter {filter!r} has none of")
        if isinstance(fixed, str):
            raise InputError(f"cutoff is {cutoff!r}; give 'esr' or a number of cycles per pixel")
        ops.check_band(fixed)

    @functools.wraps(function)
    def dealiased(*arguments: Any, **options: Any) -> Any:
        traced = trace(function, arguments, options)
        replacements = {}
        for operator in _chosen(traced.operators, where, traced.not_looked_into):
            apply = functools.partial(_filtered, operator=operator, cutoff=fixed, filter=filter)
            replacements |= dict.fromkeys(traced.sites(operator.index), apply)
        replay = Replay(traced.closed.jaxpr, replacements, {})
        outputs, _ = replay(traced.constants, traced.arguments)
        return jax.tree.unflatten(traced.tree, outputs)

    return dealiased


def filtered_by_default(
    operators: Sequence[DownsamplingOperator],
) -> list[DownsamplingOperator]:
    """Selects what the paper filters: all but the stem and the first pooling, blocks as one.

    Args:
      operators: of `find_operators`.

    Returns:
      The operators; may be none.

    Example:
      >>> from segalias_jax.tracing.finding import find_operators
      >>> twice = lambda x: x[::2, ::2][::2, ::2]
      >>> [o.index for o in filtered_by_default(find_operators(twice, jnp.ones((8, 8))))]
      [1]
    """
    inside = {member for o in operators for member in o.members}
    outermost = [o for o in operators if o.index not in inside]
    poolings = [o.index for o in outermost if o.kind.endswith("pool")]
    # A residual block is no stem: networks for small images have a stem without a stride before it.
    return [
        o for o in outermost if (o.depth > 0 or o.kind == "block") and o.index not in poolings[:1]
    ]


def _chosen(
    operators: Sequence[DownsamplingOperator], where: Where, not_looked_into: Sequence[str]
) -> list[DownsamplingOperator]:
    if where is None:
        chosen = filtered_by_default(operators)
        if operators and not chosen:
            raise InputError(
                f"by default the stem and the first pooling are not filtered, and of "
                f"{len(operators)} downsampling operators there is no other; choose by where"
            )
        return chosen or choose(operators, where, not_looked_into)
    chosen = choose(operators, where, not_looked_into)
    inside = {member for o in chosen for member in o.members}
    return [o for o in chosen if o.index not in inside]


def _filtered(
    x: jax.Array, *, operator: DownsamplingOperator, cutoff: float | None, filter: str
) -> jax.Array:
    axes = operator.spatial_axes
    if not jnp.issubdtype(x.dtype, jnp.floating):
        raise InputError(
            f"operator {operator.index} ({operator.kind} {operator.name!r}) reads {x.dtype}, but "
            "only floating-point numbers are filtered; leave it out by where"
        )
    if filter == "blur":
        # Any other axis may stand last; where there is none, one of length 1 does.
        image = jnp.moveaxis(x[..., None] if x.ndim == 2 else x, axes, (-3, -2))
        y = jnp.moveaxis(ops.binomial_blur(image, _BLUR_TAPS), (-3, -2), axes)
        return y.reshape(x.shape)
    if filter == "flc":
        cutoff = 0.5 / max(operator.stride)
    elif cutoff is None:
        cutoff = operator.nyquist_frequency
    return ops.low_pass(x, cutoff, axes=axes)
