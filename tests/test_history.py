"""The history of records: who changed what, for whom it is there, and earlier versions that are brought back."""

from __future__ import annotations

import html
import re
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from sites import PROVIDERS, Site

import app
from app import BadRequest, Condition, Conflict, Forbidden, Insert, Invalid, NotFound, PreconditionFailed

sys.path.insert(0, str(Path(__file__).parent))
import http_client

FORM = """
[roles.hr]
grants = ["forms/leave/records:read,update", "forms/leave:create"]
[files.docs]
provider = "disk"
[providers.disk]
kind = "file"
root = "docs"
[forms.leave]
states = { field = "status", initial = "new", moves = ["new>approved:hr"] }
[forms.leave.fields]
name = { type = "string", required = true, maxLength = 20 }
days = { type = "number", maximum = 30 }
note = { type = "string", format = "file", files = "files/docs" }
"""


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    made = Site(tmp_path, PROVIDERS["sql"] + FORM)
    yield made
    made.close()


def changed(site: Site, **first: Any) -> str:
    """The address of a record with three versions."""
    made = site.create("forms/leave", {"name": "Ann", "days": 3, **first}).data
    address = f"forms/leave/records/{made['id']}"
    site.patch(address, {"days": 4}, by=site.token("maria", roles=["hr"]))
    site.patch(address, {"days": 5, "name": "Anna"})
    return address


def history(site: Site, address: str, query: str = "", **facts: Any) -> Any:
    return site.read(f"{address}/history{query}", **facts).data


def test_a_history_has_who_changed_what_the_newest_first(site: Site) -> None:
    address = changed(site)
    site.put(f"{address}/move", {"to": "approved", "comment": "Enjoy"}, by=site.token("maria", roles=["hr"]))
    found = history(site, address)
    assert found["next"] is None
    assert "pruned" not in found
    assert [(one["version"], one["by"], one["action"]) for one in found["items"]] == [
        (4, "maria", "update"), (3, "root", "update"), (2, "maria", "update"), (1, "root", "create")
    ]  # fmt: skip
    assert [one["changes"] for one in found["items"]] == [
        {"status": ["new", "approved"]}, {"days": [4, 5], "name": ["Ann", "Anna"]}, {"days": [3, 4]},
        {"name": [None, "Ann"], "days": [None, 3], "status": [None, "new"]},
    ]  # fmt: skip
    assert [one["comment"] for one in found["items"]] == ["Enjoy", None, None, None]
    assert all(set(one) == {"at", "by", "action", "version", "changes", "comment"} for one in found["items"])


def test_a_history_is_paged_by_cursor_and_its_versions_go_on(site: Site) -> None:
    address = changed(site)
    first = history(site, address, "?_size=2")
    assert [one["version"] for one in first["items"]] == [3, 2]
    site.patch(address, {"days": 6})  # what comes meanwhile neither repeats nor skips anything
    last = history(site, address, f"?_size=2&_next={first['next']}")
    assert [(one["version"], one["action"]) for one in last["items"]] == [(1, "create")]
    assert last["next"] is None
    for query in ("?_next=x", "?_size=0", "?who=ann"):
        with pytest.raises(BadRequest):
            history(site, address, query)


def test_a_history_is_for_whoever_reads_the_record(site: Site) -> None:
    address = changed(site)
    assert len(history(site, address, by=site.token("rita", "forms/leave/records:read"))["items"]) == 3
    with pytest.raises(Forbidden):
        history(site, address, by=site.token("sue", "forms/leave:create"))
    with pytest.raises(NotFound):
        history(site, "forms/leave/records/none")


def test_a_history_leaves_out_the_records_of_the_same_key_elsewhere_and_before(tmp_path: Path) -> None:
    other = "[forms.other]\n[forms.other.fields]\nname = {}\n"
    site = Site(tmp_path, PROVIDERS["sql"] + FORM + other)
    address = "forms/leave/records/a"
    site.put("forms/other/records/a", {"name": "No"}, if_none_match="*")
    site.put(address, {"name": "Old"}, if_none_match="*")
    site.delete(address)
    site.put(address, {"name": "New"}, if_none_match="*")
    [item] = history(site, address)["items"]
    assert (item["version"], item["changes"]["name"]) == (1, [None, "New"])
    site.close()


def test_older_entries_are_read_as_they_are_and_a_pruned_trail_says_so(site: Site) -> None:
    made = site.create("forms/leave", {"name": "Ann", "days": 3}).data
    table, key = "leave", made["id"]
    records = site.app.state
    [entry] = [one for one in records.walk(app.Query("_audit")) if one.value["record"] == key]
    records.commit([app.Delete("_audit", entry.key)])
    stored = records.get(table, key)
    assert stored
    old = {name: entry.value[name] for name in entry.value if name not in ("after", "changes")}
    now = dict(stored.value)
    whole = old | {"action": "update", "before": now | {"days": 1}, "after": now}
    records.commit([Insert("_audit", app.new_id(time.time()), app.storable(whole))])
    records.commit([app.Update(table, key, stored.value, 1)])
    found = history(site, f"forms/leave/records/{key}")
    assert found["pruned"] is True
    assert [(one["version"], one["changes"]) for one in found["items"]] == [(2, {"days": [1, 3]})]
    assert restored(site, f"forms/leave/records/{key}", 1)["days"] == 1


