"""How fast is prediction: latency, images per second, memory, and sliding windows?

    python benchmarks/inference.py [--parts latency sliding] [--sizes HxW ...] [--dtypes D ...]

UPerNet-R50 with 128 decoder channels, without and with the filter and the mixer, one image at a
time in float32 and bfloat16; where torch is installed, PyTorch's baseline with the same weights in
the same run, in turn with ours. "first s" is compiling and the first call, which latencies leave
out; the 99th percentile of few calls is the slowest one. Memory is what the compiled program holds
at once: weights, image, results, temporaries; for PyTorch, what its allocator held, on a GPU only.
The part "sliding" compares `SlidingPredictor` on images of 1025x2049 with calls of the bare
compiled network on as many windows. `--repeats` is for 512x512; larger images are measured less
often. Parts may be measured one by one: the result file keeps its rows of other parts. `--print`
writes no result file.
"""

from __future__ import annotations

import argparse
import functools
import math
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import network
import numpy as np
from common import latencies, markdown, save, stored, torch
from flax import nnx

from segalias_jax import models
from segalias_jax.evaluation.sliding import SlidingPredictor
from segalias_jax.evaluation.views import ViewSettings, window_starts
from segalias_jax.ops import normalize_image
from segalias_jax.torch_weights.load import torch_arrays
from segalias_jax.torch_weights.names import leaves

try:
    import pytorch_models
except ImportError:
    pytorch_models = None

CLASSES = 19
SIZES = ("512x512", "1024x2048")
DTYPES = ("float32", "bfloat16")
PARTS = ("latency", "sliding")


def build(options: dict) -> tuple:
    """Structure, parameters and the rest of a network, drawn on the host: nothing is compiled."""
    model = nnx.eval_shape(
        lambda: models.create_model(options, num_classes=CLASSES, rngs=nnx.Rngs(0))
    )
    draw = np.random.default_rng(0).normal
    state = nnx.state(model)
    for path, variable in nnx.to_flat_state(state):
        if isinstance(variable, nnx.RngState):
            variable.set_value(jax.random.key(0) if path[-1] == "key" else jnp.uint32(0))
        elif path[-1] == "kernel":
            scale = math.sqrt(2 / math.prod(variable.shape[:-1]))
            variable.set_value(jnp.asarray(draw(0, scale, variable.shape), jnp.float32))
        else:
            value = float(path[-1] in ("scale", "var"))
            variable.set_value(jnp.full(variable.shape, value, jnp.float32))
    nnx.update(model, state)
    return nnx.split(model, nnx.Param, ...)


def our_call(options: dict, x: jax.Array) -> tuple[Callable[[], Any], int]:
    """A call of our forward pass, and the bytes that its program holds at once."""
    graph, params, rest = build(options)
    forward = jax.jit(functools.partial(network.forward, graph))
    program = forward.lower(params, rest, x).compile()
    memory = program.memory_analysis()
    held = memory.argument_size_in_bytes + memory.output_size_in_bytes
    call = lambda: jax.block_until_ready(program(params, rest, x))  # noqa: E731
    return call, held + memory.temp_size_in_bytes


def torch_call(x: jax.Array, width: int) -> tuple[Callable[[], Any], int]:
    """A call of PyTorch's forward pass with our weights, and the bytes that it holds at once.

    It runs on the GPU where it has one; on a CPU nothing counts its bytes.
    """
    model = nnx.merge(*build({"width": width}))
    weights = {at: np.asarray(leaf[...]) for at, leaf in leaves(model).items()}
    arrays = torch_arrays(model, weights)
    peer = pytorch_models.UPerNet(CLASSES, width=width)
    named = {name: torch.from_numpy(np.array(array)) for name, array in arrays.items()}
    peer.load_state_dict(named, strict=False)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    layout = {"device": device, "dtype": getattr(torch, x.dtype.name)}
    peer = peer.eval().to(**layout, memory_format=torch.channels_last)
    pixels = np.moveaxis(np.asarray(x, np.float32), -1, 1).copy()
    image = torch.from_numpy(pixels).to(**layout, memory_format=torch.channels_last)

    def call():
        with torch.inference_mode():
            peer(image)
        if device == "cuda":
            torch.cuda.synchronize()

    held = 0
    if device == "cuda":
        torch.cuda.reset_peak_memory_stats()
        call()
        held = torch.cuda.max_memory_allocated()
    return call, held


def in_turn(title: str, calls: dict[str, Callable[[], Any]], repeats: int) -> dict[str, list]:
    """Milliseconds of every call; shows the progress on stderr."""
    times: dict[str, list] = {name: [] for name in calls}
    for n in range(repeats):
        print(f"\r{title}: round {n + 1} of {repeats}", end="", file=sys.stderr, flush=True)
        for name, more in latencies(calls, 1).items():
            times[name] += more
    print(file=sys.stderr)
    return times


