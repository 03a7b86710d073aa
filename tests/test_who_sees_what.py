"""Every door, walked by somebody who may see some records and fields and not others (plugins/row_rules.py).

The addresses come from the endpoints of resources and from the paths of Route plugins: one that is new fails the first test
until it is said here what is sent there.
"""

from __future__ import annotations

import base64
import io
import itertools
import json
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import pytest
from http_client import JSON, PAGE, Reply, Site

import app

SITE = """
[site]
title = "Offices"
[http]
hosts = ["localhost"]
[public]
grants = ["forms/leave:PUBLIC"]
[roles.hr]
grants = ["forms/leave:*"]
[roles.boss]
grants = ["forms/leave:*"]
[providers.main]
kind = "sql"
url = "sqlite:///app.db"
[providers.disk]
kind = "file"
root = "disk"
[files.papers]
provider = "disk"
[forms.bonus]
[forms.bonus.fields]
note = {}
whose = { options = { form = "leave", value = "id" } }
boss = { format = "person" }
[forms.leave]
name = "{who} {salary}"
owner = { field = "created_by", unless = ["hr", "boss"] }
states = { field = "state", initial = "new", moves = ["new>done", "done>new:hr"] }
[forms.leave.fields]
who     = { type = "string", required = true }
days    = { type = "number", default = 1 }
salary  = { type = "number", read_by = "hr", write_by = "hr" }
remark  = { type = "string", read_by = "hr" }
grade   = { type = "string", default = "junior", write_by = "hr" }
paper   = { type = "string", format = "file", files = "files/papers" }
papers  = { type = "array", format = "file", files = "files/papers" }
verdict = { type = "string", format = "file", files = "files/papers", read_by = "hr" }
[views.all]
from = "forms/leave"
order_by = ["-salary"]
where = [{ field = "salary", gt = 0 }]
facets = ["who", "salary", "remark"]
chart = { kind = "pie", x = "who", y = "days" }
[views.few]
from = "forms/leave"
columns = { who = { link = "views/all?_q={salary}{remark}" }, salary = { total = "sum", format = "number:0" } }
chart = { kind = "bar", x = "who", y = "salary" }
[views.groups]
from = "forms/leave"
group_by = ["who", "salary", "created_by"]
columns = { who = {}, salary = {}, created_by = {}, last = { max = "remark" }, paid = { sum = "salary" } }
order_by = ["-paid", "-salary"]
facets = ["who", "salary"]
[views.bonuses]
from = "forms/bonus"
columns = { note = {}, "whose.who" = {}, "whose.salary" = {}, "whose.remark" = {}, "boss.email" = {} }
order_by = ["whose.salary"]
[views.bonus_groups]
from = "forms/bonus"
group_by = ["whose.who", "whose.salary", "whose.remark"]
columns = { "whose.who" = {}, "whose.salary" = {}, "whose.remark" = {}, n = { count = "id" } }
[apps.desk]
home = "desk.html"
[apps.board]
home = [
  { number = "views/all" }, { view = "views/all", limit = 100 }, { view = "views/few?_q=BERTHA" }, { chart = "views/all" },
  { chart = "views/few?salary__gt=1" }, { number = "views/few?salary__gt=1" }, { form = "forms/leave" },
  { files = "files/papers" }, { number = "views/all?_q=4711" },
]
"""
DESK = """<p>{{!view('all')}} {{!view('few', _q='BERTHA')}} {{!view('few', _sort='-who')}}</p>"""

