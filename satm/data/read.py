"""Reads the images of a data set's folder, in any of the layouts that we know."""

from __future__ import annotations

from pathlib import Path

from satm.data.cache import DecodeCache
from satm.data.catalogue import DatasetSpec, spec_of
from satm.data.decode import decode, image_size_of
from satm.data.encoded import Encoded, imagenet_subset
from satm.data.folder import open_folder
from satm.data.lookup import KNOWN_FILES
from satm.data.parquet import open_parquet
from satm.data.raw import Raw, check_labels, class_names
from satm.data.torchvision_files import read_arrays
from satm.errors import DataError
from satm.progress import Progress


def read(folder: Path, name: str, *, image_size: int | None, progress: Progress) -> tuple[Raw, str]:
    """The images of data set `name` in `folder`, and their digest.

    Images are decoded once and then kept in `SATM_HOME`. Raises DataError if the folder has no layout that we know, if
    a part is missing, or if a file is damaged.
    """
    spec = spec_of(name)
    if spec is not None and (raw := read_arrays(folder, spec)) is not None:
        raw = raw.at_size(image_size)
        return raw, raw.digest
    source = open_parquet(folder) or open_folder(folder)
    if source is None:
        raise DataError(f"{folder} holds no data set that can be read; put {KNOWN_FILES} there")
    if spec is not None and spec.subset:
        source = imagenet_subset(source, spec)
        _check_not_kin(source, spec)
    classes = class_names(source.classes, source.train.labels, spec, source.where)
    check_labels(source.train.labels, classes, f"{source.where}, train")
    check_labels(source.test.labels, classes, f"{source.where}, test")
    size = image_size if image_size is not None or spec is None else spec.image_size
    options = {"size": size, "classes": classes, "always_rgb": spec is not None}
    cache = DecodeCache.of(folder, source.files, options, progress)
    if (kept := cache.read()) is not None:
        return kept
    raw = _decoded(source, name, classes, size, always_rgb=spec is not None, progress=progress)
    raw_digest = raw.digest
    cache.write(raw, raw_digest)
    return raw, raw_digest


def _check_not_kin(source: Encoded, spec: DatasetSpec) -> None:
    """Raise DataError if an ImageNet subset has exactly as many images as the archive that goes by another name."""
    kin = spec_of(spec.kin) if spec.kin is not None and spec.in_imagenet else None
    if kin is not None and (len(source.train), len(source.test)) == kin.images:
        raise DataError(
            f"{source.where} holds the {len(source.train)} and {len(source.test)} images of {kin.name} (fast.ai), not "
            f"ImageNet's; name the data set {kin.name}, or put all of ImageNet in imagenet-1k"
        )


def _decoded(
    source: Encoded, name: str, classes: tuple[str, ...], size: int | None, *, always_rgb: bool, progress: Progress
) -> Raw:
    resize = size is not None
    if size is None:
        size = image_size_of(next(source.train.items()))
    parts = [
        decode(split, f"decoding {name} ({part})", size=size, resize=resize, progress=progress)
        for part, split in (("train", source.train), ("test", source.test))
    ]
    grey = all(flag for _, flag in parts) and not always_rgb
    train, test = (images[:, :1].contiguous() if grey else images for images, _ in parts)
    return Raw(
        train_images=train,
        train_labels=source.train.labels,
        test_images=test,
        test_labels=source.test.labels,
        classes=classes,
    )
