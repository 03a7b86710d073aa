"""What is done to a site while faults happen, and what has to be there afterwards: for test_faults.py."""

from __future__ import annotations

import base64
import itertools
import json
import sqlite3
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, suppress
from dataclasses import dataclass, field
from http.client import HTTPException
from pathlib import Path
from typing import Any

from sites import Site
from visitor import Answer, Visitor

import app
from app import Action

TOML = """
[providers.main]
kind = "sql"
url = "sqlite:///data/app.db"
[providers.disk]
kind = "file"
root = "data/files"
[files.docs]
provider = "disk"
prefix = "docs/"
[files.blobs]
provider = "main"
[forms.notes]
provider = "main"
[forms.notes.fields]
text = { type = "string", required = true }
paper = { type = "string", format = "file", files = "files/docs" }
scan = { type = "string", format = "file", files = "files/blobs" }
[forms.lines]
provider = "disk"
[forms.lines.fields]
text = { type = "string", required = true }
"""
FORMS, SHARES = {"notes": ("paper", "scan"), "lines": ()}, {"docs": "disk", "blobs": "main"}
ACTIONS = {"POST": Action.CREATE, "PUT": Action.UPDATE, "PATCH": Action.UPDATE, "DELETE": Action.DELETE}
State = dict[str, Any]
"""{"forms/notes/records/ID": (version, text, {field: bytes}), "files/docs/PATH": bytes, "forms/notes entries": how many
audit entries tell of its records, "token NAME": True}"""


@dataclass
class Step:
    """A request that changes something. `changes` says what, once it was answered so; a value of None removes the key."""

    name: str
    method: str
    address: str
    data: Any = None  # JSON, or the bytes of a file
    key: str = ""
    changes: Callable[[Any], State] = lambda answer: {}
    times: int = 1  # how many records it makes or changes

    def send(self, visitor: Visitor) -> Answer:
        headers = {"Idempotency-Key": self.key} if self.key else {}
        if self.data is None or isinstance(self.data, bytes):
            return visitor.send(self.method, f"/{self.address}", self.data, headers)
        body = json.dumps(self.data).encode()
        return visitor.send(self.method, f"/{self.address}", body, headers | {"Content-Type": "application/json"})

    def send_within(self, site: Site, token: str) -> None:
        """The same in this process; what has been done already is no fault."""
        given: dict[str, Any] = {"body": self.data} if isinstance(self.data, bytes) else {"data": self.data}
        given |= {"idempotency_key": self.key, "partial": self.method == "PATCH"}
        with suppress(app.NotFound):
            site.ask(ACTIONS[self.method], self.address, by=token, **given)


def files_of(data: Mapping[str, Any]) -> dict[str, bytes]:
    """The files in what is sent for a record."""
    return {name: base64.b64decode(one["base64"]) for name, one in data.items() if isinstance(one, dict)}


