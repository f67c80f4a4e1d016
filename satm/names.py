"""Tables of named objects, such as methods, outer rules, protocols, layouts, data sets and networks.

An object is registered in the file that defines it, by one statement at the top level of the file:

    METHODS.add(Method(name="mtt", summary="matching training trajectories (Cazenavette et al. 2022)", ...))

A table has a package (for `METHODS` it is `satm.methods`). It finds these statements by reading the text of the files
in this package. It can therefore list the names and summaries without importing the files. For this, `name` and
`summary` must be literal strings in the statement. A file is imported only when one of the names that it registers is
used.

A package that does not belong to this suite can offer an object by an entry point in its own metadata:

    [project.entry-points."satm.methods"]
    my-method = "my_package.method:METHOD"

The table lists the name of such an object with the name of its package. The object is imported when its name is used.
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
    """A name that a file registers. It is read from the text of the file."""

    name: str
    summary: str  # one line about the object; "" if the statement has no summary
    module: str  # the module that registers it


class Names(Generic[T]):
    """A table of objects of one kind, such as methods or data sets, by name. T is the type of the objects.

    "Our" objects are those of this suite. Other packages can add objects through entry points.

    Args:
        kind: the word for such an object in messages, for example "method" or "data set".
        package: the package, or the single module, with the files that register our objects. None: no files are read,
            and only calls of `add` register objects.
        group: the entry-point group in which other packages offer objects. None: other packages cannot offer objects.
        expects: the type that an object loaded from an entry point must have. None: any type is allowed.
        wrap: a function that gets the name and the loaded object of an entry point, and returns the object for the
            table. None: the loaded object itself is used.
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
        """Register `item` under its attribute `name`, and return it. Raises ConfigError if the name is used already."""
        name: str = cast(Any, item).name
        if name in self._items:
            raise ConfigError(f"{self.kind} '{name}' is registered twice; rename one of them")
        self._items[name] = item
        return item

    def get(self, name: str) -> T:
        """The object called `name`. If we and another package both have an object of this name, ours is returned.

        Raises UnknownName, with the nearest names, if there is no such object. Raises PluginError if two other packages
        offer the name, or if the object of another package cannot be loaded.
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
        """The owner of `name` as text: `satm` if the name is ours, otherwise the packages that offer the name."""
        offers = [owner(point) for point in self.points() if point.name == name]
        return "satm" if name in self.known() else " and ".join(sorted(offers))

    def known(self) -> list[str]:
        """The sorted names of our objects, without the names that other packages offer."""
        return sorted({*self._items, *self._listed()})

    def summaries(self) -> dict[str, str]:
        """One line of text for every name.

        The line is the summary of the object. Objects of other packages are not loaded for this: their line says from
        which package they are.
        """
        lines = {name: f"from {self.owner(name)}" for name in self}
        lines |= {name: str(getattr(item, "summary", "")) for name, item in self._items.items()}
        return lines | {name: listed.summary for name, listed in self._listed().items()}

    def points(self) -> tuple[EntryPoint, ...]:
        """The entry points of other packages in the group of this table. They are not loaded."""
        return () if self.group is None else _offers(self.group, tuple(sys.path))

    def problems(self) -> list[str]:
        """One line of text for every object of another package that cannot be used.

        Either we have an object of the same name, or the object cannot be loaded. To find out, all objects of other
        packages are loaded.
        """
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
        except Exception as error:  # the import of another package can raise any exception
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
    """The package that defines the entry point `point`, as text.

    If the package is not known, the text is the value of the entry point, such as `my_package.method:METHOD`.
    """
    return point.value if point.dist is None else f"package {point.dist.name}"


@cache
def registered_in(package: str) -> dict[str, Listed]:
    """The names that the files of `package` register, with their summaries and modules.

    They are read from the text of the files, and the files are not imported. `package` is the name of a package or of a
    single module. For a package, only the files directly in its folder are read, and none in folders below. Raises
    ConfigError if a name is registered twice.
    """
    top, *parts = package.split(".")
    spec = find_spec(top)  # only the top-level package, because to find an inner one, Python imports the outer one
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
    """The pair (name, summary) of every statement `TABLE.add(Thing(name="…", summary="…"))` in the file's `text`.

    Only statements at the top level of the file are found.
    """
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

    The result depends on `sys.path`. The argument `path` is not used in the function. It only makes `sys.path` a part
    of the cache's key, so that the entry points are read again after a change of `sys.path`.
    """
    from importlib.metadata import entry_points  # here, because this import is slow (it loads the mail parser)

    return tuple(entry_points(group=group))
