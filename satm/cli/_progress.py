"""Shows progress: bars on a terminal, or a line every half minute if there is no terminal."""

from __future__ import annotations

import sys
import time
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    Task,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from satm.printable import printable
from satm.progress import spell_seconds

LINE_SECONDS = 30.0  # between lines, if bars cannot be drawn


class _Rate(TextColumn):
    """Units a second, or seconds a unit."""

    def __init__(self) -> None:
        super().__init__("")

    def render(self, task: Task) -> Text:
        return Text(_spell_rate(task.speed), style="dim")


class TerminalProgress:
    """Bars on stderr, so that the output of a command can be piped."""

    def __init__(self) -> None:
        self.console = Console(stderr=True, soft_wrap=True, highlight=False)
        self._bars = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            _Rate(),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            TextColumn("{task.fields[facts]}", markup=False),
            console=self.console,
            disable=not self.console.is_terminal,
            transient=True,
        )
        self._stopping = False

    def bar(self, name: str, total: int, *, done: int = 0) -> TerminalBar:
        """A new bar."""
        return TerminalBar(self, name, total, done)

    def say(self, message: str) -> None:
        """One line on stderr."""
        self.console.print(printable(message), markup=False)

    def stopping(self) -> bool:
        """Whether a signal has asked the work to stop."""
        return self._stopping

    def stop(self, message: str) -> None:
        """Ask the work to stop."""
        self._stopping = True
        self.say(message)

    def __enter__(self) -> Self:
        self._bars.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bars.stop()


class TerminalBar:
    """One bar on a terminal, else one line every half minute."""

    def __init__(self, progress: TerminalProgress, name: str, total: int, done: int) -> None:
        self._progress, self._bars, self._name, self._total = progress, progress._bars, printable(name), total
        self._done = done
        self._spoke = time.monotonic()
        self._clock: tuple[float, int] | None = None  # when the first unit was done, and how many units were done then
        self._id: TaskID = self._bars.add_task(self._name, total=total, completed=done, facts="")

    def advance(self, steps: int = 1, **facts: float | str) -> None:
        """`steps` more are done."""
        self._done += steps
        shown = "  ".join(f"{k} {v:.4g}" if isinstance(v, float) else f"{k} {v}" for k, v in facts.items())
        self._bars.update(self._id, advance=steps, facts=printable(shown))
        now = time.monotonic()
        # The first unit may hold a compilation or the choice of a learning rate, so its time predicts nothing.
        since, before = self._clock = self._clock or (now, self._done)
        if not self._progress.console.is_terminal and now - self._spoke > LINE_SECONDS:
            self._spoke = now
            said = [f"{self._name}: {self._done}/{self._total}"]
            if rate := (self._done - before) / max(now - since, 1e-9):
                said += [_spell_rate(rate), f"left {spell_seconds((self._total - self._done) / rate)}"]
            self._progress.say("  ".join([*said, shown]))
            sys.stderr.flush()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bars.remove_task(self._id)


def _spell_rate(speed: float | None) -> str:
    if not speed:
        return ""
    return f"{speed:.1f}/s" if speed >= 1 else f"{1 / speed:.1f} s each"
