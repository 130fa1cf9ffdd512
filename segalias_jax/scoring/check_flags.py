"""Flags that hold a score against something: limits, and an earlier report."""

from __future__ import annotations

import argparse
import dataclasses
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from segalias_jax.errors import FlagParser, InputError
from segalias_jax.scoring.image_counts import CountPlan
from segalias_jax.scoring.limits import FAILED, Limit, check_limits, failures
from segalias_jax.scoring.reports.baseline import FILES, Baseline, Changes
from segalias_jax.scoring.reports.folder import FolderReport
from segalias_jax.scoring.reports.paired import ImageArrays
from segalias_jax.scoring.reports.tables import check_unused


def add_check_flags(parser: FlagParser) -> None:
    """Adds `--fail-under` and `--baseline`.

    Example:
      >>> parser = FlagParser("score")
      >>> add_check_flags(parser)
      >>> parser.parse(["--fail-under=mIoU=70", "--fail-under", "DErr=20"]).fail_under[1].bound
      20.0
    """
    group = parser.add_argument_group("checks of the scores")
    group.add_argument(
        "--fail-under",
        type=Limit.parse,
        action="append",
        default=[],
        metavar="SCORE[:CLASS]=X",
        help="exit with status 4 where a score is below X, or above it where less is better, such "
        "as mIoU=70, DErr=20 or IoU:car=50; may be given again",
    )
    group.add_argument(
        "--baseline",
        type=Path,
        metavar="REPORT",
        help="report.json of an earlier report: print, and write to baseline.md and baseline.json "
        "in --out, what changed since then",
    )


@dataclasses.dataclass(frozen=True)
class Checks:
    """What scores are held against.

    Attributes:
      limits: what they must reach.
      baseline: an earlier report.

    Example:
      >>> Checks().finish({})
      0
    """

    limits: tuple[Limit, ...] = ()
    baseline: Baseline | None = None

    @classmethod
    def read(
        cls, flags: argparse.Namespace, plan: CountPlan, classes: Sequence[str] | None
    ) -> Checks:
        """Reads the flags of `add_check_flags` before anything is scored.

        Args:
          flags: with `out`, `overwrite` and `compare`, too.
          plan: what will be counted.
          classes: names of the classes; None: they are not known yet.

        Returns:
          The checks.

        Raises:
          InputError: no such score or class, or an earlier report that does not compare.
        """
        check_limits(flags.fail_under, plan, classes)
        baseline = None
        if flags.baseline:
            if flags.compare:
                raise InputError("--baseline: is compared with one model; leave out --compare")
            if flags.out and not flags.overwrite:
                check_unused(flags.out, FILES)
            baseline = Baseline.read(flags.baseline)
            baseline.check(plan, classes)
        return cls(tuple(flags.fail_under), baseline)

    def finish(self, reports: Mapping[str, FolderReport], out: Path | None = None) -> int:
        """Prints, and writes, how scores compare.

        Args:
          reports: of each model, by name.
          out: folder of the report, which is written already; None: there is none.

        Returns:
          Exit status: 0, or `FAILED`.

        Raises:
          InputError: the earlier report has other classes, or none of the images.
        """
        failed = []
        for name, report in reports.items():
            if self.baseline is not None:
                self.baseline.check(report.plan, report.classes)
                changes = Changes(self.baseline, ImageArrays.of(report.images))
                if out is not None:
                    changes.save(out)
                print(f"\n{changes.table()}")
            scores = report.scores | report.further
            model = f"{name}: " if len(reports) > 1 else ""
            phrases = failures(self.limits, scores, report.plan, report.classes)
            failed += [model + phrase for phrase in phrases]
        if failed:
            print(f"failed: {'; '.join(failed)}", file=sys.stderr)
        return FAILED if failed else 0
