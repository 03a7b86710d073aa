"""The three example sites in Chromium: from the seats of several people, on a phone without scripts, at a desk with them."""

from __future__ import annotations

import csv
import io
import json
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from datetime import date
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import openpyxl
import pytest

pytest.importorskip("selenium", reason="needs selenium, which is not installed: ./build.sh test installs it")

sys.path.insert(0, str(Path(__file__).parent))
from http_client import Server, serving
from selenium.webdriver.common.by import By
from selenium.webdriver.support.select import Select
from test_accessibility import axe, dress, wrong_with
from test_browser import Person, browse
from test_lines_in_browser import fill, lines, turn
from test_seats import moved

import app

__all__ = ["axe", "browse"]
SCRIPTS = pytest.mark.parametrize("scripts", [False, True], ids=["without scripts", "with scripts"])
Seat = Callable[..., Person]


@pytest.fixture(scope="module")
def example(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], Server]]:
    """`example(name)` is a running server of that example, one for all tests of this file."""
    running: dict[str, Server] = {}
    with ExitStack() as ends:

        def started(name: str) -> Server:
            if name not in running:
                folder = tmp_path_factory.mktemp(name)
                (folder / "app.toml").write_text(app.bundled_text(f"example_{name}.toml"), encoding="utf-8")
                running[name] = ends.enter_context(serving(folder, "--workers", "1"))
            return running[name]

        yield started


@pytest.fixture
def seat(browse: Callable[..., Person], scripts: bool) -> Seat:
    """`seat(site, subject, name, role)` is somebody who was invited and has signed in; narrow where there are no scripts."""

    def seated(site: Server, subject: str, name: str, role: str) -> Person:
        invitation = {"subject": subject, "name": name, "roles": [role]}
        made = site.ask("POST", "/admin/people", json.dumps(invitation), json_of(site))
        person = browse("http://{}:{}".format(*site.tcp), scripts=scripts)
        dress(person, *(("light", 1280, 900) if scripts else ("dark", 360, 740)))
        person.go(urlsplit(made.json["link"]).path)
        person.press(person.button("Sign in"))
        return person

    return seated


def json_of(site: Server, made: dict[Path, str] = {}) -> dict[str, str]:  # noqa: B006 (one token for each folder)
    """The headers of a program that may do everything."""
    if site.folder not in made:
        made[site.folder] = site.token()
    return {"Authorization": f"Bearer {made[site.folder]}", "Content-Type": "application/json"}


def well(person: Person, axe: str, scripts: bool) -> None:
    """The page breaks no rule, wide or narrow, light or dark. Without scripts axe itself does not run."""
    if scripts:
        assert wrong_with(person, axe) == []
        dress(person, "light", 1280, 900)
    assert person.complaints() == []


def rows(person: Person) -> list[str]:
    """The rows of a list, with all fields where a phone shows a few."""
    for box in person.driver.find_elements(By.CSS_SELECTOR, "#all-fields"):
        if box.is_displayed() and not box.is_selected():
            box.click()
    return [" ".join(row.text.split()) for row in person.driver.find_elements(By.CSS_SELECTOR, "main tbody tr")]


def day(person: Person, field: str, text: str) -> None:
    """Type a day, as month, day and year without anything between."""
    person.see(f"#f-{field}").send_keys(text)


def choose(person: Person, field: str, title: str) -> None:
    """Choose what has this title, among radio buttons or in a select."""
    for one in person.driver.find_elements(By.CSS_SELECTOR, f"select#f-{field}"):
        Select(one).select_by_visible_text(title)
        return
    choices = person.driver.find_elements(By.CSS_SELECTOR, f'label[for^="f-{field}"]')
    next(one for one in choices if one.text == title).click()


def problems(person: Person) -> list[str]:
    return [one.text for one in person.driver.find_elements(By.CSS_SELECTOR, "[role=alert] a")]


# ---- leave with approval