def test_files_have_no_address_in_a_history(site: Site) -> None:
    file = {"name": "a.txt", "base64": "aGVsbG8="}
    made = site.create("forms/leave", {"name": "Ann", "note": file}).data
    [item] = history(site, f"forms/leave/records/{made['id']}")["items"]
    assert item["changes"]["note"][1]["name"] == "a.txt"
    assert "address" not in item["changes"]["note"][1]


# ---- earlier versions


def restored(site: Site, address: str, version: Any, **facts: Any) -> Any:
    return site.put(f"{address}/history", {"version": version}, **facts).data


def test_a_version_is_brought_back_as_a_new_one(site: Site) -> None:
    address = changed(site)
    record = restored(site, address, 1)
    assert (record["name"], record["days"], record["version"]) == ("Ann", 3, 4)
    assert site.read(address).data == record
    [newest, *_] = history(site, address)["items"]
    assert (newest["version"], newest["changes"]) == (4, {"days": [5, 3], "name": ["Anna", "Ann"]})
    [*_, entry] = site.audit(action="update")
    assert entry["resource"] == f"{address}/history"
    assert restored(site, address, 3)["name"] == "Anna"


def test_what_was_empty_then_is_empty_again(site: Site) -> None:
    made = site.create("forms/leave", {"name": "Ann"}).data
    address = f"forms/leave/records/{made['id']}"
    site.patch(address, {"days": 4})
    assert restored(site, address, 1)["days"] is None


def test_a_version_is_brought_back_by_whoever_may_update(site: Site) -> None:
    address = changed(site)
    with pytest.raises(Forbidden):
        restored(site, address, 1, by=site.token("rita", "forms/leave/records:read"))
    assert restored(site, address, 1, by=site.token("maria", roles=["hr"]))["updated_by"] == "maria"
    with pytest.raises(PreconditionFailed):
        restored(site, address, 1, if_match="1")
    for wrong in (0, 4, 9, "x", None, True, 1.5):
        with pytest.raises(Invalid) as refused:
            restored(site, address, wrong)
        assert refused.value.faults[0].pointer == "/version"


def test_a_version_that_the_form_would_refuse_is_not_brought_back(site: Site, tmp_path: Path) -> None:
    address = changed(site)
    site.close()
    later = Site(tmp_path, PROVIDERS["sql"] + FORM.replace("maximum = 30", "minimum = 4"))
    with pytest.raises(Invalid) as refused:
        restored(later, address, 1)
    assert refused.value.faults[0].pointer == "/days"
    assert later.read(address).data["version"] == 3
    later.close()


def test_states_and_files_stay_when_a_version_is_brought_back(site: Site) -> None:
    address = changed(site, note={"name": "a.txt", "base64": "aGVsbG8="})
    site.put(f"{address}/move", {"to": "approved"})
    site.patch(address, {"note": {"name": "b.txt", "base64": "aGVsbG8="}, "days": 9})
    response = site.put(f"{address}/history", {"version": 1})
    assert (response.data["status"], response.data["note"]["name"], response.data["days"]) == ("approved", "b.txt", 3)
    assert "Files stay as they are: Note." in response.page["notice"]


def test_a_version_that_differs_in_nothing_that_can_be_brought_back_makes_none(site: Site) -> None:
    made = site.create("forms/leave", {"name": "Ann"}).data
    address = f"forms/leave/records/{made['id']}"
    site.put(f"{address}/move", {"to": "approved"})
    assert restored(site, address, 1)["version"] == 2


def test_a_trail_that_does_not_reach_back_is_a_conflict(site: Site) -> None:
    address = changed(site)
    for one in list(site.app.state.walk(app.Query("_audit")))[:-1]:
        site.app.state.commit([app.Delete("_audit", one.key)])
    with pytest.raises(Conflict):
        restored(site, address, 1)
    assert restored(site, address, 2)["days"] == 4  # what the last entry has as its before


@pytest.mark.parametrize("where", [(), (Condition("id", "lt", "0192"),)])
def test_a_history_is_looked_up_in_the_index_of_records(site: Site, where: tuple[Condition, ...]) -> None:
    database: Any = site.app.state
    query = app.Query("_audit", (Condition("record", "eq", "x"), *where), ("-id",), 100)
    with database.reading("explaining") as connection:
        connection.execute("select count(*) from _audit").fetchone()
        asked = database._search.query(app.CompiledQuery(query), connection)
        text = asked.rows("key")
        steps = " ".join(row[3] for row in connection.execute(f"explain query plan {text}", asked.values))
    assert "USING INDEX satchel_" in steps
    assert "TEMP B-TREE" not in steps


# ---- on pages

ROOM = """
[forms.room]
provider = "main"
name = "{title}"
[forms.room.fields]
title = { type = "string", required = true }
floor = { type = "number", maximum = 9 }
"""


