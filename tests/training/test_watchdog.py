"""A step that hangs is reported once, with the place; one that goes on is not."""

import threading
import time

from segalias_jax.training.watchdog import Watchdog


def hang(event):
    event.wait(30)


def wait_for(condition):
    end = time.monotonic() + 30
    while not condition() and time.monotonic() < end:
        time.sleep(0.01)


def test_hanging_step_is_reported_once_with_all_stacks(tmp_path):
    event = threading.Event()
    other = threading.Thread(target=hang, args=(event,))
    other.start()
    path = tmp_path / "report"
    with path.open("w+") as file, Watchdog(0.05, file=file) as watchdog:
        watchdog.beat("step 7")
        wait_for(lambda: "test_hanging_step" in path.read_text())
        time.sleep(0.2)
    event.set()
    other.join()
    text = path.read_text()
    told = "warning: step 7 takes longer than 0.05 seconds (stall_seconds); all threads are"
    assert text.startswith(told) and text.count("warning") == 1
    assert "in hang" in text and "test_hanging_step_is_reported" in text


def test_steps_that_go_on_and_no_watching_report_nothing(tmp_path):
    for seconds, pause in ((30.0, 0.0), (0.0, 0.05)):
        with (tmp_path / "report").open("w+") as file, Watchdog(seconds, file=file) as watchdog:
            watchdog.beat("step 1")
            time.sleep(pause)
        assert (tmp_path / "report").read_text() == ""
