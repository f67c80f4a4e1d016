"""Shows the progress of a worker to the user: its newest progress bar and its messages, with the name of its task."""

from __future__ import annotations

from dataclasses import dataclass

from satm.progress import Bar, Progress
from satm.workflow.fan_out.messages import Advanced, Closed, Message, Opened, Said


@dataclass
class _Open:
    """A progress bar that the worker has opened and not closed."""

    name: str
    total: int  # the units of work in all
    done: int  # the units that are done


class Shown:
    """Shows one worker on the screen. Call `close` when the worker has ended.

    A worker can have several progress bars open, one inside another. Only the newest one is shown.
    """

    def __init__(self, task: str, progress: Progress) -> None:
        self._task, self._progress = task, progress
        self._open: dict[int, _Open] = {}  # the open bars by their number; the newest bar has the largest number
        self._bar: Bar | None = None  # the bar on the screen; None if there is none
        self._number = 0  # the number of the bar on the screen; 0 if there is none

    def see(self, message: Message) -> None:
        """Show a message of the worker."""
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
        """Remove the bar of the worker from the screen."""
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
