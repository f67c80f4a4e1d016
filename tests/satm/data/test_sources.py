"""Every layout of real images, and the errors if one is incomplete or damaged."""

from __future__ import annotations

import io
import json
import os
import shutil

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image, ImageOps

from satm.data import CATALOGUE, load
from satm.errors import DataError, Interrupted
from satm.kept import opened
from satm.progress import NoProgress
from tests.satm.data.files import (
    CIFAR10,
    cifar10_files,
    encoded,
    image_folder,
    parquet_set,
    picture,
    png,
    write_parquet,
)


def pixels(image: Image.Image) -> torch.Tensor:
    return torch.from_numpy(np.array(image.convert("RGB"))).permute(2, 0, 1)


def loaded(root, name="mine", **options):
    return load(name, root=root, validation=0, **options)


# Parquet


def test_parquet_keeps_order_pixels_labels_and_names(root):
    parquet_set(root / "mine", per_class=5)
    data = loaded(root)
    assert data.classes == ("a", "b")
    assert data.image_shape == (3, 6, 6)
    assert data.train.labels.tolist() == [0, 1] * 5
    for row, image in enumerate(data.train.images):
        assert torch.equal(image, pixels(picture(row)))
    assert torch.equal(data.test.images[1], pixels(picture(1001)))
    assert data.root == str(root)


@pytest.mark.parametrize("test", ["test", "valid", "validation", "val"])
@pytest.mark.parametrize("below", ["", "data"])
def test_parquet_split_names_and_data_folder(root, test, below):
    parquet_set(root / "mine" / below, test=test)
    assert len(loaded(root).test) == 2


@pytest.mark.parametrize("label", ["label", "labels", "fine_label"])
def test_label_column_by_name_and_plain_binary_images(root, label):
    for part in ("train", "test"):
        images = [encoded(picture(0)), encoded(picture(1))]
        write_parquet(root / "mine" / f"{part}-0.parquet", images, [1, 0], label=label, plain=True)
    data = loaded(root)
    assert data.train.labels.tolist() == [1, 0]
    assert data.classes == ("0", "1")
    assert torch.equal(data.train.images[1], pixels(picture(1)))


def test_hugging_face_class_names_and_unlabelled_test_passed_over(root):
    features = {"label": {"names": ["yes", "no"], "_type": "ClassLabel"}, "img": {"_type": "Image"}}
    metadata = {"huggingface": json.dumps({"info": {"features": features}})}
    images = [encoded(picture(0)), encoded(picture(1))]
    write_parquet(root / "mine" / "train-0.parquet", images, [0, 1], metadata=metadata)
    write_parquet(root / "mine" / "test-0.parquet", images, [-1, -1], metadata=metadata)
    write_parquet(root / "mine" / "validation-0.parquet", images, [1, 0], metadata=metadata)
    data = loaded(root)
    assert data.classes == ("yes", "no")
    assert data.test.labels.tolist() == [1, 0]


def test_several_shards_are_read_in_order_and_all_must_be_there(root):
    parquet_set(root / "mine")
    (root / "mine" / "train-00000-of-00001.parquet").unlink()
    for shard in range(3):
        images = [encoded(picture(10 * shard + row)) for row in range(4)]
        write_parquet(root / "mine" / f"train-0000{shard}-of-00003.parquet", images, [0, 1, 0, 1])
    data = loaded(root)
    assert torch.equal(data.train.images[9], pixels(picture(21)))
    (root / "mine" / "train-00001-of-00003.parquet").unlink()
    with pytest.raises(DataError, match="holds 2 of 3 files"):
        loaded(root)


def test_grey_images_become_rgb_among_colour_ones_and_stay_grey_alone(root):
    colour, grey = picture(0), picture(1, mode="L")
    for name, images in {"mixed": [colour, grey], "grey": [grey, grey]}.items():
        for part in ("train", "test"):
            write_parquet(root / name / f"{part}-0.parquet", [encoded(image) for image in images], [0, 1])
    mixed, alone = loaded(root, "mixed"), loaded(root, "grey")
    assert torch.equal(mixed.train.images[1], pixels(grey))
    assert alone.image_shape == (1, 6, 6)
    assert torch.equal(alone.train.images[0], pixels(grey)[:1])


def test_jpeg_decodes_as_pillow_does(root):
    data = encoded(picture(0, (16, 16)), "JPEG")
    for part in ("train", "test"):
        write_parquet(root / "mine" / f"{part}-0.parquet", [data, encoded(picture(1, (16, 16)))], [0, 1])
    assert torch.equal(loaded(root).train.images[0], pixels(Image.open(io.BytesIO(data))))


