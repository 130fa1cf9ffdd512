"""What does the compiler of a TPU make of this package, without a TPU?

    make tpu

Nothing is run: for every case a process of its own compiles an operator, the prediction of an
image, the update of a metric or the Cityscapes training step, for chips that are not here and for
arrays that do not exist, and reads memory, operations, collectives and the compiler's own estimate
of cycles from the program. Kernels have none: theirs are counted in their final instructions. What
the result file has is skipped, so that an interrupted run goes on (what failed is tried again).
Writes `results/compile_for.json` and the tables of `docs/scaling.md`.
Needs the extra `[tpu]`; a training step takes ten minutes of a processor and 7 GB.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import importlib.metadata
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import jax  # noqa: E402
import jax.numpy as jnp  # noqa: E402
from common import RESULTS, markdown  # noqa: E402
from flax import nnx  # noqa: E402
from jax.experimental import topologies  # noqa: E402
from jax.sharding import SingleDeviceSharding  # noqa: E402
from scaling import CLASSES, abstract_batch, array_bytes, collectives  # noqa: E402

from segalias_jax import layers, metrics, models, ops  # noqa: E402
from segalias_jax.files import write_text  # noqa: E402
from segalias_jax.runs import recipes, setup  # noqa: E402
from segalias_jax.runs.recipe import Recipe  # noqa: E402
from segalias_jax.training.sharding import create_mesh  # noqa: E402

# Else libtpu asks the network what machine this is, or waits for another process that has it.
ENVIRONMENT = {
    "TPU_SKIP_MDS_QUERY": "1",
    "TPU_WORKER_HOSTNAMES": "localhost",
    "ALLOW_MULTIPLE_LIBTPU_LOAD": "1",
}
LISTINGS = (
    "--xla_jf_dump_to={} --xla_jf_dump_llo_text=true "
    "--xla_jf_dump_llo_pass_label_regex=.*final_bundles.*"
)
RESULT, GUIDE = RESULTS / "compile_for.json", ROOT / "docs" / "scaling.md"
MARKER = "<!-- compiled -->"
VARIANTS = ("baseline", "daf,freqmix")
TYPES = ("bfloat16", "float32")
MESHES = (
    *(("1x1", "1x1x1", 2), ("2x2", "4x1x1", 8), ("2x2", "1x4x1", 8), ("2x2", "2x1x2", 8)),
    *(("4x4", "16x1x1", 16), ("16x16", "256x1x1", 256)),
)
"""Chips, data x fsdp x spatial, and images of a batch."""

# Of a v5e chip, as its vendor states them; the clock is what its peak says of its four units.
PEAK_FLOPS, PEAK_BYTES, MEMORY_BYTES, HERTZ = 197e12, 819e9, 16e9, 1.5e9
CYCLES = re.compile(r'"estimated_cycles":"(\d+)"')

# A kernel's call, and in the listing of its instructions: its first input, the bundles of one cycle
# each with the depth of the loops around them, and how often a loop is passed.
CALL = re.compile(
    r"%(\w+?)(?:\.\d+)? = .*custom_call_target=.tpu_custom_call"
    r".*?constraints=\{(\w+\[[\d,]+\])"
)
INPUT = re.compile(r"\[shape: (\w+\[[\d,]+\]), index: 0, kind: input")
BUNDLE = re.compile(r"^ *(?:0x)?[0-9a-f]+ +(\w*) *:((?: >+)?) +(\{.*)$", re.MULTILINE)
PASSES = re.compile(r"scmp\.ge\.s32\.totalorder %\w+, (\d+) /\* loop exit test")

Measured = dict[str, Any]
Program = Any


def chips(topology: str) -> list[Any]:
    """Chips of a v5e that is not here, such as "2x2"."""
    # One alone is no topology that the compiler knows.
    name = "2x2" if topology == "1x1" else topology
    found = topologies.get_topology_desc(platform="tpu", topology_name=f"v5e:{name}").devices
    return found[:1] if topology == "1x1" else found


def compile_for_one(function: Callable[..., Any], *shapes: Any) -> Program:
    """Compiles a function that was not traced before for one chip."""
    place = SingleDeviceSharding(chips("1x1")[0])
    with ops.target(1, "tpu"):
        return jax.jit(function, in_shardings=place, out_shardings=place).lower(*shapes).compile()


def compile_module(make: Callable[[], nnx.Module], x: jax.ShapeDtypeStruct) -> Program:
    """Compiles the call of a module in evaluation mode for one chip."""
    module = nnx.eval_shape(make)
    module.eval()
    graph, state = nnx.split(module)
    return compile_for_one(lambda state, x: nnx.merge(graph, state)(x), state, x)


def low_pass(shape: tuple[int, ...], dtype: str, method: str = "auto") -> Program:
    x = jax.ShapeDtypeStruct(shape, dtype)
    return compile_for_one(lambda x: ops.low_pass(x, 0.25, method=method), x)


def convolution(stride: int, filtered: bool, dtype: str) -> Program:
    """A 3x3 convolution of the finest stage's map, alone or behind a filter."""
    x = jax.ShapeDtypeStruct((8, 192, 192, 256), dtype)
    kernel = jax.ShapeDtypeStruct((3, 3, 256, 256), dtype)

    def apply(x, kernel):
        x = ops.low_pass(x, 0.25) if filtered else x
        return ops.conv2d(x, kernel, stride=stride, padding=1)

    return compile_for_one(apply, x, kernel)


