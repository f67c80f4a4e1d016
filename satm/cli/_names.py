"""The tables of names that the command line lists: in help texts, in commands such as `satm methods`, in `satm doctor`.

Names and one-line summaries are read from the text of the files and from the metadata of other packages, without
importing the tables. `satm presets` and `satm doctor` do import tables: they show the rows of each method, and whether
the things of other packages can be loaded.
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
    """An option that may stand without a value."""

    value: str  # that it then has
    like: re.Pattern[str]  # a word after it that fits this is its value


ALONE = {
    "--ray": Alone("auto", re.compile(r"auto|.*:.*", re.DOTALL)),
    "--watch": Alone("5", re.compile(r"-?[0-9.]+")),
}


@dataclass(frozen=True, slots=True)
class Listing:
    """Where a table is, and where its names are registered."""

    home: str  # module:attribute of the table
    package: str  # the package or module that registers our names, as in `Names`
    group: str | None  # the entry-point group of other packages, as in `Names`

    def names(self) -> Names[Any]:
        """The names and their summaries, without importing the table."""
        from satm.names import Names

        return Names("name", package=self.package, group=self.group)

    def table(self) -> Names[Any]:
        """The table. Imports its module."""
        module, _, attribute = self.home.partition(":")
        return cast("Names[Any]", getattr(import_module(module), attribute))


LISTINGS = {
    "methods": Listing("satm.methods.base:METHODS", "satm.methods", "satm.methods"),
    "outer": Listing("satm.methods.outer.rule:OUTER", "satm.methods.outer", "satm.outer"),
    "datasets": Listing("satm.data.catalogue:CATALOGUE", "satm.data", "satm.datasets"),
    "architectures": Listing("satm.networks.base:NETWORKS", "satm.networks", "satm.networks"),
    "protocols": Listing("protocols.base:PROTOCOLS", "protocols.methods", "satm.protocols"),
    "published": Listing("protocols.published:PUBLISHED", "protocols.published", None),
    "layouts": Listing("satm.exchange.base:LAYOUTS", "satm.exchange", "satm.layouts"),
    "metrics": Listing("evaluation.metrics:METRICS", "evaluation.metrics", "satm.metrics"),
    "loggers": Listing("satm.loggers.base:LOGGERS", "satm.loggers", "satm.loggers"),
    "recipes": Listing("evaluation.recipes:RECIPES", "evaluation.recipes", None),
}
"""Every table that is listed, by the word that a help text uses for its names, such as `{methods}`."""


def filled(text: str, *, plugins: bool = True) -> str:
    """`text` with each `{methods}`, `{outer}` … replaced by the names of that table, with commas between them.

    If `plugins` is False, the names of other packages are left out, so the text is the same on every machine.
    """
    for word, listing in LISTINGS.items():
        if f"{{{word}}}" in text:
            names = listing.names()
            text = text.replace(f"{{{word}}}", ", ".join(names if plugins else names.known()))
    return text


class Command(TyperCommand):
    """A command whose help texts may hold `{methods}` and the like. They are filled in only when its help is shown.

    Its options of `ALONE` may stand without a value.
    """

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Read the words of the command line."""
        own = {name for parameter in self.params for name in parameter.opts}
        return super().parse_args(ctx, _with_values(args, [name for name in ALONE if name in own]))

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """Write the help of the command."""
        for parameter in self.params:
            if isinstance(parameter, TyperArgument | TyperOption) and parameter.help:
                parameter.help = filled(parameter.help)
        super().format_help(ctx, formatter)


def _with_values(words: list[str], options: Iterable[str]) -> list[str]:
    """The words, and after each of these options that has no value the one that it then has."""
    found: list[str] = []
    for word, later in pairwise([*words, ""]):
        found.append(word)
        if word in options and not ALONE[word].like.fullmatch(later):
            found.append(ALONE[word].value)
    return found
