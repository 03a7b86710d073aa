"""`unique` of forms: values that no two records share, held by a row for each in the commit of the record."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from typing import NamedTuple, cast

import app
from app import (
    LOG,
    Caller,
    Change,
    Condition,
    Delete,
    Fault,
    Form,
    Insert,
    Invalid,
    Query,
    Record,
    Records,
    Request,
    Resource,
    TooLarge,
    Unsupported,
    Update,
    Value,
    Write,
    dump_json,
    member_pointer,
    nearest,
    plugin,
    sort_key,
)

# ==== 1. UNIQUE ==================================================================================================
# For the values of each rule a record has a row in _unique. Of writers that race for the same values all but one meet a
# Conflict there, look again, and find the record that was first. A record that is older than its rule has no row and is
# looked for. A row counts only while its record has these values, so one that was left over is in nobody's way.
# uses: ERRORS VALUES CONFIG CONTRACTS RESOURCES PROVIDERS plugin:instants
# defines: Trigger:unique TABLE faults queries Unique

TABLE = "_unique"
_TYPES = ("string", "number", "integer", "boolean")
_OWN = ("created_by",)  # may be named beside fields
_told: set[tuple[str, str]] = set()  # forms and rules of which was logged that older records are not compared


def faults(form: Form) -> Iterator[Fault]:
    """What is wrong with `unique` of a form."""
    place, known = f"forms.{form.name}.unique", [*form.fields, *_OWN]
    records = cast(Records, form.records)
    if not records.atomic:
        detail = f"cannot be held by a {records.kind} provider, which commits one write at a time: name another provider"
        yield Fault(place, "configuration", detail)
    for names in form.config.unique:
        for name in [one for one in names if one not in known and one not in {field.name for field in form.config.fields}]:
            yield Fault(place, "configuration", f"names {name!r}, which is no field{nearest(name, known)}")
        for one in [form.fields[name] for name in names if name in form.fields]:
            if one.is_file or one.config.type not in _TYPES:
                what = "a file" if one.is_file else f"of type {one.config.type}"
                yield Fault(
                    place, "configuration", f"names {one.name}, which is {what}: a text, number or boolean is compared"
                )


def queries(form: Form) -> list[Query]:
    """How records are looked for that have no row."""
    return [one for names in form.config.unique for one in _queries(form, names, dict.fromkeys(names, ""))]


def _queries(form: Form, names: Sequence[str], value: Value) -> list[Query]:
    """Those that find records with these values, which may be stored under the old names of fields still."""
    were = _first_names(form)
    stored = dict.fromkeys([tuple(names), tuple(were.get(name, name) for name in names)])
    moments = [name for name in names if name in form.instants]
    instants = form.instants | {were[name] for name in moments if name in were}
    return [
        Query(
            form.table, tuple(Condition(at, "eq", value[name]) for at, name in zip(each, names, strict=True)),
            limit=20, instants=instants & set(each),
        )
        for each in stored
    ]  # fmt: skip


def _first_names(form: Form) -> dict[str, str]:
    """The old names of fields that were renamed; by these their rows go on, so that a new name gives nothing free."""
    return {one.name: one.was for one in form.config.fields if one.was}


class _Claim(NamedTuple):
    """What a record of a commit is to have alone, or has no more."""

    names: Sequence[str]
    value: Value
    record: str  # its key
    pointer: str  # where its faults point


class Unique(app.Trigger):
    """Rows for the values that records must not share."""

    kind = "unique"

    def writes(
        self, request: Request, caller: Caller, changes: Sequence[Change], resource: Resource, now: float
    ) -> Sequence[Write]:
        if not isinstance(resource, Form) or not resource.config.unique:
            return ()
        is_batch = isinstance(request.data, list)
        return _Keys(resource).writes([(f"/{n}" if is_batch else "", one) for n, one in enumerate(changes)])


class _Keys:
    """The rows of one commit, by their keys. Every record counts, also those that the caller does not see."""

    def __init__(self, form: Form) -> None:
        self.form, self.records = form, (form.whole or form).store
        self.taken: dict[str, _Claim] = {}
        self.freed: dict[str, _Claim] = {}
        self.faults: list[Fault] = []

    def writes(self, changes: Sequence[tuple[str, Change]]) -> list[Write]:
        """What joins the commit of these changes, each with where its faults point. Raises Invalid if values are taken."""
        for pointer, change in changes:
            if change.write.table == self.form.table:
                self._note(pointer, change)
        rows = {key: self.records.get(TABLE, key) for key in (*self.taken, *self.freed)}
        for key, claim in self.taken.items():
            if self._is_taken(claim, key, rows[key]):
                self._fault(claim, "another record has the same")
        if self.faults:
            raise Invalid(f"the data for {self.form.address} is not valid", faults=self.faults)
        return list(self._writes(rows))

    def _note(self, pointer: str, change: Change) -> None:
        write = change.write
        new = {} if isinstance(write, Delete) else write.value
        for names in self.form.config.unique:
            before, after = (_key(self.form, names, value) for value in (change.before or {}, new))
            if before == after:
                continue
            if before:
                self.freed[before] = _Claim(names, {}, write.key, pointer)
            if after and after in self.taken:
                self._fault(_Claim(names, new, write.key, pointer), "two of these records have the same")
            elif after:
                self.taken[after] = _Claim(names, new, write.key, pointer)

    def _fault(self, claim: _Claim, words: str) -> None:
        fields = self.form.fields
        at = next((name for name in claim.names if name in fields), claim.names[0])
        titles = ", ".join(fields[name].title if name in fields else name for name in claim.names)
        fault = Fault(member_pointer(claim.pointer, at), "unique", f"{words} {titles}")
        self.faults += fields[at].worded([fault]) if at in fields and len(claim.names) == 1 else [fault]

    def _is_taken(self, claim: _Claim, key: str, row: Record | None) -> bool:
        """Whether a record has these values that keeps them in this commit."""
        if row:
            owner = self.records.get(self.form.table, str(row.value.get("record")))
            if owner and self._keeps(claim, key, owner):
                return True
        try:
            asked = _queries(self.form, claim.names, claim.value)
            found = [one for query in asked for one in self.records.find(query).items]
        except (TooLarge, Unsupported) as error:  # a provider without indexes
            self._tell(claim.names, error.message)
            return False
        return any(self._keeps(claim, key, one) for one in found)

    def _keeps(self, claim: _Claim, key: str, one: Record) -> bool:
        """Whether a stored record has the values of a claim, is another one, and does not give them up here."""
        freed = self.freed.get(key)
        gives_up = one.key in (claim.record, freed.record if freed else "")
        return not gives_up and not one.damage and _key(self.form, claim.names, one.value) == key

    def _tell(self, names: Sequence[str], why: str) -> None:
        if (which := (self.form.name, "+".join(names))) not in _told:
            _told.add(which)
            LOG.warning("forms.%s.unique: records older than the rule for %s are not compared: %s", *which, why)

    def _writes(self, rows: dict[str, Record | None]) -> Iterator[Write]:
        for key, row in rows.items():
            if claim := self.taken.get(key):
                value: Value = {"table": self.form.table, "record": claim.record}
                yield Update(TABLE, key, value, row.version) if row else Insert(TABLE, key, value)
            elif row and row.value.get("record") == self.freed[key].record:
                yield Delete(TABLE, key, row.version)


def _key(form: Form, names: Sequence[str], value: Value) -> str:
    """The key of the row for a record's values; "" if one of them is missing or null, which clashes with nothing."""
    were = _first_names(form)
    parts = sorted([were.get(name, name), _comparable(form, name, value.get(name))] for name in names)
    return hashlib.sha256(dump_json([form.table, parts]).encode()).hexdigest() if all(key for _, key in parts) else ""


def _comparable(form: Form, name: str, value: object) -> str:
    """The same text for values that are equal; texts are equal as they are stored, and date-times as moments."""
    moment = plugin("instants").instant_key(value) if name in form.instants and isinstance(value, str) else ""
    return f"i{moment}" if moment else sort_key(value)
