"""`Choice`: a request for a preset, with the row of hyper-parameters that was chosen for it.

`find_preset` makes a `Choice`. The functions `matching_preset` and `printed_preset` make a preset from it.
"""

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
    """A request for a preset, and the row of hyper-parameters that was chosen for this request."""

    method: Method
    base: Method  # the method whose numbers and experts are used: `method`, or the method that `method` extends
    numbers: Mapping[str, Numbers]  # the published numbers of each method, by the name of the method
    dataset: str
    ipc: int  # synthetic images per class
    classes: int | None  # the number of classes of the data set; None if it is not known before the data are read
    outer: str | None  # the outer rule of the option `--outer`; None: the method's default
    scale: Profile  # the profile, which limits the size of the work
    printed: Row  # the chosen row, as its source prints it
    row: Row  # the row that is used: `printed`, fitted to the data set and to the limits of `scale`
    row_ipc: int  # the IPC for which numbers are looked up: that of the row that the user named, otherwise `ipc`
    augment: str  # DSA's strategy for the data set
    departures: tuple[str, ...]  # how the chosen row differs from its source and from the request

    def data_settings(self) -> Mapping[str, Any]:
        """The settings of the method that follow from the data set, by name."""
        return self.method.data_settings(Traits(image_size=self.row.image_size, augment=self.augment))

    def plain_experts(self) -> ExpertConfig:
        """The configuration of experts trained as in MTT. The method sets their number or, if it does not, the row."""
        return ExpertConfig(
            count=self.method.expert_count or self.row.expert_count,
            lr=self.row.expert_lr,
            batch_size=self.row.expert_batch,
            augment=self.augment,
        )

    def own_row(self) -> Row | None:
        """The row with the settings that only the method `base` has; None if its table has no fitting row with any.

        If the table has rows with such settings for this data set, it is the one with the nearest IPC. Otherwise it is
        the nearest row of another data set that may lend its numbers. These settings are used even if the other numbers
        come from a row of another method.
        """
        rows = [row for row in own_table(self.numbers, self.base.name) if row.settings]
        rows = [row for row in rows if row.dataset == self.dataset] or [row for row in rows if row.donor]
        return nearest_row(rows, self.ipc, self.row.image_size) if rows else None

    def build(self, given: Mapping[str, Any]) -> Any:
        """Make the configuration of the method with the settings `given`.

        If the method extends another method, all other settings have the defaults of that method. Raises PluginError if
        a method of another package has a setting that is not in `given` and has no default.
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
        """The recipe of the evaluation: that of the profile, or that of the publication if the profile has none."""
        return self.scale.recipe or self.base.recipe

    def config(self, settings: Any, experts: ExpertConfig) -> CondenseConfig:
        """The whole configuration of the condensation, with the method's `settings` and the `experts`."""
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
