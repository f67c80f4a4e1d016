"""The reference policy: the library `higher`. Its tape is off for the first ι inner steps and on for the others."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from satm.engine.hypergradient import Hypergradient
from satm.engine.inner import InnerLoop, OuterVariables
from satm.engine.step_size import first_order_step_size_derivative
from satm.engine.truncation import Truncation
from satm.functional import flatten, unflatten
from satm.types import FlatParams


class HigherPolicy:
    """Autograd differentiates the recorded steps of `higher.innerloop_ctx` (paper A.3).

    Exact. Its RAM grows with the window: autograd's tape holds every differentiated step. It runs the module itself,
    so it is the only policy for networks that draw random numbers (dropout). It is never compiled. Use it as the
    reference, or uncompiled if the tape fits in RAM: it is then faster than `ReplayPolicy`, which computes each step of
    the window twice.
    """

    name = "higher"
    exact = True
    step = None

    def __call__(
        self,
        loop: InnerLoop,
        at: OuterVariables,
        theta_start: FlatParams,
        outer_loss: Callable[[FlatParams], torch.Tensor],
        truncation: Truncation,
        *,
        first: int = 0,
        keep: int | None = None,
    ) -> Hypergradient:
        """See `HypergradientPolicy`."""
        tape_from = max(first, truncation.first_taped(loop.steps))
        soft = at.labels.is_floating_point()
        leaves = OuterVariables(
            at.images.detach().requires_grad_(),
            at.labels.detach().requires_grad_(soft),
            at.step_size.detach().requires_grad_(),
        )
        constants = OuterVariables(*(value.detach() for value in at))
        kept: FlatParams | None = None

        def run(theta: FlatParams, steps: range, at: OuterVariables, *, taped: bool) -> FlatParams:
            nonlocal kept
            with _innerloop(loop.network, theta, taped=taped) as (network, optimizer):
                for step in steps:
                    if step == keep:
                        kept = flatten(network.fast_params).detach()
                    optimizer.step(loop.loss(network, step, at), override={"lr": [at.step_size]})
                return flatten(network.fast_params)

        theta_tape = run(theta_start, range(first, tape_from), constants, taped=False).detach()
        theta_end = run(theta_tape, range(tape_from, loop.steps), leaves, taped=True)
        if keep == loop.steps:
            kept = theta_end.detach()

        loss = outer_loss(theta_end)
        wanted = [theta_end, leaves.images, leaves.step_size, *([leaves.labels] if soft else [])]
        outer_gradient, images, taped_alpha, *labels = torch.autograd.grad(loss, wanted)
        theta_end = theta_end.detach()
        return Hypergradient(
            loss=loss.detach(),
            images=images,
            labels=labels[0] if soft else None,
            step_size=first_order_step_size_derivative(outer_gradient, theta_start, theta_end, constants.step_size),
            step_size_taped=taped_alpha,
            theta=theta_end,
            kept=kept,
        )


@contextmanager
def _innerloop(network: nn.Module, theta: FlatParams, *, taped: bool) -> Iterator[tuple[Any, Any]]:
    """`higher`'s functional network at θ, and its SGD."""
    import higher

    parameters = list(network.parameters())
    sgd = torch.optim.SGD(parameters, lr=1.0)  # each step overrides the learning rate with α
    start = unflatten(theta.detach(), [p.shape for p in parameters])
    with higher.innerloop_ctx(network, sgd, track_higher_grads=taped) as (functional, optimizer):
        functional.update_params([p.clone().requires_grad_() for p in start])
        yield functional, optimizer
