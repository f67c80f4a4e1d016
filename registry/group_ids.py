"""Computes the groups that a set belongs to, from its description and its parents.

A group holds sets that differ only in the seed of their condensation. The parents of a set are the ids of what it was
made from, such as `experts:` and a hash.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Any, Literal, TypeAlias

Experts: TypeAlias = Literal["own", "shared", "none"]
"""The kind of experts that the sets of a group were made with.

`own`: the experts of each set have the seed of this set. `shared`: all sets have the same experts. `none`: the sets
were made without experts.
"""


def memberships(about: Mapping[str, Any], parents: Collection[str]) -> dict[str, Experts]:
    """Return the groups that a set belongs to: the kind of experts by the id of the group (32 hex digits).

    `about` is `SyntheticSet.describe()`. The id of a group is a hash of this description without the seeds and the
    learned step size, of the parents without experts and teachers, and of the kind of experts. For `shared` experts the
    hash also contains the seed of the experts. If the experts of a set have the seed of the set, the set belongs to two
    groups, one of kind `own` and one of kind `shared`, so it can be compared with the sets of both.
    """
    from satm.canonical import digest

    # A set that another program made may have values of any type under these keys.
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
    """Yield the rows of the table `set_groups` for a set."""
    for group_id, experts in memberships(about, parents).items():
        yield {"set_id": set_id, "group_id": group_id, "experts": experts}
