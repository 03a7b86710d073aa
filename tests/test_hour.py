"""A person's hour with a year of flights in Chromium: a dashboard, filters, one that is saved, a chart, a workbook."""

from __future__ import annotations

import io
import json
import sqlite3
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import flights
import openpyxl
import pytest

pytest.importorskip("selenium", reason="needs selenium, which is not installed: ./build.sh test installs it")

sys.path.insert(0, str(Path(__file__).parent))
from http_client import Server, serving
from selenium.webdriver.common.by import By
from test_accessibility import axe, dress, wrong_with
from test_browser import Person, browse, waiting

__all__ = ["axe", "browse"]
SITE = """
[site]
title = "Airport office"
menu = ["apps/traffic"]
[roles.staff]
grants = ["apps/*:read", "views/*:read"]
[providers.main]
kind = "sql"
url = "sqlite:///data/app.db"
[providers.warehouse]
kind = "sql"
url = "sqlite:///flights.db"
[views.flights]
title = "Flights"
provider = "warehouse"
sql = '''select printf('%04d-%02d-%02d', year, month, day) as day, carrier, flight, origin, dest, dep_delay, distance
  from flights'''
order_by = ["day", "carrier", "flight"]
facets = ["origin"]
[views.flights.columns]
day = { title = "Day", format = "date" }
carrier = { title = "Carrier" }
flight = { title = "Flight" }
origin = { title = "From", link = "views/flights?origin={origin}" }
dest = { title = "To" }
dep_delay = { title = "Minutes late", total = "avg", format = "number:1" }
distance = { title = "Miles", total = "sum", format = "number:0" }
[views.delays]
title = "Delays by month"
provider = "warehouse"
sql = '''select printf('%04d-%02d', year, month) as month, origin, avg(dep_delay) as late, count(*) as flights
  from flights group by 1, 2'''
order_by = ["month", "origin"]
chart = { kind = "line", x = "month", y = "late", series = "origin" }
[views.delays.columns]
month = { title = "Month" }
origin = { title = "From" }
late = { title = "Minutes late", format = "number:1" }
flights = { title = "Flights", format = "number:0" }
[apps.traffic]
title = "Traffic"
home = [
  { number = "views/flights", title = "Departures" }, { chart = "views/delays" }, { view = "views/flights", limit = 3 },
]
menu = ["views/flights", "views/delays"]
"""
OF_HAWAII = "from flights where carrier = 'HA'"
LATE = f"{OF_HAWAII} and dep_delay >= 60"


