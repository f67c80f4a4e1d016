"""Reads sets in other people's layouts: the values that come from the files, and the claims that are needed."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from registry import Registry
from satm import import_set
from satm.data import CATALOGUE
from satm.errors import ConfigError, DataError, SatmError, UnknownName
from satm.preprocessing import MeanStd
from satm.synthetic import SyntheticSet
from tests.satm.exchange import files
from tests.satm.exchange.files import IMAGES, LABELS, LOGITS, PIXELS, PROBABILITIES, TARGETS, WRITERS, K

CIFAR10 = CATALOGUE.get("cifar10")
CONSTANTS = MeanStd(mean=CIFAR10.mean, std=CIFAR10.std)


def read(path: Path, name: str, **claims: Any) -> SyntheticSet:
    """Import a file as CIFAR-10 without storing it. The machine of a test does not have CIFAR-10's images."""
    return import_set(path, format=name, **{"dataset": "cifar10", "dry_run": True, **claims}).synthetic


@pytest.mark.parametrize("name", ["mtt", "datm", "dc", "kip", "dd-ranking", "safetensors"])
def test_tensors_are_taken_bit_for_bit(name: str, folder: Path) -> None:
    made = read(WRITERS[name](folder), name, preprocessing="meanstd")
    assert torch.equal(made.images, IMAGES)
    assert made.preprocessing == CONSTANTS
    assert (made.ipc, made.profile, made.classes) == (1, "foreign", CIFAR10.classes)
    expected, kind = (LOGITS, "logits") if name == "datm" else (LABELS, "hard")
    assert torch.equal(made.labels, expected)
    assert made.label_kind == kind
    step_size = {"datm": torch.tensor(0.02).item(), "dd-ranking": 0.02, "safetensors": torch.tensor(0.02).item()}
    assert made.step_size == step_size.get(name)
    assert all(re.fullmatch("file:[0-9a-f]{64}", parent) for parent in made.parents)


@pytest.mark.parametrize("name", ["imagefolder", "rded", "parquet"])
def test_pixels_are_taken_into_the_space_asked_for(name: str, folder: Path) -> None:
    labels = {"labels": "probabilities"} if name == "rded" else {}
    made = read(WRITERS[name](folder), name, **labels)
    assert torch.equal(made.images, CONSTANTS(PIXELS))
    assert torch.equal(made.labels, PROBABILITIES if name == "rded" else LABELS)
    plain = read(folder, name, preprocessing="none", **labels)
    torch.testing.assert_close(plain.images, PIXELS.float() / 255)


def test_rded_without_stored_labels_has_those_of_its_folders(folder: Path) -> None:
    files.imagefolder(folder)
    made = read(folder, "rded")
    assert (made.label_kind, made.method) == ("hard", "rded")
    assert torch.equal(made.labels, LABELS)


def test_rded_soft_labels_go_with_their_images_by_class(folder: Path) -> None:
    """Folders named by classes are not in the order of the classes. Images and labels are reordered together."""
    names = tuple(reversed(CIFAR10.classes))  # neither alphabetical nor by label
    for label, name in enumerate(names):
        (folder / name).mkdir()
        (folder / name / "a.png").write_bytes(files.pictures(PIXELS)[label])
    stored = sorted(range(K), key=lambda row: names[row])
    torch.save(PROBABILITIES[stored], folder / "soft_labels.pt")
    made = read(folder, "rded", labels="probabilities")
    assert torch.equal(made.images, CONSTANTS(PIXELS).flip(0))
    assert torch.equal(made.labels, PROBABILITIES.flip(0))
    (folder / names[0] / "a.png").rename(folder / names[1] / "b.png")
    with pytest.raises(DataError, match="class 8 has 2 images; expected 1"):
        read(folder, "rded", labels="probabilities")
    (folder / names[0]).rmdir()
    (folder / names[1]).rename(folder / "unicorn")
    with pytest.raises(DataError, match="folder 'unicorn' is not a class"):
        read(folder, "rded", labels="probabilities")


def test_class_folders_by_name_number_or_order(folder: Path) -> None:
    for names in (CIFAR10.classes, [str(label) for label in range(K)], [f"x{label}" for label in range(K)]):
        files.fresh(folder)
        for label, name in enumerate(names):
            (folder / name).mkdir()
            (folder / name / "a.png").write_bytes(files.pictures(PIXELS)[label])
        assert torch.equal(read(folder, "imagefolder").images, CONSTANTS(PIXELS))
    (folder / "x3").rename(folder / "automobile")
    with pytest.raises(DataError, match="folder 'x0' is not a class of the data set"):
        read(folder, "imagefolder")


