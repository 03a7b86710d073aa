"""The description for programs: it is whole, it is true, and it shows no more than its reader may open."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from http_client import CONFIG, Site

import app

LEAVE = {"day": "2026-12-01", "days": 2.5}


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    site = Site(tmp_path)
    yield site
    site.close()


def described(site: Site, token: str) -> Any:
    answer = site.get("/openapi.json", token)
    assert answer.status == 200
    return answer.json


def resolved(document: Any, value: Any) -> Any:
    """What a reference means, and those inside it, as far as they are no loops."""
    if isinstance(value, dict) and "$ref" in value:
        found = document
        for part in value["$ref"].removeprefix("#/").split("/"):
            found = found[part]
        return resolved(document, found)
    if isinstance(value, dict):
        return {name: resolved(document, one) for name, one in value.items()}
    return [resolved(document, one) for one in value] if isinstance(value, list) else value


def operations(document: Any) -> list[tuple[str, str, Any]]:
    methods = ("get", "post", "put", "patch", "delete")
    return [(path, m, one[m]) for path, one in document["paths"].items() for m in methods if m in one]


def test_every_operation_answers_what_it_describes(site: Site) -> None:
    token = site.token("**:*")
    record = site.send("/forms/leave", LEAVE, token).json
    samples = {"/forms/leave": LEAVE, "/forms/open": {"text": "x"}, "/forms/papers": {"name": "ann"}}
    samples["/admin/tokens"] = {"subject": "robot", "grants": ["forms/leave:create"]}
    jti = site.send("/admin/tokens", samples["/admin/tokens"], token).json["jti"]
    tried = 0
    for path, method, operation in sorted(operations(described(site, token)), key=lambda one: one[1] == "delete"):
        if path.startswith(("/files/pics", "/admin/people")) or (path != "/forms/leave/records/{id}" and "{id}" in path):
            continue
        if method == "post" and path.endswith("/records"):
            path = path.removesuffix("/records")
        target = path.replace("{id}", record["id"]).replace("{path}", "a.txt").replace("{jti}", jti)
        target += "?subject=robot" if (method, path) == ("delete", "/admin/tokens") else ""
        answer: Any
        if path.startswith("/files") and method == "post":
            answer = site.upload(target.removesuffix("a.txt") + "/", ("file", f"{tried}.txt", b"bytes"), token=token)
        elif path.endswith("/import") and method == "post":
            answer = site.ask("POST", target, "\n", {"Content-Type": "text/csv"}, token)
        elif path.startswith("/files") and method == "put":
            answer = site.put(target, b"bytes", token)
        elif method in ("post", "put", "patch"):
            body = LEAVE | {"kind": "unpaid"} if "{id}" in path else samples.get(path, {"name": "x"})
            body = {"link": {"expires": "7d"}} if path.startswith("/views/") else body
            body = {"do": "delete", "rows": ["nothing"]} if path.endswith("/several") else body
            answer = site.send(target, body, token, method.upper())
        else:
            if path.endswith("{path}"):
                site.put(target, b"bytes", token)
            answer = site.ask(method.upper(), target, token=token)
        assert str(answer.status) in operation["responses"], (method, path, answer.body)
        media = answer["Content-Type"].partition(";")[0]
        content = operation["responses"][str(answer.status)].get("content", {})
        assert answer.status == 204 or media in content or "application/octet-stream" in content, (method, path, media)
        tried += 1
    assert tried >= 20


def test_what_is_described_is_what_resources_answer(site: Site) -> None:
    found = {(path, method.upper()) for path, method, _ in operations(described(site, site.token("**:*")))}
    wanted = set()
    for address, resource in site.app.resources.items():
        for one in resource.endpoints if address.startswith(("files/", "forms/", "views/", "admin/")) else ():
            if one.path == "import/ID":
                continue  # a step of a page
            if one.path.endswith("/move") and not getattr(resource, "states", None):
                continue  # which has no moves
            if one.path.endswith("/comments") and not resource.config.comments:
                continue
            kept = {name for name in getattr(resource, "shares", ()) if resource.fields[name].is_many == ("/N" in one.path)}
            kept = set(resource.looked_up) if one.path.startswith("options/") else kept
            for field in kept if "FIELD" in one.path else ("",):
                inner = one.path.replace("ID", "{id}").replace("PATH", "{path}").replace("FIELD", field)
                inner = inner.replace("/N", "/{n}").replace("SUBJECT", "{subject}").replace("JTI", "{jti}")
                path = "/".join(filter(None, (f"/{address}", inner)))
                own = {"POST"} if address.startswith(("files/", "views/")) else set()  # plugins/uploads.py, plugins/share.py
                wanted |= {(path, method) for method in {*app.methods_of(one), *own} if method != "HEAD"}
    assert found == wanted
    assert len(found) > 20


def test_bodies_are_the_declared_schemas_and_records_have_what_satchel_adds(site: Site) -> None:
    document = described(site, site.token("**:*"))
    post = document["paths"]["/forms/leave"]["post"]
    single, batch = post["requestBody"]["content"]["application/json"]["schema"]["anyOf"]
    assert batch["items"] == single == {"$ref": "#/components/schemas/LeaveInput"}
    single = resolved(document, single)
    assert single["required"] == ["day"]
    assert single["properties"]["days"]["anyOf"][0]["minimum"] == 0.5
    record, many = resolved(document, post["responses"]["201"]["content"]["application/json"]["schema"])["anyOf"]
    token = site.token("**:*")
    assert set(site.send("/forms/leave", LEAVE, token).json) == set(record["properties"]) == set(record["required"])
    assert set(site.send("/forms/leave", [LEAVE], token).json) == set(many["properties"])
    assert all(record["properties"][name]["readOnly"] for name in app.RESERVED_FIELDS)


def test_null_is_described_and_taken_where_a_field_need_not_be_given(site: Site) -> None:
    document, token = described(site, site.token("**:*")), site.token("**:*")
    inner = document["components"]["schemas"]["LeaveInput"]
    for name, one in inner["properties"].items():
        nullable = {"type": "null"} in one.get("anyOf", ())
        assert site.send("/forms/leave", LEAVE | {name: None}, token).status == (201 if nullable else 422)
        assert nullable is (name not in inner["required"])


def test_a_required_field_with_a_default_need_not_be_sent(tmp_path: Path) -> None:
    edited = Site(tmp_path, edit=lambda text: text.replace('default = "paid" }', 'default = "paid", required = true }'))
    inner = described(edited, edited.token("**:*"))["components"]["schemas"]["LeaveInput"]
    assert "kind" not in inner["required"]
    assert edited.send("/forms/leave", LEAVE, edited.token("**:*")).status == 201
    assert edited.send("/forms/leave", LEAVE | {"kind": None}, edited.token("**:*")).status == 422
    edited.close()


def test_files_of_records_are_described_as_they_are_sent_and_as_they_are_answered(site: Site) -> None:
    document, token = described(site, site.token("**:*")), site.token("**:*")
    sent, stored = {"name": "a.txt", "base64": "YQ=="}, document["components"]["schemas"]["StoredFile"]
    answer = site.send("/forms/papers", {"name": "ann", "paper": sent}, token).json
    assert set(answer["paper"]) == set(stored["properties"]) == set(stored["required"])
    assert set(sent) == set(document["components"]["schemas"]["SentFile"]["properties"])
    taken, given = (document["components"]["schemas"][f"Papers{one}"]["properties"]["paper"] for one in ("Input", "Record"))
    assert [one["anyOf"][0]["$ref"].rpartition("/")[2] for one in (taken, given)] == ["SentFile", "StoredFile"]


def test_every_problem_that_is_declared_is_a_problem_object_and_no_status_is_left_to_the_reader(site: Site) -> None:
    document = described(site, site.token("**:*"))
    for path, method, operation in operations(document):
        refused = {int(status) for status in operation["responses"] if status.isdigit() and status >= "400"}
        assert {400, 401, 403, 404, 408, 413, 414, 421, 431, 500, 501, 503, 505} <= refused, (path, method)
        assert method == "get" or {409, 412, 415, 422, 507} <= refused, (path, method)
        for status in (*map(str, refused), "default"):
            content = resolved(document, operation["responses"][status])["content"]
            assert content["application/problem+json"]["schema"]["required"] == [
                "type", "title", "status", "detail", "code", "request_id",
            ]  # fmt: skip
    assert operations(document)


def test_a_public_resource_is_described_as_one_that_needs_no_token(site: Site) -> None:
    document = described(site, site.token("**:*"))
    assert set(document["components"]["securitySchemes"]) == {"token", "basic"}
    for path, _, operation in operations(document):
        assert ({} in operation.get("security", document["security"])) is (
            path.startswith("/forms/open") and "/mine" not in path and "/drafts" not in path
        ), path


def test_names_of_schemas_and_operations_are_apart_in_every_spelling(tmp_path: Path) -> None:
    more = """
