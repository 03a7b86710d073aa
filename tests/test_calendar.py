"""Views as calendars: what a program that subscribes to one reads, by a real reader of RFC 5545 and by hand."""

from __future__ import annotations

import json
import re
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import backends
import pytest
from http_client import PAGE, Site

import app

CALENDARS = """
[forms.trip]
[forms.trip.fields]
what  = { type = "string", required = true }
from  = { type = "string", format = "date" }
until = { type = "string", format = "date" }
at    = { type = "string", format = "date-time" }
kind  = { type = "string", oneOf = [{ const = "t", title = "Training; in-house" }] }
kept  = { type = "string", read_by = "staff" }
[views.trips]
title = "Trips, all"
from = "forms/trip"
columns = { what = {}, from = {}, until = {} }
calendar = { start = "from", end = "until", title = "what" }
[views.kept]
from = "forms/trip"
calendar = { start = "from", title = "kept" }
[views.moments]
from = "forms/trip"
calendar = { start = "at", title = "kind" }
[views.shifts]
provider = "main"
sql = '''select 1 as id, '2026-03-28 22:00:00' as a, '2026-03-29 06:00:00' as b, 'night' as name
  union all select 2, '2026-03-28T22:00:00+02:00', '2026-03-28', 'mixed'
  union all select 3, 'soon', null, 'never' union all select 4, 7, null, 'number' union all select 5, null, null, 'none'
  union all select 6, '2026-02-30', null, 'no day' union all select 7, '0001-01-01', '9999-12-31', 'over'
  union all select 8, '2026-05-02', '2026-05-01', 'turned' union all select 9, '0999-05-02', null, 'old'
  union all select 10, '2026-03-29 02:30', '2026-03-29 03:30', 'gap' '''
calendar = { start = "a", end = "b", title = "name" }
[views.many]
provider = "main"
sql = '''with recursive n(i) as (select 1 union all select i + 1 from n where i < 10010)
  select '2026-01-01' as a, 'n' || i as name from n'''
calendar = { start = "a", title = "name" }
[views.endless]
provider = "main"
timeout = "1s"
sql = '''with recursive n(i) as (select 1 union all select i + 1 from n)
  select '2026-01-01' as a, 'n' || i as name from n where i < 4'''
calendar = { start = "a", title = "name" }
[views.twins]
provider = "main"
sql = "select 7 as id, '2026-01-01' as a, 'x' as name union all select 7, '2026-01-02', 'y'"
calendar = { start = "a", title = "name" }
[views.lost]
provider = "main"
sql = "select 1 as a"
calendar = { start = "b", title = "a" }
"""
READS = """
import json, sys
from icalendar import Calendar
made = Calendar.from_ical(sys.stdin.buffer.read())
events = [{k: (v.dt.isoformat() if hasattr(v, "dt") else str(v)) for k, v in one.items()} for one in made.walk("VEVENT")]
print(json.dumps({"events": events, "own": {k: str(v) for k, v in made.items()}, "errors": [str(e) for e in made.errors]}))
"""


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    made = Site(tmp_path, edit=lambda text: text.replace("[site]", '[site]\ntimezone = "Europe/Copenhagen"') + CALENDARS)
    yield made
    made.close()


@pytest.fixture
def root(site: Site) -> str:
    return site.token("**:*", subject="root")


def read(body: bytes) -> Any:
    """What a program understands of a calendar."""
    python = backends.tool("icalendar", "bin/python")
    done = subprocess.run([python, "-c", READS], input=body, capture_output=True, check=True)
    return json.loads(done.stdout)


def add(site: Site, by: str, **trip: Any) -> str:
    reply = site.send("/forms/trip", trip, by)
    assert reply.status == 201, reply.text
    return str(reply.json["id"])


def test_a_calendar_has_the_time_of_a_page_whoever_asks_for_it(site: Site, root: str) -> None:
    made = site.send("/views/endless?_size=1", {"link": {"action": "read", "expires": "1d"}}, root)
    link = "/s/" + made.json["url"].rpartition("/")[2]
    for address in ("/views/endless.ics", f"{link}.ics"):
        reply = site.get(address, root if address.startswith("/views") else "")
        assert (reply.status, reply.json["code"]) == (504, "query_timeout"), address


