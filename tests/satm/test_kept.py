"""Kept files: any damage is found, old files are read, writes are durable, modes follow the umask."""

from __future__ import annotations

import errno
import os
import stat
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import save_file

from satm.errors import DamagedFile, SatmError
from satm.home import STALE_SECONDS, acquire, make_folder, put_in_place, write_atomically
from satm.kept import keep, opened

TENSORS = {
    "floats": torch.linspace(0, 1, 12).view(3, 4),
    "bytes": torch.arange(7, dtype=torch.uint8),
    "count": torch.tensor(3),
    "half": torch.ones(3, dtype=torch.bfloat16),
    "yes": torch.tensor([True, False]),
    "none": torch.zeros(0, 5),
}
ABOUT = {"made by": "ε", "epochs": [1, 2.5, None]}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "home" / "kept"


def content(path: Path) -> tuple[object, dict[str, torch.Tensor]]:
    with opened(path) as file:
        assert file is not None
        file.check()
        return file.about, file.tensors()


def same(found: dict[str, torch.Tensor], expected: dict[str, torch.Tensor]) -> bool:
    return found.keys() == expected.keys() and all(
        found[name].dtype == tensor.dtype and torch.equal(found[name], tensor) for name, tensor in expected.items()
    )


def test_what_is_kept_is_read_back(folder: Path) -> None:
    with opened(folder / "a") as missing:
        assert missing is None
    for tensors, about in ((TENSORS, ABOUT), ({"view": TENSORS["floats"].T}, {})):
        keep(folder / "a", tensors, about)
        found = content(folder / "a")
        assert found[0] == about
        assert same(found[1], tensors)
    assert [each.name for each in folder.iterdir()] == ["a"]


def test_a_file_without_checksums_is_read(folder: Path) -> None:
    make_folder(folder)
    for metadata, about in ((None, {}), ({"satm": '{"facts": 1}'}, {"facts": 1})):
        save_file(TENSORS, folder / "old", metadata=metadata)
        found = content(folder / "old")
        assert found[0] == about
        assert same(found[1], TENSORS)


@given(data=st.data())
def test_any_damage_is_found(data: st.DataObject) -> None:
    with tempfile.TemporaryDirectory() as name:
        path = Path(name) / "a"
        keep(path, TENSORS, ABOUT)
        whole = path.read_bytes()
        changed = bytearray(whole)
        if data.draw(st.booleans(), label="cut off"):
            del changed[data.draw(st.integers(0, len(whole) - 1), label="at") :]
        else:
            for _ in range(data.draw(st.integers(1, 4), label="bytes")):
                changed[data.draw(st.integers(0, len(whole) - 1), label="at")] = data.draw(st.integers(0, 255))
        path.write_bytes(changed)
        try:
            about, tensors = content(path)
        except DamagedFile as error:
            assert "\n" not in str(error)  # noqa: PT017
            assert str(path) in str(error)  # noqa: PT017
        else:  # the same byte again, or one that changes nothing, as a space between two names
            assert about == ABOUT
            assert same(tensors, TENSORS)


def test_every_tensor_and_the_description_have_a_checksum(folder: Path) -> None:
    keep(folder / "a", TENSORS, ABOUT)
    whole = (folder / "a").read_bytes()
    places = [whole.index(tensor.numpy().tobytes()) for tensor in (TENSORS["floats"], TENSORS["bytes"])]
    for place in [*places, whole.index(b"epochs"), whole.index(b'"checksum"') + 1, whole.index(b'"checksums"') + 1]:
        changed = bytearray(whole)
        changed[place] ^= 4
        (folder / "a").write_bytes(changed)
        with pytest.raises(DamagedFile):
            content(folder / "a")


