"""Writes a report: reads the registry, joins the sections of the page, and writes the files."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from registry import Registry
from satm.errors import ConfigError
from satm.home import write_bytes
from satm.report.page import Page, render_page
from satm.workflow.reporting import (
    architectures,
    cards,
    classes,
    condensation,
    costs,
    incremental,
    leaderboard,
    pictures,
)
from satm.workflow.reporting.figures import Easel
from satm.workflow.reporting.material import Material, gather

SQLITE = b"SQLite format 3\0"  # the first bytes of an SQLite file, such as a registry


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What is known about a report that was written."""

    path: Path
    bytes: int  # the size of the page
    sets: int  # the number of sets on the page
    numbers: int  # the number of results; each is a mean over the networks and condensations of a group
    figures: int  # the number of charts; grids of images are not counted


def write_report(
    output: Path | str = "report.html",
    *,
    references: Sequence[str] = (),
    figures: Path | str | None = None,
    refresh: int | None = None,
    registry: Path | str = "satm.db",
) -> Report:
    """Write a page about the sets that `references` name, or about all sets, to the file `output`.

    Everything comes from stored rows: nothing is trained, and the registry is only read. The page can be read without
    an internet connection.

    Args:
        output: the HTML file; an older one is replaced.
        references: names of sets or groups, in any form that `Registry.group` accepts.
        figures: a folder; every figure is also written there, charts as SVG and PNG, grids of images as PNG.
        refresh: the number of seconds after which a browser that shows the page reads the file again; None: never.
        registry: the registry file.

    Raises the errors of `Registry.group` for a reference, and the errors of `Registry.open`. Raises SatmError if a file
    cannot be written, and ConfigError if `output` is a registry.
    """
    path, folder = Path(output), None if figures is None else Path(figures)
    if path.absolute() == Path(registry).absolute() or (path.exists() and _is_database(path)):
        raise ConfigError(f"{path} is a registry; choose another file for the report")
    easel = Easel(folder)
    with Registry.open(registry, must_exist=True, read_only=True) as store:
        material = gather(store, references)
        page = _page(material, easel, refresh)
    text = render_page(page)
    write_bytes(path, text.encode())
    return Report(
        path=path,
        bytes=len(text.encode()),
        sets=len(material.sets),
        numbers=len(material.rows),
        figures=len(easel.drawn),
    )


def _is_database(path: Path) -> bool:
    if not path.is_file():
        return False
    with path.open("rb") as file:
        return file.read(len(SQLITE)) == SQLITE


def _page(material: Material, easel: Easel, refresh: int | None) -> Page:
    sets = material.sets
    with_card = frozenset(each.id for each in cards.shown(material))
    profiles = sorted({each.profile for each in sets} | {row.cell.profile for row in material.rows})
    facts = [f"registry {material.store.path.name}", _count(len(sets), "set"), _count(len(material.rows), "number")]
    facts += [f"only {', '.join(material.references)}"] if material.references else []
    facts += [f"profile {' and '.join(profiles)}"] if profiles else []
    return Page(
        title="Condensed sets: report",
        made=datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        facts=tuple(facts),
        warning=_warning(profiles),
        refresh=refresh,
        sections=(
            leaderboard.section(material, with_card),
            incremental.section(material, easel),
            architectures.section(material, easel, with_card),
            costs.section(material, easel),
            classes.section(material, easel),
            pictures.section(material, easel.folder),
            condensation.section(material, easel),
            cards.section(material),
        ),
    )


def _warning(profiles: Sequence[str]) -> str:
    small = [each for each in profiles if each != "paper"]
    if not small:
        return ""
    return (
        f"Numbers at profile {' and '.join(small)} come from runs that were made small or in another way than the "
        "paper's. They show that all works, and are no comparison with the paper's."
    )


def _count(number: int, name: str) -> str:
    return f"{number:,} {name}{'' if number == 1 else 's'}"
