"""Sealing of the audit trail: what is changed, taken out or put in behind Satchel's back shows, and nothing else does."""

from __future__ import annotations

import dataclasses
import itertools
import json
import re
import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from sites import Site, Time
from test_commands import Server, Shell

import app
from app import Delete, Insert, Query, Record, Records, Update

seals: Any = app.plugin("seals")
matrix: Any = import_module("test_matrix")
sites_of_jobs: Any = import_module("test_backup_job")
FORM, MAIN, made = sites_of_jobs.FORM, sites_of_jobs.MAIN, sites_of_jobs.made
KINDS = ("file", "sql", "postgres", "aws")
STOP = threading.Event()


@dataclasses.dataclass
class Trail:
    """A site, and the job that seals its trail; both by clocks that a test moves."""

    site: Site
    clock: Time
    passed: float = 0.0
    job: Any = None

    def __post_init__(self) -> None:
        self.job = self.new_job()
        self.site.root = self.site.token("root", "**:*", expires_s=app.MAX_TOKEN_S)

    def new_job(self) -> Any:
        """That of another process, or of another node."""
        return seals.Sealing({}, self.site.app.config, lambda: self.passed)

    @property
    def records(self) -> Records:
        return self.site.app.state

    def after(self, seconds: float) -> None:
        self.clock.now += seconds
        self.passed += seconds

    def seal(self, seconds: float = 60.0) -> None:
        self.after(seconds)
        self.job.run(self.site.app, STOP)

    def work(self, count: int = 3) -> None:
        for number in range(count):
            self.site.create("forms/leave", {"day": f"{number}"})

    def chain(self) -> Any:
        return next(seals.stores_of(self.site.app))

    def look(self) -> Any:
        return seals.verify(self.chain())

    def faults(self) -> dict[str, int]:
        return dict(self.look().counts)

    def entries(self) -> list[Record]:
        return list(self.records.walk(Query("_audit", order_by=("id",))))


@pytest.fixture
def trail_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Trail]]:
    monkeypatch.setattr(app, "last_ids", memoryview(bytearray(256)).cast("Q"))  # ids of another test are from later
    monkeypatch.setattr(seals, "_PAUSE_S", 0)
    opened: list[Site] = []

    def open_trail(kind: str = "sql", name: str = "site", more: str = "") -> Trail:
        clock, folder = Time(), tmp_path / name
        opened.append(made(folder, matrix.PROVIDERS[kind](folder) + FORM + more, clock))
        return Trail(opened[-1], clock)

    yield open_trail
    for site in opened:
        site.close()


@pytest.fixture
def trail(trail_on: Callable[..., Trail]) -> Trail:
    return trail_on()


@pytest.fixture(params=KINDS)
def each(trail_on: Callable[..., Trail], request: pytest.FixtureRequest) -> Trail:
    return trail_on(request.param)


# ---- what shows


def test_what_was_changed_taken_out_or_put_in_shows_on_every_provider(each: Trail) -> None:
    each.work(12)
    each.seal()
    each.work(2)
    each.seal()
    each.seal(4 * 3600)
    each.seal(4 * 3600)
    found = each.look()
    assert (found.counts, found.waiting, found.entries) == ({}, 0, len(each.entries()))
    first, second, third, *_ = each.entries()
    changed = {**second.value, "subject": "somebody else"}
    forged = {**first.value, "subject": "mallory"}
    put_in = first.key[:-4] + "ffff"
    each.records.commit([Update("_audit", second.key, changed)])
    each.records.commit([Delete("_audit", third.key)])
    each.records.commit([Insert("_audit", put_in, forged)])
    found = each.look()
    assert found.counts == {"changed": 1, "missing": 1, "put in": 1}
    assert {(what, place) for what, place, _ in found.faults} == {
        ("changed", second.key), ("missing", third.key), ("put in", put_in),
    }  # fmt: skip
    each.work(2)
    each.seal()
    each.seal(3700)
    assert each.faults() == {"changed": 1, "missing": 1, "put in": 1}, "no later seal takes it in"