def test_days_moments_and_texts_arrive_as_they_are_meant(site: Site, root: str) -> None:
    long = "Møde, \\ med; «алло» " * 20 + "\nsecond line\r\nthird\tend"
    first = add(site, root, what=long, **{"from": "2026-12-24", "until": "2026-12-26"})
    add(site, root, what="one day", **{"from": "2026-12-31"})
    add(site, root, what="turned", **{"from": "2026-12-31", "until": "2026-12-30"})
    add(site, root, what="no day")
    reply = site.get("/views/trips.ics?_sort=from", root)
    assert (reply.status, reply["Content-Type"]) == (200, "text/calendar; charset=utf-8")
    assert reply["Content-Disposition"] == 'attachment; filename="trips.ics"'
    assert max(map(len, reply.body.split(b"\r\n"))) <= 75
    assert b"\n" not in reply.body.replace(b"\r\n", b"")
    found = read(reply.body)
    assert (found["errors"], found["own"]["X-WR-CALNAME"]) == ([], "Trips\\, all")
    assert found["own"]["X-SATCHEL-LEFT-OUT"] == "2"
    days = {one["SUMMARY"]: (one["DTSTART"], one["DTEND"]) for one in found["events"]}
    assert days == {long.replace("\r\n", "\n"): ("2026-12-24", "2026-12-27"), "one day": ("2026-12-31", "2027-01-01")}
    assert first in json.dumps(found["events"])
    lines = reply.text.replace("\r\n ", "").split("\r\n")
    assert "DTSTART;VALUE=DATE:20261224" in lines
    assert [one for one in lines if one.startswith("DTSTAMP:")]
    assert "SUMMARY:one day" in lines


def test_moments_are_in_utc_and_choices_by_their_titles(site: Site, root: str) -> None:
    add(site, root, what="x", at="2026-07-01T09:30:00+02:00", kind="t")
    [event] = read(site.get("/views/moments.ics", root).body)["events"]
    assert (event["DTSTART"], event["SUMMARY"]) == ("2026-07-01T07:30:00+00:00", "Training; in-house")
    assert "DTSTART:20260701T073000Z\r\n" in site.get("/views/moments.ics", root).text


def test_an_entry_keeps_its_id_whatever_is_changed_in_it(site: Site, root: str) -> None:
    key = add(site, root, what="x", **{"from": "2026-12-24"})
    [before] = read(site.get("/views/trips.ics", root).body)["events"]
    site.send(f"/forms/trip/records/{key}", {"what": "y", "from": "2027-01-01"}, root, "PATCH")
    [after] = read(site.get("/views/trips.ics", root).body)["events"]
    assert before["UID"] == after["UID"]
    assert before["SUMMARY"] != after["SUMMARY"]


def test_times_of_sql_are_read_by_the_clocks_of_the_site_and_what_is_none_is_left_out(site: Site, root: str) -> None:
    found = read(site.get("/views/shifts.ics", root).body)
    times = {one["SUMMARY"]: (one["DTSTART"], one.get("DTEND")) for one in found["events"]}
    assert times == {
        "gap": ("2026-03-29T01:30:00+00:00", None),  # the clocks leave it out: no end may be its beginning
        "night": ("2026-03-28T21:00:00+00:00", "2026-03-29T04:00:00+00:00"),  # the clocks went forward
        "mixed": ("2026-03-28T20:00:00+00:00", "2026-03-28T23:00:00+00:00"),
        "old": ("0999-05-02", "0999-05-03"),
    }
    assert found["own"]["X-SATCHEL-LEFT-OUT"] == "6"
    assert [one["UID"].partition("@")[0] for one in found["events"]] == ["1", "2", "9", "10"]


def test_a_calendar_has_an_end_and_rows_without_an_id_have_uids_of_their_own(site: Site, root: str) -> None:
    text = site.get("/views/many.ics", root).text
    uids = re.findall("UID:(.*)\r", text)
    assert len(uids) == len(set(uids)) == 10_000
    assert "X-SATCHEL-LEFT-OUT:10\r\n" in text


def test_entries_that_would_have_one_id_are_told_apart(site: Site, root: str) -> None:
    found = read(site.get("/views/twins.ics", root).body)["events"]
    assert [(one["UID"].partition("@")[0], one["SUMMARY"]) for one in found] == [("7", "x"), ("7-2", "y")]


def test_a_calendar_that_has_not_changed_is_not_sent_again(site: Site, root: str, monkeypatch: pytest.MonkeyPatch) -> None:
    key = add(site, root, what="x", **{"from": "2026-12-24"})
    changed = site.get(f"/forms/trip/records/{key}", root).json["updated_at"]
    reply = site.get("/views/trips.ics", root)
    assert f"DTSTAMP:{changed[:19].replace('-', '').replace(':', '')}Z\r\n" in reply.text
    again = site.get("/views/trips.ics", root, If_None_Match=reply["ETag"])
    assert (again.status, again.body, again["ETag"]) == (304, b"", reply["ETag"])
    site.send(f"/forms/trip/records/{key}", {"what": "y"}, root, "PATCH")
    assert site.get("/views/trips.ics", root, If_None_Match=reply["ETag"]).status == 200
    rows = site.get("/views/twins.ics", root)  # whose DTSTAMP is when it was asked for
    monkeypatch.setattr(site.app, "clock", lambda: time.time() + 60)
    assert site.get("/views/twins.ics", root, If_None_Match=rows["ETag"]).status == 304


