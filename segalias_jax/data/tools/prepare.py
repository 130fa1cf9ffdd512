"""Writes a data set as array_record files, which TFDS reads; images keep their encoded bytes.

    segalias prepare NAME --root DIR --out DIR [--splits train,val]
    segalias prepare NAME --config NAME|FILE [--root DIR] --out DIR

NAME is a data set such as cityscapes or, with a recipe, any name for the set that its section
`data` describes. The set lies in OUT/NAME/1.0.0; recipes read it by --config.data.source=tfds:NAME
--config.data.root=OUT. A call that was stopped resumes when it is repeated; one that finds a
finished set verifies its checksums.
"""

from __future__ import annotations

import argparse
import dataclasses
import functools
import hashlib
import json
import os
import re
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

from array_record.python.array_record_module import ArrayRecordReader, ArrayRecordWriter

from segalias_jax.data.instance_settings import INSTANCE_SOURCES
from segalias_jax.data.pairs import PairSource
from segalias_jax.data.prepared import (
    MANIFEST,
    VERSION,
    file_split,
    import_tfds,
    label_keys,
    read_manifest,
)
from segalias_jax.data.settings import DataSettings, read_settings
from segalias_jax.data.sources import check_source, open_split
from segalias_jax.errors import FlagParser, InputError
from segalias_jax.files import remove_left, write_text
from segalias_jax.progress import progress_bar

# As TFDS names the files of a set: split, then shard of how many.
_FILES = "{DATASET}-{SPLIT}.{FILEFORMAT}-{SHARD_X_OF_Y}"
_OPTIONS = "group_size:1,uncompressed"  # random access; images are compressed already


class _Shard(NamedTuple):
    file: str
    split: str
    indices: range


def prepare(
    name: str,
    data_config: Any,
    out: Path,
    *,
    splits: Sequence[str] = (),
    shard_bytes: int = 2**28,
) -> Path:
    """Writes the splits of a data set, or the part of them that is missing, and verifies them.

    Every file is whole or absent at any time; what is read back is compared with the source.

    Args:
      name: of the set; small letters, digits and underscores.
      data_config: section `data` of a recipe.
      out: folder above all prepared sets.
      splits: names of splits; the recipe's training and evaluation split where not given.
      shard_bytes: size at which the next file is begun.

    Returns:
      The folder of the set.

    Raises:
      InputError: TFDS is not installed, the data cannot be used, the folder holds another set, or
        a file in it is damaged.

    Example:
      >>> prepare("My Set", {"source": "camvid"}, Path("out"))
      Traceback (most recent call last):
      segalias_jax.errors.InputError: name is 'My Set', which is no name for a set; use small \
letters, digits and underscores, beginning with a letter
    """
    if not re.fullmatch("[a-z][a-z0-9_]*", name):
        raise InputError(
            f"name is {name!r}, which is no name for a set; use small letters, digits and "
            "underscores, beginning with a letter"
        )
    given = "" if isinstance(data_config, DataSettings) else data_config.get("source")
    if given in INSTANCE_SOURCES:
        raise InputError(
            f"data.source: {given} holds objects, and prepared sets hold label maps; "
            "train on its files as they are"
        )
    # What is left out while training would be missing from the set for good.
    settings = dataclasses.replace(read_settings(data_config), on_error="stop")
    folder = out / name / VERSION
    import_tfds()
    splits = splits or tuple(dict.fromkeys((settings.train_split, settings.eval_split)))
    sources = {split: _open_files(settings, split) for split in splits}
    manifest = _describe(sources, settings)
    finished = _check_folder(folder, manifest)
    if settings.check and finished is None:
        for source in sources.values():
            check_source(source, threads=settings.threads)
    shards = [
        shard for split in splits for shard in _plan(name, split, manifest["splits"], shard_bytes)
    ]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        remove_left(folder)
        if finished is None:
            _write_manifest(folder, manifest)
        _write_missing(folder, shards, sources, manifest["features"])
        files = _verify(folder, shards, sources, manifest["features"], finished or {})
        _write_metadata(folder, name, shards, files, manifest)
        _write_manifest(folder, manifest | {"files": files})
    except (OSError, RuntimeError) as error:  # the latter from the array_record library
        reason = getattr(error, "strerror", None) or error
        raise InputError(f"out: cannot write to {folder}: {reason}") from None
    return folder


