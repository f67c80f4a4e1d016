"""Small sets, runs and results for the registry's tests."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch

from registry import Registry, ResultRow
from satm.preprocessing import MeanStd
from satm.rng import Seed
from satm.synthetic import SyntheticSet

SET = SyntheticSet(
    images=torch.arange(4 * 12.0).view(4, 3, 2, 2),
    labels=torch.tensor([1, 0, 1, 0]),
    step_size=0.01,
    dataset="cifar10",
    classes=("cat", "dog"),
    ipc=2,
    method="satm",
    preprocessing=MeanStd(mean=(0.5,) * 3, std=(0.25,) * 3),
    profile="smoke",
    seed=0,
    config={"method": {"window": 3, "range": (0, 1)}},
    parents=("expert-0",),
)


def a_set(seed: int = 0, **changes: Any) -> SyntheticSet:
    images = torch.randn(4, 3, 2, 2, generator=Seed(seed).generator())
    return replace(SET, images=images, seed=seed, **changes)


def start(registry: Registry, key: str = "k", **changes: Any) -> str:
    facts: dict[str, Any] = {
        "kind": "condense",
        "config": {"outer_steps": 10},
        "profile": "smoke",
        "dataset": "cifar10",
        "seed": 0,
        "device": "cpu",
        "environment": {"python": "3.11"},
        "command": "satm condense cifar10",
    }
    return registry.start_run(key=key, **{**facts, **changes})


def result(set_id: str, recipe_id: str, **changes: Any) -> ResultRow:
    facts: dict[str, Any] = {
        "protocol": "cross-arch",
        "architecture": "resnet18",
        "repeat": 0,
        "metric": "accuracy",
        "value": 0.5,
        "profile": "smoke",
        "seed": 0,
        "step_size": 0.01,
    }
    return ResultRow(set_id=set_id, recipe_id=recipe_id, **{**facts, **changes})
