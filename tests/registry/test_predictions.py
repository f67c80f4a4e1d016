from __future__ import annotations

import math
import sqlite3
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from evaluation.metrics import METRICS
from registry import PredictionRow, Registry
from registry.predictions import images_digest
from satm.errors import RegistryError, UnknownName
from tests.registry.helpers import SET, a_set, result
from tests.registry.kept import unpack


@pytest.fixture
def set_id(registry: Registry) -> str:
    return registry.add_set(SET, run=None).id


@pytest.fixture
def recipe_id(registry: Registry) -> str:
    return registry.add_recipe("smoke", {"epochs": 60})


def prediction(set_id: str, recipe_id: str, **changes: Any) -> PredictionRow:
    values: dict[str, Any] = {
        "set_id": set_id,
        "protocol": "in-domain",
        "architecture": "convnet3",
        "memory": "condensed",
        "recipe_id": recipe_id,
        "repeat": 0,
        "test": "t" * 64,
        "num_classes": 3,
        "predicted": np.array([0, 1, 2, 2]),
        "targets": np.array([0, 1, 2, 1]),
    }
    return PredictionRow(**values | changes)


@pytest.mark.parametrize(("num_classes", "size"), [(3, 1), (256, 1), (257, 2), (65_536, 2)])
def test_predictions_come_back_as_they_were(
    registry: Registry, set_id: str, recipe_id: str, num_classes: int, size: int
) -> None:
    draws = np.random.default_rng(0)
    targets, others = (draws.integers(0, num_classes, 500) for _ in range(2))
    rows = [
        prediction(set_id, recipe_id, repeat=k, num_classes=num_classes, predicted=guess, targets=targets)
        for k, guess in enumerate((targets, others))
    ]
    registry.add_predictions(rows)
    found = registry.predictions(set=set_id)
    assert [row.repeat for row in found] == [0, 1]
    for row, mine in zip(found, rows, strict=True):
        assert row.predicted.tolist() == mine.predicted.tolist()
        assert row.targets.tolist() == targets.tolist()
        assert row.predicted.dtype.itemsize == size
        assert (row.num_classes, row.test, row.accuracy) == (num_classes, mine.test, mine.accuracy)
    with sqlite3.connect(registry.path) as db:
        assert db.execute("select count(*) from tests").fetchone() == (1,)  # the true classes are stored once
        assert max(length for (length,) in db.execute("select length(predicted) from predictions")) < 500 * size + 64
    registry.add_predictions(
        [prediction(set_id, recipe_id, num_classes=num_classes, targets=targets, predicted=others)]
    )
    assert registry.predictions()[0].predicted.tolist() == others.tolist()


