"""Finds in a registry the condensation run of a preset and a seed, and the synthetic set that the run made."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

from registry import Registry, RunRecord, SetRecord
from satm.canonical import digest
from satm.presets import Preset


def set_key(preset: Preset, seed: int) -> str:
    """A hash of the preset's configuration, its profile and the seed.

    The device and the data files are not in the hash, so runs on two devices, or from two copies of the data, have the
    same key.
    """
    return digest([preset.config.to_dict(), preset.profile, seed])


@dataclass(frozen=True)
class MadeRuns:
    """The condensation runs of a registry, found by their `set_key`. The registry is read once, at the first use.

    Two kinds of runs are left out: runs that began at the saved state of another run, and runs that made the set of one
    step of a class-incremental stream.
    """

    store: Registry
    dataset: str | None = None  # the only data set whose runs are read; None: the runs of all data sets are read

    @cached_property
    def by_key(self) -> Mapping[str, RunRecord]:
        """One run for each key: the newest finished run of the key, or its newest run if none is finished."""
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
        """The stored set of this preset and seed; None if no run of them is finished."""
        run = self.run(preset, seed)
        return self.store.find(run.set_id) if run is not None and is_finished(run) and run.set_id else None


def is_finished(run: RunRecord) -> bool:
    """Return whether the run has come to its end and has stored its set."""
    return run.status == "done" and run.set_id is not None
