"""What an entry of the audit trail says: in one line for people, and field by field what was there before and after."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from app import (
    RESERVED_FIELDS,
    Action,
    Column,
    Form,
    Json,
    Record,
    Resource,
    Value,
    damage_of,
    parse_grant,
    plugin,
    split_path,
)

if TYPE_CHECKING:
    from plugins.locale import Locale

# ==== 1. CHANGES =================================================================================================
# What was there before an event and after it. Long texts are shown by what is new in them and what is gone.
# uses: VALUES CONFIG CONTRACTS RESOURCES plugin:lines plugin:locale
# defines: pairs title_of differences text_parts

_LONG, _MOST_PIECES, _AROUND = 60, 1500, 60  # letters; pieces of texts that are compared; letters around what changed
_STAMPS = frozenset(RESERVED_FIELDS)


def pairs(row: Value) -> list[tuple[str, Json, Json]]:
    """(field, before, after) of what an entry says: of an update what it changed, of others what there is. An older entry
    of an update has both records whole."""
    changes, before, after = row["changes"], row["before"], row["after"]
    if isinstance(changes, dict):
        return [(name, *both) for name, both in changes.items() if isinstance(both, list) and len(both) == 2]
    old, new = (one if isinstance(one, dict) else {} for one in (before, after))
    both_known = bool(old and new)
    found = ((name, old.get(name), new.get(name)) for name in old | new if name not in _STAMPS)
    return [one for one in found if (one[1] != one[2] if both_known else one[1:] != (None, None))]


def title_of(form: Resource | None, name: str) -> str:
    fields = form.fields if isinstance(form, Form) else {}
    return fields[name].title if name in fields else name.replace("_", " ").capitalize()


def _shown(row: Value, form: Resource | None) -> list[tuple[str, Json, Json]]:
    """pairs() without what Satchel keeps beside the fields of its own forms."""
    own = form.fields if isinstance(form, Form) and form.type == "admin" else None
    return [one for one in pairs(row) if own is None or one[0] in own]


def differences(row: Value, form: Resource | None, locale: Locale) -> list[SimpleNamespace]:
    """Of each field its title, both values for people ("" for one that was empty), and of long texts their parts."""
    fields = form.fields if isinstance(form, Form) else {}
    found = []
    for name, before, after in _shown(row, form):
        column = form.titled([fields[name].column])[0] if name in fields else Column(name)  # type: ignore[union-attr]
        old, new = (_in_words(fields.get(name), column, one, locale) for one in (before, after))
        long = bool(old and new) and max(len(old), len(new)) > _LONG
        parts = text_parts(old, new) if long else []
        found.append(SimpleNamespace(title=title_of(form, name), before=old, after=new, parts=parts))
    return found


def _in_words(field: Any, column: Column, value: Json, locale: Locale) -> str:
    """A value for people; lines with all that is in them."""
    if field is not None and field.inner and isinstance(value, list):
        return str(plugin("lines").in_words(field, value, locale))
    return locale.show(column, value)


def text_parts(old: str, new: str) -> list[tuple[str, str]]:
    """("same", "gone" or "new", text) one after another; [] if the texts have nothing in common, or are too long to be
    compared. What is the same for long is cut in its middle."""
    for cut in (r"\s+|\w+|[^\w\s]", r"[^\n]*\n|[^\n]+"):
        before, after = re.findall(cut, old), re.findall(cut, new)
        if max(len(before), len(after)) <= _MOST_PIECES:
            found = list(_parts(before, after))
            return found if any(kind == "same" for kind, _ in found) else []
    return []


def _parts(before: Sequence[str], after: Sequence[str]) -> Iterator[tuple[str, str]]:
    import difflib

    for op, a, b, c, d in difflib.SequenceMatcher(None, before, after).get_opcodes():
        if op == "equal":
            yield "same", _cut("".join(before[a:b]))
            continue
        if a < b:
            yield "gone", "".join(before[a:b])
        if c < d:
            yield "new", "".join(after[c:d])


def _cut(text: str) -> str:
    return text if len(text) <= 3 * _AROUND else f"{text[:_AROUND]} … {text[-_AROUND:]}"


# ==== 2. LINES ===================================================================================================
# One line an event: what somebody did, without who and when. Entries of one request are one event.
# uses: VALUES CONTRACTS AUTH RESOURCES CHANGES plugin:people
# defines: what_happened who events

_MOST_NAMED = 3  # fields of a change that its line names
_AT_RECORD = {"move": "move", "history": "restore", "comments": "comment"}  # what is done there, by addresses


def what_happened(row: Value, titles: Mapping[str, str], form: Resource | None, t: Any) -> str:
    """What somebody did, such as "changed Days in Leave request". `form` is what the entry's address names; `t` has the
    words of the reader's language."""
    if damage_of(row["resource"]):
        return str(t("audit.unreadable"))
    kind, name, path = _place(str(row["resource"]))
    key, facts = (
        f"{name if kind == 'admin' else kind}_{_verb(kind, name, path, str(row['action']))}",
        _facts(row, path, titles, form, t),
    )
    if row["outcome"] in ("ok", None, ""):
        words = f"audit.did_{key}"
        said = t(words, **facts) if t.has(words) else t("audit.did", **facts)
    else:
        words = f"audit.not_{key}"
        words = words if t.has(words) else f"audit.not_{row['outcome']}"
        said = t(words, **facts, may=_tried(row, titles, t)) if t.has(words) else f"{row['outcome']}: {facts['action']}"
    said = str(said).rstrip(" :")
    said = t("audit.from_client", what=said, client=row["client"]) if row["client"] else said
    return str(t("audit.times", what=said, n=row["count"]) if isinstance(row["count"], int) and row["count"] > 1 else said)