FILE = {"name": "x.txt", "base64": "eA=="}
WRITES: list[Any] = [
    {"who": "x"}, {"who": "x", "salary": 1}, {"salary": None}, {"who": "x", "remark": "x"}, {"who": "x", "grade": "x"},
    {"who": "x", "created_by": "bo"}, {"who": "x", "verdict": FILE}, {"who": "x", "paper": FILE},
    {"who": "x", "state": "done"}, [{"who": "x"}, {"who": "x", "created_by": "bo"}], [{"who": "x", "salary": 4711}], {},
    {"to": "done", "comment": "x"}, {"version": 1},
]  # fmt: skip
SEVERAL: list[Any] = [
    {"do": "delete", "rows": ["ID"]}, {"do": "move", "rows": ["ID", "x"], "to": "done", "comment": "x"}, {"do": "move"},
    {"do": "move", "rows": [{"id": "ID", "version": 2}], "to": "new"},
    {"do": "delete", "rows": [{"id": "ID", "version": 1}]},
]  # fmt: skip
# What stands at each place inside a form, and what is sent there; [] where nothing can be sent.
INSIDE = {
    "": WRITES, "import": WRITES, "import/ID": WRITES, "options/FIELD": [],
    "drafts": WRITES, "drafts/ID": WRITES, "records": WRITES, "records/ID": WRITES, "records/ID/move": WRITES,
    "records/ID/comments": WRITES, "mine/ID/comments": WRITES,
    "records/ID/history": WRITES, "records/ID/FIELD": [], "records/ID/FIELD/N": [],
    "several": SEVERAL,
    "mine": [], "mine/ID": WRITES, "mine/ID/move": WRITES, "mine/ID/history": WRITES, "mine/ID/FIELD": [],
    "mine/ID/FIELD/N": [],
}  # fmt: skip
ASKED = (
    "", "_q=BERTHA", "_q=4711", "_q=Remark", "_count=1", "salary__gt=1", "salary__gt=47110000", "remark__contains=Remark",
    "_sort=salary", "_sort=-remark", "_sort=-who&_size=1", "who__prefix=Ber", "created_by=bo", "created_by__ne=ann",
    "_facets=1", "_facets=1&_q=BERTHA", "_edit=1", "_unfit=1", "remark__null=false", "verdict__null=false",
    "salary=5&remark=x&who=y", "whose.salary__gt=1", "whose.who__prefix=Ber", "_sort=-whose.salary", "paid__gt=1",
    "_totals=1",
)  # fmt: skip
# Addresses of their own that tell of records, with what is asked there; and those that tell of none.
OWN = {
    "/": [""], "/forms": [""], "/views": [""], "/apps": [""], "/search": ["q=BERTHA", "q=4711", "q=Remark", "q=bo"],
    "/openapi.json": [""], "/me": [""], "/me/filters": [""], "/me/filters/<id>": [""],
    "/share": ["of=views/all", "of=views/few%3F_q=BERTHA", "of=views/all%3Fsalary__gt=1"],
}  # fmt: skip
ELSEWHERE = {
    "/files", "/admin", "/healthz", "/readyz", "/static/<name>", "/login", "/login/<code>", "/login/mail", "/logout",
    "/login/oidc", "/login/oidc/back", "/login/proxy", "/metrics", "/s/<code>",
    "/mcp",  # which tests/test_mcp.py asks
    "/s/<code>/", "/s/<code>/<path:path>", "/dav", "/dav/", "/dav/<path:path>", "/tus", "/tus/<id>",  # files alone
}  # fmt: skip
ENDINGS = ("", ".json", ".csv", ".ndjson", ".xlsx", ".svg")
ROW = ("Bertha", "bertha", "Quittung")  # in whatever tells of the record of another one
FIELDS = ("4711081", "Remark on", "Urteil", "verdict.txt")  # in whatever tells of hidden values


class Caller(NamedTuple):
    token: str
    secrets: tuple[str, ...]  # what no answer may hold


