"""The data types of presets.

`CondenseConfig` is the whole configuration of a condensation. `Row` is a row of a published table of hyper-parameters.
`Numbers` are all published numbers of a method. `Preset` is a configuration with the source of its numbers.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from satm.canonical import digest
from satm.config import from_dict
from satm.config import to_dict as plain
from satm.data.domain import UPRIGHT, domain_of
from satm.errors import ConfigError, UnknownName
from satm.experts import ExpertConfig, FilterConfig, FlatConfig
from satm.methods import METHODS
from satm.parametrisation import PIXELS, Parametrisation, parametrisation_of


@dataclass(frozen=True, slots=True, kw_only=True)
class CondenseConfig:
    """Everything on which the result of a condensation depends, except its seed and its device."""

    dataset: str
    classes: tuple[int, ...] | None = None  # the classes of one step of a class-incremental stream; null: all classes
    domain: str | None = None  # a version of the images, such as "rotation:36"; null: the images as they are
    ipc: int  # stored synthetic images per class; networks can see more (see `seen_ipc`)
    method: str
    architecture: str  # the name of the network of the experts and of the inner loop
    image_size: int | None  # pixels a side; null: the size of the data set's images
    zca: bool  # True: the images are preprocessed by ZCA whitening; False: by mean and std
    validation: float = 0.1  # the fraction of the training images in a validation split; 0: there is no such split
    recipe: str  # the name of the recipe by which networks are trained on the set in its evaluation
    parametrisation: str = "pixels"  # how images are stored; `parametrisation_of` lists the others
    experts: ExpertConfig
    settings: Any  # the settings that belong to the method, an object of its class `config`

    def __post_init__(self) -> None:
        if self.ipc < 1:
            raise ConfigError(f"ipc {self.ipc}: expected at least 1 image per class")
        if self.classes is not None and (len(self.classes) < 2 or len(set(self.classes)) < len(self.classes)):
            raise ConfigError(f"classes {list(self.classes)}: expected two different ones or more; one teaches nothing")
        self._check_domain()
        if self.image_size is not None and not 1 <= self.image_size <= 4096:
            raise ConfigError(f"image_size {self.image_size}: expected 1 to 4096 pixels")
        if not 0 <= self.validation < 1:
            raise ConfigError(
                f"validation {self.validation}: expected a fraction of train below 1 to hold out, or 0 for none"
            )
        expected = METHODS.get(self.method).config
        if not isinstance(self.settings, expected):
            raise ConfigError(f"settings of {type(self.settings).__name__} for method {self.method}")
        parametrisation_of(self.parametrisation)  # raises ConfigError for an unknown one

    def _check_domain(self) -> None:
        """Raise ConfigError unless the domain is None or the only spelling of a domain other than the usual images."""
        if self.domain is None:
            return
        name = domain_of(self.domain).name
        if name == UPRIGHT:
            raise ConfigError(f"domain {self.domain}: these are the images as they are; leave it out")
        if name != self.domain:
            raise ConfigError(f"domain {self.domain}: expected its one spelling, {name}")

    @property
    def decoding(self) -> Parametrisation:
        """The parametrisation: how the images that networks see are computed from the stored images."""
        return parametrisation_of(self.parametrisation)

    @property
    def seen_ipc(self) -> int:
        """The number of images of each class that networks see."""
        return self.ipc * self.decoding.each

    @property
    def held_out(self) -> tuple[str, ...]:
        """A sentence that says that a validation split is held out; () if there is no such split.

        The sentence is one of the departures of a preset, because the papers use all training images.
        """
        if not self.validation:
            return ()
        return (f"{1 - self.validation:.0%} of train: a validation split is held out (validation=0 holds out none)",)

    @property
    def set_dataset(self) -> str:
        """The first part of the set's name: `cifar10`, or `cifar10:3,5` if only the classes 3 and 5 are condensed.

        If there are more than 10 such classes, their number and a hash stand in place of the list. A domain is added
        in the same way: `digits:rotation36`.
        """
        named = [] if self.domain is None else [self.domain.replace(":", "")]
        if self.classes is not None and len(self.classes) > 10:
            named.append(f"{len(self.classes)}-classes-{digest(list(self.classes))[:8]}")
        elif self.classes is not None:
            named += map(str, self.classes)
        return f"{self.dataset}:{','.join(named)}" if named else self.dataset

    @property
    def set_method(self) -> str:
        """The part of the set's name that says how it was made, such as `mtt`.

        If the outer rule is not the default of the method, its name is added: `mtt+sam`. A parametrisation other than
        `pixels` is added, too: `mtt+factor2`.
        """
        stored = "" if self.decoding == PIXELS else f"+{self.decoding.spell().replace(':', '')}"
        return self.method + METHODS.get(self.method).variant(self.settings) + stored

    def to_dict(self) -> dict[str, Any]:
        """The configuration as a JSON-able dictionary; `from_dict` is the inverse."""
        # The settings `parametrisation` and `domain` are left out at their defaults. Otherwise runs and sets that were
        # stored before these settings existed would not be found any more, because their stored configurations do not
        # have them.
        usual = {"parametrisation": self.decoding == PIXELS, "domain": self.domain is None}
        return {k: v for k, v in self._without_classes(whole=False).items() if not usual.get(k, False)}

    def every_setting(self) -> dict[str, Any]:
        """The dictionary of `to_dict`, but with every setting that has a default, so that `override` finds it."""
        return self._without_classes(whole=True)

    def _without_classes(self, *, whole: bool) -> dict[str, Any]:
        """All fields as a dictionary, without `classes` if it is None. `whole` is that of `satm.config.to_dict`."""
        return {key: value for key, value in plain(self, whole=whole).items() if (key, value) != ("classes", None)}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> CondenseConfig:
        """Make a configuration from the result of `to_dict`.

        Raises UnknownName for an unknown setting, and ConfigError for a wrong or missing one.
        """
        values = _today(values)
        names = [each.name for each in fields(cls)]
        for key in values:
            if key not in names:
                raise UnknownName("setting", key, names)
        optional = ("validation", "classes", "domain", "parametrisation")
        missing = [name for name in names if name not in values and name not in optional]
        if missing:
            raise ConfigError(f"setting {', '.join(missing)} is missing; give it a value")
        settings = from_dict(METHODS.get(values["method"]).config, values["settings"], "settings.")
        rest = {key: value for key, value in values.items() if key != "settings"}
        return from_dict(_Shared, rest).with_settings(settings)


_FIRST_RULE = ("rho", "gamma", "noise", "tau", "redraw")  # the settings of SATM's outer rule in version 0.1


def _today(values: Mapping[str, Any]) -> Mapping[str, Any]:
    """A stored configuration, converted to the present form if it is from version 0.1.

    In version 0.1, the settings of SATM's outer rule were settings of the method. Now they are grouped under `outer`.
    """
    settings = values.get("settings")
    if values.get("method") != "satm" or not isinstance(settings, Mapping) or "outer" in settings:
        return values
    rule = {name: settings[name] for name in _FIRST_RULE if name in settings}
    rest = {name: value for name, value in settings.items() if name not in rule}
    return {**values, "settings": {**rest, "outer": {"rule": "satm", **rule}}} if rule else values


@dataclass(frozen=True, slots=True, kw_only=True)
class _Shared:
    """The fields of `CondenseConfig` without `settings`. The type of `settings` depends on the method."""

    dataset: str
    classes: tuple[int, ...] | None = None
    domain: str | None = None
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
        """The whole configuration: these fields, and `settings`."""
        return CondenseConfig(**{each.name: getattr(self, each.name) for each in fields(self)}, settings=settings)


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One row of a paper's table of hyper-parameters for trajectory matching, with the symbols of the SATM paper."""

    method: str  # the method that the table is for
    dataset: str
    ipc: int  # synthetic images per class
    depth: int  # the number of blocks of the ConvNet
    image_size: int  # pixels a side
    inner_steps: int  # N, the number of inner steps
    expert_epochs: int  # M, the epochs of an expert that one outer step matches
    max_start_epoch: int  # T, the limit of the start epoch
    batch_syn: int | None  # the number of synthetic images in one inner step; None: all
    lr_images: float  # the learning rate of the synthetic images φ
    lr_step_size: float  # λ, the learning rate of the step size α
    zca: bool  # True: ZCA whitening; False: normalisation by mean and std
    source: str
    outer_steps: int = 10_000  # updates of φ (SATM's paper, §5.2; TESLA's and DATM's code)
    expert_lr: float = 0.01  # the experts' learning rate; MTT's value, because the SATM paper prints none
    step_size: float | None = None  # α at the start; None: the learning rate of the experts
    expert_batch: int = 256  # the experts' mini-batch; MTT's value, because the SATM paper prints none
    expert_count: int = 100  # the number of experts; MTT's value, because the SATM paper prints none
    flat: FlatConfig | None = None  # how flat experts are trained, if the method uses them; None: as in FTD's script
    filter: FilterConfig | None = None  # which images the experts see in each epoch, if the method filters them
    departures: tuple[str, ...] = ()  # each way in which the row differs from its source
    settings: Mapping[str, Any] = field(default_factory=dict)  # settings that only this method has, by name
    donor: bool = True  # whether this row may be used for data sets that have no rows


