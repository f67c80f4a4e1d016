"""The section of the report with a card for each set: its facts, command, departures, lineage and configuration."""

from __future__ import annotations

from registry import SetRecord
from satm.parametrisation import PIXELS, parametrisation_from_dict
from satm.report.page import Card, Section
from satm.report.tables import to_json
from satm.workflow.lineage import lineage
from satm.workflow.reporting.material import Material, left_out
from satm.workflow.reporting.words import card_key, sized

CARDS = 100


def shown(material: Material) -> list[SetRecord]:
    """The sets that have a card: at most `CARDS`.

    First come the newest set of every group, then all other sets, each part sorted from new to old.
    """
    newest = {group.newest.id for group in material.groups}
    youngest = material.sets[::-1]
    return sorted(youngest, key=lambda each: each.id not in newest)[:CARDS]


def section(material: Material) -> Section:
    """The section with the cards."""
    tags: dict[str, list[str]] = {}
    for tag, set_id in material.store.tags().items():
        tags.setdefault(set_id, []).append(tag)
    chosen = shown(material)
    return Section(
        key="sets",
        title="Sets",
        about="Each set with everything that made it.",
        blocks=tuple(_card(record, material, tags.get(record.id, [])) for record in chosen),
        missing="There is no set yet. satm condense digits --ipc 1 makes one.",
        left_out=left_out(len(material.sets) - len(chosen), "sets"),
    )


def _card(record: SetRecord, material: Material, tags: list[str]) -> Card:
    run = material.run_of(record)
    about = record.about
    facts = [
        ("id", record.id),
        ("made", record.created[:19].replace("T", " ") + " UTC"),
        ("profile", record.profile),
        ("seed", str(record.seed)),
        ("images", f"{record.images} of {' × '.join(map(str, record.image_shape))}, {sized(record.bytes)}"),
        ("classes", f"{len(about['classes'])}: {', '.join(map(str, about['classes'][:20]))}"),
        ("labels", record.label_kind),
        ("step size α", "none" if record.step_size is None else f"{record.step_size:.6g}"),
        ("preprocessing", str(about["preprocessing"].get("kind", "unknown"))),
    ]
    stored = parametrisation_from_dict(about.get("parametrisation"))
    if stored != PIXELS:
        facts.append(("parametrisation", f"{stored.spell()}: networks see {record.images * stored.each} images"))
    if run is not None and run.folder is not None:
        facts.append(("working folder", run.folder))
    facts += [("tags", ", ".join(tags))] if tags else []
    if run is not None:
        facts += [("run", f"{run.id}, {run.status}"), ("device", run.device)]
        facts += [("seconds", f"{run.seconds:.1f} in {run.sessions} session{'s' * (run.sessions != 1)}")]
        facts += [("source of its numbers", str(run.config["source"]))] if run.config.get("source") else []
    departures = [] if run is None else run.config.get("departures", [])
    return Card(
        key=card_key(record.id),
        name=record.name,
        summary=f"profile {record.profile}, seed {record.seed}, {record.created[:10]}",
        facts=tuple(facts),
        command="none is stored: the set was imported or made from Python" if run is None else run.command_line,
        departures=tuple(map(str, departures)),
        lineage="\n".join(lineage(record.name, material.store).lines()),
        config=to_json(about.get("config", {})),
    )
