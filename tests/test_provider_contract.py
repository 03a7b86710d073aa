"""What every provider promises (CONTRACTS in app.py), asked of each.

A plugin is tested by `pytest --plugin FILE tests/test_provider_contract.py` (see own_plugins.py). Opened twice with the
same folder it must be two objects on the same data, as two processes would have them.
"""

import functools
import io
import random
import re
import subprocess
import sys
import tempfile
import threading
import time
import tracemalloc
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import datetime
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any

import aws_server
import http_services
import own_plugins
import postgres_server
import pytest
from http_services import generic
from sites import everything

import app
from app import Condition, Delete, Insert, Query, Record, Select, Update

Factory = Callable[[Path], Any]
ROOT = Path(app.__file__).resolve().parent
FILE = app.plugin("file").FileProvider


def open_sql(folder: Path) -> app.SqlProvider:
    provider = app.SqlProvider("main", {"url": "sqlite:///data/app.db"}, folder)
    provider.open()
    return provider


def open_file(folder: Path) -> Any:
    provider = FILE("main", {"root": "data"}, folder)
    provider.open()
    return provider


FACTORIES: dict[str, tuple[type[app.Provider], Factory]] = {
    "sql": (app.SqlProvider, open_sql),
    "file": (FILE, open_file),
    "postgres": (postgres_server.plugin(), postgres_server.open_postgres),
    "aws": (aws_server.plugin(), aws_server.opened),
    "generic": (generic.GenericProvider, http_services.open_satchel),
    "generic-json-server": (generic.GenericProvider, http_services.open_json_server),
    "generic-nginx": (generic.GenericProvider, http_services.open_nginx),
    **{cls.kind: (cls, functools.partial(own_plugins.opened, cls)) for cls in own_plugins.of(app.Provider)},
}
OUR_KINDS = frozenset(app.load_registry(Path("/nowhere")).kinds(app.Provider))
# What a service is not asked for here: json-server has no files and nginx no records; and the forms of another Satchel take
# declared fields alone and stamp them, which test_generic.py goes into.
LACKS = {"generic": app.Records, "generic-json-server": app.Blobs, "generic-nginx": app.Records}


def having(contract: type) -> list[str]:
    able = [name for name, (kind, _) in FACTORIES.items() if issubclass(kind, contract)]
    return [name for name in able if LACKS.get(name) is not contract]


def store(records: Any, writes: list[Any]) -> list[Record]:
    """The writes in one commit, or one after another where the provider is not atomic."""
    return records.commit(writes) if records.atomic else [r for write in writes for r in records.commit([write])]


@pytest.fixture
def opener(tmp_path: Path) -> Iterator[Callable[[str], Any]]:
    opened: list[app.Provider] = []

    def open_named(name: str) -> Any:
        opened.append(FACTORIES[name][1](tmp_path))
        return opened[-1]

    yield open_named
    for provider in opened:
        provider.close()


@pytest.fixture(params=having(app.Records))
def records(request: pytest.FixtureRequest, opener: Callable[[str], Any]) -> Any:
    provider = opener(request.param)
    provider.again = lambda: opener(request.param)
    return provider


@pytest.fixture(params=having(app.Blobs))
def blobs(request: pytest.FixtureRequest, opener: Callable[[str], Any]) -> Any:
    provider = opener(request.param)
    provider.again = lambda: opener(request.param)
    return provider


@pytest.fixture(params=having(app.Queries))
def queries(request: pytest.FixtureRequest, opener: Callable[[str], Any]) -> Any:
    return opener(request.param)


def keys(page: app.Page) -> list[str]:
    return [record.key for record in page.items]


def commit_in_slices(records: Any, writes: list[Any]) -> None:
    """More writes than one commit may have."""
    size = records.most_writes or 1500
    for start in range(0, len(writes), size):
        records.commit(writes[start : start + size])


