"""Keeps decoded images in `SATM_HOME/data`, so that each data set is decoded only once."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from satm.canonical import digest
from satm.data.raw import Raw
from satm.errors import DamagedFile, SatmError
from satm.home import home
from satm.kept import keep, opened
from satm.progress import Progress

# The version of the decoding and of the contents of a cache file. The name of the file depends on it, so a new version
# never reads the files of an older one.
_VERSION = 2
# The names of the tensors in a cache file. The attributes of `Raw` have the same names.
_TENSORS = ("train_images", "train_labels", "test_images", "test_labels")


@dataclass(frozen=True, slots=True)
class DecodeCache:
    """A cache file: it keeps the decoded images of one folder, decoded with one choice of options.

    An object of this class can also stand for a cache file that is not written yet. The folder holds the encoded images
    in image files or Parquet files. The cache file is used as long as these files are unchanged: they have the same
    absolute paths, sizes, modification times and change times. The operating system sets the change time (`st_ctime`)
    itself and lets no program choose it, so copied, moved or rewritten files are always noticed.
    """

    path: Path  # the cache file
    stamp: str  # a hash of the paths, sizes and times that the files of the folder have now
    progress: Progress  # where messages to the user go

    @classmethod
    def of(cls, folder: Path, files: Sequence[Path], about: Mapping[str, object], progress: Progress) -> DecodeCache:
        """Return the cache for the images in `files` of `folder`. `about` holds the decoding options (size …)."""
        place = os.path.abspath(folder)
        stats = [(os.path.abspath(path), path.stat()) for path in files]
        stamp = digest([(name, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns) for name, stat in stats])
        key = digest({"folder": place, "about": about, "version": _VERSION})
        return cls(home() / "data" / f"{key}.safetensors", stamp, progress)

    def read(self) -> tuple[Raw, str] | None:
        """Return the decoded images (memory-mapped) and their digest; None if the images must be decoded.

        They must be decoded if there is no cache file, or if the files of the folder have changed since the cache file
        was written. They must also be decoded if the cache file is damaged or cannot be read; then `progress` says so.
        """
        try:
            with opened(self.path) as file:
                if file is None or file.about.get("stamp") != self.stamp:
                    return None
                tensors = {name: file.tensor(name) for name in _TENSORS}
                return Raw(**tensors, classes=tuple(file.about["classes"])), str(file.about["digest"])
        except DamagedFile as error:
            self.progress.say(f"{error.path} is damaged ({error.reason}); decoding the images again")
        except SatmError as error:
            self.progress.say(f"decoded images are not used: {error}")
        return None

    def write(self, raw: Raw, raw_digest: str) -> None:
        """Write the decoded images `raw` to the cache file. `raw_digest` is `raw.digest`.

        If the file cannot be written (a full or read-only disk), `progress` says so and no error is raised.
        """
        about = {"stamp": self.stamp, "classes": raw.classes, "digest": raw_digest}
        try:
            keep(self.path, {name: getattr(raw, name) for name in _TENSORS}, about)
        except SatmError as error:
            self.progress.say(f"decoded images are not kept: {error}")
