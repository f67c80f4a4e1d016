"""Reads the arguments of a condensation back from its stored run, so that the same work can be done again."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from registry import Registry, RunRecord
from satm.errors import ConfigError, RegistryError
from satm.presets import CondenseConfig, Preset
from satm.workflow.condense.job import Job
from satm.workflow.condense.judging import Judging


@dataclass(frozen=True, kw_only=True)
class Recorded:
    """The arguments of `condense` that a run stored.

    Runs of older versions of satm did not store `threads` and `parent`; both are None then.
    """

    preset: Preset
    seed: int
    device: str
    data_root: Path | None
    start_from: str | None
    parent: str | None
    threads: int | None  # the number of CPU threads of the last process that worked on the run
    judging: Judging | None = None

    @classmethod
    def of(cls, run: RunRecord) -> Recorded:
        """Read the arguments from a stored run.

        Raises RegistryError if the run is no condensation, or if a fact that is needed was not stored.
        """
        if run.kind != "condense":
            raise RegistryError(f"run {run.id} is of the kind {run.kind}: it condensed nothing")
        facts = run.config
        try:
            # Departures are the ways in which a run differs from its source. If the run began at the saved state of
            # another run, its last departure says so. That departure is left out, because `condense` adds it again.
            departures = facts["departures"][: -1 if facts.get("start") else None]
            preset = Preset(
                name=facts["preset"],
                profile=run.profile,
                config=CondenseConfig.from_dict(facts["condense"]),
                source=facts["source"],
                departures=tuple(departures),
            )
            root = facts["data_root"]
            judging = None if facts.get("judging") is None else Judging.from_dict(facts["judging"])
        except (KeyError, TypeError) as error:
            raise RegistryError(f"run {run.id} does not hold what it condensed ({error!r}); condense again") from error
        return cls(
            preset=preset,
            seed=run.seed,
            device=run.device,
            data_root=None if root is None else Path(root),
            start_from=facts.get("start"),
            parent=facts.get("parent"),
            threads=facts.get("threads"),
            judging=judging,
        )


def check_continues(store: Registry, run_id: str | None, job: Job) -> None:
    """Raise ConfigError if `job` is not the job of the run `run_id`. If `run_id` is None, nothing is checked."""
    if run_id is not None and store.run(run_id).key != job.key:
        raise ConfigError(
            f"run {run_id} cannot be continued from here: its images have changed, it ran on another kind of device "
            f"than {job.device.type}, or an older version of satm stored it; give its --device or --data-root, or "
            "condense again"
        )
