"""`was = "old"` of a field: what records have under its old name is read under the new one, and stored so by and by."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, cast

import app
from app import (
    RESERVED_FIELDS,
    Action,
    Caller,
    Condition,
    Conflict,
    Fault,
    Form,
    FormConfig,
    Page,
    Query,
    Record,
    Records,
    Update,
    Value,
    new_id,
    plugin,
)

if TYPE_CHECKING:
    from plugins import wrapped
else:
    wrapped = plugin("wrapped")

# ==== 1. RENAMES =================================================================================================
# Records are read with the new names at once, at every door. A job stores them so, for filters and orders, which go by what
# is stored; once it has found none any more, that is remembered.
# uses: ERRORS VALUES CONFIG CONTRACTS RESOURCES plugin:wrapped
# defines: Job:renames faults store_of Renamed Renames

_BATCH = 200  # records that are looked up at once
_DONE = "renames"  # row of _settings: by form the names that no record has any more


def faults(config: FormConfig) -> Iterator[Fault]:
    """What is wrong with the old names of a form's fields."""
    names, seen = [one.name for one in config.fields], set[str]()
    for one in config.fields:
        place = f"forms.{config.name}.fields.{one.name}.was"
        if one.was and (one.was in names or one.was in RESERVED_FIELDS):
            yield Fault(place, "configuration", f"names {one.was!r}, which is a field itself: take that out, or this")
        elif one.was and one.was in seen:
            yield Fault(place, "configuration", f"names {one.was!r}, as another field does: it can become one of them")
        seen.add(one.was)


def _old_names(config: FormConfig) -> dict[str, str]:
    """The new name of each old one."""
    return {one.was: one.name for one in config.fields if one.was}


def store_of(config: FormConfig, table: str, records: Records) -> Records:
    """The records of a form as they are read: with new names where fields had other ones."""
    names = _old_names(config)
    return Renamed(records, table, names) if names else records


class Renamed(wrapped.Wrapped):
    """The records of a provider, in one table with new names in place of old ones."""

    def __init__(self, records: Records, table: str, names: Mapping[str, str]) -> None:
        super().__init__(records)
        self._table, self._names = table, names

    def _read(self, record: Record) -> Record:
        value = record.value
        if record.damage or self._names.keys().isdisjoint(value):
            return record
        return record._replace(value=_renamed(value, self._names))

    def get(self, table: str, key: str) -> Record | None:
        record = self._records.get(table, key)
        return self._read(record) if record and table == self._table else record

    def find(self, query: Query) -> Page:
        page = self._records.find(query)
        return page._replace(items=list(map(self._read, page.items))) if query.table == self._table else page

    def find_texts(self, query: Query, text_of: Callable[[Record], str]) -> tuple[list[str], str | None]:
        return Records.find_texts(self, query, text_of)

    def walk(self, query: Query) -> Iterator[Record]:
        found = self._records.walk(query)
        return map(self._read, found) if query.table == self._table else found


def _renamed(value: Value, names: Mapping[str, str]) -> Value:
    """A record's fields with new names. What has a value under its new name keeps it, and the old one beside it."""
    return {names[name] if name in names and names[name] not in value else name: one for name, one in value.items()}


class Renames(app.Job):
    """Stores records under the new names of their fields, and remembers when all are."""

    kind = "renames"
    every_s = 1
    scope = "site"
    _is_done = False

    def run(self, site: Any, stop: threading.Event) -> None:
        if self._is_done:
            return
        forms = [one for one in site.resources.values() if isinstance(one, Form) and _old_names(one.config)]
        row = site.state.get("_settings", _DONE) if forms else None
        done: Value = {**row.value} if row else {}
        for form in forms:
            names = _old_names(form.config)
            if done.get(form.address) == names:
                continue
            count = self._rename(form, names, stop)
            if stop.is_set():
                return
            done[form.address] = names
            entry = site.audit.entry(Caller("job:renames"), "job", new_id(site.clock()), form.address, Action.UPDATE)
            write = app.Update("_settings", _DONE, done, row.version) if row else app.Insert("_settings", _DONE, done)
            [row, *_] = site.state.commit(
                [write, site.audit.insert(entry | {"after": {"renamed": names, "records": count}})]
            )
        self._is_done = True

    def _rename(self, form: Form, names: Mapping[str, str], stop: threading.Event) -> int:
        """Store the records that have an old name; returns how many they were."""
        records, count = cast(Records, form.records), 0
        for old in names:
            last = ""
            while not stop.is_set():
                where = (Condition(old, "null", False), *([Condition("id", "gt", last)] if last else []))
                rows = records.find(Query(form.table, where, ("id",), _BATCH)).items
                count += sum(self._store(records, form.table, one, names) for one in rows if not one.damage)
                if len(rows) < _BATCH:
                    break
                last = rows[-1].key
        return count

    @staticmethod
    def _store(records: Records, table: str, record: Record, names: Mapping[str, str]) -> bool:
        value = _renamed(record.value, names)
        if value.keys() == record.value.keys():
            return False
        try:
            records.commit([Update(table, record.key, value, record.version)])
        except Conflict:  # somebody changed it meanwhile, which stored it under the new name, or deleted it
            return False
        return True
