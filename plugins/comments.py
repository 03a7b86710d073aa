"""forms/F/records/ID/comments: a thread on a record, for whoever reads it, where `comments = true`."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from types import SimpleNamespace
from typing import Any, cast
from urllib.parse import quote

from app import (
    Action,
    AppError,
    Change,
    Column,
    Condition,
    Conflict,
    Delete,
    Exchange,
    Fault,
    Form,
    IdempotencyConflict,
    Insert,
    Invalid,
    Json,
    NotFound,
    Plan,
    Query,
    Record,
    Records,
    Request,
    Response,
    Scope,
    SignInNeeded,
    Value,
    Write,
    audit_store,
    check_text,
    is_key,
    leads_to,
    member_pointer,
    nearest,
    no_params,
    page_bounds,
    plan_of,
    plugin,
    rfc3339,
    storable,
)

# ==== 1. THREAD ==================================================================================================
# A row is a comment. Its key begins with a digest of the record, so that no provider has to look at those of others.
# uses: VALUES CONTRACTS RESOURCES ASSEMBLY
# defines: TABLE LONGEST MOST store_of place_of query removed

TABLE = "_comments"
LONGEST = 10_000  # characters
MOST = 1000  # comments of a record; fewer where a commit has few writes, as all of them go with the record
_BESIDE = 20  # writes of such a commit that are no comments


def store_of(form: Form) -> Records:
    """Where the comments of a form's records are: beside them, where their audit entries are."""
    return audit_store(form, form.state)


def place_of(form: Form, key: str) -> str:
    """What the keys of a record's comments begin with."""
    table = form.table if store_of(form) is form.records else form.address
    return hashlib.sha256(f"{table}\0{key}".encode()).hexdigest()[:32]


def query(place: str, limit: int, order_by: str = "id") -> Query:
    where = Condition("id", "gt", place), Condition("id", "lt", f"{place}g")
    return Query(TABLE, where, (order_by,), limit)


def _most(form: Form) -> int:
    most_writes = store_of(form).most_writes
    return MOST if most_writes is None else min(MOST, most_writes - _BESIDE)


def removed(form: Form, key: str) -> list[Write]:
    """What removes a record's comments with it."""
    return [Delete(TABLE, one.key) for one in store_of(form).walk(query(place_of(form, key), MOST))]


# ==== 2. COMMENTS ================================================================================================
# The part of a form that answers at a record's comments, and what the record's page shows of them.
# uses: ERRORS VALUES CONFIG CONTRACTS RUNNERS RESOURCES THREAD plugin:audit_words plugin:pages plugin:people
# defines: sufficient judged_at handle shown words

_SHOWN = 50  # of the newest comments on the page of a record


def sufficient(request: Request) -> tuple[Action, ...]:
    """Whoever reads the record may say something about it."""
    return (Action.READ,)


def judged_at(request: Request) -> str:
    """The record itself."""
    return request._replace(path=request.path[:2]).address


def handle(form: Form, request: Request, scope: Scope) -> Plan:
    """A page of the thread, the oldest first, or the plan that adds to it. Raises NotFound, Invalid, Conflict …"""
    key = request.path[1]
    place = f"{form.records_at}/{quote(key, safe='')}"
    if not form.config.comments:
        raise NotFound(f"{form.address} has no comments")
    record = form.store.get(form.table, key) if is_key(key) else None
    if record is None:
        raise NotFound(f"{place} does not exist")
    if request.action == Action.CREATE:
        return _added(form, request, scope, record, place)
    no_params(request, ("_size", "_next"))
    asked = query(place_of(form, key), page_bounds(request.params))._replace(after=request.params.get("_next", ""))
    found = store_of(form).find(asked)
    data: Value = {"items": list(map(_item, found.items)), "next": found.next}
    facts = {"form": form, "called": form.called(record), "place": place, "build": _page}
    page = {"title": form.locale.t("comments.title"), "trail": _way(form, scope, facts), **facts}
    return plan_of(Response(data=data, template="comments.tpl", page=page))


def _item(row: Record) -> Value:
    """What a program reads of a comment; null where its row is damaged."""
    return {"id": row.key[32:]} | {name: row.value.get(name) for name in ("at", "by", "text")}


def _way(form: Form, scope: Scope, facts: Mapping[str, Any]) -> list[tuple[str, str]]:
    leads, t = leads_to(form.address, form.opens, scope.caller), form.locale.t
    listed = [] if leads == form.records_at else [(t("trail.records"), form.records_at)]
    return [(form.title, leads), *listed, (facts["called"], facts["place"]), (t("comments.title"), "")]


