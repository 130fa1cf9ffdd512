"""Reading the programs that JAX traces: what any function computes, and where it downsamples."""

from segalias_jax.tracing.capture import capture_inputs
from segalias_jax.tracing.finding import choose, find_operators
from segalias_jax.tracing.operations import Operation, Program, flops, read_program
from segalias_jax.tracing.operators import DownsamplingOperator

__all__ = [
    "DownsamplingOperator",
    "Operation",
    "Program",
    "capture_inputs",
    "choose",
    "find_operators",
    "flops",
    "read_program",
]