def freqmix(dtype: str, kernels: bool = True) -> Program:
    with contextlib.nullcontext() if kernels else ops.products_only():
        return compile_module(
            lambda: layers.FreqMix(256, cutoff=0.25, rngs=nnx.Rngs(0)),
            jax.ShapeDtypeStruct((8, 192, 192, 256), dtype),
        )


def metric_update() -> Program:
    """Counts of all regions of one image of Cityscapes' size."""
    ids = jax.ShapeDtypeStruct((1, 1024, 2048), jnp.int32)
    scores = jax.eval_shape(lambda: metrics.SegmentationScores.empty(CLASSES))
    return compile_for_one(lambda scores, p, y: scores.update(p, y), scores, ids, ids)


def load(variant: str) -> Any:
    return recipes.load_recipe(f"{ROOT / 'configs' / 'cityscapes.py'}:{variant}")


def inference(variant: str, dtype: str) -> Program:
    """Logits of one image of Cityscapes' size."""
    section = load(variant).model
    return compile_module(
        lambda: models.create_model(section, num_classes=CLASSES, rngs=nnx.Rngs(0)),
        jax.ShapeDtypeStruct((1, 1024, 2048, 3), dtype),
    )


def train_step(topology: str, sizes: str, images: int, variant: str, dtype: str) -> Program:
    """One step of the Cityscapes recipe on a mesh of data x fsdp x spatial."""
    mesh = create_mesh(*map(int, sizes.split("x")), devices=chips(topology))
    config = load(variant)
    config.train.precision, config.train.batch_size = dtype, images
    recipe = Recipe.from_config(config)
    task = setup.create_task(recipe, num_classes=CLASSES)
    make_model = setup.model_of(recipe, num_classes=CLASSES)
    trainer = setup.create_trainer(recipe, task, make_model, mesh, abstract=True)
    return trainer.train_step.lower(trainer.state, abstract_batch(config, mesh)).compile()


