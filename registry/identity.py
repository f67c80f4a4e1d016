"""The identity of a registry file: a UUID in the file, which the keys of its runs hold."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from uuid import uuid4

from registry.store import Store


class Identity(Store):
    """The part of the registry that knows which registry it is, wherever its file lies and whatever its name is."""

    @property
    def uuid(self) -> str:
        """The UUID of this registry. A copy and a backup of the file have the same, until `separate`."""
        return str(self._mappings("SELECT uuid FROM identities WHERE seq = 1")[0]["uuid"])

    def run_key(self, facts: Mapping[str, Any]) -> str:
        """The key of the run that `facts` decide, in this registry. Equal facts have equal keys.

        It begins with 8 digits of the UUID, so the name of a saved state tells whose it is.
        """
        return _key(facts, self.uuid)

    def former_keys(self, facts: Mapping[str, Any]) -> list[str]:
        """All other keys that the run of these facts may have in this file.

        A run of an older version of satm has a key with the path of the file. It is found if the file lies where it lay
        then, or where it lay when it was brought up to date. A run of a registry that was merged into this one, or that
        this one was a copy of, has a key with the UUID of that registry.
        """
        rows = self._mappings("SELECT uuid, former_path FROM identities ORDER BY seq")
        paths = [row["former_path"] for row in rows if row["former_path"] is not None]
        if paths:
            paths.append(str(self.path.resolve()))
        return [*(_key(facts, row["uuid"]) for row in rows[1:]), *(_path_key(facts, path) for path in paths)]

    def former_key(self, facts: Mapping[str, Any]) -> str | None:
        """The key of `former_keys` under which there is a run; None if there is none or if one has today's key."""
        if self._has(self.run_key(facts)):
            return None
        return next((key for key in self.former_keys(facts) if self._has(key)), None)

    def separate(self, former: str | None = None) -> str | None:
        """Give this file a new UUID, because it is a copy, and return it. Its runs can go on (`former_keys`).

        With `former` only if that is still its UUID, else None: another process may have separated it since.
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
        """Give the runs under the key `former` the key `key`."""
        with self._writing() as db:
            db.execute('UPDATE runs SET "key" = ? WHERE "key" = ?', [key, former])

    def _has(self, key: str) -> bool:
        return bool(self._mappings('SELECT 1 FROM runs WHERE "key" = ? LIMIT 1', [key]))


def is_of(key: str, uuid: str) -> bool:
    """Whether a run's key may be only of the registry with this UUID: keys of older versions hold none."""
    return "-" not in key or key.startswith(uuid[:8])


def _key(facts: Mapping[str, Any], uuid: str) -> str:
    from satm.canonical import digest

    return f"{uuid[:8]}-{digest({**facts, 'registry': uuid})[:24]}"


def _path_key(facts: Mapping[str, Any], path: str) -> str:
    """The key as it was made until the schema of `m007_identity`."""
    from satm.canonical import digest

    return digest({**facts, "registry": path})[:32]
