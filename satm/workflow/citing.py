"""What a user of a stored set cites: the papers of all that made it, this suite, and the set itself."""

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
    """One thing that a set is made from, and what its user cites for it."""

    what: str  # method, outer optimiser, data set, network or suite
    name: str
    entries: tuple[str, ...]  # BibTeX
    missing: str = ""  # what to do if this suite knows no reference


@dataclass(frozen=True, kw_only=True)
class Citation:
    """What a user of a set cites. `bibtex()` is all of it as one file."""

    name: str  # of the set
    id: str  # sha256 of its tensors, description and parents
    content: str  # sha256 of its images and labels alone
    sources: tuple[Source, ...]

    def bibtex(self) -> str:
        """A BibTeX file: each source under a line that says what it is for, each entry once, the set itself last.

        BibTeX reads an `@` even in a line that begins with `%`, so no such line holds one.
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
    """What a user of a stored set cites.

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
    made: Mapping[str, Any] = synthetic.config.get("condense", {})  # a set made elsewhere has none
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
    """`text` as TeX prints it. Braces become parentheses, because BibTeX counts the braces of an entry."""
    return "".join(_TEX.get(sign, sign) for sign in text)
