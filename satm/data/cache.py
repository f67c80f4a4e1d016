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

_VERSION = 2  # the version of the decoding and of the contents of a cache file; a part of the file's key
# The names of the tensors in a cache file. They are attributes of `Raw`.
_TENSORS = ("train_images", "train_labels", "test_images", "test_labels")


@dataclass(frozen=True, slots=True)
class DecodeCache:
    """A file that keeps the decoded images of one folder, decoded with one choice of options. It may not exist yet.

    The file is used as long as the image files in the folder are unchanged: they have the same absolute paths, sizes,
    modification times and change times. No program can set a change time, so copied, moved or rewritten files are
    always noticed.
    """

    path: Path  # the cache file
    stamp: str  # a hash of the paths, sizes and times of the folder's image files as they are now
    progress: Progress  # where messages to the user go

    @classmethod
    def of(cls, folder: Path, files: Sequence[Path], about: Mapping[str, object], progress: Progress) -> DecodeCache:
        """The cache of the image files `files` in `folder`. `about` holds the options of the decoding (size …)."""
        place = os.path.abspath(folder)
        stats = [(os.path.abspath(path), path.stat()) for path in files]
        stamp = digest([(name, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns) for name, stat in stats])
        key = digest({"folder": place, "about": about, "version": _VERSION})
        return cls(home() / "data" / f"{key}.safetensors", stamp, progress)

    def read(self) -> tuple[Raw, str] | None:
        """The decoded images (memory-mapped) and their digest; None if the images must be decoded.

        They must be decoded if there is no cache file, if the image files have changed since it was written, or if the
        cache file is damaged or may not be read. In the last two cases, `progress` says so.
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

        If the disk is full or read-only, `progress` says so and no error is raised.
        """
        about = {"stamp": self.stamp, "classes": raw.classes, "digest": raw_digest}
        try:
            keep(self.path, {name: getattr(raw, name) for name in _TENSORS}, about)
        except SatmError as error:
            self.progress.say(f"decoded images are not kept: {error}")
