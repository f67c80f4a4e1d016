"""The user's choice of studies and of cells in them, and the layout of the chosen studies.

A study is a file of cells and claims (`satm.studies`). Laying a study out means finding the preset of each cell, or the
reason why the cell cannot run on this machine.
"""

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
    """The user's choice: which studies to reproduce, and how much of them."""

    study: str  # the name of a study, the path of a study file, or `all` for all studies of the paper
    profile: str | None = None  # the scale of the condensations; None: the default profile of this machine
    only: tuple[str, ...] = ()  # filters of cells, such as "dataset=cifar10" (`parse_only`)
    seeds: int | None = None  # the number of condensations of each cell; None: the number in the study
    networks: int | None = None  # the number of networks for each condensation; None: the number in the study

    def __post_init__(self) -> None:
        for name in ("seeds", "networks"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ConfigError(f"--{name} {value}: expected 1 or more")


@dataclass(frozen=True, kw_only=True)
class Layout:
    """One study with its cells laid out."""

    study: Study
    laid: tuple[Laid, ...]  # all cells of the study
    only: Only  # the user's filters of cells

    @property
    def asked(self) -> tuple[Laid, ...]:
        """The cells that the user's filters select."""
        return tuple(each for each in self.laid if lets_through(self.only, each.cell))


def paper_studies() -> tuple[str, ...]:
    """The names of the studies of the paper's tables and figures."""
    return tuple(name for name in shipped() if name.startswith(("table", "fig", "grids")))


def layouts(
    asked: Asked, *, data_root: Path | None = None, progress: Progress = SILENT, download: bool = False
) -> tuple[Layout, ...]:
    """Read the studies that `asked` names, and find the preset of each cell.

    With `download`, the missing data sets of the selected cells are downloaded.

    Raises UnknownName or ConfigError for a study that does not exist or is not valid, and ConfigError for wrong filters
    and for filters that select no cell.
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
    """Context manager: the condensation runs of the registry; None if the registry file does not exist yet."""
    if not registry.exists():
        yield None
        return
    with Registry.open(registry, must_exist=True, read_only=True) as store:
        yield MadeRuns(store)


def fitting(found: Sequence[Layout], machine: Machine, made: MadeRuns | None) -> tuple[Layout, ...]:
    """The layouts, with `too_large` set on the cells whose condensation does not fit the memory of the device.

    Cells whose sets are all stored in `made` are not checked, because nothing is condensed for them. Cells that cannot
    run for another reason are not checked either.
    """

    def checked(laid: Laid) -> Laid:
        if laid.preset is None or laid.obstacle or (made is not None and _is_made(laid, made)):
            return laid
        return replace(laid, too_large=too_large(machine.work_of(laid.preset.config).peak, machine))

    return tuple(replace(each, laid=tuple(map(checked, each.laid))) for each in found)


def _is_made(laid: Laid, made: MadeRuns) -> bool:
    """Whether every set of the cell is stored."""
    return all(made.record(laid.seeded(seed), seed) is not None for seed in range(laid.cell.seeds))
