"""One of several processes of a run: `worker.py WORKDIR PORT COUNT INDEX [KEY=JSON ...]`."""

import json
import sys
from pathlib import Path

import jax

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from faults.nursery import Network, make_config  # noqa: E402

from segalias_jax import layers, models  # noqa: E402
from segalias_jax.runs import setup  # noqa: E402
from segalias_jax.runs.train import train  # noqa: E402
from segalias_jax.training.interrupts import EXIT_STATUS, Interrupted  # noqa: E402
from segalias_jax.training.processes import Launch  # noqa: E402


class Wide(Network):
    """With a kernel that is large enough to be split over mesh.fsdp."""

    def __init__(self, num_classes, rngs):
        super().__init__(num_classes, rngs)
        self.encoder = layers.ConvNormAct(3, 64, 3, rngs=rngs)
        self.wide = layers.Conv(64, 64, rngs=rngs)
        self.decoder = layers.Conv(64, num_classes, rngs=rngs)

    def __call__(self, x):
        return self.decoder(self.dropout(jax.nn.relu(self.wide(self.encoder(x)))))


def main(workdir, port, count, index, *changes):
    models.create_model = lambda config, num_classes, rngs: Wide(num_classes, rngs)
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    setup.enable_compilation_cache = lambda: None
    config = make_config({key: json.loads(value) for key, value in (c.split("=") for c in changes)})
    launch = Launch()
    if int(count) > 1:
        launch = Launch(
            coordinator=f"127.0.0.1:{port}", num_processes=int(count), process_id=int(index)
        )
    try:
        train(config, Path(workdir), launch)
    except Interrupted as signal:
        print(signal, file=sys.stderr)
        sys.exit(EXIT_STATUS)


if __name__ == "__main__":
    main(*sys.argv[1:])
