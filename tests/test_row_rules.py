"""plugins/row_rules.py and mine.py: `owner`, `read_by` and `write_by` of forms, and one's own records."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import app
from app import Action, Invalid, NotFound
from tests.sites import PROVIDERS, Site

LEAVE = """
[roles.hr]
grants = ["forms/leave:*", "views/*:read"]
[roles.boss]
grants = ["forms/leave:read,update,delete", "views/*:read"]
[roles.staff]
grants = ["forms/leave:create", "forms/leave/mine:update,delete"]
[forms.leave]
name = "{who} {salary}"
owner = { field = "created_by", unless = ["hr", "boss"] }
[forms.leave.fields]
who = { required = true }
days = { type = "number", default = 1 }
salary = { type = "number", read_by = "hr", write_by = ["hr"] }
grade = { default = "junior", write_by = "hr", required = true }
secret = { read_by = ["hr"], write_by = ["hr", "staff"] }
[views.all]
from = "forms/leave"
order_by = ["-salary"]
facets = ["who", "salary"]
where = [{ field = "salary", null = false }]
"""


class Three:
    """A site, and the credentials of two members of staff, of whoever reads all records, and of whoever sees all fields."""

    def __init__(self, folder: Path, toml: str = PROVIDERS["sql"] + LEAVE) -> None:
        self.site = Site(folder, toml)
        self.ann, self.bo = (self.site.token(name, roles=["staff"]) for name in ("ann", "bo"))
        self.boss, self.hr = self.site.token("boss", roles=["boss"]), self.site.token("hr", roles=["hr"])
        self.reader = self.site.token("ann", "forms/leave:*", "views/*:read")

    def sent(self, by: str, **data: Any) -> str:
        return str(self.site.create("forms/leave", data, by=by).data["id"])

    def rows(self, address: str, by: str) -> list[Any]:
        table = self.site.read(address, by=by).table
        assert table
        return [dict(row) for row in table.rows]


@pytest.fixture
def three(tmp_path: Path) -> Iterator[Three]:
    found = Three(tmp_path)
    yield found
    found.site.app.close()


def faults(error: pytest.ExceptionInfo[Invalid]) -> list[tuple[str, str]]:
    return [(fault.pointer, fault.code) for fault in error.value.faults]


def test_everybody_finds_his_own_records_and_no_others(three: Three) -> None:
    mine, other = three.sent(three.ann, who="Ann"), three.sent(three.bo, who="Bo")
    for by in (three.ann, three.reader):
        assert [row["id"] for row in three.rows("forms/leave/mine", by)] == [mine]
    assert [row["id"] for row in three.rows("forms/leave/records", three.reader)] == [mine]
    assert {row["id"] for row in three.rows("forms/leave/records", three.boss)} == {mine, other}
    assert {row["id"] for row in three.rows("forms/leave/records", three.site.root)} == {mine, other}
    assert three.site.read(f"forms/leave/mine/{mine}", by=three.ann).data["who"] == "Ann"
    for address in (f"forms/leave/mine/{other}", f"forms/leave/records/{other}"):
        with pytest.raises(NotFound) as missing:
            three.site.read(address, by=three.reader)
        with pytest.raises(NotFound) as nothing:
            three.site.read(address[:-2] + "xx", by=three.reader)
        assert missing.value.message.replace(other, "") == nothing.value.message.replace(other[:-2] + "xx", "")


def test_what_is_hidden_is_in_no_answer(three: Three) -> None:
    key = three.site.create("forms/leave", {"who": "Ann", "salary": 4711}, by=three.hr).data["id"]
    assert three.site.read(f"forms/leave/records/{key}", by=three.hr).data["salary"] == 4711
    assert "salary" not in three.site.read(f"forms/leave/records/{key}", by=three.boss).data
    assert [sorted(row) for row in three.rows("views/all", three.boss)] == [
        ["created_at", "created_by", "days", "grade", "id", "updated_at", "updated_by", "who"]
    ]
    changed = three.site.ask(Action.UPDATE, f"forms/leave/records/{key}", {"who": "Eve"}, by=three.boss, partial=True)
    assert "salary" not in changed.data
    assert "4711" not in str(changed.data) + app.dump_json(changed.data)
    replaced = three.site.ask(Action.UPDATE, f"forms/leave/records/{key}", {"who": "Eva"}, by=three.boss)
    assert "4711" not in app.dump_json(replaced.data)
    stored = three.site.read(f"forms/leave/records/{key}", by=three.hr).data
    assert (stored["salary"], stored["who"], stored["grade"]) == (4711, "Eva", "junior")


def test_what_is_not_for_a_caller_is_refused_when_it_is_sent(three: Three) -> None:
    for name, code in (("salary", "unknown_field"), ("grade", "read_only"), ("created_by", "unknown_field")):
        with pytest.raises(Invalid) as refused:
            three.site.create("forms/leave", {"who": "Ann", name: "9"}, by=three.ann)
        assert faults(refused) == [(f"/{name}", code)]
        with pytest.raises(Invalid) as refused:
            three.site.create("forms/leave", [{"who": "Ann"}, {"who": "Bo", name: "9"}], by=three.ann)
        assert faults(refused) == [(f"/1/{name}", code)]
    key = three.sent(three.ann, who="Ann", secret="s")
    record = three.site.read(f"forms/leave/records/{key}", by=three.hr).data
    assert (record["grade"], record["secret"], record["salary"]) == ("junior", "s", None)
    for name in ("salary", "grade", "created_by"):
        with pytest.raises(Invalid) as refused:
            three.site.ask(Action.UPDATE, f"forms/leave/mine/{key}", {name: "9"}, by=three.ann, partial=True)
        assert [pointer for pointer, _ in faults(refused)] == [f"/{name}"]
