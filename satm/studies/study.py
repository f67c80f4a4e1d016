"""The parts of a study: arms, evaluations, blocks of cells, and the cells that the blocks describe."""

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
    outer: str | None = None  # the name of the outer rule; None: the method's own
    settings: object = field(default_factory=dict)  # a table: the name of a setting and its value, as for --set
    config: str | None = None
    """The path of a configuration file, as `satm tune` and `satm condense --print-config` write it.

    `{dataset}`, `{ipc}` and `{arm}` in the path are replaced by the values of the cell.
    """
    take: tuple[str, ...] = ()  # the only settings to use of `config`, if it is for another method; empty: all of them

    keep: int | None = None  # k: the last int(N/k) inner steps, at least 1, are differentiated; None: the method's own

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
    """How sets are judged: on their own architecture, on others (`architectures`), or in a stream (`steps`).

    A stream is class-incremental: groups of classes arrive one after another.
    """

    architectures: tuple[str, ...] = ()
    steps: int | None = None  # the number of steps of a class-incremental stream; None: no stream
    protocol: str = "gdumb"  # the protocol of the stream
    orders: int | None = None  # the number of class orders of the stream; None: the profile's number
    networks: int | None = (
        None  # how many for each condensation or class order; None: the profile's number for a stream, else the study's
    )
    rate: Rate = "own"  # the learning rate; own: as the recipe says; learned: the α of the set; grid: best of a grid
    recipe: str | None = None  # None: the recipe in the set's configuration
    labels: Literal["teacher", "own"] | None = None  # a teacher's, or the set's own; None: as the recipe says

    def __post_init__(self) -> None:
        if self.architectures and self.steps is not None:
            raise ConfigError("architectures beside steps: an evaluation is of one kind; write two of them")

    @property
    def incremental(self) -> bool:
        """Whether this evaluation is a class-incremental stream."""
        return self.steps is not None


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """Cells with the same evaluations: one for each data set × IPC × arm × combination of the values in `vary`."""

    dataset: tuple[str, ...]
    ipc: tuple[int, ...]
    arms: tuple[str, ...]
    evaluations: tuple[str, ...] = ()  # names; empty if claims use only what the condensations measured (`run.…`)
    settings: object = field(default_factory=dict)  # a table for every arm; an arm's own settings replace these
    vary: object = field(default_factory=dict)  # a table: the name of a setting and the list of its values
    profile: str | None = None  # None: the profile that the user chooses
    seeds: int | None = None  # the number of condensations of each cell; None: the study's number
    stage: int = 1  # the cells of a stage start only after the stage before is finished
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
        """The combinations of the values in `vary`, as pairs (name, value)."""
        table = check_table(self.vary, "vary")
        for values in product(*table.values()):
            yield tuple(zip(table, values, strict=True))


class Condition(NamedTuple):
    """What the arms of one comparison have in common."""

    dataset: str
    ipc: int
    variant: tuple[tuple[str, Value], ...]  # the settings that the block varies, as pairs (name, value)
    profile: str | None  # None: the profile that the user chooses

    def __str__(self) -> str:
        more = [f"{name}={value}" for name, value in self.variant] + ([self.profile] if self.profile else [])
        return f"{self.dataset} IPC {self.ipc}" + (f" ({', '.join(more)})" if more else "")


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """The sets of one arm under one condition. There is one set for each condensation seed."""

    condition: Condition
    name: str  # the name of the arm
    arm: Arm
    settings: Mapping[str, Value]  # these replace the preset's: from the block, then the arm, then the variant
    evaluations: tuple[str, ...]
    seeds: int  # the number of condensation seeds
    stage: int  # as in `Block`
    images: bool  # as in `Block`

    def __str__(self) -> str:
        return f"{self.condition}, {self.name}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Head:
    """The keys at the top of a study's file, before its tables."""

    title: str
    source: str  # a table or figure of a publication, or the origin of the question
    about: str = ""
    notes: tuple[str, ...] = ()  # for readers: where the paper contradicts itself, and how unclear parts are understood
    delta: float = 0.01  # the smallest difference that matters, in the unit of the values
    seeds: int = 3  # the number of condensations of each cell
    networks: int | None = None  # the number of networks for each condensation; None: the recipe's number
    paper: str | None = None  # the name of the table in `paper.csv`; None: the paper prints no numbers for this study


@dataclass(frozen=True, slots=True, kw_only=True)
class Study:
    """A study: its cells and claims, from one file.

    Before anything runs, a study fixes what is compared, with which δ, and which comparisons are corrected together.
    """

    name: str
    head: Head
    arms: Mapping[str, Arm]
    evaluations: Mapping[str, Evaluation]
    blocks: tuple[Block, ...]
    claims: tuple[Claim, ...]
    folder: str  # relative paths of configuration files start from this folder

    def cells(self, *, seeds: int | None = None) -> tuple[Cell, ...]:
        """The cells in the order of the file. A cell that two blocks describe appears twice.

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
        """The networks for each condensation, or for each class order of a stream.

        None means the profile's number for a stream, and the recipe's number for other evaluations.
        """
        own = self.evaluations[evaluation]
        return own.networks or (None if own.incremental else self.head.networks)


def check_table(value: object, name: str) -> Mapping[str, Any]:
    """`value`, checked to be a table (a mapping). Raises ConfigError if it is not; `name` is its key in the message."""
    if not isinstance(value, Mapping):
        raise ConfigError(f"{name} is {value!r}: expected a table")
    return value
