"""Views that are sent now and then: when each is due, once for all nodes, and what such a mail shows."""

from __future__ import annotations

import hashlib
import html
import re
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import date, datetime, timedelta, tzinfo
from datetime import time as day_time
from typing import Any, NamedTuple

import app
from app import (
    LOG,
    Action,
    Caller,
    Config,
    Conflict,
    Forbidden,
    Form,
    Insert,
    NotFound,
    Record,
    Request,
    Update,
    Value,
    View,
    Write,
    dump_json,
    nearest,
    new_id,
    parse_grant,
    plugin,
)

# ==== 1. WHEN ====================================================================================================
# The days and the time at which a digest is due, by the clocks of the site.
# uses: CONFIG
# defines: DAYS Every every latest

_WEEK = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
DAYS = (*_WEEK, "weekday", "day", "month")
_LONGEST_WAIT = 32  # days between two occurrences at most


class Every(NamedTuple):
    """A day of DAYS, and a time of it."""

    day: str
    at: day_time

    def fits(self, day: date) -> bool:
        if self.day in _WEEK:
            return day.weekday() == _WEEK.index(self.day)
        return self.day == "day" or (day.day == 1 if self.day == "month" else day.weekday() < 5)


def every(text: str) -> Every:
    """What `every` says, such as "monday 08:00". Raises ValueError if it is something else."""
    found = re.fullmatch(r"\s*([A-Za-z]+)\s+([01]?[0-9]|2[0-3]):([0-5][0-9])\s*", text)
    if not found or found[1].lower() not in DAYS:
        near = nearest(found[1], DAYS) if found else ""
        raise ValueError(f'must be a day and a time, such as "monday 08:00": {", ".join(DAYS)}{near}')
    return Every(found[1].lower(), day_time(int(found[2]), int(found[3])))


def latest(when: Every, now: float, zone: tzinfo) -> float:
    """Unix seconds of the last occurrence that is not after `now`. A time that the clocks skip is an hour later."""
    today = datetime.fromtimestamp(now, zone).date()
    for back in range(_LONGEST_WAIT):
        day = today - timedelta(days=back)
        at = datetime.combine(day, when.at, zone).timestamp()
        if when.fits(day) and at <= now:
            return at
    return 0.0


# ==== 2. DIGESTS =================================================================================================
# A row of the settings holds when each was last due: whoever moves it on puts the digest into the outbox in the same commit,
# so that one of several nodes does. One that was missed while the site was down is sent late, and once.
# uses: ERRORS VALUES CONFIG CONTRACTS RESOURCES WHEN plugin:notify plugin:outbox
# defines: Job:digests Digests

_FOR_S = 86_400.0  # for how long a digest is tried to be sent: then the next one is near


class Digests(app.Job):
    """Puts the digests that are due into the outbox."""

    kind = "digests"
    every_s = 5
    scope = "site"

    def __init__(self, options: Mapping[str, Any], config: Config) -> None:
        super().__init__(options, config)
        self._done: dict[str, float] = {}  # by digest the occurrence that is dealt with

    def run(self, site: Any, stop: threading.Event) -> None:
        for form in list(site.resources.values()):
            if isinstance(form, Form) and form.config.digest and not stop.is_set():
                self._look(site, form)

    def _look(self, site: Any, form: Form) -> None:
        told = form.config.digest
        named = hashlib.sha256(dump_json([form.name, told["view"], told["every"], told["to"]]).encode()).hexdigest()[:24]
        due = latest(every(told["every"]), site.clock(), site.languages.site.zone)
        if self._done.get(named) == due:
            return
        row = site.state.get("_settings", f"digest {named}")
        writes: list[Write] = [_moved(f"digest {named}", row, due)]
        if row is not None and row.value.get("at", 0) < due:  # one that has just been declared waits for its next time
            channel, target = plugin("notify").place_of(told["to"], site.channels)
            facts: Value = {"view": told["view"], "fixed": True}
            key = f"d{named}-{int(due):x}"
            writes.append(plugin("outbox").waiting(key, channel, "digest", facts, site.clock(), _FOR_S, to=target))
        if row is None or row.value.get("at", 0) < due:
            with suppress(Conflict):  # another node was first
                site.state.commit(writes)
        self._done[named] = due