@pytest.fixture
def pages(tmp_path: Path) -> Iterator[http_client.Site]:
    made = http_client.Site(tmp_path, edit=lambda toml: toml + ROOM)
    yield made
    made.close()


@pytest.fixture
def root(pages: http_client.Site) -> str:
    return pages.token("**:*")


def beside(pages: http_client.Site, key: str, root: str, asked: str = "") -> dict[str, str]:
    """What the links to the records before and after one name."""
    query = f"?_list={quote(asked)}" if asked else ""
    page = pages.get(f"/forms/room/records/{key}{query}", root, Accept="text/html").text
    return dict(re.findall(r'<a class="(prev|next)"[^>]*><span>[^<]*</span> <bdi>([^<]*)</bdi>', page))


def test_a_record_leads_to_those_beside_it_in_the_list_that_one_came_from(pages: http_client.Site, root: str) -> None:
    rooms = [("a", 3), ("b", 1), ("c", 2), ("d", 1)]
    ids = {title: pages.send("/forms/room", {"title": title, "floor": n}, root).json["id"] for title, n in rooms}
    assert beside(pages, ids["b"], root) == {"prev": "c", "next": "a"}
    assert beside(pages, ids["d"], root) == {"next": "c"}
    assert beside(pages, ids["a"], root, "_sort=-floor") == {"next": "c"}
    assert beside(pages, ids["b"], root, "_sort=-floor") == {"prev": "c", "next": "d"}
    assert beside(pages, ids["b"], root, "floor=1&_size=1&_next=zz") == {"prev": "d"}
    assert beside(pages, ids["b"], root, "nothing=1") == {}
    page = pages.get(f"/forms/room/records/{ids['b']}?_list={quote('_sort=-floor')}", root, Accept="text/html").text
    [onward] = re.findall(r'class="next" rel="next" href="([^"]*)"', page)
    page = pages.get(html.unescape(onward), root, Accept="text/html").text
    assert re.findall(r'class="(prev|next)"', page) == ["prev"]


def test_the_page_of_a_history_brings_a_version_back(pages: http_client.Site, root: str) -> None:
    address = pages.send("/forms/room", {"title": "Blue", "floor": 3}, root)["Location"]
    pages.send(address, {"floor": 4}, root, method="PATCH")
    assert f'href="{address}/history"' in pages.get(address, root, Accept="text/html").text
    page = pages.get(f"{address}/history", root, Accept="text/html").text
    assert "Restore this version: 1" in page
    assert "Restore this version: 2" not in page
    assert page.count("<del>") == 1
    [action] = re.findall(r'action="([^"]*/history[^"]*)"', page)
    for _ in range(2):  # pressed twice, it is done once
        answer = pages.submit(html.unescape(action), {"version": "1"}, root)
        assert (answer.status, answer["Location"]) == (303, address)
    assert (pages.get(address, root).json["version"], pages.get(address, root).json["floor"]) == (3, 3)
    page = pages.get(f"{address}/history", pages.token("forms/room/records:read"), Accept="text/html").text
    assert "Restore" not in page


def test_a_page_says_why_a_version_cannot_be_brought_back(pages: http_client.Site, root: str) -> None:
    address = pages.send("/forms/room", {"title": "Blue", "floor": 3}, root)["Location"]
    answer = pages.submit(f"{address}/history", {"version": "7"}, root)
    assert answer.status == 422
    assert "there is no earlier version" in answer.text


def test_a_history_has_no_fields_and_no_records_that_the_reader_may_not_see(tmp_path: Path) -> None:
    form = """
[roles.hr]
grants = ["forms/leave/records:read,update"]
[forms.leave]
owner = { field = "created_by", unless = "hr" }
[forms.leave.fields]
name = {}
salary = { type = "number", read_by = "hr" }
"""
    site = Site(tmp_path, PROVIDERS["sql"] + form)
    ann, bob, hr = (
        site.token("ann", "forms/leave:create"),
        site.token("bob", "forms/leave:create"),
        site.token("m", roles=["hr"]),
    )
    key = site.create("forms/leave", {"name": "Ann"}, by=ann).data["id"]
    site.patch(f"forms/leave/records/{key}", {"salary": 7}, by=hr)
    site.patch(f"forms/leave/records/{key}", {"name": "Anna", "salary": 8}, by=hr)
    assert history(site, f"forms/leave/records/{key}", by=hr)["items"][0]["changes"]["salary"] == [7, 8]
    own = history(site, f"forms/leave/mine/{key}", by=ann)["items"]
    assert [one["changes"] for one in own] == [{"name": ["Ann", "Anna"]}, {}, {"name": [None, "Ann"]}]
    with pytest.raises(NotFound):
        history(site, f"forms/leave/mine/{key}", by=bob)
    with pytest.raises(Forbidden):
        restored(site, f"forms/leave/mine/{key}", 1, by=ann)
    back = restored(
        site, f"forms/leave/mine/{key}", 1, by=site.token("ann", "forms/leave:create", "forms/leave/mine:update")
    )
    assert back["name"] == "Ann"
    assert site.read(f"forms/leave/records/{key}", by=hr).data["salary"] == 8  # what she does not see stays
    site.close()
