"""The Model Context Protocol at /mcp: what its official client does, its rules, and who sees what there."""

from __future__ import annotations

import base64
import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import backends
import pytest
from http_client import JSON, Reply, Site, serving
from test_who_sees_what import Offices, said

SITE = """
[providers.main]
kind = "sql"
url = "sqlite:///data/app.db"
[providers.disk]
kind = "file"
root = "disk"
[files.docs]
title = "Documents"
provider = "disk"
[forms.cost]
title = "Costs"
states = { field = "state", initial = "new", moves = ["new>done"] }
[forms.cost.fields]
kind = { type = "string", enum = ["hard", "soft"], required = true }
cost = { type = "number", minimum = 0, title = "Cost in euros" }
lines = { type = "array", fields = { n = { type = "number" } } }
receipts = { type = "array", format = "file", files = "files/docs" }
total = { type = "number", sum = "lines.n" }
secret = { type = "string", read_by = "boss", write_by = "boss" }
[forms.trip.fields]
kind = { type = "string", enum = ["train", "car"] }
plate = { type = "string", required = true, show_if = { kind = "car" } }
tags = { type = "array", items = { enum = ["far", "a, b"] } }
[views.odd]
from = "forms/cost"
group_by = ["kind"]
columns = { kind = {}, "Preis €" = { sum = "cost" } }
[views.trips]
from = "forms/trip"
columns = { kind = {}, tags = {} }
[roles.boss]
grants = []
[views.costly]
title = "What costs most"
from = "forms/cost"
columns = { kind = {}, cost = {} }
[views.report]
provider = "main"
sql = "select data->>'kind' as kind from cost where :kind is null or data->>'kind' = :kind"
params.kind = { type = "string", enum = ["hard", "soft"], required = true }
params.least = { type = "integer", default = 3 }
"""
ALONE = "2026-07-28"
META = {"io.modelcontextprotocol/protocolVersion": ALONE, "io.modelcontextprotocol/clientCapabilities": {}}


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    made = Site(tmp_path_factory.mktemp("mcp"), edit=lambda _: SITE)
    costs = [{"kind": "hard", "cost": 9.5, "lines": [{"n": 1}]}, {"kind": "soft", "cost": 1}, {"kind": "hard", "cost": 2}]
    assert made.send("/forms/cost", costs, made.token("**:*")).status == 201
    yield made
    made.close()


@pytest.fixture(scope="module")
def root(site: Site) -> str:
    return site.token("**:*")


def sent(site: Site, token: str, body: Any, **headers: str) -> Reply:
    return site.send("/mcp", body, token, **headers)


def asked(site: Site, token: str, method: str, **params: Any) -> Any:
    """The result of a method, in the revision before the last."""
    message = {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}
    reply = sent(site, token, message, **{"MCP-Protocol-Version": "2025-11-25"})
    assert reply.status == 200, reply.text
    return reply.json.get("result", reply.json.get("error"))


def called(site: Site, token: str, name: str, **arguments: Any) -> Any:
    return asked(site, token, "tools/call", name=name, arguments=arguments)


# ---- the official client


@pytest.mark.parametrize(("mode", "revision"), [("auto", ALONE), ("legacy", "2025-11-25")])
def test_the_official_client_finds_reads_and_sends(tmp_path: Path, mode: str, revision: str) -> None:
    python = backends.tool("mcp", "bin/python")
    (tmp_path / "app.toml").write_text(SITE)
    with serving(tmp_path, "--workers", "1") as server:
        token = server.token()
        headers = {"Authorization": f"Bearer {token}", **JSON}
        costs = [{"kind": "hard", "cost": 9.5}, {"kind": "hard", "cost": 2}]
        assert server.ask("POST", "/forms/cost", json.dumps(costs), headers).status == 201
        assert server.ask("PUT", "/files/docs/a/one.txt", "One", headers | {"Content-Type": "text/plain"}).status == 201
        script = Path(__file__).with_name("mcp_client.py")
        command = [python, script, f"http://127.0.0.1:{server.tcp[1]}/mcp", token, mode]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    seen = json.loads(done.stdout)
    assert seen["revision"] == revision
    assert seen["tools"] == ["form_cost", "form_trip", "view_costly", "view_odd", "view_report", "view_trips"]
    assert seen["rows"] == {"items": [{"kind": "hard", "cost": 9.5}], "next": None}
    assert seen["wrong"] == [True, "knid is no parameter here; did you mean kind?"]
    assert len(set(seen["made"])) == 1
    assert seen["refused"] == [True, "the data for forms/cost is not valid\n/kind: must be one of hard, soft"]
    assert (seen["files"], seen["texts"]) == (["satchel:///files/docs/a/one.txt"], ["One"])
    assert seen["templates"] == ["satchel:///files/docs/{+path}"]


