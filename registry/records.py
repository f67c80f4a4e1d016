"""The rows of the registry as frozen dataclasses, and the conversion of each column from and to SQLite.

The `metadata` of a field holds the two functions of its conversion, under `read` and `write`. A field without metadata
is stored as it is.
"""

from __future__ import annotations

import json
import math
import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from satm.errors import ConfigError, RegistryError

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

    from satm.types import LabelKind  # imported only for type checkers, because the module loads torch

    Row = TypeVar("Row", bound=DataclassInstance)

ACCURACY = re.compile(
    r"((macro|masked|final|final_masked|average_masked|average_incremental)_)?accuracy"
    r"|(masked_)?accuracy_on_step_\d+(_untrained)?"
)
"""The names of the suite's accuracies, in streams too. Their values must be from 0 to 1; `ResultRow` checks this.

Metrics of other packages are not checked, because they may have another unit.
"""

RunStatus = Literal["running", "done", "failed", "interrupted"]


def to_json(value: Any) -> str:
    """Return `value` as JSON text with sorted keys (`satm.canonical`).

    Raises RegistryError if JSON cannot hold the value, or if the value that is read back from the text has another
    text.
    """
    from satm.canonical import canonical_json

    try:
        text = canonical_json(value)
        # This is False if keys are integers and sort differently as texts (2 < 10, but "10" < "2"). JSON makes them
        # texts.
        same = canonical_json(json.loads(text)) == text
    except (TypeError, ValueError) as error:
        raise RegistryError(f"cannot be stored as JSON ({error}); use plain, finite values") from error
    if not same:
        raise RegistryError("cannot be stored as JSON (keys are not text); use text keys")
    return text


