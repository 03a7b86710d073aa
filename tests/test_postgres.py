"""plugins/postgres.py beyond the contract: a real server that is away, slow, full, restarted, changed by others."""

from __future__ import annotations

import json
import random
import re
import socket
import subprocess
import sys
import threading
import time
import tracemalloc
from collections.abc import Callable, Collection, Iterator
from contextlib import closing, suppress
from decimal import Decimal
from pathlib import Path
from typing import Any

import backends
import postgres_server
import pytest
from conftest import wait_for
from postgres_server import Postgres, open_postgres, plugin
from test_provider_contract import ATOMS, HARD_VALUES, race, run

import app
from app import Condition, Delete, Insert, Query, Record, Select, Update

ROOT = Path(app.__file__).resolve().parent


@pytest.fixture
def opened(tmp_path: Path) -> Iterator[Callable[..., Any]]:
    made: list[Any] = []

    def open_one(**options: Any) -> Any:
        made.append(open_postgres(tmp_path, **options))
        return made[-1]

    yield open_one
    for provider in made:
        provider.close()


@pytest.fixture
def postgres(opened: Callable[..., Any]) -> Any:
    return opened()


@pytest.fixture(scope="module")
def own() -> Iterator[Postgres]:
    """A server that a test may stop and start, with TLS."""
    server = Postgres()
    tls = [
        backends.program("openssl"),
        "req",
        "-x509",
        "-newkey",
        "rsa:2048",
        "-nodes",
        "-days",
        "2",
        "-subj",
        "/CN=localhost",
    ]
    files = ["-addext", "subjectAltName=DNS:localhost", "-keyout", "server.key", "-out", "server.crt"]
    server.as_server(*tls, *files, folder=server.data)
    server.sql("alter system set ssl = on")
    server.restart()
    yield server
    server.stop()


def sql(text: str) -> str:
    return postgres_server.server().sql(text, "satchel")


def query(provider: Any, statement: str, **params: Any) -> list[Any]:
    return run(provider, statement, params=params)[1]


def schema(provider: Any) -> str:
    return str(query(provider, "select current_schema()")[0][0])


def failing(work: Callable[[], Any], cls: type[app.AppError]) -> app.AppError:
    """The error, which tells everybody the provider and what was done, and nobody host or password."""
    with pytest.raises(cls) as caught:
        work()
    error = caught.value
    assert error.message.startswith("provider main: ")
    for secret in (Postgres.password, "127.0.0.1", "localhost", "/tmp"):
        assert secret not in error.message
    assert Postgres.password not in error.hint
    return error


# ---- settings


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("sqlite:///x", "postgresql://user@host"),
        ("postgresql://satchel@db:port/x", "port"),
        ("postgresql://db/x", "no user"),
        ("postgresql://satchel@/x", "no host"),
        ("postgresql://satchel@db/x?sslmode=sometimes", "verify-full"),
        ("postgresql://satchel@db/x?ssl_mode=require", "did you mean sslmode?"),
        ("postgresql://satchel:s3cret@db/x", 'password = "env:NAME"'),
        ("env:NOWHERE_SET", "NOWHERE_SET"),
        ("", "postgresql://user@host"),
    ],
)
def test_a_url_that_will_not_do_is_told_at_its_place(url: str, words: str, tmp_path: Path) -> None:
    with pytest.raises(app.ConfigError) as caught:
        plugin()("main", {"url": url}, tmp_path)
    [fault] = caught.value.faults
    assert fault.pointer == "providers.main.url"
    assert words in fault.detail
    assert "s3cret" not in caught.value.message + fault.detail


def test_a_url_with_a_password_may_come_from_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", "postgresql://ann%40x:p%2Fw%20d@db.internal:5433/team%20a?sslmode=verify-full")
    target = plugin()("main", {"url": "env:DATABASE_URL"}, tmp_path)._target
    assert (target.host, target.port, target.user, target.database) == ("db.internal", 5433, "ann@x", "team a")
    assert (target.password, target.tls) == ("p/w d", "verify-full")
    assert "p/w d" not in repr(target)
    assert plugin()("main", {"url": "env:DATABASE_URL", "password": "other"}, tmp_path)._target.password == "other"


def test_a_schema_is_a_name_that_postgresql_keeps_whole(tmp_path: Path) -> None:
    for name in ("", "x" * 64):
        with pytest.raises(app.ConfigError, match="schema"):
            plugin()("main", {"url": "postgresql://a@b/c", "schema": name}, tmp_path)


def test_the_driver_is_imported_only_when_a_connection_is_made() -> None:
    code = "import sys, app, pathlib; kinds = app.load_registry(pathlib.Path('.')).of(app.Provider); "
    code += "print(sorted(kinds), kinds['postgres'], 'pg8000' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert "'postgres'" in done.stdout
    assert done.stdout.endswith("False\n")


# ---- getting in


def test_a_password_lets_in_and_a_wrong_one_is_told(opened: Callable[..., Any]) -> None:
    server = postgres_server.server()
    provider = opened(url=server.url, password=server.password)
    assert provider.ping() < 5
    for wrong in ("wrong", ""):
        other = plugin()("main", {"url": server.url, "password": wrong}, Path())
        error = failing(other.open, app.Unavailable)
        assert "refused the account" in error.message
        assert f"127.0.0.1:{server.port}" in error.hint


def test_a_missing_database_and_a_server_that_is_not_there_are_told(tmp_path: Path) -> None:
    server = postgres_server.server()
    url = server.socket_url.replace("/satchel?", "/nothing?")
    assert "no such database" in failing(plugin()("main", {"url": url}, tmp_path).open, app.Unavailable).message
    for url in (f"postgresql://a@127.0.0.1:{backends.free_port()}/x", "postgresql://a@/x?host=/tmp/nowhere"):
        assert "cannot be reached" in failing(plugin()("main", {"url": url}, tmp_path).open, app.Unavailable).message


def test_a_database_in_another_encoding_is_a_fault_of_the_configuration(tmp_path: Path) -> None:
    server = postgres_server.server()
    server.sql("create database latin encoding 'LATIN1' locale 'C' template template0")
    url = server.socket_url.replace("/satchel?", "/latin?")
    assert "UTF8" in failing(plugin()("main", {"url": url}, tmp_path).open, app.ConfigError).message


