"""What a user of a stored set must cite: the papers behind everything that made it, this suite, and the set itself."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from registry import Registry
from satm.canonical import digest
from satm.data import CATALOGUE
from satm.methods import METHODS
from satm.methods.outer import OUTER
from satm.names import Names
from satm.networks import cited
from satm.parametrisation import PIXELS
from satm.references import SUITE, bibtex
from satm.synthetic import SyntheticSet, tensor_digest


@dataclass(frozen=True, kw_only=True)
class Source:
    """One thing that a set is made with, and what a user of the set cites for it."""

    what: str  # method, outer optimiser, parametrisation, data set, network or suite
    name: str
    entries: tuple[str, ...]  # BibTeX entries
    missing: str = ""  # what the user should do if this suite knows no reference; else ""


@dataclass(frozen=True, kw_only=True)
class Citation:
    """Everything that a user of a set cites. `bibtex()` returns it as the text of one file."""

    name: str  # the name of the set
    id: str  # the id of the set: the sha256 of its tensors, description and parents
    content: str  # the sha256 of its images and labels only
    sources: tuple[Source, ...]

    def bibtex(self) -> str:
        """The text of a BibTeX file.

        For each source there is a comment line that says what the source is, and then its entries. If two sources have
        the same entry, it is written once, and the comment of the second source gives its key. The entry of the set
        itself is last. BibTeX takes an `@` for the start of an entry even in a line that begins with `%`, so comments
        have " at " for `@`.
        """
        parts: list[str] = []
        for source in self.sources:
            known = [f"(see {_key(entry)})" for entry in source.entries if entry in parts]
            notes = " ".join([*known, *([source.missing] if source.missing else [])])
            parts.append(f"% {source.what} {source.name} {notes}".rstrip().replace("@", " at "))
            parts += [entry for entry in dict.fromkeys(source.entries) if entry not in parts]
        return "\n\n".join([*parts, "% the set itself", self._own_entry()])

    def _own_entry(self) -> str:
        return (
            f"@misc{{set-{self.id[:12]},\n"
            f"  title = {{{_escaped(self.name)}, a synthetic set}},\n"
            f"  note = {{id {self.id}; images and labels sha256 {self.content}}}\n"
            "}"
        )


def cite(reference: str = "latest", *, registry: Path | str = "satm.db") -> Citation:
    """Everything that a user of a stored set cites.

    `reference` is a name such as `digits/ipc1/satm@1`, a tag, the first digits of an id, or `latest`. Raises
    UnknownName for an unknown reference, RegistryError for damaged tensors.
    """
    with Registry.open(registry, must_exist=True, read_only=True) as store:
        record = store.find(reference)
        synthetic = store.load(record.id)
    return Citation(
        name=record.name,
        id=record.id,
        content=digest({"images": tensor_digest(synthetic.images), "labels": tensor_digest(synthetic.labels)}),
        sources=tuple(_sources(synthetic)),
    )


def _sources(synthetic: SyntheticSet) -> Iterator[Source]:
    made: Mapping[str, Any] = synthetic.config.get("condense", {})  # an imported set has no `condense` entry
    settings: Mapping[str, Any] = made.get("settings", {})
    yield _of_table("method", made.get("method", synthetic.method), METHODS)
    if base := settings.get("base"):
        yield _of_table("method", base, METHODS)
    if rule := settings.get("outer", {}).get("rule"):
        yield _of_table("outer optimiser", rule, OUTER)
    if synthetic.parametrisation != PIXELS:
        yield _source("parametrisation", synthetic.parametrisation.spell(), synthetic.parametrisation.cite)
    yield _of_table("data set", synthetic.dataset, CATALOGUE)
    if network := made.get("architecture"):
        yield _source("network", network, cited(network))
    yield _source("suite", SUITE, (SUITE,))


def _of_table(what: str, name: str, table: Names[Any]) -> Source:
    return _source(what, name, table.get(name).cite if name in table else ())


def _source(what: str, name: str, keys: tuple[str, ...]) -> Source:
    missing = "" if keys else f"has no reference here: cite the place that this {what} comes from"
    return Source(what=what, name=name, entries=tuple(map(bibtex, keys)), missing=missing)


def _key(entry: str) -> str:
    return entry.partition("{")[2].partition(",")[0].strip()


_TEX = {"\\": r"\textbackslash{}", "{": "(", "}": ")", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"}
_TEX |= {sign: f"\\{sign}" for sign in "_%&#$"}


def _escaped(text: str) -> str:
    """`text` with TeX's special characters escaped.

    Braces become parentheses, because BibTeX fails if an opening brace has no closing brace.
    """
    return "".join(_TEX.get(sign, sign) for sign in text)
