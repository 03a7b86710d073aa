"""VALUES: grants, callers, numbers, JSON, paths, names, times and cursors, asked directly."""

from __future__ import annotations

import base64
import json
import math
import uuid
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from typing import Any

import pytest

import app
from app import Action, BadRequest, Caller, covers, parse_grant

# ---- grants


def names(grant: str, address: str) -> bool:
    """Whether a pattern covers an address."""
    return Caller(grants=(parse_grant(f"{grant}:read"),)).may(Action.READ, address)


@pytest.mark.parametrize(
    ("pattern", "inside", "outside"),
    [
        (
            "forms/leave",
            "forms/leave forms/leave/records forms/leave/records/1",
            "forms forms/leav forms/leaves views/leave",
        ),
        ("files/docs/a", "files/docs/a files/docs/a/b files/docs/a/b/c", "files/docs files/docs/ab files/docs/b/a"),
        ("files/docs/*", "files/docs/a files/docs/b.txt files/docs/a/", "files/docs files/docs/ files/docs/a/b files/x/a"),
        ("files/docs/a/*", "files/docs/a/b files/docs/a/b/", "files/docs/a files/docs/a/ files/docs/a/b/c files/docs/b/c"),
        ("forms/leave/records/*", "forms/leave/records/1", "forms/leave forms/leave/records forms/leave/records/1/paper"),
        ("files/docs/*/*", "files/docs/a/b", "files/docs/a files/docs/a/ files/docs/a/b/c"),
        ("files/docs/*/x", "files/docs/a/x files/docs/a/x/y", "files/docs/x files/docs/a files/docs/a/b"),
        ("files/docs/**", "files/docs files/docs/a files/docs/a/b/c", "files files/other forms/docs"),
        ("*", "forms/leave files/docs/a/b admin/audit", ""),
        ("*/*", "forms/leave files/docs/a/b admin/audit", "forms"),
        ("files/*", "files/docs files/docs/a/b/c", "files forms/docs admin/files"),
        ("*/leave", "forms/leave views/leave forms/leave/records/1", "forms forms/other leave"),
        ("admin/*", "admin/audit admin/tokens", "admin forms/admin files/admin/x"),
        ("**", "forms/leave files/docs/a/b admin/audit x", ""),
    ],
)
def test_a_pattern_covers_what_it_names_and_no_more(pattern: str, inside: str, outside: str) -> None:
    assert [one for one in inside.split() if not names(pattern, one)] == []
    assert [one for one in outside.split() if names(pattern, one)] == []


def test_patterns_are_compared_by_whole_segments_and_never_by_their_beginning() -> None:
    assert covers(("files", "docs"), ("files", "docs"))
    for other in (("files", "docs2"), ("files", "doc"), ("Files", "docs"), ("files",), ()):
        assert not covers(("files", "docs"), other)


@pytest.mark.parametrize(
    ("grant", "told"),
    [
        ("forms/leave:read", "forms/leave:read"),
        ("forms/leave:delete,read,read", "forms/leave:read,delete"),
        ("forms/leave:delete,update,create,read", "forms/leave:*"),
        ("**:*", "**:*"),
        ("files/*/a:*", "files/*/a:*"),
        ("files/docs/a:b:read", "files/docs/a%3Ab:read"),
        ("files/docs/plan%20(1).pdf:read", "files/docs/plan%20%281%29.pdf:read"),
        ("files/docs/%c3%bcber:read", "files/docs/%C3%BCber:read"),
        ("files/docs/über:read", "files/docs/%C3%BCber:read"),
        ("files/docs/%61%2Fb:read", "files/docs/a%2Fb:read"),
        ("files/docs/%2A:read", "files/docs/%2A:read"),
        ("files/docs/%2A%2A:read", "files/docs/%2A%2A:read"),
    ],
)
def test_a_grant_is_told_in_its_one_spelling(grant: str, told: str) -> None:
    assert str(parse_grant(grant)) == told
    assert str(parse_grant(told)) == told


