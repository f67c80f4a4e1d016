"""The groups that a set belongs to, from its description and its parents."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Any, Literal, TypeAlias

Experts: TypeAlias = Literal["own", "shared", "none"]
"""Whether each set of a group has experts of its own seed, all sets have the same experts, or there are no experts."""


def memberships(about: Mapping[str, Any], parents: Collection[str]) -> dict[str, Experts]:
    """The groups that a set belongs to: the kind of experts by group id (32 hex digits).

    `about` is `SyntheticSet.describe()`. The id hashes the description without the seeds and the learned step size, and
    the parents without experts and teachers. Experts of the set's own seed and experts that are shared make two groups;
    the id of the second also hashes the experts' seed. A set whose experts have its own seed belongs to both, so it can
    be compared in either.
    """
    from satm.canonical import digest

    # A set that was made elsewhere may have anything under these keys.
    given = about.get("config", {}).get("condense", {})
    condensed = given if isinstance(given, Mapping) else {"condense": given}
    named = condensed.get("experts", {})
    trained = named if isinstance(named, Mapping) else {"experts": named}
    seedless = {**condensed, "experts": {k: v for k, v in trained.items() if k != "seed"}}
    kinds: dict[Experts, Any]
    if any(parent.startswith("experts:") for parent in parents):
        seed = trained.get("seed")
        kinds = {"own": None, "shared": seed} if seed == about["seed"] else {"shared": seed}
    else:
        kinds = {"none": None}
    facts = {
        **{key: value for key, value in about.items() if key not in ("seed", "step_size", "config")},
        "config": {**about.get("config", {}), "condense": seedless},
        "parents": sorted(parent for parent in parents if not parent.startswith(("experts:", "teacher:"))),
    }
    return {digest({**facts, "experts": [kind, value]})[:32]: kind for kind, value in kinds.items()}


def membership_rows(set_id: str, about: Mapping[str, Any], parents: Collection[str]) -> Iterator[dict[str, str]]:
    """The rows of the table `set_groups` for a set."""
    for group_id, experts in memberships(about, parents).items():
        yield {"set_id": set_id, "group_id": group_id, "experts": experts}
