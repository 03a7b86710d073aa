"""Views and forms as tools of the Model Context Protocol: a view is read, and a form makes a record."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from app import OPERATORS, Action, BadRequest, Json, Table, Value, list_page, plugin

if TYPE_CHECKING:
    from plugins import openapi
    from plugins.mcp import Call
else:
    openapi = plugin("openapi")

# ==== 1. TOOLS ===================================================================================================
# A tool's name is view_ or form_ with the name of the resource as it is. Its arguments are those of the address: what they
# may be is checked where it always is.
# uses: ERRORS VALUES RUNNERS plugin:fields plugin:mcp plugin:openapi
# defines: UnknownTool tools called

_MOST_ROWS, _ROWS = 200, 50  # of one answer: at most, and usually
_KEY = "_idempotency_key"
_META_KEY = "satchel/idempotencyKey"
_LONGEST_KEY = 255
# Models take no schema with these at its root, and no argument of another name; clients drop the tool, or fail altogether.
_NOT_AT_ROOT = ("allOf", "anyOf", "oneOf", "not", "if", "then", "else")
_ARGUMENT = r"[A-Za-z0-9_.-]{1,64}"
_ROWS_SCHEMA: Value = {
    "type": "object", "required": ["items", "next"],
    "properties": {"items": {"type": "array", "items": {"type": "object"}}, "next": {"type": ["string", "null"]}},
}  # fmt: skip


class UnknownTool(Exception):
    """There is no such tool, or not for this caller."""


def tools(call: Call) -> list[Value]:
    """Those of the caller, by name."""
    return sorted((_view(one) if kind == "view" else _form(one) for kind, one in _usable(call)), key=lambda one: one["name"])


def called(call: Call, name: str, arguments: Value, meta: Value) -> Value:
    """What a tool answers. Raises UnknownTool, and what the resource raises."""
    for kind, one in _usable(call):
        if name == _name(kind, one):
            return _read(call, one, arguments) if kind == "view" else _sent(call, one, arguments, meta)
    raise UnknownTool(name)


def _usable(call: Call) -> Iterator[tuple[str, Value]]:
    """(view or form, what Host.describe tells of it) of each that the caller may read or create in."""
    for one in call.described():
        if one["type"] == "views" and call.caller.may(Action.READ, one["address"]):
            yield "view", one
        elif one["type"] == "forms" and call.caller.may(Action.CREATE, one["address"]):
            yield "form", one


def _name(kind: str, one: Value) -> str:
    return f"{kind}_{one['address'].partition('/')[2]}"


# ---- views


def _view(one: Value) -> Value:
    own = {name: _typed(name, schema) for name, schema in one["params"].items()}
    asked = [each for each in openapi.asked_of(one["columns"], own) if re.fullmatch(_ARGUMENT, each["name"])]
    filters = {each["name"]: _filter(each) for each in asked if each["name"] != "_sort"}
    needed = [name for name in one["required"] if "default" not in one["params"][name]]
    operators = ", ".join(sorted(OPERATORS))
    words = f"Reads rows of {one['title']}. An argument COLUMN filters by a value, COLUMN__OP by OP, one of {operators}."
    known = [each.name for each in one["columns"]]
    words += f" Columns: {', '.join(known)}." if known else ""
    return {
        "name": _name("view", one), "title": one["title"], "description": words, "outputSchema": _ROWS_SCHEMA,
        "inputSchema": {"type": "object", "properties": own | filters | _listing(), "required": needed},
        "annotations": {"readOnlyHint": True, "openWorldHint": False},
    }  # fmt: skip


def _typed(name: str, schema: Value) -> Value:
    found = openapi.own_param(name, schema, needed=False)
    title = {"title": schema["title"]} if schema.get("title") else {}
    words = {"description": found["description"]} if "description" in found else {}
    return {**found["schema"], **title, **words}


def _filter(asked: Value) -> Value:
    return {**asked["schema"], "description": asked["description"]}


def _listing() -> Value:
    return {
        "_q": {"type": "string", "maxLength": 200, "description": "rows with this text in them"},
        "_sort": {"type": "string", "description": "columns with commas between; - before one is descending"},
        "_size": {"type": "integer", "minimum": 1, "maximum": _MOST_ROWS, "default": _ROWS},
        "_next": {"type": "string", "description": "next of the answer before, for the rows that follow"},
    }


def _read(call: Call, one: Value, arguments: Value) -> Value:
    texts = {name: plugin("fields").in_address(name, value) for name, value in arguments.items()}
    params = {name: text for name, text in texts.items() if text is not None}
    size = params.setdefault("_size", str(_ROWS))
    if size.isascii() and size.isdigit() and int(size[:9]) > _MOST_ROWS:
        raise BadRequest(f"_size is {size}: a tool answers {_MOST_ROWS} rows at most, and next leads to those that follow")
    table = call.handle(Action.READ, one["address"], params=params).table
    return _rows(table) if table else {"items": [], "next": None}


def _rows(table: Table) -> Value:
    try:
        return list_page(table)
    finally:
        table.close()


# ---- forms


def _form(one: Value) -> Value:
    whole: Value = _whole(openapi.input_of(one["schema"], {}))
    schema = {word: what for word, what in whole.items() if word not in _NOT_AT_ROOT}
    words = f"Makes a record of {one['title']}."
    if schema.keys() < whole.keys():
        words += " A field with x-show-if is given while the fields named there have these values, and only then; one with"
        words += " x-required-if has to be given then."
    key = {"type": "string", "maxLength": _LONGEST_KEY, "description": "the same key never makes a second record"}
    return {
        "name": _name("form", one), "title": one["title"], "description": words,
        "inputSchema": schema | {"properties": schema["properties"] | {_KEY: key}},
        "annotations": {"readOnlyHint": False, "destructiveHint": False, "idempotentHint": False, "openWorldHint": False},
    }  # fmt: skip


def _whole(schema: Json) -> Any:
    """A schema with what it refers to in its place: a tool comes without the rest of the document."""
    if isinstance(schema, list):
        return [_whole(one) for one in schema]
    if not isinstance(schema, dict):
        return schema
    place, _, name = str(schema.get("$ref", "")).rpartition("/")
    if place == "#/components/schemas" and name in openapi.SHARED:
        return _whole(openapi.SHARED[name])
    return {word: _whole(what) for word, what in schema.items()}


def _sent(call: Call, one: Value, arguments: Value, meta: Mapping[str, Any]) -> Value:
    key = arguments.get(_KEY, meta.get(_META_KEY, ""))
    if not isinstance(key, str) or len(key) > _LONGEST_KEY:
        raise BadRequest(f"{_KEY} must be a text of at most {_LONGEST_KEY} characters")
    data = {name: value for name, value in arguments.items() if name != _KEY}
    exchange = call.exchange
    reached = f"{exchange.scheme}://{exchange.host}{exchange.prefix}" if exchange.host else ""
    made = call.handle(Action.CREATE, one["address"], data=data, idempotency_key=key, reached_at=reached)
    found: Value = made.data
    return found
