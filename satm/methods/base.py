"""How to add a condensation method: the pieces that every method is made of, and the table that lists them.

To add a method, write one file in this folder. It holds three things:

1. A configuration: a frozen dataclass with the method's settings. It checks its values in `__post_init__`.
2. A `Condensation`: an object that learns the synthetic set, one outer step at a time.
3. One statement that registers the method:

       METHODS.add(Method(name="mine", summary="what it does (paper)", config=MyConfig, begin=MyCondensation))

`random.py` is a short example of a plain `Method`. For three kinds of methods most of the code exists already: a method
that matches expert trajectories registers a `TrajectoryMethod` (trajectory/method.py), a method that matches gradients
or features registers a `DirectMethod` (direct/method.py), and a method with an outer loss on real images registers a
`RealLossMethod` (real/method.py). Numbers from papers do not belong in this folder: `satm/presets/numbers.py` has an
entry for every method.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, NamedTuple, Protocol

import torch
from torch import nn

from satm.augment import within
from satm.data import ImageData
from satm.errors import ConfigError
from satm.experts import ExpertConfig, Trajectory
from satm.machine.compilation import Compilation
from satm.names import Names
from satm.parametrisation import PIXELS, Parametrisation
from satm.rng import Seed
from satm.teachers import Teacher, TeacherConfig
from satm.types import Images, LabelKind, Labels


def _ignore(message: str) -> None:
    pass


@dataclass(frozen=True, kw_only=True)
class Task:
    """The inputs of a condensation.

    Raises ConfigError if a class of the real set has fewer training images than networks see synthetic images of it.
    """

    data: ImageData  # the real set, preprocessed: K classes, images [C, H, W]
    ipc: int  # the number of stored synthetic images of each class
    parametrisation: Parametrisation = PIXELS  # how the stored images give the images that networks see
    architecture: str  # the name of the network of the experts and of the inner loop
    seed: Seed  # the seed of every random draw
    device: torch.device
    experts: Sequence[Trajectory] = ()  # empty for a method without experts
    teacher: Teacher | None = None  # None for a method without a teacher
    notify: Callable[[str], None] = _ignore  # receives messages for the user, such as a failed compilation

    def __post_init__(self) -> None:
        check_ipc(self.data, self.ipc, self.parametrisation)

    @property
    def seen_ipc(self) -> int:
        """The number of images of each class that networks see."""
        return self.ipc * self.parametrisation.each


def check_ipc(data: ImageData, ipc: int, parametrisation: Parametrisation = PIXELS) -> None:
    """Raise ConfigError if `ipc` is below 1, or so large that networks see more images of a class than `data` has."""
    smallest = int(torch.bincount(data.train.labels, minlength=len(data.classes)).min())
    most = smallest // parametrisation.each
    if 1 <= ipc <= most:
        return
    has = f"the smallest class of {data.name} has {smallest} training images"
    if parametrisation != PIXELS:
        has = f"under {parametrisation.spell()} networks see {ipc * parametrisation.each} images a class, and {has}"
    raise ConfigError(f"ipc {ipc}: {has}; choose 1 to {most}" if most else f"ipc {ipc}: {has}; choose a smaller factor")


@dataclass(frozen=True, kw_only=True)
class Request:
    """A user's request for a condensation, which a method may refuse before anything is trained (see checks.py)."""

    method: str
    settings: Any  # the method's configuration
    architecture: str
    experts: ExpertConfig  # how the experts are trained
    data: ImageData
    ipc: int
    parametrisation: Parametrisation = PIXELS


@dataclass(frozen=True, kw_only=True)
class Traits:
    """The facts about a data set that are known before any image is read. Presets use them."""

    image_size: int  # the height and width of the images in pixels
    augment: str  # the augmentations for these images, in DSA's notation


def augment_within(config: type, *names: str) -> Callable[[Traits], Mapping[str, Any]]:
    """Return a function for `Method.data_settings` that takes operations out of the augmentations of a method.

    `names` are fields of the settings `config`; their default values are augmentations. Only the operations that the
    data set allows are kept. A flip, for example, would change the class of a digit.
    """
    usual: Mapping[str, Any] = {each.name: each.default for each in fields(config) if each.name in names}

    def kept(traits: Traits) -> Mapping[str, Any]:
        return {name: within(strategy, traits.augment) for name, strategy in usual.items()}

    return kept


@dataclass(frozen=True, kw_only=True)
class OuterWork:
    """How long the outer steps take, in relation to a training step that can be timed before the work starts."""

    steps: int  # the number of outer steps
    batch: int  # the number of images of the training step that is timed
    seconds: Callable[[float], float]  # gives the seconds of one outer step, given the seconds of that training step
    reach: float = 1.0  # the largest fraction of the synthetic images that get a gradient in one outer step


class Outcome(NamedTuple):
    """The synthetic set that a condensation returns, on the CPU."""

    images: Images  # the stored images [K·ipc, C, H, W] float32, class-major
    labels: Labels  # [K·ipc] int64, or [K·ipc, K] float32
    label_kind: LabelKind
    step_size: float | None  # α; None if none is learned: an evaluation then chooses it on the validation split
    siblings: Mapping[str, Outcome] = {}  # other sets of the same run; the one with the key NAME is `METHOD-NAME`


