"""What a worker tells the process that started it, and the channel that carries it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol, TypeAlias


@dataclass(frozen=True)
class Began:
    """The worker has started its task."""

    pid: int
    host: str
    place: str = ""  # the id of its Ray node


@dataclass(frozen=True)
class Said:
    """A line that the user should read."""

    text: str


@dataclass(frozen=True)
class Opened:
    """A new bar."""

    bar: int
    name: str
    total: int
    done: int


@dataclass(frozen=True)
class Advanced:
    """More units of a bar are done."""

    bar: int
    steps: int
    facts: Mapping[str, float | str] = field(default_factory=dict)


@dataclass(frozen=True)
class Closed:
    """A bar has ended."""

    bar: int


@dataclass(frozen=True)
class Ended:
    """The task has ended."""

    error: str | None  # None: it is done
    stopped: bool = False  # on request, with its state saved


Message: TypeAlias = Began | Said | Opened | Advanced | Closed | Ended


class Channel(Protocol):
    """The worker's end of the connection to the process that started it."""

    def send(self, message: Message) -> None:
        """Send a message."""

    def stop_asked(self) -> bool:
        """Whether that process has asked the worker to stop."""
