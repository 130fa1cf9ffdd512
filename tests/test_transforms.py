"""A part of the table of transforms; `make transforms` computes all of it."""

import re

import pytest
import transforms

from segalias_jax import layers, losses, ops

ROWS = {name: row for rows in transforms.all_rows().values() for name, row in rows.items()}
# Of those that share their operations, one: a layer or the operator beneath it.
SHARDED = ("low_pass", "median_filter", "FreqMix", "BlurPool", "AdaptiveBlur")
MAPPED = ("DeAliasingFilter", "majority_filter", "FreqMix", "AdaptiveBlur", "dealias")


@pytest.mark.parametrize("name", SHARDED)
def test_on_meshes(name):
    assert transforms.cell(ROWS[name], "Explicit mesh") == ""


@pytest.mark.parametrize("name", [*MAPPED, "BinaryScores.update"])
def test_inside_of_shard_map(name):
    assert transforms.cell(ROWS[name], "shard_map") == ""


def test_a_transform_of_rows_spread_thinly_ends_no_process():
    """XLA's partitioner aborts at a Fourier transform of two columns on each of eight devices."""
    for name in ("checkerboard_score", "FreqMix, gate='magnitude'"):
        assert transforms.cell(ROWS[name], "Auto mesh") == ""


def test_every_public_name_has_a_row():
    named = {name.split(",")[0] for name in ROWS}
    assert set(ops.__all__) - transforms.NOT_ARRAYS <= named
    assert set(layers.__all__) - {"UPSAMPLE"} <= named
    assert set(losses.LOSSES) <= named


def test_page_is_of_these_rows_and_transforms():
    """What the page says cannot be is what the rows say, word by word."""
    page = transforms.PAGE.read_text()
    lines = dict(re.findall(r"^\| `(.+?)` \| (.*) \|$", page, re.M))
    notes = dict(re.findall(r"^(\d+)\. (.*)$", page, re.M))
    assert list(lines) == list(ROWS)
    for name, row in ROWS.items():
        cells = lines[name].split(" | ")
        for transform, mark in zip(transforms.TRANSFORMS, cells, strict=True):
            number = re.fullmatch(r"no \((\d+)\)", mark)
            assert row.why_not.get(transform) == (notes[number[1]] if number else None), name
