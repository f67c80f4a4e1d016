from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from registry import Registry
from satm.errors import RegistryError, UnknownName
from satm.preprocessing import MeanStd
from satm.rng import Seed
from satm.synthetic import SyntheticSet
from tests.registry.helpers import SET, a_set


def bits(tensor: torch.Tensor) -> bytes:
    return tensor.contiguous().view(torch.uint8).numpy().tobytes()


@st.composite
def synthetic_sets(draw: st.DrawFn) -> SyntheticSet:
    n, k, size = draw(st.integers(1, 7)), draw(st.integers(1, 4)), draw(st.integers(1, 3))
    channels = draw(st.sampled_from([1, 3]))
    kind = draw(st.sampled_from(["hard", "probabilities", "logits"]))
    generator = Seed(draw(st.integers(0, 1000))).generator()
    patterns = torch.randint(-(2**31), 2**31 - 1, (n, channels, size, size), generator=generator).to(torch.int32)
    images = patterns.view(torch.float32)  # every kind of float: subnormals, both zeros, huge
    hard = torch.randint(k, (n,), generator=generator)
    soft = torch.randn(n, k, generator=generator, dtype=draw(st.sampled_from([torch.float32, torch.float64])))
    return SyntheticSet(
        images=torch.where(images.isfinite(), images, -0.0),
        labels={"hard": hard, "probabilities": soft.softmax(1), "logits": soft}[kind],
        label_kind=kind,
        step_size=draw(st.none() | st.floats(1e-6, 1.0)),
        dataset="cifar10",
        classes=tuple(f"class {c}" for c in range(k)),
        ipc=n,
        method="satm",
        preprocessing=MeanStd(mean=(0.1,) * channels, std=(0.3,) * channels),
        profile="cpu",
        seed=draw(st.integers(0, 2**63 - 1)),
        config=draw(st.dictionaries(st.text(), st.none() | st.floats(allow_nan=False, allow_infinity=False))),
        parents=tuple(draw(st.lists(st.text(max_size=4), max_size=2))),
    )


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    with Registry.open(tmp_path_factory.mktemp("shared") / "satm.db") as opened:
        yield opened


@given(synthetic=synthetic_sets())
@settings(max_examples=40, deadline=None)
def test_what_is_loaded_is_what_was_stored_bit_for_bit(shared: Registry, synthetic: SyntheticSet) -> None:
    record = shared.add_set(synthetic, run=None)
    loaded = shared.load(record.name)
    assert loaded.images.dtype == synthetic.images.dtype
    assert bits(loaded.images) == bits(synthetic.images)
    assert loaded.labels.dtype == synthetic.labels.dtype
    assert bits(loaded.labels) == bits(synthetic.labels)
    assert loaded.describe() == synthetic.describe()
    assert (loaded.parents, loaded.id, loaded.name) == (synthetic.parents, synthetic.id, record.name)


@pytest.mark.parametrize("config", [{"condense": None}, {"condense": 1.5}, {"condense": {"experts": None}}])
def test_a_foreign_description_can_be_stored(registry: Registry, config: dict[str, object]) -> None:
    for parents in ((), ("experts:1",)):
        record = registry.add_set(replace(SET, config=config, parents=parents), run=None)
        assert registry.load("latest").id == record.id


def test_tensors_are_split_by_class_and_stored_once(registry: Registry) -> None:
    first = registry.add_set(SET, run=None)
    assert len(first.blobs) == 2
    second = registry.add_set(replace(SET, step_size=0.5), run=None)
    assert second.blobs == first.blobs
    assert registry.query("SELECT count(*), sum(size) FROM blobs")[1] == [(2, first.bytes)]


def test_storing_a_set_again_changes_nothing(registry: Registry) -> None:
    first = registry.add_set(SET, run=None)
    assert registry.add_set(SET, run=None) == first
    assert registry.sets() == [first]


def test_versions_count_within_data_set_ipc_and_method(registry: Registry) -> None:
    for seed, ipc, method in [(0, 2, "satm"), (1, 2, "satm"), (2, 1, "satm"), (3, 2, "mtt")]:
        registry.add_set(a_set(seed, ipc=ipc, method=method), run=None)
    names = ["cifar10/ipc2/satm@1", "cifar10/ipc2/satm@2", "cifar10/ipc1/satm@1", "cifar10/ipc2/mtt@1"]
    assert [record.name for record in registry.sets()] == names
    assert [record.name for record in registry.sets(method="satm", ipc=2)] == names[:2]
    assert registry.sets(dataset="digits") == []


def test_a_set_is_found_by_every_kind_of_reference(registry: Registry) -> None:
    one, two = (registry.add_set(a_set(seed), run=None) for seed in (1, 2))
    other = registry.add_set(a_set(3, method="mtt"), run=None)
    assert registry.find("cifar10/ipc2/satm@1") == one
    assert registry.find("cifar10/ipc2/satm") == two
    assert registry.find("latest") == other
    assert registry.find(one.id) == one
    assert registry.find(two.id[:8].upper()) == two