def cases() -> dict[str, Callable[[], Program]]:
    """Everything that is compiled, by kind, name and type."""
    found: dict[str, Callable[[], Program]] = {}
    for dtype in TYPES:
        for shape in ((8, 192, 192, 256), (8, 96, 96, 512), (1, 256, 512, 256)):
            name = f"low pass {'x'.join(map(str, shape))}"
            if dtype == "bfloat16":  # in float32 there is no other form
                make = functools.partial(low_pass, shape, dtype, "matmul")
                found[f"operator/{name}, no kernel/{dtype}"] = make
            found[f"operator/{name}/{dtype}"] = functools.partial(low_pass, shape, dtype)
        for name, stride, filtered in (
            ("3x3 convolution 8x192x192x256", 1, False),
            ("3x3 convolution of stride 2", 2, False),
            ("low pass, 3x3 convolution of stride 2", 2, True),
        ):
            make = functools.partial(convolution, stride, filtered, dtype)
            found[f"operator/{name}/{dtype}"] = make
        if dtype == "bfloat16":
            make = functools.partial(freqmix, dtype, kernels=False)
            found[f"operator/FreqMix 8x192x192x256, no kernel/{dtype}"] = make
        found[f"operator/FreqMix 8x192x192x256/{dtype}"] = functools.partial(freqmix, dtype)
    found["operator/metric update 1x1024x2048/int32"] = metric_update
    for dtype in TYPES:
        for variant in VARIANTS:
            name = f"inference/1x1024x2048, {variant}/{dtype}"
            found[name] = functools.partial(inference, variant, dtype)
    for topology, sizes, images in MESHES:
        for dtype in TYPES if topology == "1x1" else TYPES[:1]:
            for variant in VARIANTS:
                name = f"training/{topology} as {sizes}, {images} images, {variant}/{dtype}"
                given = topology, sizes, images, variant, dtype
                found[name] = functools.partial(train_step, *given)
    return found


def counted_cycles(listing: str) -> int:
    """Bundles of a kernel's final instructions, each as often as the loops around it are passed."""
    # For each open loop: bundles of one pass, and passes.
    loops = [[0, 1]]
    for label, depth, bundle in [*BUNDLE.findall(listing), ("", "", "")]:
        # An empty bundle waits, and has no mark of its loop.
        level = len(loops) - 1 if bundle == "{}" else depth.count(">")
        while len(loops) > level + 1 or (label == "LB" and len(loops) == level + 1):
            bundles, passes = loops.pop()
            loops[-1][0] += bundles * passes
        if level == len(loops):
            loops.append([0, 1])
        loops[-1][0] += bool(bundle)
        if found := PASSES.search(bundle):
            loops[-1][1] = int(found[1])
    return loops[0][0]


def kernel_cycles(text: str, listings: Path) -> int:
    """Cycles of all kernels of a program: of instructions or of transfers, whichever is more.

    A kernel that holds two blocks transfers one while it computes with the other; one that holds
    a single block does both in turn.
    """
    known = {}
    for path in listings.glob("*fused_products*final_bundles.txt"):
        if "analysis" not in path.name:
            listing = path.read_text()
            found = INPUT.search(listing)
            assert found, f"{path}: no input"
            known[found[1]] = counted_cycles(listing)
    total = 0
    for name, shape in CALL.findall(text):
        moved = 2 * array_bytes(shape) * HERTZ / PEAK_BYTES
        both = sum if name.endswith("in_turn") else max
        total += round(both((known[shape], moved)))
    return total


def measure(make: Callable[[], Program], listings: Path | None = None) -> Measured:
    """What a program says of itself, and the listings of its kernels."""
    start = time.process_time()
    program = make()
    seconds = time.process_time() - start
    text, memory, cost = program.as_text(), program.memory_analysis(), program.cost_analysis()
    kernels = kernel_cycles(text, listings) if listings else 0
    return {
        "cycles": sum(map(int, CYCLES.findall(text))) + kernels,
        "kernel_cycles": kernels,
        "flops": cost["flops"],
        "bytes": cost["bytes accessed"],
        # What is given and consumed is counted once.
        "memory_bytes": memory.argument_size_in_bytes
        + memory.output_size_in_bytes
        - memory.alias_size_in_bytes
        + memory.temp_size_in_bytes,
        "copies": len(re.findall(r" copy\(", text)),
        "transposes": len(re.findall(r" transpose\(", text)),
        "collectives": collectives(text),
        "processor_seconds": round(seconds, 1),
    }


def in_process(name: str, limit: float) -> Measured:
    """`measure` in a process of its own, or why there is no program."""
    command = [sys.executable, __file__, "--case", name]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=limit)
    except subprocess.TimeoutExpired:
        return {"failed": f"not compiled in {limit:.0f} s"}
    if done.returncode:
        lines = done.stderr.strip().splitlines() or [f"ended with status {done.returncode}"]
        return {"failed": lines[-1][:200]}
    return json.loads(done.stdout.splitlines()[-1])


