"""Numbers arrive at TensorBoard and Weights & Biases, both played by stand-ins."""

import sys
import types

import pytest

from segalias_jax.errors import InputError
from segalias_jax.training.trackers import Trackers, check_trackers


class Service:
    def __init__(self, *args, **options):
        self.started, self.written, self.ended = (args, options), [], 0

    def add_scalar(self, *numbers):
        self.written.append(numbers)

    def log(self, numbers, step):
        self.written.append((numbers, step))

    def close(self):
        self.ended += 1

    finish = close


def test_both_get_the_numbers_of_a_line(monkeypatch, tmp_path):
    made = []

    def make(*args, **options):
        made.append(Service(*args, **options))
        return made[-1]

    board = types.SimpleNamespace(SummaryWriter=make)
    monkeypatch.setitem(sys.modules, "tensorboardX", board)
    monkeypatch.setitem(sys.modules, "wandb", types.SimpleNamespace(init=make))
    services = {"tensorboard": True, "wandb": "project"}
    with Trackers(tmp_path / "run", **services, about={"seed": 3}) as trackers:
        trackers.write({"step": 4, "loss": 0.5, "IoU": [0.1, 0.2]})
    board, run = made
    assert board.started[0] == (str(tmp_path / "run" / "tensorboard"),)
    assert board.written == [("loss", 0.5, 4)]
    assert run.written == [({"loss": 0.5}, 4)]
    # A run that goes on is the same one there.
    options = run.started[1]
    assert (options["project"], options["id"], options["resume"]) == ("project", "run", "allow")
    assert options["config"]["seed"] == 3
    assert (board.ended, run.ended) == (1, 1)


@pytest.mark.parametrize(
    "services, module, message",
    [
        ({"tensorboard": True, "wandb": ""}, "tensorboardX", r"^tensorboard: .* 'segalias_jax\[t"),
        (
            {"tensorboard": False, "wandb": "p"},
            "wandb",
            "^wandb: wandb is not installed; pip",
        ),
    ],
)
def test_missing_package_is_one_sentence(monkeypatch, services, module, message):
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(InputError, match=message):
        check_trackers(**services)
