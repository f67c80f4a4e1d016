"""Registries with groups and results made by hand, for the tests of comparisons."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from registry import Registry, SetRecord
from tests.registry.helpers import a_set, result

RECIPES = {"learned": "smoke", "grid": "smoke, lr grid (5 networks)", "fixed": "smoke, lr 0.02"}
RATES = {"learned": 0.01, "grid": 0.1, "fixed": 0.02}
NETWORKS = (-0.02, -0.01, 0.0, 0.01, 0.02)  # what each network adds


def group(registry: Registry, method: str, seeds: Sequence[int] = (0, 1, 2, 3), **changes: Any) -> list[SetRecord]:
    """One set of `method` for each seed."""
    about = {"config": {"condense": {"outer_steps": 10}}, "parents": ("data:d",), **changes}
    return [registry.add_set(a_set(seed, method=method, **about), run=None) for seed in seeds]


def evaluated(
    registry: Registry,
    sets: Sequence[SetRecord],
    means: Sequence[float] | Mapping[int, float],
    *,
    policy: str = "learned",
    recipe: str | None = None,
    networks: Sequence[float] = NETWORKS,
    **changes: Any,
) -> None:
    """Accuracies: the mean of the set plus what the network adds."""
    name = recipe or RECIPES[policy]
    under = registry.add_recipe(name, {"learning_rate": policy, "name": name})
    rows = [
        result(
            record.id,
            under,
            **{
                "protocol": "in-domain",
                "architecture": "convnet3",
                "repeat": repeat,
                "value": mean + by,
                "step_size": RATES[policy],
                "detail": {"policy": policy},
                **changes,
            },
        )
        for record, mean in zip(sets, means, strict=True)
        for repeat, by in enumerate(networks)
    ]
    registry.add_results(rows)