def test_a_grant_covers_an_address_however_it_is_percent_encoded() -> None:
    for pattern in ("files/docs/plan (1)@x".replace(" ", "%20"), "files/docs/plan%20%281%29%40x"):
        assert names(pattern, "files/docs/plan%20%281%29%40x")
    assert names("files/docs/%2a", "files/docs/%2A")
    assert not names("files/docs/%2a", "files/docs/a")
    assert not names("files/docs/a%2Fb", "files/docs/a/b")


@pytest.mark.parametrize(
    ("grant", "words"),
    [
        ("forms/leave", "write type/name:action"),
        ("", "write type/name:action"),
        (":read", "write type/name:action"),
        ("forms//leave:read", "write type/name:action"),
        ("/forms/leave:read", "write type/name:action"),
        ("forms/leave/:read", "write type/name:action"),
        ("forms/leave:", "'' is none of"),
        ("forms/leave:read,", "'' is none of"),
        ("forms/leave:write", "'write' is none of"),
        ("forms/leave:read,*", "'*' is none of"),
        ("forms/leave:READ", "'READ' is none of"),
        ("forms/leave: read", "' read' is none of"),
        ("**/leave:read", "last only"),
        ("files/**/x:read", "last only"),
        ("**/**:read", "last only"),
        ("files/a*:read", "one whole segment"),
        ("files/***:read", "one whole segment"),
        ("files/docs/a b:read", "percent-encode spaces"),
        ("files/docs/a\u00a0b:read", "percent-encode spaces"),
        ("files/docs/a\x01b:read", "percent-encode spaces"),
        ("files/./x:read", "no . or .. segment"),
        ("files/../x:read", "no . or .. segment"),
        ("files/%2E%2e/x:read", "no . or .. segment"),
        ("files/docs/%FF:read", "not UTF-8"),
    ],
)
def test_what_is_no_grant_is_refused_with_what_to_write(grant: str, words: str) -> None:
    with pytest.raises(BadRequest) as caught:
        parse_grant(grant)
    assert words in caught.value.message


# ---- callers


def caller(*grants: str, ceiling: tuple[str, ...] | None = None) -> Caller:
    most = None if ceiling is None else tuple(map(parse_grant, ceiling))
    return Caller("ann", grants=tuple(map(parse_grant, grants)), ceilings=() if most is None else (most,))


def test_a_grant_gives_its_own_actions_only() -> None:
    for given in Action:
        ann = caller(f"forms/leave:{given}")
        assert [action for action in Action if ann.may(action, "forms/leave")] == [given]
    assert not any(caller().may(action, "forms/leave") for action in Action)


def test_the_ceiling_of_a_door_takes_away_and_never_gives() -> None:
    ann = caller("forms/leave:create,read", ceiling=("forms/*:create", "views/*:read"))
    assert ann.may(Action.CREATE, "forms/leave")
    assert not ann.may(Action.READ, "forms/leave")
    assert not ann.may(Action.READ, "views/all")
    assert not caller("**:*", ceiling=()).may(Action.READ, "forms/leave")


def test_actions_of_one_grant_and_the_pattern_of_another_make_no_third() -> None:
    ann = caller("forms/leave:create", "views/all:read")
    assert not ann.may(Action.READ, "forms/leave")
    assert not ann.may(Action.CREATE, "views/all")


@pytest.mark.parametrize(("action", "opens"), [("read", True), ("create", True), ("update", False), ("delete", False)])
def test_a_resource_opens_for_who_may_read_or_create(action: str, opens: bool) -> None:
    assert caller(f"forms/leave:{action}").opens("forms/leave") is opens


def test_what_is_required_and_missing_is_named() -> None:
    caller("forms/leave:read").require(Action.READ, "forms/leave/records")
    with pytest.raises(app.Forbidden, match="needs the grant forms/leave/records:delete") as caught:
        caller("forms/leave:read").require(Action.DELETE, "forms/leave/records")
    assert caught.value.needed == "forms/leave/records:delete"


# ---- addresses


