"""Measures `satm results` on large registries: processor seconds and wall-clock seconds.

    python benchmarks/registry_size.py [--sets 500] [--rows 100000 1000000] [--shape mixed|single] [--keep FOLDER]

The registries are artificial and have one of two shapes. In the shape `mixed`, each set has accuracies on four
architectures and the results of class-incremental streams, and five sets make a group: they differ only in their seed.
In the shape `single`, there are no streams and no groups. The table then has a line for every five result rows, which
are the five networks of one architecture.

Each command runs in a new process, and its time includes the start of the process. The smallest of three times is
printed. Processor seconds depend less on other jobs of the machine than wall-clock seconds.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).parent.parent))

from registry import Registry, ResultRow, SetRecord
from satm.preprocessing import MeanStd
from satm.synthetic import SyntheticSet

# The sets of a group, the networks of an architecture, the class orders of a set, and the steps of a stream.
SEEDS, NETWORKS, ORDERS, STEPS = 5, 5, 5, 5
ARCHITECTURES = ("convnet3", "resnet18", "vgg11", "alexnet")
COMMANDS = {  # the arguments of each measured `satm results` command, by the name in the output
    "all": (),
    "one set": ("cifar10/ipc1/m1@1",),
    "one group": ("cifar10/ipc1/m1",),
    "--metric accuracy": ("--metric", "accuracy"),
    "--protocol cl": ("--protocol", "cl"),
    "--method m1": ("--method", "m1"),
    "all, as CSV": ("--format", "csv"),
}


def add_set(store: Registry, index: int, *, single: bool) -> SetRecord:
    """Add a small set with the number `index` to the registry.

    Without `single`, five consecutive numbers give a group: sets that differ only in their seed.
    """
    number = index if single else index // SEEDS
    made = SyntheticSet(
        images=torch.full((10, 1, 2, 2), float(index)),
        labels=torch.arange(10),
        step_size=0.01,
        dataset=("cifar10", "cifar100", "svhn")[number % 3],
        classes=tuple(f"class {k}" for k in range(10)),
        ipc=(1, 10, 50)[number // 3 % 3],
        method=f"m{1 + number // 9}",
        preprocessing=MeanStd(mean=(0.5,), std=(0.25,)),
        profile="paper",
        seed=index,
        config={"condense": {"outer_steps": 5000, "only": index if single else None}},
    )
    return store.add_set(made, run=None)


def rows_of(record: SetRecord, recipes: list[str], source: random.Random, *, single: bool) -> Iterator[ResultRow]:
    """Yield result rows of the set `record` with random values, more than any caller needs."""

    def row(repeat: int, metric: str, **changes: object) -> ResultRow:
        facts = {
            "policy": "grid on validation",
            "validation": 500,
            "grid": {"rates": [0.001, 0.01, 0.1], "edge": False},
        }
        given = {"value": source.random(), "detail": facts, **changes}
        shared = {"set_id": record.id, "profile": "paper", "seed": repeat, "step_size": 0.01}
        return ResultRow(repeat=repeat, metric=metric, **{**shared, **given})  # type: ignore[arg-type]

    for memory in ("condensed", "random", "herding", *(f"condensed[{k}]" for k in range(1000))):
        for recipe in recipes:
            cell = {"memory": memory, "recipe_id": recipe}
            for architecture in ARCHITECTURES:
                for metric in ("accuracy", "macro_accuracy"):
                    for repeat in range(NETWORKS):
                        yield row(repeat, metric, **cell, protocol="cross-arch", architecture=architecture)
            if single:
                continue
            for order in range(ORDERS):
                facts = {"policy": "grid", "classes_by_step": [[order, k] for k in range(STEPS)], "order": order}
                stream = {
                    **cell,
                    "protocol": "class-incremental",
                    "architecture": "convnet3",
                    "steps": STEPS,
                    "detail": facts,
                }
                for step in range(1, STEPS + 1):
                    yield row(order, "accuracy", step=step, **stream)
                    for k in range(STEPS):
                        yield row(order, f"accuracy_on_step_{k + 1}", step=step, **stream)
                for metric in ("average_incremental_accuracy", "forgetting"):
                    yield row(order, metric, step=STEPS, **stream)


def fill(path: Path, sets: int, rows: int, *, single: bool) -> None:
    """Make a registry with `sets` sets, and distribute `rows` result rows evenly over them."""
    source = random.Random(0)
    with Registry.open(path) as store:
        recipes = [store.add_recipe(f"recipe {k}", {"epochs": k}) for k in range(5)]
        records = [add_set(store, index, single=single) for index in range(sets)]
        waiting: list[ResultRow] = []
        for index, record in enumerate(records):
            count = rows * (index + 1) // sets - rows * index // sets
            waiting += [
                row for row, _ in zip(rows_of(record, recipes, source, single=single), range(count), strict=False)
            ]
            if len(waiting) > 20_000 or index + 1 == sets:
                store.add_results(waiting)
                waiting = []


def seconds(path: Path, arguments: tuple[str, ...], repeats: int) -> dict[str, float]:
    """Run `satm results` with `arguments`, `repeats` times.

    Returns the smallest processor seconds, the smallest wall-clock seconds, and the number of lines that it prints.
    """
    program = "from satm.cli import main; main()"
    command = [sys.executable, "-c", program, "results", *arguments, "--registry", str(path)]
    times, processor = [], []
    for _ in range(repeats):
        before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        times.append(time.perf_counter() - began)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        processor.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    least = {"cpu_seconds": round(min(processor), 2), "seconds": round(min(times), 2)}
    return {**least, "lines": done.stdout.count("\n")}


def main() -> None:
    """Fill the registries, and print a line of JSON for each command on each registry."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sets", type=int, default=500)
    parser.add_argument("--rows", type=int, nargs="+", default=[100_000, 1_000_000])
    parser.add_argument("--shape", choices=("mixed", "single"), default="mixed")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--keep", type=Path, help="keep the registries in this folder, and use those that it has")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        for rows in given.rows:
            path = (given.keep or Path(folder)) / f"{given.shape}_{given.sets}_{rows}.db"
            if not path.exists():
                fill(path, given.sets, rows, single=given.shape == "single")
            for name, arguments in COMMANDS.items():
                measured = seconds(path, arguments, given.repeats)
                load = round(os.getloadavg()[0], 1)
                found = {"sets": given.sets, "rows": rows, "shape": given.shape, "results": name}
                print(json.dumps(found | measured | {"load": load}), flush=True)


if __name__ == "__main__":
    main()
