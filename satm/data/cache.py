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

_VERSION = 2  # of the decoding and of the kept file's contents
_TENSORS = ("train_images", "train_labels", "test_images", "test_labels")


@dataclass(frozen=True, slots=True)
class DecodeCache:
    """The kept images of one folder under one way of decoding: at most one file.

    The file is used as long as the folder's own files are unchanged: the same absolute paths, sizes, modification times
    and change times. No program can set a change time, so copied, moved or rewritten files are always noticed.
    """

    path: Path
    stamp: str  # of the folder's files as they are now
    progress: Progress

    @classmethod
    def of(cls, folder: Path, files: Sequence[Path], about: Mapping[str, object], progress: Progress) -> DecodeCache:
        """The cache of the images in `files`, which lie in `folder`; `about` are the options of the decoding."""
        place = os.path.abspath(folder)
        stats = [(os.path.abspath(path), path.stat()) for path in files]
        stamp = digest([(name, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns) for name, stat in stats])
        key = digest({"folder": place, "about": about, "version": _VERSION})
        return cls(home() / "data" / f"{key}.safetensors", stamp, progress)

    def read(self) -> tuple[Raw, str] | None:
        """The images (memory-mapped) and their digest; None if they must be decoded.

        The file's checksums are compared. If it is damaged or may not be read, `progress` says so.
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
        """Keep `raw`. If the disk is full or read-only, `progress` says so and the run continues."""
        about = {"stamp": self.stamp, "classes": raw.classes, "digest": raw_digest}
        try:
            keep(self.path, {name: getattr(raw, name) for name in _TENSORS}, about)
        except SatmError as error:
            self.progress.say(f"decoded images are not kept: {error}")