def measure_latency(size: tuple[int, int], dtype: str, repeats: int, width: int) -> list[dict]:
    """A row for every network."""
    pixels = np.random.default_rng(0).normal(size=(1, *size, 3))
    x = jnp.asarray(pixels, dtype)
    calls, first, memory = {}, {}, {}
    makers = {
        name: functools.partial(our_call, {"width": width} | options, x)
        for name, options in network.VARIANTS.items()
    }
    if torch and pytorch_models:
        makers["PyTorch, baseline"] = lambda: torch_call(x, width)
    title = f"{size[0]}x{size[1]} {dtype}"
    for name, make in makers.items():
        print(f"{title}: compiling {name}", file=sys.stderr, flush=True)
        start = time.perf_counter()
        calls[name], memory[name] = make()
        calls[name]()
        first[name] = time.perf_counter() - start
    rows = []
    repeats = max(3, min(repeats, repeats * 512 * 512 // math.prod(size)))
    for name, times in in_turn(title, calls, repeats).items():
        rows.append(
            {
                "image": title,
                "network": name,
                "images/s": round(1e3 / statistics.mean(times), 2),
                "p50 ms": round(statistics.median(times), 1),
                "p99 ms": round(float(np.percentile(times, 99)), 1),
                "first s": round(first[name], 1),
                "memory GB": round(memory[name] / 1e9, 2) if memory[name] else "",
            }
        )
    return rows


def measure_sliding(
    size: tuple[int, int], window: tuple[int, int], batch: int, repeats: int, width: int
) -> list[dict]:
    """Images through windows beside the bare network on as many of them."""
    graph, params, rest = build({"width": width} | network.VARIANTS["daf,freqmix"])

    @jax.jit
    def run(params, rest, image):
        return network.forward(graph, params, rest, normalize_image(image))

    stride = tuple(side * 2 // 3 for side in window)
    slider = SlidingPredictor(
        lambda image: run(params, rest, image),
        ViewSettings("slide", window, stride, batch_size=batch),
    )
    images = [np.full((*size, 3), i, np.uint8) for i in range(2)]
    starts = [len(window_starts(*axis)) for axis in zip(size, window, stride, strict=True)]
    batches = -(-starts[0] * starts[1] // batch) * len(images)
    pixels = np.zeros((batch, *window, 3), np.uint8)

    def slide():
        # One later, as `Predictor.stream` reads them.
        last = slider.start(images[0])
        for image in images[1:]:
            following = slider.start(image)
            last.classes()
            last = following
        last.classes()

    def bare():
        last = run(params, rest, pixels)
        for _ in range(batches - 1):
            following = run(params, rest, pixels)
            last.block_until_ready()
            last = following
        last.block_until_ready()

    calls = {"windows": slide, "bare network": bare}
    name = f"{size[0]}x{size[1]}, windows {window[0]}x{window[1]}, {batch} at a time"
    print(f"{name}: compiling", file=sys.stderr, flush=True)
    run(params, rest, pixels).block_until_ready()
    slider.start(np.zeros((*size, 3), np.uint8)).classes()
    times = in_turn(name, calls, repeats)
    seconds = {key: statistics.median(values) / 1e3 for key, values in times.items()}
    return [
        {
            "image": name,
            "network": f"daf,freqmix, {key}",
            "images/s": round(len(images) / seconds[key], 3),
            "of the bare network": f"{100 * seconds['bare network'] / seconds[key]:.1f} %",
        }
        for key in calls
    ]


def main() -> None:
    """Measures everything and writes the results."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--parts", nargs="+", default=PARTS, choices=PARTS)
    parser.add_argument("--sizes", nargs="+", default=SIZES, metavar="HxW")
    parser.add_argument("--dtypes", nargs="+", default=DTYPES, choices=DTYPES)
    parser.add_argument("--repeats", type=int, default=20)
    parser.add_argument("--image", default="1025x2049", help="that windows slide over")
    parser.add_argument("--window", default="768x768", help="its windows")
    parser.add_argument("--batch", type=int, default=1, help="windows at a time")
    parser.add_argument("--width", type=int, default=64, help="channels of the first stage")
    parser.add_argument("--print", action="store_true", help="write nothing")
    flags = parser.parse_args()
    rows = []
    if "latency" in flags.parts:
        for text in flags.sizes:
            for dtype in flags.dtypes:
                rows += measure_latency(sides(text), dtype, flags.repeats, flags.width)
    if "sliding" in flags.parts:
        repeats = max(2, flags.repeats // 10)
        image, window = sides(flags.image), sides(flags.window)
        rows += measure_sliding(image, window, flags.batch, repeats, flags.width)
    if flags.print:
        print(markdown(rows))
    else:
        save("inference", merged(stored("inference"), rows))


def merged(before: list[dict], rows: list[dict]) -> list[dict]:
    """Rows in the order in which they were first measured, the newer one of the same name."""
    return list({(row["image"], row["network"]): row for row in [*before, *rows]}.values())


def sides(text: str) -> tuple[int, int]:
    """Height and width of "HxW"."""
    height, width = map(int, text.split("x"))
    return height, width


if __name__ == "__main__":
    main()