def _place(address: str) -> tuple[str, str, Sequence[str]]:
    kind, name, *path = (*split_path(address), "", "")
    return kind, name, [part for part in path if part]


def _verb(kind: str, name: str, path: Sequence[str], action: str) -> str:
    """What is done with a person, or at a record and is none of its fields, has an address of its own."""
    if kind == "forms" and len(path) == 3:
        return _AT_RECORD.get(path[2], action)
    return path[1] if name == "people" and len(path) == 2 else action


def _facts(row: Value, path: Sequence[str], titles: Mapping[str, str], form: Resource | None, t: Any) -> dict[str, str]:
    """What the lines name."""
    place = "/".join(str(row["resource"]).split("/")[:2])
    told = row["after"] if isinstance(row["after"], dict) else {}
    return {
        "title": titles.get(place, place),
        "address": str(row["resource"]), "action": str(row["action"]).replace("_", " "), "path": "/".join(path),
        "record": str(row["record"] or "/".join(path)), "name": _called(row, form), "fields": _fields(row, form, t),
        "file": str(told.get("file") or "CSV"), "new": str(told.get("created", "")), "changed": str(told.get("updated", "")),
        "state": _moved_to(row, form), "whose": str(told.get("for") or told.get("subject") or (path or ["?"])[0]),
    }  # fmt: skip


def _called(row: Value, form: Resource | None) -> str:
    """What the record is called that was made or deleted."""
    value = row["after"] or row["before"]
    if not isinstance(form, Form) or not isinstance(value, dict) or damage_of(value):
        return ""
    return form.called(Record(str(row["record"]), 1, value))


def _fields(row: Value, form: Resource | None, t: Any) -> str:
    """Which fields an update changed; of many the first."""
    named = [title_of(form, field) for field, _, _ in _shown(row, form)]
    if len(named) > _MOST_NAMED:
        return str(t("audit.more_fields", fields=", ".join(named[:_MOST_NAMED]), n=len(named) - _MOST_NAMED))
    return ", ".join(named) or str(t("audit.nothing"))


def _moved_to(row: Value, form: Resource | None) -> str:
    """What the state is called that a move led to."""
    states = form.states if isinstance(form, Form) else None
    found = next((after for name, _, after in pairs(row) if states and name == states.field), None)
    return str(states.titles.get(found, found) if states and isinstance(found, str) else "")


def _tried(row: Value, titles: Mapping[str, str], t: Any) -> str:
    """What was tried, as what a grant allows."""
    if row["action"] in list(Action):
        return str(plugin("people").in_words([parse_grant(f"{row['resource']}:{row['action']}")], titles, t))
    return f"{row['action']} {row['resource']}"


def who(subject: str, names: Mapping[str, str], t: Any) -> str:
    """Who it was, for people: by `names` of those who have one."""
    if not subject:
        return str(t("audit.nobody"))
    kind, _, rest = subject.partition(":")
    if kind == "link" and rest:
        return str(t("audit.by_link", name=rest))
    if kind in ("cli", "service", "job"):
        return str(t("audit.operator" if kind == "cli" else "audit.itself", name=rest))
    return names.get(subject) or subject


def events(rows: Sequence[Value]) -> Iterator[tuple[Value, int]]:
    """The rows of a list, newest first, as one of each request and how many more records it wrote. Of an intent and what
    came of it, what came of it counts; of what was done in one commit, what was done first."""
    held: list[Value] = []
    for row in rows:
        if held and _are_one(held[-1], row):
            held.append(row)
        else:
            if held:
                yield _one_of(held)
            held = [row]
    if held:
        yield _one_of(held)


def _are_one(one: Value, other: Value) -> bool:
    return bool(one["request_id"]) and all(one[name] == other[name] for name in ("request_id", "resource", "action"))


def _one_of(rows: Sequence[Value]) -> tuple[Value, int]:
    done = [row for row in rows if row["outcome"] != "intent"] or rows[:1]
    return done[-1], len(done) - 1
