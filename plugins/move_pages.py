"""What pages show of states: a record's own with who moved it there, the buttons that move it on, and why a move failed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import cached_property
from html import escape
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import quote, urlencode

import app
from app import (
    Action,
    Answer,
    App,
    AppError,
    Caller,
    Column,
    Condition,
    Conflict,
    Exchange,
    Forbidden,
    Form,
    HttpRunner,
    IdempotencyConflict,
    Invalid,
    Json,
    PreconditionFailed,
    Query,
    Record,
    Request,
    Response,
    Unauthenticated,
    Value,
    audit_store,
    error_headers,
)

if TYPE_CHECKING:
    from plugins import pages, people, unsent
    from plugins.catalogue import Words
    from plugins.states import States
else:
    pages, people, unsent = app.plugin("pages"), app.plugin("people"), app.plugin("unsent")

# ==== 1. STANDING ================================================================================================
# What state a record is in, who moved it there and when, and what moves are open to the reader.
# uses: ERRORS VALUES RUNNERS RESOURCES ASSEMBLY plugin:pages plugin:people plugin:states
# defines: last_move named title_of of_record badge_of Buttons Cells

_LOOKED_AT = 50  # entries of a record's audit trail, of which the last move is mostly the first


def last_move(site: App, form: Form, key: str) -> Value | None:
    """The audit entry of the last move of a record; None if it was not moved, or that is too long ago to be found soon."""
    store = audit_store(form, site.state)
    query = Query("_audit", (Condition("record", "eq", key),), ("-id",), _LOOKED_AT)
    with suppress(AppError):  # the page is whole without it
        for entry in store.find(query).items:
            changes, place = entry.value.get("changes"), f"{entry.value.get('resource')}/"
            is_done = entry.value.get("outcome") == "ok" and place.startswith(form.address + "/")
            if is_done and isinstance(changes, dict) and form.states.field in changes:
                return entry.value
    return None


def named(site: App, subject: Json) -> str:
    """What people call a subject."""
    return people.names(site.state, [subject]).get(subject, str(subject or ""))


def title_of(exchange: Exchange, form: Form, state: Json) -> str:
    """What people call a state, in the reader's language."""
    return str(exchange.locale.show(form.fields[form.states.field].column, state))


def of_record(exchange: Exchange, response: Response) -> SimpleNamespace | None:
    """What stands above a record: its state, since when and by whom, and what the reader may do; None without states."""
    page, site = response.page, pages.site_of(exchange)
    form: Form = page["form"]
    if not form.states or form.states.field not in form.fields:
        return None
    record: Record = page["record"]
    t, state = exchange.locale.t, form.states.of(record.value)
    found = SimpleNamespace(title=title_of(exchange, form, state), badge=badge_of(form.states, state), since="", comment="")
    entry = last_move(site, form, record.key) if record.version > 1 else None
    if entry:
        at = exchange.locale.show(Column("at", "", "string", "date-time"), entry["at"])
        found.since = t("moves.since", who=named(site, entry["subject"]), at=at)
        found.comment = str(entry.get("comment") or "")
    again = page.get("again")
    found.alert = again.alert if again else ""
    address = f"{page['records_at']}/{quote(record.key, safe='')}"
    buttons = Buttons(exchange, form, response.caller, address)
    found.move = buttons.html(address, state, record.version, typed=again.comment if again else "")
    return found


def badge_of(states: States, state: Json) -> str:
    """The colour of a state, which may be anything; "" if it has none."""
    return states.badges.get(state, "") if isinstance(state, str) else ""


_PLACES = ("action", "name", "typed", "ident")  # of _move.tpl, which differ from record to record


