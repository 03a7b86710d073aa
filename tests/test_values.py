"""VALUES: grants, callers, numbers, JSON, paths, names, times and cursors, asked directly."""

from __future__ import annotations

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
    return Caller("ann", grants=tuple(map(parse_grant, grants)), ceiling=most)


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
