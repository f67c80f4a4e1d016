"""MDC: multisize dataset condensation (He et al. 2024), on top of trajectory matching."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import MISSING, dataclass, fields, replace
from typing import Any, Literal

import torch

from satm import networks
from satm.engine import FlatNetwork, HypergradientPolicy, InnerLoop, OuterVariables
from satm.errors import ConfigError
from satm.methods.base import METHODS, Request, Task
from satm.methods.checks import check_features
from satm.methods.direct.condensation import ClassBatches
from satm.methods.outer import AnyOuter, OuterProblem, OuterRule, OuterUpdate, Redraw, State
from satm.methods.trajectory.condensation import Beginning, TrajectoryCondensation
from satm.methods.trajectory.config import TrajectoryConfig, default_of, default_outer
from satm.methods.trajectory.flat_experts import need_flat_experts
from satm.methods.trajectory.guard import Retry
from satm.methods.trajectory.method import TrajectoryMethod
from satm.rng import Seed
from satm.types import Images


@dataclass(frozen=True, slots=True, kw_only=True)
class MDCConfig(TrajectoryConfig):
    """The loss of a base method plus the adaptive subset loss:

        F = F_base(φ) + F_base(φ[:j])

    φ[:j] holds the first j images of each class. Every `period` outer steps, the size j is chosen again, so that φ[:j]
    is the most learnable subset: the one whose feature distance to the real images has changed most since the last
    choice. The first choice is the smallest size. If a size below j was chosen earlier, the images φ[:i] are frozen,
    where i is the largest such size.

    The base method gets the settings of this class that it shares. Settings that only the base method has (DATM's range
    of start epochs, TESLA's labels) keep their defaults. `over` uses the defaults of the base method instead of the
    defaults of this class.

    Source: MDC's code (condense_reg.py and reg_ipcx.py at e9b9f7e). In it, `period` is 100 of 2,000 outer steps (2,000
    at the commit a1b0786), and the base method is IDC or DREAM. Here the base method is trajectory matching.
    """

    base: str = "mtt"  # the name of the base method
    sizes: tuple[int, ...] | None = None  # the sizes j to choose from, in images per class; null: 1 … IPC − 1
    period: int | None = None  # Δt: outer steps from one choice to the next; null: a twentieth of all outer steps
    batch_real: int = 64  # real images of each class for the feature distance
    init: Literal["right", "real", "noise"] = "real"  # type: ignore[assignment]  # `right` only if the base is DATM

    @classmethod
    def over(cls, base: str, **given: Any) -> MDCConfig:
        """Return a configuration on the method `base`. Shared settings not in `given` have that method's defaults."""
        kind = base_kind(base)
        defaults = {each.name: default_of(kind, each.name) for each in fields(TrajectoryConfig)}
        return cls(base=base, **{name: value for name, value in defaults.items() if value is not MISSING} | given)

    def __post_init__(self) -> None:
        TrajectoryConfig.__post_init__(self)  # not super(): slots make a new class, and super() finds the old one
        if self.period is not None and self.period < 1:
            raise ConfigError(f"period {self.period}: expected at least 1 outer step, or null for a twentieth of all")
        if self.sizes is not None and (list(self.sizes) != sorted(set(self.sizes)) or min(self.sizes, default=1) < 1):
            raise ConfigError(f"sizes {list(self.sizes)}: expected rising numbers of images a class, 1 or more")
        if self.batch_real < 1:
            raise ConfigError(f"batch_real {self.batch_real}: expected at least 1 image a class")
        if self.init == "right" and default_of(base_kind(self.base), "init") != "right":
            raise ConfigError(f"init right: base {self.base} begins from no teacher; set init=real")
        self.base_config()  # raises ConfigError for settings that the base refuses

    def base_config(self) -> TrajectoryConfig:
        """Return the configuration of the base method, with the shared settings of this configuration."""
        return base_kind(self.base)(**{each.name: getattr(self, each.name) for each in fields(TrajectoryConfig)})

    def default_window(self) -> int:
        """See `TrajectoryConfig`: that of the base method."""
        return base_kind(self.base).default_window(self)

    def own_outer(self) -> AnyOuter:
        """See `TrajectoryConfig`: that of the base method."""
        return default_outer(base_kind(self.base))

    def stored_epochs(self) -> int:
        """See `TrajectoryConfig`: those of the base method."""
        return self.base_config().stored_epochs()

    def steps_between_choices(self) -> int:
        """Return Δt, the number of outer steps from one choice of the subset to the next."""
        return self.period or max(1, self.outer_steps // 20)

    def competing(self, ipc: int) -> tuple[int, ...]:
        """Return the sizes below `ipc` to choose from, in images per class."""
        return tuple(range(1, ipc)) if self.sizes is None else tuple(size for size in self.sizes if size < ipc)


def base_kind(base: str) -> type[TrajectoryConfig]:
    """Return the configuration class of the method `base`.

    Raises UnknownName for an unknown method, and ConfigError for a method that does not match trajectories.
    """
    kind: type[Any] = METHODS.get(base).config
    if not issubclass(kind, TrajectoryConfig) or issubclass(kind, MDCConfig):
        kinds = {name: METHODS.get(name).config for name in METHODS.known()}
        fit = [n for n, each in kinds.items() if issubclass(each, TrajectoryConfig) and each is not MDCConfig]
        raise ConfigError(f"base {base}: expected a method that matches trajectories: {', '.join(fit)}")
    return kind


@dataclass(frozen=True, kw_only=True)
class WithSubset:
    """An outer rule that calls the rule `base` twice, for the whole set and for a subset, and adds the two updates.

    The update of the frozen images is zero. The random draws for the whole set are the same as without the subset. For
    the subset, `base` gets the part of its state that belongs to the images of the subset (`OuterRule.part`). The new
    state is the one that the call for the whole set returns.
    """

    base: OuterRule
    rows: torch.Tensor  # [j·K] int64: the indices of the images of the subset
    frozen: torch.Tensor  # [m] int64: the indices of the images that do not move
    draw: Callable[[torch.Generator, int], InnerLoop]  # draws an inner loop over the given number of images
    seed: Seed  # the seed of the draws for the subset
    policy: HypergradientPolicy | None = None  # differentiates the inner loop of the subset; None: as the problem does

    def __call__(self, problem: OuterProblem, generator: torch.Generator, redraw: Redraw, state: State) -> OuterUpdate:
        """See `OuterRule`."""
        whole = self.base(problem, generator, redraw, state)
        rows, at = self.rows, problem.at
        loop, again = self.seed.child("loop").generator(), self.seed.child("loop", 2).generator()
        part = replace(
            problem,
            at=OuterVariables(at.images[rows], at.labels[rows], at.step_size),
            loop=self.draw(loop, len(rows)),
            policy=self.policy or problem.policy,
        )
        noise = self.seed.child("noise").generator()
        kept = self.base.part(state, rows, at.images)
        subset = self.base(part, noise, lambda: self.draw(again, len(rows)), kept)
        labels = whole.labels
        if labels is not None and subset.labels is not None:
            labels = labels.index_add(0, rows, subset.labels).index_fill(0, self.frozen, 0.0)
        return replace(
            whole,
            images=whole.images.index_add(0, rows, subset.images).index_fill(0, self.frozen, 0.0),
            labels=labels,
            step_size=whole.step_size + subset.step_size,
            measured={**whole.measured, "loss_subset": subset.measured["loss"]},
        )


class MDC(TrajectoryCondensation):
    """The condensation of the base method with the subset loss added.

    If there are no sizes to choose from (below the IPC), no loss is added.
    """

    def __init__(self, task: Task, config: MDCConfig) -> None:
        base = config.base_config()
        super().__init__(task, base)
        # Not compiled: each size would need a separate compilation.
        self.subset_policy = replace(self.engine, compiled=False).policy(self.network, task.notify)
        self.sizes, self.period = config.competing(task.ipc), config.steps_between_choices()
        self.past = torch.zeros(task.ipc, dtype=torch.bool)  # entry j: whether size j is or was chosen
        self.size = 0  # the chosen size j; 0 before the first choice
        self.distances = torch.zeros(len(self.sizes))  # the feature distance D for each size, at the last choice
        self._rows, self._held = self._prefix(self.sizes[0] if self.sizes else 0), self._prefix(0)
        if self.sizes:
            seed = task.seed.child("features")
            self.probe = Probe(task, base.starts(), ClassBatches(task.data, config.batch_real).draw(seed.generator()))

    def advance(self) -> Mapping[str, float]:
        """See `Condensation`: choose the subset if it is time to, then take an outer step."""
        if not self.sizes:
            return super().advance()
        size, past, distances = self.size, self.past, self.distances
        if self.step % self.period == 0:
            seen = self.task.parametrisation.decode(self.images)
            now = self.probe.distances(seen, self.task.ipc)[torch.tensor(self.sizes) - 1]
            size = self.sizes[most_learnable(self.distances, now)] if self.step else self.sizes[0]
            past, distances = past.index_fill(0, torch.tensor(size), True), now
        frozen = int(max((j for j in range(1, size) if past[j]), default=0))
        self._rows, self._held = self._prefix(size), self._prefix(frozen)
        measured = super().advance()
        self.size, self.past, self.distances = size, past, distances
        return {**measured, "subset": float(size), "frozen": float(frozen)}

    def beginning(self, retry: Retry) -> Beginning:
        """See `TrajectoryCondensation`: the outer rule is also called for the subset, and frozen images do not move.

        The velocity of frozen images is zero. A retry draws new mini-batches, augmentations and noise for the subset,
        too.
        """
        base = super().beginning(retry)
        if not self.sizes:
            return base
        return Beginning(
            ask=WithSubset(
                base=self.rule,
                rows=self._rows,
                frozen=self._held,
                draw=self._draw_loop,
                seed=retry.seed(self.task.seed.child("outer", self.step, "subset")),
                policy=self.subset_policy,
            ),
            images_velocity=base.images_velocity.index_fill(0, self._held, 0.0),
            label_state=self.label_rule.at_rest(base.label_state, self._held),
        )

    def _prefix(self, ipc: int) -> torch.Tensor:
        """Return the indices [ipc·K] int64 of the first `ipc` images of each class."""
        rows = torch.arange(len(self.images), device=self.images.device)
        return rows[rows % self.task.ipc < ipc]

    def state(self) -> dict[str, torch.Tensor]:
        """See `Condensation`."""
        if not self.sizes:
            return super().state()
        mine = {"size": torch.tensor(self.size), "past": self.past, "distances": self.distances}
        return {**super().state(), **{f"mdc.{name}": value for name, value in mine.items()}}

    def restore(self, state: Mapping[str, torch.Tensor]) -> None:
        """See `Condensation`."""
        super().restore(state)
        if self.sizes:
            self.size = int(state["mdc.size"])
            self.past, self.distances = state["mdc.past"], state["mdc.distances"]


def most_learnable(before: torch.Tensor, now: torch.Tensor) -> int:
    """Return argmax_j |D_j(t − Δt) − D_j(t)|, the position of the most learnable subset.

    `before` and `now` are the distances D at the last choice and now. Of equal positions, the first is returned.
    """
    return int((before - now).abs().argmax())


class Probe:
    """Measures the feature distance between every prefix of φ and one batch of real images.

    The features are those of the first expert at its snapshots 0 … `starts` − 1, from which segments can start. MDC's
    code uses the networks that it trains at that moment. Here the networks and the batch are fixed, so that a distance
    changes only if the images change.
    """

    def __init__(self, task: Task, starts: int, real: Images) -> None:
        plan = networks.plan_for(task.architecture, task.data)
        network = plan.create(task.seed.child("net")).to(task.device)
        self._embed = []
        for epoch in range(starts):
            FlatNetwork(network).load(task.experts[0].snapshot(epoch).to(task.device))
            self._embed.append(networks.features(network).eval())
        with torch.no_grad():
            self._real = [torch.stack([embed(each).mean(dim=0) for each in real]) for embed in self._embed]  # [K, D]

    @torch.no_grad()
    def distances(self, images: Images, ipc: int) -> torch.Tensor:
        """Return D [ipc]: for each j = 1 … ipc, the mean of ‖mean f(φ_k[:j]) − mean f(T_k)‖² over classes k and f.

        f are the features at one snapshot. φ_k are the synthetic and T_k the real images of class k. `images`
        [n, C, H, W] are the synthetic images as networks see them, class-major. Each of the K·ipc stored images gives
        equally many of them. φ_k[:j] are those from the first j stored images of class k.
        """
        count = torch.arange(1, ipc + 1, device=images.device).view(1, -1, 1)
        total = torch.zeros(ipc)
        for embed, real in zip(self._embed, self._real, strict=True):
            stored = embed(images).unflatten(0, (len(real) * ipc, -1)).mean(dim=1)
            means = stored.unflatten(0, (-1, ipc)).cumsum(dim=1) / count
            total += (means - real.unsqueeze(1)).square().sum(dim=2).mean(dim=0).cpu()
        return total / len(self._embed)


def _check(request: Request) -> None:
    """Raise ConfigError for a request that cannot work.

    A request cannot work if a size is above the IPC, if the base method cannot use the experts, if the base method's
    own check refuses it, or if the architecture has no features.
    """
    config: MDCConfig = request.settings
    if config.sizes and max(config.sizes) > request.ipc:
        raise ConfigError(
            f"sizes {list(config.sizes)}: a set of {request.ipc} images a class has no prefix of {max(config.sizes)}; "
            "raise --ipc or leave it out"
        )
    base = METHODS.get(config.base)
    if base.check is need_flat_experts and request.experts.flat is None:
        raise ConfigError(
            f"base {config.base} matches experts trained for flatness, and experts.flat is null; have them trained "
            "(--set experts.flat={}), or match plain ones (--set base=mtt)"
        )
    base.check(replace(request, method=config.base, settings=config.base_config()))
    check_features(request)


METHODS.add(
    TrajectoryMethod(
        name="mdc",
        summary="one set whose every prefix is a smaller set (He et al. 2024), on trajectory matching",
        cite=("he2024mdc",),
        config=MDCConfig,
        base="mtt",
        begin=MDC,
        check=_check,
    )
)