def test_a_server_that_never_answers_is_given_up_in_time(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as mute:
        url = f"postgresql://a@127.0.0.1:{mute.getsockname()[1]}/x?sslmode=disable"
        began = time.monotonic()
        failing(plugin()("main", {"url": url, "connect_timeout": 1}, tmp_path).open, app.Unavailable)
        assert time.monotonic() - began < 5


def test_too_many_connections_are_told(opened: Callable[..., Any]) -> None:
    server = postgres_server.server()
    server.sql("create role narrow login connection limit 1")
    url = server.socket_url.replace("satchel@", "narrow@")
    first = opened(url=url)
    assert "no free connections" in failing(lambda: opened(url=url), app.Unavailable).message
    assert first.ping() < 5


def test_tls_is_as_libpq_has_it(own: Postgres, tmp_path: Path) -> None:
    certificate = own.data / "server.crt"

    def encrypted(host: str, mode: str, ca: Path | None = None) -> Any:
        url = f"postgresql://satchel@{host}:{own.port}/satchel?sslmode={mode}"
        provider = plugin()("main", {"url": url, "password": own.password, "tls_ca": ca}, tmp_path)
        with closing(provider):
            provider.open()
            return query(provider, "select ssl from pg_stat_ssl where pid = pg_backend_pid()")[0][0]

    assert encrypted("127.0.0.1", "disable") is False
    assert encrypted("127.0.0.1", "prefer") is True
    assert encrypted("127.0.0.1", "require") is True
    assert encrypted("127.0.0.1", "verify-ca", certificate) is True
    assert encrypted("localhost", "verify-full", certificate) is True
    for host, mode, ca in (("127.0.0.1", "verify-full", certificate), ("localhost", "verify-full", None)):
        with pytest.raises(app.Unavailable) as caught:
            encrypted(host, mode, ca)
        assert "CERTIFICATE_VERIFY_FAILED" in caught.value.hint
    plain = postgres_server.server().url + "?sslmode=require"
    error = failing(plugin()("main", {"url": plain, "password": own.password}, tmp_path).open, app.Unavailable)
    assert "has no TLS" in error.hint


# ---- connections


def test_every_connection_commits_synchronously_and_speaks_utc(opened: Callable[..., Any]) -> None:
    server = postgres_server.server()
    server.sql("create role hasty login in role satchel")
    for setting in ("synchronous_commit = off", "timezone = 'Asia/Tokyo'", "datestyle = 'German'"):
        server.sql(f"alter role hasty set {setting}")
    provider = opened(url=server.socket_url.replace("satchel@", "hasty@"))
    wanted = "select current_setting('synchronous_commit'), current_setting('timezone'), current_setting('datestyle')"
    assert query(provider, wanted) == [("on", "UTC", "ISO, YMD")]
    assert query(provider, "select current_setting('application_name')") == [("satchel",)]


def test_the_pool_is_bounded_and_a_thread_that_gets_none_is_told(opened: Callable[..., Any]) -> None:
    provider = opened(connections=2, connect_timeout=1)
    held = [provider.select(Select(statement="select generate_series(1, 5000)")) for _ in range(2)]
    assert "all 2 connections" in failing(provider.ping, app.Unavailable).message
    held[0].close()
    assert provider.ping() < 5
    held[1].close()
    assert [type(a) for a in race(8, lambda n: provider.commit([Insert("t", f"{n}", {})]))] == [list] * 8
    name = schema(provider)
    mine = f"select count(*) from pg_stat_activity where query like '%{name}%' and pid <> pg_backend_pid()"
    assert int(sql(mine)) <= 2


def test_a_connection_is_used_again_after_an_error_and_not_after_its_end(opened: Callable[..., Any]) -> None:
    provider = opened(connections=1)
    pid = query(provider, "select pg_backend_pid()")
    with pytest.raises(app.Unreadable):
        query(provider, "select 1 / 0")
    with pytest.raises(app.Conflict):
        provider.commit([Update("t", "a", {}, 1)])
    assert query(provider, "select pg_backend_pid()") == pid
    sql(f"select pg_terminate_backend({pid[0][0]}, 5000)")
    assert query(provider, "select pg_backend_pid()") != pid


def test_no_acknowledged_write_is_lost_when_the_server_restarts_under_eight_clients(own: Postgres, tmp_path: Path) -> None:
    provider = plugin()("main", {"url": own.url, "password": own.password, "connect_timeout": 2}, tmp_path)
    provider.open()
    provider.prepare({"t": []})
    said: list[list[int]] = [[] for _ in range(8)]
    errors: list[app.AppError] = []
    back, enough = threading.Event(), threading.Event()

    def write(who: int) -> None:
        after = 0
        for n in range(100_000):
            try:
                provider.commit([Insert("t", f"{who}-{n}-a", {"n": n}), Insert("t", f"{who}-{n}-b", {})])
            except app.Unavailable as error:
                errors.append(error)
                time.sleep(0.01)
                continue
            said[who].append(n)
            if sum(map(len, said)) > 200:
                enough.set()
            after += back.is_set()
            if after == 10:
                return

    threads = [threading.Thread(target=write, args=(who,)) for who in range(8)]
    for thread in threads:
        thread.start()
    assert enough.wait(60)
    own.restart()
    back.set()
    for thread in threads:
        thread.join(60)
    assert errors
    assert all(len(numbers) >= 10 for numbers in said)
    there = {record.key for record in provider.walk(Query("t"))}
    assert {f"{who}-{n}-{half}" for who in range(8) for n in said[who] for half in "ab"} <= there
    assert len({key[:-2] for key in there}) * 2 == len(there)
    provider.close()


def test_a_server_that_is_away_at_the_start_is_used_once_it_is_there(own: Postgres, tmp_path: Path) -> None:
    provider = plugin()("main", {"url": own.url, "password": own.password, "schema": "late"}, tmp_path)
    own.stop()
    for work in (
        provider.open,
        lambda: provider.prepare({"t": declared("n")}),
        lambda: provider.get("t", "a"),
        provider.ping,
    ):
        failing(work, app.Unavailable)
    assert provider.warnings() == []
    own.start()
    assert query(provider, "select key from t") == []
    assert provider.commit([Insert("t", "a", {"n": 1})]) == [Record("a", 1, {"n": 1})]
    assert (
        own.sql("select count(*) from pg_indexes where indexname like '\\_sort\\_%' and schemaname = 'late'", "satchel")
        == "1"
    )
    provider.close()


def test_what_is_worth_a_warning_is_said(own: Postgres, opened: Callable[..., Any], tmp_path: Path) -> None:
    assert opened().warnings() == []
    own.sql("alter system set fsync = off")
    own.restart()
    provider = plugin()("main", {"url": own.url, "password": own.password}, tmp_path)
    provider.open()
    assert [w for w in provider.warnings() if "fsync" in w]
    provider.close()
    own.sql("alter system reset fsync")
    own.restart()


class Cutter:
    """A proxy that cuts the connection when a client says some bytes, before or after the server heard them."""

    def __init__(self, port: int, at: bytes, *, heard: bool) -> None:
        self.port, self.at, self.heard, self.cuts = port, at, heard, 0
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"postgresql://satchel@127.0.0.1:{self.listener.getsockname()[1]}/satchel?sslmode=disable"
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self) -> None:
        with suppress(OSError):
            while True:
                client = self.listener.accept()[0]
                server = socket.create_connection(("127.0.0.1", self.port))
                threading.Thread(target=self.pump, args=(server, client), daemon=True).start()
                threading.Thread(target=self.serve, args=(client, server), daemon=True).start()

    @staticmethod
    def pump(source: socket.socket, target: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(65536):
                target.sendall(data)

    def serve(self, client: socket.socket, server: socket.socket) -> None:
        with suppress(OSError), client, server:
            while data := client.recv(1 << 20):
                if self.at in data:
                    self.cuts += 1
                    client.shutdown(socket.SHUT_RDWR)  # before the answer can be there
                    if self.heard:
                        server.sendall(data)
                    server.shutdown(socket.SHUT_WR)
                    while server.recv(65536):  # it does what it heard, and ends
                        pass
                    return
                server.sendall(data)


@pytest.mark.parametrize("heard", [False, True], ids=["before the server", "after the server"])
def test_a_commit_whose_outcome_is_unknown_is_neither_acknowledged_nor_repeated(
    opened: Callable[..., Any], heard: bool
) -> None:
    server, direct = postgres_server.server(), opened()
    direct.commit([Insert("t", "old", {"n": 0})])
    cutter = Cutter(server.port, b"commit\0", heard=heard)
    with closing(cutter.listener):
        provider = opened(url=cutter.url, password=server.password)
        provider.get("t", "old")
        provider.commit([])
        error = failing(lambda: provider.commit([Update("t", "old", {"n": 1}), Insert("t", "new", {})]), app.Unavailable)
        assert "not known" in error.message
        assert cutter.cuts == 1
        busy = (
            "select count(*) from pg_stat_activity where state like '%in transaction%' and backend_type = 'client backend'"
        )
        wait_for(lambda: sql(busy) == "0", "the server to end the transaction")
    wanted = Record("old", 2, {"n": 1}) if heard else Record("old", 1, {"n": 0})
    assert direct.get("t", "old") == wanted
    assert (direct.get("t", "new") is not None) is heard


def test_a_write_that_waits_too_long_for_others_is_unavailable_and_not_done(opened: Callable[..., Any]) -> None:
    patient, hasty = opened(), opened(timeout=1)
    patient.commit([Insert("t", "a", {"n": 1})])
    held = patient._pool.take()
    held.run(("begin", ()), (f"select 1 from {schema(patient)}.t for update", ()))
    assert "took too long" in failing(lambda: hasty.commit([Update("t", "a", {"n": 2})]), app.Unavailable).message
    held.run(("rollback", ()))
    patient._pool.give_back(held)
    assert hasty.commit([Update("t", "a", {"n": 2}, 1)])[0].version == 2


def test_commits_of_the_same_records_in_any_order_never_wait_in_a_circle(opened: Callable[..., Any]) -> None:
    doors = [opened(), opened()]
    names = [f"{n}" for n in range(6)]

    def write(who: int) -> int:
        chance = random.Random(who)
        for _ in range(15):
            writes = [
                chance.choice([Update(table, name, {"who": who}), Delete(table, name)])
                for table in ("t", "u")
                for name in chance.sample(names, 4)
            ]
            chance.shuffle(writes)
            doors[who % 2].commit(writes)
        return who

    log = postgres_server.server().folder / "output.log"
    before = log.read_text().count("deadlock detected")
    assert race(8, write) == list(range(8))
    assert log.read_text().count("deadlock detected") == before


def test_a_full_disk_is_storage_full(postgres: Any) -> None:
    postgres.commit([Insert("t", "a", {})])
    staged = postgres.stage([b"x"])
    place = schema(postgres)
    sql(
        f"create function {place}.full() returns trigger language plpgsql as "
        "$$ begin raise 'could not extend file' using errcode = 'disk_full'; end $$;"
        f"create trigger full_ before insert or update on {place}.t for each statement execute function {place}.full();"
        f"create trigger full_ before insert on {place}._chunks for each statement execute function {place}.full()"
    )
    for work in (lambda: postgres.commit([Insert("t", "b", {})]), lambda: postgres.write("x", [b"data"])):
        assert "disk is full" in failing(work, app.StorageFull).message
    assert postgres.get("t", "b") is None
    assert postgres.publish(staged, "a").size_bytes == 1


# ---- tables


def test_reading_makes_nothing(postgres: Any, tmp_path: Path) -> None:
    assert postgres.get("t", "a") is None
    assert postgres.find(Query("t")).items == []
    assert postgres.tables() == []
    assert postgres.stat("x") is None
    assert list(postgres.scan()) == []
    assert query(postgres, "select 1") == [(1,)]
    assert sql(f"select count(*) from pg_namespace where nspname = '{postgres._schema}'") == "0"


def test_what_others_made_is_refused_and_left_alone(postgres: Any) -> None:
    postgres.commit([Insert("t", "a", {})])
    place = schema(postgres)
    sql(f"create table {place}.customer (id int); create view {place}.seen as select * from {place}.t")
    for table in ("customer", "seen", "_blobs", "x" * 64, ""):
        for work in (lambda t=table: postgres.commit([Insert(t, "a", {})]), lambda t=table: postgres.prepare({t: []})):
            with pytest.raises(app.ConfigError, match="the table"):
                work()
    assert postgres.tables() == ["t"]
    assert postgres.commit([Insert("Customer", "a", {}), Insert("pg_class", "a", {})])
    assert postgres.tables() == ["Customer", "pg_class", "t"]


def test_an_account_without_rights_is_told_what_it_lacks(opened: Callable[..., Any]) -> None:
    opened().commit([Insert("t", "a", {})])
    server = postgres_server.server()
    server.sql("create role guest login")
    guest = opened(url=server.socket_url.replace("satchel@", "guest@"))
    for work in (lambda: guest.get("t", "a"), lambda: guest.commit([Insert("t", "b", {})])):
        error = failing(work, app.NotPermitted)
        assert "lacks a right" in error.message
        assert "grant" in error.hint


def declared(*fields: str, instants: Collection[str] = ()) -> list[Query]:
    """Queries for which each of the fields is worth an index."""
    return [Query("t", order_by=(name,), instants=frozenset(instants)) for name in fields]


def test_processes_that_make_the_same_tables_and_indexes_at_once_all_succeed(opened: Callable[..., Any]) -> None:
    providers = [opened() for _ in range(6)]
    tables = {"t": declared("a", "b", instants={"b"}), "u": declared("c")}
    assert race(6, lambda n: providers[n].prepare(tables)) == [None] * 6
    providers[0].commit([Insert("t", f"{n}", {"a": n}) for n in range(500)])
    more = {"t": declared("a", "b", "d", "e", instants={"b"})}
    assert (
        race(6, lambda n: providers[n].prepare(more) or (providers[n].commit([Insert("u", f"{n}", {})]) and None))
        == [None] * 6
    )
    names = sql(f"select count(*) from pg_indexes where schemaname = '{schema(providers[0])}' and indexname like '\\_%'")
    assert names == "5"


def test_an_account_that_may_only_write_rows_works_without_the_indexes_and_says_so(opened: Callable[..., Any]) -> None:
    owner = opened()
    owner.commit([Insert("t", "a", {"n": 1})])
    place, server = schema(owner), postgres_server.server()
    server.sql("create role clerk login")
    sql(f"grant usage on schema {place} to clerk; grant all on all tables in schema {place} to clerk")
    clerk = opened(url=server.socket_url.replace("satchel@", "clerk@"))
    clerk.prepare({"t": declared("n")})
    [warning] = clerk.warnings()
    assert "indexes" in warning
    assert "lacks a right" in warning
    assert clerk.commit([Update("t", "a", {"n": 2})])[0].version == 2
    owner.prepare({"t": declared("n")})
    clerk.prepare({"t": declared("n")})
    assert clerk.warnings() == []


def test_an_index_whose_making_was_broken_off_is_made_again(postgres: Any) -> None:
    postgres.prepare({"t": declared("a")})
    place = schema(postgres)
    index = sql(f"select indexname from pg_indexes where schemaname = '{place}' and indexname like '\\_sort%'")
    postgres_server.server().sql(
        f"update pg_index set indisvalid = false where indexrelid = '{place}.{index}'::regclass", "satchel"
    )
    postgres.prepare({"t": declared("a")})
    assert sql(f"select indisvalid from pg_index where indexrelid = '{place}.{index}'::regclass") == "t"


# ---- values and order


def test_values_that_sql_changes_are_what_comes_back(postgres: Any) -> None:
    value = {"z": 1, "a": Decimal("1e22"), "n": -0.0}
    postgres.commit([Insert("t", "a", value)])
    assert app.dump_json(postgres.get("t", "a").value) == '{"z":1,"a":1e+22,"n":-0.0}'
    sql(f"update {schema(postgres)}.t set data = data || '{{\"a\": 2}}'")
    assert postgres.get("t", "a").value == {"z": 1, "a": 2, "n": 0.0}
    assert postgres.find(Query("t")).items[0].value["a"] == 2


def test_what_another_program_put_into_a_record_takes_no_list_with_it(postgres: Any) -> None:
    postgres.commit([Insert("t", key, {"n": number}) for number, key in enumerate("abcd")])
    table = f"{schema(postgres)}.t"
    sql(f"update {table} set exact = '{{nope' where key = 'a'")
    sql(f"update {table} set data = '[1]', exact = '[1]' where key = 'b'")
    digits = "1" + "0" * 500
    sql(f"update {table} set data = '{{\"n\": {digits}}}', exact = '{{\"n\": {digits}}}' where key = 'c'")
    for asked in (Query("t"), Query("t", (Condition("n", "ne", 7),), ("id",))):
        page = postgres.find(asked)
        assert [(r.key, r.value.get("n"), r.damage) for r in page.items] == [
            ("a", 0, ""), ("b", None, "is not a JSON object"), ("c", None, "is not JSON"), ("d", 3, ""),
        ]  # fmt: skip
        assert postgres.count(asked) == 4
    assert postgres.get("t", "a").value == {"n": 0}
    assert postgres.get("t", "b").damage == "is not a JSON object"


def test_values_of_every_type_of_column_are_served(postgres: Any) -> None:
    statement = """select 'infinity'::timestamptz as a, '-infinity'::date as b, '4713-01-01 BC'::date as c,
        'NaN'::numeric as d, 'NaN'::float8 as e, '-inf'::float4 as f, interval '1 mon -3 days' as g,
        array[array[1, null], array[2, 3]] as h,
        int4range(1, 5) as i, '\\x00ff'::bytea as j, '{"a": "\\ud83d"}'::json as k, '{"a": 1, "a": 2}'::json as l,
        point(1, 2) as m, 'x'::"char" as n, '1.2.3.4/8'::inet as o, row(1, 'x') as p, 1e300::numeric as q, '$5'::money as r,
        'ab'::tsvector as s, b'101' as t, '<a/>'::text::xml as u, '2026-11-23 08:00:00.123456+02'::timestamptz as v"""
    columns, [row] = run(postgres, statement)
    cells = dict(zip(columns, row, strict=True))
    assert [cells[name] for name in "abcde"] == ["infinity", "-infinity", "4713-01-01 BC", "NaN", "nan"]
    assert (cells["j"], cells["v"]) == ("AP8=", "2026-11-23T06:00:00.123456Z")
    assert cells["k"] == {"a": "\ufffd"}
    assert app.damage_of(cells["k"]) == "has half of a surrogate pair"
    app.dump_json(list(row)).encode()


@pytest.mark.parametrize(
    ("op", "value", "expected"),
    [
        ("eq", "2026-11-23T09:00:00+01:00", [1]),
        ("in", ["2026-11-23T09:00:00+01:00", "soon", 5], [1]),
        ("ne", "2026-11-23T03:00:00-05:00", [0, 2, 3]),
        ("gte", "2026-11-23T09:00:00+01:00", [1, 2]),
        ("lt", "2026-11-23T09:00:00.5+01:00", [0, 1]),
        ("eq", "soon", []),
        ("prefix", "2026-11-23T08", [1, 2]),
        ("null", True, [3]),
    ],
)
def test_date_times_are_moments_to_columns_with_a_time_zone(postgres: Any, op: str, value: Any, expected: list[int]) -> None:
    times = ["2026-11-23 07:59:59.9+00", "2026-11-23 09:00:00+01", "2026-11-23 08:00:01+00", None]
    rows = ", ".join(f"({n}, cast({'null' if text is None else repr(text)} as timestamptz))" for n, text in enumerate(times))
    found = run(
        postgres, f"select * from (values {rows}) as v (n, at)", where=(Condition("at", op, value),), order_by=("n",)
    )
    assert [row[0] for row in found[1]] == expected


@pytest.mark.parametrize("kind", ["timestamptz", "timestamp", "text", "numeric", "date"])
def test_days_select_the_same_rows_however_a_column_keeps_its_moments(postgres: Any, kind: str) -> None:
    """By the clocks of Copenhagen, which went forward on 2026-03-29."""
    filters, locale = app.plugin("list_filters"), app.plugin("locale").Locale("en", "Europe/Copenhagen")
    ways: dict[str, Any] = {"numeric": lambda text: f"extract(epoch from timestamptz '{text}')"}
    ways["date"] = lambda text: f"(timestamptz '{text}' at time zone 'Europe/Copenhagen')::date"
    texts = ["2026-03-28 22:59:59Z", "2026-03-28T23:00:00Z", "2026-03-29T21:59:59.9Z", "2026-03-29 22:00:00Z"]
    cells = [f"cast({ways.get(kind, repr)(text)} as {kind})" for text in texts]
    rows = ", ".join(f"({n}, {cell})" for n, cell in enumerate([*cells, f"cast(null as {kind})"]))
    expected = {"eq": [1, 2], "lt": [0], "lte": [0, 1, 2], "gt": [3], "gte": [1, 2, 3]}
    for op, numbers in expected.items():
        for format_ in (filters.MOMENT, filters.DAY):
            where = filters.conditions(f"at__{op}", "2026-03-29", app.Column("at", format=format_), locale)
            found = run(postgres, f"select * from (values {rows}) as v (n, at)", where=tuple(where), order_by=("n",))
            assert [row[0] for row in found[1]] == numbers, (op, format_)


def test_a_number_that_jsonb_cannot_hold_is_invalid(postgres: Any) -> None:
    with pytest.raises(app.Invalid, match="131,072"):
        postgres.commit([Insert("t", "a", {"n": Decimal("1e200000")})])
    assert postgres.get("t", "a") is None


def test_the_sort_key_of_the_database_is_that_of_the_program(postgres: Any) -> None:
    chance = random.Random(5)
    values = [*ATOMS, *(value for row in HARD_VALUES for value in row.values())]
    values += [Decimal(chance.randint(-(10**9), 10**9)).scaleb(chance.randint(-400, 400)) for _ in range(200)]
    values += [chance.uniform(-1, 1) * 10 ** chance.randint(-300, 300) for _ in range(200)]
    postgres.commit([Insert("t", f"{n}", {"v": value}) for n, value in enumerate(values)])
    rows = query(postgres, "select key, _sort_key(data->'v') from t")
    assert len(rows) == len(values)
    assert {int(key): found for key, found in rows} == {n: app.sort_key(value) for n, value in enumerate(values)}


def test_date_times_are_compared_by_a_function_that_takes_every_text(postgres: Any) -> None:
    texts = ["2026-02-29T00:00:00Z", "2024-02-29T00:00:00Z", "1900-02-29T00:00:00Z", "2000-02-29T23:59:59.000100+23:59"]
    texts += ["0000-01-01T00:00:00Z", "0001-01-01T00:00:00+23:59", "9999-12-31T23:59:59.9-23:59", "2026-04-31T00:00:00Z"]
    texts += ["2026-01-01T00:00:60Z", "2026-01-01T00:00:00+24:00", "2026-13-01T00:00:00Z", "2026-00-01T00:00:00Z"]
    texts += [
        "2026-01-01T00:00:00Z\n",
        "\u0662026-01-01T00:00:00Z",
        "2026-01-01T00:00:00." + "123" * 300 + "Z",
        "",
        "é",
        "now",
    ]
    values = [*texts, None, True, 5, 2.5, [texts[0]], {"a": texts[1]}]
    postgres.commit([Insert("t", f"{n}", {"v": value}) for n, value in enumerate(values)])
    rows = query(postgres, "select key, _moment_key(data->'v') from t")
    assert {int(key): found for key, found in rows} == {n: app.value_key(value, True) for n, value in enumerate(values)}


def test_an_older_database_gets_the_function_for_date_times_or_they_are_compared_here(opened: Callable[..., Any]) -> None:
    owner = opened()
    times = ["2026-11-23T09:00:00+02:00", "2026-11-23T08:00:00Z", "2026-11-23T07:30:00Z"]
    owner.commit([Insert("t", f"{n}", {"at": text}) for n, text in enumerate(times)])
    place, server = schema(owner), postgres_server.server()
    sql(f"drop function {place}._moment_key(jsonb)")
    server.sql("create role temp login")
    sql(f"grant usage on schema {place} to temp; grant all on all tables in schema {place} to temp")
    guest = opened(url=server.socket_url.replace("satchel@", "temp@"))
    asked = Query("t", (Condition("at", "lt", "2026-11-23T09:00:00+01:00"),), ("at",), instants=frozenset({"at"}))
    assert [r.key for r in guest.find(asked).items] == ["0", "2"]
    assert guest.count(asked) == 2
    [warning] = guest.warnings()
    assert "_moment_key" in warning
    assert "lacks a right" in warning
    fresh = opened()
    assert [r.key for r in fresh.find(asked).items] == ["0", "2"]
    assert query(fresh, "select _moment_key('\"2026-11-23T08:00:00Z\"')") != []
    assert fresh.warnings() == []


def test_values_too_long_for_an_index_are_stored_and_ordered(postgres: Any) -> None:
    postgres.prepare({"t": declared("v")})
    chance = random.Random(6)
    values: list[Any] = ["".join(chance.choices("abß🏖", k=6000)) for _ in range(5)]
    values += ["x" * 5000 + tail for tail in "bac"] + [Decimal("1." + "7" * 6000 + tail) for tail in "213"]
    postgres.commit([Insert("t", f"{n}", {"v": value}) for n, value in enumerate(values)])
    order = sorted(range(len(values)), key=lambda n: app.sort_key(values[n]))
    assert [int(r.key) for r in postgres.find(Query("t", order_by=("v",))).items] == order
    page = postgres.find(Query("t", order_by=("v",), limit=4))
    assert [int(r.key) for r in postgres.find(Query("t", order_by=("v",), after=page.next)).items] == order[4:]
    for number, value in enumerate(values):
        found = postgres.find(Query("t", where=(Condition("v", "eq", value),))).items
        assert [int(r.key) for r in found] == [number]


def plan(provider: Any, asked: Query) -> str:
    """How the server would look it up."""
    compiled = sys.modules[type(provider).__module__].PostgresQuery
    made = compiled(app.CompiledQuery(asked), provider._named(asked.table), provider._schema)
    with provider.reading("explaining") as link:
        answer = link.run(("explain " + made.rows("key"), list(made.values.values())))
    return "\n".join(row[0] for row in answer.rows)


def test_a_declared_field_is_looked_up_and_ordered_by_its_index(postgres: Any) -> None:
    postgres.prepare({"t": declared("n", "who's", "at", instants={"at"})})
    rows = [{"n": n * 7919 % 5003, "who's": f"name {n % 1009}", "pad": "x" * 300} for n in range(5000)]
    rows = [row | {"at": app.rfc3339(1e9 + n * 7919 % 5003)} for n, row in enumerate(rows)]
    moments = frozenset({"at"})
    postgres.commit([Insert("t", f"{n:04}", row) for n, row in enumerate(rows)])
    sql(f"analyze {schema(postgres)}.t")
    first = postgres.find(Query("t", order_by=("-n",), limit=20))
    for asked in (
        Query("t", order_by=("n",), limit=20),
        Query("t", order_by=("-n",), limit=20),
        Query("t", order_by=("-n",), limit=20, after=first.next or ""),
        Query("t", order_by=("who's", "-n"), limit=20),
        Query("t", where=(Condition("n", "eq", 17),)),
        Query("t", where=(Condition("who's", "in", ["name 5", "name 6"]),)),
        Query("t", where=(Condition("n", "lt", 30),), order_by=("n",)),
        Query("t", order_by=("-at",), limit=20, instants=moments),
        Query("t", where=(Condition("at", "eq", "2001-09-09T03:46:40+02:00"),), instants=moments),
        Query("t", where=(Condition("at", "lt", "2001-09-09T03:47:00+02:00"),), order_by=("at",), instants=moments),
    ):
        key = "_moment_" if asked.instants else "_sort_"
        assert re.search(f"Index Scan (Backward )?using {key}|Bitmap Index Scan on {key}", plan(postgres, asked)), asked
    assert "using _sort_" not in plan(postgres, Query("t", order_by=("pad",), limit=20))
    assert [r.value["n"] for r in first.items] == sorted((r["n"] for r in rows), reverse=True)[:20]


# ---- views


def test_columns_of_one_name_are_told_apart(postgres: Any) -> None:
    assert run(postgres, "select 1 as a, 2 as b, 3 as a, 4 as a") == (("a", "b", "a:1", "a:2"), [(1, 2, 3, 4)])


def test_values_that_do_not_fit_a_statement_are_the_callers_fault_and_other_values_are_not(postgres: Any) -> None:
    with pytest.raises(app.BadRequest, match="fails with these parameters: division by zero"):
        query(postgres, "select 1 / cast(:n as integer) as x", n=0)
    with pytest.raises(app.Unreadable, match="cannot work with: division by zero"):
        query(postgres, "select 1 / 0 as x")


def test_a_large_object_that_a_view_makes_is_gone_with_its_transaction(postgres: Any) -> None:
    with suppress(app.ConfigError):  # PostgreSQL 16 refuses it
        query(postgres, "select lo_create(0)")
    assert sql("select count(*) from pg_largeobject_metadata") == "0"


NOT_FOR_VIEWS = [
    "insert into t (key, version, data, exact) values ('x', 1, '{}', '{}') returning key",
    "with gone as (delete from t returning key) select * from gone",
    "select * from t for update",
    "select nextval('counter')",
    "select setval('counter', 99)",
    "select set_config('transaction_read_only', 'off', true), nextval('counter')",
    "set transaction read write",
    "set session characteristics as transaction read write",
    "commit",
    "rollback and chain",
    "do $$ begin perform nextval('counter'); end $$",
    "copy t to stdout",
    "copy t from stdin",
    "create table u as select 1 as a",
    "select 1 as a into u",
    "create temp table u (a int)",
    "truncate t",
    "lock table t",
    "explain analyze delete from t",
    "call breach()",
    "select breaching()",
    "listen x",
    "declare c cursor for select 1",
    "prepare p as select 1",
    "discard all",
    "vacuum",
    "create index concurrently on t (key)",
    "select 1; commit",
    "select :a::int + ''",
]


@pytest.mark.parametrize("statement", NOT_FOR_VIEWS)
def test_a_view_can_write_nothing_whatever_it_says(guarded: Any, statement: str) -> None:
    params = {"a": "x"} if ":a" in statement else {}
    before = sql(f"select last_value from {guarded.place}.counter")
    for more in ({}, {"limit": 5}):
        with pytest.raises((app.ConfigError, app.BadRequest), match="the statement"):
            run(guarded, statement, params=params, **more)
    assert sql(f"select last_value from {guarded.place}.counter") == before
    assert sql(f"select string_agg(relname, ' ' order by relname) from pg_class where relkind = 'r' "
               f"and relnamespace = '{guarded.place}'::regnamespace") == "t"  # fmt: skip
    assert guarded.get("t", "a") == Record("a", 1, {"n": 1})


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    provider: Any = open_postgres(tmp_path_factory.mktemp("guarded"), connections=2)
    provider.commit([Insert("t", "a", {"n": 1})])
    provider.place = schema(provider)
    writes = f"nextval('{provider.place}.counter')"
    sql(
        f"create sequence {provider.place}.counter; grant all on sequence {provider.place}.counter to satchel;"
        f"create procedure {provider.place}.breach() language plpgsql as $$ begin commit; perform {writes}; end $$;"
        f"create function {provider.place}.breaching() returns int language plpgsql as"
        f" $$ begin set transaction read write; return {writes}; end $$"
    )
    yield provider
    provider.close()


def test_limits_of_years_are_as_good_as_none(opened: Callable[..., Any]) -> None:
    provider = opened(timeout=10 * 366 * 86400)
    assert provider.commit([Insert("t", "a", {})])
    assert run(provider, "select key from t", timeout_s=10.0 * 366 * 86400)[1] == [("a",)]


def test_a_view_leaves_nothing_behind_on_its_connection(opened: Callable[..., Any]) -> None:
    provider, other = opened(connections=1), opened()
    query(provider, "select set_config('statement_timeout', '1', false), set_config('search_path', 'x', false)")
    query(provider, "select cast(pg_advisory_lock(77) as text)")
    query(provider, "select pg_sleep(0.05)::text")
    assert query(other, "select pg_try_advisory_lock(77)") == [(True,)]
    provider.commit([Insert("t", "a", {})])
    assert query(provider, "select key from t") == [("a",)]


def test_a_statement_is_described_once_until_what_it_reads_has_other_columns(
    postgres: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    module, described = app.plugin("postgres"), list[str]()
    link, place, clock = module.Link, schema(postgres), Clock()
    postgres._descriptions = module.Descriptions(clock)
    describe = link.describe
    monkeypatch.setattr(link, "describe", lambda self, sql, *more: described.append(sql) or describe(self, sql, *more))
    sql(f"create table {place}.own (a int, b text); insert into {place}.own values (1, 'x'), (2, 'y')")
    sql(f"grant select on {place}.own to satchel")
    view = "select * from own where :n is null or a >= :n"
    for n, rows in ((1, [(1, "x"), (2, "y")]), (2, [(2, "y")]), (1, [(1, "x"), (2, "y")])):
        assert run(postgres, view, params={"n": n}, order_by=("a",))[1] == rows
    tries = len(described)
    assert run(postgres, view, params={"n": None})[0] == ("a", "b")
    assert len(described) > tries, "null has no type of its own"
    tries = len(described)
    assert run(postgres, view, params={"n": None}, limit=1)[1] == [(1, "x")]
    assert len(described) == tries
    sql(f"alter table {place}.own drop b")
    assert run(postgres, view, params={"n": 1}, order_by=("a",)) == (("a",), [(1,), (2,)]), "at once"
    sql(f"alter table {place}.own add c int default 7")
    clock.now += module.DESCRIBED_S + 1
    assert run(postgres, view, params={"n": 2}) == (("a", "c"), [(2, 7)]), "a little later"
    sql(f"alter table {place}.own alter a type text using a::text")
    with pytest.raises(app.ConfigError, match="the statement is wrong"):
        run(postgres, view, params={"n": 2})
    sql(f"drop table {place}.own")
    with pytest.raises(app.ConfigError, match="does not exist"):
        run(postgres, view, params={"n": 2})
    assert query(postgres, "select 1") == [(1,)]


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_parameters_take_the_type_of_their_value_or_of_their_place(postgres: Any) -> None:
    rows = [("a", "nord", 5), ("b", "süd", 7)]
    postgres.commit([Insert("sale", key, {"region": r, "n": n, "day": "2026-01-02"}) for key, r, n in rows])
    region = "select key from sale where :region is null or data->>'region' = :region order by key"
    assert query(postgres, region, region=None) == [("a",), ("b",)]
    assert query(postgres, region, region="süd") == [("b",)]
    assert query(postgres, "select :a is null, :b is null", a=None, b="x") == [(True, False)]
    assert query(postgres, "select key from sale where (data->>'n')::int > :n::int", n=5) == [("b",)]
    assert query(postgres, "select key from sale where (data->>'n')::numeric > :n limit 1", n=Decimal("5.5")) == [("b",)]
    assert query(postgres, "select count(*) from sale where (data->>'day')::date < :day", day="2026-01-03") == [(2,)]
    assert query(postgres, "select (data->>'day')::date + :n from sale limit 1", n=3) == [("2026-01-05",)]
    assert query(postgres, "select e'\\':no', $x$ :no $x$, '::no', :yes::text, (array[1,2])[1:2]::text", yes="y") == [
        ("':no", " :no ", "::no", "y", "{1,2}")
    ]
    assert query(postgres, "select :big, :small, :float, :list::jsonb", big=2**63 - 1, small=-5, float=0.1, list=[1]) == [
        (2**63 - 1, -5, 0.1, [1])
    ]


def test_cells_are_json(postgres: Any) -> None:
    statement = """select 1::int2, 2::int8, 3.50::numeric, 12345678901234567890.123::numeric, 'NaN'::numeric, 0.1::float8,
        'Infinity'::float8, true, null, '\\x00ff'::bytea, date '2026-11-23', timestamp '2026-11-23 08:00:00.5',
        timestamptz '2026-11-23 08:00:00+01', interval '1 day 2 hours', '{"a": [1, 2.50]}'::jsonb, '{"b": 1, "b": 2}'::json,
        'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11'::uuid, 'x'::char(3), array[1, null], 10 ^ 20::numeric"""
    [row] = query(postgres, statement)
    assert row == (
        1, 2, 3.5, Decimal("12345678901234567890.123"), "NaN", 0.1, "inf", True, None, "AP8=", "2026-11-23",
        "2026-11-23T08:00:00.5", "2026-11-23T07:00:00Z", "P1DT2H", {"a": [1, 2.5]}, '{"b": 1, "b": 2}',
        "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11", "x  ", "{1,NULL}", 10**20,
    )  # fmt: skip
    assert json.loads(app.dump_json(list(row)))
    assert query(postgres, f"select repeat('7', 5000)::numeric") == [(Decimal("7" * 5000),)]  # noqa: F541


TYPED = """select * from (values
    (1, 'a', date '2026-01-02', timestamptz '2026-01-02 03:04:05+00', true, '\\x00ff'::bytea, '{"k": 1}'::json),
    (2, 'B', date '2026-02-02', timestamptz '2026-02-02 03:04:05+00', false, '\\x01ff'::bytea, '{"k": 2}'::json),
    (3, null, null, null, null, null, null)
) as v(n, t, d, z, b, x, j)"""


def test_columns_of_any_type_can_be_filtered_ordered_and_searched(postgres: Any) -> None:
    def found(*where: Condition, **more: Any) -> str:
        return "".join(str(row[0]) for row in run(postgres, TYPED, where=where, **more)[1])

    assert found(Condition("d", "gte", "2026-02-01")) == "2"
    assert found(Condition("z", "eq", "2026-01-02T03:04:05Z")) == "1"
    assert found(Condition("z", "prefix", "2026-02")) == "2"
    assert found(Condition("b", "eq", True)) == "1"
    assert found(Condition("b", "ne", True)) == "23"
    assert found(Condition("x", "eq", "AP8=")) == "1"
    assert found(Condition("n", "in", ["1", 2, None])) == "2"
    assert found(Condition("n", "eq", "1")) == ""
    assert found(Condition("n", "contains", "1")) == "1"
    assert found(Condition("t", "gt", 1)) == ""
    assert found(Condition("t", "lt", "a")) == "2"
    assert found(Condition("j", "contains", '"k": 2')) == "2"
    assert found(Condition("j", "null", True)) == "3"
    assert found(search="b") == "2"
    assert found(search="2026-01") == "1"
    for name in "ntdzbxj":
        assert len(found(order_by=(f"-{name}",))) == 3
    assert found(order_by=("t",)) == "321"
    assert found(order_by=("-d",)) == "213"


def test_a_search_without_a_table_of_records_folds_every_case_as_the_program_does(postgres: Any) -> None:
    texts = ["ΟΔΟΣ", "οδος", "İstanbul", "ﬁne", "STRASSE", "straße", "e\u0301cole", "ÉCOLE", "Ǆ", "ᾳ", "a\nB", "ı"]
    listed = " union all ".join(f"select {n} as n, '{text}' as t" for n, text in enumerate(texts))
    for sought in [*texts, "i", "ss", "σ"]:
        expected = [n for n, text in enumerate(texts) if app.fold_case(sought) in app.fold_case(text)]
        assert [row[0] for row in run(postgres, listed, search=sought, order_by=("n",))[1]] == expected, sought


def test_wide_rows_are_streamed_in_bounded_memory(postgres: Any) -> None:
    rows = postgres.select(Select(statement="select repeat('x', 200000) as x from generate_series(1, 1000)"))
    tracemalloc.start()
    try:
        assert sum(len(row[0]) for row in rows.rows) == 200_000_000
        assert tracemalloc.get_traced_memory()[1] < 30_000_000
    finally:
        tracemalloc.stop()
        rows.close()


def test_a_stream_whose_server_ends_is_unavailable_and_the_provider_recovers(postgres: Any) -> None:
    rows = postgres.select(Select(statement="select pg_backend_pid() as pid from generate_series(1, 100000)"))
    pid = next(rows.rows)[0]
    sql(f"select pg_terminate_backend({pid}, 5000)")
    with pytest.raises(app.Unavailable):
        list(rows.rows)
    rows.close()
    assert postgres.ping() < 5


# ---- blobs


def test_uploads_at_once_under_one_folder_keep_files_and_folders_apart(opened: Callable[..., Any]) -> None:
    doors = [opened(), opened()]
    for turn in range(4):
        race(8, lambda n, t=turn: doors[n % 2].write(f"d{t}" if n % 4 == 0 else f"d{t}/f{n}", [b"x"]))
        paths = [blob.path for blob in doors[0].scan()]
        assert not [p for p in paths if any(other.startswith(p + "/") for other in paths)]
        race(8, lambda n: [door.remove(p) for door in doors[n % 2 : n % 2 + 1] for p in paths])  # noqa: B023
        assert list(doors[0].scan()) == []
        assert list(doors[0].scan(deep=False)) == []


def test_replaced_bytes_are_kept_up_to_a_limit_and_the_oldest_go_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = app.plugin("sql_files")
    monkeypatch.setattr(files, "REPLACED_KEPT_BYTES", 1_000_000)
    monkeypatch.setattr(files.SqlFiles, "_replaced_bytes", 0)
    at = 1_000_000.0
    url = {"url": postgres_server.server().socket_url, "schema": "replacing"}
    provider = plugin()("main", url, tmp_path, clock=lambda: at)  # type: ignore[call-arg]
    with closing(provider):
        provider.open()
        staged = provider.stage([b"s" * 900_000])
        readers = []
        for number in range(20):
            at += 1
            provider.write("a", [bytes([number]) * 200_000])
            readers.append(provider.read("a"))
        [(kept,)] = query(provider, "select sum(length(bytes)) from _chunks")
        assert kept <= 900_000 + 200_000 + 1_500_000
        assert b"".join(readers[18]) == bytes([18]) * 200_000
        with pytest.raises(app.Unavailable, match="was replaced"):
            b"".join(readers[2])
        provider.publish(staged, "b")
        assert b"".join(provider.read("b")) == b"s" * 900_000


def test_what_nobody_published_is_swept_after_a_day_and_cannot_be_published_then(tmp_path: Path) -> None:
    at = 1_000_000.0
    url = {"url": postgres_server.server().socket_url, "schema": "sweeping"}
    provider = plugin()("main", url, tmp_path, clock=lambda: at)  # type: ignore[call-arg]
    with closing(provider):
        provider.open()
        forgotten = provider.stage(b"x" * 100_000 for _ in range(80))
        provider.write("kept", [b"kept"])
        at += 90_000
        with pytest.raises(app.NotFound):
            provider.publish(forgotten, "late")
        provider.write("other", [b"other"])
        provider.sweep(at)
        assert query(provider, "select count(*) from _chunks") == [(2,)]
        assert query(provider, "select count(*) from _loose") == [(0,)]
