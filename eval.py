"""Scores a trained run, or anybody's predictions.

    python eval.py --workdir DIR [--config FILE[:VARIANT]] [--config.KEY=VALUE]
    python eval.py --predictions DIR --labels DIR --num-classes N --out REPORT

The same as `segalias eval` and `segalias score`, from a checkout; these list their flags by
`--help`.
"""

import sys

from segalias_jax import cli

if __name__ == "__main__":
    of_folders = {word.split("=")[0] for word in sys.argv} & {"--predictions", "--labels"}
    sys.exit(cli.main(["score" if of_folders else "eval", *sys.argv[1:]]))