# ---- the protocol


def test_it_begins_with_a_revision_that_both_know(site: Site, root: str) -> None:
    for wanted, spoken in (("2025-06-18", "2025-06-18"), ("2024-01-01", "2025-11-25"), (ALONE, "2025-11-25")):
        found = asked(site, root, "initialize", protocolVersion=wanted, capabilities={}, clientInfo={})
        assert found["protocolVersion"] == spoken
        assert found["capabilities"].keys() == {"tools", "resources"}
    assert asked(site, root, "ping") == {}
    assert asked(site, root, "server/discover")["code"] == -32601


def request(method: str = "ping", **more: Any) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "id": 7, "method": method, **more}


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        ('{"jsonrpc": "2.0",', 400, -32700), (r'{"jsonrpc": "2.0", "id": "\ud800", "method": "ping"}', 400, -32700),
        ("7", 400, -32600), ({"id": 1, "method": "ping"}, 400, -32600),
        ({"jsonrpc": "2.0", "id": 1}, 400, -32600), (request(id=None), 400, -32600), (request(id=True), 400, -32600),
        (request(method=7), 400, -32600), (request(params=[1]), 200, -32602), (request("tools/none"), 200, -32601),
        (request("tools/call", params={"name": "none"}), 200, -32602), (request("tools/call"), 200, -32602),
        (request("tools/call", params={"name": "view_costly", "arguments": 7}), 200, -32602),
        (request("resources/read", params={"uri": "file:///etc/passwd"}), 200, -32002),
        (request("resources/list", params={"cursor": "x"}), 200, -32602),
        (request("resources/templates/list", params={"cursor": "x"}), 200, -32602),
        (request("tools/list", params={"cursor": "x"}), 200, -32602),
        ([], 400, -32600), ([request()] * 21, 400, -32600),
    ],
)  # fmt: skip
def test_a_message_that_is_wrong_has_its_code(site: Site, root: str, body: Any, status: int, code: int) -> None:
    reply = site.ask("POST", "/mcp", body, JSON, root) if isinstance(body, str) else sent(site, root, body)
    assert (reply.status, reply.json["error"]["code"]) == (status, code), reply.text
    assert reply.json["jsonrpc"] == "2.0"
    assert reply.json["id"] == (7 if isinstance(body, dict) and body.get("id") == 7 else reply.json["id"])


def test_what_wants_no_answer_has_none_and_a_batch_has_one_for_each_request(site: Site, root: str) -> None:
    notice = {"jsonrpc": "2.0", "method": "notifications/initialized"}
    for body in (notice, {"jsonrpc": "2.0", "id": 1, "result": {}}, [notice, notice]):
        reply = sent(site, root, body)
        assert (reply.status, reply.body) == (202, b"")
    answers = sent(site, root, [request(), notice, request("none", id="b")]).json
    assert [(one["id"], "error" in one) for one in answers] == [(7, False), ("b", True)]
    assert sent(site, root, [request()], **{"MCP-Protocol-Version": "2025-06-18"}).json["error"]["code"] == -32600


