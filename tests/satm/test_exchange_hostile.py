"""Nobody's file does harm: from damaged, wrong and hostile files every importer makes a set, or says one line."""

from __future__ import annotations

import copy
import io
import json
import os
import pickle
import resource
import struct
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import satm
from registry import Registry
from satm.errors import SatmError
from satm.exchange import FORMATS
from satm.exchange.parquet import read_parquet
from satm.preprocessing import ZCA
from tests.satm import exchange_files as files
from tests.satm.exchange_files import IMAGES, LABELS, LOGITS, PIXELS, PROBABILITIES, WRITERS, K, normal

COUNTS = [pytest.param(40, id="some"), pytest.param(1000, id="a-thousand", marks=pytest.mark.slow)]
NAN = float("nan")


@pytest.fixture(autouse=True)
def _bounded_memory() -> Iterator[None]:
    """4 GiB of address space beyond what the process has: a claim that is believed fails here, not on the machine."""
    before = resource.getrlimit(resource.RLIMIT_AS)
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + 4 * 2**30, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_AS, before)


def spoilt(tensor: torch.Tensor, value: float) -> torch.Tensor:
    changed = tensor.clone()
    changed.view(-1)[7] = value
    return changed


WRONG_IMAGES: list[Any] = [
    *(
        normal(*shape)
        for shape in [(10, 3, 8), (9, 3, 8, 8), (10, 3, 8, 7), (20, 3, 8, 8), (10, 1, 8, 8), (10, 4, 8, 8)]
    ),
    *(normal(*shape) for shape in [(10, 3, 2, 2), (1, 10, 3, 8, 8), (10,), (1, 3, 8, 8), (10, 3, 9, 9)]),
    torch.zeros(0, 3, 8, 8),
    torch.zeros(10, 3, 0, 0),
    torch.tensor(3.0),
    *(IMAGES.to(kind) for kind in (torch.float16, torch.bfloat16, torch.float64, torch.complex64)),
    *(PIXELS.to(kind) for kind in (torch.uint8, torch.int8, torch.int64, torch.bool, torch.float32)),
    *(spoilt(IMAGES, value) for value in (NAN, float("inf"), -float("inf"), 1e30, 3e38)),
    spoilt(IMAGES.double(), 1e300),
    IMAGES * 100,
    IMAGES / 1000,
    IMAGES + 5,
    IMAGES.to_sparse(),
    torch.nn.Parameter(IMAGES),
    IMAGES[:, :, :1, :1].expand(10, 3, 8, 8),
    torch.zeros(1).expand(10**6, 3, 32, 32),
    IMAGES.permute(0, 1, 3, 2),
    torch.empty(10, 3, 8, 8, device="meta"),
    None,
    "images",
    [1, 2, 3],
    {"images": IMAGES},
    3,
]
WRONG_LABELS: list[Any] = [
    LABELS + 1,
    LABELS - 1,
    LABELS.flip(0),
    torch.zeros(10, dtype=torch.int64),
    LABELS[:9],
    LABELS.float(),
    LABELS + 0.5,
    spoilt(LABELS.float(), NAN),
    spoilt(LABELS.float(), 1e30),
    LABELS.double() * 1e300,
    *(LABELS.to(kind) for kind in (torch.int8, torch.uint8, torch.int16, torch.bool, torch.complex64, torch.float16)),
    torch.full((10,), 2**62),
    torch.tensor(1),
    torch.zeros(0, dtype=torch.int64),
    PROBABILITIES,
    PROBABILITIES * 2,
    PROBABILITIES[:, :9],
    PROBABILITIES.double(),
    spoilt(PROBABILITIES, NAN),
    -PROBABILITIES,
    LOGITS,
    LOGITS.to(torch.float16),
    spoilt(LOGITS, float("inf")),
    normal(10, 100),
    torch.zeros(10, 10, 1),
    torch.zeros(10, 0),
    torch.zeros(10, 1, dtype=torch.int64),
    LABELS[:, None].expand(10, 10),
    LABELS.to_sparse(),
    None,
    "labels",
    list(range(10)),
]
WRONG_STEPS: list[Any] = [
    *(NAN, -0.01, 0.0, float("inf"), 1e300, 1e-320, True, "0.01", None, 2, 1j, [0.01]),
    torch.tensor([0.01, 0.02]),
    torch.tensor([[0.01]]),
    torch.tensor(0.01, dtype=torch.float16),
    torch.tensor(1j),
    torch.tensor(True),
    torch.tensor(NAN),
    torch.tensor(3),
    torch.zeros(0),
]


