"""Parametrisations: decoding against a literal transcription and finite differences, and sets that carry one."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch.nn import functional as F

from registry import Registry
from satm.errors import ConfigError
from satm.exchange.about import from_text, to_text
from satm.parametrisation import PIXELS, Factor, LowRank, parametrisation_from_dict, parametrisation_of
from satm.preprocessing import MeanStd
from satm.synthetic import SyntheticSet
from tests.helpers import central_differences, normal


def transcribed(images: torch.Tensor, factor: int, padding: tuple[float, ...]) -> torch.Tensor:
    """Kim et al. 2022: cut f × f crops of each image and enlarge each; the crops of one image follow one another."""
    side = images.shape[-1]
    size = -(-side // factor)
    canvas = torch.zeros(*images.shape[:2], size * factor, size * factor, dtype=images.dtype)
    for channel, value in enumerate(padding):
        canvas[:, channel] = value
    canvas[:, :, :side, :side] = images
    found = []
    for image in canvas:
        for row in range(factor):
            for column in range(factor):
                crop = image[:, row * size : (row + 1) * size, column * size : (column + 1) * size]
                found.append(F.interpolate(crop[None], size=(side, side), mode="bilinear", align_corners=False))
    return torch.cat(found)


@pytest.mark.parametrize(
    ("factor", "side", "padding"), [(2, 4, ()), (3, 6, ()), (2, 5, ()), (3, 5, (0.5, -2.0)), (4, 4, (1.0, 1.0))]
)
def test_decoding_is_its_transcription_and_its_derivative_that_of_finite_differences(factor, side, padding):
    images, how = normal(2, 2, side, side, name="images"), Factor(factor, padding)
    seen = how.decode(images)
    torch.testing.assert_close(seen, transcribed(images, factor, padding), rtol=1e-12, atol=1e-12)
    towards = normal(*seen.shape, name="towards")
    expected = central_differences(lambda at: float((transcribed(at, factor, padding).sin() * towards).sum()), images)
    found = how.pulled_back(images, seen.cos() * towards)
    torch.testing.assert_close(found, expected, rtol=1e-7, atol=1e-8)


@pytest.mark.parametrize(("factor", "side"), [(2, 4), (3, 7)])
def test_encoding_makes_each_image_smaller_in_its_place(factor, side):
    how, flat = Factor(factor), torch.arange(2.0 * factor**2).view(-1, 1, 1, 1).expand(-1, 3, side, side)
    grids = how.encode(flat)
    assert grids.shape == (2, 3, side, side)
    corners = how.decode(grids)[..., 0, 0]  # away from the padding
    torch.testing.assert_close(corners, flat[..., 0, 0])


def products(stored: torch.Tensor, rank: int) -> torch.Tensor:
    """Yang et al. 2023, one value after another: X[i, j] = Σ_k A[i, k] B[k, j], with A[i, k] in row k and column i."""
    n, channels, _, side = stored.shape
    found = torch.zeros(n, channels, side, side, dtype=stored.dtype)
    for i in range(side):
        for j in range(side):
            for k in range(rank):
                found[:, :, i, j] += stored[:, :, k, i] * stored[:, :, rank + k, j]
    return found


@pytest.mark.parametrize(("rank", "side"), [(1, 4), (2, 3), (3, 3)])
def test_low_rank_images_are_their_products_and_the_derivative_is_that_of_finite_differences(rank, side):
    how = LowRank(rank)
    stored = normal(2, *how.stored_shape((3, side, side)), name="stored")
    seen = how.decode(stored)
    torch.testing.assert_close(seen, products(stored, rank), rtol=1e-12, atol=1e-12)
    assert how.seen_shape(tuple(stored.shape[1:])) == (3, side, side)
    towards = normal(*seen.shape, name="towards")
    expected = central_differences(lambda at: float((products(at, rank).sin() * towards).sum()), stored)
    found = how.pulled_back(stored, seen.cos() * towards)
    torch.testing.assert_close(found, expected, rtol=1e-7, atol=1e-8)


def test_encoding_gives_the_nearest_images_of_the_rank_and_exactly_the_images_at_full_rank():
    """Eckart and Young: the squared error is the sum of the squared singular values that are left out."""
    images = normal(2, 3, 6, 6, name="images")
    values = torch.linalg.svdvals(images)
    for rank in range(1, 7):
        how = LowRank(rank)
        stored = how.encode(images)
        assert stored.shape == (2, 3, 2 * rank, 6)
        error = (how.decode(stored) - images).square().sum((-2, -1))
        torch.testing.assert_close(error, values[..., rank:].square().sum(-1), rtol=1e-9, atol=1e-20)
        left, right = stored.split(rank, dim=2)  # split evenly: both factors have the same length
        torch.testing.assert_close(left.norm(dim=(-2, -1)), right.norm(dim=(-2, -1)), rtol=1e-12, atol=0)
    torch.testing.assert_close(how.decode(stored), images, rtol=1e-10, atol=1e-12)
    again = LowRank(2).decode(LowRank(2).encode(images))
    torch.testing.assert_close(LowRank(2).decode(LowRank(2).encode(again)), again, rtol=1e-9, atol=1e-10)


def test_images_of_which_no_low_rank_can_be_stored_are_refused():
    with pytest.raises(ConfigError, match="low-rank:2: images of 4 × 8 pixels, expected square ones; take pixels"):
        LowRank(2).check((3, 4, 8))
    with pytest.raises(ConfigError, match="at most the rank 8; choose at most low-rank:8"):
        LowRank(9).check((1, 8, 8))
    LowRank(8).check((1, 8, 8))
    with pytest.raises(ConfigError, match="low-rank:2: stored images have 8 rows, expected 4, twice the rank"):
        LowRank(2).seen_shape((1, 8, 8))
    with pytest.raises(ConfigError, match="rank 0: expected at least 1"):
        LowRank(0)


def test_names_are_read_and_wrong_ones_refused():
    assert parametrisation_of("factor:1") == parametrisation_of("pixels") == PIXELS
    for how in (PIXELS, Factor(3, (0.5,)), LowRank(8)):
        assert parametrisation_from_dict(how.to_dict()) == how
    for wrong in ("factor", "factor:0", "factor:2.5", "low-rank", "low-rank:0", "low-rank:-1"):
        with pytest.raises(ConfigError, match=f"'{wrong}': expected pixels, factor:N .*, or low-rank:R"):
            parametrisation_of(wrong)
    for broken in ({"name": "other"}, {"name": "factor", "factor": 2, "padding": [float("nan")]}, {"name": "low-rank"}):
        with pytest.raises(ConfigError, match="is unknown; expected that of a set of this version"):
            parametrisation_from_dict(broken)
    for shape, factor, way_out in (
        ((3, 4, 8), 5, "factor:4"),
        ((1, 8, 8), 5, "factor:4"),
        ((3, 32, 32), 9, "factor:8"),
    ):
        with pytest.raises(ConfigError, match=f"would be padding only; choose {way_out}$"):
            Factor(factor).check(shape)


@pytest.fixture
def stored() -> SyntheticSet:
    return SyntheticSet(
        images=normal(6, 1, 4, 4, name="set").float(),
        labels=torch.arange(3).repeat_interleave(2),
        step_size=0.1,
        dataset="digits",
        classes=("a", "b", "c"),
        ipc=2,
        method="mtt+factor2",
        preprocessing=MeanStd((0.0,), (1.0,)),
        parametrisation=Factor(2),
        profile="smoke",
        seed=0,
    )


def test_a_set_trains_networks_on_what_it_decodes_to_and_stores_the_rest(stored, tmp_path: Path):
    seen = stored.decoded
    assert (len(stored), len(stored.images), stored.ipc, seen.ipc) == (24, 6, 2, 8)
    assert torch.equal(seen.images, Factor(2).decode(stored.images))
    assert seen.hard_labels.tolist() == [0] * 8 + [1] * 8 + [2] * 8
    images, targets = stored.batch(torch.tensor([3, 20]))
    assert torch.equal(images, seen.images[[3, 20]])
    assert targets.tolist() == [0, 2]
    assert torch.equal(stored[23][0], seen.images[23])
    assert torch.equal(stored.prefix(1).decoded.images, seen.prefix(4).images)
    assert seen.decoded is seen

    whole = replace(stored, parametrisation=PIXELS)
    assert "parametrisation" not in whole.describe()
    assert len({whole.id, stored.id, replace(stored, parametrisation=Factor(4)).id}) == 3
    with Registry.open(tmp_path / "satm.db") as registry:
        record = registry.add_set(stored, run=None)
        again = registry.load(record.name)
    assert (record.images, again.parametrisation, again.id) == (6, Factor(2), stored.id)
    carried = from_text(to_text(stored), stored.images, stored.labels, "file")
    assert carried.parametrisation == Factor(2)
