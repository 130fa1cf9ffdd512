"""The interactive parts of both pages: the table of images, and the window that shows one."""

from __future__ import annotations

import collections
import json
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from segalias_jax.scoring.reports import page

_SIZES = 60  # entries of the list of sizes
_LAYERS = ("image", "truth", "prediction", "causes")


def images_section(
    table: Mapping[str, Any],
    classes: Sequence[str],
    *,
    pictures: int,
    left: int,
) -> str:
    """Writes the frame of the table of all images; the script fills it.

    Args:
      table: of `payload.image_table`; "of" in it says what causes are fractions of.
      classes: names of the classes.
      pictures: number of images that the page embeds.
      left: number of images that are not in the table.

    Returns:
      The piece.

    Example:
      >>> table = {"names": ["a"], "sizes": [[2, 3]], "columns": [], "classes": [[0]]}
      >>> 'id="image-rows"' in images_section(table, ["sky"], pictures=1, left=0)
      True
    """
    of = table.get("of", "pixels")
    rest = f" The table lists the {len(table['names'])} worst; {left} more are in the files beside "
    note = f"{pictures} of these images are in this page: select the name of one to look at it. "
    if any(column["kind"] == "cause" for column in table["columns"]):
        note += f"Causes are in per cent of all {of} of an image."
    return page.section(
        "All images",
        page.paragraph(note + (rest + "the page." if left else "")),
        _filters(table, classes),
        '<div class="scroll" tabindex="0" role="region" aria-label="all images"><table>'
        '<thead><tr id="image-head"></tr></thead><tbody id="image-rows"></tbody></table></div>',
        '<div class="pages"><button type="button" id="page-before">Previous</button>'
        '<span id="page-number" aria-live="polite"></span>'
        '<button type="button" id="page-after">Next</button>'
        '<label>Rows <select id="page-size"><option>15</option><option>50</option>'
        "<option>200</option></select></label></div>",
        "<noscript><p>This table needs JavaScript; per_image.csv has the numbers.</p></noscript>",
        name="images",
    )


def _filters(table: Mapping[str, Any], classes: Sequence[str]) -> str:
    columns, of = list(enumerate(table["columns"])), table.get("of", "pixels")
    scores = [(str(k), c["title"]) for k, c in columns if c["kind"] == "score"]
    causes = [c["title"] for _, c in columns if c["kind"] == "cause"]
    sizes = collections.Counter((h, w) for h, w in table["sizes"])
    present = sorted({c for ids in table["classes"] for c in ids if c < len(classes)})
    fields = [
        '<label class="wide">Name contains<input type="text" id="filter-name" autocomplete="off">'
        "</label>",
        _choice("class", "Has class", [("", "any"), *[(str(c), str(classes[c])) for c in present]]),
    ]
    if causes:
        of_cause = [("", "any"), *((str(k), title) for k, title in enumerate(causes))]
        fields.append(_choice("cause", "Largest cause", [*of_cause, ("-1", f"no wrong {of[:-1]}")]))
    of_size = [
        (f"{h}x{w}", f"{w} \N{MULTIPLICATION SIGN} {h} ({n})")
        for (h, w), n in sizes.most_common(_SIZES)
    ]
    if len(sizes) > 1:
        fields.append(_choice("size", "Size", [("", "any"), *of_size]))
    fields += [
        '<div class="field" role="group" aria-label="score in a range">Score between'
        f'<span class="range">{_select("score", scores, "which score")}'
        '<input type="number" id="filter-low" min="0" max="100" step="any" aria-label="at least">'
        'and<input type="number" id="filter-high" min="0" max="100" step="any" '
        'aria-label="at most"></span></div>',
        '<label class="check"><input type="checkbox" id="filter-pictured">With a picture</label>',
    ]
    if not all(c["main"] for _, c in columns):
        fields.append(
            '<label class="check"><input type="checkbox" id="all-scores">All scores</label>'
        )
    fields.append('<button type="button" id="filter-reset">Reset</button>')
    fields.append('<output id="image-count" class="check" aria-live="polite"></output>')
    return f'<div class="filters" role="search">{"".join(fields)}</div>'


def _select(name: str, options: Sequence[tuple[str, str]], label: str = "") -> str:
    entries = "".join(f'<option value="{escape(v)}">{escape(t)}</option>' for v, t in options)
    about = f' aria-label="{escape(label)}"' if label else ""
    return f'<select id="filter-{name}"{about}>{entries}</select>'


