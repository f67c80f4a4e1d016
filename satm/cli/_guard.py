"""Checks that no other package hides one of the packages of satm."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

from satm.errors import Shadowed

PACKAGES = ("satm", "evaluation", "protocols", "registry")


def guard() -> None:
    """Raise Shadowed if one of the four packages of satm is missing, or if they are not all in the same folder.

    Names such as `registry` are common, so Python may find another package or folder with the same name first.
    """
    places = {}
    for name in PACKAGES:
        found = find_spec(name)
        if found is None or found.origin is None:
            raise Shadowed(f"package '{name}' is missing, or a folder hides it; run the installed `satm` command")
        places[name] = Path(found.origin).parent.parent
    ours = places["satm"]
    for name, place in places.items():
        if place != ours:
            raise Shadowed(
                f"package '{name}' comes from {place}, ours is in {ours}; run the installed `satm` command (not "
                "`python -m`) from another folder, in an environment of its own"
            )
