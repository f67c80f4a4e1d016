"""What would not fit in memory is refused with its size before it is allocated."""

from __future__ import annotations

import pytest

from satm.data import load
from satm.errors import DataError
from satm.machine.ram import free_memory, total_memory
from tests.satm.data.files import image_folder, png


def test_free_memory_is_some_of_all_memory():
    import torch

    assert 0 < free_memory() <= total_memory(torch.device("cpu"))


def test_a_whitening_that_does_not_fit_is_refused(root):
    image_folder(root / "mine", ["a", "b"])
    with pytest.raises(DataError, match=r"fitting ZCA on 3×512×512 .* takes 29,\d+.* GB .*--set zca=false"):
        load("mine", root=root, image_size=512, zca=True)


def test_images_that_do_not_fit_are_refused():
    with pytest.raises(DataError, match=r"1797 images of 60000×60000 pixels takes 6,469.* GB .*smaller image_size"):
        load("digits", image_size=60_000)


def test_decoding_that_does_not_fit_is_refused(root):
    image_folder(root / "mine", ["a", "b"])
    with pytest.raises(DataError, match=r"mine: 8 images of 300000×300000 pixels takes 2,160.0 GB"):
        load("mine", root=root, image_size=300_000)


def test_an_image_that_claims_a_bomb_s_size_is_refused_at_any_image_size(root):
    folder = image_folder(root / "mine", ["a", "b"])
    (folder / "train" / "b" / "0.png").write_bytes(png(13_000))
    with pytest.raises(DataError, match=r"train/b/0.png is 13000×13000 pixels; .*decompression bomb; shrink"):
        load("mine", root=root, image_size=6)
