"""Everything that a set is made from says what its user cites, and every reference is whole and used."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

from satm.data import CATALOGUE
from satm.errors import ConfigError
from satm.methods import METHODS
from satm.methods.outer import OUTER
from satm.names import Names
from satm.networks import NETWORKS
from satm.parametrisation import Factor, LowRank
from satm.references import SUITE, bibtex, keys

ROOT = Path(__file__).parent.parent.parent
TABLES: tuple[Names[Any], ...] = (METHODS, OUTER, CATALOGUE, NETWORKS)


def field(key: str, name: str) -> str:
    """A field of an entry, without the braces that protect its letters; "" if the entry has none."""
    found = re.search(rf"^  {name} = \{{(.*)\}},?$", bibtex(key), re.MULTILINE)
    return found[1].replace("{", "").replace("}", "") if found else ""


@pytest.mark.parametrize("table", TABLES, ids=lambda table: table.kind)
def test_every_entry_of_a_table_has_references(table: Names[Any]) -> None:
    assert table.known()
    for name in table.known():
        cited = table.get(name).cite
        assert cited, f"{table.kind} {name} has no reference"
        assert set(cited) <= set(keys()), f"{table.kind} {name}"


def test_every_reference_is_whole_and_something_cites_it() -> None:
    cited = {key for table in TABLES for name in table.known() for key in table.get(name).cite}
    cited |= {*Factor.cite, *LowRank.cite}
    assert cited == set(keys())
    for key in keys():
        assert bibtex(key).count("{") == bibtex(key).count("}")
        assert field(key, "title"), key
        assert field(key, "author"), key


def test_the_suite_and_its_paper_are_cited_as_citation_cff_says() -> None:
    known = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert field(SUITE, "title") == known["title"]
    assert field(SUITE, "author") == known["authors"][0]["name"]
    assert field(SUITE, "version") == known["version"] == project["version"]
    (paper,) = known["references"]
    people = [f"{each['family-names']}, {each['given-names']}" for each in paper["authors"]]
    assert field("gao2025satm", "title") == paper["title"]
    assert field("gao2025satm", "author").split(" and ") == people
    assert field("gao2025satm", "year") == str(paper["year"])


def test_a_key_that_the_file_lacks_is_refused_and_a_whole_entry_is_taken() -> None:
    entry = "@misc{mine,\n  title = {Mine}\n}"
    assert bibtex(entry + "\n") == entry
    with pytest.raises(ConfigError, match=r"'mine' is not in satm/references\.bib"):
        bibtex("mine")