def race(count: int, work: Callable[[int], Any]) -> list[Any]:
    """What `count` threads that start together answer: a result or an AppError each."""
    barrier = threading.Barrier(count)
    answers: list[Any] = [None] * count

    def run(number: int) -> None:
        barrier.wait()
        try:
            answers[number] = work(number)
        except app.AppError as error:
            answers[number] = error

    threads = [threading.Thread(target=run, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return answers


# ---- every provider


@pytest.mark.parametrize("name", FACTORIES)
def test_open_and_close_may_be_repeated_and_ping_takes_time(name: str, opener: Callable[[str], Any]) -> None:
    provider = opener(name)
    provider.open()
    assert 0 <= provider.ping() < 5
    assert all(isinstance(warning, str) for warning in provider.warnings())
    provider.close()
    provider.close()


@pytest.mark.parametrize("name", FACTORIES)
def test_opening_creates_nothing(name: str, opener: Callable[[str], Any], tmp_path: Path) -> None:
    opener(name)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", FACTORIES)
def test_a_sweep_of_what_was_never_written_to_makes_nothing(
    name: str, opener: Callable[[str], Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    provider = opener(name)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    provider.sweep(time.time())
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", having(app.Records))
def test_a_closed_provider_is_unavailable_and_can_be_opened_again(name: str, opener: Callable[[str], Any]) -> None:
    provider = opener(name)
    provider.commit([Insert("t", "a", {"n": 1})])
    provider.close()
    with pytest.raises(app.Unavailable):
        provider.get("t", "a")
    with pytest.raises(app.Unavailable):
        provider.commit([Insert("t", "b", {})])
    provider.open()
    assert provider.get("t", "a") == Record("a", 1, {"n": 1})


@pytest.mark.parametrize("name", FACTORIES)
def test_missing_settings_are_named(name: str, tmp_path: Path) -> None:
    kind = FACTORIES[name][0]
    for setting in kind.settings:
        if setting.default is app.REQUIRED:
            with pytest.raises(app.ConfigError, match=f"main.*{setting.name}") as caught:
                kind("main", {}, tmp_path)
            assert caught.value.faults[0].pointer == f"providers.main.{setting.name}"


# ---- records: single operations


def test_what_is_not_there_is_none_or_empty(records: Any) -> None:
    assert records.get("nothing", "a") is None
    assert records.get("nothing", "") is None
    assert records.get("nothing", "\ud800") is None
    assert records.find(Query("nothing")) == app.Page([], None)
    assert records.count(Query("nothing")) == 0
    assert list(records.walk(Query("nothing"))) == []
    assert records.commit([]) == []


def test_insert_update_delete_count_versions(records: Any) -> None:
    assert records.commit([Insert("t", "a", {"n": 1})]) == [Record("a", 1, {"n": 1})]
    assert records.commit([Update("t", "a", {"n": 2}, version=1)]) == [Record("a", 2, {"n": 2})]
    assert records.commit([Update("t", "a", {"n": 3})]) == [Record("a", 3, {"n": 3})]
    assert records.get("t", "a") == Record("a", 3, {"n": 3})
    assert records.commit([Delete("t", "a", version=3)]) == [Record("a", 0, {})]
    assert records.get("t", "a") is None
    assert records.commit([Update("t", "a", {"n": 4})]) == [Record("a", 1, {"n": 4})]
    assert store(records, [Delete("t", "a"), Delete("t", "never")]) == [Record("a", 0, {}), Record("never", 0, {})]


@pytest.mark.parametrize(
    "write",
    [
        Insert("t", "a", {"n": 9}),
        Update("t", "a", {"n": 9}, version=2),
        Update("t", "b", {"n": 9}, version=1),
        Update("t", "b", {"n": 9}, version=0),
        Delete("t", "a", version=2),
        Delete("t", "b", version=1),
    ],
    ids=repr,
)
def test_a_write_whose_precondition_fails_conflicts_and_the_whole_commit_does_nothing(records: Any, write: Any) -> None:
    records.commit([Insert("t", "a", {"n": 1})])
    before = [Insert("u", "x", {}), Insert("t", "c", {"n": 2})] if records.atomic else []
    with pytest.raises(app.Conflict) as caught:
        records.commit([*before, write, Insert("t", "d", {"n": 3})] if records.atomic else [write])
    assert caught.value.index == len(before)
    assert keys(records.find(Query("t"))) == ["a"]
    assert records.get("t", "a") == Record("a", 1, {"n": 1})
    assert records.get("u", "x") is None
    assert records.commit([Insert("u", "x", {})]) == [Record("x", 1, {})]


def test_a_key_that_stands_twice_in_one_commit_is_invalid(records: Any) -> None:
    with pytest.raises(app.Invalid):
        records.commit([Insert("t", "a", {}), Delete("t", "a")])
    assert records.count(Query("t")) == 0


HARD_KEYS = [
    "'",
    '"',
    "%",
    "_",
    "/",
    "a/b",
    "..",
    "\\",
    "a\u200fb",
    "é",
    "e\u0301",
    " ",
    "\n",
    "🏖",
    "x" * 512,
    "ß" * 256,
    "-",
    "A",
    "a",
]


def test_difficult_keys_stay_apart_and_are_ordered_byte_by_byte(records: Any) -> None:
    hard = [key for key in HARD_KEYS if not isinstance(records, generic.GenericProvider) or records.holds(key)]
    for key in set(HARD_KEYS) - set(hard):
        with pytest.raises(app.Invalid, match="cannot be stored"):
            records.commit([Insert("t", key, {})])
        assert records.get("t", key) is None
    assert len(hard) >= len(HARD_KEYS) - 1
    for number, key in enumerate(hard):
        records.commit([Insert("t", key, {"n": number})])
    for number, key in enumerate(hard):
        assert records.get("t", key) == Record(key, 1, {"n": number})
    assert keys(records.find(Query("t", limit=100))) == sorted(hard, key=str.encode)
    assert [r.key for r in records.walk(Query("t", order_by=("-id",)))] == sorted(hard, key=str.encode, reverse=True)


@pytest.mark.parametrize("key", ["", "x" * 513, "ß" * 257, "a\0b", "\ud800"])
def test_keys_that_cannot_be_are_invalid(records: Any, key: str) -> None:
    with pytest.raises(app.Invalid):
        records.commit([Insert("t", key, {})])


def deep(levels: int) -> Any:
    return functools.reduce(lambda inner, _: [{"d": inner}], range(levels // 2), 1)


HARD_VALUES: list[Any] = [
    {},
    {"": ""},
    {'a"b': 1, "a\\b": 2, "a'b": 3, "$.x": 4, "a.b": {"c": [1, None, True, "x"]}, "[0]": 5, "\n": 6, "ü": 7},
    {"big": 2**63 - 1, "small": -(2**63), "beyond_float": 2**53 + 1, "zero": 0},
    {"tenth": 0.1, "long": Decimal("12345678901234567890.123"), "tiny": Decimal("1E-400"), "huge": Decimal("1e400")},
    {"minus": Decimal("-0.1000000000000000000000001"), "float": 1e22, "third": 1 / 3},
    {"text": "a\nb\t'\"\\ \u2028 \u200f é e\u0301 🏖 \x7f", "bool": True, "null": None},
    {"deep": deep(60)},
    {"large": "x" * 300_000},
]


def stored(records: Any, values: Iterable[Any]) -> list[Any]:
    """Those that the provider must be able to hold: of one that is not exact no numbers beyond a double."""
    if records.exact_integers:
        return list(values)
    return [value for value in values if not list(generic.inexact(value))]


def test_difficult_values_come_back_exactly(records: Any) -> None:
    values = stored(records, HARD_VALUES)
    assert len(values) >= 6
    for number, value in enumerate(values):
        records.commit([Insert("t", str(number), value)])
    for provider in (records, records.again()):
        for number, value in enumerate(values):
            found = provider.get("t", str(number)).value
            assert found == app.load_json(app.dump_json(value))
            assert app.dump_json(found) == app.dump_json(value).replace("1E-400", "1E-400")
            assert [type(item) for item in found.values()] == [type(item) for item in value.values()]


@pytest.mark.parametrize("number", [2**53 + 1, -(2**63), 2.0**63, Decimal("0.30000000000000000001"), Decimal("1e400")])
def test_numbers_that_would_be_changed_are_refused_where_integers_are_not_exact(records: Any, number: Any) -> None:
    if records.exact_integers:
        records.commit([Insert("t", "a", {"n": [number]})])
        assert records.get("t", "a").value == {"n": [number]}
        return
    with pytest.raises(app.Invalid) as caught:
        records.commit([Insert("t", "a", {"n": [number]})])
    assert caught.value.faults[0].pointer == "/n/0"
    assert records.get("t", "a") is None


@pytest.mark.parametrize(
    "value", [{"n": 2**63}, {"t": "a\0b"}, {"t": "\ud800"}, {"n": float("nan")}, {"n": float("inf")}, {"d": deep(2000)}]
)
def test_values_that_cannot_be_stored_are_invalid(records: Any, value: Any) -> None:
    with pytest.raises(app.Invalid):
        records.commit([Insert("t", "a", value)])
    assert records.get("t", "a") is None


def test_what_a_caller_does_to_a_value_changes_nothing_stored(records: Any) -> None:
    value = {"list": [1], "inner": {"a": 1}}
    records.commit([Insert("t", "a", value)])
    value["list"].append(2)
    for found in (records.get("t", "a"), records.find(Query("t")).items[0]):
        assert found.value == {"list": [1], "inner": {"a": 1}}
        found.value["inner"]["a"] = 2
    assert records.get("t", "a").value == {"list": [1], "inner": {"a": 1}}


def test_tables_are_apart_and_prepare_makes_them_exist(records: Any) -> None:
    records.prepare({"t": [Query("t", order_by=("-n", "at"), instants=frozenset({"at"}))], "u-2": [], "_audit": []})
    records.prepare({"t": []})
    store(records, [Insert("t", "a", {"n": 1}), Insert("u-2", "a", {"n": 2}), Insert("_audit", "a", {"n": 3})])
    assert [records.get(t, "a").value["n"] for t in ("t", "u-2", "_audit")] == [1, 2, 3]
    if isinstance(records, generic.GenericProvider):
        with pytest.raises(app.Unsupported):
            records.tables()
        return
    assert records.tables() == ["_audit", "t", "u-2"]


def test_a_copy_begins_at_the_version_of_the_original(records: Any) -> None:
    assert records.commit([Insert("t", "a", {}, 7)]) == [Record("a", 7, {})]
    assert records.again().get("t", "a") == Record("a", 7, {})
    records.commit([Update("t", "a", {"n": 1}, 7)])
    assert records.get("t", "a").version == 8


# ---- records: many at once


@pytest.mark.parametrize("two", [False, True], ids=["one object", "two objects"])
@pytest.mark.parametrize(
    "write",
    [
        lambda n: Insert("t", "new", {"by": n}),
        lambda n: Update("t", "old", {"by": n}, version=1),
        lambda n: Delete("t", "old", version=1),
    ],
    ids=["insert", "update", "delete"],
)
def test_of_racing_writes_with_one_precondition_one_wins(records: Any, write: Callable[[int], Any], two: bool) -> None:
    records.commit([Insert("t", "old", {})])
    doors = [records, records.again() if two else records]
    answers = race(8, lambda n: store(doors[n % 2], [write(n), Insert("log", f"{n}", {})]))
    won = [n for n, answer in enumerate(answers) if not isinstance(answer, Exception)]
    assert len(won) == 1
    assert all(isinstance(a, app.Conflict) for n, a in enumerate(answers) if n not in won)
    assert keys(records.find(Query("log"))) == [str(won[0])]


def test_nothing_is_lost_when_many_threads_count_up(records: Any) -> None:
    other = records.again()
    records.commit([Insert("t", "sum", {"n": 0})])

    def add(number: int) -> int:
        door, tries = (records, other)[number % 2], 0
        for _ in range(15):
            while True:
                tries += 1
                was = door.get("t", "sum")
                try:
                    door.commit([Update("t", "sum", {"n": was.value["n"] + 1}, version=was.version)])
                    break
                except app.Conflict:
                    continue
        return tries

    assert all(isinstance(answer, int) for answer in race(4, add))
    assert records.get("t", "sum") == other.get("t", "sum") == Record("sum", 61, {"n": 60})


@pytest.mark.parametrize("records", [name for name in having(app.Records) if FACTORIES[name][0].atomic], indirect=True)
def test_a_reader_never_sees_half_a_commit(records: Any) -> None:
    records.commit([Insert("t", "a", {"n": 0}), Insert("t", "b", {"n": 0})])
    other, seen = records.again(), []

    def work(number: int) -> None:
        for n in range(40):
            if number:
                seen.append({r.value["n"] for r in (records, other)[n % 2].find(Query("t")).items})
            else:
                records.commit([Update("t", "a", {"n": n}), Update("t", "b", {"n": n})])

    assert race(2, work) == [None, None]
    assert all(len(values) == 1 for values in seen)


def test_two_objects_on_one_place_see_each_others_writes_at_once(records: Any) -> None:
    other = records.again()
    for number in range(20):
        writer, reader = (records, other) if number % 2 else (other, records)
        writer.commit([Insert("t", f"{number:02}", {"n": number})])
        assert reader.get("t", f"{number:02}") == Record(f"{number:02}", 1, {"n": number})
        assert reader.count(Query("t")) == number + 1


def test_reopening_keeps_everything(records: Any) -> None:
    store(records, [Insert("t", f"{n}", {"n": n}) for n in range(50)])
    store(records, [Delete("t", "7"), Update("t", "8", {"n": 88})])
    records.close()
    again = records.again()
    assert again.count(Query("t")) == 49
    assert again.get("t", "8") == Record("8", 2, {"n": 88})
    assert again.get("t", "7") is None


WRITER = """
import sys; sys.path[:0] = [{root!r}, {tests!r}]
from pathlib import Path
import own_plugins
own_plugins.load([Path(name) for name in {files!r}])
import test_provider_contract as suite
from app import Insert
provider = suite.FACTORIES[{name!r}][1](Path({folder!r}))
for n in range({count}):
    first = Insert("t", f"{who}-{{n}}-a", {{"n": n, "pad": "x" * 500}})
    suite.store(provider, [first, Insert("t", f"{who}-{{n}}-b", {{"n": n}})])
    sys.stdout.write(f"{{n}}\\n"); sys.stdout.flush()
"""


def start_writer(name: str, folder: Path, who: str, count: int) -> "subprocess.Popen[str]":
    FACTORIES[name][1](folder).close()  # a service is started here, for all who ask for this folder
    tests = str(Path(__file__).resolve().parent)
    files = list(map(str, own_plugins.FILES))
    code = WRITER.format(root=str(ROOT), tests=tests, files=files, name=name, folder=str(folder), who=who, count=count)
    return subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)


@pytest.mark.parametrize("name", having(app.Records))
def test_every_acknowledged_commit_of_a_killed_process_is_there_and_whole(
    name: str, opener: Callable[[str], Any], tmp_path: Path
) -> None:
    for life in range(3):
        with start_writer(name, tmp_path, f"w{life}", 10**9) as writer:
            assert writer.stdout
            for _ in range(40 + 17 * life):
                writer.stdout.readline()
            writer.kill()
            said = 40 + 17 * life + len(writer.stdout.read().splitlines())
        provider = opener(name)
        there = {r.key for r in provider.walk(Query("t", where=(Condition("id", "prefix", f"w{life}-"),)))}
        assert {f"w{life}-{n}-{half}" for n in range(said) for half in "ab"} <= there
        assert len(there) - 2 * said in ((0, 2) if provider.atomic else (0, 1, 2))
        provider.commit([Insert("after", f"{life}", {})])
        provider.close()


@pytest.mark.parametrize("name", having(app.Records))
def test_processes_that_write_at_once_lose_nothing(name: str, opener: Callable[[str], Any], tmp_path: Path) -> None:
    provider = opener(name)
    writers = [start_writer(name, tmp_path, f"w{who}", 100) for who in range(2)]
    for n in range(50):
        provider.commit([Insert("t", f"here-{n}", {})])
        provider.find(Query("t", limit=5))
    for writer in writers:
        writer.communicate()
        assert writer.returncode == 0
    assert provider.count(Query("t")) == 450


# ---- records: find


ROWS: dict[str, Any] = {
    "a": {"v": 1},
    "b": {"v": 1.0},
    "c": {"v": True},
    "d": {"v": "1"},
    "e": {"v": None},
    "f": {},
    "g": {"v": [1]},
    "h": {"v": {"x": 1}},
    "i": {"v": 2**53 + 1},
    "j": {"v": 2**53},
    "k": {"v": Decimal("9007199254740993.5")},
    "l": {"v": 0.1},
    "m": {"v": -3},
    "n": {"v": False},
    "o": {"v": "Straße"},
    "p": {"v": "str"},
    "q": {"v": ""},
    "r": {"v": "100%"},
    "s": {"v": Decimal("12345678901234567890.123")},
    "t": {"v": Decimal("12345678901234567890.124")},
    "u": {"v": -0.0},
    "w": {"v": "\U0001f3d6"},
    "x": {"v": "\uffff"},
}
EVERY = "".join(ROWS)


def without(*gone: str) -> str:
    return "".join(key for key in EVERY if key not in "".join(gone))


OPERATORS: list[tuple[str, Any, str]] = [
    ("eq", 1, "ab"),
    ("eq", Decimal("1.00"), "ab"),
    ("eq", True, "c"),
    ("eq", False, "n"),
    ("eq", "1", "d"),
    ("eq", 2**53 + 1, "i"),
    ("eq", Decimal("0.1"), "l"),
    ("eq", 0.1, "l"),
    ("eq", Decimal("12345678901234567890.123"), "s"),
    ("eq", 0, "u"),
    ("eq", "", "q"),
    ("eq", None, ""),
    ("eq", [1], ""),
    ("eq", {"x": 1}, ""),
    ("ne", 1, without("ab")),
    ("ne", "str", without("p")),
    ("ne", None, EVERY),
    ("ne", [1], without("g")),
    ("ne", ["1", True, None, [1], {"x": 1}], EVERY),
    ("ne", [], EVERY),
    ("lt", 1, "lmu"),
    ("lte", 1, "ablmu"),
    ("gt", 2**53, "ikst"),
    ("gte", 2**53, "ijkst"),
    ("gt", 2**53 + 1, "kst"),
    ("gt", Decimal("12345678901234567890.123"), "t"),
    ("lt", Decimal("12345678901234567890.124"), "abijklmsu"),
    ("gt", False, "c"),
    ("lte", True, "cn"),
    ("lt", "1", "q"),
    ("gt", "str", "wx"),
    ("gt", "\uffff", "w"),
    ("lt", None, ""),
    ("gte", [0], ""),
    ("in", [1, "str", None, [1], True], "abcp"),
    ("in", [], ""),
    ("contains", "tr", "op"),
    ("contains", "STR", ""),
    ("contains", "%", "r"),
    ("contains", "", "dopqrwx"),
    ("contains", 1, ""),
    ("contains", [1], "g"),
    ("contains", [2, Decimal("1.0")], "g"),
    ("contains", ["1", True, None, [1], "str", {"x": 1}], ""),
    ("contains", [], ""),
    ("prefix", "St", "o"),
    ("prefix", "st", "p"),
    ("prefix", "", "dopqrwx"),
    ("prefix", "1", "dr"),
    ("prefix", None, ""),
    ("null", True, "ef"),
    ("null", False, without("ef")),
]


def test_operators_compare_within_a_type_and_exactly(records: Any) -> None:
    rows = {key: row for key, row in ROWS.items() if stored(records, [row])}
    store(records, [Insert("t", key, row) for key, row in rows.items()])
    for op, value, keys_ in OPERATORS:
        query = Query("t", where=(Condition("v", op, value),), limit=100)
        expected = "".join(key for key in keys_ if key in rows)
        assert "".join(keys(records.find(query))) == expected, (op, value)
        assert records.count(query) == len(expected), (op, value)


@pytest.mark.parametrize(
    "condition", [Condition("v", "like", 1), Condition("v", "in", 1), Condition("v", "null", 1), Condition("v", "", 1)]
)
def test_conditions_that_mean_nothing_are_refused(records: Any, condition: Condition) -> None:
    with pytest.raises(app.BadRequest):
        records.find(Query("t", where=(condition,)))


def test_id_and_version_are_fields(records: Any) -> None:
    own = getattr(records, "own_fields", ())
    if own:
        with pytest.raises(app.Invalid, match="cannot be stored"):
            records.commit([Insert("t", "a", dict.fromkeys(own, 1))])
    value = {name: value for name, value in {"id": "other", "version": 9}.items() if name not in own}
    store(records, [Insert("t", key, value) for key in "abc"])
    records.commit([Update("t", "b", {})])

    def found(*where: Condition) -> list[str]:
        return keys(records.find(Query("t", where=where)))

    assert found(Condition("id", "gt", "a"), Condition("version", "eq", 1)) == ["c"]
    assert found(Condition("version", "gte", 2)) == ["b"]
    assert found(Condition("id", "in", ["a", "c", 1])) == ["a", "c"]
    assert found(Condition("id", "eq", 1)) == []
    assert keys(records.find(Query("t", order_by=("-version", "-id")))) == ["b", "c", "a"]


def test_any_field_name_can_be_asked_for(records: Any) -> None:
    names = ["", 'a"b', "a\\b", "a'b", "a.b", "[0]", "$", "\n", "ü", "e\u0301", "?", ":x", "a b", "\x7f", "#-1"]
    for number, name in enumerate(names):
        records.commit([Insert("t", f"{number:02}", {name: number + 1})])
    for number, name in enumerate(names):
        query = Query("t", where=(Condition(name, "eq", number + 1),), order_by=(f"-{name}",))
        assert keys(records.find(query)) == [f"{number:02}"], name
    for number, name in enumerate(names):
        records.commit([Insert("t", f"list {number:02}", {name: [number + 1, "x"]})])
    for number, name in enumerate(names):
        query = Query("t", where=(Condition(name, "contains", [number + 1]),), order_by=(f"-{name}",))
        assert keys(records.find(query)) == [f"list {number:02}"], name


def test_order_puts_missing_first_then_types_and_breaks_ties_by_key(records: Any) -> None:
    rows = {key: row for key, row in ROWS.items() if stored(records, [row])}
    store(records, [Insert("t", key, row) for key, row in rows.items()])

    def those(text: str) -> str:
        return "".join(key for key in text if key in rows)

    expected = "ef" + "nc" + "mulab" + "jikst" + "q" + "d" + "r" + "opxw"
    order = "".join(keys(records.find(Query("t", order_by=("v",), limit=100))))
    assert order == those(expected + "gh")
    backwards = "".join(keys(records.find(Query("t", order_by=("-v",), limit=100))))
    assert backwards == those("gh" + "wxporqd"[:2] + "po" + "rdq" + "tskij" + "ab" + "lum" + "cn" + "ef")


MOMENTS: dict[str, Any] = {  # in their order; two on one line are the same moment
    "a": {}, "b": {"at": None},
    "c": {"at": True},
    "d": {"at": "0001-01-01T00:00:00+23:59"},
    "e": {"at": "0001-01-01T00:00:00Z"},
    "f": {"at": "2026-11-23T07:59:59.999999999Z"},
    "g": {"at": "2026-11-23T08:00:00Z"}, "h": {"at": "2026-11-23T09:00:00.000+01:00"}, "i": {"at": "2026-11-23t08:00:00z"},
    "j": {"at": "2026-11-23T08:00:00.00000000000000000001Z"},
    "k": {"at": "2026-11-23T03:00:00.1-05:00"}, "l": {"at": "2026-11-23 08:00:00.10Z"},
    "m": {"at": "2026-11-23T08:00:00.10000000000000000001Z"},
    "n": {"at": "2026-11-23T08:00:01Z"},
    "o": {"at": "2024-02-29T00:30:00+01:00"}, "p": {"at": "2024-02-28T23:30:00Z"},
    "q": {"at": "2100-03-01T00:00:00+00:01"},
    "r": {"at": "9999-12-31T23:59:59.9-23:59"},
    "s": {"at": 5},
    "t": {"at": ""},
    "u": {"at": "0000-01-01T00:00:00Z"},
    "v": {"at": "2026-02-29T00:00:00Z"}, "w": {"at": "2026-11-23"},
    "x": {"at": "2026-11-23T08:00:00"}, "y": {"at": "2026-11-23T24:00:00Z"},
    "z": {"at": [1]},
}  # fmt: skip


def test_date_times_compare_as_moments_and_come_back_as_they_were_sent(records: Any) -> None:
    rows = {key: row for key, row in MOMENTS.items() if stored(records, [row])}
    store(records, [Insert("t", key, row) for key, row in rows.items()])

    def found(*where: Condition, order_by: tuple[str, ...] = ()) -> str:
        query = Query("t", where, order_by, limit=100, instants=frozenset({"at"}))
        page = records.find(query)
        assert records.count(query) == len(page.items)
        assert all(record.value == rows[record.key] for record in page.items)
        return "".join(keys(page))

    def those(text: str) -> str:
        return "".join(key for key in text if key in rows)

    order = "abc" + "de" + "op" + "fghijklmn" + "qr" + "s" + "tu" + "v" + "w" + "x" + "y" + "z"
    assert found(order_by=("at",)) == those(order)
    assert found(Condition("at", "eq", "2026-11-23T10:00:00.0+02:00")) == those("ghi")
    assert found(Condition("at", "ne", "2026-11-23T08:00:00Z")) == those("".join(sorted(set(MOMENTS) - set("ghi"))))
    assert found(Condition("at", "lt", "2026-11-23T09:00:00+01:00")) == those("defop")
    assert found(Condition("at", "lte", "2026-11-23T09:00:00+01:00")) == those("defghiop")
    assert found(Condition("at", "gt", "2026-11-23T08:00:00.1Z")) == those("mnqr")
    assert found(Condition("at", "gte", "2026-11-23T08:00:00.1Z")) == those("klmnqr")
    assert found(Condition("at", "in", ["2024-02-29T00:30:00.00+01:00", "2026-11-23", True])) == those("copw")
    assert found(Condition("at", "lt", "2026-11-23")) == those("tuv")
    assert found(Condition("at", "prefix", "2026-11-23T08:00:00Z")) == those("g")
    assert found(Condition("at", "contains", "+01:00")) == those("ho")
    assert found(Condition("at", "gt", "2026-11-23T08:00:00Z"), order_by=("-at",)) == those("rqnmklj")


def test_pages_by_date_times_give_every_row_once(records: Any) -> None:
    rows = {key: row for key, row in MOMENTS.items() if stored(records, [row])}
    store(records, [Insert("t", key, row) for key, row in rows.items()])
    for order_by in (("at",), ("-at", "-id")):
        query = Query("t", order_by=order_by, limit=2, instants=frozenset({"at"}))
        whole = keys(records.find(Query("t", order_by=order_by, limit=100, instants=query.instants)))
        assert [record.key for record in records.walk(query)] == whole
        found: list[str] = []
        cursor: str | None = ""
        while cursor is not None:
            page = records.find(Query("t", order_by=order_by, limit=2, instants=query.instants, after=cursor))
            found, cursor = found + keys(page), page.next
        assert found == whole
    texts = records.find(Query("t", order_by=("at",), limit=2)).next
    with pytest.raises(app.BadRequest, match="cursor of another list"):
        records.find(Query("t", order_by=("at",), limit=2, after=texts, instants=frozenset({"at"})))


def test_search_finds_text_whatever_its_case_in_any_of_its_fields(records: Any) -> None:
    rows = {
        "a": {"x": "STRASSE"},
        "b": {"y": "Straße"},
        "c": {"x": "ÉCOLE"},
        "d": {"x": "e\u0301cole"},
        "e": {"x": 5},
        "f": {},
    }
    store(records, [Insert("t", key, row) for key, row in rows.items()])

    def found(text: str, *names: str) -> str:
        query = Query("t", search=text, search_fields=names)
        assert records.count(query) == len(records.find(query).items)
        return "".join(keys(records.find(query)))

    assert found("straße", "x", "y") == "ab"
    assert found("strasse", "y") == "b"
    assert found("École", "x") == "cd"
    assert found("5", "x") == ""
    assert found("%", "x", "y") == ""
    assert found("e") == ""
    assert found("B", "id") == "b"


def test_search_looks_at_texts_alone_whatever_marks_json_writes_them_with(records: Any) -> None:
    rows = {"a": {"x": 'say "Hi"\tor\\not\nÄ'}, "b": {"x": "plain", "other": "say"}, "c": {"x": ["say"]}, "d": {"say": "x"}}
    store(records, [Insert("t", key, row) for key, row in rows.items()])
    for text in ("say", 'Y "h', '"', "\\", "\\NOT", "\t", "\nä", 'hi"\tO'):
        assert keys(records.find(Query("t", search=text, search_fields=("x",)))) == ["a"], text
    store(records, [Insert("t", "e", {"x": "line\n\u0307behind a line"})])
    assert keys(records.find(Query("t", search="\u0307behind", search_fields=("x",)))) == ["e"]
    assert keys(records.find(Query("t", search="say", search_fields=("x", "other")))) == ["a", "b"]
    for text in ("x", "\\t", '","', "u00e4"):
        assert keys(records.find(Query("t", search=text, search_fields=("x",)))) == [], text


def test_pages_give_every_row_once_though_rows_come_and_go(records: Any) -> None:
    store(records, [Insert("t", f"{n:03}", {"g": n % 3 or None, "n": n}) for n in range(60)])
    query = Query("t", order_by=("-g", "n"), limit=7)
    seen: list[str] = []
    chance = random.Random(7)
    page = records.find(query)
    while True:
        seen += keys(page)
        if page.next is None:
            break
        row = {"g": chance.choice([None, 1, 2]), "n": 30}
        store(records, [Delete("t", seen[-1]), Insert("t", f"new{len(seen)}", row)])
        page = records.find(Query("t", order_by=("-g", "n"), limit=7, after=page.next))
    assert len(seen) == len(set(seen))
    assert {f"{n:03}" for n in range(60)} <= set(seen)


@pytest.mark.parametrize("order_by", [(), ("-id",), ("-g", "id")])
def test_a_page_ends_before_it_is_too_large_and_its_cursor_goes_on_exactly_there(
    records: Any, order_by: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(app, "PAGE_BYTES", 3000)
    sizes = [10, 2900, 10, 9000, 9000, 1000, 1000, 1000, 1000, 10, 3000, 10, 10]
    store(records, [Insert("t", f"{n:03}", {"g": n % 2, "s": "x" * size}) for n, size in enumerate(sizes)])
    seen: list[str] = []
    cursor: str | None = ""
    pages = 0
    while cursor is not None:
        page = records.find(Query("t", order_by=order_by, limit=100, after=cursor))
        assert len(page.items) == 1 or sum(len(record.value["s"]) for record in page.items) <= 3000
        seen, cursor, pages = seen + keys(page), page.next, pages + 1
    assert sorted(seen) == [f"{n:03}" for n in range(len(sizes))]
    assert pages >= 7
    assert seen == [record.key for record in records.walk(Query("t", order_by=order_by))]


def test_the_last_page_says_so_and_no_empty_page_follows_a_full_one(records: Any) -> None:
    store(records, [Insert("t", f"{n}", {}) for n in range(6)])
    first = records.find(Query("t", limit=3))
    assert len(first.items) == 3
    assert first.next
    last = records.find(Query("t", limit=3, after=first.next))
    assert keys(last) == ["3", "4", "5"]
    assert last.next is None
    assert len(records.find(Query("t", limit=6)).items) == 6
    assert records.find(Query("t", limit=6)).next is None
    assert records.find(Query("t", limit=0)) == app.Page([], None)
    assert records.count(Query("t", limit=1, after=first.next)) == 6


def test_a_cursor_of_another_query_is_refused(records: Any) -> None:
    store(records, [Insert(table, f"{n}", {"a": n, "b": n}) for n in range(6) for table in ("t", "u")])
    cursor = records.find(Query("t", order_by=("a",), limit=2)).next
    assert keys(records.find(Query("t", order_by=("a",), limit=4, after=cursor))) == ["2", "3", "4", "5"]
    others = [
        Query("u", order_by=("a",), after=cursor),
        Query("t", order_by=("-a",), after=cursor),
        Query("t", order_by=("b",), after=cursor),
        Query("t", after=cursor),
        Query("t", order_by=("a",), where=(Condition("a", "gt", 1),), after=cursor),
        Query("t", order_by=("a",), after="garbage"),
        Query("t", order_by=("a",), after="ü"),
        Query("t", order_by=("a",), after=app.encode_cursor(1, 2, 3)),
        Query("t", order_by=("a",), after=cursor[:-4]),
    ]
    for query in others:
        with pytest.raises(app.BadRequest):
            records.find(query)


def test_a_count_ends_at_its_bound_or_is_left_out_and_never_wrong(records: Any) -> None:
    rows = {f"{n:02}": {"n": n, "at": f"2026-11-23T{n:02}:00:00+01:00"} for n in range(20)}
    store(records, [Insert("t", key, row) for key, row in rows.items()])
    late = Condition("at", "gte", "2026-11-23T14:00:00Z")
    for query, count in (
        (Query("t"), 20),
        (Query("t", (Condition("n", "lt", 7),)), 7),
        (Query("t", (late,), ("-at",), limit=2, instants=frozenset({"at"})), 5),
        (Query("t", search="T03", search_fields=("at",)), 1),
        (Query("t", (Condition("id", "in", ["01", "05", "x"]),)), 2),
        (Query("nothing"), 0),
    ):
        assert records.count(query) == count
        for most in (3, count, 100):
            known = records.count_up_to(query, most, 10.0)
            assert known == min(count, most) or (known is None and isinstance(records, generic.GenericProvider))


def test_walk_goes_through_every_page(records: Any) -> None:
    count = 2300 if records.atomic else 1100
    commit_in_slices(records, [Insert("t", f"{n:04}", {"n": -n}) for n in range(count)])
    assert [r.key for r in records.walk(Query("t", order_by=("n",), limit=3))] == [f"{n:04}" for n in reversed(range(count))]


# ---- records: a model


class Model:
    """What the contract says, in the plainest words; shares no code with the providers."""

    def __init__(self) -> None:
        self.rows: dict[str, tuple[int, dict[str, Any]]] = {}

    def commit(self, writes: list[Any]) -> list[tuple[str, int]] | int:
        """(key, version) of every write, or the index of the first that conflicts."""
        after, answer = dict(self.rows), []
        for index, write in enumerate(writes):
            version = after.get(write.key, (0, {}))[0]
            wanted = 0 if isinstance(write, Insert) else write.version
            if wanted is not None and (wanted != version or (version == 0 and not isinstance(write, Insert))):
                return index
            if isinstance(write, Delete):
                after.pop(write.key, None)
                answer.append((write.key, 0))
            else:
                after[write.key] = (version + 1, write.value)
                answer.append((write.key, version + 1))
        self.rows = after
        return answer

    @staticmethod
    def rank(value: Any, instant: bool = False) -> tuple[float, Any]:
        if value is None:
            return 0, 0
        if isinstance(value, bool):
            return 1, value
        if isinstance(value, int | float | Decimal):
            return 2, Decimal(str(value))
        if instant and isinstance(value, str) and re.match(r"\d{4}-\d\d-\d\d.\d\d:\d\d:\d\d", value):
            return 1.5, (datetime.fromisoformat(value), int((re.findall(r"\.(\d+)", value) or ["0"])[0].ljust(9, "0")))
        return (3, value.encode()) if isinstance(value, str) else (4, 0)

    def meets(self, row: dict[str, Any], where: Condition) -> bool:
        if where.op in ("contains", "ne") and isinstance(where.value, list):
            value, sought = row.get(where.field), [self.rank(v) for v in where.value if 0 < self.rank(v)[0] < 4]
            items = value if isinstance(value, list) else []
            return any(self.rank(item) in sought for item in items) == (where.op == "contains")
        instant = where.field == "at" and where.op not in ("contains", "prefix")
        mine, wanted = self.rank(row.get(where.field), instant), self.rank(where.value, instant)
        same = mine[0] == wanted[0] and 0 < mine[0] < 4
        match where.op:
            case "null":
                return (mine[0] == 0) == where.value
            case "ne":
                return not (same and mine == wanted)
            case "in":
                return any(mine == self.rank(v, instant) for v in where.value if 0 < self.rank(v)[0] < 4)
            case "contains":
                return same and mine[0] == 3 and where.value in row[where.field]
            case "prefix":
                return same and mine[0] == 3 and row[where.field].startswith(where.value)
        table = {
            "eq": mine == wanted,
            "lt": mine < wanted,
            "lte": mine <= wanted,
            "gt": mine > wanted,
            "gte": mine >= wanted,
        }
        return same and table[where.op]

    def find(self, where: tuple[Condition, ...], order_by: tuple[str, ...]) -> list[str]:
        found = [key for key, (_, row) in self.rows.items() if all(self.meets(row, c) for c in where)]
        found.sort(key=str.encode)
        for name in reversed(order_by):
            field = name.lstrip("-")
            found.sort(key=lambda k: self.rank(self.rows[k][1].get(field), field == "at"), reverse=name.startswith("-"))
        return found


ATOMS: list[Any] = [None, True, False, 0, 1, -1, 2, 10, 0.5, -0.5, 0.1, Decimal("0.30000000000000000001"), 0.3, 2**63 - 1]
ATOMS += [2.0**63, 2**53, 2**53 + 1, "", "a", "A", "ab", "b", "é", "e\u0301", "%", "🏖", [], [1], {}, {"a": 1}]
ATOMS += [1e-30, 1e300, -1e300, -(2**63), Decimal("9007199254740992.4"), "1", "10", "2"]
ATOMS += ["2026-11-23T08:00:00Z", "2026-11-23T09:00:00+01:00", "2026-11-23T08:00:00.5Z", "2026-11-23T08:00:00.123456789Z"]
ATOMS += ["2026-11-23T23:30:00-00:30", "2026-11-24T00:00:00.000Z"]
FIELDS = ["a", "at", 'q"']
ITEMS = [
    "a",
    "A",
    "é",
    "e\u0301",
    "%",
    "_",
    'say "a, b"',
    "it's",
    "",
    "1",
    1,
    10,
    0.1,
    -1e300,
    2**53 + 1,
    True,
    None,
    [1],
    {},
]
ATOMS += [[], ["a"], ["a", "a", 1], ["%", "_", ""], [1.0, "1", True], ['say "a, b"', "it's", "é"], [["a"], {"a": 1}, None]]
ATOMS += [[-1e300, 2**53 + 1, 0.1], ["e\u0301", 10, False], ["2026-11-23T08:00:00Z"]]


@pytest.mark.parametrize("seed", range(6))
def test_random_operations_do_what_the_model_does(records: Any, seed: int) -> None:
    chance, model, doors = random.Random(seed), Model(), [records, records.again()]
    for step in range(120):
        door = chance.choice(doors)
        if step in (30, 60, 90):  # what is declared, and so indexed, changes nothing but the time it takes
            door.prepare({"t": [asked_for(chance) for _ in range(3)]})
        if chance.random() < 0.5:
            compare_commit(chance, model, door)
        else:
            compare_find(chance, model, door)
    for key, (version, row) in model.rows.items():
        assert records.get("t", key) == Record(key, version, row)


def compare_commit(chance: random.Random, model: Model, door: Any) -> None:
    writes: list[Any] = []
    atoms = stored(door, ATOMS)
    for key in chance.sample(
        [f"{n}" for n in range(25)] + ["é", "e\u0301"], chance.choice([1, 1, 2, 5] if door.atomic else [1])
    ):
        version = chance.choice([None, model.rows.get(key, (1, {}))[0], 1])
        row = {name: chance.choice(atoms) for name in chance.sample(FIELDS, chance.randrange(4))}
        kind = chance.choice([Insert, Update, Update, Delete])
        writes.append(
            Insert("t", key, row)
            if kind is Insert
            else Update("t", key, row, version)
            if kind is Update
            else Delete("t", key, version)
        )
    expected = model.commit(writes)
    if isinstance(expected, list):
        assert [(r.key, r.version) for r in door.commit(writes)] == expected
        return
    with pytest.raises(app.Conflict) as caught:
        door.commit(writes)
    assert caught.value.index == expected


def asked_for(chance: random.Random) -> Query:
    """Any query of the table."""
    where = []
    for _ in range(chance.choice([0, 1, 1, 2])):
        op = chance.choice(app.OPERATORS)
        value = chance.choice(ATOMS)
        if op in ("contains", "ne") and chance.random() < 0.5:
            value = chance.sample(ITEMS, chance.randrange(4))
        value = chance.sample(ATOMS, 3) if op == "in" else chance.random() < 0.5 if op == "null" else value
        where.append(Condition(chance.choice(FIELDS), op, value))
    order_by = tuple(chance.choice(["", "-"]) + name for name in chance.sample(FIELDS, chance.randrange(3)))
    limit = chance.choice([1, 3, 100])
    return Query("t", where=tuple(where), order_by=order_by, limit=limit, instants=frozenset({"at"}))


def compare_find(chance: random.Random, model: Model, door: Any) -> None:
    query = asked_for(chance)
    expected = model.find(query.where, query.order_by)
    assert door.count(query) == len(expected)
    found: list[str] = []
    page = door.find(query)
    while page.next is not None:
        found += keys(page)
        page = door.find(query._replace(after=page.next))
    assert found + keys(page) == expected, query


# ---- capabilities


def test_atomic_is_said_by_those_that_are_and_by_no_others(records: Any) -> None:
    writes = [Insert("t", "a", {}), Insert("t", "b", {})]
    if records.atomic:
        assert len(records.commit(writes)) == 2
    else:
        with pytest.raises(app.Unsupported):
            records.commit(writes)
        assert records.count(Query("t")) == 0
        assert records.most_writes == 1


def test_conditional_is_said_by_those_that_are_and_by_no_others(records: Any) -> None:
    """Where the backend checks nothing, test_generic.py shows the write that another process can lose."""
    other = records.again()
    records.commit([Insert("t", "a", {})])
    other.get("t", "a")
    records.commit([Update("t", "a", {"n": 1}, version=1)])
    assert records.conditional is not isinstance(records, generic.GenericProvider)
    with pytest.raises(app.Conflict):
        other.commit([Update("t", "a", {"n": 2}, version=1)])


# ---- blobs


def test_a_written_blob_comes_back_whole_and_in_parts(blobs: Any) -> None:
    data = random.Random(1).randbytes(1_000_003)
    blob = blobs.write("docs/plan.bin", (data[i : i + 70_001] for i in range(0, len(data), 70_001)))
    assert (blob.path, blob.size_bytes) == ("docs/plan.bin", len(data))
    assert blobs.stat("docs/plan.bin") == blob
    assert everything(blobs.read("docs/plan.bin")) == data
    for start, length in [
        (0, 1),
        (262_143, 2),
        (262_144, 262_144),
        (999_999, None),
        (5, 0),
        (1_000_003, None),
        (2_000_000, 5),
    ]:
        expected = data[start:] if length is None else data[start : start + length]
        assert everything(blobs.read("docs/plan.bin", start, length)) == expected
    assert everything(blobs.again().read("docs/plan.bin", 7, 9)) == data[7:16]


def test_an_empty_blob_is_a_blob(blobs: Any) -> None:
    assert blobs.write("empty", []).size_bytes == 0
    assert blobs.write("empty2", [b"", b""]).size_bytes == 0
    assert everything(blobs.read("empty")) == b""


def test_a_sweep_takes_what_was_staged_over_a_day_ago_and_nothing_else(
    blobs: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    blobs.write("kept", [b"kept"])
    young, left = blobs.stage([b"young"], "young"), blobs.stage([b"left"], "left")
    blobs.sweep(time.time())
    assert blobs.publish(young, "young").size_bytes == 5
    blobs.sweep(time.time() + 90_000)
    with pytest.raises(app.NotFound):
        blobs.publish(left, "left")
    assert blobs.stat("left") is None
    assert everything(blobs.read("kept")) == b"kept"
    assert everything(blobs.read("young")) == b"young"


def test_missing_blobs_are_none_or_not_found(blobs: Any) -> None:
    assert blobs.stat("no") is None
    assert not blobs.is_folder("no")
    assert blobs.is_folder("")
    assert list(blobs.scan()) == []
    assert list(blobs.scan("no", deep=False)) == []
    for work in (lambda: blobs.read("no"), lambda: blobs.remove("no"), lambda: blobs.move("no", "yes")):
        with pytest.raises(app.NotFound):
            work()


# An etag of these is made of the bytes, as S3 does it: the same bytes written again are the same to If-Match.
CONTENT_ETAGS = {"aws"}


def test_every_write_of_other_bytes_gives_another_etag_and_of_the_same_bytes_where_it_is_not_made_of_them(
    blobs: Any,
) -> None:
    etags = [blobs.write("a", [b"%d" % n]).etag for n in range(20)]
    assert len(set(etags)) == 20
    assert all('"' not in etag for etag in etags)
    etags = [blobs.write("a", [b"same"]).etag for _ in range(20)]
    assert len(set(etags)) == (1 if blobs.kind in CONTENT_ETAGS else 20)


def test_staged_bytes_that_are_kept_longer_are_the_same_and_those_that_are_gone_stay_gone(blobs: Any) -> None:
    staged, gone = blobs.stage([b"kept"]), blobs.stage([b"gone"])
    blobs.discard(gone)
    if hasattr(blobs, "keep"):
        blobs.keep(staged)
        blobs.keep(gone)
    blobs.publish(staged, "a")
    assert everything(blobs.read("a")) == b"kept"
    with pytest.raises(app.NotFound):
        blobs.publish(gone, "b")


def test_staged_bytes_are_invisible_until_published_and_published_once(blobs: Any) -> None:
    staged = blobs.stage([b"hello ", b"world"])
    assert staged.size_bytes == 11
    assert staged.sha256 == "b94d27b9934d3e08a52e52d7da7dabfac484efe37a5380ee9088f7ace2efcde9"
    assert list(blobs.scan()) == []
    blob = blobs.again().publish(staged, "a")
    assert everything(blobs.read("a")) == b"hello world"
    with pytest.raises(app.NotFound):
        blobs.publish(staged, "b")
    blobs.discard(staged)
    assert blobs.stat("a") == blob
    gone = blobs.stage([b"x"])
    blobs.discard(gone)
    blobs.discard(gone)
    with pytest.raises(app.NotFound):
        blobs.publish(gone, "c")


def test_an_upload_that_breaks_off_leaves_the_old_blob_and_nothing_else(blobs: Any, tmp_path: Path) -> None:
    old = blobs.write("a", [b"old"])

    def broken() -> Iterator[bytes]:
        yield b"x" * 6_000_000
        raise ConnectionError("gone")

    before = sum(f.stat().st_size for f in tmp_path.rglob("*") if f.is_file() and "staged" in f.parts)
    with pytest.raises(ConnectionError):
        blobs.write("a", broken())
    assert blobs.stat("a") == old
    assert everything(blobs.read("a")) == b"old"
    assert before == sum(f.stat().st_size for f in tmp_path.rglob("*") if f.is_file() and "staged" in f.parts)
    if isinstance(blobs, app.Queries):
        assert list(blobs.select(Select(statement="select count(*) from _chunks")).rows) == [(1,)]


def test_conditions_of_publish_hold_or_the_staged_bytes_stay(blobs: Any) -> None:
    staged = blobs.stage([b"new"])
    with pytest.raises(app.PreconditionFailed):
        blobs.publish(staged, "a", if_match="whatever")
    blob = blobs.write("a", [b"old"])
    with pytest.raises(app.PreconditionFailed):
        blobs.publish(staged, "a", if_none_match=True)
    with pytest.raises(app.PreconditionFailed):
        blobs.publish(staged, "a", if_match=blob.etag + "x")
    assert everything(blobs.read("a")) == b"old"
    blobs.publish(staged, "a", if_match=blob.etag)
    assert everything(blobs.read("a")) == b"new"
    with pytest.raises(app.PreconditionFailed):
        blobs.read("a", if_match=blob.etag)
    with pytest.raises(app.PreconditionFailed):
        blobs.remove("a", if_match=blob.etag)
    blobs.remove("a", if_match=blobs.stat("a").etag)
    assert blobs.stat("a") is None


@pytest.mark.parametrize("how", ["if_none_match", "if_match"])
def test_of_racing_publishes_with_one_condition_one_wins(blobs: Any, how: str) -> None:
    doors = [blobs, blobs.again()]
    etag = blobs.write("there", [b"old"]).etag
    condition = {"if_match": etag} if how == "if_match" else {"if_none_match": True}
    path = "there" if how == "if_match" else "deep/new"
    staged = [doors[n % 2].stage([b"%d" % n]) for n in range(8)]
    answers = race(8, lambda n: doors[n % 2].publish(staged[n], path, **condition))
    won = [n for n, answer in enumerate(answers) if isinstance(answer, app.Blob)]
    assert len(won) == 1
    assert all(isinstance(a, app.PreconditionFailed) for n, a in enumerate(answers) if n not in won)
    assert everything(blobs.read(path)) == b"%d" % won[0]
    for n in range(8):
        doors[n % 2].discard(staged[n])
    assert everything(blobs.read(path)) == b"%d" % won[0]


def test_a_path_is_a_file_or_a_folder(blobs: Any) -> None:
    blobs.write("a/b/c", [b"1"])
    blobs.write("f", [b"2"])
    assert blobs.is_folder("a")
    assert blobs.is_folder("a/b")
    assert not blobs.is_folder("a/b/c")
    assert blobs.stat("a") is None
    for path in ("a", "a/b", "f/x", "a/b/c/d/e"):
        with pytest.raises(app.Conflict):
            blobs.write(path, [b"3"])
        with pytest.raises(app.Conflict):
            blobs.move("f", path)
    with pytest.raises(app.NotFound):
        blobs.read("a")
    assert [e.path for e in blobs.scan()] == ["a/b/c", "f"]


def test_folders_go_with_their_last_file(blobs: Any) -> None:
    for path in ("a/b/c", "a/b/d", "a/e"):
        blobs.write(path, [b"x"])
    blobs.remove("a/b/c")
    assert blobs.is_folder("a/b")
    blobs.remove("a/b/d")
    assert not blobs.is_folder("a/b")
    assert blobs.is_folder("a")
    blobs.move("a/e", "z/y/x")
    assert not blobs.is_folder("a")
    if not blobs.frees_folders:
        with pytest.raises(app.Conflict):
            blobs.write("a", [b"now a file"])
        assert [e.path for e in blobs.scan(deep=False)] == ["z"]
        return
    assert blobs.write("a", [b"now a file"])
    assert [e.path for e in blobs.scan(deep=False)] == ["a", "z"]


def test_a_folder_that_another_program_made_is_listed_while_it_is_empty_and_stays(blobs: Any) -> None:
    if blobs.kind in OUR_KINDS:
        assert blobs.keeps_folders == (blobs.kind in ("file", "aws"))
    if not blobs.keeps_folders:
        return
    if blobs.serves_places:
        (blobs.places()[0] / "theirs").mkdir(parents=True)
    elif blobs.kind != "aws":
        return  # nobody here knows how another program makes one
    else:  # as the console of S3 makes one
        blobs._s3("making a folder", "put_object", Key="theirs/", Body=io.BytesIO())
    assert blobs.is_folder("theirs")
    blobs.write("theirs/ours/a", [b"x"])
    blobs.remove("theirs/ours/a")
    assert list(blobs.scan(deep=False)) == [app.Folder("theirs")]
    assert list(blobs.scan()) == []


def test_a_folder_that_was_made_stays_until_it_is_removed(blobs: Any) -> None:
    if blobs.kind in OUR_KINDS:
        assert blobs.makes_folders == (blobs.kind != "generic")
    if not blobs.makes_folders:
        for work in (blobs.make_folder, blobs.remove_folder):
            with pytest.raises(app.Unsupported):
                work("made")
        return
    blobs.make_folder("made/inner")
    assert list(blobs.scan(deep=False)) == [app.Folder("made")]
    assert list(blobs.again().scan("made", deep=False)) == [app.Folder("made/inner")]
    assert list(blobs.scan()) == []
    assert blobs.is_folder("made/inner")
    blobs.write("made/inner/a", [b"1"])
    blobs.write("file", [b"2"])
    for path in ("made", "made/inner", "file", "file/below", "made/inner/a"):
        with pytest.raises(app.Conflict):
            blobs.make_folder(path)
    with pytest.raises(app.Conflict):
        blobs.write("made/inner", [b"3"])
    for path in ("made", "made/inner"):
        with pytest.raises(app.Conflict):
            blobs.remove_folder(path)
    for path in ("file", "no", "made/inner/a", "made/no"):
        with pytest.raises(app.NotFound):
            blobs.remove_folder(path)
    blobs.move("made/inner/a", "b")
    assert blobs.is_folder("made/inner"), "it was made, so it stays while it is empty"
    blobs.again().remove_folder("made/inner")
    assert not blobs.is_folder("made/inner")
    assert not blobs.is_folder("made"), "nobody made this one: it was only on the way"
    assert [entry.path for entry in blobs.scan(deep=False)] == ["b", "file"]


def test_of_racing_makers_of_a_folder_one_wins(blobs: Any) -> None:
    if not blobs.makes_folders or blobs.kind == "aws":  # which looks first, as for files
        return
    doors = [blobs, blobs.again(), blobs.again(), blobs.again()]

    def make(door: Any) -> bool:
        try:
            door.make_folder("a/b")
        except app.Conflict:
            return False
        return True

    with ThreadPoolExecutor(4) as threads:
        assert sum(threads.map(make, doors)) == 1
    assert list(blobs.scan("a", deep=False)) == [app.Folder("a/b")]


def test_move_keeps_the_bytes_and_the_etag_and_never_overwrites(blobs: Any) -> None:
    blob = blobs.write("a", [b"1"])
    blobs.write("b", [b"2"])
    for target in ("b", "a"):
        with pytest.raises(app.Conflict):
            blobs.move("a", target)
    moved = blobs.move("a", "c/d")
    assert (moved.path, moved.size_bytes) == ("c/d", 1)
    assert moved.etag == blob.etag or not blobs.renames
    assert blobs.stat("c/d") == moved
    assert blobs.stat("a") is None
    assert everything(blobs.read("c/d")) == b"1"


def test_a_copy_has_the_bytes_and_never_overwrites(blobs: Any) -> None:
    data = random.Random(7).randbytes(5_000_001)
    blob = blobs.write("a", [data])
    blobs.write("b/c", [b""])
    for target, there in (("b/c", app.Conflict), ("b", app.Conflict), ("a", app.Conflict), ("a/b", app.Conflict)):
        with pytest.raises(there):
            blobs.copy("a", target)
    with pytest.raises(app.NotFound):
        blobs.copy("none", "new")
    made = blobs.copy("a", "x/y/z")
    assert (made.path, made.size_bytes) == ("x/y/z", len(data))
    assert blobs.stat("x/y/z") == made
    if blobs.keeps_times:
        assert int(made.modified_at) == int(blob.modified_at)
    empty = blobs.copy("b/c", "b/d")
    assert (empty.size_bytes, everything(blobs.read("b/d"))) == (0, b"")
    blobs.remove("a")
    blobs.write("x/y/z", [b"other"], if_match=made.etag)
    assert everything(blobs.read("x/y/z")) == b"other"
    again = blobs.copy("x/y/z", "a")
    assert everything(blobs.read("a")) == b"other"
    assert again.etag != blob.etag


def test_a_folder_is_renamed_with_all_that_is_in_it_where_that_is_one_step(blobs: Any) -> None:
    if not hasattr(blobs, "move_folder"):
        return
    etags = [blobs.write(path, [path.encode()]).etag for path in ("x/a/1", "x/a/ü/2", "x/a/ü/v/3", "x/ab", "x/a.b")]
    blobs.make_folder("x/a/empty")
    blobs.write("file", [b""])
    for source, target, refused in (
        ("none", "new", app.NotFound), ("file", "new", app.NotFound), ("x/a", "file", app.Conflict),
        ("x/a", "file/below", app.Conflict), ("x/a", "x/ab", app.Conflict), ("x/a", "x", app.Conflict),
    ):  # fmt: skip
        with pytest.raises(refused):
            blobs.move_folder(source, target)
    assert not blobs.is_folder("new")
    blobs.move_folder("x/a", "y/deep/é")
    assert [one.path for one in blobs.scan()] == ["file", *sorted(
        ["x/a.b", "x/ab", "y/deep/é/1", "y/deep/é/ü/2", "y/deep/é/ü/v/3"], key=str.encode
    )]  # fmt: skip
    assert [blobs.stat(f"y/deep/é/{one}").etag for one in ("1", "ü/2", "ü/v/3")] == etags[:3]
    assert everything(blobs.read("y/deep/é/ü/v/3")) == b"x/a/\xc3\xbc/v/3"
    assert [one.path for one in blobs.scan("y/deep/é", deep=False)] == [f"y/deep/é/{one}" for one in ("1", "empty", "ü")]
    assert not blobs.is_folder("x/a")
    for one in ("1", "ü/2", "ü/v/3"):
        blobs.remove(f"y/deep/é/{one}")
    assert blobs.is_folder("y/deep/é/empty")
    blobs.move_folder("y/deep/é", "x/a")
    assert not blobs.is_folder("y")
    blobs.write("y", [b"a file"])


def test_of_racing_copies_to_one_path_one_wins(blobs: Any) -> None:
    for number in range(6):
        blobs.write(f"from/{number}", [b"%d" % number])
    doors = [blobs, *(blobs.again() for _ in range(5))]

    def copy(number: int) -> bool:
        try:
            doors[number].copy(f"from/{number}", "to")
        except app.Conflict:
            return False
        return True

    with ThreadPoolExecutor(6) as threads:
        won = list(threads.map(copy, range(6)))
    assert sum(won) == 1
    assert everything(blobs.read("to")) == b"%d" % won.index(True)


def test_a_time_is_kept_where_the_provider_says_so_and_etags_differ_all_the_same(blobs: Any) -> None:
    at, etags = 1_000_000_000.125, set()
    for data in (b"one", b"two", b"six"):
        staged = blobs.stage([data], "a")._replace(modified_at=at)
        blob = blobs.publish(staged, "a")
        assert blobs.stat("a") == blob
        assert (abs(blob.modified_at - at) < 0.001) is blobs.keeps_times
        etags.add(blob.etag)
        blobs.remove("a")
    assert len(etags) == 3 or not blobs.keeps_times
    blobs.write("a", [b"now"])
    assert abs(blobs.stat("a").modified_at - time.time()) < 3600


def test_a_reader_of_a_replaced_or_removed_blob_goes_on_to_its_end(blobs: Any) -> None:
    data = random.Random(2).randbytes(3_000_000)
    blobs.write("a", [data])
    first, second = blobs.read("a"), blobs.read("a", 10)
    chunks = iter(first)
    start = next(chunks)
    blobs.write("a", [b"new"])
    blobs.remove("a")
    assert start + b"".join(chunks) == data
    assert everything(second) == data[10:]
    first.close()


LISTED = [
    "a b/x",
    "a",
    "a.txt",
    "b/c/d",
    "b/c.txt",
    "b/c-d/e",
    "b!/x",
    "b/é",
    "b/e\u0301",
    "b/zz/1",
    "b/zz/2",
    "c'%_/\u200f",
    "🏖/x",
]


def listed(blobs: Any) -> list[str]:
    """LISTED; another Satchel keeps new names in NFC, and the two spellings of é are one file there."""
    return [path for path in LISTED if blobs.kind != "generic" or app.compose(path) == path]


def test_listings_are_in_byte_order_and_start_after_any_path(blobs: Any) -> None:
    for path in listed(blobs):
        blobs.write(path, [b"x"])
    whole = sorted(listed(blobs), key=str.encode)
    assert [e.path for e in blobs.scan()] == whole
    for after in [*whole, "b", "b/c", "b/c/", "b/c0", "zzzz", "0"]:
        assert [e.path for e in blobs.scan(after=after)] == [p for p in whole if p.encode() > after.encode()], after
    inner = [p for p in whole if p.startswith("b/")]
    assert [e.path for e in blobs.scan("b")] == inner
    assert [e.path for e in blobs.scan("b", after="b/c.txt")] == [p for p in inner if p > "b/c.txt"]
    assert all(isinstance(e, app.Blob) and e == blobs.stat(e.path) for e in blobs.scan())


def test_a_shallow_listing_gives_files_and_folders_in_one_order(blobs: Any) -> None:
    for path in listed(blobs):
        blobs.write(path, [b"x"])
    top = sorted({p.split("/")[0] for p in listed(blobs)}, key=str.encode)
    found = list(blobs.scan(deep=False))
    assert [e.path for e in found] == top
    assert [e.path for e in found if isinstance(e, app.Folder)] == [p for p in top if p not in LISTED]
    inner = sorted({"/".join(p.split("/")[:2]) for p in listed(blobs) if p.startswith("b/")}, key=str.encode)
    assert [e.path for e in blobs.scan("b", deep=False)] == inner
    for after in inner:
        assert [e.path for e in blobs.scan("b", deep=False, after=after)] == [
            p for p in inner if p.encode() > after.encode()
        ]


def test_a_listing_of_over_a_thousand_is_whole(blobs: Any, tmp_path: Path) -> None:
    def put(n: int) -> None:
        if blobs.serves_places:
            (blobs.places()[0] / f"f/{n:04}").touch()
        elif blobs.kind == "aws":  # as another program writes it
            blobs._s3("putting", "put_object", Key=f"f/{n:04}")
        elif (folder := http_services.files(blobs)) is not None:
            (folder / f"f/{n:04}").touch()
        else:
            blobs.write(f"f/{n:04}", [])

    blobs.write("f/0000", [])
    with ThreadPoolExecutor(8) as threads:  # which share their waits for the medium
        deque(threads.map(put, range(1, 1030)), maxlen=0)
    assert [e.path for e in blobs.scan("f", deep=False)] == [f"f/{n:04}" for n in range(1030)]
    assert [e.path for e in blobs.scan()] == [f"f/{n:04}" for n in range(1030)]


def test_random_blob_operations_do_what_a_dictionary_does(blobs: Any) -> None:
    chance, model, left = random.Random(3), dict[str, bytes](), set[str]()
    paths = ["a", "a/b", "a/b/c", "a/d", "b", "b/x", "c.txt", "c/y", "d/e/f/g"]
    other = blobs.again()
    for _ in range(250):
        door, path, to = chance.choice([blobs, other]), chance.choice(paths), chance.choice(paths)
        blocked = any(p != to and (p.startswith(to + "/") or to.startswith(p + "/")) for p in model)
        blocked = blocked or (to in left and not blobs.frees_folders)
        left |= {"/".join(p.split("/")[:n]) for p in model for n in range(1, p.count("/") + 1)}
        match chance.choice(["write", "write", "remove", "move"]):
            case "write" if blocked:
                with pytest.raises(app.Conflict):
                    door.write(to, [b"x"])
            case "write":
                model[to] = chance.randbytes(chance.choice([0, 10, 300_000]))
                door.write(to, [model[to]])
            case "remove" if path in model:
                door.remove(path)
                del model[path]
            case "move" if path in model:
                if to in model or blocked:
                    with pytest.raises(app.Conflict):
                        door.move(path, to)
                else:
                    door.move(path, to)
                    model[to] = model.pop(path)
            case _ if path not in model:
                with pytest.raises(app.NotFound):
                    door.read(path)
    assert {e.path: everything(other.read(e.path)) for e in blobs.scan()} == model


def test_memory_stays_bounded_while_a_large_blob_is_written_and_read(blobs: Any) -> None:
    tracemalloc.start()
    try:
        blobs.write("big", (b"x" * 65536 for _ in range(640)))
        with closing(blobs.read("big")) as reader:
            assert sum(map(len, reader)) == 640 * 65536
        assert tracemalloc.get_traced_memory()[1] < 20_000_000
    finally:
        tracemalloc.stop()


# ---- queries


def run(queries: Any, statement: str, **more: Any) -> tuple[tuple[str, ...], list[Any]]:
    rows = queries.select(Select(statement=statement, **more))
    try:
        return rows.columns, list(rows.rows)
    finally:
        rows.close()
        rows.close()


SERIES = "with recursive n(i) as (select 1 union all select i + 1 from n where i < :most) select i from n"


@pytest.fixture
def sales(queries: Any) -> Any:
    rows = [("nord", 10, 1.5), ("süd", 20, None), ("Nord", 30, 2.5), (None, 5, 0.5), ("100%", 7, 1)]
    queries.commit([Insert("sale", f"{n}", {"region": r, "n": n0, "x": x}) for n, (r, n0, x) in enumerate(rows)])
    return queries


VIEW = "select key, data->>'region' as region, cast(data->>'n' as numeric) as n, cast(data->>'x' as numeric) as x from sale"


def found_keys(queries: Any, **more: Any) -> str:
    return "".join(row[0] for row in run(queries, VIEW, **more)[1])


def test_a_statement_gives_its_columns_and_rows(sales: Any) -> None:
    assert run(sales, "select 1 as a, 'x' as b, null as c") == (("a", "b", "c"), [(1, "x", None)])
    assert run(sales, VIEW + " where cast(data->>'n' as numeric) > :least order by n ; -- end ;", params={"least": 9})[1][
        0
    ] == ("0", "nord", 10, 1.5)
    blob = "'\\x00ff'::bytea" if sales.kind == "postgres" else "x'00ff'"
    assert run(sales, f"select {blob} as b")[1] == [("AP8=",)]


def test_rows_can_be_filtered_ordered_searched_and_cut(sales: Any) -> None:
    assert found_keys(sales, where=(Condition("n", "gte", 10), Condition("region", "ne", "nord"))) == "12"
    assert found_keys(sales, where=(Condition("region", "ne", "nord"),)) == "1234"
    assert found_keys(sales, where=(Condition("region", "in", ["nord", "süd"]),)) == "01"
    assert found_keys(sales, where=(Condition("region", "in", []),)) == ""
    assert found_keys(sales, where=(Condition("region", "null", True),)) == "3"
    assert found_keys(sales, where=(Condition("x", "null", False), Condition("x", "lt", Decimal("1.5")))) == "34"
    assert found_keys(sales, where=(Condition("region", "contains", "ord"),)) == "02"
    assert found_keys(sales, where=(Condition("region", "prefix", "N"),)) == "2"
    assert found_keys(sales, where=(Condition("region", "contains", "%"),)) == "4"
    assert found_keys(sales, search="NORD") == "02"
    assert found_keys(sales, search="SÜD") == "1"
    assert found_keys(sales, order_by=("-n",)) == "21043"
    assert found_keys(sales, order_by=("region", "-n")) == "34201"
    assert found_keys(sales, order_by=("-x", "key")) == "20431"
    assert found_keys(sales, order_by=("n",), limit=2, offset=1) == "40"
    assert found_keys(sales, order_by=("n",), offset=3) == "12"
    assert found_keys(sales, limit=0) == ""


def test_an_unknown_column_is_refused_with_the_nearest(sales: Any) -> None:
    for more in ({"where": (Condition("regio", "eq", 1),)}, {"order_by": ("-regio",)}, {"order_by": ('n" desc; --',)}):
        with pytest.raises(app.BadRequest, match=r"no column"):
            run(sales, VIEW, **more)
    with pytest.raises(app.BadRequest, match=r"did you mean region\?"):
        run(sales, VIEW, order_by=("regio",))
    assert run(sales, 'select 1 as "a""b"', order_by=('a"b',), where=(Condition('a"b', "eq", 1),))[1] == [(1,)]


def test_parameters_are_bound_by_name_and_the_wrong_ones_are_named(queries: Any) -> None:
    queries.commit([Insert("t", "a", {})])
    values = {"a": True, "b": Decimal("1.5"), "c": "x'; drop table t; --", "d": None, "e": 2**63 - 1}
    assert run(queries, "select :a, :b, :c, :d, :e, ':no' as \":no\" /* :no */", params=values)[1][0][:5] == (
        1,
        1.5,
        "x'; drop table t; --",
        None,
        2**63 - 1,
    )
    with pytest.raises(app.ConfigError, match=":region is not given"):
        run(queries, "select :region")
    with pytest.raises(app.ConfigError, match=r":regoin is not in the statement; did you mean region\?"):
        run(queries, "select :region", params={"region": 1, "regoin": 2})


@pytest.mark.parametrize(
    "statement",
    [
        "insert into t (key, version, data) values ('x', 1, '{}')",
        "insert into t (key, version, data) values ('x', 1, '{}') returning key",
        "with x as (select 1) delete from t",
        "update t set version = 9",
        "update sqlite_master set sql = ''",
        "delete from sqlite_master",
        "drop table t",
        "create table u (a)",
        "create temp table u (a)",
        "attach 'other.db' as other",
        "pragma journal_mode = delete",
        "pragma table_info(t)",
        "select * from pragma_journal_mode",
        "vacuum",
        "vacuum into 'copy.db'",
        "begin immediate",
        "savepoint x",
        "select load_extension('x')",
        "select 1; select 2",
        "select 1; drop table t",
        "selec 1",
        "select * from nowhere",
        "select nothing from t",
        "",
        "-- nothing",
        "select ?",
    ],
)
def test_a_statement_that_does_more_than_read_or_is_wrong_is_a_fault_of_the_configuration(
    queries: Any, statement: str, tmp_path: Path
) -> None:
    queries.commit([Insert("t", "a", {})])
    before = sorted((p.name, p.stat().st_size) for p in tmp_path.rglob("*"))
    for more in ({}, {"limit": 5}):
        with pytest.raises(app.ConfigError) as caught:
            run(queries, statement, **more)
        assert str(tmp_path) not in caught.value.message
    assert sorted((p.name, p.stat().st_size) for p in tmp_path.rglob("*")) == before
    assert queries.get("t", "a") == Record("a", 1, {})
    assert queries.commit([Insert("t", "b", {})])


def test_a_query_past_its_time_is_stopped_before_and_while_rows_flow(queries: Any) -> None:
    queries.commit([Insert("t", "a", {})])
    with pytest.raises(app.QueryTimeout):
        run(queries, f"select sum(i) from ({SERIES}) as numbers", params={"most": 10**12}, timeout_s=0.1)
    with pytest.raises(app.QueryTimeout):
        run(queries, SERIES, params={"most": 10**12}, timeout_s=0.1)
    assert run(queries, SERIES, params={"most": 3}, timeout_s=60)[1] == [(1,), (2,), (3,)]
    assert run(queries, SERIES, params={"most": 300_000})[1][-1] == (300_000,)


def test_more_rows_than_the_limit_are_too_large_and_as_many_are_not(queries: Any) -> None:
    queries.commit([Insert("t", "a", {})])
    assert len(run(queries, SERIES, params={"most": 700}, max_rows=700)[1]) == 700
    with pytest.raises(app.TooLarge, match="700"):
        run(queries, SERIES, params={"most": 701}, max_rows=700)


def test_rows_are_streamed_in_bounded_memory(queries: Any) -> None:
    queries.commit([Insert("t", "a", {})])
    rows = queries.select(Select(statement=SERIES, params={"most": 100_000}))  # some 10 MB if they were kept
    tracemalloc.start()
    try:
        assert sum(1 for _ in rows.rows) == 100_000
        assert tracemalloc.get_traced_memory()[1] < 2_000_000
    finally:
        tracemalloc.stop()
        rows.close()


def test_rows_are_counted_by_the_database_whatever_is_asked_of_them(sales: Any) -> None:
    everything_ = Select(statement=VIEW + " order by n")
    whole = len(run(sales, everything_.statement)[1])

    def count(most: int | None = None, **more: Any) -> int:
        return sales.count_rows(everything_._replace(**more), most)

    assert whole > 3
    assert count() == count(limit=1, offset=2, order_by=("-n",), max_rows=1) == whole
    assert [count(2), count(whole), count(whole + 1)] == [2, whole, whole]
    for where in ((Condition("n", "gt", 8),), (Condition("region", "eq", "nowhere"),)):
        assert count(where=where) == len(run(sales, everything_.statement, where=where)[1])
    assert count(search="NORD") == 2
    assert count(statement="select key from sale where key = :r", params={"r": "1"}) == 1
    assert count(statement="select 1 as a, 2 as a, 3 as b -- all\n;") == 1
    with pytest.raises(app.BadRequest):
        count(where=(Condition("none", "eq", 1),))
    endless = "with recursive n(i) as (select 1 union all select i + 1 from n) select i from n"
    assert count(5000, statement=endless) == 5000
    with pytest.raises(app.QueryTimeout):
        count(statement=endless, timeout_s=0.2)
    plain = app.Queries.count_rows(sales, everything_, 2), app.Queries.count_rows(sales, everything_)
    assert plain == (2, whole)


def test_a_stream_left_in_the_middle_can_be_closed_and_the_provider_used(queries: Any) -> None:
    queries.commit([Insert("t", "a", {})])
    for _ in range(20):
        rows = queries.select(Select(statement=SERIES, params={"most": 10**9}))
        assert next(rows.rows) == (1,)
        rows.close()
    assert queries.commit([Insert("t", "b", {})])


def test_a_stream_sees_one_state_while_others_write(queries: Any) -> None:
    queries.commit([Insert("t", f"{n:04}", {"n": 0}) for n in range(1200)])
    rows = queries.select(Select(statement="select cast(data->>'n' as numeric) from t order by key"))
    first = next(rows.rows)
    queries.commit([Update("t", f"{n:04}", {"n": 1}) for n in range(1200)])
    assert {first, *rows.rows} == {(0,)}
    rows.close()


def test_views_can_be_written_over_the_tables_of_records(queries: Any) -> None:
    queries.prepare({"leave": []})
    assert run(queries, "select key, version, cast(data->>'days' as numeric) as days from leave") == (
        ("key", "version", "days"),
        [],
    )
    queries.commit([Insert("leave", "a", {"days": 2.5})])
    assert run(queries, "select sum(cast(data->>'days' as numeric)) as total from leave")[1] == [(2.5,)]


# ---- providers in files of this machine


def counted_commits(provider: Any, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Grows by one with every commit on the medium, each of which takes a millisecond as on a disk: the folder may be in
    memory, where nobody would wait for another one's commit."""
    commits: list[str] = []
    provider.commit([Insert("t", "first", {})])

    def count(text: str) -> None:
        if text == "commit":
            commits.append(text)
            time.sleep(0.001)

    if isinstance(provider, app.SqlProvider):
        assert provider._writer
        provider._writer.set_trace_callback(count)
    else:
        append = provider._journal.append
        monkeypatch.setattr(provider._journal, "append", lambda lines: (count("commit"), append(lines)))
    return commits


@pytest.mark.parametrize("name", ["sql", "file"])
def test_threads_share_commits(name: str, opener: Callable[[str], Any], monkeypatch: pytest.MonkeyPatch) -> None:
    provider = opener(name)
    commits = counted_commits(provider, monkeypatch)
    race(16, lambda n: [provider.commit([Insert("t", f"{n}-{i}", {})]) for i in range(25)])
    assert provider.count(Query("t")) == 401
    assert len(commits) < 300


def committed_as_one(provider: Any, *commits: list[Any]) -> list[Any]:
    """What commits of several threads answer that share one on the medium."""
    jobs = []
    for writes in commits:
        texts = app.check_commit(writes)
        jobs.append(app.PendingCommit(provider._work(writes, texts) if isinstance(provider, app.SqlProvider) else writes))
    provider._commit_jobs(jobs)
    return [job.error or job.result for job in jobs]


@pytest.mark.parametrize("name", ["sql", "file"])
def test_commits_that_share_one_on_the_medium_each_stand_for_themselves(
    name: str, opener: Callable[[str], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    provider = opener(name)
    commits = counted_commits(provider, monkeypatch)
    answers = committed_as_one(
        provider,
        [Insert("t", "a", {"n": 1})],
        [Insert("t", "x", {}), Update("t", "a", {"n": 9}, version=7)],
        [Insert("t", "a", {"n": 2})],
        [Update("t", "a", {"n": 3}, version=1)],
    )
    assert answers[0] == [Record("a", 1, {"n": 1})]
    assert [type(answer) for answer in answers[1:3]] == [app.Conflict, app.Conflict]
    assert answers[3] == [Record("a", 2, {"n": 3})]
    assert {record.key: record.value for record in provider.walk(Query("t"))} == {"a": {"n": 3}, "first": {}}
    assert commits == ["commit"]


@pytest.mark.parametrize("name", ["sql", "file"])
def test_a_count_that_takes_too_long_is_given_up(name: str, opener: Callable[[str], Any]) -> None:
    provider = opener(name)
    provider.commit([Insert("t", f"{n}", {"n": n}) for n in range(3000)])
    query = Query("t", (Condition("n", "eq", 2999),))
    assert provider.count_up_to(query, 10, 10.0) == 1
    assert provider.count_up_to(query, 10, 0.0) is None
    assert provider.count(query) == 1  # and nothing of the limit is left


# ---- texts of a page


def as_text(record: Record) -> str:
    return app.dump_json([record.key, record.version, record.value, record.damage])


def test_texts_of_a_page_are_those_of_its_records_the_first_time_and_again(records: Any) -> None:
    chance = random.Random(17)
    numbers = [0, -7, 2**63 - 1, 0.1, 1e-7, 1e22, Decimal("0.1000000000000000000001"), Decimal("-12345678901234567890.5")]
    kept = stored(records, [*numbers, "", "é\x7f/\u2028\U0001f3d6", 'q"\\\n\x01', None, True, [1, "a"], {"b": {"a": 1}}])
    for n in range(25):
        value = {chance.choice(["a", "b", "c"]): chance.choice(kept), "n": n, "long": "x" * chance.choice([0, 30, 1200])}
        store(records, [Insert("t", f"{n:02}", value)])
    queries = [Query("t", limit=7), Query("t", (Condition("n", "gte", 5),), ("-n",), 6), Query("none")]
    for query in queries[:1] if records.kind in ("aws", "generic") else queries:
        for _ in range(2):
            cursor: str | None = ""
            while cursor is not None:
                page = records.find(query._replace(after=cursor))
                found = records.find_texts(query._replace(after=cursor), as_text)
                assert found == (list(map(as_text, page.items)), page.next)
                assert records.find_texts(query._replace(after=cursor), str) == (list(map(str, page.items)), page.next)
                cursor = page.next
    [first, *_], _ = records.find_texts(queries[0], as_text)
    records.commit([Update("t", "00", {"n": "new"})])
    [changed, *_], _ = records.find_texts(queries[0], as_text)
    assert changed != first
    assert app.load_json(changed)[1:3] == [2, {"n": "new"}]


# ---- facets


def test_values_are_counted_as_they_are_ordered_the_most_frequent_first(records: Any) -> None:
    values = [
        None,
        True,
        False,
        0,
        1,
        1.0,
        -1,
        2,
        10,
        10,
        0.5,
        -0.5,
        1e-30,
        -1e300,
        2**63 - 1,
        "",
        "a",
        "a",
        "A",
        "é",
        "1",
        [],
        {},
    ]
    values = stored(records, [*values, Decimal("0.30000000000000000001"), Decimal("-12345678901234567890.5")])
    store(records, [Insert("t", f"{n:02}", {"v": value, "n": n}) for n, value in enumerate(values)])
    store(records, [Insert("t", "none", {"n": 99})])
    if isinstance(records, generic.GenericProvider) or records.kind == "aws":
        with pytest.raises(app.Unsupported):
            records.facet(Query("t"), "v", 10)
        return
    found = records.facet(Query("t", order_by=("n",), limit=1), "v", 100)
    expected: dict[str, int] = {}
    for value in [*values, None]:
        expected[app.sort_key(value)] = expected.get(app.sort_key(value), 0) + 1
    del expected["z"]
    assert "z" not in {app.sort_key(value) for value, _ in found}
    assert [(app.sort_key(value), count) for value, count in found] == sorted(
        expected.items(), key=lambda one: (-one[1], one[0])
    )
    assert {type(value) for value, _ in found if app.sort_key(value)[:1] == "n"} == {int, float, Decimal}
    assert records.facet(Query("t"), "v", 2) == found[:2]
    few = Query("t", (Condition("v", "prefix", "a"),), search="A", search_fields=("v",))
    assert records.facet(few, "v", 5) == [("a", 2)]
    assert records.facet(Query("nothing"), "v", 5) == []


def test_of_lists_each_item_is_counted_once_for_a_record(records: Any) -> None:
    chance, door = random.Random(7), records
    if isinstance(door, generic.GenericProvider) or door.kind == "aws":
        return
    items = stored(door, ITEMS)
    for name in ("v", 'q"'):
        values = [chance.choices(items, k=chance.randrange(5)) for _ in range(40)] + [*items, None, "a", {"a": "a"}]
        rows = {f"{name}{n:02}": {name: value, "n": n % 3} for n, value in enumerate(values)}
        store(door, [Insert("t", key, row) for key, row in rows.items()])
        for query in (Query("t"), Query("t", (Condition("n", "in", [1, 2]), Condition(name, "ne", ["é", 10])))):
            expected: dict[str, int] = {}
            for row in door.walk(query):
                value = row.value.get(name)
                counted = {app.sort_key(one) for one in (value if isinstance(value, list) else [value])}
                for key in counted - {"z"} - ({""} if isinstance(value, list) else set()):
                    expected[key] = expected.get(key, 0) + 1
            most = sorted(expected.items(), key=lambda one: (-one[1], one[0]))
            said = [(app.sort_key(value), count) for value, count in door.facet(query, name, 100)]
            assert said == most
            assert [(app.sort_key(value), count) for value, count in door.facet(query, name, 2)] == most[:2]


def test_values_of_a_statement_are_counted_for_what_is_asked_of_its_rows(sales: Any) -> None:
    sales.commit([Insert("sale", "5", {"region": "nord", "n": 1}), Insert("sale", "6", {"region": "{}", "n": 2})])
    found = sales.facet_rows(Select(statement=VIEW, order_by=("region",), limit=1), "region", 100)
    assert found[0] == ("nord", 2)
    assert dict(found) == {"nord": 2, "süd": 1, "Nord": 1, None: 1, "100%": 1, "{}": 1}
    asked = Select(statement=VIEW, where=(Condition("n", "gte", 10),), search="NORD")
    assert sorted(sales.facet_rows(asked, "region", 100)) == [("Nord", 1), ("nord", 1)]
    assert sales.facet_rows(Select(statement=VIEW), "region", 1) == [("nord", 2)]
    named = Select(statement="select key as \"a {0} ''b\" from sale")
    assert len(sales.facet_rows(named, "a {0} ''b", 100)) == 7


# ---- groups


AMOUNTS = (
    1, 2, 2, 2.0, 0, -3, -0.1, 0.1, 0.2, 12.34, 1e300, 2**53 + 1, 2**63 - 1, -(2**63), 7, True, False, None, "7", "x",
    [], {}, Decimal("0.1234567890123456789012345"), Decimal("-12345678901234567890.5"),
)  # fmt: skip
KINDS = ("a", "A", "ä", "a\u0308", "", "🌍", 1, 1.0, True, None, ["a"], "10", "9")
LATER = {"2026-01-01T01:00:00+01:00": "2026-01-01T00:00:00Z", "2026-01-01T00:00:00z": "2026-01-01T00:00:00Z"}
SOME_MOMENTS = (*LATER, *LATER.values(), "2025-12-31T23:30:00.5Z", "soon", None, 5)


def some_amounts(seed: int, exact: bool) -> dict[str, app.Value]:
    chance = random.Random(seed)
    amounts = [a for a in AMOUNTS if exact or not (isinstance(a, Decimal) or (type(a) is int and abs(a) > 2**53))]
    made = {}
    for n in range(100):
        value = {
            "kind": chance.choice(KINDS),
            "amount": chance.choice(amounts),
            "at": chance.choice(SOME_MOMENTS),
            "n": n % 3,
        }
        made[f"k{n:03d}"] = {name: one for name, one in value.items() if chance.random() < 0.9}
    return made


def moment(value: Any) -> Any:
    """A date-time of SOME_MOMENTS as it is grouped: in UTC."""
    return LATER.get(value, value) if isinstance(value, str) else value


def plainly(value: Any) -> Any:
    """A value by which equal ones are found: 1 is 1.0 and not true."""
    return (type(value) is bool, isinstance(value, str), value)


def order(value: Any) -> Any:
    """Where find() puts a value among others."""
    is_moment = isinstance(value, str) and value[:2] == "20"
    rank = 0 if isinstance(value, bool) else 1 if is_moment else 3 if isinstance(value, str) else 2
    number = Decimal(repr(value)) if isinstance(value, float) else value
    return rank, value.replace("Z", "") if is_moment else number


def measured(op: str, values: list[Any]) -> Any:
    there = [one for one in values if one is not None]
    plain = [one for one in there if not isinstance(one, list | dict)]
    counted = [one for one in there if isinstance(one, int | float | Decimal) and not isinstance(one, bool)]
    numbers = [Fraction(repr(one) if isinstance(one, float) else one) for one in counted]
    if op == "count":
        return len(there)
    if op in ("min", "max"):
        return (min if op == "min" else max)(plain, key=order, default=None)
    return None if not numbers else sum(numbers) if op == "sum" else sum(numbers) / len(numbers)


def same(found: Any, expected: Any) -> bool:
    if isinstance(expected, Fraction):
        exact = Fraction(repr(found) if isinstance(found, float) else found)
        return exact == expected or (isinstance(found, float) and found == float(expected))
    return plainly(found) == plainly(expected)


MEASURES = [
    *(app.Measure(op, "amount") for op in ("count", "sum", "avg", "min", "max")), app.Measure("count", "id"),
    app.Measure("sum", "n"), app.Measure("max", "at"), app.Measure("min", "at"), app.Measure("sum", "version"),
]  # fmt: skip


@pytest.mark.parametrize("seed", [1, 2])
def test_groups_are_those_of_a_model(records: Any, seed: int) -> None:
    values = some_amounts(seed, records.exact_integers)
    store(records, [Insert("t", key, value) for key, value in values.items()])
    query = Query("t", (Condition("n", "ne", 2),), instants=frozenset({"at"}))
    there = [
        value | {"at": moment(value.get("at")), "id": key, "version": 1}
        for key, value in values.items()
        if value.get("n") != 2
    ]
    for by in ((), ("kind",), ("at",), ("kind", "n"), ("amount",)):
        expected: dict[Any, list[app.Value]] = {} if by else {(): []}
        for value in there:
            key = tuple(value.get(name) for name in by)
            if not any(isinstance(one, list | dict) for one in key):
                expected.setdefault(tuple(map(plainly, key)), []).append(value)
        found = records.groups(query, by, MEASURES, 1000)
        assert len(found) == len(expected)
        for row in found:
            group = expected[tuple(map(plainly, row[: len(by)]))]
            for one, result in zip(MEASURES, row[len(by) :], strict=True):
                assert same(result, measured(one.op, [value.get(one.field) for value in group])), (one, row)


def test_groups_are_bounded_searched_and_of_what_is_there(records: Any) -> None:
    count = [app.Measure("count", "id"), app.Measure("sum", "n")]
    assert records.groups(Query("t"), ("n",), count, 10) == []
    assert [tuple(one) for one in records.groups(Query("t"), (), count, 10)] == [(0, None)]
    store(records, [Insert("t", f"k{n}", {"n": n, "name": f"Straße {n}"}) for n in range(5)])
    with pytest.raises(app.TooLarge, match="more than 4 groups: narrow"):
        records.groups(Query("t"), ("n",), count, 4)
    assert len(records.groups(Query("t"), ("n",), count, 5)) == 5
    searched = Query("t", search="STRASSE 3", search_fields=("name",))
    assert [tuple(one) for one in records.groups(searched, ("name",), count, 1)] == [("Straße 3", 1, 3)]
    with pytest.raises(app.BadRequest, match="is no measure"):
        records.groups(Query("t"), (), [app.Measure("median", "n")], 1)
