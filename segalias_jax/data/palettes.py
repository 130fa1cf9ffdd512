"""Colors that stand for classes: read from files, and turned into class ids."""

from __future__ import annotations

import csv
import dataclasses
import functools
import io
import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from segalias_jax.data.classes import DATASETS, VOID_COLORS
from segalias_jax.errors import InputError
from segalias_jax.files import check_regular
from segalias_jax.typing import IGNORE_LABEL, Integer, UInt8

IGNORED_NAMES = ("void", "ignore", "ignored", "unlabeled", "unlabelled")
"""Names of colors that stand for what is ignored, in files that number colors by their order."""

_FORM = "write a color a line, such as '128 64 128 road'"
_UNKNOWN = 65535
_STRIP = 1 << 20  # pixels at a time


@dataclasses.dataclass(frozen=True)
class Palette:
    """Colors and the class id that each stands for.

    Attributes:
      colors: (red, green, blue) and the id of each color.
      names: of the ids 0..C-1; empty where they are not named.

    Example:
      >>> palette = Palette((((0, 0, 0), 0), ((128, 0, 0), 1)))
      >>> palette.ids(np.asarray([[[128, 0, 0], [0, 0, 0]]], np.uint8), Path("a.png")).tolist()
      [[1, 0]]
    """

    colors: tuple[tuple[tuple[int, ...], int], ...]
    names: tuple[str, ...] = ()

    def __post_init__(self):
        """Raises `InputError` for a color out of range or one that stands for two classes."""
        known: dict[tuple[int, ...], int] = {}
        for color, index in self.colors:
            if len(color) != 3 or not all(0 <= c <= 255 for c in color):
                raise InputError(f"color {color} is none; write three numbers in 0..255")
            if not 0 <= index < _UNKNOWN:
                raise InputError(f"color {color}: its id {index} must be in 0..{_UNKNOWN - 1}")
            if known.setdefault(color, index) != index:
                raise InputError(f"color {color} stands for {known[color]} and {index}; keep one")

    @functools.cached_property
    def table(self) -> Integer[np.ndarray, " codes"]:
        """The id of each color 65536 r + 256 g + b, 65535 where it is none."""
        table = np.full(1 << 24, _UNKNOWN, np.uint16)
        for (red, green, blue), index in self.colors:
            table[red << 16 | green << 8 | blue] = index
        return table

    def ids(self, image: UInt8[np.ndarray, "h w 3"], path: Path) -> np.ndarray:
        """Class ids of an image.

        Args:
          image: red, green and blue of each pixel.
          path: where it comes from, named in errors.

        Returns:
          The ids, uint8 where they fit, else uint16.

        Raises:
          InputError: a color that is not in the palette; the first such pixel is named.
        """
        height, width = image.shape[:2]
        small = all(index < 256 for _, index in self.colors)
        result = np.empty((height, width), np.uint8 if small else np.uint16)
        rows = max(1, _STRIP // max(1, width))
        for top in range(0, height, rows):
            part = image[top : top + rows].astype(np.uint32)
            found = self.table[part[..., 0] << 16 | part[..., 1] << 8 | part[..., 2]]
            if (found == _UNKNOWN).any():
                y, x = np.argwhere(found == _UNKNOWN)[0].tolist()
                color = tuple(image[top + y, x].tolist())
                raise InputError(
                    f"{path}: pixel x={x}, y={top + y} has the color {color}, which stands for no "
                    "class; add it to the colors, or save the map without interpolation and "
                    "without loss"
                )
            result[top : top + rows] = found
        return result


def read_palette(name: str | Path, ignore_label: int = IGNORE_LABEL) -> Palette:
    """Reads colors from a file, or takes those of a known data set.

    A file has a color a line: `R G B name` for the classes 0, 1, ..., or `id R G B name`; spaces or
    commas between; or CSV with a header that names the columns r, g, b (or red, green, blue), name
    and id; or JSON, {"name": [r, g, b]} or a list of {"name", "color", "id"}. Colors called void,
    ignore or unlabeled that have no id stand for what is ignored.

    Args:
      name: file, or name of a data set in `DATASETS`.
      ignore_label: id of what is ignored.

    Returns:
      The palette.

    Raises:
      InputError: no such file, or a line that is no color.

    Example:
      >>> read_palette("cityscapes").names[:2]
      ('road', 'sidewalk')
    """
    path = Path(name)
    if str(name) in DATASETS and not path.exists():
        names, colors = DATASETS[str(name)]
        rows = [(tuple(color), i) for i, color in enumerate(colors.tolist())]
        void = VOID_COLORS.get(str(name), (0, 0, 0))
        return Palette((*rows, (void, ignore_label)), names)
    text = _read_text(path, "colors", _FORM)
    entries = _json_entries(path, text) if text.lstrip()[:1] in ("{", "[") else (
        _text_entries(path, text)
    )  # fmt: skip
    if not entries:
        raise InputError(f"{path}: holds no color; {_FORM}")
    try:
        return _numbered(entries, ignore_label)
    except InputError as error:
        raise InputError(f"{path}: {error}") from None


_Entry = tuple[int | None, tuple[int, ...], str]


def _numbered(entries: Sequence[_Entry], ignore_label: int) -> Palette:
    """Gives classes without an id theirs, by order, and names those that have one."""
    colors, names, following = [], {}, 0
    for index, color, name in entries:
        if index is None:
            ignored = name.lower() in IGNORED_NAMES
            index = ignore_label if ignored else following
            following += not ignored
        colors.append((color, index))
        if index != ignore_label:
            names.setdefault(index, name or str(index))
    complete = sorted(names) == list(range(len(names)))
    return Palette(tuple(colors), tuple(names[i] for i in sorted(names)) if complete else ())


def _read_text(path: Path, what: str, form: str) -> str:
    try:
        check_regular(path)
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        raise InputError(f"{path}: not a text file; {form}") from None
    except OSError as error:
        raise InputError(
            f"{path}: cannot be read ({error.strerror}); give a file of {what}, or one of "
            f"{', '.join(DATASETS)}"
        ) from None


def _text_entries(path: Path, text: str) -> list[_Entry]:
    lines = [line.strip() for line in text.splitlines()]
    lines = [line for line in lines if line and not line.startswith("#")]
    if lines and "," in lines[0] and not re.search(r"\d", lines[0]):
        return _csv_entries(path, lines)
    rows: list[tuple[list[int], str]] = []
    for line in lines:
        # Three numbers and a name, in any order, or an id before them.
        found = re.fullmatch(r"((?:\d+[\s,;]+){2,3}\d+)(?:[\s,;]+(.*))?", line)
        named = re.fullmatch(r"(.*?)[\s,;]+(\d+[\s,;]+\d+[\s,;]+\d+)", line)
        if found:
            numbers, name = found[1], found[2] or ""
        elif named:
            name, numbers = named.groups()
        else:
            raise InputError(f"{path}: {line!r} is no color; {_FORM}")
        rows.append(([int(n) for n in re.findall(r"\d+", numbers)], name.strip(" \t,;\"'")))
    last = _ids_are_last(
        path, [numbers for numbers, name in rows if len(numbers) == 4 and not name]
    )
    entries = []
    for numbers, name in rows:
        index = None
        if len(numbers) == 4:
            index = numbers.pop(-1 if last and not name else 0)
        entries.append((index, tuple(numbers), name))
    return entries


def _ids_are_last(path: Path, rows: Sequence[Sequence[int]]) -> bool:
    """Whether four numbers without a name are a color and its id, rather than id and color."""

    def numbered(column: int) -> bool:
        ids = sorted(row[column] for row in rows if row[column] != IGNORE_LABEL)
        return ids == list(range(len(ids)))

    first, last = numbered(0), numbered(-1)
    if rows and first == last:
        raise InputError(
            f"{path}: {' '.join(map(str, rows[0]))!r} may be an id and a color or a color and an "
            "id; name the columns by a first line id,r,g,b"
        )
    return last


def _csv_entries(path: Path, lines: Sequence[str]) -> list[_Entry]:
    rows = list(csv.DictReader(io.StringIO("\n".join(lines)), skipinitialspace=True))
    entries = []
    for row in rows:
        by = {str(k).strip().lower(): (v or "").strip() for k, v in row.items() if k}
        channels = [by.get(name[0], by.get(name)) for name in ("red", "green", "blue")]
        index = by.get("id", by.get("class_id", by.get("index")))
        try:
            color = tuple(int(c or "") for c in channels)
            entries.append((int(index) if index else None, color, _name_of(by)))
        except ValueError:
            raise InputError(
                f"{path}: {','.join(map(str, row.values()))!r} is no color; name the columns r, g, "
                "b and name"
            ) from None
    return entries


def _name_of(row: dict[str, Any]) -> str:
    return str(next((row[k] for k in ("name", "class", "label", "class_name") if k in row), ""))


def _json_entries(path: Path, text: str) -> list[_Entry]:
    wrong = InputError(
        f'{path}: not colors; write {{"road": [128, 64, 128], ...}} or a list of '
        '{"name": "road", "color": [128, 64, 128], "id": 0}'
    )
    try:
        content = json.loads(text)
        if isinstance(content, dict):
            content = [{"name": name, "color": color} for name, color in content.items()]
        entries = []
        for one in content:
            if isinstance(one, list):
                one = {"color": one}
            color: Any = one.get("color", one.get("rgb"))
            index = one.get("id")
            if not all(isinstance(c, int) for c in (*color, *([] if index is None else [index]))):
                raise wrong
            entries.append((index, tuple(color), _name_of(one)))
    except (json.JSONDecodeError, AttributeError, TypeError, RecursionError):
        raise wrong from None
    return entries


def read_class_names(name: str | Path) -> tuple[str, ...]:
    """Reads names of classes, or takes those of a known data set.

    Args:
      name: file of one name a line, a file of colors that `read_palette` reads, or name of a data
        set in `DATASETS`.

    Returns:
      The names.

    Raises:
      InputError: no such file, or no text.

    Example:
      >>> len(read_class_names("ade20k"))
      150
    """
    path = Path(name)
    if str(name) in DATASETS and not path.exists():
        return DATASETS[str(name)][0]
    text = _read_text(path, "one class name a line", "write one class name a line")
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    if path.suffix.lower() in (".csv", ".json") or _hold_colors(path, text):
        return read_palette(path).names
    return tuple(lines)


def _hold_colors(path: Path, text: str) -> bool:
    try:
        return bool(_text_entries(path, text))
    except InputError:
        return False