def test_entries_are_sealed_a_minute_after_they_were_made(trail: Trail) -> None:
    trail.work()
    trail.seal(1)
    assert trail.look().waiting == len(trail.entries()), "a commit of that second may not have ended"
    trail.seal()
    assert trail.look().waiting == 0
    trail.work(1)
    assert trail.look().waiting == 1


def test_a_seal_that_was_changed_removed_or_made_by_somebody_else_shows(trail: Trail) -> None:
    for _ in range(5):
        trail.work(2)
        trail.seal()
    rows = list(trail.records.walk(Query("_seals", order_by=("id",))))
    assert len(rows) >= 5
    for tampering, what in (
        (Delete("_seals", rows[2].key), "missing"),
        (Update("_seals", rows[2].key, {**rows[2].value, "members": rows[1].value["members"]}), "changed"),
        (Update("_seals", rows[2].key, {**rows[2].value, "at": rows[1].value["at"]}), "changed"),
        (Update("_seals", rows[-1].key, {**rows[-1].value, "kid": "other"}), "changed"),
        (Update("_seals", rows[1].key, rows[2].value), "changed"),
        (Update("_seals", rows[1].key, {"number": 1.5, "members": 7, "mac": None}), "changed"),
    ):
        trail.records.commit([tampering])
        assert what in trail.faults(), tampering
        key = tampering.key
        value = next(one.value for one in rows if one.key == key)
        trail.records.commit([Delete("_seals", key)] if not isinstance(tampering, Delete) else [])
        trail.records.commit([Insert("_seals", key, value)])
        assert trail.faults() == {}


def test_the_end_of_a_trail_cannot_be_cut_off_where_the_data_folder_is_another_one(trail: Trail) -> None:
    for _ in range(3):
        trail.work(2)
        trail.seal()
    rows, entries = list(trail.records.walk(Query("_seals", order_by=("id",)))), trail.entries()
    cut = [Delete("_seals", rows[-1].key)]
    ids = {key for key, _ in seals.Seal(0, rows[-1].value).members}
    trail.records.commit([*cut, *(Delete("_audit", one.key) for one in entries if one.key in ids)])
    assert trail.faults() == {"missing": 1}
    trail.work(2)
    trail.seal()
    assert "changed" in trail.faults(), "a seal in its place does not hide it"
    trail.seal()
    trail.records.commit([Delete("_seals", row.key) for row in trail.records.walk(Query("_seals"))])
    assert "missing" in trail.faults()


def test_nobody_who_only_writes_to_the_database_makes_a_seal(trail: Trail) -> None:
    trail.work(6)
    trail.seal()
    [row] = trail.records.walk(Query("_seals"))
    entry = trail.entries()[2]
    other = {**entry.value, "subject": "mallory"}
    fresh = app.KeyRing([app.Key(app.KeyRing.keys.fget(trail.chain().keys)[0].kid, b"x" * 32)])  # type: ignore[attr-defined]
    members = [
        (key, seals.digest_of(entry._replace(value=other)) if key == entry.key else digest)
        for key, digest in seals.Seal(1, row.value).members
    ]
    (trail.site.app.config.site.data / "seals.json").unlink()
    trail.records.commit([Update("_audit", entry.key, other), Delete("_seals", row.key)])
    forger = seals.Chain("main", trail.records, fresh, Path("/nowhere"))
    forger.add(forger.last(), {name: row.value[name] for name in ("at", "looked", "closed")}, members)
    assert trail.faults() == {"changed": 1}
    unknown = app.KeyRing([app.Key("unknown", b"x" * 32)])
    forger = seals.Chain("main", trail.records, unknown, Path("/nowhere"))
    trail.records.commit([Delete("_seals", row.key)])
    forger.add(forger.last(), {name: row.value[name] for name in ("at", "looked", "closed")}, members)
    assert trail.faults() == {"unproved": 1}
    trail.work(1)
    trail.seal()
    assert trail.faults() == {"unproved": 1}, "a good seal behind it does not make it good"


