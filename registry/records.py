"""The rows of the registry as frozen dataclasses, and how each column is read and written."""

from __future__ import annotations

import json
import math
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from satm.errors import ConfigError, RegistryError

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

    from satm.types import LabelKind  # a run-time import would load torch

    Row = TypeVar("Row", bound=DataclassInstance)

FRACTIONS = ("accuracy", "macro_accuracy", "masked_accuracy", "final_accuracy", "average_incremental_accuracy")
"""The metrics whose values are checked to lie from 0 to 1."""

RunStatus = Literal["running", "done", "failed", "interrupted"]


def to_json(value: Any) -> str:
    """Canonical JSON of `value`; raises RegistryError if reading it back would not give the same value."""
    from satm.canonical import canonical_json

    try:
        text = canonical_json(value)
        same = canonical_json(json.loads(text)) == text  # integer keys sort differently as text
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

    id: str  # SyntheticSet.id
    name: str  # cifar10/ipc10/satm@3
    dataset: str
    ipc: int
    method: str
    version: int  # from 1, for each (dataset, ipc, method)
    profile: str
    label_kind: LabelKind
    step_size: float | None
    seed: int
    images: int  # the number of images
    image_shape: tuple[int, int, int] = field(metadata=NAMES)  # C, H, W
    bytes: int  # the size of all its blobs
    about: Mapping[str, Any] = field(metadata=JSON)  # SyntheticSet.describe()
    parents: tuple[str, ...] = field(metadata=NAMES)
    blobs: tuple[str, ...] = field(metadata=NAMES)  # sha256 of its blobs, one a class in label order
    run_id: str | None  # the run that made it
    created: str  # UTC, ISO 8601


@dataclass(frozen=True, slots=True, kw_only=True)
class RunRecord:
    """One piece of long work: its configuration, where it ran and how it ended."""

    id: str
    key: str  # hash of everything that decides the work; an unfinished run is found and resumed by it
    kind: str  # condense, experts, eval …
    status: RunStatus
    dataset: str
    method: str | None
    ipc: int | None
    profile: str
    seed: int
    device: str  # of the last session, as are environment_id and command
    environment_id: str
    command: str
    config: Mapping[str, Any] = field(metadata=JSON)
    set_id: str | None  # the set that it made or worked on
    message: str
    seconds: float  # over all sessions
    sessions: int  # 1 + how often it was resumed
    started: str  # UTC, ISO 8601
    updated: str  # the heartbeat: when the run last stored something, such as a checkpoint
    # Where the last session runs or ran. All five are None in runs of older versions.
    host: str | None = None
    pid: int | None = None
    process_started: float | None = None  # seconds since 1970; with `pid` it names one process of the host
    folder: str | None = None  # the working folder
    arguments: tuple[str, ...] | None = field(default=None, metadata=OPTIONAL_NAMES)  # the command line, word by word

    @property
    def command_line(self) -> str:
        """The command of the last session, ready for a shell, without the folder of `satm` itself."""
        if not self.arguments:  # a run of an older version
            return self.command
        first, *others = self.arguments
        return shlex.join([Path(first).name if Path(first).name == "satm" else first, *others])


@dataclass(frozen=True, slots=True, kw_only=True)
class MetricRow:
    """One number of one step of a run. SQLite stores NaN as NULL."""

    run_id: str
    step: int
    name: str
    value: float = field(metadata=NUMBER)


@dataclass(frozen=True, slots=True, kw_only=True)
class ResultRow:
    """One evaluated number. The fields up to `metric` identify it; storing a row again replaces it.

    Accuracies are fractions in 0..1. Raises ConfigError if the value is not finite or the step is outside its stream.
    """

    set_id: str
    protocol: str  # in-domain, cross-arch, class-incremental (GDumb), or class-incremental/NAME for another protocol
    architecture: str
    memory: str = "condensed"  # `condensed`: the set itself; `random`: as many real images; `herding`, `none` …
    recipe_id: str
    steps: int = 1  # the length of the stream; 1 if there is no stream
    repeat: int  # from 0; each has its own seed or class order
    step: int = 1  # from 1; a number for the whole stream is stored at its last step
    metric: str
    value: float
    profile: str
    seed: int
    step_size: float  # the learning rate of the training
    detail: Mapping[str, Any] = field(default_factory=dict, metadata=JSON)  # class order, adaptation, lr policy …
    run_id: str | None = None

    @property
    def rate(self) -> float:
        """The learning rate of the training: another name of `step_size`."""
        return self.step_size

    @property
    def policy(self) -> str | None:
        """Where the learning rate comes from: learned, grid or fixed; None if the row does not say."""
        return policy_name(self.detail.get("policy"))

    def __post_init__(self) -> None:
        if not math.isfinite(self.value):
            raise ConfigError(f"{self.metric} is {self.value}: expected a finite number; leave the row out")
        if self.metric in FRACTIONS and not 0 <= self.value <= 1:
            raise ConfigError(f"{self.metric} is {self.value}: expected a fraction; divide percentages by 100")
        if not 1 <= self.step <= self.steps:
            raise ConfigError(f"step {self.step} of {self.steps}: steps count from 1 to the length of the stream")
        if self.repeat < 0:
            raise ConfigError(f"repeat {self.repeat}: repeats count from 0")


@dataclass(frozen=True, slots=True, kw_only=True)
class SummaryRow:
    """The mean and standard deviation of one number over its repeats.

    A network that diverged has no numbers: `mean`, `std` and `n` are those of the others, NaN, NaN and 0 if there are
    none.
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
    std: float = field(metadata=NUMBER)  # population standard deviation, as the field reports it
    n: int
    policy: str | None = None  # where the learning rate comes from: learned, grid or fixed
    rate: float | None = None  # the learning rate; None if the repeats have different ones
    diverged: int = 0  # networks that diverged, beside the n others
    mean_all: float | None = None
    """The mean in which each diverged network counts as chance, 1/K: what a network that guesses has. None if some
    diverged and the metric is no accuracy."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RecipeRecord:
    """A recipe: how networks are trained for an evaluation."""

    id: str
    name: str
    config: Mapping[str, Any] = field(metadata=JSON)
    created: str


@dataclass(frozen=True, slots=True, kw_only=True)
class EnvironmentRecord:
    """The software and the machine of a run; see `registry.provenance`."""

    id: str
    facts: Mapping[str, Any] = field(metadata=JSON)
    created: str


@dataclass(frozen=True, slots=True, kw_only=True)
class BlobRow:
    """The tensors of one class of a set, as safetensors bytes named by their sha256."""

    sha256: str
    size: int
    data: bytes


def policy_name(policy: str | None) -> str | None:
    """Where a learning rate comes from, in one word: learned, grid or fixed; None if it is not known."""
    return next((name for name in ("learned", "grid") if policy is not None and policy.startswith(name)), policy)


def from_row(kind: type[Row], row: Mapping[str, Any]) -> Row:
    """A record of `kind` from its columns; raises RegistryError if a column has a wrong value."""
    try:
        return kind(**{f.name: f.metadata.get("read", _same)(row[f.name]) for f in fields(kind)})
    except (ValueError, TypeError) as error:
        raise RegistryError(f"a {kind.__name__} row is damaged ({error}); restore a copy of the registry") from error


def to_row(record: DataclassInstance) -> dict[str, Any]:
    """The columns of a record."""
    return {f.name: f.metadata.get("write", _same)(getattr(record, f.name)) for f in fields(record)}


def _same(value: Any) -> Any:
    return value