def test_a_request_of_the_last_revision_stands_alone_and_agrees_with_its_headers(site: Site, root: str) -> None:
    headers = {"MCP-Protocol-Version": ALONE, "Mcp-Method": "tools/call", "Mcp-Name": "view_costly"}
    body = request("tools/call", params={"name": "view_costly", "_meta": META})
    found = sent(site, root, body, **headers).json["result"]
    assert (found["resultType"], found["isError"]) == ("complete", False)
    coded = f"=?base64?{base64.b64encode(b'view_costly').decode()}?="
    assert sent(site, root, body, **headers | {"Mcp-Name": coded}).status == 200
    for other in ({"Mcp-Method": "tools/list"}, {"Mcp-Name": "x"}, {"Mcp-Name": "=?base64?!?="}, {"Mcp-Method": ""}):
        reply = sent(site, root, body, **headers | other)
        assert (reply.status, reply.json["error"]["code"]) == (400, -32020), other
    for meta in (None, {}, {"io.modelcontextprotocol/protocolVersion": ALONE}):
        reply = sent(site, root, request("tools/call", params={"name": "view_costly", "_meta": meta}), **headers)
        assert (reply.status, reply.json["error"]["code"]) == (400, -32602), meta
    listing = headers | {"Mcp-Method": "tools/list"}
    listed = sent(site, root, request("tools/list", params={"_meta": META}), **listing).json["result"]
    assert (listed["ttlMs"], listed["cacheScope"]) == (0, "private")
    none = sent(site, root, request("none", params={"_meta": META}), **headers | {"Mcp-Method": "none"})
    assert (none.status, none.json["error"]["code"]) == (404, -32601)
    reply = sent(site, root, request(), **{"MCP-Protocol-Version": "1900-01-01"})
    assert (reply.status, reply.json["error"]["code"], reply.json["error"]["data"]["supported"][-1]) == (400, -32022, ALONE)


def test_only_a_token_lets_in_and_no_page_of_another_site(site: Site, root: str) -> None:
    for token, headers in (("", {}), ("nonsense", {}), ("", {"Cookie": "satchel_session_x=" + "a" * 43})):
        reply = sent(site, token, request(), **headers)
        assert reply.status == 401
        assert reply["WWW-Authenticate"].startswith("Bearer")
    for origin in ("https://evil.example", "null"):
        assert sent(site, root, request(), Origin=origin).status == 403
    assert sent(site, root, request(), Origin="http://localhost").status == 200
    assert sent(site, root, request(), Host="evil.example").status == 421
    assert site.ask("POST", "/mcp", "{}", {"Content-Type": "text/plain"}, root).status == 415
    assert site.get("/mcp", root, Accept="text/event-stream").status == 405
    assert site.ask("DELETE", "/mcp", None, {}, root).status == 405


# ---- tools


def test_the_tools_are_what_the_token_may_do_with_the_arguments_that_are_declared(site: Site, root: str) -> None:
    def names(*grants: str) -> list[str]:
        return [one["name"] for one in asked(site, site.token(*grants), "tools/list")["tools"]]

    assert names("forms/cost:create") == ["form_cost"]
    assert names("forms/cost:read", "views/report:read", "views/costly:update") == ["view_report"]
    assert names("files/docs:read") == []
    tools = {one["name"]: one for one in asked(site, root, "tools/list")["tools"]}
    form = tools["form_cost"]["inputSchema"]
    assert form["properties"].keys() == {"kind", "cost", "lines", "receipts", "secret", "_idempotency_key"}
    member = asked(site, site.token("forms/cost:create"), "tools/list")["tools"][0]["inputSchema"]
    assert member["properties"].keys() == {"kind", "cost", "lines", "receipts", "_idempotency_key"}
    assert form["required"] == ["kind"]
    report = tools["view_report"]["inputSchema"]
    assert report["required"] == ["kind"]
    assert report["properties"]["kind"]["enum"] == ["hard", "soft"]
    assert (report["properties"]["least"]["type"], report["properties"]["least"]["default"]) == ("integer", 3)
    assert {"_q", "_sort", "_size", "_next", "cost"} <= tools["view_costly"]["inputSchema"]["properties"].keys()
    assert tools["view_costly"]["annotations"]["readOnlyHint"] is True


