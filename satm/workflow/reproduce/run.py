"""Runs studies, one stage after the other, and writes their pages."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from registry import Registry
from satm.canonical import digest
from satm.errors import SatmError
from satm.home import acquire, home, write_bytes
from satm.machine.device import resolve_device
from satm.progress import SILENT, Progress
from satm.report.sections import Page, html, markdown
from satm.workflow.condense.made import MadeRuns
from satm.workflow.fan_out import OneProcess, Outcome, Place, Work, fan_out
from satm.workflow.reproduce.asked import Asked, Layout, fitting, layouts, opened_if_there
from satm.workflow.reproduce.cost import Machine
from satm.workflow.reproduce.left import left_of, networks_by_name
from satm.workflow.reproduce.only import seeds_of
from satm.workflow.reproduce.page import page_of
from satm.workflow.reproduce.task import CellTask
from satm.workflow.reproduce.values import Values


@dataclass(frozen=True, kw_only=True)
class Reproduced:
    """The result of `reproduce`."""

    pages: tuple[tuple[str, Page], ...]  # pairs (name of the study, its page)
    failed: tuple[str, ...]  # one line for each task that failed
    unreached: tuple[str, ...]  # one line for each reason why tasks could not run on this machine


def reproduce(
    asked: Asked,
    *,
    place: Place | None = None,
    output: Path | None = None,
    registry: Path | str = "satm.db",
    device: str = "auto",
    threads: int | None = None,
    data_root: Path | None = None,
    progress: Progress = SILENT,
) -> Reproduced:
    """Run the studies that `asked` names: make the sets and results that the registry lacks, and judge the claims.

    A task is one condensation with its evaluations. In each stage, the tasks are sorted by condensation seed, so that a
    study that is stopped early has complete seeds. If a task fails, the failure is reported and the other tasks go on.
    If the same call is made again, it continues where this call stopped.

    Args:
        asked: the studies, their scale, and the filters of their cells.
        place: where the tasks run; None: in this process.
        output: the folder for STUDY.md, STUDY.html and image grids; None: no files are written.
        registry, device, threads, data_root, progress: the same as for `condense`.

    Raises ConfigError for a study that is not valid. Raises SatmError if another process runs the same study in this
    registry. Raises SatmError also if no set of the studies is stored and none can be made on this machine. Raises
    Interrupted if the user stops the work; all that is finished by then is stored.
    """
    registry = Path(registry)
    laid_out = layouts(asked, data_root=data_root, progress=progress, download=True)
    with opened_if_there(registry) as made:
        # If the tasks run on other machines, it is not known how much memory these machines have, or whether they have
        # the device. So it is then not checked whether the cells fit the memory.
        near = place is None or place.is_here
        found = fitting(laid_out, Machine(resolve_device(device)), made) if near else laid_out
        left = left_of(found, asked, made)
        nothing = made is None or not any(_has_a_set(each, made) for each in found)
    if left.unreached and nothing and not any(left.stages.values()):
        raise SatmError(f"nothing of {asked.study} can be made here: {left.unreached[0]}")
    for line in left.unreached:
        progress.say(f"not reached: {line}")
    Registry.open(registry).close()
    work = Work(registry=registry, device=device, threads=threads, data_root=data_root, progress=progress)
    with _held(_names(found), registry):
        outcomes = _run(left.stages, place or OneProcess(), work)
    failed = {each.task.name: f"{each.task.name}: {each.error}" for each in outcomes if each.error is not None}
    tasks = [each for stage in left.stages.values() for each in stage if each.name in failed]
    by_study = {name: [failed[each.name] for each in tasks if name in each.studies] for name in _names(found)}
    pages = pages_of(found, asked, registry, by_study)
    if output is not None:
        write_pages(pages, output)
        _write_grids(found, registry, output, data_root)
    return Reproduced(pages=pages, failed=tuple(failed.values()), unreached=left.unreached)


def _names(found: Sequence[Layout]) -> list[str]:
    return [each.study.name for each in found]


def _has_a_set(layout: Layout, made: MadeRuns) -> bool:
    """Whether the set of at least one selected cell and seed is stored."""
    return any(
        made.record(laid.seeded(seed), seed) is not None
        for laid in layout.asked
        if laid.preset is not None
        for seed in seeds_of(laid.cell, layout.only)
    )


def report(
    asked: Asked,
    *,
    output: Path | None = None,
    registry: Path | str = "satm.db",
    device: str = "auto",
    data_root: Path | None = None,
) -> Reproduced:
    """Make the pages of studies from what the registry holds, and write them if `output` is given.

    No set and no result is made.

    The arguments are those of `reproduce`. Raises the errors of `layouts`, and RegistryError.
    """
    with Registry.open(registry, must_exist=True, read_only=True) as store:
        made = MadeRuns(store)
        found = fitting(layouts(asked, data_root=data_root), Machine(resolve_device(device)), made)
        left = left_of(found, asked, made)
    pages = pages_of(found, asked, Path(registry))
    if output is not None:
        write_pages(pages, output)
    return Reproduced(pages=pages, failed=(), unreached=left.unreached)


def _run(stages: dict[int, list[CellTask]], place: Place, work: Work) -> list[Outcome]:
    """Run the tasks, one stage after the other, because a later stage may evaluate the sets of an earlier stage."""
    outcomes: list[Outcome] = []
    total, progress = sum(map(len, stages.values())), work.progress

    def ended(outcome: Outcome) -> None:
        outcomes.append(outcome)
        said = "done" if outcome.error is None else f"failed: {outcome.error}"
        progress.say(f"[{len(outcomes)}/{total}] {outcome.task.name}: {said}")

    for tasks in stages.values():
        fan_out(tasks, place, work, on_end=ended)
    return outcomes


def pages_of(
    found: Sequence[Layout], asked: Asked, registry: Path, failed: Mapping[str, Sequence[str]] | None = None
) -> tuple[tuple[str, Page], ...]:
    """The page of each study, as pairs (name of the study, page).

    `failed` has a line for each failed task, by the name of the study. The line of a task of several studies is on the
    page of each of them.
    """
    with Registry.open(registry, must_exist=True, read_only=True) as store:
        made = MadeRuns(store)
        return tuple(
            (
                each.study.name,
                page_of(
                    each.study,
                    Values(study=each.study, made=made, laid=each.laid, networks=networks_by_name(each.study, asked)),
                    (failed or {}).get(each.study.name, ()),
                ),
            )
            for each in found
        )


def write_pages(pages: Sequence[tuple[str, Page]], output: Path) -> None:
    """Write each page as STUDY.md and as STUDY.html. Raises SatmError if the folder cannot be written."""
    for name, page in pages:
        for suffix, text in ((".md", markdown(page)), (".html", html(page))):
            write_bytes(output / f"{name}{suffix}", text.encode("utf-8", "backslashreplace"))


def _write_grids(found: Sequence[Layout], registry: Path, output: Path, data_root: Path | None) -> None:
    from satm.report.grid import image_grid
    from satm.workflow.lookup import load

    with Registry.open(registry, must_exist=True, read_only=True) as store:
        made = MadeRuns(store)
        grids = [
            (laid, record)
            for each in found
            for laid in each.asked
            if laid.cell.images and laid.preset is not None
            if (record := made.record(laid.seeded(0), 0)) is not None
        ]
    for laid, record in grids:
        at = laid.cell.condition
        name = f"{at.dataset}-ipc{at.ipc}-{laid.cell.name}.png"
        image_grid(load(record.name, registry=registry, data_root=data_root), output / name)


@contextmanager
def _held(studies: Sequence[str], registry: Path) -> Iterator[None]:
    """Hold a lock for each study in this registry. Raises SatmError if another process holds one of them."""
    from filelock import Timeout

    with Registry.open(registry, must_exist=True, read_only=True) as store:
        uuid = store.run_key({"reproduce": "locks"})[:32]  # a value that is different for every registry
    with ExitStack() as stack:
        for name in studies:
            file = home() / "runs" / f"reproduce-{digest([uuid, name])[:32]}.lock"
            try:
                lock = acquire(file, timeout=0)
            except Timeout:
                raise SatmError(
                    f"{name} is being reproduced in {registry} by another process; wait for it, or see what is there "
                    "with --report"
                ) from None
            stack.callback(lock.release)
        yield
