"""ASSEMBLY: one flow for every request. Who is let in, what is stored together, what a failure leaves."""

from __future__ import annotations

import base64
import io
import json
import logging
import os
import sqlite3
import threading
import time
import tomllib
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, NoReturn

import pytest
from sites import PROVIDERS, REGISTRY, Site, registry_with

import app
from app import Action, AppError, Conflict, Forbidden, NotFound, SignInNeeded, StorageFull, Unauthenticated, Unavailable

SWEEPS = app.plugin("sweeps").Sweeps
TOML = """
[roles.staff]
grants = ["forms/leave:create,read"]
[public]
grants = ["files/inbox:create", "forms/open:create"]
[forms.leave]
[forms.leave.fields]
a = { maxLength = 9 }
b = { type = "integer" }
c = { type = "integer" }
doc = { format = "file", files = "files/docs" }
[forms.open.fields]
a = {}
[files.docs]
prefix = "docs/"
[files.inbox]
prefix = "inbox/"
[forms.race.fields]
f0 = { type = "integer" }
f1 = { type = "integer" }
f2 = { type = "integer" }
f3 = { type = "integer" }
f4 = { type = "integer" }
f5 = { type = "integer" }
f6 = { type = "integer" }
f7 = { type = "integer" }
[views.all]
from = "forms/leave"
[apps.desk]
title = "Desk"
"""


class Clock:
    """Stands still until it is turned."""

    def __init__(self) -> None:
        self.now = 1_800_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture(params=["sql", "file"])
def site(request: pytest.FixtureRequest, tmp_path: Path, clock: Clock) -> Iterator[Site]:
    one = Site(tmp_path, PROVIDERS[request.param] + TOML, clock=clock)
    yield one
    one.close()


def provider(site: Site) -> Any:
    return site.app.providers["main"]


def fail(monkeypatch: pytest.MonkeyPatch, site: Site, method: str, error: BaseException, times: int = 10**9) -> None:
    """The provider's method raises for the next `times` calls."""
    real = getattr(provider(site), method)
    left = [times]

    def failing(*args: Any, **kwargs: Any) -> Any:
        if left[0] > 0:
            left[0] -= 1
            raise error
        return real(*args, **kwargs)

    monkeypatch.setattr(provider(site), method, failing)


def fail_commit_of(monkeypatch: pytest.MonkeyPatch, site: Site, table: str, error: BaseException) -> None:
    """Commits that write into the table raise."""
    real = provider(site).commit

    def commit(writes: Sequence[app.Write]) -> Any:
        if any(write.table == table for write in writes):
            raise error
        return real(writes)

    monkeypatch.setattr(provider(site), "commit", commit)


def staged(site: Site) -> int:
    """How many staged contents lie around."""
    one = provider(site)
    if one.kind == "file":
        folder = site.folder / "store" / ".satchel" / "staged"
        return len(list(folder.iterdir())) if folder.exists() else 0
    connection = sqlite3.connect(site.folder / "app.db")
    query = "select count(*) from _loose where expires_at > ?"  # what was replaced is kept for an hour only
    try:
        return int(connection.execute(query, (time.time() + 10_000,)).fetchone()[0])  # which stagers go by
    except sqlite3.OperationalError:
        return 0
    finally:
        connection.close()


def inline(content: bytes = b"x") -> dict[str, str]:
    return {"name": "a.txt", "base64": base64.b64encode(content).decode()}


def sweep(site: Site) -> None:
    SWEEPS({}, site.app.config).run(site.app, threading.Event())


def believe_the_clock(site: Site) -> None:
    """As if the server had run all the time (see tests/test_clock_watch.py)."""
    site.app.state.commit([app.Update("_settings", "clock", {"at": site.app.clock()})])


# ---- who is let in


@pytest.mark.parametrize("action", list(Action))
@pytest.mark.parametrize(
    ("there", "missing"),
    [
        ("forms/leave", "forms/levae"),
        ("forms/leave/records/x", "forms/levae/records/x"),
        ("files/docs/a", "files/dosc/a"),
        ("views/all", "views/lal"),
        ("apps/desk", "apps/dsek"),
        ("admin/audit", "admin/aduit"),
        ("nothing/leave", "nothing/levae"),
    ],
)
def test_a_stranger_cannot_tell_what_is_missing_from_what_is_forbidden(
    site: Site, action: Action, there: str, missing: str
) -> None:
    for by, error in ((site.token("ann", "apps/other:read"), Forbidden), ("", SignInNeeded)):
        told = []
        for address in (there, missing):
            with pytest.raises(error) as caught:
                site.ask(action, address, {}, by=by)
            told.append((caught.value.code, caught.value.status, caught.value.message.replace(address, "ADDRESS")))
        assert told[0] == told[1]


def test_the_body_is_not_read_before_the_caller_is_let_in(site: Site) -> None:
    def decode() -> Any:
        raise AssertionError("the body was read")

    with pytest.raises(Forbidden):
        site.create("forms/leave", by=site.token("ann", "apps/x:read"), decode=decode)
    with pytest.raises(NotFound):
        site.create("forms/none", decode=decode)


