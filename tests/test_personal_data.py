"""What a site holds of one person: written out whole, and taken away without a trace, while the audit trail stays proved."""

from __future__ import annotations

import json
from datetime import UTC
from pathlib import Path
from typing import Any

import pytest
from sites import Site, Time
from test_commands import Shell
from test_seals import Trail

import app
from app import Caller, Conflict, NotFound, Query

personal: Any = app.plugin("personal_data")
OPERATOR = Caller("cli:root")
TOML = """
[providers.main]
kind = "sql"
url = "sqlite:///data/app.db"
[providers.disk]
kind = "file"
root = "data/files"
[roles.staff]
grants = ["forms/leave:create"]
[files.receipts]
provider = "disk"
[forms.leave]
comments = true
[forms.leave.fields]
name = { required = true }
receipt = { format = "file", files = "files/receipts" }
"""


@pytest.fixture
def trail(tmp_path: Path) -> Trail:
    clock = Time()
    clock.now = max(clock.now, int(app.new_id(0)[:12], 16) / 1000 + 1)  # ids of a process never run backwards
    made = Trail(Site(tmp_path, TOML, clock=clock), clock)
    site = made.site
    for subject in ("ann", "bo"):
        site.create("admin/people", {"subject": subject, "name": f"{subject.title()} Lee", "roles": ["staff"]})
        by = site.token(subject, roles=["staff"])
        file = {"name": "taxi.txt", "base64": "aGVsbG8="}
        key = site.create("forms/leave", {"name": f"{subject} is ill", "receipt": file}, by=by).data["id"]
        for other in ("ann", "bo"):
            whose = site.token(other, "forms/leave:*")
            site.create(f"forms/leave/records/{key}/comments", {"text": f"{other} says"}, by=whose)
        share(site, subject, by)
        lock(site, subject, key)
    return made


def lock(site: Site, subject: str, key: str) -> None:
    """The receipt of a record, locked by somebody."""
    locks, state, now = app.plugin("locks"), site.app.state, site.app.clock()
    root = site.folder / "data/files"
    [path] = [str(one.relative_to(root)) for one in root.rglob("taxi.txt") if key in str(one)]
    made = locks.Lock(f"t:{subject}", path, f"files/receipts/{path}", False, True, "", subject, now + 3600)
    locks.change(state, "disk", now, lambda present: [*present, made])


def share(site: Site, subject: str, by: str) -> None:
    """A link of somebody, which was used."""
    links = app.plugin("links")
    caller = site.app.authority.identify(by)
    request = links.place("views/leave", {}, "r", credential=by)
    _, row = links.make(site.app, caller, request, links.wish_of({"expires": "7d"}, site.app.clock(), zone=UTC))
    links.Uses(site.app).note(row, "192.0.2.7", "r")


def everything(site: Site) -> str:
    """All that is stored, as text: rows of every table, and the files."""
    tables = ("_people", "_tokens", "_sessions", "_links", "_shares", "_audit", "_comments", "_locks", "leave")
    rows = [str(one) for table in tables for one in site.app.state.walk(Query(table))]
    files = [str(path) for path in (site.folder / "data/files").rglob("*")]
    return "\n".join([*rows, *files])


def test_what_is_held_of_a_person_is_written_out(trail: Trail) -> None:
    found = list(personal.exported(trail.site.app, "ann"))
    kinds = [one["kind"] for one in found]
    assert {"person", "token", "link", "share", "lock", "record", "comment", "entry"} <= set(kinds)
    [record] = [one for one in found if one["kind"] == "record"]
    assert (record["form"], record["name"], record["created_by"]) == ("forms/leave", "ann is ill", "ann")
    entries = [one for one in found if one["kind"] == "entry"]
    assert {"forms/leave", "admin/people", "admin/tokens"} <= {one["resource"] for one in entries}
    assert "bo says" in json.dumps(found), "about her record"
    assert "bo is ill" not in json.dumps(found)
    assert not any(name in one for one in found for name in ("digest", "secret"))


def test_what_is_erased_is_nowhere_any_more_and_the_trail_is_proved(trail: Trail) -> None:
    site = trail.site
    trail.seal()
    assert "ann is ill" in everything(site)
    before = len(trail.entries())
    counts = personal.erase(site.app, "ann", OPERATOR)
    assert (counts["person"], counts["records"]) == (1, 2), "with what she said of the record of bo"
    left = everything(site)
    assert left.count("ann") == 1, "in the entry that says that it was done"
    assert "bo is ill" in left
    assert left.count("'text': 'bo says'") == 2, "his own comment, and its entry in the audit trail"
    assert len(list((site.folder / "data/files").rglob("taxi.txt"))) == 1
    told = trail.entries()[-1].value
    assert (told["action"], told["subject"], told["after"]["subject"]) == ("erase", "cli:root", "ann")
    assert len(trail.entries()) > before, "no entry is gone"
    assert trail.faults() == {}
    assert trail.look().erased == counts["entries"]
    trail.seal()
    assert trail.faults() == {}


def test_what_is_erased_behind_the_back_still_shows(trail: Trail) -> None:
    site = trail.site
    trail.seal()
    entry = next(one for one in trail.entries() if one.value["subject"] == "bo")
    site.app.state.commit([app.Update("_audit", entry.key, personal._left(entry.value), entry.version)])
    assert trail.faults() == {"changed": 1}


def test_who_is_not_known_or_the_last_administrator_is_not_erased(trail: Trail) -> None:
    with pytest.raises(NotFound):
        personal.erase(trail.site.app, "nobody", OPERATOR)
    with pytest.raises(NotFound):
        list(personal.exported(trail.site.app, "nobody"))
    trail.site.create("admin/people", {"subject": "root", "grants": ["**:*"]})
    before = everything(trail.site)
    with pytest.raises(Conflict, match="last"):
        personal.erase(trail.site.app, "root", OPERATOR)
    assert everything(trail.site) == before


def test_the_commands(tmp_path: Path) -> None:
    shell = Shell(tmp_path)
    shell.write(TOML)
    shell.run("auth", "invite", "--subject", "ann", "--role", "staff")
    out = [json.loads(line) for line in shell.run("auth", "people", "export", "ann")[0].splitlines()]
    assert out[0]["kind"] == "person"
    assert "erased" in shell.run("auth", "people", "erase", "ann")[1]
    shell.run("auth", "people", "export", "ann", code=4)
    shell.run("auth", "people", "erase", "ann", code=4)
