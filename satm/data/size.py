"""Finds the size of a data set's images without decoding them all."""

from __future__ import annotations

from pathlib import Path

from satm.data.catalogue import spec_of
from satm.data.decode import image_size_of
from satm.data.folder import open_folder
from satm.data.lookup import KNOWN_FILES, find
from satm.data.parquet import open_parquet
from satm.errors import DataError
from satm.progress import SILENT


def native_image_size(name: str, *, root: Path | None = None) -> int:
    """Pixels a side of a data set's images, from the catalogue. For a user's own folder: those of its first image.

    Raises UnknownName if there is no such data set, and DataError if the folder cannot be read.
    """
    if (spec := spec_of(name)) is not None:
        return spec.image_size
    folder = find(name, root, SILENT).path
    source = open_parquet(folder) or open_folder(folder)
    if source is None:
        raise DataError(f"{folder} holds no data set that can be read; put {KNOWN_FILES} there")
    return image_size_of(next(source.train.items()))
