"""Quota: what the files of a share may take together, whatever races, fails or ends in the middle."""

from __future__ import annotations

import base64
import os
import random
import signal
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, cast

import pytest
import test_matrix as matrix
from conftest import wait_for
from http_client import Server, serving
from sites import PROVIDERS, Site, Time

import app
from app import Action, AppError

quota, quota_count = app.plugin("quota"), app.plugin("quota_count")

SHARES = """[files.docs]
provider = "main"
prefix = "docs"
quota = "1000B"
[files.free]
provider = "main"
prefix = "free"
[files.whole]
provider = "main"
quota = "1500B"
[forms.claim]
[forms.claim.fields.note]
[forms.claim.fields.receipt]
format = "file"
files = "files/docs"
"""
TOML = f"""[site]
title = "Quota"
{SHARES}"""


@pytest.fixture(params=sorted({*matrix.PROVIDERS} - {"generic-json-server"}))  # that has no files at all
def site(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Site]:
    declared = matrix.PROVIDERS[request.param](tmp_path)
    forms_at = "state" if "[providers.state]" in declared else "main"  # where a service has no table for them
    toml = declared + SHARES.replace("[forms.claim]", f'[forms.claim]\nprovider = "{forms_at}"')
    whole = matrix.assemble(tmp_path, toml)
    assert whole.faults == whole.inspection.create()[1] == []
    whole.close()
    found = Site(tmp_path, toml)
    yield found
    found.app.close()


def share(site: Site, name: str = "docs") -> Any:
    return site.app.resources[f"files/{name}"]


def used(site: Site, name: str = "docs") -> int:
    """What is counted, which has to be what is there."""
    counted = quota.usage(share(site, name))
    there = sum(blob.size_bytes for blob in quota_count._files_of(share(site, name)))
    assert (counted.used_bytes, counted.reserved_bytes, counted.count) == (there, 0, None)
    assert not list(site.app.state.walk(app.Query(quota.TOUCHED)))
    return there


def refused(site: Site, address: str, body: bytes, **facts: Any) -> AppError:
    with pytest.raises(AppError) as caught:
        site.put(address, body=body, **facts)
    return caught.value


def test_the_difference_counts_and_what_is_deleted_is_given_back(site: Site) -> None:
    site.put("files/docs/a", body=b"x" * 600)
    assert used(site) == used(site, "whole") == 600
    site.put("files/docs/a", body=b"x" * 900)
    assert used(site) == 900
    error = refused(site, "files/docs/b", b"x" * 101)
    assert (error.status, error.code) == (507, "storage_full")
    assert error.report == {"quota": {"used_bytes": 900, "limit_bytes": 1000, "left_bytes": 100}}  # type: ignore[attr-defined]
    assert "100 bytes of 1 kB are left" in error.message
    site.put("files/docs/b", body=b"x" * 100)
    assert used(site) == 1000
    site.put("files/docs/a", body=b"x" * 10)
    site.delete("files/docs/b")
    assert used(site) == used(site, "whole") == 10
    assert site.read("files/docs/").table.facts == {"quota": {"used_bytes": 10, "limit_bytes": 1000}}  # type: ignore[union-attr]
    assert site.read("files/free/").table.facts == {}  # type: ignore[union-attr]


def test_a_share_within_another_counts_in_both(site: Site) -> None:
    site.put("files/free/a", body=b"x" * 1400)
    error = refused(site, "files/docs/a", b"x" * 101)
    assert "Whole has no room for this" in error.message
    site.put("files/docs/a", body=b"x" * 100)
    assert (used(site), used(site, "whole")) == (100, 1500)


def test_a_share_that_was_never_counted_is_counted_by_the_first_write(site: Site) -> None:
    for number in range(5):
        share(site).blobs.write(f"docs/{number}/f", [b"x" * 100])
    assert quota.usage(share(site)).used_bytes is None
    assert refused(site, "files/docs/b", b"x" * 501).status == 507
    site.put("files/docs/b", body=b"x" * 500)
    assert used(site) == 1000


def test_nothing_is_read_of_what_is_declared_too_long_nor_more_than_fits(site: Site) -> None:
    site.put("files/docs/a", body=b"x" * 900)
    read: list[int] = []

    def body() -> Iterator[bytes]:
        for number in range(100):
            read.append(number)
            yield b"x" * 60

    assert refused(site, "files/docs/b", cast(bytes, body()), body_bytes=6000).status == 507
    assert read == []
    assert refused(site, "files/docs/b", cast(bytes, body())).status == 507
    assert read == [0, 1]
    assert used(site) == 900
    site.put("files/docs/a", body=b"y" * 1000, body_bytes=1000)  # in place of what is there


