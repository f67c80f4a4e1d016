"""Where a registry file may lie: a regular file, in a folder that exists, on a disk of this machine."""

from __future__ import annotations

import os
import re
from pathlib import Path

from satm.errors import RegistryError

MOUNTS = Path("/proc/self/mounts")  # the mounted file systems; only Linux has it

NETWORK = {
    *("nfs", "nfs4", "cifs", "smb3", "smbfs", "9p", "afs", "ceph", "lustre", "gpfs", "beegfs"),
    *("fuse.sshfs", "fuse.rclone", "fuse.s3fs", "fuse.gcsfuse", "fuse.glusterfs", "fuse.ceph"),
}
"""The types of file systems that several machines share."""


def check(path: Path, *, must_exist: bool, read_only: bool) -> None:
    """Raise RegistryError if the registry at `path` cannot be opened in this way."""
    try:
        exists = path.exists()
    except OSError as error:  # a folder without permission, a name that is too long
        raise RegistryError(f"{path} cannot be opened: {error.strerror}; name another file with --registry") from error
    if path.is_dir():
        raise RegistryError(f"{path} is a folder; name a file in it with --registry")
    if exists and not path.is_file():  # opening a pipe would wait for ever
        raise RegistryError(f"{path} is a pipe or a device; name a regular file with --registry")
    if not exists:
        if must_exist:
            raise RegistryError(f"there is no registry at {path}; `satm condense` makes one, --registry names another")
        if not path.parent.is_dir():
            raise RegistryError(f"the folder of {path} does not exist; make it first")
    if read_only:
        return
    # SQLite notices this only at the first write, perhaps after an hour of work. Its log needs the folder.
    if not writable(path):
        raise RegistryError(f"{path} cannot be written; name a file you can write with --registry")
    if (kind := network_file_system(path)) is not None:
        raise RegistryError(
            f"{path} is on a network file system ({kind}), where SQLite's locks are not safe and a registry can be "
            "damaged; name a file on a disk of this machine with --registry or SATM_REGISTRY"
        )


def writable(path: Path) -> bool:
    """Whether this user may write the file `path` (if it exists) and its folder."""
    needed = [path, path.parent] if path.exists() else [path.parent]
    effective = os.access in os.supports_effective_ids
    return all(os.access(place, os.W_OK, effective_ids=effective) for place in needed)


def network_file_system(path: Path) -> str | None:
    """The type of the network file system that holds `path`; None on a disk of this machine, or if it is not known."""
    try:
        lines = os.fsdecode(MOUNTS.read_bytes()).splitlines()
    except OSError:
        return None
    # Not Path.resolve, which raises for a link that leads to itself; what opens the file says that.
    place, kind, deepest = Path(os.path.realpath(path)), None, -1
    for line in lines:
        _, mounted, found, *_ = line.split(" ")
        folder = Path(re.sub(r"\\([0-7]{3})", lambda octal: chr(int(octal[1], 8)), mounted))  # a space is \040
        # The deepest mount holds the file. Of two at one place, the later one hides the other.
        if place.is_relative_to(folder) and len(folder.parts) >= deepest:
            deepest, kind = len(folder.parts), found
    return kind if kind in NETWORK else None
