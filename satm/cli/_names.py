"""Lists names, such as those of all methods, for help texts, for commands such as `satm methods` and for `satm doctor`.

The names are registered in tables (`satm.names.Names`). To save time, the names and their one-line summaries are read
from the text of our files and from the metadata of other packages, and the tables are not imported. Only two commands
import tables: `satm presets`, because it shows the rows of hyper-parameters of each method, and `satm doctor`, because
it shows whether the plugins of other packages can be loaded.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from importlib import import_module
from itertools import pairwise
from typing import TYPE_CHECKING, Any, cast

from typer.core import TyperArgument, TyperCommand, TyperOption

if TYPE_CHECKING:
    from satm.names import Names


@dataclass(frozen=True, slots=True)
class Alone:
    """An option that may be given with or without a value."""

    value: str  # the value of the option if it is given without a value
    like: re.Pattern[str]  # if the next word on the command line has this form, it is the value of the option


ALONE = {
    "--ray": Alone("auto", re.compile(r"auto|.*:.*", re.DOTALL)),
    "--watch": Alone("5", re.compile(r"-?[0-9.]+")),
}


@dataclass(frozen=True, slots=True)
class Listing:
    """The place of a table, and the places where its names are registered."""

    home: str  # the table, as "module:attribute"
    package: str  # our own names are registered in the files of this package, or in this module
    group: str | None  # the entry-point group in which other packages offer names; None: they cannot offer any

    def names(self) -> Names[Any]:
        """Return the names and their summaries without importing the table."""
        from satm.names import Names

        return Names("name", package=self.package, group=self.group)

    def table(self) -> Names[Any]:
        """Import the module of the table and return the table."""
        module, _, attribute = self.home.partition(":")
        return cast("Names[Any]", getattr(import_module(module), attribute))


LISTINGS = {
    "methods": Listing("satm.methods.base:METHODS", "satm.methods", "satm.methods"),
    "outer": Listing("satm.methods.outer.rule:OUTER", "satm.methods.outer", "satm.outer"),
    "datasets": Listing("satm.data.catalogue:CATALOGUE", "satm.data", "satm.datasets"),
    "architectures": Listing("satm.networks.base:NETWORKS", "satm.networks", "satm.networks"),
    "protocols": Listing("protocols.base:PROTOCOLS", "protocols.methods", "satm.protocols"),
    "online": Listing("protocols.online.memory:ONLINE_MEMORIES", "protocols.online", None),
    "published": Listing("protocols.published:PUBLISHED", "protocols.published", None),
    "layouts": Listing("satm.exchange.base:LAYOUTS", "satm.exchange", "satm.layouts"),
    "metrics": Listing("evaluation.metrics:METRICS", "evaluation.metrics", "satm.metrics"),
    "loggers": Listing("satm.loggers.base:LOGGERS", "satm.loggers", "satm.loggers"),
    "recipes": Listing("evaluation.recipes:RECIPES", "evaluation.recipes", None),
}
"""All tables by key. A key is used in help texts: `{methods}` stands for the names in the table `methods`."""


def filled(text: str, *, plugins: bool = True) -> str:
    """Return `text` with each `{methods}`, `{outer}` … replaced by the names of its table, separated by commas.

    If `plugins` is False, the names of other packages are left out. Then the text is the same on every machine.
    """
    for word, listing in LISTINGS.items():
        if f"{{{word}}}" in text:
            names = listing.names()
            text = text.replace(f"{{{word}}}", ", ".join(names if plugins else names.known()))
    return text


class Command(TyperCommand):
    """A command with two additions to typer's command.

    Its help texts may contain `{methods}` and the other words of `LISTINGS`, which are replaced by names only when the
    help is shown. Its options that are in `ALONE` may be given without a value.
    """

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Add the values that options of `ALONE` lack, then read the words of the command line as typer does."""
        own = {name for parameter in self.params for name in parameter.opts}
        return super().parse_args(ctx, _with_values(args, [name for name in ALONE if name in own]))

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """Write the help of the command, with names in place of `{methods}` and the other words of `LISTINGS`."""
        for parameter in self.params:
            if isinstance(parameter, TyperArgument | TyperOption) and parameter.help:
                parameter.help = filled(parameter.help)
        super().format_help(ctx, formatter)


def _with_values(words: list[str], options: Iterable[str]) -> list[str]:
    """Return the words of a command line. After each of `options` without a value, its value from `ALONE` is added."""
    found: list[str] = []
    for word, later in pairwise([*words, ""]):
        found.append(word)
        if word in options and not ALONE[word].like.fullmatch(later):
            found.append(ALONE[word].value)
    return found