def judge(path: Path, name: str, registry: Path, *, labels: Any = None, store: bool = False) -> bool:
    """Import: a sound set (True), or one line and nothing stored (False); any other exception fails the test."""
    claims = {"labels": labels} if labels else {}
    before = _count(registry)
    found, refusal = None, None
    try:
        found = satm.import_set(
            path,
            format=name,
            dataset="cifar10",
            preprocessing="meanstd",
            registry=registry,
            dry_run=not store,
            **claims,
        )
    except SatmError as error:
        refusal = error
    if found is None:
        said = str(refusal)
        assert said
        assert said.isprintable(), said  # one line
        assert len(said) < 1000
        assert refusal.exit_code in (1, 2)
        assert _count(registry) == before
        return False
    made = found.synthetic
    assert made.images.dtype == torch.float32
    assert torch.isfinite(made.images).all()
    assert torch.isfinite(made.labels).all()
    assert len(made) == made.ipc * K
    assert made.step_size is None or 0 < made.step_size < 1e30
    assert not made.images.requires_grad
    if store:
        with Registry.open(registry, read_only=True) as opened:
            assert torch.equal(opened.load(made.id).images, made.images)
    return True


def _count(registry: Path) -> int:
    if not registry.exists():
        return 0
    with Registry.open(registry, read_only=True) as store:
        return len(store.sets()) + len(store.runs())


