"""Requests: rows, outer rules and experts chosen by name, and requests refused before any work."""

from __future__ import annotations

from dataclasses import replace

import pytest

import satm
from satm.cli import run
from satm.config import from_dict, to_dict
from satm.errors import ConfigError, UnknownName
from satm.experts import FlatConfig
from satm.methods import METHODS, OUTER, Request, outer
from satm.presets import CondenseConfig, all_rows, find_preset
from tests.helpers import image_data


@pytest.mark.parametrize("method", [name for name in METHODS.known() if name not in ("random",)])
@pytest.mark.parametrize("profile", ["paper", "cpu", "smoke"])
def test_every_method_has_presets_that_round_trip(method, profile):
    for name in ("cifar10/ipc1", "cifar100/ipc50", "tiny-imagenet/ipc50", "digits/ipc1"):
        dataset, ipc = name.split("/ipc")
        preset = find_preset(dataset, int(ipc), method=method, profile=profile)
        assert CondenseConfig.from_dict(preset.config.to_dict()) == preset.config
        assert preset.source


def test_published_rows_are_what_a_paper_preset_runs():
    mtt = find_preset("cifar10", 10, method="mtt").config.settings
    assert (mtt.inner_steps, mtt.lr_images, mtt.step_size) == (30, 100, 0.001)
    assert mtt.truncation().window == 30
    ftd = find_preset("cifar100", 10, method="ftd").config
    assert (ftd.settings.max_start_epoch, ftd.settings.outer_steps) == (40, 5_000)
    assert ftd.settings.outer.over(ftd.settings.outer_steps).decay == pytest.approx(0.9995)
    assert ftd.experts.flat == FlatConfig(rho=0.01, gap_weight=1.0, adaptive=True)
    assert find_preset("cifar10", 1, method="tesla").config.settings.lr_images == 500  # 1000 at half the gradient
    datm = find_preset("cifar10", 10, method="datm").config.settings
    assert (datm.first_upper_epoch, datm.expansion_steps, datm.lr_labels, datm.threshold) == (10, 1000, 2, 1)
    assert (datm.teacher_epoch, datm.stored_epochs()) == (100, 100)
    assert all(row.source.startswith("DATM") for name, row in all_rows("datm").items() if name == "cifar100/ipc1")
    assert all_rows("mtt")["imagenet-1k/ipc10"] == all_rows("satm")["imagenet-1k/ipc10"]


def test_an_open_decay_of_an_old_configuration_means_what_it_did():
    stored = find_preset("cifar10", 10, method="ftd").config.to_dict()
    stored["settings"]["outer"] = {"rule": "ema", "decay": None}
    assert CondenseConfig.from_dict(stored).settings.outer.over(10_000).decay == pytest.approx(0.9995)


def test_at_cpu_scale_methods_differ_in_the_method_alone():
    configs = {name: find_preset("cifar10", 1, method=name, profile="cpu").config for name in ("mtt", "datm", "satm")}
    shared = (
        "inner_steps",
        "expert_epochs",
        "max_start_epoch",
        "lr_images",
        "lr_step_size",
        "outer_steps",
        "batch_syn",
    )
    assert len({tuple(getattr(each.settings, name) for name in shared) for each in configs.values()}) == 1
    assert configs["mtt"].settings.lr_images == 300
    assert configs["mtt"].experts == configs["satm"].experts
    said = " ".join(find_preset("cifar10", 10, method="datm", profile="cpu").departures)
    assert "SATM's numbers for every method" in said
    assert "cpu: first_upper_epoch 2 instead of 10" in said
    assert "cpu: teacher_epoch null instead of 100" in said
    assert configs["datm"].settings.teacher_epoch is None


