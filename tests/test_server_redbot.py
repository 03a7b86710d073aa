"""What REDbot, a lint for HTTP, finds in the answers of a running site."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import backends
import pytest
from http_client import serving
from inner_server import contexts

CONFIG = """
[site]
title = "Looked at"
[providers.main]
kind = "sql"
url = "sqlite:///app.db"
[providers.disk]
kind = "file"
root = "disk"
[forms.notes]
provider = "main"
[forms.notes.fields]
text = { type = "string" }
[files.shared]
provider = "disk"
[public]
grants = ["forms/notes:*", "files/shared:*"]
"""
ADDRESSES = [
    "/healthz", "/", "/login", "/forms/notes", "/forms/notes/records", "/files/shared/", "/files/shared/a.txt",
    "/files/shared/large.bin", "/static/app.css", "/no/such/page", "/files/shared/a.txt?_view=1", "/files/shared/?_zip=1",
    "/dav/shared/a.txt",
]  # fmt: skip
OVER_TLS = ["/", "/files/shared/a.txt", "/files/shared/large.bin"]  # what goes out another way there
# What it takes to be bad and is not: the files of others may have inline styles (not scripts), in a sandbox.
EXPECTED = {"CSP_UNSAFE_INLINE"}
# What has to have been looked at and found good, for the files.
CHECKED = {"CL_CORRECT", "DATE_CORRECT", "INM_304", "IMS_304", "RANGE_CORRECT"}


def looked_at(url: str) -> list[dict[str, Any]]:
    """REDbot's notes on an address, and those below them."""
    command: list[str | Path] = [backends.tool("redbot", "bin/redbot"), "-o", "har", url]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return list(all_of(json.loads(done.stdout)["log"]["entries"][0]["_red_messages"]))


def all_of(notes: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    for note in notes:
        yield note
        yield from all_of(note.get("subnotes", []))


@pytest.mark.parametrize("over_tls", [False, True])
def test_redbot_finds_nothing_wrong(tmp_path: Path, over_tls: bool) -> None:
    """REDbot does not speak over Unix sockets."""
    backends.tool("redbot", "bin/redbot")
    tls = contexts(tmp_path)[1] if over_tls else None
    (tmp_path / "app.toml").write_text(CONFIG + '[http]\ntls_cert = "cert"\ntls_key = "key"\n' * over_tls)
    with serving(tmp_path, tls=tls) as server, ThreadPoolExecutor(3) as pool:
        assert server.ask("PUT", "/files/shared/a.txt", b"hello\n" * 100).status == 201
        assert server.ask("PUT", "/files/shared/large.bin", b"\0" * 1_000_000).status == 201
        for number in range(3):
            note = b'{"text": "%d"}' % number
            assert server.ask("POST", "/forms/notes", note, {"Content-Type": "application/json"}).status == 201
        site = "{}://{}:{}".format("https" if over_tls else "http", *server.tcp)
        addresses = OVER_TLS if over_tls else ADDRESSES
        found = dict(zip(addresses, pool.map(lambda address: looked_at(site + address), addresses), strict=True))
    wrong = [
        (address, note["note_id"], note["summary"])
        for address, notes in found.items()
        for note in notes
        if note["level"] not in ("GOOD", "INFO") and note["note_id"] not in EXPECTED
    ]
    assert not wrong
    for address in {"/files/shared/a.txt", "/files/shared/large.bin", "/dav/shared/a.txt"} & found.keys():
        assert {note["note_id"] for note in found[address]} >= CHECKED
