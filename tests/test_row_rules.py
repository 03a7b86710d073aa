"""plugins/row_rules.py and mine.py: `owner`, `read_by` and `write_by` of forms, and one's own records."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sites import PROVIDERS, Site

import app
from app import Action, BadRequest, Invalid, NotFound, PreconditionFailed, Unauthenticated

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
    key = three.site.create("forms/leave", {"who": "Ann", "salary": 47110815}, by=three.hr).data["id"]
    assert three.site.read(f"forms/leave/records/{key}", by=three.hr).data["salary"] == 47110815
    assert "salary" not in three.site.read(f"forms/leave/records/{key}", by=three.boss).data
    assert [sorted(row) for row in three.rows("views/all", three.boss)] == [
        ["created_at", "created_by", "days", "grade", "id", "updated_at", "updated_by", "who"]
    ]
    changed = three.site.ask(Action.UPDATE, f"forms/leave/records/{key}", {"who": "Eve"}, by=three.boss, partial=True)
    assert "salary" not in changed.data
    assert "47110815" not in str(changed.data) + app.dump_json(changed.data)
    replaced = three.site.ask(Action.UPDATE, f"forms/leave/records/{key}", {"who": "Eva"}, by=three.boss)
    assert "47110815" not in app.dump_json(replaced.data)
    stored = three.site.read(f"forms/leave/records/{key}", by=three.hr).data
    assert (stored["salary"], stored["who"], stored["grade"]) == (47110815, "Eva", "junior")


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


def test_a_view_is_ordered_by_nothing_that_is_hidden(three: Three) -> None:
    for who, salary in (("Ann", 1), ("Bo", 3), ("Cy", 2)):
        three.site.create("forms/leave", {"who": who, "salary": salary}, by=three.hr)
    assert [row["who"] for row in three.rows("views/all", three.hr)] == ["Bo", "Cy", "Ann"]
    assert [row["who"] for row in three.rows("views/all", three.boss)] == ["Cy", "Bo", "Ann"], "the newest first"
    for asked in ("salary=1", "_sort=salary", "_q=x&secret__prefix=s"):
        with pytest.raises(BadRequest) as refused:
            three.site.read(f"views/all?{asked}", by=three.boss)
        assert "is no parameter here" in str(refused.value) or "is no column" in str(refused.value)
    table = three.site.read("views/all?_facets=1", by=three.boss).table
    assert table
    assert set(table.facts["facets"]) == {"who"}


def test_a_repeat_shows_what_may_be_seen_by_then(three: Three) -> None:
    key: dict[str, Any] = {"idempotency_key": "one"}
    first = three.site.create("forms/leave", {"who": "Ann", "salary": 47110815}, by=three.hr, **key)
    again = three.site.create("forms/leave", {"who": "Ann", "salary": 47110815}, by=three.hr, **key)
    assert (again.replayed, again.data["salary"], again.data["id"]) == (True, 47110815, first.data["id"])
    less = three.site.create(
        "forms/leave", {"who": "Ann", "salary": 47110815}, by=three.site.token("hr", "forms/leave:create"), **key
    )
    assert less.replayed
    assert "47110815" not in f"{less.data} {less.name}"
    other = three.site.create("forms/leave", {"who": "Ann"}, by=three.ann, **key)
    assert not other.replayed, "the key of another one is nothing to this caller"
    batch = three.site.create("forms/leave", [{"who": "A", "salary": 47110815}], by=three.hr, idempotency_key="two")
    assert batch.data["items"][0]["salary"] == 47110815
    less = three.site.create(
        "forms/leave",
        [{"who": "A", "salary": 47110815}],
        by=three.site.token("hr", "forms/leave:create"),
        idempotency_key="two",
    )
    assert less.replayed
    assert "47110815" not in str(less.data)


def test_an_id_of_somebody_else_is_taken_and_says_no_more(three: Three) -> None:
    three.site.ask(Action.UPDATE, "forms/leave/records/LT-1", {"who": "Bo"}, by=three.hr, if_none_match="*")
    with pytest.raises(PreconditionFailed) as taken:
        three.site.ask(Action.UPDATE, "forms/leave/records/LT-1", {"who": "Ann"}, by=three.reader, if_none_match="*")
    three.site.ask(Action.UPDATE, "forms/leave/records/LT-2", {"who": "Ann"}, by=three.reader, if_none_match="*")
    with pytest.raises(PreconditionFailed) as own:
        three.site.ask(Action.UPDATE, "forms/leave/records/LT-2", {"who": "Ann"}, by=three.reader, if_none_match="*")
    assert taken.value.message == own.value.message
    assert three.site.read("forms/leave/records/LT-1", by=three.hr).data["who"] == "Bo"


def test_the_schema_says_what_is_only_read_or_only_written(three: Three) -> None:
    def shape(by: str) -> dict[str, Any]:
        schema = three.site.read("forms/leave", by=by).data
        assert schema["required"] == (["who", "grade"] if by == three.hr else ["who"])
        flags = ("readOnly", "writeOnly")
        return {name: [flag for flag in flags if one.get(flag)] for name, one in schema["properties"].items()}

    assert shape(three.hr) == {name: [] for name in ("who", "days", "salary", "grade", "secret")}
    assert shape(three.ann) == {"who": [], "days": [], "grade": ["readOnly"], "secret": ["writeOnly"]}
    assert shape(three.boss) == {"who": [], "days": [], "grade": ["readOnly"]}
    described = next(one for one in three.site.app.describe(three.boss) if one["address"] == "forms/leave")
    assert "salary" not in app.dump_json(described["schema"])


def test_what_one_may_only_write_is_never_compared_with_what_is_stored(three: Three) -> None:
    key = three.sent(three.ann, who="Ann", secret="one")
    for secret in ("one", "two", "two"):
        version = three.site.read(f"forms/leave/mine/{key}", by=three.ann).data["version"]
        told = three.site.ask(Action.UPDATE, f"forms/leave/mine/{key}", {"secret": secret}, by=three.ann, partial=True)
        assert "secret" not in told.data
        assert told.data["version"] == version + 1, "whether it was the same is not to be found out"
    assert three.site.read(f"forms/leave/records/{key}", by=three.hr).data["secret"] == "two"


OWNED = """
[roles.hr]
grants = ["forms/task:*"]
[forms.task]
owner = { field = "whose", unless = "hr" }
[forms.task.fields]
whose = { maxLength = 50 }
what = { required = true }
"""


def test_an_owner_in_a_field_gives_nothing_away_and_takes_nothing(tmp_path: Path) -> None:
    site = Site(tmp_path, PROVIDERS["sql"] + OWNED)
    hr, ann, bo = site.token("hr", roles=["hr"]), site.token("ann", "forms/task:*"), site.token("bo", "forms/task:*")
    mine = site.create("forms/task", {"what": "tea"}, by=ann).data
    assert mine["whose"] == "ann", "who sends it"
    given = site.create("forms/task", {"what": "coffee", "whose": "ann"}, by=hr).data
    for data in ({"what": "x", "whose": "bo"}, [{"what": "x"}, {"what": "y", "whose": "bo"}]):
        with pytest.raises(Invalid) as refused:
            site.create("forms/task", data, by=ann)
        assert [fault.code for fault in refused.value.faults] == ["owner"]
    changes: list[tuple[bool, dict[str, Any]]] = [(True, {"whose": "bo"}), (True, {"whose": None}), (False, {"what": "x"})]
    for partial, change in changes:
        with pytest.raises(Invalid) as refused:
            site.ask(Action.UPDATE, f"forms/task/records/{mine['id']}", change, by=ann, partial=partial)
        assert [fault.code for fault in refused.value.faults] == ["owner"]
    table = site.read("forms/task/mine", by=ann).table
    assert table
    assert {row["id"] for row in table.rows} == {mine["id"], given["id"]}
    site.ask(Action.UPDATE, f"forms/task/records/{given['id']}", {"whose": "bo"}, by=hr, partial=True)
    with pytest.raises(NotFound):
        site.read(f"forms/task/records/{given['id']}", by=ann)
    assert site.read(f"forms/task/mine/{given['id']}", by=bo).data["what"] == "coffee"
    site.app.close()


def test_roles_hold_as_they_are_at_the_moment(three: Three) -> None:
    site, state = three.site, three.site.app.state
    key = three.sent(three.bo, who="Bo")
    row: dict[str, Any] = {"subject": "di", "roles": ["hr"], "grants": []}
    state.commit([app.Insert("_people", "di", row)])
    caller = app.Caller("di")
    own = "Bearer " + site.app.authority.jwt(site.app.office.issue(caller, "di", [], ["hr"], 3600, own=True))
    assert site.read(f"forms/leave/records/{key}", by=own).data["salary"] is None
    state.commit([app.Update("_people", "di", row | {"roles": [], "grants": ["forms/leave:*"]})])
    with pytest.raises(NotFound):
        site.read(f"forms/leave/records/{key}", by=own)
    assert "salary" not in site.read("forms/leave", by=own).data["properties"]
    state.commit([app.Update("_people", "di", row | {"roles": [], "grants": ["**:*"]})])
    assert site.read(f"forms/leave/records/{key}", by=own).data["who"] == "Bo", "who may do everything holds every role"
    state.commit([app.Update("_people", "di", row | {"suspended": True})])
    with pytest.raises(Unauthenticated):
        site.read(f"forms/leave/mine/{key}", by=own)


def test_a_ceiling_takes_the_roles_of_whoever_may_do_everything(three: Three) -> None:
    key = three.sent(three.bo, who="Bo")
    assert three.site.read(f"forms/leave/records/{key}").data["salary"] is None
    ceiling = (app.parse_grant("forms/leave:read"),)
    with pytest.raises(NotFound):
        three.site.read(f"forms/leave/records/{key}", ceiling=ceiling)


def test_the_records_of_one_owner_are_found_by_an_index(three: Three) -> None:
    with three.site.app.providers["main"].reading("explaining") as connection:  # type: ignore[attr-defined]
        indexes = [row[0] for row in connection.execute("select sql from sqlite_master where type = 'index'")]
    assert [sql for sql in indexes if sql and "created_by" in sql and "leave" in sql]


def test_the_trail_is_neither_searched_nor_filtered_by_what_is_hidden(three: Three) -> None:
    three.site.create("forms/leave", {"who": "Ann", "salary": 47110815}, by=three.hr)
    auditor = three.site.token("aud", "admin/audit:read")
    assert [row["after"]["salary"] for row in three.rows("admin/audit?resource=forms/leave", auditor)] == ["•••"]
    assert len(three.rows("admin/audit?_q=forms/leave", auditor)) == 1
    assert three.rows("admin/audit?_q=47110815", auditor) == []
    with pytest.raises(BadRequest):
        three.site.read("admin/audit?after__contains=47110815", by=auditor)


def test_views_of_sql_that_read_such_tables_are_named(tmp_path: Path) -> None:
    more = """
