"""The folder of compiled code, and the removal of libraries that a killed linker left unfinished."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from pathlib import Path

import pytest
import torch
from filelock import FileLock

from satm.machine.compilation import compiled

linux = pytest.mark.skipif(sys.platform != "linux", reason="libraries are ELF files only on Linux")


@pytest.fixture
def library() -> Path:
    """A shared library of torch."""
    return Path(torch._C.__file__)


def double(x):
    return 2 * x


@linux
def test_unfinished_libraries_are_removed_and_no_other_file(library, tmp_path, monkeypatch):
    whole = library.read_bytes()
    folder = tmp_path / "code"
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(folder))
    contents = {
        "empty.main.so": b"",
        "cut.main.so": whole[: len(whole) // 2],
        "no-header-yet.main.so": bytes(len(whole)),
        "linking.main.so": whole[:100],
        "whole.main.so": whole,
        "source.cpp": b"",
    }
    (folder / "ab").mkdir(parents=True)
    (folder / "locks").mkdir()
    for name, content in contents.items():
        (folder / "ab" / name).write_bytes(content)
    with FileLock(folder / "locks" / "linking.lock"):
        compiled(double, notify=pytest.fail)
        left = {path.name for path in (folder / "ab").iterdir()}
        assert left == {"linking.main.so", "whole.main.so", "source.cpp"}
    compiled(double, notify=pytest.fail)
    assert {path.name for path in (folder / "ab").iterdir()} == {"whole.main.so", "source.cpp"}


def test_the_folder_is_ours_after_any_earlier_compilation_unless_the_user_names_one(tmp_path, monkeypatch):
    from torch._inductor.runtime.cache_dir_utils import cache_dir

    monkeypatch.delenv("TORCHINDUCTOR_CACHE_DIR", raising=False)
    theirs = cache_dir()  # any compilation calls this, which sets the variable
    compiled(double, notify=pytest.fail)
    assert cache_dir() == str(tmp_path / "home" / "compiled") != theirs
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path / "named"))
    compiled(double, notify=pytest.fail)
    assert cache_dir() == str(tmp_path / "named")


@linux
@pytest.mark.slow
@pytest.mark.parametrize("name", ["my files", "it's"])
def test_a_home_with_a_space_in_its_path_still_compiles(name, tmp_path, monkeypatch):
    from torch._inductor.utils import clear_caches

    monkeypatch.delenv("TORCHINDUCTOR_CACHE_DIR", raising=False)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))  # torch's own folder is in it
    monkeypatch.setenv("SATM_HOME", str(tmp_path / name))
    x = torch.arange(5.0)
    torch._dynamo.reset()
    clear_caches()  # as in a new process
    torch.testing.assert_close(compiled(double, notify=pytest.fail)(x), 2 * x)


@linux
@pytest.mark.slow
def test_truncated_code_is_compiled_again(tmp_path, monkeypatch):
    from torch._inductor.utils import clear_caches

    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path / "code"))
    x = torch.arange(5.0)

    def run() -> Path:
        torch._dynamo.reset()
        clear_caches()  # as in a new process
        torch.testing.assert_close(compiled(double, notify=pytest.fail)(x), 2 * x)
        (code,) = (tmp_path / "code").glob("*/*.main.so")
        return code

    made = run()
    size = made.stat().st_size
    half = tmp_path / "half"  # a new file: this process has the old one mapped
    half.write_bytes(made.read_bytes()[: size // 2])
    shutil.move(half, made)
    assert os.stat(run()).st_size == size