def test_second_load_reads_the_cache_and_changed_files_do_not(root, monkeypatch):
    folder = parquet_set(root / "mine")
    first = loaded(root)
    with monkeypatch.context() as patch:
        patch.setattr("satm.data.read.decode", None)  # decoding again would call it
        second = loaded(root)
    assert torch.equal(first.train.images, second.train.images)
    assert (first.fingerprint, first.classes) == (second.fingerprint, second.classes)
    shutil.rmtree(folder)
    parquet_set(folder, per_class=6)
    assert len(loaded(root).train) == 12


class Listening(NoProgress):
    def __init__(self):
        self.said = []

    def say(self, message):
        self.said.append(message)


@pytest.mark.parametrize("damage", [lambda content: content[:100], lambda content: content[:-2] + b"12"])
def test_damaged_cache_is_made_again_and_it_says_so(root, tmp_path, damage):
    parquet_set(root / "mine")
    first = loaded(root)
    (file,) = (tmp_path / "home" / "data").iterdir()
    file.write_bytes(damage(file.read_bytes()))
    listening = Listening()
    assert loaded(root, progress=listening).fingerprint == first.fingerprint
    assert "is damaged" in listening.said[0]
    assert "decoding the images again" in listening.said[0]
    with opened(file) as kept:
        kept.check()


def same_stats(folder, other):
    """Write pictures with the names, sizes and times of those in `other`, as an unpacked archive has them."""
    for path in other.rglob("*.bmp"):
        place = folder / path.relative_to(other)
        place.parent.mkdir(parents=True, exist_ok=True)
        picture(1 + int.from_bytes(str(place).encode(), "big") % 1000).save(place)
        stat = path.stat()
        os.utime(place, ns=(stat.st_atime_ns, stat.st_mtime_ns))
        assert (place.stat().st_size, place.stat().st_mtime_ns) == (stat.st_size, stat.st_mtime_ns)


def test_a_folder_with_the_same_names_sizes_and_times_has_its_own_images(root):
    for part in ("train", "test"):
        for name in "ab":
            (root / "one" / part / name).mkdir(parents=True)
            picture(0).save(root / "one" / part / name / "0.bmp")
    same_stats(root / "two", root / "one")
    one, two = loaded(root, "one"), loaded(root, "two")
    assert not torch.equal(one.train.images, two.train.images)
    # In the same place: the folders change their names, or the files their content under the same time.
    (root / "one").rename(root / "away")
    (root / "two").rename(root / "one")
    assert torch.equal(loaded(root, "one").train.images, two.train.images)
    same_stats(root / "one", root / "away")
    shutil.rmtree(root / "one")
    shutil.copytree(root / "away", root / "one")  # keeps the times
    assert torch.equal(loaded(root, "one").train.images, one.train.images)


def test_a_changed_folder_replaces_its_kept_images(root, tmp_path):
    folder = image_folder(root / "mine", ["a", "b"])
    loaded(root)
    (file,) = (tmp_path / "home" / "data").iterdir()
    (folder / "train" / "a" / "0.png").unlink()
    assert len(loaded(root).train) == 5
    assert list((tmp_path / "home" / "data").iterdir()) == [file]


def test_a_home_that_cannot_be_written_costs_only_the_cache(root, tmp_path, monkeypatch):
    parquet_set(root / "mine")
    (tmp_path / "file").touch()
    monkeypatch.setenv("SATM_HOME", str(tmp_path / "file" / "home"))
    said = []
    monkeypatch.setattr(NoProgress, "say", lambda self, message: said.append(message))
    assert len(loaded(root).train) == 8
    assert "decoded images are not kept" in said[0]


def test_stopping_while_decoding_leaves_nothing(root, tmp_path):
    parquet_set(root / "mine")

    class Stop(NoProgress):
        def stopping(self) -> bool:
            return True

    with pytest.raises(Interrupted, match="decoding mine"):
        loaded(root, progress=Stop())
    assert not (tmp_path / "home").exists()


def damage_file(folder):
    path = folder / "train-00000-of-00001.parquet"
    path.write_bytes(path.read_bytes()[:200])


def damage_page(folder):
    path = folder / "train-00000-of-00001.parquet"
    data = bytearray(path.read_bytes())
    start = pq.ParquetFile(path).metadata.row_group(0).column(1).data_page_offset
    data[start : start + 40] = bytes(40)
    path.write_bytes(bytes(data))


