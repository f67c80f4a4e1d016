"""A registry of named things: add by decorator, get by name, never overwrite in silence."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Generic, TypeVar

from satm.errors import ConfigError, UnknownName

T = TypeVar("T")


class Names(Generic[T]):
    """Names of one kind ("method", "data set" …) and what stands behind each."""

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self._items: dict[str, T] = {}

    def add(self, name: str, item: T) -> T:
        """Register `item`; raises ConfigError when the name is taken."""
        if name in self._items:
            raise ConfigError(f"{self.kind} '{name}' is registered twice; rename one of them")
        self._items[name] = item
        return item

    def get(self, name: str) -> T:
        """What `name` stands for; raises UnknownName with the nearest names."""
        if name not in self._items:
            raise UnknownName(self.kind, name, self._items)
        return self._items[name]

    def __iter__(self) -> Iterator[str]:
        return iter(sorted(self._items))

    def __contains__(self, name: object) -> bool:
        return name in self._items

    def __len__(self) -> int:
        return len(self._items)
