"""Reads files of `torch.save`, after a check that they do not claim more memory than their contents need.

torch's weights-only reader runs no code of the file. But it calls tensor classes, rebuild functions and bytearray with
sizes from the file, and it trusts the stated length of a storage (the block of memory with a tensor's values). So a
file of a few hundred bytes can take gigabytes of RAM. Therefore `satm.exchange.stand_ins` runs the pickle first, with
harmless stand-ins for these functions. The stand-ins compare each claimed size with the bytes that are in the file.
Only then does torch read the file.
"""

from __future__ import annotations

import io
import pickle
import warnings
import zipfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch

from satm.errors import DataError
from satm.exchange.files import check_claim, not_empty, shown, unreadable
from satm.exchange.stand_ins import run_pickle

ZIP = b"PK\x03\x04"  # the first bytes of a zip archive: torch checks these, but zipfile checks the end of the file


def load_torch(path: Path, *, also: Iterable[Any] = ()) -> Any:
    """Read the object that `torch.save` wrote to `path`: tensors, plain containers, and results of callables in `also`.

    No code of the file is run. Raises DataError if the file is damaged, if its pickle calls any other function, or if
    it claims more memory than its tensors have bytes in the file.
    """
    not_empty(path)
    try:
        content = _checked(path)
        with torch.serialization.safe_globals(list(also)), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch's own deprecation warnings about old files
            return torch.load(content, map_location="cpu", weights_only=True)
    except DataError:
        raise
    except (pickle.UnpicklingError, EOFError, ValueError) as error:
        raise DataError(
            f"{path} is no file that torch.save wrote, or a damaged one ({shown(str(error), 60)}); copy or download it "
            "again"
        ) from error
    except Exception as error:  # zipfile's and torch's readers raise almost any error on damaged bytes
        raise unreadable(path, error) from error


def _checked(path: Path) -> io.BytesIO:
    """Return the contents of `path` for `torch.load`, after a check that they claim no more than the file holds.

    A zip archive is packed again, with only the records that torch reads, so that torch loads exactly what was checked.
    Raises DataError if something is refused, and any error that `pickle` and `zipfile` raise on damaged bytes.
    """
    with path.open("rb") as file:
        zipped = file.read(len(ZIP)) == ZIP
    if zipped != zipfile.is_zipfile(path):
        raise DataError(f"{path} is a zip archive at one end only; refused; copy or download it again")
    return _archive(path) if zipped else _legacy(path)


def _archive(path: Path) -> io.BytesIO:
    with zipfile.ZipFile(path) as archive:
        members = archive.infolist()
        check_claim(path, sum(member.file_size for member in members))
        root = members[0].filename.partition("/")[0] + "/"
        records = {each.filename.removeprefix(root): each for each in members if each.filename.startswith(root)}
        if "data.pkl" not in records:
            raise DataError(f"{path} is no file that torch.save wrote (it has no data.pkl); save its tensors with that")
        room = {
            name.removeprefix("data/"): each.file_size for name, each in records.items() if name.startswith("data/")
        }

        def storage(key: object, size: int) -> None:
            if room.get(str(key)) != size:
                raise DataError(f"{path} claims {size} bytes for tensor {shown(str(key), 20)}, which it does not hold")

        run_pickle(io.BytesIO(archive.read(records["data.pkl"])), path, storage)
        packed = io.BytesIO()
        with zipfile.ZipFile(packed, "w") as clean:
            for name, member in records.items():
                if name in ("data.pkl", "byteorder", "version") or name.startswith("data/"):
                    clean.writestr("archive/" + name, archive.read(member))
    packed.seek(0)
    return packed


def _legacy(path: Path) -> io.BytesIO:
    """Return the contents of a file in the format before torch 1.6, after the same check as in `_checked`.

    Such a file is five pickles in a row, followed by the storages of the tensors. The pickles are a magic number, a
    version, facts about the system, the object, and the keys of the storages.
    """
    content = io.BytesIO(path.read_bytes())
    claimed: dict[str, int] = {}

    def storage(key: object, size: int) -> None:
        if claimed.setdefault(str(key), size) != size or sum(claimed.values()) > path.stat().st_size:
            raise DataError(f"{path} claims {size} bytes for tensor {shown(str(key), 20)}, which it does not hold")

    for _ in range(4):
        run_pickle(content, path, storage)
    keys = run_pickle(content, path, storage)
    if sorted(map(str, keys)) != sorted(claimed):
        raise DataError(f"{path} names tensors that it does not hold; copy or download it again")
    for key in keys:
        size = claimed[str(key)]
        content.seek(8 + size, io.SEEK_CUR)  # 8 bytes for the number of elements, then the elements
    if content.tell() > path.stat().st_size:
        raise DataError(f"{path} ends before its tensors do; copy or download it again")
    content.seek(0)
    return content
