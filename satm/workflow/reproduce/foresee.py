"""What a study would take: its cells, what is there, time and memory foreseen, and what cannot run here."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from registry import Registry
from satm.canonical import digest
from satm.config import to_dict
from satm.machine.device import resolve_device
from satm.progress import SILENT, Progress, spell_seconds
from satm.report.tables import render
from satm.workflow.reproduce.cost import TABLE_6, Cost, Machine, cost_of, too_large
from satm.workflow.reproduce.laid import Laid, parse_only, seeds_of, with_obstacle
from satm.workflow.reproduce.run import Asked, Layout, layouts, networks_of
from satm.workflow.reproduce.stored import Stored, is_judged


def foresee(
    asked: Asked,
    *,
    registry: Path | str = "satm.db",
    device: str = "auto",
    data_root: Path | None = None,
    progress: Progress = SILENT,
) -> str:
    """The cells of a study with what is stored, and time and memory of what is left, as text. Makes nothing.

    Raises as `reproduce`, except for what cannot run here: that is in the text.
    """
    found = layouts(asked, data_root=data_root)
    machine = Machine(resolve_device(device))
    with _opened(Path(registry)) as stored:
        parts = [_foreseen(each, asked, machine, stored, progress) for each in found if each.asked]
    return "\n\n".join(parts)


@contextmanager
def _opened(registry: Path) -> Iterator[Stored | None]:
    """What the registry holds; None if there is none yet."""
    if not registry.exists():
        yield None
        return
    with Registry.open(registry, must_exist=True, read_only=True) as store:
        yield Stored(store)


def _foreseen(layout: Layout, asked: Asked, machine: Machine, stored: Stored | None, progress: Progress) -> str:
    """The table of one study, and its sums."""
    study, only = layout.study, parse_only(asked.only)
    networks = {name: networks_of(study, name, asked) for name in study.evaluations}
    rows: list[tuple[str, ...]] = []
    total = Total()
    with progress.bar(study.name, len(layout.asked)) as bar:
        for laid in layout.asked:
            bar.advance(1)
            seeds = list(seeds_of(laid, only))
            cell = (str(laid.cell.condition), laid.cell.name, ", ".join(laid.cell.evaluations) or "–")
            if laid.preset is None:
                rows.append((*cell, "", f"0/{len(seeds)}", "", "", "", f"cannot run here: {laid.obstacle}"))
                total.missing += len(seeds)
                continue
            done, judged = _there(laid, seeds, networks, stored)
            cost = cost_of(laid, machine, networks)
            here = with_obstacle(laid, too_large(cost.peak, machine))
            left = total.add(here, cost, missing=len(seeds) - done, unjudged=len(seeds) - judged)
            rows.append(
                (
                    *(*cell, laid.preset.profile, f"{done}/{len(seeds)}", f"{judged}/{len(seeds)}"),
                    spell_seconds(left),
                    "" if cost.peak is None else f"{cost.peak / 1e9:.1f} GB",
                    f"cannot run here: {here.obstacle}" if here.obstacle else "",
                )
            )
    columns = ("cell", "arm", "evaluations", "profile", "made", "judged", "left", "peak", "")
    return "\n".join([f"{study.name}: {study.head.title}", render(columns, rows, "table"), *total.lines()])


def _there(
    laid: Laid, seeds: Sequence[int], networks: Mapping[str, int | None], stored: Stored | None
) -> tuple[int, int]:
    """How many of the sets are stored, and how many of them are judged to the end."""
    if stored is None:
        return 0, 0
    records = [stored.record(laid.seeded(seed), seed) for seed in seeds]
    made = [record for record in records if record is not None]
    evaluations = laid.study.evaluations
    judged = sum(
        all(is_judged(stored.store, record, evaluations[name], networks[name]) for name in laid.cell.evaluations)
        for record in made
    )
    return len(made), judged


@dataclass(kw_only=True)
class Total:
    """The sums of a study: seconds on this machine, operations at paper scale."""

    seconds: float = 0.0
    operations: float = 0.0
    missing: int = 0  # condensations that cannot run here
    experts: dict[str, float] = field(default_factory=dict)  # seconds, once for cells that share them

    def add(self, laid: Laid, cost: Cost, *, missing: int, unjudged: int) -> float:
        """Add what is left of one cell; its seconds without experts."""
        seconds = missing * (cost.outer or 0.0) + unjudged * cost.judging
        self.operations += missing * cost.operations
        if laid.obstacle:
            self.missing += missing
            return seconds
        self.seconds += seconds
        if missing and cost.experts and laid.preset is not None:
            config = laid.preset.config
            key = digest([config.dataset, config.architecture, config.zca, to_dict(config.experts)])
            self.experts[key] = max(self.experts.get(key, 0.0), missing * cost.experts)
        return seconds

    def lines(self) -> Iterator[str]:
        """The sums in words."""
        experts = sum(self.experts.values())
        yield (
            f"left: about {spell_seconds(self.seconds)} on this machine, and {spell_seconds(experts)} for experts "
            "that are not stored yet"
        )
        hours = self.operations / TABLE_6 / 3600
        yield (
            f"operations of the outer steps: {self.operations:.1e}, {hours:,.1f} hours of an A6000 at the speed of the "
            "paper's Table 6"
        )
        if self.missing:
            yield f"{self.missing} condensations cannot run here"