@pytest.mark.parametrize(
    ("path", "address"),
    [
        ((), "files/docs"),
        (("a", "b c"), "files/docs/a/b%20c"),
        (("a/b", "..", "*"), "files/docs/a%2Fb/../%2A"),
        (("ü", "a:b@c(d)"), "files/docs/%C3%BC/a%3Ab%40c%28d%29"),
        (("",), "files/docs/"),
    ],
)
def test_an_address_keeps_each_segment_apart(path: tuple[str, ...], address: str) -> None:
    request = app.Request(id="r", action=Action.READ, resource="files/docs", path=path)
    assert request.address == address
    assert app.split_path(address.removeprefix("files/docs").removeprefix("/")) == (path if path != ("",) else ())


@pytest.mark.parametrize(
    ("path", "parts"),
    [
        ("", ()),
        ("a", ("a",)),
        ("a/", ("a", "")),
        ("/", ("", "")),
        ("a%2Fb/c", ("a/b", "c")),
        ("%C3%BC/+", ("ü", "+")),
        ("%zz", ("%zz",)),
    ],
)
def test_a_path_is_split_before_it_is_decoded(path: str, parts: tuple[str, ...]) -> None:
    assert app.split_path(path) == parts


@pytest.mark.parametrize("path", ["%FF", "a/%C3", "%ED%A0%80"])
def test_a_path_that_is_not_utf_8_is_refused(path: str) -> None:
    with pytest.raises(BadRequest, match="not UTF-8"):
        app.split_path(path)


@pytest.mark.parametrize(
    ("parts", "words"),
    [
        (("",), "empty"),
        (("a", ""), "empty"),
        ((".",), "empty, or is . or .."),
        (("a", "..", "b"), "empty, or is . or .."),
        (("a/b",), "slash or backslash"),
        (("a\\b",), "slash or backslash"),
        (("a\0",), "control character"),
        (("a\n",), "control character"),
        (("a\x7f",), "control character"),
        (("a\x85",), "control character"),
        (("\ud800",), "half of a surrogate pair"),
        (("con",), "Windows"),
        (("a", "NUL.txt"), "Windows"),
        (("Com1",), "Windows"),
        (("lpt²",), "Windows"),
        (("aux .tar.gz",), "Windows"),
        (("conin$",), "Windows"),
        (("a.",), "Windows"),
        (("a ",), "Windows"),
        (("...",), "Windows"),
        (("nul. .",), "Windows"),
        (("a" * 256,), "longer than 255 bytes"),
        (("ü" * 128,), "longer than 255 bytes"),
        (("a" * 255, "a" * 255, "a" * 255, "a" * 255, "a"), "longer than 1,024 bytes"),
        (("ü" * 127, "ü" * 127, "ü" * 127, "ü" * 127, "abcdefg"), "longer than 1,024 bytes"),
    ],
)
def test_a_path_that_some_system_cannot_store_is_refused(parts: tuple[str, ...], words: str) -> None:
    with pytest.raises(BadRequest) as caught:
        app.check_path(parts)
    assert words in caught.value.message


@pytest.mark.parametrize(
    "parts",
    [(), ("a",), ("a", "b.txt"), (".a",), ("..a",), ("a..b",), ("console",), ("com",), ("com10",), ("nul-1.txt",), (" a",),
     ("ü" * 127,), ("a" * 255, "a" * 255, "a" * 255, "a" * 255), ("a" * 255, "a" * 255, "a" * 255, "a" * 254, "a")],
)  # fmt: skip
def test_every_other_path_is_one(parts: tuple[str, ...]) -> None:
    assert app.check_path(parts) == "/".join(parts)


