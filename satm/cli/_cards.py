"""Makes the card of a set or a run: lines of text that show what the registry stores about the set or run."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from satm.cli._short import short_lines, terminal_width
from satm.cli._tables import count
from satm.parametrisation import PIXELS, parametrisation_from_dict
from satm.printable import printable
from satm.progress import spell_seconds
from satm.report.fit import wrapped

if TYPE_CHECKING:
    from registry import RunRecord, SetRecord
    from satm.workflow.grouped import GroupRow
    from satm.workflow.lineage import Origin

LABEL = 15  # the width of the left column, in characters; it holds the names of the lines
SHORT = 12  # the number of digits that are shown of an id
NAMES = 12  # the largest number of classes whose names are shown
# For each profile, what a reader should know about the numbers of a set or run with this profile.
SCALES = {
    "cpu": "a small scale for a CPU: do not compare its numbers with a paper's",
    "smoke": "a trial scale: its numbers say that it runs, and nothing else",
    "custom": "the paper's scale with settings replaced by hand",
    "foreign": "imported: made by somebody else, and nothing is known of how it was selected",
}

Line = tuple[str, str]  # the name at the left, and the text beside it


def set_card(
    record: SetRecord,
    run: RunRecord | None,
    *,
    tags: Sequence[str],
    origin: Origin,
    results: Sequence[GroupRow],
) -> list[str]:
    """Return the lines of a set's card: what the set is, how and from what it was made, and its most important results.

    `run` is the run that made the set; None if it is not known. `origin` is the set's tree of origins: everything that
    it was made from.
    """
    about = record.about
    classes = list(about["classes"])
    more = f" … {len(classes)} in all" if len(classes) > NAMES else ""
    shape = "×".join(map(str, record.image_shape))
    step = (
        "none: an evaluation chooses the learning rate" if record.step_size is None else f"α = {record.step_size:.4g}"
    )
    lines: list[Line] = [
        ("set", record.name + (f" (tags: {', '.join(tags)})" if tags else "")),
        ("id", record.id[:SHORT]),
        ("method", record.method),
        ("data set", f"{record.dataset}: {', '.join(classes[:NAMES])}{more}"),
        (
            "images",
            f"{record.images}, {record.ipc} a class, {shape}, {record.label_kind} labels, {record.bytes:,} bytes",
        ),
        *_parametrisation(record),
        ("profile", _profile(record.profile)),
        ("step size", step),
        ("preprocessing", _preprocessing(about["preprocessing"])),
        ("seed", str(record.seed)),
        ("stored", _when(record.created)),
    ]
    lines += [] if run is None else [*_recipe(run), *_made(run)]
    lines += [("made from", text) for text in _origins(origin)]
    return [*_shown(lines), "", *_results(results, f"satm eval {record.name}")]


def _parametrisation(record: SetRecord) -> list[Line]:
    """Return a line with the number of images that networks see; [] if networks see the stored images themselves."""
    stored = parametrisation_from_dict(record.about.get("parametrisation"))
    seen = f"{stored.spell()}: networks see {record.images * stored.each} images, {stored.each} of each"
    return [] if stored == PIXELS else [("stored as", seen)]


def run_card(
    run: RunRecord,
    state: str,
    *,
    sets: Sequence[str],
    environment: Mapping[str, Any],
    metrics: Mapping[str, tuple[int, float]],
    saved: Sequence[Path | str],
    results: Sequence[GroupRow],
) -> list[str]:
    """Return the lines of a run's card.

    They show the work of the run, its settings, where it ran, how it ended, the names of the sets that it made, and the
    most important results of one set, `run.set_id`.

    Args:
        state: what the run does now, as `registry.process.state` returns it.
        sets: the names of the sets that the run made.
        environment: the facts of `registry.provenance.environment`.
        metrics: the step and the value of the last entry of each metric, by name. A value can be NaN.
        saved: the files with the saved state of the run.
        results: the most important results of the set `run.set_id`, which the run made or worked on; empty if there is
            no such set.
    """
    ipc = "" if run.ipc is None else f", {run.ipc} a class"
    ways = {"running": "", "done": ""}.get(state, f"; satm runs resume {run.id} goes on")
    lines: list[Line] = [
        ("run", f"{run.id}, {run.kind}"),
        ("state", f"{state}{f': {run.message}' if run.message else ''}{ways}"),
        ("data set", f"{run.dataset}{ipc}"),
        *([("method", run.method)] if run.method else []),
        ("profile", _profile(run.profile)),
        ("seed", str(run.seed)),
        *_recipe(run),
        *_made(run),
    ]
    facts = [f"{name} {environment[name]}" for name in ("satm", "torch", "python") if environment.get(name)]
    lines.append(("software", ", ".join([*facts, *([str(environment["cpu"])] if environment.get("cpu") else [])])))
    lines += _last_metrics(metrics)
    lines += [("made", name) for name in sets] + [("saved state", str(file)) for file in saved]
    return [*_shown(lines), *(["", *_results(results, "satm eval")] if results else [])]


def _last_metrics(metrics: Mapping[str, tuple[int, float]]) -> Iterator[Line]:
    """Yield a line for each step at which some metric has its last entry, the latest step first.

    Not every metric is measured at every step.
    """
    for step in sorted({step for step, _ in metrics.values()}, reverse=True):
        found = [(name, value) for name, (at, value) in sorted(metrics.items()) if at == step]
        yield f"step {step}", ", ".join(f"{name} {value:.4g}" for name, value in found)


def _recipe(run: RunRecord) -> Iterator[Line]:
    """Yield the preset of a condensation, the source of its settings, where they depart from this source, and notes."""
    config = run.config
    if config.get("preset"):
        yield "preset", config["preset"]
    if isinstance(config.get("source"), str):
        yield "numbers from", config["source"]
    for each in config.get("departures") or ():
        yield "departure", str(each)
    notes = config.get("notes")
    for each in notes.values() if isinstance(notes, Mapping) else ():
        yield "note", str(each)


def _made(run: RunRecord) -> Iterator[Line]:
    """Yield the exact command of a run, its folder, and how long, where and when it ran."""
    yield "command", run.command_line
    if run.folder:
        yield "in folder", run.folder
    sessions = f" in {count(run.sessions, 'session')}" if run.sessions > 1 else ""
    host = f", host {run.host}" if run.host else ""
    yield "took", f"{spell_seconds(run.seconds)}{sessions} on {run.device}{host}, run {run.id}, {_when(run.started)}"


def _profile(name: str) -> str:
    return f"{name}: {SCALES[name]}" if name in SCALES else name


def _preprocessing(stored: Mapping[str, Any]) -> str:
    facts = {name: value for name, value in stored.items() if name != "kind"}
    texts = [f"{name} {_value(value)}" for name, value in facts.items() if value not in (None, [], ())]
    return ": ".join(filter(None, (str(stored["kind"]), ", ".join(texts))))


def _value(value: Any) -> str:
    if isinstance(value, list | tuple):
        return " ".join(map(_value, value))
    return f"{value:.4g}" if isinstance(value, float) else str(value)[:SHORT] if isinstance(value, str) else str(value)


def _origins(origin: Origin, depth: int = 0) -> Iterator[str]:
    """Yield one line for each origin below `origin` in the tree, indented by its depth.

    The id of an origin is shortened, except for a set, which has its name as id. The command of a run is left out.
    """
    for each in origin.origins:
        about = each.about.partition(": ")[0] if each.kind == "run" else each.about
        shortened = each.id if each.kind == "set" else each.id[:SHORT]
        yield f"{'· ' * depth}{each.kind} {shortened}{f', {about}' if about else ''}".replace(each.id, shortened)
        yield from _origins(each, depth + 1)


def _results(rows: Sequence[GroupRow], command: str) -> list[str]:
    return short_lines(rows, terminal_width()) if rows else [f"no results yet: {command}"]


def _shown(lines: Sequence[Line]) -> list[str]:
    """Return the printed lines: the names at the left, and the texts wrapped to the rest of the terminal's width.

    If neighbouring lines have the same name, it is shown only once.
    """
    shown, before = [], ""
    for name, text in lines:
        parts = wrapped([printable(text)], max(20, terminal_width() - LABEL)).split("\n")
        label = "" if name == before else name
        shown += [
            f"{each:{LABEL}}{part}".rstrip() for each, part in zip([label, *[""] * len(parts)], parts, strict=False)
        ]
        before = name
    return shown


def _when(text: str) -> str:
    return f"{text[:10]} {text[11:16]} UTC"
