"""How to add a condensation method: the pieces that every method is made of, and the table that lists them.

A method is one file in this folder. It holds three things:

1. A configuration: a frozen dataclass with the method's settings. It checks its values in `__post_init__`.
2. A `Condensation`: an object that learns the synthetic set, one outer step at a time.
3. One statement that registers the method:

       METHODS.add(Method(name="mine", summary="what it does (paper)", config=MyConfig, begin=MyCondensation))

`random.py` is a short example of a plain `Method`. A method that matches expert trajectories registers a
`TrajectoryMethod` (trajectory/method.py), one that matches gradients or features a `DirectMethod` (direct/method.py),
and one whose outer loss is taken on real images a `RealLossMethod` (real/method.py): most of the work is done there.
Numbers from papers do not belong here: `satm/presets/numbers.py` has an entry for every method.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import torch
from torch import nn

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
    """The inputs of a condensation. Raises ConfigError if a class has fewer training images than networks see."""

    data: ImageData  # the real set, preprocessed: K classes, images [C, H, W]
    ipc: int  # synthetic images of each class, as they are stored
    parametrisation: Parametrisation = PIXELS  # from the stored images to those that networks see
    architecture: str  # name of the network of the experts and of the inner loop
    seed: Seed  # of every random draw
    device: torch.device
    experts: Sequence[Trajectory] = ()
    teacher: Teacher | None = None  # None for a method without one
    notify: Callable[[str], None] = _ignore  # receives messages for the user, such as a failed compilation

    def __post_init__(self) -> None:
        check_ipc(self.data, self.ipc, self.parametrisation)

    @property
    def seen_ipc(self) -> int:
        """The images of each class that networks see."""
        return self.ipc * self.parametrisation.each


def check_ipc(data: ImageData, ipc: int, parametrisation: Parametrisation = PIXELS) -> None:
    """Raise ConfigError if `ipc` is below 1, or if a class has fewer training images than networks see of it."""
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
    experts: ExpertConfig
    data: ImageData
    ipc: int
    parametrisation: Parametrisation = PIXELS


@dataclass(frozen=True, kw_only=True)
class Traits:
    """The facts about a data set that a preset knows before any image is read."""

    image_size: int  # pixels a side
    augment: str  # DSA's strategy for these images


@dataclass(frozen=True, kw_only=True)
class OuterWork:
    """How long the outer steps take, compared with a training step that can be timed before the work starts."""

    steps: int  # outer steps in all
    batch: int  # images of the training step that is timed
    seconds: Callable[[float], float]  # seconds of one outer step, given the seconds of that training step
    reach: float = 1.0  # the largest share of the synthetic images that one outer step gives a gradient


class Outcome(NamedTuple):
    """The synthetic set that a condensation returns, on the CPU."""

    images: Images  # [K·ipc, C, H, W] float32, class-major, as they are stored
    labels: Labels  # [K·ipc] int64, or [K·ipc, K] float32
    label_kind: LabelKind
    step_size: float | None  # α; None: an evaluation chooses it on the validation split
    siblings: Mapping[str, Outcome] = {}  # other sets of the same run, by name; stored as `METHOD-NAME`


class Condensation(Protocol):
    """A running condensation.

    The random draws of outer step s depend only on the task's seed and on s. A checkpoint therefore needs only the
    tensors of `state`.
    """

    step: int  # outer steps done
    steps: int  # outer steps in all
    notes: Mapping[str, str]  # how the steps are computed, by name; shown at the start and stored with the run

    def advance(self) -> Mapping[str, float]:
        """Do one outer step and return its measurements by name. The name of an event begins with `event.`.

        If a value is not finite, the state stays as it was before the step, and Diverged is raised.
        """

    def state(self) -> dict[str, torch.Tensor]:
        """Everything that `restore` needs, including the number of steps done."""

    def restore(self, state: Mapping[str, torch.Tensor]) -> None:
        """Return to `state`. All later steps are equal, bit for bit, to those of an uninterrupted run."""

    def result(self) -> Outcome:
        """The synthetic set after the steps done so far."""


@dataclass(frozen=True, kw_only=True)
class Method:
    """An entry of `METHODS`: everything that the rest of the suite needs to know about a method.

    The first four fields are required. The defaults of the others describe a method that accepts every request and
    needs no experts. Give the fields in which your method differs.
    """

    name: str
    summary: str
    """One line, with the paper."""
    config: type[Any]
    """The class of its settings, a frozen dataclass."""
    begin: Callable[[Task, Any], Condensation]
    """Starts a condensation, given a task and the settings."""
    cite: tuple[str, ...] = ()
    """What a user of its sets cites: keys of references.bib, or whole BibTeX entries."""
    check: Callable[[Request], None] = lambda request: None
    """Raises ConfigError for a request that cannot work, before anything is trained."""

    recipe: str = "mtt"
    """The evaluation recipe of its publication, which judges its sets at profile `paper`. MTT's takes the learned step
    size, or the best of a grid if there is none."""

    decodes: bool = False
    """Whether its condensations honour `Task.parametrisation`. If not, only `pixels` is accepted."""

    # Its experts.
    expert_epochs: Callable[[Any], int | None] = lambda settings: None
    """The epochs that an expert must have, given the settings; None: the method needs no experts. For a trajectory
    method this is the last snapshot of any segment, not M, the setting of the same name."""
    expert_count: int | None = None
    """The number of experts that it uses; None: as many as the profile trains."""
    experts: Callable[[ExpertConfig], ExpertConfig] = lambda plain: plain
    """How its experts are trained, given the configuration of MTT's plain experts."""
    compilation: Callable[[Any], Compilation] = lambda settings: "auto"
    """How the training of its experts runs, given the settings: `auto`, `compiled` or `eager`."""

    teacher: Callable[[Any], TeacherConfig | None] = lambda settings: None
    """The teacher that it needs under these settings; None: the method needs none."""

    # Its sets.
    variant: Callable[[Any], str] = lambda settings: ""
    """The suffix that the name of a set adds to the method's name, given the settings: for example `+sam` if the outer
    rule is SAM and that is not the default."""

    # Its presets (satm/presets/find.py).
    unrolls: bool = False
    """Whether the settings are those of `UnrolledConfig`, which include an outer rule (`--outer`)."""
    matches_trajectories: bool = False
    """Whether they are those of `TrajectoryConfig`, whose numbers are rows."""
    base: str | None = None
    """The name of the method that it extends by default; None: it extends no method. If it extends one,
    `config.over(base, **settings)` makes its settings."""
    whitening: bool = True
    """Whether a preset may give it ZCA-whitened images; False: its images are always normalised by mean and std."""
    data_settings: Callable[[Traits], Mapping[str, Any]] = lambda traits: {}
    """The settings that follow from the data set, by name, given its traits."""

    # The cost of its outer steps.
    outer_work: Callable[[Any, nn.Module, ImageData, int], OuterWork | None] = lambda settings, network, data, ipc: None
    """The work of the outer steps, given the settings, a network, the data and the images of each class that networks
    see; None: too little to count."""
    within: Callable[[Any, int, int, int], Any] = lambda settings, images, classes, ipc: settings
    """`within(settings, images, classes, ipc)`: the settings with so few outer steps that at most `images` images pass
    through the network, forwards and backwards, in all steps together. A profile limits the time of a run with it."""


METHODS: Names[Method] = Names("method", package="satm.methods", group="satm.methods", expects=Method)


def class_major_labels(classes: int, ipc: int) -> torch.Tensor:
    """The class-major labels of K = `classes` classes, [K·ipc] int64: `ipc` times 0, then `ipc` times 1, …"""
    return torch.arange(classes).repeat_interleave(ipc)