def test_who_is_refused_opens_no_provider(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    ann = site.token("ann", "apps/x:read")
    monkeypatch.setattr(site.app.health, "ensure_open_for", lambda *_: pytest.fail("a provider was opened"))
    for by, error in ((ann, Forbidden), ("", SignInNeeded)):
        for action in Action:
            with pytest.raises(error):
                site.ask(action, "forms/leave", by=by)
    with pytest.raises(NotFound):
        site.read("forms/none")


def test_the_ceiling_of_a_door_holds_for_everybody_and_is_told(site: Site) -> None:
    ceiling = (app.parse_grant("forms/leave:create"),)
    made = site.create("forms/leave", {"a": "x"}, ceiling=ceiling)
    with pytest.raises(Forbidden, match="the test door it came through does not allow") as caught:
        site.read(made.location, ceiling=ceiling)
    assert caught.value.needed == f"{made.location}:read"
    with pytest.raises(Forbidden, match=r"^this needs the grant") as caught:
        site.read(made.location, ceiling=ceiling, by=site.token("ann", "forms/leave:create"))
    assert caught.value.needed == f"{made.location}:read"
    read = site.read("apps/desk", ceiling=(app.parse_grant("apps/desk:read"),)).page["scope"].read
    with pytest.raises(Forbidden):
        read("views/all", {})


def test_a_path_has_grants_of_its_own(site: Site) -> None:
    for name in ("a", "b"):
        site.put(f"files/docs/{name}", body=b"x")
    by = site.token("ann", "files/docs/a:read")
    assert site.bytes("files/docs/a", by=by) == b"x"
    for other in ("files/docs/b", "files/docs"):
        with pytest.raises(Forbidden):
            site.read(other, by=by)


def test_a_file_in_a_record_is_read_by_who_may_read_the_record(site: Site) -> None:
    made, other = (site.create("forms/leave", {"doc": inline(content)}) for content in (b"one", b"two"))
    for grant in ("forms/leave:read", "forms/leave/records/*:read", f"{made.location}:read", f"{made.location}/doc:read"):
        assert site.bytes(f"{made.location}/doc", by=site.token("ann", grant)) == b"one"
    for grant in (f"{made.location}:read", "forms/leave:create", "files/docs/**:read", f"{made.location}/doc:read"):
        with pytest.raises(Forbidden) as caught:
            site.read(f"{other.location}/doc", by=site.token("ann", grant))
        assert caught.value.needed == f"{other.location}:read"


def test_a_put_that_is_to_make_a_record_needs_the_grant_to_create(site: Site) -> None:
    address = "forms/leave/records/n"
    with pytest.raises(Forbidden) as caught:
        site.put(address, {"a": "x"}, if_none_match="*", by=site.token("ann", "forms/leave:update"))
    assert caught.value.needed == f"{address}:create"
    assert site.put(address, {"a": "x"}, if_none_match="*", by=site.token("ann", "forms/leave:create")).created
    for write, facts in ((site.put, {}), (site.patch, {"if_none_match": "*"}), (site.put, {"if_match": "1"})):
        with pytest.raises(Forbidden) as caught:
            write(address, {"a": "y"}, by=site.token("ann", "forms/leave:create"), **facts)
        assert caught.value.needed == f"{address}:update"


def test_an_action_that_a_resource_does_not_have_is_told_with_those_it_has(site: Site) -> None:
    for address in ("views/all", "apps/desk", "admin/audit"):
        for action in (Action.CREATE, Action.UPDATE, Action.DELETE):
            with pytest.raises(app.UnsupportedAction, match=f"has no {action}, only read") as caught:
                site.ask(action, address, {})
            assert list(caught.value.allowed) == [Action.READ]


def test_a_refusal_knows_who_was_refused(site: Site) -> None:
    for refused in (
        lambda by: site.create("forms/leave", {}, by=by),
        lambda by: site.read("forms/open/records/none", by=by),
        lambda by: site.create("forms/open", {"b": 1}, by=by),
    ):
        with pytest.raises(AppError) as caught:
            refused(site.token("ann", "forms/open:*"))  # type: ignore[no-untyped-call]
        assert caught.value.subject == "ann"


def test_what_is_missing_is_named_to_who_may_look(site: Site) -> None:
    with pytest.raises(NotFound, match=r"forms/levae; did you mean forms/leave\?"):
        site.read("forms/levae")
    with pytest.raises(NotFound, match=r"there is no views/leave$"):
        site.read("views/leave", by=site.token("ann", "views/leave:read"))


def test_the_public_does_what_it_may_and_is_asked_to_sign_in_for_the_rest(site: Site) -> None:
    site.create("forms/open", {"a": "x"}, by="")
    site.put("files/inbox/a.txt", body=b"x", by="")
    for refused in (
        lambda: site.read("forms/open/records", by=""),
        lambda: site.read("files/inbox/a.txt", by=""),
        lambda: site.create("forms/leave", {}, by=""),
        lambda: site.read("admin/tokens", by=""),
    ):
        with pytest.raises(SignInNeeded):
            refused()  # type: ignore[no-untyped-call]


@pytest.mark.parametrize("credential", ["Bearer x", "Bearer ", "Session x", "Digest x", "Basic !!", "Bearer stl_x", "x"])
def test_a_bad_credential_is_refused_even_where_the_public_may(site: Site, credential: str) -> None:
    with pytest.raises(Unauthenticated):
        site.create("forms/open", {"a": "x"}, by=credential)


def test_roles_count_and_revocation_works_on_the_next_request(site: Site) -> None:
    token = site.app.office.issue(app.Caller("t"), "ann", [], ["staff"], 3600)
    credential = "Bearer " + site.app.authority.jwt(token)
    assert site.create("forms/leave", {"a": "x"}, by=credential).caller.subject == "ann"
    site.app.office.revoke(app.Caller("t"), [token])
    with pytest.raises(Unauthenticated):
        site.create("forms/leave", {"a": "x"}, by=credential)


def test_a_credential_is_judged_at_the_time_it_was_sent(site: Site, clock: Clock) -> None:
    by = site.token("ann", "forms/leave:create", expires_s=60)
    sent_at = clock.now
    clock.now += 3600
    with pytest.raises(Unauthenticated, match="expired"):
        site.create("forms/leave", {"a": "x"}, by=by)
    assert site.create("forms/leave", {"a": "x"}, by=by, sent_at=sent_at).caller.subject == "ann"
    with pytest.raises(Unauthenticated, match="expired"):
        site.create("forms/leave", {"a": "x"}, by=by, sent_at=sent_at + 60)


def test_a_runner_that_asks_in_a_role_gets_what_the_role_may(site: Site) -> None:
    made = site.create("forms/leave", {"a": "x"}, by="", role="staff")
    assert (made.caller.subject, made.data["created_by"]) == ("service:staff", "service:staff")
    with pytest.raises(Forbidden):
        site.create("forms/open", {"a": "x"}, by="", role="staff")
    with pytest.raises(Forbidden):
        site.delete(made.location, by="", role="staff")


def test_a_page_reads_another_resource_as_its_caller(site: Site) -> None:
    read = site.read("apps/desk", by=site.token("ann", "apps/desk:read")).page["scope"].read
    with pytest.raises(Forbidden):
        read("views/all", {})
    read = site.read("apps/desk", by=site.token("bob", "apps/desk:read", "views/all:read")).page["scope"].read
    assert list(read("views/all", {}).table.rows) == []
    with pytest.raises(Forbidden):
        read("forms/leave/records", {})


# ---- audit


def test_every_write_leaves_an_entry_with_what_came_what_changed_or_what_is_gone(site: Site) -> None:
    made = site.create("forms/leave", {"a": "one"})
    site.patch(made.location, {"a": "two"})
    site.delete(made.location)
    key = made.data["id"]
    create, update, delete = site.audit(record=key)
    assert [entry["action"] for entry in (create, update, delete)] == ["create", "update", "delete"]
    assert (create["before"], create["after"]["a"], create["changes"]) == (None, "one", None)
    assert (update["before"], update["after"], update["changes"]) == (None, None, {"a": ["one", "two"]})
    assert (delete["before"]["a"], delete["after"], delete["changes"]) == ("two", None, None)
    for entry in (create, update, delete):
        assert (entry["subject"], entry["outcome"], entry["door"], entry["code"]) == ("root", "ok", "test", "")
        assert entry["token_id"]
        assert entry["request_id"]
        assert app.plugin("locale").parse_rfc3339(entry["at"]) == site.app.clock()


def test_the_entry_of_an_update_has_what_it_changed_and_nothing_else(site: Site) -> None:
    made = site.create("forms/leave", {"a": "one", "b": 1})
    for change in ({"b": 2}, {"b": None}, {"b": 3, "a": "two"}, {"a": "two"}):
        site.patch(made.location, change)
    site.put(made.location, {"b": 4})
    assert [entry["changes"] for entry in site.audit(record=made.data["id"], action="update")] == [
        {"b": [1, 2]},
        {"b": [2, None]},
        {"a": ["one", "two"], "b": [None, 3]},
        {},
        {"a": ["two", None], "b": [3, 4]},
    ]


FULL = """
[forms.leave]
name = "{b}"
[forms.leave.fields]
a = {}
b = { type = "integer" }
"""


class Counted:
    """The texts that were checked, and the objects and texts that were encoded."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.checked: list[str] = []
        self.encoded: list[str] = []
        check, write, encode = app.check_text, app.encode_basestring, json.JSONEncoder.encode  # type: ignore[attr-defined]
        plain = app.plain_text

        def check_text(text: str) -> str:
            self.checked.append(text)
            return check(text)

        def plain_text(value: Any) -> str:
            before = len(self.checked)
            found = plain(value)
            del self.checked[before:]  # by check_text, of which it is the quick form
            self.checked.append(value)
            return found

        def written(text: str) -> str:
            self.encoded.append(text)
            return write(text)

        def counted(encoder: json.JSONEncoder, value: Any) -> str:
            found = encode(encoder, value)
            if isinstance(value, dict):  # the payload of an idempotency key is a list, and for its digest alone
                self.encoded.append(found)
            return found

        patch.setattr(app, "check_text", check_text)
        patch.setattr(app, "plain_text", plain_text)
        patch.setattr(app.plugin("fields"), "plain_text", plain_text)
        patch.setattr(app, "encode_basestring", written)
        patch.setattr(json.JSONEncoder, "encode", counted)

    def times(self, text: str) -> tuple[int, int]:
        """How often the text was checked, and encoded by itself or as a part of an object."""
        return self.checked.count(text), sum(text in one for one in self.encoded)


@pytest.mark.parametrize("size", [1, 3])
def test_a_new_record_is_checked_once_and_encoded_once(
    tmp_path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    site = Site(tmp_path, PROVIDERS["sql"] + FULL, clock=clock)
    records = [{"a": f"text {n}", "b": n} for n in range(size)]
    sent = records if size > 1 else records[0]
    try:
        with monkeypatch.context() as patch:
            counted = Counted(patch)
            made = site.create("forms/leave", sent, idempotency_key="k")
            answer = app.dump_json(made.data)
            assert [counted.times(one["a"]) for one in records] == [(1, 1)] * size  # type: ignore[arg-type]
        rows = made.data["items"] if size > 1 else [made.data]
        assert app.load_json(answer) == made.data
        for row, entry in zip(rows, site.audit(action="create")[-size:], strict=True):
            assert {"id": entry["record"], "version": 1, **entry["after"]} == row
            assert app.dump_json(site.read(f"forms/leave/records/{row['id']}").data) in answer
        again = site.create("forms/leave", sent, idempotency_key="k")
        assert (again.replayed, app.dump_json(again.data)) == (True, answer)
    finally:
        site.close()


def test_what_an_update_leaves_alone_is_checked_once_and_encoded_once(
    tmp_path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = Site(tmp_path, PROVIDERS["sql"] + FULL, clock=clock)
    try:
        made = site.create("forms/leave", {"a": "a text", "b": 1})
        with monkeypatch.context() as patch:
            counted = Counted(patch)
            answer = app.dump_json(site.patch(made.location, {"b": 2}, idempotency_key="k").data)
            assert counted.times("a text") == (1, 1)
        assert app.dump_json(site.read(made.location).data) == answer
    finally:
        site.close()


def test_what_another_program_stored_and_cannot_be_stored_again_is_refused(tmp_path: Path, clock: Clock) -> None:
    site = Site(tmp_path, PROVIDERS["sql"] + FULL, clock=clock)
    try:
        made = site.create("forms/leave", {"a": "one", "b": 1})
        with closing(sqlite3.connect(tmp_path / "app.db")) as database, database:
            database.execute("update leave set data = json_set(data, '$.b', json('9223372036854775808'))")
        with pytest.raises(app.Invalid) as caught:
            site.patch(made.location, {"a": "two"})
        assert [(fault.pointer, fault.code) for fault in caught.value.faults] == [("/b", "integer_size")]
    finally:
        site.close()


def test_a_batch_leaves_an_entry_for_each_record(site: Site) -> None:
    made = site.create("forms/leave", [{"b": 1}, {"b": 2}]).data["items"]
    assert [entry["record"] for entry in site.audit(action="create")] == [row["id"] for row in made]


def test_a_file_operation_leaves_an_intent_and_an_outcome(site: Site) -> None:
    site.put("files/docs/a.txt", body=b"hello")
    site.delete("files/docs/a.txt")
    entries = site.audit(resource="files/docs/a.txt")
    assert [(e["action"], e["outcome"]) for e in entries] == [
        ("create", "intent"),
        ("create", "ok"),
        ("delete", "intent"),
        ("delete", "ok"),
    ]
    assert entries[1]["after"]["size_bytes"] == 5
    assert len(entries[1]["after"]["sha256"]) == 64


def test_an_update_that_made_something_new_is_a_create_in_the_audit_and_the_metrics(site: Site) -> None:
    address = "forms/leave/records/x1"
    for body in (b"one", b"two"):
        site.put("files/docs/a.txt", body=body)
    site.put(address, {"a": "x"}, if_none_match="*")
    site.put(address, {"a": "y"})
    for resource, outcomes in (("files/docs/a.txt", ["intent", "ok"]), (address, ["ok"])):
        told = [(e["action"], e["outcome"]) for e in site.audit(resource=resource)]
        assert told == [(action, outcome) for action in ("create", "update") for outcome in outcomes]
    counted = {key[2:]: numbers[0] for key, numbers in site.app.meters.read().items() if key[0] == "satchel_requests_total"}
    for resource in ("files/docs", "forms/leave"):
        assert [counted[(resource, action, "ok")] for action in ("create", "update")] == [1, 1]


def test_a_denied_update_names_the_action_that_was_missing(site: Site) -> None:
    updates = site.token("ann", "files/docs:update")
    with pytest.raises(Forbidden):
        site.put("files/docs/new", body=b"x", by=updates)
    assert [e["action"] for e in site.audit(outcome="denied")] == ["create"]


def test_a_failed_file_operation_says_so(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    fail(monkeypatch, site, "publish", Unavailable("away"), 1)
    with pytest.raises(Unavailable):
        site.put("files/docs/a.txt", body=b"hello")
    assert [(e["outcome"], e["code"]) for e in site.audit(resource="files/docs/a.txt")] == [
        ("intent", ""),
        ("failed", "unavailable"),
    ]
    assert staged(site) == 0
    with pytest.raises(Stop):
        site.put("files/docs/a.txt", body=b"hello", guard=stopping)
    assert staged(site) == 0


def test_what_is_denied_is_audited_but_for_reads_and_strangers(site: Site) -> None:
    ann = site.token("ann", "files/docs:create")
    site.put("files/docs/a", body=b"x", by=ann)
    for refused in (
        lambda: site.create("forms/leave", {}, by=ann),
        lambda: site.put("files/docs/a", body=b"x", by=ann),
        lambda: site.read("forms/leave/records", by=ann),
        lambda: site.create("forms/leave", {}, by=""),
    ):
        with pytest.raises((Forbidden, SignInNeeded)):
            refused()  # type: ignore[no-untyped-call]
    denied = [(e["resource"], e["action"], e["subject"], e["code"]) for e in site.audit(outcome="denied")]
    assert denied == [
        ("forms/leave", "create", "ann", "insufficient_scope"),
        ("files/docs/a", "update", "ann", "insufficient_scope"),
    ]


def test_every_auth_event_leaves_an_entry_and_no_secret_is_ever_stored(site: Site) -> None:
    by = app.Caller("cli:op")
    token = site.app.office.issue(by, "ann", ["forms/leave:create"], [], 3600)
    secrets = [site.app.authority.jwt(token), site.app.authority.short(token), site.app.office.link(by, token)]
    session, _ = site.app.office.sign_in(secrets[2], "r1")
    secrets.append(session)
    for bad in (secrets[2], "wrong"):
        with pytest.raises(Unauthenticated):
            site.app.office.sign_in(bad, "r2")
    site.create("forms/leave", {"a": "x"}, by="Session " + session)
    site.app.office.sign_out("Session " + session, "r3")
    site.app.office.revoke(by, [token])
    site.app.office.rotate_key(by)
    site.app.office.rotate_key(by)
    site.app.office.retire_key(by, site.app.authority.keys.keys[1].kid)
    events = [(e["action"], e["outcome"]) for e in site.audit(resource="admin/tokens")]
    assert events == [
        ("issue", "ok"),
        ("issue", "ok"),
        ("link", "ok"),
        ("sign_in", "ok"),
        ("sign_in", "denied"),
        ("sign_in", "denied"),
        ("sign_out", "ok"),
        ("revoke", "ok"),
        ("rotate_key", "ok"),
        ("rotate_key", "ok"),
        ("retire_key", "ok"),
    ]
    site.close()
    stored = site.stored_bytes()
    assert b"sign_out" in stored
    for secret in [*secrets, site.root.removeprefix("Bearer ")]:
        assert secret.encode() not in stored
        assert secret.rpartition(".")[2].encode() not in stored


def test_an_auth_event_says_who_did_what_where_and_to_whom(site: Site) -> None:
    by, facts = app.Caller("cli:op"), {"grants": ["forms/leave:create"], "roles": ["staff"]}
    tokens = [site.app.office.issue(by, name, facts["grants"], facts["roles"], 3600) for name in ("ann", "bob")]
    code = site.app.office.link(by, tokens[0])
    session, _ = site.app.office.sign_in(code, "r1")
    with pytest.raises(Unauthenticated):
        site.app.office.sign_in(code, "r2")
    site.app.office.sign_out(f"Session {session}", "r3")
    site.app.office.revoke(by, tokens)
    jtis = [token.jti for token in tokens]
    entries = site.audit(resource="admin/tokens")[1:]
    told = [[e[name] for name in ("action", "subject", "token_id", "door", "outcome", "code", "after")] for e in entries]
    assert told == [
        ["issue", "cli:op", "", "cli", "ok", "", {"jti": jtis[0], "for": "ann", **facts}],
        ["issue", "cli:op", "", "cli", "ok", "", {"jti": jtis[1], "for": "bob", **facts}],
        ["link", "cli:op", "", "cli", "ok", "", {"jti": jtis[0]}],
        ["sign_in", "ann", jtis[0], "http", "ok", "", None],
        ["sign_in", "", "", "http", "denied", "invalid_token", None],
        ["sign_out", "ann", jtis[0], "http", "ok", "", None],
        ["revoke", "cli:op", "", "cli", "ok", "", {"jti": jtis[0]}],
        ["revoke", "cli:op", "", "cli", "ok", "", {"jti": jtis[1]}],
    ]
    assert [e["request_id"] for e in entries if e["door"] == "http"] == ["r1", "r2", "r3"]
    assert all(len(e["request_id"]) == 32 for e in entries if e["door"] == "cli")


def test_who_loses_the_race_for_a_sign_in_link_is_refused_and_audited(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    by = app.Caller("cli:op")
    code = site.app.office.link(by, site.app.office.issue(by, "ann", ["**:*"], [], 3600))
    fail(monkeypatch, site, "commit", Conflict("another one was first"), 1)
    with pytest.raises(Unauthenticated, match="was used already"):
        site.app.office.sign_in(code, "r1")
    denied = [(e["action"], e["code"], e["request_id"]) for e in site.audit(outcome="denied")]
    assert denied == [("sign_in", "invalid_token", "r1")]


def test_who_only_reads_the_tokens_is_no_administrator_yet(site: Site) -> None:
    by = app.Caller("cli:op")
    assert site.app.office.first_code(by)
    for grants, is_one in ((["admin/**:read"], False), (["forms/**:*"], False), (["admin/tokens:create"], True)):
        site.app.office.sign_in(site.app.authority.jwt(site.app.office.issue(by, "ann", grants, [], 3600)), "r")
        assert bool(site.app.office.first_code(by)) is not is_one


def test_a_session_whose_token_is_dead_can_still_be_signed_out(site: Site) -> None:
    by = app.Caller("cli:op")
    token = site.app.office.issue(by, "ann", ["**:*"], [], 3600)
    session, _ = site.app.office.sign_in(site.app.authority.jwt(token), "r1")
    site.app.office.revoke(by, [token])
    site.app.office.sign_out(f"Session {session}", "r2")
    assert [row.value["expires_at"] for row in provider(site).find(app.Query("_sessions")).items] == [site.app.clock()]
    assert [(e["subject"], e["outcome"]) for e in site.audit(action="sign_out")] == [("", "ok")]


def test_guessing_leaves_few_entries_that_say_how_many_they_were(site: Site) -> None:
    for _ in range(70):
        with pytest.raises(Unauthenticated):
            site.app.office.sign_in("x", "r", "203.0.113.7")
    site.app.office.refusals.flush()
    assert [entry["count"] for entry in site.audit(outcome="denied")] == [1, 1, 1, 1, 1, 65]


def test_a_sign_in_link_that_many_use_at_once_lets_one_in(site: Site) -> None:
    token = site.app.office.issue(app.Caller("t"), "ann", ["apps/*:read"], [], 3600)
    code = site.app.office.link(app.Caller("t"), token)
    start = threading.Barrier(8)

    def enter(_: int) -> str:
        start.wait()
        try:
            return site.app.office.sign_in(code, "r")[0]
        except Unauthenticated:
            return ""

    with ThreadPoolExecutor(8) as pool:
        assert sum(map(bool, pool.map(enter, range(8)))) == 1
    assert len(site.items("admin/sessions")) == 1


# ---- one commit


@pytest.mark.parametrize("error", [StorageFull("full"), Unavailable("away")])
def test_a_commit_that_fails_leaves_neither_record_nor_entry_nor_answer(
    site: Site, monkeypatch: pytest.MonkeyPatch, error: AppError
) -> None:
    with monkeypatch.context() as patch:
        fail(patch, site, "commit", error)
        with pytest.raises(type(error)):
            site.create("forms/leave", {"a": "x"}, idempotency_key="k")
    assert site.items("forms/leave/records") == []
    assert site.audit(resource="forms/leave") == []
    made = site.create("forms/leave", {"a": "x"}, idempotency_key="k")
    assert not made.replayed
    assert len(site.audit(resource="forms/leave")) == 1


def test_record_audit_entry_and_idempotency_record_are_one_commit(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    commits: list[list[str]] = []
    real = provider(site).commit
    monkeypatch.setattr(
        provider(site),
        "commit",
        lambda writes: (commits.append([w.table for w in writes]), real(writes))[1],  # type: ignore[func-returns-value]
    )
    site.create("forms/leave", {"a": "x"}, idempotency_key="k")
    assert [tables for tables in commits if "leave" in tables] == [["leave", "_audit", "_requests"]]


BESIDE = """
[providers.main]
kind = "sql"
url = "sqlite:///app.db"
[providers.other]
kind = "file"
root = "other"
[site]
state = "main"
[forms.here]
provider = "main"
fields.a = {}
[forms.there]
provider = "other"
fields.a = {}
"""


def test_entries_and_answers_lie_beside_the_records_they_speak_of(tmp_path: Path, clock: Clock) -> None:
    site = Site(tmp_path, BESIDE, clock=clock)
    main, other = (site.app.providers[name] for name in ("main", "other"))

    def counts(table: str) -> list[int]:
        return [one.count(app.Query(table)) for one in (main, other)]  # type: ignore[attr-defined]

    audited = counts("_audit")
    for address in ("forms/here", "forms/there"):
        first = site.create(address, {"a": "x"}, idempotency_key="k")
        assert site.create(address, {"a": "x"}, idempotency_key="k").data == first.data
    assert counts("_audit") == [audited[0] + 1, audited[1] + 1]
    assert counts("_requests") == [1, 1]
    assert {entry["resource"] for entry in site.audit(action="create")} == {"forms/here", "forms/there"}
    clock.now += 16 * 86400
    sweep(site)
    assert counts("_requests") == [0, 0]
    site.close()


class Stop(Exception):
    """What a guard may raise."""


def stopping() -> None:
    raise Stop


# ---- at the same time


def asked(site: Site, action: str, address: str, data: Any = None, *, by: str | None = None, **facts: Any) -> app.Request:
    kind, name, *path = address.split("/")
    return app.Request(
        id=app.new_id(1_800_000_000), action=Action(action), resource=f"{kind}/{name}", path=tuple(path), door="test",
        data=data, credential=site.root if by is None else by, **facts,
    )  # fmt: skip


def one_by_one(site: Site, request: app.Request) -> Any:
    try:
        return site.app.handle(request)
    except AppError as error:
        return error


def a_bit_of_everything(site: Site) -> list[app.Request]:
    made = site.create("forms/leave", {"a": "old"})
    place = made.location
    staff = site.token("staff", "forms/leave:create")
    return [
        asked(site, "create", "forms/leave", {"a": "one"}, idempotency_key="k1"),
        asked(site, "create", "forms/leave", {"a": "far too long"}),
        asked(site, "create", "forms/leave", {"a": "two"}, by=staff),
        asked(site, "delete", place, by=staff),
        asked(site, "create", "forms/leave", {"a": "three"}, by="Bearer nothing"),
        asked(site, "update", place, {"b": 1}, partial=True),
        asked(site, "create", "forms/gone", {}),
        asked(site, "delete", "forms/leave/records/none"),
        asked(site, "read", "forms/leave/records"),
        asked(site, "create", "forms/leave", [{"a": "four"}, {"a": "five"}]),
        asked(site, "create", "files/docs/x.txt", body=[b"bytes"]),
        asked(site, "create", "forms/open", {"a": "six"}, by=""),
    ]


def told(answer: Any) -> Any:
    """What can be compared of answers that were given at other times and to other ids."""
    if isinstance(answer, AppError):
        return answer.code
    return answer.created, answer.replayed, answer.caller.subject, bool(answer.table)


def kept(site: Site) -> tuple[Any, Any]:
    rows = sorted((row["a"] or "", row["b"] or 0, row["version"]) for row in site.items("forms/leave/records?_size=1000"))
    entries = [
        (e["subject"], e["action"], e["outcome"], e["code"], (e["after"] or {}).get("a"))
        for e in site.audit()
        if not str(e["resource"]).startswith("admin")
    ]
    return rows, sorted(map(str, entries))


def test_at_the_same_time_everything_is_answered_and_stored_as_one_by_one(tmp_path: Path, clock: Clock) -> None:
    found = []
    for threads in (12, 1):
        site = Site(tmp_path / str(threads), PROVIDERS["sql"] + TOML, clock=clock)
        with ThreadPoolExecutor(threads) as pool:
            answers = list(pool.map(lambda request, where=site: one_by_one(where, request), a_bit_of_everything(site)))
        found.append(([told(answer) for answer in answers], kept(site)))
        site.close()
    assert found[0] == found[1]
    assert [told(answer) for answer in answers].count("validation_failed") == 1


# ---- guards


@pytest.mark.parametrize("key", ["", "k"])
def test_a_guard_that_raises_stops_everything(site: Site, key: str) -> None:
    for write in (
        lambda: site.create("forms/leave", {"a": "x", "doc": inline()}, guard=stopping, idempotency_key=key),
        lambda: site.put("files/docs/a.txt", body=b"x", guard=stopping, idempotency_key=key),
    ):
        with pytest.raises(Stop):
            write()  # type: ignore[no-untyped-call]
    assert site.items("forms/leave/records") == []
    assert site.items("files/docs") == []
    assert staged(site) == 0
    assert site.audit(outcome="ok", door="test") == []
    assert not site.create("forms/leave", {"a": "x"}, idempotency_key=key).replayed
    assert not site.put("files/docs/a.txt", body=b"y", idempotency_key=key).replayed


def test_the_guard_is_asked_right_before_the_commit(site: Site) -> None:
    def check() -> None:
        assert len(site.items("files/docs/uploads/leave")) == 1  # its bytes are there
        assert site.items("forms/leave/records") == []

    site.create("forms/leave", {"doc": inline()}, guard=check)
    assert len(site.items("forms/leave/records")) == 1


def test_a_read_asks_no_guard(site: Site) -> None:
    site.read("forms/leave", guard=stopping)


def test_bytes_of_a_record_go_when_its_commit_fails(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    made = site.create("forms/leave", {"doc": inline(b"old")})
    with monkeypatch.context() as patch:
        fail_commit_of(patch, site, "leave", StorageFull("full"))
        for write in (
            lambda: site.create("forms/leave", {"doc": inline()}),
            lambda: site.patch(made.location, {"doc": inline(b"new")}),
        ):
            with pytest.raises(StorageFull):
                write()  # type: ignore[no-untyped-call]
        with pytest.raises(StorageFull):
            site.delete(made.location)
    assert len(site.items("files/docs/uploads/leave")) == 1
    assert site.bytes(made.data["doc"]["address"]) == b"old"
    assert staged(site) == 0


def test_bytes_of_a_record_go_with_it_and_when_others_take_their_place(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    def kept() -> int:
        return sum(isinstance(one, app.Blob) for one in provider(site).scan())

    made = site.create("forms/leave", {"doc": inline(b"one")})
    changed = site.patch(made.location, {"doc": inline(b"two")})
    assert kept() == 1
    site.patch(made.location, {"a": "x"})
    assert site.bytes(changed.data["doc"]["address"]) == b"two"
    site.delete(made.location)
    assert kept() == 0
    stays = site.create("forms/leave", {"doc": inline(b"one")})
    fail(monkeypatch, site, "remove", Unavailable("away"))
    site.delete(stays.location)
    with pytest.raises(NotFound):
        site.read(stays.location)


def test_the_first_failure_is_told_and_not_that_of_the_tidying(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    fail_commit_of(monkeypatch, site, "leave", Unavailable("the first"))
    for method in ("remove", "discard"):
        fail(monkeypatch, site, method, Unavailable("the second"))
    with pytest.raises(Unavailable, match="the first"):
        site.create("forms/leave", {"doc": inline()})


def test_bytes_of_a_batch_go_when_one_of_them_cannot_be_staged(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    real = provider(site).stage
    calls: list[int] = []

    def stage(chunks: Any, path: str) -> Any:
        calls.append(1)
        if len(calls) == 3:
            raise StorageFull("full")
        return real(chunks, path)

    monkeypatch.setattr(provider(site), "stage", stage)
    with pytest.raises(StorageFull):
        site.create("forms/leave", [{"doc": inline()} for _ in range(4)])
    assert staged(site) == 0
    assert site.items("files/docs") == []


@pytest.mark.parametrize("method", ["stage", "publish", "commit"])
def test_a_full_disk_leaves_the_old_file_whole(site: Site, monkeypatch: pytest.MonkeyPatch, method: str) -> None:
    site.put("files/docs/a.txt", body=b"old")
    with monkeypatch.context() as patch:
        fail(patch, site, method, StorageFull("full"))
        for path in ("a.txt", "b.txt"):
            with pytest.raises(StorageFull) as error:
                site.put("files/docs/" + path, body=b"new")
            assert error.value.status == 507
    assert [row["name"] for row in site.items("files/docs")] == ["a.txt"]
    assert site.bytes("files/docs/a.txt") == b"old"
    assert staged(site) == 0


def test_a_file_that_another_changes_meanwhile_is_neither_replaced_nor_removed(site: Site) -> None:
    """The guard is asked after everything was looked up, and here it is the other one."""
    address = "files/docs/a"

    def others() -> None:
        site.put(address, body=b"theirs")

    for meanwhile in (
        lambda etag: site.put(address, body=b"mine", if_match=etag, guard=others),
        lambda etag: site.delete(address, if_match=etag, guard=others),
    ):
        etag = site.put(address, body=b"old").etag
        with pytest.raises(app.PreconditionFailed):
            meanwhile(etag)  # type: ignore[no-untyped-call]
        assert site.bytes(address) == b"theirs"
    for made_meanwhile in (
        lambda: site.put(address, body=b"mine", if_none_match="*", guard=others),
        lambda: site.create(address, body=b"mine", guard=others),
        lambda: site.put(address, body=b"mine", by=site.token("ann", "files/docs:create"), guard=others),
    ):
        site.delete(address)
        with pytest.raises((app.PreconditionFailed, Conflict)):
            made_meanwhile()  # type: ignore[no-untyped-call]
        assert site.bytes(address) == b"theirs"
    with pytest.raises(NotFound):
        site.delete(address, guard=lambda: site.delete(address) and None)
    assert staged(site) == 0


def test_a_deletion_whose_server_died_can_be_repeated(site: Site, monkeypatch: pytest.MonkeyPatch, clock: Clock) -> None:
    class Killed(BaseException): ...

    def note(*entry: Any) -> None:
        raise Killed

    site.put("files/docs/a", body=b"x")
    with monkeypatch.context() as patch:
        patch.setattr(site.app.audit, "best_effort", note)
        with pytest.raises(Killed):
            site.delete("files/docs/a", idempotency_key="k")
    with pytest.raises(Conflict, match="at work"):
        site.delete("files/docs/a", idempotency_key="k")
    clock.now += 61
    assert not site.delete("files/docs/a", idempotency_key="k").replayed
    assert site.delete("files/docs/a", idempotency_key="k").replayed
    with pytest.raises(NotFound):
        site.delete("files/docs/a", idempotency_key="other")


def test_an_upload_that_is_cut_off_leaves_the_old_file_whole(site: Site) -> None:
    site.put("files/docs/a.txt", body=b"old")

    def cut() -> Iterator[bytes]:
        yield b"new"
        raise app.BadRequest("the body ended early")

    with pytest.raises(app.BadRequest):
        site.put("files/docs/a.txt", body=cut())
    assert site.bytes("files/docs/a.txt") == b"old"
    assert staged(site) == 0


def test_a_stored_upload_is_not_failed_by_a_lost_outcome(
    site: Site, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    real = provider(site).commit

    def commit(writes: Sequence[Any]) -> Any:
        if any(getattr(w, "value", {}).get("outcome") == "ok" for w in writes):
            raise StorageFull("full")
        return real(writes)

    monkeypatch.setattr(provider(site), "commit", commit)
    with caplog.at_level(logging.ERROR, "satchel"):
        assert site.put("files/docs/a.txt", body=b"x").created
    assert "an audit entry was lost" in caplog.text
    assert site.bytes("files/docs/a.txt") == b"x"


# ---- idempotency


def test_a_repeat_gets_the_first_answer(site: Site) -> None:
    for ask in (
        lambda: site.create("forms/leave", {"a": "x", "doc": inline()}, idempotency_key="1"),
        lambda: site.create("forms/leave", [{"b": 1}, {"b": 2}], idempotency_key="2"),
        lambda: site.put("files/docs/a.txt", body=b"x", idempotency_key="3"),
        lambda: site.create("files/docs/b.txt", body=b"x", idempotency_key="4"),
        lambda: site.delete("files/docs/b.txt", idempotency_key="5"),
    ):
        first, second = ask(), ask()  # type: ignore[no-untyped-call]
        assert not first.replayed
        assert second.replayed
        for name in ("data", "created", "location", "etag"):
            assert getattr(first, name) == getattr(second, name)
    assert len(site.items("forms/leave/records")) == 3
    assert len(site.items("files/docs/uploads/leave")) == 1


def test_a_repeated_update_or_delete_of_a_record_has_one_effect(site: Site) -> None:
    made = site.create("forms/leave", {"b": 1})
    one = site.patch(made.location, {"b": 2}, if_match="1", idempotency_key="u")
    assert site.patch(made.location, {"b": 2}, if_match="1", idempotency_key="u").data == one.data
    site.delete(made.location, idempotency_key="d")
    assert site.delete(made.location, idempotency_key="d").replayed


def test_a_key_that_is_used_for_something_else_is_refused(site: Site) -> None:
    made = [site.create("forms/leave", {"b": number}) for number in range(2)]
    site.create("forms/leave", {"a": "x"}, idempotency_key="k")
    site.put("files/docs/a.txt", body=b"x", idempotency_key="k")
    site.patch(made[0].location, {"b": 5}, idempotency_key="k")
    for other in (
        lambda: site.create("forms/leave", {"a": "y"}, idempotency_key="k"),
        lambda: site.create("forms/leave", [{"a": "x"}], idempotency_key="k"),
        lambda: site.put("files/docs/a.txt", body=b"y", idempotency_key="k"),
        lambda: site.put("files/docs/b.txt", body=b"x", idempotency_key="k"),
        lambda: site.put("files/docs/a.txt", body=b"x", idempotency_key="k", params={"a": "b"}),
        lambda: site.patch(made[1].location, {"b": 5}, idempotency_key="k"),
        lambda: site.put(made[0].location, {"b": 5}, idempotency_key="k"),
        lambda: site.patch(made[0].location, {"b": 6}, idempotency_key="k"),
    ):
        with pytest.raises(app.IdempotencyConflict):
            other()  # type: ignore[no-untyped-call]
    assert [row["name"] for row in site.items("files/docs")] == ["a.txt"]


def test_a_file_in_a_record_is_a_part_of_what_makes_two_requests_the_same(site: Site) -> None:
    def send(name: str, content: bytes, **others: str) -> Any:
        data = {"doc": [app.Upload(name, io.BytesIO(content))]} | {field: [text] for field, text in others.items()}
        return site.create("forms/leave", data, typed=False, idempotency_key="k")

    first = send("a.txt", b"one", a="x", b="1")
    again = site.create(
        "forms/leave",
        {"b": ["1"], "a": ["x"], "doc": [app.Upload("a.txt", io.BytesIO(b"one"))]},
        typed=False,
        idempotency_key="k",
    )  # the order of fields says nothing
    assert (again.replayed, again.data) == (True, first.data)
    for other in (("b.txt", b"one", "x"), ("a.txt", b"two", "x"), ("a.txt", b"one", "y")):
        with pytest.raises(app.IdempotencyConflict):
            send(other[0], other[1], a=other[2], b="1")
    assert len(site.items("forms/leave/records")) == 1


def test_an_answer_is_remembered_for_fifteen_days(site: Site, clock: Clock) -> None:
    by = site.token("ann", "**:*", expires_s=30 * 86_400)
    asks = [
        lambda: site.create("forms/leave", {"a": "x"}, idempotency_key="k", by=by),
        lambda: site.put("files/docs/a", body=b"x", idempotency_key="k", by=by),
        lambda: site.delete("files/docs/a", idempotency_key="k", by=by),
    ]
    first = [ask() for ask in asks]  # type: ignore[no-untyped-call]
    for days, replayed in ((0.001, True), (1, True), (14.98, True), (15.1, False)):
        clock.now = 1_800_000_000 + days * 86_400
        believe_the_clock(site)
        sweep(site)
        if replayed:
            again = [ask() for ask in asks]  # type: ignore[no-untyped-call]
            assert [one.replayed for one in again] == [True, True, True]
            assert [one.data for one in again] == [one.data for one in first]
    assert not asks[0]().replayed


def first_look_finds(monkeypatch: pytest.MonkeyPatch, site: Site, stored: app.Record | None) -> None:
    """The next look for a remembered answer finds this."""
    real, looks = provider(site).get, [0]

    def get(table: str, key: str) -> Any:
        if table != "_requests":
            return real(table, key)
        looks[0] += 1
        return real(table, key) if looks[0] > 1 else stored

    monkeypatch.setattr(provider(site), "get", get)


def test_of_two_repeats_of_what_died_one_is_done(site: Site, monkeypatch: pytest.MonkeyPatch, clock: Clock) -> None:
    class Killed(BaseException): ...

    def put() -> Any:
        return site.put("files/docs/a.txt", body=b"x", idempotency_key="k")

    with monkeypatch.context() as patch:
        fail(patch, site, "publish", Killed())
        patch.setattr(site.app.audit, "best_effort", lambda *entry: None)  # what a dead process cannot write
        with pytest.raises(Killed):
            put()
    for after_s, over_in_s in ((10, 50), (49.5, 1)):
        clock.now += after_s
        with pytest.raises(app.Busy) as caught:
            put()
        assert caught.value.over_in_s == over_in_s
    clock.now += 0.5
    dead = provider(site).find(app.Query("_requests")).items
    assert not put().replayed
    first_look_finds(monkeypatch, site, dead[0])
    assert put().replayed
    assert [entry["outcome"] for entry in site.audit(resource="files/docs/a.txt")].count("ok") == 1


def test_a_key_belongs_to_its_subject_and_resource(site: Site) -> None:
    ann, bob = (site.token(name, "**:*") for name in ("ann", "bob"))
    answers = [
        site.create("forms/leave", {"a": "x"}, by=ann, idempotency_key="k"),
        site.create("forms/leave", {"a": "x"}, by=bob, idempotency_key="k"),
        site.create("forms/open", {"a": "x"}, by=ann, idempotency_key="k"),
    ]
    assert not any(answer.replayed for answer in answers)


def test_a_repeat_is_authorised_anew(site: Site) -> None:
    token = site.app.office.issue(app.Caller("t"), "ann", ["forms/leave:create"], [], 3600)
    by = "Bearer " + site.app.authority.jwt(token)
    site.create("forms/leave", {"a": "x"}, by=by, idempotency_key="k")
    site.app.office.revoke(app.Caller("t"), [token])
    with pytest.raises(Unauthenticated):
        site.create("forms/leave", {"a": "x"}, by=by, idempotency_key="k")


def race(work: Callable[[], Any], threads: int = 8) -> list[Any]:
    """What each of the threads got: an answer or an AppError."""
    start = threading.Barrier(threads)

    def run(_: int) -> Any:
        start.wait()
        try:
            return work()
        except AppError as error:
            return error

    with ThreadPoolExecutor(threads) as pool:
        return list(pool.map(run, range(threads)))


@pytest.mark.parametrize("data", [{"a": "x"}, [{"b": 1}, {"b": 2}], {"doc": inline()}])
def test_racing_repeats_of_a_submission_have_one_effect_and_one_answer(site: Site, data: Any) -> None:
    for attempt in range(4):
        answers = race(lambda key=str(attempt): site.create("forms/leave", data, idempotency_key=key))  # type: ignore[misc]
        assert [answer for answer in answers if isinstance(answer, AppError)] == []
        assert len({json.dumps(answer.data) for answer in answers}) == 1
        assert sum(not answer.replayed for answer in answers) == 1
    count = 4 * (len(data) if isinstance(data, list) else 1)
    assert len(site.items("forms/leave/records")) == count
    assert len(site.audit(action="create", resource="forms/leave")) == count
    assert len(site.items("files/docs/uploads/leave") if "doc" in data else []) == 4 * ("doc" in data)
    assert staged(site) == 0


@pytest.mark.parametrize("action", [Action.CREATE, Action.UPDATE])
def test_racing_repeats_of_an_upload_have_one_effect(site: Site, action: Action) -> None:
    site.put("files/docs/first.txt", body=b"x")
    for attempt in range(4):
        address = f"files/docs/{attempt}.txt"
        answers = race(lambda where=address: site.ask(action, where, body=b"x", idempotency_key="k" + where))  # type: ignore[misc]
        done = [answer for answer in answers if not isinstance(answer, AppError)]
        assert all(isinstance(answer, Conflict) for answer in answers if answer not in done), answers  # still at work
        assert sum(not answer.replayed for answer in done) == 1
        assert len({answer.etag for answer in done}) == 1
        again = site.ask(action, address, body=b"x", idempotency_key="k" + address)
        assert again.replayed
        assert again.etag == done[0].etag
        assert [e["outcome"] for e in site.audit(resource=address)].count("ok") == 1
    assert staged(site) == 0


def blind_once(monkeypatch: pytest.MonkeyPatch, site: Site) -> None:
    """The next look for a remembered answer finds nothing: the first request commits just after it."""
    first_look_finds(monkeypatch, site, None)


def test_who_loses_a_race_with_the_same_request_gets_its_answer(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    record = site.create("forms/leave", {"a": "x"}).location
    for write in (
        lambda key: site.put("files/docs/a", body=b"x", idempotency_key=key),
        lambda key: site.create("files/docs/b", body=b"x", idempotency_key=key),
        lambda key: site.put("files/docs/c", body=b"x", idempotency_key=key, if_none_match="*"),
        lambda key: site.create("forms/leave", {"a": "x"}, idempotency_key=key),
        lambda key: site.put(record, {"a": "y"}, idempotency_key=key, if_match="1"),
        lambda key: site.put("forms/leave/records/n", {"a": "y"}, idempotency_key=key, if_none_match="*"),
    ):
        key = app.new_id(0)
        first = write(key)  # type: ignore[no-untyped-call]
        with monkeypatch.context() as patch:
            blind_once(patch, site)
            again = write(key)  # type: ignore[no-untyped-call]
        assert (first.replayed, again.replayed, again.etag, again.data) == (False, True, first.etag, first.data)
        assert (again.created, again.location) == (first.created, first.location)
    assert staged(site) == 0


def test_who_loses_a_race_with_another_request_of_the_same_key_is_refused(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    site.put("files/docs/a", body=b"x", idempotency_key="k")
    site.create("forms/leave", {"a": "x"}, idempotency_key="k")
    for other in (
        lambda: site.put("files/docs/a", body=b"y", idempotency_key="k"),
        lambda: site.create("forms/leave", {"a": "y"}, idempotency_key="k"),
    ):
        with monkeypatch.context() as patch:
            blind_once(patch, site)
            with pytest.raises(app.IdempotencyConflict):
                other()  # type: ignore[no-untyped-call]
    assert site.bytes("files/docs/a") == b"x"
    assert [row["a"] for row in site.items("forms/leave/records")] == ["x"]


@pytest.mark.parametrize(("losses", "wins"), [(7, True), (8, False)])
def test_an_update_without_a_condition_is_tried_eight_times(
    site: Site, monkeypatch: pytest.MonkeyPatch, losses: int, wins: bool
) -> None:
    made = site.create("forms/leave", {"a": "x"})
    fail(monkeypatch, site, "commit", Conflict("another one was first"), losses)
    if wins:
        assert site.put(made.location, {"a": "y"}).data["a"] == "y"
    else:
        with pytest.raises(Conflict):
            site.put(made.location, {"a": "y"})


def test_an_upload_is_tried_once_because_its_body_is_read(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, key in (("a", "k"), ("b", "")):
        with monkeypatch.context() as patch:
            fail(patch, site, "commit", Conflict("another one was first"), 1)
            with pytest.raises(Conflict):
                site.put(f"files/docs/{name}", body=iter([b"x"]), idempotency_key=key)
    assert site.items("files/docs") == []
    assert staged(site) == 0


@pytest.mark.parametrize(
    ("action", "grants", "facts"),
    [
        (Action.CREATE, "*", {}),
        (Action.UPDATE, "*", {}),
        (Action.UPDATE, "*", {"if_none_match": "*"}),
        (Action.UPDATE, "create", {}),
    ],
)
def test_an_upload_whose_server_died_after_it_was_stored_can_be_repeated(
    site: Site, monkeypatch: pytest.MonkeyPatch, clock: Clock, action: Action, grants: str, facts: Any
) -> None:
    class Killed(BaseException): ...

    def note(*entry: Any) -> None:
        raise Killed

    facts = {"by": site.token("ann", f"files/docs:{grants}"), "idempotency_key": "k", **facts}
    with monkeypatch.context() as patch:
        patch.setattr(site.app.audit, "best_effort", note)
        with pytest.raises(Killed):
            site.ask(action, "files/docs/a.txt", body=b"x", **facts)
    assert site.bytes("files/docs/a.txt") == b"x"
    clock.now += 61
    for replayed in (False, True):
        assert site.ask(action, "files/docs/a.txt", body=b"x", **facts).replayed is replayed
    if facts.get("if_none_match") or grants == "create" or action == Action.CREATE:
        with monkeypatch.context() as patch:
            patch.setattr(site.app.audit, "best_effort", note)
            with pytest.raises(Killed):
                site.ask(action, "files/docs/b.txt", body=b"x", **facts | {"idempotency_key": "other"})
        clock.now += 61
        site.put("files/docs/b.txt", body=b"theirs")
        with pytest.raises(Conflict):
            site.ask(action, "files/docs/b.txt", body=b"x", **facts | {"idempotency_key": "other"})
        assert site.bytes("files/docs/b.txt") == b"theirs"
    assert staged(site) == 0


def test_an_update_with_a_condition_is_tried_once(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    made = site.create("forms/leave", {"a": "x"})
    fail(monkeypatch, site, "commit", Conflict("another one was first"), 1)
    with pytest.raises(app.PreconditionFailed, match="changed meanwhile"):
        site.put(made.location, {"a": "y"}, if_match="1")
    assert site.read(made.location).data["a"] == "x"
    fail(monkeypatch, site, "commit", Conflict("another one was first"), 1)
    assert site.create("forms/leave", {"a": "z"}, if_match="1").created, "where there is nothing to match"


def test_an_upload_whose_server_died_can_be_repeated_after_a_minute(
    site: Site, monkeypatch: pytest.MonkeyPatch, clock: Clock
) -> None:
    class Killed(BaseException): ...

    with monkeypatch.context() as patch:
        fail(patch, site, "publish", Killed())
        patch.setattr(site.app.audit, "best_effort", lambda *entry: None)  # what a dead process cannot write
        with pytest.raises(Killed):
            site.put("files/docs/a.txt", body=b"x", idempotency_key="k")
    with pytest.raises(Conflict, match="at work"):
        site.put("files/docs/a.txt", body=b"x", idempotency_key="k")
    clock.now += 61
    assert site.put("files/docs/a.txt", body=b"x", idempotency_key="k").created
    assert site.put("files/docs/a.txt", body=b"x", idempotency_key="k").replayed


def test_the_repeat_of_an_upload_whose_server_died_stored_an_empty_file(
    site: Site, monkeypatch: pytest.MonkeyPatch, clock: Clock
) -> None:
    class Killed(BaseException): ...

    with monkeypatch.context() as patch:
        fail(patch, site, "publish", Killed())
        patch.setattr(site.app.audit, "best_effort", lambda *entry: None)  # what a dead process cannot write
        with pytest.raises(Killed):
            site.put("files/docs/a.txt", body=iter([b"whole"]), idempotency_key="k")
    clock.now += 61
    with pytest.raises(app.IdempotencyConflict):
        site.put("files/docs/a.txt", body=iter([b"other"]), idempotency_key="k")
    assert staged(site) == 0
    assert site.put("files/docs/a.txt", body=iter([b"whole"]), idempotency_key="k").created
    assert site.bytes("files/docs/a.txt") == b"whole"


def test_a_failed_upload_can_be_repeated_at_once(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    fail(monkeypatch, site, "publish", Unavailable("away"), 1)
    with pytest.raises(Unavailable):
        site.put("files/docs/a.txt", body=b"x", idempotency_key="k")
    assert site.put("files/docs/a.txt", body=b"x", idempotency_key="k").created


# ---- races


def test_racing_updates_without_a_condition_lose_nothing_that_was_acknowledged(site: Site) -> None:
    names = [f"f{number}" for number in range(8)]
    made = site.create("forms/race", dict.fromkeys(names, 0))
    acknowledged = dict.fromkeys(names, 0)
    refused: list[app.Conflict] = []

    def work(name: str) -> None:
        for number in range(1, 26):
            try:
                site.patch(made.location, {name: number})
                acknowledged[name] = number
            except Conflict as error:
                refused.append(error)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(work, names))
    record = site.read(made.location).data
    assert {name: record[name] for name in names} == acknowledged
    assert record["version"] == 1 + 200 - len(refused) == 1 + len(site.audit(action="update"))
    assert len(refused) < 100


def test_racing_patches_of_one_record_all_end_with_2xx_or_conflict(site: Site) -> None:
    made = site.create("forms/leave", {"b": 0})
    answers = race(lambda: [site.patch(made.location, {"a": "x"}).data["version"] for _ in range(5)])
    versions = [version for answer in answers if not isinstance(answer, AppError) for version in answer]
    assert len(set(versions)) == len(versions)
    assert {type(answer) for answer in answers} <= {list, Conflict}
    assert site.read(made.location).data["version"] == 1 + len(site.audit(action="update"))


def test_of_racing_updates_with_if_match_one_wins(site: Site) -> None:
    made = site.create("forms/leave", {"b": 0})
    answers = race(lambda: site.patch(made.location, {"b": 1}, if_match="1"))
    assert sum(isinstance(answer, app.Response) for answer in answers) == 1
    assert sum(isinstance(answer, app.PreconditionFailed) for answer in answers) == 7
    made_file = site.put("files/docs/a", body=b"x")
    answers = race(lambda: site.put("files/docs/a", body=b"y", if_match=made_file.etag))
    assert sum(isinstance(answer, app.Response) for answer in answers) == 1


def test_a_deleted_record_stays_deleted_in_a_race_with_updates(site: Site) -> None:
    made = site.create("forms/leave", {"b": 0})
    answers = race(lambda: site.delete(made.location) if threading.get_ident() % 2 else site.patch(made.location, {"b": 1}))
    if any(isinstance(a, app.Response) and a.data is None for a in answers):
        with pytest.raises(NotFound):
            site.read(made.location)


# ---- providers that are away


AWAY = """
[site]
state = "main"
[providers.main]
kind = "sql"
url = "sqlite:///app.db"
[providers.far]
kind = "flaky"
root = "far"
[forms.near]
provider = "main"
fields.a = {}
[forms.far]
provider = "far"
fields.a = {}
[files.far]
provider = "far"
"""


class ComesAndGoes(app.Records):
    """What is asked of a provider that goes away and comes back."""

    kind = "flaky"
    away = False

    def _check(self) -> None:
        if type(self).away:
            raise Unavailable(f"{self.name} is away")

    def open(self) -> None:
        self._check()
        super().open()  # type: ignore[safe-super]

    def ping(self) -> float:
        self._check()
        return super().ping()  # type: ignore[safe-super]

    def commit(self, writes: Sequence[app.Write]) -> list[app.Record]:
        self._check()
        return super().commit(writes)  # type: ignore[safe-super]


class Flaky(ComesAndGoes, app.plugin("file").FileProvider):  # type: ignore[misc]
    """Files and records in a folder."""

    def find(self, query: app.Query) -> app.Page:
        self._check()
        return super().find(query)  # type: ignore[safe-super]

    def stage(self, chunks: Any, path: str = "") -> app.Staged:
        self._check()
        return super().stage(chunks)  # type: ignore[no-any-return]


@pytest.mark.parametrize("from_the_start", [True, False])
def test_a_provider_that_is_away_takes_only_its_own_resources_with_it(tmp_path: Path, from_the_start: bool) -> None:
    Flaky.away = from_the_start
    site = Site(tmp_path, AWAY, registry=registry_with(Flaky))
    Flaky.away = True
    for asked in (
        lambda: site.create("forms/far", {"a": "x"}),
        lambda: site.read("forms/far/records"),
        lambda: site.put("files/far/a", body=b"x"),
        lambda: site.read("admin/audit"),
    ):
        with pytest.raises(Unavailable):
            asked()  # type: ignore[no-untyped-call]
    site.create("forms/near", {"a": "x"})
    site.read("")
    assert site.app.ready() == {"main": "ok", "far": "far is away"}
    assert [(f.pointer, f.code) for f in site.app.inspection.check()] == [("providers.far", "unavailable")]
    Flaky.away = False
    assert site.app.ready() == {"main": "ok", "far": "ok"}
    site.create("forms/far", {"a": "x"})
    site.put("files/far/a", body=b"x")
    assert len(site.items("forms/far/records")) == 1
    site.close()


class FlakySql(ComesAndGoes, app.SqlProvider):
    """A database in which a table exists only once it was prepared."""

    opened: ClassVar[list[str]] = []

    def open(self) -> None:
        FlakySql.opened.append(self.name)
        super().open()

    def get(self, table: str, key: str) -> app.Record | None:
        self._check()
        if not self._pool.is_open:
            raise Unavailable(f"{self.name} was never opened")
        return super().get(table, key)

    def prepare(self, tables: Any) -> None:
        self._check()
        super().prepare(tables)

    def select(self, select: app.Select) -> app.Rows:
        self._check()
        return super().select(select)


FLAKY_SQL = """
[providers.far]
kind = "flaky"
url = "sqlite:///far.db"
[forms.far]
provider = "far"
fields.a = {}
[views.far]
provider = "far"
sql = "select key from far"
"""


@pytest.fixture
def flaky() -> Iterator[app.Registry]:
    FlakySql.away, FlakySql.opened = False, []
    yield registry_with(FlakySql)
    FlakySql.away = False


def test_a_database_that_was_away_at_the_start_gets_its_tables_when_it_is_back(tmp_path: Path, flaky: Any) -> None:
    FlakySql.away = True
    site = Site(tmp_path, PROVIDERS["sql"] + FLAKY_SQL, registry=flaky)
    for _ in range(2):
        with pytest.raises(Unavailable) as caught:
            site.items("views/far")
        assert caught.value.retry_after_s > 0
    FlakySql.opened.clear()
    site.read("")
    site.items("admin/tokens")
    assert FlakySql.opened == []  # what does not need it does not wait for it
    FlakySql.away = False
    assert site.items("views/far") == []
    site.create("forms/far", {"a": "x"})
    assert len(site.items("views/far")) == 1
    assert FlakySql.opened == ["far"]
    site.close()


STATE_AWAY = """
[site]
state = "far"
[providers.main]
kind = "sql"
url = "sqlite:///app.db"
[forms.open]
provider = "main"
fields.a = {}
[files.open]
provider = "main"
[public]
grants = ["forms/open:create,read", "files/open:create,read"]
"""


@pytest.mark.parametrize("from_the_start", [True, False])
def test_without_state_the_public_is_served_and_tokens_get_503_and_never_401(
    tmp_path: Path, flaky: Any, from_the_start: bool
) -> None:
    toml = STATE_AWAY + FLAKY_SQL
    site = Site(tmp_path, toml, registry=flaky)
    session, _ = site.app.office.sign_in(site.root.removeprefix("Bearer "), "r")
    site.put("files/open/a.txt", body=b"x")
    if from_the_start:
        site.app.close()
        FlakySql.away = True
        site.app.open()
    FlakySql.away = True
    for credential in (site.root, "Session " + session):
        with pytest.raises(Unavailable):
            site.items("forms/open/records", by=credential)
    for secret in ("x" * 43, site.root.removeprefix("Bearer ")):
        with pytest.raises(Unavailable):
            site.app.office.sign_in(secret, "r")
    made = site.create("forms/open", {"a": "x"}, by="", idempotency_key="k")
    assert site.create("forms/open", {"a": "x"}, by="", idempotency_key="k").replayed
    assert site.read(made.location, by="").data == made.data
    assert site.bytes("files/open/a.txt", by="") == b"x"
    with pytest.raises(Unavailable):  # its intent could not be stored
        site.put("files/open/b.txt", body=b"x", by="")
    with pytest.raises(SignInNeeded):
        site.delete(made.location, by="")
    assert site.app.ready() == {"main": "ok", "far": "far is away"}
    FlakySql.away = False
    assert len(site.items("forms/open/records")) == 1
    site.put("files/open/b.txt", body=b"x", by="")
    assert site.read("forms/open/records", by="Session " + session).table
    site.close()


def test_providers_that_hang_are_told_together_and_in_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    site = Site(
        tmp_path, PROVIDERS["sql"] + '[providers.b]\nkind = "file"\nroot = "b"\n[providers.c]\nkind = "file"\nroot = "c"\n'
    )
    come_back, asked = threading.Event(), threading.Barrier(2)

    def hang() -> float:
        asked.wait()  # broken unless both are asked at the same time
        come_back.wait(30)
        return 0.0

    monkeypatch.setattr(app, "_PING_S", 0.2)
    for name in ("b", "c"):
        monkeypatch.setattr(site.app.providers[name], "ping", hang)
    late = "provider {} gave no answer within 0.2 seconds"
    assert site.app.ready() == {"main": "ok", "b": late.format("b"), "c": late.format("c")}
    come_back.set()

    def broken() -> float:
        raise ZeroDivisionError

    monkeypatch.setattr(site.app.providers["b"], "ping", broken)
    monkeypatch.setattr(site.app.providers["c"], "ping", lambda: 0.0)
    with pytest.raises(ZeroDivisionError):  # a bug is not a provider that is away
        site.app.ready()
    site.close()


# ---- what providers have to have


class Declared(app.plugin("file").FileProvider):  # type: ignore[misc]
    """A provider whose tables are made on demand and never silently."""

    kind = "declared"
    made: ClassVar[set[str]] = set()
    away = False

    def create(self, tables: Any, bar: Any = None) -> list[str]:
        if Declared.away:
            raise Unavailable(f"{self.name} is away")
        new = [f"{self.name}-{table}" for table in tables if f"{self.name}-{table}" not in Declared.made]
        Declared.made |= set(new)
        return [f"table {name}" for name in new]

    def get(self, table: str, key: str) -> app.Record | None:
        self._check(table)
        return super().get(table, key)  # type: ignore[no-any-return]

    def commit(self, writes: Sequence[app.Write]) -> list[app.Record]:
        for write in writes:
            self._check(write.table)
        return super().commit(writes)  # type: ignore[no-any-return]

    def _check(self, table: str) -> None:
        if f"{self.name}-{table}" not in Declared.made:
            raise app.ConfigError(f"provider {self.name} has no table {table}: run server check --create")


CREATED = """
[providers.main]
kind = "declared"
root = "main"
[providers.beside]
kind = "declared"
root = "beside"
[providers.unused]
kind = "declared"
root = "unused"
[forms.leave]
fields.a = {}
[forms.other]
provider = "beside"
fields.a = {}
[files.docs]
provider = "unused"
"""


def test_what_is_never_made_silently_is_told_by_check_and_made_by_create(tmp_path: Path) -> None:
    Declared.made, Declared.away = set(), False
    registry = registry_with(Declared)
    raw = tomllib.loads(CREATED)
    one = app.App(app.read_config(raw, tmp_path, "app.toml", registry.provider_settings), registry)
    missing = {(fault.pointer, fault.detail.split(":")[0]) for fault in one.inspection.check()}
    beside = "_audit _requests _seals _comments _drafts".split()
    state = {
        *beside,
        *"_tokens _sessions _links _outbox _settings _people _passwords _imports _filters _shares _usage _touched".split(),
        *"_locks _properties _uploads _kept".split(),
    }
    assert missing == {
        ("forms.leave.table", "provider main has no table leave"),
        ("forms.other.table", "provider beside has no table other"),
        *(("providers.main", f"provider main has no table {table}") for table in state),
        *(("providers.beside", f"provider beside has no table {table}") for table in beside),
    }
    made, faults = one.inspection.create()
    assert faults == []
    assert set(made) == {f"main: table main-{table}" for table in state | {"leave"}} | {
        f"beside: table beside-{table}" for table in ("other", *beside)
    }
    assert one.inspection.check() == []
    assert one.inspection.create() == ([], [])
    one.close()
    site = Site(tmp_path, CREATED, registry=registry)  # every table that is ever written is among them
    code = site.app.office.link(app.Caller("t"), site.app.office.issue(app.Caller("t"), "ann", ["**:*"], [], 3600))
    site.app.office.sign_in(code, "r")
    assert site.app.office.first_code(app.Caller("t")) == ""
    site.create("forms/leave", {"a": "x"}, idempotency_key="k")
    site.create("forms/other", {"a": "x"}, idempotency_key="k")
    site.put("files/docs/a", body=b"x", idempotency_key="k")
    site.close()


def test_a_provider_that_is_away_does_not_keep_the_others_from_being_made(tmp_path: Path) -> None:
    Declared.made, Declared.away = set(), False

    class Away(Declared):
        kind = "away"

        def create(self, tables: Any, bar: Any = None) -> list[str]:
            raise Unavailable("beside is away")

    registry = registry_with(Declared, Away)
    raw = tomllib.loads(CREATED.replace('beside]\nkind = "declared"', 'beside]\nkind = "away"'))
    one = app.App(app.read_config(raw, tmp_path, "app.toml", registry.provider_settings), registry)
    made, faults = one.inspection.create()
    assert len(made) == 22
    assert faults == [app.Fault("providers.beside", "unavailable", "beside is away")]
    one.close()


def test_close_and_open_again_keeps_everything(site: Site) -> None:
    made = site.create("forms/leave", {"a": "x"})
    site.app.close()
    site.app.close()
    with pytest.raises(Unavailable):
        site.read(made.location)
    site.app.open()
    assert site.read(made.location).data == made.data


# ---- the first sign-in, and what is swept


def test_a_first_code_is_given_until_an_administrator_signed_in(site: Site) -> None:
    by = app.Caller("cli:op")
    first, second = site.app.office.first_code(by), site.app.office.first_code(by)
    assert first
    assert second not in ("", first)
    token = site.app.office.issue(by, "ann", ["forms/leave:create"], [], 3600)
    site.app.office.sign_in(site.app.authority.jwt(token), "r")
    third = site.app.office.first_code(by)
    for replaced in (first, second):
        with pytest.raises(app.Unauthenticated):
            site.app.office.sign_in(replaced, "r")
    session, seconds = site.app.office.sign_in(third, "r")
    assert seconds == 90 * 86400
    assert site.app.office.first_code(by) == ""
    assert site.read("admin/tokens", by="Session " + session).table


def test_unused_first_codes_leave_one_person_and_one_link_however_many_there_were(site: Site) -> None:
    for _ in range(4):
        site.app.office.first_code(app.Caller("cli:op"))
    assert [row["grants"] for row in site.items("admin/people")] == [["**:*"]]
    assert site.app.state.count(app.Query("_links")) == 1
    link = site.app.office.link(
        app.Caller("cli:op"), site.app.office.issue(app.Caller("cli:op"), "ann", ["**:read"], [], 600)
    )
    site.app.office.first_code(app.Caller("cli:op"))
    assert site.app.state.count(app.Query("_links")) == 2, "those of others stay"
    assert site.app.office.sign_in(link, "r")


def test_old_answers_sessions_and_links_are_swept(site: Site, clock: Clock) -> None:
    site.create("forms/leave", {"a": "x"}, idempotency_key="old")
    token = site.app.office.issue(app.Caller("t"), "ann", ["**:*"], [], 100 * 86400)
    site.app.office.sign_in(site.app.authority.jwt(token), "r")
    site.app.office.link(app.Caller("t"), token)
    by = "Bearer " + site.app.authority.jwt(token)
    clock.now += 14 * 86400
    site.create("forms/leave", {"a": "x"}, by=by, idempotency_key="young")
    clock.now += 2 * 86400
    sweep(site)
    records = provider(site)
    assert [row.value["digest"] for row in records.find(app.Query("_requests")).items] != []
    assert records.count(app.Query("_requests")) == 1
    assert records.count(app.Query("_links")) == 0


def test_no_request_waits_for_a_sweep(site: Site, clock: Clock) -> None:
    site.create("forms/leave", {"a": "x"}, idempotency_key="old")
    by = site.token("ann", "**:*", expires_s=30 * 86400)
    clock.now += 16 * 86400
    site.create("forms/leave", {"a": "x"}, by=by)
    assert provider(site).count(app.Query("_requests")) == 1


def test_one_place_that_cannot_be_swept_keeps_no_other_from_it(
    tmp_path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = Site(tmp_path, BESIDE, clock=clock)
    for address in ("forms/here", "forms/there"):
        site.create(address, {"a": "x"}, idempotency_key="old")
    clock.now += 16 * 86400
    fail(monkeypatch, site, "walk", Unavailable("away"))
    with pytest.raises(Unavailable):
        sweep(site)
    counts = [one.count(app.Query("_requests")) for one in site.app.providers.values()]  # type: ignore[attr-defined]
    assert sorted(counts) == [0, 1]
    site.close()


def test_a_sweep_has_every_provider_remove_what_was_left_behind(
    tmp_path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = Site(tmp_path, BESIDE, clock=clock)
    swept: list[float] = []
    for one in site.app.providers.values():
        monkeypatch.setattr(one, "sweep", swept.append)
    sweep(site)
    assert len(site.app.providers) >= 2
    assert swept == [clock.now] * len(site.app.providers)
    site.close()


def test_a_sweep_that_is_stopped_begins_nothing_more(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    stop = threading.Event()
    stop.set()
    monkeypatch.setattr(provider(site), "walk", lambda query: pytest.fail("it was swept"))
    SWEEPS({}, site.app.config).run(site.app, stop)


# ---- jobs

jobs_plugin = app.plugin("jobs")


class Counting(app.Job):
    kind, scope = "counting", "node"

    def __init__(self, every_s: float, works: Callable[[], None] = lambda: None) -> None:
        self.every_s, self.works = every_s, works  # type: ignore[misc]
        self.runs = 0

    def run(self, one: app.App, stop: threading.Event) -> None:
        self.runs += 1
        self.works()


def test_each_job_is_run_when_it_is_due(site: Site, tmp_path: Path) -> None:
    clock = Clock()
    hourly, often = Counting(3600), Counting(10)
    jobs = jobs_plugin.Jobs(site.app, [hourly, often], tmp_path / "jobs.lock", clock)
    assert jobs.step() == 10
    found = []
    for after_s in (10, 20, 25, 60, 61, 3659, 3660):
        clock.now = Clock().now + after_s
        found.append((jobs.step(), hourly.runs, often.runs))
    assert [runs for _, *runs in found] == [[0, 1], [0, 2], [0, 2], [1, 3], [1, 3], [1, 4], [2, 4]]
    assert [wait_s for wait_s, *_ in found] == [10, 10, 5, 10, 9, 1, 9]
    jobs.stop()


def test_a_job_that_raises_is_logged_and_tried_again_at_its_next_time(
    site: Site, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def raising() -> NoReturn:
        raise Unavailable("the database is away")

    clock = Clock()
    bad, good = Counting(10, raising), Counting(10)
    jobs = jobs_plugin.Jobs(site.app, [bad, good], tmp_path / "jobs.lock", clock)
    for _ in range(2):
        clock.now += 10
        assert jobs.step() == 10
    assert (bad.runs, good.runs) == (2, 2)
    assert [record.getMessage() for record in caplog.records] == [
        "the job counting failed and is run again in 10 seconds: the database is away"
    ] * 2
    jobs.stop()


def test_one_process_of_a_data_folder_runs_the_jobs_and_another_goes_on_after_it(site: Site, tmp_path: Path) -> None:
    clock = Clock()
    first, second = Counting(10), Counting(10)
    one, two = (jobs_plugin.Jobs(site.app, [job], tmp_path / "jobs.lock", clock) for job in (first, second))
    for _ in range(3):
        clock.now += 10
        one.step()
        two.step()
    assert (first.runs, second.runs) == (3, 0)
    one.stop()
    two.step()
    assert (first.runs, second.runs) == (3, 1)
    two.stop()


def test_a_job_of_the_site_is_run_by_one_node_until_that_has_ended(site: Site, tmp_path: Path, clock: Clock) -> None:
    here, there = Counting(10), Counting(10)
    here.scope = there.scope = "site"  # type: ignore[misc]
    one, two = (jobs_plugin.Jobs(site.app, [job], tmp_path / f"{n}.lock", clock) for n, job in enumerate((here, there)))
    for _ in range(30):
        clock.now += 10
        one.step()
        two.step()
    assert (here.runs, there.runs) == (30, 0)
    runs = []  # while the first one is dead, or does not answer
    for _ in range(7):
        clock.now += 10
        two.step()
        runs.append(there.runs)
    assert runs[1] == 0, "the lease of the other one lasts"
    assert runs[-1] > 0
    two.stop()
    before = here.runs
    one.step()
    assert here.runs == before + 1, "who ends gives the lease back, and nobody has to wait for it"
    one.stop()


def test_a_job_of_the_site_that_is_due_seldom_is_run_by_one_node_too(site: Site, tmp_path: Path, clock: Clock) -> None:
    here, there = Counting(3600), Counting(3600)
    here.scope = there.scope = "site"  # type: ignore[misc]
    one, two = (jobs_plugin.Jobs(site.app, [job], tmp_path / f"{n}.lock", clock) for n, job in enumerate((here, there)))
    began_at, next_at = clock.now, {one: clock.now, two: clock.now + 1}

    def go_on(nodes: Sequence[Any], hours: int) -> None:
        until = began_at + hours * 3600
        while (node := min(nodes, key=next_at.__getitem__)) and next_at[node] < until:
            clock.now = max(clock.now, next_at[node])
            next_at[node] = clock.now + max(node.step(), 1)

    go_on([one, two], 3)
    assert (here.runs, there.runs) == (3, 0)
    one.stop()
    go_on([two], 4)
    assert there.runs == 1, "what is overdue is run as soon as the lease of the other one is over"
    two.stop()


def test_jobs_of_the_site_wait_while_state_is_away_and_others_do_not(
    site: Site, tmp_path: Path, clock: Clock, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(*args: object) -> NoReturn:
        raise Unavailable("the database is away")

    own, of_site = Counting(10), Counting(10)
    of_site.scope = "site"  # type: ignore[misc]
    jobs = jobs_plugin.Jobs(site.app, [own, of_site], tmp_path / "jobs.lock", clock)
    with monkeypatch.context() as patch:
        patch.setattr(site.app.state, "get", away)
        clock.now += 10
        assert jobs.step() == 10
    assert (own.runs, of_site.runs) == (1, 0)
    assert caplog.messages == ["the jobs of the site wait: the database is away"]
    jobs.step()
    assert of_site.runs == 1
    jobs.stop()


def test_a_server_runs_the_jobs_until_it_is_closed(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    ran = threading.Event()
    monkeypatch.setattr(SWEEPS, "every_s", 0.01)
    monkeypatch.setattr(SWEEPS, "run", lambda self, one, stop: ran.set())
    site.app.open()
    assert not (site.app.config.site.data / "jobs.lock").exists(), "commands that open the App run none"
    site.app.runs_jobs = True
    site.app.open()
    assert ran.wait(30)
    site.app.close()
    assert "jobs" not in {thread.name for thread in threading.enumerate()}
    os.close(jobs_plugin.lock_file(site.app.config.site.data / "jobs.lock"))


def test_the_limit_of_a_form_body_counts_its_files(site: Site) -> None:
    assert site.app.held.body_limit("forms/leave") == 20_000_000
    assert site.app.held.body_limit("forms/open") == site.app.held.body_limit("nope") == 10_000_000
    assert site.app.held.body_limit("files/docs") == 2_010_000_000, "one file of the share, and what else the page sends"


def test_sealed_texts_are_read_back_for_their_purpose(site: Site) -> None:
    sealed = site.app.seal("a", "text")
    assert site.app.unseal("a", sealed) == "text"
    assert site.app.unseal("b", sealed) is None


def test_the_last_use_of_a_token_is_noted_to_the_minute(site: Site, clock: Clock) -> None:
    site.create("forms/leave", {"a": "x"})
    row = site.items("admin/tokens?subject=root")[0]
    assert app.plugin("locale").parse_rfc3339(row["used_at"]) == clock.now // 60 * 60


@pytest.mark.parametrize("why", [Unavailable, app.NotPermitted])
def test_a_provider_that_may_not_be_used_stops_no_start_and_no_reader(
    site: Site, monkeypatch: pytest.MonkeyPatch, clock: Clock, why: type[AppError]
) -> None:
    def refuse(*args: object) -> NoReturn:
        raise why("the database may not be used")

    with monkeypatch.context() as patch:
        patch.setattr(type(provider(site)), "open", refuse)
        site.app.close()
        site.app.open()
        assert site.app.ready()["main"] == "the database may not be used"
    site.app.open()
    clock.now += 120
    with monkeypatch.context() as patch:
        patch.setattr(type(provider(site)), "commit", refuse)
        assert site.items("forms/leave/records") == [], "that it was used cannot be noted"


# ---- a provider that is not atomic


class Single(app.plugin("file").FileProvider):  # type: ignore[misc]
    """One write a commit, as some services are."""

    kind = "single"
    atomic = False

    def commit(self, writes: Sequence[app.Write]) -> list[app.Record]:
        if len(writes) > 1:
            raise app.Unsupported("one write at a time")
        return super().commit(writes)  # type: ignore[no-any-return]


def test_a_form_on_a_provider_that_is_not_atomic_has_intent_and_outcome_beside_state(tmp_path: Path) -> None:
    toml = AWAY.replace("flaky", "single")
    site = Site(tmp_path, toml, registry=registry_with(Single))
    made = site.create("forms/far", {"a": "x"}, idempotency_key="k")
    assert site.create("forms/far", {"a": "x"}, idempotency_key="k").data == made.data
    assert len(site.items("forms/far/records")) == 1
    assert [(e["outcome"], e["record"]) for e in site.audit(resource="forms/far")] == [
        ("intent", made.data["id"]),
        ("ok", made.data["id"]),
    ]
    site.close()


def test_an_upload_is_read_once_and_again_for_a_retry(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    made = site.create("forms/leave", {"b": 1})
    real = provider(site).commit
    raced: list[int] = []

    def commit(writes: Sequence[Any]) -> Any:
        if not raced and any(isinstance(write, app.Update) and write.table == "leave" for write in writes):
            raced.append(1)
            record = provider(site).get("leave", made.data["id"])
            real([app.Update("leave", record.key, record.value | {"c": 7}, record.version)])
        return real(writes)

    monkeypatch.setattr(provider(site), "commit", commit)
    upload = app.Upload("a.txt", io.BytesIO(b"bytes"))
    changed = site.patch(made.location, {"doc": [upload], "b": ["2"]}, typed=False).data
    assert (changed["b"], changed["version"]) == (2, 3)
    assert site.bytes(changed["doc"]["address"]) == b"bytes"
    assert staged(site) == 0


def test_a_batch_on_a_provider_that_is_not_atomic_is_refused_whole(tmp_path: Path) -> None:
    site = Site(tmp_path, AWAY.replace("flaky", "single"), registry=registry_with(Single))
    with pytest.raises(app.Unsupported, match="one record a request"):
        site.create("forms/far", [{"a": "x"}, {"a": "y"}])
    assert site.items("forms/far/records") == []
    assert site.audit(resource="forms/far") == []
    site.create("forms/far", [{"a": "x"}])
    assert len(site.items("forms/far/records")) == 1
    assert provider_tables(site, "far") == ["far"]  # entries and request ids are beside state, nowhere else
    site.items("admin/audit")
    site.close()


def provider_tables(site: Site, name: str) -> list[str]:
    found = site.app.providers[name].tables()  # type: ignore[attr-defined]
    return list(found)


@pytest.mark.parametrize(
    ("site_toml", "told"),
    [
        ('[site]\nstate = "far"\n', "names far, a single provider"),
        ("", "is missing: main, a single provider"),
    ],
)
def test_state_on_a_provider_that_is_not_atomic_is_a_fault_that_names_others(
    tmp_path: Path, site_toml: str, told: str
) -> None:
    names = ("main", "good", "far") if not site_toml else ("far", "good", "main")
    toml = site_toml + "".join(
        f'[providers.{name}]\nkind = "{kind}"\nroot = "{name}"\n'
        for name, kind in zip(names, ("single", "file", "file"), strict=True)
    )
    with pytest.raises(app.ConfigError) as caught:
        Site(tmp_path, toml, registry=registry_with(Single))
    [fault] = caught.value.faults
    assert fault.pointer == "site.state"
    assert told in fault.detail
    assert "name one of: good" in fault.detail


def test_state_may_be_any_provider_that_is_atomic(tmp_path: Path) -> None:
    toml = (
        '[site]\nstate = "far"\n'
        + PROVIDERS["sql"]
        + '[providers.far]\nkind = "file"\nroot = "far"\n[forms.f]\nfields.a = {}\n'
    )
    site = Site(tmp_path, toml)
    site.create("forms/f", {"a": "x"}, idempotency_key="k")
    assert provider_tables(site, "far") == ["_audit", "_tokens"]
    assert "_sessions" not in provider_tables(site, "main")
    site.close()


# ---- how much a provider takes at once


def limit(monkeypatch: pytest.MonkeyPatch, site: Site, most: int) -> list[int]:
    """The provider takes that many writes at once; the sizes of its commits."""
    real, sizes = provider(site).commit, []

    def commit(writes: Sequence[app.Write]) -> Any:
        sizes.append(len(writes))
        if len(writes) > most:
            raise app.TooLarge(f"{most} writes at most")
        return real(writes)

    monkeypatch.setattr(provider(site), "most_writes", most)
    monkeypatch.setattr(provider(site), "commit", commit)
    return sizes


@pytest.mark.parametrize(("key", "fit"), [("", 5), ("k", 4)])
def test_a_batch_that_is_too_long_is_refused_before_a_byte_is_stored(
    site: Site, monkeypatch: pytest.MonkeyPatch, key: str, fit: int
) -> None:
    sizes = limit(monkeypatch, site, 10)
    with monkeypatch.context() as patch:
        patch.setattr(provider(site), "stage", None)
        with pytest.raises(app.TooLarge, match=f"at most {fit} records a request, and this has {fit + 1}"):
            site.create("forms/leave", [{"doc": inline()}] * (fit + 1), idempotency_key=key)
    made = site.create("forms/leave", [{"doc": inline()}] * fit, idempotency_key=key)
    assert len(made.data["items"]) == fit
    assert max(sizes) == 2 * fit + bool(key)
    assert len(site.audit(action="create")) == fit


def test_a_sweep_deletes_as_many_at_once_as_the_provider_takes(
    site: Site, monkeypatch: pytest.MonkeyPatch, clock: Clock
) -> None:
    for number in range(25):
        site.create("forms/open", {"a": "x"}, by="", idempotency_key=str(number))
        site.app.office.link(app.Caller("t"), site.app.office.issue(app.Caller("t"), "ann", ["**:*"], [], 60))
    clock.now += 16 * 86400
    believe_the_clock(site)
    sizes = limit(monkeypatch, site, 10)
    sweep(site)
    assert provider(site).count(app.Query("_requests")) == 0
    assert provider(site).count(app.Query("_links")) == 0
    assert sizes == [10, 10, 10, 10, 10]


# ---- what a request costs


@pytest.mark.parametrize("tells", [False, True], ids=["cannot tell", "tells of commits"])
def test_a_request_asks_the_state_provider_as_seldom_as_can_be(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tells: bool
) -> None:
    toml = '[site]\nstate = "far"\n' + PROVIDERS["sql"] + '[providers.far]\nkind = "sql"\nurl = "sqlite:///far.db"\n' + TOML
    site = Site(tmp_path, toml.replace("[forms.leave]\n", '[forms.leave]\nprovider = "main"\n'))
    session = "Session " + site.app.office.sign_in(site.root.removeprefix("Bearer "), "r")[0]
    made = site.create("forms/leave", {"a": "x"})  # and the token's use in this minute is noted
    asked: list[str] = []
    if not tells:
        monkeypatch.setattr(site.app.state, "mark", lambda: None)
    for name in ("main", "far"):
        one: Any = site.app.providers[name]
        for method in ("get", "find", "count", "commit"):
            real = getattr(one, method)
            monkeypatch.setattr(one, method, lambda *args, n=f"{name}.{method}", r=real: (asked.append(n), r(*args))[1])  # type: ignore[func-returns-value]

    def cost(work: Callable[[], Any]) -> list[str]:
        asked.clear()
        work()
        return list(asked)

    assert cost(lambda: site.read("", by="")) == []
    for by, rows, once in ((None, 1, 0), (session, 2, 1)):  # once in ten minutes it is noted when a session was used
        assert cost(partial(site.read, "forms/leave", by=by)) == ["far.get"] * (rows + once)
        assert cost(partial(site.read, "forms/leave", by=by)) == ["far.get"] * (0 if tells else rows)
    row = [] if tells else ["far.get"]
    assert cost(lambda: site.read(made.location)) == [*row, "main.get"]
    assert cost(lambda: site.read("apps/desk").page["scope"].read("views/all", {})) == [*row, "main.find"]
    assert cost(lambda: site.create("forms/leave", {"a": "x"})) == [*row, "main.commit"]
    assert cost(lambda: site.create("forms/leave", {"a": "x"}, idempotency_key="k")) == [*row, "main.get", "main.commit"]
    locked = "far.get"  # whether anything is
    assert cost(lambda: site.put("files/docs/a", body=b"x")) == [*row, locked, "far.commit", "far.commit"]
    assert cost(lambda: site.put("files/docs/b", body=b"x", idempotency_key="k")) == [
        "far.get", "far.get", locked, "far.commit", "far.commit",
    ]  # fmt: skip
    site.close()


# ---- two nodes


RING = json.dumps({"keys": [{"kid": "k", "k": "A" * 43, "created_at": 1}]})


@pytest.fixture(params=["sql", "file"])
def nodes(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Site]]:
    """Two servers with a folder each, on one provider, with one key ring."""
    monkeypatch.setenv("RING", RING)
    place = (
        PROVIDERS[request.param].replace("sqlite:///", f"sqlite:///{tmp_path}/").replace('"store"', f'"{tmp_path}/store"')
    )
    toml = '[auth]\nkeys = "env:RING"\n' + place + TOML
    made = []
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        made.append(Site(tmp_path / name, toml))
    yield made
    for site in made:
        site.close()
        assert not (site.folder / "data" / "keys.json").exists()


def test_a_token_of_one_node_works_on_the_other_and_is_refused_there_once_revoked(nodes: list[Site]) -> None:
    one, two = nodes
    token = one.app.office.issue(app.Caller("t"), "ann", ["forms/leave:*"], [], 3600)
    for credential in ("Bearer " + one.app.authority.jwt(token), "Bearer " + one.app.authority.short(token)):
        assert two.read("forms/leave", by=credential).caller.subject == "ann"
    session = "Session " + one.app.office.sign_in(one.app.authority.jwt(token), "r")[0]
    assert two.read("forms/leave", by=session).caller.subject == "ann"
    two.app.office.revoke(app.Caller("t"), [token])
    for node in nodes:
        for credential in ("Bearer " + one.app.authority.jwt(token), session):
            with pytest.raises(Unauthenticated):
                node.read("forms/leave", by=credential)


def test_who_signs_out_at_one_node_is_signed_out_at_the_other(nodes: list[Site]) -> None:
    one, two = nodes
    session = "Session " + one.app.office.sign_in(one.root.removeprefix("Bearer "), "r")[0]
    assert two.read("", by=session).caller.session
    two.app.office.sign_out(session, "r")
    with pytest.raises(Unauthenticated):
        one.read("", by=session)
    assert two.app.unseal("csrf", one.app.seal("csrf", "text")) == "text"


def test_a_sign_in_link_lets_one_in_however_many_nodes_are_asked_at_once(nodes: list[Site]) -> None:
    token = nodes[0].app.office.issue(app.Caller("t"), "ann", ["**:*"], [], 3600)
    for _ in range(3):
        code = nodes[0].app.office.link(app.Caller("t"), token)
        numbers = iter(range(8))
        answers = race(lambda code=code, numbers=numbers: nodes[next(numbers) % 2].app.office.sign_in(code, "r"))  # type: ignore[misc]
        assert sum(isinstance(answer, tuple) for answer in answers) == 1
        assert sum(isinstance(answer, Unauthenticated) for answer in answers) == 7


def test_a_repeat_at_another_node_has_one_effect(nodes: list[Site]) -> None:
    one, two = nodes
    by = one.token("ann", "**:*")
    first = one.create("forms/leave", {"a": "x"}, by=by, idempotency_key="k")
    again = two.create("forms/leave", {"a": "x"}, by=by, idempotency_key="k")
    assert (again.replayed, again.data) == (True, first.data)
    for attempt in range(3):
        numbers = iter(range(8))
        answers = race(
            lambda key=f"r{attempt}", numbers=numbers: nodes[next(numbers) % 2].create(  # type: ignore[misc]
                "forms/leave", {"a": "y"}, by=by, idempotency_key=key
            )
        )
        assert [answer for answer in answers if isinstance(answer, AppError)] == []
        assert sum(not answer.replayed for answer in answers) == 1
        assert len({answer.data["id"] for answer in answers}) == 1
    assert len(one.items("forms/leave/records")) == 4
    assert len(two.audit(action="create", resource="forms/leave")) == 4


def test_the_first_sign_in_at_one_node_ends_the_offer_at_the_other(nodes: list[Site]) -> None:
    one, two = nodes
    two.app.office.sign_in(one.app.office.first_code(app.Caller("t")), "r")
    assert one.app.office.first_code(app.Caller("t")) == ""


def test_hosts_promise_what_runners_use(site: Site) -> None:
    for name in [name for name in vars(app.Host) if not name.startswith("_")]:
        assert callable(getattr(site.app, name, None)) or name == "title"


# ---- the parts, each alone


class Memory:
    """Records in a dict, with what Audit, Replay and Office ask of them."""

    atomic = True

    def __init__(self) -> None:
        self.rows: dict[tuple[str, str], app.Record] = {}
        self.fails: AppError | None = None

    def get(self, table: str, key: str) -> app.Record | None:
        return self.rows.get((table, key))

    def commit(self, writes: Sequence[Any]) -> list[app.Record]:
        if self.fails:
            raise self.fails
        done = []
        for write in writes:
            present = self.rows.pop((write.table, write.key), None)
            done.append(app.Record(write.key, (present.version if present else 0) + 1, getattr(write, "value", {})))
            if not isinstance(write, app.Delete):
                self.rows[write.table, write.key] = done[-1]
        return done


def replay_of(store: Any, clock: Clock, **facts: Any) -> app.Replay:
    request = app.Request(**{"id": "r", "action": Action.CREATE, "resource": "forms/f", "idempotency_key": "k"} | facts)
    return app.Replay(request, app.Caller("ann"), store, clock)


def answering(**facts: Any) -> app.Plan:
    return app.Plan(respond=lambda blobs: app.Response(**facts))


def test_a_replay_goes_from_begun_to_finished_and_is_forgotten(clock: Clock) -> None:
    store, plan = Memory(), answering()
    first = replay_of(store, clock, data={"a": 1})
    assert first.look_up() is None
    [first.stored] = store.commit(first.begin(plan))
    with pytest.raises(app.Busy) as caught:
        replay_of(store, clock, data={"a": 1}).look_up()
    assert caught.value.over_in_s == 60
    store.commit(first.finish(plan, app.Response(data={"id": "1"}, created=True)))
    again = replay_of(store, clock, data={"a": 1}).look_up()
    assert again
    assert (again.data, again.created, again.replayed) == ({"id": "1"}, True, True)
    with pytest.raises(app.IdempotencyConflict):
        replay_of(store, clock, data={"a": 2}).look_up()
    store.commit(first.forget())
    assert replay_of(store, clock, data={"a": 2}).look_up() is None


def test_a_replay_that_was_given_up_is_taken_over_by_the_same_request_alone(clock: Clock) -> None:
    store, plan = Memory(), answering()
    store.commit(replay_of(store, clock, data={"a": 1}).begin(plan))
    clock.now += 60
    same, other = replay_of(store, clock, data={"a": 1}), replay_of(store, clock, data={"a": 2})
    assert same.look_up() is None
    assert other.look_up() is None
    with pytest.raises(app.IdempotencyConflict):
        other.begin(plan)
    [write] = same.begin(plan)
    assert isinstance(write, app.Update)
    assert write.version == 1


@pytest.mark.parametrize("facts", [{"idempotency_key": ""}, {"action": Action.READ}])
def test_without_a_key_or_for_reads_there_is_nothing_to_replay(clock: Clock, facts: dict[str, Any]) -> None:
    replay = replay_of(None, clock, **facts)
    assert replay.look_up() is None
    assert [*replay.begin(answering()), *replay.finish(answering(), app.Response()), *replay.forget()] == []


def test_an_audit_entry_that_is_lost_is_logged_with_its_facts(clock: Clock, caplog: pytest.LogCaptureFixture) -> None:
    store: Any = Memory()
    audit = app.Audit(store, clock)
    entry = audit.entry(app.Caller("ann"), "http", "r1", "forms/f", "create", "denied", "forbidden")
    audit.best_effort(entry)
    assert [record.value for (table, _), record in store.rows.items() if table == "_audit"] == [entry]
    store.fails = Unavailable("away")
    audit.best_effort(entry)
    [record] = caplog.records
    assert record.getMessage() == (
        'an audit entry was lost (away): {"request_id":"r1","subject":"ann","resource":"forms/f","action":"create",'
        '"outcome":"denied"}'
    )


class Moody:
    """A provider that is away for some calls of open()."""

    def __init__(self, away: int) -> None:
        self.away, self.opened = away, 0

    def open(self) -> None:
        self.opened += 1
        if self.opened <= self.away:
            raise Unavailable("away")

    def ping(self) -> float:
        return 0.5


def test_health_opens_what_was_away_when_it_is_wanted_and_nothing_else() -> None:
    here, late, unwanted = Moody(0), Moody(2), Moody(9)
    providers: Any = {"here": here, "late": late, "unwanted": unwanted}
    health = app.Health(providers, dict)
    health.open()
    with pytest.raises(Unavailable):
        health.ensure_open(providers["here"], providers["late"])
    health.ensure_open(providers["here"], providers["late"])
    health.ensure_open(providers["here"], providers["late"])
    assert (here.opened, late.opened, unwanted.opened) == (1, 3, 1)
    assert health.ready() == {"here": "ok", "late": "ok", "unwanted": "away"}


def test_health_waits_no_longer_than_it_is_told() -> None:
    released = threading.Event()
    slow = Moody(0)
    slow.ping = lambda: released.wait(60)  # type: ignore[method-assign]
    providers: Any = {"slow": slow, "here": Moody(0)}
    pings = app.Health(providers, dict).pings(0.05)
    released.set()
    assert pings["here"] == 0.5
    assert isinstance(pings["slow"], Unavailable)
    assert pings["slow"].message == "provider slow gave no answer within 0.05 seconds"


def test_a_builder_finds_every_fault_and_builds_what_it_can(tmp_path: Path) -> None:
    text = PROVIDERS["sql"] + '[forms.good.fields]\na = {}\n[forms.bad]\nprovider = "main"\n[forms.bad.fields]\n' + (
        'doc = { format = "file", files = "files/none" }\n[apps.desk]\nmenu = ["forms/goood"]\nhome = "forms/nothing"'
    )  # fmt: skip
    config = app.read_config(tomllib.loads(text), tmp_path, "app.toml", REGISTRY.provider_settings, REGISTRY.tables)
    built = app.Builder(config, REGISTRY)
    assert {fault.pointer for fault in built.faults} == {"forms.bad.fields.doc.files", "apps.desk.menu", "apps.desk.home"}
    assert {"forms/good", "apps/desk", "admin/audit"} <= set(built.resources)
    assert "forms/bad" not in built.resources
    assert not (tmp_path / "app.db").exists(), "nothing is opened"