@dataclass
class Script:
    """A visitor who knows what was acknowledged."""

    state: State = field(default_factory=lambda: dict.fromkeys((f"forms/{form} entries" for form in FORMS), 0))
    token: str = ""
    prefix: str = ""  # of its keys
    revive: Callable[[], str] | None = None  # what is done when the server is gone: it returns the new address
    retries: int = 0
    _numbers: Iterator[int] = field(default_factory=itertools.count)
    _visitor: Visitor | None = None

    def connect(self, url: str) -> None:
        self._visitor = Visitor(url, self.token)

    def do(self, step: Step) -> Answer:
        """Send it until it is answered, and believe what was answered."""
        answer = self._answered(step)
        if answer.status < 300 or (answer.status == 404 and step.method == "DELETE" and self.retries):
            self.state = after(self.state, step, json.loads(answer.body) if answer.body and answer.status < 300 else None)
        return answer

    def insist(self, step: Step) -> None:
        """Send it until it is done, or found done: a server that is about to end, or has just begun, may say 503 or 409."""
        while (answer := self.do(step)).status >= 300:
            assert answer.status in (409, 503), answer.text
            self.retries += 1

    def _answered(self, step: Step) -> Answer:
        while True:
            assert self._visitor is not None
            try:
                return step.send(self._visitor)
            except (OSError, HTTPException):
                if self.revive is None:
                    raise
                self.retries += 1
                self.connect(self.revive())

    def any_of(self, what: str) -> str:
        """The address of something that is there, the newest that begins so."""
        return [name for name in self.state if name.startswith(what)][-1]

    # -- steps

    def create(self, form: str = "notes", **files: bytes) -> Step:
        number = next(self._numbers)
        data: dict[str, Any] = {"text": f"text {number} " * 20}
        for name, content in files.items():
            data[name] = {"name": f"{name}.txt", "base64": base64.b64encode(content).decode()}

        def changes(answer: Any) -> State:
            return {f"forms/{form}/records/{answer['id']}": (1, data["text"], files)}

        return Step(f"create in {form}", "POST", f"forms/{form}", data, f"{self.prefix}key {number}", changes)

    def batch(self, form: str, count: int = 5) -> Step:
        number = next(self._numbers)
        data = [{"text": f"batch {number} {n} " * 20} for n in range(count)]

        def changes(answer: Any) -> State:
            rows = zip(answer["items"], data, strict=True)
            return {f"forms/{form}/records/{row['id']}": (1, sent["text"], {}) for row, sent in rows}

        return Step(f"batch in {form}", "POST", f"forms/{form}", data, f"{self.prefix}key {number}", changes, count)

    def change(self, record: str, method: str = "PATCH", **files: bytes) -> Step:
        number = next(self._numbers)
        version, _, before = self.state[record]
        data: dict[str, Any] = {"text": f"changed {number} " * 20}
        for name, content in files.items():
            data[name] = {"name": f"new {number}.txt", "base64": base64.b64encode(content).decode()}
        value = (version + 1, data["text"], before | files)
        return Step(
            f"change in {record[:11]}", method, record, data, f"{self.prefix}key {number}", lambda answer: {record: value}
        )

    def delete(self, address: str) -> Step:
        key = f"{self.prefix}key {next(self._numbers)}" if address.startswith("forms/") else ""
        return Step(f"delete in {address[:11]}", "DELETE", address, None, key, lambda answer: {address: None})

    def upload(self, address: str, size: int = 3000) -> Step:
        content = (b"%d " % next(self._numbers) * size)[:size]
        verb = "replace" if address in self.state else "upload"
        return Step(f"{verb} in {address[:11]}", "PUT", address, content, "", lambda answer: {address: content})

    def another(self, step: Step) -> Step:
        """A step of the same kind and size."""
        if step.method == "POST" and isinstance(step.data, list):
            return self.batch(step.address.removeprefix("forms/"), len(step.data))
        files = files_of(step.data) if isinstance(step.data, dict) else {}
        if step.method == "POST":
            return self.create(step.address.removeprefix("forms/"), **files)
        if step.address.startswith("forms/"):
            record = self._there(step.address)
            return self.delete(record) if step.method == "DELETE" else self.change(record, step.method, **files)
        return (
            self.delete(self._there(step.address)) if step.method == "DELETE" else self.upload(step.address, len(step.data))
        )

    def _there(self, address: str) -> str:
        """The address, or of a record that is gone another one; what is gone and no record is made again."""
        if address in self.state:
            return address
        form = address.split("/")[1]
        if address.startswith("files/"):
            self.do(self.upload(address, 70_000))
            return address
        self.do(self.create(form, **({"paper": b"paper" * 500, "scan": b"scan" * 500} if form == "notes" else {})))
        return self.any_of(f"forms/{form}/records/")

    def all_kinds(self) -> Iterator[Step]:
        """One of each kind of request, each made when the one before was answered."""
        yield self.create()
        yield self.create("lines")
        yield self.change(self.any_of("forms/notes/"))
        yield self.change(self.any_of("forms/lines/"), "PUT")
        yield self.batch("notes")
        yield self.batch("lines")
        for share in SHARES:
            yield self.upload(f"files/{share}/top.bin")
            yield self.upload(f"files/{share}/a/deep/one.bin", 70_000)
            yield self.upload(f"files/{share}/top.bin", 5000)
            yield self.delete(f"files/{share}/a/deep/one.bin")
        yield self.create(paper=b"paper" * 500, scan=b"scan" * 500)
        yield self.change(self.any_of("forms/notes/"), paper=b"another" * 500, scan=b"another scan" * 300)
        yield self.delete(self.any_of("forms/notes/"))
        yield self.delete(self.any_of("forms/lines/"))


