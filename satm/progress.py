"""How long work reports itself. The library talks to this protocol; the command line draws the bars."""

from __future__ import annotations

from types import TracebackType
from typing import Protocol, Self


class Bar(Protocol):
    """One bar: a known amount of work, some of it done."""

    def advance(self, steps: int = 1, **facts: float | str) -> None:
        """`steps` more units are done; `facts` are shown beside the bar (a loss, an accuracy)."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


class Progress(Protocol):
    """Where long work announces itself and learns that it should stop."""

    def bar(self, name: str, total: int, *, done: int = 0) -> Bar:
        """A new bar of `total` units of which `done` were finished in an earlier session."""

    def say(self, message: str) -> None:
        """One line the user should read."""

    def stopping(self) -> bool:
        """True once the user asked to stop: save at the next boundary and raise Interrupted."""


class _Silent:
    def advance(self, steps: int = 1, **facts: float | str) -> None:
        pass

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        pass


class NoProgress:
    """Shows nothing and never asks to stop: the default of every library function."""

    def bar(self, name: str, total: int, *, done: int = 0) -> Bar:
        """A bar nobody sees."""
        return _Silent()

    def say(self, message: str) -> None:
        """Say nothing."""

    def stopping(self) -> bool:
        """Never."""
        return False


SILENT: Progress = NoProgress()
"""The default of every `progress` argument; it has no state."""


def spell_seconds(seconds: float) -> str:
    """`40 s`, `12 min`, `3.5 h`."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
