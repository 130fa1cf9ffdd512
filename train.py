"""Trains a recipe: `python train.py --config FILE[:VARIANT] --workdir DIR [--config.KEY=VALUE]`.

The same command goes on where an interrupted run stopped. DIR gets checkpoints, metrics.jsonl,
report.md, pictures and curves.png.
"""

from pathlib import Path

from segalias_jax.training import cli, loop

if __name__ == "__main__":
    cli.run(loop.train, default_recipe=Path(__file__).parent / "configs" / "quickstart.py")
