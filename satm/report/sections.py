"""A document of sections with paragraphs and tables, as Markdown or as one HTML file that loads no other files."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from html import escape
from typing import Any

from satm.report.tables import render, shown

STYLE = """
body { font: 16px/1.45 system-ui, sans-serif; margin: 2rem auto; max-width: 70rem; padding: 0 1rem; color: #222; }
table { border-collapse: collapse; margin: 1rem 0; } th, td { padding: .25rem .6rem; border-bottom: 1px solid #ddd; }
th { text-align: left; border-bottom: 2px solid #888; } td.number { text-align: right; white-space: nowrap; }
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """A heading, paragraphs, and a table if there are columns."""

    title: str
    paragraphs: tuple[str, ...] = ()
    columns: tuple[str, ...] = ()
    rows: tuple[tuple[Any, ...], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """A title, paragraphs and sections."""

    title: str
    paragraphs: tuple[str, ...] = ()
    sections: tuple[Section, ...] = ()


def markdown(page: Page) -> str:
    """The page as Markdown. It ends with a line break."""
    parts = [f"# {shown(page.title)}", *map(shown, page.paragraphs)]
    for section in page.sections:
        parts += [f"## {shown(section.title)}", *map(shown, section.paragraphs)]
        if section.columns:
            parts.append(render(section.columns, section.rows, "markdown"))
    return "\n\n".join(parts) + "\n"


def html(page: Page) -> str:
    """The page as HTML. Every text is escaped."""
    return "\n".join(_html(page)) + "\n"


def _html(page: Page) -> Iterator[str]:
    title = escape(shown(page.title))
    yield f'<!doctype html>\n<html lang="en">\n<head><meta charset="utf-8"><title>{title}</title>'
    yield f"<style>{STYLE}</style></head>\n<body>\n<h1>{title}</h1>"
    yield from _paragraphs(page.paragraphs)
    for section in page.sections:
        yield f"<h2>{escape(shown(section.title))}</h2>"
        yield from _paragraphs(section.paragraphs)
        if section.columns:
            yield "<table>\n<tr>" + "".join(f"<th>{escape(shown(each))}</th>" for each in section.columns) + "</tr>"
            for row in section.rows:
                yield "<tr>" + "".join(map(_cell, row)) + "</tr>"
            yield "</table>"
    yield "</body>\n</html>"


def _paragraphs(texts: tuple[str, ...]) -> Iterator[str]:
    for text in texts:
        yield f"<p>{escape(shown(text))}</p>"


def _cell(value: Any) -> str:
    text = shown(value)
    kind = ' class="number"' if text[:1].isdigit() or text[:1] in "+−" else ""
    return f"<td{kind}>{escape(text)}</td>"
