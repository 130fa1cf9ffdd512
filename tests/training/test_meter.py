"""Numbers of steps."""

import pytest

from segalias_jax.errors import InputError
from segalias_jax.training.meter import Meter


def test_loss_is_the_mean_since_the_last_line():
    meter = Meter()
    for step, loss in enumerate([1.0, 2.0, 6.0], start=1):
        meter.add(step, {"loss": loss, "rate": loss / 10}, images=4)
    line = meter.read()
    assert (line["step"], line["loss"], line["rate"]) == (3, 3.0, 0.6)
    meter.add(4, {"loss": 5.0, "rate": 0.5}, images=4)
    assert meter.read()["loss"] == 5.0


@pytest.mark.parametrize("loss", [float("nan"), float("inf")])
def test_loss_that_is_no_number_stops_the_run_one_step_later(loss):
    meter = Meter()
    meter.add(1, {"loss": 1.0}, images=4)
    meter.add(2, {"loss": loss}, images=4)
    with pytest.raises(InputError, match=f"step 2: the loss is {loss}; lower the learning rate"):
        meter.add(3, {"loss": 1.0}, images=4)
