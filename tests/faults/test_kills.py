"""Runs killed at random moments end with the parameters of the unbroken one, bit by bit."""

import json
import signal
import sys

import pytest
from faults import killing, nursery

from segalias_jax.training import interrupts

KILLS = 20
STEPS, IMAGES = nursery.SMALL["train.steps"], nursery.SMALL["data.num_train"]
pytestmark = pytest.mark.filterwarnings("ignore:the load_module:DeprecationWarning")


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    with killing.Nursery(tmp_path_factory.mktemp("faults")) as runs:
        runs.start("unbroken")
        assert runs.finish() == 0, runs.errors("unbroken")
        yield runs


@pytest.fixture(scope="module")
def compare(runs):
    sys.path.insert(0, str(nursery.ROOT))

    def compare(name):
        one, other = (nursery.final_arrays(runs.folder / which, {}) for which in ("unbroken", name))
        killing.check_equal(one, other)
        killing.check_epochs(killing.images_by_step(runs.lines(name)), STEPS, IMAGES)
        validations = [validated(runs.folder / which) for which in ("unbroken", name)]
        assert validations[0] == validations[1]

    yield compare
    sys.path.remove(str(nursery.ROOT))


def validated(workdir):
    lines = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
    return [line for line in lines if "mIoU" in line]


def test_sigkill_at_random_moments_changes_nothing(runs, compare):
    killing.run_killed(runs, "killed", kills=KILLS)
    compare("killed")
    account = json.loads((runs.folder / "killed" / "goodput.json").read_text())
    assert account["starts"] > 2 and account["lost_to_restarts"] > 0


def test_sigterm_saves_and_the_same_command_goes_on(runs, compare):
    killing.run_killed(
        runs, "ended", kills=4, number=signal.SIGTERM, expected=interrupts.EXIT_STATUS
    )
    compare("ended")
    assert "SIGTERM: saved step" in runs.errors("ended")
