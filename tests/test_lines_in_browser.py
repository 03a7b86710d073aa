"""Lines and several files in the page of a form, in Chromium, with scripts and without: added, removed, added up, kept."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("selenium", reason="needs selenium, which is not installed: ./build.sh test installs it")

sys.path.insert(0, str(Path(__file__).parent))
from http_client import serving
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.select import Select
from test_accessibility import dress
from test_browser import Person, browse, waiting

__all__ = ["browse"]
EXPENSES = """
[providers.main]
kind = "sql"
url = "sqlite:///data/app.db"
[files.papers]
accept = [".txt"]
[forms.expense]
title = "Auslagen"
[forms.expense.fields]
who = { type = "string", title = "Wer", required = true }
receipts = { type = "array", format = "file", title = "Quittungen", files = "files/papers", max_file = "10KB" }
total = { type = "number", title = "Summe", sum = "lines.amount" }
[forms.expense.fields.lines]
type = "array"
title = "Belege"
maxItems = 4
[forms.expense.fields.lines.fields]
what = { type = "string", title = "Was", required = true }
amount = { type = "number", title = "Betrag", required = true, minimum = 0 }
day = { type = "string", title = "Tag", format = "date" }
kind = { type = "string", title = "Art", enum = ["Bahn", "Hotel", "Essen"], default = "Bahn" }
"""


@pytest.fixture
def expenses(tmp_path: Path) -> Iterator[Any]:
    folder = tmp_path / "expenses"
    folder.mkdir()
    (folder / "app.toml").write_text(EXPENSES, encoding="utf-8")
    with serving(folder, "--workers", "1") as server:
        yield server


def lines(person: Person) -> list[Any]:
    return person.driver.find_elements(By.CSS_SELECTOR, ".lines .line")


def fill(line: Any, what: str, amount: str) -> None:
    for name, text in (("what", what), ("amount", amount)):
        control = line.find_element(By.CSS_SELECTOR, f'[name$=".{name}"]')
        control.clear()
        control.send_keys(text)


def turn(person: Person, button: Any, scripts: bool) -> None:
    """Press a button for one more line or one less; without scripts it brings another page."""
    if scripts:
        before = len(lines(person))
        button.click()
        waiting(person.driver).until(lambda _: len(lines(person)) != before)
    else:
        person.press(button)


@pytest.mark.parametrize("scripts", [False, True], ids=["without scripts", "with scripts"])
def test_an_expense_with_lines_and_receipts_is_typed_sent_and_mended(
    scripts: bool, expenses: Any, browse: Callable[..., Person], tmp_path: Path
) -> None:
    person = browse("http://{}:{}".format(*expenses.tcp), scripts=scripts)
    dress(person, "light", 360, 740)
    person.go(f"/login/{expenses.code}")
    person.press(person.see("main form button"))
    person.go("/forms/expense")
    files = [tmp_path / f"{name}.txt" for name in ("Zug", "Bett")]
    for path in files:
        path.write_text(path.stem)
    fill(lines(person)[0], "Zug", "1,234.50")
    turn(person, person.button("Add a line"), scripts)
    assert len(lines(person)) == 2
    assert person.driver.switch_to.active_element.get_attribute("name").endswith(".what"), "one can type on at once"
    second = lines(person)[1]
    assert Select(second.find_element(By.TAG_NAME, "select")).first_selected_option.text == "Bahn"
    fill(second, "Bett", "0.1")
    if scripts:
        assert person.driver.execute_script("return added(['1.234,50', '0,1', ' ', '-2'], ',')") == "1232,6"
        assert person.driver.execute_script("return added(['0.1', '0.2', 'x'], '.')") == "—"
        assert person.driver.execute_script("return added(['1.234'], ',')") == "—", "which could be two numbers"
        assert person.see("output").text == "1234.6"
    turn(person, person.button("Add a line"), scripts)
    turn(person, lines(person)[2].find_element(By.TAG_NAME, "button"), scripts)
    assert person.see("output").text == "1234.6", "exactly, and by the server where there are no scripts"
    person.see("#f-receipts").send_keys("\n".join(map(str, files)))
    lines(person)[1].find_element(By.CSS_SELECTOR, '[name$=".amount"]').send_keys(Keys.ENTER)  # sends the form
    waiting(person.driver).until(lambda driver: driver.find_elements(By.CSS_SELECTOR, "[role=alert]"))
    assert [link.text for link in person.driver.find_elements(By.CSS_SELECTOR, "[role=alert] a")] == ["Wer is missing"]
    names = person.driver.find_elements(By.CSS_SELECTOR, '.lines .each [name$=".what"]')
    assert [one.get_attribute("value") for one in names] == ["Zug", "Bett"]
    assert all(f"Chosen already: {path.name}" in person.words for path in files)
    person.type("who", "Ann")
    person.press(person.button("Send", ".actions"))
    person.press(person.see(".notice a"))
    assert [cell.text for cell in person.driver.find_elements(By.CSS_SELECTOR, "dl td")][:4] == ["Zug", "1234.5", "", "Bahn"]
    assert [link.text for link in person.driver.find_elements(By.CSS_SELECTOR, "dl .files a")] == ["Zug.txt", "Bett.txt"]
    person.follow("Edit")
    turn(person, lines(person)[0].find_element(By.TAG_NAME, "button"), scripts)
    person.see('label[for="f-receipts-gone-0"]').click()
    person.press(person.button("Save", ".actions"))
    assert [cell.text for cell in person.driver.find_elements(By.CSS_SELECTOR, "dl td")][:2] == ["Bett", "0.1"]
    assert [link.text for link in person.driver.find_elements(By.CSS_SELECTOR, "dl .files a")] == ["Bett.txt"]
    assert re.search(r"Summe\n0\.1\b", person.words)
    assert person.complaints() == []
