"""Checks the place of a registry file: it must be a regular file, in an existing folder, on a disk of this machine."""

from __future__ import annotations

import os
import re
from pathlib import Path

from satm.errors import RegistryError

MOUNTS = Path("/proc/self/mounts")  # the list of mounted file systems; this file exists only on Linux

NETWORK = {
    *("nfs", "nfs4", "cifs", "smb3", "smbfs", "9p", "afs", "ceph", "lustre", "gpfs", "beegfs"),
    *("fuse.sshfs", "fuse.rclone", "fuse.s3fs", "fuse.gcsfuse", "fuse.glusterfs", "fuse.ceph"),
}
"""The types of network file systems, which several machines can share."""


def check(path: Path, *, must_exist: bool, read_only: bool) -> None:
    """Raise RegistryError if the registry at `path` cannot be opened.

    `must_exist`: the file must already exist. `read_only`: the file is only read; if False, it must be writable and not
    on a network file system.
    """
    try:
        exists = path.exists()
    except OSError as error:  # for example, the folder may not be read or the name is too long
        raise RegistryError(f"{path} cannot be opened: {error.strerror}; name another file with --registry") from error
    if path.is_dir():
        raise RegistryError(f"{path} is a folder; name a file in it with --registry")
    if exists and not path.is_file():  # without this check, opening a pipe waits for ever
        raise RegistryError(f"{path} is a pipe or a device; name a regular file with --registry")
    if not exists:
        if must_exist:
            raise RegistryError(f"there is no registry at {path}; `satm condense` makes one, --registry names another")
        if not path.parent.is_dir():
            raise RegistryError(f"the folder of {path} does not exist; make it first")
    if read_only:
        return
    # SQLite notices only at the first write, perhaps after an hour of work, that a file cannot be written. The folder
    # must be writable too, because SQLite makes its log there.
    if not writable(path):
        raise RegistryError(f"{path} cannot be written; name a file you can write with --registry")
    if (kind := network_file_system(path)) is not None:
        raise RegistryError(
            f"{path} is on a network file system ({kind}), where SQLite's locks are not safe and a registry can be "
            "damaged; name a file on a disk of this machine with --registry or SATM_REGISTRY"
        )


def writable(path: Path) -> bool:
    """Return whether this user may write to the file `path` (if it exists) and to its folder."""
    needed = [path, path.parent] if path.exists() else [path.parent]
    effective = os.access in os.supports_effective_ids
    return all(os.access(place, os.W_OK, effective_ids=effective) for place in needed)


def network_file_system(path: Path) -> str | None:
    """Return the type of the network file system that holds `path`.

    Returns None if `path` is on a disk of this machine, or if the type of its file system is not known.
    """
    try:
        lines = os.fsdecode(MOUNTS.read_bytes()).splitlines()
    except OSError:
        return None
    # `Path.resolve` is not used because it raises an error for a link to itself. Opening the file reports such a link.
    place, kind, deepest = Path(os.path.realpath(path)), None, -1
    for line in lines:
        _, mounted, found, *_ = line.split(" ")
        # The list writes special characters as octal numbers, for example a space as \040.
        folder = Path(re.sub(r"\\([0-7]{3})", lambda octal: chr(int(octal[1], 8)), mounted))
        # The file is on the mount with the deepest folder. If two mounts have the same folder, the later mount hides
        # the earlier one.
        if place.is_relative_to(folder) and len(folder.parts) >= deepest:
            deepest, kind = len(folder.parts), found
    return kind if kind in NETWORK else None