# ---- keys


def test_seals_stay_verifiable_when_keys_rotate_and_old_ones_are_retired(trail: Trail) -> None:
    office = trail.site.app.office
    trail.work(3)
    trail.seal()
    old = office.authority.keys.keys[0].kid
    office.rotate_key(app.Caller("test"))
    assert trail.faults() == {}
    trail.seal()
    office.retire_key(app.Caller("test"), old)
    assert trail.faults() == {}
    trail.seal()
    assert (trail.faults(), trail.look().seals) == ({}, 3)
    first = trail.entries()[0]
    trail.records.commit([Update("_audit", first.key, {**first.value, "subject": "x"})])
    assert trail.faults() == {"changed": 1}


# ---- what comes late


def test_an_entry_that_is_committed_late_is_no_false_alarm(trail: Trail) -> None:
    trail.work(2)
    trail.after(1)
    late = trail.site.app.audit.insert(trail.entries()[-1].value)  # its commit takes long
    trail.after(1)
    trail.work(2)
    trail.seal()
    trail.work(1)
    trail.seal()
    trail.records.commit([late])
    assert (trail.faults(), trail.look().waiting) == ({}, 1)
    trail.seal(3600)
    assert (trail.faults(), trail.look().waiting) == ({}, 0)
    trail.seal(3 * 3600)
    trail.work(1)
    trail.seal(3 * 3600)
    assert trail.faults() == {}


def test_entries_of_the_last_moment_before_a_long_stop_are_taken_in(trail: Trail) -> None:
    trail.work(2)
    late = trail.site.app.audit.insert(trail.entries()[-1].value)
    trail.work(1)
    trail.job.end(trail.site.app)
    assert trail.look().waiting == 0
    trail.records.commit([late])  # by another worker, that ended last
    trail.after(20 * 3600)
    trail.job = trail.new_job()
    for _ in range(12):
        trail.work(1)
        trail.seal(3600)
    assert (trail.faults(), trail.look().waiting) == ({}, 0)


@pytest.mark.parametrize("jump", [-7200.0, 36_000.0, 400 * 86_400.0])
def test_a_clock_that_jumps_and_comes_back_raises_no_false_alarm(trail: Trail, jump: float) -> None:
    trail.work(3)
    trail.seal()
    trail.clock.now += jump
    for _ in range(4):
        trail.work(2)
        trail.seal(3600)
    assert trail.faults() == {}
    trail.clock.now -= jump
    for _ in range(8):
        trail.work(2)
        trail.seal(1800)
        assert trail.faults() == {}
    trail.seal()
    assert trail.look().waiting == 0
    first = trail.entries()[0]
    trail.records.commit([Delete("_audit", first.key)])
    assert trail.faults() == {"missing": 1}


def test_two_nodes_whose_clocks_differ_by_half_an_hour_raise_no_false_alarm(trail: Trail) -> None:
    def elsewhere(offset_s: float) -> None:
        offset_s += trail.passed / 1e6
        tick = int((trail.clock.now + offset_s) * 4096_000)
        key = f"{(tick >> 12) << 80 | 7 << 76 | (tick & 0xFFF) << 64 | 2 << 62 | tick:032x}"
        trail.records.commit([Insert("_audit", key, {**trail.entries()[0].value, "request_id": key})])

    for _ in range(40):
        trail.work(1)
        elsewhere(-1800)
        elsewhere(1800)
        trail.seal(600)
        assert trail.faults() == {}
    trail.seal(3600)
    trail.seal(3600)
    assert (trail.faults(), trail.look().waiting) == ({}, 0)


def test_of_two_that_seal_at_once_one_is_first_and_the_chain_stays_whole(trail: Trail) -> None:
    jobs = [trail.new_job() for _ in range(4)]
    failures: list[BaseException] = []

    def seal(job: Any) -> None:
        try:
            for _ in range(5):
                job.run(trail.site.app, STOP)
        except BaseException as error:
            failures.append(error)

    for _ in range(5):
        trail.work(2)
        trail.after(60)
        threads = [threading.Thread(target=seal, args=[job]) for job in jobs]
        for one in threads:
            one.start()
        for one in threads:
            one.join()
    assert failures == []
    assert (trail.faults(), trail.look().waiting) == ({}, 0)


