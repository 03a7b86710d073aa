"""The site described for programs, as OpenAPI 3.1: at /openapi.json for the caller, by `info openapi` for the operator."""

from __future__ import annotations

import argparse
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, ClassVar

import app
from app import OPERATORS, RESERVED_FIELDS, Answer, Asked, Column, Fault, Host, Value, dump_json, plugin

# ==== 1. SCHEMAS =================================================================================================
# What stands in bodies and answers, each under components/schemas by a name of its own: generators of clients make a class
# of each, and stop where the same one stands twice. What is sent is described strictly. What is answered may have been
# stored under earlier rules, so only its types are named.
# uses: ERRORS VALUES CONFIG plugin:list_filters
# defines: ref SHARED Names choices_of input_of patch_of record_of rows_of own_param
#          asked_of

_TEXT: Value = {"type": "string"}
_BINARY: Value = {"type": "string", "format": "binary"}
_COUNT: Value = {"type": "integer", "minimum": 0}
_ADDRESS: Value = _TEXT | {"pattern": "^/?files/[^/]+/.", "description": "of a place in a share: files/handbook/new%20name"}
_PLAIN = r"^[^\u0000]*$"  # of texts: no store takes U+0000
_BASE64 = r"^(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$"


def ref(name: str, place: str = "schemas") -> Value:
    return {"$ref": f"#/components/{place}/{name}"}


def _or_null(type_: str) -> Value:
    return {"type": [type_, "null"]}


def _object(properties: Mapping[str, Value], required: Iterable[str] | None = None, **facts: Any) -> Value:
    """All properties are required unless it is said which."""
    needed = list(properties if required is None else required)
    return {"type": "object", "properties": dict(properties), **({"required": needed} if needed else {}), **facts}


def _list_of(item: Value, **more: Value) -> Value:
    """A page of a list as JSON."""
    properties = {
        "items": {"type": "array", "items": item},
        "next": _or_null("string") | {"description": "send it as _next for the page after; null on the last one"},
        "count": _COUNT | {"description": "with _count=1: how many rows there are in all"},
        "damaged": {"type": "array", "items": ref("DamagedValue")},
    }
    return _object(properties | more, ("items", "next"))


_STORED = {"name": _TEXT, "size_bytes": _COUNT, "sha256": _TEXT, "address": _TEXT}
_ENTRY = {
    "name": _TEXT, "type": ref("FileEntryType"), "size_bytes": _or_null("integer"),
    "modified_at": _or_null("string") | {"format": "date-time"}, "etag": _or_null("string"), "address": _TEXT,
}  # fmt: skip
_FAULT = dict.fromkeys(Fault._fields, _TEXT) | {
    "name": _TEXT | {"description": "of an upload: the file that was not stored"}, "status": {"type": "integer"},
}  # fmt: skip
_PROBLEM = {
    "type": _TEXT, "title": _TEXT, "status": {"type": "integer"}, "detail": _TEXT, "code": _TEXT, "request_id": _TEXT,
}  # fmt: skip
SHARED: Value = {
    "Problem": _object(
        _PROBLEM | {"errors": {"type": "array", "items": ref("ProblemFault")}}, _PROBLEM, description="RFC 9457"
    ),
    "ProblemFault": _object(_FAULT, ("code", "detail")),
    "SentFile": _object(
        {"name": _TEXT | {"pattern": _PLAIN}, "base64": _TEXT | {"contentEncoding": "base64", "pattern": _BASE64}},
        description="a new file of a record", additionalProperties=False,
    ),
    "StoredFile": _object(_STORED, description="a file of a record; its bytes are at its address"),
    "FileEntryType": {"type": "string", "enum": ["file", "folder", "unreadable"]},
    "FileEntry": _object(_ENTRY, description="what is in a folder"),
    "FileEntries": _list_of(ref("FileEntry")),
    "WrittenFile": _object(_ENTRY | {"sha256": _TEXT}),
    "WrittenFiles": _object({"items": {"type": "array", "items": ref("WrittenFile")}}),
    "UploadReport": _object(
        {
            "items": {"type": "array", "items": ref("WrittenFile")},
            "errors": {"type": "array", "items": ref("ProblemFault")},
        }
    ),
    "FileUpload": _object(
        {
            "file": {"type": "array", "minItems": 1, "items": _BINARY},
            "_replace": {"description": "1 replaces files of the same names"},
            "_keep_both": {"description": "1 stores them beside files of the same names"},
        },
        ("file",),
    ),
    **{
        name: _object(
            {verb: _ADDRESS, "overwrite": {"type": "boolean"}, "next": _TEXT}, (verb,), additionalProperties=False,
        )
        for name, verb in (("MoveWish", "move"), ("CopyWish", "copy"))
    },
    "FolderWish": _object({"folder": _TEXT | {"maxLength": 255}}, ("folder",), additionalProperties=False),
    "TimeWish": _object({"modified_at": _TEXT | {"format": "date-time"}}, ("modified_at",), additionalProperties=False),
    "Placed": _object(
        {
            **_ENTRY, "files": _COUNT, "folders": _COUNT, "bytes": _COUNT,
            "next": _TEXT | {"description": "there is more: send the same with this"},
        },
        _ENTRY, description="the entry at its new place; of a folder also how much went along",
    ),
    "FolderGone": _object(
        {
            "files": _COUNT, "folders": _COUNT, "bytes": _COUNT, "trash": _TEXT | {"description": "its id in the trash"},
            "more": {"type": "boolean", "description": "there is more: send the same again"},
        },
        ("files", "folders", "bytes"),
    ),
    "LinkWish": _object(
        {"link": _object(
            {
                "action": {"type": "string", "enum": ["read"]},
                "expires": _TEXT | {"pattern": "^[1-9][0-9]{0,2}[dh]$", "description": "also a day or a date-time"},
                "password": _TEXT | {"pattern": r"^\S.{4,998}\S$"},
            },
            ("expires",), additionalProperties=False,
        )},
        additionalProperties=False,
    ),
    "Link": _object(
        {
            "id": _TEXT, "address": _TEXT, "query": {"type": "object", "additionalProperties": _TEXT}, "action": _TEXT,
            "created_at": _TEXT | {"format": "date-time"}, "expires_at": _or_null("string") | {"format": "date-time"},
            "used_at": _or_null("string") | {"format": "date-time"}, "uses": _COUNT, "has_password": {"type": "boolean"},
            "url": _TEXT | {"description": "what opens it, shown this once"},
            "calendar_url": _TEXT | {"description": "of a view with a calendar: what calendar programs subscribe to"},
        },
        ("id", "address", "query", "action", "created_at", "expires_at", "used_at", "uses", "has_password", "url"),
        description="a share link",
    ),
    "DamagedValue": _object(
        {"item": _COUNT, "column": _TEXT, "detail": _TEXT}, description="of an item, counted from 0, what cannot be read"
    ),
    "FacetCount": _object({"value": {}, "count": _COUNT}),
    "FormSchema": {"type": "object", "description": "a JSON Schema (draft 7)"},
    "OptionList": {
        "type": "object",
        "properties": {
            "items": {
                "type": "array",
                "items": {
                    "type": "object", "required": ["value", "label"],
                    "properties": {"value": {"type": ["string", "number"]}, "label": {"type": "string"}},
                },
            },
            "more": {"type": "boolean", "description": "whether there are more than these"},
        },
        "required": ["items", "more"],
    },
    "ImportReport": _object(
        dict.fromkeys(("rows", "created", "updated", "unchanged", "failed"), _COUNT)
        | {"errors": {"type": "array", "items": _object({"row": _COUNT, **_FAULT}, ("row", "code", "detail"))}}
        | {"left_out": {"type": "array", "items": _TEXT, "description": "headings of columns that are not taken"}},
        ("rows", "created", "updated", "unchanged", "failed", "errors"),
    ),
    "ImportFacts": _object(
        {
            "fields": {"type": "array", "items": _object({"name": _TEXT, "title": _TEXT})},
            "most_rows": _COUNT, "options": {"type": "array", "items": _TEXT},
        }
    ),
}  # fmt: skip