# ---- JSON


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("0.1", 0.1),
        ("1e2", 100.0),
        ("-0.0", -0.0),
        ("0.10", 0.1),
        ("1e400", Decimal("1e400")),
        ("0.1000000000000000055", Decimal("0.1000000000000000055")),
        ("12345678901234567890.5", Decimal("12345678901234567890.5")),
        ("9007199254740993.0", Decimal("9007199254740993.0")),
        ("1e-400", Decimal("1e-400")),
    ],
)
def test_a_number_is_read_exactly(text: str, value: float | Decimal) -> None:
    found = app.load_json(text)
    assert (type(found), found) == (type(value), value)
    assert Decimal(app.dump_json(found)) == Decimal(text)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("NaN", "NaN is not JSON"),
        ("[Infinity]", "Infinity is not JSON"),
        ('{"a": -Infinity}', "-Infinity is not JSON"),
        ('{"a": 1, "b": 2, "a": 1}', "the name 'a' stands twice"),
        ('[{"x": {"b": 1, "b": 1}}]', "the name 'b' stands twice"),
        ("", "not JSON"),
        ("{", "not JSON"),
        ("1 2", "not JSON"),
        ("1" * 401, "over 400 digits"),
        ("[" * 100_000, "nested too deeply"),
        ("1e99999999999999999999", "not JSON"),
    ],
)
def test_what_is_no_json_is_refused(text: str, words: str) -> None:
    with pytest.raises(BadRequest) as caught:
        app.load_json(text)
    assert words in caught.value.message


@pytest.mark.parametrize("data", [b'"\xff"', b'"\xe9"', b'"\xed\xa0\x80"', '"a"'.encode("utf-16")])
def test_a_body_that_is_not_utf_8_is_refused(data: bytes) -> None:
    with pytest.raises(BadRequest, match="UTF-8"):
        app.load_json(data)


def test_the_longest_integer_is_read() -> None:
    assert app.load_json("1" * 400) == int("1" * 400)


def test_json_is_written_compactly_and_exactly() -> None:
    value = {"a": [Decimal("1.50"), 1, 0.1, None, True], "ü": "\u2028 \\u0000x"}
    assert app.dump_json(value) == '{"a":[1.50,1,0.1,null,true],"ü":"\u2028 \\\\u0000x"}'
    assert app.load_json(app.dump_json(value)) == value
    assert app.dump_json({"a": [Decimal("2.50")]}, indent=1) == '{\n "a": [\n  2.50\n ]\n}'


@pytest.mark.parametrize("text", ["\0", "\0abc", "\x001", "\x00[1,2", "\x00null"])
def test_a_text_of_a_foreign_database_is_never_written_as_anything_else(text: str) -> None:
    value = [text, {"a": text}, Decimal("1.50")]
    assert app.load_json(app.dump_json(value)) == value


@pytest.mark.parametrize("value", [float("nan"), float("inf"), Decimal("NaN"), Decimal("Infinity"), b"x", {1, 2}])
def test_what_json_cannot_say_is_not_written(value: object) -> None:
    with pytest.raises((ValueError, TypeError)):
        app.dump_json([value])


# ---- values that can be stored


def nested(levels: int, leaf: object = 1) -> object:
    value = leaf
    for _ in range(levels):
        value = [value]
    return value


@pytest.mark.parametrize(
    "value",
    [None, True, 2**63 - 1, -(2**63), 1.5, Decimal("1.5"), "ü\n\t", [], {}, {"a": [1, {"b": "x"}]}, nested(100),
     {"a": nested(99)}],
)  # fmt: skip
def test_every_plain_value_can_be_stored(value: object) -> None:
    assert list(app.check_value(value)) == []


