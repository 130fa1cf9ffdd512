"""A description of other bytes than were written is damage, whatever the bytes are."""

import json

import pytest

from segalias_jax.checkpoints.description import (
    ABOUT,
    METADATA,
    DamagedError,
    digest,
    read_description,
)


def test_every_flipped_bit_is_damage_or_changes_nothing(tmp_path):
    about = {"recipe": {"seed": 5}, "checksum": 7}
    content = {
        "init_timestamp_nsecs": 1,
        "commit_timestamp_nsecs": 2,
        "item_handlers": {"default": "a"},
        "metrics": {},
        "performance_metrics": {},
        "custom_metadata": about | {ABOUT: digest(about)},
    }
    data = json.dumps(content).encode()
    (tmp_path / METADATA).write_bytes(data)
    assert read_description(tmp_path) == about
    damaged = 0
    for bit in range(8 * len(data)):
        flipped = bytearray(data)
        flipped[bit // 8] ^= 1 << bit % 8
        (tmp_path / METADATA).write_bytes(flipped)
        try:
            found = read_description(tmp_path)
        except DamagedError:
            damaged += 1
        else:
            # Where the key of the checksum itself is hit, it is one more entry.
            assert {key: found.get(key) for key in about} == about
    assert damaged > 2 * len(data)


def test_without_a_description(tmp_path):
    with pytest.raises(DamagedError, match="is damaged .*No such file") as caught:
        read_description(tmp_path)
    assert caught.value.path == tmp_path
