"""Shows progress on stderr: bars on a terminal, or a line every half minute if stderr is not a terminal.

A terminal that cannot move its cursor (`TERM=dumb`) is treated as if there were no terminal.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Mapping
from types import TracebackType
from typing import Any, Self

from rich.console import Console, RenderableType
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from satm.cli._curves import Curves, fit
from satm.printable import printable
from satm.progress import spell_seconds

LINE_SECONDS = 30.0  # the time between two lines if bars cannot be drawn


class _Rate(TextColumn):
    """The column of a bar with its speed: units per second, or seconds per unit if the work is slow."""

    def __init__(self) -> None:
        super().__init__("")

    def render(self, task: Task) -> Text:
        return Text(_spell_rate(task.speed), style="dim")


class _Bars(Progress):
    """All bars, and the curves below them. Curves are shown only if exactly one bar has curves, and if they fit."""

    def __init__(self, *columns: ProgressColumn, **settings: Any) -> None:
        self.curves: list[Curves] = []  # one item for each open bar that has curves
        super().__init__(*columns, **settings)

    @property
    def draws_curves(self) -> bool:
        """Whether curves are shown now. This can change, because the user may change the size of the terminal."""
        return not self.disable and len(self.curves) == 1 and fit(self.console)

    def get_renderables(self) -> Iterable[RenderableType]:
        """Yield what is drawn: the bars, then the lines of the curves. See `rich.progress.Progress`."""
        yield self.make_tasks_table(self.tasks)
        for curves in list(self.curves) if self.draws_curves else ():
            yield from curves.lines(self.console.width)


class TerminalProgress:
    """The progress of a long command. It is shown on stderr, so that the output of the command can be piped."""

    def __init__(self) -> None:
        self.console = Console(stderr=True, soft_wrap=True, highlight=False)
        self.drawing = self.console.is_terminal and not self.console.is_dumb_terminal
        self._bars = _Bars(
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            _Rate(),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            TextColumn("{task.fields[facts]}", markup=False),
            console=self.console,
            disable=not self.drawing,
            transient=True,
        )
        self._stopping = False

    def bar(self, name: str, total: int, *, done: int = 0) -> TerminalBar:
        """Return a new bar for `total` units of work, of which `done` are done already."""
        return TerminalBar(self, name, total, done)

    def say(self, message: str) -> None:
        """Print one line on stderr."""
        self.console.print(printable(message), markup=False)

    def stopping(self) -> bool:
        """Whether a signal has asked the work to stop."""
        return self._stopping

    def stop(self, message: str) -> None:
        """Ask the work to stop, and print `message` on stderr."""
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
    """One bar on a terminal. If there is no terminal, it prints one line every half minute."""

    def __init__(self, progress: TerminalProgress, name: str, total: int, done: int) -> None:
        self._progress, self._bars, self._name, self._total = progress, progress._bars, printable(name), total
        self._done = done
        self._curves: Curves | None = None  # None until the first call of `draw`
        self._spoke = time.monotonic()  # the time of the last line
        # The time of the first call of `advance`, and the number of units that were done then; None before this call.
        self._clock: tuple[float, int] | None = None
        self._id: TaskID = self._bars.add_task(self._name, total=total, completed=done, facts="")

    def advance(self, steps: int = 1, **facts: float | str) -> None:
        """Move the bar on by `steps` units. While its curves are not shown, `facts`, such as a loss, are beside it."""
        self._done += steps
        shown = "  ".join(f"{k} {v:.4g}" if isinstance(v, float) else f"{k} {v}" for k, v in facts.items())
        beside = "" if self._curves is not None and self._bars.draws_curves else printable(shown)
        self._bars.update(self._id, advance=steps, facts=beside)
        now = time.monotonic()
        # The first unit may include a compilation or the choice of a learning rate, so its time is not used to predict
        # the time that is left.
        since, before = self._clock = self._clock or (now, self._done)
        if not self._progress.drawing and now - self._spoke > LINE_SECONDS:
            self._spoke = now
            said = [f"{self._name}: {self._done}/{self._total}"]
            if rate := (self._done - before) / max(now - since, 1e-9):
                said += [_spell_rate(rate), f"left {spell_seconds((self._total - self._done) / rate)}"]
            self._progress.say("  ".join([*said, shown]))
            sys.stderr.flush()

    def draw(self, values: Mapping[str, float]) -> None:
        """Add the newest values of measurements, by name, to the curves of the bar."""
        if self._curves is None:
            self._curves = Curves()
            self._bars.curves.append(self._curves)
        for name, value in values.items():
            self._curves.add(printable(name), value)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bars.remove_task(self._id)
        if self._curves is not None:
            self._bars.curves.remove(self._curves)


def _spell_rate(speed: float | None) -> str:
    if not speed:
        return ""
    return f"{speed:.1f}/s" if speed >= 1 else f"{1 / speed:.1f} s each"