@SCRIPTS
def test_leave_is_asked_for_decided_and_seen_from_three_seats(
    example: Callable[[str], Server], seat: Seat, axe: str, scripts: bool
) -> None:
    site, end = example("leave"), "2" if scripts else ""
    ann, bo = seat(site, f"ann{end}", "Ann Bo", "staff"), seat(site, f"bo{end}", "Bo Chen", "staff")
    maria = seat(site, f"maria{end}", "Maria Holm", "hr")

    ann.follow("Leave")
    ann.follow("Leave request")
    assert not ann.driver.find_elements(By.CSS_SELECTOR, "#f-who:not([readonly])"), "nobody asks for somebody else"
    day(ann, "from_day", "03082027")
    day(ann, "to_day", "03052027")
    ann.type("days", "5")
    choose(ann, "kind", "Unpaid")
    ann.press(ann.button("Send"))
    assert problems(ann) == ["Last day: The last day is before the first", "Why: Say why"]
    well(ann, axe, scripts)
    day(ann, "to_day", "03122027")
    ann.type("reason", "To paint the house.")
    ann.press(ann.button("Send"))
    assert "Sent." in ann.words
    ann.press(ann.see(".notice a"))
    own = urlsplit(ann.driver.current_url).path
    assert "Asked for" in ann.words

    bo.go("/forms/leave/mine")
    assert "Ann" not in bo.words
    for closed in (own, f"{own}/history", f"{own}/comments", "/forms/leave/records", "/views/open_leave", "/views/away"):
        bo.go(closed)
        assert "paint the house" not in bo.words, closed
        assert "Ann" not in bo.words, closed
    bo.go("/search?q=paint")
    assert "Ann" not in bo.words

    maria.go("/")
    waiting = maria.see("section.waiting")
    assert "Ann Bo" in waiting.text
    well(maria, axe, scripts)
    maria.go("/views/open_leave")
    assert any("Ann Bo" in row and "Unpaid" in row for row in rows(maria))
    maria.go("/")
    maria.press(maria.see("section.waiting li a"))
    assert "To paint the house." in maria.words
    moved(maria, "Approved", "Send us a picture.")
    assert "is now: Approved." in maria.words
    maria.go("/views/away")
    assert any("Ann Bo" in row for row in rows(maria))

    ann.go("/forms/leave/mine")
    assert any("Approved" in row for row in rows(ann))
    ann.press(ann.see("tbody a"))
    assert "Approved by Maria Holm" in ann.words.replace("\n", " ")
    assert "Send us a picture." in ann.words
    assert "Edit" not in [one.text for one in ann.driver.find_elements(By.CSS_SELECTOR, "main a")], "it is decided"
    well(ann, axe, scripts)
    bo.go("/")
    assert "Waiting for me" not in bo.words
    assert (ann.complaints(), bo.complaints(), maria.complaints()) == ([], [], [])


# ---- expenses with lines and receipts


@SCRIPTS
def test_an_expense_is_claimed_checked_and_paid(
    example: Callable[[str], Server], seat: Seat, axe: str, scripts: bool, tmp_path: Path
) -> None:
    site, end = example("expenses"), "2" if scripts else ""
    project = {"code": f"P{end}", "name": f"Moon{end}"}
    assert site.ask("POST", "/forms/projects", json.dumps(project), json_of(site)).status == 201
    ann, bo = seat(site, f"ann{end}", "Ann Bo", "staff"), seat(site, f"bo{end}", "Bo Chen", "staff")
    olga = seat(site, f"olga{end}", "Olga Ek", "office")
    receipts = [tmp_path / "taxi.pdf", tmp_path / "hotel.pdf"]
    for one in receipts:
        one.write_bytes(b"%PDF-1.4 " + one.name.encode())

    ann.go("/forms/expense")
    ann.type("purpose", "A trip to the moon")
    choose(ann, "project", f"Moon{end}")
    claim(lines(ann)[0], "01052027", "Taxi", "12.10")
    turn(ann, ann.button("Add a line"), scripts)
    claim(lines(ann)[1], "01062027", "Hotel", "0")
    ann.see("#f-receipts").send_keys("\n".join(map(str, receipts)))
    ann.press(ann.button("Send", ".actions"))
    iban = "IBAN: An IBAN such as DE89 3704 0044 0532 0130 00"
    assert problems(ann) == ["What you paid, line 2: Amount must be 0.01 or more", iban]
    well(ann, axe, scripts)
    assert all(f"Chosen already: {one.name}" in ann.words for one in receipts)
    fill(lines(ann)[1], "Hotel", "100.20")
    ann.type("iban", "NO9386011117947")
    ann.press(ann.button("Send", ".actions"))
    ann.press(ann.see(".notice a"))
    own = urlsplit(ann.driver.current_url).path
    assert re.search(r"Total\n112\.3\b", ann.words)
    assert [one.text for one in ann.driver.find_elements(By.CSS_SELECTOR, "dl .files a")] == ["taxi.pdf", "hotel.pdf"]
    bo.go(own)
    assert "moon" not in bo.words

    olga.go("/")
    olga.press(olga.see("section.waiting li a"))
    assert "Taxi" in olga.words
    well(olga, axe, scripts)
    olga.follow("Edit")
    olga.type("checked", "The hotel was dear.")
    olga.press(olga.button("Save", ".actions"))
    moved(olga, "Checked", "")
    olga.go("/views/to_pay")
    assert ["NO9386011117947" in row and "€112.30" in row for row in rows(olga)] == [True]
    olga.go(own.replace("/mine/", "/records/"))
    moved(olga, "Paid", "With the next run.")

    ann.go(own)
    assert "Paid by Olga Ek" in ann.words.replace("\n", " ")
    assert "dear" not in ann.words, "the note of the office is for the office"
    well(ann, axe, scripts)
    olga.go("/views/to_pay")
    assert rows(olga) == []
    assert (bo.complaints(), olga.complaints()) == ([], [])