class Names:
    """Names that stay apart in every spelling: generated programs write them in their own."""

    def __init__(self) -> None:
        self._taken: set[str] = set()

    def unique(self, text: str) -> str:
        """The text, with a number behind it if the name is taken."""
        number, name = 1, text
        while (key := re.sub("[^a-z0-9]", "", name.lower())) in self._taken:
            number += 1
            name = f"{text}_{number}"
        self._taken.add(key)
        return name


def _one_of(values: Sequence[Any]) -> Value:
    """A schema of these values, with names for them where a program could not tell those that it makes apart."""
    if not all(isinstance(one, str | int) for one in values):
        return {"anyOf": [{"const": one} for one in values]}
    names = [re.sub("[^a-z0-9]+", "_", str(one).lower()).strip("_") for one in values]
    if isinstance(values[0], int) or (len({*names}) == len(names) and all(re.match("[a-z]", one) for one in names)):
        return {"enum": list(values)}
    found = Names()
    return {"enum": list(values), "x-enum-varnames": [found.unique(f"value_{name}".rstrip("_")) for name in names]}


def choices_of(schema: Value) -> Value | None:
    """What may be chosen of a field's values, as a schema; None if it is not a choice."""
    one = schema.get("items", schema)
    if "oneOf" not in one:
        return {"type": one.get("type", "string")} | _one_of(one["enum"]) if "enum" in one else None
    titles = "; ".join(f"{choice['const']}: {choice['title']}" for choice in one["oneOf"] if choice.get("title"))
    chosen = {"type": one.get("type", "string")} | _one_of([choice["const"] for choice in one["oneOf"]])
    return chosen | ({"description": titles} if titles else {})


_OPERATORS = tuple(one for one in OPERATORS if one != "eq")
_ABOUT = ("title", "description", "default", "x-default", "x-message", "x-placeholder", "x-show-if", "x-required-if")
_OF_RECORDS = ("allOf", "x-checks", "x-sections", "x-unique")  # what a form says of a whole record


def _sent(schema: Value, choices: Value | None, *, needed: bool) -> Value:
    """A field's value as it is sent; null is as good as nothing where it need not be given."""
    about = {name: schema[name] for name in _ABOUT if name in schema}
    taken = _taken({name: one for name, one in schema.items() if name not in about}, choices)
    if taken.get("type") == "array":
        about.pop("default", None)  # which generators do not take of a list
    if not needed:
        return about | {"anyOf": [taken, {"type": "null"}]}
    return about | ({"allOf": [taken]} if "$ref" in taken else taken)


def _taken(schema: Value, choices: Value | None) -> Value:
    if "properties" in schema:
        return ref("SentFile")
    if schema.get("items", {}).get("format") == "file":
        return schema | {"items": {"anyOf": [ref("SentFile"), ref("StoredFile")]}}
    if inner := schema.get("items", {}).get("properties"):
        named = {name: found for name, one in inner.items() if (found := choices_of(one))}
        return schema | {"items": input_of(schema["items"], named)}
    if schema["type"] == "array":
        return schema | {"items": choices or _TEXT}
    if choices:
        return choices
    if schema["type"] == "integer":
        return {"minimum": -(2**63), "maximum": 2**63 - 1} | schema
    if schema["type"] == "string" and "pattern" not in schema and schema.get("format") in (None, "multiline"):
        schema = {name: one for name, one in schema.items() if name != "format"}
        return schema | {"pattern": _PLAIN}
    return schema


def input_of(schema: Value, choices: Mapping[str, Value]) -> Value:
    """The body that makes or replaces a record. `choices` has the schemas of what may be chosen, by field."""
    fields, required = {n: one for n, one in schema["properties"].items() if "readOnly" not in one}, schema["required"]
    taken = {name: one for name, one in fields.items() if not one.get("readOnly")}
    properties = {name: _sent(one, choices.get(name), needed=name in required) for name, one in taken.items()}
    needed = [name for name in required if not {"default", "x-default"} & fields[name].keys()]
    whole = {name: schema[name] for name in _OF_RECORDS if name in schema}
    return _object(properties, needed, additionalProperties=False) | whole


def patch_of(schema: Value, choices: Mapping[str, Value]) -> Value:
    """A merge patch (RFC 7396): what is left out stays, and null takes a value away."""
    properties = input_of(schema, choices)["properties"]
    undefaulted = {
        name: {key: fact for key, fact in one.items() if key not in ("default", "x-default")}
        for name, one in properties.items()
    }
    return _object(undefaulted, (), additionalProperties=False)