class Offices:
    """A site with a record of ann and one of bo, which hr has filled in."""

    def __init__(self, folder: Path, public: str = "create") -> None:
        (folder / "desk.html").write_text(DESK)
        self.site = Site(folder, edit=lambda _: SITE.replace("PUBLIC", public))
        self.root = self.site.token("**:*", subject="root")
        every = ("forms/leave:*", "views/*:read", "apps/*:read", "admin/audit:read")
        self.callers = {
            "owner": Caller(self.site.token(*every[:3]), ROW + FIELDS),
            "submitter": Caller(self.site.token("forms/leave:create", "forms/leave/mine:update,delete"), ROW + FIELDS),
            "manager": Caller(self.site.token(*every, roles=["boss"], subject="cy"), FIELDS),
            "public": Caller("", ROW + FIELDS + ("Annegret",)),
        }
        self.ann = self.filled(self.callers["owner"].token, "Annegret", "anna", 47110816)
        self.bo = self.filled(self.site.token("forms/leave:create", subject="bo"), "Bertha", "bertha", 47110815)
        for key in (self.ann, self.bo):
            assert self.site.send("/forms/bonus", {"note": "x", "whose": key}, self.root).status == 201

    def filled(self, token: str, who: str, name: str, salary: int) -> str:
        bytes_ = {"anna": b"Beleg", "bertha": b"Quittung"}[name]
        files = {"name": f"{name}.txt", "base64": base64.b64encode(bytes_).decode()}
        sent = self.site.send("/forms/leave", {"who": who, "paper": files, "papers": [files]}, token)
        assert sent.status == 201, sent.text
        hidden = {"salary": salary, "remark": f"Remark on {who}"}
        hidden |= {"verdict": {"name": "verdict.txt", "base64": base64.b64encode(b"Urteil").decode()}}
        changed = self.site.send(f"/forms/leave/records/{sent.json['id']}", hidden, self.root, "PATCH")
        assert changed.status == 200, changed.text
        return str(sent.json["id"])

    def stored(self, key: str) -> Any:
        return self.site.get(f"/forms/leave/records/{key}", self.root).json

    def places(self, key: str) -> Iterator[tuple[str, str, list[Any]]]:
        """Each (method, address, what is sent) inside the form, for this record."""
        for one in app.Form.endpoints:
            sent = with_id(INSIDE[one.path], key)
            for field in ("paper", "papers", "verdict", "salary") if "FIELD" in one.path else ("",):
                inside = one.path.replace("ID", key).replace("FIELD", field).replace("/N", "/0")
                for method in app.methods_of(one):
                    yield method, "/".join(filter(None, ("/forms/leave", inside))), sent


def with_id(bodies: Any, key: str) -> Any:
    """What is sent, with the record's id where ID stands in it."""
    return json.loads(json.dumps(bodies).replace('"ID"', json.dumps(key)))


def deletes(place: tuple[str, str, Any]) -> bool:
    """Whether what is done there may take the record away, and comes last."""
    return place[0] == "DELETE" or "/several" in place[1]


def told(reply: Reply) -> str:
    """All that an answer says, the sheets of a workbook too."""
    text = reply.body.decode("utf-8", "replace") + json.dumps(reply.headers)
    if reply.body.startswith(b"PK"):
        with zipfile.ZipFile(io.BytesIO(reply.body)) as found:
            text += "".join(found.read(name).decode("utf-8", "replace") for name in found.namelist())
    return text


def said(where: str, reply: Reply, caller: Caller) -> Iterator[str]:
    """What an answer gives away, and that the site itself failed."""
    text = told(reply)
    if reply.status >= 500:
        yield f"{where}: {reply.status} {text[:300]}"
    yield from (f"{where}: {reply.status} tells {one}" for one in caller.secrets if one in text)


@pytest.fixture(scope="module")
def offices(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Offices]:
    made = Offices(tmp_path_factory.mktemp("offices"))
    yield made
    made.site.close()


def test_every_place_is_walked(offices: Offices) -> None:
    assert {one.path for one in app.Form.endpoints} == set(INSIDE), "say in INSIDE what is sent to a new place of a form"
    routes = offices.site.app.extensions(app.Route)  # type: ignore[type-abstract]
    own = {path for one in routes for path in one.paths} | set(OWN) | {"/files", "/admin", "/healthz", "/readyz"}
    assert own == set(OWN) | ELSEWHERE, "say in OWN or ELSEWHERE whether a new address tells of records"


READERS = ("owner", "submitter", "manager", "public")


@pytest.mark.parametrize("name", READERS)
def test_no_read_tells_of_another_ones_record_or_of_a_hidden_field(offices: Offices, name: str) -> None:
    caller, found = offices.callers[name], list[str]()
    lists = ["/forms/leave/records", "/forms/leave/mine", "/views/all", "/views/few"]
    lists += ["/views/groups", "/views/bonuses", "/views/bonus_groups"]
    targets = {f"{one}{ending}" for one in lists for ending in ENDINGS} | {"/apps/desk", "/apps/board", "/forms/leave.json"}
    for key in (offices.bo, offices.ann):
        targets |= {address for method, address, _ in offices.places(key) if method == "GET"}
    for target, asked, headers in itertools.product(sorted(targets), ASKED, ({"Accept": "application/json"}, PAGE)):
        where = f"{target}?{asked}"
        found += said(where, offices.site.ask("GET", where, None, headers, caller.token), caller)
    for target, several in OWN.items():
        for asked, headers in itertools.product(several, ({"Accept": "application/json"}, PAGE)):
            where = f"{target}?{asked}"
            found += said(where, offices.site.ask("GET", where, None, headers, caller.token), caller)
    assert not found, found[:20]