[views.raw]
provider = "main"
sql = "select key from LEAVE"
[views.other]
provider = "main"
sql = "select 'leave' as a -- leave"
[views.beside]
provider = "beside"
sql = "select * from leave"
[providers.beside]
kind = "sql"
url = "sqlite:///app.db"
"""
    three = Three(tmp_path, PROVIDERS["sql"] + LEAVE + more)
    found = [text for text in three.site.app.inspection.warnings() if "not everybody sees all" in text]
    assert [text.partition(":")[0] for text in found] == ["views.raw", "views.beside"]
    three.site.app.close()


@pytest.mark.parametrize(
    ("toml", "place", "words"),
    [
        ('owner = { field = "created_by", unless = "hrr" }', "owner.unless", "did you mean hr?"),
        ('owner = { field = "whoo" }', "owner.field", "did you mean who?"),
        ('owner = { field = "days" }', "owner.field", "cannot say whose"),
        ('owner = { unless = "hr" }', "owner.field", "is missing"),
        ('fields.x = { read_by = ["hr", "nobody"] }', "fields.x.read_by", "role 'nobody'"),
        ('fields.x = { write_by = "his" }', "fields.x.write_by", "role 'his'"),
        ("fields.x = { read_by = [] }", "fields.x.read_by", "names no role"),
        ("fields.mine = {}", "fields.mine", "has an address of that name"),
    ],
)
def test_what_is_wrong_with_a_rule_is_said_at_the_start(tmp_path: Path, toml: str, place: str, words: str) -> None:
    form = f'[roles.hr]\ngrants = []\n[forms.a]\n{toml}\nfields.who = {{}}\nfields.days = {{ type = "number" }}\n'
    with pytest.raises(app.ConfigError) as wrong:
        Site(tmp_path, PROVIDERS["sql"] + form)
    assert [words in fault.detail for fault in wrong.value.faults if fault.pointer == f"forms.a.{place}"] == [True]
