"""What a site holds of one person: `auth people export` writes it out, and `auth people erase` takes it away."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import suppress
from typing import Any, cast
from urllib.parse import quote

from app import (
    PEOPLE,
    Action,
    Caller,
    Condition,
    Conflict,
    Delete,
    Form,
    NotFound,
    Query,
    Record,
    Request,
    Update,
    Value,
    Write,
    new_id,
    parse_grant,
    plugin,
    rfc3339,
)

# ==== 1. PERSONAL ================================================================================================
# The person's row, tokens, sessions, drafts and comments, the records that he owns or made with their files, and the
# entries of the audit trail that are his or speak of these records. An erased entry keeps when and what was done, and is
# sealed anew.
# uses: ERRORS VALUES AUTH RESOURCES plugin:comments plugin:form_drafts plugin:locks plugin:outbox plugin:people
#       plugin:row_rules plugin:seals
# defines: ERASED exported erase

ERASED = "erased"  # stands in place of who it was
_STATE_TABLES = ("_tokens", "_sessions", "_links", "_filters", "_shares", "_uploads")
_NAMING = ("subject", "for", "created_by", "by", "made_by")  # where what was made or changed names somebody
_KEPT = ("at", "action", "door", "outcome", "code", "request_id")  # of an entry that is erased
_SECRETS = ("digest", "secret", "code", "password")  # of rows: they are of no use to anybody, and prove who somebody is
_MOST_WRITES = 100  # a commit
_TRIES = 8  # to seal entries anew, while a server seals others


def _owned(site: Any, subject: str) -> Iterator[tuple[Form, Record]]:
    """The records of a person in all forms: those that name him as their owner, or else that he made."""
    for one in site.resources.values():
        if isinstance(one, Form) and one.type == "forms":
            where = (Condition(plugin("row_rules").owner_field(one), "eq", subject),)
            yield from ((one, record) for record in one.store.walk(Query(one.table, where, instants=one.instants)))


def _entries(chained: Any, subject: str, owned: Collection[tuple[str, str]]) -> Iterator[Record]:
    """The entries of one provider that are a person's, or speak of him or of his records (address of the form, key). All are
    looked at."""
    for entry in chained.records.walk(Query("_audit", (), ("id",))):
        is_asked = not entry.damage and entry.value.get("action") != "erase"  # which says that it was done
        if is_asked and (_names(entry.value, subject) or _is_about(entry.value, owned)):
            yield entry


def _names(entry: Value, subject: str) -> bool:
    """Whether somebody is named in an entry as who did it, whom it is about, or who made what it is about."""
    told = [one for name in ("before", "after") if isinstance(one := entry.get(name), dict)]
    named = [entry.get("subject"), *(one.get(name) for one in told for name in _NAMING)]
    place = str(entry.get("resource", ""))
    is_row = place == f"admin/people/{quote(subject, safe='')}" or (place == "admin/people" and entry["record"] == subject)
    return is_row or subject in named


def _is_about(entry: Value, owned: Collection[tuple[str, str]]) -> bool:
    """Whether it is about one of these records, or about a comment on one."""
    place = "/".join(str(entry.get("resource", "")).split("/")[:2])
    told = [one.get("record") for name in ("before", "after") if isinstance(one := entry.get(name), dict)]
    return any((place, key) in owned for key in (entry.get("record"), *told))


def exported(site: Any, subject: str) -> Iterator[Value]:
    """Everything that the site holds of a person, each with its `kind`: person, token, session, link, share, lock,
    record, comment, draft and entry. Raises NotFound if there is nothing."""
    count = 0
    for found in _everything(site, subject):
        count += 1
        yield found
    if not count:
        raise NotFound(f"nothing here is of {subject}")


def _everything(site: Any, subject: str) -> Iterator[Value]:
    row = site.state.get(PEOPLE, subject)
    if row:
        yield {"kind": "person", **row.value}
    for table in _STATE_TABLES:
        for one in _rows(site, table, subject):
            shown = {name: value for name, value in one.value.items() if name not in _SECRETS}
            yield {"kind": table.strip("_").removesuffix("s"), **shown}
    for _, lock in plugin("locks").of_subject(site.state, subject, site.clock()):
        yield {"kind": "lock", "address": lock.address, "owner": lock.owner, "expires_at": lock.expires_at}
    for records in site.audit_stores():
        for one in plugin("form_drafts").of_person(records, subject):
            yield {"kind": "draft", **{name: one.value[name] for name in ("form", "at", "texts", "files")}}
        for one in _said(records, subject):
            yield {"kind": "comment", **one.value}
    owned = set()
    for form, record in _owned(site, subject):
        owned.add((form.address, record.key))
        yield {"kind": "record", "form": form.address, **form.flat(record)}
    for chained in plugin("seals").stores_of(site):
        for entry in _entries(chained, subject, owned):
            yield {"kind": "entry", **entry.value}


def _said(records: Any, subject: str) -> list[Record]:
    """The comments of a person in one place."""
    return list(records.walk(Query(plugin("comments").TABLE, (Condition("by", "eq", subject),))))


def _rows(site: Any, table: str, subject: str) -> list[Record]:
    return list(site.state.walk(Query(table, (Condition("subject", "eq", subject),))))


# ---- erasing


def erase(site: Any, subject: str, operator: Caller) -> Value:
    """Take it all away, and return how many {"person", "records", "entries"} went; drafts and comments count as records.
    Raises NotFound if there is nothing, and Conflict for the last person who may administer people: then nothing has
    changed."""
    root = operator._replace(grants=(parse_grant("**:*"),))
    owned, counts = list(_owned(site, subject)), {"person": 0, "records": 0, "entries": 0}
    row = site.state.get(PEOPLE, subject)
    if row:
        _ask(site, root, "admin/people", subject)
        counts["person"] = 1
    plugin("locks").end_of_subject(site.state, subject, site.clock())  # before what they would keep in its place
    for form, record in owned:
        with suppress(NotFound):  # somebody deleted it meanwhile
            _ask(site, root, form.address, "records", record.key)
            counts["records"] += 1
    for table in _STATE_TABLES:
        _commit(site.state, [Delete(table, one.key) for one in _rows(site, table, subject)])
    for records in site.audit_stores():
        drafts, said = plugin("form_drafts"), plugin("comments").TABLE
        gone = [*(Delete(drafts.TABLE, one.key) for one in drafts.of_person(records, subject))]
        gone += [Delete(said, one.key) for one in _said(records, subject)]
        _commit(records, list[Write](gone))
        counts["records"] += len(gone)
    _commit(site.state, [Delete("_settings", plugin("people").former(subject))])
    keys = {(form.address, record.key) for form, record in owned}
    for records in plugin("outbox").stores(site):
        _commit(
            records, plugin("outbox").of_person(records, subject, str(row.value.get("email") or "") if row else "", keys)
        )
    for chained in plugin("seals").stores_of(site):
        counts["entries"] += _erase_entries(site, chained, list(_entries(chained, subject, keys)))
    if not any(counts.values()):
        raise NotFound(f"nothing here is of {subject}")
    entry = site.audit.entry(operator, "cli", new_id(site.clock()), "admin/people", "erase")
    site.state.commit([site.audit.insert(entry | {"after": {"subject": subject, **counts}})])
    return cast(Value, counts)


def _ask(site: Any, caller: Caller, resource: str, *path: str) -> None:
    """Delete something as any caller would, with its files and its audit entry."""
    request = Request(id=new_id(site.clock()), action=Action.DELETE, resource=resource, path=path, door="cli")
    site.flow.handle_as(caller, request)


def _commit(records: Any, writes: list[Write]) -> None:
    size = min(_MOST_WRITES, records.most_writes or _MOST_WRITES)
    for at in range(0, len(writes), size):
        records.commit(writes[at : at + size])


def _erase_entries(site: Any, chained: Any, entries: list[Record]) -> int:
    """Leave of entries what says nothing of anybody. They are sealed once more as they are now."""
    left = [Record(one.key, one.version, _left(one.value)) for one in entries if not one.value.get(ERASED)]
    _commit(chained.records, [Update("_audit", one.key, one.value, one.version) for one in left])
    members = sorted((one.key, plugin("seals").digest_of(one)) for one in left if plugin("seals").is_entry_id(one.key))
    most = plugin("seals").MOST_ENTRIES
    for at in range(0, len(members), most):
        _seal(site, chained, members[at : at + most])
    return len(left)


def _left(entry: Value) -> Value:
    kept = {name: entry[name] for name in _KEPT if name in entry}
    place = "/".join(str(entry.get("resource", "")).split("/")[:2])
    return kept | {"subject": ERASED, "token_id": "", "resource": place, "record": "", ERASED: True}


def _seal(site: Any, chained: Any, members: list[tuple[str, bytes]]) -> None:
    for tries_left in reversed(range(_TRIES)):
        last = chained.last()
        if not last.number:  # nothing is sealed yet, and they will be as they are now
            return
        facts = {"at": rfc3339(site.clock()), "looked": last.text("looked"), "closed": last.text("closed")}
        try:
            chained.add(last, facts, members)
            return
        except Conflict:  # a server was first
            if not tries_left:
                raise
