"""Shows what a worker does: its newest bar as one line, and what it says, with the name of its task."""

from __future__ import annotations

from dataclasses import dataclass

from satm.progress import Bar, Progress
from satm.workflow.fan_out.messages import Advanced, Closed, Message, Opened, Said


@dataclass
class _Open:
    """A bar of the worker."""

    name: str
    total: int
    done: int


class Shown:
    """One worker on the screen. Use `close` at the worker's end."""

    def __init__(self, task: str, progress: Progress) -> None:
        self._task, self._progress = task, progress
        self._open: dict[int, _Open] = {}  # by number, the newest last
        self._bar: Bar | None = None  # on the screen: the newest one
        self._number = 0

    def see(self, message: Message) -> None:
        """Show a message."""
        match message:
            case Said(text):
                self._progress.say(f"{self._task}: {text}")
            case Opened(number, name, total, done):
                self._open[number] = _Open(name, total, done)
                self._show_newest()
            case Advanced(number, steps, facts) if number in self._open:
                self._open[number].done += steps
                if self._bar is not None and number == self._number:
                    self._bar.advance(steps, **facts)
            case Closed(number):
                self._open.pop(number, None)
                self._show_newest()

    def close(self) -> None:
        """Take the worker from the screen."""
        self._open.clear()
        self._show_newest()

    def _show_newest(self) -> None:
        newest = max(self._open, default=0)
        if newest == self._number:
            return
        if self._bar is not None:
            self._bar.__exit__(None, None, None)
            self._bar = None
        self._number = newest
        if newest:
            bar = self._open[newest]
            self._bar = self._progress.bar(f"{self._task}: {bar.name}", bar.total, done=bar.done).__enter__()
