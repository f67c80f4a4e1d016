"""The messages that a worker sends to the process that started it, and the channel that carries them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol, TypeAlias


@dataclass(frozen=True)
class Began:
    """Message: the worker has started its task."""

    pid: int  # the process id of the worker
    host: str  # the name of the machine that the worker runs on
    place: str = ""  # the id of the Ray node that the worker runs on; empty without Ray


@dataclass(frozen=True)
class Said:
    """Message: a line of text to show to the user."""

    text: str


@dataclass(frozen=True)
class Opened:
    """Message: the worker has opened a new progress bar."""

    bar: int  # the number of the bar, which later messages about it repeat
    name: str
    total: int  # the units of work in all
    done: int  # the units that are done at the start


@dataclass(frozen=True)
class Advanced:
    """Message: more units of a progress bar are done."""

    bar: int
    steps: int  # how many more units
    facts: Mapping[str, float | str] = field(default_factory=dict)  # values to show beside the bar, by name


@dataclass(frozen=True)
class Closed:
    """Message: a progress bar has ended."""

    bar: int


@dataclass(frozen=True)
class Ended:
    """Message: the task has ended."""

    error: str | None  # one line about what went wrong; None if the task is done
    stopped: bool = False  # True if the task stopped because it was asked to; its state is saved then


Message: TypeAlias = Began | Said | Opened | Advanced | Closed | Ended


class Channel(Protocol):
    """The worker's end of the connection to the process that started it."""

    def send(self, message: Message) -> None:
        """Send a message to that process."""

    def stop_asked(self) -> bool:
        """Return whether that process has asked the worker to stop."""
