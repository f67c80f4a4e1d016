"""The part of the registry for sets. A set gets a name with a version, is stored once and is never changed."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

from registry.group_ids import membership_rows, memberships
from registry.records import BlobRow, SetRecord, to_json, to_row
from registry.store import now, where
from registry.tags import Tags
from satm.errors import RegistryError, SatmError, UnknownName
from satm.printable import check_names

if TYPE_CHECKING:
    from satm.synthetic import SyntheticSet


class Sets(Tags):
    """The part of the registry that stores synthetic sets."""

    def add_set(self, synthetic: SyntheticSet, *, run: str | None) -> SetRecord:
        """Store a set as the next version of its (dataset, ipc, method), and return its record.

        A set that is already stored is not stored again, and the stored record is returned. `run` is the id of the run
        that made the set. Raises RegistryError if the set has no images, or if JSON cannot hold its description. Raises
        ConfigError if the name of the data set, the method or a class is empty or cannot be printed.
        """
        from registry.blobs import pack

        check_names("data set", [synthetic.dataset])
        check_names("method", [synthetic.method])
        check_names("class", synthetic.classes)

        # For a description that JSON cannot hold, `synthetic.id` would raise TypeError or ValueError. `to_json` raises
        # RegistryError.
        to_json(synthetic.describe())
        if not len(synthetic.images):
            raise RegistryError(f"a set of {synthetic.dataset} without images cannot be stored")
        blobs = pack(synthetic)
        clause, values = where({"dataset": synthetic.dataset, "ipc": synthetic.ipc, "method": synthetic.method})
        with self._writing() as db:
            stored = self._rows(SetRecord, "SELECT * FROM sets WHERE id = ?", [synthetic.id])
            if stored:
                return stored[0]
            version = 1 + db.execute(f"SELECT coalesce(max(version), 0) FROM sets {clause}", values).fetchone()[0]
            record = SetRecord(
                id=synthetic.id,
                name=f"{synthetic.dataset}/ipc{synthetic.ipc}/{synthetic.method}@{version}",
                dataset=synthetic.dataset,
                ipc=synthetic.ipc,
                method=synthetic.method,
                version=version,
                profile=synthetic.profile,
                label_kind=synthetic.label_kind,
                step_size=synthetic.step_size,
                seed=synthetic.seed,
                images=len(synthetic.images),
                image_shape=synthetic.image_shape,
                bytes=sum(blob.size for blob in blobs),
                about=synthetic.describe(),
                parents=synthetic.parents,
                blobs=tuple(blob.sha256 for blob in blobs),
                run_id=run,
                created=now(),
            )
            db["blobs"].insert_all(map(to_row, blobs), ignore=True)
            db["sets"].insert(to_row(record))
            db["set_groups"].insert_all(membership_rows(record.id, record.about, record.parents))
        return self._one(SetRecord, "sets", record.id)  # read it back, so that it equals what later calls return

    def sets(self, *, dataset: str | None = None, method: str | None = None, ipc: int | None = None) -> list[SetRecord]:
        """Return the stored sets that have these values, oldest first. A value of None allows any value."""
        clause, values = where({"dataset": dataset, "method": method, "ipc": ipc})
        return self._rows(SetRecord, f"SELECT * FROM sets {clause} ORDER BY seq", values)

    def find(self, reference: str) -> SetRecord:
        """Return the set that `reference` names.

        A reference is a name (`cifar10/ipc10/satm@3`), a name without a version (it means the newest version), a tag,
        the first four or more digits of an id, or `latest`. Raises UnknownName, with similar names, if there is no such
        set. Raises RegistryError if several ids begin with the digits, or if `latest` finds no set.
        """
        newest = self._rows(
            SetRecord,
            "SELECT * FROM sets WHERE ? IN (name, dataset || '/ipc' || ipc || '/' || method) "
            # `latest` skips a set that has another set as a parent. Such a set holds the images of a single incremental
            # step, and was made during the evaluation of its parent.
            """OR (? = 'latest' AND parents NOT LIKE '%"set:%') """
            "OR id = (SELECT set_id FROM tags WHERE tags.name = ?) ORDER BY seq DESC LIMIT 1",
            [reference, reference, reference],
        )
        if newest:
            return newest[0]
        if reference == "latest":
            raise RegistryError(f"{self.path} holds no set yet; `satm condense` makes one")
        if re.fullmatch("[0-9a-fA-F]{4,64}", reference):
            begin = self._rows(SetRecord, "SELECT * FROM sets WHERE id GLOB ? ORDER BY seq", [reference.lower() + "*"])
            if len(begin) == 1:
                return begin[0]
            if begin:
                names = ", ".join(record.name for record in begin)
                raise RegistryError(f"'{reference}' begins the ids of {names}; give more digits or a name")
        known = [*(record.name for record in self.sets()), *self.tags()]
        raise UnknownName("set", reference, known, hint=f"(`satm sets list` shows those in {self.path})")

    def load(self, reference: str) -> SyntheticSet:
        """Return the set that `reference` names, with its tensors on the CPU.

        Raises RegistryError if what is read now is not exactly the set that was stored.
        """
        return self._assemble(self.find(reference))

    def verify(self, reference: str | None = None) -> list[str]:
        """Return one line for each problem of a set, or of the whole file if `reference` is None.

        The list is empty if there is no problem. For each set, its blobs, its id, its columns and its groups are
        checked. For the whole file, SQLite also checks the structure of the file and the foreign keys.
        """
        problems = []
        if reference is None:
            for pragma in ("integrity_check", "foreign_key_check"):
                _, rows = self.query(f"PRAGMA {pragma}")
                problems += [f"{pragma}: {' '.join(map(str, row))}" for row in rows if row != ("ok",)]
        for record in self.sets() if reference is None else [self.find(reference)]:
            try:
                self._assemble(record)
            except RegistryError as error:
                problems.append(str(error))
            else:
                problems += self._damaged_columns(record)
        return problems

    def _damaged_columns(self, record: SetRecord) -> Iterator[str]:
        """Yield one line for each column of a set that contradicts the description of the set.

        Yields one more line if the stored groups of the set are wrong.
        """
        facts = {**record.about, "name": f"{record.dataset}/ipc{record.ipc}/{record.method}@{record.version}"}
        for column in ("name", "dataset", "ipc", "method", "profile", "label_kind", "step_size", "seed"):
            if getattr(record, column) != facts.get(column):
                yield f"{record.name}: its column {column} was changed; restore a copy"
        stored = self._mappings("SELECT group_id, experts FROM set_groups WHERE set_id = ?", [record.id])
        if {row["group_id"]: row["experts"] for row in stored} != memberships(record.about, record.parents):
            yield f"{record.name}: its groups were changed; restore a copy"

    def _assemble(self, record: SetRecord) -> SyntheticSet:
        """Make a set from its blobs and its description.

        Raises RegistryError if a blob is missing, if the sha256 of a blob is wrong, or if the id of the set is wrong.
        """
        from registry.blobs import check, unpack
        from satm.synthetic import SyntheticSet

        blobs = []
        for sha256 in record.blobs:
            found = self._rows(BlobRow, "SELECT * FROM blobs WHERE sha256 = ?", [sha256])
            try:
                if not found:
                    raise RegistryError(f"blob {sha256[:12]} is missing; restore a copy of the registry")
                check(found[0])
            except RegistryError as error:
                raise RegistryError(f"{record.name}: {error}") from None
            blobs += found
        try:
            images, labels = unpack(blobs)
            loaded = SyntheticSet.described(
                record.about, images=images, labels=labels, parents=record.parents, name=record.name
            )
        except (KeyError, TypeError, RuntimeError, SatmError) as error:
            raise RegistryError(f"{record.name}: its description is damaged ({error}); restore a copy") from error
        if loaded.id != record.id:
            raise RegistryError(f"{record.name}: its description or parents were changed; restore a copy")
        return loaded
