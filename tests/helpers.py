"""Helpers of several tests: an inner problem that is small enough to write out, numerical derivatives, small data."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial

import pytest
import torch
from torch import nn

from satm.data import ImageData, Split
from satm.engine import HigherPolicy, HypergradientPolicy, InnerLoop, OuterVariables, ReplayPolicy, make_step
from satm.experts import ExpertConfig, Trajectory, train_experts
from satm.kept import keep, opened
from satm.methods import SATMConfig, Task, outer
from satm.preprocessing import MeanStd
from satm.progress import SILENT, NoProgress, Progress
from satm.rng import Seed

VALUES, HIDDEN, CLASSES = 6, 4, 3
IMAGE = (1, 2, 3)  # VALUES pixels


def normal(*shape: int, name: str) -> torch.Tensor:
    """float64 N(0, 1) values that depend only on the name."""
    return torch.randn(shape, generator=Seed(0).child("tests", name).generator(), dtype=torch.float64)


class Tiny(nn.Module):
    """Two linear layers and a tanh: smooth, so that finite differences can judge its derivatives."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(VALUES, HIDDEN).double(), nn.Linear(HIDDEN, CLASSES).double()

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.second(self.first(images.flatten(1)).tanh())


def tiny_logits(theta: torch.Tensor, images: torch.Tensor) -> torch.Tensor:
    """The logits of `Tiny` at θ, written out."""
    weights, biases = theta[:24].view(HIDDEN, VALUES), theta[24:28]
    hidden = torch.tanh(images.reshape(-1, VALUES) @ weights.T + biases)
    return hidden @ theta[28:40].view(CLASSES, HIDDEN).T + theta[40:43]