@pytest.mark.parametrize("name", READERS)
def test_no_write_changes_or_tells_of_what_is_not_there_for_its_writer(tmp_path: Path, name: str) -> None:
    offices, found = Offices(tmp_path), list[str]()
    caller, numbers = offices.callers[name], itertools.count()
    before, own = offices.stored(offices.bo), offices.stored(offices.ann)
    hidden = ("salary", "remark", "verdict", "grade", "created_by", "created_at")
    for key in (offices.bo, offices.ann):
        for method, address, bodies in sorted(offices.places(key), key=deletes):
            for body in bodies if method in ("POST", "PUT", "PATCH") else [None]:
                for more in ({}, {"If-Match": '"2"'}, {"If-None-Match": "*"}, {"Idempotency-Key": f"k{next(numbers)}"}):
                    if method in ("GET", "HEAD", "OPTIONS"):
                        continue
                    data = None if body is None else json.dumps(body)
                    reply = offices.site.ask(method, address, data, JSON | more, caller.token)
                    found += said(f"{method} {address} {data} {more}", reply, caller)
            if bodies and method == "POST":  # as a browser sends it, with and without faults
                for fields in ({"who": "y"}, {"who": "", "salary": "1"}, {"salary": "1", "remark": "x", "grade": "x"}):
                    for asked in ("", "?_method=PUT&_version=1", "?_method=PUT&_version=2"):
                        sent = offices.site.submit(f"{address}{asked}", fields, caller.token, Sec_Fetch_Site="same-origin")
                        found += said(f"page {address}{asked} {fields}", sent, caller)
            left = offices.site.get(f"/forms/leave/records/{offices.ann}", offices.root)
            if left.status == 200:  # what it may change of its own, and nothing else
                assert {one: left.json[one] for one in hidden} == {one: own[one] for one in hidden}, (method, address)
    assert not found, found[:20]
    after = offices.stored(offices.bo)
    if name == "manager":  # who may do whatever else with it
        after, before = ({one: each.get(one) for one in hidden} for each in (after, before))
        assert after["salary"] is None or after == before
    else:
        assert after == before
    all_made = offices.site.get("/forms/leave/records?who__in=x,y&_size=1000", offices.root).json["items"]
    made = [one for one in all_made if one["id"] != offices.ann]  # which stays where others decided on it
    assert {one["created_by"] for one in made} <= {"ann", "cy", ""}
    assert {(one["salary"], one["remark"], one["verdict"], one["grade"]) for one in made} <= {(None, None, None, "junior")}
    offices.site.close()


@pytest.mark.parametrize("name", READERS)
def test_no_message_tells_or_does_what_no_route_would(tmp_path: Path, name: str) -> None:
    offices, found = Offices(tmp_path), list[str]()
    caller, before = offices.callers[name], offices.stored(offices.bo)
    credential = f"Bearer {caller.token}" if caller.token else ""
    for one, key, field in itertools.product(app.Form.endpoints, (offices.bo, offices.ann), ("paper", "verdict")):
        words = {"ID": key, "FIELD": field, "N": "0"}
        path = tuple(words.get(part, part) for part in one.path.split("/") if part)
        for action, body in itertools.product(one.actions, with_id(INSIDE[one.path], key) or [None]):
            if name == "manager" and (action == "delete" or (one.path == "several" and body["do"] == "delete")):
                continue
            try:
                data = None if action in ("read", "delete") else body
                answer = offices.site.app.handle(
                    app.Request("m", action, "forms/leave", path, "sqs", data=data, credential=credential)
                )
                text = str(answer.data) + (str(list(answer.table.rows)) if answer.table else "") + answer.name
            except app.AppError as error:
                text = f"{error.message} {error.hint} {error.faults}"
            found += [f"{action} {path} {body}: tells {secret}" for secret in caller.secrets if secret in text]
    assert not found, found[:20]
    after = offices.stored(offices.bo)
    hidden = ("salary", "remark", "verdict", "grade", "created_by") if name == "manager" else tuple(before)
    assert {one: after[one] for one in hidden} == {one: before[one] for one in hidden}
    offices.site.close()


