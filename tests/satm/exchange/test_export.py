"""Sets of our own in other people's layouts: the set that comes back, and the losses that are reported."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

import satm
from satm import export_set, import_set
from satm.errors import ConfigError, DataError
from satm.exchange import LAYOUTS
from satm.exchange.dd_ranking import configuration
from tests.satm.exchange.own import SETS, own


@pytest.mark.parametrize("kind", SETS)
@pytest.mark.parametrize("name", ["safetensors", "parquet"])
def test_what_carries_everything_gives_the_same_id(name: str, kind: str, stored: Any, tmp_path: Path) -> None:
    made = own(**SETS[kind])
    reference, registry = stored(made)
    path = tmp_path / ("set" + LAYOUTS.get(name).suffix)
    assert export_set(reference, path, format=name, registry=registry).losses == ()
    back = import_set(path, format=name, registry=tmp_path / "other.db")
    assert back.new
    assert back.synthetic.id == made.id
    assert satm.load("latest", registry=tmp_path / "other.db").id == made.id
    assert not import_set(path, format=name, registry=tmp_path / "other.db").new
    for claims, said in [
        ({"ipc": 3}, "the file says ipc 2, not 3"),
        ({"preprocessing": "none"}, "the file says preprocessing meanstd, not none"),
        ({"mean": (0.5,), "std": (0.5,)}, "the file says mean .* leave --mean out"),
        ({"architecture": "convnet3"}, "the file says architecture .*, not convnet3"),
        ({"index": 0}, "the file holds one set"),
        ({"dataset": str(tmp_path)}, f"the file says dataset digits, not {tmp_path.name}"),
    ]:
        with pytest.raises(ConfigError, match=said):
            import_set(path, format=name, registry=tmp_path / "other.db", **claims)
    space = made.preprocessing
    agreed: dict[str, Any] = {"preprocessing": "meanstd", "mean": space.mean, "std": space.std, "dataset": "digits"}
    assert not import_set(path, format=name, registry=tmp_path / "other.db", **agreed).new


@pytest.mark.parametrize("kind", SETS)
@pytest.mark.parametrize("name", ["datm", "dd-ranking", "mtt", "dc", "kip"])
def test_tensors_come_back_bit_for_bit(name: str, kind: str, stored: Any, tmp_path: Path) -> None:
    made = own(**SETS[kind])
    reference, registry = stored(made)
    losses = export_set(reference, tmp_path / "out", format=name, registry=registry).losses
    claims: dict[str, Any] = {
        "dataset": "digits",
        "preprocessing": "meanstd",
        "labels": None if kind == "hard" else kind,
    }
    if name in ("mtt", "dc", "kip"):
        claims["step_size"] = made.step_size
        assert any(f"--step-size {made.step_size!r}" in line for line in losses)
    back = import_set(tmp_path / "out", format=name, dry_run=True, **claims).synthetic
    assert torch.equal(back.images, made.images)
    assert torch.equal(back.labels, made.labels)
    assert (back.step_size, back.label_kind, back.preprocessing) == (made.step_size, kind, made.preprocessing)
    assert any("--dataset and --preprocessing" in line for line in losses)


@pytest.mark.parametrize("name", ["imagefolder", "rded"])
def test_pictures_come_back_within_the_loss_they_name(name: str, stored: Any, tmp_path: Path) -> None:
    kind = "hard" if name == "imagefolder" else "logits"
    made = own(**SETS[kind])
    reference, registry = stored(made)
    losses = export_set(reference, tmp_path / "out", format=name, registry=registry).losses
    named = re.search(r"largest change ([\d.]+)", losses[0])
    assert named is not None
    claims = {} if kind == "hard" else {"labels": kind}
    back = import_set(tmp_path / "out", format=name, dataset="digits", dry_run=True, **claims).synthetic
    change = (back.preprocessing.invert(back.images) - made.preprocessing.invert(made.images)).abs().max()
    assert float(change) == pytest.approx(float(named[1]), rel=0.01)
    assert torch.equal(back.labels, made.labels)


def test_a_set_in_another_order_becomes_class_major_and_says_so(stored: Any, tmp_path: Path) -> None:
    made = own()
    shuffled = replace(made, images=made.images.flip(0), labels=made.labels.flip(0))
    reference, registry = stored(shuffled)
    losses = export_set(reference, tmp_path / "out", format="dd-ranking", registry=registry).losses
    assert any("class-major" in line for line in losses)
    assert torch.equal(torch.load(tmp_path / "out" / "labels.pt"), made.labels)


def test_an_export_leaves_what_is_there_alone(stored: Any, tmp_path: Path) -> None:
    reference, registry = stored(own(step_size=None))
    (tmp_path / "out").mkdir()
    with pytest.raises(DataError, match="already exists"):
        export_set(reference, tmp_path / "out", format="mtt", registry=registry)
    with pytest.raises(DataError, match="has no step size, which this format needs"):
        export_set(reference, tmp_path / "new", format="datm", registry=registry)
    assert sorted(path.name for path in tmp_path.iterdir() if not path.name.endswith(".db")) == ["out"]


def test_no_class_name_leads_an_export_out_of_its_folder(stored: Any, tmp_path: Path) -> None:
    made = own()
    for number, name in enumerate(["../out", "..", str(tmp_path / "out"), "a/b", "a\\b", "."]):
        folder = tmp_path / "below" / str(number)
        reference, registry = stored(replace(made, classes=(name, *made.classes[1:])))
        export_set(reference, folder, format="imagefolder", registry=registry)
        assert sorted(path.name for path in folder.iterdir()) == [f"{label:05d}" for label in range(len(made.classes))]
    assert sorted(path.name for path in tmp_path.iterdir() if not path.name.endswith(".db")) == ["below"]


def test_the_configuration_for_dd_ranking_has_the_keys_its_code_reads() -> None:
    yaml = pytest.importorskip("yaml")
    hard, soft = (yaml.safe_load(configuration(own(**SETS[kind]))) for kind in ("hard", "logits"))
    assert {"flip", "scale"} <= set(hard["aug_params"])  # not prob_flip and ratio_scale, as its documents say
    assert (hard["ipc"], hard["im_size"], hard["use_zca"], hard["step_size"]) == (2, [8, 8], False, 500)
    assert soft["soft_label_mode"] == "S"
    assert soft["loss_fn_kwargs"]["temperature"] == 1.0


def test_a_configuration_of_dd_ranking_says_what_no_option_has_to(stored: Any, tmp_path: Path) -> None:
    made = own()
    reference, registry = stored(made)
    export_set(reference, tmp_path / "out", format="dd-ranking", registry=registry)
    back = import_set(tmp_path / "out", format="dd-ranking", dry_run=True).synthetic
    assert (back.dataset, back.ipc, back.step_size) == (made.dataset, made.ipc, made.step_size)
    assert (back.preprocessing, back.label_kind) == (made.preprocessing, "hard")
    assert len(back.parents) == 5  # four files and the data
    for claims, said in [
        ({"dataset": "cifar10"}, "the file says dataset digits, not cifar10"),
        ({"ipc": 3}, "the file says ipc 2, not 3"),
        ({"preprocessing": "zca"}, "the file says preprocessing meanstd, not zca"),
    ]:
        with pytest.raises(ConfigError, match=f"{said}; leave --"):
            import_set(tmp_path / "out", format="dd-ranking", dry_run=True, **claims)
