"""Rows as text, one row after another, for more rows than fit in memory."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from satm.errors import ConfigError
from satm.report.tables import render


def render_parts(columns: Sequence[str], rows: Iterable[Sequence[Any]], form: str) -> Iterator[str]:
    """The text that `render` returns for `csv`, `json` or `markdown`, as one part for each row.

    The caller writes a line break between the parts. For `csv` and `markdown` the first part is the head. Raises
    ConfigError for `json` if two columns have the same name.
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
    before = None  # the row before `row`: it is yielded as soon as it is known whether a comma follows it
    for row in rows:
        yield "[" if before is None else f"{before},"
        before = render(columns, [row], "json").removeprefix("[\n").removesuffix("\n]")
    yield "[]" if before is None else f"{before}\n]"