def row(name: str, found: Measured) -> dict[str, Any]:
    """One program as a row of the guide."""
    title, dtype = name.split("/")[1:]
    if "failed" in found:
        return {"program": title, "type": dtype, "Mcycles": found["failed"]}
    least = max(found["flops"] / PEAK_FLOPS, found["bytes"] / PEAK_BYTES)
    fits = "" if found["memory_bytes"] < MEMORY_BYTES else ", too much"
    about = {
        "program": title,
        "type": dtype,
        "Mcycles": f"{found['cycles'] / 1e6:.2f}",
        "of it kernels": f"{found.get('kernel_cycles', 0) / 1e6:.2f}",
        "ms": f"{1e3 * found['cycles'] / HERTZ:.2f}",
        "ms at least": f"{1e3 * least:.2f}",
        "Gflop": f"{found['flops'] / 1e9:.1f}",
        "GB moved": f"{found['bytes'] / 1e9:.2f}",
        "GB held": f"{found['memory_bytes'] / 1e9:.2f}{fits}",
        "copies": found["copies"],
        "transposes": found["transposes"],
    }
    if name.startswith("training"):
        about["collectives"] = "; ".join(
            f"{one['count']} {kind}, {one['bytes'] / 1e6:.0f} MB"
            for kind, one in found["collectives"].items()
        )
    return about | {"compiled in, s": f"{found['processor_seconds']:.0f}"}


def tables(measured: dict[str, Measured]) -> str:
    """All programs as tables of the guide, one for each kind."""
    kinds: dict[str, list[dict[str, Any]]] = {}
    for name, found in measured.items():
        kinds.setdefault(name.split("/")[0], []).append(row(name, found))
    return "\n\n".join(map(markdown, kinds.values()))


def stored(about: dict[str, str]) -> dict[str, Measured]:
    """What the result file has of the same compiler."""
    content = json.loads(RESULT.read_text()) if RESULT.exists() else {}
    return content["cases"] if content.get("programs") == about else {}


def save(about: dict[str, str], measured: dict[str, Measured]) -> None:
    """Writes the result file, and its tables into the guide."""
    ordered = {name: measured[name] for name in cases() if name in measured}
    write_text(RESULT, json.dumps({"programs": about, "cases": ordered}, indent=1) + "\n")
    before, _, after = GUIDE.read_text().split(MARKER)
    write_text(GUIDE, f"{before}{MARKER}\n\n{tables(ordered)}\n\n{MARKER}{after}")


def main() -> None:
    """Compiles what has no result yet, one after the other, and writes the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", default="*", help="cases whose names fit this pattern")
    parser.add_argument("--again", action="store_true", help="also those that have a result")
    parser.add_argument("--limit", type=float, default=3600.0, help="seconds for a case")
    parser.add_argument("--list", action="store_true", help="print the names of the cases")
    parser.add_argument("--case", help="measure one in this process, and write nothing")
    options = parser.parse_args()
    os.environ |= ENVIRONMENT
    jax.config.update("jax_platforms", "cpu")  # else jax looks for a TPU for half a minute
    if options.case:
        with tempfile.TemporaryDirectory() as folder:
            os.environ["LIBTPU_INIT_ARGS"] = LISTINGS.format(folder)
            print(json.dumps(measure(cases()[options.case], Path(folder))))
        return
    chosen = [name for name in cases() if fnmatch(name, options.only)]
    if options.list:
        print("\n".join(chosen))
        return
    version = importlib.metadata.version("libtpu")
    about = {"jax": jax.__version__, "compiler": f"libtpu {version}", "chip": "TPU v5e"}
    measured = stored(about)
    for number, name in enumerate(chosen, 1):
        if options.again or "failed" in measured.get(name, {"failed": "not tried"}):
            print(f"{number} of {len(chosen)}: {name}", file=sys.stderr, flush=True)
            measured[name] = in_process(name, options.limit)
            print(f"  {measured[name]}", file=sys.stderr, flush=True)
            save(about, measured)


if __name__ == "__main__":
    main()
