"""The pictures of README and docs/: each is of a page that there is, and shows what its words say.

A picture that is missing is taken by its test, which then fails, so that somebody looks at it: remove one to renew it.
"""

from __future__ import annotations

import base64
import re
import tomllib
from collections.abc import Callable
from pathlib import Path

import example_data
import pytest
from conftest import ROOT, Server
from visitor import Visitor

import app

pytest.importorskip("selenium", reason="needs selenium, which is not installed: ./build.sh test installs it")

from selenium.webdriver.common.by import By
from test_browser import Person, browse, waiting  # noqa: F401 - a fixture

SIZES = {True: (900, 1.5), False: (1120, 1.25)}  # of README's or not: the window's width, and pixels for each of it
MOST_BYTES = 60_000


def readme() -> str:
    return (ROOT / "README.md").read_text(encoding="utf-8")


def example() -> str:
    """The app.toml that README shows as a whole."""
    pieces = re.findall(r"^```toml\n(.*?)^```$", readme(), re.MULTILINE | re.DOTALL)
    assert len(pieces) == 1
    return pieces[0]


def words_of(picture: str) -> str:
    pages = [readme(), *(one.read_text(encoding="utf-8") for one in sorted((ROOT / "docs").glob("*.md")))]
    found = re.findall(rf"^!\[([^\]]+)\]\((?:docs/)?{re.escape(picture)}\)$", "\n".join(pages), re.MULTILINE)
    assert len(found) == 1, f"{len(found)} pages show {picture}"
    return str(found[0])


def size_of(data: bytes) -> tuple[int, int]:
    """Width and height of a WebP in the extended format (RFC 9649 section 2.7)."""
    assert (data[:4], data[8:16]) == (b"RIFF", b"WEBPVP8X")
    return 1 + int.from_bytes(data[24:27], "little"), 1 + int.from_bytes(data[27:30], "little")


LETTERS = """
for (const one of document.querySelectorAll(".card .tile, .head .tile")) one.textContent = arguments[0];
for (const one of document.querySelectorAll(".glyph")) one.remove();
"""


def take(person: Person, width: int, height: int, scale: float, letter: str) -> bytes:
    """A picture of the page, in light colours and with the letter of an app, whatever themes and fonts the machine has."""
    light = [{"name": "prefers-color-scheme", "value": "light"}]
    window = {"width": width, "height": height, "deviceScaleFactor": scale, "mobile": False}
    person.driver.execute_script(LETTERS, letter)
    person.driver.execute_cdp_cmd("Emulation.setScrollbarsHidden", {"hidden": True})
    person.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": light})
    person.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", window)
    taken = person.driver.execute_cdp_cmd("Page.captureScreenshot", {"format": "webp", "quality": 80})
    return base64.b64decode(taken["data"])


def fill(server: Server, name: str, token: str) -> None:
    visitor = Visitor(server.base_url, token)
    example_data.fill(name, lambda address, value: visitor.post_json(address, value).data)
    visitor.close()


@pytest.mark.parametrize(
    ("picture", "path", "height", "title"),
    [
        ("starter.webp", "/", 620, "Our team"), ("example.webp", "/forms/jobs", 870, "Print jobs · Print shop"),
        ("leave.webp", "/apps/leave", 872, "Leave · Our team"),
        ("inventory.webp", "/apps/inventory", 832, "Inventory · Our workshop"),
        ("expenses.webp", "/apps/expenses", 1064, "Expenses · Our team"),
    ],
)  # fmt: skip
def test_a_picture_shows_the_page_that_its_words_name(
    picture: str,
    path: str,
    height: int,
    title: str,
    start_server: Callable[..., Server],
    token_for: Callable[..., str],
    browse: Callable[..., Person],  # noqa: F811
    tmp_path: Path,
) -> None:
    site, name = tmp_path / "site", picture.removesuffix(".webp")
    site.mkdir()
    if name != "starter":
        toml = example() if name == "example" else app.bundled_text(f"example_{name}.toml")
        (site / "app.toml").write_text(toml, encoding="utf-8")
    server = start_server(folder=site)
    person = browse(server.base_url)
    person.go(server.sign_in_link)
    person.press(person.button("Sign in"))
    if name not in ("starter", "example"):
        fill(server, name, token_for(server, "**:*"))
    person.go(path)
    pictures = person.driver.find_elements(By.CSS_SELECTOR, "main img")
    waiting(person.driver).until(lambda _: all(one.get_property("naturalWidth") for one in pictures))
    width, scale = SIZES[name in ("starter", "example")]
    taken = take(person, width, height, scale, "D" if name == "starter" else title[0])
    kept = ROOT / "docs" / picture
    if not kept.exists():
        kept.write_bytes(taken)
        pytest.fail(f"docs/{picture} was missing and has been taken: look at it")

    assert person.driver.title == title
    for name in re.findall(r'"([^"]+)"|\b([A-Z]\w+(?: files| requests)?)', words_of(picture)):
        word = "".join(name)
        assert word == "The" or word in person.words, f"the words of {picture} name {word!r}, which the page does not show"
    data = kept.read_bytes()
    assert size_of(data) == size_of(taken) == (width * scale, height * scale), f"remove docs/{picture} to renew it"
    assert len(data) <= MOST_BYTES


def test_the_example_is_short_and_whole() -> None:
    raw = tomllib.loads(example())
    assert example().count("\n") <= 36
    assert {"site", "roles", "providers", "files", "forms", "views"} == set(raw)
