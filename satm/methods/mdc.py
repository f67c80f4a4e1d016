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
from satm.methods.outer import AnyOuter, OuterProblem, OuterRule, OuterUpdate, VaSSO
from satm.methods.outer.problem import State
from satm.methods.trajectory.condensation import TrajectoryCondensation
from satm.methods.trajectory.config import TrajectoryConfig, default_of, default_outer
from satm.methods.trajectory.flat_experts import need_flat_experts
from satm.methods.trajectory.guard import Retry
from satm.methods.trajectory.method import TrajectoryMethod
from satm.rng import Seed
from satm.types import Images


@dataclass(frozen=True, slots=True, kw_only=True)
class MDCConfig(TrajectoryConfig):
    """L = L_base(φ) + L_base(φ[:j]), φ[:j] the first j images of each class: the adaptive subset loss.

    j, the most learnable subset, is the size whose feature distance to the real images changed most since the last
    choice, `period` outer steps ago; the smallest at first. The images of the largest earlier choice below j are
    frozen. Every shared setting is the base's own too; what the base alone has (DATM's window of start epochs, TESLA's
    labels) stays at its defaults. `over` gives the shared settings the base's defaults.
    Source: MDC's code (condense_reg.py and reg_ipcx.py at a1b0786). Its base is IDC or DREAM, ours trajectory matching.
    """

    base: str = "mtt"
    sizes: tuple[int, ...] | None = None  # prefixes that compete, in images a class; null: 1 … IPC − 1
    period: int | None = None  # outer steps between choices (Δt); null: a twentieth of all
    batch_real: int = 64  # real images a class for the feature distance
    init: Literal["right", "real", "noise"] = "real"  # type: ignore[assignment]  # `right` under DATM alone

    @classmethod
    def over(cls, base: str, **given: Any) -> MDCConfig:
        """On `base`, whose defaults count for what is not given."""
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
        if isinstance(self.base_config().outer, VaSSO):
            raise ConfigError("mdc cannot take vasso, whose average is over all images; take another outer optimiser")

    def base_config(self) -> TrajectoryConfig:
        """The base method under these numbers."""
        return base_kind(self.base)(**{each.name: getattr(self, each.name) for each in fields(TrajectoryConfig)})

    def default_window(self) -> int:
        """The base's."""
        return base_kind(self.base).default_window(self)

    def own_outer(self) -> AnyOuter:
        """The base's."""
        return default_outer(base_kind(self.base))

    def stored_epochs(self) -> int:
        """The base's."""
        return self.base_config().stored_epochs()

    def steps_between_choices(self) -> int:
        """Δt."""
        return self.period or max(1, self.outer_steps // 20)

    def competing(self, ipc: int) -> tuple[int, ...]:
        """The proper prefixes of a set of `ipc` images a class that compete."""
        return tuple(range(1, ipc)) if self.sizes is None else tuple(size for size in self.sizes if size < ipc)


def base_kind(base: str) -> type[TrajectoryConfig]:
    """A base's configuration; raises UnknownName, and ConfigError for no trajectory method."""
    kind: type[Any] = METHODS.get(base).config
    if not issubclass(kind, TrajectoryConfig) or issubclass(kind, MDCConfig):
        kinds = {name: METHODS.get(name).config for name in METHODS.known()}
        fit = [n for n, each in kinds.items() if issubclass(each, TrajectoryConfig) and each is not MDCConfig]
        raise ConfigError(f"base {base}: expected a method that matches trajectories: {', '.join(fit)}")
    return kind


@dataclass(frozen=True, kw_only=True)
class WithSubset:
    """`base` at the whole set and at some of its images; an `OuterRule` of one outer step."""

    base: OuterRule
    rows: torch.Tensor  # [j·K] int64: the images of the subset
    frozen: torch.Tensor  # [·] int64: images that do not move
    draw: Callable[[torch.Generator, int], InnerLoop]  # an inner loop over that many images
    seed: Seed  # of the subset's draws
    policy: HypergradientPolicy | None = None  # the subset's; null: the problem's

    def __call__(
        self, problem: OuterProblem, generator: torch.Generator, redraw: Callable[[], InnerLoop], state: State
    ) -> OuterUpdate:
        """See `OuterRule`; the whole set's draws are those it would have without the subset."""
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
        subset = self.base(part, noise, lambda: self.draw(again, len(rows)), {})
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

    def init(self, images: Images) -> State:
        """See `OuterRule`."""
        return self.base.init(images)

    def moved(self, state: State, images: Images) -> State:
        """See `OuterRule`."""
        return self.base.moved(state, images)

    def averaged(self, state: State) -> Images | None:
        """See `OuterRule`."""
        return self.base.averaged(state)

    def over(self, steps: int) -> WithSubset:
        """See `OuterRule`."""
        return replace(self, base=self.base.over(steps))

    def second_start(self, iota: int) -> int | None:
        """See `OuterRule`."""
        return self.base.second_start(iota)

    def check(self, inner_steps: int, iota: int) -> None:
        """See `OuterRule`."""
        self.base.check(inner_steps, iota)


class MDC(TrajectoryCondensation):
    """The base's condensation with the subset loss added; the base itself where no smaller size competes."""

    def __init__(self, task: Task, config: MDCConfig) -> None:
        base = config.base_config()
        super().__init__(task, base)
        # Not compiled: every size would be a compilation of its own.
        self.subset_policy = replace(self.engine, compiled=False).policy(self.network, task.notify)
        self.sizes, self.period = config.competing(task.ipc), config.steps_between_choices()
        self.past = torch.zeros(task.ipc, dtype=torch.bool)  # [j] whether size j was chosen, the present one included
        self.size = 0  # j; 0 before the first choice
        self.distances = torch.zeros(len(self.sizes))  # D at the last choice
        self._rows, self._held = self._prefix(self.sizes[0] if self.sizes else 0), self._prefix(0)
        if self.sizes:
            seed = task.seed.child("features")
            self.probe = Probe(task, base.starts(), ClassBatches(task.data, config.batch_real).draw(seed.generator()))

    def advance(self) -> Mapping[str, float]:
        """See `Condensation`."""
        if not self.sizes:
            return super().advance()
        size, past, distances = self.size, self.past, self.distances
        if self.step % self.period == 0:
            now = self.probe.distances(self.images, self.task.ipc)[torch.tensor(self.sizes) - 1]
            size = self.sizes[most_learnable(self.distances, now)] if self.step else self.sizes[0]
            past, distances = past.index_fill(0, torch.tensor(size), True), now
        frozen = int(max((j for j in range(1, size) if past[j]), default=0))
        self._rows, self._held = self._prefix(size), self._prefix(frozen)
        measured = super().advance()
        self.size, self.past, self.distances = size, past, distances
        return {**measured, "subset": float(size), "frozen": float(frozen)}

    def attempt(self, retry: Retry) -> dict[str, float]:
        """See `Retryable`; the subset is drawn anew as the whole set is."""
        if not self.sizes:
            return super().attempt(retry)
        base, images_velocity, label_state = self.rule, self.images_velocity, self.label_state
        # What is frozen does not coast either.
        self.images_velocity = images_velocity.index_fill(0, self._held, 0.0)
        self.label_state = self.label_rule.at_rest(label_state, self._held)
        self.rule = WithSubset(
            base=base,
            rows=self._rows,
            frozen=self._held,
            draw=self._draw_loop,
            seed=retry.seed(self.task.seed.child("outer", self.step, "subset")),
            policy=self.subset_policy,
        )
        try:
            return super().attempt(retry)
        except BaseException:
            self.images_velocity, self.label_state = images_velocity, label_state
            raise
        finally:
            self.rule = base

    def _prefix(self, ipc: int) -> torch.Tensor:
        """Rows of the first `ipc` images of each class."""
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
    """argmax_j |D_j(t − Δt) − D_j(t)|, the smallest of equals: the position of the most learnable subset."""
    return int((before - now).abs().argmax())


class Probe:
    """Feature distances of every prefix, on one expert's start snapshots and one batch of real images, always the same.

    MDC measures on whatever networks it trains at the time; fixed ones change only because the images do.
    """

    def __init__(self, task: Task, starts: int, real: Images) -> None:
        network = networks.create(
            task.architecture,
            num_classes=len(task.data.classes),
            image_shape=task.data.image_shape,
            seed=task.seed.child("net"),
        ).to(task.device)
        self._embed = []
        for epoch in range(starts):
            FlatNetwork(network).load(task.experts[0].snapshot(epoch).to(task.device))
            self._embed.append(networks.features(network).eval())
        with torch.no_grad():
            self._real = [torch.stack([embed(each).mean(dim=0) for each in real]) for embed in self._embed]  # [K, D]

    @torch.no_grad()
    def distances(self, images: Images, ipc: int) -> torch.Tensor:
        """D [ipc]: for each prefix, mean over classes and snapshots of ‖mean f(φ_k[:j]) − mean f(T_k)‖²."""
        count = torch.arange(1, ipc + 1, device=images.device).view(1, -1, 1)
        total = torch.zeros(ipc)
        for embed, real in zip(self._embed, self._real, strict=True):
            means = embed(images).unflatten(0, (-1, ipc)).cumsum(dim=1) / count
            total += (means - real.unsqueeze(1)).square().sum(dim=2).mean(dim=0).cpu()
        return total / len(self._embed)


def _check(request: Request) -> None:
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
        config=MDCConfig,
        base="mtt",
        begin=MDC,
        check=_check,
    )
)
