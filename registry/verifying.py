"""The part of the registry that finds rows which another program has changed, added or removed."""

from __future__ import annotations

from registry.connection import explained
from registry.results import Results
from registry.totals import differing, fill


class Verifying(Results):
    """The part of the registry that compares its rows with their totals.

    A total is the number of rows that satm stored, with one checksum over them (`registry.totals`).
    """

    def verify(self, reference: str | None = None) -> list[str]:
        """Return one line for each problem of a set and its results, or of the whole file if `reference` is None.

        The list is empty if there is no problem. Sets, blobs, results and recipes are compared with their own
        checksums. All rows are also compared with their totals.
        """
        with self._snapshot():
            if reference is None:
                return [*super().verify(), *self.differing_totals()]
            record = self.find(reference)
            return [*super().verify(reference), *self.differing_totals(record.id, record.name)]

    def differing_totals(self, *owners: str) -> list[str]:
        """Return one line for each total that differs from the rows in its table.

        An owner is what rows belong to, such as a set or a run. It is identified by its id, or in the table `sets` by
        its name. If `owners` are given, only their totals are compared.
        """
        with self._snapshot(), explained(self.path):
            found = differing(self._connection, frozenset(owners) or None)
            names = dict(self._tuples("SELECT id, name FROM sets"))
        return [_line(table, names.get(owner, owner), *counts) for (table, owner), counts in found.items()]

    def accept(self) -> int:
        """Accept the rows as they are now: replace all totals by totals of these rows.

        Returns the number of totals that differed before. A result has a checksum of its own as well, so `verify` still
        reports a result that was changed.
        """
        with self._writing() as db:
            count = len(differing(self._connection))
            fill(db.conn)
        return count


def _line(table: str, owner: str, stored: int, found: int) -> str:
    if stored == found:
        return f"{owner}: rows of the table {table} were changed; restore a copy"
    return f"{owner}: the table {table} holds {found} rows, and satm stored {stored}; restore a copy"
