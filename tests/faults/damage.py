"""Damages files of a checkpoint at random, and resumes: `python tests/faults/damage.py [TIMES]`.

Bits are flipped, files are cut, files change places, over all files of the latest checkpoint. What
is read then has to be its state or that of the one before, bit by bit, or one sentence; never
another state, never a traceback. Writes benchmarks/results/damage.json.
"""

import collections
import contextlib
import io
import json
import random
import shutil
import sys
import tempfile
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from tqdm import tqdm

ROOT = Path(__file__).parents[2]
if __name__ == "__main__":
    sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from segalias_jax.checkpoints.store import CheckpointStore  # noqa: E402
from segalias_jax.errors import InputError  # noqa: E402

RESULT = ROOT / "benchmarks" / "results" / "damage.json"
STEPS = (10, 20)


def make_state(step):
    chance = np.random.default_rng(step)
    parameters = {
        name: {"kernel": jnp.asarray(chance.normal(size=(3, 3, 4, 8)), jnp.float32)}
        for name in ("stem", "head")
    }
    return {
        "step": jnp.int32(step),
        "parameters": parameters,
        "statistics": {"mean": jnp.asarray(chance.normal(size=8), jnp.float32)},
        "optimizer": {"mu": parameters},
        "key": jax.random.key(step),
    }


def write(folder):
    with CheckpointStore(folder) as store:
        for step in STEPS:
            store.save(step, make_state(step), about={"position": step, "recipe": {"seed": 0}})
            store.set_score(step, step / 100)


def flip(path, chance, _):
    data = bytearray(path.read_bytes())
    if data:
        data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
    path.write_bytes(data)


def cut(path, chance, _):
    data = path.read_bytes()
    path.write_bytes(data[: chance.randrange(len(data) + 1)])


def swap(path, chance, others):
    other = chance.choice(others)
    one, two = path.read_bytes(), other.read_bytes()
    path.write_bytes(two)
    other.write_bytes(one)


KINDS = {"bit flipped": flip, "cut": cut, "swapped": swap}


def equal(one, other):
    def numbers(leaf):
        is_key = jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key)
        return np.asarray(jax.random.key_data(leaf) if is_key else leaf)

    pairs = zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True)
    return all(np.array_equal(numbers(a), numbers(b)) for a, b in pairs)


def resume(folder):
    """What became of it: a step, a sentence, or what must not be."""
    said = io.StringIO()
    with contextlib.redirect_stderr(said):
        try:
            with CheckpointStore(folder, repair=True) as store:
                state = store.restore_latest(make_state(0))
                about = store.about(int(state["step"]))
        except InputError as error:
            return "one sentence" if len(str(error).splitlines()) == 1 else f"lost: {error}"
        except Exception as error:
            return f"lost: {type(error).__name__}: {error}"
    if "Traceback" in said.getvalue():
        return f"lost: {said.getvalue()}"
    step = int(state["step"])
    if step not in STEPS or not equal(state, make_state(step)) or about["position"] != step:
        return f"lost: a wrong state of step {step}"
    return "whole" if step == STEPS[-1] else "the one before"


def campaign(folder, times, *, seed=0):
    """Counts of what became of it, by kind of damage."""
    chance, outcomes = random.Random(seed), collections.defaultdict(collections.Counter)
    write(folder / "whole")
    for number in tqdm(range(times), unit="damage", disable=None):
        kind = list(KINDS)[number % len(KINDS)]
        copy = folder / "copy"
        shutil.rmtree(copy, ignore_errors=True)
        shutil.copytree(folder / "whole", copy)
        last = copy / str(STEPS[-1])
        files = sorted(path for path in last.rglob("*") if path.is_file())
        path = chance.choice([*files, copy / "scores.json"])
        KINDS[kind](path, chance, files)
        found = resume(copy)
        if found.startswith("lost"):
            tqdm.write(f"{kind}, {path.relative_to(copy)}: {found[:300]}")
            found = "lost"
        outcomes[kind][found] += 1
    return {kind: dict(counts) for kind, counts in outcomes.items()}


def main(times):
    begun = time.time()
    with tempfile.TemporaryDirectory() as folder:
        outcomes = campaign(Path(folder), times)
    result = {"times": times, "outcomes": outcomes}
    result["lost"] = sum(counts.get("lost", 0) for counts in outcomes.values())
    result["minutes"] = round((time.time() - begun) / 60, 1)
    RESULT.write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps(result))
    return 1 if result["lost"] else 0


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]) if len(sys.argv) > 1 else 2000))
