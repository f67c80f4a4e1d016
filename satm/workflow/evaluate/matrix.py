"""Several sets on several architectures, resumed network by network, and what their numbers say."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from evaluation.matrix import Line, Matrix
from registry import Registry
from registry.results import recipe_id
from satm.errors import ConfigError, Diverged
from satm.machine.device import resolve_device
from satm.machine.fused import Compilation, Fused
from satm.progress import SILENT, Progress
from satm.synthetic import digest
from satm.workflow.evaluate.in_domain import stored, train_missing
from satm.workflow.evaluate.subject import Entrant, Memory, find_entrant, open_subject


def evaluate_matrix(
    references: Sequence[str] = ("latest",),
    *,
    architectures: Sequence[str],
    baseline: Literal["random"] | None = None,
    against: str | None = None,
    recipe: str | None = None,
    repeats: int | None = None,
    learning_rate: float | Literal["learned", "grid"] | None = None,
    prefix: int | None = None,
    device: str = "auto",
    compilation: Compilation = "auto",
    registry: Path | str = "satm.db",
    data_root: Path | None = None,
    dry_run: bool = False,
    progress: Progress = SILENT,
) -> Matrix:
    """Train every set on every architecture, the sets' own ones included, under one recipe, and compare.

    `against` names what each set is compared with, by differences paired over repeats: "random" (as many random real
    images, which `baseline` adds too) or a set, which joins the others. Random images are trained once for all sets
    that they would be the same for. A network depends on its architecture, its repeat and its memory alone: whatever
    the registry holds is not trained again, in whatever order or pieces it was made. `dry_run` trains nothing and
    returns what is stored. The other arguments are `evaluate`'s.

    Raises ConfigError for sets of different data sets or default recipes, UnknownName and ConfigError for an
    architecture, all before anything is trained; Interrupted with every finished network stored; Diverged at the end
    when the other networks are done.
    """
    where = resolve_device(device)
    versus_random = against == "random" or (against is None and baseline == "random")
    wanted = [*references, *([against] if against not in (None, "random") else [])]
    with Registry.open(registry, must_exist=True, read_only=dry_run) as store:
        found = [
            find_entrant(store, name, recipe=recipe, learning_rate=learning_rate, prefix=prefix) for name in wanted
        ]
        entrants = list({entrant.record.id: entrant for entrant in found}.values())
        _check_comparable(entrants)
        asked = [*(entrant.own for entrant in entrants), *architectures]
        names = list(dict.fromkeys(entrant.canonical(name) for name in asked for entrant in entrants))
        chosen = entrants[0].recipe
        count = chosen.repeats if repeats is None else repeats
        for_random = _kinds(entrants) if versus_random or baseline else {}
        work: list[tuple[Entrant, tuple[Memory, ...]]] = [
            (entrant, ("condensed", "random") if for_random.get(entrant.record.id) is entrant else ("condensed",))
            for entrant in entrants
        ]
        under = recipe_id(chosen.name, chosen.to_dict())
        total = sum(len(memories) for _, memories in work) * len(names) * count
        there = sum(
            row.repeat < count
            for entrant, memories in work
            for memory in memories
            for row in stored(store, entrant, memory, names, under)
        )
        progress.say(
            f"{len(entrants)} sets{', random images' if for_random else ''} on {', '.join(names)}, {count} networks "
            f"each, recipe {chosen.name} ({chosen.epochs} epochs): {there} of {total} networks are stored"
        )
        shared: dict[tuple[str, int], Fused | None] = {}
        diverged = []
        for entrant, memories in [] if dry_run or there == total else work:
            subject = open_subject(
                store,
                entrant.record.id,
                recipe=recipe,
                learning_rate=learning_rate,
                data_root=data_root,
                device=device,
                progress=progress,
                prefix=prefix,
            )
            for memory in memories:
                try:
                    train_missing(
                        store,
                        subject,
                        names,
                        [memory],
                        kind="eval-arch",
                        repeats=count,
                        device=where,
                        compilation=compilation,
                        shared=shared,
                        progress=progress,
                    )
                except Diverged as error:
                    diverged.append(f"{entrant.record.name}, {memory}: {error}")
        if diverged:
            raise Diverged("; ".join(diverged))
        sets = {e.record.id: _line(store, e, "condensed", names, under, count) for e in entrants}
        randoms = {
            e.record.id: _line(store, e, "random", names, under, count) for e, memories in work if "random" in memories
        }
    versus: dict[str, Line] = {}
    if versus_random:
        versus = {e.record.name: randoms[for_random[e.record.id].record.id] for e in entrants}
    elif against is not None:
        versus = {e.record.name: sets[found[-1].record.id] for e in entrants}
    return Matrix(
        recipe=chosen.name,
        architectures=tuple(names),
        sets=tuple(sets.values()),
        randoms=tuple(randoms.values()),
        against=versus,
    )


def _check_comparable(entrants: Sequence[Entrant]) -> None:
    first = entrants[0]
    for other in entrants[1:]:
        here, there = ((e.config.dataset, e.synthetic.image_shape, e.synthetic.classes) for e in (first, other))
        known = [data for data in (_data(first), _data(other)) if data]  # an imported set may never have seen its own
        if here != there or known[:1] != known[-1:]:
            raise ConfigError(
                f"{first.record.name} and {other.record.name} are not of the same images: {_spell(first)} and "
                f"{_spell(other)}; a matrix holds sets of one data set"
            )
        if first.recipe != other.recipe:
            raise ConfigError(
                f"{first.record.name} would be judged by the recipe {first.recipe.name}, {other.record.name} by "
                f"{other.recipe.name}; name one for both with --recipe"
            )


def _spell(entrant: Entrant) -> str:
    size = "×".join(map(str, entrant.synthetic.image_shape))
    return f"{entrant.config.dataset}, {size}, {len(entrant.synthetic.classes)} classes"


def _data(entrant: Entrant) -> list[str]:
    return sorted(parent for parent in entrant.record.parents if parent.startswith("data:"))


def _kinds(entrants: Sequence[Entrant]) -> dict[str, Entrant]:
    """By the id of each set, the first one whose random images would be the same, pixel for pixel, and called alike."""
    firsts: dict[str, Entrant] = {}
    found = {}
    for entrant in entrants:
        kind = digest(
            {
                "ipc": entrant.synthetic.ipc,
                "preprocessing": entrant.synthetic.preprocessing.to_dict(),
                "data": _data(entrant),
                "own": entrant.own,
                "profile": entrant.profile,
            }
        )
        found[entrant.record.id] = firsts.setdefault(kind, entrant)
    return found


def _line(store: Registry, entrant: Entrant, memory: Memory, names: Sequence[str], under: str, repeats: int) -> Line:
    rows = [row for row in stored(store, entrant, memory, names, under) if row.repeat < repeats]
    return Line(
        name=entrant.record.name,
        memory=entrant.stored_memory(memory),
        profile=entrant.profile,
        own=entrant.own,
        accuracies={
            name: {row.repeat: row.value for row in rows if row.architecture == name}
            for name in names
            if any(row.architecture == name for row in rows)
        },
        adaptations={row.architecture: row.detail["adaptation"] for row in rows},
    )
