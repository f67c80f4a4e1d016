"""Reads and decodes the images in the folder of a data set, in any of the layouts that satm knows."""

from __future__ import annotations

from pathlib import Path

from satm.data.cache import DecodeCache
from satm.data.catalogue import DatasetSpec, spec_of
from satm.data.decode import decode
from satm.data.encoded import Encoded, imagenet_subset
from satm.data.pixels import RULES
from satm.data.raw import SMALLER, Raw, check_labels, check_varied, class_names
from satm.data.size import common_side
from satm.data.sources import open_source
from satm.data.torchvision_files import read_arrays
from satm.errors import DataError
from satm.machine.room import check_room
from satm.progress import Progress


def read(folder: Path, name: str, *, image_size: int | None, progress: Progress) -> tuple[Raw, str]:
    """The decoded images of data set `name` in `folder`, and their digest (a hash over all images and labels).

    Encoded images (PNG, JPEG …) are decoded once, and the result is kept in `SATM_HOME` for later calls. `image_size`
    is the height and width of the result in pixels. None means the size in the catalogue or, for a data set that is not
    in the catalogue, the size that all its images have. Raises DataError if the files are in no layout that satm knows,
    if a part is missing, if a file is damaged, or if `image_size` is needed because the images differ in size.
    """
    spec = spec_of(name)
    if spec is not None and (raw := read_arrays(folder, spec)) is not None:
        raw = raw.at_size(image_size)
        check_varied(raw, str(folder))
        return raw, raw.digest
    source = open_source(folder)
    for note in source.notes:
        progress.say(note)
    if spec is not None and spec.subset:
        source = imagenet_subset(source, spec)
        _check_not_kin(source, spec)
    classes = class_names(source.classes, source.train.labels, spec, source.where)
    check_labels(source.train.labels, classes, f"{source.where}, train")
    check_labels(source.test.labels, classes, f"{source.where}, test")
    size = image_size if image_size is not None or spec is None else spec.image_size
    options = {"size": size, "classes": classes, "own": spec is None, "rules": RULES}
    cache = DecodeCache.of(folder, source.files, options, progress)
    if (kept := cache.read()) is not None:
        return kept
    raw = _decoded(source, name, classes, size or common_side(source), own=spec is None, progress=progress)
    check_varied(raw, source.where)
    raw_digest = raw.digest
    cache.write(raw, raw_digest)
    return raw, raw_digest


def _check_not_kin(source: Encoded, spec: DatasetSpec) -> None:
    """Raise DataError if `source` does not hold the ImageNet subset `spec`, but fast.ai's data set of the same classes.

    fast.ai's data set (`spec.kin`) has the same classes but other images, and an entry of its own in the catalogue.
    `source` is taken to be fast.ai's data set if it has the same numbers of training and test images.
    """
    kin = spec_of(spec.kin) if spec.kin is not None and spec.in_imagenet else None
    if kin is not None and (len(source.train), len(source.test)) == kin.images:
        raise DataError(
            f"{source.where} holds the {len(source.train)} and {len(source.test)} images of {kin.name} (fast.ai), not "
            f"ImageNet's; name the data set {kin.name}, or put all of ImageNet in imagenet-1k"
        )


def _decoded(source: Encoded, name: str, classes: tuple[str, ...], size: int, *, own: bool, progress: Progress) -> Raw:
    """All images of `source`, decoded to a height and width of `size` pixels.

    `own` is True if the data set is a user's own folder, and False if it is in the catalogue. Images of an own folder
    are turned upright as their EXIF data say; if all of them are grey, the result has one channel, else three. Images
    of the catalogue's data sets are not turned and always get three channels, as in published code. Messages about the
    images go to `progress`.
    """
    count = len(source.train) + len(source.test)
    check_room(count * 3 * size * size, f"{name}: {count} images of {size}×{size} pixels", SMALLER)
    (train, of_train), (test, of_test) = (
        decode(split, f"decoding {name} ({part})", size=size, upright=own, progress=progress)
        for part, split in (("train", source.train), ("test", source.test))
    )
    tally = of_train + of_test
    tally.check_levels(source.where)
    for note in tally.notes(size if own else None):
        progress.say(f"{name}: {note}")
    grey = own and tally.grey
    return Raw(
        train_images=train[:, :1].contiguous() if grey else train,
        train_labels=source.train.labels,
        test_images=test[:, :1].contiguous() if grey else test,
        test_labels=source.test.labels,
        classes=classes,
    )
