"""How the learning rate of each incremental step is found."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch

from evaluation import RateChoice, choose_learning_rate, stated_learning_rate
from evaluation.cross_arch import CHOOSING
from protocols.order import Steps
from satm.machine.fused import Fused
from satm.synthetic import SyntheticSet
from satm.teachers import Teacher
from satm.workflow.evaluate.subject import ROOT
from satm.workflow.incremental.memories import Memory
from satm.workflow.incremental.plan import IncrementalPlan
from satm.workflow.incremental.rows import GRID, Rows, on_all
from satm.workflow.workspace import Workspace


@dataclass(kw_only=True)
class Rates:
    """Finds the learning rates of a plan's networks.

    A rate is the protocol's own, a number from the user, the step size α that was learned with the set, or the rate of
    the recipe's grid with the best accuracy on validation images.
    """

    workspace: Workspace
    plan: IncrementalPlan
    rows: Rows
    teacher: Teacher | None  # labels the training images; None if they keep their own labels
    fused: Fused | None  # compiled training code; None if there is none
    chosen: RateChoice | None = None  # the rate chosen from the grid, for all class orders; None until it is chosen

    def of(self, memory: Memory, stream: Steps) -> tuple[tuple[float, ...], str]:
        """Find the learning rates of one class order, with this memory and these steps.

        Returns one rate for each step, and the source of the rates: "fixed", "learned …" or "grid on validation".
        """
        steps = self.plan.steps
        policy = self.plan.subject.recipe.on(self.plan.network.name).learning_rate
        if self.plan.protocol.trains_itself:
            return (self.plan.config.learning_rate,) * steps, "fixed"
        if policy == "learned" and None not in memory.step_sizes:
            sizes = tuple(size for size in memory.step_sizes if size is not None)
            return sizes, "learned" if not memory.parts else "learned, the mean over the sets held"
        stated = None if memory.images is None else stated_learning_rate(policy, memory.images)
        if stated is not None and stated[1] == "fixed":
            return (stated[0],) * steps, stated[1]
        if self.chosen is None:
            known = "classes are" if stream.domains is None else "domains are"
            self.workspace.progress.say(f"{known} known before they arrive: {on_all(stream)}")
            self.chosen = self.rows.chosen_rate() or self._from_grid(memory, stream)
        return (self.chosen.rate,) * steps, GRID

    def _from_grid(self, memory: Memory, stream: Steps) -> RateChoice:
        """The best rate of the recipe's grid.

        If the memory is random real images, the rate is chosen on other random draws than those of the class orders.
        These have the numbers `CHOOSING`, `CHOOSING` − 1, …, and are used for nothing else.
        """
        source, recipe = self.plan.source, self.plan.subject.recipe
        numbers = range(CHOOSING, CHOOSING - recipe.rate_networks, -1)
        drawn = [source.at(number, stream) if source.kind == "random" else memory for number in numbers]
        return choose_learning_rate(
            [self._at_the_end(each.images).to(self.workspace.device) for each in drawn if each.images is not None],
            self.plan.subject.data.validation,
            self.plan.network,
            recipe,
            seed=ROOT.child("class-incremental", "learning rate"),
            device=self.workspace.device,
            teacher=self.teacher,
            fused=self.fused,
            progress=self.workspace.progress,
        )

    def _at_the_end(self, images: SyntheticSet) -> SyntheticSet:
        """The part of `images` that the memory holds after the last step.

        A growing memory holds all of them. A buffer of fixed size holds only the first images of each class.
        """
        buffer, domains = self.plan.request.buffer, self.plan.request.domain_names or ("",)
        if buffer is None:
            return images
        # The images of each class are sorted by their domain. The same number of each domain is held.
        arrived = images.ipc // len(domains)
        each = min(arrived, buffer // (len(images.classes) * len(domains)))
        if len(domains) == 1:
            return images.prefix(each)
        keep = torch.arange(len(images.images), device=images.images.device) % arrived < each
        return replace(images, images=images.images[keep], labels=images.labels[keep], ipc=each * len(domains))
