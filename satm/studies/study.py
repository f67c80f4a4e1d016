"""The parts of a study: arms, evaluations, blocks of cells, and the cells that the blocks stand for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import product
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, TypeAlias

from satm.errors import ConfigError

if TYPE_CHECKING:
    from satm.studies.claims import Claim

Rate: TypeAlias = Literal["own", "learned", "grid"]
Value: TypeAlias = int | float | str | bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Arm:
    """One way to make a set: a method, its outer rule, and settings that replace those of the preset."""

    method: str
    outer: str | None = None  # null: the method's own
    settings: object = field(default_factory=dict)  # a table: values by the name of the setting, as --set takes them
    config: str | None = None
    """A configuration file, as `satm tune` and `satm condense --print-config` write it. `{dataset}`, `{ipc}` and
    `{arm}` stand for those of the cell."""
    take: tuple[str, ...] = ()  # only these settings of that file, for an arm of another method; empty: all of them

    keep: int | None = None  # k: a window of the last int(N/k) inner steps, at least 1; null: the method's own

    def __post_init__(self) -> None:
        check_table(self.settings, "settings")
        if self.keep is not None and self.keep < 1:
            raise ConfigError(f"keep {self.keep}: expected 1 or more; int(N/keep) inner steps are differentiated")
        if self.take and self.config is None:
            raise ConfigError("take names settings of a configuration file; give config too")
        if self.outer is not None and self.config is not None and not self.take:
            raise ConfigError("outer beside config: the file says the outer optimiser; name the settings to take")


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluation:
    """How the sets are judged: on their own architecture, on others (`architectures`), or in a stream (`steps`)."""

    architectures: tuple[str, ...] = ()
    steps: int | None = None  # of a class-incremental stream
    protocol: str = "gdumb"  # of that stream
    orders: int | None = None  # class orders of that stream; null: the profile's number
    networks: int | None = (
        None  # of each condensation, or of each class order; null: of a stream the profile's, else the study's
    )
    rate: Rate = "own"  # own: as the recipe says; learned: the α of the set; grid: the best of the grid
    recipe: str | None = None  # null: the set's own

    def __post_init__(self) -> None:
        if self.architectures and self.steps is not None:
            raise ConfigError("architectures beside steps: an evaluation is of one kind; write two of them")

    @property
    def incremental(self) -> bool:
        """Whether it is a class-incremental stream."""
        return self.steps is not None


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """Cells with the same evaluations: every data set × IPC × arm × value of `vary`."""

    dataset: tuple[str, ...]
    ipc: tuple[int, ...]
    arms: tuple[str, ...]
    evaluations: tuple[str, ...] = ()  # names; empty: claims read what the condensation runs measured
    settings: object = field(default_factory=dict)  # a table, for every arm; the settings of an arm replace them
    vary: object = field(default_factory=dict)  # a table: for the name of a setting, the list of its values
    profile: str | None = None  # null: the profile that the user asks for
    seeds: int | None = None  # condensations; null: the study's
    stage: int = 1  # a stage begins when the one before has ended
    images: bool = False  # whether the images are written as PNG files beside the report

    def __post_init__(self) -> None:
        check_table(self.settings, "settings")
        for key, values in check_table(self.vary, "vary").items():
            if not isinstance(values, list | tuple) or not values:
                raise ConfigError(f"vary.{key}: expected a list of values")
            if any(isinstance(value, list | tuple | dict) for value in values):
                raise ConfigError(f"vary.{key}: expected a list of single values, not of lists or tables")
        for name in ("dataset", "ipc", "arms"):
            if not getattr(self, name):
                raise ConfigError(f"{name}: expected one or more")
        if self.seeds is not None and self.seeds < 1:
            raise ConfigError(f"seeds {self.seeds}: expected 1 or more")

    def variants(self) -> Iterator[tuple[tuple[str, Value], ...]]:
        """The combinations of the values in `vary`."""
        table = check_table(self.vary, "vary")
        for values in product(*table.values()):
            yield tuple(zip(table, values, strict=True))


class Condition(NamedTuple):
    """What the arms of one comparison share."""

    dataset: str
    ipc: int
    variant: tuple[tuple[str, Value], ...]  # settings that the block varies
    profile: str | None  # null: the profile that the user asks for

    def __str__(self) -> str:
        more = [f"{name}={value}" for name, value in self.variant] + ([self.profile] if self.profile else [])
        return f"{self.dataset} IPC {self.ipc}" + (f" ({', '.join(more)})" if more else "")


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """The sets of one arm under one condition: one for each condensation seed."""

    condition: Condition
    name: str  # of the arm
    arm: Arm
    settings: Mapping[str, Value]  # that replace those of the preset: the block's, the arm's and the variant's
    evaluations: tuple[str, ...]
    seeds: int
    stage: int
    images: bool

    def __str__(self) -> str:
        return f"{self.condition}, {self.name}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Head:
    """What a study's file says before its parts."""

    title: str
    source: str  # a table or figure of a publication, or who asks
    about: str = ""
    notes: tuple[str, ...] = ()  # what a reader should know: where the paper contradicts itself, what is read how
    delta: float = 0.01  # the smallest difference that matters, in the unit of the values
    seeds: int = 3  # condensations of each cell
    networks: int | None = None  # for each condensation; null: the recipe's number
    paper: str | None = None  # the table in the paper's numbers; null: the paper prints none


@dataclass(frozen=True, slots=True, kw_only=True)
class Study:
    """One file: cells and claims. It fixes, before anything runs, what is compared, by which δ and in which family."""

    name: str
    head: Head
    arms: Mapping[str, Arm]
    evaluations: Mapping[str, Evaluation]
    blocks: tuple[Block, ...]
    claims: tuple[Claim, ...]
    folder: str  # that paths of configuration files start from

    def cells(self, *, seeds: int | None = None) -> tuple[Cell, ...]:
        """The cells in the order of the file. A cell that two blocks name is there twice.

        `seeds` replaces the number of condensations of every cell.
        """
        found: list[Cell] = []
        for block in self.blocks:
            for dataset, ipc, variant, name in product(block.dataset, block.ipc, block.variants(), block.arms):
                arm = self.arms[name]
                shared = check_table(block.settings, "settings")
                found.append(
                    Cell(
                        condition=Condition(dataset, ipc, variant, block.profile),
                        name=name,
                        arm=arm,
                        settings={**shared, **check_table(arm.settings, "settings"), **dict(variant)},
                        evaluations=block.evaluations,
                        seeds=seeds or block.seeds or self.head.seeds,
                        stage=block.stage,
                        images=block.images,
                    )
                )
        return tuple(found)

    def networks_of(self, evaluation: str) -> int | None:
        """Networks of each condensation (or class order); None: of a stream the profile's number, else the recipe's."""
        own = self.evaluations[evaluation]
        return own.networks or (None if own.incremental else self.head.networks)


def check_table(value: object, name: str) -> Mapping[str, Any]:
    """`value` as a table. Raises ConfigError."""
    if not isinstance(value, Mapping):
        raise ConfigError(f"{name} is {value!r}: expected a table")
    return value