@pytest.mark.parametrize("name", ["owner", "manager"])
def test_no_link_tells_more_than_its_maker_sees(offices: Offices, name: str) -> None:
    caller, found = offices.callers[name], list[str]()
    for target in ("/views/all", "/views/few", "/views/few?_q=BERTHA", "/views/few?_q=4711", "/views/all?salary__gt=1"):
        made = offices.site.send(target, {"link": {"expires": "7d"}}, caller.token)
        found += said(f"POST {target}", made, caller)
        if made.status != 201:
            continue
        link = urlsplit(made.json["url"]).path
        for ending, asked in itertools.product(
            ENDINGS, ("", "_sort=salary", "_sort=-remark", "_q=4711", "_size=1", "_for=excel")
        ):
            for headers in ({}, PAGE):
                for token in ("", offices.root):  # whoever follows it sees no more by his own rights
                    where = f"{link}{ending}?{asked}"
                    found += said(f"{target} {where}", offices.site.ask("GET", where, None, headers, token), caller)
        assert offices.site.get(f"{link}.json").status == 200
    assert not found, found[:20]


def test_what_can_be_chosen_is_called_by_nothing_that_is_hidden(offices: Offices) -> None:
    chooser = Caller(offices.site.token("forms/bonus:create"), FIELDS)
    for where in ("/forms/bonus", "/forms/bonus/options/whose", "/forms/bonus/options/whose?_q=4711"):
        for headers in ({"Accept": "application/json"}, PAGE):
            reply = offices.site.ask("GET", where, None, headers, chooser.token)
            assert not list(said(where, reply, chooser))
    offered = offices.site.get("/forms/bonus/options/whose", chooser.token).json["items"]
    assert {one["label"] for one in offered} == {"Annegret", "Bertha"}
    assert offices.site.get("/forms/bonus/options/whose?_q=4711", chooser.token).json["items"] == []


def test_an_import_touches_and_tells_of_nothing_else(tmp_path: Path) -> None:
    offices, found = Offices(tmp_path), list[str]()
    caller = offices.callers["owner"]
    before = offices.stored(offices.bo)
    for table, asked in itertools.product(
        (
            "who,days\nBERTHA,9\n",
            "who,salary\nx,1\n",
            "who,remark\nx,y\n",
            "who,grade,created_by\nx,y,bo\n",
            f"id,who\n{offices.bo},x\n",
            "who,days\nBertha,9\nAnnegret,9\n",
        ),
        ("", "dry_run=1", "partial=1", "key=who", "key=id", "key=salary", "key=remark&partial=1"),
    ):
        where, headers = f"/forms/leave/import?{asked}", {"Content-Type": "text/csv"}
        reply = offices.site.ask("POST", where, table, headers, caller.token)
        secrets = tuple(one for one in caller.secrets if one != "Bertha")  # which was sent
        found += said(f"{where} {table}", reply, caller._replace(secrets=secrets))
    assert not found, found[:20]
    assert offices.stored(offices.bo) == before
    rows = offices.site.get("/forms/leave/records?_size=1000", offices.root).json["items"]
    assert [one["id"] for one in rows if one["created_by"] == "bo"] == [offices.bo]
    assert {one["salary"] for one in rows} == {None, 47110815, 47110816}
    offices.site.close()


def test_the_public_finds_nothing_though_it_may_read(tmp_path: Path) -> None:
    offices = Offices(tmp_path, public="create,read,update,delete")
    for asked in ASKED:
        assert "Annegret" not in told(offices.site.get(f"/forms/leave/records?{asked}"))
    assert offices.site.send("/forms/leave", {"who": "nobody"}).status == 201
    assert offices.site.get("/forms/leave/records").json["items"] == []
    assert offices.site.get(f"/forms/leave/records/{offices.bo}").status == 404
    assert offices.site.ask("DELETE", f"/forms/leave/records/{offices.bo}").status == 404
    assert offices.site.get("/forms/leave/mine").status == 401
    offices.site.close()
