"""Chooses how a job (a condensation) computes its hypergradients: one of the policies `higher`, `replay` and `tesla`.

A hypergradient is the derivative of the loss after the inner loop with respect to the images (and other outer
variables). The choice depends on the size of the job and on the machine, but never on measured times. So two equal jobs
on one machine get the same policy, and equal seeds give equal bits.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, TypeAlias

import torch
from torch import nn

from satm.engine.higher import HigherPolicy
from satm.engine.hypergradient import HypergradientPolicy
from satm.engine.replay import ReplayPolicy, TeslaPolicy
from satm.engine.step import make_step
from satm.errors import ConfigError
from satm.machine.compilation import Compilation, missing_compiler
from satm.machine.cost import blank_image
from satm.machine.pieces import images_at_once
from satm.machine.precision import Precision, missing_bf16
from satm.machine.purity import draws_random_numbers
from satm.machine.ram import total_memory

Engine: TypeAlias = Literal["auto", "prefer-higher", "higher", "replay", "tesla"]

# With compile=auto, a job with fewer floating-point operations than this is not compiled, because compiling takes
# minutes. The key is the type of the device.
COMPILE_WORTH = {"cpu": 1e13, "cuda": 1e15}
# Autograd's tape of one differentiated inner step takes at most this many times the bytes that the forward pass of the
# step saves.
TAPE = 3.0
MEMORY_SHARE = 0.6  # the largest share of the memory of the device that the tape may take
# The largest share of it that the kept activations of compiled steps may take (`satm.engine.halves`). They save a sixth
# of the time of a differentiated step.
KEPT_SHARE = 0.02

# The time of an inner step, and the time of differentiating it, both divided by the time of one uncompiled gradient.
# The key is (whether the policy is `higher`, whether the step is compiled); `higher` is never compiled. Measured with a
# ConvNet of width 32 on 100 images, on a CPU (benchmarks/engine.py).
TIMES = {(True, False): (1.0, 2.3), (False, False): (1.0, 3.6), (False, True): (0.6, 2.0)}
KEPT_TIME = 0.8  # the time of differentiating a step that keeps its activations, divided by that of another step


@dataclass(frozen=True, kw_only=True)
class InnerWork:
    """The size of a job: what one outer step computes, and the number of outer steps.

    An outer step runs the inner loop once or, with some outer rules, several times. Each run is called a pass.
    """

    flops: float  # floating-point operations of the forward pass of one image
    activation_bytes: int  # bytes that the forward pass of one image saves for its backward pass
    batch: int  # number of images of an inner step
    steps: int  # number of inner steps in one outer step, summed over its passes
    taped: int  # number of differentiated inner steps in one outer step, summed over its passes
    window: int  # number of differentiated inner steps of one pass
    outer_steps: int  # number of outer steps of the job
    kept: int = 1  # number of vectors [P] that `replay` stores for each differentiated step (`UpdateRule.kept`)

    @property
    def total(self) -> float:
        """Floating-point operations of the whole job.

        To compute the gradient of an inner step costs as much as three forward passes. To differentiate this step costs
        as much as eight more.
        """
        return self.outer_steps * self.batch * self.flops * (3 * self.steps + 8 * self.taped)

    @property
    def tape(self) -> float:
        """Roughly the bytes of autograd's tape that `higher` holds for all differentiated steps of one pass."""
        return TAPE * self.window * self.kept_activations

    @property
    def kept_activations(self) -> int:
        """The bytes that the forward pass of an inner step saves. A step that keeps its activations takes no more."""
        return self.batch * self.activation_bytes

    def kept_steps(self, memory: float) -> int:
        """The number of differentiated steps that keep their activations, on a device with `memory` bytes."""
        return min(self.window, int(KEPT_SHARE * memory / self.kept_activations))


@dataclass(frozen=True, kw_only=True)
class EngineChoice:
    """The chosen policy: its name, how it runs, and the reason for the choice."""

    engine: Literal["higher", "replay", "tesla"]  # the name of the policy
    compiled: bool  # whether its steps are compiled
    precision: Precision
    reason: str  # one phrase for the user
    at_once: int | None = None  # number of images of a step that are differentiated together; None: the whole batch
    kept_steps: int = 0  # number of differentiated steps that keep their activations

    def __str__(self) -> str:
        """One line, such as `engine replay, compiled (1e+14 operations are worth compiling)`."""
        how = [", compiled" if self.compiled else "", f", {self.precision}" if self.precision != "float32" else ""]
        return f"engine {self.engine}{''.join(how)} ({self.reason})"

    def seconds(self, gradient: float, work: InnerWork) -> float:
        """Roughly the seconds of one outer step. `gradient`: seconds of one uncompiled gradient of the inner loss."""
        step, taped = TIMES[self.engine == "higher", self.compiled]
        saved = (1 - KEPT_TIME) * self.kept_steps / work.window
        return gradient * (step * work.steps + (1 - saved) * taped * work.taped)

    def policy(self, network: nn.Module, notify: Callable[[str], None]) -> HypergradientPolicy:
        """The policy object for inner loops on `network`. If compiling fails, `notify` is called with one line."""
        if self.engine == "higher":
            return HigherPolicy()
        fuse = notify if self.compiled else None
        step = make_step(network, precision=self.precision, at_once=self.at_once, notify=fuse)
        return ReplayPolicy(step, self.kept_steps) if self.engine == "replay" else TeslaPolicy(step)


