"""A person looks at files in Chromium, on a desk and on a phone, and a stranger at a folder by a link."""

from __future__ import annotations

import json
import struct
import sys
import wave
from base64 import b64decode
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from conftest import wait_for

pytest.importorskip("selenium", reason="needs selenium, which is not installed: ./build.sh test installs it")

sys.path.insert(0, str(Path(__file__).parent))
from http_client import serving
from test_accessibility import axe, wrong_with
from test_browser import Person, browse

__all__ = ["axe", "browse"]
SHARE = """
[providers.main]
kind = "sql"
url = "sqlite:///data/app.db"
[providers.disk]
kind = "file"
root = "share"
[files.docs]
title = "Handbook"
provider = "disk"
[public]
grants = ["files/docs:read"]
"""
SVG = """<svg xmlns="http://www.w3.org/2000/svg" width="300" height="200" onload="top.document.title = 'ran'">
<script>top.document.title = "ran"</script><circle cx="100" cy="100" r="80"/></svg>"""
PDF = (
    b"%PDF-1.4\n1 0 obj<</Type/Catalog/Pages 2 0 R>>endobj\n2 0 obj<</Type/Pages/Kids[3 0 R]/Count 1>>endobj\n"
    b"3 0 obj<</Type/Page/Parent 2 0 R/MediaBox[0 0 300 200]>>endobj\ntrailer<</Size 4/Root 1 0 R>>\n%%EOF"
)
TEXTS = {
    "README.md": "# Welcome\n\nHello **you**. See [the plan](plan.py).\n\n![drawing](drawing.svg)\n",
    "plan.py": "\n".join(f"def f{n}(x): return {'long + ' * (n % 30)}x" for n in range(200)),
    "drawing.svg": SVG,
    "sales.csv": "region;month;sum\n" + "\n".join(f"North {n};2026-{n % 12 + 1:02d};{n * 3.5}" for n in range(40)),
    "page.html": "<script>document.title = 'ran'</script>",
    "sub/inner.txt": "inner",
}
PAGES = ("", "README.md", "plan.py", "drawing.svg", "sales.csv", "page.html", "tone.wav")


@pytest.fixture
def share(tmp_path: Path) -> Iterator[Any]:
    folder = tmp_path / "site"
    (folder / "share" / "sub").mkdir(parents=True)
    (folder / "app.toml").write_text(SHARE, encoding="utf-8")
    for name, text in TEXTS.items():
        (folder / "share" / name).write_text(text, encoding="utf-8")
    (folder / "share" / "doc.pdf").write_bytes(PDF)
    with wave.open(str(folder / "share" / "tone.wav"), "wb") as tone:
        tone.setparams((1, 2, 8000, 0, "NONE", ""))
        tone.writeframes(bytes(16000))
    with serving(folder, "--workers", "1") as server:
        yield server


