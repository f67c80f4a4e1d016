"""The recipe that judges a set if none is named."""

from __future__ import annotations

import pytest

from satm.methods import METHODS
from satm.workflow.evaluate.subject import usual_recipe


@pytest.mark.parametrize("profile", ["cpu", "smoke"])
@pytest.mark.parametrize("method", ["mtt", "dc", "somebody's"])
def test_a_small_scale_has_one_recipe_for_all(method: str, profile: str) -> None:
    assert usual_recipe(method, profile) == profile


def test_at_paper_an_imported_set_is_judged_as_its_method_is() -> None:
    for name in METHODS.known():
        assert usual_recipe(name, "paper") == METHODS.get(name).recipe
    assert [usual_recipe(name, "paper") for name in ("dc", "datm", "somebody's")] == ["dc", "datm", "mtt"]