[forms.a-b]
provider = "main"
title = "Same"
table = "one"
fields.x = { type = "string", enum = ["a b", "a-b", "", "1", "ü"], title = "Kind", required = true }
fields.y = { type = "string", enum = ["c", "d"], title = "Kind", required = true }
[forms.a_b]
provider = "main"
title = "Same"
table = "two"
fields.x = { type = "string", enum = ["c", "d"] }
"""
    edited = Site(tmp_path, edit=lambda text: text + more)
    document = described(edited, edited.token("**:*"))
    edited.close()
    plain = [name.replace("_", "").lower() for name in document["components"]["schemas"]]
    assert len(set(plain)) == len(plain)
    ids = [operation["operationId"].replace("_", "").lower() for _, _, operation in operations(document)]
    assert len(set(ids)) == len(ids)
    choice = document["components"]["schemas"]["ABX"]
    assert len(set(choice["x-enum-varnames"])) == len(choice["enum"]) == 5
    assert "title" not in document["components"]["schemas"]["ABInput"]  # generators would name their class after it


def test_rows_of_views_of_a_form_and_what_is_counted_in_them_are_described(tmp_path: Path) -> None:
    facets = 'order_by = ["day"]\nfacets = ["kind"]'
    edited = Site(tmp_path, edit=lambda text: text.replace('order_by = ["day"]', facets))
    token = edited.token("**:*")
    document = described(edited, token)
    edited.send("/forms/leave", LEAVE, token)
    answer = edited.get("/views/waiting?_facets=1&_count=1", token).json
    edited.close()
    page = document["components"]["schemas"]["WaitingRows"]["properties"]
    assert set(answer) <= set(page)
    assert set(answer["items"][0]) == set(document["components"]["schemas"]["WaitingRow"]["properties"])
    assert set(answer["facets"]) == set(page["facets"]["properties"])
    listed = [one["name"] for one in document["paths"]["/views/waiting"]["get"]["parameters"]]
    assert {"_facets", "kind", "day"} <= set(listed)


def test_parameters_of_views_are_listed_with_their_schema(site: Site) -> None:
    listed = described(site, site.token("**:*"))["paths"]["/views/numbers"]["get"]["parameters"]
    assert {"name": "top", "in": "query", "required": False} | {"schema": listed[0]["schema"]} == listed[0]
    assert listed[0]["schema"]["maximum"] == 1000000
    assert {"_size", "_next", "_sort", "_q", "_count"} <= {one["name"] for one in listed}


def test_only_what_the_reader_may_open_is_described(site: Site) -> None:
    inside = ("", "/{id}", "/{id}/history")
    public = {
        "/forms/open/drafts",
        "/forms/open/drafts/{id}",
        "/forms/open",
        "/forms/open/import",
        "/forms/open/several",
        *(f"/forms/open/{one}{more}" for one in ("records", "mine") for more in inside),
    }
    assert set(described(site, "")["paths"]) == public
    assert set(described(site, site.token("views/numbers:read"))["paths"]) == {"/views/numbers", *public}
    assert site.get("/openapi.json", "bad").status == 401


def test_the_command_prints_the_same_of_everything(site: Site, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "app.toml").write_text(CONFIG.replace("PREFIX", ""))
    assert app.main(["info", "openapi", "--config", str(tmp_path / "app.toml")]) == 0
    assert json.loads(capsys.readouterr().out) == described(site, site.token("**:*"))


def test_people_are_described_as_they_are_invited_changed_and_removed(site: Site) -> None:
    token = site.token("**:*")
    document = described(site, token)
    paths = document["paths"]

    def tried(method: str, path: str, data: Any = None) -> Any:
        target = path.replace("{subject}", "bob")
        answer = site.send(target, data, token, method) if data is not None else site.ask(method, target, token=token)
        content = resolved(document, paths[path][method.lower()]["responses"][str(answer.status)]).get("content", {})
        assert answer.status == 204 or content["application/json"]["schema"]
        return answer, content.get("application/json", {}).get("schema")

    made, schema = tried("POST", "/admin/people", {"subject": "bob", "email": "bob@example.org"})
    record, link = schema["allOf"]
    assert (made.status, set(record["properties"]) | set(link["properties"])) == (201, set(made.json))
    assert set(record["required"]) == set(tried("PATCH", "/admin/people/{subject}", {"name": "Bob"})[0].json)
    assert tried("GET", "/admin/people/{subject}")[0].json["name"] == "Bob"
    listed, schema = tried("GET", "/admin/people")
    assert set(schema["properties"]["items"]["items"]["required"]) == set(listed.json["items"][0])
    again, schema = tried("POST", "/admin/people/{subject}/link")
    assert set(again.json) == set(schema["properties"])
    assert tried("POST", "/admin/people/{subject}/sign-out")[0].json == {"ended": 0}
    assert tried("DELETE", "/admin/people/{subject}")[0].status == 204


def test_making_a_record_under_an_id_is_described_and_done(site: Site) -> None:
    token = site.token("forms/leave:create")
    put = described(site, site.token("**:*"))["paths"]["/forms/leave/records/{id}"]["put"]
    assert {"If-Match", "If-None-Match"} <= {one["name"] for one in put["parameters"]}
    answer = site.ask(
        "PUT", "/forms/leave/records/x%2F1", json.dumps(LEAVE).encode(), token=token,
        headers={"If-None-Match": "*", "Content-Type": "application/json"},
    )  # fmt: skip
    assert str(answer.status) in put["responses"]
    assert (answer.status, answer.json["id"]) == (201, "x/1")


def test_every_reference_inside_resolves(site: Site) -> None:
    document = described(site, site.token("**:*"))

    def references(value: Any) -> Iterator[str]:
        if isinstance(value, dict):
            yield from [value["$ref"]] if "$ref" in value else []
            for item in value.values():
                yield from references(item)
        elif isinstance(value, list):
            for item in value:
                yield from references(item)

    found = set(references(document))
    assert len(found) > 20
    for one in found:
        assert resolved(document, {"$ref": one})
    problem = site.send("/forms/leave", {"day": 1}, site.token("**:*")).json
    schema = document["components"]["schemas"]["Problem"]
    assert set(schema["required"]) <= set(problem) <= set(schema["properties"])