def test_writers_that_race_with_the_sealing_lose_nothing(trail: Trail) -> None:
    over = threading.Event()
    token = trail.site.token("writer", "forms/leave:*")

    def write() -> None:
        while not over.is_set():
            trail.site.create("forms/leave", {"day": "x"}, by=token)

    threads = [threading.Thread(target=write) for _ in range(4)]
    for one in threads:
        one.start()
    try:
        while trail.records.count(Query("_audit")) < 60:
            trail.seal(11)
    finally:
        over.set()
        for one in threads:
            one.join()
    trail.seal(3600)
    found = trail.look()
    assert (found.counts, found.waiting) == ({}, 0)


# ---- size


def test_a_long_trail_is_sealed_in_blocks_and_each_later_one_costs_by_what_is_new(
    trail: Trail, monkeypatch: pytest.MonkeyPatch
) -> None:
    value = trail.entries()[0].value
    ids = app.new_ids(trail.clock.now, 2500)
    for at in range(0, 2500, 500):
        trail.records.commit([Insert("_audit", key, value) for key in ids[at : at + 500]])
    trail.seal()
    assert trail.look().seals == 3
    assert (trail.faults(), trail.look().waiting) == ({}, 0)
    read: list[int] = []
    real = trail.records.find

    def find(query: Query) -> app.Page:
        page = real(query)
        read.append(len(page.items))
        return page

    monkeypatch.setattr(trail.records, "find", find)
    trail.work(3)
    trail.seal()
    assert sum(read) < 20


def test_sealing_rests_as_long_as_a_few_entries_took(trail: Trail, monkeypatch: pytest.MonkeyPatch) -> None:
    now, stop = itertools.count(0.0, 0.01), threading.Event()
    rests: list[float] = []
    monkeypatch.setattr(seals, "_PAUSE_S", 0.05)
    monkeypatch.setattr(stop, "wait", rests.append)
    job = seals.Sealing({}, trail.site.app.config, lambda: next(now))
    assert list(job._rested(range(120), stop)) == list(range(120))
    assert rests == pytest.approx([0.01, 0.01])


