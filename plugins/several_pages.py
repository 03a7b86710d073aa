"""Several rows of a list at once, for people: the boxes in front of them, what is to be done, and what became of each."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property, partial
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import quote, unquote

import app
from app import (
    Action,
    Answer,
    AppError,
    BadRequest,
    Exchange,
    Forbidden,
    Form,
    Json,
    NotFound,
    Plan,
    Record,
    Request,
    Response,
    Scope,
    Table,
    is_key,
    leads_to,
    plan_of,
    see_other,
)

if TYPE_CHECKING:
    from plugins import move_pages, pages, several
    from plugins.several import Outcome, Row
else:
    move_pages, pages, several = app.plugin("move_pages"), app.plugin("pages"), app.plugin("several")

# ==== 1. BOXES ===================================================================================================
# On the list: a box in front of each row, and below the filter what can be done with those that are ticked. They belong to a
# form of their own by its name, since forms of the rows lie between them. What a box says is the version that was seen and
# the id; the one of all rows says those of each.
# uses: VALUES RUNNERS RESOURCES plugin:cells plugin:pages
# defines: KINDS Boxes

KINDS = ("csv", "xlsx")  # what rows are taken along as
_FORM = "several"  # the name of the form that they belong to


class Boxes:
    """Those of a list. False where the reader may do nothing with its rows."""

    def __init__(self, exchange: Exchange, response: Response) -> None:
        page = response.page
        self._exchange, self._form, self._at = exchange, page["form"], page["records_at"]
        states = self._form.states if self._form.type == "forms" else None
        is_open = states and any(one.is_open_to(response.caller, f"{self._at}/x") for one in states.moves)
        self.may_move, self.may_delete = bool(is_open), self._form.type == "forms" and Action.DELETE in page["may"]
        self._all = ""

    def __bool__(self) -> bool:
        return self.may_move or self.may_delete

    def html(self, rows: Sequence[Mapping[str, Json]], names: Sequence[str]) -> list[str]:
        """The cells with the boxes of rows that are called by these names, which are escaped."""
        keys = app.plugin("cells").quoted([row["id"] for row in rows])
        values = [f"{row['version']}.{key}" for row, key in zip(rows, keys, strict=True)]
        self._all = " ".join(values)
        start = f'      <td class="tick"><input type="checkbox" name="id" form="{_FORM}" value="'
        return [f'{start}{value}" aria-label="{name}"></td>\n' for value, name in zip(values, names, strict=True)]

    @cached_property
    def bar(self) -> SimpleNamespace:
        """What can be done with the rows, once their boxes are made."""
        return SimpleNamespace(
            action=_action(self._exchange, self._form, self._at), may_move=self.may_move, may_delete=self.may_delete,
            all=self._all, count=self._all.count(" ") + 1,
            kinds=[kind for kind in KINDS if kind in self._exchange.door.formats], others=(),
        )  # fmt: skip


def _action(exchange: Exchange, form: Form, records_at: str, **more: str) -> str:
    """The address that the boxes are sent to."""
    of = "mine" if records_at.endswith("/mine") else None
    return exchange.url(f"{form.address}/several", _of=of, _list=pages.list_state(exchange), **more)


# ==== 2. STEPS ===================================================================================================
# Moves and deletions are asked for once more, by name; what is done goes on to the list, which says so, unless something was
# not done: then a page says what, and why.
# uses: ERRORS VALUES CONTRACTS RUNNERS RESOURCES BOXES plugin:move_pages plugin:pages plugin:several
# defines: back_to asked

_MOST_TOLD = 200  # rows whose reason is looked up; the others are told in the words of programs


def back_to(form: Form) -> Callable[[Exchange, Response], Answer]:
    """What shows the list again."""
    return lambda exchange, response: see_other(_list_href(exchange, form))


def _list_href(exchange: Exchange, form: Form) -> str:
    return exchange.url(form.records_at, **pages.listed(exchange))


def asked(form: Form, request: Request, scope: Scope) -> Plan:
    """What a page asks for, with the answer to it."""
    rows, sent = _rows(request.data), cast(Mapping[str, Any], request.data)
    what, to, comment = (_last(sent, name) for name in ("do", "to", "comment"))
    if what not in (several.MOVE, several.DELETE, *KINDS):
        raise BadRequest("do must be move, delete, csv or xlsx")
    act: Callable[[Exchange, Response], Answer]
    if not rows:
        act = partial(_nothing_chosen, form)
    elif what in KINDS:
        act = partial(_exported, form, scope, rows, what)
    elif (what == several.MOVE and to) or (what == several.DELETE and _last(sent, "sure")):
        act = partial(_told, form, scope, what, several.run(form, request, scope, what, rows, to, comment), to)
    else:
        act = partial(_asked_again, form, scope, what, rows)
    return plan_of(Response(page={"act": act}))


def _last(sent: Mapping[str, Any], name: str) -> str:
    texts = [one for one in sent.get(name, ()) if isinstance(one, str)]
    return texts[-1].strip() if texts else ""


def _rows(sent: Any) -> list[Row]:
    """The rows whose boxes were ticked, each once."""
    rows: dict[str, Row] = {}
    texts = sent.get("id", ()) if isinstance(sent, dict) else ()
    for one in (part for text in texts if isinstance(text, str) for part in text.split()):
        version, dot, key = one.partition(".")
        if not dot or not version.isdigit() or not is_key(unquote(key)):
            raise BadRequest("a ticked row is not from a page of this site: open the list again")
        rows.setdefault(unquote(key), several.Row(unquote(key), version))
    if len(rows) > several.MOST:
        raise BadRequest(f"at most {several.MOST:,} rows are taken at once, and these are {len(rows):,}")
    return list(rows.values())


def _nothing_chosen(form: Form, exchange: Exchange, response: Response) -> Answer:
    pages.give_notice(exchange, exchange.url(form.records_at), exchange.locale.t("several.none"))
    return see_other(_list_href(exchange, form))


def _exported(form: Form, scope: Scope, rows: Sequence[Row], kind: str, exchange: Exchange, response: Response) -> Answer:
    """The rows as a file, in the order and with the columns of the list."""
    asked = {name: text for name, text in pages.listed(exchange).items() if name in ("_sort", "_columns")}
    plain = [row.key for row in rows if "," not in row.key]
    wanted = [{"id__in": ",".join(plain)}] if plain else []
    wanted += [{"id": row.key} for row in rows if "," in row.key]  # which a list of ids cannot name
    tables = [cast(Table, scope.read(form.records_at, asked | one | {"_size": "1000"}).table) for one in wanted]
    found = Table(tables[0].columns, [row for table in tables for row in table.rows])
    one = exchange.door.formats[kind]
    page = {"title": form.title, "listed": (form.records_at, pages.listed(exchange)), "ticked": len(list(found.rows))}
    whole = Response(table=found, page=page)
    whole.caller = response.caller
    body = b"".join(one.dump(exchange, whole))
    name = f"attachment; filename*=UTF-8''{quote(form.name, safe='')}.{kind}"
    return Answer(200, [("Content-Type", one.media), ("Content-Disposition", name)], body)


def _page(exchange: Exchange, form: Form, scope: Scope, title: str, shown: Mapping[str, Any], status: int = 200) -> Answer:
    t = exchange.locale.t
    leads = leads_to(form.address, form.opens, scope.caller)
    listing = t("trail.mine" if form.records_at.endswith("/mine") else "trail.records")
    trail = [(form.title, leads), *([(listing, form.records_at)] if leads != form.records_at else []), (title, "")]
    page = {
        "crumbs": pages.crumbs_of(exchange, trail), "back_href": _list_href(exchange, form), "back": listing,
        "form_title": form.title, "conflicts": (), "going": None, **shown,
    }  # fmt: skip
    body = pages.pages_of(exchange).render(exchange, "several.tpl", title, page, caller=scope.caller)
    return pages.page_answer(status, body)


# ---- asking once more


def _asked_again(form: Form, scope: Scope, what: str, rows: Sequence[Row], exchange: Exchange, response: Response) -> Answer:
    """The page that names the rows as they are now, with the moves that each of them allows, or the question."""
    t, found = exchange.locale.t, list[Record]()
    for row in rows:
        record = form.store.get(form.table, row.key)
        found += [record] if record else []
    is_move = what == several.MOVE and form.states is not None
    title = t("several.move_title" if is_move else "several.delete_title", n=len(found))
    shown = {
        "step": what, "gone": len(rows) - len(found), "rows": [_line(exchange, form, one) for one in found],
        "targets": _targets(exchange, form, scope, found) if is_move else [],
        "states": _counted(exchange, form, found) if is_move else "",
        "action": _action(exchange, form, form.records_at, _submission=pages.submission(exchange)),
    }  # fmt: skip
    return _page(exchange, form, scope, title, shown)


def _line(exchange: Exchange, form: Form, record: Record) -> SimpleNamespace:
    """A row for people, with what its box says."""
    states = form.states
    state = states.of(record.value) if states else None
    return SimpleNamespace(
        value=f"{record.version}.{quote(record.key, safe='')}", called=form.called(record),
        href=exchange.url(f"{form.records_at}/{quote(record.key, safe='')}", _list=pages.list_state(exchange)),
        state=move_pages.title_of(exchange, form, state) if states else "",
        badge=move_pages.badge_of(states, state) if states else "",
    )  # fmt: skip


def _targets(exchange: Exchange, form: Form, scope: Scope, records: Sequence[Record]) -> list[SimpleNamespace]:
    """The states that every one of the records may be moved to by the caller."""
    found: dict[str, None] | None = None
    for state in dict.fromkeys(str(form.states.of(one.value)) for one in records):
        here = [one.target for one in form.states.open_to(scope.caller, state, f"{form.records_at}/x")]
        found = dict.fromkeys(here if found is None else (one for one in found if one in here))
    return [
        SimpleNamespace(
            value=one, title=move_pages.title_of(exchange, form, one), badge=move_pages.badge_of(form.states, one)
        )
        for one in found or ()
    ]


def _counted(exchange: Exchange, form: Form, records: Sequence[Record]) -> str:
    """How many records are in each state, in words."""
    counts = Counter(move_pages.title_of(exchange, form, form.states.of(one.value)) for one in records)
    words = [f"{title} ({exchange.locale.write_count(count)})" for title, count in counts.items()]
    return str(exchange.locale.t("common.comma").join(words))


# ---- what became of them


def _told(
    form: Form,
    scope: Scope,
    what: str,
    outcomes: Sequence[Outcome],
    to: str,
    exchange: Exchange,
    response: Response,
) -> Answer:
    """The list with what was done, or the report if something was not."""
    t, left = exchange.locale.t, [one for one in outcomes if one.error]
    count, state = len(outcomes) - len(left), move_pages.title_of(exchange, form, to) if to else ""
    words = t("several.moved", n=count, state=state) if what == several.MOVE else t("several.deleted", n=count)
    if not left:
        pages.give_notice(exchange, exchange.url(form.records_at), words)
        return see_other(_list_href(exchange, form))
    shown = {
        "step": "report", "done": words if count else "",
        "left": [
            SimpleNamespace(called=called, href=href, why=why)
            for at, one in enumerate(left) for called, href, why in [_why(exchange, form, scope, one, to, at)]
        ],
    }  # fmt: skip
    return _page(exchange, form, scope, t("several.left_title", n=len(left), of=len(outcomes)), shown)


def _why(exchange: Exchange, form: Form, scope: Scope, one: Outcome, to: str, at: int) -> tuple[str, str, str]:
    """What a row is called, where it is, and why nothing was done to it."""
    t, error = exchange.locale.t, cast(AppError, one.error)
    record = form.store.get(form.table, one.row.key) if at < _MOST_TOLD else None
    if record is None:
        gone = isinstance(error, NotFound) or at < _MOST_TOLD
        return one.row.key[:13], "", t("several.gone") if gone else t.said(error.message)
    href = exchange.url(f"{form.records_at}/{quote(record.key, safe='')}", _list=pages.list_state(exchange))
    if isinstance(error, Forbidden) and not to:
        words = t("several.forbidden", contact=pages.pages_of(exchange).contact(exchange) or t("common.somebody"))
    elif form.states and to:
        here = Response(page={"form": form, "record": record})
        here.caller = scope.caller
        words = move_pages.words(exchange, here, error, to)
    else:
        words = t("several.changed") if error.status in (409, 412) and not error.faults else t.said(error.message)
    return form.called(record), href, words
