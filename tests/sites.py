"""A whole site in a folder, asked as a runner asks it: for the tests of resources and assembly."""

from __future__ import annotations

import builtins
import ctypes
import os
import tempfile
import time
import tomllib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

import app
from app import Action, App, Caller, Conditions, Request, Response

REGISTRY = app.load_registry(Path("/nowhere"))
KINDS = REGISTRY.of(app.Provider)  # type: ignore[type-abstract]


def registry_with(*classes: type[app.Extension]) -> app.Registry:
    """The registry, with these classes taken in too."""
    made = app.load_registry(Path("/nowhere"))
    for cls in classes:
        made.add(cls, Path(__file__))
    return made


PROVIDERS = {
    "sql": '[providers.main]\nkind = "sql"\nurl = "sqlite:///app.db"\n',
    "file": '[providers.main]\nkind = "file"\nroot = "store"\n',
}


_READY: dict[str, bytes] = {}


def lay_tables(one: app.App) -> None:
    """Gives each SQLite database of an App that is still to be made the tables and indexes that it would make itself, which
    takes most of the time that an App takes to open. What is needed for the first time is made by the App."""
    for name, tables in one.needed().items():
        provider, key = one.providers[name], repr(tables)
        if type(provider) is not app.SqlProvider or not provider.path.parent.is_dir():
            continue
        if any(provider.path.parent.glob(f"{provider.path.name}*")):
            continue
        if key not in _READY:
            _READY[key] = b""
            continue
        if not _READY[key]:
            _READY[key] = _prepared(tables)
        with suppress(PermissionError), open(provider.path, "xb", opener=_for_owner) as file:
            file.write(_READY[key])


def _for_owner(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def _prepared(tables: Any) -> bytes:
    """An SQLite database in which these tables were made."""
    with tempfile.TemporaryDirectory() as folder:
        provider = app.SqlProvider("main", {"url": "sqlite:///app.db"}, Path(folder))
        provider.open()
        provider.prepare(tables)
        provider.close()
        return provider.path.read_bytes()


class Time:
    """A clock that stands still until a test moves it."""

    def __init__(self) -> None:
        self.now = 1_800_000_000.0
        if max(app.last_ids) > (self.now + 3600) * 4096_000:  # ids of the real time, or of a test that went on to later
            app.last_ids = memoryview(bytearray(256)).cast("Q")

    def __call__(self) -> float:
        return self.now


def everything(reader: app.Reader) -> bytes:
    """The bytes of a reader, which is closed."""
    try:
        return b"".join(reader)
    finally:
        reader.close()


def no_guard() -> None:
    """Lets the commit happen."""


@contextmanager
def without_privileges() -> Iterator[None]:
    """This thread keeps to the rights of files as any account does, root too (capabilities(7))."""
    libc = ctypes.CDLL(None, use_errno=True)
    head, held = (ctypes.c_uint32 * 2)(0x20080522, 0), (ctypes.c_uint32 * 6)()
    if libc.capget(head, held):
        pytest.skip("this system has no capabilities")
    fewer = (ctypes.c_uint32 * 6)(held[0] & ~0b110, *held[1:])  # without CAP_DAC_OVERRIDE and CAP_DAC_READ_SEARCH
    assert libc.capset(head, fewer) == 0
    try:
        yield
    finally:
        assert libc.capset(head, held) == 0


@contextmanager
def mode(path: Path, bits: int) -> Iterator[None]:
    """The mode of a file or folder, for a thread that keeps to it."""
    before = path.stat().st_mode
    path.chmod(bits)
    try:
        with without_privileges():
            yield
    finally:
        path.chmod(before)


class Site:
    """An opened App of a configuration, and callers with tokens."""

    def __init__(
        self,
        folder: Path,
        toml: str,
        *,
        clock: app.Clock = time.time,
        registry: app.Registry = REGISTRY,
        lays_tables: bool = True,
    ) -> None:
        """`lays_tables`: see lay_tables."""
        raw = tomllib.loads(toml, parse_float=app.exact_number)
        kinds, channels = registry.provider_settings, registry.channel_settings
        config = app.read_config(raw, folder, "app.toml", kinds, registry.tables, channels)
        self.app = App(config, registry, clock)
        if lays_tables:
            lay_tables(self.app)
        self.app.open()
        self.folder = folder
        self.root = self.token("root", "**:*")

    def token(self, subject: str, *grants: str, roles: Sequence[str] = (), expires_s: int = 3600) -> str:
        """A credential with these grants."""
        token = self.app.office.issue(Caller("test"), subject, grants, roles, expires_s)
        return "Bearer " + self.app.authority.jwt(token)

    def ask(
        self,
        action: Action,
        address: str,
        data: Any = None,
        *,
        by: str | None = None,
        guard: Callable[[], None] = no_guard,
        **facts: Any,
    ) -> Response:
        """What a request for the address answers, as root or `by` a credential; "" is the public."""
        kind, _, rest = address.partition("/")
        name, *path = app.split_path(rest) or ("",)
        if isinstance(facts.get("body"), bytes):
            facts["body"] = [facts["body"]]
        for name_, value in [(n, facts.pop(n)) for n in ("if_match", "if_none_match") if n in facts]:
            facts["conditions"] = Conditions(**{name_: (value,)})
        request = Request(
            id=app.new_id(self.app.clock()), action=action, resource=f"{kind}/{name}" if address else "", path=tuple(path),
            door="test", data=data, credential=self.root if by is None else by, **facts,
        )  # fmt: skip
        return self.app.handle(request, guard)

    def read(self, address: str, **facts: Any) -> Response:
        address, _, query = address.partition("?")
        params = dict(pair.split("=", 1) for pair in query.split("&")) if query else {}
        return self.ask(Action.READ, address, params=facts.pop("params", params), **facts)

    def create(self, address: str, data: Any = None, **facts: Any) -> Response:
        return self.ask(Action.CREATE, address, data, **facts)

    def put(self, address: str, data: Any = None, **facts: Any) -> Response:
        return self.ask(Action.UPDATE, address, data, **facts)

    def patch(self, address: str, data: Any, **facts: Any) -> Response:
        return self.ask(Action.UPDATE, address, data, partial=True, **facts)

    def delete(self, address: str, **facts: Any) -> Response:
        return self.ask(Action.DELETE, address, **facts)

    def items(self, address: str, **facts: Any) -> list[dict[str, Any]]:
        """The rows of a list."""
        table = self.read(address, **facts).table
        assert table is not None
        try:
            return [dict(row) for row in table.rows]
        finally:
            table.close()

    def bytes(self, address: str, **facts: Any) -> bytes:
        content = self.read(address, **facts).content
        assert content is not None
        reader = content.read(0, None)
        try:
            return b"".join(reader)
        finally:
            reader.close()

    def audit(self, **wanted: Any) -> list[dict[str, Any]]:
        """Audit entries, oldest first, with these values."""
        rows = self.items("admin/audit?_size=1000")
        return [row for row in reversed(rows) if all(row[name] == value for name, value in wanted.items())]

    def stored_bytes(self) -> builtins.bytes:
        """Everything that lies in the folder, but for the key ring."""
        files = [path for path in sorted(self.folder.rglob("*")) if path.is_file() and path.name != "keys.json"]
        return b"".join(path.read_bytes() for path in files)

    def close(self) -> None:
        self.app.close()
