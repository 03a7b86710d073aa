"""forms/F/records/ID/history: what was changed in a record, by whom and when; a POST brings an earlier version back."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import quote

from app import (
    RESERVED_FIELDS,
    Action,
    BadRequest,
    Column,
    Condition,
    Conflict,
    Exchange,
    Fault,
    Forbidden,
    Form,
    Invalid,
    Json,
    NotFound,
    Plan,
    PreconditionFailed,
    Query,
    Record,
    Request,
    Response,
    Scope,
    Unreadable,
    Value,
    audit_store,
    check_text,
    decode_cursor,
    encode_cursor,
    is_key,
    leads_to,
    member_pointer,
    no_params,
    page_bounds,
    plan_of,
    plugin,
    same_json,
)

if TYPE_CHECKING:
    from plugins import audit_words
else:
    audit_words = plugin("audit_words")

# ==== 1. TRAIL ===================================================================================================
# The audit entries of one record, newest first, back to the one that made it. What the reader may not see is left out.
# uses: ERRORS VALUES CONFIG RESOURCES ASSEMBLY plugin:audit_words plugin:people
# defines: Trail

_AT_ONCE = 100  # entries that are asked for
_MOST_BACK = 10_000  # entries that lie between a version that is brought back and the present one
_FILE = {"name", "address", "sha256"}


class Trail:
    """The entries of a record as it is there for a caller. They have no versions: each wrote the one before the next."""

    def __init__(self, form: Form, record: Record) -> None:
        self._form, self._record = form, record
        self._renamed = {was: name for name, one in (form.whole or form).fields.items() if (was := _was(one))}
        self._store = audit_store(form, form.state)

    def entries(self, before: str = "") -> Iterator[Record]:
        """Those whose keys are lower, newest first, the one that made the record last; without it, it is there no more."""
        while True:
            older = (Condition("id", "lt", before),) if before else ()
            where = (Condition("record", "eq", self._record.key), *older)
            page = self._store.find(Query("_audit", where, ("-id",), _AT_ONCE))
            for one in page.items:
                before = one.key
                if one.damage or self._is_of_record(one.value):
                    yield one
                    if _makes(one):
                        return
            if page.next is None:
                return

    def _is_of_record(self, entry: Value) -> bool:
        """Whether an entry tells of a change of this record, and not of one of the same key elsewhere."""
        resource = str(entry.get("resource"))
        is_here = resource == self._form.address or resource.startswith(f"{self._form.address}/")
        return is_here and entry.get("outcome") in ("ok", "", None) and entry.get("action") in _WRITES

    def page(self, before: str, version: int, size: int) -> tuple[list[Value], str | None, bool]:
        """Items from a key on, of which the first wrote `version`; the cursor of what follows, and whether the trail ends
        before the record was made."""
        items = list[Value]()
        last: Record | None = None
        for one in self.entries(before):
            if len(items) == size:
                return items, encode_cursor(cast(Record, last).key, version), False
            items.append(self.item(one, version))
            last, version = one, version - 1
        is_whole = last is not None and _makes(last)
        for item in items[1:] if is_whole and version else ():  # some entries are gone, such as those of somebody erased
            item["version"] = None
        return items, None, not is_whole

    def item(self, entry: Record, version: int) -> Value:
        """What a program reads of an entry."""
        row = _row(entry)
        pairs = _pairs(entry, self._renamed)
        changes = {name: [_told(old), _told(new)] for name, old, new in pairs if self._is_open(name)}
        return {
            "at": row["at"], "by": row["subject"], "action": row["action"], "version": version if version > 0 else None,
            "changes": changes, "comment": row["comment"] or None,
        }  # fmt: skip

    def _is_open(self, name: str) -> bool:
        """Whether the reader may see a field; one that app.toml does not know any more is everybody's."""
        return name not in self._form.hidden and name not in RESERVED_FIELDS

    def values(self, wanted: int) -> Value:
        """What the record held as that version. Raises Invalid if there was none, Conflict if the trail does not say."""
        version, value = self._record.version, _own(self._record.value)
        if not 1 <= wanted < version:
            detail = f"must be an earlier version, from 1 to {version - 1}" if version > 1 else "there is no earlier version"
            raise Invalid("there is nothing to bring back", faults=[Fault("/version", "version", detail)])
        found, last = None, None
        for count, last in enumerate(self.entries()):
            found = value if version == wanted else found
            if last.damage or count >= _MOST_BACK:
                break
            value, version = _before(last, value, self._renamed), version - 1
        found = value if version == wanted else found
        if found is None or (last and _makes(last) and version):
            raise Conflict(f"version {wanted} cannot be brought back: the audit trail does not have all that was done since")
        return found


