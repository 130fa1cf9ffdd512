"""The learning-rate curve against the recorded one of the published code."""

import json
import math
from pathlib import Path

import numpy as np
import pytest

from segalias_jax.errors import InputError
from segalias_jax.training.schedules import create_schedule, poly

GOLDEN = Path(__file__).parents[1] / "golden" / "f_lr_and_paramwise.json"
PUBLISHED = {"name": "poly", "power": 0.9, "end_value": 1e-4, "warmup_ratio": 0.1}


@pytest.mark.parametrize("name, warmup_steps", [("config_768", 200), ("no_warmup", 0)])
def test_rates_equal_the_recorded_ones_for_both_multipliers(name, warmup_steps):
    recorded = json.loads(GOLDEN.read_text())[name]
    config = PUBLISHED | {"warmup_steps": warmup_steps}
    schedule = create_schedule(**config, learning_rate=0.01, steps=recorded["max_iters"])
    for step, rates in recorded["lr"].items():
        ours = [schedule(int(step)), schedule(int(step), factor=2.0)]
        np.testing.assert_allclose(ours, rates, rtol=2e-6, err_msg=f"step {step}")


def test_rate_stays_at_the_end_value_after_the_last_step():
    assert poly(12, base=1.0, steps=10, end_value=0.25) == 0.25


def test_mistakes_name_the_key():
    config = PUBLISHED | {"warmup_steps": 200}
    with pytest.raises(
        InputError, match="^name is 'cosin'; did you mean 'cosine'. choose one of poly"
    ):
        create_schedule(**(config | {"name": "cosin"}), learning_rate=0.1, steps=1000)
    with pytest.raises(InputError, match="^warmup_steps is 200, more than the 100 steps"):
        create_schedule(**config, learning_rate=0.1, steps=100)
    with pytest.raises(InputError, match="^learning_rate is nan; it must be at least 0"):
        create_schedule(**config, learning_rate=math.nan, steps=1000)
    with pytest.raises(InputError, match="^warmup_steps is -1; it must be at least 0"):
        create_schedule(**(config | {"warmup_steps": -1}), learning_rate=0.1, steps=1000)


@pytest.mark.parametrize("name", ["cosine", "constant"])
def test_other_schedules_follow_their_equations(name):
    config = PUBLISHED | {"name": name, "warmup_steps": 10, "end_value": 0.01}
    schedule = create_schedule(**config, learning_rate=0.5, steps=100)
    for step in (0, 3, 10, 57, 100, 120):
        wave = 0.5 * (1 + math.cos(math.pi * min(step, 100) / 100))
        rate = 0.01 + (1.0 - 0.01) * wave if name == "cosine" else 1.0
        rate *= 1 - max(1 - step / 10, 0) * 0.9
        # float32 keeps 1 + cos near the end of the wave to an absolute rounding only.
        np.testing.assert_allclose(schedule(step, factor=2.0), rate, rtol=1e-5)