def _shown(type_: str, format_: str, **about: Any) -> Value:
    """A value that is answered."""
    if format_ == "file":
        stored = {"type": "array", "items": ref("StoredFile")} if type_ == "array" else ref("StoredFile")
        return about | {"anyOf": [stored, {"type": "null"}]}
    items: Value = {"items": {}} if type_ == "array" else {}
    formats = {"format": format_} if format_ in ("date", "date-time") else {}
    return about | _or_null(type_) | items | formats


_MADE = {"readOnly": True}
_META: Mapping[str, Value] = {
    "id": _TEXT | _MADE, "version": {"type": "integer"} | _MADE,
    "created_at": _or_null("string") | {"format": "date-time"} | _MADE, "created_by": _or_null("string") | _MADE,
    "updated_at": _or_null("string") | {"format": "date-time"} | _MADE, "updated_by": _or_null("string") | _MADE,
}  # fmt: skip


def record_of(schema: Value) -> Value:
    """A record as it is answered; what it holds beside the fields of its form comes too."""
    own = {}
    for name, one in [pair for pair in schema["properties"].items() if not pair[1].get("writeOnly")]:
        about = {key: one[key] for key in _ABOUT[:2] if key in one}
        format_ = one.get("format") or one.get("items", {}).get("format", "")
        own[name] = _shown("object" if "properties" in one else one["type"], format_, **about)
        if "properties" in one.get("items", {}):
            own[name]["items"] = _line_of(one["items"])
        elif own[name].get("items") == {}:
            own[name]["items"] = {"type": one["items"].get("type", "string")}
        own[name] |= _MADE if "readOnly" in one else {}
    return _object({name: _META[name] for name in RESERVED_FIELDS} | own)


def _line_of(schema: Value) -> Value:
    """One of the lines of a record as it is answered."""
    return _object({name: _shown(one["type"], one.get("format", "")) for name, one in schema["properties"].items()}, ())


def rows_of(columns: Sequence[Column]) -> Value:
    """A row with these columns; () if only the provider knows them."""
    known = {one.name: _shown(one.type, one.format, title=one.title) for one in columns}
    return _object(known) if known else {"type": "object"}


def own_param(name: str, schema: Value, *, needed: bool) -> Value:
    """A parameter of a view's own. An empty one is as good as none."""
    about, taken = {one: schema[one] for one in _ABOUT if one in schema}, _taken(schema, choices_of(schema))
    taken = {one: fact for one, fact in taken.items() if one not in _ABOUT}
    if needed and taken["type"] == "string" and "enum" not in taken:
        taken = {"minLength": 1} | taken
    explode = {"style": "form", "explode": False} if taken["type"] == "array" else {}
    default = {"default": about["default"]} if "default" in about else {}
    words = {"description": about["description"]} if "description" in about else {}
    return {"name": name, "in": "query", "required": needed, **words, **explode, "schema": taken | default}


def asked_of(columns: Sequence[Column], other: Collection[str] = ()) -> list[Value]:
    """The parameters of a list that depend on its columns: its order, and a filter for each that has no `other` meaning."""
    found = []
    for one in columns:
        if one.name not in other and one.format not in ("file", "lines"):
            ops = plugin("list_filters").ITEM_OPERATORS[1:] if one.type == "array" else _OPERATORS
            what = f"this as one of its {one.name}" if one.type == "array" else f"this {one.name}"
            words = f"rows with {what}; {one.name}__OP with OP one of {', '.join(ops)} is another filter"
            found.append({"name": one.name, "in": "query", "required": False, "description": words, "schema": _wanted(one)})
    part = f"-?({'|'.join(one.name for one in columns)})" if columns else "[^,]+"
    order = {"name": "_sort", "in": "query", "required": False, "schema": _TEXT | {"pattern": f"^({part}(,{part})*)?$"}}
    return [order | {"description": "columns with commas between; - before one is descending"}, *found]


def _wanted(column: Column) -> Value:
    """The schema of what a filter compares with."""
    if column.format in ("date", "date-time"):
        return _TEXT | {"format": column.format}
    if column.type in ("string", "array"):
        return _TEXT | {"pattern": _PLAIN}
    return {"type": "number" if column.type == "integer" else column.type}


# ==== 2. OPENAPI =================================================================================================
# Paths, bodies and parameters of the resources as they are declared, and the two ways to ask for them.
# uses: VALUES CONTRACTS RUNNERS COMMANDS SCHEMAS
# defines: Route:openapi Command:info_openapi Description describe OpenApi InfoOpenApi

_REFUSED = {
    400: "the request cannot be read, or names something that is not here",
    401: "the credential is missing or not good",
    403: "the caller lacks a grant",
    404: "there is no such thing",
    405: "the address does not take the method",
    406: "not in a format that was asked for",
    408: "the request did not arrive in time",
    409: "what is stored is in the way",
    412: "If-Match or If-None-Match did not hold",
    413: "more than the limit",
    414: "the address is too long",
    415: "the body's media type is not read here",
    416: "no byte of the range exists",
    417: "of expectations only 100-continue is met",
    421: "this server does not answer for the host",
    422: "the content breaks a rule",
    431: "the head is too large",
    500: "a fault of the site, or what is stored is damaged",
    501: "the provider cannot do that",
    503: "a provider is away; try again later",
    504: "it took longer than its time limit",
    505: "this version of HTTP is not spoken",
    507: "there is no room",
}
_ALWAYS = (400, 401, 403, 404, 405, 408, 413, 414, 417, 421, 431, 500, 501, 503, 505)
_READS, _WRITES = (*_ALWAYS, 406, 504), (*_ALWAYS, 409, 412, 415, 422, 507)
_HEADERS = {
    "ETag": "the version, to be sent as If-Match", "Location": "the address of what was made",
    "Link": 'the page after, with rel="next"', "Last-Modified": "when the file was written",
    "Content-Disposition": "the name of the file", "Accept-Ranges": "bytes", "Content-Range": "which bytes these are",
    "Idempotency-Replayed": "true if this is the answer to an earlier request with the same Idempotency-Key",
    "Satchel-Damaged": "names of values that cannot be read as they were stored",
    "Retry-After": "seconds", "WWW-Authenticate": "RFC 6750", "Allow": "the methods that the address takes",
}  # fmt: skip
_OF_REFUSALS = {401: ("WWW-Authenticate",), 405: ("Allow",), 503: ("Retry-After",), 507: ("Retry-After",)}