_WRITES = (Action.CREATE, Action.UPDATE, Action.DELETE)


def _row(entry: Record) -> Value:
    """An entry with everything that is asked of it; None for what an older or damaged one does not have."""
    names = ("at", "subject", "action", "resource", "comment", "changes", "before", "after")
    return dict.fromkeys(names) | ({} if entry.damage else {name: entry.value.get(name) for name in names})


def _makes(entry: Record) -> bool:
    """Whether the record begins with this entry: what was there under the same key before is another one."""
    row = _row(entry)
    return row["action"] == Action.DELETE or (isinstance(row["after"], dict) and not row["before"])


def _own(value: Value) -> Value:
    return {name: one for name, one in value.items() if name not in RESERVED_FIELDS}


def _was(field: Any) -> str:
    return getattr(field.config, "was", "") or ""


def _pairs(entry: Record, renamed: Mapping[str, str]) -> list[tuple[str, Json, Json]]:
    """(field, before, after) of what an entry says, by the names that fields have today; [] if it is damaged."""
    found = [] if entry.damage else audit_words.pairs(_row(entry))
    return [(renamed.get(name, name), old, new) for name, old, new in found]


def _before(entry: Record, value: Value, renamed: Mapping[str, str]) -> Value:
    """What a record held before an entry that made this of it."""
    row = _row(entry)
    if isinstance(row["before"], dict) and not isinstance(row["changes"], dict):  # an older entry has all of it
        return {renamed.get(name, name): one for name, one in _own(row["before"]).items()}
    found = dict(value)
    for name, old, new in _pairs(entry, renamed):
        if not same_json(found.get(name), new):
            raise Conflict("no version can be brought back past what the audit trail does not have")
        if old is None:
            found.pop(name, None)
        else:
            found[name] = old
    return found


def _told(value: Json) -> Json:
    """A value without the addresses that its files have, or had, in their share."""
    if isinstance(value, list):
        return [_told(one) for one in value]
    if isinstance(value, dict):
        hides = value.keys() >= _FILE
        return {name: _told(one) for name, one in value.items() if not (hides and name == "address")}
    return value


# ==== 2. HISTORY =================================================================================================
# The part of a form that answers at a record's history.
# uses: ERRORS VALUES CONTRACTS RUNNERS RESOURCES TRAIL plugin:audit_words plugin:pages plugin:people
# defines: sufficient judged_at handle


def sufficient(request: Request) -> tuple[Action, ...]:
    return (request.action,)


def judged_at(request: Request) -> str:
    """The record itself."""
    return request._replace(path=request.path[:2]).address


def handle(form: Form, request: Request, scope: Scope) -> Plan:
    """A page of its history, or the plan that brings a version back. Raises NotFound, Forbidden, Invalid …"""
    key = request.path[1]
    place = f"{form.records_at}/{quote(key, safe='')}"
    may_update = any(scope.caller.may(Action.UPDATE, one) for one in (place, f"{place}/history"))
    if request.action == Action.UPDATE and not may_update:
        raise Forbidden(f"this needs the grant {place}:{Action.UPDATE}", needed=f"{place}:{Action.UPDATE}")
    record = form.store.get(form.table, key) if is_key(key) else None
    if record is None:
        raise NotFound(f"{place} does not exist")
    if record.damage:
        raise Unreadable(f"{place} is damaged: what is stored {record.damage}", hint=f"table {form.table}")
    if request.action == Action.UPDATE:
        return _restored(form, request, scope, record, place)
    no_params(request, ("_size", "_next"))
    before, version = _cursor(request.params.get("_next", ""), record)
    items, following, is_cut = Trail(form, record).page(before, version, page_bounds(request.params))
    data: Value = {"items": items, "next": following} | ({"pruned": True} if is_cut else {})
    facts = {"form": form, "record": record, "place": place, "caller": scope.caller, "build": _page}
    page = {"title": form.locale.t("history.title"), "trail": _way(form, record, place, scope), **facts}
    return plan_of(Response(data=data, template="history.tpl", page=page))


def _cursor(text: str, record: Record) -> tuple[str, int]:
    """The key before which a page begins, and the version that its first entry wrote."""
    if not text:
        return "", record.version
    key, version = decode_cursor(text, 2)
    if not isinstance(key, str) or check_text(key) or not isinstance(version, int) or isinstance(version, bool):
        raise BadRequest("_next is not a cursor of this list: use the one from its answer, unchanged")
    return key, version


