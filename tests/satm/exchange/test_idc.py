"""IDC's data.pt: read, cut by its factor, and refused when it is another file."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch.nn import functional as F

from satm.data import load
from satm.errors import ConfigError, DataError
from satm.exchange.idc import cut, read_idc
from satm.preprocessing import unit_range
from satm.workflow.exchange.importing import Imported, import_set


def written(folder: Path, side: int = 4) -> Path:
    images = torch.rand(4, 3, side, side, generator=torch.Generator().manual_seed(0))
    torch.save([images, torch.tensor([0, 0, 1, 1])], folder / "data.pt")
    return folder


def test_a_folder_or_a_file_is_read_as_pixels(tmp_path: Path) -> None:
    whole = read_idc(written(tmp_path))
    assert whole.pixels
    assert torch.equal(whole.images, read_idc(tmp_path / "data.pt").images)


def test_a_factor_cuts_images_line_by_line(tmp_path: Path) -> None:
    whole = read_idc(written(tmp_path))
    found = cut(whole, 2)
    assert found.labels is not None
    assert found.labels.tolist() == [0] * 8 + [1] * 8
    # Images 2 and 3 are of class 1. Each gives four pieces, the upper right one second.
    piece = whole.images[2:4, :, 0:2, 2:4]
    corners = found.images[[9, 13]][..., [0, 0, -1, -1], [0, -1, 0, -1]]
    assert torch.allclose(corners, piece.flatten(2), atol=1e-6)


def test_sides_that_do_not_divide_are_padded_with_grey(tmp_path: Path) -> None:
    found = cut(read_idc(written(tmp_path, side=5)), 2)
    assert found.images.shape == (16, 3, 5, 5)
    assert found.images[3, 0, -1, -1] == 0.5


@pytest.mark.parametrize("factor", [0, 1, 5])
def test_factors_outside_the_image_are_refused(tmp_path: Path, factor: int) -> None:
    with pytest.raises(ConfigError, match=f"factor {factor}: expected 2 to 4"):
        cut(read_idc(written(tmp_path)), factor)


def test_soft_labels_and_other_files_are_refused(tmp_path: Path) -> None:
    soft = replace(read_idc(written(tmp_path)), labels=torch.eye(4))
    with pytest.raises(DataError, match="one class each"):
        cut(soft, 2)
    torch.save({"images": torch.zeros(1)}, tmp_path / "data.pt")
    with pytest.raises(DataError, match=r"does not hold \[images, labels\]"):
        read_idc(tmp_path)


@pytest.mark.parametrize("space", ["none", "meanstd", "zca"])
@pytest.mark.parametrize(("ipc", "factor"), [(1, 2), (10, 3)])
def test_a_true_factor_set_is_taken(tmp_path: Path, ipc: int, factor: int, space: str) -> None:
    """Real digits, made smaller and laid side by side, as IDC stores what it learns."""
    data = load("digits")
    pixels, side = unit_range(data.train.images), data.train.images.shape[-1]
    length, count = -(-side // factor), ipc * factor**2
    real = torch.cat([pixels[data.train.labels == label][:count] for label in range(10)])
    small = F.interpolate(real, size=(length, length), mode="area").view(10 * ipc, factor, factor, length, length)
    grids = small.transpose(2, 3).reshape(10 * ipc, 1, factor * length, factor * length)[..., :side, :side]
    labels = torch.arange(10).repeat_interleave(ipc)

    def imported(images: torch.Tensor) -> Imported:
        torch.save([images, labels], tmp_path / "data.pt")
        return import_set(tmp_path, format="idc", dataset="digits", preprocessing=space, factor=factor, dry_run=True)

    made = imported(grids).synthetic
    assert (made.decoded.ipc, made.decoded.images.shape[1:]) == (count, (1, side, side))
    assert made.ipc == (count if space == "zca" else ipc)  # whitened grids are no grids of whitened images
    pieces = cut(read_idc(tmp_path / "data.pt"), factor).images
    torch.testing.assert_close(made.decoded.images, made.preprocessing(pieces), rtol=1e-4, atol=1e-4)
    for wrong in (255 * grids, (grids - 0.3) / 0.05):
        with pytest.raises(DataError, match=r"the images are no pixels in 0\.\.1: \d+% of their values"):
            imported(wrong)
