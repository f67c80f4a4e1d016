"""Runs one experiment of the paper at its scale: CIFAR-10, IPC 1, a ConvNet of width 128 and the profile `paper`.

    python benchmarks/gpu/paper.py --device cuda --seconds 120 --output FILE

Two numbers are smaller than in the paper: there are 4 experts, and as many outer steps as fit into the given seconds.
The program measures the time of each phase. The phases are: load the data with ZCA, train an expert for one epoch,
train the experts and run a short condensation that measures the time of an outer step, run the condensation, and train
networks on the set. FILE is written again after each phase.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
import traceback
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any, Self

import torch

sys.path.insert(0, str(Path(__file__).parent.parent.parent))

import satm
from satm.experts import train_experts
from satm.progress import NoProgress
from satm.workflow.condense.inputs import load_data

EXPERTS, TRIAL = 4, 12  # the number of experts, and the outer steps of the short condensation


class Clock(NoProgress):
    """A `Progress` that records when each unit of work ends."""

    def __init__(self) -> None:
        self.ends: dict[str, list[float]] = {}  # the times at which the units of a bar ended, by the bar's name

    def bar(self, name: str, total: int, *, done: int = 0) -> Any:
        """A bar that records the time at which each of its units ends."""
        return _Ticks(self.ends.setdefault(name, []))

    def say(self, message: str) -> None:
        """Print the message."""
        print(message, flush=True)


class _Ticks:
    def __init__(self, ends: list[float]) -> None:
        self.ends = ends

    def advance(self, steps: int = 1, **facts: float | str) -> None:
        self.ends.append(time.perf_counter())

    def draw(self, values: Mapping[str, float]) -> None:
        """Do nothing: only times are recorded."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *raised: object) -> None:
        pass


def step_seconds(clock: Clock) -> list[float]:
    """The seconds of each outer step except the first."""
    ends = clock.ends.get("condense", [])
    return [after - before for before, after in pairwise(ends)]


def cell(device: str, seconds: float, toy: bool, found: dict[str, Any], save: Any) -> None:
    """Run the phases within about `seconds`. The results of each phase are written to `found`, and `save` is called."""
    end = time.monotonic() + seconds

    @contextmanager
    def phase(name: str) -> Iterator[None]:
        started = time.perf_counter()
        yield
        found["seconds"][name] = time.perf_counter() - started
        save()

    def preset(steps: int) -> Any:
        settings = {"outer_steps": steps, "experts.count": EXPERTS}
        dataset, profile = ("digits", "smoke") if toy else ("cifar10", "paper")
        return satm.choose_preset(dataset, ipc=1, method="satm", profile=profile, settings=settings)

    config = preset(TRIAL).config
    with phase("data"):
        data = load_data(config, data_root=None, device=device)
        data.train.batch(torch.arange(1))
    with phase("one expert, one epoch"):
        short = replace(config.experts, count=1, seed=99)
        train_experts(data, config.architecture, short, epochs=1, device=device)
    found["architecture"] = config.architecture
    with tempfile.TemporaryDirectory() as folder:
        registry = Path(folder) / "paper.db"

        def condense(steps: int, clock: Clock) -> Any:
            return satm.condense(preset(steps), device=device, registry=registry, progress=clock).record

        trial = Clock()
        with phase(f"{EXPERTS} experts, {TRIAL} outer steps"):
            condense(TRIAL, trial)
        found["trial_step_seconds"] = step_seconds(trial)
        each = statistics.median(found["trial_step_seconds"][1:])
        left = end - time.monotonic()
        steps = max(TRIAL + 1, int(0.6 * left / each)) if not toy else TRIAL + 1
        clock = Clock()
        with phase(f"{steps} outer steps"):
            made = condense(steps, clock)
        found["step_seconds"] = step_seconds(clock)
        found |= {"outer_steps": steps, "outer_step": statistics.median(found["step_seconds"])}
        save()
        with phase("evaluation"):
            repeats = 1 if toy else 2
            satm.evaluate(made.id, repeats=repeats, device=device, registry=registry, progress=clock)
        rows = satm.results(set=made.id, registry=registry)
        found["results"] = {f"{row.architecture}, {row.memory}, {row.metric}": row.mean for row in rows}
        save()


def main() -> int:
    """Run the phases and write the results to the file. If a phase fails, write the results so far and the error.

    Returns the exit code.
    """
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--toy", action="store_true", help="the digits at the profile smoke")
    parser.add_argument("--seconds", type=float, default=120)
    parser.add_argument("--output", type=Path, required=True)
    given = parser.parse_args()
    found: dict[str, Any] = {"seconds": {}}

    def save() -> None:
        given.output.write_text(json.dumps(found, indent=1))

    try:
        cell(given.device, given.seconds, given.toy, found, save)
    except Exception as error:
        traceback.print_exc()
        found["failed"] = f"{type(error).__name__}: {error}"
        save()
        return 1
    print(json.dumps({name: value for name, value in found.items() if name != "step_seconds"}, indent=1))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
