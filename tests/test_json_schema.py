"""RESOURCES: the keywords of a field, by the official tests of JSON Schema (draft 7) that speak of them.

tests/data/json_schema/ holds them unchanged: https://github.com/json-schema-org/JSON-Schema-Test-Suite (MIT, see LICENSE
there). A field has one type, and its limits are asked of values of that type alone; so a schema without a type is asked
once for each type of field that takes its keyword, and values of other types must be faults of the type.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from test_resources import field

import app

SUITE = Path(__file__).parent / "data" / "json_schema"
NUMERIC = ("integer", "number")
TYPES_OF = dict.fromkeys(("minLength", "maxLength", "pattern", "format"), ("string",))
TYPES_OF |= dict.fromkeys(("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"), NUMERIC)
IN_64_BITS = "an integer has 64 bits in every store"
NO_LEAP_SECONDS = "no leap second can be stored as a moment"
LENIENT = "what programs and people use is taken, and mail servers and browsers are stricter or not, as they like"
OURS = {  # tests that a field judges otherwise, and why
    "pattern is not anchored: matches a substring": "our patterns match the whole text",
    "integer: a bignum is an integer": IN_64_BITS,
    "integer: a negative bignum is an integer": IN_64_BITS,
    "number: a bignum is a number": IN_64_BITS,
    "number: a negative bignum is a number": IN_64_BITS,
    "all integers are multiples of 0.5, if overflow is handled: valid if optional overflow handling is implemented": (
        IN_64_BITS
    ),
    "validation of date-time strings: a valid date-time with a leap second, UTC": NO_LEAP_SECONDS,
    "validation of date-time strings: a valid date-time with a leap second, with minus offset": NO_LEAP_SECONDS,
    "validation of e-mail addresses: dot before local part is not valid": LENIENT,
    "validation of e-mail addresses: dot after local part is not valid": LENIENT,
    "validation of e-mail addresses: two subsequent dots inside local part are not valid": LENIENT,
    "validation of URIs: invalid userinfo": LENIENT,
    "validation of URIs: unescaped non US-ASCII characters": LENIENT,
    "validation of URIs: invalid percent-encoding with non-hex digits": LENIENT,
    "validation of URIs: incomplete percent-encoding triplet": LENIENT,
    "validation of URIs: lone percent sign is invalid": LENIENT,
    "validation of URIs: non-numeric port is invalid": LENIENT,
    "validation of URIs: leading zero in an embedded IPv4 address is invalid": LENIENT,
    "validation of URIs: square brackets are not allowed in a path segment": LENIENT,
}


def type_of(value: Any) -> str:
    """The JSON Schema type of a value, as fields have it; "" of null and objects."""
    if isinstance(value, bool):
        return "boolean"
    kinds = {"string": str, "integer": int, "number": (float, app.Decimal), "array": list}
    return next((name for name, kind in kinds.items() if isinstance(value, kind)), "")


def declarations(schema: dict[str, Any], data: Any) -> Iterator[dict[str, Any]]:
    """The settings of each field that says what the schema says; none where no field can."""
    if any(type(limit) is int and abs(limit) >= 2**63 for limit in schema.values()):
        return
    asked, kind = set(schema) - {"type"}, schema.get("type")
    if isinstance(data, list) and (kind == "array" or asked in ({"minItems"}, {"maxItems"}, {"uniqueItems"})):
        kinds = {type_of(item) for item in data} or {"string"}
        if len(kinds) == 1 and kinds <= {"string", *NUMERIC} and schema.get("uniqueItems", True):
            limits = {name: int(schema[name]) for name in asked - {"uniqueItems"}}
            yield {"type": "array", "items": {"type": kinds.pop(), "enum": list(dict.fromkeys(data)) or ["-"]}} | limits
    elif asked == {"enum"}:
        kinds = {type_of(value) for value in schema["enum"]}
        if kinds == {"integer"} or (kinds == {"string"} and "\0" not in schema["enum"][0][5:6]):
            yield {"type": kinds.pop(), "enum": schema["enum"]}
    elif asked <= set(TYPES_OF) and (asked or kind in ("string", "boolean", *NUMERIC)):
        whole = {name: int(limit) for name, limit in schema.items() if name in ("minLength", "maxLength")}
        for one in [kind] if kind else TYPES_OF[min(asked)]:
            yield schema | whole | {"type": one}


def read_cases() -> Iterator[Any]:
    for path in sorted(SUITE.glob("*.json")):
        for group in app.load_json(path.read_bytes()):
            for test in group["tests"]:
                for settings in declarations(group["schema"], test["data"]):
                    name = f"{group['description']}: {test['description']}"
                    valid = test["valid"] is not (name in OURS)
                    yield pytest.param(settings, group["schema"], test["data"], valid, id=f"{name} ({settings['type']})")


CASES = list(read_cases())


@pytest.mark.parametrize(("settings", "schema", "data", "valid"), CASES)
def test_fields_judge_values_as_json_schema_does(settings, schema, data, valid) -> None:
    faults = field(**settings).faults(data, "")
    if "type" not in schema and settings["type"] not in ("array", "integer" if "enum" in schema else ""):
        bare = {"type": settings["type"]}
        if field(**bare).faults(data, ""):
            assert {fault.code for fault in faults} <= {"type", "integer_size", "text"}
            return
    assert (not faults) is valid, faults


ODD = (
    None, True, False, 0, 1, -1, 2**63, -(2**63), 0.5, 2.0, 1e300, float("nan"), float("inf"), Decimal("2"), Decimal("0.1"),
    "", "a", "a\0", "\ud800", "ab\n", app.Damaged("a"), app.Unread("a", "is odd"), [], ["a"], [1], [True], [1.0], ["a", "a"],
    ("a",), {}, {"a": 1},
)  # fmt: skip


def test_the_quick_test_of_a_field_lets_nothing_pass_that_has_a_fault_and_has_the_text_of_the_rest() -> None:
    passed = set()
    declared = {repr(case.values[0]): (case.values[0], case.values[2]) for case in CASES}
    for settings, data in declared.values():
        one = field(**settings)
        quick, one.text_of = one.text_of, lambda value: ""
        for value in (*ODD, data, one.config.minimum, one.config.maximum, *one.config.enum):
            if text := quick(value):
                assert one.faults(value, "") == [], (settings, value)
                stored = one.normal(value)
                assert (type(stored), stored) == (type(value), value)
                assert text == json.dumps(value, ensure_ascii=False, separators=(",", ":"))
                passed.add(settings["type"])
    assert passed == {"string", "number", "integer", "boolean", "array"}


def test_cases_of_every_keyword_are_asked() -> None:
    asked = {name for case in CASES for name in case.values[1]}
    assert asked >= {*TYPES_OF, "type", "enum", "minItems", "maxItems", "uniqueItems"}
    assert len(CASES) > 300
    assert {case.id.rpartition(" (")[0] for case in CASES} >= set(OURS)