def add_flags(parser: FlagParser) -> None:
    """Adds the flags of `segalias prepare`.

    Example:
      >>> parser = FlagParser("prepare")
      >>> add_flags(parser)
      >>> parser.parse("camvid --root data --out o --splits train,val".split()).splits
      ['train', 'val']
    """
    add = parser.add_argument
    add("name", metavar="NAME", help="of the set; without a recipe, that of its layout too")
    add("--root", type=Path, metavar="DIR", help="folder of the data set (the recipe's data.root)")
    add("--out", type=Path, required=True, metavar="DIR", help="folder above the prepared sets")
    add(
        "--splits",
        type=lambda text: [word for word in text.split(",") if word],
        default=[],
        metavar="NAME,...",
        help="names of the splits (the recipe's training and evaluation split)",
    )


def run(flags: argparse.Namespace) -> int:
    """Writes the data set that the flags name.

    Args:
      flags: of `add_flags`, and the recipe `config` or None.

    Returns:
      The exit status, 0.

    Raises:
      InputError: see `prepare`.
    """
    section = {} if flags.config is None else flags.config.data.to_dict()
    section.setdefault("source", flags.name)
    if flags.root:
        section["root"] = str(flags.root)
    try:
        folder = prepare(flags.name, section, flags.out, splits=flags.splits)
    except KeyboardInterrupt:
        print("stopped; the same command resumes with the next file", file=sys.stderr)
        raise
    print(
        f"{folder} is whole; train with --config.data.source=tfds:{flags.name} "
        f"--config.data.root={flags.out}"
    )
    return 0


def _open_files(settings: DataSettings, split: str) -> PairSource:
    source = open_split(settings, split)
    if not isinstance(source, PairSource):
        raise InputError(
            f"data.source: {settings.source} is not made of files, so it cannot be prepared"
        )
    return source


def _describe(sources: Mapping[str, PairSource], settings: DataSettings) -> dict[str, Any]:
    """All that tells one set from another, and that reading needs besides the bytes."""
    first = next(iter(sources.values()))
    described = {}
    for split, source in sources.items():
        with ThreadPoolExecutor(8) as pool:
            sizes = list(pool.map(source.size, range(len(source))))
            weights = list(pool.map(functools.partial(_bytes, source), range(len(source))))
        described[split] = {
            "rule": dataclasses.asdict(source.rule),
            "exif": source.exif,
            "names": source.names,
            "sizes": sizes,
            "bytes": weights,
        }
    with_region = any(source.pair(0).region for source in sources.values())
    described = {
        "source": settings.source,
        "keys": label_keys(settings),
        "classes": first.classes,
        "palette": first.palette.tolist(),
        "features": ["image", "label", "region"][: 2 + with_region],
        "splits": described,
    }
    return json.loads(json.dumps(described))  # as it will be read


def _bytes(source: PairSource, index: int) -> int:
    image, label, _, region = source.pair(index)
    return sum(path.stat().st_size for path in (image, label, region) if path)


def _check_folder(folder: Path, manifest: Mapping[str, Any]) -> dict[str, Any] | None:
    """Returns the files that a finished set consists of, None where it is not finished."""
    there = read_manifest(folder)
    if there is None:
        # A call that was killed at its first file leaves that one's temporary form.
        left = folder.iterdir() if folder.exists() else ()
        if not all(path.name.startswith(f".{MANIFEST}.") for path in left):
            raise InputError(f"out: {folder} holds something else; give another name or folder")
        return None
    files = there.pop("files", None)
    if there != manifest:
        differing = ", ".join(key for key in manifest if there.get(key) != manifest[key])
        raise InputError(
            f"out: {folder} holds another set (its {differing} differ); "
            "give another name or folder, or delete it"
        )
    return files


def _plan(name: str, split: str, described: Mapping[str, Any], shard_bytes: int) -> list[_Shard]:
    starts, filled = [0], 0
    for index, weight in enumerate(described[split]["bytes"]):
        if filled and filled + weight > shard_bytes:
            starts.append(index)
            filled = 0
        filled += weight
    ends = [*starts[1:], len(described[split]["bytes"])]
    stem, count = f"{name}-{file_split(split)}.array_record", len(starts)
    return [
        _Shard(f"{stem}-{k:05d}-of-{count:05d}", split, range(start, end))
        for k, (start, end) in enumerate(zip(starts, ends, strict=True))
    ]


