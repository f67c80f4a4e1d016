"""Look-up, splits, preprocessing and the embedded digits."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import torchvision.datasets
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import save_file

from satm.data import CATALOGUE, Split, load
from satm.data.digits import read_digits
from satm.data.lookup import places
from satm.data.normalise import measured_mean_std
from satm.data.split import stratified
from satm.data.torchvision_files import reachable
from satm.data.zca import fitted_zca
from satm.errors import ConfigError, DamagedFile, DataError, ShapeError, UnknownName
from satm.preprocessing import ZCA, MeanStd, preprocessing_from_dict
from satm.progress import SILENT, NoProgress
from satm.rng import Seed
from tests.satm.data.files import cifar10_files, image_folder, parquet_set

REAL = os.environ.get("SATM_DATA")


@pytest.fixture
def offline(monkeypatch):
    monkeypatch.setattr("satm.data.torchvision_files.reachable", lambda url, seconds: False)


# Look-up


def test_root_then_environment_then_path_name_the_same_data(root, monkeypatch):
    parquet_set(root / "mine")
    by_root = load("mine", root=root)
    by_path = load(str(root / "mine"))
    monkeypatch.setenv("SATM_DATA", str(root))
    by_environment = load("mine")
    assert by_root.fingerprint == by_path.fingerprint == by_environment.fingerprint
    assert {each.name for each in (by_root, by_path, by_environment)} == {"mine"}
    assert {each.root for each in (by_root, by_path, by_environment)} == {str(root)}


def test_relative_path(root, monkeypatch):
    parquet_set(root / "mine")
    monkeypatch.chdir(root)
    assert load("./mine").name == "mine"


def test_a_path_that_ends_in_a_catalogue_name_is_that_data_set(root, monkeypatch):
    cifar10_files(root / "cifar10", monkeypatch)
    assert load(str(root / "cifar10")).preprocessing == load("cifar10", root=root).preprocessing
    (root / "digits").mkdir()
    with pytest.raises(ConfigError, match="rename the folder"):
        load(str(root / "digits"))


def test_explicit_root_without_the_set_never_downloads(root, monkeypatch):
    monkeypatch.setattr("satm.data.lookup.download", lambda *_: pytest.fail("downloads"))
    with pytest.raises(DataError, match="not under data root") as caught:
        load("cifar10", root=root)
    for place in places("cifar10", root):
        assert str(place.path) in str(caught.value)
    assert f"in {root / 'cifar10'}" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.usefixtures("offline")
@pytest.mark.parametrize("name", ["cifar10", "cifar100", "imagenette2"])
def test_without_a_connection_the_error_names_every_place(name, root, monkeypatch):
    monkeypatch.setenv("SATM_DATA", str(root))
    with pytest.raises(DataError, match="no connection to https://") as caught:
        load(name)
    assert all(str(place.path) in str(caught.value) for place in places(name))


@pytest.mark.parametrize("name", ["tiny-imagenet", "imagewoof", "imagewoof2", "imagefruit", "imagenet-1k"])
def test_sets_that_torchvision_cannot_download_say_so(name):
    with pytest.raises(DataError, match=r"cannot be downloaded: tried .*set SATM_DATA"):
        load(name)


def test_download_is_kept_whole_and_found_again(tmp_path, monkeypatch):
    cifar10_files(tmp_path / "server", monkeypatch)
    monkeypatch.setattr("satm.data.torchvision_files.reachable", lambda url, seconds: True)
    calls = []

    def fetch(self) -> None:
        calls.append(socket.getdefaulttimeout())
        os.rename(tmp_path / "server" / "cifar-10-batches-py", Path(self.root) / "cifar-10-batches-py")

    monkeypatch.setattr(torchvision.datasets.CIFAR10, "download", fetch)
    first = load("cifar10")
    assert load("cifar10").fingerprint == first.fingerprint
    assert calls == [10.0]
    assert socket.getdefaulttimeout() is None
    assert [path.name for path in (tmp_path / "home" / "downloads").iterdir()] == ["cifar10"]


def test_failed_download_leaves_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr("satm.data.torchvision_files.reachable", lambda url, seconds: True)

    def fetch(self) -> None:
        (Path(self.root) / "half").write_text("half")
        raise OSError("connection lost")

    monkeypatch.setattr(torchvision.datasets.CIFAR10, "download", fetch)
    with pytest.raises(DataError, match=r"download of .* failed \(connection lost\)"):
        load("cifar10")
    assert not list((tmp_path / "home" / "downloads").iterdir())


def test_a_server_that_never_answers_is_given_up():
    with socket.create_server(("127.0.0.1", 0)) as server:
        start = time.monotonic()
        assert not reachable(f"http://127.0.0.1:{server.getsockname()[1]}/", 0.2)
        assert time.monotonic() - start < 2


@pytest.mark.parametrize("name", ["cifar-10", "cifar", ""])
def test_unknown_name_offers_near_ones(name, root):
    parquet_set(root / "mine")
    with pytest.raises(UnknownName, match="cifar10"):
        load(name, root=root)
    with pytest.raises(UnknownName, match="mine"):
        load("minr", root=root)


def test_roots_and_paths_that_are_no_folder(root, monkeypatch):
    with pytest.raises(DataError, match=r"data root .* is no folder"):
        load("cifar10", root=root / "none")
    with pytest.raises(DataError, match="is no folder; give the name"):
        load(str(root / "none"))
    monkeypatch.setenv("SATM_DATA", str(root / "none"))
    with pytest.raises(DataError, match=r"SATM_DATA is .* no folder"):
        load("cifar10")


@pytest.mark.parametrize("options", [{"validation": 1.0}, {"validation": -0.1}, {"image_size": 0}])
def test_values_outside_their_range(options):
    with pytest.raises(ConfigError, match=next(iter(options))):
        load("digits", **options)


def test_catalogue_is_complete():
    names = "digits cifar10 cifar100 tiny-imagenet imagenette imagewoof imagefruit imagemeow imagenet-1k "
    names += "imagenette2 imagewoof2"
    assert set(CATALOGUE) == set(names.split())
    for name in CATALOGUE:
        spec = CATALOGUE.get(name)
        assert spec.subset == () or len({index for index, _, _ in spec.subset}) == spec.num_classes
    assert CATALOGUE.get("cifar100").mean != CATALOGUE.get("cifar10").mean


def test_wordnet_ids_are_those_of_the_indices():
    """ImageNet's indices are the alphabetical order of its WordNet ids, so both must sort alike."""
    every = {each for name in CATALOGUE for each in CATALOGUE.get(name).subset}
    assert [each[1] for each in sorted(every)] == sorted(each[1] for each in every)
    assert len(every) == 40


