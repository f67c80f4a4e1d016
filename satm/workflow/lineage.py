"""The lineage of a set as a tree: under the set are the things that it was made from.

These are its run, experts, teacher, parent sets and data. This module does not import torch, so that it loads fast.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from registry import Registry
from satm.errors import RegistryError
from satm.home import home


@dataclass(frozen=True, kw_only=True)
class Origin:
    """One node of a lineage: a thing, and the things that it was made from."""

    kind: str  # set, run, experts, teacher, data, file or environment
    id: str  # the name of a set that is stored in this registry; for other things their id or hash
    about: str  # a description in one line, or ""
    origins: tuple[Origin, ...] = ()  # the things that it was made from

    def lines(self, depth: int = 0) -> Iterator[str]:
        """The tree as lines of text, indented by two spaces for each level from `depth` on."""
        yield f"{'  ' * depth}{self.kind} {self.id}{f': {self.about}' if self.about else ''}"
        for origin in self.origins:
            yield from origin.lines(depth + 1)


def lineage(reference: str, store: Registry) -> Origin:
    """The lineage of the stored set that `reference` names.

    A parent that is a set or a run of the registry is followed to its own origins.

    Raises the errors of `Registry.find` for `reference`.
    """
    return _of_set(reference, store, frozenset())


def _of_set(reference: str, store: Registry, above: frozenset[str]) -> Origin:
    # `above` has the ids of the sets on the path from the root to this node. They are not followed again, so that the
    # tree is finite.
    record = store.find(reference)
    origins = [] if record.run_id is None else [_of_run(record.run_id, store)]
    parents = [parent.partition(":") for parent in record.parents]
    data = tuple(Origin(kind="data", id=id, about="hash of the images") for kind, _, id in parents if kind == "data")
    for kind, _, id in parents:
        if kind in ("experts", "teacher"):
            origins.append(Origin(kind=kind, id=id, about=_on_disk(kind, id), origins=data))
        elif kind == "run":
            origins.append(_of_run(id, store))
        elif kind == "set" and id not in above:
            known = any(each.id == id for each in store.sets())
            origins.append(
                _of_set(id, store, above | {record.id})
                if known
                else Origin(kind="set", id=id, about="not in this registry")
            )
        elif kind != "data":
            origins.append(Origin(kind=kind, id=id, about=""))
    origins += data
    return Origin(kind="set", id=record.name, about=f"id {record.id}, seed {record.seed}", origins=tuple(origins))


def _of_run(run_id: str, store: Registry) -> Origin:
    try:
        run = store.run(run_id)
    except RegistryError:
        return Origin(kind="run", id=run_id, about="not in this registry")
    facts = store.environment(run.environment_id).facts
    made = f"torch {facts.get('torch')}, satm {facts.get('satm')} ({facts.get('commit') or 'no commit'})"
    where = Origin(kind="environment", id=run.environment_id[:12], about=f"{made}, {facts.get('cpu')}")
    about = f"{run.kind} on {run.device} at profile {run.profile}, {run.started[:10]}: {run.command}"
    return Origin(kind="run", id=run.id, about=about, origins=(where,))


def _on_disk(kind: str, key: str) -> str:
    place = home() / ("experts" if kind == "experts" else "teachers")
    files = list((place / key).glob("*.safetensors")) if kind == "experts" else list(place.glob(f"{key}.safetensors"))
    return f"{len(files)} on this machine" if files else "not on this machine (they are trained again if needed)"
