"""Runs studies: task after task, stage after stage, and writes their pages."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
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
    """What `reproduce` did: a page for each study, and what failed or could not run, a line each."""

    pages: tuple[tuple[str, Page], ...]  # by the name of the study
    failed: tuple[str, ...]
    unreached: tuple[str, ...]


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
    """Make what the cells of a study need and the registry does not hold, and say which claims hold.

    A task is one condensation with its evaluations. Seeds come first: a study that is cut short has whole seeds. A task
    that fails is reported, and the others go on. The same call again goes on where this one stopped.

    Args:
        asked: the study, its scale, and which of its cells.
        place: where the tasks run; None: in this process.
        output: the folder for STUDY.md, STUDY.html and image grids; None: no files.
        registry, device, threads, data_root, progress: as for `condense`.

    Raises ConfigError for a study that cannot be, SatmError if another process does the same study in this registry,
    or if nothing of it can run here, and Interrupted with everything finished stored.
    """
    registry = Path(registry)
    laid_out = layouts(asked, data_root=data_root, progress=progress, download=True)
    with opened_if_there(registry) as made:
        # Of other machines neither the memory is known nor whether they have the device.
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
    with _held([each.study.name for each in found], registry):
        outcomes = _run(left.stages, place or OneProcess(), work)
    failed = tuple(f"{each.task.name}: {each.error}" for each in outcomes if each.error is not None)
    pages = pages_of(found, asked, registry, failed)
    if output is not None:
        write_pages(pages, output)
        _write_grids(found, registry, output, data_root)
    return Reproduced(pages=pages, failed=failed, unreached=left.unreached)


def _has_a_set(layout: Layout, made: MadeRuns) -> bool:
    """Whether a set that is asked for is stored."""
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
    """The pages of a study from the registry alone: nothing is made. Raises as `layouts`, and RegistryError."""
    with Registry.open(registry, must_exist=True, read_only=True) as store:
        made = MadeRuns(store)
        found = fitting(layouts(asked, data_root=data_root), Machine(resolve_device(device)), made)
        left = left_of(found, asked, made)
    pages = pages_of(found, asked, Path(registry))
    if output is not None:
        write_pages(pages, output)
    return Reproduced(pages=pages, failed=(), unreached=left.unreached)


def _run(stages: dict[int, list[CellTask]], place: Place, work: Work) -> list[Outcome]:
    """Run the stages one after another: sets of one stage may be judged further in the next."""
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
    found: Sequence[Layout], asked: Asked, registry: Path, failed: Sequence[str] = ()
) -> tuple[tuple[str, Page], ...]:
    """The page of each study."""
    with Registry.open(registry, must_exist=True, read_only=True) as store:
        made = MadeRuns(store)
        return tuple(
            (
                each.study.name,
                page_of(
                    each.study,
                    Values(study=each.study, made=made, laid=each.laid, networks=networks_by_name(each.study, asked)),
                    [line for line in failed if line.startswith(f"{each.study.name}: ")],
                ),
            )
            for each in found
        )


def write_pages(pages: Sequence[tuple[str, Page]], output: Path) -> None:
    """Write STUDY.md and STUDY.html of each page. Raises SatmError if the folder cannot be written."""
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
        uuid = store.run_key({"reproduce": "locks"})[:32]  # differs from registry to registry
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
