"""Satchel and the programs beside it, each with the same records or files, as it comes."""

from __future__ import annotations

import json
import os
import random
import sqlite3
import subprocess
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from itertools import islice
from pathlib import Path
from typing import Any

from harness import PATIENCE_S, PYTHON, PYZ, ROOT, Ask, Missing, Server

TOOLS = ROOT / ".venv" / "tools"
PINS = Path(__file__).parent / "peers"
JSON = {"Content-Type": "application/json"}
PAGE = {"Accept": "text/html"}
MOST_IN_A_BATCH = 1000
REGIONS = ("north", "south", "east", "west", "centre")
SITE = """
[site]
title = "Bench"
[providers.main]
kind = "sql"
url = "{url}"
[providers.disk]
kind = "file"
root = "data/files"
[files.share]
provider = "disk"
max_file = "5GB"
[forms.sale]
provider = "main"
[forms.sale.fields]
name = {{ type = "string", required = true }}
region = {{ type = "string" }}
amount = {{ type = "number" }}
day = {{ type = "string", format = "date" }}
pieces = {{ type = "integer" }}
note = {{ type = "string" }}
[views.sale]
from = "forms/sale"
columns = {{ name = {{}}, region = {{}}, amount = {{}}, day = {{}}, pieces = {{}}, note = {{}} }}
"""
SQLITE = "sqlite:///data/app.db"
STARTER = SITE.format(url=SQLITE)


def records(count: int) -> Iterator[dict[str, Any]]:
    """Always the same ones."""
    chance = random.Random(13)
    for number in range(count):
        day = f"{chance.randint(2023, 2026)}-{chance.randint(1, 12):02}-{chance.randint(1, 28):02}"
        amount, pieces = round(chance.uniform(1, 5000), 2), chance.randint(1, 40)
        note = f"Order {number}, to be delivered in the morning"
        yield {
            "name": f"Customer {chance.randint(1, 9999)}", "region": chance.choice(REGIONS), "amount": amount, "day": day,
            "pieces": pieces, "note": note,
        }  # fmt: skip


ONE = next(records(1))


# ---- Satchel ----


class Satchel(Server):
    """The built app.pyz in its default configuration, asked with a token."""

    name = "Satchel"

    def __init__(self, folder: Path, toml: str = STARTER, *options: str) -> None:
        super().__init__(folder)
        self.options = options
        self.loaded = 0
        self.env["SHIV_ROOT"] = os.environ.get("SHIV_ROOT", str(folder.parent / "unpacked"))
        (folder / "app.toml").write_text(toml, encoding="utf-8")
        self.signed = {"Authorization": f"Bearer {self.token()}"}

    def run(self, *words: str) -> str:
        """What a command prints; RuntimeError if it fails."""
        done = subprocess.run(
            [PYTHON, str(PYZ), *words], cwd=self.folder, env={**os.environ, **self.env}, capture_output=True, text=True,
            timeout=PATIENCE_S,
        )  # fmt: skip
        if done.returncode:
            raise RuntimeError(f"app.pyz {' '.join(words)}: {done.stderr}")
        return done.stdout

    def token(self) -> str:
        return self.run("auth", "issue", "--subject", "bench", "--grant", "**:*", "--force").strip()

    def command(self) -> list[str]:
        return [PYTHON, str(PYZ), "server", "--bind", f"127.0.0.1:{self.port}", *self.options]

    def ask(self, path: str, method: str = "GET", body: Any = None, headers: dict[str, str] | None = None) -> Ask:
        text = json.dumps(body) if body is not None else ""
        return Ask(self.port, path, self.signed | (JSON if text else {}) | (headers or {}), method, text)

    @property
    def list(self) -> Ask:
        return self.ask("/views/sale")

    @property
    def page(self) -> Ask:
        return self.ask("/views/sale", headers=PAGE)

    @property
    def create(self) -> Ask:
        return self.ask("/forms/sale", "POST", ONE)

    def file(self, name: str, method: str = "GET") -> Ask:
        return self.ask(f"/files/share/{name}", method)

    @property
    def files(self) -> Path:
        """The folder of the share."""
        folder = self.folder / "data" / "files"
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def load(self, count: int) -> None:
        """Through its own door, in batches."""
        rows = records(max(count, 0))
        while batch := list(islice(rows, MOST_IN_A_BATCH)):
            self.ask("/forms/sale", "POST", batch).once()
            self.loaded += len(batch)


# ---- the others ----


class Peer(Server):
    """A program in a virtual environment of its own under .venv/tools; Missing if it is not there."""

    package = ""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.program = TOOLS / self.package / "bin" / self.package
        if not self.program.exists():
            raise Missing(self.name)

    @classmethod
    def version(cls) -> str:
        """What is installed: the first line that names it among the pins."""
        pins = (PINS / f"{cls.package}.txt").read_text(encoding="utf-8").splitlines()
        return next(pin.partition("==")[2] for pin in pins if pin.startswith(cls.package))


