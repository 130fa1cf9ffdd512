"""What enters the downsampling operators of a function, handed out beside its results."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from segalias_jax.tracing.finding import Traced, Where, choose, trace
from segalias_jax.tracing.operators import DownsamplingOperator
from segalias_jax.tracing.replay import Replay
from segalias_jax.typing import Array, Num


def capture_inputs(
    function: Callable[..., Any], where: Where = None
) -> Callable[..., tuple[Any, tuple[jax.Array, ...]]]:
    """Makes a function return what enters its downsampling operators, too.

    The result can be jitted, mapped and differentiated. It traces `function` on each call, so
    jit it where it is called more than once. In a `scan` all rounds' inputs are stacked along a
    first axis; in a `cond` what enters operators of branches not taken is NaN. A function with a
    derivative of its own that contains an operator after other operations is differentiated
    like any other.

    Args:
      function: any function of arrays.
      where: which operators, see `choose`; None for all.

    Returns:
      A function that returns `(function(...), inputs)`, the inputs in the order of
      `find_operators`, brought to `[..., h, w, c]`.

    Raises:
      InputError: on call, if no operator is chosen; the message lists them.

    Example:
      >>> captured = capture_inputs(lambda x: (x + 1)[:, ::2, ::2])
      >>> y, (entering,) = jax.jit(captured)(jnp.ones((1, 4, 6, 3)))
      >>> y.shape, entering.shape, float(entering[0, 0, 0, 0])
      ((1, 2, 3, 3), (1, 4, 6, 3), 2.0)
    """

    @functools.wraps(function)
    def captured(*arguments: Any, **options: Any) -> tuple[Any, tuple[jax.Array, ...]]:
        traced = trace(function, arguments, options)
        chosen = choose(traced.operators, where, traced.not_looked_into)
        outputs, recorded = record_inputs(traced, {o.index: channels_last for o in chosen})
        return outputs, tuple(recorded[o.index] for o in chosen)

    return captured


def record_inputs(
    traced: Traced, measures: dict[int, Callable[[jax.Array, DownsamplingOperator], Any]]
) -> tuple[Any, dict[int, Any]]:
    """Runs a traced function and measures what enters its operators.

    Args:
      traced: of `trace`.
      measures: by an operator's index, what is computed of its input and the operator.

    Returns:
      What the function returns, and what was measured by index.

    Example:
      >>> traced = trace(lambda x: x[::2, ::2], (jnp.ones((4, 4)),), {})
      >>> record_inputs(traced, {0: lambda x, operator: x.sum()})[1]
      {0: Array(16., dtype=float32)}
    """
    first = {index: traced.sites(index)[0] for index in measures}
    by_site: dict[Any, list[int]] = {}
    for index, site in first.items():
        by_site.setdefault(site, []).append(index)

    def measure(indices: list[int], x: jax.Array) -> dict[int, Any]:
        return {i: measures[i](x, traced.operators[i]) for i in indices}

    records = {site: functools.partial(measure, indices) for site, indices in by_site.items()}
    replay = Replay(traced.closed.jaxpr, {}, records)
    outputs, recorded = replay(traced.constants, traced.arguments)
    found = {i: value for values in recorded.values() for i, value in values.items()}
    return jax.tree.unflatten(traced.tree, outputs), found


def channels_last(x: Num[Array, ...], operator: DownsamplingOperator) -> Num[Array, ...]:
    """Brings what enters an operator to `[..., h, w, c]`.

    Args:
      x: in the operator's layout.
      operator: the operator.

    Returns:
      Batch axes, height, width and channels, of which there is one where the operator has none.

    Example:
      >>> from segalias_jax.tracing.finding import find_operators
      >>> x = jnp.ones((2, 3, 8, 6))
      >>> (operator,) = find_operators(lambda x: x[:, :, ::2, ::2], x)
      >>> channels_last(x, operator).shape
      (2, 8, 6, 3)
    """
    if operator.channel_axis is None:
        return jnp.transpose(x, (*operator.batch_axes, *operator.spatial_axes))[..., None]
    last = (*operator.spatial_axes, operator.channel_axis)
    return jnp.transpose(x, (*operator.batch_axes, *last))
