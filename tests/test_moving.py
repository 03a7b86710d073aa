"""A team outgrows one machine: the built app.pyz moves from SQLite and a folder to PostgreSQL and S3, and to two nodes."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import secrets
import signal
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import aws_server
import postgres_server
import pytest
from conftest import PATIENCE_S, Server, wait_for
from visitor import PAGE, Visitor

SITE = """
[auth]
keys = "env:SATCHEL_KEYS"

{providers}

[files.docs]
provider = "share"
max_file = "100MB"
[forms.leave]
provider = "main"
[forms.leave.fields]
days = {{ type = "number", multipleOf = 0.5, required = true }}
note = {{ type = "string", format = "file", files = "files/docs", max_file = "100KB" }}
[views.open]
from = "forms/leave"
columns = {{ days = {{}}, created_by = {{}} }}
order_by = ["-days"]
[apps.hr]
menu = ["forms/leave", "views/open", "files/docs"]
"""
EMBEDDED = """
[providers.{main}]
kind = "sql"
url = "sqlite:///data/app.db"
[providers.{share}]
kind = "file"
root = "data/files"
"""
SHARED = """
[providers.{main}]
kind = "postgres"
url = "env:SATCHEL_POSTGRES"
schema = "{mark}"
[providers.{share}]
kind = "aws"
bucket = "{mark}"
tables = "{mark}-"
region = "eu-central-1"
endpoint = "{endpoint}"
"""
PAGES = ["/", "/apps/hr", "/views/open", "/views/open.json", "/views/open.csv", "/forms/leave/records.json?_sort=-days"]
RECORDS = 120
LARGE = secrets.token_bytes(20_000_000)  # more than one part of a multipart upload


def environment() -> dict[str, str]:
    """What both configurations name by env: and the AWS chain finds; never real credentials."""
    ring = {"keys": [{"kid": "k1", "k": base64.urlsafe_b64encode(secrets.token_bytes(32)).rstrip(b"=").decode()}]}
    aws = {name: value for name, value in os.environ.items() if name.startswith("AWS_")}
    return aws | {"SATCHEL_KEYS": json.dumps(ring), "SATCHEL_POSTGRES": postgres_server.server().socket_url}


class Company:
    """A folder with an app.toml, and commands of app.pyz typed in it."""

    def __init__(self, pyz: Path, python: str, unpack_root: Path, folder: Path, env: dict[str, str]) -> None:
        self.command, self.folder = [python, str(pyz)], folder
        self.env = {**os.environ, "SHIV_ROOT": str(unpack_root), **env}
        self.mark = "m" + secrets.token_hex(6)
        folder.mkdir(exist_ok=True)

    def configure(self, *providers: str, **names: str) -> None:
        filled = [part.format(mark=self.mark, endpoint=aws_server.endpoint(), **names) for part in providers]
        (self.folder / "app.toml").write_text(SITE.format(providers="\n".join(filled)))

    def start(self, *args: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [*self.command, *args], cwd=self.folder, env=self.env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.PIPE, text=True,
        )  # fmt: skip

    def run(self, *args: str, code: int = 0) -> str:
        """Standard output of a command that ends with this exit code."""
        process = self.start(*args)
        out, err = process.communicate(timeout=120)
        assert process.returncode == code, (out, err)
        return out

    def token(self, subject: str, *grants: str) -> str:
        return self.run("auth", "issue", "--subject", subject, *(part for g in grants for part in ("--grant", g))).strip()


@pytest.fixture
def company(pyz: Path, bare_python: str, unpack_root: Path, tmp_path: Path) -> Callable[..., Company]:
    env = environment()
    return lambda name: Company(pyz, bare_python, unpack_root, tmp_path / name, env)


def fill(visitor: Visitor) -> str:
    """Records, some changed and some with a file, and files small and large; the address of a record."""
    leave = [{"days": n / 2} for n in range(1, RECORDS)]
    for start in range(0, len(leave), 40):
        assert visitor.post_json("/forms/leave", leave[start : start + 40]).status == 201
    note = {"name": "note.txt", "base64": base64.b64encode(b"see you").decode()}
    created = visitor.post_json("/forms/leave", {"days": 90, "note": note})
    assert created.status == 201, created.text
    address = f"/forms/leave/records/{created.data['id']}"
    changed = visitor.send("PATCH", address, b'{"days": 91.5}', {"Content-Type": "application/json"})
    assert changed.data["version"] == 2
    for path, data in {"a.txt": b"small", "b/größe & 100%.bin": LARGE, "b/empty": b""}.items():
        sent = visitor.send("PUT", f"/files/docs/{quoted(path)}", data)
        assert sent.status == 201, sent.text
    return address


def quoted(path: str) -> str:
    from urllib.parse import quote

    return quote(path)


def seen(visitor: Visitor, record: str) -> dict[str, Any]:
    """Everything that people and programs see, but for when files were stored and the etags that their store makes."""
    found: dict[str, Any] = {}
    for path in PAGES:
        answer = visitor.get(path, PAGE if "." not in path else {})
        assert answer.status == 200, (path, answer.text)
        found[path] = answer.text.replace(visitor.base_url, "")
    answer = visitor.get(record)
    found["record"] = (answer.headers["ETag"], answer.data)
    found["note"] = visitor.get("/" + answer.data["note"]["address"]).body
    listed = visitor.get("/files/docs/b").data["items"]
    found["files"] = [(row["name"], row["size_bytes"]) for row in listed]
    for path in ("a.txt", "b/größe & 100%.bin", "b/empty"):
        found[path] = hashlib.sha256(visitor.get(f"/files/docs/{quoted(path)}").body).hexdigest()
    part = visitor.get(f"/files/docs/{quoted('b/größe & 100%.bin')}", {"Range": "bytes=12345678-12345777"})
    found["range"] = (part.status, part.body == LARGE[12345678:12345778])
    return found


def test_a_site_moves_to_postgresql_and_s3_with_the_same_pages_before_and_after(
    company: Callable[..., Company], start_server: Callable[..., Server]
) -> None:
    team = company("team")
    team.configure(EMBEDDED, SHARED.replace("{main}", "new").replace("{share}", "cloud"), main="main", share="share")
    token = team.token("ann", "**:*")
    revoked = team.token("ben", "**:*")
    team.run("auth", "revoke", json.loads(team.run("auth", "list", "--json"))[0]["jti"])
    server = start_server(folder=team.folder, env=team.env, link=False)
    visitor = Visitor(server.base_url, token)
    key = {"Idempotency-Key": "once"}
    record = fill(visitor)
    first = visitor.post_json("/forms/leave", {"days": 77}, key)
    before = seen(visitor, record)
    audit = visitor.get("/admin/audit?_size=1000").data["items"]
    in_use = team.start("server", "copy", "main", "new")
    assert in_use.wait(PATIENCE_S) == 7, "a server runs on this data"
    in_use.communicate()
    assert server.stop() == 0

    faults = json.loads(team.run("server", "check", "--json", code=2))["faults"]
    assert all("--create" in fault["detail"] for fault in faults), faults
    assert "bucket" in json.dumps(json.loads(team.run("server", "check", "--create", "--json"))["created"])
    team.run("server", "check")
    cut = team.start("server", "copy", "share", "cloud")
    wait_for(lambda: list((team.folder / "data").glob("copy*")), "the first file to be copied")
    cut.send_signal(signal.SIGKILL)
    cut.communicate()
    told = json.loads(team.run("server", "copy", "share", "cloud", "--json"))
    again = json.loads(team.run("server", "copy", "share", "cloud", "--json"))
    records = json.loads(team.run("server", "copy", "main", "new", "--json"))
    for answer in (told, again, records):
        assert answer["ok"]
        assert all(one["source"] == one["target"] for one in answer["copied"])
    assert told["copied"][-1]["source"]["count"] == 4
    assert again["written"] == 0
    assert {one["what"]: one["source"]["count"] for one in records["copied"]}["leave"] == RECORDS + 1

    team.configure(SHARED, main="main", share="share")
    server = start_server(folder=team.folder, env=team.env, link=False)
    visitor = Visitor(server.base_url, token)
    assert seen(visitor, record) == before
    assert visitor.get("/admin/audit?_size=1000").data["items"][-len(audit) :] == audit
    replay = visitor.post_json("/forms/leave", {"days": 77}, key)
    assert (replay.status, replay.headers["Idempotency-Replayed"], replay.data) == (201, "true", first.data)
    assert Visitor(server.base_url, revoked).get("/views/open").status == 401
    stale = {"If-Match": '"1"', "Content-Type": "application/json"}
    assert visitor.send("PATCH", record, b'{"days": 1}', stale).status == 412
    assert server.stop() == 0


def test_two_nodes_on_one_postgresql_and_s3_are_one_site(
    company: Callable[..., Company], start_server: Callable[..., Server]
) -> None:
    one, two = company("one"), company("two")
    two.mark = one.mark
    for node in (one, two):
        node.configure(SHARED, main="main", share="share")
    one.run("server", "check", "--create")
    here, there = (start_server(folder=node.folder, env=node.env, link=False) for node in (one, two))
    token = one.token("ann", "**:*")
    at_one, at_two = Visitor(here.base_url, token), Visitor(there.base_url, token)

    created = at_one.post_json("/forms/leave", {"days": 3}, {"Idempotency-Key": "k"})
    assert created.status == 201
    repeated = at_two.post_json("/forms/leave", {"days": 3}, {"Idempotency-Key": "k"})
    assert repeated.headers["Idempotency-Replayed"] == "true"
    assert [row["days"] for row in at_two.get("/views/open.json").data["items"]] == [3]
    at_two.send("PUT", "/files/docs/a.txt", b"from two")
    assert at_one.get("/files/docs/a.txt").body == b"from two"

    answers = race(lambda n: (at_one, at_two)[n % 2], 8)
    assert sorted(answers) == [200] + [412] * 7, "of racing updates on two nodes one wins"

    two.run("auth", "revoke", json.loads(two.run("auth", "list", "--json"))[0]["jti"])
    began = time.monotonic()
    assert at_two.get("/views/open.json").status == 401
    assert at_one.get("/views/open.json").status == 401, "revoked on one, refused on the other"
    assert time.monotonic() - began < 2


def race(node: Callable[[int], Visitor], count: int) -> list[int]:
    """The statuses of updates of one record with one If-Match, sent by connections of their own at once."""
    record = node(0).get("/forms/leave/records.json").data["items"][0]
    barrier, statuses = threading.Barrier(count), [0] * count

    def update(number: int) -> None:
        visitor = Visitor(node(number).base_url, node(number).token)
        visitor.get("/healthz")
        barrier.wait(PATIENCE_S)
        headers = {"If-Match": f'"{record["version"]}"', "Content-Type": "application/json"}
        body = json.dumps({"days": number + 1}).encode()
        statuses[number] = visitor.send("PATCH", f"/forms/leave/records/{record['id']}", body, headers).status

    threads = [threading.Thread(target=update, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE_S)
    return statuses


def test_postgresql_restarts_under_clients_and_no_acknowledged_write_is_lost(
    company: Callable[..., Company], start_server: Callable[..., Server]
) -> None:
    postgres = postgres_server.Postgres()
    team = company("team")
    team.env["SATCHEL_POSTGRES"] = postgres.socket_url
    team.configure(SHARED.partition("[providers.{share}]")[0] + EMBEDDED.partition("[providers.{share}]")[1]
                   + EMBEDDED.partition("[providers.{share}]")[2], main="main", share="share")  # fmt: skip
    server = start_server(folder=team.folder, env=team.env, link=False)
    token = team.token("ann", "**:*")
    acknowledged: list[str] = []
    statuses: set[int] = set()
    stop = threading.Event()

    def write() -> None:
        visitor = Visitor(server.base_url, token)
        while not stop.is_set():
            answer = visitor.post_json("/forms/leave", {"days": 1})
            statuses.add(answer.status)
            if answer.status == 201:
                acknowledged.append(answer.data["id"])
            else:
                assert answer.headers["Retry-After"], answer.text

    writers = [threading.Thread(target=write) for _ in range(8)]
    for writer in writers:
        writer.start()
    for _ in range(2):
        enough = len(acknowledged) + 40
        wait_for(lambda: len(acknowledged) >= enough, "writes before the restart")  # noqa: B023
        postgres.stop()
        wait_for(lambda: 503 in statuses, "503 while the server is away")
        visitor = Visitor(server.base_url, token)
        assert visitor.get("/readyz").status == 503
        assert visitor.get("/healthz").status == 200
        postgres.start()
    enough = len(acknowledged) + 40
    wait_for(lambda: len(acknowledged) >= enough, "writes after the restart, without one of Satchel")
    stop.set()
    for writer in writers:
        writer.join(PATIENCE_S)
    assert statuses == {201, 503}
    visitor = Visitor(server.base_url, token)
    stored = [json.loads(line)["id"] for line in visitor.get("/forms/leave/records.ndjson").text.splitlines()]
    assert set(acknowledged) <= set(stored)
    assert len(stored) == len(set(stored))
    assert server.stop() == 0
    postgres.stop()
