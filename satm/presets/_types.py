"""The types of a preset: a whole configuration, a row of hyper-parameters, the numbers of a method."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from satm.canonical import digest
from satm.config import from_dict
from satm.config import to_dict as plain
from satm.errors import ConfigError, UnknownName
from satm.experts import ExpertConfig, FlatConfig
from satm.methods import METHODS
from satm.parametrisation import PIXELS, Parametrisation, parametrisation_of


@dataclass(frozen=True, slots=True, kw_only=True)
class CondenseConfig:
    """Everything that decides a condensation, except its seed and its device."""

    dataset: str
    classes: tuple[int, ...] | None = None  # only these, for one step of a class-incremental stream; null: all
    ipc: int
    method: str
    architecture: str  # the network of the experts and of the inner loop
    image_size: int | None  # pixels a side; null: the data set's own
    zca: bool  # ZCA whitening instead of mean/std
    validation: float = 0.1  # fraction of train held out before anything is fitted; 0: none, and nothing is selected
    recipe: str  # how a network is trained on the set when it is evaluated
    parametrisation: str = "pixels"  # or factor:N: each stored image is a grid of N × N that networks see
    experts: ExpertConfig
    settings: Any  # the method's own configuration

    def __post_init__(self) -> None:
        if self.ipc < 1:
            raise ConfigError(f"ipc {self.ipc}: expected at least 1 image per class")
        if self.classes is not None and (len(self.classes) < 2 or len(set(self.classes)) < len(self.classes)):
            raise ConfigError(f"classes {list(self.classes)}: expected two different ones or more; one teaches nothing")
        if self.image_size is not None and not 1 <= self.image_size <= 4096:
            raise ConfigError(f"image_size {self.image_size}: expected 1 to 4096 pixels")
        if not 0 <= self.validation < 1:
            raise ConfigError(
                f"validation {self.validation}: expected a fraction of train below 1 to hold out, or 0 for none"
            )
        expected = METHODS.get(self.method).config
        if not isinstance(self.settings, expected):
            raise ConfigError(f"settings of {type(self.settings).__name__} for method {self.method}")
        parametrisation_of(self.parametrisation)  # raises ConfigError

    @property
    def decoding(self) -> Parametrisation:
        """How the stored images give those that networks see."""
        return parametrisation_of(self.parametrisation)

    @property
    def seen_ipc(self) -> int:
        """The images of each class that networks see."""
        return self.ipc * self.decoding.each

    @property
    def held_out(self) -> tuple[str, ...]:
        """The departure that a validation split is: the publications train on all of train. () if there is none."""
        if not self.validation:
            return ()
        return (f"{1 - self.validation:.0%} of train: a validation split is held out (validation=0 holds out none)",)

    @property
    def set_dataset(self) -> str:
        """The start of the set's name: `cifar10`, or `cifar10:3,5` if only those classes are condensed."""
        if self.classes is None:
            return self.dataset
        named = ",".join(map(str, self.classes))
        if len(self.classes) > 10:
            named = f"{len(self.classes)}-classes-{digest(list(self.classes))[:8]}"
        return f"{self.dataset}:{named}"

    @property
    def set_method(self) -> str:
        """The part of the set's name that says how it is made: `mtt`, or `mtt+sam` under another outer rule.

        A parametrisation other than `pixels` is named too: `mtt+factor2`.
        """
        stored = "" if self.decoding == PIXELS else f"+{self.decoding.spell().replace(':', '')}"
        return self.method + METHODS.get(self.method).variant(self.settings) + stored

    def to_dict(self) -> dict[str, Any]:
        """A JSON-able dictionary; `from_dict` is its inverse."""
        # Left out if it is as it always was, so that runs and sets from before this setting existed are still found.
        values = self.every_setting()
        return values if self.decoding != PIXELS else {k: v for k, v in values.items() if k != "parametrisation"}

    def every_setting(self) -> dict[str, Any]:
        """The same with every setting that may be replaced, for `satm.config.override`."""
        return {key: value for key, value in plain(self).items() if (key, value) != ("classes", None)}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> CondenseConfig:
        """The inverse of `to_dict`. Raises UnknownName for unknown settings, ConfigError for wrong or missing ones."""
        values = _today(values)
        names = [each.name for each in fields(cls)]
        for key in values:
            if key not in names:
                raise UnknownName("setting", key, names)
        optional = ("validation", "classes", "parametrisation")
        missing = [name for name in names if name not in values and name not in optional]
        if missing:
            raise ConfigError(f"setting {', '.join(missing)} is missing; give it a value")
        settings = from_dict(METHODS.get(values["method"]).config, values["settings"], "settings.")
        rest = {key: value for key, value in values.items() if key != "settings"}
        return from_dict(_Shared, rest).with_settings(settings)


