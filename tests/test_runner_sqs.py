"""The queue door, against an emulator of SQS with the real protocol and against a strict fake for its accidents."""

from __future__ import annotations

import base64
import http.client
import inspect
import itertools
import json
import logging
import os
import random
import re
import signal
import subprocess
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping
from contextlib import closing
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple, cast
from urllib.parse import urlencode

import aws_server
import backends
import http_client
import postgres_server
import pytest
from queue_site import QUICK, Door, Host, Queue, client, envelope, leave, names, runner, see_end, texts, until
from sqs_fake import SqsFake

import app
from app import Action

envelopes, queue_states = app.plugin("envelopes"), app.plugin("queue_states")
POINTER = "software.amazon.payloadoffloading.PayloadS3Pointer"


def emulated(**facts: Any) -> Queue:
    return Queue(client(aws_server.endpoint()), next(names), **facts)


def bucket() -> tuple[Any, str]:
    """A client of S3, and a bucket of its own."""
    s3, name = client(aws_server.endpoint(), "s3"), f"bucket-{next(names)}"
    s3.create_bucket(Bucket=name)
    return s3, name


def code_of(message: dict[str, Any]) -> str:
    return texts(message)["x_error"]


# ---- a message and what comes of it


@pytest.mark.parametrize("service", ["emulator", "second emulator", "fake"])
def test_a_message_becomes_a_record_and_is_gone(service: str, tmp_path: Path, fake: SqsFake) -> None:
    endpoints = {"emulator": aws_server.endpoint, "second emulator": aws_server.moto_endpoint, "fake": lambda: fake.url}
    endpoint = endpoints[service]()
    queue = Queue(client(endpoint), next(names))
    door = Door(tmp_path, endpoint, [queue])
    with door.opened():
        queue.send(leave(), token=door.site.root)
        until(queue.empty, "an empty queue")
    assert [(row["day"], row["created_by"]) for row in door.rows()] == [("2027-01-31", "root")]
    assert not queue.dead()
    assert [entry["door"] for entry in door.site.audit(resource="forms/leave")] == ["sqs"]


