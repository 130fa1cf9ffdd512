"""Reading the programs that JAX traces: what any function computes, operation by operation."""

from segalias_jax.tracing.operations import Operation, Program, flops, read_program

__all__ = ["Operation", "Program", "flops", "read_program"]
