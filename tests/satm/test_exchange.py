"""Sets in other people's layouts: what is read, what is asked for, what comes back, and that it can be evaluated."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import satm
from registry import Registry
from satm.data import CATALOGUE, fitted_zca, load
from satm.data.digits import read_digits
from satm.errors import ConfigError, DataError, SatmError, ShapeError, UnknownName
from satm.exchange import FORMATS, Difference, Moments, differences
from satm.exchange.dd_ranking import configuration
from satm.preprocessing import ZCA, MeanStd, preprocessing_from_dict
from satm.progress import SILENT
from satm.synthetic import SyntheticSet
from satm.workflow import diff, export_set, import_set
from tests.satm import exchange_files as files
from tests.satm.exchange_files import IMAGES, LABELS, LOGITS, PIXELS, PROBABILITIES, TARGETS, WRITERS, K

CIFAR10 = CATALOGUE.get("cifar10")
CONSTANTS = MeanStd(mean=CIFAR10.mean, std=CIFAR10.std)


def read(path: Path, name: str, **claims: Any) -> SyntheticSet:
    """Import without storing, as CIFAR-10 (of which nothing is on the machine of a test)."""
    return import_set(path, format=name, **{"dataset": "cifar10", "dry_run": True, **claims}).synthetic


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return files.fresh(tmp_path / "foreign")


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
    """Folders called like classes stand in another order than the classes: rows move together, and are counted."""
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
    with pytest.raises(DataError, match="folder 'unicorn' is no class"):
        read(folder, "rded", labels="probabilities")


def test_class_folders_by_name_number_or_order(folder: Path) -> None:
    for names in (CIFAR10.classes, [str(label) for label in range(K)], [f"x{label}" for label in range(K)]):
        files.fresh(folder)
        for label, name in enumerate(names):
            (folder / name).mkdir()
            (folder / name / "a.png").write_bytes(files.pictures(PIXELS)[label])
        assert torch.equal(read(folder, "imagefolder").images, CONSTANTS(PIXELS))
    (folder / "x3").rename(folder / "automobile")
    with pytest.raises(DataError, match="folder 'x0' is no class of the data set"):
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
        ("mtt", {}, {"preprocessing": "none"}, r"do not fit --preprocessing none: \d\d% of their values lie in"),
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
    with pytest.raises(DataError, match=r"do not fit --preprocessing none: \d\d% of their values lie in -0\.5\.\.1\.5"):
        read(folder, "mtt", dataset="digits", preprocessing="none")


def test_force_stores_a_misfit_and_the_set_says_so(folder: Path, tmp_path: Path) -> None:
    files.mtt(folder, IMAGES / 5)
    found = import_set(
        folder, format="mtt", dataset="cifar10", preprocessing="meanstd", force=True, registry=tmp_path / "satm.db"
    )
    assert found.record is not None
    assert found.record.about["config"]["import"]["moments_checked"] is False
    assert any("stored by --force: the images do not fit" in note for note in found.notes)


def own(**changes: Any) -> SyntheticSet:
    """Two digits a class near the real ones, as `satm condense` leaves them but with an awkward α."""
    raw = read_digits()
    order = torch.cat([(raw.train_labels == label).nonzero()[:2, 0] for label in range(K)])
    spec = CATALOGUE.get("digits")
    config = satm.choose_preset("digits", ipc=2, profile="smoke", settings={"image_size": 8}).config
    noise = 0.01 * torch.randn(20, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    settings: dict[str, Any] = {
        "images": MeanStd(spec.mean, spec.std)(raw.train_images[order]) + noise,
        "labels": raw.train_labels[order],
        "step_size": 0.1 / 3,
        "dataset": "digits",
        "classes": raw.classes,
        "ipc": 2,
        "method": "satm",
        "preprocessing": MeanStd(spec.mean, spec.std),
        "profile": "smoke",
        "seed": 3,
        "config": {"condense": config.to_dict()},
        "parents": ("data:0", "experts:1"),
    }
    return SyntheticSet(**settings | changes)


SOFT = torch.randn(20, K, generator=torch.Generator().manual_seed(1)) + 6 * torch.eye(K).repeat_interleave(2, 0)
SETS = {
    "hard": {},
    "logits": {"labels": SOFT, "label_kind": "logits"},
    "probabilities": {"labels": SOFT.softmax(1), "label_kind": "probabilities"},
}


@pytest.fixture
def stored(tmp_path: Path):
    """Store a set in a registry of its own; its name and the registry."""

    def store(synthetic: SyntheticSet) -> tuple[str, Path]:
        path = tmp_path / "own.db"
        with Registry.open(path) as registry:
            return registry.add_set(synthetic, run=None).name, path

    return store


@pytest.mark.parametrize("kind", SETS)
@pytest.mark.parametrize("name", ["safetensors", "parquet"])
def test_what_carries_everything_gives_the_same_id(name: str, kind: str, stored: Any, tmp_path: Path) -> None:
    made = own(**SETS[kind])
    reference, registry = stored(made)
    path = tmp_path / ("set" + FORMATS.get(name).suffix)
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
    with pytest.raises(DataError, match="is there already"):
        export_set(reference, tmp_path / "out", format="mtt", registry=registry)
    with pytest.raises(DataError, match="has no step size, which this format needs"):
        export_set(reference, tmp_path / "new", format="datm", registry=registry)
    assert sorted(path.name for path in tmp_path.iterdir() if not path.name.endswith(".db")) == ["out"]


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


def test_moments_and_their_normalisation() -> None:
    images = torch.tensor([[0.0, 1.0], [0.5, 0.5]]).view(2, 1, 1, 2)
    assert Moments.of(images) == Moments((0.5,), (pytest.approx(0.125**0.5),))
    assert Moments((0.5,), (0.25,)).normalised(MeanStd((0.25,), (0.5,))) == Moments((0.5,), (0.5,))


def test_differences_are_named_by_key_and_moment() -> None:
    made = own()
    assert differences(made, own()) == []
    config = {"condense": {**made.config["condense"], "recipe": "cpu"}}
    other = replace(made, images=made.images + 1, step_size=0.5, config=config, parents=("data:0",))
    found = {difference.what: difference for difference in differences(made, other)}
    assert set(found) == {
        *("images.mean", "images.min", "images.max", "images.differ_in"),
        *("step_size", "config.condense.recipe", "parents"),
    } | ({"images.std"} & set(found))  # adding 1 rounds
    assert found["images.differ_in"].b == "1280 of 1280 values, by at most 1"
    assert found["config.condense.recipe"] == Difference("config.condense.recipe", "smoke", "cpu")
    soft = {difference.what: difference.b for difference in differences(made, own(**SETS["logits"]))}
    assert soft["labels.shape"] == [20, 10]
    assert soft["labels.same_likeliest_class"] == "20 of 20 images"


def test_diff_of_two_stored_sets(stored: Any) -> None:
    a, registry = stored(own())
    b, _ = stored(own(seed=4))
    assert diff(a, b, registry=registry) == [Difference("seed", 3, 4)]


def test_a_whitened_set_is_judged_in_the_space_of_all_training_images(stored: Any, tmp_path: Path) -> None:
    reference, registry = stored(own(images=8 * own().images))
    export_set(reference, tmp_path / "out", format="mtt", registry=registry)
    with pytest.raises(DataError, match=r"do not fit --preprocessing zca: .* digits there"):
        import_set(tmp_path / "out", format="mtt", dataset="digits", preprocessing="zca", registry=registry)
    forced = import_set(
        tmp_path / "out", format="mtt", dataset="digits", preprocessing="zca", force=True, registry=registry
    )
    zca = forced.synthetic.preprocessing
    assert zca.kind == "zca"
    whitened = zca(read_digits().train_images)
    covariance = torch.cov(whitened.flatten(1).T.double())
    assert float(covariance.diagonal().max()) < 1  # (S / (S + eps)) of each component
    assert float(whitened.mean().abs()) < 1e-5
    satm.evaluate(forced.record.name, recipe="smoke", repeats=1, registry=registry)
    rows = satm.results(set=forced.record.name, registry=registry)
    assert [row.profile for row in rows] == ["smoke"]


def test_kips_whitening_is_its_own(tmp_path: Path) -> None:
    registry, digits = tmp_path / "satm.db", load("digits", validation=0.0)
    kip = fitted_zca(digits.train.images, fingerprint=digits.fingerprint, unit=digits.preprocessing, progress=SILENT)
    first = torch.stack([(digits.train.labels == label).nonzero()[0, 0] for label in range(K)])
    images = kip(digits.train.images[first])
    files.kip(files.fresh(tmp_path / "kip"), images)
    made = import_set(tmp_path / "kip", format="kip", dataset="digits", preprocessing="zca", registry=registry)
    assert made.synthetic.preprocessing == kip
    assert torch.equal(made.synthetic.images, images)

    ZCA.path(kip.key).unlink()  # an evaluation fits it again
    satm.evaluate(made.record.name, recipe="smoke", repeats=1, registry=registry)
    assert ZCA.path(kip.key).exists()
    for name, kept in (("kip", True), ("safetensors", True), ("mtt", False), ("dd-ranking", False), ("rded", False)):
        losses = export_set(made.record.name, tmp_path / f"as-{name}", format=name, registry=registry).losses
        assert any("KIP's" in line for line in losses if "targets" not in line) != kept
        if kept:  # what is exact comes back
            claims = {} if name == "safetensors" else {"dataset": "digits", "preprocessing": "zca"}
            again = import_set(tmp_path / f"as-{name}", format=name, registry=registry, **claims)
            assert torch.equal(again.synthetic.images, images)
            assert again.synthetic.preprocessing == kip


def test_a_whitening_is_told_from_another_of_the_same_name(stored: Any, tmp_path: Path) -> None:
    digits = load("digits", validation=0.0)
    fit: dict[str, Any] = {"fingerprint": digits.fingerprint, "progress": SILENT}
    field = fitted_zca(digits.train.images, **fit)
    kips = fitted_zca(digits.train.images, unit=digits.preprocessing, **fit)
    few = digits.train.images[:2]
    for described in (
        field.to_dict() | {"key": kips.key},
        kips.to_dict() | {"key": field.key},
        kips.to_dict() | {"shape": [1, 4, 16]},
    ):
        with pytest.raises((DataError, ShapeError)):
            preprocessing_from_dict(described)(few)
    for change in ({"unit": field.to_dict()}, {"unit": {"kind": "meanstd", "mean": [0.5] * 3, "std": [1.0] * 3}}):
        with pytest.raises(ConfigError, match="unit is no mean and std of 1 channels"):
            preprocessing_from_dict(kips.to_dict() | change)
    reference, registry = stored(own(preprocessing=field))
    losses = export_set(reference, tmp_path / "as-kip", format="kip", registry=registry).losses
    assert any("its whitening is the field's, and this format's is not" in line for line in losses)
