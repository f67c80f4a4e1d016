from __future__ import annotations

from pathlib import Path

import pytest

from registry import Registry, location
from satm.errors import RegistryError


def mounted(path: Path, monkeypatch: pytest.MonkeyPatch, *lines: str) -> None:
    """Let `lines` be the mounted file systems; `{here}` is the folder of `path`, as such a list spells it."""
    mounts = path.parent / "mounts"
    here = str(path.parent).replace(" ", "\\040")
    mounts.write_text("\n".join(line.format(here=here) for line in lines))
    monkeypatch.setattr(location, "MOUNTS", mounts)


@pytest.mark.parametrize("kind", ["nfs4", "cifs", "fuse.sshfs", "9p"])
def test_a_network_file_system_is_only_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    path = tmp_path / "a folder" / "satm.db"
    path.parent.mkdir()
    Registry.open(path).close()
    mounted(path, monkeypatch, "/dev/vda / ext4 rw 0 0", f"server:/home {{here}} {kind} rw 0 0")
    for name in ("satm.db", "new.db"):
        with pytest.raises(RegistryError, match=rf"network file system \({kind}\)"):
            Registry.open(path.with_name(name))
    with Registry.open(path, read_only=True) as registry:
        assert registry.sets() == []
    assert sorted(file.name for file in path.parent.iterdir()) == ["mounts", "satm.db"]


@pytest.mark.parametrize(
    "lines",
    [
        ["/dev/vda / ext4 rw 0 0"],
        ["server:/ / nfs4 rw 0 0", "/dev/vdb {here} xfs rw 0 0"],  # a local disk below a network root
        ["server:/ {here} nfs4 rw 0 0", "/dev/vdb {here} ext4 rw 0 0"],  # the later mount hides the earlier
        ["/dev/vda / ext4 rw 0 0", "server:/ {here}/other nfs4 rw 0 0", "server:/ {here}x nfs4 rw 0 0"],
        [],
    ],
)
def test_a_disk_of_this_machine_is_written(path: Path, monkeypatch: pytest.MonkeyPatch, lines: list[str]) -> None:
    mounted(path, monkeypatch, *lines)
    Registry.open(path).close()


def test_a_machine_without_a_list_of_mounts_writes(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(location, "MOUNTS", path.parent / "absent")
    Registry.open(path).close()


@pytest.mark.parametrize("name", ["~nobody-of-this-name/satm.db", "x" * 300])
def test_a_path_that_no_system_can_open_is_one_clear_line(path: Path, name: str) -> None:
    with pytest.raises(RegistryError, match="--registry"):
        Registry.open(name if name.startswith("~") else path.with_name(name))
