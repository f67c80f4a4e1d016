"""The interface of loggers: the data that a logger gets (`LoggedRun`), its methods (`Logger`), the table of loggers.

A logger sends data about a run to a tool such as MLflow. The user names it with the option `--log NAME[:PROJECT]`, and
only then is the tool imported.

To add a logger to this package, write a file with one `LOGGERS.add(LoggerKind(...))`. Another package adds a logger
with an entry point of the group `satm.loggers`.
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

Row = tuple[int, str, float]  # (step, name, value) of a metric: `step` is the number of steps done
Ending = Literal["done", "failed", "interrupted"]  # how a run ended


@dataclass(frozen=True, slots=True, kw_only=True)
class LoggedRun:
    """The facts about a run that a logger gets."""

    id: str  # the id in the registry; a run that continues keeps its id
    name: str  # the name for people: data set, IPC, method and seed
    project: str  # where the tool puts the run: the PROJECT of `--log NAME:PROJECT`, else `LoggerKind.project`
    first: int  # the number of outer steps done before the run was started or continued this time
    settings: Mapping[str, Any]  # everything that decides the result: a nested mapping of JSON values
    counts: str = "outer_step"  # what one step in `Row` is: `outer_step`, `network` or `incremental_step`

    @property
    def flat(self) -> dict[str, str | int | float | bool]:
        """The settings with dotted names, such as `condense.settings.outer_steps`. A list becomes JSON text."""
        return _flattened(self.settings)


class Logger(Protocol):
    """An open logger of one run.

    Its methods may raise any exception: `satm` then reports it and continues the run without this logger.
    """

    place: str  # how a person can look at the logged data, such as a command or an address

    def metrics(self, rows: Sequence[Row]) -> None:
        """Log values, in the order of their steps."""

    def image(self, name: str, step: int, pixels: np.ndarray) -> None:
        """Log a picture, [H, W, 3] uint8."""

    def close(self, ending: Ending) -> None:
        """Write everything that is not written yet, and record how the run ended. It is called once."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LoggerKind:
    """A tool to which runs can be logged."""

    name: str  # the name in the option `--log`
    summary: str  # one line for the help
    module: str  # the Python package that must be installed
    install: str  # the command that installs it
    project: str  # the value of `LoggedRun.project` if the user names none
    open: Callable[[LoggedRun], Logger]  # imports the tool and opens a logger
    check: Callable[[], None] = field(default=lambda: None)
    """Raises ConfigError, before any work is done, if the tool cannot be used here."""


LOGGERS: Names[LoggerKind] = Names("logger", package="satm.loggers", group="satm.loggers", expects=LoggerKind)


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """A logger that the user asks for, with its `LoggedRun.project`."""

    kind: LoggerKind
    project: str


def parse(wanted: Sequence[str | Wanted]) -> tuple[Wanted, ...]:
    """Return the wanted loggers. A text has the form `NAME` or `NAME:PROJECT`. No logger is opened.

    A `Wanted`, which this function has returned before, is returned unchanged.

    Raises UnknownName for an unknown logger. Raises ConfigError for a logger that is named twice, that is not
    installed, or that cannot be used here.
    """
    found: dict[str, Wanted] = {}
    for text in wanted:
        if isinstance(text, Wanted):
            found[text.kind.name] = text
            continue
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
    """Return the name under which loggers show a metric of a run. The part before a slash is the section of the metric.

    `loss` becomes `train/loss`, `validation_accuracy` becomes `validation/accuracy`, and `event.rollback` becomes
    `event/rollback`. A metric of an evaluation has slashes in its name already, and keeps the name.
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