# Digits


def test_digits_are_the_same_everywhere_and_split_by_class():
    raw, data = read_digits(), load("digits")
    assert (len(data.train) + len(data.validation), len(data.test)) == (1438, 359)
    assert raw.train_images.max() == 255
    assert set(raw.train_images.unique().tolist()) == {round(level * 255 / 16) for level in range(17)}
    counts = torch.bincount(data.test.labels)
    assert counts.min() >= 35
    assert counts.max() <= 37
    assert data.image_shape == (1, 8, 8)
    assert data.root is None


def test_digits_constants_are_measured_on_train():
    spec = CATALOGUE.get("digits")
    measured = measured_mean_std(read_digits().train_images)
    assert (round(measured.mean[0], 4), round(measured.std[0], 4)) == (spec.mean[0], spec.std[0])


def test_digits_at_another_size():
    assert load("digits", image_size=16).image_shape == (1, 16, 16)


def test_digits_need_no_network_no_files_and_no_global_random_numbers():
    before = torch.random.get_rng_state()
    first, second = load("digits"), load("digits")
    assert torch.equal(before, torch.random.get_rng_state())
    assert first.fingerprint == second.fingerprint
    assert first.fingerprint != load("digits", validation=0.2).fingerprint


# Splits


@given(
    st.lists(st.integers(0, 4), min_size=1, max_size=60),
    st.floats(0, 0.999),
    st.integers(0, 2**31),
)
def test_stratified_is_a_partition_by_class(labels, fraction, seed):
    labels = torch.tensor(labels)
    kept, held = stratified(labels, fraction, Seed(seed))
    assert sorted([*kept.tolist(), *held.tolist()]) == list(range(len(labels)))
    assert kept.tolist() == sorted(kept.tolist())
    for label in labels.unique():
        size, out = int((labels == label).sum()), int((labels[held] == label).sum())
        assert out == (0 if fraction == 0 else min(max(1, round(fraction * size)), size - 1))


