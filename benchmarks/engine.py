"""Time and peak RAM of SATM's outer step and of the field's, as ratios to MTT's uncompiled unroll in the same run.

    python benchmarks/engine.py [--case A] [--mode eager] [--rounds 5] [--json FILE]

In each round, every line of the table runs one outer step, so a drift of the machine affects all lines alike. A ratio
is the median over the rounds. RAM is the peak above the loaded process after one warm-up step, in one process for each
line. Images and parameters are random, each inner step takes all of φ, and nothing is augmented: this times the engine.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
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
from satm.machine.pieces import images_at_once
from satm.machine.precision import missing_bf16
from satm.machine.ram import measured_peak
from satm.methods.outer import SATM, OuterProblem
from satm.rng import Seed


@dataclass(frozen=True)
class Case:
    """The size of an inner loop."""

    architecture: str
    size: int  # pixels a side
    images: int
    steps: int  # N
    window: int


CASES = {
    "A": Case("convnet3_w32", 32, 100, 30, 10),
    "B": Case("convnet3_w32", 32, 10, 50, 16),
    "C": Case("convnet3", 32, 100, 6, 2),
    "D": Case("convnet4_w32", 64, 60, 20, 7),
}
Run = Callable[[], Any]


def problem(case: Case) -> Problem:
    """A random problem of that size."""
    seed = Seed(0).child("benchmark")
    network = networks.create(case.architecture, num_classes=10, image_shape=(3, case.size, case.size), seed=seed)
    generator = seed.generator()
    start = flatten(network.parameters()).detach()
    return Problem(
        network=network,
        images=torch.randn(case.images, 3, case.size, case.size, generator=generator),
        labels=torch.arange(case.images) % 10,
        step_size=torch.tensor(0.01),
        start=start,
        target=start + 0.01 * torch.randn(start.shape, generator=generator),
        steps=case.steps,
        window=case.window,
    )


def lines(given: Problem) -> dict[tuple[str, str], Callable[[], Run]]:
    """Every line of the table by (what, mode): a function that prepares the step to be timed."""
    made: dict[tuple[str, str], Callable[[], Run]] = {
        (name, "eager"): partial(_ready, partial(function, given)) for name, function in BASELINES.items()
    }
    made["higher, full", "eager"] = partial(_ready, partial(_solve, given, HigherPolicy(), Full()))
    made["satm, higher", "eager"] = partial(_ready, partial(_satm, given, HigherPolicy()))
    for mode in ("eager", "compiled", *([] if missing_bf16() else ["bf16"])):
        made["satm", mode] = partial(_made, given, mode, lambda step: partial(_satm, given, ReplayPolicy(step)))
        made["mtt, replay", mode] = partial(
            _made, given, mode, lambda step: partial(_solve, given, ReplayPolicy(step), Full())
        )
    # The two passes of TESLA with compiled steps: the arithmetic of the baseline, for a fair comparison.
    made["tesla", "compiled"] = partial(
        _made, given, "compiled", lambda step: partial(_solve, given, TeslaPolicy(step), Full())
    )
    return made


def _ready(run: Run) -> Run:
    return run


def _made(given: Problem, mode: str, build: Callable[[Step], Run]) -> Run:
    step = make_step(
        given.network,
        precision="bf16" if mode == "bf16" else "float32",
        at_once=images_at_once(given.network, tuple(given.images.shape[1:])),
        notify=None if mode == "eager" else partial(print, file=sys.stderr),
    )
    return build(step)


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


def peak_flops(seconds: float = 1.0) -> float:
    """Floating-point operations per second of a 1024² product in single precision: the best over `seconds`."""
    a, best, end = torch.randn(1024, 1024), 0.0, time.perf_counter() + seconds
    while time.perf_counter() < end:
        start = time.perf_counter()
        a @ a
        best = max(best, 2 * 1024**3 / (time.perf_counter() - start))
    return best


def operations(given: Problem) -> dict[str, float]:
    """Floating-point operations of the convolutions and products in our outer steps, by the table's `what`."""
    step, v = make_step(given.network), torch.ones_like(given.start)
    with FlopCounterMode(display=False) as gradient:
        step.gradient(given.start, given.images, given.labels)
    with FlopCounterMode(display=False) as product:
        step.product(given.start, given.images, given.labels, v)
    g, p = float(gradient.get_total_flops()), float(product.get_total_flops())
    n, w = given.steps, given.window
    return {"satm": (n + w) * g + 2 * w * p, "mtt, replay": n * (g + p)}


