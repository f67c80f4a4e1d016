"""Tags: names that a user gives to sets."""

from __future__ import annotations

import pytest

from registry import Registry
from satm.errors import ConfigError, UnknownName
from tests.registry.helpers import a_set


def test_a_tag_names_its_set_everywhere(registry: Registry) -> None:
    first, second = (registry.add_set(a_set(seed), run=None) for seed in (0, 1))
    registry.add_tag(first.id, "baseline")
    registry.add_tag(first.id, "paper-table.5")
    assert registry.find("baseline").id == registry.load("paper-table.5").id == first.id
    assert registry.group("baseline").sets == (first,)
    assert registry.tags() == {"baseline": first.id, "paper-table.5": first.id}
    assert registry.find("latest").id == second.id


def test_a_tag_moves_only_if_told(registry: Registry) -> None:
    first, second = (registry.add_set(a_set(seed), run=None) for seed in (0, 1))
    registry.add_tag(first.id, "best")
    registry.add_tag(first.id, "best")
    with pytest.raises(ConfigError, match=r"best names cifar10/ipc2/satm@1; --move"):
        registry.add_tag(second.id, "best")
    registry.add_tag(second.id, "best", move=True)
    assert registry.find("best").id == second.id
    registry.remove_tag("best")
    with pytest.raises(UnknownName, match="unknown set 'best'"):
        registry.find("best")
    with pytest.raises(UnknownName, match="unknown tag 'best'"):
        registry.remove_tag("best")


@pytest.mark.parametrize("tag", ["", "latest", "beef", "0123", "a/b", "a@1", "a b", "\x1b[31m", "-x", "é", "x" * 65])
def test_a_tag_that_could_be_something_else_is_refused(registry: Registry, tag: str) -> None:
    record = registry.add_set(a_set(), run=None)
    with pytest.raises(ConfigError, match="expected a letter"):
        registry.add_tag(record.id, tag)
    assert registry.tags() == {}
