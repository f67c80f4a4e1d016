"""The BibTeX entries of `references.bib`. Methods, outer rules, data sets and networks cite them by their keys."""

from __future__ import annotations

import re
from functools import cache
from importlib.resources import files

from satm.errors import ConfigError

SUITE = "satm"  # the key of the entry that cites this suite


def bibtex(cite: str) -> str:
    """The BibTeX entry for `cite`, which is a key of `references.bib` or already a whole entry (it begins with `@`).

    Raises ConfigError for a key that `references.bib` does not have.
    """
    if cite.startswith("@"):
        return cite.strip()
    if cite not in keys():
        raise ConfigError(f"reference '{cite}' is not in satm/references.bib; add its entry there, or give it whole")
    return _entries()[cite]


def keys() -> tuple[str, ...]:
    """The keys of `references.bib`, in the order of the file."""
    return tuple(_entries())


@cache
def _entries() -> dict[str, str]:
    text = files("satm").joinpath("references.bib").read_text(encoding="utf-8")
    found = re.finditer(r"^@\w+\{([^,]+),\n.*?^\}$", text, re.MULTILINE | re.DOTALL)
    return {entry[1]: entry[0] for entry in found}
