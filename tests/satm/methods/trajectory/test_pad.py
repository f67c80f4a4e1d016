"""PAD: without its two options it is DATM, and configurations without them are stored as before."""

from __future__ import annotations

import json

import torch

import satm
from satm.presets import CondenseConfig, find_preset

SHORT = {
    **{"outer_steps": 2, "inner_steps": 2, "diagnostics_every": 0, "architecture": "convnet3_w4", "experts.count": 1},
    "experts.filter": {"scorers": 1, "scorer_epochs": 1},
}


def made(method, registry, **settings):
    preset = satm.choose_preset("digits", ipc=1, method=method, profile="smoke", settings=SHORT | settings)
    satm.condense(preset, registry=registry, device="cpu")
    return satm.load(f"digits/ipc1/{method}@1", registry=registry)


def experts_of(one):
    (found,) = [parent for parent in one.parents if parent.startswith("experts:")]
    return found


def test_without_its_two_options_it_is_datm_to_the_bit(tmp_path):
    datm = made("datm", tmp_path / "a.db", **{"experts.filter": None})
    plain = made("pad", tmp_path / "a.db", **{"experts.filter": None, "match_from": 0.0})
    assert torch.equal(plain.images, datm.images)
    assert torch.equal(plain.labels, datm.labels)
    assert (plain.step_size, experts_of(plain)) == (datm.step_size, experts_of(datm))
    filtered = made("pad", tmp_path / "b.db")
    assert experts_of(filtered) != experts_of(datm)
    assert not torch.equal(filtered.images, datm.images)
    deeper = made("pad", tmp_path / "c.db", match_from=0.5)
    assert experts_of(deeper) == experts_of(filtered)
    assert not torch.equal(deeper.images, filtered.images)


def test_configurations_without_its_options_are_stored_as_before():
    """The keys of sets, runs and experts are hashes of these dictionaries."""
    mtt = find_preset("cifar10", 10, method="mtt").config
    assert "match_from" not in mtt.to_dict()["settings"]
    assert "filter" not in mtt.to_dict()["experts"]
    assert mtt.every_setting()["settings"]["match_from"] == 0
    pad = find_preset("cifar10", 10, method="pad").config
    stored = json.loads(json.dumps(pad.to_dict()))
    assert (stored["settings"]["match_from"], stored["experts"]["filter"]["added_until"]) == (0.5, 20)
    assert CondenseConfig.from_dict(stored) == pad


def test_its_rows_are_datms_except_where_its_files_differ():
    for ipc, differ in ((10, {"match_from"}), (50, {"match_from", "expert_epochs"})):
        pad, datm = (find_preset("cifar10", ipc, method=name).config.to_dict()["settings"] for name in ("pad", "datm"))
        assert {name for name in pad if pad[name] != datm.get(name)} == differ


def test_a_smaller_profile_scales_the_epochs_of_the_filter_and_says_so():
    preset = find_preset("cifar10", 10, method="pad", profile="cpu")
    chosen = preset.config.experts.filter
    assert (chosen.added_until, chosen.removed_after, chosen.more_removed_after) == (4, 8, 12)  # T is 4 and not 20
    assert (chosen.scorers, chosen.scorer_epochs) == (4, 4)
    assert "cpu: the epochs of experts.filter are scaled like the start epochs" in preset.departures


def test_the_experts_that_score_images_are_counted_before_the_work_starts():
    preset = satm.choose_preset("digits", ipc=1, method="pad", profile="smoke")
    chosen = preset.config.experts.filter
    epochs = preset.config.experts.count + chosen.scorers * chosen.scorer_epochs
    assert f" {epochs} expert epochs," in satm.preview(preset, device="cpu")
