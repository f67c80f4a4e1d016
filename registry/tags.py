"""Tags: names that a user gives to sets, such as `baseline` or `paper-table-5`."""

from __future__ import annotations

import re

from registry.store import Store, now
from satm.errors import ConfigError, UnknownName

_FORM = re.compile("[A-Za-z][A-Za-z0-9._-]{0,63}")


class Tags(Store):
    """The part of the registry that stores tags."""

    def add_tag(self, set_id: str, tag: str, *, move: bool = False) -> None:
        """Give a set the tag `tag`. If `move` is True, the tag may be taken from another set.

        Raises ConfigError if the tag has a wrong form, if it is `latest`, if it could be the start of an id, or if it
        names another set and `move` is False.
        """
        if not _FORM.fullmatch(tag) or tag == "latest" or re.fullmatch("[0-9a-fA-F]{4,64}", tag):
            raise ConfigError(
                f"tag {tag!r}: expected a letter and then letters, digits, dots, - or _, at most 64; not latest, and "
                "no text that could be the start of an id"
            )
        with self._writing() as db:
            sql = "SELECT sets.name FROM tags JOIN sets ON sets.id = set_id WHERE tags.name = ? AND set_id != ?"
            others = self._mappings(sql, [tag, set_id])
            if others and not move:
                raise ConfigError(f"tag {tag} names {others[0]['name']}; --move gives it to another set")
            db["tags"].insert({"name": tag, "set_id": set_id, "created": now()}, replace=True)

    def remove_tag(self, tag: str) -> None:
        """Remove a tag, but not the set that it names. Raises UnknownName if there is no such tag."""
        with self._writing() as db:
            if not self._mappings("SELECT 1 FROM tags WHERE name = ?", [tag]):
                raise UnknownName("tag", tag, self.tags())
            db.execute("DELETE FROM tags WHERE name = ?", [tag])

    def tags(self) -> dict[str, str]:
        """Return the tags: a dictionary from each tag to the id of the set that it names."""
        return {row["name"]: row["set_id"] for row in self._mappings("SELECT name, set_id FROM tags ORDER BY name")}
