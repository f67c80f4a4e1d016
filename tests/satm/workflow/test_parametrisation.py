"""A stored set of grids through evaluation, class-incremental streams, pictures and other people's layouts."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

import satm
from evaluation import cross_arch
from protocols.buffer import held
from registry import Registry
from satm.errors import ConfigError
from satm.parametrisation import PIXELS, Factor, LowRank
from satm.report.grid import image_grid
from satm.workflow.condense.start_from import find_start
from satm.workflow.incremental.memories import real_images_a_class, tensor_bytes
from tests.protocols.stage import GROUPS, memory, stream


@pytest.fixture
def grids(tmp_path: Path) -> satm.SyntheticSet:
    """Two grids a class of real digits, smaller: as `factor` 2 stores them."""
    settings = {"parametrisation": "factor:2", "image_size": 8, "architecture": "convnet3_w4"}
    preset = satm.choose_preset("digits", ipc=2, method="random", profile="smoke", settings=settings)
    satm.condense(preset, registry=tmp_path / "satm.db")
    return satm.load("digits/ipc2/random+factor2", registry=tmp_path / "satm.db")


@pytest.fixture
def factors(tmp_path: Path) -> satm.SyntheticSet:
    """Four real digits a class by their nearest images of rank 1, in the bytes of one: as `low-rank` stores them."""
    settings = {"parametrisation": "low-rank:1", "image_size": 8, "architecture": "convnet3_w4"}
    preset = satm.choose_preset("digits", ipc=4, method="random", profile="smoke", settings=settings)
    satm.condense(preset, registry=tmp_path / "satm.db")
    return satm.load("digits/ipc4/random+low-rank1", registry=tmp_path / "satm.db")


def test_low_rank_images_are_trained_on_as_products_and_cost_what_their_factors_cost(
    factors: satm.SyntheticSet, tmp_path: Path
) -> None:
    assert (tuple(factors.images.shape), factors.image_shape) == ((40, 1, 2, 8), (1, 8, 8))
    assert torch.equal(factors.decoded.images, factors.images[:, :, :1].mT @ factors.images[:, :, 1:])
    assert torch.equal(factors[7][0], factors.decoded.images[7])
    assert tensor_bytes(factors) == 40 * 16 * 4
    assert (real_images_a_class(factors, "images"), real_images_a_class(factors, "bytes")) == (4, 4)
    given: dict[str, Any] = {"repeats": 1, "learning_rate": 0.01, "registry": tmp_path / "satm.db"}
    satm.evaluate(factors.name, baseline="random", **given)
    with Registry.open(tmp_path / "satm.db") as store:
        record = store.find(factors.name)
        assert (record.images, record.image_shape) == (40, (1, 8, 8))
        assert store.load(factors.name).id == factors.id
        assert {row.memory for row in store.results(set=record.id)} == {"condensed", "random"}


def test_layouts_get_the_products_and_ours_keep_the_factors(factors: satm.SyntheticSet, tmp_path: Path) -> None:
    def exported(layout: str) -> tuple[Path, tuple[str, ...]]:
        to = tmp_path / layout
        return to, satm.export_set(factors.name, to, format=layout, registry=tmp_path / "satm.db").losses

    plain, losses = exported("mtt")
    assert torch.equal(torch.load(plain / "images_best.pt"), factors.decoded.images)
    assert losses[0].startswith("the 40 images that networks see are written, not the 40 stored ones (low-rank:1)")
    for layout in ("idc", "dd-ranking", "imagefolder"):
        assert exported(layout)[1][0].startswith("the 40 images that networks see are written")
    given: dict[str, Any] = {"registry": tmp_path / "other.db", "dry_run": True}
    for layout in ("safetensors", "parquet"):
        ours, _ = exported(layout)
        assert satm.import_set(ours, format=layout, **given).synthetic.id == factors.id


@pytest.mark.parametrize("protocol", ["gdumb", "der"])
def test_a_stream_trains_on_products(protocol: str) -> None:
    how = LowRank(3)
    result = stream(protocol, memory=low_rank_memory(how), buffer=12)
    assert [step.memory_size for step in result.judged] == [6, 12, 12, 12]


def low_rank_memory(how: LowRank) -> satm.SyntheticSet:
    plain = memory()
    return replace(plain, images=how.encode(plain.images), parametrisation=how)


def test_networks_see_what_is_decoded_and_budgets_count_what_is_stored(
    grids: satm.SyntheticSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[int] = []
    train = cross_arch.train_network

    def counted(examples: Any, *arguments: Any, **options: Any) -> Any:
        seen.append(len(examples))
        return train(examples, *arguments, **options)

    monkeypatch.setattr(cross_arch, "train_network", counted)
    given: dict[str, Any] = {"repeats": 1, "learning_rate": 0.01, "registry": tmp_path / "satm.db"}
    satm.evaluate(grids.name, baseline="random", **given)
    satm.evaluate(grids.name, prefix=1, **given)
    assert seen == [80, 20, 40]  # four images of each stored one; as many real images as are stored; half of it
    assert (real_images_a_class(grids, "images"), real_images_a_class(grids, "bytes")) == (2, 8)
    assert tensor_bytes(grids) == 20 * 64 * 4


@pytest.mark.parametrize("protocol", ["gdumb", "der"])
def test_a_stream_keeps_stored_images_and_trains_on_theirs(protocol: str) -> None:
    grids = memory(parametrisation=Factor(2))
    result = stream(protocol, memory=grids, buffer=12)
    assert [step.memory_size for step in result.judged] == [6, 12, 12, 12]
    classes = [grids.decoded.hard_labels[torch.isin(grids.decoded.hard_labels, torch.tensor(g))] for g in GROUPS]
    kept = held(classes, 12, 4)[-1]
    assert len(kept) == 48
    assert torch.equal(kept.view(-1, 4), kept.view(-1, 4)[:, :1] + torch.arange(4))  # never a part of a stored image


def test_layouts_get_what_networks_see_and_ours_keep_the_grids(grids: satm.SyntheticSet, tmp_path: Path) -> None:
    def exported(layout: str) -> tuple[Path, tuple[str, ...]]:
        to = tmp_path / layout
        return to, satm.export_set(grids.name, to, format=layout, registry=tmp_path / "satm.db").losses

    plain, losses = exported("mtt")
    assert torch.equal(torch.load(plain / "images_best.pt"), grids.decoded.images)
    assert losses[0] == (
        "the 80 images that networks see are written, not the 20 stored ones (factor:2), which safetensors and "
        "parquet keep"
    )
    idc, losses = exported("idc")
    assert losses[-1] == "its factor is not carried: it takes --factor 2"
    given: dict[str, Any] = {"registry": tmp_path / "other.db", "dry_run": True}
    again = satm.import_set(idc, format="idc", dataset="digits", preprocessing="meanstd", factor=2, **given).synthetic
    assert (again.ipc, again.parametrisation) == (2, Factor(2))
    torch.testing.assert_close(again.images, grids.images, rtol=0, atol=1e-5)
    for layout in ("safetensors", "parquet"):
        ours, _ = exported(layout)
        assert satm.import_set(ours, format=layout, **given).synthetic.id == grids.id


@pytest.mark.parametrize("stored", ["grids", "factors"])
def test_a_picture_shows_what_networks_see(stored: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    synthetic = request.getfixturevalue(stored)
    image_grid(synthetic, tmp_path / "grids.png")
    image_grid(synthetic.decoded, tmp_path / "seen.png")
    one, other = (Image.open(tmp_path / name).tobytes() for name in ("grids.png", "seen.png"))
    assert one == other


def test_a_run_of_pixels_does_not_begin_from_the_state_of_grids(grids: satm.SyntheticSet, tmp_path: Path) -> None:
    settings = {"image_size": 8, "architecture": "convnet3_w4"}
    preset = satm.choose_preset("digits", ipc=2, method="random", profile="smoke", settings=settings)
    assert preset.config.decoding == PIXELS
    with Registry.open(tmp_path / "satm.db") as store:
        (run,) = store.runs(kind="condense")
        with pytest.raises(ConfigError, match=r"differs in parametrisation \('factor:2'\)"):
            find_start(run.id, preset, store)
