"""Trains a recipe: `python train.py --config FILE[:VARIANT] --workdir DIR [--config.KEY=VALUE]`.

The same as `segalias train`, from a checkout; `--help` lists the flags. The same command resumes
where an interrupted run stopped; SIGTERM and SIGINT save the state and end with status 75.
"""

import sys

from segalias_jax import cli

if __name__ == "__main__":
    sys.exit(cli.main(["train", *sys.argv[1:]]))
