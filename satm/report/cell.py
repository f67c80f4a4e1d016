"""HTML of single cells of a table, for the pages of Datasette (`satm serve`). Every text is escaped."""

from __future__ import annotations

import textwrap

from markupsafe import Markup


def picture_cell(address: str, set_id: str) -> Markup:
    """A cell with the picture at the URL `address`, and the first 12 digits of the set's id below it.

    Browsers load the picture when it comes into view.
    """
    return Markup(
        '<a href="{0}"><img src="{0}" alt="Images of set {1}" loading="lazy" '
        'style="max-width: 320px; max-height: 320px"></a><br>{1}'
    ).format(address, set_id[:12])


def no_picture(problem: str) -> str:
    """An SVG picture that shows the text `problem`, in place of images that cannot be shown."""
    lines = textwrap.wrap(problem, 48)
    shown = Markup("").join(
        Markup('<text x="0" y="{}">{}</text>').format(16 * k, line) for k, line in enumerate(lines, 1)
    )
    head = '<svg xmlns="http://www.w3.org/2000/svg" width="320" height="{}" font-family="sans-serif" font-size="12">'
    return str(Markup(head).format(16 * len(lines) + 8) + shown + Markup("</svg>"))