class Buttons:
    """The forms of one page that move records on. Of those with the same buttons one is rendered, and the others copy it."""

    def __init__(self, exchange: Exchange, form: Form, caller: Caller, judged_at: str, back: str = "") -> None:
        """`judged_at` is the record, or what stands for all that lie there. `back` is where a move leads afterwards: "home",
        "list", or else the record."""
        self._exchange, self._form, self._caller, self._judged_at, self._back = exchange, form, caller, judged_at, back
        self._list = pages.list_state(exchange) if back == "list" else urlencode(pages.listed(exchange)) or None
        self._targets: dict[Json, tuple[str, ...]] = {}  # by state
        self._made: dict[tuple[tuple[str, ...], bool], str] = {}  # forms, with marks for _PLACES

    def html(self, address: str, state: Json, version: int, *, name: str = "", typed: str = "") -> str:
        """The form that moves the record at an address on; "" if no move is open to the caller. With a `name` of the record
        it is folded."""
        targets = self._open_from(state) if isinstance(state, str) else ()
        if not targets:
            return ""
        kind = targets, bool(name)
        if kind not in self._made:
            self._made[kind] = self._rendered(targets, is_folded=bool(name))
        sent = {"_submission": pages.submission(self._exchange), "_version": str(version), "_back": self._back or None}
        action, found = self._exchange.url(f"{address}/move", **sent, _list=self._list), self._made[kind]
        for place, text in zip(_PLACES, (action, name, typed, f"m-{address.rpartition('/')[2]}"), strict=True):
            found = found.replace(_mark(place), escape(text.replace("\0", "")))
        return found

    def _open_from(self, state: str) -> tuple[str, ...]:
        if state not in self._targets:
            found = self._form.states.open_to(self._caller, state, self._judged_at)
            self._targets[state] = tuple(one.target for one in found)
        return self._targets[state]

    def _rendered(self, targets: Sequence[str], *, is_folded: bool) -> str:
        exchange, form = self._exchange, self._form
        marks = {name: _mark(name) for name in _PLACES} | ({} if is_folded else {"name": ""})
        return str(pages.pages_of(exchange).part("_move.tpl", {
            "t": exchange.locale.t, "form_token": exchange.door.form_token(exchange), **marks,
            "targets": [
                SimpleNamespace(value=one, title=title_of(exchange, form, one), badge=badge_of(form.states, one))
                for one in targets
            ],
        }))  # fmt: skip


def _mark(name: str) -> str:
    """What stands in place of a text, which has no NUL."""
    return f"\0{name}\0"


class Cells:
    """The cells of a list with the moves that are open to the reader, for the rows of the records of a form."""

    def __init__(self, exchange: Exchange, response: Response) -> None:
        self._form, self._at, self._caller = response.page["form"], response.page["records_at"], response.caller
        self._buttons = Buttons(exchange, self._form, self._caller, f"{self._at}/x", "list")

    @cached_property
    def are_there(self) -> bool:
        """Whether any move of some record is open to the reader."""
        return any(one.is_open_to(self._caller, f"{self._at}/x") for one in self._form.states.moves)

    def after(self, columns: Sequence[Column]) -> int:
        """Where these cells stand in a row: behind the state."""
        return 1 + next((at for at, one in enumerate(columns) if one.format == "state"), len(columns) - 1)

    def html(self, row: Mapping[str, Json], name: str) -> str:
        """What moves the record of a row on, which is called by its first cell."""
        address, state = f"{self._at}/{quote(str(row['id']), safe='')}", self._form.states.of(cast(Value, row))
        return self._buttons.html(address, state, cast(int, row["version"]), name=name)


# ==== 2. AFTERWARDS ==============================================================================================
# What comes after a move: the page it was made on, which says what was done, or the record, which says why not.
# uses: ERRORS VALUES RUNNERS RESOURCES STANDING plugin:catalogue plugin:comments plugin:pages plugin:unsent
# defines: afterwards refused shown_again words


def afterwards(exchange: Exchange, response: Response) -> str:
    """Where to go on to after a move; the page there says what was done."""
    site = pages.site_of(exchange)
    form = cast(Form, site.languages.shown(exchange.locale)[exchange.resource])
    state = title_of(exchange, form, cast(Value, response.data)[form.states.field])
    places = {"home": "", "list": response.location.rpartition("/")[0]}
    place, listed = places.get(exchange.query.get("_back", ""), response.location), pages.listed(exchange)
    pages.give_notice(exchange, exchange.url(place), exchange.locale.t("moves.done", name=response.name, state=state))
    if place == places["list"]:
        return exchange.url(place, **listed)
    return exchange.url(place, _list=urlencode(listed) or None) if place else exchange.url("")


