"""Tables of named things, such as methods, outer rules, protocols, layouts, data sets and networks.

A thing is registered where it is defined, in one statement at the top level of its file:

    METHODS.add(Method(name="mtt", summary="matching training trajectories (Cazenavette et al. 2022)", ...))

The table finds these statements by reading the text of its package's files, so it lists names and summaries without
importing anything. For this, `name` and `summary` must be literal strings in the statement. A file is imported when a
name that it registers is used.

Another package offers a thing in its own metadata:

    [project.entry-points."satm.methods"]
    my-method = "my_package.method:METHOD"

That thing is listed with the name of its package, and imported when its name is used.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, TypeVar, cast

from satm.errors import ConfigError, PluginError, UnknownName

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Listed:
    """A name that a file registers, read from the file's text."""

    name: str
    summary: str  # one line; "" if the statement gives none
    module: str  # the module that registers it


class Names(Generic[T]):
    """The things of one kind ("method", "data set" …) by name.

    Args:
        kind: what a thing is called in messages.
        package: the package, or the single module, whose files register our things; None: only `add` registers them.
        group: the entry-point group in which other packages offer things; None: they cannot offer any.
        expects: the type that the object of such an entry point must have; None: any type.
        wrap: makes a thing, given the name and the object of an entry point; None: the object is the thing.
    """

    def __init__(
        self,
        kind: str,
        *,
        package: str | None = None,
        group: str | None = None,
        expects: type[T] | None = None,
        wrap: Callable[[str, Any], T] | None = None,
    ) -> None:
        self.kind, self.package, self.group, self.expects, self.wrap = kind, package, group, expects, wrap
        self._items: dict[str, T] = {}

    def add(self, item: T) -> T:
        """Register `item` under its `name`. Raises ConfigError if the name is taken."""
        name: str = cast(Any, item).name
        if name in self._items:
            raise ConfigError(f"{self.kind} '{name}' is registered twice; rename one of them")
        self._items[name] = item
        return item

    def get(self, name: str) -> T:
        """The thing called `name`. If another package offers the same name, it is ours.

        Raises UnknownName with the nearest names if there is none. Raises PluginError if two packages offer it, or if
        another package's thing cannot be loaded.
        """
        if name not in self._items and name in (ours := self._listed()):
            import_module(ours[name].module)
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
        """`satm` if `name` is ours, else the packages that offer it."""
        offers = [owner(point) for point in self.points() if point.name == name]
        return "satm" if name in self.known() else " and ".join(sorted(offers))

    def known(self) -> list[str]:
        """Our names, sorted, without those of other packages."""
        return sorted({*self._items, *self._listed()})

    def summaries(self) -> dict[str, str]:
        """One line for every name. For another package's thing, which is not loaded, the line names the package."""
        lines = {name: f"from {self.owner(name)}" for name in self}
        lines |= {name: str(getattr(item, "summary", "")) for name, item in self._items.items()}
        return lines | {name: listed.summary for name, listed in self._listed().items()}

    def points(self) -> tuple[EntryPoint, ...]:
        """The entry points of other packages, not loaded."""
        return () if self.group is None else _offers(self.group, tuple(sys.path))

    def problems(self) -> list[str]:
        """One line for every thing of another package that cannot be used. Loads all things of other packages."""
        lines = []
        for point in self.points():
            if point.name in self.known():
                lines.append(f"{self.kind} '{point.name}' of {owner(point)} is hidden by ours; rename it")
                continue
            try:
                self.get(point.name)
            except PluginError as error:
                lines.append(str(error))
        return sorted(set(lines))

    def _listed(self) -> dict[str, Listed]:
        return {} if self.package is None else registered_in(self.package)

    def _load(self, point: EntryPoint) -> T:
        try:
            item: Any = point.load()
        except Exception as error:  # another package's import may raise anything
            reason = (str(error).splitlines() or [""])[0]
            raise PluginError(
                f"{self.kind} '{point.name}' of {owner(point)} cannot be loaded ({type(error).__name__}: {reason}); "
                "repair or uninstall that package"
            ) from error
        if self.expects is not None and not isinstance(item, self.expects):
            raise PluginError(
                f"{self.kind} '{point.name}' of {owner(point)} is {type(item).__name__}, expected "
                f"{self.expects.__name__}; repair or uninstall that package"
            )
        thing = cast(T, item) if self.wrap is None else self.wrap(point.name, item)
        if (named := getattr(thing, "name", point.name)) != point.name:
            raise PluginError(
                f"{self.kind} '{point.name}' of {owner(point)} is called '{named}' in its code; give both one name"
            )
        return thing

    def __iter__(self) -> Iterator[str]:
        return iter(sorted({*self.known(), *(point.name for point in self.points())}))

    def __contains__(self, name: object) -> bool:
        return name in set(self)

    def __len__(self) -> int:
        return len(set(self))


def owner(point: EntryPoint) -> str:
    """The package that an entry point comes from; the object that it names if the package is not known."""
    return point.value if point.dist is None else f"package {point.dist.name}"


@cache
def registered_in(package: str) -> dict[str, Listed]:
    """The things that the files of `package` register, by name. They are read from the text: nothing is imported.

    `package` is a package (its own files, not those of packages inside it) or a single module. Raises ConfigError if
    two files register one name.
    """
    top, *parts = package.split(".")
    spec = find_spec(top)  # of the top-level package only: finding a package inside it would import its parents
    if spec is None or spec.origin is None:
        raise ConfigError(f"package {top} is not installed; reinstall satm")
    folder = Path(spec.origin).parent.joinpath(*parts)
    files = sorted(folder.glob("*.py")) if folder.is_dir() else [folder.with_suffix(".py")]
    found: dict[str, Listed] = {}
    for file in files:
        module = f"{package}.{file.stem}" if folder.is_dir() and file.stem != "__init__" else package
        for name, summary in _statements(file.read_text(encoding="utf-8")):
            if name in found:
                raise ConfigError(f"'{name}' is registered in {found[name].module} and in {module}; rename one of them")
            found[name] = Listed(name, summary, module)
    return found


def _statements(text: str) -> Iterator[tuple[str, str]]:
    """(name, summary) of every `TABLE.add(Thing(name="…", summary="…"))` at the top level of a file."""
    if ".add(" not in text:
        return
    for statement in ast.parse(text).body:
        if not isinstance(statement, ast.Expr | ast.Assign | ast.AnnAssign):
            continue
        call = statement.value
        if not (isinstance(call, ast.Call) and isinstance(call.func, ast.Attribute) and call.func.attr == "add"):
            continue
        for item in call.args:
            words = {
                each.arg: each.value.value
                for each in (item.keywords if isinstance(item, ast.Call) else ())
                if isinstance(each.value, ast.Constant) and isinstance(each.value.value, str)
            }
            if "name" in words:
                yield words["name"], words.get("summary", "")


@cache
def _offers(group: str, path: tuple[str, ...]) -> tuple[EntryPoint, ...]:
    """The entry points of `group` in the installed packages.

    They depend on `sys.path`. `path` makes it a part of the cache's key, so that a change of it counts.
    """
    from importlib.metadata import entry_points  # loads Python's mail parser, and most commands need no plug-in

    return tuple(entry_points(group=group))