def test_no_tool_asks_of_models_what_they_do_not_take(site: Site, root: str) -> None:
    tools = {one["name"]: one for one in asked(site, root, "tools/list")["tools"]}
    for one in tools.values():
        assert not {"allOf", "anyOf", "oneOf", "not", "if"} & one["inputSchema"].keys(), one["name"]
        assert all(re.fullmatch(r"[A-Za-z0-9_.-]{1,64}", name) for name in one["inputSchema"]["properties"]), one["name"]
    assert "$ref" not in json.dumps(tools)  # to what is elsewhere in a document that is not there
    sent_file = tools["form_cost"]["inputSchema"]["properties"]["receipts"]["anyOf"][0]["items"]["anyOf"][0]
    assert sent_file["required"] == ["name", "base64"]
    trip = tools["form_trip"]
    assert trip["inputSchema"]["properties"]["plate"]["x-show-if"] == {"kind": "car"}
    assert "x-show-if" in trip["description"]
    assert "x-show-if" not in tools["form_cost"]["description"]
    assert "kind" in tools["view_odd"]["inputSchema"]["properties"]


def test_a_view_is_read_page_by_page_and_what_is_wrong_is_said(site: Site, root: str) -> None:
    first = called(site, root, "view_costly", _size=1.0, _sort="cost", kind__in=["hard", "soft"], cost=None)
    assert json.loads(first["content"][0]["text"]) == first["structuredContent"]
    assert first["structuredContent"]["items"] == [{"kind": "soft", "cost": 1}]
    after = called(
        site, root, "view_costly", _size=1, _sort="cost", kind__in=["hard", "soft"], _next=first["structuredContent"]["next"]
    )
    assert after["structuredContent"]["items"] == [{"kind": "hard", "cost": 2}]
    for arguments, words in (
        ({"_size": 201}, "200 rows at most"), ({"_size": "many"}, "_size"), ({"kind": {"a": 1}}, "kind must be"),
        ({"cost__near": 1}, "near"), ({"_next": "x"}, "_next"),
    ):  # fmt: skip
        found = called(site, root, "view_costly", **arguments)
        assert found["isError"], arguments
        assert "structuredContent" not in found  # clients judge that by the outputSchema, and would hide what was said
        assert words in found["content"][0]["text"]
    assert "missing" in called(site, root, "view_report")["content"][0]["text"]


def test_rows_with_several_choices_are_found_by_one_of_them(site: Site, root: str) -> None:
    [view] = [one for one in asked(site, root, "tools/list")["tools"] if one["name"] == "view_trips"]
    assert view["inputSchema"]["properties"]["tags"]["type"] == "string"
    assert "this as one of its tags" in view["inputSchema"]["properties"]["tags"]["description"]
    rows = [{"kind": "train", "tags": tags} for tags in (["far"], ["far", "a, b"], [], None)]
    assert site.send("/forms/trip", rows, root).status == 201
    for arguments, found in (
        ({"tags": "far"}, [["far"], ["far", "a, b"]]), ({"tags__in": ["a, b", "none"]}, [["far", "a, b"]]),
        ({"tags__ne": "a, b"}, [["far"], [], None]), ({"tags__null": True}, [None]),
    ):  # fmt: skip
        items = called(site, root, "view_trips", **arguments)["structuredContent"]["items"]
        assert [one["tags"] for one in items][::-1] == found, arguments  # the newest comes first
    wrong = called(site, root, "view_trips", tags__gte="far")
    assert wrong["isError"]
    assert "tags holds several values" in wrong["content"][0]["text"]


def test_a_form_makes_one_record_with_its_audit_entry(site: Site) -> None:
    token = site.token("forms/cost:create", subject="eve")
    meta = {"satchel/idempotencyKey": "once"}
    made = [
        asked(site, token, "tools/call", name="form_cost", arguments={"kind": "soft", "lines": [{"n": 2}]}, _meta=meta)
        for _ in range(2)
    ]
    records = [one["structuredContent"] for one in made]
    assert records[0] == records[1]
    assert (records[0]["total"], records[0]["state"], records[0]["created_by"]) == (2, "new", "eve")
    assert "secret" not in records[0]
    entries = site.get("/admin/audit?subject=eve", site.token("**:*")).json["items"]
    assert [one["record"] for one in entries if one["action"] == "create"] == [records[0]["id"]]
    for arguments in ({"kind": "soft", "total": 5}, {"kind": "soft", "state": "done"}, {"kind": "soft", "secret": "x"}, {}):
        found = asked(site, token, "tools/call", name="form_cost", arguments=arguments)
        assert found["isError"], arguments
        assert found["_meta"]["satchel/problem"]["status"] in (403, 422)
    again = asked(site, token, "tools/call", name="form_cost", arguments={"kind": "hard"}, _meta=meta)
    assert again["_meta"]["satchel/problem"]["code"] == "idempotency_conflict"