def refused(exchange: Exchange, shown_by: pages.Pages, path: tuple[str, ...], error: AppError) -> Answer:
    """The record again, with what was typed, and in words for people what kept it from being moved."""
    drafts = unsent.Drafts(exchange, shown_by)
    with suppress(AppError):  # which keeps the comment alone from coming back
        drafts.read_late(exchange.resource, keep=False)
    is_said = path[2] == "comments"
    typed = {unsent.COMMENT: [drafts.form.text("text" if is_said else "comment")]}
    typed |= {unsent.THREAD: ["1"]} if is_said else {}
    draft = unsent.Draft(exchange.resource, path[:2], typed, (), listed=exchange.query.get("_list", ""))
    try:
        response = _read(exchange, draft)
    except Unauthenticated as refusal:
        return drafts.sign_in_first(draft, refusal)
    except AppError:
        return drafts.refused(draft, error)
    exchange.subject = response.caller.subject
    if is_said:
        why = app.plugin("comments").words(exchange, error)
    else:
        why = words(exchange, response, error, drafts.form.text("to"))
    answer = _page(exchange, shown_by, draft, response, why, error.status)
    answer.headers += error_headers(error)
    return answer


def shown_again(exchange: Exchange, shown_by: pages.Pages, draft: Any) -> Answer:
    """The record with a comment that was typed before signing in. Raises what keeps the reader from it."""
    response = _read(exchange, draft)
    exchange.subject = response.caller.subject
    return _page(exchange, shown_by, draft, response, exchange.locale.t("moves.here"), 200)


def _read(exchange: Exchange, draft: Any) -> Response:
    return exchange.door.host.handle(Request(
        id=exchange.id, action=Action.READ, resource=draft.resource, path=draft.path, door=HttpRunner.kind, page=True,
        credential=exchange.credential, languages=exchange.languages,
    ))  # fmt: skip


def _page(exchange: Exchange, shown_by: pages.Pages, draft: Any, response: Response, alert: str, status: int) -> Answer:
    exchange.path = exchange.own_path = exchange.url(draft.address)
    exchange.query = {"_list": draft.listed} if draft.listed else {}
    comment = next(iter(draft.typed.get(unsent.COMMENT, ())), "")
    again = SimpleNamespace(alert=alert, comment=comment)
    response.page = {**response.page, ("said" if unsent.THREAD in draft.typed else "again"): again}
    return pages.page_answer(status, shown_by.show(exchange, response))


def words(exchange: Exchange, response: Response, error: AppError, target: str) -> str:
    """Why the record was not moved."""
    t = cast("Words", exchange.locale.t)
    if isinstance(error, Conflict | PreconditionFailed | IdempotencyConflict):
        return _faster(exchange, response, target)
    if isinstance(error, Forbidden) and exchange.door.same_origin(exchange) is False:
        return t("draft.elsewhere")
    if isinstance(error, Forbidden):
        return t("moves.forbidden", contact=pages.pages_of(exchange).contact(exchange) or t("common.somebody"))
    if isinstance(error, Invalid) and error.faults:
        return t("errors.fault", field=t("moves.comment"), what=t.said(error.faults[0].detail))
    said = t("moves.not_now") if error.retry or error.status >= 500 else t.said(error.message)
    return said[:1].upper() + said[1:]


def _faster(exchange: Exchange, response: Response, target: str) -> str:
    """Who moved or changed the record meanwhile."""
    t, site = cast("Words", exchange.locale.t), pages.site_of(exchange)
    form, record, at = response.page["form"], response.page["record"], Column("at", "", "string", "date-time")
    present = form.states.of(record.value)
    state, leads_on = title_of(exchange, form, present), any(one.target == target for one in form.states.from_(present))
    entry = None if leads_on else last_move(site, form, record.key)
    if entry:
        if entry["subject"] == response.caller.subject:
            return t("moves.by_you", state=state, at=exchange.locale.show(at, entry["at"]))
        who = named(site, entry["subject"])
        return t("moves.faster", who=who, state=state, at=exchange.locale.show(at, entry["at"]))
    who, when = named(site, record.value.get("updated_by")), exchange.locale.show(at, record.value.get("updated_at"))
    return t("moves.changed", who=who, at=when, state=state)