def _content(schema: Value, media: str = "application/json") -> Value:
    return {media: {"schema": schema}}


def _answer(description: str, content: Value | None = None, *headers: str) -> Value:
    named = {"headers": {name: ref(name, "headers") for name in headers}} if headers else {}
    return {"description": description, **named, **({"content": content} if content else {})}


def _answers() -> Value:
    """components/responses: what every operation may answer."""
    problem = _content(ref("Problem"), "application/problem+json")
    found = {f"Problem{s}": _answer(words, problem, *_OF_REFUSALS.get(s, ())) for s, words in _REFUSED.items()}
    return found | {"Problem": _answer("a problem", problem), "NotModified": _answer("the caller has it", None, "ETag")}


def _parameter(name: str, schema: Value, place: str = "query", words: str = "", *, required: bool = False) -> Value:
    about = {"description": words} if words else {}
    return {"name": name, "in": place, **about, "schema": schema, "required": required or place == "path"}


_FLAG: Value = {"type": "integer", "minimum": 0, "maximum": 1}
_ETAGS = _TEXT | {"pattern": r'^(\*|(W/)?"[^"]*"(, *(W/)?"[^"]*")*)?$', "example": '"1"'}
_PARAMETERS = {
    "Size": _parameter("_size", _COUNT | {"minimum": 1, "maximum": 1000}, words="rows of a page"),
    "Next": _parameter("_next", _TEXT, words="next of the page before"),
    "Search": _parameter("_q", _TEXT, words="rows with this text anywhere"),
    "Count": _parameter("_count", _FLAG, words="1 adds count, the rows in all"),
    "Facets": _parameter("_facets", _FLAG, words="1 adds facets, how many rows have which value"),
    "Totals": _parameter("_totals", _FLAG, words="1 adds totals, what the rows come to"),
    "Columns": _parameter("_columns", _TEXT, words="these columns alone, in this order, with commas between them"),
    "For": _parameter("_for", _TEXT | {"const": "excel"}, words="CSV that a spreadsheet opens as it is"),
    "IfMatch": _parameter("If-Match", _ETAGS, "header", "only if it still has this ETag"),
    "IfNoneMatch": _parameter("If-None-Match", _ETAGS, "header", "only if it has none of these ETags; * if it is not there"),
    "IdempotencyKey": _parameter(
        "Idempotency-Key", _TEXT | {"maxLength": 255}, "header", "makes a repeat harmless for 15 days"
    ),
    "Range": _parameter("Range", _TEXT, "header", "bytes=0-99"),
    "IfModifiedSince": _parameter("If-Modified-Since", _TEXT, "header"),
    "IfUnmodifiedSince": _parameter("If-Unmodified-Since", _TEXT, "header"),
}  # fmt: skip


def _params(*names: str) -> list[Value]:
    return [_PARAMETERS[name] for name in names]


_TOLD = {
    "metrics": "what is counted and measured", "providers": "where everything is kept", "check": "what is wrong",
}  # fmt: skip
_XLSX = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"
_IMPORT_FLAGS = {"dry_run": "checks every row and stores nothing", "partial": "stores the rows that have no fault"}
_IMPORT_TEXTS = {
    "key": "a field: a row whose value a record has changes that record; or id",
    "columns": "the fields of the columns, with commas between; an empty one is left out",
    "heading": "number of the row with the headings", "sheet": "name of the sheet of a workbook",
    "encoding": "utf-8, utf-16 or cp1252", "separator": "of CSV: a comma, a semicolon, a bar or the word tab",
}  # fmt: skip
_PAGING = ("Size", "Next", "For")
_LISTING = (*_PAGING, "Search", "Count", "Columns")
_CHANGING = ("IfMatch", "IfNoneMatch", "IdempotencyKey")
_BYTES = _content(_BINARY, "application/octet-stream")
_ANY_BYTES = _BYTES | {"*/*": {"schema": {}}}
_GONE = {"204": _answer("it is gone", None, "Idempotency-Replayed")}
_FILE = {
    "200": _answer(
        "the bytes", _ANY_BYTES, "ETag", "Last-Modified", "Content-Disposition", "Accept-Ranges"
    ),
    "206": _answer("some of the bytes", _ANY_BYTES, "ETag", "Content-Range"),
    "304": ref("NotModified", "responses"),
}  # fmt: skip
_KEY = _TEXT | {"minLength": 1, "maxLength": 512, "pattern": _PLAIN}
_NOT_MODIFIED = {"304": ref("NotModified", "responses")}


def _list_answer(page: str, item: Value, *, chart: bool = False) -> Value:
    media = _content(ref(page)) | _content(_TEXT, "text/csv") | _content(item, "application/x-ndjson")
    media |= _content(_BINARY, _XLSX) | (_content(_TEXT, "image/svg+xml") if chart else {})
    words = "a page of the list, or all of it as CSV, NDJSON or a workbook" + ", or its chart" * chart
    return {"200": _answer(words, media, "Link")} | (_NOT_MODIFIED if chart else {})


def _pascal(text: str) -> str:
    return "".join(part.capitalize() for part in re.split("[^A-Za-z0-9]+", text))


