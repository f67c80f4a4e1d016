"""The reference policy `higher`: it runs the inner loop under autograd's tape, which differentiates the last steps.

The tape is off for the inner steps before step ι (the first differentiated step), and on from step ι. For plain SGD the
library `higher`, after which the policy is named, runs the steps. For another update rule this file runs them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import nn

from satm.engine.hypergradient import Hypergradient
from satm.engine.inner import InnerLoop, OuterVariables
from satm.engine.step_size import closed_form
from satm.engine.truncation import Truncation
from satm.engine.update import PLAIN_SGD, Moments, Point
from satm.functional import FlatNetwork, flatten, unflatten
from satm.types import FlatParams


class HigherPolicy:
    """The policy that lets autograd record the differentiated steps and differentiate through them (paper A.3).

    The result is exact. The memory grows with the window (the differentiated steps), because autograd's tape holds all
    of them. This policy computes each step only once. So it is the only one for networks that draw random numbers
    (dropout): a second computation of a step would draw other numbers. It is never compiled. Use it as the reference.
    Use it also if steps are not compiled and the tape fits in memory: it is then faster than `ReplayPolicy`, which
    computes each step of the window twice.
    """

    name = "higher"
    exact = True
    step = None  # this policy has no `Step`, because it uses autograd's tape

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
        moments: Moments | None = None,
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
        start = loop.rule.start(theta_start)
        start = start if moments is None else start._replace(moments=moments)
        run = _run_sgd if loop.rule == PLAIN_SGD else _run_rule
        tape_start, early = run(loop, start, range(first, tape_from), constants, keep, taped=False)
        tape_start = Point(tape_start.theta.detach(), tape_start.moments)
        end, late = run(loop, tape_start, range(tape_from, loop.steps), leaves, keep, taped=True)
        kept = early or late or (Point(end.theta.detach(), end.moments) if keep == loop.steps else None)
        theta_end = end.theta

        loss = outer_loss(theta_end)
        wanted = [theta_end, leaves.images, leaves.step_size, *([leaves.labels] if soft else [])]
        outer_gradient, images, taped_alpha, *labels = torch.autograd.grad(loss, wanted)
        theta_end = theta_end.detach()
        return Hypergradient(
            loss=loss.detach(),
            images=images,
            labels=labels[0] if soft else None,
            step_size=closed_form(outer_gradient, theta_start, theta_end, constants.step_size),
            step_size_taped=taped_alpha,
            theta=theta_end,
            kept=None if kept is None else kept.theta,
            kept_moments=() if kept is None else tuple(each.detach() for each in kept.moments),
        )


def _run_sgd(
    loop: InnerLoop, start: Point, steps: range, at: OuterVariables, keep: int | None, *, taped: bool
) -> tuple[Point, Point | None]:
    """Run the inner steps `steps` by plain SGD from the point `start`.

    Returns two points: the one after the last of these steps, and the one before step `keep`. The second is None if
    `keep` is not among `steps`.
    """
    kept: Point | None = None
    with _innerloop(loop.network, start.theta, taped=taped) as (network, optimizer):
        for step in steps:
            if step == keep:
                kept = Point(flatten(network.fast_params).detach())
            optimizer.step(loop.loss(network, step, at), override={"lr": [loop.step_size(step, at)]})
        return Point(flatten(network.fast_params)), kept


def _run_rule(
    loop: InnerLoop, start: Point, steps: range, at: OuterVariables, keep: int | None, *, taped: bool
) -> tuple[Point, Point | None]:
    """Run the inner steps like `_run_sgd`, but by the update rule of `loop`. With `taped`, autograd records them."""
    network = FlatNetwork(loop.network.train())
    kept: Point | None = None
    point = start._replace(theta=start.theta.detach().requires_grad_())
    for step in steps:
        if step == keep:
            kept = Point(point.theta.detach(), point.moments)
        loss = loop.loss(partial(network, point.theta), step, at)
        (gradient,) = torch.autograd.grad(loss, point.theta, create_graph=taped)
        point = loop.rule.update(point, gradient, loop.step_size(step, at), step)
        if not taped:
            point = Point(point.theta.detach().requires_grad_(), tuple(each.detach() for each in point.moments))
    return point, kept


@contextmanager
def _innerloop(network: nn.Module, theta: FlatParams, *, taped: bool) -> Iterator[tuple[Any, Any]]:
    """A functional copy of `network`, made by the library `higher`, at the parameters `theta` [P], and its SGD."""
    import higher

    parameters = list(network.parameters())
    sgd = torch.optim.SGD(parameters, lr=1.0)  # each step overrides the learning rate with α
    start = unflatten(theta.detach(), [p.shape for p in parameters])
    with higher.innerloop_ctx(network, sgd, track_higher_grads=taped) as (functional, optimizer):
        functional.update_params([p.clone().requires_grad_() for p in start])
        yield functional, optimizer
