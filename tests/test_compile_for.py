"""Programs for chips that are not here, and the guide's tables of what was read from them."""

import importlib
import importlib.util
import json
import sys
from fnmatch import fnmatch
from pathlib import Path

import jax
import jax.numpy as jnp
import pytest
from jax.sharding import NamedSharding, PartitionSpec

from segalias_jax import ops
from segalias_jax.training.sharding import create_mesh

REPOSITORY = Path(__file__).parents[1]
GUIDE = (REPOSITORY / "docs" / "scaling.md").read_text()


@pytest.fixture
def bench(monkeypatch):
    monkeypatch.syspath_prepend(REPOSITORY / "benchmarks")
    before = list(sys.path)
    yield importlib.import_module("compile_for")
    sys.path[:] = before
    for name in ("compile_for", "scaling", "common"):
        del sys.modules[name]


@pytest.fixture
def tpu(bench, monkeypatch):
    """`bench` where programs for a TPU can be compiled."""
    if importlib.util.find_spec("libtpu") is None:
        pytest.skip("needs libtpu: make tpu")
    for key, value in bench.ENVIRONMENT.items():
        monkeypatch.setenv(key, value)
    return bench


def test_tables_are_the_computed_ones(bench):
    found = json.loads(bench.RESULT.read_text())["cases"]
    known = list(bench.cases())
    assert list(found) == [name for name in known if name in found]
    assert {name for name in known if name.startswith("operator")} <= set(found)
    assert bench.tables(found) in GUIDE
    for name, one in found.items():
        assert "failed" not in one and one["memory_bytes"] < bench.MEMORY_BYTES, name


def test_a_row_is_computed_from_its_program(bench):
    program = dict(cycles=3_000_000, flops=197e9, bytes=819e6 / 2, memory_bytes=17e9)
    program |= dict(copies=2, transposes=0, processor_seconds=1.6)
    program["collectives"] = {"all-reduce": {"count": 3, "bytes": 64_000_000}}
    row = bench.row("training/4x4, baseline/bfloat16", program)
    assert (row["program"], row["type"]) == ("4x4, baseline", "bfloat16")
    assert row["of it kernels"] == "0.00"
    assert (row["Mcycles"], row["ms"], row["ms at least"]) == ("3.00", "2.00", "1.00")
    assert row["GB held"] == "17.00, too much" and row["collectives"] == "3 all-reduce, 64 MB"
    failed = bench.row("operator/x/float32", {"failed": "not compiled in 1 s"})
    assert failed["Mcycles"] == "not compiled in 1 s"


LISTING = """
     0   :  { %s0 = inlined_call_operand.hbm [shape: bf16[2,8,16,128], index: 0, kind: input] }
   0x1   :  { %s1 = smov 3 }
   0x2 LB: > { %s2 = sadd.s32 1, %s1 }
   0x3 LB: >> { %s3 = sadd.s32 1, %s2 }
   0x4   :  {}
   0x5   : >> { %p1 = scmp.ge.s32.totalorder %s3, 12 /* loop exit test */ }
   0x6 LB: >> { %p2 = scmp.ge.s32.totalorder %s3, 5 /* loop exit test */ }
   0x7   : > { %p3 = scmp.ge.s32.totalorder %s2, 4 /* loop exit test */ }
   0x8   :  { %s4 = smov 3 }
"""


def test_instructions_of_a_kernel_count_as_often_as_loops_pass_them(bench, tmp_path):
    cycles = 2 + 4 * (2 + 3 * 12 + 1 * 5) + 1
    assert bench.counted_cycles(LISTING) == cycles
    (tmp_path / "1-fused_products.7-72-final_bundles.txt").write_text(LISTING)
    call = (
        "  %{}.3 = (bf16[2,8,16,128]{{3,2,1,0}}) custom-call(%x), "
        'custom_call_target="tpu_custom_call"'
        ", operand_layout_constraints={{bf16[2,8,16,128]{{3,2,1,0}}, bf16[8,8]{{1,0}}}}\n"
    )
    moved = round(2 * 2 * (2 * 8 * 16 * 128) * bench.HERTZ / bench.PEAK_BYTES)
    assert bench.kernel_cycles("nothing", tmp_path) == 0
    assert bench.kernel_cycles(call.format("fused_products"), tmp_path) == max(cycles, moved)
    told = bench.kernel_cycles(2 * call.format("fused_products_in_turn"), tmp_path)
    assert told == 2 * (cycles + moved)


def test_a_result_is_kept_for_its_compiler_alone(bench, tmp_path, monkeypatch):
    monkeypatch.setattr(bench, "RESULT", tmp_path / "result.json")
    monkeypatch.setattr(bench, "GUIDE", tmp_path / "guide.md")
    bench.GUIDE.write_text(f"before\n{bench.MARKER}\nold\n{bench.MARKER}\nafter\n")
    name, about = list(bench.cases())[2], {"jax": "1", "compiler": "2"}
    bench.save(about, {name: {"failed": "no memory"}})
    assert bench.stored(about) == {name: {"failed": "no memory"}}
    assert bench.stored(about | {"jax": "2"}) == {}
    told = bench.GUIDE.read_text()
    assert told.startswith("before") and told.endswith("after\n") and "old" not in told
    assert "no memory" in told


def test_every_case_is_one_of_a_kind(bench):
    names = list(bench.cases())
    assert all(name.count("/") == 2 for name in names)
    assert any(fnmatch(name, "training/16x16*baseline*") for name in names)


def test_operators_compile_for_one_chip(tpu):
    x = jax.ShapeDtypeStruct((2, 16, 24, 8), jnp.bfloat16)
    found = tpu.measure(lambda: tpu.compile_for_one(lambda x: ops.low_pass(x, 0.25), x))
    assert found["cycles"] > 0 and found["flops"] >= 2 * 2 * 16 * 24 * 8 * (16 + 24)
    assert found["memory_bytes"] >= 2 * 2 * x.size and not found["collectives"]


def test_a_mean_over_four_chips_is_one_message(tpu):
    mesh = create_mesh(devices=tpu.chips("2x2"))
    rows = NamedSharding(mesh, PartitionSpec("data"))
    place = {"in_shardings": rows, "out_shardings": NamedSharding(mesh, PartitionSpec())}
    x = jax.ShapeDtypeStruct((8, 4096), jnp.float32)
    program = jax.jit(lambda x: x.sum(0), **place).lower(x).compile()
    assert tpu.collectives(program.as_text()) == {"all-reduce": {"count": 1, "bytes": 4 * 4096}}
