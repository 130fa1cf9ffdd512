"""Where the files of each data set lie, and what its label values mean: one table."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from types import MappingProxyType

from segalias_jax.data import classes
from segalias_jax.data.labels import (
    LabelRule,
    identity_lookup,
    mapped_lookup,
    threshold_lookup,
)


@dataclasses.dataclass(frozen=True)
class Files:
    """Where a split's files lie below the root of a data set.

    In a path, `{split}` stands for the split, `{name}` for what image and label have in common,
    and `*` for anything but a slash.

    Args:
      images: path of an image.
      labels: paths of its label; the first that exists counts.
      rule: what stored label values mean.
      names: path of the list of names, one a line, or of a CSV file; "" takes all images there are.
      regions: path of the field of view; "" for none.

    Example:
      >>> Files("{name}.jpg", ("{name}.png",), LabelRule(2)).regions
      ''
    """

    images: str
    labels: tuple[str, ...]
    rule: LabelRule
    names: str = ""
    regions: str = ""


@dataclasses.dataclass(frozen=True)
class Layout:
    """A data set as its authors, or those who pass it on, lay it out.

    Args:
      classes: their names and colors.
      files: kinds of trees it comes in; of those with a label for every image, the first counts.
      splits: names of its splits, as the files have them.
      ignored: what is ignored, in words.

    Example:
      >>> LAYOUTS["ade20k"].splits
      ('training', 'validation')
    """

    classes: classes.Classes
    files: tuple[Files, ...]
    splits: tuple[str, ...]
    ignored: str


def _ids(num_classes: int, *ignored: int) -> LabelRule:
    return LabelRule(num_classes, identity_lookup(num_classes, ignored=ignored))


def _mapped(stored: tuple[int, ...], ignored: range = range(0)) -> LabelRule:
    pairs = zip(stored, range(len(stored)), strict=True)
    return LabelRule(len(stored), mapped_lookup(pairs, ignored=ignored))


_MASK = LabelRule(2, threshold_lookup(127), "gray")
# Reflectivity of 40 dBZ and more; image and label are one file, of whose palette this is the index.
_STRONG = LabelRule(2, threshold_lookup(39))
_INVERTED_MASK = LabelRule(2, threshold_lookup(127, inverted=True), "gray")

LAYOUTS: Mapping[str, Layout] = MappingProxyType(
    {
        "camvid": Layout(
            classes.CAMVID,
            (
                Files(
                    "images/{split}/{name}.jpg",
                    ("labels/{split}/{name}.png",),
                    _ids(11, 11),
                    names="{split}.txt",
                ),
                Files("{split}/{name}.png", ("{split}annot/{name}.png",), _ids(11, 11)),
            ),
            ("train", "val", "test"),
            "11 (void)",
        ),
        "cityscapes": Layout(
            classes.CITYSCAPES,
            tuple(
                Files(
                    "leftImg8bit/{split}/*/{name}_leftImg8bit.png",
                    ("gtFine/{split}/*/{name}_gtFine_" + f"{kind}.png",),
                    rule,
                )
                for kind, rule in (
                    ("labelTrainIds", _ids(19)),
                    ("labelIds", _mapped(classes.CITYSCAPES_IDS, range(34))),
                )
            ),
            ("train", "val", "test"),
            "all other ids",
        ),
        "voc2012": Layout(
            classes.VOC,
            (
                Files(
                    "JPEGImages/{name}.jpg",
                    ("SegmentationClass/{name}.png", "SegmentationClassAug/{name}.png"),
                    _ids(21),
                    names="ImageSets/Segmentation/{split}.txt",
                ),
            ),
            ("train", "val", "trainval", "train_aug"),
            "255 (contours)",
        ),
        "ade20k": Layout(
            classes.ADE20K,
            (
                Files(
                    "images/{split}/{name}.jpg",
                    ("annotations/{split}/{name}.png",),
                    _mapped(tuple(range(1, 151)), range(1)),
                ),
            ),
            ("training", "validation"),
            "0 (other); k + 1 is class k",
        ),
        "coco_stuff": Layout(
            classes.COCO_STUFF,
            (
                Files(
                    "images/{split}/{name}.jpg",
                    ("annotations/{split}/{name}_labelTrainIds.png",),
                    _ids(171),
                ),
                Files(
                    "images/{split}/{name}.jpg",
                    ("annotations/{split}/{name}.png",),
                    _mapped(tuple(k - 1 for k in classes.COCO_STUFF_IDS)),
                ),
            ),
            ("train2017", "val2017"),
            "255 (unlabeled)",
        ),
        "kvasir_seg": Layout(
            classes.POLYPS,
            (
                Files("images/{name}.jpg", ("masks/{name}.jpg",), _MASK, names="{split}.txt"),
                Files(
                    "images/{split}/{name}.*",
                    ("labels/{split}/{name}.*",),
                    _ids(2),
                    names="{split}.txt",
                ),
            ),
            ("train", "val", "test"),
            "-",
        ),
        "cvc_clinicdb": Layout(
            classes.POLYPS,
            tuple(
                Files(
                    f"{folder}Original/" + "{name}.*",
                    (f"{folder}Ground Truth/" + "{name}.*",),
                    _MASK,
                    names="{split}.txt",
                )
                for folder in ("", "PNG/", "TIF/")
            ),
            ("train", "val", "test"),
            "-",
        ),
        "membrane": Layout(
            classes.CELLS,
            (
                Files(
                    "{split}/image/{name}.png",
                    ("{split}/label/{name}.png",),
                    _INVERTED_MASK,
                ),
                Files(
                    "images/*/{name}.png", ("labels/*/{name}.png",), _ids(2), names="{split}.txt"
                ),
            ),
            ("train", "val"),
            "-",
        ),
        "crackforest": Layout(
            classes.CRACKS,
            (Files("images/{name}.jpg", ("labels/{name}.png",), _ids(2), names="{split}.txt"),),
            ("train", "val", "test"),
            "255 (faint strokes)",
        ),
        "drive": Layout(
            classes.VESSELS,
            (
                Files(
                    "{split}/images/{name}_{split}.tif",
                    ("{split}/1st_manual/{name}_manual1.gif",),
                    _MASK,
                    regions="{split}/mask/{name}_{split}_mask.gif",
                ),
            ),
            ("training", "test"),
            "outside the field of view",
        ),
        "svrimg": Layout(
            classes.RADAR,
            (Files("tor/*/*/{name}.png", ("tor/*/*/{name}.png",), _STRONG, names="{split}.txt"),),
            ("train", "val", "test"),
            "-",
        ),
    }
)
"""Every data set of files by its name in a recipe."""


def describe_layouts() -> str:
    """Writes the table of `docs/datasets.md`.

    Returns:
      Markdown, a row for each data set.

    Example:
      >>> describe_layouts().splitlines()[0]
      '| data.source | classes | splits | files under data.root | ignored |'
    """
    rows = [
        "| data.source | classes | splits | files under data.root | ignored |",
        "|---|---|---|---|---|",
    ]
    for name, layout in LAYOUTS.items():
        trees = "<br>or ".join(map(_describe_files, layout.files))
        splits = ", ".join(layout.splits)
        rows.append(
            f"| `{name}` | {len(layout.classes[0])} | {splits} | {trees} | {layout.ignored} |"
        )
    return "\n".join(rows)


def _describe_files(files: Files) -> str:
    paths = [files.images, *files.labels, *filter(None, [files.regions, files.names])]
    return ", ".join(f"`{path}`" for path in paths)
