"""The card of a set and of a run: what is stored of it as a page that a person can read."""

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

LABEL = 15  # columns of a terminal for the names at the left
SHORT = 12  # digits of an id
NAMES = 12  # classes that are named
SCALES = {
    "cpu": "a small scale for a CPU: no number stands beside a paper's",
    "smoke": "a trial scale: its numbers say that it runs, and nothing else",
    "custom": "the paper's scale with settings replaced by hand",
    "foreign": "imported: made by somebody else, and nothing is known of how it was selected",
}

Line = tuple[str, str]


def set_card(
    record: SetRecord,
    run: RunRecord | None,
    *,
    tags: Sequence[str],
    origin: Origin,
    results: Sequence[GroupRow],
) -> list[str]:
    """What a set is, what made it, from what, and its headline numbers."""
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
    """How many images networks see of the stored ones; [] if it is these."""
    stored = parametrisation_from_dict(record.about.get("parametrisation"))
    seen = f"{stored.spell()}: networks see {record.images * stored.each} images, {stored.each} of each"
    return [] if stored == PIXELS else [("stored as", seen)]


def run_card(
    run: RunRecord,
    state: str,
    *,
    sets: Sequence[str],
    environment: Mapping[str, Any],
    last_step: int | None,
    metrics: Mapping[str, float | None],
    saved: Sequence[Path | str],
    results: Sequence[GroupRow],
) -> list[str]:
    """What a run did, with which settings, where, how it ended, and the headline numbers of its set."""
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
    if last_step is not None:
        values = ", ".join(f"{name} {value:.4g}" for name, value in sorted(metrics.items()) if value is not None)
        lines.append((f"step {last_step}", values))
    lines += [("made", name) for name in sets] + [("saved state", str(file)) for file in saved]
    return [*_shown(lines), *(["", *_results(results, "satm eval")] if results else [])]


def _recipe(run: RunRecord) -> Iterator[Line]:
    """The preset of a condensation, where its numbers come from, and its departures from there."""
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
    """The exact command, where and when it ran, and how long."""
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
    """The lineage without the ids' ends, and without the commands, which the card has already."""
    for each in origin.origins:
        about = each.about.partition(": ")[0] if each.kind == "run" else each.about
        shortened = each.id if each.kind == "set" else each.id[:SHORT]
        yield f"{'· ' * depth}{each.kind} {shortened}{f', {about}' if about else ''}".replace(each.id, shortened)
        yield from _origins(each, depth + 1)


def _results(rows: Sequence[GroupRow], command: str) -> list[str]:
    return short_lines(rows, terminal_width()) if rows else [f"no results yet: {command}"]


def _shown(lines: Sequence[Line]) -> list[str]:
    """Names at the left, once each, and texts in what is left of the terminal."""
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
