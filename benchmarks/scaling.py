"""What does a device hold, and what travels between devices, in one step of the Cityscapes recipe?

    python benchmarks/scaling.py

Nothing is run: for every mesh a process with so many virtual CPU devices compiles the training step
for arrays that do not exist, and memory and collectives are read from the compiled program. Writes
`results/scaling.json` and the tables of `docs/scaling.md`.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import jax  # noqa: E402
import jax.numpy as jnp  # noqa: E402
from common import RESULTS, markdown  # noqa: E402
from jax.sharding import Mesh  # noqa: E402
from ml_collections import config_dict  # noqa: E402

from segalias_jax.files import write_text  # noqa: E402
from segalias_jax.runs import recipes, setup  # noqa: E402
from segalias_jax.runs.recipe import Recipe  # noqa: E402
from segalias_jax.training.sharding import batch_sharding, create_mesh, row_count  # noqa: E402

RECIPE = ROOT / "configs" / "cityscapes.py"
RESULT, GUIDE = RESULTS / "scaling.json", ROOT / "docs" / "scaling.md"
MARKER = "<!-- computed -->"
CLASSES = 19
# data, fsdp, spatial; a batch has 8 images, or one for each device that has its own.
MESHES = (
    *("8x1x1", "2x4x1", "2x1x4"),
    *("64x1x1", "8x8x1", "8x1x8"),
    *("512x1x1", "64x8x1", "64x1x8"),
)
KINDS = ("all-reduce", "all-gather", "reduce-scatter", "all-to-all", "collective-permute")
COLLECTIVE = re.compile(rf"= (.+?) ({'|'.join(KINDS)})(?:-start)?\(")
ARRAY = re.compile(r"\b([a-z]+)(\d+)?\[([\d,]*)\]")
# The time of LLVM is saved; the buffers are chosen before it begins.
QUICK = {"xla_backend_optimization_level": 0, "xla_llvm_disable_expensive_passes": True}


def abstract_batch(config: config_dict.ConfigDict, mesh: Mesh) -> dict[str, Any]:
    """A training batch of arrays that do not exist, on the devices."""
    rows, size = config.train.batch_size, config.data.crop
    arrays = {
        "image": ((rows, *size, 3), jnp.uint8),
        "label": ((rows, *size), jnp.int32),
        "valid": ((rows,), bool),
    }
    return {
        key: jax.ShapeDtypeStruct(shape, dtype, sharding=batch_sharding(shape, mesh))
        for key, (shape, dtype) in arrays.items()
    }


def array_bytes(text: str) -> int:
    """Bytes of a type in the text of a program, such as `(f32[8,3], u8[4])`."""
    sizes = [
        int(bits or 8) * math.prod(int(n) for n in dims.split(",") if n)
        for _, bits, dims in ARRAY.findall(text)
    ]
    return sum(sizes) // 8


def collectives(text: str) -> dict[str, dict[str, int]]:
    """Number of collectives in a program, and bytes of their results on one device, by kind."""
    counts: Counter[str] = Counter()
    sizes: Counter[str] = Counter()
    for result, kind in COLLECTIVE.findall(text):
        counts[kind] += 1
        sizes[kind] += array_bytes(result)
    return {kind: {"count": counts[kind], "bytes": sizes[kind]} for kind in KINDS if counts[kind]}


def measure(sizes: tuple[int, ...], config: config_dict.ConfigDict) -> dict[str, Any]:
    """What the program of a mesh says; in a process that has as many devices."""
    mesh = create_mesh(*sizes)
    config.train.batch_size = max(config.train.batch_size, row_count(mesh))
    recipe = Recipe.from_config(config)
    task = setup.create_task(recipe, num_classes=CLASSES)
    trainer = setup.create_trainer(
        recipe, task, setup.model_of(recipe, num_classes=task.num_classes), mesh, abstract=True
    )
    lowered = trainer.train_step.lower(trainer.state, abstract_batch(config, mesh))
    program = lowered.compile(compiler_options=QUICK)
    memory = program.memory_analysis()
    return {
        "devices": mesh.size,
        "mesh": "x".join(map(str, sizes)),
        "images": config.train.batch_size,
        "argument_bytes": memory.argument_size_in_bytes,
        "temporary_bytes": memory.temp_size_in_bytes,
        "collectives": collectives(program.as_text()),
    }


def in_process(mesh: str) -> dict[str, Any]:
    """`measure` in a process of its own, whose number of devices is fixed when it starts."""
    devices = math.prod(map(int, mesh.split("x")))
    environment = os.environ | {
        "JAX_PLATFORMS": "cpu",
        "XLA_FLAGS": f"--xla_force_host_platform_device_count={devices}",
    }
    command = [sys.executable, __file__, "--mesh", mesh]
    result = subprocess.run(command, env=environment, check=True, stdout=subprocess.PIPE, text=True)
    return json.loads(result.stdout.splitlines()[-1])


def tables(rows: list[dict[str, Any]]) -> str:
    """The rows of the result file as the tables of the guide."""
    memory = [
        {
            "devices": row["devices"],
            "data x fsdp x spatial": row["mesh"],
            "images": row["images"],
            "state and batch, MB": round(row["argument_bytes"] / 1e6),
            "temporary, MB": round(row["temporary_bytes"] / 1e6),
        }
        for row in rows
    ]
    traffic = [
        {"devices": row["devices"], "data x fsdp x spatial": row["mesh"]}
        | {
            kind: f"{found['count']}, {found['bytes'] / 1e6:.1f} MB" if found else "-"
            for kind, found in ((kind, row["collectives"].get(kind)) for kind in KINDS)
        }
        for row in rows
    ]
    return f"{markdown(memory)}\n\n{markdown(traffic)}"


def save(rows: list[dict[str, Any]], recipe: str) -> None:
    """Writes the result file, and its tables into the guide."""
    about = {"jax": jax.__version__, "backend": "cpu", "recipe": recipe}
    write_text(RESULT, json.dumps({"programs": about, "meshes": rows}, indent=1) + "\n")
    before, _, after = GUIDE.read_text().split(MARKER)
    write_text(GUIDE, f"{before}{MARKER}\n\n{tables(rows)}\n\n{MARKER}{after}")


def main() -> None:
    """Compiles for all meshes, one after the other, and writes what they say."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--mesh", help="measure one alone, in this process, and write nothing")
    options = parser.parse_args()
    config = recipes.load_recipe(str(RECIPE))
    if options.mesh:
        print(json.dumps(measure(tuple(map(int, options.mesh.split("x"))), config)))
        return
    rows = []
    for sizes in MESHES:
        rows.append(in_process(sizes))
        print(rows[-1], flush=True)
    save(rows, config.name)


if __name__ == "__main__":
    main()
