"""Predicts what a study costs before it runs.

Shows the cells of the study, what is already stored, the predicted time and memory of the rest, and what cannot run on
this machine.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

from satm.canonical import digest
from satm.config import to_dict
from satm.machine.device import resolve_device
from satm.presets import CondenseConfig
from satm.progress import SILENT, Progress, spell_seconds
from satm.report.tables import render
from satm.workflow.condense.made import MadeRuns, set_key
from satm.workflow.reproduce.asked import Asked, Layout, fitting, layouts, opened_if_there
from satm.workflow.reproduce.cost import TABLE_6, Cost, Machine, cost_of
from satm.workflow.reproduce.experts import StoredExperts
from satm.workflow.reproduce.laid import Laid
from satm.workflow.reproduce.left import networks_by_name
from satm.workflow.reproduce.only import seeds_of
from satm.workflow.reproduce.stored import is_judged

COLUMNS = ("cell", "arm", "evaluations", "profile", "made", "judged", "left", "peak", "")


def foresee(
    asked: Asked,
    *,
    registry: Path | str = "satm.db",
    device: str = "auto",
    data_root: Path | None = None,
    progress: Progress = SILENT,
) -> str:
    """A text with the cells of a study, what is stored of them, and the predicted time and memory of the rest.

    Nothing is made. Sets, evaluations and experts that several cells share are counted once. Raises the errors of
    `layouts` and of `Registry.open`. Cells that cannot run on this machine raise no error: the text says why they
    cannot run.
    """
    machine = Machine(resolve_device(device))
    laid_out = layouts(asked, data_root=data_root)
    cells = sum(len(each.asked) for each in laid_out)
    with opened_if_there(Path(registry)) as made, progress.bar("cells", cells) as bar:
        found = [each for each in fitting(laid_out, machine, made) if each.asked]
        foreseeing = Foreseeing(asked, machine, made, StoredExperts(data_root))
        together, parts = Total(), []
        for layout in found:
            parts.append("\n".join(foreseeing.table(layout, together)))
            bar.advance(len(layout.asked))
    if len(found) > 1:
        parts.append("\n".join([f"all {len(found)} together, with what they share counted once", *together.lines()]))
    return "\n\n".join(parts)


@dataclass(frozen=True)
class Foreseeing:
    """Predicts the cost of studies on one machine, with one registry."""

    asked: Asked
    machine: Machine
    made: MadeRuns | None  # the stored condensation runs; None: there is no registry yet
    experts: StoredExperts

    def table(self, layout: Layout, together: Total) -> Iterator[str]:
        """The lines of text about one study: a table of its cells, and the sums over the cells.

        What is left to do is also added to `together`, the sums over all studies.
        """
        networks = networks_by_name(layout.study, self.asked)
        rows: list[tuple[str, ...]] = []
        total = Total()
        for laid in layout.asked:
            seeds = list(seeds_of(laid.cell, layout.only))
            cell = (str(laid.cell.condition), laid.cell.name, ", ".join(laid.cell.evaluations) or "–")
            if laid.preset is None:
                rows.append((*cell, "", f"0/{len(seeds)}", "", "", "", f"cannot run here: {laid.obstacle}"))
                for sums in (total, together):
                    sums.blocked |= {f"{layout.study.name}: {laid.cell}, seed {seed}" for seed in seeds}
                continue
            pieces = [self.piece(laid, seed, cost_of(laid, self.machine, networks), networks) for seed in seeds]
            seconds = sum([total.add(each) for each in pieces])
            for each in pieces:
                together.add(each)
            peak = self.machine.work_of(laid.preset.config).peak
            blocked = next((each.blocked for each in pieces if each.blocked), "")
            rows.append(
                (
                    *(*cell, laid.preset.profile, f"{sum(each.made for each in pieces)}/{len(seeds)}"),
                    f"{sum(not each.judging for each in pieces)}/{len(seeds)}",
                    spell_seconds(seconds),
                    "" if peak is None else f"{peak / 1e9:.1f} GB",
                    f"cannot run here: {blocked}" if blocked else "",
                )
            )
        yield f"{layout.study.name}: {layout.study.head.title}"
        yield render(COLUMNS, rows, "table")
        yield from total.lines()

    def piece(self, laid: Laid, seed: int, cost: Cost, networks: dict[str, int | None]) -> Piece:
        """The work that is left of one condensation of a cell and of its evaluations.

        `networks` has the number of networks of each evaluation, by the evaluation's name; None is the recipe's number.
        """
        preset = laid.seeded(seed)
        record = None if self.made is None else self.made.record(preset, seed)
        evaluations = laid.study.evaluations
        # The predicted seconds of each evaluation that is not stored completely. The key is a hash of the evaluation,
        # so that the same evaluation of the same set in two studies is counted once.
        judging = {
            digest([to_dict(evaluations[name]), networks[name]]): cost.judging.get(name, 0.0)
            for name in laid.cell.evaluations
            if self.made is None
            or record is None
            or not is_judged(self.made.store, record, evaluations[name], networks[name])
        }
        made = record is not None
        left = bool(judging) or not made
        blocked = (laid.obstacle or ("" if made else laid.too_large)) if left else ""
        trains = not made and not blocked and cost.epochs
        return Piece(
            key=set_key(preset, seed),
            made=made,
            outer=cost.outer.seconds or 0.0,
            operations=cost.outer.operations,
            judging=judging,
            experts=self._training(preset.config, cost.epochs, cost.epoch_seconds) if trains else {},
            blocked=blocked,
        )

    def _training(self, config: CondenseConfig, epochs: int, epoch_seconds: float) -> dict[tuple[str, int], float]:
        """The predicted seconds until each expert has `epochs` epochs, by the key and the index of the expert.

        If an expert is missing and the experts have a filter, the experts that score the images are among them.
        """
        stored = self.experts.epochs(config)
        key = _experts_key(config)
        found = {(key, index): max(0, epochs - have) * epoch_seconds for index, have in enumerate(stored)}
        scoring, chosen = config.experts.scoring(), config.experts.filter
        if scoring is None or chosen is None or min(stored) >= epochs:
            return found
        return found | self._training(replace(config, experts=scoring), chosen.scorer_epochs, epoch_seconds)


def _experts_key(config: CondenseConfig) -> str:
    """A hash that identifies the experts of a configuration.

    The number of experts is not part of it: a configuration with fewer experts uses the first experts of one with more.
    """
    training = {**to_dict(config.experts), "count": None}
    return digest([config.dataset, config.image_size, config.architecture, config.zca, config.validation, training])


@dataclass(frozen=True, kw_only=True)
class Piece:
    """The work that is left of one condensation and its evaluations. All seconds are predictions."""

    key: str  # a hash that identifies the set (`set_key`)
    made: bool  # whether the set is stored; its outer steps are then not left to do
    outer: float  # seconds of all outer steps of the condensation
    operations: float  # floating-point operations of all outer steps
    judging: dict[str, float]  # seconds of each evaluation that is left; the keys are hashes of the evaluations
    # Seconds of the missing training of each expert. The keys are the hash of `_experts_key` and the expert's number.
    experts: dict[tuple[str, int], float]
    blocked: str  # the reason why the work cannot be done on this machine; "" if it can


@dataclass(kw_only=True)
class Total:
    """The sums over the pieces of one study or of several studies.

    Each value is stored under the key of its set, evaluation or expert, so work that pieces share is counted once.
    """

    outer: dict[str, float] = field(default_factory=dict)  # seconds of the outer steps of each set
    judging: dict[tuple[str, str], float] = field(default_factory=dict)  # seconds, by (set, evaluation)
    experts: dict[tuple[str, int], float] = field(default_factory=dict)  # seconds of training, as in `Piece.experts`
    # Operations of the outer steps of each set that is not stored, also of sets that cannot be made on this machine.
    operations: dict[str, float] = field(default_factory=dict)
    # The condensations that cannot run on this machine: their set keys, or their names if they have no preset.
    blocked: set[str] = field(default_factory=set)

    def add(self, piece: Piece) -> float:
        """Add the work that is left of a piece.

        Returns by how many seconds the sum of outer steps and evaluations grows. Experts are not part of this sum.
        """
        if not piece.made:
            self.operations[piece.key] = piece.operations
        if piece.blocked:
            self.blocked.add(piece.key)
            return 0.0
        before = self.seconds
        if not piece.made:
            self.outer[piece.key] = piece.outer
        self.judging |= {(piece.key, name): seconds for name, seconds in piece.judging.items()}
        for expert, seconds in piece.experts.items():
            self.experts[expert] = max(seconds, self.experts.get(expert, 0.0))
        return self.seconds - before

    @property
    def seconds(self) -> float:
        """The predicted seconds of all outer steps and evaluations that are left to do on this machine."""
        return sum(self.outer.values()) + sum(self.judging.values())

    def lines(self) -> Iterator[str]:
        """The sums as lines of text."""
        yield (
            f"left: about {spell_seconds(self.seconds)} on this machine, and "
            f"{spell_seconds(sum(self.experts.values()))} for experts that are not stored yet"
        )
        operations = sum(self.operations.values())
        yield (
            f"operations of the outer steps of {len(self.operations)} condensations: {operations:.1e}, "
            f"{operations / TABLE_6 / 3600:,.1f} hours of an A6000 at the speed of the paper's Table 6"
        )
        if self.blocked:
            yield f"{len(self.blocked)} condensations cannot run here"
