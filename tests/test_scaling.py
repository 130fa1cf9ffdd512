"""What the guide to training at scale says: its commands exist, its tables are computed ones."""

import importlib
import json
import re
import shlex
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import pytest
from jax.sharding import NamedSharding, PartitionSpec

from segalias_jax import cli
from segalias_jax.training.sharding import create_mesh

REPOSITORY = Path(__file__).parents[1]
GUIDE = (REPOSITORY / "docs" / "scaling.md").read_text()
CODE = "\n".join(re.findall(r"```\w+\n(.*?)```", GUIDE, re.S))
# Up to the quote or the line that ends it; a command goes on in the lines of a YAML list.
COMMANDS = re.findall(r"python (train\.py [^\"#]*?)(?=\"|\n(?! +--)|$)", CODE)


@pytest.fixture
def scaling(monkeypatch):
    monkeypatch.syspath_prepend(REPOSITORY / "benchmarks")
    before = list(sys.path)
    yield importlib.import_module("scaling")
    sys.path[:] = before
    for name in ("scaling", "common"):
        del sys.modules[name]


def test_there_is_a_command_for_every_place():
    assert len(COMMANDS) == 7
    assert sum("--coordinator" in command for command in COMMANDS) == 5


@pytest.mark.parametrize("command", COMMANDS)
def test_command_exists(command):
    words = shlex.split(re.sub(r"\$\w+", "0", command))
    words = [word.replace("configs/", f"{REPOSITORY}/configs/") for word in words]
    assert words[0] == "train.py"
    _, given = cli.parse_command(["train", *words[1:]])
    assert given.config.name.startswith("cityscapes") and given.workdir
    assert (given.num_processes > given.process_id) or given.coordinator in ("", "auto")


def test_tables_are_the_computed_ones(scaling):
    result = json.loads(scaling.RESULT.read_text())
    rows = result["meshes"]
    assert [row["mesh"] for row in rows] == list(scaling.MESHES)
    assert {row["devices"] for row in rows} == {8, 64, 512}
    assert scaling.tables(rows) in GUIDE


@pytest.mark.skipif(jax.device_count() < 8, reason="needs 8 devices")
def test_collectives_are_counted_with_the_bytes_of_their_results(scaling):
    mesh = create_mesh(4, 2, 1)
    rows = NamedSharding(mesh, PartitionSpec("data"))
    places = {"in_shardings": rows, "out_shardings": NamedSharding(mesh, PartitionSpec())}
    x = jax.ShapeDtypeStruct((8, 5), jnp.float32)

    def told(function):
        return scaling.collectives(jax.jit(function, **places).lower(x).compile().as_text())

    assert told(lambda x: x.sum(0)) == {"all-reduce": {"count": 1, "bytes": 5 * 4}}
    assert told(lambda x: x) == {"all-gather": {"count": 1, "bytes": 8 * 5 * 4}}
    assert scaling.array_bytes("(bf16[3,2]{1,0}, pred[7]{0}, f32[])") == 12 + 7 + 4


def test_batch_of_arrays_that_do_not_exist(scaling):
    config = scaling.recipes.load_recipe(str(scaling.RECIPE))
    batch = scaling.abstract_batch(config, create_mesh())
    assert batch["image"].shape == (8, 768, 768, 3) and batch["label"].shape == (8, 768, 768)
    assert batch["image"].sharding.shard_shape(batch["image"].shape)[0] == 8 // jax.device_count()
