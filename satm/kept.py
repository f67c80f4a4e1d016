"""Files of tensors in `SATM_HOME`: experts, teachers, checkpoints, ZCA transforms and decoded images.

Such a *kept file* is a safetensors file. Its metadata hold a description, a checksum for every tensor, and one more
checksum, for the description together with the other checksums. The checksums find accidental damage, for example by a
bad disk. They do not protect against a person who changes a file on purpose. A tensor is checked when it is read. Files
that older versions of this suite wrote have no checksums and are read without this check.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from satm.errors import DamagedFile
from satm.home import refused, write_atomically

if TYPE_CHECKING:
    import torch

_ABOUT, _TENSORS, _ALL = "satm", "checksums", "checksum"  # the keys of a file's metadata


class Kept:
    """A kept file that is open: its description `about`, and its tensors by name."""

    def __init__(self, path: Path, file: Any) -> None:
        self.path, self._file = path, file
        self.names = frozenset(file.keys())
        metadata = file.metadata() or {}
        self._checksums = self._checked(metadata)
        try:
            self.about: Any = json.loads(metadata.get(_ABOUT, "{}"))
        except ValueError:
            raise self.damaged("its description cannot be read") from None

    def _checked(self, metadata: Mapping[str, str]) -> Mapping[str, str] | None:
        """Return the checksum of each tensor by name; None for a file of an older version, which has no checksums."""
        if not set(metadata) - {_ABOUT}:
            return None
        about, tensors = metadata.get(_ABOUT, ""), metadata.get(_TENSORS, "")
        if metadata.get(_ALL) != _checksum((about + tensors).encode()):
            raise self.damaged("the checksum of its description differs")
        checksums: dict[str, str] = json.loads(tensors)
        if set(checksums) != self.names:
            raise self.damaged("it holds other tensors than it has checksums for")
        return checksums

    def tensor(self, name: str) -> torch.Tensor:
        """Return tensor `name`, a view of the memory-mapped file. Raises DamagedFile if it is missing or damaged."""
        from safetensors import SafetensorError

        try:
            found: torch.Tensor = self._file.get_tensor(name)
        except SafetensorError as error:
            raise self.damaged(str(error)) from error
        if self._checksums is not None and _tensor_checksum(found) != self._checksums[name]:
            raise self.damaged(f"the checksum of {name} differs")
        return found

    def tensors(self) -> dict[str, torch.Tensor]:
        """Return a copy of every tensor, by name."""
        return {name: self.tensor(name).clone() for name in sorted(self.names)}

    def check(self) -> None:
        """Read every tensor and compare its checksum. Raises DamagedFile if one differs.

        A file without checksums passes the check.
        """
        for name in self.names if self._checksums is not None else ():
            self.tensor(name)

    def damaged(self, reason: str) -> DamagedFile:
        """Return the error to raise if the contents of the file cannot be right."""
        return DamagedFile(self.path, reason)


@contextmanager
def opened(path: Path) -> Iterator[Kept | None]:
    """Open a kept file for a `with` block, which gets None if the file does not exist.

    Raises DamagedFile if the file is not a complete safetensors file or its description is damaged. Raises SatmError if
    it cannot be read for another reason, such as a missing permission.
    """
    from safetensors import SafetensorError, safe_open

    try:
        path.open("rb").close()  # raises PermissionError if a permission is missing
        file = safe_open(path, framework="pt")
    except (FileNotFoundError, NotADirectoryError):
        yield None
        return
    except SafetensorError as error:
        raise DamagedFile(path, str(error)) from error
    except OSError as error:
        raise refused("read", path, error) from error
    with file:
        yield Kept(path, file)


def keep(
    path: Path, tensors: Mapping[str, torch.Tensor], about: Mapping[str, Any] | None = None, **options: Any
) -> None:
    """Write CPU tensors and their description `about` to `path`, with checksums, completely or not at all.

    `options` are keyword arguments of `write_atomically`. Raises SatmError if the folder cannot be written or the disk
    is full.
    """
    from safetensors.torch import save_file

    ready = {name: tensor.contiguous() for name, tensor in tensors.items()}
    said = json.dumps(dict(about or {}))
    checksums = json.dumps({name: _tensor_checksum(tensor) for name, tensor in ready.items()})
    metadata = {_ABOUT: said, _TENSORS: checksums, _ALL: _checksum((said + checksums).encode())}
    write_atomically(path, lambda to: save_file(ready, to, metadata=metadata), **options)


def _tensor_checksum(tensor: torch.Tensor) -> str:
    import torch

    head = f"{tensor.dtype}{tuple(tensor.shape)}".encode()
    return _checksum(head, tensor.reshape(-1).view(torch.uint8).numpy().data)


def _checksum(*parts: Any) -> str:
    # XXH3 is several times as fast as SHA-256 (benchmarks/checksums.py), and a set of images can have many gigabytes.
    import xxhash

    found = xxhash.xxh3_128()
    for part in parts:
        found.update(part)
    return found.hexdigest()
