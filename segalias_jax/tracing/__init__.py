"""Reading the programs that JAX traces: what any function computes, and where it downsamples."""

from segalias_jax.tracing.capture import capture_inputs
from segalias_jax.tracing.filtering import dealias, filtered_by_default
from segalias_jax.tracing.finding import choose, find_operators
from segalias_jax.tracing.operations import Operation, Program, flops, read_program
from segalias_jax.tracing.operators import DownsamplingOperator
from segalias_jax.tracing.profile_report import AliasingReport, OperatorAliasing
from segalias_jax.tracing.profiling import profile_aliasing
from segalias_jax.tracing.recognition import recognize

__all__ = [
    "AliasingReport",
    "DownsamplingOperator",
    "Operation",
    "OperatorAliasing",
    "Program",
    "capture_inputs",
    "choose",
    "dealias",
    "filtered_by_default",
    "find_operators",
    "flops",
    "profile_aliasing",
    "read_program",
    "recognize",
]
