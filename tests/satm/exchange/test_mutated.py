"""From a damaged or wrong file, an importer makes a valid set, or raises a one-line error and stores nothing."""

from __future__ import annotations

import copy
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import satm
from registry import Registry
from satm.errors import SatmError
from satm.exchange import LAYOUTS
from satm.preprocessing import ZCA
from tests.satm.exchange import files
from tests.satm.exchange.files import IMAGES, LABELS, LOGITS, PIXELS, PROBABILITIES, WRITERS, K, normal

COUNTS = [pytest.param(40, id="some"), pytest.param(1000, id="a-thousand", marks=pytest.mark.slow)]
NAN = float("nan")


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
    """Import a file. True for a valid set, False for a one-line error with nothing stored; the test fails otherwise."""
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
    """A file's bytes after one to three random changes."""
    changed = bytearray(content)
    for _ in range(draw(st.integers(1, 3))):
        kind = draw(st.sampled_from(["cut", "flip", "flip", "zero", "insert", "remove", "repeat", "head"]))
        # Headers are near the ends; damage in the middle mostly changes pixels.
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
    """Half of the mutated files of an importer: bytes are changed, cut off, inserted and removed."""
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
    """The other half of the mutated files: undamaged containers with wrong tensors."""

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
    """A file of ours with a changed description gives a one-line error, or the change has no effect."""
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


@pytest.mark.parametrize("name", LAYOUTS)
def test_empty_files_and_folders_and_nothing_at_all(name: str, tmp_path: Path) -> None:
    folder = files.fresh(tmp_path / "case")
    assert not judge(folder, name, tmp_path / "satm.db")
    assert not judge(folder / "nothing", name, tmp_path / "satm.db")
    assert not judge(Path("\0"), name, tmp_path / "satm.db")
    assert not judge(Path("x" * 5000), name, tmp_path / "satm.db")
    {**WRITERS, "idc": files.idc}[name](folder)
    for victim in [path for path in folder.rglob("*") if path.is_file()][:4]:
        before = victim.read_bytes()
        victim.write_bytes(b"")
        assert not judge(folder, name, tmp_path / "satm.db")
        victim.write_bytes(before)
    assert not (tmp_path / "satm.db").exists()
