"""No file does harm: hostile pickles, false claims and links out of the folder are refused with one line."""

from __future__ import annotations

import io
import os
import pickle
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

import satm
from satm.errors import SatmError
from satm.exchange.parquet import read_parquet
from tests.satm.data.files import png
from tests.satm.exchange import files
from tests.satm.exchange.files import IMAGES, LABELS, WRITERS


class Hostile:
    """An object that makes a file when it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> Any:
        return (os.mkdir, (str(self.mark),))


@pytest.mark.parametrize("name", ["mtt", "datm", "dc", "dd-ranking", "rded"])
def test_a_hostile_pickle_is_refused_in_one_line_and_does_not_run(name: str, tmp_path: Path) -> None:
    mark = tmp_path / "ran"
    for write in (lambda path: torch.save(Hostile(mark), path), lambda p: p.write_bytes(pickle.dumps(Hostile(mark)))):
        folder = files.fresh(tmp_path / "case")
        WRITERS[name](folder)
        for victim in list(folder.glob("*.pt")):
            before = victim.read_bytes()
            write(victim)
            with pytest.raises(SatmError, match=r"refused, nothing of it was run|no file that") as caught:
                satm.import_set(folder, format=name, dataset="cifar10", preprocessing="meanstd")
            assert "\n" not in str(caught.value)
            victim.write_bytes(before)
    assert not mark.exists()


def test_a_hostile_pickle_inside_an_npz_is_refused(tmp_path: Path) -> None:
    mark = tmp_path / "ran"
    np.savez(tmp_path / "x.npz", images=np.array([Hostile(mark)], dtype=object), labels=LABELS.numpy())
    with pytest.raises(SatmError, match="cannot be read"):
        satm.import_set(tmp_path / "x.npz", format="kip", dataset="cifar10", preprocessing="meanstd")
    assert not mark.exists()


def npz(path: Path, shape: tuple[int, ...], body: bytes = b"") -> None:
    """An archive whose arrays claim `shape`."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        buffer = io.BytesIO()
        np.lib.format.write_array_header_1_0(buffer, {"descr": "<f4", "fortran_order": False, "shape": shape})
        for name in ("images.npy", "labels.npy"):
            archive.writestr(name, buffer.getvalue() + body)


class Claiming:
    """An object that takes as many bytes as it says when it is unpickled, even in torch's weights-only reader."""

    def __reduce__(self) -> Any:
        return (bytearray, (2**40,))