class Condensation(Protocol):
    """A running condensation.

    The random draws of outer step s depend only on the task's seed and on s. A checkpoint therefore needs only the
    tensors of `state`.
    """

    step: int  # the number of outer steps done
    steps: int  # the number of outer steps in all
    notes: Mapping[str, str]  # how the steps are computed, by name; shown at the start and stored with the run

    def advance(self) -> Mapping[str, float]:
        """Do one outer step and return its measurements by name. The names of events begin with `event.`.

        Raises Diverged if a value is not finite; the state is then the same as before the step.
        """

    def state(self) -> dict[str, torch.Tensor]:
        """Return everything that `restore` needs, including the number of steps done."""

    def restore(self, state: Mapping[str, torch.Tensor]) -> None:
        """Return to `state`. All later steps are equal, bit for bit, to those of an uninterrupted run."""

    def result(self) -> Outcome:
        """Return the synthetic set after the steps done so far."""


@dataclass(frozen=True, kw_only=True)
class Method:
    """An entry of `METHODS`: everything that the rest of the suite needs to know about a method.

    The first four fields are required. The defaults of the others describe a method that accepts every request and
    needs no experts. Give the fields in which your method differs.
    """

    name: str
    summary: str
    """What the method does, in one line, with the paper."""
    config: type[Any]
    """The class of its settings, a frozen dataclass."""
    begin: Callable[[Task, Any], Condensation]
    """Returns a condensation at its start, given a task and the settings."""
    cite: tuple[str, ...] = ()
    """What a user of its sets should cite: keys of references.bib, or whole BibTeX entries."""
    check: Callable[[Request], None] = lambda request: None
    """Raises ConfigError for a request that cannot work, before anything is trained."""

    recipe: str = "mtt"
    """The recipe with which its sets are evaluated at profile `paper`: that of its publication. The recipe `mtt` uses
    the learned step size or, if the set has none, the best learning rate of a grid."""

    decodes: bool = False
    """Whether its condensations use `Task.parametrisation`. If not, only the parametrisation `pixels` is accepted."""

    # The experts of the method.
    expert_epochs: Callable[[Any], int | None] = lambda settings: None
    """The epochs that an expert must have, given the settings; None: the method needs no experts. For a trajectory
    method this is the epoch of the last snapshot that a segment can have. It is not the setting `expert_epochs` (M)."""
    expert_count: int | None = None
    """The number of experts that the method uses; None: as many as the profile trains."""
    experts: Callable[[ExpertConfig], ExpertConfig] = lambda plain: plain
    """Returns the configuration of its experts' training, given the configuration for MTT's plain experts."""
    compilation: Callable[[Any], Compilation] = lambda settings: "auto"
    """Whether the training of its experts is compiled, given the settings: `auto`, `compiled` or `eager`."""

    teacher: Callable[[Any], TeacherConfig | None] = lambda settings: None
    """The teacher that the method needs, given the settings; None: it needs no teacher."""

    # The sets of the method.
    variant: Callable[[Any], str] = lambda settings: ""
    """The suffix after the method's name in the name of a set, given the settings. For example, it is `+sam` if the
    outer rule is SAM and SAM is not the method's default."""

    # The presets of the method (satm/presets/find.py).
    unrolls: bool = False
    """Whether the settings are those of `UnrolledConfig`, which include an outer rule (`--outer`)."""
    matches_trajectories: bool = False
    """Whether the settings are those of `TrajectoryConfig`. The published numbers of such a method are rows of tables
    (satm/presets)."""
    base: str | None = None
    """The name of the method that this method extends unless the user names another; None: it extends no method. If it
    extends one, `config.over(base, **settings)` makes the settings."""
    whitening: bool = True
    """Whether a preset may use ZCA-whitened images; False: the images are always normalised by mean and std."""
    data_settings: Callable[[Traits], Mapping[str, Any]] = lambda traits: {}
    """The settings that follow from the data set, by name, given its traits."""

    # The cost of the outer steps.
    outer_work: Callable[[Any, nn.Module, ImageData, int], OuterWork | None] = lambda settings, network, data, ipc: None
    """The work of the outer steps, given the settings, a network, the data and the images of each class that networks
    see; None: the work is so small that it is left out."""
    within: Callable[[Any, int, int, int], Any] = lambda settings, images, classes, ipc: settings
    """Returns the settings with a limited number of outer steps: in all steps together, at most `images` images pass
    through the network forwards and backwards. The arguments are the settings, `images`, the number of classes and the
    images of each class. A profile uses this to limit the time of a run."""


METHODS: Names[Method] = Names("method", package="satm.methods", group="satm.methods", expects=Method)


def class_major_labels(classes: int, ipc: int) -> torch.Tensor:
    """Return the class-major labels of K = `classes` classes, [K·ipc] int64: `ipc` times 0, then `ipc` times 1, …"""
    return torch.arange(classes).repeat_interleave(ipc)