def rewrite(images=None, labels=(0, 1), names='["a", "b"]'):
    def change(folder):
        chosen = [encoded(picture(0)), encoded(picture(1))] if images is None else images
        write_parquet(folder / "train-00000-of-00001.parquet", chosen, labels, metadata={"class_names": names})

    return change


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (damage_file, "cannot be read as Parquet"),
        (damage_page, "cannot be read as Parquet"),
        (lambda folder: (folder / "test-00000-of-00001.parquet").unlink(), "no labelled test images"),
        (lambda folder: (folder / "train-00000-of-00001.parquet").unlink(), "no training images"),
        (rewrite([encoded(picture(0)), encoded(picture(1))[:90]]), "row 1 cannot be decoded"),
        (rewrite([encoded(picture(0)), b"not an image"]), "row 1 is not an image that can be read; replace"),
        (rewrite([b"not an image", encoded(picture(0))]), "row 0 is not an image"),
        (rewrite([png(60_000), encoded(picture(0))]), "row 0 is not an image that can be read .*decompression bomb"),
        (rewrite([png(12_000), encoded(picture(0))]), "row 0 is 12000×12000 pixels; .*decompression bomb; shrink"),
        (rewrite([encoded(picture(0)), None]), "row 1 holds no image bytes"),
        (
            rewrite([encoded(picture(0)), encoded(picture(1, (5, 5)))]),
            r"images of several sizes: 3 of 6×6 \(.*row 0\), 1 of 5×5 \(.*row 1\); give --set image_size=5",
        ),
        (rewrite([encoded(picture(0, (5, 6))), encoded(picture(1))]), r"several sizes: .*, 1 of 5×6 \(.*row 0\)"),
        (rewrite(labels=(0, 2)), "image 1 has label 2; expected 0 to 1"),
        (rewrite(labels=(0, -1)), "image 1 has label -1"),
        (rewrite(labels=(0, None)), "1 rows have no label"),
        (rewrite(labels=("x", "y")), "some files hold class names and some hold numbers"),
        (rewrite(labels=None), "expected one label column: label, labels, fine_label"),
        (rewrite(labels=(0, 0)), "no image of class 1 \\('b'\\)"),
        (rewrite(names="{"), "class names in its metadata"),
        (rewrite([], ()), "no rows"),
    ],
)
def test_bad_parquet_is_one_clear_line(root, tmp_path, damage, message):
    folder = parquet_set(root / "mine")
    damage(folder)
    with pytest.raises(DataError, match=message) as caught:
        loaded(root)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "home").exists()


# Folders of images


def test_image_folder(root):
    image_folder(root / "mine", ["cat", "ant"], test="val")
    data = loaded(root)
    assert data.classes == ("ant", "cat")
    assert data.train.labels.tolist() == [0, 0, 0, 1, 1, 1]
    assert torch.equal(data.train.images[3], pixels(picture(0)))
    assert torch.equal(data.test.images[0], pixels(picture(150)))


def test_tiny_imagenet_as_its_archive_unpacks(root):
    folder, classes = root / "tiny-imagenet-200", [f"n{number:08d}" for number in range(200)]
    lines = []
    for number, name in enumerate(classes):
        images = folder / "train" / name / "images"
        images.mkdir(parents=True)
        picture(number, (8, 8)).save(images / f"{name}_0.JPEG")
        (folder / "train" / name / f"{name}_boxes.txt").write_text("x")
    (folder / "val" / "images").mkdir(parents=True)
    for number, name in enumerate(reversed(classes)):
        picture(number, (8, 8)).save(folder / "val" / "images" / f"val_{number}.JPEG")
        lines.append(f"val_{number}.JPEG\t{name}\t0\t0\t62\t62\n")
    (folder / "val" / "val_annotations.txt").write_text("".join(lines))
    (folder / "test" / "images").mkdir(parents=True)
    picture(0, (8, 8)).save(folder / "test" / "images" / "test_0.JPEG")
    data = loaded(root, "tiny-imagenet")
    assert data.image_shape == (3, 64, 64)
    assert data.test.labels.tolist() == list(range(199, -1, -1))
    assert data.train.labels.tolist() == list(range(200))
    (folder / "val" / "images" / "val_7.JPEG").unlink()
    with pytest.raises(DataError, match=r"val_7.JPEG is missing"):
        loaded(root, "tiny-imagenet")


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda folder: folder.mkdir(), r"holds no data set that can be read \(it is empty\); put train-"),
        (lambda folder: (folder / "train").mkdir(parents=True), "train holds no images"),
        (lambda folder: shutil.rmtree(image_folder(folder, ["a", "b"]) / "test"), "no test images of its classes"),
        (lambda folder: shutil.rmtree(image_folder(folder, ["a", "b"]) / "test" / "b"), "no image of class 1"),
        (lambda folder: (image_folder(folder, ["a"]) / "train/a/0.png").write_bytes(b"\x89PNG"), "0.png is not an"),
    ],
)
def test_bad_folder_is_one_clear_line(root, make, message):
    make(root / "mine")
    with pytest.raises(DataError, match=message):
        loaded(root)


