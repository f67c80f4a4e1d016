"""Which space images lie in: right claims are accepted and wrong ones refused, though the images have grown."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

import satm
from satm import export_set, import_set
from satm.data import load
from satm.errors import DataError
from satm.exchange import ImportConfig
from satm.exchange.likeness import NOISES, Directions, SpaceModel, better_space
from satm.preprocessing import unit_range
from satm.progress import SILENT
from satm.rng import Seed
from satm.types import Images
from satm.workflow.exchange.reference import Reference

GROWTHS = (1, 2, 3, 5, 10)


class Judge:
    """The models of one data set, and its test images in every space."""

    def __init__(self, name: str) -> None:
        plain, white = load(name), load(name, zca=True)
        config = ImportConfig(
            dataset=name,
            ipc=1,
            image_size=plain.image_shape[-1],
            space="meanstd",
            architecture="convnet3",
            format="mtt",
        )
        spaces = Reference.find(config, None, SILENT).spaces(plain.preprocessing)
        assert spaces is not None
        self.directions, self.models = spaces
        self.test = plain.test
        self.into: dict[str, Callable[[Images], Images]] = {
            "none": unit_range,
            "bytes": lambda images: 255 * unit_range(images),
            "meanstd": plain.preprocessing,
            "zca": white.preprocessing,
        }

    def best(self, images: Images, claimed: str) -> str:
        """The space that a claim is refused for, or the claim itself."""
        found = better_space(images, claimed, self.models, self.directions)
        return claimed if found is None else found[0]

    def draws(self, ipc: int, count: int) -> list[Images]:
        """Test images in 0..255, `ipc` of each class."""
        found = []
        for draw in range(count):
            generator = Seed(0).child("draw", ipc, draw).generator()
            rows = [(self.test.labels == label).nonzero()[:, 0] for label in range(10)]
            chosen = [row[torch.randperm(len(row), generator=generator)[:ipc]] for row in rows]
            found.append(self.test.images[torch.cat(chosen)])
        return found

    def check_every_pair(self, draws: int) -> None:
        """Every right claim is accepted, and every wrong one refused for the right space."""
        for ipc in (1, 10):
            for pixels in self.draws(ipc, draws):
                for space, into in self.into.items():
                    for growth in GROWTHS if space != "bytes" else (1,):
                        for claimed in ("none", "meanstd", "zca"):
                            found = self.best(growth * into(pixels), claimed)
                            assert found == space, f"{space} × {growth}, IPC {ipc}, claimed to be {claimed}: {found}"


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Judge:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SATM_HOME", str(tmp_path_factory.mktemp("home")))
        return Judge("digits")


def test_grown_digits_are_told_apart_in_every_pair_of_spaces(digits: Judge) -> None:
    digits.check_every_pair(draws=5)


@pytest.mark.slow
@pytest.mark.usefixtures("real_data")
def test_grown_cifar10_images_are_told_apart_in_every_pair_of_spaces() -> None:
    Judge("cifar10").check_every_pair(draws=5)


def test_images_learned_under_strong_noise_keep_the_space_they_started_in(digits: Judge) -> None:
    """White noise of up to twice the length of the images, as of learning, refuses no right claim."""
    for pixels in digits.draws(1, 5):
        for space in ("none", "meanstd", "zca"):
            images = digits.into[space](pixels)
            noise = torch.randn(images.shape, generator=Seed(0).child("noise").generator())
            for ratio in (0.5, 1, 2):
                assert digits.best(images + ratio * images.std() * noise, space) == space


def test_noise_without_structure_is_refused_in_no_space(digits: Judge) -> None:
    noise = torch.randn(10, 1, 8, 8, generator=Seed(0).child("noise").generator())
    for claimed in ("none", "meanstd", "zca"):
        assert digits.best(noise, claimed) == claimed


def test_the_fit_is_the_likelihood_written_out() -> None:
    """Two directions and the rest are three bands of equal weight; without a choice of g and σ it is one number."""
    directions = Directions(torch.eye(4)[:, :2])
    model = SpaceModel(
        mean=torch.tensor([1.0, 0.0]).double(), variance=torch.tensor([4.0, 1.0]).double(), rest=0.5, std=1.0
    )
    images = torch.tensor([[3.0, 1.0, 1.0, 0.0], [1.0, -1.0, 0.0, 1.0]]).view(2, 1, 2, 2)
    shown = directions.project(images)
    assert shown.coordinates.tolist() == [[3, 1], [1, -1]]
    assert shown.rest == pytest.approx(0.5)
    at = []
    for noise in NOISES:
        white = noise**2 + 1e-4
        v = torch.tensor([4 * 4 + white, 4 * 1 + white, 4 * 0.5 + white]).double()
        d2 = torch.tensor([((3 - 2) ** 2 + (1 - 2) ** 2) / 2, 1.0, 0.5]).double()
        at.append(-0.5 * float((v.log() + d2 / v).mean()))
    assert model.fit(shown, directions, growths=(2.0,)) == pytest.approx(max(at))


def test_whitened_moments_follow_from_those_of_pixels(digits: Judge) -> None:
    data = load("digits", zca=True)
    white = SpaceModel.of(digits.directions.project(data.preprocessing(data.train.images)))
    model = digits.models["zca"]
    assert float((white.variance / model.variance).log().abs().max()) < 0.6  # another half of the images
    assert model.std == pytest.approx(white.std, rel=0.1)


@pytest.mark.parametrize("zca", [False, True])
@pytest.mark.parametrize("method", ["mtt", "satm"])
def test_learned_sets_come_back_under_their_own_space_only(method: str, zca: bool, tmp_path: Path) -> None:
    """The images leave the suite in MTT's layout, which does not say their space, after growing a little."""
    registry = tmp_path / "satm.db"
    settings = {"zca": zca, "lr_images": 30.0, "outer_steps": 10}
    preset = satm.choose_preset("digits", ipc=1, method=method, profile="smoke", settings=settings)
    made = satm.condense(preset, registry=registry)
    export_set(made.record.name, tmp_path / "out", format="mtt", registry=registry)
    claim = {"format": "mtt", "dataset": "digits", "dry_run": True, "registry": registry}
    right, wrong = ("zca", "meanstd") if zca else ("meanstd", "zca")
    import_set(tmp_path / "out", preprocessing=right, **claim)
    for space in (wrong, "none"):
        with pytest.raises(DataError, match=f"do not fit --preprocessing {space}"):
            import_set(tmp_path / "out", preprocessing=space, **claim)
