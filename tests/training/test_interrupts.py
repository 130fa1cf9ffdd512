"""What signals do to a run, and how soon."""

import os
import signal
import subprocess
import sys

import numpy as np
import pytest

from segalias_jax.training.interrupts import Interrupted, Interrupts

TWICE = """
import os, signal, time
from segalias_jax.training.interrupts import Interrupts
with Interrupts() as interrupts, interrupts.deferred:
    os.kill(os.getpid(), signal.SIGTERM)
    assert interrupts.leaving() and interrupts.requested == "SIGTERM"
    os.kill(os.getpid(), signal.SIGTERM)  # the same once more: to the group, say
    time.sleep(1)
    print("here", flush=True)
    os.kill(os.getpid(), signal.SIGINT)
    time.sleep(60)
"""


@pytest.fixture
def hangups():
    """As in a terminal, also where the tests were started by `nohup`."""
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGHUP, before)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_signal_raises_at_once_unless_deferred(number, hangups):
    before = signal.getsignal(number)
    with Interrupts() as interrupts:
        with pytest.raises(Interrupted, match=signal.Signals(number).name):
            os.kill(os.getpid(), number)
            raise AssertionError("not reached")
    with Interrupts() as interrupts, interrupts.deferred:
        assert not interrupts.leaving()
        os.kill(os.getpid(), number)
        assert interrupts.leaving()
    assert signal.getsignal(number) == before


def test_processes_agree_on_what_held_a_step_before():
    with Interrupts() as interrupts, interrupts.deferred:
        os.kill(os.getpid(), signal.SIGTERM)
        # This process knows, but the others did not when the first two steps began.
        answers = [interrupts.leaving(np.bool_(flag)) for flag in (False, True, True)]
    assert answers == [False, False, True]


def test_second_signal_ends_the_process_at_once():
    result = subprocess.run([sys.executable, "-c", TWICE], timeout=50, stdout=subprocess.PIPE)
    assert result.returncode == 128 + signal.SIGINT and result.stdout == b"here\n"


def test_a_run_that_ignores_hangups_still_does():
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)  # as `nohup` starts it
    try:
        with Interrupts() as interrupts, interrupts.deferred:
            os.kill(os.getpid(), signal.SIGHUP)
            assert not interrupts.leaving()
    finally:
        signal.signal(signal.SIGHUP, before)