JSON = {"read": json.loads, "write": to_json}
NUMBER = {"read": lambda value: math.nan if value is None else value, "write": float}  # SQLite stores NaN as NULL
NAMES = {"read": lambda text: tuple(json.loads(text)), "write": to_json}
OPTIONAL_NAMES = {
    "read": lambda text: None if text is None else tuple(json.loads(text)),
    "write": lambda names: None if names is None else to_json(names),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class SetRecord:
    """A stored set without its tensors."""

    id: str  # `SyntheticSet.id`, a hash of the whole set
    name: str  # the name with its version, such as cifar10/ipc10/satm@3
    dataset: str
    ipc: int  # images per class
    method: str
    version: int  # the number of the version, counted from 1 for each (dataset, ipc, method)
    profile: str  # the scale at which the set was made: paper, cpu, smoke …
    label_kind: LabelKind
    step_size: float | None  # the learned step size α; None if the set has no learned step size
    seed: int  # the seed of the condensation
    images: int  # the number of stored images
    image_shape: tuple[int, int, int] = field(metadata=NAMES)  # channels, height, width
    bytes: int  # the size of all blobs of the set
    about: Mapping[str, Any] = field(metadata=JSON)  # the description `SyntheticSet.describe()`
    parents: tuple[str, ...] = field(metadata=NAMES)  # what the set was made from, such as `experts:` and a hash
    # The sha256 of each blob of the set. There is one blob for each class, in label order.
    blobs: tuple[str, ...] = field(metadata=NAMES)
    run_id: str | None  # the run that made the set
    created: str  # the time in UTC, ISO 8601


@dataclass(frozen=True, slots=True, kw_only=True)
class RunRecord:
    """One piece of long work: its configuration, where it ran and how it ended."""

    id: str
    key: str  # a hash of everything that decides the work; an unfinished run is found and resumed by its key
    kind: str  # the kind of work: condense, experts, eval …
    status: RunStatus
    dataset: str
    method: str | None
    ipc: int | None
    profile: str
    seed: int
    device: str  # the device of the last session
    environment_id: str  # the id of the `EnvironmentRecord` of the last session
    command: str  # the command of the last session
    config: Mapping[str, Any] = field(metadata=JSON)
    set_id: str | None  # the set that the run made or worked on
    message: str  # what is known about the end of the last session, such as an error message; may be empty
    seconds: float  # the working time of all sessions together
    sessions: int  # the number of sessions: 1, and 1 more each time that the run was resumed
    started: str  # the time in UTC, ISO 8601
    updated: str  # the heartbeat: the time at which the run last stored something, such as a checkpoint
    # The last five fields say where the last session runs or ran. They are None in runs of older versions.
    host: str | None = None
    pid: int | None = None  # the number of the process
    # The start time of the process in seconds since 1970. The system can use a `pid` again, so only both together
    # identify a process.
    process_started: float | None = None
    folder: str | None = None  # the working folder
    arguments: tuple[str, ...] | None = field(default=None, metadata=OPTIONAL_NAMES)  # the words of the command line

    @property
    def command_line(self) -> str:
        """The command of the last session, ready for a shell. The program is written `satm`, without its folder."""
        if not self.arguments:  # the run was made by an older version
            return self.command
        first, *others = self.arguments
        return shlex.join([Path(first).name if Path(first).name == "satm" else first, *others])


@dataclass(frozen=True, slots=True, kw_only=True)
class MetricRow:
    """The value of one metric at one step of a run. SQLite stores NaN as NULL."""

    run_id: str
    step: int
    name: str
    value: float = field(metadata=NUMBER)


@dataclass(frozen=True, slots=True, kw_only=True)
class ResultRow:
    """One evaluated number.

    The fields up to `metric` identify the row: a new row with equal fields replaces the stored row. Accuracies are
    fractions in 0..1. Raises ConfigError if the value is not finite, if an accuracy is not in 0..1, or if `step` or
    `repeat` is out of its range.
    """

    set_id: str
    protocol: str  # in-domain, cross-arch, class-incremental (GDumb), or class-incremental/NAME for another protocol
    architecture: str
    # The images that the networks learn from. `condensed`: the set itself; `random`: equally many real images;
    # `herding`, `none` … are other memories of class-incremental streams.
    memory: str = "condensed"
    recipe_id: str
    steps: int = 1  # the number of incremental steps of the stream; 1 if there is no stream
    repeat: int  # the number of the repeat, counted from 0; each repeat has its own seed or class order
    step: int = 1  # the incremental step, counted from 1; a number for the whole stream is stored at the last step
    metric: str
    value: float
    profile: str
    seed: int
    step_size: float  # the learning rate of the training
    # Other facts about the number, such as the class order, the adaptation of the network or the rate policy.
    detail: Mapping[str, Any] = field(default_factory=dict, metadata=JSON)
    run_id: str | None = None  # the run that measured the number

    @property
    def rate(self) -> float:
        """The learning rate of the training. This is another name for `step_size`."""
        return self.step_size

    @property
    def policy(self) -> str | None:
        """Where the learning rate comes from: learned, grid or fixed; None if the row does not contain it."""
        return policy_name(self.detail.get("policy"))

    def __post_init__(self) -> None:
        if not math.isfinite(self.value):
            raise ConfigError(f"{self.metric} is {self.value}: expected a finite number; leave the row out")
        if not 0 <= self.value <= 1 and ACCURACY.fullmatch(self.metric):
            raise ConfigError(f"{self.metric} is {self.value}: expected a fraction; divide percentages by 100")
        if not 1 <= self.step <= self.steps:
            raise ConfigError(f"step {self.step} of {self.steps}: steps count from 1 to the length of the stream")
        if self.repeat < 0:
            raise ConfigError(f"repeat {self.repeat}: repeats count from 0")


@dataclass(frozen=True, slots=True, kw_only=True)
class SummaryRow:
    """The mean and standard deviation of one metric over its repeats.

    A network that diverged has no value of the metric, so `mean`, `std` and `n` leave it out. If all networks diverged,
    there is a row for the metric `accuracy` only, with `mean` and `std` NaN and `n` 0.
    """

    set_name: str
    set_id: str
    dataset: str
    ipc: int
    method: str
    profile: str
    protocol: str
    architecture: str
    memory: str
    recipe: str  # the name of the recipe
    recipe_id: str
    steps: int
    step: int
    metric: str
    mean: float = field(metadata=NUMBER)
    std: float = field(metadata=NUMBER)  # the population standard deviation, which papers of the field report
    n: int  # the number of values in the mean
    policy: str | None = None  # where the learning rate comes from: learned, grid or fixed
    rate: float | None = None  # the learning rate; None if the repeats have different learning rates
    diverged: int = 0  # the number of networks that diverged; `n` does not include them
    mean_all: float | None = None
    """The mean over all networks, in which a diverged network has the accuracy of a guess, 1/K for K classes.

    None if networks diverged and the metric is neither `accuracy` nor `macro_accuracy`.
    """


@dataclass(frozen=True, slots=True, kw_only=True)
class RecipeRecord:
    """A recipe: how networks are trained for an evaluation."""

    id: str
    name: str
    config: Mapping[str, Any] = field(metadata=JSON)
    created: str


@dataclass(frozen=True, slots=True, kw_only=True)
class EnvironmentRecord:
    """The software and the machine of a run. `registry.provenance` collects these facts."""

    id: str
    facts: Mapping[str, Any] = field(metadata=JSON)
    created: str


@dataclass(frozen=True, slots=True, kw_only=True)
class BlobRow:
    """The tensors of one class of a set, as bytes in the safetensors format."""

    sha256: str  # the sha256 of `data` as hex digits; it is the name of the blob
    size: int  # the number of bytes
    data: bytes


def policy_name(policy: str | None) -> str | None:
    """Return where a learning rate comes from, in one word: learned, grid or fixed; None if `policy` is None.

    `policy` is the text that a result stores. It may say more after the first word, as in "grid on validation".
    """
    return next((name for name in ("learned", "grid") if policy is not None and policy.startswith(name)), policy)


def from_row(kind: type[Row], row: Mapping[str, Any]) -> Row:
    """Return a record of the class `kind` from the columns of a row.

    Raises RegistryError if a column has a wrong value.
    """
    try:
        return kind(**{f.name: f.metadata.get("read", _same)(row[f.name]) for f in fields(kind)})
    except (ValueError, TypeError) as error:
        raise RegistryError(f"a {kind.__name__} row is damaged ({error}); restore a copy of the registry") from error


def to_row(record: DataclassInstance) -> dict[str, Any]:
    """Return the columns of a record, as SQLite stores them."""
    return {f.name: f.metadata.get("write", _same)(getattr(record, f.name)) for f in fields(record)}


def _same(value: Any) -> Any:
    return value
