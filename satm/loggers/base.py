"""What a logger is given and what it implements, and the table of loggers.

To add one here, write a file with one `LOGGERS.add(LoggerKind(...))`. Another package adds one with an entry point of
the group `satm.loggers`. No tool is imported before its name is used.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Literal, Protocol

from satm.errors import ConfigError
from satm.names import Names

if TYPE_CHECKING:
    import numpy as np

Row = tuple[int, str, float]  # (step, name, value): `step` counts the outer steps that are done
Ending = Literal["done", "failed", "interrupted"]


@dataclass(frozen=True, slots=True, kw_only=True)
class LoggedRun:
    """The run that a logger tells of."""

    id: str  # as in the registry; a run that continues has the same id
    name: str  # what people read: data set, IPC, method and seed
    project: str  # the TEXT of `--log NAME:TEXT`, else the logger's own word
    first: int  # outer steps done before this session
    settings: Mapping[str, Any]  # everything that decides the result: nested, JSON-able
    counts: str = "outer_step"  # what the steps of its metrics count: else `network` or `incremental_step`

    @property
    def flat(self) -> dict[str, str | int | float | bool]:
        """The settings with dotted names, such as `condense.settings.outer_steps`. A list becomes JSON text."""
        return _flattened(self.settings)


class Logger(Protocol):
    """An open logger of one run. It may raise anything: `satm` says so and goes on without it."""

    place: str  # how a person looks at what is logged, such as a command

    def metrics(self, rows: Sequence[Row]) -> None:
        """Log values, in the order of their steps."""

    def image(self, name: str, step: int, pixels: np.ndarray) -> None:
        """Log a picture, [H, W, 3] uint8."""

    def close(self, ending: Ending) -> None:
        """Write what waits, and say how the run ends. Called once."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LoggerKind:
    """A tool that runs can be logged to."""

    name: str  # as `--log` takes it
    summary: str
    module: str  # the Python package that must be installed
    install: str  # the command that installs it
    project: str  # what `LoggedRun.project` is if the user names none
    open: Callable[[LoggedRun], Logger]  # imports the tool
    check: Callable[[], None] = field(default=lambda: None)
    """Raises ConfigError, before any work is done, if the tool cannot be used here."""


LOGGERS: Names[LoggerKind] = Names("logger", package="satm.loggers", group="satm.loggers", expects=LoggerKind)


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """A logger that the user asks for."""

    kind: LoggerKind
    project: str


def parse(texts: Sequence[str]) -> tuple[Wanted, ...]:
    """The loggers that `NAME` or `NAME:PROJECT` ask for, none of them opened.

    Raises UnknownName for an unknown logger; ConfigError for one that is named twice, that is not installed, or that
    cannot be used here.
    """
    found: dict[str, Wanted] = {}
    for text in texts:
        name, colon, project = text.partition(":")
        kind = LOGGERS.get(name)
        if colon and not project.strip():
            raise ConfigError(f"--log {text}: expected a name after the colon, as {name}:my-project")
        if name in found:
            raise ConfigError(f"--log {name} is given twice; name it once")
        if find_spec(kind.module) is None:
            raise ConfigError(f"--log {name}: {kind.module} is not installed; install it with: {kind.install}")
        kind.check()
        found[name] = Wanted(kind=kind, project=project.strip() or kind.project)
    return tuple(found.values())


def shown_name(metric: str) -> str:
    """The name of a run's metric in a logger, where a slash makes a section.

    `loss` is `train/loss`, `validation_accuracy` is `validation/accuracy`, and `event.rollback` is `event/rollback`. A
    name of an evaluation has its sections already.
    """
    if "/" in metric:
        return metric
    for start, section in (("validation_", "validation"), ("event.", "event")):
        if metric.startswith(start):
            return f"{section}/{metric.removeprefix(start)}"
    return f"train/{metric}"


def _flattened(values: Mapping[str, Any], before: str = "") -> dict[str, str | int | float | bool]:
    found: dict[str, str | int | float | bool] = {}
    for key, value in values.items():
        if isinstance(value, Mapping):
            found |= _flattened(value, f"{before}{key}.")
        elif isinstance(value, str | int | float):
            found[f"{before}{key}"] = value
        else:
            found[f"{before}{key}"] = json.dumps(value)
    return found
