"""What waits for somebody: records that he may move on, and those that name him, for his home page."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import quote

from app import (
    LOG,
    Action,
    App,
    AppError,
    Caller,
    Exchange,
    Forbidden,
    Form,
    HttpRunner,
    Record,
    Request,
    Unsupported,
    Value,
    plugin,
)

if TYPE_CHECKING:
    from plugins import move_pages
    from plugins.states import States
else:
    move_pages = plugin("move_pages")

# ==== 1. WAITING =================================================================================================
# Each list is asked for as its reader would ask for it, with a filter, so that nothing shows here which does not there.
# uses: ERRORS VALUES RUNNERS RESOURCES ASSEMBLY plugin:asking plugin:move_pages plugin:states
# defines: shown

_TIME_S = 0.7  # for all lists together; what has not answered by then is named
_MOST_FORMS = 40  # that are asked; no person has a hand in more
_MOST = 5  # records of a form that are shown


class _Task:
    """A list to be asked for."""

    def __init__(self, form: Form, place: str, params: Sequence[Value]) -> None:
        self.form, self.place, self.params = form, place, params  # each of which is a filter; a record may fit several
        self.rows: dict[str, Value] = {}
        self.seen_form: Any = form  # as the caller sees it
        self.has_more = self.is_done = False


def shown(exchange: Exchange, site: App, caller: Caller) -> SimpleNamespace | None:
    """What waits for the caller, by form, and what could not be looked up; None if nothing ever waits for him."""
    tasks = list(_tasks(site, caller))[:_MOST_FORMS]
    if not tasks:
        return None
    placed = [(task.form.providers[0], task) for task in tasks]
    plugin("asking").do_all("waiting", placed, lambda task: _ask(exchange, site, task), time.monotonic() + _TIME_S)
    titles = site.languages.shown(exchange.locale)
    titled = [(one, str(titles[one.form.address].title)) for one in tasks]
    late = [SimpleNamespace(title=title, href=exchange.url(one.place)) for one, title in titled if not one.is_done]
    groups = [_group(exchange, caller, one, title) for one, title in titled if one.is_done and one.rows]
    return SimpleNamespace(groups=groups, late=late) if groups or late else None


# ---- what is asked


def _tasks(site: App, caller: Caller) -> Iterator[_Task]:
    """The list of each form in which something may wait: that of all records, or else that of one's own."""
    for address, form in site.resources.items():
        if not isinstance(form, Form) or not form.states or form.type != "forms":
            continue
        place, filters = form.records_at, list[Value]()
        if caller.may(Action.READ, place):
            filters = [*_of_moves(form.states, caller, place), *_of_names(form, caller)]
        elif caller.subject and caller.may(Action.CREATE, address) and form.endpoint(("mine",)):
            place = f"{address}/mine"
            filters = _of_moves(form.states, caller, place, is_own=True)
        if filters:
            yield _Task(form, place, filters)


def _of_moves(states: States, caller: Caller, place: str, *, is_own: bool = False) -> list[Value]:
    """The filter of the states that wait for the caller. What goes back to the beginning without needing a role waits for
    whose record it is alone: others may do it, and need not."""
    waits = dict.fromkeys(
        one.source for one in states.moves
        if one.is_open_to(caller, f"{place}/x")
        and (states.leads_on(one) if one.roles else is_own or one.target != states.initial)
    )  # fmt: skip
    return [{f"{states.field}__in": ",".join(waits)}] if waits else []


def _of_names(form: Form, caller: Caller) -> Iterator[Value]:
    """The filter of each field that names a person, where a record is not done with."""
    going_on = ",".join(one for one in form.states.names if not form.states.is_final(one))
    for one in form.fields.values():
        if one.config.format == "person" and one.config.type == "string" and caller.subject:
            yield {one.name: caller.subject, f"{form.states.field}__in": going_on}


def _ask(exchange: Exchange, site: App, task: _Task) -> None:
    """Ask for one list. What fails is not done; whoever runs the site finds it in the log."""
    resource, _, inside = task.place.rpartition("/")
    rows: dict[str, Value] = {}
    try:
        for params in task.params:
            response = site.handle(Request(
                id=exchange.id, action=Action.READ, resource=resource, path=(inside,), door=HttpRunner.kind,
                params={**params, "_sort": "id", "_size": str(_MOST + 1)}, credential=exchange.credential,
                languages=exchange.languages,
            ))  # fmt: skip
            if response.table is not None:
                rows |= {str(row["id"]): dict(row) for row in response.table.rows}
                task.seen_form = response.page["form"]
    except (Forbidden, Unsupported):  # it cannot be filtered so: nothing is said of it each time
        task.is_done = True
        return
    except AppError as error:
        LOG.info("request %s: what waits in %s could not be looked up: %s", exchange.id, task.place, error.message)
        return
    except Exception:
        LOG.exception("request %s: what waits in %s could not be looked up", exchange.id, task.place)
        return
    task.rows, task.has_more = {key: rows[key] for key in sorted(rows)[:_MOST]}, len(rows) > _MOST
    task.is_done = True


# ---- what is shown


def _group(exchange: Exchange, caller: Caller, task: _Task, title: str) -> SimpleNamespace:
    buttons = move_pages.Buttons(exchange, task.seen_form, caller, f"{task.place}/x", "home")
    items = [_item(exchange, task, row, buttons) for row in task.rows.values()]
    more = exchange.url(task.place, **task.params[0]) if task.has_more else ""
    return SimpleNamespace(title=title, items=items, more_href=more)


def _item(exchange: Exchange, task: _Task, row: Value, buttons: move_pages.Buttons) -> SimpleNamespace:
    form = cast(Form, task.seen_form)
    key, version = str(row["id"]), cast(int, row["version"])
    name, state, address = form.called(Record(key, version, row)), form.states.of(row), f"{task.place}/{quote(key, safe='')}"
    at = next(one for one in form.columns if one.name == "updated_at")
    return SimpleNamespace(
        title=name, href=exchange.url(address), state=move_pages.title_of(exchange, form, state),
        badge=move_pages.badge_of(form.states, state), since=exchange.locale.show(at, row["updated_at"] or ""),
        move=buttons.html(address, state, version, name=name),
    )  # fmt: skip
