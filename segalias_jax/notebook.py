"""How reports show themselves in notebooks: their `table()` as HTML."""

from __future__ import annotations

import html
import itertools


class ShownInNotebooks:
    """Base of everything with a `table()`: the last line of a notebook's cell shows it as HTML."""

    def table(self) -> str:
        """Returns the table as text."""
        raise NotImplementedError

    def _repr_html_(self) -> str:
        return text_as_html(self.table())


def text_as_html(text: str) -> str:
    """Writes text with Markdown tables in it as HTML; what is no table keeps its line breaks.

    Args:
      text: lines, of which those that begin with "|" are rows of tables, the header first.

    Returns:
      HTML without a style of its own, so that it follows the notebook's.

    Example:
      >>> text_as_html("| a | b |")
      '<table><tr><th>a</th><th>b</th></tr></table>'
      >>> text_as_html("1 < 2")
      '<pre>1 &lt; 2</pre>'
    """
    parts = []
    for is_table, lines in itertools.groupby(text.splitlines(), lambda line: line[:1] == "|"):
        escaped = [html.escape(line) for line in lines]
        if is_table:
            parts.append(_table(escaped))
        elif any(line.strip() for line in escaped):
            parts.append("<pre>" + "\n".join(escaped).strip("\n") + "</pre>")
    return "".join(parts)


def _table(lines: list[str]) -> str:
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    # The second line of a Markdown table is dashes and colons.
    rows = [row for i, row in enumerate(rows) if i != 1 or set("".join(row)) - set("-:")]
    kinds = ("th", *["td"] * (len(rows) - 1))
    written = [
        "<tr>" + "".join(f"<{kind}>{cell}</{kind}>" for cell in row) + "</tr>"
        for kind, row in zip(kinds, rows, strict=True)
    ]
    return "<table>" + "".join(written) + "</table>"