# ---- files


def test_all_files_are_listed_page_by_page_and_read_within_bounds(site: Site, root: str) -> None:
    wanted = [f"a/b/{n}.txt" for n in range(101)] + [f"c{n}/x.bin" for n in range(30)] + ["z ü.md"]
    for name in wanted:
        site.ask("PUT", f"/files/docs/{name}".replace(" ", "%20").replace("ü", "%C3%BC"), name.encode(), {}, root)
    found: list[str] = []
    cursor: Any = {}
    while cursor is not None:
        page = asked(site, root, "resources/list", **cursor)
        assert len(page["resources"]) <= 100
        found += [one["uri"] for one in page["resources"]]
        cursor = {"cursor": page["nextCursor"]} if "nextCursor" in page else None
    assert len(found) == len(set(found)) == len(wanted)
    texts = [asked(site, root, "resources/read", uri=uri)["contents"][0] for uri in (found[0], found[-1], found[120])]
    assert [one["mimeType"] for one in texts] == ["text/plain", "text/markdown", "application/octet-stream"]
    assert texts[1]["text"] == "z ü.md"
    assert base64.b64decode(texts[2]["blob"]).startswith(b"c")
    folder = asked(site, root, "resources/read", uri="satchel:///files/docs/c1/")["contents"][0]
    assert folder["text"] == "files/docs/c1/x.bin"
    whole = asked(site, root, "resources/read", uri="satchel:///files/docs/a/b/")["contents"][0]["text"].split("\n")
    assert (len(whole), asked(site, root, "resources/read", uri="satchel:///files/docs/a")["contents"][0]["text"]) == (
        101, "files/docs/a/b/",
    )  # fmt: skip
    site.ask("PUT", "/files/docs/large.txt", b"x" * 1_000_001, {}, root)
    assert "1 MB" in asked(site, root, "resources/read", uri="satchel:///files/docs/large.txt")["message"]
    for uri in (
        "satchel:///files/docs/none",
        "satchel:///files/none/x",
        "satchel:///files/docs/../x",
        "satchel:///forms/cost",
        7,
    ):
        assert asked(site, root, "resources/read", uri=uri)["code"] in (-32002, -32602), uri


def test_files_are_those_that_the_token_may_read(site: Site, root: str) -> None:
    site.ask("PUT", "/files/docs/open/one.txt", b"1", {}, root)
    site.ask("PUT", "/files/docs/shut/two.txt", b"2", {}, root)
    token = site.token("files/docs/open:read", "views/costly:read")
    assert asked(site, token, "resources/read", uri="satchel:///files/docs/open/one.txt")["contents"][0]["text"] == "1"
    assert "grant" in asked(site, token, "resources/read", uri="satchel:///files/docs/shut/two.txt")["message"]
    assert "shut" not in json.dumps(asked(site, token, "resources/list"))
    assert asked(site, site.token("views/costly:read"), "resources/templates/list") == {"resourceTemplates": []}


# ---- who sees what


def test_no_record_or_value_is_told_to_whoever_may_not_see_it(tmp_path: Path) -> None:
    offices, seen = Offices(tmp_path), []
    calls = [
        ("view_all", {}),
        ("view_few", {"_q": "BERTHA"}),
        ("view_few", {"salary__gt": 1}),
        ("view_all", {"_sort": "-salary"}),
    ]
    calls += [("form_leave", {"who": "x"}), ("form_leave", {"who": "x", "remark": "x"})]
    for name, caller in offices.callers.items():
        if caller.token:
            for method, params in [
                ("tools/list", {}), ("resources/list", {}), *(("tools/call", {"name": n, "arguments": a}) for n, a in calls)
            ]:  # fmt: skip
                reply = sent(offices.site, caller.token, request(method, params=params))
                seen += list(said(f"{name}: {method} {params}", reply, caller))
    whole = sent(offices.site, offices.root, request("tools/call", params={"name": "view_all", "arguments": {}}))
    offices.site.close()
    assert "Bertha" in whole.text
    assert seen == []