def test_mdc_takes_its_bases_numbers_defaults_and_experts():
    paper = find_preset("cifar10", 10, method="mdc", base="tesla")
    assert paper.config.settings.engine == "tesla"
    assert paper.config.settings.lr_images == find_preset("cifar10", 10, method="tesla").config.settings.lr_images
    assert "the paper's base is IDC or DREAM: here tesla, under its own numbers and defaults" in paper.departures
    assert find_preset("cifar10", 10, method="mdc").config.settings.base == "mtt"
    for momentum in (0.5, 0.25):  # the shared default, and another
        asked = {"base": "satm", "momentum_step_size": momentum}
        made = satm.choose_preset("digits", ipc=2, method="mdc", profile="smoke", settings=asked)
        settings = made.config.settings
        assert (settings.outer.rule, settings.momentum_step_size, made.name) == ("satm", momentum, "mdc/digits/ipc2")
        assert settings.base_config().momentum_step_size == momentum
    named = satm.choose_preset("digits", ipc=2, method="mdc", outer="sam", profile="smoke", settings={"base": "satm"})
    assert named.name == "mdc+sam/digits/ipc2"
    flat = satm.choose_preset("digits", ipc=2, method="mdc", profile="smoke", settings={"settings.base": "ftd"})
    assert (flat.config.experts.flat, flat.config.settings.outer.rule) == (FlatConfig(gap_weight=0.3), "ema")
    with pytest.raises(ConfigError, match="base dc: expected a method that matches trajectories"):
        find_preset("cifar10", 10, method="mdc", base="dc")


def test_a_base_that_matches_flat_experts_offers_what_works():
    asked = {"base": "ftd", "experts.flat": None}
    plain = satm.choose_preset("digits", ipc=2, method="mdc", profile="smoke", settings=asked).config
    request = Request(
        method="mdc",
        settings=plain.settings,
        architecture=plain.architecture,
        experts=plain.experts,
        data=image_data(),
        ipc=2,
    )
    with pytest.raises(ConfigError, match=r"^base ftd matches .*--set experts\.flat=\{\}.*--set base=mtt"):
        METHODS.get("mdc").check(request)
    for way in ({"base": "ftd", "experts.flat": {}}, {"base": "mtt"}):
        changed = satm.choose_preset("digits", ipc=2, method="mdc", profile="smoke", settings=way).config
        METHODS.get("mdc").check(replace(request, settings=changed.settings, experts=changed.experts))


def test_a_rule_is_chosen_by_name_and_the_sets_name_says_so():
    for name in OUTER:
        preset = find_preset("digits", 1, method="mtt", outer=name, profile="smoke")
        assert preset.config.settings.outer.rule == name
        assert preset.name == ("mtt" if name == "sgd" else f"mtt+{name}") + "/digits/ipc1"
    assert find_preset("digits", 1, method="ftd", outer="ema").config.set_method == "ftd"
    with pytest.raises(UnknownName, match="unknown outer optimiser 'smm': did you mean sam"):
        find_preset("digits", 1, outer="smm")
    with pytest.raises(ConfigError, match="--outer sam: method random has no outer loop around an inner one"):
        find_preset("digits", 1, method="random", outer="sam")


def test_a_rule_in_a_configuration_is_told_by_its_name():
    kind = METHODS.get("mtt").config
    plain = to_dict(find_preset("digits", 1, method="mtt").config.settings)
    assert from_dict(kind, plain | {"outer": "gsam"}).outer == outer.GSAM()
    assert from_dict(kind, plain | {"outer": {"rule": "vasso", "weight": 0.2}}).outer == outer.VaSSO(weight=0.2)
    with pytest.raises(UnknownName, match=r"unknown setting outer.rule 'sum': did you mean"):
        from_dict(kind, plain | {"outer": {"rule": "sum"}})
    with pytest.raises(ConfigError, match=r"setting outer\.rule is missing; give it one of asam, ema"):
        from_dict(kind, plain | {"outer": {"rho": 0.1}})
    with pytest.raises(UnknownName, match=r"unknown setting 'outer\.gamma': did you mean"):
        from_dict(kind, plain | {"outer": {"rule": "sam", "gamma": 0.1}})