def cross_entropy(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Mean over the batch of −Σ_k y_k log softmax_k, written out, for class labels and for probabilities."""
    log_p = logits - logits.exp().sum(1, keepdim=True).log()
    soft = labels if labels.ndim == 2 else torch.eye(CLASSES, dtype=logits.dtype)[labels]
    return -(soft * log_p).sum(1).mean()


def masked(images: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """A differentiable augmentation with a parameter."""
    return (images * mask).sin()


@dataclass(frozen=True)
class Case:
    """An inner problem with an outer loss, and its unrolled loop in plain torch."""

    loop: InnerLoop
    at: OuterVariables
    theta: torch.Tensor
    target: torch.Tensor
    logits: Callable[[torch.Tensor, torch.Tensor], torch.Tensor] = tiny_logits

    def loss(self, theta: torch.Tensor) -> torch.Tensor:
        """The outer loss, not linear in θ."""
        return (theta - self.target).square().sum() + (theta**3).sum() / 10

    def unroll(
        self,
        at: OuterVariables,
        *,
        theta: torch.Tensor | None = None,
        first: int = 0,
        tape_from: int = 0,
        constant_gradients: bool = False,
    ) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
        """θ_first … θ_N and the inner gradients g_first … g_{N−1}; θ is detached at step `tape_from`.

        With `constant_gradients` every g_i is constant, as in Eq. 10.
        """
        theta = (self.theta if theta is None else theta).detach().requires_grad_()
        thetas, gradients = [theta], []
        for step in range(first, self.loop.steps):
            if step == tape_from:
                theta = theta.detach().requires_grad_()
            batch = self.loop.batches[step]
            images, labels = (at.images, at.labels) if batch is None else (at.images[batch], at.labels[batch])
            inner = cross_entropy(self.logits(theta, self.loop.transforms[step](images)), labels)
            (gradient,) = torch.autograd.grad(inner, theta, create_graph=True)
            if constant_gradients:
                gradient = gradient.detach()
            theta = theta - at.step_size * gradient
            thetas.append(theta)
            gradients.append(gradient)
        return thetas, gradients

    def value(self, at: OuterVariables) -> float:
        """F, by the hand-unrolled loop."""
        return self.loss(self.unroll(at)[0][-1]).item()


class Replay:
    """`ReplayPolicy` for the network of any loop."""

    name = "replay"

    def __call__(self, loop: InnerLoop, *arguments, **options):
        return ReplayPolicy(make_step(loop.network, criterion=loop.criterion))(loop, *arguments, **options)


EXACT: list[HypergradientPolicy] = [HigherPolicy(), Replay()]


def leaves(at: OuterVariables) -> OuterVariables:
    """The same values as leaves that require gradients."""
    return OuterVariables(*(v.clone().requires_grad_(v.is_floating_point()) for v in at))


def tiny_case(*, steps: int = 6, soft: bool = False, step_size: float = 0.3) -> Case:
    """An inner problem of five images. Steps use all of them or a mini-batch in turn, and each has its own mask."""
    n = 5
    labels = torch.tensor([0, 1, 2, 1, 0])
    batches = tuple(None if step % 2 else torch.tensor([step % n, 3, (step + 2) % n]) for step in range(steps))
    masks = [normal(*IMAGE, name=f"mask {step}") for step in range(steps)]
    return Case(
        loop=InnerLoop(network=Tiny(), batches=batches, transforms=tuple(partial(masked, mask=mask) for mask in masks)),
        at=OuterVariables(
            normal(n, *IMAGE, name="images"),
            normal(n, CLASSES, name="labels").softmax(1) if soft else labels,
            torch.tensor(step_size, dtype=torch.float64),
        ),
        theta=normal(43, name="theta"),
        target=normal(43, name="target"),
    )


def central_differences(
    function: Callable[[torch.Tensor], float], at: torch.Tensor, *, step: float = 1e-5
) -> torch.Tensor:
    """∂function/∂at, one entry after another; the error is O(step²)."""
    gradient = torch.zeros_like(at)
    for position in range(at.numel()):
        shift = torch.zeros_like(at).view(-1)
        shift[position] = step
        shift = shift.view(at.shape)
        gradient.view(-1)[position] = (function(at + shift) - function(at - shift)) / (2 * step)
    return gradient


ARCHITECTURE = "convnet3_w4"  # the smallest ConvNet that 8×8 images take
NORMALISED = MeanStd((0.5,), (0.25,))


def image_data(*, per_class: int = 12, validation: int = 4) -> ImageData:
    """Three classes of noisy 1×8×8 images: rows, columns and checks."""
    row, column = torch.arange(8)[:, None], torch.arange(8)
    patterns = torch.stack([row // 4 + 0 * column, column // 4 + 0 * row, (row + column) % 2])

    def split(name: str, count: int) -> Split:
        labels = torch.arange(CLASSES).repeat(count)
        noise = torch.randint(0, 120, (len(labels), 1, 8, 8), generator=Seed(0).child(name).generator())
        images = (100 * patterns[labels][:, None] + noise).to(torch.uint8)
        return Split(images=images, labels=labels, preprocessing=NORMALISED)

    return ImageData(
        name="patterns",
        classes=("rows", "columns", "checks"),
        train=split("train", per_class),
        validation=split("validation", validation),
        test=split("test", 4),
        preprocessing=NORMALISED,
        fingerprint=f"{per_class}/{validation}",
        root=None,
    )


EXPERTS = ExpertConfig(count=2, lr=0.05, batch_size=16, augment="color_crop")


def experts(
    data: ImageData, *, architecture: str = ARCHITECTURE, epochs: int = 4, progress: Progress = SILENT, **changes
) -> list[Trajectory]:
    """Small experts on `data`; `changes` replace settings of `EXPERTS`."""
    return train_experts(data, architecture, replace(EXPERTS, **changes), epochs=epochs, progress=progress)


SATM = SATMConfig(
    outer_steps=6,
    inner_steps=6,
    expert_epochs=2,
    max_start_epoch=2,
    window=3,
    batch_syn=4,
    lr_images=2.0,
    lr_step_size=1e-4,
    step_size=0.05,
    augment="color_crop",
    outer=outer.SATM(rho=0.5, gamma=0.05),
    diagnostics_every=0,
)


def settings(config, **changes):
    """`config` with settings replaced, also those of its outer rule."""
    own = {name: changes.pop(name) for name in list(changes) if name not in type(config).__dataclass_fields__}
    return replace(config, outer=replace(config.outer, **own), **changes)


def task(data: ImageData, trajectories: Sequence[Trajectory], **changes) -> Task:
    """Two images per class of `data`, with experts of `ARCHITECTURE`."""
    settings = {"data": data, "ipc": 2, "architecture": ARCHITECTURE, "seed": Seed(0), "device": torch.device("cpu")}
    return Task(**settings | {"experts": trajectories} | changes)


def in_float64(condensation):
    """The same condensation in double precision: its state, its network and its experts."""
    condensation.restore({k: v.double() if v.is_floating_point() else v for k, v in condensation.state().items()})
    condensation.network.double()
    for trajectory in condensation.task.experts:
        _double(trajectory)


def _double(trajectory):
    with opened(trajectory.path) as file:
        tensors, about = file.tensors(), file.about
    keep(trajectory.path, {name: value.double() for name, value in tensors.items()}, about)


def refuse_compiling(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make every later compilation fail although a compiler is found, as with a broken C++ compiler."""
    from torch._dynamo.exc import BackendCompilerFailed

    def compile(function, **options):
        def fail(*arguments):
            raise BackendCompilerFailed(lambda: None, RuntimeError("no compiler"), None)

        return fail

    monkeypatch.setattr(torch, "compile", compile)


class StopAfter(NoProgress):
    """Asks to stop after `calls` calls of `stopping`."""

    def __init__(self, calls: int) -> None:
        self.left = calls

    def stopping(self) -> bool:
        self.left -= 1
        return self.left < 0