_FIRST_RULE = ("rho", "gamma", "noise", "tau", "redraw")


def _today(values: Mapping[str, Any]) -> Mapping[str, Any]:
    """A stored configuration in today's form. In version 0.1, SATM's rule was among the method's own settings."""
    settings = values.get("settings")
    if values.get("method") != "satm" or not isinstance(settings, Mapping) or "outer" in settings:
        return values
    rule = {name: settings[name] for name in _FIRST_RULE if name in settings}
    rest = {name: value for name, value in settings.items() if name not in rule}
    return {**values, "settings": {**rest, "outer": {"rule": "satm", **rule}}} if rule else values


@dataclass(frozen=True, slots=True, kw_only=True)
class _Shared:
    """`CondenseConfig` without the settings of the method, whose type depends on the method."""

    dataset: str
    classes: tuple[int, ...] | None = None
    ipc: int
    method: str
    architecture: str
    image_size: int | None
    zca: bool
    validation: float = 0.1
    recipe: str
    parametrisation: str = "pixels"
    experts: ExpertConfig

    def with_settings(self, settings: Any) -> CondenseConfig:
        """The whole configuration."""
        return CondenseConfig(**{each.name: getattr(self, each.name) for each in fields(self)}, settings=settings)


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One row of a paper's table of hyper-parameters, in the symbols of the paper."""

    method: str  # whose table it is in
    dataset: str
    ipc: int
    depth: int  # of the ConvNet
    image_size: int
    inner_steps: int  # N
    expert_epochs: int  # M
    max_start_epoch: int  # T
    batch_syn: int | None
    lr_images: float
    lr_step_size: float  # λ
    zca: bool
    source: str
    outer_steps: int = 10_000  # updates of φ (SATM's paper, §5.2; TESLA's and DATM's code)
    expert_lr: float = 0.01  # MTT's; the paper prints none
    step_size: float | None = None  # α at the start; null: the experts' learning rate
    expert_batch: int = 256  # MTT's; the paper prints none
    expert_count: int = 100  # MTT's; the paper prints none
    flat: FlatConfig | None = None  # how GSAM trains flat experts; null: FTD's script, or no flat experts
    departures: tuple[str, ...] = ()  # each way in which the row differs from its source
    settings: Mapping[str, Any] = field(default_factory=dict)  # that only this method has
    donor: bool = True  # whether data sets without rows of their own may take this one


@dataclass(frozen=True, slots=True, kw_only=True)
class Numbers:
    """The numbers of one method, as its paper or its code prints them."""

    rows: tuple[Row, ...] = ()  # its own table
    stand_ins: tuple[str, ...] = ("satm",)  # the methods whose rows are taken where it has none, the first one first
    values: Mapping[str, Any] = field(default_factory=dict)  # settings that are the same for all data sets
    by_ipc: Mapping[int, Mapping[str, Any]] = field(default_factory=dict)  # settings for each printed IPC
    by_set: Mapping[str, Mapping[int, Mapping[str, Any]]] = field(default_factory=dict)  # for one data set and IPC
    values_of: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)  # for one data set, before `values`
    per_image: Mapping[str, float] = field(default_factory=dict)  # settings that are proportional to the IPC: at IPC 1
    per_image_of: Mapping[str, Mapping[str, float]] = field(default_factory=dict)  # of one data set
    source: str = ""  # of all of these; a row has its own source
    departures: tuple[str, ...] = ()
    departures_of: Mapping[str, tuple[str, ...]] = field(default_factory=dict)  # further ones, of a data set
    experts: ExpertConfig | None = None  # how its experts are trained; None: as the method says, from MTT's
    most_experts: Mapping[str, int] = field(default_factory=dict)  # by profile: no more of `experts`
    limits: Mapping[str, Mapping[str, int]] = field(default_factory=dict)  # by profile; before `Profile.max_settings`
    by_profile: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)  # settings for each profile
    recipes: Mapping[str, str] = field(default_factory=dict)  # by profile: its own recipe, in place of the profile's
    batch_normed: bool = False  # whether its ConvNet has batch norm in place of instance norm


@dataclass(frozen=True, slots=True, kw_only=True)
class Preset:
    """A configuration, the source of its numbers, and each way in which it differs from the source."""

    name: str  # satm/cifar10/ipc10
    profile: str
    config: CondenseConfig
    source: str
    departures: tuple[str, ...]
