"""A chosen row of hyper-parameters: what `find_preset` hands to the two builders of presets."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import MISSING, dataclass, fields
from typing import Any

from satm.errors import PluginError
from satm.experts import ExpertConfig
from satm.methods import METHODS, Method, Traits
from satm.networks import convnet_name
from satm.presets._types import CondenseConfig, Numbers, Row
from satm.presets.profiles import Profile
from satm.presets.rows import nearest_row, own_table


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """A request for a preset, with the row and the scale that answer it."""

    method: Method
    base: Method  # the method whose numbers and experts count: `method` itself unless it extends another
    numbers: Mapping[str, Numbers]  # of every method
    dataset: str
    ipc: int
    classes: int | None  # of the data set; None: not known before it is read
    outer: str | None  # the outer rule that `--outer` names; None: the method's own
    scale: Profile
    printed: Row  # as the source prints it
    row: Row  # as it runs: fitted to the data set and within the limits of the scale
    row_ipc: int  # the IPC whose numbers are wanted: the named row's, else `ipc`
    augment: str  # DSA's strategy for the data set
    departures: tuple[str, ...]  # of the row from the request

    def data_settings(self) -> Mapping[str, Any]:
        """The settings of the method that follow from the data set."""
        return self.method.data_settings(Traits(image_size=self.row.image_size, augment=self.augment))

    def plain_experts(self) -> ExpertConfig:
        """MTT's experts, as many as the method uses at this scale."""
        return ExpertConfig(
            count=self.method.expert_count or self.row.expert_count,
            lr=self.row.expert_lr,
            batch_size=self.row.expert_batch,
            augment=self.augment,
        )

    def own_row(self) -> Row | None:
        """The row of the base's own table whose settings count: one of the data set's own, or the nearest.

        None: the base has no settings of its own. They count even if another method's row stands in for the rest.
        """
        rows = [row for row in own_table(self.numbers, self.base.name) if row.settings]
        rows = [row for row in rows if row.dataset == self.dataset] or [row for row in rows if row.donor]
        return nearest_row(rows, self.ipc, self.row.image_size) if rows else None

    def build(self, given: Mapping[str, Any]) -> Any:
        """The configuration of the method with the settings `given`, under its base if it extends another method.

        Raises PluginError if the method of another package has a setting that is not given and has no default.
        """
        kind = self.method.config
        if self.method.base is not None:
            return kind.over(self.base.name, **given)
        missing = [
            each.name
            for each in fields(kind)
            if each.name not in given and each.default is MISSING and each.default_factory is MISSING
        ]
        if missing:
            name = self.method.name
            raise PluginError(
                f"method '{name}' of {METHODS.owner(name)} has no default for {', '.join(missing)}, which no preset "
                "knows; that package must give one"
            )
        return kind(**given)

    @property
    def recipe(self) -> str:
        """The evaluation recipe of the scale, or that of the publication whose numbers count."""
        return self.scale.recipe or self.base.recipe

    def config(self, settings: Any, experts: ExpertConfig) -> CondenseConfig:
        """The whole configuration."""
        return CondenseConfig(
            dataset=self.dataset,
            ipc=self.ipc,
            method=self.method.name,
            architecture=convnet_name(self.row.depth, self.scale.width),
            image_size=self.row.image_size,
            zca=self.row.zca and self.method.whitening,
            recipe=self.recipe,
            experts=experts,
            settings=settings,
        )