def test_filters_find_predictions(registry: Registry, set_id: str, recipe_id: str) -> None:
    registry.add_predictions([prediction(set_id, recipe_id), prediction(set_id, recipe_id, memory="random")])
    assert [row.memory for row in registry.predictions(memory="random", dataset="cifar10")] == ["random"]
    assert registry.predictions(dataset="digits") == []
    with pytest.raises(UnknownName):
        registry.predictions(set="nobody")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"predicted": np.array([0, 1])}, "2 predictions for 4 test images: expected one for each"),
        ({"predicted": np.array([0, 1, 2, 3])}, "classes 0 to 3: expected 0 to 2"),
        ({"targets": np.array([0, 1, 2, -1])}, "classes -1 to 2: expected 0 to 2"),
        ({"num_classes": 65_537}, "65537 classes cannot be stored: expected at most 65536"),
    ],
)
def test_predictions_that_cannot_be_are_refused(
    registry: Registry, set_id: str, recipe_id: str, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(RegistryError, match=message):
        registry.add_predictions([prediction(set_id, recipe_id), prediction(set_id, recipe_id, repeat=1, **changes)])
    assert registry.predictions() == []


def test_damaged_predictions_are_noticed(registry: Registry, set_id: str, recipe_id: str) -> None:
    registry.add_predictions([prediction(set_id, recipe_id)])
    for damage in (b"nothing", zlib.compress(b"\0")):
        with sqlite3.connect(registry.path) as db:
            db.execute("update predictions set predicted = ?", [damage])
        with pytest.raises(RegistryError, match=r"restore a copy"):
            registry.predictions()


def test_the_digest_is_of_images_and_classes_in_order() -> None:
    images, targets = np.arange(12, dtype=np.uint8).reshape(3, 1, 2, 2), np.array([0, 1, 0])
    found = images_digest(images, targets)
    assert found == images_digest(images.copy(), targets.copy())
    assert found not in {
        images_digest(images[::-1], targets),
        images_digest(images, targets[::-1] + 1),
        images_digest(images.reshape(3, 1, 1, 4), targets),
    }


def test_an_old_registry_gets_the_table_and_the_views(path: Path) -> None:
    with Registry.open(unpack(3, path)) as new:
        (row, *_) = [each for each in new.summary() if each.protocol == "cross-arch"]
        assert (row.mean, row.n, row.policy, row.rate) == (0.5625, 2, None, 0.01)
        assert (row.diverged, row.mean_all) == (0, row.mean)
        assert new.predictions() == []
        new.add_predictions([prediction(row.set_id, row.recipe_id)])


def test_policies_are_never_averaged_and_rates_are_shown(registry: Registry, set_id: str, recipe_id: str) -> None:
    kinds = [
        ("learned", 0.02),
        ("grid on validation", 0.1),
        ("fixed", 0.3),
        ("learned, the mean over the sets held", 0.4),
    ]
    registry.add_results(
        [
            result(set_id, recipe_id, repeat=k, value=0.1 * k, step_size=rate, detail={"policy": policy})
            for k, (policy, rate) in enumerate(kinds)
        ]
    )
    assert {(row.policy, row.rate, row.n) for row in registry.summary()} == {
        ("learned", None, 2),
        ("grid", 0.1, 1),
        ("fixed", 0.3, 1),
    }
    assert [(row.policy, row.rate) for row in registry.results()] == [
        ("learned", 0.02),
        ("grid", 0.1),
        ("fixed", 0.3),
        ("learned", 0.4),
    ]


def test_a_diverged_network_counts_as_chance_in_the_mean_of_all(
    registry: Registry, set_id: str, recipe_id: str
) -> None:
    said = {"detail": {"policy": "learned"}}
    rows = [result(set_id, recipe_id, repeat=k, metric="accuracy", value=v, **said) for k, v in enumerate((0.5, 0.7))]
    rows += [result(set_id, recipe_id, repeat=0, metric="negative_log_likelihood", value=1.0, **said)]
    rows += [result(set_id, recipe_id, repeat=2, metric="diverged", value=1.0, **said)]
    registry.add_results(rows)
    chance = 1 / len(SET.classes)
    found = {row.metric: row for row in registry.summary()}
    assert found.keys() == {"accuracy", "negative_log_likelihood"}
    accuracy = found["accuracy"]
    assert (accuracy.mean, accuracy.std, accuracy.n) == (pytest.approx(0.6), pytest.approx(0.1), 2)
    assert (accuracy.diverged, accuracy.mean_all) == (1, pytest.approx((0.5 + 0.7 + chance) / 3))
    assert (found["negative_log_likelihood"].diverged, found["negative_log_likelihood"].mean_all) == (1, None)
    registry.add_results([result(set_id, recipe_id, architecture="vgg11", metric="diverged", value=1.0, **said)])
    (lost,) = registry.summary(architecture="vgg11")
    assert (lost.n, lost.diverged, lost.mean_all) == (0, 1, pytest.approx(chance))
    assert math.isnan(lost.mean)


def test_the_leaderboard_ranks_within_one_recipe_profile_and_policy(
    registry: Registry, set_id: str, recipe_id: str
) -> None:
    other, recipe = registry.add_set(a_set(seed=1), run=None).id, registry.add_recipe("cpu", {})
    cases = [
        (set_id, recipe_id, "smoke", "learned", 0.5, 2.0),
        (other, recipe_id, "smoke", "learned", 0.7, 1.0),
        (set_id, recipe_id, "smoke", "grid on validation", 0.9, 3.0),
        (set_id, recipe, "smoke", "learned", 0.3, 1.0),
        (other, recipe, "paper", "learned", 0.4, 1.0),
    ]
    for number, (which, under, profile, policy, accuracy, loss) in enumerate(cases):
        same = {"profile": profile, "detail": {"policy": policy}, "repeat": number}
        registry.add_results([result(which, under, metric="accuracy", value=accuracy, **same)])
        registry.add_results([result(which, under, metric="negative_log_likelihood", value=loss, **same)])
    asked = "SELECT set_id, recipe_id, profile, policy, place FROM leaderboard WHERE metric = "
    for metric in ("accuracy", "negative_log_likelihood"):
        places = {row[:4]: row[4] for row in registry.query(f"{asked} '{metric}'")[1]}
        assert places == {
            (set_id, recipe_id, "smoke", "learned"): 2,
            (other, recipe_id, "smoke", "learned"): 1,
            (set_id, recipe_id, "smoke", "grid"): 1,
            (set_id, recipe, "smoke", "learned"): 1,
            (other, recipe, "paper", "learned"): 1,
        }


def test_the_views_know_which_metrics_are_better_low(registry: Registry) -> None:
    (sql,) = registry.query("SELECT sql FROM sqlite_master WHERE name = 'leaderboard'")[1][0]
    for name in METRICS:
        assert (f"'{name}'" not in sql) == METRICS.get(name).higher_is_better
    assert "'forgetting'" in sql
