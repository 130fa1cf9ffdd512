"""Docstrings as this package writes them, for the API reference: an extension of griffe."""

from __future__ import annotations

import re
from typing import Any

import griffe


class Sections(griffe.Extension):
    """Makes examples code: griffe knows the section "Examples" alone."""

    def on_object(self, *, obj: griffe.Object, **others: Any) -> None:
        """Renames the section of an object's docstring."""
        if obj.docstring is not None:
            text = re.sub(r"^( *)Example:$", r"\1Examples:", obj.docstring.value, flags=re.M)
            obj.docstring.value = text
