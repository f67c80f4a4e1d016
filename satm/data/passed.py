"""Finds the class folders and image files in a folder, and collects the files that are passed over (not read)."""

from __future__ import annotations

import os
from pathlib import Path

from satm.errors import DataError

EXTENSIONS = frozenset(
    {".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".bmp", ".webp", ".ppm", ".pgm", ".pbm", ".pnm", ".tif", ".tiff"}
)
# Names, in lower case, of files and folders that operating systems and programs put among a user's files.
_CLUTTER = frozenset(
    {"__macosx", "__pycache__", "@eadir", "$recycle.bin", "system volume information", "thumbs.db", "desktop.ini"}
)
_CLUTTERED = "hidden or put there by a program"  # how the notes name this reason


def is_clutter(name: str) -> bool:
    """Return whether a file or folder is hidden, or was put there by an operating system or a program."""
    return name.startswith(".") or name.lower() in _CLUTTER


class PassedOver:
    """Collects the files and folders below `root` that are not read, and the reason for each.

    `found` maps a reason to the paths, relative to `root`, of all files and folders that are not read for this reason.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.found: dict[str, list[str]] = {}

    def add(self, path: Path, reason: str) -> None:
        """Record that `path` is not read, because of `reason`."""
        self.found.setdefault(reason, []).append(os.path.relpath(path, self.root))

    def take(self, other: PassedOver) -> None:
        """Add everything that `other` has collected."""
        for reason, paths in other.found.items():
            self.found.setdefault(reason, []).extend(paths)

    def notes(self) -> tuple[str, ...]:
        """Return a message of one line in a tuple: for each reason, the number of paths and one example.

        The tuple is empty if nothing is collected.
        """
        if not self.found:
            return ()
        parts = [f"{len(paths)} {reason} ({paths[0]})" for reason, paths in sorted(self.found.items())]
        line = f"passed over in {self.root}: {', '.join(parts)}"
        return ("".join(each if each.isprintable() else "?" for each in line),)


def class_folders(parent: Path, passed: PassedOver) -> list[str]:
    """Return the sorted names of the folders in `parent`; each folder is a class. [] if `parent` is no folder.

    Hidden files and folders in `parent` (see `is_clutter`) are no classes. They and the images directly in `parent` are
    added to `passed`. Raises DataError if `parent` may not be read, or if the name of a folder is not UTF-8, because
    the name of a class must be text.
    """
    if not parent.is_dir():
        return []
    names = []
    for path in _listed(parent):
        if is_clutter(path.name):
            passed.add(path, _CLUTTERED)
        elif os.path.isdir(path):
            names.append(path.name)
        elif path.suffix.lower() in EXTENSIONS:
            passed.add(path, "outside a class folder")
    for name in names:
        if not name.isascii() and any("\ud800" <= each <= "\udfff" for each in name):
            spelled = os.fsencode(name).decode(errors="replace")
            raise DataError(f"{parent} has a class folder '{spelled}', whose name is not in UTF-8; rename it")
    return names


def image_files(folder: Path, passed: PassedOver, *, deep: bool = True) -> list[Path]:
    """Return the sorted image files in `folder`. If `deep` is True, also those in its folders at any depth.

    Links to folders are never followed. They are added to `passed`, together with hidden files and folders (see
    `is_clutter`), files of other types and broken links. Raises DataError if a folder may not be read.
    """
    images, waiting = [], [folder]
    while waiting:
        for path in _listed(waiting.pop()):
            if (reason := _why_not(path)) is not None:
                passed.add(path, reason)
            elif not os.path.isdir(path):
                images.append(path)
            elif deep:
                waiting.append(path)
    return sorted(images)


def _why_not(path: Path) -> str | None:
    """Return the reason why a file or folder is passed over; None if it is not."""
    suffix = path.suffix.lower()
    if is_clutter(path.name):
        return _CLUTTERED
    if os.path.isdir(path):  # unlike Path.is_dir, os.path.isdir raises no error if permission is missing
        return "links to folders" if path.is_symlink() else None
    if suffix not in EXTENSIONS:
        return f"of type {suffix}" if suffix else "without an extension"
    if os.path.isfile(path):
        return None
    return "broken links" if path.is_symlink() else "that are no files, or may not be read"


def _listed(folder: Path) -> list[Path]:
    """Return the sorted contents of `folder`, without the text files that Tiny ImageNet has in every class folder."""
    try:
        return sorted(each for each in folder.iterdir() if not each.name.endswith("_boxes.txt"))
    except OSError as error:
        reason = "no permission" if isinstance(error, PermissionError) else error.strerror
        raise DataError(f"{folder} cannot be read ({reason}); mend that, or move it away") from error