def _choice(name: str, title: str, options: Sequence[tuple[str, str]]) -> str:
    return f"<label>{escape(title)}{_select(name, options)}</label>"


def shows(text: str, **filters: str) -> str:
    """Writes a button that shows the images of a class or a cause in the table.

    Args:
      text: on the button.
      **filters: values of the table's filters.

    Returns:
      The piece.

    Example:
      >>> shows("sky", size="2x3").endswith('{&quot;size&quot;: &quot;2x3&quot;}">sky</button>')
      True
    """
    wanted = escape(json.dumps(filters))
    return f'<button type="button" class="plain" data-show="{wanted}">{escape(text)}</button>'


def layers(
    picture: Mapping[str, Any], name: str, title: str, *, model: int = 0
) -> list[tuple[str, str]]:
    """Writes the four views of an embedded image, with ids for the script to find them by.

    Args:
      picture: of the page's data.
      name: start of the ids.
      title: of the image.
      model: whose prediction it is.

    Returns:
      (view, piece); without "image" where there is none.

    Example:
      >>> maps = {"prediction": "data:b", "causes": "data:c"}
      >>> [view for view, _ in layers({"truth": "data:a", "models": [maps]}, "t0", "a.png")]
      ['truth', 'prediction', 'causes']
    """
    sources = {k: picture[k] for k in ("image", "truth") if picture.get(k)}
    sources |= {k: picture["models"][model][k] for k in ("prediction", "causes")}
    pieces = []
    for view in _LAYERS:
        if view not in sources:
            continue
        under = f'<img class="base" alt="" data-src="#{name}-image">' if view == "causes" else ""
        over = ' class="over"' if view == "causes" else ""
        alt = escape(f"{view} of {title}")
        pieces.append(
            (
                view,
                f'<span class="layer">{under}<img{over} id="{name}-{view}" alt="{alt}" '
                f'src="{sources[view]}"></span>',
            )
        )
    return pieces


def viewer(
    classes: Sequence[tuple[str, str]], causes: Sequence[tuple[str, str]], *, several: bool
) -> str:
    """Writes the window that shows an image.

    Args:
      classes: (name, color) of each.
      causes: the same of the causes.
      several: whether there are several models, side by side.

    Returns:
      The piece.

    Example:
      >>> viewer([("sky", "#abc")], [], several=False).startswith("<dialog")
      True
    """
    names = [*_LAYERS] if several else [*_LAYERS, "all"]
    toggles = "".join(
        f'<button type="button" data-layer="{name}" data-key="{k}" aria-pressed="false">'
        f"<kbd>{k}</kbd>{name}</button>"
        for k, name in enumerate(names, start=1)
    )
    ignored = ("ignored", "hatch")
    keys = page.legend([*causes, ignored]).replace("<ul", '<ul data-legend="causes"', 1)
    if len(classes) <= 40:
        keys += page.legend([*classes, ignored]).replace("<ul", '<ul data-legend="classes"', 1)
    return (
        '<dialog id="viewer" aria-labelledby="viewer-title"><div class="row">'
        '<h2 id="viewer-title" aria-live="polite"></h2>'
        '<button type="button" id="viewer-before" aria-label="previous image">&#8592;</button>'
        '<button type="button" id="viewer-after" aria-label="next image">&#8594;</button>'
        '<button type="button" id="viewer-close">Close</button></div>'
        f'<div class="row"><div class="row" role="group" aria-label="what is shown">{toggles}</div>'
        '<span class="gap"></span><div class="row" role="group" aria-label="zoom">'
        '<button type="button" id="viewer-smaller" aria-label="smaller">&#8722;</button>'
        '<output id="viewer-zoom">100 %</output>'
        '<button type="button" id="viewer-larger" aria-label="larger">+</button>'
        '<button type="button" id="viewer-whole">Fit</button></div></div>'
        '<div class="panes" id="panes"></div>'
        f'<div class="foot"><p id="viewer-scores"></p><p id="viewer-remark"></p>{keys}'
        '<p class="at" id="viewer-at" aria-live="off"></p>'
        f'<p class="help">Keys: 1 to {len(names)} what is shown, &#8592; &#8594; other images in '
        "the order of the table, + &#8722; 0 or wheel zoom, shift and arrows or drag move, Esc "
        "close."
        "</p></div></dialog>"
    )