def measure(name: str, mode: str | None, rounds: int) -> list[dict[str, Any]]:
    """The rows of one case."""
    if lacking := missing_bf16():
        print(f"no bf16 column: {lacking}", file=sys.stderr)
    given = problem(CASES[name])
    if mode != "eager":
        print(f"no compiled mtt: its gradient cannot be differentiated again ({refusal(given)})", file=sys.stderr)
    wanted = {
        key: make
        for key, make in lines(given).items()
        if mode in (None, key[1]) or key in {(name, "eager") for name in BASELINES}
    }
    runs = {key: make() for key, make in wanted.items()}
    for run in runs.values():
        run()
    seconds: dict[tuple[str, str], list[float]] = {key: [] for key in runs}
    for _ in range(rounds):
        for key, run in runs.items():
            start = time.perf_counter()
            run()
            seconds[key].append(time.perf_counter() - start)
    memory = {key: _peak_of(name, key) for key in runs}
    base = seconds["mtt", "eager"]
    flops, limit = operations(given), peak_flops()
    return [
        {
            "case": name,
            "what": what,
            "mode": how,
            "seconds": statistics.median(seconds[what, how]),
            "peak_mb": memory[what, how],
            "time_vs_mtt": statistics.median(a / b for a, b in zip(seconds[what, how], base, strict=True)),
            "memory_vs_mtt": memory[what, how] / memory["mtt", "eager"],
            # share of the machine's peak, in single precision for bf16 too
            "of_peak": flops[what] / limit / statistics.median(seconds[what, how]) if what in flops else None,
            "rounds": rounds,
            "threads": torch.get_num_threads(),
        }
        for what, how in runs
    ]


def _peak_of(case: str, key: tuple[str, str]) -> float:
    command = [sys.executable, __file__, "--peak", case, *key]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return float(done.stdout.split()[-1])


def print_peak(case: str, what: str, mode: str) -> None:
    """Print the peak RAM of one line in megabytes above the loaded process, after one warm-up call."""
    run = lines(problem(CASES[case]))[what, mode]()
    run()
    with measured_peak() as peak:
        run()
    print((peak.bytes or 0) / 1e6)


def _share(value: float | None) -> str:
    return "" if value is None else f"{value:.2f}"


def main() -> None:
    """Print the table, and write the JSON file."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--case", choices=CASES, action="append", help="only this case; may be repeated")
    parser.add_argument(
        "--mode", choices=("eager", "compiled", "bf16"), help="only this mode, besides the eager baselines"
    )
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--peak", nargs=3, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.peak:
        print_peak(*asked.peak)
        return
    rows: list[dict[str, Any]] = []
    for name in asked.case or CASES:
        rows += measure(name, asked.mode, asked.rounds)
        if asked.json:
            asked.json.write_text(json.dumps(rows, indent=2))
    print(f"{'case':5}{'what':16}{'mode':10}{'seconds':>9}{'peak MB':>9}{'time':>7}{'memory':>8}{'of peak':>9}")
    for row in rows:
        print(
            f"{row['case']:5}{row['what']:16}{row['mode']:10}{row['seconds']:9.3f}{row['peak_mb']:9.0f}"
            f"{row['time_vs_mtt']:7.2f}{row['memory_vs_mtt']:8.2f}{_share(row['of_peak']):>9}"
        )


if __name__ == "__main__":
    main()
