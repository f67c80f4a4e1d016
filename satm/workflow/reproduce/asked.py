"""Which studies are asked for, and how much of them: laid out, with what cannot run here."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from registry import Registry
from satm.errors import ConfigError
from satm.progress import SILENT, Progress
from satm.studies import Study, read_study, shipped
from satm.workflow.condense.made import MadeRuns
from satm.workflow.reproduce.cost import Machine, too_large
from satm.workflow.reproduce.laid import Laid, lay_out
from satm.workflow.reproduce.only import Only, lets_through, parse_only

ALL = "all"


@dataclass(frozen=True, kw_only=True)
class Asked:
    """Which studies are reproduced, and how much of them."""

    study: str  # a name, `all` for those of the paper, or the path of a file
    profile: str | None = None  # None: the machine's default
    only: tuple[str, ...] = ()  # filters of cells, as `parse_only` takes them
    seeds: int | None = None  # condensations of each cell; None: the study's
    networks: int | None = None  # for each condensation; None: the study's

    def __post_init__(self) -> None:
        for name in ("seeds", "networks"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ConfigError(f"--{name} {value}: expected 1 or more")


@dataclass(frozen=True, kw_only=True)
class Layout:
    """One study, laid out: all its cells, and those that are asked for."""

    study: Study
    laid: tuple[Laid, ...]
    only: Only

    @property
    def asked(self) -> tuple[Laid, ...]:
        """The cells that are asked for."""
        return tuple(each for each in self.laid if lets_through(self.only, each.cell))


def paper_studies() -> tuple[str, ...]:
    """The studies of the paper's tables and figures."""
    return tuple(name for name in shipped() if name.startswith(("table", "fig", "grids")))


def layouts(
    asked: Asked, *, data_root: Path | None = None, progress: Progress = SILENT, download: bool = False
) -> tuple[Layout, ...]:
    """The studies that are asked for, with the preset of each cell.

    `download`: the data sets of the cells that are asked for, if they are not here.
    Raises UnknownName and ConfigError for a study that is none or cannot be, and for filters that let no cell through.
    """
    only = parse_only(asked.only)
    names = paper_studies() if asked.study == ALL else (asked.study,)
    found = []
    for name in names:
        study = read_study(name, data_root=data_root)
        laid = lay_out(
            study,
            profile=asked.profile,
            seeds=asked.seeds,
            data_root=data_root,
            progress=progress,
            download=only if download else None,
        )
        found.append(Layout(study=study, laid=laid, only=only))
    if not any(each.asked for each in found):
        raise ConfigError(f"no cell of {asked.study} has {' and '.join(asked.only)}; --dry-run lists the cells")
    return tuple(found)


@contextmanager
def opened_if_there(registry: Path) -> Iterator[MadeRuns | None]:
    """What the registry holds; None if there is none yet."""
    if not registry.exists():
        yield None
        return
    with Registry.open(registry, must_exist=True, read_only=True) as store:
        yield MadeRuns(store)


def fitting(found: Sequence[Layout], machine: Machine, made: MadeRuns | None) -> tuple[Layout, ...]:
    """The layouts, in which cells with sets to be made that do not fit the memory of the device say so."""

    def checked(laid: Laid) -> Laid:
        if laid.preset is None or laid.obstacle or (made is not None and _is_made(laid, made)):
            return laid
        return replace(laid, too_large=too_large(machine.work_of(laid.preset.config).peak, machine))

    return tuple(replace(each, laid=tuple(map(checked, each.laid))) for each in found)


def _is_made(laid: Laid, made: MadeRuns) -> bool:
    """Whether every set of the cell is stored."""
    return all(made.record(laid.seeded(seed), seed) is not None for seed in range(laid.cell.seeds))