def claim(line: Any, when: str, what: str, amount: str) -> None:
    line.find_element(By.CSS_SELECTOR, '[name$=".day"]').send_keys(when)
    fill(line, what, amount)


# ---- an inventory from a spreadsheet that grew for years

TABLE: Sequence[Sequence[Any]] = (
    ("Workshop – list of things", None, None, None, None, None, None, None),
    ("as of", date(2026, 10, 1), None, None, None, "Please keep tidy!", None, None),
    (),
    (None, "Thing", None, None, "Where", "Purchase", None, None),
    ("Inv. no.", "What", "Kind", "Serial no.", "Room", "Bought", "Price (EUR)", "Remarks"),
    ("LT-0100", "Lathe “Süd”", "machine", "77-A", "B12", date(2019, 3, 1), 12499.5, "belt renewed 2024"),
    ("LT-0101", "Drill", "tool", None, "Workshop", "14.05.2021", "1.249,50", None),
    (),
    ("LT-0102", "Ladder", "tool", None, "b12", "1.6.2022", "89,90 €", "3 m"),
    ("PC-0007", "Laptop", "computer", "5CG-1", "Office", "2023-11-30", 980, None),
    ("LT 0103", "Vice", "tool", None, "Workshop", "30.02.2020", "ca. 50", "tag has come off"),
    ("LT-0104", "Saw", "Säge", "x1", "Cellar", None, None, None),
    ("LT-0105", "Bench", "furniture", None, "Workshop", "2018", 240, None),
    (),
    (None, "Total", None, None, None, None, "15.058,90", None),
)  # fmt: skip
NAMES = ("tag", "what", "kind", "serial", "room", "bought", "price", "")


def spreadsheet(folder: Path, prefix: str, scripts: bool) -> Path:
    """The table as a workbook with merged headings, or as Excel in Europe writes CSV: cp1252 and semicolons."""
    tags = [[str(cell).replace("-0", prefix) if n == 0 and cell else cell for n, cell in enumerate(row)] for row in TABLE]
    if scripts:
        book = openpyxl.Workbook()
        sheet = book.active
        for row in tags:
            sheet.append(row)
        sheet.merge_cells("A1:H1")
        sheet.merge_cells("B4:D4")
        book.create_sheet("Old list").append(["nothing"])
        book.save(folder / "things.xlsx")
        return folder / "things.xlsx"
    text = io.StringIO()
    writer = csv.writer(text, delimiter=";")
    for row in tags:
        writer.writerow([f"{one:%d.%m.%Y}" if isinstance(one, date) else str(one or "").replace(".5", ",5") for one in row])
    (folder / "things.csv").write_bytes(text.getvalue().encode("cp1252"))
    return folder / "things.csv"


def faults(person: Person) -> list[str]:
    return [" ".join(row.text.split()) for row in person.driver.find_elements(By.CSS_SELECTOR, "main table tbody tr")]


