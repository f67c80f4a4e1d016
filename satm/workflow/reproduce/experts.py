"""Finds how many epochs of the experts of a study's cells are already stored."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from satm.config import to_dict
from satm.data import ImageData
from satm.data.lookup import at_hand
from satm.errors import DamagedFile, SatmError
from satm.experts.train import expert_store
from satm.home import home
from satm.kept import opened
from satm.presets import CondenseConfig
from satm.progress import SILENT
from satm.workflow.condense.inputs import load_data


@dataclass(frozen=True)
class StoredExperts:
    """Counts the stored epochs of experts.

    The key of stored experts depends on the images of the data set, so the data set must be read to find them. Reading
    takes long. So it is read only if experts with the same architecture and training settings are stored, whatever
    their data set.
    """

    data_root: Path | None
    _data: dict[tuple[object, ...], ImageData | None] = field(default_factory=dict)  # the data sets read so far

    @cached_property
    def trainings(self) -> tuple[Mapping[str, Any], ...]:
        """The architecture and the training settings of each group of experts that is stored in SATM_HOME."""
        found = []
        for folder in (home() / "experts").glob("*/"):
            file = next(iter(sorted(folder.glob("*.safetensors"))), None)
            if file is not None and (facts := _facts(file)) is not None:
                found.append({"architecture": facts.get("architecture"), "training": facts.get("training")})
        return tuple(found)

    def epochs(self, config: CondenseConfig) -> tuple[int, ...]:
        """For each expert of a configuration, the number of its epochs that are stored."""
        none = (0,) * config.experts.count
        # The settings in the form that `expert_store` writes: without the number of experts, and without a `flat` that
        # is None.
        training = {k: v for k, v in to_dict(config.experts).items() if k != "count" and (k, v) != ("flat", None)}
        if {"architecture": config.architecture, "training": training} not in self.trainings:
            return none
        data = self._read(config)
        if data is None:
            return none
        store = expert_store(data, config.architecture, config.experts)
        return tuple(store.epochs(index) for index in range(config.experts.count))

    def _read(self, config: CondenseConfig) -> ImageData | None:
        """The data set of a configuration; None if it is not on this machine or cannot be read."""
        key = (config.dataset, config.image_size, config.zca, config.validation, config.classes, config.domain)
        if key not in self._data:
            self._data[key] = None
            if at_hand(config.dataset, self.data_root):
                with suppress(SatmError):  # the user sees this error later, when a condensation reads the data
                    self._data[key] = load_data(config, data_root=self.data_root, progress=SILENT)
        return self._data[key]


def _facts(file: Path) -> Mapping[str, Any] | None:
    """The description that is stored in an expert's file; None if the file is damaged."""
    try:
        with opened(file) as kept:
            return None if kept is None else dict(kept.about["facts"])
    except (DamagedFile, KeyError, TypeError, ValueError):
        return None