def test_a_calendar_is_as_the_grammar_has_it_with_and_without_entries(site: Site, root: str) -> None:
    empty = site.get("/views/trips.ics", root).text.split("\r\n")
    assert [one for one in empty if one.startswith("BEGIN:")] == ["BEGIN:VCALENDAR", "BEGIN:VTIMEZONE", "BEGIN:STANDARD"]
    assert read("\r\n".join(empty).encode())["errors"] == []
    lines = site.get("/views/shifts.ics", root).text.split("\r\n")
    assert "BEGIN:VTIMEZONE" not in lines
    assert [one.startswith("X-SATCHEL-LEFT-OUT") for one in lines].index(True) < lines.index("BEGIN:VEVENT")
    assert lines[-3:] == ["END:VEVENT", "END:VCALENDAR", ""]


def test_only_views_that_declare_a_calendar_have_one(site: Site, root: str) -> None:
    for target in ("/views/waiting.ics", "/forms/trip/records.ics", "/admin/audit.ics", "/files/docs.ics"):
        assert site.get(target, root).status in (404, 406), target
    assert site.get("/views/waiting", root, Accept="text/calendar").status == 406
    assert site.get("/views/trips", root, Accept="text/calendar")["Content-Type"].startswith("text/calendar")
    reply = site.get("/views/lost.ics", root)
    assert reply.status == 501
    assert "'b', which is no column" in reply.text
    left_out = site.get("/views/trips.ics?_columns=what,from", root)
    assert (left_out.status, "_columns leaves out until" in left_out.text) == (400, True)
    assert site.get("/views/kept.ics", root).status == 200
    hidden = site.get("/views/kept.ics", site.token("views/kept:read"))
    assert (hidden.status, "the column kept" in hidden.text) == (403, True)
    made = site.send("/views/trips?_columns=what,from", {"link": {"expires": "1d"}}, root).json["url"]
    untold = site.get(f"{urlsplit(made).path}.ics")
    assert (untold.status, "until" in untold.text) == (406, False)
    assert site.get("/views/trips.ics").status == 401
    assert site.get("/views/trips.ics?x=1", root).status == 400


def test_a_calendar_is_subscribed_to_by_a_link_that_does_not_expire(site: Site, root: str) -> None:
    for day in ("2026-12-24", "2027-01-01"):
        add(site, root, what=day, **{"from": day})
    cookie = site.sign_in(root)
    page = site.ask("GET", "/views/trips?from__lt=2026-12-31", None, PAGE, cookie).text
    [href] = re.findall(r'href="(/share\?[^"]*)#calendar"', page)
    share = site.ask("GET", href.replace("&amp;", "&"), None, PAGE, cookie).text
    token = re.findall(r'name="_token" value="([^"]*)"', share)[0]
    once = site.submit(href.replace("&amp;", "&"), {"_token": token, "do": "subscribe"}, cookie)
    [url] = re.findall(r"<code>([^<]*\.ics)</code>", once.text)
    found = read(site.get(urlsplit(url).path).body)
    assert [one["SUMMARY"] for one in found["events"]] == ["2026-12-24"]
    [row] = site.get("/admin/links", root).json["items"]
    assert row["expires_at"] is None
    assert site.get("/views/numbers", root).status == 200
    assert site.send("/views/numbers", {"link": {"expires": None}}, root).status == 422
    made = site.send("/views/trips", {"link": {"expires": None}}, root).json
    assert made["calendar_url"] == made["url"] + ".ics"
    assert made["expires_at"] is None


@pytest.mark.parametrize(
    ("settings", "place", "words"),
    [
        ('calendar = { start = "frm", title = "what" }', "views.trip.calendar.start", "did you mean from?"),
        ('calendar = { start = "what", title = "what" }', "views.trip.calendar.start", "neither a date nor a date-time"),
        ('calendar = { start = "from", end = "what", title = "what" }', "views.trip.calendar.end", "neither a date"),
        ('calendar = { start = "from", title = "x" }', "views.trip.calendar.title", "which is no column"),
        ('columns = { what = {} }\ncalendar = { start = "from", title = "what" }', "views.trip.calendar.start", "no column"),
        ('calendar = { start = "from" }', "views.trip.calendar.title", "is missing"),
        ('calendar = { start = "from", title = "what", x = 1 }', "views.trip.calendar.x", "is not a setting"),
        ('refresh = "4s"', "views.trip.refresh", 'write "5s" or more'),
        ('refresh = "soon"', "views.trip.refresh", "must be"),
    ],
)
def test_what_is_wrong_with_a_calendar_or_a_refresh_is_told_at_start(
    tmp_path: Path, settings: str, place: str, words: str
) -> None:
    with pytest.raises(app.ConfigError) as caught:
        Site(tmp_path, edit=lambda text: f'{text}{CALENDARS}\n[views.trip]\nfrom = "forms/trip"\n{settings}\n')
    [fault] = caught.value.faults
    assert (fault.pointer.startswith(place), words in fault.detail) == (True, True), fault