class Description:
    """What is gathered of the resources that are described."""

    def __init__(self) -> None:
        self.paths: dict[str, Value] = {}
        self.schemas: dict[str, Value] = dict(SHARED)
        self._names, self._ids = Names(), Names()
        for name in SHARED:
            self._names.unique(name)

    def add(self, one: Value) -> None:
        """A resource that Host.describe tells of."""
        builders = {"forms": self._form, "views": self._view, "files": self._files, "admin": self._admin}
        if builder := builders.get(one["type"]):
            self._one, self._slug = one, re.sub("[^A-Za-z0-9]+", "_", one["address"])
            self._security = {} if one["public"] else {"security": list(_SECURITY)}
            builder(one, f"/{one['address']}")

    def _operation(
        self, does: str, words: str, answers: Value, params: Sequence[Value] = (), *, body: Value | None = None,
        refusals: Iterable[int] = (),
    ) -> Value:  # fmt: skip
        """An operation that `does` something, in a word: its answers by status, and the problems that it may have."""
        title, tag = self._one["title"], self._slug
        refused = sorted({*(_WRITES if body or "204" in answers else _READS), *refusals})
        problems = {str(status): ref(f"Problem{status}", "responses") for status in refused}
        return {
            "operationId": self._ids.unique(f"{self._slug}_{does}"), "summary": f"{title}: {words}", "tags": [tag],
            **({"parameters": list(params)} if params else {}),
            **({"requestBody": {"required": True, "content": body}} if body else {}),
            "responses": {**answers, **problems, "default": ref("Problem", "responses")}, **self._security,
        }  # fmt: skip

    def _schema(self, name: str, ending: str, schema: Value) -> str:
        """The name under which it stands in components/schemas."""
        found = self._names.unique(_pascal(name) + ending)
        self.schemas[found] = schema
        return found

    def _form(self, one: Value, base: str) -> None:
        name, schema = base.rpartition("/")[2], one["schema"]
        record = self._schema(name, "Record", record_of(schema))
        named = self._choices(name, schema)
        sent = self._schema(name, "Input", input_of(schema, named))
        batch = self._schema(name, "Batch", _object({"items": {"type": "array", "items": ref(record)}}))
        page = self._schema(name, "Records", _list_of(ref(record)))
        patch = self._schema(name, "Patch", patch_of(schema, named))
        many = {"type": "array", "items": ref(sent), "minItems": 1, "maxItems": 1000}
        body = _content({"anyOf": [ref(sent), many]})
        either = _content({"anyOf": [ref(record), ref(batch)]})
        made = {"201": _answer("the record, or of a list all of them", either, "ETag", "Location", "Idempotency-Replayed")}
        found = {"200": _answer("the record", _content(ref(record)), "ETag", "Satchel-Damaged")}
        put = {
            str(status): _answer(words, _content(ref(record)), "ETag", "Location", "Idempotency-Replayed")
            for status, words in ((200, "the record"), (201, "the record, made under this id"))
        }
        merged = _content(ref(patch)) | _content(ref(patch), "application/merge-patch+json")
        told = {"200": _answer("the schema", _content(ref("FormSchema")))}
        once = _params("IdempotencyKey")
        self.paths[base] = {
            "get": self._operation("schema", "its JSON Schema", told),
            "post": self._operation(
                "create", "submit one, or a list of which all or none are stored", made, once, body=body
            ),
        }
        self.paths[f"{base}/records"] = {
            "get": self._operation("list", "the records", _list_answer(page, ref(record)), self._listing(one)),
            "post": self._operation("add", "the same as to submit", made, once, body=body),
        }
        self.paths[f"{base}/records/{{id}}"] = {
            "parameters": [_parameter("id", _KEY, "path")],
            "get": self._operation("get", "one record", found | _NOT_MODIFIED, _params("IfNoneMatch")),
            "put": self._operation("replace", "replace, or make", put, _params(*_CHANGING), body=_content(ref(sent))),
            "patch": self._operation(
                "update", "merge (RFC 7396)", {"200": put["200"]}, _params(*_CHANGING), body=merged
            ),
            "delete": self._operation("delete", "delete", _GONE, _params(*_CHANGING)),
        }  # fmt: skip
        self._lookups(one, base)
        self._import(f"{base}/import")
        self._drafts(name, schema, f"{base}/drafts")
        self._several(name, one["states"], f"{base}/several")
        self._history(record, f"{base}/records/{{id}}/history")
        if one.get("comments"):
            self._comments(name, f"{base}/records/{{id}}/comments")
        if one["states"]:
            self._move(name, one["states"], record, f"{base}/records/{{id}}/move")
        for field in one["files"]:
            many = schema["properties"][field]["type"] == "array"
            place = [_parameter("n", _COUNT, "path", "which of them, from 0")] if many else []
            self.paths[f"{base}/records/{{id}}/{field}" + "/{n}" * many] = {
                "parameters": [_parameter("id", _KEY, "path"), *place],
                "get": self._bytes(f"file_{field}", f"the file {field} of a record"),
            }
        self._mine(base)

    def _mine(self, base: str) -> None:
        """The same of one's own records."""
        mine: Value = {f"{base}/mine": {"get": self.paths[f"{base}/records"]["get"]}}
        mine |= {
            path.replace("/records/", "/mine/", 1): self.paths[path] for path in self.paths if f"{base}/records/" in path
        }
        for path, operations in mine.items():
            self.paths[path] = {method: self._of_mine(one) for method, one in operations.items()}

    def _of_mine(self, one: Any) -> Any:
        """The same operation with one's own records, which the public has not."""
        if not isinstance(one, dict):
            return one
        name = one["operationId"].replace(self._slug, f"{self._slug}_mine", 1)
        summary = one["summary"].replace("the records", "one's own records")
        return one | {"operationId": self._ids.unique(name), "summary": summary, "security": list(_SECURITY)}

    def _lookups(self, one: Value, base: str) -> None:
        """What can be chosen where that is looked up."""
        for field in one["lookups"]:
            chosen = {"200": _answer("the first of them", _content(ref("OptionList")))}
            sought = [_parameter("_q", _TEXT | {"pattern": _PLAIN}, words="a text in their labels")]
            self.paths[f"{base}/options/{field}"] = {
                "get": self._operation(f"options_{field}", f"what can be chosen for {field}", chosen, sought)
            }

    def _import(self, path: str) -> None:
        """What makes records of the rows of a spreadsheet."""
        asked = [_parameter(flag, _FLAG, words=words) for flag, words in _IMPORT_FLAGS.items()]
        asked += [_parameter(name, _TEXT | {"pattern": _PLAIN}, words=words) for name, words in _IMPORT_TEXTS.items()]
        body = _content(_TEXT | {"minLength": 1}, "text/csv") | _content(_BINARY, _XLSX)
        body |= _content(_object({"file": _BINARY}), "multipart/form-data")
        done = {"200": _answer("what became of the rows", _content(ref("ImportReport")), "Idempotency-Replayed")}
        told = {"200": _answer("what can be imported", _content(ref("ImportFacts")))}
        self.paths[path] = {
            "get": self._operation("importable", "what can be imported", told),
            "post": self._operation(
                "import", "rows of CSV or of a workbook as records", done, [*asked, *_params("IdempotencyKey")], body=body
            ),
        }

    def _move(self, name: str, states: Sequence[str], record: str, path: str) -> None:
        """What moves a record from one state to another."""
        comment = {"anyOf": [_TEXT | {"maxLength": 2000, "pattern": _PLAIN}, {"type": "null"}]}
        target = _TEXT | {"enum": list(states)}
        move = self._schema(name, "Move", _object({"to": target, "comment": comment}, ["to"], additionalProperties=False))
        moved = {"200": _answer("the record", _content(ref(record)), "ETag", "Idempotency-Replayed")}
        self.paths[path] = {
            "parameters": [_parameter("id", _KEY, "path")],
            "post": self._operation(
                "move", "move a record to another state", moved, _params(*_CHANGING), body=_content(ref(move))
            ),
        }

    def _several(self, name: str, states: Sequence[str], path: str) -> None:
        """What moves or deletes several records at once."""
        row = _object({"id": _KEY, "version": _COUNT | {"minimum": 1}}, ["id"], additionalProperties=False)
        rows: Value = {"type": "array", "items": {"anyOf": [_KEY, row]}, "minItems": 1, "maxItems": 1000}
        comment = _TEXT | {"maxLength": 2000, "pattern": _PLAIN}
        ways = [_object({"do": {"const": "delete"}, "rows": rows}, ["do", "rows"], additionalProperties=False)]
        if states:
            move: Value = {"do": {"const": "move"}, "rows": rows, "to": _TEXT | {"enum": list(states)}, "comment": comment}
            ways.append(_object(move, ["do", "rows", "to"], additionalProperties=False))
        left = _object({"id": _TEXT, "status": _COUNT, "code": _TEXT, "detail": _TEXT})
        done = {"type": "array", "items": _object({"id": _TEXT, "name": _TEXT})}
        report = self._schema(
            name, "Report", _object({"asked": _COUNT, "done": done, "left": {"type": "array", "items": left}})
        )
        of = [_parameter("_of", _TEXT | {"enum": ["mine"]}, words="of one's own records alone")]
        told = {"200": _answer("what became of each", _content(ref(report)))}
        facts = _object({"do": {"type": "array", "items": _TEXT}, "most_rows": _COUNT})
        self.paths[path] = {
            "get": self._operation("several_facts", "what can be done", {"200": _answer("the facts", _content(facts))}, of),
            "post": self._operation(
                "several", "move or delete several records", told, [*of, *_params("IdempotencyKey")],
                body=_content({"anyOf": ways}),
            ),
        }  # fmt: skip

    def _history(self, record: str, path: str) -> None:
        """What was changed in a record; and what brings an earlier version back."""
        version, none = _COUNT | {"minimum": 1}, {"type": "null"}
        item = {
            "at": _or_null("string"), "by": _or_null("string"), "action": _or_null("string"), "comment": _or_null("string"),
            "version": {"anyOf": [version, none]},
            "changes": {
                "type": "object", "additionalProperties": {"type": "array", "items": {}, "minItems": 2, "maxItems": 2},
            },
        }  # fmt: skip
        page, wanted = _list_of(_object(item)), _object({"version": version}, additionalProperties=False)
        back = {"200": _answer("the record", _content(ref(record)), "ETag", "Location", "Idempotency-Replayed")}
        self.paths[path] = {
            "parameters": [_parameter("id", _KEY, "path")],
            "get": self._operation(
                "history", "who changed what", {"200": _answer("the newest first", _content(page))}, _params("Size", "Next")
            ),
            "post": self._operation("restore", "bring a version back", back, _params(*_CHANGING), body=_content(wanted)),
        }

    def _comments(self, name: str, path: str) -> None:
        """A thread on a record."""
        text = _TEXT | {"minLength": 1, "maxLength": 10_000, "pattern": _PLAIN}
        comment = self._schema(
            name, "Comment", _object({"id": _TEXT} | {one: _or_null("string") for one in ("at", "by", "text")})
        )
        said, page = _object({"text": text}, additionalProperties=False), _list_of(ref(comment))
        made = {"201": _answer("the comment", _content(ref(comment)), "Location", "Idempotency-Replayed")}
        self.paths[path] = {
            "parameters": [_parameter("id", _KEY, "path")],
            "get": self._operation(
                "comments", "what was said", {"200": _answer("the oldest first", _content(page))}, _params("Size", "Next")
            ),
            "post": self._operation("comment", "say something", made, _params("IdempotencyKey"), body=_content(said)),
        }

    def _drafts(self, name: str, schema: Value, path: str) -> None:
        """What somebody typed and did not send yet, which is there for himself alone."""
        texts = {"anyOf": [_TEXT | {"pattern": _PLAIN}, {"type": "array", "items": _TEXT | {"pattern": _PLAIN}}]}
        data = {"type": "object", "additionalProperties": texts}
        named = {
            "id": _TEXT,
            "form": _TEXT,
            "created_at": _TEXT,
            "updated_at": _TEXT,
            "data": data,
            "files": {"type": "object"},
        }
        draft = self._schema(name, "Draft", _object(named))
        typed = _TEXT | {"pattern": _PLAIN, "minLength": 1}  # of what is empty nothing is kept
        some = {"anyOf": [typed, {"type": "array", "minItems": 1, "items": typed}]}
        wanted = {"type": "object", "minProperties": 1, "propertyNames": {"pattern": _PLAIN}, "additionalProperties": some}
        sent, key = _content(wanted), [_parameter("id", _KEY, "path")]
        made, found = ({s: _answer("the draft", _content(ref(draft)), "Location")} for s in ("201", "200"))
        listed = {"200": _answer("the newest first", _content(_list_of(ref(draft))))}
        self.paths[path] = {
            "get": self._operation("drafts", "one's drafts", listed),
            "post": self._operation("draft", "keep one", made, body=sent),
        }
        self.paths[f"{path}/{{id}}"] = {
            "parameters": key,
            "get": self._operation("get_draft", "one of them", found),
            "post": self._operation("keep_draft", "keep it under this id", made | found, body=sent),
            "delete": self._operation("delete_draft", "delete it", _GONE),
        }
        for one in (path, f"{path}/{{id}}"):
            for method in [each for each in self.paths[one] if each != "parameters"]:
                self.paths[one][method]["security"] = list(_SECURITY)

    def _bytes(self, does: str, words: str) -> Value:
        conditions = _params("Range", "IfMatch", "IfNoneMatch", "IfModifiedSince")
        return self._operation(does, words, _FILE, conditions, refusals=(412, 416))

    def _view(self, one: Value, base: str) -> None:
        row, own = self._schema(base.rpartition("/")[2], "Row", rows_of(one["columns"])), one["params"]
        counted = {"type": "array", "items": ref("FacetCount")}
        facets = {"facets": _object(dict.fromkeys(one["facets"], counted), ())} if one["facets"] else {}
        added = _object({name: {} for name in one["totals"]}, ())
        totals = {"totals": added} if one["totals"] else {}
        if one["subtotals"]:
            names = {"enum": [column.name for column in one["columns"]]}
            fields = {"column": _TEXT | names, "value": {}, "totals": added}
            totals["subtotals"] = {"type": "array", "items": _object(fields, tuple(fields))}
        page = self._schema(base.rpartition("/")[2], "Rows", _list_of(ref(row), **facets, **totals))
        needed = [name for name in one["required"] if "default" not in own[name]]
        params = [own_param(name, schema, needed=name in needed) for name, schema in own.items()]
        also = [*(["Facets"] if facets else []), *(["Totals"] if totals else [])]
        params += _params(*_LISTING, *also) + asked_of(one["columns"], own)
        answers = _list_answer(page, ref(row), chart=one["chart"])
        made, wish = {"201": _answer("the link", _content(ref("Link")))}, _content(ref("LinkWish"))
        must = [one for one in params if one["required"]]  # and whatever else the list may be asked
        share = self._operation("share", "make a link to its rows", made, must, body=wish) | {"security": list(_SECURITY)}
        self.paths[base] = {"get": self._operation("list", "its rows", answers, params), "post": share}

    def _people(self, one: Value, base: str) -> None:
        """The form that admin/people is: its records stand below it, and below each what can be done with a person."""
        schema, link = one["schema"], {"link": _TEXT | {"description": "a sign-in link, which is shown this once"}}
        named = self._choices("admin people", schema)
        record = self._schema("admin people", "Record", record_of(schema))
        sent = self._schema("admin people", "Input", input_of(schema, named))
        patch = self._schema("admin people", "Patch", patch_of(schema, named))
        row = self._schema("admin people", "Row", rows_of(one["columns"]))  # without all that a record has
        page = self._schema("admin people", "Rows", _list_of(ref(row)))
        invited = self._schema("admin people", "Invited", {"allOf": [ref(record), _object(link, ())]})
        once, changing = _params("IdempotencyKey"), _params(*_CHANGING)
        found = {"200": _answer("the person", _content(ref(record)), "ETag", "Satchel-Damaged")}
        new_link = _object(
            {"subject": _TEXT, "expires_at": _TEXT | {"format": "date-time"}} | link, ("subject", "expires_at")
        )
        ended, key = _object({"ended": _COUNT}), [_parameter("subject", _KEY, "path")]
        listed = self._operation("list", "its rows", _list_answer(page, ref(row)), self._listing(one))
        made = {"201": _answer("the person and a link", _content(ref(invited)), "ETag", "Location", "Idempotency-Replayed")}
        linked = {"201": _answer("the link", _content(new_link))}
        merged = _content(ref(patch)) | _content(ref(patch), "application/merge-patch+json")
        self.paths[base] = {
            "get": listed, "post": self._operation("invite", "invite somebody", made, once, body=_content(ref(sent))),
        }  # fmt: skip
        self.paths[f"{base}/{{subject}}"] = {
            "parameters": key,
            "get": self._operation("get", "one of them", found | _NOT_MODIFIED, _params("IfNoneMatch")),
            "put": self._operation("replace", "replace", found, changing, body=_content(ref(sent))),
            "patch": self._operation("update", "merge (RFC 7396)", found, changing, body=merged),
            "delete": self._operation("delete", "remove", _GONE, changing),
        }
        for name, does, words, answers in (
            ("link", "link", "a new sign-in link", linked),
            ("sign-out", "sign_out", "end all sessions", {"200": _answer("how many", _content(ended))}),
        ):
            post = self._operation(does, words, answers, once, refusals=_WRITES)
            self.paths[f"{base}/{{subject}}/{name}"] = {"parameters": key, "post": post}

    def _choices(self, name: str, schema: Value) -> dict[str, Value]:
        """References to the schemas of what may be chosen, by field; numbers with a fraction stand where they are used."""
        sent = {field: one for field, one in schema["properties"].items() if not one.get("readOnly")}
        choices = {field: found for field, one in sent.items() if (found := choices_of(one))}
        return {f: ref(self._schema(name, _pascal(f), found)) if "enum" in found else found for f, found in choices.items()}

    def _listing(self, one: Value) -> list[Value]:
        return [*_params(*_LISTING), *asked_of(one["columns"])]

    def _admin(self, one: Value, base: str) -> None:
        if "schema" in one:
            self._people(one, base)
            return
        if "columns" not in one:
            what = _TOLD[base.rpartition("/")[2]]
            told = {"200": _answer(what, _content({"type": "object"}))}
            self.paths[base] = {"get": self._operation("get", what, told)}
            return
        own = [own_param(name, schema, needed=False) for name, schema in one.get("params", {}).items()]
        if base.endswith("/access"):
            row = self._schema("admin access", "Row", rows_of(one["columns"]))
            page = self._schema("admin access", "Rows", _list_of(ref(row), allowed={"type": "boolean"}))
            params = [*own, *_params(*_PAGING)]
            self.paths[base] = {"get": self._operation("list", "who may do what", _list_answer(page, ref(row)), params)}
            return
        order, *filters = asked_of(one["columns"])
        newest = [order | {"schema": _TEXT | {"const": "-id"}}] if any(c.name == "id" for c in one["columns"]) else []
        schema = rows_of(one["columns"])
        schema["properties"] |= {name: {} for name in ("before", "after", "changes") if name in schema["properties"]}
        words = {"anyOf": [{"type": "array", "items": _TEXT}, _TEXT, {"type": "null"}]}
        schema["properties"] |= {name: words for name in ("grants", "roles") if name in schema["properties"]}
        row = self._schema(f"admin {base.rpartition('/')[2]}", "Row", schema)
        page = self._schema(f"admin {base.rpartition('/')[2]}", "Rows", _list_of(ref(row)))
        self.paths[base] = {
            "get": self._operation(
                "list", "its rows", _list_answer(page, ref(row)), [*_params(*_LISTING), *newest, *own, *filters]
            )
        }
        if base.endswith("/tokens"):
            self._tokens(ref(row), base)
        elif base.endswith("/audit"):
            found = self._operation("get", "one of them", {"200": _answer("the entry", _content(ref(row)))})
            self.paths[f"{base}/{{id}}"] = {"parameters": [_parameter("id", _KEY, "path")], "get": found}
        elif base.endswith(("/sessions", "/links")):
            ends = self._operation("end", "end one of them", {"204": _answer("it has ended", None)})
            self.paths[f"{base}/{{id}}"] = {"parameters": [_parameter("id", _KEY, "path")], "delete": ends}
        elif base.endswith("/outbox"):
            found, key = {"200": _answer("the notice", _content(ref(row)))}, [_parameter("id", _KEY, "path")]
            gone = self._operation("drop", "take it out", {"204": _answer("it is gone", None)})
            self.paths[f"{base}/{{id}}"] = {
                "parameters": key, "get": self._operation("get", "one of them", found), "delete": gone,
            }  # fmt: skip
            retry = self._operation("retry", "try it again at once", found, refusals=_WRITES)
            self.paths[f"{base}/{{id}}/retry"] = {"parameters": key, "post": retry}

    def _tokens(self, row: Value, base: str) -> None:
        """What is done with tokens beside listing them."""
        texts: Value = {"type": "array", "items": _TEXT}
        asked = {"subject": _TEXT, "grants": texts, "roles": texts, "expires": _TEXT, "label": _TEXT}
        sent = _object(asked | {"format": {"type": "string", "enum": ["jwt", "short"]}}, ("subject",))
        ref_sent = ref(self._schema("admin tokens", "Input", sent))
        secret = {"token": _TEXT | {"description": "the token, which is shown this once"}, "jti": _TEXT}
        issued = ref(self._schema("admin tokens", "Issued", {"type": "object", "properties": secret, "required": ["jti"]}))
        made = {"201": _answer("the token", _content(issued), "Location", "Idempotency-Replayed")}
        once = _params("IdempotencyKey")
        self.paths[base]["post"] = self._operation("issue", "issue one", made, once, body=_content(ref_sent))
        gone = {"200": _answer("how many", _content(_object({"revoked": _COUNT, "left": _COUNT})))}
        whose = _parameter("subject", _TEXT, required=True)
        self.paths[base]["delete"] = self._operation(
            "revoke_all", "revoke all of one subject", gone, [whose, *once], refusals=_WRITES
        )
        found = {"200": _answer("its row", _content(row))}
        self.paths[f"{base}/{{jti}}"] = {
            "parameters": [_parameter("jti", _KEY, "path")], "get": self._operation("get", "one of them", found),
            "delete": self._operation("revoke", "revoke", {"204": _answer("it is revoked", None)}),
        }  # fmt: skip

    def _files(self, one: Value, base: str) -> None:
        form = _content(ref("FileUpload"), "multipart/form-data")
        stored = {
            str(status): _answer(words, _content(ref("WrittenFile")), "ETag", "Location", "Idempotency-Replayed")
            for status, words in ((200, "the file was replaced"), (201, "the file was made"))
        }
        uploaded = {
            "201": _answer("the files that were stored", _content(ref("WrittenFiles"))),
            "207": _answer("items were stored, and errors tells of each that was not", _content(ref("UploadReport"))),
        }
        wishes = ("MoveWish", "CopyWish", "FolderWish", "TimeWish", "LinkWish")
        sent = form | _content({"anyOf": [ref(name) for name in wishes]})
        made = _content({"anyOf": [ref("WrittenFiles"), ref("Placed"), ref("Link")]})
        into = uploaded | {
            "200": _answer("what was moved or copied, and has replaced what was there, or has another time",
                           _content(ref("Placed")), "ETag"),
            "201": _answer("the files that were stored, what is at a new place, or the link", made, "ETag", "Location",
                           "Idempotency-Replayed"),
        }  # fmt: skip
        tree = _parameter("_tree", _TEXT | {"enum": ["1"]}, words="1 deletes a folder with all that is in it")
        gone = _GONE | {"200": _answer("how much of the folder is gone", _content(ref("FolderGone")))}
        entries = _list_answer("FileEntries", ref("FileEntry"))
        self.paths[base] = {
            "get": self._operation("list", "the top folder", entries, _params(*_PAGING)),
            "post": self._operation("upload", "upload files", uploaded, body=form),
        }
        self.paths[f"{base}/{{path}}"] = {
            "parameters": [_parameter("path", _TEXT | {"maxLength": 255, "pattern": _NAME}, "path", _OF_PATHS)],
            "get": self._bytes("get", "a file, or the list of a folder"),
            "post": self._operation("upload_into", _INTO, into, body=sent),
            "put": self._operation("write", "write a file", stored, _params(*_CHANGING, "IfUnmodifiedSince"), body=_BYTES),
            "delete": self._operation(
                "delete", "delete a file, or a folder", gone, [*_params(*_CHANGING, "IfUnmodifiedSince"), tree]
            ),
        }