def test_files_are_looked_at_on_every_screen_and_nothing_in_them_runs(
    share: Any, browse: Callable[..., Person], axe: str
) -> None:
    person = browse("http://{}:{}".format(*share.tcp))
    for name in PAGES:
        person.go(f"/files/docs/{name}" + ("?_view=1" if name else ""))
        assert "ran" not in person.driver.title, name
        assert wrong_with(person, axe) == [], name
    for _ in range(2):  # anew, and from the browser's own store
        person.go("/files/docs/doc.pdf?_view=1")
        assert person.see("iframe").size["height"] > 200
    assert [one for one in person.complaints() if "Content Security Policy" in one] == []
    person.go("/files/docs/drawing.svg?_view=1")
    assert person.driver.execute_script("return document.querySelector('.view img').naturalWidth") == 300
    picture = with_orientation(b64decode(person.driver.execute_script(SIDEWAYS)), 6)
    (share.folder / "share" / "sideways.jpg").write_bytes(picture)
    person.go("/files/docs/sideways.jpg?_view=1")
    assert person.driver.execute_async_script(SHOWN) == ["from-image", True, "red", "blue"]
    (share.folder / "share" / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n" + b"broken inside" * 9)
    person.go("/files/docs/broken.png?_view=1")
    assert person.driver.execute_async_script(FAILED) > 40, "words stand where the picture would be"
    person.go("/files/docs/tone.wav?_view=1")
    length = "const [done] = arguments, one = document.querySelector('audio');"
    length += "one.readyState ? done(one.duration) : one.addEventListener('loadedmetadata', () => done(one.duration));"
    assert person.driver.execute_async_script(length) == 1
    person.go("/files/docs/")
    person.follow("the plan")
    assert person.driver.current_url.endswith("/files/docs/plan.py?_view=1")
    person.press(person.see("a[rel=next]"))
    assert "README.md" in person.see("h1").text


FAILED = """
const [done] = arguments, image = document.querySelector(".view img");
const look = () => done(image.getBoundingClientRect().height);
image.complete ? look() : image.addEventListener("error", look);
"""
SIDEWAYS = """
const canvas = document.createElement("canvas"), pen = canvas.getContext("2d");
[canvas.width, canvas.height] = [300, 200];
for (const [colour, left] of [["red", 0], ["blue", 150]]) { pen.fillStyle = colour; pen.fillRect(left, 0, 150, 200); }
return canvas.toDataURL("image/jpeg").split(",")[1];
"""
SHOWN = """
const done = arguments[0], image = document.querySelector(".view img");
const look = () => {
  const canvas = document.createElement("canvas"), pen = canvas.getContext("2d");
  [canvas.width, canvas.height] = [image.naturalWidth, image.naturalHeight];
  pen.drawImage(image, 0, 0);
  const colours = [20, image.naturalHeight - 20].map((y) => pen.getImageData(100, y, 1, 1).data[0] > 127 ? "red" : "blue");
  const shown = image.getBoundingClientRect();
  done([getComputedStyle(image).imageOrientation, shown.height > shown.width, ...colours]);
};
image.complete ? look() : image.addEventListener("load", look);
"""


def with_orientation(picture: bytes, orientation: int) -> bytes:
    """A JPEG as a camera writes it that was held on its side: EXIF with the one tag 0x112."""
    tiff = b"II*\0" + struct.pack("<LHHHLHHL", 8, 1, 0x112, 3, 1, orientation, 0, 0)
    exif = b"Exif\0\0" + tiff
    return picture[:2] + b"\xff\xe1" + struct.pack(">H", len(exif) + 2) + exif + picture[2:]


def press(person: Person, what: str, wanted: str) -> None:
    """Press what leads to a page that has something; pages of links have no foot."""
    person.see(what).click()
    wait_for(lambda: person.driver.find_elements("css selector", wanted), wanted)


def test_a_stranger_opens_a_folder_by_its_link(share: Any, browse: Callable[..., Person], axe: str) -> None:
    headers = {"Authorization": f"Bearer {share.token()}", "Content-Type": "application/json"}
    asked = json.dumps({"link": {"expires": "1d"}})
    link = urlsplit(share.ask("POST", "/files/docs/", asked, headers).json["url"]).path
    asked = json.dumps({"link": {"action": "create", "expires": "1d"}})
    box = urlsplit(share.ask("POST", "/files/docs/sub/", asked, headers).json["url"]).path
    stranger = browse("http://{}:{}".format(*share.tcp))
    stranger.go(f"{link}/")
    assert wrong_with(stranger, axe) == []
    press(stranger, 'a[href$="/sub/"]', 'a[href*="/inner.txt"]')
    press(stranger, 'a[href*="/inner.txt"]', "pre.code")
    assert "inner" in stranger.see("pre.code").text
    press(stranger, ".around a", "table.listing")
    assert urlsplit(stranger.driver.current_url).path == f"{link}/sub/"
    stranger.go(box)
    assert wrong_with(stranger, axe) == []
    sent = share.folder / "sent.txt"
    sent.write_text("mine")
    stranger.see("#upload").send_keys(str(sent))
    press(stranger, "main form button", ".notice.good")
    assert "sent.txt" in stranger.see(".notice.good").text
    assert (share.folder / "share" / "sub" / "sent.txt").read_text() == "mine"
    assert stranger.complaints() == []
