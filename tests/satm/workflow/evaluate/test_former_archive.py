"""Sets that version 0.1 made of fast.ai's archive under ImageNet's name are still evaluated on those images."""

from __future__ import annotations

from pathlib import Path

import pytest

import satm
from satm.config import override
from satm.data import CATALOGUE, load
from satm.errors import DataError
from satm.presets import CondenseConfig
from satm.progress import NoProgress
from satm.synthetic import SyntheticSet
from satm.workflow.evaluate.prepared import check_fits, load_prepared
from tests.satm.data.files import image_folder

IDS = sorted(wnid for _, wnid, _ in CATALOGUE.get("imagewoof").subset)


class Heard(NoProgress):
    def __init__(self) -> None:
        self.lines: list[str] = []

    def say(self, message: str) -> None:
        self.lines.append(message)


@pytest.fixture
def former(tmp_path: Path) -> SyntheticSet:
    """A set of `imagewoof` that was made from the images of the archive `imagewoof2`."""
    image_folder(tmp_path / "imagewoof2", IDS)
    preset = satm.choose_preset("imagewoof", ipc=1, method="random", profile="smoke", data_root=tmp_path)
    values = override(preset.config.to_dict(), {"image_size": 8, "zca": False})
    config = CondenseConfig.from_dict(values)
    data = load("imagewoof2", root=tmp_path, image_size=8)
    return SyntheticSet(
        images=data.train.batch(data.train.labels.argsort()[::2])[0],
        labels=data.train.labels.sort().values[::2],
        step_size=None,
        dataset="imagewoof",
        classes=data.classes,
        ipc=1,
        method="random",
        preprocessing=data.preprocessing,
        profile="smoke",
        seed=0,
        config={"condense": config.to_dict()},
        parents=(f"data:{data.fingerprint}",),
    )


def test_the_archive_is_read_and_the_user_is_told(former: SyntheticSet, tmp_path: Path) -> None:
    for _ in range(2):  # without ImageNet, and with it
        heard = Heard()
        data = load_prepared(former, data_root=tmp_path, progress=heard)
        check_fits(former, data)
        assert data.name == "imagewoof"
        assert any("says imagewoof; the images read for it are imagewoof2's" in line for line in heard.lines)
        image_folder(tmp_path / "imagenet-1k", IDS, per_class=2)


def test_without_the_archive_the_other_images_are_refused(former: SyntheticSet, tmp_path: Path) -> None:
    image_folder(tmp_path / "new" / "imagenet-1k", IDS, per_class=2)
    data = load_prepared(former, data_root=tmp_path / "new")
    with pytest.raises(DataError, match="are not the ones"):
        check_fits(former, data)
