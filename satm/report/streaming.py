"""Rows as text, one after another: for more rows than fit in memory."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from satm.errors import ConfigError
from satm.report.tables import render


def render_parts(columns: Sequence[str], rows: Iterable[Sequence[Any]], form: str) -> Iterator[str]:
    """What `render` returns for `csv`, `json` or `markdown`, in parts with a line break between them: one a row."""
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
    before = None  # a row is written when it is known whether a comma follows
    for row in rows:
        yield "[" if before is None else f"{before},"
        before = render(columns, [row], "json").removeprefix("[\n").removesuffix("\n]")
    yield "[]" if before is None else f"{before}\n]"
