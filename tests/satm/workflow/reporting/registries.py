"""A small registry with everything that a report shows: three methods, three architectures, streams, predictions."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any

import numpy as np
import torch

from registry import PredictionRow, Registry
from satm.preprocessing import ZCA, MeanStd
from satm.rng import Seed
from satm.synthetic import SyntheticSet
from tests.registry.helpers import result, start

METHODS = ("satm", "mtt", "dm")
ARCHITECTURES = ("convnet3", "alexnet", "vgg11")
CLASSES = ("cat", "dog")
ATTACK = "<script>alert(1)</script>"


def a_set(method: str, seed: int, *, ipc: int = 2, **changes: Any) -> SyntheticSet:
    facts: dict[str, Any] = {
        "images": torch.randn(2 * ipc, 3, 8, 8, generator=Seed(seed).generator()),
        "labels": torch.arange(2).repeat_interleave(ipc),
        "step_size": 0.01,
        "dataset": "cifar10",
        "classes": CLASSES,
        "ipc": ipc,
        "method": method,
        "preprocessing": MeanStd(mean=(0.5,) * 3, std=(0.25,) * 3),
        "profile": "smoke",
        "seed": seed,
        "config": {"condense": {"outer_steps": 10, "experts": {"count": 2, "seed": seed}}},
        "parents": ("data:d", f"experts:of-seed-{seed}"),
    }
    return SyntheticSet(**facts | changes)


def fill(path: Path, *, seeds: int = 3, methods: tuple[str, ...] = METHODS) -> Path:
    """Write the registry to `path`: `seeds` sets of each method."""
    with Registry.open(path) as store:
        recipe = store.add_recipe("smoke", {})
        for number, method in enumerate(methods):
            for seed in range(seeds):
                config = {"departures": [f"{method} is made small"], "source": "Table 11"}
                run = start(store, f"{method}{seed}", method=method, ipc=2, seed=seed, config=config)
                # Soft labels need more bytes, so the methods differ in what their sets cost.
                labels = {"labels": torch.full((4, 2), 0.5), "label_kind": "probabilities"} if number else {}
                record = store.add_set(a_set(method, seed, **labels), run=run)
                store.add_metrics(run, list(_measured(number)))
                store.finish_run(run, status="done", set_id=record.id, add_seconds=10.0 * (number + 1))
                store.add_results(list(_rows(record.id, recipe, number, seed)))
                store.add_predictions(list(_predicted(record.id, recipe, number, seed)))
    return path


def unreadable_whitening() -> ZCA:
    """A ZCA transform whose matrices are on no machine."""
    return ZCA(key="0" * 64, eps=0.1, shape=(3, 8, 8))


def rename(path: Path, method: str, to: str) -> None:
    """Give a method another name by SQL, past the checks of `add_set`."""
    with sqlite3.connect(path) as db:
        db.execute("DROP TRIGGER sets_never_change")
        db.execute(
            "UPDATE sets SET method = ?, name = replace(name, ?, ?), about = json_set(about, '$.method', ?, "
            "'$.classes[0]', ?) WHERE method = ?",
            [to, f"/{method}@", f"/{to}@", to, to, method],
        )
        db.execute("UPDATE runs SET method = ?, command = ? WHERE method = ?", [to, to, method])
    db.close()


def _measured(number: int) -> Any:
    for step in range(120):
        yield step, "loss", 1.0 / (1 + step + number)
        yield step, "hypergradient_norm", 5.0 - number + step % 7
        yield step, "step_size", 0.01 + 0.0001 * step
        if step % 40 == 0:
            yield step, "sharpness", 0.1 + number
            yield step, "step_size_derivative", 1.0
            yield step, "step_size_derivative_exact", 1.5
            yield step, "validation_accuracy", 0.3 + step / 400


def _rows(set_id: str, recipe: str, number: int, seed: int) -> Any:
    value = 0.4 + 0.1 * number + 0.01 * seed
    learned = {"detail": {"policy": "learned"}}
    for architecture in ARCHITECTURES:
        protocol = "in-domain" if architecture == ARCHITECTURES[0] else "cross-arch"
        for repeat in range(3):
            given = {"protocol": protocol, "architecture": architecture, "repeat": repeat, **learned}
            yield result(set_id, recipe, value=value + 0.02 * repeat, **given)
            if protocol == "in-domain":
                prefix = {"memory": "condensed[:1]", "value": value - 0.1 + 0.02 * repeat}
                yield result(set_id, recipe, **given | prefix)
    for order in range(3):
        stream = {"protocol": "class-incremental", "architecture": "convnet3", "steps": 2, "repeat": order, **learned}
        for step in (1, 2):
            yield result(set_id, recipe, step=step, value=value - 0.1 * step + 0.01 * order, **stream)
        final = {"metric": "final_accuracy", "step": 2, "value": value - 0.2 + 0.01 * order}
        yield result(set_id, recipe, **stream | final)


def _predicted(set_id: str, recipe: str, number: int, seed: int) -> Any:
    targets = np.array([0, 0, 0, 0, 1, 1, 1, 1], dtype=np.uint8)
    for repeat in range(3):
        predicted = targets.copy()
        predicted[: 1 + (number + repeat + seed) % 3] = 1
        yield PredictionRow(
            set_id=set_id,
            protocol="in-domain",
            architecture="convnet3",
            memory="condensed",
            recipe_id=recipe,
            repeat=repeat,
            test="t" * 64,
            num_classes=2,
            predicted=predicted,
            targets=targets,
        )
