"""Files that are no images of a class are passed over and counted; folders of other sizes say what to do."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
import torch

from satm.data import load
from satm.data.size import native_image_size
from satm.errors import DataError, UnknownName
from tests.satm.data.files import encoded, image_folder, picture, write_parquet


def clutter(folder: Path) -> None:
    a = folder / "train" / "a"
    shutil.copytree(a, folder / "train" / ".ipynb_checkpoints")
    shutil.copytree(folder / "train" / "b", folder / "train" / "__MACOSX" / "b")
    shutil.copytree(a, folder / "train" / "@eaDir")
    for path in (a / ".DS_Store", a / "._0.png", a / "Thumbs.db", folder / "train" / ".DS_Store"):
        path.write_bytes(b"\0\5\x16\7")


def test_what_systems_and_programs_leave_is_passed_over_and_counted(root, said):
    folder = image_folder(root / "mine", ["a", "b"])
    before = load("mine", root=root).fingerprint
    clutter(folder)
    data = load("mine", root=root)
    assert (data.fingerprint, data.classes) == (before, ("a", "b"))
    (line,) = said
    assert line.startswith(f"passed over in {folder}: 7 hidden or put there by a program (train/.DS_Store)")


def test_other_types_broken_links_and_strays_are_named_with_their_number(root, said):
    folder = image_folder(root / "mine", ["a", "b"])
    a = folder / "train" / "a"
    for name in ("7.gif", "8.gif", "9.avif", "notes"):
        (a / name).write_bytes(b"x")
    (a / "5.png").symlink_to("/nowhere/5.png")
    (a / "more").symlink_to(folder / "train" / "b")
    os.mkfifo(a / "6.png")
    picture(1).save(folder / "train" / "0.png")
    assert len(load("mine", root=root, validation=0).train) == 6
    (line,) = said
    for part in (
        "2 of type .gif (train/a/7.gif)",
        "1 of type .avif",
        "1 without an extension (train/a/notes)",
        "1 broken links (train/a/5.png)",
        "1 links to folders (train/a/more)",
        "1 that are no files, or may not be read (train/a/6.png)",
        "1 outside a class folder (train/0.png)",
    ):
        assert part in line


def test_a_class_whose_links_are_all_broken_is_named(root):
    folder = image_folder(root / "mine", ["a", "b"])
    for place in (folder / "train" / "a").iterdir():
        place.unlink()
        place.symlink_to("/nowhere/x.png")
    with pytest.raises(DataError, match=r"train: no image of class 0 \('a'\)"):
        load("mine", root=root)


def test_images_in_folders_below_a_class_and_behind_links_are_read(root, said):
    folder = image_folder(root / "mine", ["a", "b"])
    (folder / "train" / "a" / "deep" / "er").mkdir(parents=True)
    picture(1).save(folder / "train" / "a" / "deep" / "er" / "x.jfif", "JPEG")
    (folder / "elsewhere").mkdir()
    picture(2).save(folder / "elsewhere" / "y.png")
    (folder / "train" / "b" / "y.png").symlink_to(folder / "elsewhere" / "y.png")
    (folder / "train" / "a").rename(folder / "elsewhere" / "a")
    (folder / "train" / "a").symlink_to(folder / "elsewhere" / "a")
    assert load("mine", root=root, validation=0).train.labels.tolist() == [0] * 4 + [1] * 4
    assert said == []


def test_a_file_name_that_is_not_utf_8_is_read(root):
    folder = image_folder(root / "mine", ["a", "b"])
    os.rename(folder / "train" / "a" / "0.png", os.fsencode(folder / "train" / "a") + b"/caf\xe9.png")
    assert len(load("mine", root=root, validation=0).train) == 6


def test_a_class_name_that_is_not_utf_8_is_refused(root):
    folder = image_folder(root / "mine", ["a", "b"])
    os.rename(folder / "train" / "a", os.fsencode(folder / "train") + b"/caf\xe9")
    with pytest.raises(DataError, match="class folder 'caf\ufffd', whose name is not in UTF-8; rename it"):
        load("mine", root=root)


def test_an_unknown_folder_in_test_is_named(root):
    folder = image_folder(root / "mine", ["a", "b"])
    (folder / "test" / "c").mkdir()
    with pytest.raises(DataError, match=r"no test images of its classes; .*test has the folder c, which train has not"):
        load("mine", root=root)


def test_mixed_sizes_are_found_wherever_they_are(root, said):
    folder = image_folder(root / "mine", ["a", "b"])
    picture(1, (9, 8)).save(folder / "test" / "b" / "0.png")
    message = r"several sizes: 7 of 6×6 \(.*train/a/0.png\), 1 of 9×8 \(.*test/b/0.png\); give --set image_size=6"
    with pytest.raises(DataError, match=message):
        native_image_size("mine", root=root)
    with pytest.raises(DataError, match=message):
        load("mine", root=root)
    assert load("mine", root=root, image_size=6).image_shape == (3, 6, 6)
    assert said == [
        "mine: 1 of 8 images are not 6×6 pixels (6×6 to 9×8): cropped to the square in their middle, resized to 6×6"
    ]


def test_it_is_said_if_all_images_have_one_other_size(root, said):
    image_folder(root / "mine", ["a", "b"])
    load("mine", root=root, image_size=4)
    assert said == ["mine: none of 8 images is 4×4 pixels (6×6): cropped to the square in their middle, resized to 4×4"]


def test_images_that_are_not_square_say_how_to_use_them(root):
    image_folder(root / "mine", ["a", "b"])
    for file in (root / "mine").rglob("*.png"):
        picture(len(str(file)), (10, 6)).save(file)
    with pytest.raises(DataError, match=r"all other images are 10×6 pixels, not square; give --set image_size=6"):
        native_image_size("mine", root=root)


def test_mixed_sizes_in_parquet(root):
    for part in ("train", "test"):
        images = [encoded(picture(row, (5, 5) if row == 3 else (6, 6))) for row in range(4)]
        write_parquet(root / "mine" / f"{part}-0.parquet", images, [0, 1, 0, 1])
    with pytest.raises(DataError, match=r"6 of 6×6 .*, 2 of 5×5 \(.*train-0.parquet, row 3\)"):
        native_image_size("mine", root=root)


def test_a_name_that_is_a_folder_here_says_how_to_name_it(root, tmp_path, monkeypatch):
    image_folder(tmp_path / "pets", ["a", "b"])
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UnknownName, match=r"'pets': .*\(./pets is a folder here: say ./pets\)"):
        load("pets", root=root)
    assert torch.is_tensor(load("./pets").train.images)


def test_a_folder_of_no_known_layout_says_what_it_holds(root):
    for name in ("Train", "Test", ".git"):
        (root / "mine" / name).mkdir(parents=True)
    with pytest.raises(DataError, match=r"no data set that can be read \(it holds Test, Train\)"):
        load("mine", root=root)
