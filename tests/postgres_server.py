"""One PostgreSQL for a run of tests, in a folder of its own: on a Unix socket and on a port of loopback."""

from __future__ import annotations

import functools
import hashlib
import os
import signal
import subprocess
from pathlib import Path

import backends

import app

ADMIN = "postgres"
USER = "postgres" if os.geteuid() == 0 else None  # the server refuses to run as root
GIVEN = "SATCHEL_TEST_POSTGRES"  # tells processes that tests start where the server is


def programs() -> Path:
    """Where Debian has the server's programs, the newest version."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"), key=lambda p: int(p.parts[4]))
    return Path(backends.needed("PostgreSQL", found, "apt-get install postgresql")[-1]).parent


class Postmaster(backends.Process):
    """Stopped as an administrator does it: connections are cut, and what was committed is safe."""

    last = signal.SIGQUIT  # without a checkpoint

    def stop(self, sign: signal.Signals = signal.SIGINT) -> None:
        super().stop(sign)


class Postgres:
    """A cluster with the accounts postgres (socket, no password) and satchel (loopback, password "s3cret word")."""

    password = "s3cret word"

    def __init__(self, *settings: str) -> None:
        self.folder = backends.folder(USER)
        self.port = backends.free_port()
        self.data = self.folder / "data"
        made = [programs() / "initdb", "-D", self.data, "-A", "trust", "-U", ADMIN, "-E", "UTF8", "--locale=C.UTF-8", "-N"]
        self.as_server(*map(str, made))
        lines = ["local all all trust", "host all postgres 127.0.0.1/32 trust", "host all all 127.0.0.1/32 scram-sha-256"]
        (self.data / "pg_hba.conf").write_text("\n".join(lines) + "\n")
        options = [
            f"port={self.port}", "listen_addresses=127.0.0.1", f"unix_socket_directories={self.folder}",
            "max_connections=60", "shared_buffers=32MB", *settings,
        ]  # fmt: skip
        command: list[str | Path] = [programs() / "postgres", "-D", self.data, *(f"-c{option}" for option in options)]
        self.process = Postmaster(command, self.is_ready, folder=self.folder, user=USER)
        self.sql(f"create role satchel login createdb password '{self.password}'")
        self.sql("create database satchel owner satchel")

    @property
    def socket_url(self) -> str:
        return f"postgresql://satchel@:{self.port}/satchel?host={self.folder}"

    @property
    def url(self) -> str:
        return f"postgresql://satchel@127.0.0.1:{self.port}/satchel"

    def is_ready(self) -> bool:
        done = subprocess.run(
            [programs() / "pg_isready", "-q", "-h", self.folder, "-p", str(self.port)], check=False, timeout=30
        )
        return done.returncode == 0

    def as_server(self, *command: str, folder: Path | None = None) -> str:
        """What a command says that runs as the server's user."""
        groups: list[str] | None = [] if USER else None
        run = subprocess.run(
            command, user=USER, group=USER, extra_groups=groups, cwd=folder or self.folder, capture_output=True, text=True,
            timeout=120,
        )  # fmt: skip
        if run.returncode:
            raise RuntimeError(f"{command[0]}: {run.stderr}")
        return run.stdout

    def sql(self, text: str, database: str = "postgres") -> str:
        """What psql answers as the superuser, bare."""
        psql = [str(programs() / "psql"), "-XAtq", "-v", "ON_ERROR_STOP=1", "-h", str(self.folder), "-p", str(self.port)]
        return self.as_server(*psql, "-U", ADMIN, "-d", database, "-c", text).strip()

    def stop(self) -> None:
        self.process.stop()

    def start(self) -> None:
        self.process.start()

    def restart(self) -> None:
        self.stop()
        self.start()


@functools.cache
def server() -> Postgres:
    """The one that tests share."""
    started = Postgres()
    os.environ[GIVEN] = started.socket_url
    return started


@functools.cache
def plugin() -> type[app.Provider]:
    """The class as the program loads it."""
    return app.load_registry(Path("/nonexistent")).of(app.Provider)["postgres"]  # type: ignore[type-abstract]


def open_postgres(folder: Path, **options: object) -> app.Provider:
    """A provider on the shared server, with a schema of its own for each folder."""
    if GIVEN not in os.environ:
        server()
    schema = "t" + hashlib.sha256(str(folder).encode()).hexdigest()[:16]
    provider = plugin()("main", {"url": os.environ[GIVEN], "schema": schema, **options}, folder)
    provider.open()
    return provider
