"""Requests a second of a running server, beside what the same machine does bare: ./build.sh bench serving

Numbers of one run may be compared with each other, those of two runs may not.
"""

from __future__ import annotations

import http.client
import json
import os
import re
import signal
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SECONDS, CLIENTS = 3.0, 16
RECORD = {"subject": "A laptop", "email": "ann@example.org", "cost": 12.34, "needed": "2026-12-01"}


def start(folder: Path) -> tuple[subprocess.Popen[str], int]:
    """A server on a free port, once it listens."""
    command = [sys.executable, str(ROOT / "app.py"), "server", "--bind", "127.0.0.1:0"]
    server = subprocess.Popen(command, cwd=folder, stderr=subprocess.PIPE, text=True)
    assert server.stderr
    for line in server.stderr:
        if match := re.search(r"http://127\.0\.0\.1:(\d+)/ ", line):
            return server, int(match[1])
    raise SystemExit("the server did not start")


def rate(request: Callable[[http.client.HTTPConnection], int], port: int) -> float:
    """Requests a second over CLIENTS kept-alive connections."""
    done, failed, stop = [0] * CLIENTS, [0], time.monotonic() + SECONDS

    def client(number: int) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", port)
        while time.monotonic() < stop:
            failed[0] += request(connection) >= 300
            done[number] += 1

    threads = [threading.Thread(target=client, args=(number,)) for number in range(CLIENTS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failed[0], f"{failed[0]} requests failed"
    return sum(done) / SECONDS


def ask(
    method: str, path: str, headers: dict[str, str], body: str | None = None
) -> Callable[[http.client.HTTPConnection], int]:
    def request(connection: http.client.HTTPConnection) -> int:
        connection.request(method, path, body, headers)
        response = connection.getresponse()
        response.read()
        return response.status

    return request


def bare_commits(folder: Path) -> float:
    """Durable SQLite inserts a second, one thread, one a commit."""
    connection = sqlite3.connect(folder / "bare.db", isolation_level=None)
    connection.executescript("pragma journal_mode=wal; pragma synchronous=full; create table t (k primary key, v)")
    done, stop = 0, time.monotonic() + SECONDS
    while time.monotonic() < stop:
        connection.execute("insert into t values (?, ?)", (done, json.dumps(RECORD)))
        done += 1
    connection.close()
    return done / SECONDS


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        server, port = start(folder)
        try:
            issue = [sys.executable, str(ROOT / "app.py"), "auth", "issue", "--subject", "bench", "--grant", "**:*"]
            token = subprocess.run(issue, cwd=folder, capture_output=True, text=True, check=True).stdout.strip()
            signed = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
            page = signed | {"Accept": "text/html"}
            first = http.client.HTTPConnection("127.0.0.1", port)
            for _ in range(50):
                ask("POST", "/forms/requests", signed, json.dumps(RECORD))(first)
            health = rate(ask("GET", "/healthz", {}), port)
            rows = {
                "GET /healthz": health,
                "GET /views/requests, JSON of 50 rows": rate(ask("GET", "/views/requests", signed), port),
                "GET /views/requests, page of 50 rows": rate(ask("GET", "/views/requests", page), port),
                "POST /forms/requests": rate(ask("POST", "/forms/requests", signed, json.dumps(RECORD)), port),
                "bare SQLite commits, one thread": bare_commits(folder),
            }
            for title, number in rows.items():
                print(f"{title:40} {number:9,.0f}/s   {number / health:6.2f} of /healthz")
        finally:
            os.kill(server.pid, signal.SIGTERM)
            server.wait(30)


if __name__ == "__main__":
    main()
