"""A method's configuration from what a preset says of it."""

from __future__ import annotations

from dataclasses import MISSING, fields
from typing import Any

from satm.errors import PluginError
from satm.methods import METHODS


def build(method: str, **given: Any) -> Any:
    """The configuration of `method` under `given`; raises PluginError where another package's leaves more open."""
    kind = METHODS.get(method).config
    missing = [
        each.name
        for each in fields(kind)
        if each.name not in given and each.default is MISSING and each.default_factory is MISSING
    ]
    if missing:
        raise PluginError(
            f"method '{method}' of {METHODS.owner(method)} has no default for {', '.join(missing)}, which no preset "
            "knows; that package must give one"
        )
    return kind(**given)
