"""One of several processes of a run: `worker.py WORKDIR PORT COUNT INDEX [KEY=JSON ...]`."""

import argparse
import json
import os
import sys
from pathlib import Path

import jax

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from faults.nursery import Network, make_config  # noqa: E402

from segalias_jax import cli, data, layers, models  # noqa: E402
from segalias_jax.errors import InputError  # noqa: E402
from segalias_jax.runs import command, setup  # noqa: E402
from segalias_jax.training import companions  # noqa: E402


class Wide(Network):
    """With a kernel that is large enough to be split over mesh.fsdp."""

    def __init__(self, num_classes, rngs):
        super().__init__(num_classes, rngs)
        self.encoder = layers.ConvNormAct(3, 64, 3, rngs=rngs)
        self.wide = layers.Conv(64, 64, rngs=rngs)
        self.decoder = layers.Conv(64, num_classes, rngs=rngs)

    def __call__(self, x):
        return self.decoder(self.dropout(jax.nn.relu(self.wide(self.encoder(x)))))


def plan_fault(step, what):
    """Makes a signal or an error come before the first step (0) or with the batch of a step."""

    def happen():
        if what == "error":
            raise InputError("b.png: the file is truncated; copy it again")
        os.kill(os.getpid(), int(what))

    batches, load = data.train_batches, setup.load_pretrained

    def faulty_batches(config, source, *, start_step, **options):
        stream = batches(config, source, start_step=start_step, **options)
        for number, batch in enumerate(stream, start_step + 1):
            if number == step:
                happen()
            yield batch

    def faulty_load(recipe, state, create_model):
        if step == 0:
            happen()
        return load(recipe, state, create_model)

    data.train_batches, setup.load_pretrained = faulty_batches, faulty_load


def main(workdir, port, count, index, *changes):
    models.create_model = lambda config, num_classes, rngs: Wide(num_classes, rngs)
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    setup.enable_compilation_cache = lambda: None
    config = make_config({key: json.loads(value) for key, value in (c.split("=") for c in changes)})
    flags = argparse.Namespace(config=config, workdir=Path(workdir), resume="auto", profile=False)
    several = int(count) > 1
    flags.coordinator = f"127.0.0.1:{port}" if several else ""
    flags.num_processes, flags.process_id = (int(count), int(index)) if several else (-1, -1)
    if fault := os.environ.get("WORKER_FAULT"):
        whose, step, what = fault.split(":")
        if whose == index:
            plan_fault(int(step), what)
    companions.SILENT_SECONDS = 5.0
    # As the command line does, which has read the flags by then.
    cli.parse_command = lambda words: (command.run_training, flags)
    sys.exit(cli.main(["train"]))


if __name__ == "__main__":
    main(*sys.argv[1:])