def _write_missing(
    folder: Path,
    shards: Sequence[_Shard],
    sources: Mapping[str, PairSource],
    features: Sequence[str],
) -> None:
    serialize = _serializer(features)
    missing = [shard for shard in shards if not (folder / shard.file).exists()]
    total = sum(len(shard.indices) for shard in missing)
    with progress_bar("writing", total, delay=0.0, leave=True) as bar:
        for shard in missing:
            # Whole or absent: what a killed call has left is begun anew.
            temporary = folder / f".{shard.file}.tmp"
            writer = ArrayRecordWriter(str(temporary), _OPTIONS)
            for encoded, name in _read(sources[shard.split], shard.indices):
                writer.write(serialize(encoded, name))
                bar.update()
            writer.close()
            os.replace(temporary, folder / shard.file)


def _verify(
    folder: Path,
    shards: Sequence[_Shard],
    sources: Mapping[str, PairSource],
    features: Sequence[str],
    finished: Mapping[str, Any],
) -> dict[str, Any]:
    """Compares every record with the source, and files with the checksums they once had."""
    serialize, files = _serializer(features), {}
    total = sum(len(shard.indices) for shard in shards)
    with progress_bar("verifying", total, delay=0.0, leave=True) as bar:
        for shard in shards:
            path = folder / shard.file
            damaged = InputError(f"{path}: damaged; delete it and repeat the command")
            with path.open("rb") as file:
                checksum = hashlib.file_digest(file, "sha256").hexdigest()
            files[shard.file] = {"bytes": path.stat().st_size, "sha256": checksum}
            if files[shard.file] != finished.get(shard.file, files[shard.file]):
                raise damaged
            try:
                reader = ArrayRecordReader(str(path))
                count = reader.num_records()
            except (RuntimeError, ValueError):
                raise damaged from None
            if count != len(shard.indices):
                raise damaged
            for row, (encoded, name) in enumerate(_read(sources[shard.split], shard.indices)):
                if reader.read([row])[0] != serialize(encoded, name):
                    raise damaged
                bar.update()
            reader.close()
    return files


def _read(source: PairSource, indices: range) -> Iterator[tuple[dict[str, bytes], str]]:
    for index in indices:
        yield source.encoded(index), source.names[index]


def _serializer(features: Sequence[str]) -> Callable[[Mapping[str, bytes], str], bytes]:
    described = _features(features)
    serializer = import_tfds().core.example_serializer.ExampleSerializer(
        described.get_serialized_info()
    )

    def serialize(encoded: Mapping[str, bytes], name: str) -> bytes:
        example = {**dict.fromkeys(features, b""), **encoded, "name": name}
        message = serializer.get_tf_example(described.encode_example(example))
        return message.SerializeToString(deterministic=True)  # in the order of the keys

    return serialize


def _features(names: Sequence[str], label_channels: int = 1) -> Any:
    features = import_tfds().features
    channels = {"image": 3, "label": label_channels, "region": 1}
    images = {key: features.Image(shape=(None, None, channels[key])) for key in names}
    return features.FeaturesDict(images | {"name": features.Text()})


def _write_metadata(
    folder: Path,
    name: str,
    shards: Sequence[_Shard],
    files: Mapping[str, Any],
    manifest: Mapping[str, Any],
) -> None:
    """Lets `tfds.builder_from_directory` read the folder, also without this package."""
    tfds = import_tfds()
    splits = []
    for split in manifest["splits"]:
        mine = [shard for shard in shards if shard.split == split]
        splits.append(
            tfds.core.SplitInfo(
                name=file_split(split),
                shard_lengths=[len(shard.indices) for shard in mine],
                num_bytes=sum(files[shard.file]["bytes"] for shard in mine),
                filename_template=tfds.core.ShardedFileTemplate(
                    data_dir=folder,
                    template=_FILES,
                    dataset_name=name,
                    split=file_split(split),
                    filetype_suffix="array_record",
                ),
            )
        )
    colors = any(split["rule"]["reading"] == "colors" for split in manifest["splits"].values())
    tfds.folder_dataset.write_metadata(
        data_dir=folder,
        features=_features(manifest["features"], 3 if colors else 1),
        split_infos=splits,
        filename_template=_FILES,
        version=VERSION,
        description=f"{manifest['source']}, written by segalias prepare",
        check_data=False,  # which would need TensorFlow; `_verify` has read everything back
    )


def _write_manifest(folder: Path, manifest: Mapping[str, Any]) -> None:
    write_text(folder / MANIFEST, json.dumps(manifest) + "\n")
