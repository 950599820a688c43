# SPDX-License-Identifier: MIT
"""Document: an object whose annotated attributes are tracked, and saved to a branch one by one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Self, dataclass_transform

from casstore.branches.keyed import check_key
from casstore.codecs.documents import HEADER, header_of
from casstore.errors import (
    CasstoreError,
    ConflictError,
    FactoryError,
    FormatVersionError,
    InvalidInputError,
    NotFoundError,
)
from casstore.objects.document_fields import (
    Field,
    StoredFields,
    UnsetFieldError,
    block_key,
    check_branch,
    fields_of,
    growing,
    stored_at,
)
from casstore.objects.document_saving import JOIN_BYTES, SaveReport, blocks, write
from casstore.objects.tracked_node import MISSING, Node
from casstore.objects.tracked_values import fresh, own
from casstore.objects.tracking import FieldChange, Path, StateTracker, compared

if TYPE_CHECKING:
    from casstore.branches import Branch
    from casstore.format.entry import Entry

__all__ = ["Document", "SaveReport", "UnsetFieldError", "growing"]


@dataclass_transform(kw_only_default=True)
class Document:
    """Derive from it, and annotate what is to be tracked and saved::

        class Memory(Document):
            step: int = 0
            notes: list[str] = []
            messages: list[dict] = growing()

    Attributes are read and written as usual; dicts and lists in them are views (see ``StateTracker``). Names that
    begin with ``_`` are ordinary attributes. A default is never changed, so that a mutable one is no trap. Stored
    fields that the class does not know are left as they are.

    Class arguments: ``type_id`` (the class's name) and ``version`` (1), which are stored; see ``migrate``.

    Args:
        **values: Values of fields.

    Raises:
        InvalidInputError: There is no such field, or a value cannot be tracked.

    *Thread safety*: one thread at a time for a document; any number of documents for a branch.
    """

    _fields: ClassVar[dict[str, Field]] = {}
    _type_id: ClassVar[str] = "Document"
    _version: ClassVar[int] = 1

    def __init_subclass__(cls, *, type_id: str | None = None, version: int = 1, **more: Any) -> None:
        super().__init_subclass__(**more)
        if type(version) is not int or version < 1:
            raise InvalidInputError(f"{version!r} is no version of {cls.__name__}; count from 1.")
        cls._type_id = type_id or cls.__name__
        cls._version = version
        own_fields = fields_of(cls, _RESERVED)
        inherited = {name: field for base in reversed(cls.__mro__[1:]) for name, field in _fields_of(base).items()}
        cls._fields = {**inherited, **own_fields}
        for name, field in own_fields.items():
            setattr(cls, name, field)

    def __init__(self, **values: Any) -> None:
        for name in values:
            self._check_field(name)
        self._begin({name: own(value) for name, value in values.items()})

    def _begin(self, values: dict[str, Any], source: StoredFields | None = None) -> None:
        self._state = StateTracker(values)
        # Where the document was loaded from, as it was then; fields that still are only there; where it is saved to.
        self._source = source
        self._unloaded: set[str] = set() if source is None else set(source)
        self._home: tuple[Branch, str] | None = None
        # The entries there, by part of a key; where the blocks of growing fields start, and their number of elements.
        self._known: dict[str, Entry] = {}
        self._starts: dict[str, list[int]] = {}
        # Fields that were deleted since; that a migration wrote, and deleted; and whether the header is an old one.
        self._removed: set[str] = set()
        self._migrated: set[str] = set()
        self._dropped: set[str] = set()
        self._is_old = False

    # -- attributes

    @classmethod
    def _check_field(cls, name: str) -> None:
        if name not in cls._fields:
            known = ", ".join(cls._fields) or "none"
            raise InvalidInputError(f"{cls.__name__} has no field {name!r}; its fields: {known}.")

    def __setattr__(self, name: str, value: Any) -> None:
        if not name.startswith("_"):
            self._check_field(name)
        object.__setattr__(self, name, value)

    def _read(self, name: str) -> Any:
        if name not in self._state:
            self._supply(name)
        return self._state[name]

    def _supply(self, name: str) -> None:
        """Puts the stored value of a field, or its default, into the baseline."""
        default = self._fields[name].default if name in self._fields else MISSING
        if name in self._unloaded and name not in self._removed:
            self._state._supply(name, self._stored(name))
            self._unloaded.discard(name)
        elif default is not MISSING:
            self._state._supply(name, default)
        else:
            raise UnsetFieldError(f"the field {name!r} of {type(self).__name__} has no value and no default; set it.")

    def _stored(self, name: str) -> Any:
        """The value that a field has in the source."""
        return self._source.take(name)  # type: ignore[union-attr]

    def _write(self, name: str, value: Any) -> None:
        self._state[name] = value
        self._removed.discard(name)

    def _remove(self, name: str) -> None:
        default = self._fields[name].default
        if default is not MISSING:
            self._write(name, default)
            return
        if name in self._state:
            del self._state[name]
        elif name not in self._unloaded or name in self._removed:
            raise UnsetFieldError(f"the field {name!r} of {type(self).__name__} has no value that could be deleted.")
        if self._parts_of(name):
            self._removed.add(name)

    # -- what changed

    @property
    def is_modified(self) -> bool:
        """Whether ``save`` may have something to write. *Cost*: O(1).

        A field that was set before its stored value was read counts, whatever that value is.
        """
        return bool(self._home is None or self._state.is_modified or self._removed or self._is_old or self._migrated)

    def get_changes(self) -> dict[Path, FieldChange]:
        """What was written since the document was made, loaded or saved: path, beginning with the field → old and new.

        *Cost*: what was changed; the stored values of fields that were set before they were read are read now.
        """
        blind = [name for name in self._unloaded if name in self._state or name in self._removed]
        changes = {path: change for path, change in self._state.get_changes().items() if path[0] not in blind}
        stored = StateTracker({name: self._stored(name) for name in blind})
        for name in blind:
            if name in self._removed:
                del stored[name]
            else:
                stored[name] = self._state[name]
        return {**changes, **stored.get_changes()}

    def revert(self) -> None:
        """Drops what was written since the document was made, loaded or saved."""
        self._state.revert()
        self._removed.clear()

    def plain(self) -> dict[str, Any]:
        """All fields that have a value, as a plain dict of the caller's own. Loads what is not loaded."""
        found = {}
        for name in self._fields:
            try:
                found[name] = fresh(self._read(name))
            except UnsetFieldError:
                continue
        return found

    def unknown_fields(self) -> dict[str, Any]:
        """Fields that are stored and that the class does not have: a later version's, say. They stay as they are."""
        names = {part.partition("/")[0] for part in self._known} - self._fields.keys() - self._dropped - {HEADER}
        return {name: fresh(self._read(name)) for name in sorted(names)}

    # -- loading

    @classmethod
    def load(cls, branch: Branch, key: str) -> Self:
        """The document that a branch holds at ``key``; each field is read when it is first asked for.

        What is read is what the branch held at this moment, whatever is written to it later.

        Raises:
            NotFoundError: There is none.
            InvalidInputError: It is of another type, or ``branch`` is none.
            FormatVersionError: A later version of the class saved it.
            FactoryError: ``migrate`` failed.

        *Cost*: a listing of the document's keys, and of those below them.
        """
        check_branch(branch)
        check_key(key)
        source = StoredFields(branch.fork(), key)
        if HEADER not in source.parts:
            raise NotFoundError(f"the branch holds no document {key!r}; save one there first.", path=key)
        header = source[HEADER]
        found = header.get("type") if isinstance(header, dict) else None
        version = header.get("version") if isinstance(header, dict) else None
        if found != cls._type_id or type(version) is not int:
            raise InvalidInputError(f"{key!r} holds a document of type {found!r}, not {cls._type_id!r}.", path=key)
        if version > cls._version:
            raise FormatVersionError(
                f"{key!r} was saved by version {version} of {cls._type_id}, this is version {cls._version}; "
                "update the program.",
                path=key,
            )
        document = cls.__new__(cls)
        document._begin({}, source)
        document._home = branch, key
        document._known = {part: entry for parts in source.parts.values() for part, entry in parts.items()}
        for name, parts in source.parts.items():
            if name not in parts:
                document._starts[name] = [int(part.rpartition("@")[2]) for part in parts]
        if version < cls._version:
            document._migrate(version, source)
        return document

    @classmethod
    def migrate(cls, version: int, fields: StateTracker) -> None:
        """Override it to bring the stored fields of an older version up to date, by changing ``fields`` in place.

        What it changes is written, and what it deletes deleted, by the next ``save``; ``revert`` keeps it.

        Args:
            version: The stored one.
            fields: All stored fields, read on demand, those too that the class does not have any more.
        """

    def _migrate(self, version: int, source: StoredFields) -> None:
        fields = StateTracker(source)
        try:
            self.migrate(version, fields)
        except CasstoreError:
            raise
        except Exception as error:
            raise FactoryError(
                f"{type(self).__name__}.migrate could not bring version {version} up to date: {error}."
            ) from error
        for name in fields.modified_fields:
            self._unloaded.discard(name)
            if name in fields:
                self._state._supply(name, own(fields[name]))
                self._migrated.add(name)
            else:
                self._dropped.add(name)
        self._is_old = True

    def refresh(self) -> None:
        """Takes over what others saved to the branch. Views that were taken before belong to no document any more.

        Raises:
            ConflictError: This document has changes of its own; save or revert them first.
            NotFoundError: The document was deleted.
        """
        if self._home is None or self.is_modified:
            raise ConflictError("the document has changes that were not saved; save or revert them before `refresh`.")
        self.__dict__.update(self.load(*self._home).__dict__)

    # -- saving

    def save(
        self, branch: Branch | None = None, key: str | None = None, *, overwrite: bool = False, replace: bool = False
    ) -> SaveReport:
        """Writes the changed fields to a branch; all or nothing.

        Args:
            branch: Where to; None is where the document was loaded from or saved to last. At another place, say a fork,
                each field is written that is not there in the same form.
            key: Its key there, a relative path; None is the same as last.
            overwrite: Also over what others changed since; a document that they deleted is written whole.
            replace: Write all of it, and take away everything else at and below the key, whatever that is.

        Raises:
            InvalidInputError: The document has no place yet, ``branch`` is none, or a value cannot be encoded.
            FactoryError: No factory takes a value.
            ConflictError: One of these fields was changed on the branch since the document was loaded or saved, the
                document was deleted, or something that is no document stands at the key or below it.

        *Cost*: encoding the changed fields; of growing lists the blocks that changed.
        *Durability*: that of the branch: none until it is committed.
        """
        if self._home is not None:
            branch, key = self._home[0] if branch is None else branch, self._home[1] if key is None else key
        if branch is None or key is None:
            raise InvalidInputError("the document has no place yet; save(branch, key) gives it one.")
        check_branch(branch)
        check_key(key)
        moves = replace or self._home is None or self._home[0] is not branch or self._home[1] != key
        moves = moves or (overwrite and header_of(key) not in branch.objects)
        names = self._changed_names() if not moves else self._names_with_values()
        values: dict[str, Any] = {}
        starts = {}
        for name in names:
            parts, starts[name] = self._parts(name, whole=moves)
            values.update(parts)
        mine = (*self._removed, *self._dropped, *names)
        drops = [part for name in mine for part in self._parts_of(name) if part not in values]
        # Parts of a growing field that did not change are not written, and stay.
        drops = [part for part in drops if not self._is_block(part, starts)]
        known = self._known
        if moves:
            there = stored_at(branch, key)
            known = known if HEADER in there else {}
            gone = there.keys() if replace else {*self._fields, *names, *self._dropped} & there.keys()
            drops = [part for name in gone for part in there[name] if part not in values and part != HEADER]
        if moves or self._is_old:
            values[HEADER] = {"type": self._type_id, "version": self._version}
        entries, report = write(branch, key, values, drops, known, overwrite=overwrite, replace=replace)
        self._settle((branch, key), {} if moves else self._known, entries, drops, starts)
        return report

    def _settle(
        self,
        home: tuple[Branch, str],
        known: dict[str, Entry],
        entries: dict[str, Entry],
        drops: list[str],
        starts: dict[str, list[int] | None],
    ) -> None:
        """What was saved is the baseline."""
        self._home = home
        known.update(entries)
        for part in drops:
            known.pop(part, None)
        self._known = known
        for name, found in starts.items():
            self._starts.pop(name, None)
            if found is not None:
                self._starts[name] = found
        for name in (self._removed | self._dropped) - starts.keys():
            self._starts.pop(name, None)
        self._unloaded = {name for name in self._unloaded if name not in self._state and name not in self._removed}
        if not self._unloaded:
            # Nothing of what the branch was is needed any more.
            self._source = None
        self._removed, self._migrated, self._dropped, self._is_old = set(), set(), set(), False
        self._state.reset()

    def _changed_names(self) -> list[str]:
        return [name for name in dict.fromkeys((*self._state.modified_fields, *self._migrated)) if name in self._state]

    def _names_with_values(self) -> list[str]:
        names = dict.fromkeys((*self._fields, *self._state, *self._unloaded))
        for name in list(names):
            if name not in self._state:
                try:
                    self._supply(name)
                except UnsetFieldError:
                    del names[name]
        return list(names)

    def _parts(self, name: str, *, whole: bool) -> tuple[dict[str, Any], list[int] | None]:
        """What is to be written of a field, by part of a key; and where the blocks of a growing one start then."""
        value = own(self._state[name])
        field = self._fields.get(name)
        if type(value) is not list or not (name in self._starts if field is None else field.growing):
            return {name: value}, None
        base, now = self._state._base_at(name), self._state._raw_at(name)
        node = now if isinstance(now, Node) else compared(base, now)
        if name in self._migrated or type(base) is not list or node is None or node._baseline is MISSING:
            parts, starts = blocks(name, value, [], 0, None)
        else:
            changed = None if whole else node._differing()
            old = self._starts.get(name, [])
            last = self._known.get(block_key(name, old[-1])) if old else None
            short = last is not None and last.size < JOIN_BYTES
            parts, starts = blocks(name, value, old, len(base), changed, join=short)
        return parts, starts

    def _parts_of(self, name: str) -> list[str]:
        """The parts of keys that hold a field on the branch."""
        found = [block_key(name, start) for start in self._starts.get(name, ())]
        return [*found, name] if name in self._known else found

    @staticmethod
    def _is_block(part: str, starts: dict[str, list[int] | None]) -> bool:
        """Whether a part is a block that its field still has."""
        name, _, start = part.partition("/@")
        return bool(start) and int(start) in (starts.get(name) or ())

    def delete(self) -> None:
        """Deletes the document from its branch, the fields that the class does not know too. Its values stay here.

        Raises:
            InvalidInputError: It has no place.
        """
        if self._home is None:
            raise InvalidInputError("the document has no place, so there is nothing to delete.")
        branch, key = self._home
        with branch._lock():
            for parts in stored_at(branch, key).values():
                for part in parts:
                    del branch.objects[f"{key}/{part}"]
        self._home = None
        self._known, self._starts = {}, {}
        self._removed.clear()

    def __reduce_ex__(self, protocol: Any) -> Any:
        raise InvalidInputError(
            "a document is not copied or pickled; fork its branch and load it there, or take what `plain()` gives."
        )

    def __repr__(self) -> str:
        place = "no place" if self._home is None else repr(self._home[1])
        changed = ", ".join(sorted({*self._changed_names(), *self._removed})) or "nothing"
        return f"<{type(self).__name__} at {place}, {changed} changed>"


_RESERVED = frozenset(dir(Document))


def _fields_of(kind: type) -> dict[str, Field]:
    found: dict[str, Field] = kind.__dict__.get("_fields", {})
    return found
