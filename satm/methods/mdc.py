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
    """The base method's loss plus the adaptive subset loss:

        F = F_base(φ) + F_base(φ[:j])

    φ[:j] holds the first j images of each class, the most learnable subset. j is the size whose feature distance to the
    real images changed most since the last choice, `period` outer steps ago. The first choice is the smallest size. The
    images of the largest earlier choice below j are frozen.

    The base method runs under the shared settings given here. Settings that only the base has (DATM's range of start
    epochs, TESLA's labels) keep their defaults. `over` starts from the base's defaults instead of these.
    Source: MDC's code (condense_reg.py and reg_ipcx.py at e9b9f7e). There `period` is 100 of 2,000 outer steps; at
    a1b0786 it was 2,000. Its base is IDC or DREAM, ours trajectory matching.
    """

    base: str = "mtt"
    sizes: tuple[int, ...] | None = None  # the sizes that compete, in images per class; null: 1 … IPC − 1
    period: int | None = None  # Δt: outer steps from one choice to the next; null: a twentieth of all
    batch_real: int = 64  # real images per class for the feature distance
    init: Literal["right", "real", "noise"] = "real"  # type: ignore[assignment]  # `right` under DATM only

    @classmethod
    def over(cls, base: str, **given: Any) -> MDCConfig:
        """A configuration on `base`. Shared settings that are not `given` have the base's defaults."""
        kind = base_kind(base)
        defaults = {each.name: default_of(kind, each.name) for each in fields(TrajectoryConfig)}
        return cls(base=base, **{name: value for name, value in defaults.items() if value is not MISSING} | given)

    def __post_init__(self) -> None:
        TrajectoryConfig.__post_init__(self)  # see `SATMConfig`
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
        """The base method's configuration, with the shared settings given here."""
        return base_kind(self.base)(**{each.name: getattr(self, each.name) for each in fields(TrajectoryConfig)})

    def default_window(self) -> int:
        """See `TrajectoryConfig`: the base's."""
        return base_kind(self.base).default_window(self)

    def own_outer(self) -> AnyOuter:
        """See `TrajectoryConfig`: the base's."""
        return default_outer(base_kind(self.base))

    def stored_epochs(self) -> int:
        """See `TrajectoryConfig`: the base's."""
        return self.base_config().stored_epochs()

    def steps_between_choices(self) -> int:
        """Δt."""
        return self.period or max(1, self.outer_steps // 20)

    def competing(self, ipc: int) -> tuple[int, ...]:
        """The sizes below `ipc` that compete, in images per class."""
        return tuple(range(1, ipc)) if self.sizes is None else tuple(size for size in self.sizes if size < ipc)


def base_kind(base: str) -> type[TrajectoryConfig]:
    """The configuration class of method `base`. Raises UnknownName, or ConfigError if it matches no trajectories."""
    kind: type[Any] = METHODS.get(base).config
    if not issubclass(kind, TrajectoryConfig) or issubclass(kind, MDCConfig):
        kinds = {name: METHODS.get(name).config for name in METHODS.known()}
        fit = [n for n, each in kinds.items() if issubclass(each, TrajectoryConfig) and each is not MDCConfig]
        raise ConfigError(f"base {base}: expected a method that matches trajectories: {', '.join(fit)}")
    return kind


@dataclass(frozen=True, kw_only=True)
class WithSubset:
    """Asks the rule `base` twice, at the whole set and at a subset of its images, and adds both answers.

    The frozen images get a direction of zero. The whole set's draws are those that it has without the subset. The rule
    sees its state for the subset's images (`OuterRule.part`), but only the whole set's answer changes the state.
    """

    base: OuterRule
    rows: torch.Tensor  # [j·K] int64: the images of the subset
    frozen: torch.Tensor  # [m] int64: the images that do not move
    draw: Callable[[torch.Generator, int], InnerLoop]  # an inner loop over that many images
    seed: Seed  # of the subset's draws
    policy: HypergradientPolicy | None = None  # of the subset's inner loop; None: the problem's

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
    """The base's condensation with the subset loss added. If no smaller size competes, it is the base itself."""

    def __init__(self, task: Task, config: MDCConfig) -> None:
        base = config.base_config()
        super().__init__(task, base)
        # Not compiled: each size would need a separate compilation.
        self.subset_policy = replace(self.engine, compiled=False).policy(self.network, task.notify)
        self.sizes, self.period = config.competing(task.ipc), config.steps_between_choices()
        self.past = torch.zeros(task.ipc, dtype=torch.bool)  # [j] whether size j was chosen, now or before
        self.size = 0  # j; 0 before the first choice
        self.distances = torch.zeros(len(self.sizes))  # D at the last choice
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
        """See `TrajectoryCondensation`: the rule is also called for the subset, and frozen images lose their momentum.

        A retry draws new mini-batches, augmentations and noise for the subset too.
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
        """[ipc·K] int64: the first `ipc` images of each class."""
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
    """argmax_j |D_j(t − Δt) − D_j(t)|: the position of the most learnable subset, the first if several are equal."""
    return int((before - now).abs().argmax())


class Probe:
    """Measures the feature distance of every prefix of φ to one batch of real images.

    The features are those of the first expert at its start snapshots. MDC's code uses the networks that it trains at
    the time. With fixed networks and a fixed batch, only the images change the distance.
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
        """D [ipc]: for each j, the mean over classes k and snapshots f of ‖mean f(φ_k[:j]) − mean f(T_k)‖².

        φ_k are the synthetic and T_k the real images of class k. `images` [n, C, H, W] are the images that networks
        see of K·ipc stored ones, class-major. They are equally many of each, and φ_k[:j] are those of the first j.
        """
        count = torch.arange(1, ipc + 1, device=images.device).view(1, -1, 1)
        total = torch.zeros(ipc)
        for embed, real in zip(self._embed, self._real, strict=True):
            stored = embed(images).unflatten(0, (len(real) * ipc, -1)).mean(dim=1)
            means = stored.unflatten(0, (-1, ipc)).cumsum(dim=1) / count
            total += (means - real.unsqueeze(1)).square().sum(dim=2).mean(dim=0).cpu()
        return total / len(self._embed)


def _check(request: Request) -> None:
    """Raise ConfigError for a size above the IPC, for experts that the base cannot use, or as the base's check does."""
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
