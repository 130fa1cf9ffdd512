"""Scores a trained run, or anybody's predictions.

    python eval.py --config FILE[:VARIANT] --workdir DIR
    python eval.py --predictions DIR --labels DIR --num_classes N --out REPORT

The first form takes the checkpoint with the best mIoU (of two classes, the best Dice), prints the
score table and writes DIR/eval/report.md and pictures; `--config.data.eval_split=test` scores
another split. Its flags:

    --aliasing                 relates what strides fold to the errors: DIR/eval/aliasing.html
    --shift                    adds how many pixels keep their class when images move by a pixel
    --robustness=blur,noise    scores worse images, too: DIR/eval/robustness.html
    --blur_sizes=3,5           sides of the blurring kernels in pixels
    --noise_sigmas=10,20       standard deviations of the noise, in units of 0..255

The second form compares maps of class ids by file name; `--predictions --help` lists its flags.
Exit status: 0, 2 after a mistake in flags or files, 3 where `--keep-going` left files out.
"""

import os
import sys
from pathlib import Path

from segalias_jax.errors import exiting_on_mistakes
from segalias_jax.scoring import command as flags


def main(argv: list[str]) -> int:
    """Dispatches to the form that the flags are of; returns the exit status."""
    if flags.names_folders(argv):
        return flags.run(argv)
    from segalias_jax.runs import command as cli
    from segalias_jax.runs import loop

    default = Path(__file__).parent / "configs" / "quickstart.py"
    cli.run(loop.evaluate_run, default_recipe=default, studies=True)
    return 0


if __name__ == "__main__":
    try:
        with exiting_on_mistakes():
            status = main(sys.argv)
            sys.stdout.flush()
        sys.exit(status)
    except BrokenPipeError:
        # Whoever read the table has seen enough; nothing must be flushed to it at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(141)
