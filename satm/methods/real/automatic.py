"""`AutomaticWindow`: the stage of the run and the gradients of a probe choose the window (AT-BPTT, Li et al. 2025)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch

from satm.methods.outer import State
from satm.methods.real.window import Window
from satm.rng import Seed

EARLY, MIDDLE, LATE = 1, 2, 3  # the stages of a run


class StageEnd(NamedTuple):
    """When a stage ends: after so many epochs in a row in which the accuracy rises little."""

    rise: float  # an epoch counts if its accuracy is less than this above that of the epoch before, in points
    epochs: int  # the number of such epochs in a row


@dataclass(frozen=True, slots=True, kw_only=True)
class AutomaticWindow:
    """A `WindowRule` with three stages: early, middle and late.

    An epoch is `every` outer steps. All of them have the window that is chosen before the first of them. In the early
    and the late stage a probe is run first: a whole inner loop of N steps from a network of its own. g_i is the norm of
    the gradient of its step i. A step p is drawn with the probabilities softmax(g). With W = `size` and d = `spread`,
    the first step ι and the number of steps w of the window are:

        early    w = ⌊W − d + 2 d · rank/N⌋,   ι = min(p, N − w)
        middle   w = W + d,                    ι uniform in 0 … N − w
        late     w = W − d,                    ι = max(0, N − w − p)

    rank is the number of steps i with c_i < c_p, for c_i = |g_i − g_{i−1}| and c_0 = 0.

    A run begins in the early stage. The accuracy of an epoch is that of the trained networks on the real batches of its
    outer steps, in percent; before the first epoch it is 0. The stage ends as `early` or `middle` says. The epoch that
    ends the early stage is also the first one that is counted for the end of the middle stage.

    Source: framework/distill_higher.py and framework/base.py of GH209515338/AT-BPTT at fc55875.
    """

    steps: int  # N, the number of steps of a probe, and the largest number of inner steps of an outer step
    size: int  # W
    spread: int  # d
    every: int  # the number of outer steps of an epoch
    early: StageEnd
    middle: StageEnd
    fixed: bool = False
    judges: bool = True

    @property
    def largest(self) -> int:
        """See `WindowRule`: the w of the middle stage."""
        return self.size + self.spread

    def mean_steps(self) -> float:
        """See `WindowRule`: the mean for a window of W steps at a uniform place, with a probe in every epoch."""
        return (self.steps - self.size) / 2 + self.size + self.steps / self.every

    def init(self) -> State:
        """The state before the first outer step; see `WindowRule`."""
        return {  # a saved state must not name one tensor twice, so each number has its own
            "stage": torch.tensor(EARLY),
            "calm": torch.tensor(0),  # the epochs in a row that count for the end of the stage
            "taken": torch.tensor(0),  # the outer steps of this epoch that are done
            "place": torch.tensor(0),  # ι of this epoch; it has no meaning before the epoch's first outer step
            "size": torch.tensor(0),  # w of this epoch
            # Rows: the epoch before, and this epoch. Columns: the real images that were classified correctly, and all.
            "answers": torch.zeros(2, 2, dtype=torch.int64),
        }

    def draw(self, state: State, seed: Seed, norms: Callable[[], torch.Tensor]) -> Window:
        """Choose a new window at the first outer step of an epoch, otherwise keep it; see `WindowRule`."""
        stage = int(state["stage"])
        # A run that continues from a state under other settings can have a window that is too long for them.
        if int(state["taken"]) == 0 or int(state["place"]) + int(state["size"]) > self.steps:
            place, size = self._chosen(stage, seed.generator(), norms)
            state = {**state, "place": torch.tensor(place), "size": torch.tensor(size)}
        place, size = int(state["place"]), int(state["size"])
        measured = {"window_start": float(place), "window": float(size), "stage": float(stage)}
        return Window(place=place, size=size, state=state, measured=measured)

    def _chosen(self, stage: int, generator: torch.Generator, norms: Callable[[], torch.Tensor]) -> tuple[int, int]:
        """Return ι and w for the stage `stage`."""
        if stage == MIDDLE:
            size = self.size + self.spread
            return int(torch.randint(0, self.steps - size + 1, (), generator=generator)), size
        g = norms().double()
        p = _drawn(g.softmax(0), generator)
        if stage == LATE:
            size = self.size - self.spread
            return max(0, self.steps - size - p), size
        changes = g.diff(prepend=g[:1]).abs()
        rank = int((changes < changes[p]).sum())
        size = self.size - self.spread + 2 * self.spread * rank // self.steps
        return min(p, self.steps - size), size

    def judged(self, state: State, hits: int, images: int) -> State:
        """Count the answers, and at the end of an epoch decide on the stage; see `WindowRule`."""
        before, now = state["answers"][0], state["answers"][1] + torch.tensor([hits, images])
        taken = int(state["taken"]) + 1
        if taken < self.every:
            return {**state, "taken": torch.tensor(taken), "answers": torch.stack([before, now])}
        stage, calm = self._stage(int(state["stage"]), int(state["calm"]), _percent(now) - _percent(before))
        return {
            **state,
            "stage": torch.tensor(stage),
            "calm": torch.tensor(calm),
            "taken": torch.tensor(0),
            "answers": torch.stack([now, torch.zeros_like(now)]),
        }

    def _stage(self, stage: int, calm: int, rise: float) -> tuple[int, int]:
        """Return the stage and its calm epochs after an epoch whose accuracy rose by `rise` points."""
        for each, end in ((EARLY, self.early), (MIDDLE, self.middle)):
            if stage == each:
                calm = calm + 1 if rise < end.rise else 0
                if calm >= end.epochs:
                    stage, calm = stage + 1, 0
        return stage, calm


def _drawn(probabilities: torch.Tensor, generator: torch.Generator) -> int:
    """Draw an index from `probabilities` [N]."""
    sums = probabilities.cumsum(0)
    found = torch.searchsorted(sums, torch.rand((), generator=generator, dtype=sums.dtype))
    return min(int(found), len(sums) - 1)  # the last sum can be just below 1


def _percent(answers: torch.Tensor) -> float:
    hits, images = answers.tolist()
    return 100 * hits / images if images else 0.0
