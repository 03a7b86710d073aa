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


def operations(document: Any) -> list[tuple[str, str, Any]]:
    methods = ("get", "post", "put", "patch", "delete")
    return [(path, m, one[m]) for path, one in document["paths"].items() for m in methods if m in one]


def test_every_operation_answers_what_it_describes(site: Site) -> None:
    token = site.token("**:*")
    record = site.send("/forms/leave", LEAVE, token).json
    samples = {"/forms/leave": LEAVE, "/forms/open": {"text": "x"}, "/forms/papers": {"name": "ann"}}
    tried = 0
    for path, method, operation in sorted(operations(described(site, token)), key=lambda one: one[1] == "delete"):
        if path.startswith("/files/pics") or (path != "/forms/leave/records/{id}" and "{id}" in path):
            continue
        target = path.replace("{id}", record["id"]).replace("{path}", "a.txt")
        answer: Any
        if path.startswith("/files") and method == "post":
            answer = site.upload(target + "/", ("file", "b.txt", b"bytes"), token=token)
        elif path.startswith("/files") and method == "put":
            answer = site.put(target, b"bytes", token)
        elif method in ("post", "put", "patch"):
            body = LEAVE | {"kind": "unpaid"} if "{id}" in path else samples[path]
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
        for one in resource.endpoints if address.startswith(("files/", "forms/", "views/")) else ():
            for field in getattr(resource, "shares", ()) if "FIELD" in one.path else ("",):
                inner = one.path.replace("ID", "{id}").replace("PATH", "{path}").replace("FIELD", field)
                path = "/".join(filter(None, (f"/{address}", inner)))
                wanted |= {(path, method) for method in app.methods_of(one) if method != "HEAD"}
    others = {
        pair for pair in wanted if pair[1] == "POST" and pair[0].endswith(("/records", "{path}"))
    }  # as good as those above
    assert found == wanted - others
    assert len(found) > 20


def test_bodies_are_the_declared_schemas_and_records_have_what_satchel_adds(site: Site) -> None:
    document = described(site, site.token("**:*"))
    post = document["paths"]["/forms/leave"]["post"]
    single = post["requestBody"]["content"]["application/json"]["schema"]["anyOf"][0]
    assert single["required"] == ["day"]
    assert single["properties"]["days"]["minimum"] == 0.5
    record = post["responses"]["201"]["content"]["application/json"]["schema"]["properties"]
    made = site.send("/forms/leave", LEAVE, site.token("**:*")).json
    assert set(made) == set(record)
    assert all(record[name]["readOnly"] for name in app.RESERVED_FIELDS)


def test_parameters_of_views_are_listed_with_their_schema(site: Site) -> None:
    listed = described(site, site.token("**:*"))["paths"]["/views/numbers"]["get"]["parameters"]
    assert {"name": "top", "in": "query", "required": False} | {"schema": listed[0]["schema"]} == listed[0]
    assert listed[0]["schema"]["maximum"] == 1000000
    assert {"_size", "_next", "_sort", "_q", "_count"} <= {one["name"] for one in listed}


def test_only_what_the_reader_may_open_is_described(site: Site) -> None:
    assert set(described(site, "")["paths"]) == {"/forms/open", "/forms/open/records", "/forms/open/records/{id}"}
    assert set(described(site, site.token("views/numbers:read"))["paths"]) == {
        "/views/numbers", "/forms/open", "/forms/open/records", "/forms/open/records/{id}",
    }  # fmt: skip
    assert site.get("/openapi.json", "bad").status == 401


def test_the_command_prints_the_same_of_everything(site: Site, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "app.toml").write_text(CONFIG.replace("PREFIX", ""))
    assert app.main(["info", "openapi", "--config", str(tmp_path / "app.toml")]) == 0
    assert json.loads(capsys.readouterr().out) == described(site, site.token("**:*"))


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
    assert found == {"#/components/schemas/Problem"}
    problem = site.send("/forms/leave", {"day": 1}, site.token("**:*")).json
    schema = document["components"]["schemas"]["Problem"]
    assert set(schema["required"]) <= set(problem) <= set(schema["properties"])
