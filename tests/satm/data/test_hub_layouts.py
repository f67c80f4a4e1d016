"""Parquet as data hubs serve it: where the files lie, which column is which, and labels of every plain type."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from satm.data import load
from satm.errors import DataError
from tests.satm.data.files import CIFAR10, encoded, picture

STRUCT = pa.struct({"bytes": pa.binary(), "path": pa.string()})


def images(count: int = 4, start: int = 0, size: int = 6) -> Any:
    rows = [{"bytes": encoded(picture(start + row, (size, size))), "path": None} for row in range(count)]
    return pa.array(rows, STRUCT)


def write(path: Path, columns: dict[str, Any], features: dict[str, Any] | None = None) -> None:
    table = pa.table(columns)
    if features is not None:
        table = table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, path)


def both(folder: Path, labels: Any, features: dict[str, Any] | None = None, **more: Any) -> None:
    for part in ("train", "test"):
        write(
            folder / f"{part}-00000-of-00001.parquet", {"image": images(len(labels)), "label": labels, **more}, features
        )


def loaded(root: Path, name: str = "mine") -> Any:
    return load(name, root=root, validation=0)


@pytest.mark.parametrize(
    "names",
    [
        ("{}-00000-of-00001.parquet",),
        ("data/{}-00000-of-00001-cced8514c7ed782a.parquet",),
        ("plain_text/{}-00000-of-00001.parquet",),
        ("data/{}/0000.parquet",),
        ("{}/0000.parquet",),
        ("default/{}/0000.parquet",),
        ("default/train/{}-0000.parquet",),
    ],
)
def test_the_layouts_of_data_hubs(root, names):
    (root / "mine" / ".cache").mkdir(parents=True)
    (root / "mine" / "README.md").write_text("x")
    for part, start in (("train", 0), ("test", 50)):
        write(root / "mine" / names[0].format(part), {"image": images(4, start), "label": [0, 1, 0, 1]})
    data = loaded(root)
    assert (len(data.train), len(data.test)) == (4, 4)
    assert not torch.equal(data.train.images, data.test.images)


def test_cifar10_as_the_hub_serves_it(root):
    features = {"img": {"_type": "Image"}, "label": {"names": CIFAR10, "_type": "ClassLabel"}}
    for part, start in (("train", 0), ("test", 50)):
        columns = {"img": images(20, start, 32), "label": pa.array([row % 10 for row in range(20)], pa.int64())}
        write(root / "cifar10" / "plain_text" / f"{part}-00000-of-00001.parquet", columns, features)
    (root / "cifar10" / "README.md").write_text("---\nconfigs: []\n---\n")
    data = loaded(root, "cifar10")
    assert (data.classes, data.image_shape) == (tuple(CIFAR10), (3, 32, 32))


def test_several_configurations_are_refused_and_one_may_be_named(root):
    both(root / "mine" / "cropped", [0, 1])
    both(root / "mine" / "full", [0, 1])
    with pytest.raises(
        DataError, match=r"several configurations, cropped, full; give the path of one, such as .*cropped"
    ):
        loaded(root)
    assert len(load(str(root / "mine" / "full"), validation=0).train) == 2


def test_files_of_no_split_are_passed_over_and_counted(root, said):
    both(root / "mine", [0, 1])
    write(root / "mine" / "extra-00000-of-00001.parquet", {"image": images(2), "label": [0, 1]})
    assert len(loaded(root).train) == 2
    assert said == [f"passed over in {root / 'mine'}: 1 Parquet files of no split (extra-00000-of-00001.parquet)"]


@pytest.mark.parametrize(
    ("labels", "classes", "numbers"),
    [
        (["dog", "cat", "dog", "ant"], ("ant", "cat", "dog"), [2, 1, 2, 0]),
        (["10", "9", "10", "2"], ("2", "9", "10"), [2, 1, 2, 0]),
        (pa.array(["dog", "cat"]).dictionary_encode(), ("cat", "dog"), [1, 0]),
        ([True, False], ("0", "1"), [1, 0]),
        (pa.array([1, 0], pa.uint8()), ("0", "1"), [1, 0]),
    ],
)
def test_labels_of_every_plain_type(root, labels, classes, numbers):
    both(root / "mine", labels)
    data = loaded(root)
    assert (data.classes, data.train.labels.tolist()) == (classes, numbers)


def test_declared_names_give_the_order_of_labels_that_are_names(root):
    both(root / "mine", ["dog", "cat"], {"label": {"names": ["dog", "cat"], "_type": "ClassLabel"}})
    assert loaded(root).train.labels.tolist() == [0, 1]


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ([1, 2], r"labels start at 1 \(they run from 1 to 2\); subtract 1"),
        ([0.0, 1.0], "column label is double; expected whole numbers or class names"),
        ([[0], [1]], "column label is list<.*; expected whole numbers or class names"),
        ([0, 999_999_999], "labels reach 999999999, and there are 2 images; number classes from 0"),
        (pa.array([0, 2**63], pa.uint64()), "column label reaches 9223372036854775808; expected class numbers"),
    ],
)
def test_labels_that_cannot_be_read_are_one_line(root, labels: Sequence[Any], message):
    both(root / "mine", labels)
    with pytest.raises(DataError, match=message):
        loaded(root)


def test_a_class_of_test_alone_is_refused(root):
    both(root / "mine", ["cat", "dog"])
    write(root / "mine" / "test-00000-of-00001.parquet", {"image": images(2), "label": ["cat", "cow"]})
    with pytest.raises(DataError, match="has the class 'cow', which the training images have not"):
        loaded(root)


@pytest.mark.parametrize(
    ("columns", "features"),
    [
        ({"mask": "other", "image": "real"}, None),  # by its usual name
        ({"first": "other", "second": "real"}, {"second": {"_type": "Image"}}),  # by its declared type
        ({"mask": "other", "image": "real"}, {"mask": {"_type": "Image"}, "image": {"_type": "Image"}}),
    ],
)
def test_the_image_column_by_its_declared_type_or_usual_name(root, columns, features):
    for part in ("train", "test"):
        made = {name: images(2, 70 if what == "other" else 0) for name, what in columns.items()}
        declared = features and {**features, "label": {"_type": "Value"}}
        write(root / "mine" / f"{part}-0.parquet", {**made, "label": [0, 1]}, declared)
    expected = torch.from_numpy(np.array(picture(0))).permute(2, 0, 1)
    assert torch.equal(loaded(root).train.images[0], expected)


@pytest.mark.parametrize("names", [("left", "right"), ("image", "img")])
def test_several_image_columns_are_refused(root, names):
    for part in ("train", "test"):
        write(root / "mine" / f"{part}-0.parquet", {**{name: images(2) for name in names}, "label": [0, 1]})
    with pytest.raises(DataError, match=f"2 columns that may be the image: {', '.join(names)}; leave one"):
        loaded(root)


@pytest.mark.parametrize(
    ("name", "features"), [("target", None), ("digit", {"digit": {"_type": "ClassLabel", "names": ["a", "b"]}})]
)
def test_the_label_column_by_another_usual_name_or_its_declared_type(root, name, features):
    for part in ("train", "test"):
        write(root / "mine" / f"{part}-0.parquet", {"image": images(2), name: [1, 0]}, features)
    assert loaded(root).train.labels.tolist() == [1, 0]


def test_several_label_columns_are_refused(root):
    for part in ("train", "test"):
        write(root / "mine" / f"{part}-0.parquet", {"image": images(2), "target": [1, 0], "class": [0, 1]})
    with pytest.raises(DataError, match="may have its labels in target, class; expected one label column"):
        loaded(root)
