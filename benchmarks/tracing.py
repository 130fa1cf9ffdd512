"""What does profiling the aliasing of a network cost, and what de-aliasing it, in forward passes?

    python benchmarks/tracing.py [--repeats N] [--size N]

ResNet-50 on one image, in float32: its forward pass, the program that `profile_aliasing` runs, the
network under `dealias`, and our own network with filters, compiled and in turn. Ratios are of the
medians, to the plain forward pass; compiling and tracing come on top, once.
"""

from __future__ import annotations

import argparse
import time

import jax
import jax.numpy as jnp
from common import medians, save
from flax import nnx

from segalias_jax import models, tracing
from segalias_jax.tracing.profiling import compile_profile


def network(downsample: str):
    """A ResNet-50 in evaluation mode as a function of its state and images, and that state."""

    def create():
        return models.ResNet("resnet50", downsample=downsample, rngs=nnx.Rngs(0))

    abstract = nnx.eval_shape(create)
    abstract.eval()
    graph = nnx.split(abstract)[0]
    state = jax.jit(lambda: nnx.split(create())[1])()
    return lambda state, x: nnx.merge(graph, state, copy=True)(x), state


def main() -> None:
    """Measures all programs and writes the results."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--size", type=int, default=512)
    options = parser.parse_args()
    baseline, state = network("none")
    filtered, _ = network("daf")
    x = jax.random.normal(jax.random.key(0), (1, options.size, options.size, 3), jnp.float32)

    calls, seconds = {}, {}
    functions = {"forward": baseline, "dealias": tracing.dealias(baseline), "our DAF": filtered}
    for name, function in functions.items():
        start = time.perf_counter()
        program = jax.jit(function).lower(state, x).compile()
        seconds[name] = time.perf_counter() - start
        calls[name] = lambda program=program: jax.block_until_ready(program(state, x))
    start = time.perf_counter()
    profile = compile_profile(baseline, state, x)
    seconds["profile"] = time.perf_counter() - start
    calls["profile"] = lambda: jax.block_until_ready(profile())
    times = medians(calls, options.repeats)
    rows = [
        {
            "program": name,
            "image": f"{options.size}x{options.size}",
            "ms": round(times[name], 1),
            "of forward": round(times[name] / times["forward"], 2),
            "compiled in s": round(seconds[name], 1),
        }
        for name in calls
    ]
    save("tracing", rows)


if __name__ == "__main__":
    main()
