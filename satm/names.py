"""A registry of named things: ours by `add`, other packages' by entry point, never overwritten in silence.

A package offers one in its own metadata, and nothing of it is imported before its name is asked for:

    [project.entry-points."satm.methods"]
    my-method = "my_package.method:METHOD"
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from typing import Generic, TypeVar

from satm.errors import ConfigError, PluginError, UnknownName

T = TypeVar("T")


class Names(Generic[T]):
    """Names of one kind ("method", "data set" …) and what stands behind each.

    `group` is the entry points' group that adds to them, `expects` the type of what those must load.
    """

    def __init__(self, kind: str, *, group: str | None = None, expects: type[T] | None = None) -> None:
        self.kind, self.group, self.expects = kind, group, expects
        self._items: dict[str, T] = {}

    def add(self, name: str, item: T) -> T:
        """Register `item`; raises ConfigError when the name is taken."""
        if name in self._items:
            raise ConfigError(f"{self.kind} '{name}' is registered twice; rename one of them")
        self._items[name] = item
        return item

    def get(self, name: str) -> T:
        """What `name` stands for; ours before other packages'.

        Raises UnknownName with the nearest names, PluginError where another package's cannot be loaded.
        """
        if name in self._items:
            return self._items[name]
        found = [point for point in self.points() if point.name == name]
        if not found:
            raise UnknownName(self.kind, name, list(self))
        if len(found) > 1:
            owners = " and ".join(sorted(owner(point) for point in found))
            raise PluginError(f"{self.kind} '{name}' is offered by {owners}; uninstall one of them")
        return self._load(found[0])

    def owner(self, name: str) -> str:
        """Where `name` comes from: ours, or the packages that offer it."""
        offers = [owner(point) for point in self.points() if point.name == name]
        return "satm" if name in self._items else " and ".join(sorted(offers))

    def known(self) -> list[str]:
        """The names of ours, without other packages'."""
        return sorted(self._items)

    def points(self) -> tuple[EntryPoint, ...]:
        """What other packages offer, not loaded."""
        return () if self.group is None else _found(self.group, tuple(sys.path))

    def problems(self) -> list[str]:
        """One line for every offer that cannot be used; loads them all."""
        lines = []
        for point in self.points():
            if point.name in self._items:
                lines.append(f"{self.kind} '{point.name}' of {owner(point)} is hidden by ours; rename it")
                continue
            try:
                self.get(point.name)
            except PluginError as error:
                lines.append(str(error))
        return sorted(set(lines))

    def _load(self, point: EntryPoint) -> T:
        try:
            item: T = point.load()
        except Exception as error:  # whatever another package raises when it is imported
            reason = (str(error).splitlines() or [""])[0]
            raise PluginError(
                f"{self.kind} '{point.name}' of {owner(point)} cannot be loaded ({type(error).__name__}: {reason}); "
                "mend or uninstall that package"
            ) from error
        if self.expects is not None and not isinstance(item, self.expects):
            raise PluginError(
                f"{self.kind} '{point.name}' of {owner(point)} is {type(item).__name__}, expected "
                f"{self.expects.__name__}; mend or uninstall that package"
            )
        return item

    def __iter__(self) -> Iterator[str]:
        return iter(sorted({*self._items, *(point.name for point in self.points())}))

    def __contains__(self, name: object) -> bool:
        return name in self._items or any(point.name == name for point in self.points())

    def __len__(self) -> int:
        return len(set(self))


def owner(point: EntryPoint) -> str:
    """The package that an entry point comes from."""
    return point.value if point.dist is None else f"package {point.dist.name}"


@cache
def _found(group: str, path: tuple[str, ...]) -> tuple[EntryPoint, ...]:
    return tuple(entry_points(group=group))