def test_a_reference_that_names_nothing_is_refused_with_the_near_names(registry: Registry) -> None:
    with pytest.raises(RegistryError, match="holds no set yet"):
        registry.find("latest")
    record = registry.add_set(SET, run=None)
    for reference in ["cifar10/ipc2/satm@2", "cifar10/ipc2/satn", "cifar10/ipc20/satm", "0" * 64]:
        with pytest.raises(UnknownName, match="cifar10/ipc2/satm@1") as raised:
            registry.find(reference)
        assert "\n" not in str(raised.value)
    with pytest.raises(UnknownName):
        registry.find(record.id[:3])  # too short to be meant as an id


def test_an_ambiguous_id_prefix_names_the_candidates(registry: Registry) -> None:
    record = registry.add_set(SET, run=None)
    twin = record.id[:6] + ("0" if record.id[6] != "0" else "1") + record.id[7:]
    registry._db.execute(
        "INSERT INTO sets SELECT 99, ?, 'twin@1', dataset, ipc, method, 99, profile, label_kind, step_size, seed, "
        "images, image_shape, bytes, about, parents, blobs, run_id, created FROM sets",
        [twin],
    )
    with pytest.raises(RegistryError, match=r"cifar10/ipc2/satm@1, twin@1; give more digits"):
        registry.find(record.id[:6])
    assert registry.find(record.id[:7]) == record


def damage(registry: Registry, sql: str) -> None:
    """Change rows that the triggers protect, as a careless user could."""
    registry._db.executescript(f"DROP TRIGGER sets_never_change; DROP TRIGGER blobs_never_change; {sql}")


@pytest.mark.parametrize(
    ("sql", "problem"),
    [
        ("UPDATE blobs SET data = zeroblob(size) WHERE rowid = 1", "is damaged"),
        ("DELETE FROM blobs WHERE rowid = 2", "is missing"),
        ("""UPDATE sets SET about = replace(about, '"step_size":0.01', '"step_size":0.02')""", "were changed"),
        ("UPDATE sets SET about = replace(about, '\"ipc\"', '\"ipcs\"')", "description is damaged"),
        ("UPDATE sets SET parents = '[]'", "were changed"),
    ],
)
def test_damage_is_found_by_load_and_by_verify(registry: Registry, sql: str, problem: str) -> None:
    registry.add_set(SET, run=None)
    assert registry.verify() == []
    damage(registry, sql)
    with pytest.raises(RegistryError, match=problem):
        registry.load("latest")
    (found,) = registry.verify("latest")
    assert found.startswith("cifar10/ipc2/satm@1: ")
    assert problem in found
    assert registry.verify() == [found]


@pytest.mark.parametrize(
    ("sql", "problem"),
    [
        ("UPDATE sets SET ipc = 50", "column name was changed"),
        ("UPDATE sets SET profile = 'paper'", "column profile was changed"),
        ("UPDATE sets SET seed = 7", "column seed was changed"),
        ("UPDATE sets SET step_size = 2 * step_size", "column step_size was changed"),
        ("UPDATE set_groups SET group_id = 'abc'", "its groups were changed"),
        ("DELETE FROM set_groups", "its groups were changed"),
    ],
)
def test_a_changed_column_of_a_set_is_found_by_verify(registry: Registry, sql: str, problem: str) -> None:
    registry.add_set(SET, run=None)
    damage(registry, sql)
    assert any(problem in found for found in registry.verify())


def test_a_description_that_is_no_json_is_one_clear_line(registry: Registry) -> None:
    registry.add_set(SET, run=None)
    damage(registry, "UPDATE sets SET about = '{'")
    with pytest.raises(RegistryError, match="SetRecord row is damaged"):
        registry.sets()


def test_verify_reports_rows_that_name_what_is_not_there(registry: Registry) -> None:
    registry._db.execute("PRAGMA foreign_keys = OFF")
    registry._db.execute("INSERT INTO metrics VALUES ('nobody', 'loss', 0, 1.0)")
    found, counted = registry.verify()
    assert found.startswith("foreign_key_check: metrics")
    assert counted.startswith("nobody: the table metrics holds 1 rows, and satm stored 0")


@pytest.mark.parametrize("table", ["sets", "blobs"])
def test_sets_and_blobs_never_change(registry: Registry, table: str) -> None:
    registry.add_set(SET, run=None)
    with pytest.raises(RegistryError, match="never change"), registry._writing() as db:
        db.execute(f"UPDATE {table} SET rowid = 7")


@pytest.mark.parametrize(
    ("synthetic", "message"),
    [
        (replace(SET, images=SET.images[:0], labels=SET.labels[:0]), "without images"),
        (replace(SET, step_size=float("nan")), "JSON"),
        (replace(SET, config={"window": {2: 1, 10: 1}}), "text keys"),
        (replace(SET, config={"path": Path("x")}), "JSON"),
    ],
)
def test_what_cannot_be_stored_is_refused_and_leaves_nothing(
    registry: Registry, synthetic: SyntheticSet, message: str
) -> None:
    with pytest.raises(RegistryError, match=message):
        registry.add_set(synthetic, run=None)
    assert registry.query("SELECT (SELECT count(*) FROM sets), (SELECT count(*) FROM blobs)")[1] == [(0, 0)]


def test_a_set_of_an_unknown_run_is_refused_and_leaves_nothing(registry: Registry) -> None:
    with pytest.raises(RegistryError, match="does not hold the set, run or recipe"):
        registry.add_set(SET, run="nobody")
    assert registry.query("SELECT count(*) FROM blobs")[1] == [(0,)]
