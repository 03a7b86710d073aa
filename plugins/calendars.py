"""The rows of a view as entries of a calendar, /views/V.ics, and what is wrong with how a view declares one."""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from copy import copy
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from typing import cast

from app import (
    Answer,
    App,
    BadRequest,
    Column,
    Conditions,
    Exchange,
    Fault,
    Forbidden,
    Form,
    Format,
    Json,
    NotAcceptable,
    Response,
    Table,
    Unsupported,
    View,
    dump_json,
    nearest,
    plugin,
)

# ==== 1. DECLARED ================================================================================================
# The settings `calendar` and `refresh` of views, each looked at beside what the view has.
# uses: ERRORS CONFIG RESOURCES plugin:view_extras
# defines: faults

_DATES = ("date", "date-time")


def faults(views: Iterable[View]) -> Iterator[Fault]:
    """A fault for each mistake. Of an SQL view the columns are not known before it is asked."""
    soonest = plugin("view_extras").SOONEST_S
    for view in views:
        place = f"views.{view.name}"
        if view.config.refresh_s and view.config.refresh_s < soonest:  # "" = never
            yield Fault(f"{place}.refresh", "configuration", f'is too often: write "{soonest}s" or more')
        if isinstance(view.source, Form):
            yield from _of_columns(view, f"{place}.calendar")


def _of_columns(view: View, place: str) -> Iterator[Fault]:
    known = {column.name: column for column in view.columns}
    for key, name in view.config.calendar.items():
        if name is None:
            continue
        if name not in known:
            detail = f"names {name!r}, which is no column of the view{nearest(name, known)}"
            yield Fault(f"{place}.{key}", "configuration", detail)
        elif key != "title" and known[name].format not in _DATES:
            detail = f"names {name!r}, which is neither a date nor a date-time"
            yield Fault(f"{place}.{key}", "configuration", detail)


# ==== 2. CALENDAR ================================================================================================
# RFC 5545. An entry keeps its UID: that of its record, of an SQL row its `id`, or else a digest of the row.
# uses: ERRORS VALUES RUNNERS RESOURCES ASSEMBLY
# defines: Format:ics MOST_ENTRIES Ics escaped folded

MOST_ENTRIES = 10_000
_LINE_BYTES = 75  # RFC 5545 section 3.1, without the line break
_NO_ENTRIES = (  # a calendar has at least one component (RFC 5545 section 3.6)
    "BEGIN:VTIMEZONE", "TZID:Etc/UTC", "BEGIN:STANDARD", "DTSTART:19700101T000000", "TZOFFSETFROM:+0000",
    "TZOFFSETTO:+0000", "END:STANDARD", "END:VTIMEZONE",
)  # fmt: skip
_DAY = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")


class Ics(Format):
    """The entries of a calendar that programs subscribe to."""

    kind = "ics"
    media = "text/calendar; charset=utf-8"
    subjects = frozenset({"calendar"})  # that a view declares, and no other list
    whole = True

    def dump(self, exchange: Exchange, response: Response) -> Iterator[bytes]:
        raise NotAcceptable("only a view with a calendar is written as one")

    def answer(self, exchange: Exchange, response: Response) -> Answer | None:
        site = cast(App, exchange.door.host)
        view = site.resources.get(exchange.resource)
        if response.table is None or not isinstance(view, View) or not view.config.calendar:
            if response.table is not None:
                response.table.close()
            return None
        with closing(_with_ids(exchange, view, response)) as table:
            _check_columns(view, table, response)
            stamp = _utc(datetime.fromtimestamp(site.clock(), UTC))
            lines = list(_calendar(exchange, view, table, stamp))
        said = "\n".join(line for line in lines if line != f"DTSTAMP:{stamp}")  # all but when it was asked for
        etag = hashlib.sha256(said.encode(errors="replace")).hexdigest()[:32]
        headers = [("ETag", f'W/"{etag}"'), ("Cache-Control", "private, no-cache")]
        if Conditions.name(exchange.conditions().if_none_match, etag):
            return Answer(304, headers)
        headers += [("Content-Type", self.media), ("Content-Disposition", f'attachment; filename="{view.name}.ics"')]
        return Answer(200, headers, b"".join(map(folded, lines)))


def _with_ids(exchange: Exchange, view: View, response: Response) -> Table:
    """The rows that were read, those of records with their ids and when they were changed."""
    table, form, request = cast(Table, response.table), view.source, response.page["request"]
    more = [name for name in ("id", "updated_at") if name not in {one.name for one in table.columns}]
    if not isinstance(form, Form) or getattr(view, "is_grouped", False) or not more or "_columns" in request.params:
        return table
    table.close()
    seen = copy(view.seen_by(response.caller))
    seen.columns = (*seen.columns, *(Column(name, name) for name in more))
    return seen.rows(request)


def _check_columns(view: View, table: Table, response: Response) -> None:
    """Raises BadRequest if the caller left out a column that the calendar names, Forbidden if it is not there for the
    caller, and Unsupported if the rows have none of this name."""
    named = [name for name in view.config.calendar.values() if name is not None]
    missing = next((name for name in named if name not in {one.name for one in table.columns}), "")
    if missing and response.page["request"].params.get("_columns"):
        raise BadRequest(f"_columns leaves out {missing}, which this calendar shows: ask for it without _columns")
    if missing and isinstance(view.source, Form):
        raise Forbidden(f"this calendar shows the column {missing}, which is not among those that you may read")
    if missing:
        raise Unsupported(f"the calendar of views/{view.name} names {missing!r}, which is no column of its rows")


