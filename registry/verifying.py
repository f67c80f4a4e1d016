"""The part of the registry that finds rows which something else than satm has changed, added or removed."""

from __future__ import annotations

from registry.connection import explained
from registry.results import Results
from registry.totals import differing, fill


class Verifying(Results):
    """The part of the registry that compares its rows with their totals (`registry.totals`)."""

    def verify(self, reference: str | None = None) -> list[str]:
        """The problems of a set and all that is measured of it, or of the whole file, a line each; none if all is well.

        Sets, blobs, results and recipes are compared with their own checksums, all rows also with their totals.
        """
        with self._snapshot():
            if reference is None:
                return [*super().verify(), *self.differing_totals()]
            record = self.find(reference)
            return [*super().verify(reference), *self.differing_totals(record.id, record.name)]

    def differing_totals(self, *owners: str) -> list[str]:
        """A line for each total that differs from the rows that are there; only those of `owners`, if there are any."""
        with self._snapshot(), explained(self.path):
            found = differing(self._connection, frozenset(owners) or None)
            names = dict(self._tuples("SELECT id, name FROM sets"))
        return [_line(table, names.get(owner, owner), *counts) for (table, owner), counts in found.items()]

    def accept(self) -> int:
        """Take all rows that are there as right; the number of totals that differed. What `verify` says else, stays."""
        with self._writing() as db:
            count = len(differing(self._connection))
            fill(db.conn)
        return count


def _line(table: str, owner: str, stored: int, found: int) -> str:
    if stored == found:
        return f"{owner}: rows of the table {table} were changed; restore a copy"
    return f"{owner}: the table {table} holds {found} rows, and satm stored {stored}; restore a copy"