_INTO = "upload files into a folder, move or copy what is there, make a folder, set the time of a file, or make a link to it"
_NAME = r"^[^\u0000-\u001f\u007f-\u009f/\\]*[^\u0000-\u001f\u007f-\u009f/\\. ]$"
_OF_PATHS = "a name; of what is in folders all names, with / between them, which %2F is not"
_SECURITY: Sequence[Value] = ({"token": []}, {"basic": []})


def describe(title: str, base: str, described: Sequence[Value]) -> Value:
    """OpenAPI 3.1 of the resources that Host.describe tells of; bodies and parameters as they are declared."""
    found = Description()
    for one in described:
        found.add(one)
    schemes = {
        "token": {"type": "http", "scheme": "bearer", "description": "what `auth issue` prints"},
        "basic": {"type": "http", "scheme": "basic", "description": "any user name, and a token as the password"},
    }
    return {
        "openapi": "3.1.0", "info": {"title": title, "version": app.__version__}, "servers": [{"url": base or "/"}],
        "security": [*_SECURITY, {}], "paths": found.paths,
        "components": {
            "securitySchemes": schemes, "schemas": found.schemas, "responses": _answers(),
            "headers": {name: {"schema": _TEXT, "description": words} for name, words in _HEADERS.items()},
        },
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
        with site.looked_at(may_be_older=True) as found:
            base = site.config.site.url or site.config.site.prefix
            site.print_json(describe(found.title, base, found.describe(None)))
        return 0
