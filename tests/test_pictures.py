"""The pictures of README: each is of a page that there is, and shows what its words say.

A picture that is missing is taken by its test, which then fails, so that somebody looks at it: remove one to renew it.
"""

from __future__ import annotations

import base64
import re
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import ROOT, Server

pytest.importorskip("selenium", reason="needs selenium, which is not installed: ./build.sh test installs it")

from test_browser import Person, browse  # noqa: F401 - a fixture

WIDTH, SCALE = 900, 1.5  # of the window, and pixels of the picture for each of it
MOST_BYTES = 60_000


def readme() -> str:
    return (ROOT / "README.md").read_text(encoding="utf-8")


def example() -> str:
    """The app.toml that README shows as a whole."""
    pieces = re.findall(r"^```toml\n(.*?)^```$", readme(), re.MULTILINE | re.DOTALL)
    assert len(pieces) == 1
    return pieces[0]


def words_of(picture: str) -> str:
    found = re.search(rf"^!\[([^\]]+)\]\(docs/{re.escape(picture)}\)$", readme(), re.MULTILINE)
    assert found, f"README does not show docs/{picture}"
    return found[1]


def size_of(data: bytes) -> tuple[int, int]:
    """Width and height of a WebP in the extended format (RFC 9649 section 2.7)."""
    assert (data[:4], data[8:16]) == (b"RIFF", b"WEBPVP8X")
    return 1 + int.from_bytes(data[24:27], "little"), 1 + int.from_bytes(data[27:30], "little")


def take(person: Person, height: int) -> bytes:
    """A picture of the page, in light colours and with the letter of an app, whatever themes and fonts the machine has."""
    light = [{"name": "prefers-color-scheme", "value": "light"}]
    window = {"width": WIDTH, "height": height, "deviceScaleFactor": SCALE, "mobile": False}
    person.driver.execute_script("for (const one of document.querySelectorAll('.card .tile')) one.textContent = 'D'")
    person.driver.execute_cdp_cmd("Emulation.setScrollbarsHidden", {"hidden": True})
    person.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": light})
    person.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", window)
    taken = person.driver.execute_cdp_cmd("Page.captureScreenshot", {"format": "webp", "quality": 80})
    return base64.b64decode(taken["data"])


@pytest.mark.parametrize(
    ("picture", "path", "height", "title"),
    [("starter.webp", "/", 620, "Our team"), ("example.webp", "/forms/jobs", 870, "Print jobs · Print shop")],
)
def test_a_picture_shows_the_page_that_its_words_name(
    picture: str,
    path: str,
    height: int,
    title: str,
    start_server: Callable[..., Server],
    browse: Callable[..., Person],  # noqa: F811
    tmp_path: Path,
) -> None:
    site = tmp_path / "site"
    site.mkdir()
    if picture == "example.webp":
        (site / "app.toml").write_text(example(), encoding="utf-8")
    server = start_server(folder=site)
    person = browse(server.base_url)
    person.go(server.sign_in_link)
    person.press(person.button("Sign in"))
    person.go(path)
    taken, kept = take(person, height), ROOT / "docs" / picture
    if not kept.exists():
        kept.write_bytes(taken)
        pytest.fail(f"docs/{picture} was missing and has been taken: look at it")

    assert person.driver.title == title
    for name in re.findall(r'"([^"]+)"|\b([A-Z]\w+(?: files| requests)?)', words_of(picture)):
        word = "".join(name)
        assert word == "The" or word in person.words, f"the words of {picture} name {word!r}, which the page does not show"
    data = kept.read_bytes()
    assert size_of(data) == size_of(taken) == (WIDTH * SCALE, height * SCALE), f"remove docs/{picture} to renew it"
    assert len(data) <= MOST_BYTES


def test_the_example_is_short_and_whole() -> None:
    raw = tomllib.loads(example())
    assert example().count("\n") <= 36
    assert {"site", "roles", "providers", "files", "forms", "views"} == set(raw)