@pytest.fixture(scope="module")
def office(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("office")
    flights.write_database(folder / "flights.db")
    (folder / "app.toml").write_text(SITE, encoding="utf-8")
    with serving(folder, "--workers", "1") as server:
        yield server


def asked(office: Server, statement: str) -> list[tuple[Any, ...]]:
    """What the database itself says."""
    with closing(sqlite3.connect(office.folder / "flights.db")) as database:
        return database.execute(statement).fetchall()


def invited(office: Server, person: Person, subject: str) -> None:
    headers = {"Authorization": f"Bearer {office.token()}", "Content-Type": "application/json"}
    made = office.ask("POST", "/admin/people", json.dumps({"subject": subject, "roles": ["staff"]}), headers)
    person.go(urlsplit(made.json["link"]).path)
    person.press(person.button("Sign in"))


def type_into(person: Person, name: str, text: str) -> None:
    control = person.see(f'form.filter [name="{name}"]')
    if not control.is_displayed():
        person.see("form.filter details > summary").click()
    control.clear()
    control.send_keys(text)


def cells(person: Person) -> list[list[str]]:
    found = person.driver.find_elements(By.CSS_SELECTOR, "main tbody tr")
    return [[one.text for one in row.find_elements(By.CSS_SELECTOR, "td")] for row in found]


def counts(person: Person, rows: int) -> bool:
    """Whether the list has so many rows. On a busy machine it may not say how many, as counting is given little time."""
    said = person.see("p.count").text
    return said == f"{rows} rows" if said else len(cells(person)) == min(rows, 50)


def workbook(office: Server, person: Person, link: Any) -> Any:
    """What a link to a workbook brings, with the cookies of this person."""
    headers = {"Cookie": "; ".join(f"{one['name']}={one['value']}" for one in person.driver.get_cookies())}
    parts = urlsplit(link.get_attribute("href"))
    answer = office.ask("GET", f"{parts.path}?{parts.query}", headers=headers)
    assert answer.status == 200
    return openpyxl.load_workbook(io.BytesIO(answer.body))


def sees_a_picture(person: Person, within: str) -> None:
    picture = person.see(f"{within} img")
    waiting(person.driver).until(lambda _: int(picture.get_property("naturalWidth")) > 0)
    assert picture.get_attribute("alt"), "it is said in words, too"


@pytest.mark.parametrize(("scripts", "width", "scheme"), [(True, 1280, "light"), (False, 360, "dark")])
def test_a_person_spends_an_hour_with_a_year_of_flights(
    scripts: bool, width: int, scheme: str, office: Server, browse: Callable[..., Person], axe: str
) -> None:
    person = browse("http://{}:{}".format(*office.tcp), scripts=scripts)
    dress(person, scheme, width, 900)
    invited(office, person, f"ida{width}")
    person.follow("Traffic")
    assert "Departures" in person.words
    sees_a_picture(person, "main")
    assert len(cells(person)) == 3

    person.go("/views/flights")
    type_into(person, "carrier__contains", "HA")
    type_into(person, "dep_delay__gte", "60")
    person.press(person.see("form.filter > .button"))
    rows = asked(office, f"select flight, dest, dep_delay {LATE} order by year, month, day")
    assert counts(person, len(rows))
    chips = [one.text for one in person.driver.find_elements(By.CSS_SELECTOR, ".chip bdi")]
    assert len(chips) == 2
    found = cells(person)
    assert [row[4] for row in found if row[4]] == [dest for _, dest, _ in rows] if scripts else len(found) == len(rows)

    for folded in person.driver.find_elements(By.CSS_SELECTOR, ".saved-tabs details.confirm summary"):
        folded.click()
    person.see("#saved-name").send_keys("Late to Honolulu")
    person.press(person.button("Save for me"))
    assert "Late to Honolulu" in person.see(".saved-tabs nav").text
    person.press(person.driver.find_elements(By.CSS_SELECTOR, ".chip a")[1])
    assert counts(person, asked(office, f"select count(*) {OF_HAWAII}")[0][0])
    person.press(person.driver.find_element(By.LINK_TEXT, "Late to Honolulu"))
    assert counts(person, len(rows))

    book = workbook(office, person, person.driver.find_element(By.LINK_TEXT, "XLSX"))
    sheet = book.worksheets[0]
    lines = list(sheet.iter_rows(values_only=True))
    assert lines[0][:5] == ("Day", "Carrier", "Flight", "From", "To")
    assert [(line[2], line[4], line[5]) for line in lines[1 : 1 + len(rows)]] == rows
    assert len(book.worksheets) > 1, "the second sheet says what was asked for"
    if scripts:
        assert wrong_with(person, axe) == []
        dress(person, scheme, width, 900)
    else:
        layout(person)

    person.go("/views/delays")
    sees_a_picture(person, "main")
    late = asked(office, "select avg(dep_delay) from flights where origin = 'EWR' and month = 1")[0][0]
    assert f"{late:.1f}" in person.words
    person.go("/views/flights?origin=JFK")
    person.press(person.driver.find_element(By.CSS_SELECTOR, "main [rel=next]"))
    assert len(cells(person)) == 50
    assert person.complaints() == []


def layout(person: Person) -> None:
    """Nothing is wider than a phone."""
    size = person.driver.execute_cdp_cmd("Page.getLayoutMetrics", {})
    assert size["cssContentSize"]["width"] <= size["cssLayoutViewport"]["clientWidth"]
