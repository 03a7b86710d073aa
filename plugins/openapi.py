"""The site described for programs, as OpenAPI 3.1: at /openapi.json for the caller, by `info openapi` for the operator."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import app
from app import RESERVED_FIELDS, Answer, Asked, Fault, Host, Value, dump_json

# ==== 1. OPENAPI =================================================================================================
# Paths, bodies and parameters of the resources as they are declared, and the two ways to ask for them.
# uses: ERRORS VALUES CONFIG CONTRACTS RUNNERS
# defines: Route:openapi Command:info_openapi describe OpenApi InfoOpenApi

_TEXT: Value = {"type": "string"}
_OBJECT: Value = {"type": "object"}
_PROBLEM = {
    "type": "object",
    "required": ["type", "title", "status", "detail", "code", "request_id"],
    "properties": {
        "type": _TEXT, "title": _TEXT, "status": {"type": "integer"}, "detail": _TEXT, "code": _TEXT, "request_id": _TEXT,
        "errors": {"type": "array", "items": _OBJECT | {"properties": dict.fromkeys(Fault._fields, _TEXT)}},
    },
}  # fmt: skip


def _operation(summary: str, answers: Mapping[str, Value], *, body: Value | None = None, **facts: Any) -> Value:
    """An operation: its answers by status, and the problem object for everything else."""
    problem = _described("a problem", _content({"$ref": "#/components/schemas/Problem"}, "application/problem+json"))
    operation: Value = {"summary": summary, "responses": {**answers, "default": problem}, **facts}
    return operation | ({"requestBody": {"required": True, "content": body}} if body else {})


def _content(schema: Value, media: str = "application/json") -> Value:
    return {media: {"schema": schema}}


def _described(description: str, content: Value) -> Value:
    return {"description": description, "content": content}


def _parameter(name: str, schema: Value, place: str = "query", *, required: bool = False) -> Value:
    return {"name": name, "in": place, "schema": schema, "required": required or place == "path"}


def _list_answer(item: Value) -> Mapping[str, Value]:
    properties = {"items": {"type": "array", "items": item}, "next": {"type": ["string", "null"]}}
    table = {"type": "object", "required": ["items", "next"], "properties": properties}
    media = _content(table) | _content(_TEXT, "text/csv") | _content(item, "application/x-ndjson")
    return {"200": _described("a page of the list, or all of it as CSV or NDJSON", media)}


_GONE = {"204": {"description": "it is gone"}}
_SIZE = {"type": "integer", "minimum": 1, "maximum": 1000, "default": 50}
_PAGING = [_parameter("_size", _SIZE), _parameter("_next", _TEXT)]
_COUNT = _parameter("_count", {"type": "integer", "enum": [0, 1]})
_EXCEL = _parameter("_for", _TEXT | {"enum": ["excel"]})
_LISTING = [*_PAGING, _parameter("_sort", _TEXT), _parameter("_q", _TEXT), _COUNT, _EXCEL]


def _form_paths(one: Value) -> dict[str, Value]:
    schema, title, base = one["schema"], one["title"], f"/{one['address']}"
    inner = {key: value for key, value in schema.items() if key != "$schema"}
    read_only = {name: {"type": "integer" if name == "version" else "string", "readOnly": True} for name in RESERVED_FIELDS}
    nullable = {name: {"anyOf": [field_, {"type": "null"}]} for name, field_ in inner["properties"].items()}
    record = {"type": "object", "properties": {**read_only, **nullable}, "required": list(read_only)}
    found = {"200": _described("the record", _content(record))}
    made = {"201": _described("the record, or all of a batch", _content(record))}
    batch = {"type": "array", "items": inner, "minItems": 1, "maxItems": 1000}
    one_made = {"201": _described("the record, made under this id", _content(record))}
    match = _parameter("If-Match", _TEXT, "header")
    absent = _parameter("If-None-Match", _TEXT | {"enum": ["*"]}, "header")
    once = _parameter("Idempotency-Key", _TEXT | {"maxLength": 255}, "header")
    octets = _content(_TEXT | {"format": "binary"}, "application/octet-stream")
    return {
        base: {
            "get": _operation(f"{title}: its JSON Schema", {"200": _described("the schema", _content(_OBJECT))}),
            "post": _operation(f"{title}: submit", made, body=_content({"anyOf": [inner, batch]}), parameters=[once]),
        },
        f"{base}/records": {"get": _operation(f"{title}: the records", _list_answer(record), parameters=_LISTING)},
        f"{base}/records/{{id}}": {
            "parameters": [_parameter("id", _TEXT, "path")],
            "get": _operation(f"{title}: one record", found),
            "put": _operation(
                f"{title}: replace, or make", found | one_made, body=_content(inner), parameters=[match, absent]
            ),
            "patch": _operation(f"{title}: merge (RFC 7396)", found, body=_content(_OBJECT), parameters=[match]),
            "delete": _operation(f"{title}: delete", _GONE, parameters=[match]),
        },
        **{
            f"{base}/records/{{id}}/{name}": {
                "parameters": [_parameter("id", _TEXT, "path")],
                "get": _operation(f"{title}: the file {name} of a record", {"200": _described("the bytes", octets)}),
            }
            for name in one.get("files", ())
        },
    }


def _view_paths(one: Value) -> dict[str, Value]:
    own = [_parameter(name, schema, required=name in one["required"]) for name, schema in one["params"].items()]
    facets = [_parameter("_facets", {"type": "integer", "enum": [0, 1]})] if one["facets"] else []
    parameters = [*own, *_LISTING, *facets]
    return {f"/{one['address']}": {"get": _operation(one["title"], _list_answer(_OBJECT), parameters=parameters)}}


def _files_paths(one: Value) -> dict[str, Value]:
    title, base = one["title"], f"/{one['address']}"
    binary = _TEXT | {"format": "binary"}
    octets = _content(binary, "application/octet-stream")
    form = _content(_OBJECT | {"properties": {"file": {"type": "array", "items": binary}}}, "multipart/form-data")
    stored = _described("name, size and digest of the file", _content(_OBJECT))
    items = _described("the files that were stored, in items", _content(_OBJECT))
    report = _described(
        "items were stored; errors have name, code, detail and status of each that was not", _content(_OBJECT)
    )
    return {
        base: {
            "get": _operation(f"{title}: the top folder", _list_answer(_OBJECT), parameters=_PAGING),
            "post": _operation(f"{title}: upload files", {"201": items, "207": report}, body=form),
        },
        f"{base}/{{path}}": {
            "parameters": [_parameter("path", _TEXT, "path")],
            "get": _operation(f"{title}: a file, or a folder's list", {"200": _described("the bytes", octets)}),
            "put": _operation(f"{title}: write a file", {"200": stored, "201": stored}, body=octets),
            "delete": _operation(f"{title}: delete a file", _GONE),
        },
    }


def describe(title: str, base: str, described: Sequence[Value]) -> Value:
    """OpenAPI 3.1 of the resources that Host.describe tells of; bodies and parameters as they are declared."""
    builders = {"forms": _form_paths, "views": _view_paths, "files": _files_paths}
    paths: dict[str, Value] = {}
    for one in described:
        if one["type"] in builders:
            paths |= builders[one["type"]](one)
    bearer = {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"}
    return {
        "openapi": "3.1.0", "info": {"title": title, "version": app.__version__}, "servers": [{"url": base or "/"}],
        "security": [{"token": []}, {}], "paths": paths,
        "components": {"securitySchemes": {"token": bearer}, "schemas": {"Problem": _PROBLEM}},
    }  # fmt: skip


class OpenApi(app.Route):
    """What the caller may open, described for programs."""

    kind = "openapi"
    paths: ClassVar[Mapping[str, str]] = {"/openapi.json": "GET"}

    def answer(self, asked: Asked, host: Host) -> Answer:
        site = self.config.site
        found = describe(host.title, site.url or site.prefix, host.describe(asked.credential))
        return Answer(200, [("Content-Type", "application/json")], dump_json(found).encode())


class InfoOpenApi(app.Command):
    """The description of all that app.toml declares."""

    kind = "info openapi"
    help = "the site described for programs, as OpenAPI"

    def run(self, args: argparse.Namespace, site: app.Site) -> int:
        with site.looked_at() as found:
            base = site.config.site.url or site.config.site.prefix
            site.print_json(describe(found.title, base, found.describe(None)))
        return 0