def _calendar(exchange: Exchange, view: View, table: Table, stamp: str) -> Iterator[str]:
    """The lines of the calendar, not folded yet: what is said of all of it comes first (RFC 5545 section 3.6)."""
    name = exchange.door.host.languages.shown(exchange.locale)[exchange.resource].title
    entries, left_out = _entries(exchange, view, table, stamp)
    yield from ("BEGIN:VCALENDAR", "VERSION:2.0", "PRODID:-//Satchel//EN", "CALSCALE:GREGORIAN")
    yield from (f"X-WR-CALNAME:{escaped(name)}", "REFRESH-INTERVAL;VALUE=DURATION:PT1H", "X-PUBLISHED-TTL:PT1H")
    if left_out:
        yield f"X-SATCHEL-LEFT-OUT:{left_out}"
    yield from entries or _NO_ENTRIES
    yield "END:VCALENDAR"


def _entries(exchange: Exchange, view: View, table: Table, stamp: str) -> tuple[list[str], int]:
    """The lines of the entries, and how many rows are left out. DTSTAMP is when a record was changed (RFC 5545 section
    3.8.7.2), of others `stamp`."""
    columns, config, zone = {one.name: one for one in table.columns}, view.config.calendar, _zone(exchange)
    title, host, lines, left_out = columns[config["title"]], exchange.door.host.site_id(), list[str](), 0
    count, uids = 0, Counter[str]()
    for row in table.rows:
        times = _times(row[config["start"]], row[config["end"]] if config.get("end") else None, zone)
        if times is None or count >= MOST_ENTRIES:
            left_out += 1
            continue
        count, uid = count + 1, _uid(row)
        uids[uid] += 1
        uid += f"-{uids[uid]}" if uids[uid] > 1 else ""  # of two with one UID, programs keep the last
        lines += ("BEGIN:VEVENT", f"UID:{uid}@{view.name}.{host}", f"DTSTAMP:{_changed_at(row, view) or stamp}", *times)
        lines += (f"SUMMARY:{escaped(exchange.locale.show(title, row[title.name]))}", "END:VEVENT")
    return lines, left_out


def _changed_at(row: Mapping[str, Json], view: View) -> str:
    """When a record was changed; "" of what is none."""
    at = row.get("updated_at") if isinstance(view.source, Form) else None
    return _utc(datetime.fromisoformat(at)) if isinstance(at, str) else ""


def _zone(exchange: Exchange) -> tzinfo:
    """The one of the site: in which a moment is meant that has no offset."""
    return cast(tzinfo, exchange.door.host.languages.site.zone)


def _uid(row: Mapping[str, Json]) -> str:
    known = row.get("id")
    if isinstance(known, int | str) and re.fullmatch(r"[A-Za-z0-9_-]{1,100}", str(known)):
        return str(known)
    return hashlib.sha256(dump_json(dict(row)).encode(errors="replace")).hexdigest()[:32]


def _times(start: Json, end: Json, zone: tzinfo) -> Sequence[str] | None:
    """DTSTART and DTEND, which is the first day or moment that is no part of it; None if they are no times, or turned."""
    try:
        begins, ends = _time(start, zone), None if end is None or end == "" else _time(end, zone)
        if type(begins) is date:
            last = begins if ends is None else ends.astimezone(zone).date() if isinstance(ends, datetime) else ends
            after = last + timedelta(days=1)
            return None if last < begins else (_day("DTSTART", begins), _day("DTEND", after))
        moment = cast(datetime, begins)
        if ends is None:
            return (f"DTSTART:{_utc(moment)}",)
        over = ends if isinstance(ends, datetime) else datetime.combine(ends + timedelta(days=1), time(), zone)
    except (ValueError, OverflowError):
        return None
    if _utc(over) == _utc(moment):  # DTEND must be later, RFC 5545 section 3.8.2.2
        return (f"DTSTART:{_utc(moment)}",)
    return None if over < moment else (f"DTSTART:{_utc(moment)}", f"DTEND:{_utc(over)}")


def _time(value: Json, zone: tzinfo) -> date | datetime:
    """A day, or a moment, which is in the zone if it has no offset. Raises ValueError if it is neither."""
    if not isinstance(value, str):
        raise ValueError("not a time")
    if _DAY.fullmatch(value):
        return date.fromisoformat(value)
    found = datetime.fromisoformat(value.upper())
    return found if found.tzinfo else found.replace(tzinfo=zone)


def _day(name: str, day: date) -> str:
    return f"{name};VALUE=DATE:{day.year:04d}{day:%m%d}"


def _utc(moment: datetime) -> str:
    there = moment.astimezone(UTC)
    return f"{there.year:04d}{there:%m%dT%H%M%SZ}"


def escaped(text: str) -> str:
    """A TEXT (RFC 5545 section 3.3.11), without control characters."""
    text = re.sub(r"([\\;,])", r"\\\1", text)
    text = re.sub(r"\r\n|[\r\n\u2028\u2029]", r"\\n", text)
    return re.sub(r"[\x00-\x08\x0b-\x1f\x7f]", "", text)


def folded(line: str) -> bytes:
    """A content line in pieces of at most 75 bytes, none of which splits a character."""
    data, pieces, most = line.encode(errors="replace"), list[bytes](), _LINE_BYTES
    while len(data) > most:
        at = most
        while data[at] & 0xC0 == 0x80:
            at -= 1
        pieces.append(data[:at])
        data, most = data[at:], _LINE_BYTES - 1  # after the space that goes on with it
    return b"\r\n ".join([*pieces, data]) + b"\r\n"
