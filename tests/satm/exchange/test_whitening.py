"""Whitened sets: the field's ZCA and KIP's."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

import satm
from satm import export_set, import_set
from satm.data import fitted_zca, load
from satm.data.digits import read_digits
from satm.errors import ConfigError, DataError, ShapeError
from satm.preprocessing import ZCA, preprocessing_from_dict
from satm.progress import SILENT
from tests.satm.exchange import files
from tests.satm.exchange.files import K
from tests.satm.exchange.own import own


def test_a_whitened_set_is_judged_in_the_space_of_all_training_images(stored: Any, tmp_path: Path) -> None:
    reference, registry = stored(own(images=8 * own().images))
    export_set(reference, tmp_path / "out", format="mtt", registry=registry)
    with pytest.raises(DataError, match=r"do not fit --preprocessing zca: normalised images .* fit better"):
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
    rows = satm.results(set=forced.record.name, metric="accuracy", registry=registry)
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
    assert any("the set's whitening is plain ZCA, which this format does not hold" in line for line in losses)