def test_a_configuration_of_the_first_version_is_still_read():
    today = find_preset("cifar10", 1, profile="cpu").config
    old = today.to_dict()
    rule = old["settings"].pop("outer")
    old["settings"] |= {name: rule[name] for name in ("rho", "gamma", "noise", "tau", "redraw")}
    old["experts"].pop("flat")
    old["settings"].pop("step_size_derivative")
    old["settings"]["rho"] = 0.01
    read = CondenseConfig.from_dict(old)
    assert read == replace(today, settings=replace(today.settings, outer=outer.SATM(rho=0.01)))


@pytest.mark.parametrize(
    ("command", "message"),
    [
        (["--method", "ftd", "--set", "experts.flat=null"], "satm experts digits --ipc 1 --method ftd trains them"),
        (["--method", "satm-fi", "--set", "experts.flat=null"], "match plain ones with --method satm"),
        (["--method", "tesla", "--set", "lr_labels=1"], "unknown setting 'lr_labels': did you mean"),
        (["--method", "mtt", "--set", "outer.gamma=1"], "unknown setting 'outer.gamma'"),
        (["--method", "mtt", "--outer", "asan"], "unknown outer optimiser 'asan': did you mean asam"),
        (["--method", "random", "--outer", "sam"], "--outer sam: method random has no outer loop"),
        (
            ["--method", "datm", "--set", "labels=soft"],
            "setting settings.labels is 'soft': expected 'learned' or 'hard'",
        ),
    ],
)
def test_what_cannot_work_is_one_line_before_any_work(command, message, capsys, tmp_path):
    assert run(["condense", "digits", "--ipc", "1", "--profile", "smoke", *command]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert not (tmp_path / "home").exists() or not list((tmp_path / "home").rglob("experts/*"))


def test_datm_takes_plain_experts_when_told_to():
    config = find_preset("digits", 1, method="datm", profile="smoke").config
    assert config.experts.flat == FlatConfig(gap_weight=0.3)
    plain = replace(config, experts=replace(config.experts, flat=None))
    asked = {"settings": plain.settings, "experts": plain.experts, "architecture": plain.architecture, "ipc": 1}
    asked["data"] = image_data()
    METHODS.get("datm").check(Request(method="datm", **asked))
    with pytest.raises(ConfigError, match="method ftd matches experts trained for flatness"):
        METHODS.get("ftd").check(Request(method="ftd", **asked))


def test_an_averaged_set_and_the_raw_one_are_two_sets_of_one_run(tmp_path):
    registry = tmp_path / "satm.db"
    asked = {"outer_steps": 2, "outer.decay": 0.5}
    preset = satm.choose_preset("digits", ipc=1, method="mtt", outer="ema", profile="smoke", settings=asked)
    made = satm.condense(preset, registry=registry)
    (raw,) = made.siblings
    assert (made.record.name, raw.name) == ("digits/ipc1/mtt+ema@1", "digits/ipc1/mtt+ema-raw@1")
    assert made.record.run_id == raw.run_id
    assert not satm.load(raw.name, registry=registry).images.equal(
        satm.load(made.record.name, registry=registry).images
    )
    again = satm.condense(preset, registry=registry)
    assert not again.new
    assert (again.record, again.siblings) == (made.record, made.siblings)


@pytest.mark.parametrize("method", ["datm", "tesla"])
def test_soft_labels_pass_through_every_evaluation(method, tmp_path):
    registry = tmp_path / "satm.db"
    labels = {"datm": "learned", "tesla": "teacher"}[method]
    changes = {"outer_steps": 2, "labels": labels}
    preset = satm.choose_preset("digits", ipc=1, method=method, profile="smoke", settings=changes)
    name = satm.condense(preset, registry=registry).record.name
    made = satm.load(name, registry=registry)
    assert made.label_kind == {"datm": "logits", "tesla": "probabilities"}[method]
    assert made.hard_labels.tolist() == list(range(10))
    satm.evaluate(name, repeats=1, registry=registry)
    satm.evaluate(name, architectures=["convnet3_w4"], repeats=1, registry=registry)
    satm.evaluate_incremental(name, steps=2, orders=1, registry=registry)
    protocols = {row.protocol for row in satm.results(registry=registry)}
    assert protocols == {"in-domain", "cross-arch", "class-incremental"}