def test_a_stop_in_the_middle_leaves_a_chain_that_goes_on(trail: Trail, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(seals, "MOST_ENTRIES", 3)
    trail.work(10)
    stop = threading.Event()
    monkeypatch.setattr(stop, "wait", lambda timeout_s: stop.set())
    trail.after(60)
    trail.job.run(trail.site.app, stop)
    assert (trail.look().seals, trail.faults()) == (1, {})
    trail.job = trail.new_job()
    trail.seal()
    assert (trail.faults(), trail.look().waiting) == ({}, 0)
    members = [key for seal in trail.chain().seals() for key, _ in seal.members]
    assert sorted(members) == [one.key for one in trail.entries()], "each once"


# ---- pruning, backups, copies


def test_a_pruned_trail_keeps_the_last_pruned_seal_as_its_start(trail_on: Callable[..., Trail]) -> None:
    trail = trail_on(more='[backup]\nto = "./kept"\n[audit]\nkeep = "30d"\n')
    config = trail.site.app.config
    pruning = app.plugin("audit_job").Audits(config.extensions["audit"], config)
    stores = app.plugin("backup_job").stores_of(config)

    def prune() -> None:
        found = {"good_at": trail.clock.now, "failures": 0, "stores": stores}
        trail.records.commit([Update("_settings", "backup", found, None)])
        pruning.run(trail.site.app, STOP)

    trail.records.commit([Insert("_settings", "backup", {})])
    for _ in range(30):
        trail.work(2)
        trail.seal()
    trail.seal(20 * 86_400)
    for _ in range(3):
        trail.work(2)
        trail.seal()
    trail.clock.now += 20 * 86_400 - 600
    watch = app.plugin("clock_watch").watch(trail.site.app)
    watch._believed = (trail.clock.now, watch._monotonic())  # the machine was off
    before, seals_before = len(trail.entries()), trail.look().seals
    prune()
    assert len(trail.entries()) < before - 50
    found = trail.look()
    assert (found.counts, found.seals) == ({}, seals_before - 30)
    trail.work(2)
    trail.seal()
    assert trail.faults() == {}
    first = trail.entries()[0]
    old = f"{int((trail.clock.now - 39 * 86_400) * 1000):012x}{first.key[12:]}"
    trail.records.commit([Insert("_audit", old, first.value)])
    assert trail.faults() == {"put in": 1}, "older than the beginning"
    trail.records.commit([Delete("_audit", old), Delete("_audit", first.key)])
    assert trail.faults() == {"missing": 1}
    trail.records.commit([Insert("_audit", first.key, first.value)])
    row = trail.records.get("_seals", "start")
    assert row
    trail.records.commit([Update("_seals", "start", {**row.value, "pruned": trail.entries()[-1].key})])
    assert "changed" in trail.faults(), "nobody else says that more was pruned"
    trail.records.commit([Delete("_seals", "start")])
    assert "missing" in trail.faults()


def test_pruning_that_is_broken_off_leaves_a_chain_that_can_be_verified(
    trail_on: Callable[..., Trail], monkeypatch: pytest.MonkeyPatch
) -> None:
    trail = trail_on()
    for _ in range(30):
        trail.work(1)
        trail.seal()
    chained, ids = trail.chain(), [one.key for one in trail.entries()]
    chained.begin_pruning(ids[20])
    trail.records.commit([Delete("_audit", key) for key in ids[:15]])
    assert trail.faults() == {}
    chained.forget(STOP)
    assert trail.faults() == {}
    trail.records.commit([Delete("_audit", key) for key in ids[15:20]])
    stop = threading.Event()
    stop.set()
    chained.forget(stop)
    assert trail.faults() == {}
    chained.forget(STOP)
    assert trail.faults() == {}
    assert trail.look().entries == len(ids) - 20


def test_what_is_pruned_while_it_is_verified_is_not_missing(trail: Trail, monkeypatch: pytest.MonkeyPatch) -> None:
    trail.work(9)
    trail.seal()
    ids, real = [one.key for one in trail.entries()], seals._look_at_seals

    def look(*given: Any) -> Any:
        found = real(*given)
        trail.chain().begin_pruning(ids[5])
        trail.records.commit([Delete("_audit", key) for key in ids[:5]])
        return found

    monkeypatch.setattr(seals, "_look_at_seals", look)
    assert trail.faults() == {}


def test_a_provider_that_is_away_keeps_no_other_from_being_sealed_and_is_logged_once(
    trail_on: Callable[..., Trail], monkeypatch: pytest.MonkeyPatch
) -> None:
    trail = trail_on(
        more='[providers.far]\nkind = "sql"\nurl = "sqlite:///far.db"\n[forms.other]\nprovider = "far"\n'
        '[forms.other.fields]\na = { type = "string" }\n[site]\nstate = "far"\n'
    )
    trail.site.create("forms/other", {"a": "x"})
    trail.work(2)
    far, main = seals.stores_of(trail.site.app)
    real = far.records.find

    def away(query: Query) -> app.Page:
        raise app.Unavailable("far is away")

    monkeypatch.setattr(far.records, "find", away)
    with pytest.raises(app.Unavailable):
        trail.seal()
    trail.seal()
    monkeypatch.setattr(far.records, "find", real)
    assert seals.verify(main).waiting == 0
    assert seals.verify(far).waiting > 0
    trail.seal()
    assert (seals.verify(far).waiting, seals.verify(far).counts) == (0, {})


@pytest.mark.parametrize("kind", KINDS)
def test_a_chain_that_was_backed_up_and_restored_can_be_verified(
    kind: str, trail_on: Callable[..., Trail], tmp_path: Path
) -> None:
    trail = trail_on(kind)
    trail.site.create("forms/leave", {"day": "1.50"})
    trail.work(5)
    trail.seal()
    trail.work(2)
    path = app.plugin("backup").make(trail.site.app, tmp_path / "kept", with_keys=True)
    app.plugin("backup").restore_into(path, tmp_path / "again", local=True)
    toml = (tmp_path / "again" / "app.toml").read_text()
    again = Site(tmp_path / "again", toml, clock=trail.clock)
    try:
        found = seals.verify(next(seals.stores_of(again.app)))
        assert (found.counts, found.seals) == ({}, 1)
        moved = Trail(again, trail.clock)
        moved.seal()
        moved.seal()
        assert (moved.faults(), moved.look().waiting) == ({}, 0)
        entry = moved.entries()[0]
        moved.records.commit([Update("_audit", entry.key, {**entry.value, "subject": "x"})])
        assert moved.faults() == {"changed": 1}
    finally:
        again.close()


def test_numbers_that_are_equal_count_as_the_same_however_a_provider_writes_them() -> None:
    def digest(text: str) -> bytes:
        value = app.load_json(text)
        assert isinstance(value, dict)
        return seals.digest_of(Record("k", 1, value))  # type: ignore[no-any-return]

    assert digest('{"a": 1.50, "b": [2, {"c": 1e3}]}') == digest('{"b": [2.0, {"c": 1000}], "a": 1.5}')
    assert len({digest(text) for text in ('{"a": 1}', '{"a": "1"}', '{"a": true}', '{"a": 1.1}', '{"a": null}', "{}")}) == 6


# ---- the commands


def test_the_command_says_up_to_when_it_is_sealed_and_its_exit_code_what_it_found(tmp_path: Path) -> None:
    shell = Shell(tmp_path)
    shell.write(MAIN + FORM + "[public]\ngrants = ['forms/leave:create']\n")
    shell.run("auth", "issue", "--subject", "ann", "--grant", "**:*")
    assert "nothing is sealed yet" in shell.run("info", "audit", "--verify")[0]
    server = Server(shell, "server", "--bind", "127.0.0.1:0")
    server.stop()
    told = shell.run("info", "audit", "--verify")[0]
    assert re.search(r"^main: \d+ entries, \d seals?: all is as it was sealed, up to 20\S+Z", told), told
    assert "sealed up to 20" in shell.run("info", "audit")[0]
    with closing(sqlite3.connect(tmp_path / "data" / "app.db")) as database:
        database.execute("update _audit set data = replace(data, '\"ann\"', '\"eve\"')")
        database.commit()
    told, _ = shell.run("info", "audit", "--verify", code=3)
    assert "main: changed: " in told
    assert "NOT what was sealed: 1 changed" in told
    facts = shell.json("info", "audit", "--verify", code=3)
    assert (facts["ok"], facts["providers"][0]["counts"]) == (False, {"changed": 1})
    [fault] = facts["providers"][0]["faults"]
    assert fault["what"] == "changed"
    assert "eve" in json.dumps(facts) or "issue" in fault["detail"]


def test_a_copy_to_another_provider_takes_the_chain_along(tmp_path: Path) -> None:
    shell = Shell(tmp_path)
    new = '[providers.new]\nkind = "file"\nroot = "data/new"\n'
    shell.write(
        MAIN + new + "[site]\nstate = 'main'\n" + FORM.replace("[forms", "[forms.leave]\nprovider = 'main'\n[forms", 1)
    )
    shell.run("auth", "issue", "--subject", "ann", "--grant", "**:*")
    server = Server(shell, "server", "--bind", "127.0.0.1:0")
    server.stop()
    assert shell.json("info", "audit", "--verify")["ok"]
    shell.run("server", "copy", "main", "new")
    shell.write('[providers.main]\nkind = "file"\nroot = "data/new"\n' + FORM)
    facts = shell.json("info", "audit", "--verify")
    assert facts["ok"]
    assert facts["providers"][0]["seals"] == 1
