"""Images of every kind become the right 8-bit pixels, or are refused by name."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from satm.data import load
from satm.data.pixels import Seen, Tally, rgb_of
from satm.errors import DataError
from tests.satm.data.files import CIFAR10, image_folder, picture

SIDE = 6


def deep(seed: int, low: int = 300, high: int = 65535) -> np.ndarray:
    return np.random.default_rng(seed).integers(low, high + 1, (SIDE, SIDE)).astype(np.uint16)


def folder_of(root: Path, image: Image.Image, suffix: str, name: str = "mine", **options) -> Path:
    """Two classes of pictures; `image` is the first of class a in train."""
    folder = image_folder(root / name, ["a", "b"])
    (folder / "train" / "a" / "0.png").unlink()
    image.save(folder / "train" / "a" / f"0{suffix}", **options)
    return folder


def first(root: Path, name: str = "mine", **options) -> torch.Tensor:
    return load(name, root=root, validation=0, **options).train.images[0]


def big_endian(values: np.ndarray) -> Image.Image:
    return Image.frombytes("I;16B", (SIDE, SIDE), values.astype(">u2").tobytes())


@pytest.mark.parametrize(
    ("suffix", "make"), [(".png", Image.fromarray), (".tif", Image.fromarray), (".tiff", big_endian), (".pgm", None)]
)
def test_16_bit_grey_is_scaled_to_8_bits(root, suffix, make):
    values = deep(0)
    values[0, :4] = 0, 128, 129, 65535
    folder = folder_of(root, Image.new("L", (SIDE, SIDE)), ".bmp")
    (folder / "train" / "a" / "0.bmp").unlink()
    if make is None:
        raw = f"P5 {SIDE} {SIDE} 65535\n".encode() + values.astype(">u2").tobytes()
        (folder / "train" / "a" / "0.pgm").write_bytes(raw)
    else:
        make(values).save(folder / "train" / "a" / f"0{suffix}")
    pixels = first(root)
    assert torch.equal(pixels[0], torch.from_numpy(np.rint(values / 257).astype(np.uint8)))
    assert pixels[0, 0, :4].tolist() == [0, 0, 1, 255]
    assert torch.equal(pixels[0], pixels[2])


def test_a_data_set_of_16_bit_images_is_grey(root):
    for part in ("train", "test"):
        for seed, name in enumerate("ab"):
            (root / "mine" / part / name).mkdir(parents=True)
            Image.fromarray(deep(seed)).save(root / "mine" / part / name / "0.png")
            big_endian(deep(seed + 9)).save(root / "mine" / part / name / "1.tif")
    assert load("mine", root=root, validation=0).image_shape == (1, SIDE, SIDE)


def test_12_bit_values_in_16_bit_files_are_refused(root):
    for part in ("train", "test"):
        for seed, name in enumerate("ab"):
            (root / "mine" / part / name).mkdir(parents=True)
            Image.fromarray(deep(seed, 0, 4000 + seed)).save(root / "mine" / part / name / "0.png")
    with pytest.raises(
        DataError, match=r"16-bit images reach 39[0-9]+ of 65535, so 8 bits keep only 16 .*stretch them"
    ):
        load("mine", root=root, validation=0)


@pytest.mark.parametrize("kind", [np.float32, np.int32])
def test_pixels_without_a_stated_range_are_refused_by_name(root, kind):
    folder_of(root, Image.fromarray(np.arange(36).reshape(SIDE, SIDE).astype(kind)), ".tif")
    with pytest.raises(
        DataError, match=r"train/a/0.tif cannot be decoded \(its pixels are .*save it with 8 or 16 bits"
    ):
        load("mine", root=root, validation=0)


@pytest.mark.parametrize("mode", ["RGBA", "LA", "PA"])
def test_transparent_images_are_laid_on_white(root, said, mode):
    image = Image.new("RGBA", (SIDE, SIDE), (100, 100, 100, 255))
    image.putpixel((0, 0), (0, 0, 0, 0))
    image.putpixel((1, 0), (0, 0, 0, 51))
    suffix = ".tif" if mode == "PA" else ".png"
    try:
        folder_of(root, image.convert(mode), suffix)
    except (OSError, ValueError) as error:
        pytest.skip(f"Pillow does not write this mode: {error}")
    pixels = first(root)
    assert pixels[:, 0, 0].tolist() == [255] * 3
    assert abs(int(pixels[0, 0, 1]) - 204) <= 1
    assert pixels[:, 3, 3].tolist() == [100] * 3
    assert any("1 images are transparent in places: laid on white" in line for line in said)


def test_a_transparent_colour_of_a_palette_or_grey_png_is_white(root):
    palette = Image.new("P", (SIDE, SIDE), 0)
    palette.putpalette([100, 100, 100] * 4)
    for name, image, clear in (
        ("grey", Image.new("L", (SIDE, SIDE), 100), 7),
        ("wide", Image.fromarray(np.full((SIDE, SIDE), 25700, np.uint16)), 7),
        ("palette", palette, 3),
    ):
        image.putpixel((0, 0), clear)
        folder_of(root, image, ".png", name, transparency=clear)
        pixels = first(root, name)
        assert pixels[:, 0, 0].tolist() == [255] * 3, name
        assert pixels[:, 2, 2].tolist() == [100] * 3, name


def test_opaque_alpha_changes_nothing_and_nothing_is_said(root, said):
    image = picture(3)
    folder_of(root, image.convert("RGBA"), ".png")
    assert torch.equal(first(root), torch.from_numpy(np.array(image)).permute(2, 0, 1))
    assert said == []


@pytest.mark.parametrize("orientation", range(1, 9))
def test_own_images_are_turned_upright(root, said, orientation):
    upright = picture(5)
    back = {2: 0, 3: 3, 4: 1, 5: 5, 6: 2, 7: 6, 8: 4}  # the transposition that undoes each orientation's
    stored = upright if orientation == 1 else upright.transpose(Image.Transpose(back[orientation]))
    exif = Image.Exif()
    exif[0x0112] = orientation
    folder_of(root, stored, ".png", exif=exif)
    assert torch.equal(first(root), torch.from_numpy(np.array(upright)).permute(2, 0, 1))
    assert any("turned upright" in line for line in said) == (orientation != 1)


def test_images_of_the_catalogue_are_read_as_published_code_reads_them(root):
    exif = Image.Exif()
    exif[0x0112] = 3
    folder = image_folder(root / "cifar10", CIFAR10, size=32)
    stored = picture(5, (32, 32))
    stored.save(folder / "train" / "airplane" / "0.png", exif=exif)
    assert torch.equal(first(root, "cifar10"), torch.from_numpy(np.array(stored)).permute(2, 0, 1))


def test_damaged_exif_data_change_nothing(root):
    folder_of(root, picture(5), ".png", exif=b"Exif\x00\x00MM\x00*" + struct.pack(">I", 2**31))
    assert torch.equal(first(root), torch.from_numpy(np.array(picture(5))).permute(2, 0, 1))


def test_the_first_of_several_frames_is_taken_and_that_is_said(root, said):
    folder_of(root, picture(1), ".tif", save_all=True, append_images=[picture(2)])
    assert torch.equal(first(root), torch.from_numpy(np.array(picture(1))).permute(2, 0, 1))
    assert any("1 images have several frames: the first is taken" in line for line in said)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda image, part, name: Image.new("RGB", image.size, "white"), "every pixel of its training images is 255"),
        (
            lambda image, part, name: Image.new("RGB", image.size, "red") if name == "b" and part == "train" else image,
            "every pixel of the 3 images of class 'b' has one colour",
        ),
        (
            lambda image, part, name: Image.merge("RGB", [*image.split()[:2], Image.new("L", image.size, 7)]),
            "blue channel is 7",
        ),
        (
            lambda image, part, name: Image.new("RGB", image.size, "black") if part == "test" else image,
            "every pixel of its test images is 0",
        ),
    ],
)
def test_images_without_variation_are_refused(root, change, message):
    folder = image_folder(root / "mine", ["a", "b"])
    for file in folder.rglob("*.png"):
        with Image.open(file) as image:
            changed = change(image.convert("RGB"), file.parent.parent.name, file.parent.name)
        changed.save(file)
    with pytest.raises(DataError, match=message):
        load("mine", root=root, validation=0)


def test_one_class_is_refused_in_its_own_words(root):
    image_folder(root / "mine", ["a"])
    with pytest.raises(DataError, match=r"'mine' has one class, 'a'; .* add another"):
        load("mine", root=root)


@pytest.mark.parametrize(("brightest", "refused"), [(31 * 257 - 129, True), (31 * 257 - 128, False)])
def test_the_levels_that_8_bits_keep_are_counted_as_they_are_made(brightest, refused):
    # round(v / 257) is 31 from 31·257 − 128 on: with 0 that is 32 levels.
    tally = Tally.of([Seen(size=(1, 1), grey=True, transparent=False, turned=False, frames=False, brightest=brightest)])
    if not refused:
        tally.check_levels("here")
        return
    with pytest.raises(DataError, match="8 bits keep only 31 of their grey levels"):
        tally.check_levels("here")


def test_a_16_bit_value_that_is_transparent_becomes_white_and_is_noted(tmp_path):
    values = np.full((SIDE, SIDE), 25_700, np.uint16)
    values[0, 0] = 7
    Image.fromarray(values).save(tmp_path / "x.png", transparency=7)
    with Image.open(tmp_path / "x.png") as image:
        made, seen = rgb_of(image, upright=True)
    assert made.getpixel((0, 0)) == (255, 255, 255)
    assert made.getpixel((1, 0)) == (100, 100, 100)
    assert seen.transparent