def _added(form: Form, request: Request, scope: Scope, record: Record, place: str) -> Plan:
    """The plan that adds a comment. Raises SignInNeeded for the public, which has no name to sign it with."""
    if not scope.caller.subject:
        raise SignInNeeded("sign in to say something about this")
    no_params(request)
    text, store, begin = _text(request.data), store_of(form), place_of(form, record.key)
    if store.count(query(begin, 1)) >= (most := _most(form)):
        raise Conflict(f"{place} has {most:,} comments, the most that a record has")
    value: Value = {"at": rfc3339(scope.now), "by": scope.caller.subject, "text": text, "record": record.key}
    row = Record(begin + scope.new_ids(1)[0], 1, storable(value | {"resource": form.address}))
    answer = Response(data=_item(row), created=True, location=f"{place}/comments", name=form.called(record))
    return Plan(respond=lambda blobs: answer, changes=[Change(Insert(TABLE, row.key, row.value))], beside=True)


def _text(data: Json) -> str:
    """What is to be said, of a page the last text of that name."""
    if not isinstance(data, dict):
        raise Invalid("the body must be a JSON object", faults=[Fault("", "type", 'must be { "text": … }')])
    faults = [
        Fault(member_pointer("", name), "unknown_field", f"is not asked for here{nearest(name, ('text',))}")
        for name in list(data)[:20] if name != "text"
    ]  # fmt: skip
    given = data.get("text")
    given = given[-1] if isinstance(given, list) and given else given
    if isinstance(given, str) and not faults:
        given = "\n".join(given.strip().splitlines())
        if given and len(given) <= LONGEST and not check_text(given):
            return given
    if fault := _fault(given):
        faults.append(Fault("/text", *fault))
    raise Invalid("the comment is not valid", faults=faults)


def _fault(given: Json) -> tuple[str, str] | None:
    if given in (None, ""):
        return "required", "is missing"
    if not isinstance(given, str):
        return "type", "must be a string"
    if len(given) > LONGEST:
        return "maxLength", f"must have at most {LONGEST:,} characters"
    return ("text", "holds a character that cannot be stored") if check_text(given) else None


# ---- pages


def _page(exchange: Exchange, response: Response) -> Mapping[str, Any]:
    """The page of a long thread."""
    page, following = response.page, response.data["next"]
    thread = _thread(exchange, page["form"], response.data["items"], page["place"])
    thread.earlier_href = ""
    return {
        "called": page["called"], "thread": thread, "back_href": exchange.url(page["place"]),
        "next_href": exchange.url(exchange.inner, _next=following) if following else "",
        "first_href": exchange.url(exchange.inner) if exchange.query.get("_next") else "",
    }  # fmt: skip


def shown(exchange: Exchange, page: Mapping[str, Any], place: str, state: str | None) -> SimpleNamespace:
    """The newest comments for the page of a record, with a box for another one, which has what was typed if that could not
    be stored."""
    form, record, again = page["form"], page["record"], page.get("said")
    found = store_of(form).find(query(place_of(form, record.key), _SHOWN, "-id"))
    thread = _thread(exchange, form, list(map(_item, reversed(found.items))), place, state)
    thread.earlier_href = exchange.url(f"{place}/comments") if found.next else ""
    thread.typed, thread.alert = (again.comment, again.alert) if again else ("", "")
    return thread


def words(exchange: Exchange, error: AppError) -> str:
    """What kept a comment from being stored, for a person."""
    t = exchange.locale.t
    if isinstance(error, IdempotencyConflict):
        return str(t("comments.sent_before"))
    if isinstance(error, Invalid) and error.faults:
        return str(t("errors.fault", field=t("comments.label"), what=t.said(error.faults[0].detail)))
    if error.retry or error.status >= 500:
        return str(t("moves.not_now"))
    said = str(t.said(error.message))
    return said[:1].upper() + said[1:]


def _thread(exchange: Exchange, form: Form, items: Sequence[Value], place: str, state: str | None = None) -> SimpleNamespace:
    sent_as = plugin("pages").submission(exchange)
    return SimpleNamespace(
        items=list(_lines(exchange, form, items)), most=LONGEST, may_add=bool(exchange.subject), typed="", alert="",
        action=exchange.url(f"{place}/comments", _submission=sent_as, _list=state),
    )  # fmt: skip


def _lines(exchange: Exchange, form: Form, items: Sequence[Value]) -> Iterator[SimpleNamespace]:
    at, t = Column("", "", "string", "date-time"), exchange.locale.t
    names = cast(dict[str, str], plugin("people").names(form.state, [one["by"] for one in items]))
    for one in items:
        who = plugin("audit_words").who(str(one["by"] or ""), names, t)
        when = exchange.locale.show(at, one["at"]) if one["at"] else ""
        yield SimpleNamespace(id=one["id"], who=who, at=when, iso=one["at"] or "", text=str(one["text"] or ""))
