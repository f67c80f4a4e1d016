"""Time and peak RAM of the outer steps of SATM, MTT and TESLA, also as ratios to MTT's outer step in uncompiled torch.

    python benchmarks/engine.py [--case A] [--mode eager] [--device cuda] [--rounds 5] [--json FILE]

The table has one line for each way to compute an outer step. In each round, every line runs one outer step, so a change
of the machine's speed affects all lines alike. A ratio of times is the median over the rounds. FILE is written again
after each line and each round. Images and parameters are random, each inner step uses all images, and nothing is
augmented, because only the engine is measured: the code that differentiates the inner loop.

As in satm's commands, malloc keeps freed memory (`satm.machine.allocator`), for the uncompiled baselines as well. On a
CPU, each line has a process of its own for its peak RAM. After one warm-up step, the peak of a second step is
measured above the RAM that the process already uses.

On CUDA, memory is the peak of the card's memory that this process allocates, and the card is synchronised before and
after each timed call. The modes are "eager" (uncompiled) and "compiled", both in float32 with TF32 off. "tf32" in a
mode says that convolutions use TF32 (torch's own default). "bf16" is autocast. "graphs" says that each function of an
inner step is captured in a CUDA graph. Compiled steps of the window keep their activations, except in the lines with
"nothing kept" and under CUDA graphs. The case `T6` has the sizes of the paper's Table 6.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cache, partial
from pathlib import Path
from typing import Any

import torch
from torch.utils._pytree import tree_map
from torch.utils.flop_counter import FlopCounterMode

sys.path.insert(0, str(Path(__file__).parent.parent))

from benchmarks.baselines import BASELINES, Problem, refusal
from satm import networks
from satm.engine import (
    Full,
    HigherPolicy,
    InnerLoop,
    LastSteps,
    OuterVariables,
    ReplayPolicy,
    Step,
    TeslaPolicy,
    flatten,
    make_step,
)
from satm.errors import SatmError
from satm.machine.allocator import keep_freed_memory
from satm.machine.pieces import images_at_once
from satm.machine.precision import missing_bf16
from satm.machine.ram import measured_peak
from satm.methods.outer import SATM, OuterProblem
from satm.rng import Seed


@dataclass(frozen=True)
class Case:
    """The sizes of a problem to measure."""

    architecture: str
    size: int  # the side of an image in pixels
    images: int  # the number of synthetic images
    steps: int  # N, the number of inner steps
    window: int  # the number of last inner steps that SATM differentiates
    classes: int = 10


CASES = {
    "A": Case("convnet3_w32", 32, 100, 30, 10),
    "B": Case("convnet3_w32", 32, 10, 50, 16),
    "C": Case("convnet3", 32, 100, 6, 2),
    "D": Case("convnet4_w32", 64, 60, 20, 7),
    "T6": Case("convnet3", 32, 100, 50, 16, classes=100),  # Table 6: CIFAR-100, with 100 images in each inner step
}
DEFAULT_CASES = ("A", "B", "C", "D")
Run = Callable[[], Any]  # computes one outer step


def toy(case: Case) -> Case:
    """A tiny version of a case. It is for trying this program, not for measuring."""
    small = case.architecture.partition("_")[0] + "_w4"
    return replace(case, architecture=small, size=16 if case.size == 32 else 32, images=6, steps=3, window=2)


def problem(case: Case, device: torch.device) -> Problem:
    """A random problem with the sizes of `case`."""
    seed = Seed(0).child("benchmark")
    shape = (3, case.size, case.size)
    network = networks.create(case.architecture, num_classes=case.classes, image_shape=shape, seed=seed).to(device)
    generator = seed.generator()
    start = flatten(network.parameters()).detach()
    return Problem(
        network=network,
        images=torch.randn(case.images, *shape, generator=generator).to(device),
        labels=(torch.arange(case.images) % case.classes).to(device),
        step_size=torch.tensor(0.01, device=device),
        start=start,
        target=start + 0.01 * torch.randn(start.shape, generator=generator).to(device),
        steps=case.steps,
        window=case.window,
    )


def lines(given: Problem) -> dict[tuple[str, str], Callable[[], Run]]:
    """The lines of the table by (what, mode). Each value prepares the outer step of the line and returns it as a `Run`.

    `what` is the method and the way to differentiate its inner loop. In uncompiled code, "mtt" and "tesla" are the
    baselines in plain torch. Lines with "higher" use the library of this name. All other lines use the steps of our
    engine. `mode` is how the code runs (see the module's docstring).
    """
    made: dict[tuple[str, str], Callable[[], Run]] = {
        (name, "eager"): partial(_ready, partial(function, given)) for name, function in BASELINES.items()
    }
    made["higher, full", "eager"] = partial(_ready, partial(_solve, given, HigherPolicy(), Full()))
    made["satm, higher", "eager"] = partial(_ready, partial(_satm, given, HigherPolicy()))
    device = given.start.device
    bf16 = [] if missing_bf16(device) else ["bf16"]
    step_of = cache(partial(_step, given))
    ours: dict[str, Callable[[Step], Run]] = {
        "satm": lambda step: partial(_satm, given, ReplayPolicy(step, given.window)),
        "mtt, replay": lambda step: partial(_solve, given, ReplayPolicy(step, given.steps), Full()),
    }
    # The same without kept activations.
    forgetful: dict[str, Callable[[Step], Run]] = {
        "satm, nothing kept": lambda step: partial(_satm, given, ReplayPolicy(step)),
        "mtt, replay, nothing kept": lambda step: partial(_solve, given, ReplayPolicy(step), Full()),
    }
    # The baseline TESLA, but with the compiled steps of our engine: a fair comparison needs both in compiled code.
    tesla: dict[str, Callable[[Step], Run]] = {"tesla": lambda step: partial(_solve, given, TeslaPolicy(step), Full())}
    modes = ["eager", "compiled", *bf16]
    if device.type == "cuda":
        made |= {(name, "eager tf32"): make for (name, _), make in list(made.items())[: len(BASELINES)]}
        modes = ["compiled", "graphs", "compiled tf32", "graphs tf32", *bf16, *(f"{each} graphs" for each in bf16)]
        modes.append("eager")
    for mode in modes:
        builds = ours | (tesla if mode.startswith(("compiled", "graphs")) else {})
        builds |= forgetful if mode in ("compiled", "bf16") else {}
        made |= {(what, mode): partial(_made, step_of, mode, build) for what, build in builds.items()}
    return made


def _ready(run: Run) -> Run:
    return run


def _made(step_of: Callable[[str], Step], mode: str, build: Callable[[Step], Run]) -> Run:
    kind = "eager" if mode == "eager" else "bf16" if mode.startswith("bf16") else "compiled"
    step = step_of(kind)
    return build(graphed(step) if "graphs" in mode else step)


def _step(given: Problem, kind: str) -> Step:
    return make_step(
        given.network,
        precision="bf16" if kind == "bf16" else "float32",
        at_once=images_at_once(given.network, tuple(given.images.shape[1:])),
        notify=None if kind == "eager" else partial(print, file=sys.stderr),
    )


def graphed(step: Step) -> Step:
    """The same step, but each of its functions is captured in a CUDA graph when it is first called."""
    return replace(
        step,
        gradient=_graphed(step.gradient),
        product=_graphed(step.product),
        mixed=_graphed(step.mixed),
        halves=None,  # nothing is kept: a graph writes its results to the same memory at every call
    )


def _graphed(function: Callable[..., Any]) -> Callable[..., Any]:
    """`function` as a CUDA graph, which every call replays. All calls need the same shapes. The results are copies."""
    kept: list[Any] = []  # empty before the first call, then (the graph, its input tensors, its results)

    def capture(arguments: tuple[torch.Tensor, ...]) -> None:
        static = tuple(each.clone() for each in arguments)
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            for _ in range(3):  # these calls compile the function, and cuDNN chooses its kernels
                function(*static)
        torch.cuda.current_stream().wait_stream(side)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            result = function(*static)
        kept.extend((graph, static, result))

    def call(*arguments: torch.Tensor) -> Any:
        if not kept:
            capture(arguments)
        graph, static, result = kept
        for into, value in zip(static, arguments, strict=True):
            into.copy_(value)
        graph.replay()
        return tree_map(lambda each: each.clone() if isinstance(each, torch.Tensor) else each, result)

    return call


@contextmanager
def _arithmetic(mode: str) -> Iterator[None]:
    """A block in which convolutions use TF32 if and only if `mode` contains "tf32". It has no effect on a CPU."""
    before = torch.backends.cudnn.allow_tf32
    torch.backends.cudnn.allow_tf32 = "tf32" in mode
    try:
        yield
    finally:
        torch.backends.cudnn.allow_tf32 = before


def _loop(given: Problem) -> dict[str, Any]:
    return {
        "loop": InnerLoop(
            network=given.network, batches=(None,) * given.steps, transforms=(torch.nn.Identity(),) * given.steps
        ),
        "at": OuterVariables(given.images, given.labels, given.step_size),
        "theta_start": given.start,
    }


def _solve(given: Problem, policy: Any, truncation: Any) -> torch.Tensor:
    found: torch.Tensor = policy(**_loop(given), outer_loss=given.outer_loss, truncation=truncation).images
    return found


def _satm(given: Problem, policy: Any) -> torch.Tensor:
    outer = OuterProblem(**_loop(given), loss=given.outer_loss, policy=policy, truncation=LastSteps(given.window))
    return SATM()(outer, torch.Generator().manual_seed(0), lambda: outer.loop, {}).images


def _seconds(run: Run, device: torch.device) -> float:
    """Seconds of one call. On CUDA, the device is synchronised before and after the call."""
    if device.type == "cuda":
        torch.cuda.synchronize()
    start = time.perf_counter()
    run()
    if device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - start


def peak_flops(device: torch.device, seconds: float = 1.0) -> float:
    """Floating-point operations per second of the fastest of the matrix products that run in `seconds`.

    The matrices are float32 and square, with 1024 rows on a CPU and 8192 rows on CUDA. TF32 is off for products, which
    is torch's default.
    """
    size = 8192 if device.type == "cuda" else 1024
    a, best, end = torch.randn(size, size).to(device), 0.0, time.perf_counter() + seconds
    while time.perf_counter() < end:
        best = max(best, 2 * size**3 / _seconds(lambda: a @ a, device))
    return best


def operations(given: Problem) -> dict[str, float]:
    """Floating-point operations of one outer step of our engine, by `what`: those of convolutions and products."""
    step, v = make_step(given.network), torch.ones_like(given.start)
    with FlopCounterMode(display=False) as gradient:
        step.gradient(given.start, given.images, given.labels)
    with FlopCounterMode(display=False) as product:
        step.product(given.start, given.images, given.labels, v)
    g, p = float(gradient.get_total_flops()), float(product.get_total_flops())
    n, w = given.steps, given.window
    return {"satm": (n + w) * g + 2 * w * p, "mtt, replay": n * (g + p)}


@dataclass(frozen=True)
class Asked:
    """The options of the command line."""

    device: torch.device
    mode: str | None  # measure only this mode and the eager baselines; None: all modes
    rounds: int
    toy: bool  # whether the cases are tiny
    until: float  # the value of `time.monotonic` after which no line and no round starts

    def case(self, name: str) -> Case:
        """The case `name`, tiny if `toy` is set."""
        return toy(CASES[name]) if self.toy else CASES[name]


Line = tuple[str, str]  # a line of the table: (what, mode); see `lines`


@dataclass(frozen=True)
class Found:
    """The measurements of one case so far."""

    case: str
    device: torch.device
    flops: dict[str, float]  # floating-point operations of one outer step, by `what`
    peak: float  # floating-point operations per second that the device reaches (`peak_flops`)
    seconds: dict[Line, list[float]]  # one number for each round; before the first round, one number of the warm-up
    memory: dict[Line, float]  # peak memory in megabytes
    failed: dict[Line, str]  # the reasons why lines could not be measured

    def rows(self) -> list[dict[str, Any]]:
        """The rows of the table. The rows of lines that failed come last."""
        rows = [self._row(line) for line in self.seconds]
        failed = [
            {"case": self.case, "what": what, "mode": how, "failed": why} for (what, how), why in self.failed.items()
        ]
        return rows + failed

    def _row(self, line: Line) -> dict[str, Any]:
        what, mode = line
        seconds, base = self.seconds[line], self.memory.get(("mtt", "eager"))
        return {
            "case": self.case,
            "what": what,
            "mode": mode,
            "seconds": statistics.median(seconds),
            "peak_mb": self.memory[line],
            **{
                f"time_vs_{other}": statistics.median(a / b for a, b in zip(seconds, own, strict=True))
                for other in BASELINES
                if (own := self.seconds.get((other, "eager")))
            },
            "memory_vs_mtt": self.memory[line] / base if base else None,
            # the share of the device's peak; the peak is that of float32, also for lines in bf16
            "of_peak": self.flops[what] / self.peak / statistics.median(seconds) if what in self.flops else None,
            "rounds": len(seconds),
            "threads": torch.get_num_threads(),
            "device": str(self.device),
        }


def measure(name: str, asked: Asked, save: Callable[[list[dict[str, Any]]], None]) -> list[dict[str, Any]]:
    """Measure one case and return its rows. `save` is called with the rows so far after each warm-up and each round."""
    device = asked.device
    if lacking := missing_bf16(device):
        print(f"no bf16 column: {lacking}", file=sys.stderr)
    given = problem(asked.case(name), device)
    if asked.mode != "eager" and device.type == "cpu" and not asked.toy:
        print(f"no compiled mtt: its gradient cannot be differentiated again ({refusal(given)})", file=sys.stderr)
    baselines = {(each, "eager") for each in BASELINES}
    wanted = {key: make for key, make in lines(given).items() if asked.mode in (None, key[1]) or key in baselines}
    found = Found(name, device, operations(given), peak_flops(device), {}, {}, {})
    runs: dict[Line, Run] = {}
    for line, make in wanted.items():
        if run := _warmed(line, make, asked, found):
            runs[line] = run
        save(found.rows())
    for round_ in range(asked.rounds):
        if time.monotonic() > asked.until:
            break
        for line, run in runs.items():
            with _arithmetic(line[1]):
                # The first round replaces the seconds of the warm-up. In the warm-up, the calls of a line directly
                # follow each other. In a round the lines alternate. So the two times are not comparable.
                found.seconds[line] = [*(found.seconds[line] if round_ else ()), _seconds(run, device)]
        save(found.rows())
    return found.rows()


def _warmed(line: Line, make: Callable[[], Run], asked: Asked, found: Found) -> Run | None:
    """Prepare a line and run its first calls; returns the prepared outer step, or None if the line failed.

    Its peak memory and the seconds of one call are written to `found`, or the reason of the failure.
    """
    if time.monotonic() > asked.until:
        found.failed[line] = "no time left"
        return None
    started = time.monotonic()
    try:
        with _arithmetic(line[1]):
            run = make()
            with measured_peak(asked.device) as first:
                run()
            if asked.device.type == "cuda":
                with measured_peak(asked.device) as second:
                    run()
                # A CUDA graph allocates its memory when it is captured, and this happens in the first call.
                memory = ((first if "graphs" in line[1] else second).bytes or 0) / 1e6
            else:
                memory = 0.0 if asked.toy else _peak_of(found.case, line)
            found.seconds[line], found.memory[line] = [_seconds(run, asked.device)], memory
    except (RuntimeError, SatmError) as error:  # for example torch.OutOfMemoryError
        found.failed[line] = f"{type(error).__name__}: {str(error).splitlines()[0]}"
        print(f"{found.case} {line}: {found.failed[line]}", file=sys.stderr)
        return None
    print(f"{found.case} {line}: ready after {time.monotonic() - started:.1f} s", file=sys.stderr)
    return run


def _peak_of(case: str, line: Line) -> float:
    command = [sys.executable, __file__, "--peak", case, *line]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return float(done.stdout.split()[-1])


def print_peak(case: Case, what: str, mode: str) -> None:
    """Print the peak RAM of one line in megabytes, above what the process uses after one warm-up call."""
    run = lines(problem(case, torch.device("cpu")))[what, mode]()
    run()
    with measured_peak() as peak:
        run()
    print((peak.bytes or 0) / 1e6)


def _number(value: float | None, width: int, digits: int = 2) -> str:
    return " " * width if value is None else f"{value:{width}.{digits}f}"


def table(rows: list[dict[str, Any]]) -> Iterator[str]:
    """The lines of the printed table. Ratios are to the eager baselines of MTT and TESLA."""
    heads = f"{'seconds':>9}{'peak MB':>9}{'time':>7}{'memory':>8}{'/tesla':>8}{'of peak':>9}"
    yield f"{'case':5}{'what':16}{'mode':15}{heads}"
    for row in rows:
        start = f"{row['case']:5}{row['what']:16}{row['mode']:15}"
        if "failed" in row:
            yield f"{start}  {row['failed'][:80]}"
            continue
        yield (
            f"{start}{row['seconds']:9.4f}{row['peak_mb']:9.0f}{_number(row.get('time_vs_mtt'), 7)}"
            f"{_number(row['memory_vs_mtt'], 8)}{_number(row.get('time_vs_tesla'), 8)}{_number(row['of_peak'], 9)}"
        )


def main() -> None:
    """Print the table, and write the JSON file."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--case", choices=CASES, action="append", help="only this case; may be repeated")
    parser.add_argument("--mode", help="only this mode (eager, compiled, bf16 …), besides the eager baselines")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--minutes", type=float, default=float("inf"), help="start nothing later than this")
    parser.add_argument("--toy", action="store_true", help="tiny cases, to try this program")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--peak", nargs=3, help=argparse.SUPPRESS)
    given = parser.parse_args()
    keep_freed_memory()
    asked = Asked(
        device=torch.device(given.device),
        mode=given.mode,
        rounds=given.rounds,
        toy=given.toy,
        until=time.monotonic() + 60 * given.minutes,
    )
    if given.peak:
        case, what, mode = given.peak
        print_peak(asked.case(case), what, mode)
        return
    rows: list[dict[str, Any]] = []

    def save(of_case: list[dict[str, Any]]) -> None:
        if given.json:
            given.json.write_text(json.dumps(rows + of_case, indent=2))

    for name in given.case or DEFAULT_CASES:
        if time.monotonic() > asked.until:
            print(f"no time left for case {name}", file=sys.stderr)
            continue
        rows += measure(name, asked, save)
    print("\n".join(table(rows)))


if __name__ == "__main__":
    main()