def test_what_a_file_claims_is_not_allocated(tmp_path: Path) -> None:
    """Archives, arrays, pickles, pictures and tables with huge claims are refused before memory is allocated."""
    folder = files.fresh(tmp_path / "case")

    def said(name: str, path: Path) -> str:
        with pytest.raises(SatmError) as caught:
            satm.import_set(path, format=name, dataset="cifar10", preprocessing="meanstd")
        return str(caught.value)

    npz(folder / "shape.npz", (2**40,))
    assert "more than its bytes" in said("kip", folder / "shape.npz")
    npz(folder / "bomb.npz", (2**25,), bytes(2**27))
    assert "which its length does not allow" in said("kip", folder / "bomb.npz")
    files.mtt(folder)
    torch.save(Claiming(), folder / "images_best.pt")
    assert "more than tensors (__builtin__.bytearray" in said("mtt", folder)
    with zipfile.ZipFile(folder / "images_best.pt", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data/0", bytes(2**27))
    assert "which its length does not allow" in said("mtt", folder)
    files.imagefolder(files.fresh(folder))
    for side, words in ((5_000, "at most 4096"), (12_000, "decompression bomb"), (60_000, "decompression bomb")):
        for path in folder.rglob("*.png"):
            path.write_bytes(png(side))
        assert words in said("imagefolder", folder)
    zeros = pa.table({"label": pa.array(np.zeros(10**6, dtype=np.int64))})
    pq.write_table(zeros, folder / "x.parquet")
    assert "claims 1000000 rows, more than its bytes" in said("parquet", folder / "x.parquet")
    values = [bytes([row]) * 100_000 for row in range(4)]  # a dictionary of four, and a thousand rows that repeat them
    column = pa.DictionaryArray.from_arrays(pa.array([row % 4 for row in range(1000)]), pa.array(values))
    pq.write_table(pa.table({"image": column.cast(pa.binary())}), folder / "x.parquet", compression="none")
    assert (folder / "x.parquet").stat().st_size < 2**20
    assert "claims to unpack to" in said("parquet", folder / "x.parquet")


class Calls:
    """An object that calls `function(*arguments)` when it is unpickled."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self.call = (function, arguments)

    def __reduce__(self) -> Any:
        return self.call


SHAPE = (10, 3, 8, 8)
TENSOR = torch._utils._rebuild_tensor_v2
LITTLE = torch.storage.TypedStorage(wrap_storage=torch.ones(2).untyped_storage(), dtype=torch.float32, _internal=True)


@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize(
    "content",
    [
        Calls(torch.Tensor, *SHAPE),
        Calls(torch.FloatTensor, *SHAPE),
        Calls(TENSOR, LITTLE, 0, SHAPE, (192, 64, 8, 1), False, {}),
        Calls(TENSOR, LITTLE, 1, (2,), (1,), False, {}),
        Calls(TENSOR, LITTLE, 0, (2,), (-1,), False, {}),
        Calls(np.float64(0).__reduce__()[0], np.dtype("V5000000")),
        Calls(np.float64(0).__reduce__()[0], np.dtype("f8"), b"1234"),
        Calls(np.float64(0).__reduce__()[0], np.dtype("i8"), bytes(8)),
    ],
)
def test_a_pickle_makes_no_memory_that_the_file_does_not_fill(content: Any, legacy: bool, tmp_path: Path) -> None:
    folder = files.fresh(tmp_path / "case")
    held = {"data": [[IMAGES, LABELS]], "accs_all_exps": content}
    torch.save(held, folder / "res_DC.pt", _use_new_zipfile_serialization=not legacy)
    with pytest.raises(SatmError, match=r"refused, nothing of it was run|no file that torch.save wrote"):
        satm.import_set(folder, format="dc", dataset="cifar10", preprocessing="meanstd")


def test_storages_hold_what_the_pickle_says(tmp_path: Path) -> None:
    """In an archive, a record is as long as its storage. In the older format, a list of storages precedes them."""
    folder = files.mtt(files.fresh(tmp_path / "case"))
    victim = folder / "images_best.pt"
    with zipfile.ZipFile(victim) as archive:
        records = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(victim, "w") as archive:
        for name, content in records.items():
            archive.writestr(name, content[:-4] if name.endswith("data/0") else content)
    with pytest.raises(SatmError, match="bytes for tensor 0, which it does not hold"):
        satm.import_set(folder, format="mtt", dataset="cifar10", preprocessing="meanstd")

    torch.save(IMAGES, victim, _use_new_zipfile_serialization=False)
    found = satm.import_set(folder, format="mtt", dataset="cifar10", preprocessing="meanstd", dry_run=True)
    assert torch.equal(found.synthetic.images, IMAGES)
    whole = victim.read_bytes()
    listed = whole.rindex(b"\x80\x02]")
    for wrong in (whole[:listed] + pickle.dumps([], 2) + whole[listed:], whole[:-4]):
        victim.write_bytes(wrong)
        with pytest.raises(SatmError, match=r"names tensors that it does not hold|ends before its tensors do"):
            satm.import_set(folder, format="mtt", dataset="cifar10", preprocessing="meanstd")


def test_a_file_that_is_an_archive_at_one_end_only_is_refused(tmp_path: Path) -> None:
    folder = files.mtt(files.fresh(tmp_path / "case"))
    victim = folder / "images_best.pt"
    archive = victim.read_bytes()
    torch.save(Claiming(), victim, _use_new_zipfile_serialization=False)
    for wrong in (victim.read_bytes() + archive, archive[:-400]):
        victim.write_bytes(wrong)
        with pytest.raises(SatmError, match="a zip archive at one end only"):
            satm.import_set(folder, format="mtt", dataset="cifar10", preprocessing="meanstd")


@pytest.mark.parametrize("name", WRITERS)
def test_links_that_lead_out_of_the_folder_are_refused(name: str, tmp_path: Path) -> None:
    folder, elsewhere = files.fresh(tmp_path / "case"), files.fresh(tmp_path / "elsewhere")
    WRITERS[name](folder)
    victim = next(path for path in sorted(folder.rglob("*")) if path.is_file())
    moved = elsewhere / victim.name
    victim.rename(moved)
    victim.symlink_to(moved)
    with pytest.raises(SatmError, match="points outside"):
        satm.import_set(folder, format=name, dataset="cifar10", preprocessing="meanstd", labels=None)


def test_a_class_folder_that_is_a_link_out_is_refused(tmp_path: Path) -> None:
    folder = files.imagefolder(files.fresh(tmp_path / "case"))
    (folder / "00009").rename(tmp_path / "elsewhere")
    (folder / "00009").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(SatmError, match="points outside"):
        satm.import_set(folder, format="imagefolder", dataset="cifar10")


def test_a_parquet_page_that_unpacks_to_more_than_its_footer_says_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "bomb.parquet"
    zeros = pa.table({"image": [bytes(80 * 2**20)], "label": [0]})
    pq.write_table(zeros, file, compression="zstd", use_dictionary=False, write_statistics=False)
    group = pq.ParquetFile(file).metadata.row_group(0)
    content = file.read_bytes()
    footer = len(content) - 8 - int.from_bytes(content[-8:-4], "little")

    def zigzag(value: int, length: int | None = None) -> bytes:
        septets = [2 * value >> shift & 0x7F for shift in range(0, 35, 7)][:length]
        while length is None and not septets[-1]:
            septets.pop()
        return bytes([*(each | 0x80 for each in septets[:-1]), septets[-1]])

    head, tail = content[:footer], content[footer:]
    for honest in (group.total_byte_size, group.column(0).total_uncompressed_size):
        assert zigzag(honest) in tail
        tail = tail.replace(zigzag(honest), zigzag(1000, len(zigzag(honest))))
    file.write_bytes(head + tail)
    assert pq.ParquetFile(file).metadata.row_group(0).total_byte_size == 1000
    with pytest.raises(SatmError, match="claims to unpack to 80 MiB, which its length does not allow"):
        read_parquet(file)


def test_damaged_parquet_pages_are_one_line(tmp_path: Path) -> None:
    (file,) = WRITERS["parquet"](files.fresh(tmp_path / "set")).glob("*.parquet")
    content, first = file.read_bytes(), pq.ParquetFile(file).metadata.row_group(0).column(0)
    start = min(o for o in (first.dictionary_page_offset, first.data_page_offset) if o)
    for header in (
        b"\xff" * 12,
        b"\x15\x00\x15\x01\x15\x00\x00",
        b"\x19" * 40,
        b"\x00",
        b"\x1c" * 40,
        b"\x19\xfc\xff\xff\x7f",
    ):
        file.write_bytes(content[:start] + header + content[start + len(header) :])
        with pytest.raises(SatmError, match="the page at byte"):
            read_parquet(file)