def test_dc_names_its_sets_and_one_is_chosen(folder: Path) -> None:
    sets = [[IMAGES + shift, LABELS] for shift in (0, 0.1, 0.2, 0.3, 0.4)]
    torch.save({"data": sets, "accs_all_exps": {"ConvNet": [np.float64(0.3), np.float32(0.2)]}}, folder / "res_DM.pt")
    with pytest.raises(ConfigError, match=r"holds 5 sets \(0: 10×3×8×8, 1: .*4: 10×3×8×8\); choose one with --index"):
        read(folder, "dc")
    assert torch.equal(read(folder, "dc", index=3).images, IMAGES + 0.3)
    with pytest.raises(ConfigError, match="holds 5 sets"):
        read(folder, "dc", index=5)


def test_mtt_takes_the_one_pair_of_a_folder_or_the_named_one(folder: Path) -> None:
    files.mtt(folder)
    torch.save(IMAGES + 1, folder / "images_zca_best.pt")  # whitened back for people to look at
    assert torch.equal(read(folder, "mtt", preprocessing="meanstd").images, IMAGES)
    torch.save(IMAGES / 2, folder / "images_5000.pt")
    torch.save(LABELS, folder / "labels_5000.pt")
    with pytest.raises(DataError, match=r"holds images_5000.pt, images_best.pt; give the path of one"):
        read(folder, "mtt", preprocessing="meanstd")
    assert torch.equal(read(folder / "images_5000.pt", "mtt", preprocessing="meanstd").images, IMAGES / 2)
    (folder / "labels_5000.pt").unlink()
    with pytest.raises(DataError, match=r"labels_5000.pt is missing"):
        read(folder / "images_5000.pt", "mtt", preprocessing="meanstd")


def test_kip_targets_become_classes_unless_claimed_otherwise(folder: Path) -> None:
    files.kip(folder)
    assert torch.equal(read(folder, "kip", preprocessing="meanstd").labels, LABELS)
    assert torch.equal(read(folder, "kip", preprocessing="meanstd", labels="logits").labels, TARGETS)


def test_a_set_without_labels_in_dd_ranking_is_class_major(folder: Path) -> None:
    files.dd_ranking(folder)
    (folder / "labels.pt").unlink()
    assert torch.equal(read(folder, "dd-ranking", preprocessing="meanstd").labels, LABELS)


def test_cifar100_is_normalised_as_each_line_of_work_does_it(folder: Path) -> None:
    images, labels = files.normal(100, 3, 8, 8), torch.arange(100)
    own = CATALOGUE.get("cifar100")
    for name, mean in (("mtt", CIFAR10.mean), ("dc", own.mean)):
        WRITERS[name](files.fresh(folder), images, labels)
        assert read(folder, name, dataset="cifar100", preprocessing="meanstd").preprocessing.mean == mean
    stated = read(folder, "dc", dataset="cifar100", mean=own.mean, std=(0.3, 0.3, 0.3))
    assert stated.preprocessing == MeanStd(own.mean, (0.3, 0.3, 0.3))


