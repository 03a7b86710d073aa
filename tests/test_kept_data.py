"""A data folder that the build of commit 2290c44 made: what it holds is opened and continued by every later one.

tests/data/made_by_2290c44/site.zip is its app.toml and data/; facts.json says what is in it and the time it was made at.
"""

from __future__ import annotations

import json
import zipfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from sites import Site

import app

KEPT = Path(__file__).with_name("data") / "made_by_2290c44"
FACTS: dict[str, Any] = json.loads((KEPT / "facts.json").read_text(encoding="utf-8"))
AN_HOUR_LATER = FACTS["at"] + 3600
ANN = f"Bearer {FACTS['token']}"


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    with zipfile.ZipFile(KEPT / "site.zip") as packed:
        packed.extractall(tmp_path)
    (tmp_path / "data" / "keys.json").chmod(0o600)
    opened = Site(tmp_path, (tmp_path / "app.toml").read_text(encoding="utf-8"), clock=lambda: AN_HOUR_LATER)
    yield opened
    opened.close()


def test_records_are_as_they_were(site: Site) -> None:
    assert json.loads(app.dump_json(site.read(FACTS["once"], by=ANN).data)) == FACTS["record"]
    assert site.read(FACTS["large"], by=ANN).data["days"] == 9007199254740993
    assert site.read(FACTS["large"], by=ANN).data["who"] == "Zed \u00e9 \U0001f600"
    assert site.read(FACTS["note"], by=ANN).data["text"] == "line 1\nline 2"
    assert len(site.items("forms/notes/records?_size=100", by=ANN)) == 21
    with pytest.raises(app.NotFound):
        site.read(FACTS["deleted"], by=ANN)


def test_views_answer_from_them(site: Site) -> None:
    assert [row["days"] for row in site.items("views/leave", by=ANN)] == [9007199254740993, 5, 4, 3, 3, 2]
    assert [row["n"] for row in site.items("views/sums", by=ANN)] == [7]


def test_files_keep_their_bytes_and_etags(site: Site) -> None:
    wanted = {"files/share/a/plan.txt": b"a plan", "files/inside/b/c.bin": bytes(range(256)) * 40}
    for address, whole in wanted.items():
        found = site.read(address, by=ANN)
        assert found.content is not None
        with closing(found.content.read(0, None)) as chunks:
            assert b"".join(chunks) == whole
    inside = site.read("files/inside/b/c.bin", by=ANN).content
    assert inside is not None
    assert inside.blob.etag == FACTS["inside_etag"], "of plain files the etag follows their inode, which a copy has not"


def test_tokens_of_both_keys_links_and_sessions_go_on(site: Site) -> None:
    for credential in (ANN, f"Bearer {FACTS['short']}", f"Session {FACTS['session']}"):
        assert site.read(FACTS["once"], by=credential).data["who"] == "Ann"
    assert site.read(FACTS["once"], by=f"Bearer {FACTS['new_key']}").data["who"] == "Ann"
    with pytest.raises(app.Forbidden):
        site.read(FACTS["once"], by=f"Bearer {FACTS['staff']}")
    with pytest.raises(app.Unauthenticated):
        site.read(FACTS["once"], by=f"Bearer {FACTS['revoked']}")
    session, _ = site.app.office.sign_in(FACTS["link"], "r")
    assert site.read(FACTS["once"], by=f"Session {session}").data["who"] == "Ann"


def test_a_request_that_was_answered_then_is_answered_the_same_and_done_once(site: Site) -> None:
    data = {"who": "Ann", "from_day": "2026-12-01", "days": 3, "hours": app.exact_number("7.50")}
    data |= {"at": "2026-12-01T08:00:00+02:00", "paid": True, "kinds": ["a"]}
    before = len(site.items("forms/leave/records?_size=100", by=ANN))
    again = site.create("forms/leave", data, by=ANN, idempotency_key="once")
    assert again.replayed
    assert again.location == FACTS["once"]
    with pytest.raises(app.IdempotencyConflict):
        site.create("forms/leave", data | {"days": 4}, by=ANN, idempotency_key="once")
    assert site.create("forms/notes", {"text": "line 1\nline 2"}, by=ANN, idempotency_key="note").location == FACTS["note"]
    assert len(site.items("forms/leave/records?_size=100", by=ANN)) == before


def test_entries_of_updates_are_read_as_they_were_made(site: Site) -> None:
    site.patch(FACTS["once"], {"days": 9}, by=ANN)
    entries = [row for row in site.items("admin/audit?_size=1000", by=ANN) if row["action"] == "update"]
    fresh, *older = [row for row in entries if row["resource"].startswith("forms/")]
    assert (fresh["changes"], fresh["before"], fresh["after"]) == ({"days": [FACTS["record"]["days"], 9]}, None, None)
    assert older
    for row in older:
        assert row["changes"] is None
        assert row["before"]["created_at"] == row["after"]["created_at"]


def test_work_goes_on_where_it_stopped(site: Site) -> None:
    changed = site.patch(FACTS["once"], {"days": 9}, by=ANN, if_match=str(FACTS["record"]["version"]))
    assert changed.data["version"] == FACTS["record"]["version"] + 1
    made = site.create("forms/leave", {"who": "New"}, by=ANN)
    assert site.read(made.location, by=ANN).data["who"] == "New"
    site.put("files/share/a/plan.txt", body=b"another plan", by=ANN)
    assert len(site.items("admin/audit?_size=1000", by=ANN)) > FACTS["audit"]
    assert site.app.inspection.check() == []