@pytest.mark.parametrize(
    ("value", "faults"),
    [
        (2**63, [("", "integer_size")]),
        (-(2**63) - 1, [("", "integer_size")]),
        ({"a": [0, 2**70]}, [("/a/1", "integer_size")]),
        (float("nan"), [("", "number")]),
        ({"a": float("-inf")}, [("/a", "number")]),
        ([Decimal("NaN")], [("/0", "number")]),
        ({"a": {"b": Decimal("Infinity")}}, [("/a/b", "number")]),
        ("a\0", [("", "text")]),
        ({"a/b": "\ud800"}, [("/a~1b", "text")]),
        ({"~x\0": 1}, [("/~0x?", "text")]),
        ({"\ud800": 1}, [("/?", "text")]),
        ({"a": "\0", "b": ["ok", "\udfff", 2**64]}, [("/a", "text"), ("/b/1", "text"), ("/b/2", "integer_size")]),
        (("a\0",), [("/0", "text")]),
        (nested(101), [("/0" * 101, "depth")]),
        ({"a": nested(100)}, [("/a" + "/0" * 100, "depth")]),
        ({"a": nested(99, {"b": 1})}, [("/a" + "/0" * 99 + "/b", "depth")]),
        (nested(100_000 // 1000, [1]), [("/0" * 101, "depth")]),
    ],
)
def test_every_reason_not_to_store_a_value_is_told_with_its_place(value: object, faults: list[tuple[str, str]]) -> None:
    assert [(fault.pointer, fault.code) for fault in app.check_value(value)] == faults


@pytest.mark.parametrize(
    ("key", "good"),
    [("a", True), ("a" * 512, True), ("ü" * 256, True), ("a b/\n", True), ("", False), ("a" * 513, False),
     ("ü" * 257, False), ("a\0b", False), ("\ud800", False)],
)  # fmt: skip
def test_a_key_has_1_to_512_bytes(key: str, good: bool) -> None:
    assert app.is_key(key) is good
    writes = [app.Insert("t", "ok", {}), app.Update("t", key, {}), app.Delete("u", key)]
    if good:
        app.check_commit(writes)
    else:
        with pytest.raises(app.Invalid) as caught:
            app.check_commit(writes)
        assert [fault.code for fault in caught.value.faults] == ["key", "key"]


@pytest.mark.parametrize(
    "value",
    [{}, {"a": "x\ny", "b": [1, 2.5, True, None]}, {"a": "\0"}, {"a": "\\u0000"}, {"\0": 1}, {"a": ["\ud800"]},
     {"\udfff": 1}, {"a": [{"b": 2**64}]}, {"a": (1, 2)},
     {"a": 2**63 - 1}, {"a": -(2**63)}, {"a": 2**63}, {"a": "9" * 40}, {"a": float("inf")}, {"a": Decimal("NaN")},
     {"a": Decimal("0.1234567890123456789012")}, {"a": [[]] * 200}, {"a": app.Damaged("x")}],
)  # fmt: skip
def test_what_is_stored_is_judged_as_its_parts_are_and_encoded_once(value: dict[str, object]) -> None:
    write, faults = app.Insert("t", "a", value), list(app.check_value(value))
    if faults:
        with pytest.raises(app.Invalid) as caught:
            app.check_commit([write])
        assert list(caught.value.faults) == faults
    else:
        assert app.check_commit([write, app.Delete("t", "b")]) == [app.dump_json(value), "null"]


@pytest.mark.parametrize("levels", [97, 98, 99, 100, 101, 102, 5000])
def test_levels_are_counted_as_check_value_counts_them(levels: int) -> None:
    deep: list[object] = []
    for _ in range(levels - 1):
        deep = [deep]
    write = app.Insert("t", "a", {"a": deep})
    if list(app.check_value(write.value)):
        with pytest.raises(app.Invalid):
            app.check_commit([write])
    else:
        app.check_commit([write])
    assert bool(list(app.check_value(write.value))) is (levels > 100)


def test_what_was_checked_and_encoded_is_put_as_text_into_what_holds_it() -> None:
    inner = app.Encoded({"n": Decimal("0.1234567890123456789012"), "t": 'a"\n\u00fc'})
    outer = app.storable({"at": 1.5, "after": inner, "none": None})
    assert outer.text == app.dump_json(dict(outer)) == app.dump_json(outer)
    assert outer == {"at": 1.5, "after": inner, "none": None}
    whole = app.storable({"outer": outer, "last": "y"})
    assert app.load_json(whole.text) == whole == {"outer": {**outer}, "last": "y"}
    assert app.dump_json(whole, indent=1) == app.dump_json(dict(whole), indent=1)
    assert app.storable({}).text == "{}"
    assert app.check_commit([app.Insert("t", "a", whole)]) == [whole.text]


def test_what_is_not_storable_is_refused_whatever_lies_in_it_as_text() -> None:
    with pytest.raises(app.Invalid) as caught:
        app.storable({"good": app.Encoded({"a": 1}), "bad": {"x": "\0"}})
    assert [fault.pointer for fault in caught.value.faults] == ["/bad/x"]


def test_no_write_carries_what_cannot_be_stored() -> None:
    with pytest.raises(app.Invalid) as caught:
        app.check_commit([app.Insert("t", "a", {"x": 2**63}), app.Update("t", "b", {"y": "\0"}), app.Delete("t", "c")])
    assert [fault.pointer for fault in caught.value.faults] == ["/x", "/y"]


# ---- names


def test_ids_sort_as_they_were_made_whatever_the_clock_says() -> None:
    now = 2_000_000_000.0
    ids = [app.new_id(at) for at in (now, now, now + 0.0001, now - 3600, now, now + 1, now + 1)]
    assert ids == sorted(set(ids))
    threads = 8
    with ThreadPoolExecutor(threads) as pool:
        runs = list(pool.map(lambda _: [app.new_id(now) for _ in range(500)], range(threads)))
    assert len({one for run in runs for one in run}) == threads * 500
    assert all(run == sorted(run) for run in runs)


def test_ids_made_together_sort_among_those_made_one_by_one() -> None:
    before, many, after = app.new_id(0), app.new_ids(0, 5000), app.new_id(0)
    assert [before, *many, after] == sorted({before, *many, after})
    assert {(uuid.UUID(one).version, uuid.UUID(one).variant) for one in many} == {(7, uuid.RFC_4122)}
    assert app.new_ids(0, 0) == []


@pytest.mark.parametrize(
    "text",
    ["0.1", "-0.0", "123456789.12345", "99999999999999.9", "0.000000000001", "1e5", "-1.5E-7", "9007199254740993.0",
     "0.1234567890123456789", "1e400", "999999999999999", "1234567890123456", "nan", "inf", "5e-324"],
)  # fmt: skip
def test_a_number_of_few_digits_is_the_float_that_all_its_digits_say(text: str) -> None:
    found = app.exact_number(text)
    is_exact = math.isfinite(float(text)) and Decimal(repr(float(text))) == Decimal(text)
    wanted = float(text) if is_exact else Decimal(text)
    assert (type(found), str(found)) == (type(wanted), str(wanted))


@pytest.mark.parametrize(
    "value",
    ["", "a\"\\\n\u2028\x7f", "ü", "\\u0000", "\0", "\ud800", 0, -1, 2**63 - 1, 2**63, -(2**63), -(2**63) - 1, 1.0, -0.0,
     0.1, 1e300, float("nan"), float("inf"), True, False, None, Decimal("1.5"), [], {},
     app.Damaged("a"), app.Encoded({"a": 1})],
)  # fmt: skip
def test_the_plain_text_of_a_value_is_its_json_and_of_what_cannot_be_stored_there_is_none(value: Any) -> None:
    text = app.plain_text(value)
    assert not (text and list(app.check_value(value)))
    assert text in ("", json.dumps(value, ensure_ascii=False, separators=(",", ":"), default=str))
    if type(value) in (str, int, bool, type(None)):
        assert bool(text) is not bool(list(app.check_value(value)))


def test_an_id_is_a_uuid_of_version_7_and_its_time() -> None:
    at = 3_000_000_000.123
    one = uuid.UUID(app.new_id(at))
    assert (one.version, one.variant) == (7, uuid.RFC_4122)
    assert one.int >> 80 == 3_000_000_000_123
    assert len(app.new_id(at)) == 32
    assert len({app.new_id(at)[-15:] for _ in range(50)}) == 50


# ---- times


@pytest.mark.parametrize(("at", "text"), [(0, "1970-01-01T00:00:00.000Z"), (1_795_000_000.25, "2026-11-18T11:06:40.250Z")])
def test_a_time_is_written_in_milliseconds_of_utc(at: float, text: str) -> None:
    assert app.rfc3339(at) == text
    assert app.plugin("locale").parse_rfc3339(text) == at


@pytest.mark.parametrize(
    "text",
    [
        "2026-11-18T12:06:40.25+01:00",
        "2026-11-18t11:06:40.250z",
        "2026-11-18 11:06:40.250Z",
        "2026-11-18T06:36:40.250-04:30",
    ],
)
def test_one_instant_has_many_spellings(text: str) -> None:
    assert app.plugin("locale").parse_rfc3339(text) == 1_795_000_000.25


@pytest.mark.parametrize(
    "text",
    ["", "2026-11-18", "2026-11-18T11:06:40", "2026-11-18T11:06Z", "2026-11-18T11:06:40Z ", "2026-11-18T11:06:40.Z",
     "2026-02-30T00:00:00Z", "2026-11-18T25:00:00Z", "2026-11-18T11:06:40+0100", "20261118T110640Z", "2026-11-18_11:06:40Z"],
)  # fmt: skip
def test_what_is_no_time_with_an_offset_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        app.plugin("locale").parse_rfc3339(text)


def test_the_keys_of_instants_sort_as_the_instants_do() -> None:
    instant_key = app.plugin("instants").instant_key
    ascending = [
        "0001-01-01T00:00:00+23:59", "1969-12-31T23:59:59.9Z", "1970-01-01T00:00:00Z", "2026-11-18T12:06:40.1+01:00",
        "2026-11-18T11:06:40.100000000000000001Z", "2026-11-18T11:06:40.11Z", "2026-11-18T11:06:41Z",
        "9999-12-31T23:59:59-23:59",
    ]  # fmt: skip
    keys = [instant_key(text) for text in ascending]
    assert keys == sorted(set(keys))
    same = ("2026-11-18T11:06:40Z", "2026-11-18 12:06:40.000+01:00", "2026-11-18t06:36:40.0-04:30")
    assert len({instant_key(text) for text in same}) == 1
    assert instant_key("2026-11-18T11:06:40") == instant_key("2026-02-30T00:00:00Z") == ""


# ---- cursors and pages


@pytest.mark.parametrize(
    "parts", [(), (1,), ("a", None, True), (Decimal("0.10000000000000000001"), "ü\0"), ([1, {"a": "b"}],)]
)
def test_a_cursor_comes_back_as_it_went(parts: tuple[object, ...]) -> None:
    text = app.encode_cursor(*parts)
    assert set(text) <= set("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_")
    assert app.decode_cursor(text, len(parts)) == list(parts)


@pytest.mark.parametrize(
    "text",
    ["", "!", "x", "é", app.encode_cursor(1), app.encode_cursor(1, 2, 3), app.encode_cursor(1, 2) + "!",
     "!" + app.encode_cursor(1, 2), "!!!!" + app.encode_cursor(1, 2), app.encode_cursor(1, 2)[:-1],
     *(base64.b64encode(data).decode() for data in (b'{"a": 1, "b": 2}', b'"ab"', b"nonsense", b"[1, \xff]", b"[NaN, 1]"))],
)  # fmt: skip
def test_what_is_no_cursor_of_this_list_is_refused(text: str) -> None:
    with pytest.raises(BadRequest, match="_next is not a cursor of this list"):
        app.decode_cursor(text, 2)


@pytest.mark.parametrize(("text", "size"), [(None, 50), ("1", 1), ("050", 50), ("1000", 1000)])
def test_a_page_has_the_size_that_is_asked_for(text: str | None, size: int) -> None:
    assert app.page_bounds({} if text is None else {"_size": text}) == size


@pytest.mark.parametrize("text", ["0", "1001", "", "-1", "+1", "1.0", "1e2", " 1", "٣", "1_0", "9" * 5000])
def test_a_page_of_another_size_is_refused(text: str) -> None:
    with pytest.raises(BadRequest, match="a number from 1 to 1,000"):
        app.page_bounds({"_size": text})


def test_a_list_has_its_own_size_of_a_page() -> None:
    assert app.page_bounds({}, default=7) == 7


def test_an_error_has_the_facts_that_its_class_declares_and_no_others() -> None:
    assert (app.Conflict("x").index, app.Conflict("x", index=3, hint="h").index) == (0, 3)
    assert app.Exists("x", staged="s").staged == "s"
    with pytest.raises(AttributeError, match="needed"):
        app.NotFound("x", needed="forms/leave:create")