def test_files_of_forms_count_and_go_with_their_records(site: Site) -> None:
    def receipt(size: int) -> dict[str, Any]:
        return {"note": "n", "receipt": {"name": "r.bin", "base64": base64.b64encode(b"x" * size).decode()}}

    made = site.create("forms/claim", receipt(700))
    assert used(site) == 700
    with pytest.raises(AppError) as caught:
        site.create("forms/claim", receipt(301))
    assert (caught.value.status, used(site)) == (507, 700)
    assert len(site.items("forms/claim/records")) == 1
    key = made.data["id"]
    site.put(f"forms/claim/records/{key}", receipt(200))
    assert used(site) == 200
    site.delete(f"forms/claim/records/{key}")
    assert used(site) == used(site, "whole") == 0


def test_a_write_that_fails_gives_back_what_was_reserved(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    site.put("files/docs/a", body=b"x" * 500)

    def guard() -> None:
        raise app.Unavailable("gone")

    with pytest.raises(app.Unavailable):
        site.ask(Action.UPDATE, "files/docs/b", body=b"x" * 500, guard=guard)
    assert used(site) == 500
    with pytest.raises(app.Unavailable):
        site.ask(Action.CREATE, "forms/claim", {"note": "n", "receipt": {"name": "r", "base64": "eHg="}}, guard=guard)
    assert used(site) == used(site, "whole") == 500


def test_below_what_is_used_reads_and_deletes_go_on(tmp_path: Path) -> None:
    before = Site(tmp_path, PROVIDERS["sql"] + TOML)
    before.put("files/docs/a", body=b"x" * 900)
    before.put("files/docs/b", body=b"x" * 100)
    before.app.close()
    site = Site(tmp_path, PROVIDERS["sql"] + TOML.replace("1000B", "500B"))
    assert site.bytes("files/docs/a") == b"x" * 900
    assert refused(site, "files/docs/c", b"x").status == 507
    assert "nothing more can be stored" in "".join(site.app.inspection.warnings())
    site.put("files/docs/a", body=b"x" * 800)  # less than it was
    site.delete("files/docs/a")
    site.put("files/docs/c", body=b"x" * 400)
    assert used(site) == 500
    site.app.close()


def test_racing_threads_never_go_over_and_the_count_is_right(site: Site) -> None:
    def put(number: int) -> int:
        try:
            site.put(f"files/docs/{number % 11}", body=b"x" * random.Random(number).randrange(50, 300))
        except quota.NoRoom:
            site.delete(f"files/docs/{number % 11}", params={})  # so that there is room again, in whatever order they come
            return 0
        if number % 5 == 0:
            site.delete(f"files/docs/{number % 11}", params={})
        return 1

    with ThreadPoolExecutor(8) as pool:
        done = list(pool.map(_quiet(put), range(60)))
    assert sum(done) > 10
    assert 0 < used(site) <= 1000
    assert used(site, "whole") == used(site)


def _quiet(put: Any) -> Any:
    """Two that delete the same file: one of them finds it."""

    def work(number: int) -> int:
        try:
            return int(put(number))
        except app.NotFound:
            return 1

    return work


def test_a_count_is_right_whatever_is_written_meanwhile(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(6):
        site.put(f"files/docs/{number}", body=b"x" * 100)
    files_of, at = quota_count._files_of, {2: "files/docs/0", 3: "files/docs/5"}

    def slowly(one: Any) -> Iterator[app.Blob]:
        for number, blob in enumerate(files_of(one)):
            if number in at:
                site.put(at.pop(number), body=b"x" * 150)  # one that was seen, and one that comes
            yield blob

    with monkeypatch.context() as patched:
        patched.setattr(quota_count, "_files_of", slowly)
        assert quota_count.count(site.app, share(site), lambda: False)
    assert at == {}
    assert used(site) == 700


def test_a_count_leaves_out_what_is_at_work_and_that_is_added_later(site: Site) -> None:
    site.put("files/docs/a", body=b"x" * 100)
    place = quota.Place(share(site).blobs, "docs/a", None, 50, (share(site),))
    hold = quota.Hold(site.app, [place])
    hold.take()
    share(site).blobs.write("docs/a", [b"x" * 150])
    assert quota_count.count(site.app, share(site), lambda: False)
    assert quota.usage(share(site)).used_bytes == 100
    hold.give(is_done=True)
    assert used(site) == 150


def test_other_programs_are_counted_once_a_day(tmp_path: Path) -> None:
    clock = Time()
    site = Site(tmp_path, PROVIDERS["file"] + TOML, clock=clock)
    site.put("files/docs/a", body=b"x" * 100)
    (tmp_path / "store/docs/b").write_bytes(b"x" * 300)
    job, stop = quota_count.QuotaCount({}, site.app.config), threading.Event()
    job.run(site.app, stop)
    assert quota.usage(share(site)).used_bytes == 100
    clock.now += 90_000
    job.run(site.app, stop)
    assert used(site) == 400
    assert "once a day" in "".join(site.app.inspection.warnings())
    site.app.close()


def test_what_cannot_be_listed_cannot_have_a_quota(tmp_path: Path) -> None:
    toml = PROVIDERS["sql"] + '[providers.web]\nkind = "generic"\nurl = "http://localhost:1/"\nblobs = "/{path}"\n'
    with pytest.raises(app.ConfigError) as caught:
        Site(tmp_path, toml + '[site]\nstate = "main"\n[files.docs]\nprovider = "web"\nquota = "1GB"\n')
    assert "can list" in str(caught.value.faults)


# ---- through a server


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    toml = PROVIDERS["file"] + TOML.replace("1000B", "1MB").replace("1500B", "9MB")
    (tmp_path / "app.toml").write_text(toml)
    return tmp_path


def listing(server: Server, token: dict[str, str]) -> int:
    facts = server.ask("GET", "/files/docs/", headers=token).json["quota"]
    assert facts["limit_bytes"] == 1_000_000
    return int(facts["used_bytes"])


def stored(folder: Path) -> int:
    return sum(one.stat().st_size for one in (folder / "store/docs").rglob("*") if one.is_file())


def kill(server: Server) -> None:
    """Ends the server and its workers at once, by kill -9."""
    pid = server.process.pid
    children = Path(f"/proc/{pid}/task/{pid}/children")
    pids = [pid, *map(int, (children.read_text() if children.exists() else "").split())]
    for one in pids:
        os.kill(one, signal.SIGKILL)
    server.process.wait()


def test_eight_racing_uploads_through_two_workers_fill_it_exactly(folder: Path) -> None:
    with serving(folder, "--workers", "2") as server:
        token = {"Authorization": f"Bearer {server.token()}"}

        def put(number: int) -> int:
            return server.ask("PUT", f"/files/docs/{number}", os.urandom(100_000), token).status

        with ThreadPoolExecutor(8) as pool:
            statuses = list(pool.map(put, range(24)))
        assert sorted(set(statuses)) == [201, 507]
        assert statuses.count(201) == 10
        assert listing(server, token) == stored(folder) == 1_000_000
        answer = server.ask("PUT", "/files/docs/more", b"x", token)
        assert answer.json["quota"]["left_bytes"] == 0


def test_after_kill_9_in_the_middle_it_is_right_again(folder: Path) -> None:
    with serving(folder, "--workers", "2") as server:
        token = {"Authorization": f"Bearer {server.token()}"}
        stop = threading.Event()

        def put(number: int) -> None:
            while not stop.is_set():
                try:
                    server.ask("PUT", f"/files/docs/{number}", os.urandom(random.randrange(1, 100_000)), token)
                except OSError:
                    return

        threads = [threading.Thread(target=put, args=[number]) for number in range(8)]
        for one in threads:
            one.start()
        wait_for(lambda: len(list((folder / "store/docs").glob("*"))) > 5, "uploads")
        kill(server)
        stop.set()
        for one in threads:
            one.join()
    with serving(folder, "--workers", "2") as server:
        token = {"Authorization": f"Bearer {server.token()}"}
        assert server.ask("PUT", "/files/docs/0", b"x" * 10, token).status in (200, 201)
        wait_for(lambda: listing(server, token) == stored(folder), "the count")
        assert server.ask("PUT", "/files/docs/8", b"x" * (1_000_000 - stored(folder)), token).status == 201
        assert listing(server, token) == 1_000_000