def _way(form: Form, record: Record, place: str, scope: Scope) -> list[tuple[str, str]]:
    """The trail of the page: the form, its list, the record."""
    leads, t = leads_to(form.address, form.opens, scope.caller), form.locale.t
    words = t("trail.records" if form.records_at == f"{form.address}/records" else "trail.mine")
    listed = [] if leads == form.records_at else [(words, form.records_at)]
    return [(form.title, leads), *listed, (form.called(record), place), (t("history.title"), "")]


# ---- an earlier version


def _restored(form: Form, request: Request, scope: Scope, record: Record, place: str) -> Plan:
    """An update to the values of then. What a person does not fill in, such as states, sums and files, stays."""
    no_params(request)
    wanted, present = _wanted(request.data), str(record.version)
    if request.conditions.if_match and not request.conditions.name(request.conditions.if_match, present):
        raise PreconditionFailed("it was changed meanwhile: get it again")
    then, now, t = Trail(form, record).values(wanted), _own(record.value), form.locale.t
    taken = [name for name in form.taken if name not in form.hidden]
    changed = {name: then.get(name) for name in taken if not same_json(then.get(name), now.get(name))}
    files = [form.fields[name].title for name in changed if name in form.shares]
    data = {name: one for name, one in changed.items() if name not in form.shares}
    words = [t("history.restored" if data else "history.same", n=wanted)]
    if files:
        words.append(t("history.files_stay", fields=t("common.comma").join(files)))
    notice = " ".join(words)
    if not data:
        return plan_of(_said(Response(data=form.flat(record), etag=present, name=form.called(record)), notice, place))
    inner = request._replace(path=("records", record.key), data=data, typed=True, partial=True)
    plan = form.handle(inner, scope)
    return plan._replace(respond=lambda blobs: _said(plan.respond(blobs), notice, place))


def _said(answer: Response, notice: str, place: str) -> Response:
    answer.page, answer.location = {"notice": notice}, place
    return answer


def _wanted(data: Json) -> int:
    """The version that is asked for: a number, or a text from a page."""
    if not isinstance(data, dict):
        raise Invalid("the body must be a JSON object", faults=[Fault("", "type", 'must be { "version": … }')])
    if more := [name for name in data if name != "version"]:
        raise Invalid(
            "that is not asked for here",
            faults=[Fault(member_pointer("", more[0]), "unknown_field", "is not asked for here")],
        )
    given = data.get("version")
    given = given[-1] if isinstance(given, list) and given else given
    if isinstance(given, str) and given.isascii() and given.isdigit() and len(given) < 16:
        given = int(given)
    if not isinstance(given, int) or isinstance(given, bool):
        code, detail = ("required", "is missing") if given is None else ("type", "must be a whole number")
        raise Invalid("no version is named", faults=[Fault("/version", code, f"{detail}: name an earlier version")])
    return given


# ---- the page


def _page(exchange: Exchange, response: Response) -> Mapping[str, Any]:
    """The items for people, with a button at each that can be brought back."""
    page, t = response.page, exchange.locale.t
    form, record, at = page["form"], page["record"], Column("", "", "string", "date-time")
    is_open = not (form.owned_by and form.states) or form.states.is_open(record.value)
    may = is_open and page["caller"].may(Action.UPDATE, page["place"])
    items = response.data["items"]
    names = plugin("people").names(form.state, [one["by"] for one in items])
    lines = []
    for one in items:
        row = {"changes": one["changes"], "before": None, "after": None}
        lines.append(SimpleNamespace(
            at=exchange.locale.show(at, one["at"]) if one["at"] else "", iso=one["at"] or "",
            who=audit_words.who(str(one["by"] or ""), names, t), what=_what(one, form, t), comment=one["comment"] or "",
            version=one["version"], is_present=one["version"] == record.version,
            may_restore=bool(may and one["version"] and one["version"] < record.version),
            differences=audit_words.differences(row, form, exchange.locale), is_first=one["action"] == Action.CREATE,
        ))  # fmt: skip
    following, sent_as = response.data["next"], plugin("pages").submission(exchange)
    return {
        "called": form.called(record), "lines": lines, "is_cut": bool(response.data.get("pruned")),
        "action": exchange.url(f"{page['place']}/history", _version=record.version, _submission=sent_as),
        "next_href": exchange.url(exchange.inner, _next=following) if following else "",
        "first_href": exchange.url(exchange.inner) if exchange.query.get("_next") else "",
        "back_href": exchange.url(page["place"]),
    }  # fmt: skip


def _what(item: Value, form: Form, t: Any) -> str:
    """What an item did, in a few words."""
    if item["action"] != Action.UPDATE:
        words = f"history.did_{item['action']}"
        return str(t(words) if t.has(words) else t("audit.unreadable"))
    if form.states and list(item["changes"]) == [form.states.field]:
        return str(t("history.did_move"))
    return str(t("history.did_update"))
