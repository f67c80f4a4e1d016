"""Finds the run of a configuration and seed in a registry, and the set that it made."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

from registry import Registry, RunRecord, SetRecord
from satm.canonical import digest
from satm.presets import Preset


def set_key(preset: Preset, seed: int) -> str:
    """Names what is condensed: a configuration, its profile and the seed. Runs on any device and data have it."""
    return digest([preset.config.to_dict(), preset.profile, seed])


@dataclass(frozen=True)
class MadeRuns:
    """The condensations of a registry by `set_key`, read once. Those that began at another run, or are a step of a
    class-incremental stream, do not count.
    """

    store: Registry
    dataset: str | None = None  # None: of all data sets

    @cached_property
    def by_key(self) -> Mapping[str, RunRecord]:
        """The newest finished run, else the newest run, of each key."""
        found: dict[str, RunRecord] = {}
        for run in self.store.runs(kind="condense", dataset=self.dataset):
            config = run.config.get("condense")
            if config is None or run.config.get("start") or run.config.get("parent"):
                continue
            key = digest([config, run.profile, run.seed])
            before = found.get(key)
            if before is None or is_finished(run) or not is_finished(before):
                found[key] = run
        return found

    def run(self, preset: Preset, seed: int) -> RunRecord | None:
        """The run of this preset and seed, finished or not; None if there is none."""
        return self.by_key.get(set_key(preset, seed))

    def record(self, preset: Preset, seed: int) -> SetRecord | None:
        """The set of this preset and seed; None if it is not finished."""
        run = self.run(preset, seed)
        return self.store.find(run.set_id) if run is not None and is_finished(run) and run.set_id else None


def is_finished(run: RunRecord) -> bool:
    """Whether the run has made its set."""
    return run.status == "done" and run.set_id is not None
