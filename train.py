"""Trains a recipe: `python train.py --config FILE[:VARIANT] --workdir DIR [--config.KEY=VALUE]`.

The same command goes on where an interrupted run stopped; SIGTERM and SIGINT save the state and end
with status 75. DIR gets checkpoints, metrics.jsonl, goodput.json, report.md, pictures, curves.png.

    --resume=auto|never|RUN   go on (the default), refuse to, or start from another run's state
    --coordinator=HOST:PORT --num_processes=N --process_id=I   one of several processes
    --coordinator=auto        the same on TPU and Slurm
    --profile                 trace a few steps, into DIR/profile
"""

from pathlib import Path

from segalias_jax.runs import command as cli
from segalias_jax.runs import loop

if __name__ == "__main__":
    cli.run(loop.train, default_recipe=Path(__file__).parent / "configs" / "quickstart.py")
