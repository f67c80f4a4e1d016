"""The interface by which work that takes long reports its progress: the library calls it, the command line draws."""

from __future__ import annotations

from collections.abc import Mapping
from types import TracebackType
from typing import Protocol, Self


class Bar(Protocol):
    """One bar: a known amount of work, and how much of it is done."""

    def advance(self, steps: int = 1, **facts: float | str) -> None:
        """Report that `steps` more units are done. `facts` (a loss, an accuracy) are shown beside the bar."""

    def draw(self, values: Mapping[str, float]) -> None:
        """Report new values of measurements, by the names that people read. A terminal draws each as a small curve."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


class Progress(Protocol):
    """Shows bars and messages to a user, and reports whether the user asked to stop."""

    def bar(self, name: str, total: int, *, done: int = 0) -> Bar:
        """A new bar for `total` units of work. `done` of these units were finished in an earlier session."""

    def say(self, message: str) -> None:
        """Show one line that the user should read."""

    def stopping(self) -> bool:
        """True after the user asked to stop.

        The caller then saves its state at the next point from which it can go on, and raises Interrupted.
        """


class _Silent:
    def advance(self, steps: int = 1, **facts: float | str) -> None:
        pass

    def draw(self, values: Mapping[str, float]) -> None:
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
        """A bar that shows nothing."""
        return _Silent()

    def say(self, message: str) -> None:
        """Shows nothing."""

    def stopping(self) -> bool:
        """Always False."""
        return False


SILENT: Progress = NoProgress()
"""The default of every `progress` argument. It has no state, so all callers share it."""


def spell_seconds(seconds: float) -> str:
    """`seconds` as text, in the largest unit that suits: `40 s`, `12 min`, `3.5 h`."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
