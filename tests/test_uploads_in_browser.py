"""A person at a browser sends files into a folder: several and with their folders, over a server that comes and goes."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

pytest.importorskip("selenium", reason="needs selenium, which is not installed: ./build.sh test installs it")

import test_tus
from conftest import wait_for
from selenium.webdriver.common.by import By
from test_accessibility import dress
from test_browser import Person, browse

__all__ = ["browse"]

DROP = """
const transfer = new DataTransfer();
const made = ([path, text]) => new File([text], path.split("/").pop(), { lastModified: 1700000000000 });
const tree = (path, files) => {
  const inside = files.filter(([one]) => one.startsWith(path + "/"));
  const names = [...new Set(inside.map(([one]) => one.slice(path.length + 1).split("/")[0]))];
  return { isFile: false, fullPath: "/" + path, createReader: () => {
    let given = false;
    const all = names.map((name) => entry(path + "/" + name, files));
    return { readEntries: (give) => { give(given ? [] : all); given = true; } };
  } };
};
const entry = (path, files) => {
  const own = files.find(([one]) => one === path);
  return own ? { isFile: true, fullPath: "/" + path, file: (give) => give(made(own)) } : tree(path, files);
};
const files = arguments[0], tops = [...new Set(files.map(([path]) => path.split("/")[0]))];
const event = new Event("drop", { bubbles: true, cancelable: true });
const items = tops.map((top) => ({ webkitGetAsEntry: () => entry(top, files) }));
Object.defineProperty(event, "dataTransfer", { value: { types: ["Files"], items, files: [] } });
document.body.dispatchEvent(event);
"""
# Bytes wait until window.goesOn() is called, once.
HELD = """
const send = XMLHttpRequest.prototype.send;
XMLHttpRequest.prototype.send = function (body) {
  window.goesOn = () => { XMLHttpRequest.prototype.send = send; send.call(this, body); };
};
"""
PASTE = """
const transfer = new DataTransfer();
transfer.items.add(new File(["picture"], "image.png", { type: "image/png" }));
document.body.dispatchEvent(new ClipboardEvent("paste", { bubbles: true, cancelable: true, clipboardData: transfer }));
"""


@pytest.fixture
def served(tmp_path: Path) -> Iterator[test_tus.Served]:
    found = test_tus.Served(tmp_path, "file", 'trash = "30d"\nversions = 3\n')
    yield found
    found.kill()


@pytest.fixture
def person(served: test_tus.Served, browse: Callable[..., Person]) -> Person:
    found = browse(served.url)
    sign_in(found, served.token())
    found.go("/files/docs/")
    return found


def sign_in(person: Person, text: str) -> None:
    person.go("/login")
    token = person.see("[name=token]")
    person.driver.execute_script("arguments[0].closest('details')?.setAttribute('open', '')", token)
    token.send_keys(text)
    person.press(token.find_element(By.XPATH, "ancestor::form//button"))


def stored(served: test_tus.Served) -> dict[str, bytes]:
    folder = served.folder / "store" / "docs"
    found = [one for one in folder.rglob("*") if one.is_file()] if folder.exists() else []
    return {str(one.relative_to(folder)): one.read_bytes() for one in found}


def choose(person: Person, *paths: Path) -> None:
    person.see("#upload").send_keys("\n".join(map(str, paths)))
    person.see("form.upload button").click()


def states(person: Person) -> list[str]:
    rows = person.driver.find_elements(By.CSS_SELECTOR, "#uploads li")
    return [one.get_attribute("class") or "" for one in rows]


def status(person: Person) -> str:
    return str(person.driver.execute_script("return document.querySelector('#uploads [role=status]')?.textContent ?? ''"))


def is_over(person: Person, count: int) -> bool:
    """Whether so many files are there, and the page has come anew with them."""
    found = person.driver.execute_script("return document.querySelectorAll('#uploads li').length")
    return not found and bool(re.search(f"Uploaded ({count} of {count}|.+)\\.$", status(person)))


def test_files_and_a_folder_go_up_and_a_name_that_is_taken_is_asked_about_once(
    served: test_tus.Served, person: Person, tmp_path: Path
) -> None:
    files = [tmp_path / name for name in ("a.txt", "b.txt", "c.txt")]
    for file in files:
        file.write_text(file.name)
    choose(person, *files)
    wait_for(lambda: is_over(person, 3), "the files")
    listed = [one.text for one in person.driver.find_elements(By.CSS_SELECTOR, "main th a bdi")]
    assert listed == ["a.txt", "b.txt", "c.txt"]
    tree = [["trip/day 1/one.txt", "1"], ["trip/two.txt", "2"], ["a.txt", "new"], ["b.txt", "new"]]
    person.driver.execute_script(DROP, tree)
    wait_for(lambda: person.see("#uploads .ask").is_displayed(), "the question")
    assert "2, such as a.txt" in person.see("#uploads-asked").text
    assert person.driver.switch_to.active_element.get_attribute("id") == "uploads-asked"
    person.button("Keep both").click()
    wait_for(lambda: is_over(person, 4), "the folder")
    assert stored(served) == {
        "a.txt": b"a.txt", "b.txt": b"b.txt", "c.txt": b"c.txt", "trip/day 1/one.txt": b"1", "trip/two.txt": b"2",
        "a (2).txt": b"new", "b (2).txt": b"new",
    }  # fmt: skip
    person.driver.execute_script(DROP, [["a.txt", "newer"], ["c.txt", "newer"]])
    wait_for(lambda: person.see("#uploads .ask").is_displayed(), "the question")
    person.button("Replace").click()
    wait_for(lambda: is_over(person, 2), "the other bytes")
    there = stored(served)
    assert {name: there[name] for name in ("a.txt", "b.txt", "c.txt")} == {
        "a.txt": b"newer", "b.txt": b"b.txt", "c.txt": b"newer",
    }  # fmt: skip
    person.driver.execute_script(HELD)
    person.driver.execute_script(DROP, [["d.txt", "mine"]])
    wait_for(lambda: person.driver.execute_script("return !!window.goesOn"), "the request")
    (served.folder / "store" / "docs" / "d.txt").write_bytes(b"theirs")
    person.driver.execute_script("window.goesOn()")
    wait_for(lambda: person.see("#uploads .ask").is_displayed(), "the question")
    person.button("Keep both").click()
    wait_for(lambda: is_over(person, 1), "the file beside the one that came meanwhile")
    assert [stored(served)[name] for name in ("d.txt", "d (2).txt")] == [b"theirs", b"mine"]
    person.driver.execute_script("Object.defineProperty(navigator, 'onLine', { value: false, configurable: true })")
    person.driver.execute_script(DROP, [["e.txt", "the last before the connection is lost"]])
    wait_for(lambda: status(person) == "Uploaded e.txt.", "the words")
    assert states(person) == ["done"], "a page that came anew would be that of a browser without a connection"
    person.driver.execute_script("delete navigator.onLine; window.dispatchEvent(new Event('online'))")
    wait_for(lambda: is_over(person, 1), "the page, once there is a connection")
    person.driver.execute_script(PASTE)
    wait_for(lambda: is_over(person, 1), "what was pasted")
    [pasted] = [name for name in stored(served) if name.endswith(".png")]
    assert pasted.startswith("Image 20")
    assert person.complaints() == []


def slowed(person: Person, bytes_per_s: int) -> None:
    person.driver.execute_cdp_cmd("Network.enable", {})
    slow = {"offline": False, "latency": 0, "downloadThroughput": -1, "uploadThroughput": bytes_per_s}
    person.driver.execute_cdp_cmd("Network.emulateNetworkConditions", slow)


def sent_bytes(person: Person) -> float:
    return float(person.see("#uploads progress").get_attribute("value") or 0)


def comes_back(served: test_tus.Served) -> None:
    """The server is killed, and starts again."""
    served.kill()
    served.start()


def test_an_upload_goes_on_after_its_server_its_session_and_its_page_were_away_and_another_is_cancelled(
    served: test_tus.Served, person: Person, tmp_path: Path
) -> None:
    large, other = tmp_path / "large.bin", tmp_path / "other.bin"
    large.write_bytes(os.urandom(1_000_000) * 90)
    other.write_bytes(b"x" * 60_000_000)
    slowed(person, 8_000_000)
    choose(person, large, other)
    wait_for(lambda: sent_bytes(person) > 9_000_000, "some of it")
    rows = person.driver.find_elements(By.CSS_SELECTOR, "#uploads li")
    rows[1].find_element(By.CSS_SELECTOR, ".cancel").click()
    assert states(person)[1] == "cancelled"

    served.kill()
    wait_for(lambda: "It goes on by itself" in status(person), "the words")
    served.start()
    before = sent_bytes(person)
    wait_for(lambda: sent_bytes(person) > before + 5_000_000, "more of it, by itself")

    page = person.driver.current_window_handle
    person.driver.switch_to.new_window("tab")
    person.go("/me")
    person.press(person.button("Sign out", "header"))
    other_tab = person.driver.current_window_handle
    person.driver.switch_to.window(page)
    comes_back(served)
    wait_for(lambda: "You were signed out" in status(person), "the words")
    link = person.see("#uploads li.going a")
    assert (link.is_displayed(), urlsplit(str(link.get_property("href"))).path) == (True, "/login")
    before = sent_bytes(person)
    person.driver.switch_to.window(other_tab)
    sign_in(person, served.token())
    person.driver.switch_to.window(page)
    wait_for(lambda: sent_bytes(person) > before + 5_000_000, "more of it, after signing in")

    person.go("/files/docs/")
    slowed(person, -1)
    choose(person, large)
    wait_for(lambda: is_over(person, 1), "the rest")
    assert stored(served) == {"large.bin": large.read_bytes()}


def fits_a_phone(person: Person) -> bool:
    """Whether the table of a page has its whole width on a phone, and its rows are cards there."""
    dress(person, "dark", 360, 740)
    found = person.driver.execute_script(
        "const one = document.querySelector('.scroll'), row = one.querySelector('tbody tr');"
        "return [one.scrollWidth <= one.clientWidth, getComputedStyle(row).display]"
    )
    dress(person, "light", 1280, 900)
    return bool(found == [True, "grid"])


def test_a_day_with_a_share(served: test_tus.Served, person: Person, tmp_path: Path) -> None:
    """A folder is made, files go up and are moved, looked at, replaced, archived, deleted and brought back."""
    person.see(".tools summary").click()
    person.see("#new-folder").send_keys("Plans & more")
    person.press(person.button("Make folder"))
    for name in ("a.txt", "b.txt"):
        (tmp_path / name).write_text(f"the text of {name}")
    choose(person, tmp_path / "a.txt", tmp_path / "b.txt")
    wait_for(lambda: is_over(person, 2), "the files")
    for name in ("a.txt", "b.txt"):
        person.see(f"input[name=id][aria-label='{name}']").click()
    person.press(person.button("Move…"))
    person.press(person.button("Plans & more"))
    person.press(
        next(
            one for one in person.driver.find_elements(By.CSS_SELECTOR, ".actions button") if one.text.startswith("Move to")
        )
    )
    assert "2 entries were moved" in person.words
    assert stored(served) == {f"Plans & more/{name}": f"the text of {name}".encode() for name in ("a.txt", "b.txt")}
    person.follow("Plans & more")
    person.follow("a.txt")
    assert "the text of a.txt" in person.words
    person.driver.back()
    (tmp_path / "a.txt").write_text("another text")
    person.see("#replace").click()
    choose(person, tmp_path / "a.txt")
    wait_for(lambda: is_over(person, 1), "the new text")
    person.follow("a.txt")
    person.follow("Versions")
    assert fits_a_phone(person)
    person.press(person.button("Bring back this version"))
    assert stored(served)["Plans & more/a.txt"] == b"the text of a.txt"
    person.go("/files/docs/Plans%20%26%20more/")
    zipped = person.driver.execute_async_script(
        "fetch(arguments[0]).then((one) => one.text()).then((text) => arguments[1](text.slice(0, 2)))",
        next(
            one for one in person.driver.find_elements(By.CSS_SELECTOR, ".tools a") if one.text == "Download all"
        ).get_property("href"),
    )
    assert zipped == "PK"
    person.see("tbody details summary").click()
    person.press(
        next(one for one in person.driver.find_elements(By.CSS_SELECTOR, "tbody details a") if one.text == "Delete…")
    )
    person.press(person.button("Delete"))
    assert list(stored(served)) == ["Plans & more/b.txt"]
    person.follow("Trash")
    assert fits_a_phone(person)
    person.press(person.button("Bring back", "tbody"))
    assert stored(served)["Plans & more/a.txt"] == b"the text of a.txt"
    assert person.complaints() == []