@pytest.mark.parametrize(
    ("name", "wrong", "claims", "said"),
    [
        ("mtt", {}, {"dataset": None}, "give --dataset"),
        ("mtt", {}, {}, "give --preprocessing"),
        ("mtt", {}, {"preprocessing": "zca"}, "needs cifar10's training images to fit the whitening"),
        (
            "mtt",
            {},
            {"preprocessing": "none"},
            r"do not fit --preprocessing none: \d\d% of their values are above -0.5",
        ),
        (
            "mtt",
            {"images": IMAGES / 5},
            {"preprocessing": "meanstd"},
            r"std 0.2.*; cifar10 there: mean 0/0/0, std 1",
        ),
        ("mtt", {}, {"preprocessing": "meanstd", "ipc": 2}, "10 images; --ipc 2 and 10 classes make 20"),
        ("mtt", {}, {"preprocessing": "meanstd", "dataset": "cifar100"}, "10 images cannot be shared by 100 classes"),
        ("mtt", {}, {"preprocessing": "meanstd", "labels": "logits"}, "the file holds one class an image"),
        ("mtt", {"labels": LOGITS}, {"preprocessing": "meanstd"}, "rows that do not add up to 1 .* give --labels"),
        ("datm", {"labels": PROBABILITIES}, {"preprocessing": "meanstd"}, "rows that add up to 1 .* give --labels"),
        ("mtt", {"labels": LOGITS}, {"preprocessing": "meanstd", "labels": "probabilities"}, "expected 0 and 1"),
        ("mtt", {"labels": LABELS + 1}, {"preprocessing": "meanstd"}, "labels reach from 1 to 10; the data set has 10"),
        ("mtt", {"labels": LABELS // 2}, {"preprocessing": "meanstd"}, "class 0 has 2 images; expected 1"),
        (
            "datm",
            {"step_size": -0.01},
            {"preprocessing": "meanstd"},
            "the step size is -0.01; expected a",
        ),
        ("datm", {"step_size": float("nan")}, {"preprocessing": "meanstd"}, "the step size is nan"),
        ("datm", {}, {"preprocessing": "meanstd", "step_size": 0.5}, "the file says step size 0.0199.*, not 0.5"),
        ("mtt", {}, {"preprocessing": "meanstd", "step_size": float("nan")}, "step_size nan"),
        ("mtt", {}, {"preprocessing": "meanstd", "method": "a/b"}, "method 'a/b'"),
        ("mtt", {}, {"preprocessing": "meanstd", "dataset": "nowhere"}, "unknown data set 'nowhere'"),
        ("mtt", {}, {"preprocessing": "meanstd", "architecture": "convnet9"}, "convnet9"),
        (
            "mtt",
            {},
            {"preprocessing": "meanstd", "dataset": "digits"},
            "images have 3 channels; those of digits",
        ),
    ],
)
def test_what_does_not_fit_is_one_line_with_both_sides(
    name: str, wrong: dict[str, Any], claims: dict[str, Any], said: str, folder: Path, tmp_path: Path
) -> None:
    path = WRITERS[name](folder, **wrong)
    with pytest.raises((ConfigError, DataError, UnknownName), match=said):
        read(path, name, registry=tmp_path / "satm.db", **{"dry_run": False, **claims})
    assert not (tmp_path / "satm.db").exists()


def test_pixels_are_told_from_normalised_images_though_their_moments_are_near(folder: Path) -> None:
    pixels, labels = torch.rand(10, 1, 8, 8, generator=torch.Generator().manual_seed(0)), torch.arange(10)
    files.mtt(folder, pixels, labels)
    assert torch.equal(read(folder, "mtt", dataset="digits", preprocessing="none").images, pixels)
    with pytest.raises(DataError, match=r"do not fit --preprocessing meanstd: all values lie in 0\.\.1, as pixels do"):
        read(folder, "mtt", dataset="digits", preprocessing="meanstd")
    files.mtt(folder, files.normal(10, 1, 8, 8), labels)
    with pytest.raises(DataError, match=r"do not fit --preprocessing none: \d\d% of their values are above -0\.5"):
        read(folder, "mtt", dataset="digits", preprocessing="none")


def test_force_stores_a_misfit_and_the_set_says_so(folder: Path, tmp_path: Path) -> None:
    files.mtt(folder, IMAGES / 5)
    found = import_set(
        folder, format="mtt", dataset="cifar10", preprocessing="meanstd", force=True, registry=tmp_path / "satm.db"
    )
    assert found.record is not None
    assert found.record.about["config"]["import"]["moments_checked"] is False
    assert any("stored by --force: the images do not fit" in note for note in found.notes)


def test_a_configuration_as_dd_ranking_s_users_write_it(folder: Path) -> None:
    files.dd_ranking(folder)
    (folder / "config.yaml").write_text("dataset: 'CIFAR10'  # real\nipc: 1\nuse_zca: False\nfour: [1,\n")
    made = import_set(folder, format="dd-ranking", dry_run=True).synthetic
    assert (made.dataset, made.ipc, made.preprocessing) == ("cifar10", 1, CONSTANTS)
    for text, said in [
        ("dataset: ../x\n", "does not say what data set"),
        ("dataset: nothing\n", "unknown data set 'nothing'"),
    ]:
        (folder / "config.yaml").write_text(text + "use_zca: false\n")
        with pytest.raises(SatmError, match=said):
            import_set(folder, format="dd-ranking", dry_run=True)
    (folder / "config.yaml").write_bytes(bytes(range(256)) * 1000)
    assert read(folder, "dd-ranking", preprocessing="meanstd").ipc == 1


def test_an_import_that_was_killed_after_it_stored_the_set_is_finished_by_the_next(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files.mtt(folder)
    asked: dict[str, Any] = {"format": "mtt", "dataset": "cifar10", "registry": tmp_path / "satm.db"}
    asked |= {"preprocessing": "meanstd", "force": True}

    class Killed(BaseException):
        """Stands for the end of the process at this line."""

    def killed(*_: Any, **__: Any) -> None:
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(Registry, "finish_run", killed)
        with pytest.raises(Killed):
            import_set(folder, **asked)
    found = import_set(folder, **asked)
    assert not found.new
    assert found.record is not None
    with Registry.open(tmp_path / "satm.db", read_only=True) as store:
        assert [(run.status, run.set_id) for run in store.runs()] == [("done", found.record.id)]