def after(state: State, step: Step, answer: Any) -> State:
    """What is there once the step is done."""
    found = state | step.changes(answer)
    if step.address.startswith("forms/"):
        found[f"{step.address.split('/records')[0]} entries"] += step.times
    return {name: value for name, value in found.items() if value is not None}


def opened(folder: Path, clock: app.Clock = time.time) -> Site:
    return Site(folder, (folder / "app.toml").read_text(), clock=clock, lays_tables=False)


def observed(site: Site, tokens: Mapping[str, str] = {}) -> State:
    """What is there. Fails if something is there in part."""
    found: State = {}
    for form, fields in FORMS.items():
        for row in all_items(site, f"forms/{form}/records"):
            address = f"forms/{form}/records/{row['id']}"
            files = {name: site.bytes(f"{address}/{name}") for name in fields if row.get(name)}
            found[address] = (row["version"], row["text"], files)
    for share in SHARES:
        found |= dict(_files(site, share))
    # As they are stored: the page of the trail takes longer than all the rest.
    entries = [row.value for store in site.app.audit_stores() for row in store.walk(app.Query("_audit"))]
    for form in FORMS:
        told = [one for one in entries if one["record"] and one["resource"].startswith(f"forms/{form}")]
        assert all(one["outcome"] == "ok" for one in told)
        found[f"forms/{form} entries"] = len(told)
    for name, token in tokens.items():
        with suppress(app.Unauthenticated):
            site.read("", by=f"Bearer {token}")
            found[f"token {name}"] = True
    return found


def all_items(site: Site, address: str) -> Iterator[dict[str, Any]]:
    """The rows of all pages of a list."""
    after: str | None = ""
    while after is not None:
        table = site.read(address, params={"_size": "1000"} | ({"_next": after} if after else {})).table
        assert table is not None
        with closing(table):
            yield from map(dict, table.rows)
            after = table.next


def _files(site: Site, share: str, folder: str = "") -> Iterator[tuple[str, bytes]]:
    """The files of a share but for those of records."""
    for row in site.items(f"files/{share}{folder}"):
        address = f"{folder}/{row['name']}"
        if row.get("type") == "folder" or row["name"].endswith("/"):
            yield from () if address == "/uploads" else _files(site, share, address)
        else:
            yield f"files/{share}{address}", site.bytes(f"files/{share}{address}")


def without_ids(state: State) -> list[str]:
    """The same with records known by what they say, for comparing with what was done by another process."""
    return sorted(repr((name.partition("/records/")[0], value)) for name, value in state.items())


def check_database(path: Path) -> None:
    with closing(sqlite3.connect(path)) as database:
        assert database.execute("pragma integrity_check").fetchall() == [("ok",)]


def check_writable(site: Site) -> None:
    """Records and files of every provider can be written, and are then there."""
    for form in FORMS:
        made = site.create(f"forms/{form}", {"text": "afterwards"})
        assert site.read(f"forms/{form}/records/{made.data['id']}").data["text"] == "afterwards"
    for share in SHARES:
        site.put(f"files/{share}/top.bin", body=b"afterwards")
        site.put(f"files/{share}/new/top.bin", body=b"afterwards")
        assert site.bytes(f"files/{share}/top.bin") == site.bytes(f"files/{share}/new/top.bin") == b"afterwards"
