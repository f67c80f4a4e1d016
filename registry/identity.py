"""The identity of a registry file: a UUID that is stored in the file. The keys of its runs contain it.

The key of a run is a hash of everything that decides the run. An unfinished run is found and resumed by its key.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from uuid import uuid4

from registry.store import Store


class Identity(Store):
    """The part of the registry that identifies the file. The identity stays if the file is moved or renamed."""

    @property
    def uuid(self) -> str:
        """The UUID of this registry. A copy of the file has the same UUID until `separate` gives it a new one."""
        return str(self._mappings("SELECT uuid FROM identities WHERE seq = 1")[0]["uuid"])

    def run_key(self, facts: Mapping[str, Any]) -> str:
        """Return the key, in this registry, of the run that `facts` describe. Equal facts give equal keys.

        The key begins with the first 8 digits of the UUID. A saved state is named by the key of its run, so its name
        shows which registry it belongs to.
        """
        return _key(facts, self.uuid)

    def former_keys(self, facts: Mapping[str, Any]) -> list[str]:
        """Return all keys, other than `run_key(facts)`, that the run with these facts may have in this file.

        A run of an older version of satm has a key that contains the path of the registry file at that time. Two paths
        are tried: the present path of the file, and the path that it had when a newer version of satm changed its
        schema. A run may also come from another registry, which was merged into this one or of which this one is a
        copy. The key of such a run contains the UUID of that registry.
        """
        rows = self._mappings("SELECT uuid, former_path FROM identities ORDER BY seq")
        paths = [row["former_path"] for row in rows if row["former_path"] is not None]
        if paths:
            paths.append(str(self.path.resolve()))
        return [*(_key(facts, row["uuid"]) for row in rows[1:]), *(_path_key(facts, path) for path in paths)]

    def former_key(self, facts: Mapping[str, Any]) -> str | None:
        """Return the key of `former_keys` under which a run is stored.

        Returns None if there is no such run, or if a run is stored under the present key, `run_key(facts)`.
        """
        if self._has(self.run_key(facts)):
            return None
        return next((key for key in self.former_keys(facts) if self._has(key)), None)

    def separate(self, former: str | None = None) -> str | None:
        """Give this file, which is a copy of another registry, a new UUID, and return the UUID.

        The runs in the file can still be continued, because `former_keys` gives their keys. If `former` is given, the
        UUID is changed only if it is still equal to `former`. If it is not, another process has already changed it, and
        None is returned.
        """
        uuid = str(uuid4())
        with self._writing() as db:
            (before,) = db.execute("SELECT uuid FROM identities WHERE seq = 1").fetchone()
            if former not in (None, before):
                return None
            db.execute("UPDATE identities SET uuid = ? WHERE seq = 1", [uuid])
            db.execute("INSERT INTO identities (uuid) VALUES (?)", [before])
        return uuid

    def rename_key(self, former: str, key: str) -> None:
        """Replace the key `former` by `key` in all runs that have it."""
        with self._writing() as db:
            db.execute('UPDATE runs SET "key" = ? WHERE "key" = ?', [key, former])

    def _has(self, key: str) -> bool:
        return bool(self._mappings('SELECT 1 FROM runs WHERE "key" = ? LIMIT 1', [key]))


def is_of(key: str, uuid: str) -> bool:
    """Return whether a run with this key can belong to the registry with this UUID.

    A key without a UUID, which an older version of satm made, can belong to any registry.
    """
    return "-" not in key or key.startswith(uuid[:8])


def _key(facts: Mapping[str, Any], uuid: str) -> str:
    from satm.canonical import digest

    return f"{uuid[:8]}-{digest({**facts, 'registry': uuid})[:24]}"


def _path_key(facts: Mapping[str, Any], path: str) -> str:
    """Return the key as it was made before the migration `m007_identity` (`registry.migrations`)."""
    from satm.canonical import digest

    return digest({**facts, "registry": path})[:32]