def test_a_permanent_failure_is_copied_without_its_token_and_then_deleted(
    tmp_path: Path, fake: SqsFake, queue: Queue, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    door = Door(tmp_path, fake.url, [queue])
    sent = queue.send(envelope("forms/leave", "create", {"day": "soon"}), token=door.site.root, colour="blue")
    with door.opened():
        until(queue.empty, "an empty queue")
    (dead,) = queue.dead()
    told, secret = texts(dead), door.site.root.split()[1]
    assert secret not in json.dumps(dead) + "".join(r.getMessage() for r in caplog.records if r.name == "satchel")
    assert "/day" in told.pop("x_detail")
    assert told == {
        "colour": "blue", "x_error": "validation_failed", "x_attempts": "1", "x_source": queue.url.rpartition("/")[2],
        "x_subject": "root", "x_message_id": sent,
    }  # fmt: skip
    assert fake.order("SendMessage", "DeleteMessageBatch")[-2:] == ["SendMessage", "DeleteMessageBatch"]
    assert not door.rows()


def test_reasons_are_said_in_one_form_whatever_attributes_there_were(tmp_path: Path, fake: SqsFake, queue: Queue) -> None:
    door = Door(tmp_path, fake.url, [queue])
    queue.send(envelope("forms/leave", "create", {}), **{f"a{n}": str(n) for n in range(10)})
    queue.send(envelope("forms/leave", "create", {}), token=door.site.root, **{f"a{n}": str(n) for n in range(3)})
    with door.opened():
        until(queue.empty, "an empty queue")
    few, full = sorted((texts(one) for one in queue.dead()), key=lambda one: "x_attributes" in one)
    assert (full["x_error"], few["x_error"]) == ("sign_in_needed", "validation_failed")
    assert {"x_detail", "x_attempts", "x_source", "x_message_id"} < set(full) & set(few)
    assert few["x_subject"] == "root"
    rest = json.loads(full["x_attributes"])
    assert {name: value for name, value in full.items() if name[0] == "a"} | rest == {f"a{n}": str(n) for n in range(10)}
    assert {name: value for name, value in few.items() if name[0] == "a"} == {f"a{n}": str(n) for n in range(3)}


@pytest.mark.parametrize(
    ("body", "pointers"),
    [
        ("no json", [""]),
        ("[]", [""]),
        ('{"v": 1, "v": 1}', [""]),
        ({}, ["/v", "/resource", "/action"]),
        (envelope("forms/leave", "create", v=2), ["/v"]),
        (envelope("forms/leave", "create", v=True), ["/v"]),
        (envelope("forms/leave", "create", v="1"), ["/v"]),
        (envelope("forms/leave", "create", colour=1), ["/colour"]),
        (envelope("forms/leave", "create", **{"a/b~": 1}), ["/a~1b~0"]),
        (envelope("forms/leave", "fly"), ["/action"]),
        (envelope("/forms/leave", "create"), ["/resource"]),
        (envelope("forms", "create"), ["/resource"]),
        (envelope("forms/leave?x=1", "create"), ["/resource"]),
        (envelope("forms/leave", "create", params=[]), ["/params"]),
        (envelope("forms/leave", "create", params={"a": 1}), ["/params/a"]),
        (envelope("forms/leave", "create", id=""), ["/id"]),
        (envelope("forms/leave", "create", id=5), ["/id"]),
        (envelope("forms/leave", "read", {}), ["/data"]),
        (envelope("files/docs/a.txt", "create"), ["/data"]),
        (envelope("files/docs/a.txt", "create", {"text": "a", "base64": ""}), ["/data"]),
        (envelope("files/docs/a.txt", "create", {"text": 1}), ["/data"]),
        (envelope("files/docs/a.txt", "create", {"base64": "*"}), ["/data/base64"]),
    ],
)
def test_a_bad_envelope_is_told_with_pointers(body: Any, pointers: list[str]) -> None:
    message = app.Message("m1", body if isinstance(body, str) else json.dumps(body))
    with pytest.raises(app.BadEnvelope) as caught:
        envelopes.read_envelope(envelopes.parse_body(message.body), message, None, "r1")
    assert [fault.pointer for fault in caught.value.faults] == pointers
    assert caught.value.code == "bad_envelope"


def test_a_bad_envelope_is_a_dead_letter_and_a_bad_reply_name_too(tmp_path: Path, fake: SqsFake, queue: Queue) -> None:
    door = Door(tmp_path, fake.url, [queue])
    queue.send('{"authorization": "Bearer s3cr.et.t0ken"}')
    queue.send(leave(), token=door.site.root, reply_to="nowhere")
    with door.opened():
        until(queue.empty, "an empty queue")
    dead = queue.dead()
    assert [code_of(one) for one in dead] == ["bad_envelope"] * 2
    assert "s3cr.et.t0ken" not in json.dumps(dead)
    assert not door.rows()
    assert any("/attributes/reply_to" in texts(one)["x_detail"] for one in dead)


def test_what_an_envelope_says_becomes_a_request() -> None:
    body = envelope("forms/leave/records/a%2Fb", "update", {"day": "x"}, params={"a": "b"}, id="key")
    message = app.Message("m1", json.dumps(body), {"Authorization": app.Attribute("Bearer t")}, 12.5)
    request = envelopes.read_envelope(body, message, (), "r1")
    assert (request.resource, request.path, request.action) == ("forms/leave", ("records", "a/b"), Action.UPDATE)
    assert (request.data, request.params, request.idempotency_key) == ({"day": "x"}, {"a": "b"}, "key")
    assert (request.credential, request.sent_at, request.ceiling, request.door) == ("Bearer t", 12.5, (), "sqs")
    assert envelopes.read_envelope(leave(), message, None, "r1").idempotency_key == "m1"


# ---- parity with HTTP

ALL = ("**:*",)
LEAVE, DOCS, BIN = ("forms/leave:*",), ("files/docs:*",), ("files/bin:*",)
SHARES = """
[files.bin]
provider = "disk"
prefix = "bin"
trash = "30d"
versions = 2
quota = "1KB"
[files.root]
provider = "disk"
"""
LOCK = '<lockinfo xmlns="DAV:"><lockscope><exclusive/></lockscope><locktype><write/></locktype></lockinfo>'
ONTO_LOCKED = {"copy": "files/bin/locked.txt", "overwrite": True}
DAY = {"day": "2027-01-31", "days": 1.5}
NOBODY = "forms/leave/records/nobody"


class Case(NamedTuple):
    """One request. In `address`, `data` and `params`, {id} is the id of what the same door answered with before, or of the
    first row of what it "listed"."""

    name: str
    address: str
    action: str = "create"
    data: Any = None
    grants: tuple[str, ...] = ()
    params: Mapping[str, str] = MappingProxyType({})
    key: str = ""  # of idempotency
    who: str = "ann"
    roles: tuple[str, ...] = ()
    in_other_words: bool = False  # each door says by itself what was wrong
    credential: str = ""  # "expired", "revoked" or "forged": a token that was good once, or never

    def with_id(self, id_: str) -> Case:
        params = {name: text.replace("{id}", id_) for name, text in self.params.items()}
        data = self.data | {"restore": id_} if isinstance(self.data, dict) and "restore" in self.data else self.data
        return self._replace(params=params, data=data)


CASES = [
    Case("form: create", "forms/leave", data=DAY, grants=("forms/leave:create",)),
    Case("form: faults", "forms/leave", data={"day": "soon", "days": 100}, grants=("forms/leave:create",)),
    Case("form: nothing", "forms/leave", data={}, grants=("forms/leave:create",)),
    Case("form: no object", "forms/leave", data="text", grants=("forms/leave:create",)),
    Case("form: unknown field", "forms/leave", data={"day": "2027-01-31", "x": 1}, grants=("forms/leave:create",)),
    Case("form: no grant", "forms/leave", data=DAY, grants=("forms/leave:read",)),
    Case("form: grant of another", "forms/leave", data=DAY, grants=("forms/open:*",)),
    Case("form: a role", "forms/leave", data=DAY, roles=("staff",)),
    Case("form: the public's", "forms/open", data={"text": "hi"}),
    Case("form: a stranger", "forms/leave", data=DAY),
    Case("form: read", "forms/leave", "read", grants=("forms/leave:read",)),
    Case("form: read denied", "forms/leave", "read", grants=("views/**:*",)),
    Case("form: update", "forms/leave", "update", DAY, ALL),
    Case("form: delete", "forms/leave", "delete", grants=ALL),
    Case("form: missing", "forms/nothing", data={}, grants=ALL),
    Case("form: missing, not told to a stranger", "forms/nothing", data={}, grants=LEAVE),
    Case("form: with params", "forms/leave", data=DAY, grants=LEAVE, params={"x": "1"}),
    Case(
        "batch: create", "forms/leave", data=[{"day": "2027-01-31"}, {"day": "2027-02-01"}], grants=("forms/leave:create",)
    ),
    Case("batch: one with faults", "forms/leave", data=[{"day": "2027-03-01"}, {"day": "x"}, {}], grants=LEAVE),
    Case("batch: empty", "forms/leave", data=[], grants=LEAVE),
    Case("batch: no objects", "forms/leave", data=[1, DAY], grants=LEAVE),
    Case("batch: too long", "forms/leave", data=[{"day": "2027-01-31"}] * 1001, grants=LEAVE),
    Case("batch: denied", "forms/leave", data=[DAY], grants=("forms/leave:read",)),
    Case("records: list", "forms/leave/records", "read", grants=("forms/leave:read",)),
    Case("records: selected", "forms/leave/records", "read", grants=LEAVE, params={"day__gt": "2027-01-31", "_count": "1"}),
    Case("records: a bad value", "forms/leave/records", "read", grants=LEAVE, params={"days__gt": "x"}),
    Case("records: an unknown column", "forms/leave/records", "read", grants=LEAVE, params={"nothing": "x"}),
    Case("records: a bad size", "forms/leave/records", "read", grants=LEAVE, params={"_size": "5000"}),
    Case("records: a bad cursor", "forms/leave/records", "read", grants=LEAVE, params={"_next": "x"}),
    Case("records: list denied", "forms/leave/records", "read", grants=("forms/leave:create",)),
    Case("records: list of a stranger", "forms/leave/records", "read"),
    Case("record: create", "forms/leave/records", data=DAY, grants=LEAVE),
    Case("record: read", "forms/leave/records/{id}", "read", grants=("forms/leave:read",)),
    Case("record: read denied", "forms/leave/records/{id}", "read", grants=("forms/leave:create",)),
    Case("record: update", "forms/leave/records/{id}", "update", {"day": "2027-05-05"}, ("forms/leave:update",)),
    Case("record: update with faults", "forms/leave/records/{id}", "update", {"days": 0.1}, LEAVE),
    Case("record: update denied", "forms/leave/records/{id}", "update", DAY, ("forms/leave:create,read,delete",)),
    Case("record: update without data", "forms/leave/records/{id}", "update", None, LEAVE),
    Case("record: create in it", "forms/leave/records/{id}", "create", DAY, LEAVE),
    Case("record: delete denied", "forms/leave/records/{id}", "delete", grants=("forms/leave:create,read,update",)),
    Case("record: delete", "forms/leave/records/{id}", "delete", grants=("forms/leave:delete",)),
    Case("record: delete again", "forms/leave/records/{id}", "delete", grants=LEAVE),
    Case("record: read what is gone", "forms/leave/records/{id}", "read", grants=LEAVE),
    Case("record: read none", NOBODY, "read", grants=LEAVE),
    Case("record: delete none", NOBODY, "delete", grants=LEAVE),
    Case("record: update none", NOBODY, "update", {"day": "2027-01-31"}, LEAVE),
    Case("record: an address too long", NOBODY + "/more", "read", grants=LEAVE),
    Case("form: with files", "forms/papers", data={"name": "ab", "paper": {"name": "a.txt", "base64": "YQ=="}}, grants=ALL),
    Case(
        "form: with a refused file",
        "forms/papers",
        data={"name": "ab", "paper": {"name": "a.exe", "base64": ""}},
        grants=ALL,
    ),
    Case("view: read", "views/waiting", "read", grants=("views/waiting:read",)),
    Case("view: denied", "views/waiting", "read", grants=("views/numbers:read",)),
    Case("view: a stranger", "views/waiting", "read"),
    Case("view: selected", "views/waiting", "read", grants=ALL, params={"days__gte": "1.5", "_sort": "-day", "_size": "2"}),
    Case("view: an unknown column", "views/waiting", "read", grants=ALL, params={"reason": "x"}),
    Case("view: its default", "views/numbers", "read", grants=ALL),
    Case("view: its parameter", "views/numbers", "read", grants=ALL, params={"top": "2"}),
    Case("view: a bad parameter", "views/numbers", "read", grants=ALL, params={"top": "many"}),
    Case("view: a parameter out of bounds", "views/numbers", "read", grants=ALL, params={"top": "1000001"}),
    Case("view: an unknown parameter", "views/numbers", "read", grants=ALL, params={"bottom": "1"}),
    Case("view: missing", "views/nothing", "read", grants=ALL),
    *(Case(f"view: {action}", "views/waiting", action, grants=ALL) for action in ("delete", "update")),
    *(Case(f"app: {action}", "apps/desk", action, grants=ALL) for action in ("delete", "update", "create")),
    Case("file: update", "files/docs/a.txt", "update", b"text", ("files/docs:create",)),
    Case("file: update is no create", "files/docs/b.txt", "update", b"text", ("files/docs:update",)),
    Case("file: create is no update", "files/docs/a.txt", "update", b"other", ("files/docs:create",)),
    Case("file: create", "files/docs/c.txt", "create", b"text", ("files/docs:create",)),
    Case("file: create what is there", "files/docs/c.txt", "create", b"other", DOCS),
    Case("file: create denied", "files/docs/d.txt", "create", b"text", ("files/docs:read,update",)),
    Case("file: create of a stranger", "files/docs/d.txt", "create", b"text"),
    Case("file: as text", "files/docs/t.txt", "update", {"text": "hé"}, DOCS),
    Case("file: replaced", "files/docs/t.txt", "update", b"\0\xff", DOCS),
    Case("file: beside records", "files/blobs/deep/er.bin", "update", b"\0\xff", ALL),
    Case("file: read", "files/docs/t.txt", "read", grants=("files/docs:read",)),
    Case("file: read denied", "files/docs/t.txt", "read", grants=("files/docs:create",)),
    Case("file: read by a stranger", "files/docs/t.txt", "read"),
    Case("file: too large", "files/docs/l.txt", "update", b"x" * 100_001, DOCS),
    Case("file: a refused kind", "files/pics/a.txt", "update", b"text", ("files/pics:*",)),
    Case("file: a bad name", "files/docs/..%2Fa", "update", b"text", DOCS),
    Case("file: a folder's name", "files/blobs/deep", "update", b"text", ALL),
    Case("file: a folder", "files/docs", "read", grants=DOCS),
    Case("file: a folder, deep", "files/blobs", "read", grants=ALL, params={"_deep": "1"}),
    Case("file: delete a folder", "files/blobs/deep", "delete", grants=ALL),
    Case("file: delete denied", "files/docs/t.txt", "delete", grants=("files/docs:create,read,update",)),
    Case("file: delete", "files/docs/t.txt", "delete", grants=("files/docs:delete",)),
    Case("file: delete none", "files/docs/none.txt", "delete", grants=DOCS),
    Case("file: read none", "files/docs/none.txt", "read", grants=DOCS),
    Case("file: share missing", "files/nothing/a.txt", "update", b"text", ALL),
    Case("share: a file", "files/bin/a.txt", "update", b"one", BIN),
    Case("share: a new folder", "files/bin/", data={"folder": "new"}, grants=BIN),
    Case("share: a folder that is there", "files/bin/", data={"folder": "new"}, grants=BIN),
    Case("share: moved", "files/bin/a.txt", data={"move": "files/bin/new/b.txt"}, grants=BIN),
    Case("share: moved again", "files/bin/a.txt", data={"move": "files/bin/new/b.txt"}, grants=BIN),
    Case("share: move denied", "files/bin/new/b.txt", data={"move": "files/bin/c.txt"}, grants=("files/bin:read,create",)),
    Case("share: copied", "files/bin/new", data={"copy": "files/bin/other"}, grants=("files/bin:read,create",)),
    Case("share: copied onto what is there", "files/bin/new/b.txt", data={"copy": "files/bin/other/b.txt"}, grants=BIN),
    Case("share: two wishes", "files/bin/new", data={"copy": "files/bin/x", "move": "files/bin/y"}, grants=BIN),
    Case("share: a wish with more", "files/bin/new", data={"copy": "files/bin/x", "owerwrite": True}, grants=BIN),
    Case("share: a folder is no file", "files/bin/other", "delete", grants=BIN),
    Case("share: a tree, denied", "files/bin/other", "delete", grants=("files/bin:create",), params={"_tree": "1"}),
    Case("share: a tree", "files/bin/other", "delete", grants=BIN, params={"_tree": "1"}),
    Case("share: a tree that is gone", "files/bin/other", "delete", grants=BIN, params={"_tree": "1"}),
    Case("share: trash listed", "files/bin/", "read", grants=BIN, params={"_trash": "1"}),
    Case("share: restore denied", "files/bin/", data={"restore": "{id}"}, grants=("files/bin:create",)),
    Case("share: restored", "files/bin/", data={"restore": "{id}"}, grants=BIN),
    Case("share: restored again", "files/bin/", data={"restore": "{id}"}, grants=BIN),
    Case("share: replaced", "files/bin/other/b.txt", "update", b"two", BIN),
    Case("share: versions listed", "files/bin/other/b.txt", "read", grants=BIN, params={"_versions": "1"}),
    Case("share: a version", "files/bin/other/b.txt", "read", grants=BIN, params={"_version": "{id}"}),
    Case("share: a version restored", "files/bin/other/b.txt", data={"restore": "{id}"}, grants=BIN),
    Case("share: a version deleted", "files/bin/other/b.txt", "delete", grants=BIN, params={"_version": "{id}"}),
    Case("share: to the trash", "files/bin/other/b.txt", "delete", grants=BIN),
    Case("share: purged", "files/bin/", data={"purge": "all"}, grants=BIN),
    Case("share: purged in no trash", "files/bin/", data={"purge": "none"}, grants=BIN),
    Case("share: too full", "files/bin/full.txt", "update", b"x" * 1001, BIN),
    Case("share: copied until it is full", "files/docs/large.txt", "update", b"x" * 2000, DOCS),
    Case("share: no room for a copy", "files/docs/large.txt", data={"copy": "files/bin/large.txt"}, grants=ALL),
    Case("share: locked", "files/bin/locked.txt", "update", b"mine", BIN),
    Case("share: locked, moved", "files/bin/locked.txt", data={"move": "files/bin/free.txt"}, grants=BIN),
    Case("share: locked, replaced by a copy", "files/bin/new/b.txt", data=ONTO_LOCKED, grants=BIN),
    Case("share: locked, deleted", "files/bin/locked.txt", "delete", grants=BIN),
    Case("share: what nobody sees", "files/root/_satchel/bin", "delete", grants=ALL, params={"_tree": "1"}),
    Case("share: into what nobody sees", "files/bin/new/b.txt", data={"copy": "files/root/_satchel/b"}, grants=ALL),
    Case("share: what lies at the root", "files/root", "read", grants=ALL),
    Case("app: read", "apps/desk", "read", grants=ALL),
    Case("app: denied", "apps/desk", "read", grants=("apps/bare:read",)),
    Case("app: missing", "apps/nothing", "read", grants=ALL),
    *(Case(f"app: {action}", "apps/desk", action, grants=ALL) for action in ("create", "update", "delete")),
    Case("admin: audit", "admin/audit", "read", grants=("admin/audit:read",), params={"_size": "1000"}),
    Case("admin: denied", "admin/audit", "read", grants=("admin/tokens:read",)),
    Case("admin: create", "admin/audit", "create", {}, ALL),
    Case("type: unknown", "things/leave", "read", grants=ALL, in_other_words=True),
    Case("token: expired", "forms/leave", data=DAY, grants=LEAVE, credential="expired"),
    Case("token: revoked", "forms/leave", data=DAY, grants=LEAVE, credential="revoked"),
    Case("token: forged", "forms/leave", data=DAY, grants=LEAVE, credential="forged"),
    Case("token: forged, where the public may", "forms/open", data={"text": "hi"}, grants=ALL, credential="forged"),
    Case("token: expired, read", "views/waiting", "read", grants=ALL, credential="expired"),
    Case("key: first", "forms/leave", data=DAY, grants=LEAVE, key="k1"),
    Case("key: replay", "forms/leave", data=DAY, grants=LEAVE, key="k1"),
    Case("key: another payload", "forms/leave", data={"day": "2027-09-09"}, grants=LEAVE, key="k1"),
    Case("key: another action", "forms/leave/records/{id}", "delete", grants=LEAVE, key="k1"),
    Case("key: replay of a delete", "forms/leave/records/{id}", "delete", grants=LEAVE, key="k1"),
    Case("key: another's", "forms/leave", data=DAY, grants=LEAVE, key="k1", who="bob"),
    Case("key: without the grant", "forms/leave", data=DAY, grants=("forms/leave:read",), key="k1"),
    Case("key: of a refused one", "forms/leave", data={}, grants=LEAVE, key="k2"),
    Case("key: again, put right", "forms/leave", data=DAY, grants=LEAVE, key="k2"),
    Case("key: of a batch", "forms/leave", data=[DAY, DAY], grants=LEAVE, key="k3"),
    Case("key: replay of a batch", "forms/leave", data=[DAY, DAY], grants=LEAVE, key="k3"),
    Case("key: the public's", "forms/open", data={"text": "hi"}, key="k4"),
    Case("key: replay of the public's", "forms/open", data={"text": "hi"}, key="k4"),
    Case("key: of a file", "files/docs/k.txt", "update", b"text", DOCS, key="k5"),
    Case("key: replay of a file", "files/docs/k.txt", "update", b"text", DOCS, key="k5"),
    Case("key: another file", "files/docs/k.txt", "update", b"other", DOCS, key="k5"),
    Case("records: all that is left", "forms/leave/records", "read", grants=LEAVE, params={"_count": "1", "_size": "1000"}),
]
METHODS = {"create": "POST", "read": "GET", "update": "PUT", "delete": "DELETE"}


def credential(site: http_client.Site, case: Case) -> str:
    """A token, "" for nobody."""
    if not (case.grants or case.roles):
        return ""
    token = site.app.office.issue(app.Caller("test"), case.who, case.grants, case.roles, 3600)
    if case.credential == "expired":
        token = token._replace(issued_at=token.issued_at - 7200, expires_at=token.expires_at - 7200)
    if case.credential == "revoked":
        site.app.office.revoke(app.Caller("test"), [token])
    text = site.app.authority.jwt(token)
    return text[:-8] + "A" * 8 if case.credential == "forged" else text


class Answers:
    """What both doors of two equal sites say to the same case."""

    def __init__(self, folder: Path, endpoint: str, queue: Queue, reply_url: str) -> None:
        sqs = f'\n[sqs]\nendpoint = "{endpoint}"\nregion = "us-east-1"\nwait = 1\nqueues = [{{ url = "{queue.url}" }}]\n'
        sqs += f'replies = {{ answers = "{reply_url}" }}\n'
        for name in ("http", "sqs"):
            (folder / name).mkdir()
        self.http, self.sqs = (
            http_client.Site(folder / name, edit=lambda toml: toml.replace("1MB", "100KB") + SHARES + sqs)
            for name in ("http", "sqs")
        )
        for site in (self.http, self.sqs):
            locker = site.token(*BIN, subject="carol")
            assert site.ask("LOCK", "/dav/bin/locked.txt", LOCK, token=locker).status == 201
        self.queue, self.reply_url = queue, reply_url
        self.ids = {"http": "none", "sqs": "none"}
        config = self.sqs.app.config.sqs
        self.runner = runner(config, Host(self.sqs.app), folder / "states")

    def both(self, case: Case) -> tuple[tuple[int, Any], tuple[int, Any]]:
        """Status and body, by HTTP and by SQS."""
        found = []
        for door, ask in (("http", self.by_http), ("sqs", self.by_sqs)):
            status, body = ask(case.with_id(self.ids[door]), case.address.format(id=self.ids[door]))
            if status < 300 and isinstance(body, dict):
                self.ids[door] = body["items"][0]["id"] if case.name.endswith("listed") else body.get("id", self.ids[door])
            found.append((status, body))
        return found[0], found[1]

    def by_http(self, case: Case, address: str) -> tuple[int, Any]:
        headers = {"Idempotency-Key": case.key} if case.key else {}
        body = case.data
        if case.address.startswith("files/") and isinstance(body, dict) and "text" in body:
            body = body["text"].encode()
        if body is not None and not isinstance(body, bytes):
            headers, body = headers | {"Content-Type": "application/json"}, json.dumps(body)
        files = isinstance(body, bytes) and case.action == "create"
        if files:  # which HTTP has as an upload into a folder
            address, _, name = address.rpartition("/")
            headers, body = headers | http_client.MULTIPART, http_client.multipart(("file", name, body))
        target = "/" + address + ("?" + urlencode(case.params) if case.params else "")
        reply = self.http.ask(METHODS[case.action], target, body, headers, credential(self.http, case))
        if reply["Content-Disposition"]:
            return reply.status, {"name": address.rpartition("/")[2], "base64": base64.b64encode(reply.body).decode()}
        answer = reply.json if reply.body else None
        return reply.status, answer["items"][0] if reply.status == 201 and "items" in answer and files else answer

    def by_sqs(self, case: Case, address: str) -> tuple[int, Any]:
        token, data = credential(self.sqs, case), case.data
        sent = {"base64": base64.b64encode(data).decode()} if isinstance(data, bytes) else data
        more = ({"params": dict(case.params)} if case.params else {}) | ({"id": case.key} if case.key else {})
        self.queue.send(
            envelope(address, case.action, sent, **more), token=token and f"Bearer {token}", reply_to="answers",
            correlation_id=address,
        )  # fmt: skip
        (reply,) = until(lambda: self.queue.take(self.reply_url), "an answer")
        until(self.queue.empty, "the delete after the answer")
        assert texts(reply)["correlation_id"] == address
        return int(texts(reply)["status"]), json.loads(reply["Body"])


def stripped(value: Any) -> Any:
    """Without what differs by its nature: ids, times, tags, tokens and doors."""
    own = ("id", "request_id", "at", "token_id", "door", "record", "created_at", "updated_at", "etag", "modified_at", "jti")
    own += ("deleted_at", "replaced_at")
    if isinstance(value, dict):
        return {name: stripped(one) for name, one in value.items() if name not in own}
    if isinstance(value, str):
        return re.sub(r"[0-9a-f]{32}|(?<=until )[\d-]+T[\d:.]+Z", "ID", value)
    return [stripped(one) for one in value] if isinstance(value, list) else value


def stored(site: http_client.Site) -> Any:
    """Rows and audit entries, but for those of refused tokens, which HTTP has alone; and files with their bytes."""
    tables = [site.app.state.walk(app.Query(name)) for name in ("leave", "open", "papers", "_audit")]
    files = []
    for name in ("disk", "main"):
        provider = cast(app.Blobs, site.app.providers[name])
        for blob in provider.scan():
            with closing(provider.read(blob.path)) as reader:
                files.append((name, stripped(blob.path), b"".join(reader)))
    rows = [[record.value for record in table if record.value.get("action") != "use"] for table in tables]
    return [[stripped(value) for value in table] for table in rows], files


def test_both_doors_answer_and_store_the_same_row_by_row(tmp_path: Path, fake: SqsFake, queue: Queue) -> None:
    answers = Answers(tmp_path, fake.url, queue, queue.client.create_queue(QueueName="answers")["QueueUrl"])
    seen: dict[str, set[str]] = defaultdict(set)  # statuses, by what was asked for
    thread = threading.Thread(target=answers.runner.run)
    thread.start()
    try:
        for case in CASES:
            by_http, by_sqs = answers.both(case)
            if case.in_other_words or by_http[0] == 405:  # HTTP says so of the method, before anything else
                by_http[1]["detail"] = by_sqs[1]["detail"]
            assert stripped(by_sqs[1]) == stripped(by_http[1]), case.name
            assert by_sqs[0] == by_http[0], case.name
            dead = queue.dead()
            assert [code_of(one) for one in dead] == ([by_http[1]["code"]] if by_http[0] >= 400 else []), case.name
            assert stored(answers.sqs) == stored(answers.http), case.name
            seen[case.name.split()[0]].add(str(by_http[0]))
    finally:
        answers.runner.stop()
        see_end(fake.url, lambda: not thread.is_alive())
        answers.http.close()
        answers.sqs.close()
    wanted = {
        "form:": "200 201 400 401 403 404 405 422", "batch:": "201 400 403 422", "records:": "200 400 401 403",
        "record:": "200 201 204 400 403 404 405 422", "view:": "200 400 401 403 404 405",
        "file:": "200 201 204 400 401 403 404 409 413 415", "app:": "200 403 404 405", "admin:": "200 403 405",
        "share:": "200 201 204 400 403 404 409 422 423 507", "type:": "404", "token:": "401", "key:": "201 204 403 422",
    }  # fmt: skip
    assert {kind: set(statuses.split()) for kind, statuses in wanted.items()} == seen


# ---- who may


class Clock:
    def __init__(self) -> None:
        self.offset_s = 0.0

    def __call__(self) -> float:
        return time.time() + self.offset_s


def test_expiry_is_judged_when_the_message_was_sent_and_revocation_now(tmp_path: Path, fake: SqsFake, queue: Queue) -> None:
    clock = Clock()
    door = Door(tmp_path, fake.url, [queue], clock=clock)
    token = door.site.token("ann", "forms/leave:create", expires_s=60)
    short = door.site.token("bob", "forms/leave:create", expires_s=60)
    queue.send(leave("2027-01-01"), token=token)
    queue.send(leave("2027-01-02"), token=short)
    (row,) = [one for one in door.site.app.authority.tokens() if one.subject == "bob"]
    door.site.app.office.revoke(app.Caller("test"), [row])
    clock.offset_s = 3600
    fake.advance(3600)
    queue.send(leave("2027-01-03"), token=token)
    queue.send(leave("2027-01-04"), token="Basic YTpi")
    queue.send(leave("2027-01-05"), token="Session abc")
    queue.send(leave("2027-01-06"))
    with door.opened():
        until(queue.empty, "an empty queue")
    clock.offset_s = 0
    assert [one["day"] for one in door.rows()] == ["2027-01-01"]
    assert Counter(map(code_of, queue.dead())) == {"invalid_token": 4, "sign_in_needed": 1}


def test_the_queue_s_allow_list_is_a_ceiling_over_every_token(tmp_path: Path, fake: SqsFake, queue: Queue) -> None:
    door = Door(tmp_path, fake.url, [queue], each='allow = ["forms/leave:create", "files/docs:create"]')
    queue.send(leave(), token=door.site.root)
    queue.send(envelope("forms/other", "create", {"text": "x"}), token=door.site.root)
    queue.send(envelope("forms/leave", "delete"), token=door.site.root)
    queue.send(leave(), token=door.site.token("eve", "forms/other:create"))
    door.site.put("files/docs/a.txt", body=b"old")
    queue.send(envelope("files/docs/a.txt", "update", {"text": "new"}), token=door.site.root)
    with door.opened():
        until(queue.empty, "an empty queue")
    dead = queue.dead()
    assert Counter(map(code_of, dead)) == {"insufficient_scope": 4}
    assert len(door.rows()) == 1
    assert not door.rows("other")
    assert door.site.bytes("files/docs/a.txt") == b"old"


# ---- files, wrappings, payloads


def test_files_come_as_text_or_base64_or_in_s3(tmp_path: Path) -> None:
    queue, (s3, name) = emulated(), bucket()
    door = Door(tmp_path, aws_server.endpoint(), [queue], settings=f'buckets = ["{name}"]\nmax_payload = "2KB"')
    queue.send(envelope("files/docs/a.txt", "create", {"text": "hé"}), token=door.site.root)
    queue.send(envelope("files/docs/b.bin", "create", {"base64": "AAH/"}), token=door.site.root)
    for key, size in (("fits", 500), ("large", 3000)):
        body = json.dumps(envelope(f"files/docs/{key}.txt", "create", {"text": "x" * size}))
        s3.put_object(Bucket=name, Key=key, Body=body)
        queue.send(
            json.dumps([POINTER, {"s3BucketName": name, "s3Key": key}]), token=door.site.root, ExtendedPayloadSize="9"
        )
    foreign = [POINTER, {"s3BucketName": "foreign", "s3Key": "a"}]
    queue.send(json.dumps(foreign), token=door.site.root, SQSLargePayloadSize="9")
    queue.send(json.dumps([POINTER, {"s3BucketName": name, "s3Key": "none"}]), token=door.site.root, ExtendedPayloadSize="9")
    with door.opened():
        until(queue.empty, "an empty queue")
        until(lambda: [one["Key"] for one in s3.list_objects_v2(Bucket=name)["Contents"]] == ["large"], "a removed payload")
    assert door.site.bytes("files/docs/a.txt") == "hé".encode()
    assert door.site.bytes("files/docs/b.bin") == b"\0\1\xff"
    assert door.site.bytes("files/docs/fits.txt") == b"x" * 500
    dead = queue.dead()
    assert Counter(map(code_of, dead)) == {"too_large": 1, "bad_envelope": 1, "not_found": 1}
    assert all(json.loads(one["Body"])[0] == POINTER for one in dead), "a dead letter still points to its payload"


def test_notifications_are_unwrapped(tmp_path: Path, fake: SqsFake, queue: Queue) -> None:
    door = Door(tmp_path, fake.url, [queue])
    secret = door.site.root
    attribute = {"Type": "String", "Value": secret}
    outer = {"Type": "Notification", "MessageId": "n1", "TopicArn": "arn:aws:sns:x", "Message": json.dumps(leave())}
    for _ in range(2):  # SNS may send one notification as two messages
        queue.send(outer | {"MessageAttributes": {"authorization": attribute}})
    queue.send(outer | {"MessageId": "n2", "Message": "nothing", "MessageAttributes": {"authorization": attribute}})
    with door.opened():
        until(queue.empty, "an empty queue")
    (dead,) = queue.dead()
    assert len(door.rows()) == 1
    assert code_of(dead) == "bad_envelope"
    assert secret.split()[1] not in json.dumps(dead)


def event(key: str, sequencer: str = "1") -> dict[str, Any]:
    stored = {"bucket": {"name": "drop"}, "object": {"key": key, "size": 5, "eTag": "e", "sequencer": sequencer}}
    return {"eventSource": "aws:s3", "eventName": "ObjectCreated:Put", "eventTime": "2027-01-01T00:00:00Z", "s3": stored}


def test_s3_events_are_done_as_a_role_with_its_grants_alone(tmp_path: Path, fake: SqsFake, queue: Queue) -> None:
    door = Door(tmp_path, fake.url, [queue], each='events = { resource = "forms/arrivals", role = "intake" }')
    for body in (
        {"Records": [event("a+b%2B/%C3%A9.txt"), event("two")]},
        {"Records": [event("two")]},
        {"Service": "Amazon S3", "Event": "s3:TestEvent", "Bucket": "drop"},
    ):
        queue.send(body)
    with door.opened():
        until(queue.empty, "an empty queue")
    assert not queue.dead()
    assert sorted((row["key"], row["created_by"]) for row in door.rows("arrivals")) == [
        ("a b+/é.txt", "service:intake"), ("two", "service:intake"),
    ]  # fmt: skip


def test_s3_events_are_refused_where_nothing_is_said_of_them(tmp_path: Path, fake: SqsFake, queue: Queue) -> None:
    door = Door(tmp_path, fake.url, [queue], each='events = { resource = "forms/leave", role = "intake" }')
    plain = Queue(queue.client, next(names))
    (tmp_path / "other").mkdir()
    other = Door(tmp_path / "other", fake.url, [plain])
    queue.send({"Records": [event("a")]})
    plain.send({"Records": [event("a")]})
    with door.opened(), other.opened():
        until(lambda: queue.empty() and plain.empty(), "empty queues")
    assert [code_of(one) for one in queue.dead()] == ["insufficient_scope"]
    assert [code_of(one) for one in plain.dead()] == ["bad_envelope"]


# ---- once


def test_one_message_twenty_times_to_four_workers_is_one_row(tmp_path: Path, fake: SqsFake, queue: Queue) -> None:
    door = Door(tmp_path, fake.url, [queue], settings="threads = 4")
    message = queue.send(leave(), token=door.site.root)
    for _ in range(19):
        fake.duplicate(queue.url.rpartition("/")[2], message)
        queue.send(leave(id="same"), token=door.site.root)  # and one sender's repeats, each a message of its own
    with door.opened(), door.opened(), door.opened(), door.opened():
        until(queue.empty, "an empty queue")
        until(lambda: door.counted("deleted") == 39, "all deletes")
    assert len(door.rows()) == 2
    assert not queue.dead()


def test_another_payload_under_the_same_id_is_a_dead_letter(tmp_path: Path, fake: SqsFake, queue: Queue) -> None:
    door = Door(tmp_path, fake.url, [queue], settings="threads = 1")
    queue.send(leave("2027-01-01", id="k"), token=door.site.root)
    queue.send(leave("2027-01-02", id="k"), token=door.site.root)
    with door.opened():
        until(queue.empty, "an empty queue")
    assert [code_of(one) for one in queue.dead()] == ["idempotency_conflict"]
    assert len(door.rows()) == 1


def is_lost(guard: Callable[[], None]) -> bool:
    try:
        guard()
    except app.LeaseLost:
        return True
    return False


def test_a_worker_that_lost_its_lease_commits_nothing(tmp_path: Path, fake: SqsFake) -> None:
    queue = Queue(client(fake.url), next(names))
    door = Door(tmp_path, fake.url, [queue], settings='visibility = "2s"')
    reached = threading.Event()

    class Slow(Host):
        def handle(self, request: app.Request, guard: Callable[[], None]) -> app.Response:
            if not reached.is_set():
                reached.set()
                until(lambda: is_lost(guard), "the news that the lease is lost")
            return super().handle(request, guard)

    message = queue.send(leave(), token=door.site.root)
    with door.opened(Slow(door.site.app)):
        reached.wait(20)
        fake.lose(queue.url.rpartition("/")[2], message, to_another=True)
        until(lambda: door.counted("lost"), "a lost lease")
        assert not door.rows()
        fake.advance(40)  # the other consumer has died
        until(queue.empty, "an empty queue")
    assert len(door.rows()) == 1
    assert not queue.dead()


def test_what_is_held_is_extended_until_it_is_done(tmp_path: Path, fake: SqsFake, queue: Queue) -> None:
    """Three leases long, the one message is slow and nine others are done meanwhile."""
    door = Door(tmp_path, fake.url, [queue], settings='visibility = "2s"')
    go_on = threading.Event()

    class Slow(Host):
        def handle(self, request: app.Request, guard: Callable[[], None]) -> app.Response:
            if request.data == {"day": "2027-01-01"}:
                go_on.wait(20)
            return super().handle(request, guard)

    queue.send(leave("2027-01-01"), token=door.site.root)
    for day in range(2, 11):
        queue.send(leave(f"2027-01-{day:02}"), token=door.site.root)
    with door.opened(Slow(door.site.app)):
        until(lambda: len(door.rows()) == 9, "the nine others")
        fake.wait_for_call("ChangeMessageVisibilityBatch", 4)
        assert queue.counts() == (0, 1)
        go_on.set()
        until(queue.empty, "an empty queue")
    assert len(door.rows()) == 10


# ---- for the time being


class Failing(Host):
    """Fails with a probability, before or after the work is done, in a way that may pass."""

    def __init__(self, inner: app.App, chance: float, seed: int) -> None:
        super().__init__(inner)
        self.chance, self.random = chance, random.Random(seed)

    def handle(self, request: app.Request, guard: Callable[[], None]) -> app.Response:
        fails, before = self.random.random() < self.chance, self.random.random() < 0.5
        if fails and before:
            raise app.QueryTimeout("it takes too long for the time being")
        response = super().handle(request, guard)
        if fails:
            raise app.QueryTimeout("it takes too long for the time being")
        return response


def test_what_fails_again_and_again_is_a_dead_letter_after_its_attempts(
    tmp_path: Path, fake: SqsFake, queue: Queue, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    door = Door(tmp_path, fake.url, [queue], settings="attempts = 3")
    queue.send(leave(), token=door.site.root)
    with door.opened(Failing(door.site.app, 1.0, 1)):
        until(queue.empty, "an empty queue")
    (dead,) = queue.dead()
    assert code_of(dead) == "query_timeout"
    assert texts(dead)["x_attempts"] == "3"
    lines = [json.loads(r.getMessage()) for r in caplog.records if r.getMessage().startswith('{"at"')]
    assert [line["outcome"] for line in lines] == ["retry", "retry", "dead"]


def test_a_backoff_doubles_with_full_jitter_and_stays_inside_twelve_hours() -> None:
    policy, day_s = app.RetryPolicy(chance=lambda: 1.0), 24 * 3600
    assert [policy.backoff(attempt, day_s) for attempt in (1, 2, 3, 8, 9, 99)] == [5, 10, 20, 640, 900, 900]
    assert app.RetryPolicy(chance=lambda: 0.5).backoff(2, day_s) == 5
    assert app.RetryPolicy(chance=lambda: 0.0).backoff(9, day_s) == 0
    assert policy.backoff(99, 100) == 40
    assert policy.backoff(99, 0) == 0


def test_an_outage_pauses_the_queue_and_burns_no_receives(tmp_path: Path, fake: SqsFake) -> None:
    queue = Queue(client(fake.url), next(names), receives=3)
    door = Door(tmp_path, fake.url, [queue], settings="threads = 3")
    away = threading.Event()
    asked = Counter[str]()

    class Away(Host):
        def ready(self) -> dict[str, str]:
            asked["ready"] += 1
            return {"main": "away" if away.is_set() else "ok"}

        def handle(self, request: app.Request, guard: Callable[[], None]) -> app.Response:
            if away.is_set():
                raise app.Unavailable("main is away")
            return super().handle(request, guard)

    away.set()
    for number in range(30):
        queue.send(leave(id=str(number)), token=door.site.root)
    with door.opened(Away(door.site.app)):
        until(lambda: asked["ready"] > 10, "probes")
        assert queue_states.read_states([door.states]) == {queue.url.rpartition("/")[2]: "paused: main is away"}
        received = len(fake.wait_for_call("ReceiveMessage"))
        until(lambda: asked["ready"] > 30, "more probes")
        assert len(fake.wait_for_call("ReceiveMessage")) <= received + 1, "nothing is received meanwhile"
        away.clear()
        until(queue.empty, "an empty queue")
        assert queue_states.read_states([door.states]) == {queue.url.rpartition("/")[2]: "ok"}
    assert len(door.rows()) == 30
    assert not queue.dead()
    assert max(m.receives for m in fake.queues[queue.url.rpartition("/")[2]].handles.values()) == 1


def test_an_outage_that_no_provider_admits_burns_no_receives_either(tmp_path: Path, fake: SqsFake) -> None:
    queue = Queue(client(fake.url), next(names), receives=3)
    door = Door(tmp_path, fake.url, [queue])
    failures = iter([True] * 4)

    class Busy(Host):
        def handle(self, request: app.Request, guard: Callable[[], None]) -> app.Response:
            if next(failures, False):
                raise app.Unavailable("others write")
            return super().handle(request, guard)

    queue.send(leave(), token=door.site.root)
    with door.opened(Busy(door.site.app)):
        until(queue.empty, "an empty queue")
    assert len(door.rows()) == 1
    assert [m.receives for m in fake.queues[queue.url.rpartition("/")[2]].handles.values()] == [1]


def test_a_queue_that_is_missing_is_told_and_waited_for(
    tmp_path: Path, fake: SqsFake, queue: Queue, caplog: pytest.LogCaptureFixture
) -> None:
    gone = Queue(queue.client, next(names))
    name = gone.url.rpartition("/")[2]
    queue.client.delete_queue(QueueUrl=gone.url)
    bare = queue.client.create_queue(QueueName="bare")["QueueUrl"]
    door = Door(tmp_path, fake.url, [queue, gone])
    sqs = door.site.app.config.sqs
    sqs = sqs.replaced(queues=(*sqs.queues, app.QueueConfig(url=bare, allow=None, events=None)))
    door.site.app.config = door.site.app.config._replace(sqs=sqs)
    with door.opened():
        until(lambda: len(fake.wait_for_call("GetQueueAttributes", 10)) > 10, "several looks")
        until(lambda: "ok" in queue_states.read_states([door.states]).values(), "the queue that is there")
        states = queue_states.read_states([door.states])
        assert states[name].startswith("paused: ")
        assert "does not exist" in states[name]
        assert "dead-letter" in states["bare"]
        assert states[queue.url.rpartition("/")[2]] == "ok"
        queue.send(leave(), token=door.site.root)
        until(queue.empty, "the other queue is worked on")
        again = Queue(queue.client, name)
        again.send(leave(), token=door.site.root)
        until(again.empty, "the queue that came back")
    told = [r for r in caplog.records if name in r.getMessage() and "paused" in r.getMessage()]
    assert len(told) == 1
    assert len(door.rows()) == 2


@pytest.mark.parametrize(
    ("code", "status"), [("RequestThrottled", 403), ("InternalError", 500), ("ServiceUnavailable", 503)]
)
def test_accidents_of_the_service_are_outlived(code: str, status: int, tmp_path: Path, fake: SqsFake, queue: Queue) -> None:
    door = Door(tmp_path, fake.url, [queue])
    for operation in ("ReceiveMessage", "DeleteMessageBatch", "ChangeMessageVisibilityBatch"):
        fake.fault(code, operation=operation, status=status, times=2)
    fake.fault("InternalError", operation="DeleteMessageBatch", entries=(0,), times=1)
    for number in range(12):
        queue.send(leave(id=str(number)), token=door.site.root)
    with door.opened():
        until(queue.empty, "an empty queue")
    assert len(door.rows()) == 12
    assert not queue.dead()


def test_a_dead_letter_that_cannot_be_sent_keeps_its_message(tmp_path: Path, fake: SqsFake, queue: Queue) -> None:
    door = Door(tmp_path, fake.url, [queue])
    queue.send({}, token=door.site.root)
    fault = fake.fault(
        "InternalError", operation="SendMessage", queue=queue.dead_url.rpartition("/")[2], status=500, times=None
    )
    with door.opened():
        until(lambda: "paused: sending to" in next(iter(queue_states.read_states([door.states]).values())), "a pause")
        fake.wait_for_call("SendMessage", 4)
        assert queue.counts() == (0, 1)
        fault.times = 0
        until(queue.empty, "an empty queue")
    assert [code_of(one) for one in queue.dead()] == ["bad_envelope"]


# ---- at the same time


def test_messages_at_work_at_the_same_time_are_each_answered_and_told_of(
    tmp_path: Path, fake: SqsFake, queue: Queue, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    answers = queue.client.create_queue(QueueName="answers")["QueueUrl"]
    door = Door(tmp_path, fake.url, [queue], settings=f'replies = {{ answers = "{answers}" }}')
    sent = [
        queue.send(leave(f"2027-01-{n + 1:02}"), token=door.site.root, reply_to="answers", correlation_id=f"c{n}")
        for n in range(20)
    ]
    bad = queue.send(leave("never"), token=door.site.root)
    with door.opened():
        until(queue.empty, "an empty queue")
    assert len(door.rows()) == 20
    assert [code_of(one) for one in queue.dead()] == ["validation_failed"]
    replies = {texts(one)["correlation_id"]: json.loads(one["Body"])["day"] for one in queue.take(answers)}
    assert replies == {f"c{n}": f"2027-01-{n + 1:02}" for n in range(20)}
    lines = [json.loads(line) for record in caplog.records for line in record.getMessage().splitlines() if line[:1] == "{"]
    assert {line["message_id"]: line["outcome"] for line in lines} == dict.fromkeys(sent, "done") | {bad: "dead"}


@pytest.mark.parametrize(("before", "after"), [(0, 9), (25, 25)])
def test_a_slow_one_holds_up_no_quick_ones(before: int, after: int, tmp_path: Path, fake: SqsFake, queue: Queue) -> None:
    """It stands among them in the queue, is begun with them, and they are done, and deleted, before it is."""
    door = Door(tmp_path, fake.url, [queue], settings="threads = 2")
    go_on, waits = threading.Event(), threading.Event()

    class Slow(Host):
        def handle(self, request: app.Request, guard: Callable[[], None]) -> app.Response:
            if request.resource == "forms/other":
                waits.set()
                assert go_on.wait(20)
            return super().handle(request, guard)

    slow = envelope("forms/other", "create", {"text": "slow"})
    for body in [*[leave()] * before, slow, *[leave()] * after]:
        queue.send(body, token=door.site.root)
    with door.opened(Slow(door.site.app)):
        assert waits.wait(20)
        until(lambda: queue.counts() == (0, 1), "the others to be gone")
        assert len(door.rows()) == before + after
        assert not door.rows("other")
        go_on.set()
        until(queue.empty, "an empty queue")
    assert len(door.rows("other")) == 1


def test_a_lease_that_is_lost_among_others_loses_its_own_message_alone(tmp_path: Path, fake: SqsFake, queue: Queue) -> None:
    door = Door(tmp_path, fake.url, [queue])
    sent = [queue.send(leave(id=str(n)), token=door.site.root) for n in range(10)]
    lost = threading.Event()

    class Losing(Host):
        def handle(self, request: app.Request, guard: Callable[[], None]) -> app.Response:
            def stolen() -> None:
                lost.set()
                raise app.LeaseLost

            return super().handle(request, stolen if request.idempotency_key == "3" and not lost.is_set() else guard)

    host = Losing(door.site.app)
    with door.opened(host):
        until(queue.empty, "an empty queue")
    assert lost.is_set()
    assert door.counted("lost") == 1
    assert door.counted("done") == len(sent) == len(door.rows())
    assert not queue.dead()


def test_the_same_request_ten_times_at_once_is_one_row(tmp_path: Path, fake: SqsFake, queue: Queue) -> None:
    door = Door(tmp_path, fake.url, [queue])
    for _ in range(10):
        queue.send(leave(id="same"), token=door.site.root)
    with door.opened():
        until(queue.empty, "an empty queue")
    assert len(door.rows()) == 1
    assert (door.counted("done"), door.counted("replayed")) == (1, 9)


def test_an_outage_holds_only_what_it_met(tmp_path: Path, fake: SqsFake, queue: Queue) -> None:
    door = Door(tmp_path, fake.url, [queue])
    for number in range(10):
        queue.send(leave(id=str(number)), token=door.site.root)
    back, met = threading.Event(), set[str]()

    class Away(Host):
        def handle(self, request: app.Request, guard: Callable[[], None]) -> app.Response:
            if request.idempotency_key in "56789":
                if request.idempotency_key not in met:
                    met.add(request.idempotency_key)
                    raise app.Unavailable("away for a moment")
                assert back.wait(20)
            return super().handle(request, guard)

    host = Away(door.site.app)
    with door.opened(host):
        until(lambda: queue.counts() == (0, 5), "those to be gone that went well")
        back.set()
        until(queue.empty, "an empty queue")
    assert len(door.rows()) == 10
    assert door.counted("done") == 10
    assert not queue.dead()


def test_messages_that_met_the_same_outage_wait_at_the_same_time(tmp_path: Path, fake: SqsFake, queue: Queue) -> None:
    door = Door(tmp_path, fake.url, [queue], policy=QUICK._replace(probe_s=2.0))
    for number in range(10):
        queue.send(leave(id=str(number)), token=door.site.root)
    met = set[str]()

    class Away(Host):
        def handle(self, request: app.Request, guard: Callable[[], None]) -> app.Response:
            if request.idempotency_key not in met:
                met.add(request.idempotency_key)
                raise app.Unavailable("away for a moment")
            return super().handle(request, guard)

    with door.opened(Away(door.site.app)):
        until(queue.empty, "an empty queue", 8)
    assert len(door.rows()) == 10


def test_groups_are_dealt_with_at_the_same_time_and_each_in_order(tmp_path: Path, fake: SqsFake) -> None:
    queue = Queue(client(fake.url), next(names), fifo=True)
    door = Door(tmp_path, fake.url, [queue])
    for number, group in itertools.product(range(8), "abcdefgh"):
        queue.send(envelope("forms/other", "create", {"text": f"{group} {number}"}), token=door.site.root, group=group)
    with door.opened():
        until(queue.empty, "an empty queue")
    assert words(door) == {group: list(range(8)) for group in "abcdefgh"}


# ---- in order


def words(door: Door) -> dict[str, list[int]]:
    """The numbers stored by each group, in the order of their records."""
    found: dict[str, list[int]] = {}
    for row in sorted(door.rows("other"), key=lambda row: row["id"]):
        group, _, number = row["text"].partition(" ")
        found.setdefault(group, []).append(int(number))
    return found


def test_groups_stay_in_order_through_failures_and_a_restart(tmp_path: Path, fake: SqsFake) -> None:
    queue = Queue(client(fake.url), next(names), fifo=True)
    door = Door(tmp_path, fake.url, [queue], settings="attempts = 50")
    for number, group in itertools.product(range(40), "abcde"):
        queue.send(envelope("forms/other", "create", {"text": f"{group} {number}"}), token=door.site.root, group=group)
    host = Failing(door.site.app, 0.1, 7)
    with door.opened(host):
        until(lambda: len(door.rows("other")) > 60, "a part of it")
    assert queue.counts()[1] == 0, "nothing is stranded"
    with door.opened(host):
        until(queue.empty, "an empty queue", 40)
    assert words(door) == {group: list(range(40)) for group in "abcde"}
    assert not queue.dead()


def test_the_next_of_a_group_starts_when_the_one_before_is_gone(tmp_path: Path, fake: SqsFake) -> None:
    queue = Queue(client(fake.url), next(names), fifo=True)
    door = Door(tmp_path, fake.url, [queue])
    left: dict[str, int] = {}

    class Looking(Host):
        def handle(self, request: app.Request, guard: Callable[[], None]) -> app.Response:
            left[request.data["text"]] = sum(queue.counts())
            return super().handle(request, guard)

    for number in range(5):
        queue.send(envelope("forms/other", "create", {"text": f"g {number}"}), token=door.site.root, group="g")
    with door.opened(Looking(door.site.app)):
        until(queue.empty, "an empty queue")
    assert left == {f"g {number}": 5 - number for number in range(5)}


def test_a_poison_head_dead_letters_only_itself(tmp_path: Path, fake: SqsFake) -> None:
    queue = Queue(client(fake.url), next(names), fifo=True)
    door = Door(tmp_path, fake.url, [queue], settings="attempts = 4")
    done = Counter[str]()

    class Poisoned(Host):
        def handle(self, request: app.Request, guard: Callable[[], None]) -> app.Response:
            if request.data["text"] == "g 0":
                raise ZeroDivisionError
            done[request.data["text"]] += 1
            return super().handle(request, guard)

    sent = [
        queue.send(envelope("forms/other", "create", {"text": f"g {n}"}), token=door.site.root, group="g") for n in range(4)
    ]
    with door.opened(Poisoned(door.site.app)):
        until(queue.empty, "an empty queue")
    (dead,) = queue.dead()
    assert code_of(dead) == "internal_error"
    assert texts(dead)["x_attempts"] == "4"
    assert dead["Attributes"]["MessageGroupId"] == "g"
    assert dead["Attributes"]["MessageDeduplicationId"] == sent[0]
    assert words(door) == {"g": [1, 2, 3]}
    assert set(done.values()) == {1}


# ---- the end


def test_at_random_ends_nothing_is_stranded_or_done_twice(tmp_path: Path, fake: SqsFake, queue: Queue) -> None:
    door = Door(tmp_path, fake.url, [queue])
    for number in range(200):
        queue.send(leave(id=str(number)), token=door.site.root)
    chance = random.Random(11)
    for _ in range(4):
        with door.opened():
            time.sleep(chance.random() * 0.15)
        visible, held = queue.counts()
        assert held == 0
        assert len(door.rows()) + visible == 200
    with door.opened():
        until(queue.empty, "an empty queue")
    assert len(door.rows()) == 200
    assert not queue.dead()


def test_a_poll_that_has_begun_is_not_cut_off_and_what_it_brings_is_given_back(
    tmp_path: Path, fake: SqsFake, queue: Queue
) -> None:
    door = Door(tmp_path, fake.url, [queue])

    def runs(name: str) -> bool:
        return any(one.name.startswith(name) for one in threading.enumerate())

    with door.opened() as runner:
        fake.wait_for(lambda: any(c.operation == "ReceiveMessage" and not c.ended for c in fake.calls))
        until(lambda: runs("work"), "the workers")  # which begin after the poll
        runner.stop()
        until(lambda: not runs("work"), "the end of the workers")
        queue.send(leave(), token=door.site.root)
        until(lambda: not runs("receive"), "the end of the poll")  # the second stop, of opened(), would hurry
    assert queue.counts() == (1, 0)
    assert not door.rows()


def test_work_that_does_not_end_is_given_back_and_commits_nothing_more(tmp_path: Path, fake: SqsFake, queue: Queue) -> None:
    door = Door(tmp_path, fake.url, [queue], settings='drain_timeout = "2s"')
    reached, go_on, ended = threading.Event(), threading.Event(), threading.Event()

    class Stuck(Host):
        def handle(self, request: app.Request, guard: Callable[[], None]) -> app.Response:
            reached.set()
            go_on.wait(20)
            try:
                return super().handle(request, guard)
            finally:
                ended.set()

    queue.send(leave(), token=door.site.root)
    began = time.monotonic()
    with door.opened(Stuck(door.site.app)) as runner:
        reached.wait(20)
        runner.stop()
        runner.stop()  # in a hurry
    assert time.monotonic() - began < 8
    until(lambda: queue.counts() == (1, 0), "the message to be there for others, once the last poll is over")
    go_on.set()
    assert ended.wait(20)
    assert not door.rows()


# ---- replies


@pytest.fixture
def answered(tmp_path: Path, queue: Queue) -> str:
    return str(queue.client.create_queue(QueueName=f"answers-{next(names)}")["QueueUrl"])


def test_an_answer_that_fails_is_sent_later_and_the_work_is_not_done_again(
    tmp_path: Path, fake: SqsFake, queue: Queue, answered: str
) -> None:
    door = Door(tmp_path, fake.url, [queue], settings=f'replies = {{ answers = "{answered}" }}')
    name = answered.rpartition("/")[2]
    fake.fault("InternalError", operation="SendMessage", queue=name, status=500, times=6)
    queue.send(leave(), token=door.site.root, reply_to="answers", correlation_id="c1")
    with door.opened():
        until(queue.empty, "an empty queue")
    (reply,) = queue.take(answered)
    (row,) = door.rows()
    assert json.loads(reply["Body"])["id"] == row["id"]
    assert texts(reply) == {"status": "201", "correlation_id": "c1"}
    assert fake.order("SendMessage", "DeleteMessageBatch")[-2:] == ["SendMessage", "DeleteMessageBatch"]
    assert not queue.dead()
    assert len(door.site.audit(resource="forms/leave")) == 1


@pytest.mark.parametrize("way", ["", "reply_bucket"])
def test_an_answer_that_is_too_large_goes_by_s3_or_is_a_problem(way: str, tmp_path: Path) -> None:
    queue, (s3, name) = emulated(), bucket()
    answers = queue.client.create_queue(QueueName=f"answers-{next(names)}")["QueueUrl"]
    settings = f'replies = {{ answers = "{answers}" }}\n' + (f'{way} = "{name}"' if way else "")
    door = Door(tmp_path, aws_server.endpoint(), [queue], settings=settings)
    many = [{"text": "x" * 1000}] * 300
    door.site.create("forms/other", many)
    body = envelope("forms/other/records", "read", params={"_size": "1000"})
    queue.send(body, token=door.site.root, reply_to="answers")
    with door.opened():
        until(queue.empty, "an empty queue")
    (reply,) = queue.take(answers)
    if way:
        kind, place = json.loads(reply["Body"])
        stored_ = json.loads(s3.get_object(Bucket=place["s3BucketName"], Key=place["s3Key"])["Body"].read())
        assert kind == POINTER
        assert len(stored_["items"]) == 300
        assert int(texts(reply)["ExtendedPayloadSize"]) > 300_000
    else:
        assert json.loads(reply["Body"])["code"] == "too_large"
        assert texts(reply)["status"] == "413"


# ---- as a program

HINDERED = """
import os, pathlib, random, signal, time
from app import QueryTimeout, SqlProvider

class Hindered(SqlProvider):
    kind = "hindered"

    def commit(self, writes):
        ours = [write for write in writes if write.table in ("leave", "other")]
        for _ in ours:
            hinder("before")
        done = super().commit(writes)
        for _ in ours:
            hinder("after")
        return done

chance = random.Random(23)

def hinder(when):
"""
DIES = """
    mark = pathlib.Path("die-" + when)
    if mark.exists():
        mark.unlink()
        os.kill(os.getpid(), signal.SIGKILL)
"""
SLOW = """
    if when == "before":
        time.sleep(0.05)
"""
FAILS = """
    if chance.random() < 0.05:
        raise QueryTimeout("it takes too long for the time being")
"""


def hinder(door: Door, what: str) -> None:
    """Have the program's provider do this "before" and "after" it commits what was sent."""
    (door.folder / "plugins").mkdir()
    (door.folder / "plugins" / "hindered.py").write_text(HINDERED + what)
    door.toml = door.toml.replace('kind = "sql"', 'kind = "hindered"')


HURRIED = """
import app

class Hurried(app.SqlProvider):
    kind = "hurried"  # a plugin has to have something that is one

app.SqsRunner.__init__.__kwdefaults__["policy"] = app.DEFAULT_RETRIES._replace(backoff_s=1, probe_s=1, retry_s=1)
"""


def hurry(door: Door) -> None:
    """Have the program look again, and try again, five to ten times as soon as it does by itself."""
    (door.folder / "plugins").mkdir(exist_ok=True)
    (door.folder / "plugins" / "hurried.py").write_text(HURRIED)


class Program:
    """`server --runner …` as a process of its own, leader of its group."""

    def __init__(self, door: Door, *runners: str) -> None:
        self.door, self.said = door, door.folder / "said"
        self.before = self.said.stat().st_size if self.said.exists() else 0  # what others said that ran here
        (door.folder / "app.toml").write_text(door.toml)
        options = [part for runner in runners for part in ("--runner", runner)]
        command = [*backends.SATCHEL, "server", "--bind", "127.0.0.1:0", "--workers", "1", *options]
        with self.said.open("ab") as said:
            # Whoever runs the tests may ignore SIGHUP, as nohup does, and a program alone keeps it so.
            before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
            self.process = subprocess.Popen(command, cwd=door.folder, stderr=said, stdout=said, start_new_session=True)
            signal.signal(signal.SIGHUP, before)

    @property
    def told(self) -> str:
        """What it has said so far."""
        return self.said.read_bytes()[self.before :].decode()

    def wait_for(self, *texts_: str) -> None:
        until(lambda: all(text in self.told for text in texts_) or self.process.poll() is not None, str(texts_))
        assert self.process.poll() is None, self.told

    def readyz(self) -> tuple[int, dict[str, Any]]:
        """Status and facts that its HTTP runner tells."""
        port = int(self.told.split("is at http://127.0.0.1:")[1].split("/")[0])
        with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=20)) as asking:
            asking.request("GET", "/readyz")
            answer = asking.getresponse()
            return answer.status, json.loads(answer.read())

    def stop(self) -> int:
        """The exit code, once nothing is left of its group."""
        self.process.send_signal(signal.SIGTERM)
        try:
            see_end(self.door.endpoint, lambda: self.process.poll() is not None)
            until(lambda: not self._alive(), "the end of its children")
            return self.process.returncode
        finally:
            if self._alive():
                os.killpg(self.process.pid, signal.SIGKILL)

    def _alive(self) -> bool:
        try:
            os.killpg(self.process.pid, 0)
        except ProcessLookupError:
            return False
        return True


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_worker_killed_around_its_commit_leaves_one_row(when: str, tmp_path: Path, fake: SqsFake, queue: Queue) -> None:
    door = Door(tmp_path, fake.url, [queue], settings='visibility = "4s"')
    hinder(door, DIES)
    (tmp_path / f"die-{when}").touch()
    queue.send(leave(), token=door.site.root)
    program = Program(door, "sqs")
    try:
        assert program.process.wait(30) == -signal.SIGKILL, program.said.read_text()
        assert len(door.rows()) == (when == "after")
        assert queue.counts() == (0, 1)
        program = Program(door, "sqs")
        until(queue.empty, "the second delivery")
    finally:
        code = program.stop()
    assert code == 0
    assert len(door.rows()) == 1
    assert not queue.dead()


@pytest.mark.parametrize("workers", [1, 2])
def test_one_parent_runs_both_doors_restarts_what_dies_and_ends_both(
    workers: int, tmp_path: Path, fake: SqsFake, queue: Queue
) -> None:
    settings = f'visibility = "3s"\nworkers = {workers}'  # what a dead child was given comes again
    door = Door(tmp_path, fake.url, [queue], settings=settings)
    program = Program(door, "http", "sqs")
    try:
        until(lambda: program.said.read_text().count("works on 1 queue") == workers, "the queue runners")
        program.wait_for(" is at http://")
        until(lambda: program.readyz()[1]["status"] == "ok", "the first look at the queue")
        _, told = program.readyz()
        assert told["queues"] == {queue.url.rpartition("/")[2]: "ok"}
        queue.send(leave(), token=door.site.root)
        until(queue.empty, "an empty queue")
        children = Path(f"/proc/{program.process.pid}/task/{program.process.pid}/children").read_text().split()
        assert len(children) == 1 + workers
        http, *queues = [os.sched_getaffinity(int(child)) for child in children]
        assert http == os.sched_getaffinity(0)
        assert {len(processors) for processors in queues} == {1}
        assert len(set().union(*queues)) == min(workers, len(http))
        os.kill(int(children[1]), signal.SIGKILL)
        program.wait_for("the sqs 1 runner ended")
        queue.send(leave(), token=door.site.root)
        until(queue.empty, "the restarted runner")
    finally:
        code = program.stop()
    assert code == 0, program.said.read_text()
    assert len(door.rows()) == 2


def test_processes_that_share_a_queue_do_each_message_once_and_stop_without_leaving_any(
    tmp_path: Path, fake: SqsFake, queue: Queue
) -> None:
    door = Door(tmp_path, fake.url, [queue], settings="workers = 3")
    program = Program(door, "sqs")
    try:
        for number in range(120):
            queue.send(leave(f"{2000 + number}-01-31"), token=door.site.root)
        until(lambda: len(door.rows()) >= 40, "the first of them")
    finally:
        code = program.stop()
    assert code == 0, program.said.read_text()
    visible, in_flight = queue.counts()
    assert in_flight == 0
    assert len(door.rows()) + visible == 120
    assert len({row["day"] for row in door.rows()}) == len(door.rows())
    assert not list(tmp_path.rglob("queues-*.json"))


@pytest.mark.parametrize("runners", [["sqs"], ["http", "sqs"]])
def test_sighup_gives_queues_a_new_app_toml_after_what_is_in_hand_and_a_faulty_one_changes_nothing(
    runners: list[str], tmp_path: Path, fake: SqsFake, queue: Queue
) -> None:
    door = Door(tmp_path, fake.url, [queue])
    program = Program(door, *runners)
    config, good = tmp_path / "app.toml", door.toml

    def reload(text: str, said: str) -> None:
        before = program.told.count(said)
        config.write_text(text)
        program.process.send_signal(signal.SIGHUP)
        until(lambda: program.told.count(said) > before, said)

    try:
        program.wait_for("works on 1 queue")
        reload(good.replace("[providers.", "[provider.", 1), "the server keeps its present settings")
        queue.send(leave(), token=door.site.root)
        until(queue.empty, "an empty queue")
        assert len(door.rows()) == 1
        reload(good + '[forms.fresh]\nprovider = "main"\n[forms.fresh.fields]\nword = { type = "string" }\n', "is in force")
        queue.send({"v": 1, "resource": "forms/fresh", "action": "create", "data": {"word": "new"}}, token=door.site.root)
        until(queue.empty, "an empty queue again")
    finally:
        code = program.stop()
    assert code == 0, program.told
    assert not queue.dead(), program.told


def test_a_queue_that_works_is_told_beside_one_that_rests(tmp_path: Path) -> None:
    board = queue_states.StatusFile(tmp_path / "queues-1.json")
    board.set("broken", "paused")
    board.begin("intake")
    assert queue_states.read_states([tmp_path / "queues-1.json"]) == {"broken": "paused", "intake": "ok"}


def test_a_program_ended_at_ten_random_moments_strands_nothing_and_does_nothing_twice(
    tmp_path: Path, fake: SqsFake, queue: Queue
) -> None:
    """Two are at work for 0.05 s each, and quick enough that others wait for them: the 200 messages last longer than the
    ten runs together."""
    door = Door(tmp_path, fake.url, [queue], settings="threads = 2")
    hinder(door, SLOW)
    days = [f"{2000 + number}-01-31" for number in range(200)]
    for day in days:
        queue.send(leave(day), token=door.site.root)
    chance = random.Random(11)
    held: list[int] = []
    for _ in range(10):
        program = Program(door, "sqs")
        try:
            program.wait_for("works on 1 queue")
            time.sleep(0.05 + chance.random() ** 3 * 1.2)  # now and then long enough for others to wait
            held.append(len(fake.held(queue.url.rpartition("/")[2])))
        finally:
            code = program.stop()
        assert code == 0, program.told
        visible, in_flight = queue.counts()
        assert in_flight == 0
        assert len(door.rows()) + visible == 200
    assert visible > 0, "the last moment too was in the middle"
    assert sum(map(bool, held)) >= 7, "most moments were in the middle of work"
    assert max(held) > 2, "some had more than what was at work"
    program = Program(door, "sqs")
    try:
        until(queue.empty, "an empty queue")
    finally:
        code = program.stop()
    assert code == 0
    assert sorted(row["day"] for row in door.rows()) == days
    assert not queue.dead()


def test_groups_stay_in_order_when_the_program_fails_now_and_then_and_is_ended_in_the_middle(
    tmp_path: Path, fake: SqsFake
) -> None:
    """One in ten attempts fails, half of them after the commit."""
    queue = Queue(client(fake.url), next(names), fifo=True)
    name = queue.url.rpartition("/")[2]
    door = Door(tmp_path, fake.url, [queue])
    hinder(door, FAILS)
    hurry(door)
    for number, group in itertools.product(range(40), "abcde"):
        queue.send(envelope("forms/other", "create", {"text": f"{group} {number}"}), token=door.site.root, group=group)
    told = ""
    for until_left, patience_s in ((120, 60), (0, 90)):
        program = Program(door, "sqs")
        try:
            until(lambda most=until_left: sum(queue.counts()) <= most, f"{until_left} messages left", patience_s)
        finally:
            code = program.stop()
        assert code == 0, program.told
        now, resting = fake.now(), [one for one in fake.queues[name].messages if one.id in fake.held(name)]
        assert len({one.group for one in resting}) == len(resting), "at most the head of a group waits for its next attempt"
        assert all(one.visible_at <= now + 40 for one in resting)
        assert all(numbers == list(range(len(numbers))) for numbers in words(door).values())
        told += program.told
    outcomes = Counter(json.loads(line)["outcome"] for line in told.splitlines() if line.startswith("{"))
    assert outcomes["retry"] >= 10
    assert outcomes["replayed"] >= 3, "some failed after their commit"
    assert words(door) == {group: list(range(40)) for group in "abcde"}
    assert not queue.dead()


def postgres_table(server: postgres_server.Postgres, schema: str) -> str:
    return f'[providers.main]\nkind = "postgres"\nurl = "{server.socket_url}"\nschema = "{schema}"\n'


def test_a_database_that_is_down_for_long_burns_no_receives_and_loses_nothing(tmp_path: Path, fake: SqsFake) -> None:
    """Really down, and for more than two leases."""
    server = postgres_server.Postgres()
    queue = Queue(client(fake.url), next(names), receives=3)
    name = queue.url.rpartition("/")[2]
    door = Door(
        tmp_path, fake.url, [queue], settings='visibility = "3s"', provider=postgres_table(server, "site"),
    )  # fmt: skip
    hurry(door)
    days = [f"{2000 + number}-01-31" for number in range(350)]
    for day in days[:300]:
        queue.send(leave(day), token=door.site.root)
    program = Program(door, "http", "sqs")
    try:
        until(lambda: sum(queue.counts()) < 270, "some that are done")
        server.stop()
        down = time.monotonic()
        until(lambda: "paused" in program.readyz()[1]["queues"].get(name, ""), "a pause")
        assert sum(queue.counts()) > 0, "it went in the middle"
        said, received = program.told, len(fake.wait_for_call("ReceiveMessage"))
        for day in days[300:]:
            queue.send(leave(day), token=door.site.root)
        while time.monotonic() < down + 8:
            status, told = program.readyz()
            assert (status, told["queues"]) == (503, {name: "paused: main is away"})
            time.sleep(0.5)
        assert len(program.told.removeprefix(said).splitlines()) < 5, program.told
        assert len(fake.wait_for_call("ReceiveMessage")) <= received + 1, "nothing is received meanwhile"
        server.start()
        until(queue.empty, "an empty queue", 40)
        until(lambda: program.readyz()[1]["status"] == "ok", "the end of the pause")
    finally:
        code = program.stop()
    assert code == 0, program.told
    assert sorted(row["day"] for row in door.rows()) == days
    assert not queue.dead()
    assert {message.receives for message in fake.queues[name].handles.values()} == {1}
    assert program.told.count("paused: ") < 5
    door.site.close()
    server.stop()


def test_queues_that_are_missing_or_denied_are_told_in_readyz_and_hardly_in_the_log(
    tmp_path: Path, fake: SqsFake, queue: Queue
) -> None:
    """While there are several looks at each of them."""
    missing, closed, secret = (Queue(queue.client, f"{next(names)}-{kind}") for kind in ("missing", "closed", "secret"))
    door = Door(tmp_path, fake.url, [queue, missing, closed, secret])
    good, *bad = (one.url.rpartition("/")[2] for one in door.queues)
    hurry(door)
    queue.client.delete_queue(QueueUrl=missing.url)
    fake.fault("AccessDenied", operation="ReceiveMessage", queue=bad[1], status=403, times=None)
    fake.fault("AccessDenied", queue=bad[2], status=403, times=None)
    program = Program(door, "http", "sqs")
    try:
        program.wait_for("works on 4 queues", " is at http://")
        said = program.told
        until(lambda: len(program.readyz()[1]["queues"]) == 4, "the states of all")
        looks: Counter[str] = Counter()
        end = time.monotonic() + 60
        while min(looks[name] for name in bad) < 4:
            assert time.monotonic() < end, looks
            status, told = program.readyz()
            assert (status, told["status"]) == (200, "degraded")
            assert told["queues"] == {
                good: "ok",
                bad[0]: f"paused: the queue {bad[0]}: it does not exist",
                bad[1]: f"paused: receiving from {bad[1]}: access was denied (AccessDenied)",
                bad[2]: f"paused: the queue {bad[2]}: access was denied (AccessDenied)",
            }
            time.sleep(0.5)
            looks = Counter(call.queue for call in fake.calls if call.error)
        lines = program.told.removeprefix(said).splitlines()
        queue.send(leave(), token=door.site.root)
        until(queue.empty, "the good queue is worked on")
    finally:
        code = program.stop()
    assert code == 0, program.told
    assert len(lines) < 5, lines
    assert len(door.rows()) == 1


@pytest.mark.parametrize("provider", ["sql", "postgres"])
def test_one_message_twenty_times_to_four_processes_is_one_row(
    provider: str, tmp_path: Path, fake: SqsFake, queue: Queue
) -> None:
    given = postgres_table(postgres_server.server(), f"t{next(names)}") if provider == "postgres" else provider
    door = Door(tmp_path, fake.url, [queue], settings="workers = 4\nthreads = 1", provider=given)
    name = queue.url.rpartition("/")[2]

    def polls() -> list[Any]:
        return [call for call in fake.calls if call.operation == "ReceiveMessage" and not call.ended]

    program = Program(door, "sqs")
    try:
        until(lambda: program.told.count("works on 1 queue") == 4, "four processes")
        fake.wait_for(lambda: len(polls()) == 4)
        first = polls()
        message = queue.send(leave(), token=door.site.root)
        fake.duplicate(name, message, times=19)
        until(lambda: len(fake.queues[name].handles) >= 20 and queue.empty(), "twenty deliveries")
    finally:
        code = program.stop()
    assert code == 0, program.told
    assert all(call.answer for call in first), "each process was given some"
    outcomes = Counter(json.loads(line)["outcome"] for line in program.told.splitlines() if line.startswith("{"))
    assert (outcomes["done"], outcomes["replayed"]) == (1, 19), "each was answered"
    assert len(door.rows()) == 1
    assert len(door.site.audit(resource="forms/leave")) == 1
    assert not queue.dead()
    door.site.close()


def test_the_worse_state_of_several_processes_is_told(tmp_path: Path) -> None:
    paths = [tmp_path / f"queues-{number}.json" for number in (1, 2, 3)]
    assert queue_states.read_states(paths) == {"all": "the queue runner is not at work"}
    for path, told in zip(paths, ["ok", "paused", "ok"], strict=True):
        queue_states.StatusFile(path).set("intake", told)
    assert queue_states.read_states(paths) == {"intake": "paused"}
    paths[2].unlink()
    assert queue_states.read_states(paths)["all"] == "the queue runner is not at work"


def test_the_queue_runner_names_all_plugins_that_it_asks_for() -> None:
    """They are loaded before it is forked: by the time it is started again, their files may be of another version."""
    source = inspect.getsource(app.Consumer) + inspect.getsource(app.SqsRunner)
    asked = set(re.findall(r'plugin\("(\w+)"\)', source))
    assert asked
    assert asked <= set(app.SqsRunner.plugins)


def test_the_queue_runner_needs_queues(tmp_path: Path) -> None:
    done = subprocess.run(
        [*backends.SATCHEL, "server", "--runner", "sqs"], cwd=tmp_path, capture_output=True, text=True,
        timeout=30,
    )  # fmt: skip
    assert done.returncode == 2
    assert "[sqs] queues is empty" in done.stderr