@dataclass(frozen=True, slots=True, kw_only=True)
class Numbers:
    """The numbers of one method, as its paper or its code prints them.

    In the comments, "the settings" are a dictionary from the name of a setting to its value. A profile is a scale of
    the work: `paper`, `cpu` or `smoke`. If two fields give a value for the same setting, the more specific field is
    used. The entries of `limits` and `recipes` replace those of the profile.
    """

    rows: tuple[Row, ...] = ()  # the rows of the method's own table, for a method that matches trajectories
    stand_ins: tuple[str, ...] = ("satm",)  # the methods whose rows are used where `rows` has none, earlier ones first
    values: Mapping[str, Any] = field(default_factory=dict)  # the settings for all data sets
    by_ipc: Mapping[int, Mapping[str, Any]] = field(default_factory=dict)  # the settings for each printed IPC
    by_set: Mapping[str, Mapping[int, Mapping[str, Any]]] = field(default_factory=dict)  # for a data set and an IPC
    values_of: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)  # the settings for a data set
    per_image: Mapping[str, float] = field(default_factory=dict)  # the value of a setting is this number times the IPC
    per_image_of: Mapping[str, Mapping[str, float]] = field(default_factory=dict)  # like `per_image`, for one data set
    source: str = ""  # the source of these numbers; each row has its own source
    departures: tuple[str, ...] = ()  # the ways in which a run with these numbers differs from the source
    departures_of: Mapping[str, tuple[str, ...]] = field(default_factory=dict)  # further departures for a data set
    experts: ExpertConfig | None = None  # how experts are trained; None: as `Method.experts` says
    most_experts: Mapping[str, int] = field(default_factory=dict)  # the largest number of experts in a profile
    limits: Mapping[str, Mapping[str, int]] = field(default_factory=dict)  # the largest values of settings in a profile
    by_profile: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)  # the settings for a profile
    recipes: Mapping[str, str] = field(default_factory=dict)  # the recipe of the evaluation in a profile
    parametrisation: str = "pixels"  # the setting `parametrisation`
    batch_normed: bool = False  # whether the ConvNet has batch norm instead of instance norm


@dataclass(frozen=True, slots=True, kw_only=True)
class Preset:
    """A configuration with the source of its numbers, and each way in which it differs from the source."""

    name: str  # the name, for example satm/cifar10/ipc10
    profile: str  # the scale of the work: `paper`, `cpu` or `smoke`
    config: CondenseConfig
    source: str
    departures: tuple[str, ...]
