"""Rows as text, one row after another, for more rows than fit in memory."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from satm.errors import ConfigError
from satm.report.tables import render


def render_parts(columns: Sequence[str], rows: Iterable[Sequence[Any]], form: str) -> Iterator[str]:
    """The text that `render` returns for the format `form` (`csv`, `json` or `markdown`), in parts.

    The caller writes a line break between the parts. Each part is one row, after a first part with the head of the
    table, or the opening bracket of `json`. Raises ConfigError for `json` if two columns have the same name.
    """
    if form == "json":
        yield from _json_parts(columns, rows)
        return
    head = render(columns, [], form)
    yield head
    for row in rows:
        yield render(columns, [row], form)[len(head) + 1 :]


def _json_parts(columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> Iterator[str]:
    if twice := sorted({name for name in columns if list(columns).count(name) > 1}):
        raise ConfigError(f"two columns are called {twice[0]}, and JSON keeps one of them; name them apart with AS")
    before = None  # the row before `row`, not yielded yet: a comma follows it only if there is a further row
    for row in rows:
        yield "[" if before is None else f"{before},"
        before = render(columns, [row], "json").removeprefix("[\n").removesuffix("\n]")
    yield "[]" if before is None else f"{before}\n]"
