"""Runs whose file operations are killed or fail; `make soak` tries hundreds of them."""

import pytest
from faults import damage, killing, operations

pytestmark = pytest.mark.filterwarnings("ignore:the load_module:DeprecationWarning")


def test_faults_at_file_operations_change_nothing(tmp_path, monkeypatch):
    shim = operations.build(tmp_path)
    if shim is None:
        pytest.skip("there is no C compiler")
    monkeypatch.syspath_prepend(str(operations.ROOT))
    with killing.Nursery(tmp_path, shim=shim) as runs:
        campaign = operations.Campaign(runs)
        campaign.kill()
        campaign.fail_at("ENOSPC", "write", 3)
        # No run has so many of them: the fault is not reached, and counts as nothing survived.
        campaign.fail_at("EIO", "fsync", operations.NEVER)
    assert campaign.complaints == []
    assert min(campaign.operations.values()) > 5
    counts = operations.summarize(campaign.records)
    assert counts["reached"]["ENOSPC in write"] == counts["survived"]["ENOSPC in write"] == 1
    assert counts["tried"]["EIO in fsync"] == 1
    assert counts["reached"]["EIO in fsync"] == counts["survived"]["EIO in fsync"] == 0
    assert sum(counts["survived"].values()) == 2 and counts["lost"] == 0


def test_damaged_checkpoints_never_give_another_state(tmp_path):
    outcomes = damage.campaign(tmp_path, 24)
    assert not any("lost" in counts for counts in outcomes.values()), outcomes
    assert sum(counts.get("the one before", 0) for counts in outcomes.values()) > 2