@SCRIPTS
def test_a_messy_spreadsheet_becomes_an_inventory(
    example: Callable[[str], Server], seat: Seat, axe: str, scripts: bool, tmp_path: Path
) -> None:
    site, end, prefix = example("inventory"), "2" if scripts else "", "-9" if scripts else "-0"
    for code, name in (("B12", "Workshop"), ("A01", "Office")):
        site.ask("POST", "/forms/rooms", json.dumps({"code": code, "name": name}), json_of(site))
    kim = seat(site, f"kim{end}", "Kim Lund", "keeper")
    kim.go("/me")  # the file is written as in Germany, and so is what Kim reads
    choose_language(kim, "de")
    kim.go("/forms/things/import")
    table = spreadsheet(tmp_path, prefix, scripts)
    kim.see("#file").send_keys(str(table))
    kim.press(kim.see("form.upload button"))
    assert "“Süd”" in kim.words
    assert ("lassen sich verschieden lesen" in kim.words) is not scripts
    assert kim.see("#heading").get_attribute("value") == "5"
    for number, name in enumerate(NAMES):
        Select(kim.see(f"#column-{number}")).select_by_value(name)
    kim.press(kim.see("form.mapping button"))
    wrong = faults(kim)
    assert [(one.split()[0], one.split()[1]) for one in wrong] == WRONG
    well(kim, axe, scripts)
    run = "form.run"
    kim.press(kim.see(f'{run} [name="dry_run"]'))
    assert "Neu wären\n3" in kim.words
    assert "Mit Fehlern\n5" in kim.words
    assert faults(kim) == wrong
    kim.press(kim.see(f"{run} .solid"))
    assert "Es wurde nichts gespeichert" in kim.words, "one fault stores nothing"
    assert kim.driver.find_element(By.PARTIAL_LINK_TEXT, "als CSV")
    well(kim, axe, scripts)
    kim.see(f"{run} #partial").click()
    kim.press(kim.see(f"{run} .solid"))
    assert "Neu\n3" in kim.words
    kim.press(kim.see(".actions .solid"))
    stored = [f"LT{prefix}100", f"LT{prefix}101", f"PC{prefix}007"]
    assert sorted(tag for row in rows(kim) for tag in row.split() if prefix in tag) == stored
    kept = site.ask("GET", f"/forms/things/records?tag=LT{prefix}101", headers=json_of(site)).json["items"]
    assert [(one["room"], one["bought"], one["price"]) for one in kept] == [("B12", "2021-05-14", 1249.5)]
    again(kim, tmp_path, prefix)
    assert "Neu\n2" in kim.words, kim.words
    assert "Geändert\n1" in kim.words
    assert "Unverändert\n1" in kim.words
    kim.go("/views/machines")
    assert [row.split()[0] for row in rows(kim) if prefix in row] == [stored[0], stored[2]]
    assert kim.complaints() == []


WRONG = [
    ("9", "Room"), ("9", "Price"), ("11", "Tag"), ("11", "Bought"), ("11", "Price"), ("12", "Kind"), ("12", "Room"),
    ("13", "Bought"), ("15", "Tag"),
]  # fmt: skip


def again(kim: Person, folder: Path, prefix: str) -> None:
    """The mended rows, beside some that are there: known by their tags, those change and are not made twice."""
    text = f"Tag;What;Kind;Room;Price\nLT{prefix}102;Ladder;tool;Workshop;89,9\nLT{prefix}103;Vice;tool;B12;50\n"
    text += f"LT{prefix}101;Drill;tool;Workshop;1.249,50\nPC{prefix}007;Laptop;computer;Office;900\n"
    (folder / "mended.csv").write_text(text, encoding="utf-8")
    kim.go("/forms/things/import")
    kim.see("#file").send_keys(str(folder / "mended.csv"))
    kim.press(kim.see("form.upload button"))
    Select(kim.see("#key")).select_by_value("tag")
    kim.press(kim.see("form.mapping button"))
    assert faults(kim) == []
    kim.press(kim.see("form.run .solid"))


def choose_language(person: Person, tag: str) -> None:
    select = person.see("#me-lang")
    Select(select).select_by_value(tag)
    person.press(select.find_element(By.XPATH, "ancestor::form//button"))
