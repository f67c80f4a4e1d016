"""`satm cite`: prints the references that a paper with a stored set must cite."""

from __future__ import annotations

import typer

from satm.cli import _options as option
from satm.cli._output import say_lines


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(name="cite")(cite)


def cite(reference: option.SetReference = "latest", registry: option.RegistryPath = option.DEFAULT_REGISTRY) -> None:
    """Print the works that a user of a set should cite, as BibTeX.

    The file has entries for the set's method, outer optimiser, data set and network, for this suite, and for the set
    itself with its id and the hash of its images and labels. Example: satm cite digits/ipc1/satm@1
    """
    import satm

    say_lines(satm.cite(reference, registry=registry).bibtex())
