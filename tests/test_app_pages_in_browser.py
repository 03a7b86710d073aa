"""A person at a browser reads a dashboard and edits a page, with scripts and without, at a desk and on a phone."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("selenium", reason="needs selenium, which is not installed: ./build.sh test installs it")

from http_client import Server, serving
from selenium.webdriver.common.by import By
from test_accessibility import dress
from test_browser import Person, browse

__all__ = ["browse"]

SITE = """
[providers.main]
kind = "sql"
url = "sqlite:///app.db"
[files.docs]
title = "Documents"
[forms.leave]
title = "Leave"
[forms.leave.fields]
who = { type = "string", title = "Who", required = true }
days = { type = "number", title = "Days" }
[views.open]
title = "Waiting"
from = "forms/leave"
columns = { who = {}, days = {} }
[views.sum]
title = "Days in all"
provider = "main"
sql = "select 7 as days"
[apps.hr]
title = "HR"
home = [
  { number = "views/open", title = "To decide" }, { number = "views/sum" }, { view = "views/open", limit = 2 },
  { markdown = "files/docs/wiki/start.md" }, { form = "forms/leave", title = "Ask for leave" },
  { files = "files/docs/wiki" },
]
pages = "files/docs/wiki"
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("hr")
    (folder / "app.toml").write_text(SITE)
    with serving(folder, "--workers", "1") as found:
        headers = {"Authorization": f"Bearer {found.token()}"}
        for number in range(3):
            body = json.dumps({"who": f"Bo {number}", "days": number})
            sent = found.ask("POST", "/forms/leave", body, headers | {"Content-Type": "application/json"})
            assert sent.status == 201
        page = b"# How leave works\n\nAsk a week ahead. [More](policy)\n"
        assert found.ask("PUT", "/files/docs/wiki/start.md", page, headers).status == 201
        yield found


def rows_of(person: Person) -> dict[str, tuple[int, int, int]]:
    """Where each block begins, and how wide it is, by its title."""
    blocks = person.driver.find_elements(By.CSS_SELECTOR, ".block")
    return {one.find_element(By.TAG_NAME, "h2").text: (one.rect["x"], one.rect["y"], one.rect["width"]) for one in blocks}


@pytest.mark.parametrize("scripts", [False, True], ids=["without scripts", "with scripts"])
def test_a_person_reads_the_dashboard_and_edits_a_page(
    scripts: bool, server: Server, browse: Callable[..., Person], tmp_path: Path
) -> None:
    person = browse("http://{}:{}".format(*server.tcp), scripts=scripts)
    code = server.code if scripts else _code(server)
    person.go(f"/login/{code}")
    person.press(person.button("Sign in"))
    dress(person, "light", 1280, 900)
    person.go("/apps/hr")
    at = rows_of(person)
    assert at["To decide"][1] == at["Days in all"][1], "numbers stand side by side"
    assert at["Waiting"][1] == at["How leave works"][1] > at["To decide"][1]
    assert at["Waiting"][2] > at["How leave works"][2]
    words, waiting = person.words, 3 + scripts  # of whom Ida asked, the first time
    for text in ("To decide\n", "Days in all\n7", "Ask a week ahead.", "start.md"):
        assert text in words
    assert f"To decide\n{waiting}\n" in words
    assert "Bo 0" not in words
    dress(person, "dark", 360, 740)
    at = rows_of(person)
    assert len({one[1] for title, one in at.items() if title not in ("To decide", "Days in all")}) == 4, (
        "one below the other"
    )
    assert all(x + width <= 360 for x, _, width in at.values())

    person.type("who", "Ida")
    person.press(person.button("Send", ".block"))
    assert "Sent." in person.words
    person.go("/apps/hr")
    person.follow("More")
    assert "There is no page policy" in person.words
    person.go("/apps/hr/pages")
    person.follow("New page")
    _write(person, "title", f"Policy {scripts}")
    _write(person, "text", "## Rules\n\nAsk [here](forms/leave).\n\n| a | b |\n| - | - |\n| 1 | 2 |")
    person.press(person.button("Save"))
    assert f"Policy {scripts}" in person.see("h1").text
    assert person.see(".prose h2").text == "Rules"
    assert person.see(".prose td").text == "1"
    person.follow("Edit")
    _write(person, "text", "Everything is new.")
    person.press(person.button("Save"))
    assert "Everything is new." in person.words
    assert person.complaints() == []


def _code(server: Server) -> str:
    """Another sign-in link, as the first one works once."""
    import subprocess

    import backends

    line = [*backends.SATCHEL, "auth", "link", "--subject", "ann", "--grant", "**:*"]
    done: Any = subprocess.run(line, cwd=server.folder, check=True, capture_output=True, text=True)
    return str(done.stdout.strip().rpartition("/login/")[2])


def _write(person: Person, name: str, text: str) -> None:
    field = person.see(f"main form [name={name}]")
    field.clear()
    field.send_keys(text)
