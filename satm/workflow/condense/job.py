"""One condensation job: the key of its run, what the registry stores about the run, and the set that it makes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch

from registry import Registry
from satm.data import ImageData
from satm.experts.train import expert_store
from satm.methods import METHODS, Outcome
from satm.presets import Preset
from satm.synthetic import SyntheticSet
from satm.teachers.train import teacher_store
from satm.workflow.condense.start_from import Start
from satm.workflow.teachers import own_teacher

BEST = "best"  # the suffix of a sibling (another set of the same run): the images at the best validation accuracy


@dataclass(frozen=True, kw_only=True)
class Job:
    """Everything that decides the synthetic set of a condensation, and the registry that stores its run."""

    preset: Preset
    data: ImageData
    seed: int
    device: torch.device
    store: Registry  # stores the run of this job
    start: Start | None = None  # the saved state of another run at which this run begins; None: it begins at step 0
    # The id of the synthetic set that covers all classes, if this job makes the set of one class-incremental step.
    parent: str | None = None

    @property
    def key(self) -> str:
        """The key of the run and of its saved state. A job that is started again has the same key and so finds both.

        A saved state can be continued only in the registry that holds the metrics of the steps before it. So the key
        contains the UUID of the registry. The same job in another registry begins a state of its own.
        """
        return self.store.run_key(self.key_facts)

    @property
    def key_facts(self) -> dict[str, Any]:
        """Everything that decides the run, also the type of the device: on another type, the bits can differ."""
        return {
            "version": 1,
            "config": self.preset.config.to_dict(),
            "profile": self.preset.profile,
            "data": self.data.fingerprint,
            "seed": self.seed,
            "device": self.device.type,
            **({} if self.start is None else {"start": self.start.run}),
        }

    def facts(self, notes: Mapping[str, str]) -> dict[str, Any]:
        """The arguments of `Registry.start_run` for this job. `notes` are texts on how the condensation is computed."""
        preset, config = self.preset, self.preset.config
        later = () if self.start is None else (self.start.departure,)
        return {
            "key": self.key,
            "kind": "condense",
            "config": {
                "preset": preset.name,
                "source": preset.source,
                "departures": [*preset.departures, *later],
                "condense": config.to_dict(),
                "data_root": self.data.root,
                "notes": dict(notes),
                "start": None if self.start is None else self.start.run,
                "parent": self.parent,
                "threads": torch.get_num_threads(),
            },
            "profile": preset.profile,
            "dataset": config.dataset,
            "method": config.set_method,
            "ipc": config.ipc,
            "seed": self.seed,
            "device": str(self.device),
        }

    def describe(self, outcome: Outcome, *, sibling: str | None = None) -> SyntheticSet:
        """The set that the registry stores for `outcome`.

        `sibling` is None for the main set of the run. For another set of the run it is the suffix of the method's name.
        """
        config = self.preset.config
        method = config.set_method
        return SyntheticSet(
            images=outcome.images,
            labels=outcome.labels,
            label_kind=outcome.label_kind,
            step_size=outcome.step_size,
            dataset=config.set_dataset,
            classes=self.data.classes,
            ipc=config.ipc,
            method=method if sibling is None else f"{method}-{sibling}",
            preprocessing=self.data.preprocessing,
            parametrisation=config.decoding,
            profile=self.preset.profile,
            seed=self.seed,
            config={"condense": config.to_dict()},
            parents=self._parents(),
        )

    def _parents(self) -> tuple[str, ...]:
        """What the set was made from, as `KIND:ID`.

        The kinds are data, experts, teacher, run (the run at whose saved state it began) and set (the
        synthetic set that covers all classes, if this job makes the set of one class-incremental step).
        """
        config = self.preset.config
        parents = [f"data:{self.data.fingerprint}"]
        if METHODS.get(config.method).expert_epochs(config.settings) is not None:
            parents.append(f"experts:{expert_store(self.data, config.architecture, config.experts).key}")
        if (teacher := own_teacher(config)) is not None:
            parents.append(f"teacher:{teacher_store(self.data, teacher).key}")
        if self.start is not None:
            parents.append(f"run:{self.start.run}")
        if self.parent is not None:
            parents.append(f"set:{self.parent}")
        return tuple(parents)
