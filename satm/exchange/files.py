"""Checks for files that were made elsewhere.

The checks make sure that no file outside the folder that the user names is read, and that no file takes far more RAM
than its length justifies. They run no code of the files.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

from satm.errors import DataError

# A file may claim that its contents have any size. Therefore its own length limits what we allocate for them: at most
# SMALL bytes plus FACTOR times the length. Image data never compress by such a factor.
SMALL, FACTOR = 64 * 2**20, 20


def existing(path: Path) -> Path:
    """Return `path` as an absolute path. Raises DataError if it does not exist."""
    path = path.expanduser().absolute()
    try:
        there = path.is_file() or path.is_dir()
    except (OSError, ValueError) as error:  # the name is too long or has a zero byte
        raise DataError(f"{shown(str(path))} is no path ({shown(str(error), 60)}); give that of a file") from None
    if not there:
        raise DataError(f"there is no file or folder {shown(str(path), 400)}; give the path of one")
    return path


def inside(path: Path, root: Path) -> Path:
    """Return `path` if it is a regular file inside `root`.

    Raises DataError if it is not, or if a link leads out of `root`.
    """
    if not path.resolve().is_relative_to(root.resolve()):
        raise DataError(f"{path} points outside {root}; copy the file itself there")
    if not path.is_file():
        raise DataError(f"{path} is no file; expected one")
    return path


def one_of(folder: Path, pattern: str, *, without: Sequence[str] = ()) -> Path:
    """Return the only file of `folder` that matches `pattern` and none of the patterns in `without`.

    Raises DataError if there is no such file or there are several.
    """
    found = sorted(path for path in folder.glob(pattern) if not any(path.match(each) for each in without))
    if not found:
        raise DataError(f"{folder} holds no {pattern}; give the folder or file that does")
    if len(found) > 1:
        names = ", ".join(path.name for path in found[:8]) + (", …" if len(found) > 8 else "")
        raise DataError(f"{folder} holds {names}; give the path of one of them")
    return inside(found[0], folder)


def parents_of(files: Sequence[Path]) -> tuple[str, ...]:
    """Return the parents (the origin) of a set that was read from `files`, as hashes of the files' contents.

    Up to 4 files give one `file:<sha256>` each. More files give a single `file:<sha256>` for all of them together.
    """
    try:
        hashes = [_sha256(path) for path in files]
    except OSError as error:
        raise unreadable(files[0], error) from error
    if len(files) <= 4:
        return tuple(f"file:{each}" for each in hashes)
    listing = "".join(f"{path.parent.name}/{path.name} {each}\n" for path, each in zip(files, hashes, strict=True))
    return (f"file:{hashlib.sha256(listing.encode(errors='surrogateescape')).hexdigest()}",)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def unreadable(path: Path, error: BaseException) -> DataError:
    """Return a DataError with a one-line message, made from the error that a library raised on a damaged file."""
    said = shown(str(error)) or type(error).__name__
    return DataError(f"{path} cannot be read ({said}); copy or download it again")


def shown(text: str, length: int = 160) -> str:
    """Return text from a file as one printable line of at most `length` characters."""
    line = "".join(c if c.isprintable() else "?" for c in " ".join(text.split()))
    return line if len(line) <= length else line[: length - 3] + "..."


def check_claim(path: Path, claimed: int) -> None:
    """Raise DataError if `claimed`, the bytes that file `path` says it unpacks to, are too many for its length."""
    if claimed > SMALL + FACTOR * path.stat().st_size:
        raise DataError(f"{path} claims to unpack to {claimed >> 20} MiB, which its length does not allow; refused")


def not_empty(path: Path) -> None:
    """Raise DataError if the file is empty."""
    try:
        if path.stat().st_size == 0:
            raise DataError(f"{path} is empty; copy or download it again")
    except OSError as error:
        raise unreadable(path, error) from error