def test_other_sizes_are_cropped_and_resized_when_a_size_is_known(root):
    image_folder(root / "mine", ["a", "b"])
    wide = picture(7, (20, 12))
    wide.save(root / "mine" / "train" / "a" / "0.png")
    data = loaded(root, image_size=6)
    expected = wide.resize((10, 6), Image.Resampling.BILINEAR).crop((2, 0, 8, 6))
    assert torch.equal(data.train.images[0], pixels(expected))


# Subsets of ImageNet


def test_subset_takes_its_classes_in_its_order_by_wordnet_id(root):
    spec = CATALOGUE.get("imagemeow")
    ids = [wnid for _, wnid, _ in spec.subset]
    image_folder(root / "imagenet-1k", [*ids, "n00000001", "n99999999"], size=140)
    data = loaded(root, "imagemeow")
    assert data.image_shape == (3, 128, 128)
    assert data.classes == spec.classes
    assert data.classes[5] == "lion"
    lion = picture(500, (140, 140))  # the sixth class written
    expected = pixels(ImageOps.fit(lion, (128, 128), Image.Resampling.BILINEAR))
    assert torch.equal(data.train.images[data.train.labels == 5][0], expected)
    assert torch.bincount(data.train.labels).tolist() == [3] * 10


def test_subset_takes_its_classes_by_index_from_all_of_imagenet(root):
    labels = list(range(1000))
    images = []
    for label in labels:
        image = Image.new("RGB", (2, 2), "white")
        image.putpixel((0, 0), (label % 256, label // 256, 0))
        images.append(encoded(image))
    for part in ("train", "validation"):
        write_parquet(root / "imagenet-1k" / "data" / f"{part}-0.parquet", images, labels)
    data = loaded(root, "imagewoof")
    found = {
        int(label): image[:2, 0, 0].tolist() for image, label in zip(data.test.images, data.test.labels, strict=True)
    }
    indices = [index for index, _, _ in CATALOGUE.get("imagewoof").subset]
    assert found == {label: [index % 256, index // 256] for label, index in enumerate(indices)}


def test_subset_refuses_a_folder_of_other_classes(root):
    image_folder(root / "imagefruit", ["a", "b", "c"])
    with pytest.raises(DataError, match="has 3 classes; expected the 10 of imagefruit"):
        loaded(root, "imagefruit")


def test_fastai_s_archives_have_names_of_their_own(root):
    """Neither their folder nor their images are ever read as the ImageNet subset of the same classes."""
    spec = CATALOGUE.get("imagewoof")
    ids = [wnid for _, wnid, _ in spec.subset]
    archive = image_folder(root / "imagewoof" / "imagewoof2-160", sorted(ids))
    with pytest.raises(DataError, match=r"all of ImageNet in .*imagenet-1k; .*imagewoof2-160 holds other images .*: "):
        loaded(root, "imagewoof")
    data = loaded(root, "imagewoof2")
    assert data.classes == spec.classes
    assert len(data.train) == 30
    image_folder(root / "imagenet-1k", ids, per_class=2)
    assert len(loaded(root, "imagewoof").train) == 20
    shutil.rmtree(archive)
    with pytest.raises(DataError, match="'imagewoof2' is not under data root"):
        loaded(root, "imagewoof2")


def test_fastai_s_images_under_an_imagenet_name_are_refused(root):
    image = encoded(picture(0))
    for part, count in (("train", 9025), ("validation", 3929)):
        labels = [number % 10 for number in range(count)]
        write_parquet(root / "imagewoof" / f"{part}-0.parquet", [image] * count, labels, plain=True)
    with pytest.raises(DataError, match=r"the 9025 and 3929 images of imagewoof2 \(fast.ai\), not ImageNet's"):
        loaded(root, "imagewoof")


# torchvision's files


@pytest.mark.parametrize("below", ["", "cifar10"])
def test_cifar_files_of_torchvision(root, monkeypatch, below):
    test = cifar10_files(root / below, monkeypatch)
    data = loaded(root, "cifar10")
    assert np.array_equal(data.test.images.numpy(), test)
    assert data.classes == tuple(CIFAR10)
    assert len(data.train) == 100
    assert loaded(root, "cifar10", image_size=16).image_shape == (3, 16, 16)


def test_damaged_cifar_files_are_refused_before_they_are_unpickled(root, monkeypatch):
    cifar10_files(root, monkeypatch)
    (root / "cifar-10-batches-py" / "data_batch_3").write_bytes(b"not what it was")
    with pytest.raises(DataError, match="incomplete or corrupt"):
        loaded(root, "cifar10")


def test_catalogue_size_and_class_count_hold_for_parquet(root):
    parquet_set(root / "cifar10", classes=10, size=40)
    assert loaded(root, "cifar10").image_shape == (3, 32, 32)
    parquet_set(root / "cifar100", classes=10, size=32)
    with pytest.raises(DataError, match="has 10 classes; cifar100 has 100"):
        loaded(root, "cifar100")
