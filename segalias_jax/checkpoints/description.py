"""What is saved with a checkpoint, as JSON, and whether it is as it was written."""

from __future__ import annotations

import json
import zlib
from pathlib import Path
from typing import Any

from segalias_jax.errors import InputError

METADATA, ITEM = "_CHECKPOINT_METADATA", "default"
"""As the checkpoint library names its description, and the arrays."""

ABOUT = "about_checksum"
"""Key of the description's own checksum."""


class DamagedError(InputError):
    """A checkpoint that lacks a file or holds other bytes than were written.

    Example:
      >>> raise DamagedError(Path("run/checkpoints/20"), ValueError("half a file"))
      Traceback (most recent call last):
      segalias_jax.checkpoints.description.DamagedError: the checkpoint run/checkpoints/20 is \
damaged (half a file); move it away, and another one is taken
    """

    def __init__(self, path: Path, error: Exception):
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        self.path = path
        self.summary = f"the checkpoint {path} is damaged ({reason[:80]})"
        super().__init__(f"{self.summary}; move it away, and another one is taken")


def read_description(path: Path) -> dict[str, Any]:
    """Reads what was saved with the checkpoint in a folder.

    Args:
      path: of the checkpoint.

    Returns:
      It, without its own checksum.

    Raises:
      DamagedError: it is missing or unreadable, or its bytes are others.

    Example:
      >>> read_description(Path("run/checkpoints/20"))
      Traceback (most recent call last):
      segalias_jax.checkpoints.description.DamagedError: the checkpoint run/checkpoints/20 is \
damaged ([Errno 2] No such file or directory: 'run/checkpoints/20/_CHECKPOINT_METADATA'); move it \
away, and another one is taken
    """
    try:
        content = json.loads((path / METADATA).read_text())
        about = dict(content["custom_metadata"])
        for key in ("init_timestamp_nsecs", "commit_timestamp_nsecs"):
            int(content[key])
        for key in ("item_handlers", "metrics", "performance_metrics"):
            content[key].items()
        if ITEM not in content["item_handlers"]:
            raise ValueError("it does not say what it holds")
        wanted = about.pop(ABOUT, None)  # of checkpoints before version 0.1 there is none
        if wanted is not None and digest(about) != wanted:
            raise ValueError("the checksum of its description differs")
        return about
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        raise DamagedError(path, error) from None


def digest(content: Any) -> int:
    """Returns a checksum of what JSON can hold.

    Args:
      content: in any order of its keys.

    Example:
      >>> digest({"a": 1, "b": 2}) == digest({"b": 2, "a": 1})
      True
    """
    return zlib.crc32(json.dumps(content, sort_keys=True, default=str).encode())
