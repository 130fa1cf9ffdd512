"""Fetches one file over HTTP: resumed, tried again, checked, and there as a whole or not at all.

Of the standard library alone, which honors the proxies of the environment (`https_proxy`,
`no_proxy`). `SEGALIAS_OFFLINE=1` forbids all of it. `SEGALIAS_MIRRORS` replaces beginnings of
addresses: pairs FROM=TO between blanks, such as
"https://huggingface.co=https://mirror.example/hub".
"""

from __future__ import annotations

import http.client
import os
import re
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

from segalias_jax.errors import InputError
from segalias_jax.progress import progress_bar
from segalias_jax.torch_weights.files import sha256 as sha256_of

OFFLINE = "SEGALIAS_OFFLINE"
MIRRORS = "SEGALIAS_MIRRORS"
PART = ".part"

TIMEOUT = 30.0
"""Seconds of silence after which a connection counts as broken."""

WAITS = (1.0, 2.0, 4.0, 8.0)
"""Seconds before each new try; bytes that came in between begin the row anew."""

_BLOCK = 1 << 18
_TRY_AGAIN = {408, 425, 429}
_STATED = re.compile(r'^(W/)?"?([0-9a-f]{64})"?$')


class _Broken(Exception):
    """What a new try may help against."""


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Follows redirects, never out of https, and keeps the hash that the first answer states.

    The Hugging Face hub states the SHA-256 of a file where it hands over to the server that has it.
    """

    stated = ""

    def redirect_request(
        self, req: urllib.request.Request, fp: Any, code: int, msg: str, headers: Any, newurl: str
    ) -> urllib.request.Request | None:
        """Returns the request that a redirect asks for."""
        self.stated = self.stated or _stated(headers)
        if req.full_url.startswith("https:") and not newurl.startswith("https:"):
            raise InputError(
                f"{req.full_url} leads to {newurl}, where anybody on the way could change it; "
                "nothing was fetched"
            )
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def fetch(address: str, path: Path, *, sha256: str = "") -> str:
    """Fetches a file.

    What came of it before stays in `path`.part and is resumed if `sha256` can tell whether the
    parts belong together; without it, each try begins anew.

    Args:
      address: of the file, before `SEGALIAS_MIRRORS`.
      path: where it goes; its folder is made.
      sha256: its digits as far as they are known, from the first one on. Without, those that the
        server states (header X-Linked-Etag of the Hugging Face hub) are taken, if it does.

    Returns:
      The file's SHA-256.

    Raises:
      InputError: offline, no such file, a server that fails again and again, or another hash; then
        nothing is left of it.

    Example:
      >>> os.environ[OFFLINE] = "1"
      >>> fetch("https://example.com/a.pth", Path("a.pth"))
      Traceback (most recent call last):
      segalias_jax.errors.InputError: https://example.com/a.pth is not fetched, since \
SEGALIAS_OFFLINE is set; fetch it elsewhere and put it at a.pth
      >>> del os.environ[OFFLINE]
    """
    if os.environ.get(OFFLINE, "") not in ("", "0"):
        raise InputError(
            f"{address} is not fetched, since {OFFLINE} is set; fetch it elsewhere and put it at "
            f"{path}"
        )
    source = mirrored(address)
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + PART)
    most, failures = _size(part), 0
    while True:
        if not sha256:
            part.unlink(missing_ok=True)
        try:
            expected = _receive(source, part)
            break
        except _Broken as error:
            failures = 0 if _size(part) > most else failures + 1
            most = max(most, _size(part))
            if failures > len(WAITS):
                raise InputError(
                    f"{source} cannot be fetched ({error}); look at the network and its proxies, "
                    f"then run the same command again, or put the file at {path}"
                ) from None
            time.sleep(WAITS[max(failures - 1, 0)])
    found, expected = sha256_of(part), sha256 or expected
    if not found.startswith(expected):
        part.unlink()
        raise InputError(
            f"{source} is another file than it should be, and was removed: its sha256 is {found}, "
            f"not {expected}; fetch it again, or look at {MIRRORS} and proxies"
        )
    os.replace(part, path)
    return found


def mirrored(address: str) -> str:
    """Returns the address at which a file is asked for, by `SEGALIAS_MIRRORS`.

    Args:
      address: as published.

    Returns:
      The first that replaces its beginning, or itself.

    Raises:
      InputError: a pair that is none of two addresses.

    Example:
      >>> os.environ[MIRRORS] = "https://huggingface.co=http://127.0.0.1:8000/hub"
      >>> mirrored("https://huggingface.co/a/b"), mirrored("https://example.com/a")
      ('http://127.0.0.1:8000/hub/a/b', 'https://example.com/a')
      >>> del os.environ[MIRRORS]
    """
    for pair in os.environ.get(MIRRORS, "").split():
        original, _, mirror = pair.partition("=")
        if not all(re.match(r"https?://\w", end) for end in (original, mirror)):
            raise InputError(
                f"{MIRRORS}: {pair!r} is no pair FROM=TO of addresses; write it as "
                "https://huggingface.co=https://mirror.example/hub"
            )
        if address.startswith(original):
            return mirror + address.removeprefix(original)
    return address


def _receive(address: str, part: Path) -> str:
    """Adds to `part` what it lacks; returns the SHA-256 that the server states, or ""."""
    start, redirects = _size(part), _Redirects()
    request = urllib.request.Request(address, headers={"User-Agent": "segalias_jax"})
    if start:
        request.add_header("Range", f"bytes={start}-")
    try:
        with urllib.request.build_opener(redirects).open(request, timeout=TIMEOUT) as response:
            _write(response, part, start)
            return redirects.stated or _stated(response.headers)
    except urllib.error.HTTPError as error:
        if error.code == 416:  # there is nothing behind what we have: it is another file's part
            part.unlink(missing_ok=True)
        elif error.code not in _TRY_AGAIN and error.code < 500:
            login = "; it asks for a login" if error.code in (401, 403) else ""
            raise InputError(
                f"{address} is not there ({error.code} {error.reason}{login}); look at the name"
            ) from None
        raise _Broken(f"{error.code} {error.reason}") from None
    except urllib.error.URLError as error:
        raise _Broken(str(error.reason)) from None
    except (http.client.HTTPException, ConnectionError, TimeoutError) as error:
        raise _Broken(str(error) or type(error).__name__) from None


def _write(response: Any, part: Path, start: int) -> None:
    range_given = response.headers.get("Content-Range", "")
    if response.status != 206 or not range_given.startswith(f"bytes {start}-"):
        start = 0  # a server that knows no ranges sends all of it
    length = response.headers.get("Content-Length")
    total = start + int(length) if length else None
    bar = progress_bar(f"fetching {part.stem}", total, unit="B", start=start)
    with part.open("ab" if start else "wb") as file, bar:
        # What has come, as it comes: a read of a fixed size would lose it when the line breaks.
        while block := response.read1(_BLOCK):
            file.write(block)
            bar.update(len(block))
    if total is not None and _size(part) != total:
        raise _Broken(f"the connection ended after {_size(part)} of {total} bytes")


def _stated(headers: Any) -> str:
    match = _STATED.match(headers.get("X-Linked-Etag", "") if headers else "")
    return match[2] if match else ""


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0
