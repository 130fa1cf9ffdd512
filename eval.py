"""Scores a trained run: `python eval.py --config FILE[:VARIANT] --workdir DIR`.

Takes the checkpoint with the best mIoU, prints the score table and writes DIR/eval/report.md and
pictures. `--config.data.eval_split=test` scores another split.
"""

from pathlib import Path

from segalias_jax.training import cli, loop

if __name__ == "__main__":
    cli.run(loop.evaluate_run, default_recipe=Path(__file__).parent / "configs" / "quickstart.py")
