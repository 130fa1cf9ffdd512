"""What do DAF and FreqMix cost in a whole network?

    python benchmarks/network.py [--repeats N]

UPerNet-R50 with 128 decoder channels, with and without the filter and the mixer, in turn: a forward
pass on one 512x512 image (1024x2048 in bfloat16 on a GPU), and a whole training step (SGD, loss,
auxiliary head) on two 256x256 crops. Operations and bytes are those of the compiled programs.
"""

from __future__ import annotations

import argparse
import functools

import jax
import jax.numpy as jnp
import numpy as np
from common import medians as in_turn
from common import save
from flax import nnx

from segalias_jax import models
from segalias_jax.losses import segmentation_loss

VARIANTS = {
    "baseline": {},
    "daf": {"downsample": "daf"},
    "freqmix": {"mixer": "freqmix"},
    "daf,freqmix": {"downsample": "daf", "mixer": "freqmix"},
}


def build(options: dict) -> tuple:
    """Structure, parameters and statistics of a network."""
    model = jax.jit(
        lambda: nnx.split(
            models.create_model(options, num_classes=19, rngs=nnx.Rngs(0)), nnx.Param, ...
        )[1:]
    )
    graph = nnx.split(
        nnx.eval_shape(lambda: models.create_model(options, num_classes=19, rngs=nnx.Rngs(0))),
        nnx.Param,
        ...,
    )[0]
    return graph, *model()


def forward(graph, params, rest, x):
    """Logits in evaluation mode."""
    model = nnx.merge(graph, params, rest, copy=True)
    model.eval()
    return model(x)


def train_step(graph, params, rest, x, label):
    """One update by plain SGD."""

    def loss(params):
        model = nnx.merge(graph, params, rest, copy=True)
        model.train()
        value = segmentation_loss(*model.with_auxiliary(x), label)
        return value, nnx.split(model, nnx.Param, ...)[2]

    (value, rest), gradient = jax.value_and_grad(loss, has_aux=True)(params)
    return jax.tree.map(lambda p, g: p - 0.01 * g, params, gradient), rest, value


def run(program, *arguments) -> None:
    """Calls a compiled program to its end."""
    jax.block_until_ready(program(*arguments))


def measure(mode: str, function, arguments: tuple, repeats: int) -> list[dict]:
    """All variants in turn; each row says what a variant costs beside the baseline."""
    calls, costs = {}, {}
    for name, options in VARIANTS.items():
        print(f"compiling {mode}, {name}", flush=True)
        graph, params, rest = build(options)
        program = jax.jit(functools.partial(function, graph)).lower(params, rest, *arguments)
        program = program.compile()
        calls[name] = functools.partial(
            lambda program, *a: jax.block_until_ready(program(*a)),
            program,
            params,
            rest,
            *arguments,
        )
        calls[name]()
        costs[name] = program.cost_analysis()
    times = in_turn(calls, repeats)
    return [
        {
            "mode": mode,
            "network": name,
            "ms": round(times[name], 1),
            "cost": f"{100 * (times[name] / times['baseline'] - 1):+.1f} %",
            "Gflop": round(costs[name]["flops"] / 1e9, 1),
            "GB moved": round(costs[name]["bytes accessed"] / 1e9, 2),
        }
        for name in VARIANTS
    ]


def main() -> None:
    """Measures both modes and writes the results."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=9)
    repeats = parser.parse_args().repeats
    gpu = jax.devices()[0].platform == "gpu"
    shape = (1, 1024, 2048, 3) if gpu else (1, 512, 512, 3)
    image = jnp.asarray(
        np.random.default_rng(0).normal(size=shape), jnp.bfloat16 if gpu else jnp.float32
    )
    crops = jax.random.normal(jax.random.key(0), (2, 256, 256, 3))
    label = jax.random.randint(jax.random.key(1), (2, 256, 256), 0, 19)
    title = f"forward {'x'.join(map(str, shape[:3]))} {image.dtype}"
    rows = measure(title, forward, (image,), repeats)
    rows += measure("training step 2x256x256 float32", train_step, (crops, label), repeats)
    save("network", rows)


if __name__ == "__main__":
    main()
