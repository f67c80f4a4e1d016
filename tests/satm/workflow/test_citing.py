"""What a user of a set cites, from the set's own record."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

import satm
from registry import Registry
from satm.cli import run
from satm.parametrisation import Factor
from tests.satm.workflow.reporting.registries import a_set

SETTINGS = {"base": "datm", "outer": {"rule": "sam"}}
MDC = {"condense": {"method": "mdc", "architecture": "convnet3_w32", "settings": SETTINGS}}


def stored(path: Path, method: str, **changes: Any) -> Any:
    with Registry.open(path) as store:
        return store.add_set(a_set(method, 0, **changes), run=None)


def cited(text: str) -> list[str]:
    return re.findall(r"^@\w+\{([^,]+),$", text, re.MULTILINE)


def test_a_set_names_the_papers_of_all_that_made_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    record = stored(tmp_path / "satm.db", "mdc+sam", config=MDC, parametrisation=Factor(2))
    assert run(["cite", record.name, "--registry", str(tmp_path / "satm.db")]) == 0
    text = capsys.readouterr().out
    made = ["he2024mdc", "guo2024datm", "foret2020sam", "kim2022idc"]
    papers = [*made, "krizhevsky2009cifar", "gidaris2018convnet", "satm"]
    assert cited(text) == [*papers, f"set-{record.id[:12]}"]
    assert f"title = {{{record.name}, a synthetic set}}" in text
    assert f"id {record.id}; images and labels sha256 " in text


def test_the_hash_of_the_content_is_of_images_and_labels_alone(tmp_path: Path) -> None:
    path = tmp_path / "satm.db"
    names = [stored(path, "mtt", **facts).name for facts in ({}, {"step_size": 0.5}, {"ipc": 1})]
    first, other_step_size, fewer = (satm.cite(name, registry=path) for name in names)
    assert (first.content == other_step_size.content, first.id == other_step_size.id) == (True, False)
    assert first.content != fewer.content


def test_an_entry_stands_once_and_the_second_source_points_to_it(tmp_path: Path) -> None:
    config = {"condense": {"method": "satm", "settings": {"outer": {"rule": "satm"}}}}
    record = stored(tmp_path / "satm.db", "satm", config=config)
    text = satm.cite(record.name, registry=tmp_path / "satm.db").bibtex()
    assert cited(text).count("gao2025satm") == 1
    assert "\n% outer optimiser satm (see gao2025satm)\n" in text


def test_what_has_no_reference_is_said_and_a_strange_name_leaves_a_readable_file(tmp_path: Path) -> None:
    record = stored(tmp_path / "satm.db", "a@b{_%", config={}, dataset="my {folder}")
    text = satm.cite(record.id, registry=tmp_path / "satm.db").bibtex()
    assert "% method a at b{_% has no reference here: cite the place that this method comes from" in text
    assert "% data set my {folder} has no reference here" in text
    assert cited(text) == ["satm", f"set-{record.id[:12]}"]
    assert r"title = {my (folder)/ipc2/a@b(\_\%@1, a synthetic set}" in text
    # BibTeX reads every `@` outside an entry as the start of one.
    assert text.count("\n@") + text.startswith("@") == len(cited(text))
    assert all("@" not in line for line in text.splitlines() if line.startswith("%"))
