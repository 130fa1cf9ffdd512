"""The command line that scores folders: `eval.py --predictions DIR --labels DIR ...`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from segalias_jax.errors import FlagParser, InputError
from segalias_jax.metrics import BOUNDARY_RULES, IGNORE_RULES
from segalias_jax.scoring.folders import matched, score_folders
from segalias_jax.scoring.reports.comparison import FILES as COMPARISON_FILES
from segalias_jax.scoring.reports.comparison import Comparison, model_names
from segalias_jax.scoring.reports.folder import FILES
from segalias_jax.scoring.reports.tables import check_unused
from segalias_jax.typing import IGNORE_LABEL

LEFT_OUT = 3
"""Exit status of a report that some files are missing from."""


def names_folders(argv: Sequence[str]) -> bool:
    """Whether a command line is the one for folders.

    Args:
      argv: the command line, the program's name first.

    Returns:
      False for the form with a recipe and a run.

    Raises:
      InputError: it mixes both.

    Example:
      >>> names_folders(["eval.py", "--predictions=a"]), names_folders(["eval.py", "--workdir=a"])
      (True, False)
    """
    flags = {word.split("=")[0] for word in argv[1:]}
    folders = flags & {"--predictions", "--labels"}
    run = sorted(f for f in flags if f.split(".")[0] in ("--config", "--workdir"))
    if folders and run:
        raise InputError(
            f"{run[0]} scores a trained run, {min(folders)} scores folders; give one of the two"
        )
    return bool(folders)


def parse(argv: Sequence[str]) -> argparse.Namespace:
    """Reads the flags.

    Args:
      argv: the command line, the program's name first.

    Returns:
      Their values by name.

    Raises:
      InputError: an unknown, missing or malformed flag.

    Example:
      >>> line = "eval.py --predictions a --labels b --num_classes 19 --out c"
      >>> parse(line.split()).num_classes
      19
    """
    parser = FlagParser(
        prog="eval.py",
        description="Scores predicted maps against true ones.",
        listed_by="eval.py --predictions --help",
    )
    add = parser.add_argument
    folder = {"type": Path, "metavar": "DIR"}
    add("--predictions", **folder, required=True, help="predicted maps: PNG or npy of class ids")
    add("--labels", **folder, required=True, help="true maps of the same names")
    add("--num_classes", type=int, required=True, help="predictions hold 0..N-1")
    add("--out", **folder, required=True, help="folder for the report")
    add("--compare", **folder, nargs="+", default=[], help="predictions of further models")
    add("--images", **folder, help="the pictures, to be shown in report.html")
    add("--classes", type=Path, metavar="FILE", help="names of the classes, one a line")
    add("--ignore", type=int, default=IGNORE_LABEL, help="label in no score (%(default)s)")
    add("--reduce_zero_label", action="store_true", help="labels: 0 is ignored, k + 1 is class k")
    add("--boundary", choices=BOUNDARY_RULES, default="laplacian", help="what a boundary is")
    add("--ignore_rule", choices=IGNORE_RULES, default="reference", help="do ignored pixels bound")
    add("--width", type=int, default=15, help="of boundary bands in pixels (%(default)s)")
    add(
        "--boundary_iou",
        type=float,
        default=0.02,
        help="reach of Boundary IoU: share of the diagonal, or pixels from 1 on; 0: without",
    )
    add("--tolerances", type=_pixels, default=(1, 3, 5), help="of boundary F, such as 1,3,5 or ''")
    add("--probabilities", action="store_true", help="predictions: probabilities of class 1 of two")
    add("--offsets", type=_pixels, default=(), help="score shifted predictions: pixels, as 1,2,5")
    add("--threads", type=int, help="pairs at a time (one for each processor)")
    add(
        "--keep-going",
        action="store_true",
        help="leave unusable files out, list them, and exit with status 3 where there are any",
    )
    # "--predictions --help" asks for help, though a folder's name is due.
    return parser.parse_args(["--help"] if "--help" in argv else list(argv[1:]))


def run(argv: Sequence[str]) -> int:
    """Scores what a command line names, prints the tables and writes the report.

    Args:
      argv: the command line, the program's name first.

    Returns:
      Exit status: 0, or `LEFT_OUT`.

    Raises:
      InputError: a mistake in the flags or the files.

    Example:
      >>> run(["eval.py", "--predictions", "a", "--labels", "b", "--num_classes=2", "--out", "c"])
      Traceback (most recent call last):
      segalias_jax.errors.InputError: a: no such folder
    """
    flags = parse(argv)
    options = {
        "num_classes": flags.num_classes,
        "images": flags.images,
        "classes": read_names(flags.classes, flags.num_classes) if flags.classes else None,
        "ignore_label": flags.ignore,
        "reduce_zero_label": flags.reduce_zero_label,
        "boundary": flags.boundary,
        "ignore": flags.ignore_rule,
        "width": flags.width,
        "boundary_iou": flags.boundary_iou,
        "tolerances": flags.tolerances,
        "probabilities": flags.probabilities,
        "offsets": flags.offsets,
        "keep_going": flags.keep_going,
        "threads": flags.threads,
    }
    folders = [flags.predictions, *flags.compare]
    names = model_names(folders)
    check_unused(flags.out, (*names, *COMPARISON_FILES) if flags.compare else FILES)
    # All folders, before the first one takes its time.
    for folder in folders:
        chosen = {key: options[key] for key in ("keep_going", "probabilities")}
        matched(folder, flags.labels, flags.images, **chosen)
        if folder.resolve() == flags.labels.resolve():
            print(f"warning: {folder} is the folder of the labels, too", file=sys.stderr)
    reports = []
    for name, folder in zip(names, folders, strict=True):
        title = f"scoring {name}" if flags.compare else "scoring"
        reports.append(score_folders(folder, flags.labels, progress=title, **options))
        if reports[-1].left_out:
            print(reports[-1].left_out_text(), file=sys.stderr)
    result = Comparison(tuple(reports), names) if flags.compare else reports[0]
    result.save(flags.out)
    print(result.table())
    print(f"report: {flags.out / 'report.html'}")
    return LEFT_OUT if any(report.left_out for report in reports) else 0


def read_names(path: Path, count: int) -> tuple[str, ...]:
    """Reads names of classes.

    Args:
      path: text file with one name a line.
      count: number of classes.

    Returns:
      The names.

    Raises:
      InputError: the file cannot be read, or holds another number of names.

    Example:
      >>> read_names(Path("missing.txt"), 2)
      Traceback (most recent call last):
      segalias_jax.errors.InputError: missing.txt: cannot be read (No such file or directory)
    """
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        raise InputError(f"{path}: not a text file; write one class name a line") from None
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from None
    names = tuple(line.strip() for line in text.splitlines() if line.strip())
    if len(names) != count:
        raise InputError(f"{path}: {len(names)} names for {count} classes; write one name a line")
    return names


def _pixels(text: str) -> tuple[int, ...]:
    try:
        return tuple(int(word) for word in text.split(",") if word)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no list of pixels such as 1,3,5") from None
