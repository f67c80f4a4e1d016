"""The rows of the registry as frozen values, and how each column is read and written."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from satm.errors import ConfigError, RegistryError

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

    from satm.types import LabelKind  # a run-time import would load torch

    Row = TypeVar("Row", bound=DataclassInstance)

RunStatus = Literal["running", "done", "failed", "interrupted"]


def to_json(value: Any) -> str:
    """Canonical JSON; raises RegistryError for what would not come back the same."""
    from satm.synthetic import canonical_json

    try:
        text = canonical_json(value)
        same = canonical_json(json.loads(text)) == text  # integer keys sort differently once they are text
    except (TypeError, ValueError) as error:
        raise RegistryError(f"cannot be stored as JSON ({error}); use plain, finite values") from error
    if not same:
        raise RegistryError("cannot be stored as JSON (keys are not text); use text keys")
    return text


JSON = {"read": json.loads, "write": to_json}
NAMES = {"read": lambda text: tuple(json.loads(text)), "write": to_json}


@dataclass(frozen=True, slots=True, kw_only=True)
class SetRecord:
    """What the registry knows of a stored set without reading its tensors."""

    id: str  # SyntheticSet.id
    name: str  # cifar10/ipc10/satm@3
    dataset: str
    ipc: int
    method: str
    version: int  # counts from 1 within (dataset, ipc, method)
    profile: str
    label_kind: LabelKind
    step_size: float | None
    seed: int
    images: int  # how many
    image_shape: tuple[int, int, int] = field(metadata=NAMES)  # C, H, W
    bytes: int  # size of its blobs
    about: Mapping[str, Any] = field(metadata=JSON)  # SyntheticSet.describe()
    parents: tuple[str, ...] = field(metadata=NAMES)
    blobs: tuple[str, ...] = field(metadata=NAMES)  # sha256, one a class in label order
    run_id: str | None  # the run that made it
    created: str  # UTC, ISO 8601


@dataclass(frozen=True, slots=True, kw_only=True)
class RunRecord:
    """One piece of long work: what was asked for, where it ran and how it ended."""

    id: str
    key: str  # hashes everything that shapes the work; a run that is not done is resumed by it
    kind: str  # condense, experts, eval …
    status: RunStatus
    dataset: str
    method: str | None
    ipc: int | None
    profile: str
    seed: int
    device: str  # of the last session, like environment_id and command
    environment_id: str
    command: str
    config: Mapping[str, Any] = field(metadata=JSON)
    set_id: str | None  # the set it made or worked on
    message: str
    seconds: float  # over all sessions
    sessions: int  # 1 + the times it was resumed
    started: str  # UTC, ISO 8601
    updated: str


@dataclass(frozen=True, slots=True, kw_only=True)
class MetricRow:
    """One number of one step of a run; SQLite keeps a NaN as NULL."""

    run_id: str
    step: int
    name: str
    value: float = field(metadata={"read": lambda value: math.nan if value is None else value, "write": float})


@dataclass(frozen=True, slots=True, kw_only=True)
class ResultRow:
    """One evaluated number. The fields up to `metric` identify it; storing it again replaces it.

    Accuracies are fractions in 0..1. Raises ConfigError for a value that is not finite or a step outside its stream.
    """

    set_id: str
    protocol: str  # in-domain, cross-arch, class-incremental (GDumb), or class-incremental/NAME for another protocol
    architecture: str
    memory: str = "condensed"  # the set itself, `random`: as many real images, `herding`, `none` …
    recipe_id: str
    steps: int = 1  # of the stream; 1 where there is none
    repeat: int  # counts from 0: a seed or class order
    step: int = 1  # counts from 1; numbers over a whole stream stand at its last step
    metric: str
    value: float
    profile: str
    seed: int
    step_size: float  # the learning rate it was trained with
    detail: Mapping[str, Any] = field(default_factory=dict, metadata=JSON)  # class order, adaptation, lr policy …
    run_id: str | None = None

    def __post_init__(self) -> None:
        if not math.isfinite(self.value):
            raise ConfigError(f"{self.metric} is {self.value}: expected a finite number; leave the row out")
        if not 1 <= self.step <= self.steps:
            raise ConfigError(f"step {self.step} of {self.steps}: steps count from 1 to the length of the stream")
        if self.repeat < 0:
            raise ConfigError(f"repeat {self.repeat}: repeats count from 0")


@dataclass(frozen=True, slots=True, kw_only=True)
class SummaryRow:
    """Mean and spread of one number over its repeats."""

    set_name: str
    set_id: str
    dataset: str
    ipc: int
    method: str
    profile: str
    protocol: str
    architecture: str
    memory: str
    recipe: str  # its name
    recipe_id: str
    steps: int
    step: int
    metric: str
    mean: float
    std: float  # population standard deviation, as the field reports
    n: int


@dataclass(frozen=True, slots=True, kw_only=True)
class RecipeRecord:
    """How networks were trained for an evaluation."""

    id: str
    name: str
    config: Mapping[str, Any] = field(metadata=JSON)
    created: str


@dataclass(frozen=True, slots=True, kw_only=True)
class EnvironmentRecord:
    """The software and machine a run had; see `registry.provenance`."""

    id: str
    facts: Mapping[str, Any] = field(metadata=JSON)
    created: str


@dataclass(frozen=True, slots=True, kw_only=True)
class BlobRow:
    """The tensors of one class of a set, as safetensors bytes under their own sha256."""

    sha256: str
    size: int
    data: bytes


def from_row(kind: type[Row], row: Mapping[str, Any]) -> Row:
    """A record of `kind` from its columns; raises RegistryError where a column does not hold what it should."""
    try:
        return kind(**{f.name: f.metadata.get("read", _same)(row[f.name]) for f in fields(kind)})
    except (ValueError, TypeError) as error:
        raise RegistryError(f"a {kind.__name__} row is damaged ({error}); restore a copy of the registry") from error


def to_row(record: DataclassInstance) -> dict[str, Any]:
    """The columns of a record."""
    return {f.name: f.metadata.get("write", _same)(getattr(record, f.name)) for f in fields(record)}


def _same(value: Any) -> Any:
    return value
