"""Renders the web page of a report as one HTML file that holds everything; only the page's own script can run in it."""

from __future__ import annotations

import base64
import hashlib
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from satm.report.page.model import Card, Figure, Page, Picture, Table

if TYPE_CHECKING:
    from jinja2 import Template

HERE = Path(__file__).parent
KINDS = {Table: "table", Figure: "figure", Picture: "picture", Card: "card"}


def render_page(page: Page) -> str:
    """The page as one HTML text.

    The template escapes all texts. The head of the page has a content security policy: the browser runs only the script
    with the given hash, which is the page's own script, and loads nothing from elsewhere.
    """
    parts = ["page.js", *(["page.again.js"] if page.refresh else [])]
    script = "".join((HERE / part).read_text(encoding="utf-8") for part in parts)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return _template().render(
        page=page,
        style=_markup((HERE / "page.css").read_text(encoding="utf-8")),
        script=_markup(script),
        digest=digest,
        kind=lambda block: KINDS[type(block)],
        markup=_markup,
        zip=zip,
        encoded=lambda data: base64.b64encode(data).decode(),
    )


@cache
def _template() -> Template:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(HERE),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=StrictUndefined,
    )
    return environment.get_template("page.html.jinja")


def _markup(text: str) -> Any:
    """`text` as HTML that the template does not escape. Used only for our own style, script and SVG."""
    from markupsafe import Markup

    return Markup(text)