@st.composite
def damage(draw: st.DrawFn, content: bytes) -> bytes:
    """A file's bytes after one to three accidents."""
    changed = bytearray(content)
    for _ in range(draw(st.integers(1, 3))):
        kind = draw(st.sampled_from(["cut", "flip", "flip", "zero", "insert", "remove", "repeat", "head"]))
        # Near the ends lie the headers; damage in the middle is mostly other pixels.
        at = draw(st.sampled_from([0, 0, len(changed) // 2, max(0, len(changed) - 200)])) + draw(st.integers(0, 199))
        at = min(at, max(0, len(changed) - 1))
        size = draw(st.integers(1, 40))
        if kind == "cut":
            del changed[at:]
        elif kind == "head":
            del changed[:at]
        elif kind == "flip" and changed:
            changed[at] ^= draw(st.integers(1, 255))
        elif kind == "zero":
            changed[at : at + size] = bytes(len(changed[at : at + size]))
        elif kind == "insert":
            changed[at:at] = draw(st.binary(max_size=20))
        elif kind == "remove":
            del changed[at : at + size]
        elif kind == "repeat":
            changed[at:at] = changed[at : at + size]
    return bytes(changed)


def fuzz(count: int) -> settings:
    return settings(
        max_examples=count,
        database=None,
        deadline=None,
        suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large],
    )


@pytest.mark.parametrize("count", COUNTS)
@pytest.mark.parametrize("name", WRITERS)
def test_damaged_files(name: str, count: int, tmp_path: Path) -> None:
    """Half of the mutated files of an importer: bytes changed, cut, put in and taken out."""
    folder = files.fresh(tmp_path / "case")
    WRITERS[name](folder)
    whole = {path: path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}

    @fuzz(max(1, count // 2))
    @given(st.data())
    def run(data: st.DataObject) -> None:
        path = data.draw(st.sampled_from(list(whole)))
        try:
            path.write_bytes(data.draw(damage(whole[path])))
            judge(folder, name, tmp_path / "fuzz.db", store=data.draw(st.integers(0, 63)) == 0)
        finally:
            path.write_bytes(whole[path])

    run()


@pytest.mark.parametrize("count", COUNTS)
@pytest.mark.parametrize("name", WRITERS)
def test_wrong_contents(name: str, count: int, tmp_path: Path) -> None:
    """The other half: sound containers of tensors that are not what they should be."""

    @fuzz(max(1, count // 2))
    @given(
        st.sampled_from([None, *range(len(WRONG_IMAGES))]),
        st.sampled_from([None, *range(len(WRONG_LABELS))]),
        st.sampled_from([None, *range(len(WRONG_STEPS))]),
        st.sampled_from([None, "hard", "probabilities", "logits"]),
        st.integers(0, 63),
    )
    def run(images: int | None, labels: int | None, step: int | None, claimed: str | None, store: int) -> None:
        folder = files.fresh(tmp_path / "case")
        wrong: dict[str, Any] = {}
        if images is not None:
            wrong["images"] = WRONG_IMAGES[images]
        if labels is not None:
            wrong["labels"] = WRONG_LABELS[labels]
        if step is not None:
            wrong["step_size"] = WRONG_STEPS[step]
        judge(WRITERS[name](folder, **wrong), name, tmp_path / "fuzz.db", labels=claimed, store=store == 0)

    run()


@pytest.mark.parametrize("name", WRITERS)
def test_the_files_as_they_should_be(name: str, tmp_path: Path) -> None:
    path = WRITERS[name](files.fresh(tmp_path / "case"))
    labels = "probabilities" if name == "rded" else None
    assert judge(path, name, tmp_path / "satm.db", labels=labels, store=True)


JUNK = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=8),
    st.sampled_from(
        ["../../x", "a/b", "x\ny", "\ud800", "10" * 3000, [], {}, [[1]], {"kind": "zca", "key": "../../x"}]
    ),
    st.sampled_from(["paper", "cpu", 2**64, -1, 0.0, "1", ["a", 1]]),
)


@pytest.mark.parametrize("count", COUNTS)
@pytest.mark.parametrize("whitened", [False, True])
def test_wrong_descriptions(count: int, whitened: bool, tmp_path: Path) -> None:
    """A file of ours whose description was changed: one line, or the change was none."""
    from satm.exchange.about import from_text, to_text

    made = _ours(tmp_path)
    if whitened:  # as KIP does, the description with most in it
        made = replace(made, preprocessing=ZCA(key="0" * 64, eps=0.1, shape=(3, 8, 8), unit=made.preprocessing))
    carried = json.loads(to_text(made))
    keys = [("id",), ("about",), ("parents",), *(("about", key) for key in carried["about"])]
    keys += [("about", "preprocessing", key) for key in ("kind", "mean", "std", "key", "eps", "shape")]
    if whitened:
        keys += [("about", "preprocessing", "unit"), *(("about", "preprocessing", "unit", k) for k in ("kind", "mean"))]
    keys += [("about", "config", "import", key) for key in made.config["import"]] + [("about", "config", "import")]

    @fuzz(count // 4)
    @given(st.sampled_from(keys), JUNK)
    def run(place: tuple[str, ...], junk: Any) -> None:
        changed = copy.deepcopy(carried)
        at = changed
        for key in place[:-1]:
            at = at[key]
        at[place[-1]] = junk
        text = json.dumps(changed)
        try:
            found = from_text(text, made.images, made.labels, "here")
        except SatmError as error:
            said = str(error)
        else:
            said = "the same" if found.id == made.id else "\n"
        assert said.isprintable()

    run()


def _ours(tmp_path: Path) -> Any:
    return satm.import_set(
        files.mtt(files.fresh(tmp_path / "mtt")),
        format="mtt",
        dataset="cifar10",
        preprocessing="meanstd",
        dry_run=True,
    ).synthetic


@pytest.mark.parametrize("change", [{"profile": "huge"}, {"method": "../x"}, {"dataset": "a/b"}, {"ipc": 7}])
def test_a_description_that_was_hashed_again_is_still_checked(change: dict[str, Any], tmp_path: Path) -> None:
    from satm.exchange.tensorfile import write_safetensors

    made = replace(_ours(tmp_path), **change)
    write_safetensors(made, tmp_path / "x.safetensors")
    with pytest.raises(SatmError):
        satm.import_set(tmp_path / "x.safetensors", format="safetensors", registry=tmp_path / "satm.db")
    assert not (tmp_path / "satm.db").exists()


class Hostile:
    """Makes a file when it is unpickled."""

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
    """Unpickles to as many bytes as it says, in torch's own weights-only reader too."""

    def __reduce__(self) -> Any:
        return (bytearray, (2**40,))


def png(side: int) -> bytes:
    """A picture that claims to have `side` pixels a side and holds next to none."""
    head = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    chunks = [(b"IHDR", head), (b"IDAT", zlib.compress(b"")), (b"IEND", b"")]
    packed = [struct.pack(">I", len(d)) + k + d + struct.pack(">I", zlib.crc32(k + d)) for k, d in chunks]
    return b"\x89PNG\r\n\x1a\n" + b"".join(packed)


def test_what_a_file_claims_is_not_allocated(tmp_path: Path) -> None:
    """Archives, arrays, pickles, pictures and tables that say they are huge: refused by their claim, not by memory."""
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
    """Unpickles to `function(*arguments)`."""

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
    """In an archive a record is as long as its storage; before archives, every storage is listed and follows."""
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


@pytest.mark.parametrize("name", FORMATS)
def test_empty_files_and_folders_and_nothing_at_all(name: str, tmp_path: Path) -> None:
    folder = files.fresh(tmp_path / "case")
    assert not judge(folder, name, tmp_path / "satm.db")
    assert not judge(folder / "nothing", name, tmp_path / "satm.db")
    assert not judge(Path("\0"), name, tmp_path / "satm.db")
    assert not judge(Path("x" * 5000), name, tmp_path / "satm.db")
    WRITERS[name](folder)
    for victim in [path for path in folder.rglob("*") if path.is_file()][:4]:
        before = victim.read_bytes()
        victim.write_bytes(b"")
        assert not judge(folder, name, tmp_path / "satm.db")
        victim.write_bytes(before)
    assert not (tmp_path / "satm.db").exists()


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