def test_validation_is_held_out_of_train_and_the_same_for_every_run(root):
    parquet_set(root / "mine", per_class=10)
    whole, data = load("mine", root=root, validation=0), load("mine", root=root, validation=0.3)
    assert (len(data.train), len(data.validation), len(whole.validation)) == (14, 6, 0)
    joined = torch.cat([data.train.images, data.validation.images]).flatten(1)
    assert joined.unique(dim=0).shape[0] == 20
    assert torch.equal(load("mine", root=root, validation=0.3).validation.images, data.validation.images)


def split_of(count: int = 9) -> Split:
    images = torch.randint(0, 256, (count, 1, 3, 3), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    return Split(images=images, labels=torch.arange(count) % 3, preprocessing=MeanStd(mean=(0.5,), std=(0.25,)))


@pytest.mark.parametrize("kept_bytes", [0, 2**20])
def test_batch_is_the_preprocessed_images_kept_or_not(kept_bytes, monkeypatch):
    monkeypatch.setattr("satm.data.split.KEPT_BYTES", kept_bytes)
    monkeypatch.setattr("satm.data.split._CHUNK", 4)
    split, index = split_of(), torch.tensor([4, 0, 4])
    images, labels = split.batch(index)
    assert torch.equal(images, split.preprocessing(split.images[index]))
    assert labels.tolist() == [1, 0, 1]
    assert ("_preprocessed" in split.__dict__) == bool(kept_bytes)


def test_subset_and_of_classes_keep_order_and_labels():
    split = split_of()
    assert torch.equal(split.subset(torch.tensor([5, 2])).images, split.images[[5, 2]])
    assert split.of_classes([2, 0]).labels.tolist() == [0, 2, 0, 2, 0, 2]
    assert len(split.of_classes([])) == 0


def test_split_lies_where_it_is_sent():
    assert split_of().to("meta").batch(torch.tensor([0]))[0].device.type == "meta"


def test_images_and_labels_must_fit():
    split = split_of()
    with pytest.raises(ShapeError, match="expected"):
        Split(images=split.images.float(), labels=split.labels, preprocessing=split.preprocessing)
    with pytest.raises(ShapeError, match="expected"):
        Split(images=split.images, labels=split.labels[:-1], preprocessing=split.preprocessing)


# Preprocessing


def test_folder_constants_are_measured_on_what_is_left_of_train(root):
    image_folder(root / "mine", ["a", "b"], per_class=6)
    data = load("mine", root=root, validation=0.5)
    x = data.train.images.double() / 255
    assert data.preprocessing.mean == pytest.approx(x.mean((0, 2, 3)).tolist(), abs=1e-12)
    assert data.preprocessing.std == pytest.approx(x.std((0, 2, 3), correction=0).tolist(), abs=1e-12)


def test_zca_is_the_closed_form_and_whitens_what_it_was_fitted_on():
    images = load("digits").train.images
    zca = fitted_zca(images, fingerprint="digits", eps=1e-8, device="cpu", progress=SILENT)
    x = images.double().flatten(1) / 255
    covariance = torch.cov(x.T)
    # The definition by singular values, as in kornia; the fit uses eigenvalues.
    u, s, _ = torch.linalg.svd(covariance)
    for eps, tolerance in ((0.1, 1e-6), (1e-3, 1e-5)):
        fitted = fitted_zca(images, fingerprint="digits", eps=eps, device="cpu", progress=SILENT)
        expected = u @ torch.diag((s + eps) ** -0.5) @ u.T
        assert torch.allclose(fitted.matrices["transform"].double(), expected, atol=tolerance, rtol=1e-5)
        assert torch.allclose(fitted.matrices["inverse"].double() @ expected, torch.eye(64).double(), atol=1e-5)
        assert torch.allclose(fitted.invert(fitted(images)), images / 255, atol=1e-4)
    varying = covariance.diagonal() > 1e-2
    whitened = torch.cov(zca(images).flatten(1).double().T)
    assert torch.allclose(whitened.diagonal()[varying], torch.ones(int(varying.sum())).double(), atol=1e-2)


@pytest.mark.parametrize(("count", "channels"), [(1000, 1), (60, 1), (1000, 3)])
def test_whitening_of_unit_images_is_kips(count: int, channels: int) -> None:
    images = load("digits").train.images[:count]
    if channels == 3:
        images = torch.cat([images, images.flip(2), 255 - images.flip(3) // 2], dim=1)
    unit = measured_mean_std(images)
    fitted = fitted_zca(images, fingerprint="digits", unit=unit, progress=SILENT)

    # As in KIP's notebook: [n, H, W, C], normalised by channel; float64.
    raw = images.permute(0, 2, 3, 1).double().numpy()
    x = (raw - raw.mean((0, 1, 2))) / raw.std((0, 1, 2))
    shape, x = x.shape, x.reshape(len(x), -1)
    x = x - x.mean(1)[:, None]
    x = x / np.linalg.norm(x, axis=1)[:, None]
    second = x.T @ x / len(x)
    u, s, _ = np.linalg.svd(second + 0.1 * np.trace(second) / len(second) * np.eye(len(second)))
    root = s**-0.5
    if len(x) < x.shape[1]:
        root[len(x) :] = 1.0
    expected = torch.from_numpy((x @ (u * root) @ u.T).reshape(shape)).permute(0, 3, 1, 2)

    found = fitted(images)
    assert torch.allclose(found.double(), expected, atol=1e-5)
    assert torch.allclose(fitted(fitted.invert(found)), found, atol=1e-4)  # only brightness and contrast are lost
    assert preprocessing_from_dict(fitted.to_dict()) == fitted != replace(fitted, unit=None)


def test_zca_is_fitted_once_and_keyed_by_the_data(monkeypatch):
    data = load("digits", zca=True)
    assert isinstance(data.preprocessing, ZCA)
    assert ZCA.path(data.preprocessing.key).exists()
    assert load("digits", zca=True, validation=0.2).preprocessing != data.preprocessing
    monkeypatch.setattr(torch.linalg, "eigh", lambda *_: pytest.fail("fitted again"))
    again = load("digits", zca=True)
    assert again.preprocessing == data.preprocessing
    assert torch.equal(again.test.batch(torch.arange(5))[0], data.test.batch(torch.arange(5))[0])


@pytest.mark.parametrize("damage", [lambda content: content[:50], lambda content: content[:-9] + b"123456789"])
def test_a_damaged_zca_file_is_fitted_again_and_it_says_so(damage):
    space = load("digits", zca=True).preprocessing
    path, before = ZCA.path(space.key), space.matrices["inverse"]
    path.write_bytes(damage(path.read_bytes()))
    reloaded = preprocessing_from_dict(space.to_dict())
    assert not reloaded.available
    with pytest.raises(DamagedFile, match="is damaged"):
        _ = reloaded.matrices
    said = []

    class Listening(NoProgress):
        def say(self, message):
            said.append(message)

    load("digits", zca=True, progress=Listening())
    assert "is damaged" in said[0]
    assert said[1].startswith("fitting ZCA")
    again = preprocessing_from_dict(space.to_dict())
    assert again.available
    assert torch.equal(again.matrices["inverse"], before)


def test_a_zca_file_from_before_the_checksums_is_still_read():
    space = load("digits", zca=True).preprocessing
    path, before = ZCA.path(space.key), space.matrices
    save_file(dict(before), path)
    again = preprocessing_from_dict(space.to_dict())
    assert all(torch.equal(again.matrices[name], before[name]) for name in before)


def test_zca_needs_two_images():
    with pytest.raises(DataError, match="at least 2"):
        fitted_zca(torch.zeros(1, 1, 2, 2, dtype=torch.uint8), fingerprint="", device="cpu", progress=SILENT)


def test_test_images_can_be_put_in_the_space_of_a_set():
    plain, whitened = load("digits"), load("digits", zca=True)
    moved = plain.with_preprocessing(whitened.preprocessing)
    index = torch.arange(4)
    for part in ("train", "validation", "test"):
        assert torch.equal(getattr(moved, part).batch(index)[0], getattr(whitened, part).batch(index)[0])
    assert moved.fingerprint == plain.fingerprint


def test_importing_loads_no_heavy_library():
    heavy = ["torchvision", "pyarrow", "sklearn", "PIL", "timm"]
    code = f"import satm.data, sys; print([name for name in {heavy} if name in sys.modules])"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"


# Real images


@pytest.mark.slow
@pytest.mark.skipif(not REAL, reason="SATM_DATA is not set: no real images here")
def test_real_images(monkeypatch):
    monkeypatch.setenv("SATM_DATA", REAL)
    if not (Path(REAL) / "tiny-imagenet-20").is_dir():
        pytest.skip(f"{REAL} holds no tiny-imagenet-20")
    data = load("tiny-imagenet-20")
    assert (len(data.train), len(data.validation), len(data.test)) == (9000, 1000, 1000)
    assert data.image_shape == (3, 64, 64)
    assert data.classes[4] == "Egyptian cat"
