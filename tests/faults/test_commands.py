"""Commands that are killed half-way, and run again; `make soak` tries all of them, often."""

import os

import pytest
from faults import commands, killing, operations

pytestmark = pytest.mark.filterwarnings("ignore:the load_module:DeprecationWarning")
SOAK = bool(os.environ.get("SEGALIAS_SOAK"))


def test_commands_that_are_killed_or_fail_are_complete_when_run_again(tmp_path):
    shim = operations.build(tmp_path)
    if shim is None:
        pytest.skip("there is no C compiler")
    names = commands.available() if SOAK else ["score", "convert, to safetensors"]
    with killing.Nursery(tmp_path, shim=shim) as runs:
        campaign = commands.Campaign(runs)
        for name in names:
            campaign.kill(name)
            campaign.fail(name)
    assert campaign.complaints == []
    assert sum(campaign.counts["survived"].values()) == 2 * len(names)