def test_the_file_is_on_the_disk_before_its_name_and_the_folder_after(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_folder(folder)
    order: list[tuple[str, str]] = []
    fsync, replace = os.fsync, os.replace

    def synced(handle: int) -> None:
        order.append(("sync", os.path.basename(os.readlink(f"/proc/self/fd/{handle}"))))
        fsync(handle)

    def renamed(source: str, target: str) -> None:
        order.append(("rename", os.path.basename(target)))
        replace(source, target)

    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(os, "replace", renamed)
    keep(folder / "a", TENSORS)
    assert order[-3:] == [("sync", "a"), ("rename", "a"), ("sync", "kept")]
    order.clear()
    make_folder(folder / "new" / "deep")
    assert order == [("sync", "new"), ("sync", "kept")]  # the folders that hold new names
    (folder / "made").mkdir()
    (folder / "made" / "one").touch()
    order.clear()
    put_in_place(folder / "made", folder / "target")
    assert order == [("sync", "one"), ("sync", "made"), ("rename", "target"), ("sync", "kept")]


@pytest.mark.skipif(os.name == "nt", reason="modes are of POSIX")
@pytest.mark.parametrize("umask", [0o002, 0o022, 0o077])
def test_modes_follow_the_umask(folder: Path, umask: int) -> None:
    before = os.umask(umask)
    try:
        keep(folder / "a", TENSORS)
        acquire(folder / "a.lock", timeout=0).release()
    finally:
        os.umask(before)
    assert stat.S_IMODE((folder / "a").stat().st_mode) == 0o666 & ~umask
    assert stat.S_IMODE((folder / "a.lock").stat().st_mode) == 0o666 & ~umask
    assert stat.S_IMODE(folder.stat().st_mode) == 0o777 & ~umask


@pytest.fixture
def as_nobody() -> Iterator[Path]:
    """A folder of another user, and no right of root. A temporary folder of pytest's may be entered by root only."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        keep(folder / "a", TENSORS)
        (folder / "a").chmod(0o600)
        root = os.geteuid() == 0
        if root:
            os.seteuid(65534)
        else:
            (folder / "a").chmod(0)
            folder.chmod(0o555)
        yield folder
        if root:
            os.seteuid(0)
        folder.chmod(0o755)


@pytest.mark.skipif(not hasattr(os, "seteuid"), reason="file permissions are checked on POSIX only")
def test_a_missing_permission_is_named_and_never_leads_to_removing(as_nobody: Path) -> None:
    def read() -> None:
        with opened(as_nobody / "a"):
            pass

    for action in (
        read,
        lambda: keep(as_nobody / "a", TENSORS),
        lambda: acquire(as_nobody / "a.lock", timeout=0),
        lambda: make_folder(as_nobody / "new"),
    ):
        with pytest.raises(
            SatmError, match=r"^no permission to [a-z ]+ /.*; ask its owner for it, or set SATM_HOME"
        ) as e:
            action()
        assert not isinstance(e.value, DamagedFile)
        assert "remove" not in str(e.value)


def test_a_full_disk_leaves_the_old_file_and_nothing_else(folder: Path) -> None:
    resource = pytest.importorskip("resource")
    keep(folder / "a", TENSORS)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, limits[1]))
    try:
        with pytest.raises(SatmError, match=r"cannot write .*; free some space or set SATM_HOME"):
            keep(folder / "a", {"large": torch.zeros(10_000)})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert same(content(folder / "a")[1], TENSORS)
    assert [each.name for each in folder.iterdir()] == ["a"]


def test_a_read_only_disk_is_named(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def read_only(*arguments: object, **options: object) -> str:
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr(tempfile, "mkdtemp", read_only)
    with pytest.raises(SatmError, match=r"Read-only file system; set SATM_HOME to a folder of yours$"):
        keep(folder / "a", TENSORS)


def test_what_a_killed_write_left_is_removed_by_a_later_one(folder: Path) -> None:
    left = [folder / f"a.{name}.tmp" for name in ("old", "young")] + [folder / "b.old.tmp"]
    for each in left:
        each.mkdir(parents=True)
        (each / "half").write_bytes(b"half")
    long_ago = time.time() - 2 * STALE_SECONDS
    for each in (left[0], left[2]):
        for path in (each / "half", each):
            os.utime(path, (long_ago, long_ago))
    keep(folder / "a", TENSORS)
    assert sorted(each.name for each in folder.iterdir()) == ["a", "a.young.tmp", "b.old.tmp"]


def test_before_is_called_when_both_files_are_whole(folder: Path) -> None:
    keep(folder / "a", TENSORS)
    seen = []

    def before() -> None:
        seen.append(same(content(folder / "a")[1], TENSORS))
        (made,) = folder.glob("a.*.tmp/a")
        seen.append(same(content(made)[1], {"x": torch.ones(2)}))

    keep(folder / "a", {"x": torch.ones(2)}, before=before)
    assert seen == [True, True]


def test_an_error_of_the_writer_keeps_its_kind(folder: Path) -> None:
    def broken(path: Path) -> None:
        raise KeyError("a mistake in the program")

    with pytest.raises(KeyError):
        write_atomically(folder / "a", broken)
    assert list(folder.iterdir()) == []