def _moved(key: str, row: Record | None, due: float) -> Write:
    return Update("_settings", key, {"at": due}, row.version) if row else Insert("_settings", key, {"at": due})


# ==== 3. SHOWN ===================================================================================================
# The rows of a view as its receiver may see them; nothing is sent while there are none.
# uses: ERRORS VALUES AUTH RESOURCES plugin:notices plugin:tokens
# defines: MOST_ROWS notice

MOST_ROWS = 50


def notice(site: Any, row: Record, receiver: Any) -> Value | None:
    """A digest for one receiver; None if he may not read the view, or if it is empty for him."""
    address = row.value["facts"]["view"]
    view = site.languages.shown(receiver.locale).get(address) or site.resources.get(address)
    try:
        columns, rows, more = _read(site, address, receiver)
    except (Forbidden, NotFound) as error:
        LOG.warning("the digest %s is dropped for one receiver: %s", row.key, error.message)
        return None
    if not rows:
        LOG.info("the digest %s is dropped: %s is empty for its receiver", row.key, address)
        return None
    link = f"{plugin('tokens').site_url(site.config)}/{address}"
    data: Value = {"view": address, "rows": rows, "more": more, "url": link}
    said = {"id": row.key, "at": row.value["at"], "to": receiver.email, "type": f"views.{view.name}.digest", "data": data}
    return said | _mail(site, view, columns, rows, more, link, receiver.locale)


def _read(site: Any, address: str, receiver: Any) -> tuple[list[Any], list[Value], bool]:
    """Columns and rows of the view for a receiver, and whether there are more."""
    caller, masked = receiver.caller, frozenset[str]()
    if not receiver.is_person:
        caller, masked = _told_by_config(site, address)
    request = Request(
        id=new_id(site.clock()), action=Action.READ, resource=address, door="job", params={"_size": str(MOST_ROWS)},
        languages="",
    )  # fmt: skip
    table = site.flow.handle_as(caller, request).table
    try:
        columns = [column for column in table.columns if column.name not in masked]
        rows = [{column.name: one.get(column.name) for column in columns} for one in table.rows]
    finally:
        table.close()
    return columns, rows, bool(table.next)


def _told_by_config(site: Any, address: str) -> tuple[Caller, frozenset[str]]:
    """As whom a view is read for a program, or for an address of nobody: app.toml says that it is sent there, so it has all
    rows; fields that only some roles may read are left out."""
    view = site.resources.get(address)
    form = view.source if isinstance(view, View) else None
    masked = (one.name for one in form.config.fields if one.read_by) if isinstance(form, Form) else ()
    return Caller(grants=(parse_grant("**:*"),)), frozenset(masked)


def _mail(site: Any, view: Any, columns: Sequence[Any], rows: Sequence[Value], more: bool, link: str, locale: Any) -> Value:
    """Title, text and HTML."""
    t, title = locale.t, locale.t("notice.digest_title", view=view.title, n=len(rows))
    begin = t("notice.digest_more", n=len(rows)) if more else t("notice.digest_text", n=len(rows))
    foot = t("notice.why", site=site.languages.text("site.title", site.title, locale))
    shown = [[" ".join(locale.show(one, row[one.name]).split()) for one in columns] for row in rows]
    heads = [one.title or one.name for one in columns]
    lines = ["; ".join(f"{head}: {text}" for head, text in zip(heads, one, strict=True) if text) for one in shown]
    cell = '<{0} style="text-align: start; padding: 0.2em 1em 0.2em 0; border-bottom: 1px solid #cccccc">{1}</{0}>'
    body = "\n".join(f"<tr>{''.join(cell.format('td', html.escape(text)) for text in one)}</tr>" for one in shown)
    top = "".join(cell.format("th", html.escape(head)) for head in heads)
    table = f'<table style="border-collapse: collapse">\n<tr>{top}</tr>\n{body}\n</table>'
    page = plugin("notices").page_of_mail(
        locale, title, [f"<p>{html.escape(begin)}</p>", table], link, t("notice.open_view"), foot
    )
    text = "\n\n".join([begin, "\n".join(f"- {line}" for line in lines), link, foot]) + "\n"
    return {"title": title, "text": text, "html": page}