def choose_engine(
    asked: Engine,
    compile: Compilation,
    precision: Precision,
    *,
    network: nn.Module,
    image_shape: tuple[int, int, int],
    work: InnerWork,
) -> EngineChoice:
    """Choose the policy of a job: the one that the user names in `asked`, or the first of these that applies.

    1. `higher`, if the network draws random numbers: the other policies cannot differentiate it;
    2. `replay`, if the precision is not float32: `higher` has no other;
    3. compiled `replay`, if steps are compiled (`whether_compiled`) and `asked` is "auto";
    4. `higher`, if its tape fits in memory: without compiling, it is faster than `replay`;
    5. uncompiled `replay` or, if `asked` is "prefer-higher" and steps are compiled, compiled `replay`.
    Raises ConfigError for a combination that cannot work.
    """
    random = draws_random_numbers(network, blank_image(network, image_shape))
    compiled, why = whether_compiled(compile, work.total, _device(network))
    if precision == "bf16" and (lacking := missing_bf16(_device(network))):
        raise ConfigError(f"precision bf16: {lacking}; set precision=float32")
    memory = total_memory(_device(network))
    fits = work.tape <= MEMORY_SHARE * memory
    window = f"a window of {work.window} steps of {work.batch} images"
    large = f"the tape of {window} takes {_gb(work.tape)} of {_gb(memory)} memory"

    def chosen(engine: Literal["higher", "replay", "tesla"], reason: str) -> EngineChoice:
        if engine == "higher" and precision != "float32":
            raise ConfigError(f"precision {precision}: engine higher runs in float32; set engine=replay")
        if engine != "higher" and random:
            raise ConfigError(f"engine {engine}: the network draws random numbers (dropout); set engine=higher")
        if engine == "higher" and compile == "compiled":
            if asked == "higher":
                raise ConfigError("compile=compiled: engine higher is never compiled; set engine=replay")
            reason += "; never compiled"
        elif engine != "higher" and not compiled and compile == "auto":
            reason += f"; uncompiled: {why}"
        return EngineChoice(
            engine=engine,
            compiled=compiled and engine != "higher",
            precision=precision,
            reason=reason,
            at_once=None if engine == "higher" else images_at_once(network, image_shape),
            kept_steps=work.kept_steps(memory) if compiled and engine == "replay" else 0,
        )

    if asked in ("higher", "replay", "tesla"):
        return chosen(asked, "as asked")
    if random:
        return chosen("higher", "the network draws random numbers, so that no step can be replayed")
    if precision != "float32":
        return chosen("replay", f"{precision} asked for")
    if asked == "prefer-higher":
        if fits:
            return chosen("higher", "the reference")
        return chosen("replay", large)
    if compiled or not fits:
        return chosen("replay", why if compiled else large)
    return chosen("higher", why)


def whether_compiled(asked: Compilation, operations: float, device: torch.device) -> tuple[bool, str]:
    """Whether a job of `operations` floating-point operations is compiled, and the reason as text.

    If `asked` is "auto", a job is compiled if the machine can compile, and if the job has so many operations that
    compiling saves more time than it takes (`COMPILE_WORTH`). Raises ConfigError if `asked` is "compiled" but the
    machine cannot compile.
    """
    missing = missing_compiler(device)
    if asked == "compiled" and missing:
        raise ConfigError(f"compile=compiled: {missing}; set compile=auto")
    if asked != "auto":
        return asked == "compiled", f"compile={asked}"
    if operations < COMPILE_WORTH.get(device.type, COMPILE_WORTH["cuda"]):
        return False, f"{operations:.0e} operations are too few to compile for"
    return not missing, missing or f"{operations:.0e} operations are worth compiling"


def _device(network: nn.Module) -> torch.device:
    return next(network.parameters()).device


def _gb(amount: float) -> str:
    return f"{amount / 1e9:.1f} GB"
