"""Trains several experts at the same time, in worker processes or on a Ray cluster."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from satm.errors import SatmError
from satm.experts.train import expert_store
from satm.home import home
from satm.methods import METHODS
from satm.presets import CondenseConfig
from satm.progress import SILENT, Progress
from satm.workflow.condense.inputs import check_request, load_data, prepare_experts
from satm.workflow.fan_out import LocalWorkers, Place, Work, fan_out


@dataclass(frozen=True, kw_only=True)
class TrainExperts:
    """A task that trains some of the experts of a configuration."""

    config: CondenseConfig
    indices: tuple[int, ...]

    @property
    def name(self) -> str:
        """The name of the task that is shown to users."""
        return f"expert{'s' if len(self.indices) > 1 else ''} {', '.join(map(str, self.indices))}"

    def run(self, work: Work) -> None:
        """Train these experts. A stored expert is trained only for the epochs that it lacks."""
        data = load_data(self.config, data_root=work.data_root, device=work.device, progress=work.progress)
        prepare_experts(self.config, data, only=self.indices, device=work.device, progress=work.progress)


def fan_out_experts(
    config: CondenseConfig,
    place: Place,
    *,
    device: str = "auto",
    threads: int | None = None,
    data_root: Path | None = None,
    progress: Progress = SILENT,
) -> None:
    """Train the missing experts of `config` at `place`.

    A local worker trains several experts one after another. On a Ray cluster each expert is a task of its own.

    Raises SatmError if a task failed, or if experts were stored on another host and cannot be read on this one. Raises
    Interrupted if the user asks to stop.
    """
    here = device if place.is_here else "auto"  # this machine may not have the device of the other hosts
    data = load_data(config, data_root=data_root, device=here, progress=progress)
    check_request(config, data)
    epochs = METHODS.get(config.method).expert_epochs(config.settings)
    if epochs is None:
        return
    store = expert_store(data, config.architecture, config.experts)
    del data  # each worker loads its own data

    def missing() -> list[int]:
        return [index for index in range(config.experts.count) if store.epochs(index) < epochs]

    absent = missing()
    # A process needs seconds to start, and more time to load the data and to compile. So there is one task for each
    # local worker, and not one for each expert.
    parts = min(place.count, len(absent)) if isinstance(place, LocalWorkers) else len(absent)
    tasks = [TrainExperts(config=config, indices=tuple(absent[part::parts])) for part in range(parts)]
    work = Work(registry=home() / "experts.db", device=device, threads=threads, data_root=data_root, progress=progress)
    failed = [f"{each.task.name}: {each.error}" for each in fan_out(tasks, place, work) if each.error is not None]
    if failed:
        raise SatmError(f"{len(failed)} of {len(tasks)} tasks failed: {'; '.join(failed)}")
    if left := missing():
        raise SatmError(
            f"{len(left)} of {config.experts.count} experts lie in the SATM_HOME of other hosts; set SATM_HOME to a "
            "folder that all hosts share"
        )
