"""Runs studies: task after task, stage after stage, and writes their pages."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from registry import Registry
from satm.canonical import digest
from satm.errors import ConfigError, SatmError
from satm.home import acquire, home, write_bytes
from satm.machine.device import resolve_device
from satm.progress import SILENT, Progress
from satm.report.sections import Page, html, markdown
from satm.studies import Evaluation, Study, read_study, shipped
from satm.workflow.fan_out import OneProcess, Outcome, Place, Work, fan_out
from satm.workflow.reproduce.cost import Machine, peak_of, too_large
from satm.workflow.reproduce.laid import Laid, chosen_cells, lay_out, parse_only, seeds_of, with_obstacle
from satm.workflow.reproduce.page import page_of
from satm.workflow.reproduce.stored import Stored
from satm.workflow.reproduce.task import CellTask
from satm.workflow.reproduce.values import Values

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
class Reproduced:
    """What `reproduce` did: a page for each study, and what failed or could not run, a line each."""

    pages: tuple[tuple[str, Page], ...]  # by the name of the study
    failed: tuple[str, ...]
    unreached: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Layout:
    """One study, laid out: all its cells, and those that are asked for."""

    study: Study
    laid: tuple[Laid, ...]
    asked: tuple[Laid, ...]


def paper_studies() -> tuple[str, ...]:
    """The studies of the paper's tables and figures."""
    return tuple(name for name in shipped() if name.startswith(("table", "fig", "grids")))


def layouts(
    asked: Asked, *, data_root: Path | None = None, progress: Progress = SILENT, download: bool = False
) -> tuple[Layout, ...]:
    """The studies that are asked for, with the preset of each cell.

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
            download=download,
        )
        chosen = tuple(each for each in chosen_cells(laid, only) if list(seeds_of(each, only)))
        found.append(Layout(study=study, laid=laid, asked=chosen))
    if not any(each.asked for each in found):
        raise ConfigError(f"no cell of {asked.study} has {' and '.join(asked.only)}; --dry-run lists the cells")
    return tuple(found)


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
    found = _fitting(layouts(asked, data_root=data_root, progress=progress, download=True), device)
    unreached = tuple(_unreached(found))
    if all(laid.obstacle for each in found for laid in each.asked):
        raise SatmError(f"nothing of {asked.study} can be made here: {unreached[0]}")
    for line in unreached:
        progress.say(f"not reached: {line}")
    Registry.open(registry).close()
    work = Work(registry=registry, device=device, threads=threads, data_root=data_root, progress=progress)
    with _held([each.study.name for each in found], registry):
        outcomes = _run(_left(tasks_of(found, asked), registry), place or OneProcess(), work)
    failed = tuple(f"{each.task.name}: {each.error}" for each in outcomes if each.error is not None)
    pages = pages_of(found, registry, failed)
    if output is not None:
        write_pages(pages, output)
        _write_grids(found, registry, output, data_root)
    return Reproduced(pages=pages, failed=failed, unreached=unreached)


def _fitting(found: Sequence[Layout], device: str) -> tuple[Layout, ...]:
    """The layouts, in which cells that do not fit the memory of the device have an obstacle."""
    machine = Machine(resolve_device(device))
    peaks: dict[str, float | None] = {}

    def checked(laid: Laid) -> Laid:
        if laid.preset is None or laid.obstacle:
            return laid
        key = digest(laid.preset.config.to_dict())
        if key not in peaks:
            peaks[key] = peak_of(laid, machine)
        return with_obstacle(laid, too_large(peaks[key], machine))

    return tuple(replace(each, asked=tuple(map(checked, each.asked))) for each in found)


def _left(stages: dict[int, list[CellTask]], registry: Path) -> dict[int, list[CellTask]]:
    """The tasks of which something is not stored yet."""
    with Registry.open(registry, must_exist=True, read_only=True) as store:
        stored = Stored(store)
        return {stage: [task for task in tasks if not task.is_done(stored)] for stage, tasks in stages.items()}


def report(
    asked: Asked, *, output: Path | None = None, registry: Path | str = "satm.db", data_root: Path | None = None
) -> Reproduced:
    """The pages of a study from the registry alone: nothing is made. Raises as `layouts`, and RegistryError."""
    found = layouts(asked, data_root=data_root)
    pages = pages_of(found, Path(registry))
    if output is not None:
        write_pages(pages, output)
    return Reproduced(pages=pages, failed=(), unreached=tuple(_unreached(found)))


def tasks_of(found: Sequence[Layout], asked: Asked) -> dict[int, list[CellTask]]:
    """The tasks by stage, seeds first. Cells of several studies that make the same set are one task."""
    only = parse_only(asked.only)
    stages: dict[int, dict[str, CellTask]] = {}
    cells = [(layout.study, laid, seed) for layout in found for laid in layout.asked for seed in seeds_of(laid, only)]
    for study, laid, seed in sorted(cells, key=lambda each: (each[1].cell.stage, each[2])):
        if laid.obstacle or laid.preset is None:
            continue
        preset = laid.seeded(seed)
        key = digest([preset.config.to_dict(), preset.profile, seed])
        names = laid.cell.evaluations
        evaluations: list[tuple[Evaluation, int | None]] = [
            (study.evaluations[name], networks_of(study, name, asked)) for name in names
        ]
        stage = stages.setdefault(laid.cell.stage, {})
        before = stage[key].evaluations if key in stage else ()
        stage[key] = CellTask(
            name=stage[key].name if key in stage else f"{study.name}: {laid.cell}, seed {seed}",
            preset=preset,
            seed=seed,
            evaluations=(*before, *(each for each in evaluations if each not in before)),
        )
    return {stage: list(tasks.values()) for stage, tasks in sorted(stages.items())}


def networks_of(study: Study, evaluation: str, asked: Asked) -> int | None:
    """Networks of each condensation, or of each class order; None: the recipe's or the profile's number."""
    if study.evaluations[evaluation].incremental:
        return study.networks_of(evaluation)
    return asked.networks or study.networks_of(evaluation)


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


def pages_of(found: Sequence[Layout], registry: Path, failed: Sequence[str] = ()) -> tuple[tuple[str, Page], ...]:
    """The page of each study."""
    with Registry.open(registry, must_exist=True, read_only=True) as store:
        stored = Stored(store)
        return tuple(
            (
                each.study.name,
                page_of(
                    each.study,
                    Values(study=each.study, stored=stored, laid=each.laid),
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
        stored = Stored(store)
        made = [
            (laid, record)
            for each in found
            for laid in each.asked
            if laid.cell.images and laid.preset is not None
            if (record := stored.record(laid.seeded(0), 0)) is not None
        ]
    for laid, record in made:
        at = laid.cell.condition
        name = f"{at.dataset}-ipc{at.ipc}-{laid.cell.name}.png"
        image_grid(load(record.name, registry=registry, data_root=data_root), output / name)


def _unreached(found: Sequence[Layout]) -> Iterator[str]:
    """A line for each reason why cells cannot be made here."""
    reasons: dict[str, list[str]] = {}
    for each in found:
        for laid in each.asked:
            if laid.obstacle:
                reasons.setdefault(laid.obstacle, []).append(f"{each.study.name}: {laid.cell}")
    for reason, cells in reasons.items():
        more = f" and {len(cells) - 1} more" if len(cells) > 1 else ""
        yield f"{cells[0]}{more}: {reason}"


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
