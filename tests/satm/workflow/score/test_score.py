"""Scores of stored sets: which rows they store, from which networks, and what is refused."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path
from statistics import fmean
from typing import Any

import pytest
import torch

import satm
from evaluation import METRICS
from evaluation.corruptions import CORRUPTIONS
from evaluation.dd_ranking import AugmentationAccuracies, LabelAccuracies
from registry import Registry, ResultRow
from satm.errors import ConfigError, ExpertError, UnknownName
from satm.presets import find_preset
from satm.workflow.condense.inputs import load_data, prepare_experts


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Any:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SATM_HOME", str(tmp_path_factory.mktemp("home")))
        yield


@pytest.fixture(scope="module")
def registry(home: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A set of digits with hard labels and one with soft labels, two images a class."""
    path: Path = tmp_path_factory.mktemp("registry") / "satm.db"
    settings = {"architecture": "convnet3_w4", "experts.count": 1}
    preset = satm.choose_preset("digits", ipc=2, method="random", profile="smoke", settings=settings)
    record = satm.condense(preset, registry=path).record
    hard = satm.load(record.name, registry=path)
    soft = 5 * torch.nn.functional.one_hot(hard.labels, 10).float()
    with Registry.open(path) as store:
        store.add_set(replace(hard, name=None, labels=soft, label_kind="logits", method="soft"), run=None)
    return path


def rows(registry: Path, protocol: str, method: str = "random") -> list[ResultRow]:
    with Registry.open(registry, read_only=True) as store:
        return store.results(set=f"digits/ipc2/{method}", protocol=protocol)


def values(found: list[ResultRow], repeat: int = 0) -> dict[str, float]:
    return {row.metric: row.value for row in found if row.repeat == repeat}


@pytest.mark.slow
def test_the_scores_follow_from_the_stored_accuracies(registry: Path) -> None:
    satm.score("digits/ipc2/random", ("lrs", "ars"), repeats=1, learning_rate=0.03, registry=registry)
    found = values(rows(registry, "dd-ranking/lrs"))
    raw = {name: found[f"{name}_accuracy"] for name in ("real_hard", "syn_hard", "syn_any", "random_any")}
    assert found["label_robust_score"] == LabelAccuracies(**raw).score()
    recipe = rows(registry, "dd-ranking/lrs")[0].recipe_id
    plain = {
        row.memory: row.value
        for row in rows(registry, "in-domain")
        if row.metric == "accuracy" and row.recipe_id == recipe
    }
    assert plain == {"condensed": raw["syn_any"], "random": raw["random_any"]}
    assert raw["syn_hard"] == raw["syn_any"]  # its labels are hard
    assert raw["real_hard"] > raw["random_any"]
    found = values(rows(registry, "dd-ranking/ars"))
    raw = {name: found[f"{name}_accuracy"] for name in ("syn_aug", "random_aug", "syn_plain", "random_plain")}
    assert found["augmentation_robust_score"] == AugmentationAccuracies(**raw).score()
    assert raw["syn_aug"] != raw["syn_plain"]


@pytest.mark.slow
def test_a_set_with_soft_labels_is_also_judged_with_hard_ones(registry: Path) -> None:
    satm.score("digits/ipc2/soft", ("lrs",), repeats=1, learning_rate=0.03, registry=registry)
    assert {row.memory for row in rows(registry, "in-domain", "soft")} == {"condensed", "condensed[hard]", "random"}
    found = values(rows(registry, "dd-ranking/lrs", "soft"))
    assert found["syn_hard_accuracy"] != found["syn_any_accuracy"]


@pytest.mark.slow
def test_corruptions_are_ordinary_metrics_at_five_severities(registry: Path) -> None:
    for _ in range(2):  # the second call trains nothing and adds nothing
        satm.score("digits/ipc2/random", ("corruptions",), repeats=1, learning_rate=0.03, registry=registry)
    found = rows(registry, "corruptions")
    counts = Counter(row.protocol for row in found)
    assert counts.pop("corruptions") == len(METRICS)
    assert counts == {f"corruptions/{name}": 5 * len(METRICS) for name in CORRUPTIONS}
    mean = next(row for row in found if row.protocol == "corruptions" and row.metric == "accuracy")
    damaged = [row.value for row in found if row.protocol != "corruptions" and row.metric == "accuracy"]
    assert mean.value == pytest.approx(fmean(damaged))
    assert {row.step for row in found if row.protocol == "corruptions/contrast"} == {1, 2, 3, 4, 5}
    with Registry.open(registry, read_only=True) as store:
        assert len(store.runs(kind="score")) >= 2


@pytest.mark.slow
def test_coverage_and_diversity_need_an_expert_and_no_training(registry: Path) -> None:
    with pytest.raises(ExpertError, match="satm experts digits --ipc 2 --method herding --profile smoke"):
        satm.score("digits/ipc2/random", registry=registry)
    config = find_preset("digits", 2, method="herding", profile="smoke").config
    config = replace(config, architecture="convnet3_w4", experts=replace(config.experts, count=1))
    prepare_experts(config, load_data(config, data_root=None))
    satm.score("digits/ipc2/random", registry=registry)
    for name in ("coverage", "diversity"):
        found = rows(registry, name)
        assert Counter(row.memory for row in found) == {"condensed": 1, "random": 5}
        assert all(0 < row.value <= 1 for row in found)
    covered = [row.value for row in rows(registry, "coverage")]
    assert fmean(covered) > 0.8  # all are real images


def test_what_cannot_be_scored_is_one_line(registry: Path) -> None:
    with pytest.raises(UnknownName, match="unknown score 'lsr': did you mean"):
        satm.score("digits/ipc2/random", ("lsr",), registry=registry)
    with pytest.raises(ConfigError, match="recipe dc has none; name another with --recipe"):
        satm.score("digits/ipc2/random", ("ars",), recipe="dc", registry=registry)
    with pytest.raises(ConfigError, match="no score is named"):
        satm.score("digits/ipc2/random", (), registry=registry)
