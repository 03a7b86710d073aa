"""What pages show of states: a record's own with who moved it there, the buttons that move it on, and why a move failed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
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
# defines: last_move named title_of of_record badge_of move_of Cells

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
    found.move = move_of(
        exchange, form, response.caller, address, state, record.version, typed=again.comment if again else ""
    )
    return found


def badge_of(states: States, state: Json) -> str:
    """The colour of a state, which may be anything; "" if it has none."""
    return states.badges.get(state, "") if isinstance(state, str) else ""


def move_of(
    exchange: Exchange, form: Form, caller: Caller, address: str, state: Json, version: int, *,
    name: str = "", back: str = "", typed: str = "",
) -> str:  # fmt: skip
    """The form, as HTML, that moves the record at an address on; "" if no move is open to the caller. With a `name` of the
    record it is folded. `back` is where it leads afterwards: "home", "list", or else the record."""
    targets = [one.target for one in form.states.open_to(caller, state, address)]
    if not targets:
        return ""
    sent = {"_submission": pages.submission(exchange), "_version": str(version), "_back": back or None}
    state_of_list = urlencode(pages.listed(exchange)) or None if back != "list" else pages.list_state(exchange)
    return str(pages.pages_of(exchange).part("_move.tpl", {
        "t": exchange.locale.t, "action": exchange.url(f"{address}/move", **sent, _list=state_of_list),
        "form_token": exchange.door.form_token(exchange), "name": name, "typed": typed,
        "ident": f"m-{address.rpartition('/')[2]}",
        "targets": [
            SimpleNamespace(value=one, title=title_of(exchange, form, one), badge=badge_of(form.states, one))
            for one in targets
        ],
    }))  # fmt: skip


class Cells:
    """The cells of a list with the moves that are open to the reader, for the rows of the records of a form."""

    def __init__(self, exchange: Exchange, response: Response) -> None:
        page = response.page
        self._exchange, self._form, self._caller, self._at = (
            exchange,
            page.get("form"),
            response.caller,
            page.get("records_at"),
        )

    @property
    def are_there(self) -> bool:
        """Whether any move of some record is open to the reader."""
        states = self._form.states if isinstance(self._form, Form) else None
        return states is not None and any(one.is_open_to(self._caller, f"{self._at}/x") for one in states.moves)

    def after(self, columns: Sequence[Column]) -> int:
        """Where these cells stand in a row: behind the state."""
        return 1 + next((at for at, one in enumerate(columns) if one.format == "state"), len(columns) - 1)

    def html(self, row: Mapping[str, Json], name: str) -> str:
        """What moves the record of a row on, which is called by its first cell."""
        address, form = f"{self._at}/{quote(str(row['id']), safe='')}", cast(Form, self._form)
        state = form.states.of(cast(Value, row))
        return move_of(self._exchange, form, self._caller, address, state, cast(int, row["version"]), name=name, back="list")


# ==== 2. AFTERWARDS ==============================================================================================
# What comes after a move: the page it was made on, which says what was done, or the record, which says why not.
# uses: ERRORS VALUES RUNNERS RESOURCES STANDING plugin:catalogue plugin:pages plugin:unsent
# defines: afterwards refused shown_again


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
    typed = {unsent.COMMENT: [drafts.form.text("comment")]}
    draft = unsent.Draft(exchange.resource, path[:2], typed, (), listed=exchange.query.get("_list", ""))
    try:
        response = _read(exchange, draft)
    except Unauthenticated as refusal:
        return drafts.sign_in_first(draft, refusal)
    except AppError:
        return drafts.refused(draft, error)
    exchange.subject = response.caller.subject
    answer = _page(
        exchange, shown_by, draft, response, _words(exchange, response, error, drafts.form.text("to")), error.status
    )
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
    response.page = {**response.page, "again": SimpleNamespace(alert=alert, comment=comment)}
    return pages.page_answer(status, shown_by.show(exchange, response))


def _words(exchange: Exchange, response: Response, error: AppError, target: str) -> str:
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