class Datasette(Peer):
    name, package = "Datasette", "datasette"

    def __init__(self, folder: Path, count: int) -> None:
        super().__init__(folder)
        with closing(sqlite3.connect(folder / "bench.db", isolation_level=None)) as database:
            database.execute("pragma journal_mode = wal")
            database.execute(
                "create table sale (id integer primary key, name, region, amount real, day, pieces integer, note)"
            )
            rows = [tuple(row.values()) for row in records(count)]
            database.execute("begin")
            database.executemany(
                "insert into sale (name, region, amount, day, pieces, note) values (?, ?, ?, ?, ?, ?)", rows
            )
            database.execute("commit")

    def command(self) -> list[str]:
        return [str(self.program), "serve", "bench.db", "--host", "127.0.0.1", "--port", str(self.port)]

    @property
    def list(self) -> Ask:
        return Ask(self.port, "/bench/sale.json?_shape=array&_size=50")

    @property
    def page(self) -> Ask:
        return Ask(self.port, "/bench/sale?_size=50", PAGE)


class PocketBase(Peer):
    """Its rules let anybody list and create, which favours it: it has no token to check."""

    name, package = "PocketBase", "pocketbase"
    account = ("bench@example.org", "only for the bench")

    def __init__(self, folder: Path, count: int) -> None:
        super().__init__(folder)
        self.count = count

    def command(self) -> list[str]:
        return [str(self.program), "serve", "--dir", "data", "--http", f"127.0.0.1:{self.port}"]

    def start(self) -> None:
        fresh = not (self.folder / "data").exists()
        if fresh:
            made = [str(self.program), "superuser", "upsert", *self.account, "--dir", "data"]
            subprocess.run(made, cwd=self.folder, check=True, capture_output=True, timeout=PATIENCE_S)
        super().start()
        if fresh:
            self._make_collection()
            self._load(list(records(self.count)))

    def _make_collection(self) -> None:
        login = {"identity": self.account[0], "password": self.account[1]}
        path = "/api/collections/_superusers/auth-with-password"
        token = Ask(self.port, path, JSON, "POST", json.dumps(login)).json()["token"]
        kinds = {"amount": "number", "pieces": "number"}
        fields = [{"name": name, "type": kinds.get(name, "text"), "required": name == "name"} for name in ONE]
        made = {"name": "sale", "type": "base", "fields": fields, "listRule": "", "createRule": ""}
        Ask(self.port, "/api/collections", JSON | {"Authorization": token}, "POST", json.dumps(made)).once()

    def _load(self, rows: Sequence[dict[str, Any]]) -> None:
        def send(row: dict[str, Any]) -> None:
            Ask(self.port, self.create.path, JSON, "POST", json.dumps(row)).once()

        with ThreadPoolExecutor(4) as threads:
            deque(threads.map(send, rows), maxlen=0)

    @property
    def list(self) -> Ask:
        return Ask(self.port, "/api/collections/sale/records?perPage=50")

    @property
    def create(self) -> Ask:
        return Ask(self.port, "/api/collections/sale/records", JSON, "POST", json.dumps(ONE))


class Copyparty(Peer):
    name, package = "copyparty", "copyparty"

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.files = folder / "files"
        self.files.mkdir()

    def command(self) -> list[str]:
        volume = ["-v", f"{self.files}::rwd"]
        return [str(self.program), "-q", "-i", "127.0.0.1", "-p", str(self.port), *volume]

    def file(self, name: str) -> Ask:
        return Ask(self.port, f"/{name}")


class Nginx(Server):
    """A file server that does nothing else, for orientation."""

    name = "nginx"

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        path = [one for one in map(Path, ("/usr/sbin/nginx", "/usr/bin/nginx", "/usr/local/bin/nginx")) if one.exists()]
        if not path:
            raise Missing(self.name)
        self.program = path[0]
        self.files = folder / "files"
        self.files.mkdir()
        temporary = " ".join(
            f"{kind}_temp_path {folder}/{kind};" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
        )
        user = "user root;" if os.geteuid() == 0 else ""
        (folder / "nginx.conf").write_text(
            f"daemon off; {user} worker_processes auto; pid {folder}/nginx.pid; error_log stderr; events {{ }}\n"
            f"http {{ access_log off; sendfile on; keepalive_requests 1000000; {temporary}\n"
            f"server {{ listen 127.0.0.1:{self.port}; root {self.files}; }} }}\n"
        )

    def command(self) -> list[str]:
        return [str(self.program), "-e", "stderr", "-p", str(self.folder), "-c", str(self.folder / "nginx.conf")]

    def file(self, name: str) -> Ask:
        return Ask(self.port, f"/{name}")
