"""plugins/tus.py: uploads that go on after whatever stopped them, by hand and by the official clients of the protocol."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import backends
import pytest
from conftest import PATIENCE_S, wait_for
from http_client import Reply, Site

import app

sys.path.insert(0, str(Path(__file__).parent))
sys.path.append(str(Path(__file__).parent / "bench"))
import test_matrix
from harness import watched

TUS = {"Tus-Resumable": "1.0.0"}
BYTES = TUS | {"Content-Type": "application/offset+octet-stream"}
tus = app.plugin("tus")


def pairs(**metadata: str) -> str:
    return ",".join(f"{name} {base64.b64encode(text.encode()).decode()}" for name, text in metadata.items())


class Clock:
    """A clock that runs, and can be put forward."""

    ahead_s = 0.0

    def __call__(self) -> float:
        return time.time() + self.ahead_s


class Client:
    """What a client of the protocol does, one request at a time."""

    def __init__(self, site: Site, token: str, folder: str = "/files/docs/") -> None:
        self.site, self.token, self.folder = site, token, folder

    def begin(self, size: int, name: str = "a.bin", body: bytes = b"", **more: str) -> Reply:
        metadata = {key: more.pop(key) for key in ("replace", "keep_both", "mtime") if key in more}
        headers = TUS | {"Upload-Length": str(size), "Upload-Metadata": pairs(filename=name, **metadata)} | more
        headers = BYTES | headers if body else headers
        return self.site.ask("POST", self.folder, body, headers, self.token)

    def begun(self, size: int, name: str = "a.bin", **more: str) -> str:
        reply = self.begin(size, name, **more)
        assert reply.status == 201, reply.text
        return reply["Location"]

    def send(self, place: str, at: int, body: bytes, **more: str) -> Reply:
        headers = BYTES | {"Upload-Offset": str(at)} | {name.replace("_", "-"): text for name, text in more.items()}
        return self.site.ask("PATCH", place, body, headers, self.token)

    def offset(self, place: str) -> int:
        reply = self.site.ask("HEAD", place, None, TUS, self.token)
        assert (reply.status, reply["Cache-Control"]) == (200, "no-store"), reply
        return int(reply["Upload-Offset"])


@pytest.fixture
def client(site: Site, staff: str) -> Client:
    return Client(site, staff)


@pytest.fixture
def each(site: Site, staff: str, share: str) -> Client:
    """For a share of a folder, and for one of a database."""
    return Client(site, staff, f"{share}/")


# ---- the protocol


def test_an_upload_goes_up_in_pieces_of_any_size_and_is_a_file_when_it_is_whole(each: Client) -> None:
    data = os.urandom(700_001)
    reply = each.begin(len(data), "deep/er/plan.bin", mtime="1700000000")
    place = reply["Location"]
    assert (reply.status, reply["Tus-Resumable"], bool(reply["Upload-Expires"])) == (201, "1.0.0", True)
    at = 0
    for size in (0, 1, 262_143, 262_145, 10, 175_702):
        sent = each.send(place, at, data[at : at + size])
        at += size
        assert (sent.status, sent["Upload-Offset"], sent["Tus-Resumable"]) == (204, str(at), "1.0.0")
        assert (each.offset(place), each.site.get(f"{each.folder}deep/er/plan.bin", each.token).status) == (
            at, 404 if at < len(data) else 200,
        )  # fmt: skip
    assert sent["Content-Location"] == f"{each.folder}deep/er/plan.bin"
    assert each.site.get(f"{each.folder}deep/er/plan.bin", each.token).body == data
    again = each.send(place, at, b"")
    assert (again.status, again["Upload-Offset"]) == (204, str(at))


def test_head_says_what_a_client_needs_to_go_on(client: Client) -> None:
    place = client.begin(100, body=b"12345")["Location"]
    reply = client.site.ask("HEAD", place, None, TUS, client.token)
    told = [reply[name] for name in ("Upload-Offset", "Upload-Length", "Upload-Metadata", "Tus-Resumable")]
    assert told == ["5", "100", pairs(filename="a.bin"), "1.0.0"]


def test_the_first_bytes_may_come_with_the_beginning_and_all_of_them_too(each: Client) -> None:
    assert each.begin(9, "part", b"hello")["Upload-Offset"] == "5"
    whole = each.begin(5, "whole", b"hello")
    assert (whole.status, whole["Upload-Offset"]) == (201, "5")
    empty = each.begin(0, "empty")
    assert (empty.status, each.offset(empty["Location"])) == (201, 0)
    assert [each.site.get(f"{each.folder}{name}", each.token).body for name in ("whole", "empty")] == [b"hello", b""]


@pytest.mark.parametrize("at", [0, 4, 6, 100])
def test_an_offset_that_lies_is_a_conflict_and_changes_nothing(each: Client, at: int) -> None:
    place = each.begin(10, body=b"01234")["Location"]
    assert each.send(place, at, b"XXXXX").status == 409
    assert each.offset(place) == 5
    assert each.send(place, 5, b"56789").status == 204
    assert each.site.get(f"{each.folder}a.bin", each.token).body == b"0123456789"
    assert each.send(place, 0, b"01234").status == 409


@pytest.mark.parametrize("body", [b"x" * 6, b"x" * 200_000])
def test_more_bytes_than_are_missing_are_refused(client: Client, body: bytes) -> None:
    place = client.begin(10, body=b"01234")["Location"]
    assert client.send(place, 5, body).status == 413
    assert client.offset(place) == 5
    assert client.send(place, 5, b"56789").status == 204


BAD = [
    (412, {"Tus-Resumable": "0.2.2"}),
    (400, {"Upload-Length": "-1"}),
    (400, {"Upload-Length": ""}),
    (400, {"Upload-Length": "1x"}),
    (400, {"Upload-Defer-Length": "1"}),
    (400, {"Upload-Concat": "partial"}),
    (400, {"Upload-Metadata": ""}),
    (400, {"Upload-Metadata": "filename"}),
    (400, {"Upload-Metadata": "filename ****"}),
    (400, {"Upload-Metadata": pairs(filename="a") + "," + pairs(filename="b")}),
    (400, {"Upload-Metadata": pairs(filename="../a")}),
    (400, {"Upload-Metadata": pairs(filename="a/../../b")}),
    (400, {"Upload-Metadata": pairs(filename="/etc/passwd")}),
    (400, {"Upload-Metadata": pairs(filename="a\r\nb")}),
    (400, {"Upload-Metadata": pairs(filename="con")}),
    (400, {"Upload-Metadata": pairs(filename="a", mtime="yesterday")}),
    (400, {"Upload-Metadata": pairs(filename="a", mtime="9" * 400)}),
    (400, {"Upload-Checksum": "crc32 AAAA"}),
    (413, {"Upload-Length": "1000001"}),
    (413, {"Upload-Length": "9" * 18}),
]


@pytest.mark.parametrize(("status", "headers"), BAD)
def test_a_beginning_that_is_wrong_is_refused(client: Client, status: int, headers: dict[str, str]) -> None:
    good = TUS | {"Upload-Length": "10", "Upload-Metadata": pairs(filename="a")}
    reply = client.site.ask("POST", "/files/docs/", b"", good | headers, client.token)
    assert reply.status == status, reply.text
    if status == 412:
        assert (reply["Tus-Version"], reply["Tus-Resumable"]) == ("1.0.0", "1.0.0")


def test_what_would_be_refused_in_the_end_is_refused_at_the_beginning(site: Site, client: Client) -> None:
    site.put("/files/docs/there", b"x", client.token)
    assert client.begin(5, "there").status == 409
    assert Client(site, client.token, "/files/pics/").begin(5, "a.exe").status == 415
    assert Client(site, client.token, "/files/nothing/").begin(5).status == 404
    reader = site.token("files/docs:read", subject="eve")
    assert Client(site, reader).begin(5).status == 403
    assert Client(site, "").begin(5).status == 401


def test_a_patch_of_another_type_or_version_or_nowhere_is_refused(site: Site, client: Client) -> None:
    place = client.begun(5)
    headers = {"Upload-Offset": "0", "Content-Type": "application/octet-stream"}
    assert site.ask("PATCH", place, b"12345", TUS | headers, client.token).status == 415
    for version in ({}, {"Tus-Resumable": "1.0.1"}):
        reply = site.ask(
            "PATCH", place, b"12345", {**BYTES, "Upload-Offset": "0", "Tus-Resumable": ""} | version, client.token
        )
        assert (reply.status, reply["Tus-Version"]) == (412, "1.0.0")
    assert site.ask("PATCH", place, b"12345", BYTES, client.token).status == 400
    assert site.ask("PATCH", "/tus/" + "x" * 32, b"1", BYTES | {"Upload-Offset": "0"}, client.token).status == 404
    assert site.ask("GET", place, None, TUS, client.token).status == 405
    assert site.ask("POST", place, b"", TUS, client.token).status == 405
    assert client.offset(place) == 0


@pytest.mark.parametrize("name", ["sha1", "sha256"])
def test_bytes_without_their_checksum_are_forgotten(each: Client, name: str) -> None:
    place = each.begin(10, body=b"01234")["Location"]
    good = base64.b64encode(hashlib.new(name, b"56789").digest()).decode()
    wrong = each.send(place, 5, b"5678X", Upload_Checksum=f"{name} {good}")
    assert (wrong.status, wrong.json["code"], each.offset(place)) == (460, "checksum_mismatch", 5)
    assert each.send(place, 5, b"56", Upload_Checksum=f"{name} {good}").status == 460
    for bad in ("md4 AAAA", f"{name} *"):
        assert each.send(place, 5, b"56789", Upload_Checksum=bad).status == 400
    assert each.send(place, 5, b"56789", Upload_Checksum=f"{name} {good}").status == 204
    assert each.site.get(f"{each.folder}a.bin", each.token).body == b"0123456789"


def test_a_program_without_patch_and_delete_says_them_in_a_header(site: Site, client: Client) -> None:
    place = client.begun(5)
    sent = site.ask("POST", place, b"12", BYTES | {"Upload-Offset": "0", "X-HTTP-Method-Override": "PATCH"}, client.token)
    assert (sent.status, sent["Upload-Offset"]) == (204, "2")
    ended = site.ask("POST", place, b"", TUS | {"X-HTTP-Method-Override": "DELETE"}, client.token)
    assert ended.status == 204
    assert site.ask("HEAD", place, None, TUS, client.token).status == 404


def staged(site: Site) -> list[str]:
    return os.listdir(site.folder / "disk" / ".satchel" / "staged")


def test_an_upload_that_is_ended_leaves_nothing(site: Site, client: Client) -> None:
    place = client.begin(10, body=b"01234")["Location"]
    assert len(staged(site)) == 1
    assert site.ask("DELETE", place, None, TUS, client.token).status == 204
    assert [site.ask(one, place, None, BYTES, client.token).status for one in ("HEAD", "PATCH", "DELETE")] == [404] * 3
    assert (staged(site), site.get("/files/docs/a.bin", client.token).status) == ([], 404)


def test_options_say_what_is_offered_and_the_size_only_to_whoever_may_send(site: Site, client: Client) -> None:
    for place in ("/files/docs/", "/files/docs/some/folder", "/tus/x"):
        reply = site.ask("OPTIONS", place, None, {}, client.token)
        assert (reply.status, reply["Tus-Version"], reply["Tus-Checksum-Algorithm"]) == (204, "1.0.0", "sha1,sha256")
        assert reply["Tus-Extension"] == "creation,creation-with-upload,expiration,checksum,termination"
    assert site.ask("OPTIONS", "/files/docs/", None, {}, client.token)["Tus-Max-Size"] == "1000000"
    assert dict(site.ask("OPTIONS", "/files/docs/").headers).get("Tus-Max-Size") is None
    assert dict(site.ask("OPTIONS", "/forms/leave").headers).get("Tus-Version") is None


def test_an_upload_expires_and_is_swept_with_its_bytes(site: Site, client: Client) -> None:
    clock = site.app.clock = Clock()
    place = client.begin(10, body=b"01234")["Location"]
    clock.ahead_s = 86_000
    site.app.authority.clock = time.time
    assert site.ask("HEAD", place, None, TUS, client.token).status == 410
    assert client.send(place, 5, b"56789").status == 410
    tus.forget(site.app, clock())
    assert (staged(site), site.ask("HEAD", place, None, TUS, client.token).status) == ([], 404)


# ---- whose it is


def test_an_upload_goes_on_with_another_token_of_the_same_subject_and_with_nobody_elses(site: Site, client: Client) -> None:
    place = client.begin(10, body=b"01234")["Location"]
    for token, status in [
        (site.token("files/docs:create", subject="eve"), 404),
        (site.token("files/docs:read"), 403),
        ("", 401),
        ("not.a.token", 401),
    ]:
        other = Client(site, token)
        assert other.send(place, 5, b"56789").status == status
        assert site.ask("HEAD", place, None, TUS, token).status == status
        assert site.ask("DELETE", place, None, TUS, token).status == status
    assert Client(site, site.token("files/docs:create")).send(place, 5, b"56789").status == 204


def overtaken(each: Client, other: bytes = b"mine") -> str:
    """An upload that is whole, and has its name taken by another file."""
    place = each.begin(10, body=b"01234")["Location"]
    each.site.put(f"{each.folder}a.bin", other, each.token)
    refused = each.send(place, 5, b"56789")
    assert (refused.status, refused.json["upload"]) == (409, {"address": place.strip("/"), "offset": 9})
    return place


def test_a_file_that_came_meanwhile_stays_and_the_upload_waits_until_the_name_is_free(each: Client) -> None:
    place = overtaken(each)
    assert each.offset(place) == 9
    assert each.send(place, 5, b"56789").status == 409
    assert each.site.get(f"{each.folder}a.bin", each.token).body == b"mine"
    [item] = each.site.get("/tus", each.token).json["items"]
    assert item["address"] == place.strip("/")
    each.site.ask("DELETE", f"{each.folder}a.bin", None, {}, each.token)
    done = each.send(place, 9, b"9")
    assert (done.status, done["Upload-Offset"], done["Content-Location"]) == (204, "10", f"{each.folder}a.bin")
    assert each.site.get(f"{each.folder}a.bin", each.token).body == b"0123456789"
    assert each.send(place, 9, b"9").status == 409


def test_head_finishes_what_waited_for_its_name(each: Client) -> None:
    place = overtaken(each, b"abcdefghij")
    assert each.offset(place) == 9, "a file of the same size is not the one that was sent"
    each.site.ask("DELETE", f"{each.folder}a.bin", None, {}, each.token)
    assert each.offset(place) == 10
    assert each.site.get(f"{each.folder}a.bin", each.token).body == b"0123456789"


@pytest.mark.parametrize(("wish", "name"), [("keep_both", "a%20%282%29.bin"), ("replace", "a.bin")])
def test_the_last_request_may_say_what_becomes_of_a_file_that_came_meanwhile(each: Client, wish: str, name: str) -> None:
    place = overtaken(each)
    done = each.send(place, 9, b"9", Upload_Metadata=pairs(**{wish: "1"}))
    assert (done.status, done["Content-Location"]) == (204, f"{each.folder}{name}")
    assert each.site.get(f"{each.folder}{name}", each.token).body == b"0123456789"
    assert each.site.get(f"{each.folder}a.bin", each.token).body == (b"mine" if wish == "keep_both" else b"0123456789")


def test_whoever_may_only_create_replaces_nothing_by_saying_so(each: Client) -> None:
    creator = Client(each.site, each.site.token(f"{each.folder.strip('/')}:create,read"), each.folder)
    place = creator.begin(10, body=b"01234")["Location"]
    each.site.put(f"{each.folder}a.bin", b"mine", each.token)
    assert creator.send(place, 5, b"56789", Upload_Metadata=pairs(replace="1")).status in (403, 412)
    assert each.site.get(f"{each.folder}a.bin", each.token).body == b"mine"


def test_what_waits_for_its_name_can_be_given_up(site: Site, client: Client) -> None:
    place = overtaken(client)
    assert len(staged(site)) == 1
    assert site.ask("DELETE", place, None, TUS, client.token).status == 204
    assert staged(site) == []


def test_an_upload_that_is_refused_at_once_is_kept_for_nobody(
    site: Site, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tus, "_check_new", lambda *_: None)  # the name is taken between this and the end
    site.put("/files/docs/a.bin", b"mine", client.token)
    assert client.begin(5, body=b"01234").status == 409
    assert (staged(site), site.get("/tus", client.token).json["items"]) == ([], [])


def test_metadata_says_to_replace_a_file_or_to_keep_both(each: Client) -> None:
    each.site.put(f"{each.folder}a.txt", b"one", each.token)
    both = each.begin(3, "a.txt", b"two", keep_both="1")
    assert (both.status, both["Content-Location"]) == (201, f"{each.folder}a%20%282%29.txt")
    assert each.begin(5, "a.txt", b"three", replace="1").status == 201
    found = [each.site.get(f"{each.folder}{name}", each.token).text for name in ("a.txt", "a%20(2).txt")]
    assert found == ["three", "two"]
    creator = Client(each.site, each.site.token(f"{each.folder.strip('/')}:create", subject="eve"), each.folder)
    assert creator.begin(5, "a.txt", replace="1").status == 403


def test_each_upload_is_in_the_audit_trail_once(site: Site, client: Client) -> None:
    place = client.begin(10, body=b"01234")["Location"]
    client.send(place, 5, b"56789")
    client.send(place, 10, b"")
    items = site.get("/admin/audit?resource=files/docs/a.bin", site.token("**:*")).json["items"]
    told = [(one["action"], one["outcome"], (one.get("after") or {}).get("sha256")) for one in items]
    assert sorted(set(told)) == [("create", one, hashlib.sha256(b"0123456789").hexdigest()) for one in ("intent", "ok")]
    assert len(items) == 2


def test_a_file_from_before_1970_goes_up_and_nothing_is_added_behind_its_end(site: Site, client: Client) -> None:
    for then in ("-2082844800000", "1965-03-01T00:00:00Z"):
        place = client.begun(2, f"{then[:4]}.tif", mtime=then)
        assert client.send(place, 0, b"ab").status == 204
        assert site.get(f"/files/docs/{then[:4]}.tif", client.token)["Last-Modified"] == "Thu, 01 Jan 1970 00:00:00 GMT"
        assert (client.send(place, 2, b"c").status, client.send(place, 2, b"").status) == (413, 204)


def test_whoever_is_signed_in_finds_the_uploads_that_can_go_on(site: Site, client: Client) -> None:
    place = client.begin(10, "deep/a.bin", b"01234", mtime="1700000000")["Location"]
    client.begin(5, "done", b"01234")
    Client(site, site.token("files/docs:create", subject="eve")).begin(10, "other", b"01234")
    [item] = site.get("/tus", client.token).json["items"]
    told = [item[name] for name in ("address", "resource", "name", "size_bytes", "offset", "modified_at")]
    assert told == [place.lstrip("/"), "files/docs", "deep/a.bin", 10, 5, 1700000000.0]
    assert site.get("/tus").status == 401


# ---- what was sent, in one number


def test_a_digest_goes_on_in_another_process_wherever_it_stopped() -> None:
    resumed, data, at, state = app.plugin("resumed_digest").resumed, bytearray(os.urandom(300_000)), 0, ""
    for size in (1, 63, 64, 65, 0, 100_000, 199_807):
        digest = resumed(state, at)
        digest.update(memoryview(data)[at : at + size])
        at, state = at + size, digest.state
    assert (at, digest.hexdigest()) == (len(data), hashlib.sha256(data).hexdigest())
    for other, size in (("", at), ("zz", at), (state[:-2], at), (state, at - 1), ("00" * 112, at)):
        assert resumed(other, size) is None


def test_without_the_library_a_digest_is_that_of_what_comes_in_one_go(monkeypatch: pytest.MonkeyPatch) -> None:
    plugin = app.plugin("resumed_digest")
    monkeypatch.setattr(plugin, "_library", lambda: None)
    digest = plugin.resumed("", 0)
    digest.update(memoryview(bytearray(b"abc")))
    assert (digest.state, digest.hexdigest()) == ("", hashlib.sha256(b"abc").hexdigest())
    assert plugin.resumed("00" * 112, 3) is None


# ---- several at once, and what breaks


def test_of_two_requests_for_one_upload_one_sends(site: Site, client: Client) -> None:
    place = client.begin(10, body=b"01234")["Location"]
    [record] = site.app.state.walk(app.Query("_uploads"))
    upload = tus.Upload(site.app, site.app.resources["files/docs"], record)
    upload.hold()
    reply = client.send(place, 5, b"56789")
    assert (reply.status, reply.json["code"]) == (423, "locked")
    assert int(reply["Retry-After"]) >= 1
    upload.let_go()
    assert client.send(place, 5, b"56789").status == 204


def test_of_racing_requests_for_one_upload_each_byte_counts_once(site: Site, client: Client) -> None:
    data = os.urandom(400_000)
    place = client.begun(len(data))
    statuses: list[int] = []

    def send() -> None:
        statuses.append(client.send(place, 0, data).status)

    threads = [threading.Thread(target=send) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert statuses.count(204) == 1
    assert set(statuses) <= {204, 409, 423}
    assert site.get("/files/docs/a.bin", client.token).body == data


def test_what_takes_long_to_be_stored_is_held_until_it_is(
    site: Site, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(app.plugin("at_work"), "_EVERY_S", 0.01)
    clock = site.app.clock = Clock()
    place = client.begin(10, body=b"01234")["Location"]
    blobs, statuses = site.app.resources["files/docs"].blobs, []  # type: ignore[attr-defined]
    publish = blobs.publish

    def held_until() -> float:
        [record] = site.app.state.walk(app.Query("_uploads"))
        return float(record.value["held_until"])

    def slow(*args: Any, **facts: Any) -> Any:
        clock.ahead_s += 1.1 * tus.FINISH_S
        wait_for(lambda: held_until() > clock(), "the hold")
        statuses.append(site.ask("HEAD", place, None, TUS, client.token).status)
        return publish(*args, **facts)

    monkeypatch.setattr(blobs, "publish", slow)
    assert (client.send(place, 5, b"56789").status, statuses) == (204, [423])


def test_an_upload_whose_server_died_between_publishing_and_saying_so_is_done(each: Client) -> None:
    place = each.begin(10, body=b"01234")["Location"]
    note = tus.Upload.note

    def dies(self: Any, **facts: Any) -> None:
        if facts.get("done"):
            raise KeyboardInterrupt
        note(self, **facts)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tus.Upload, "note", dies)
        with pytest.raises(KeyboardInterrupt):
            raise_in(each, place)
    [record] = each.site.app.state.walk(app.Query("_uploads"))
    each.site.app.state.commit([app.Update("_uploads", record.key, {**record.value, "held_until": 0.0})])
    assert record.value["offset"] == 5
    assert each.offset(place) == 10
    assert each.site.get(f"{each.folder}a.bin", each.token).body == b"0123456789"


def raise_in(client: Client, place: str) -> None:
    """The last bytes, with what would end the server left to go through."""
    head = app.Head("PATCH", place, "1.1", {
        "host": "localhost", "tus-resumable": "1.0.0", "content-type": BYTES["Content-Type"], "upload-offset": "5",
        "content-length": "5", "authorization": f"Bearer {client.token}",
    })  # fmt: skip
    connection = type("Ends", (), {"peer": "127.0.0.1", "scheme": "http", "body": Body(b"56789")})()
    exchange = app.Exchange(head, connection, client.site.runner.door, "1")
    tus.Tus({}, client.site.app.config).answer(exchange, client.site.app)


class Body:
    """The bytes of a request; what is cut off ends with an error."""

    def __init__(self, data: bytes, size: int | None = None) -> None:
        self.data, self.size_bytes = data, len(data) if size is None else size

    def read(self, size: int, until_s: float) -> bytes:
        found, self.data = self.data[:size], self.data[size:]
        return found


# ---- every provider

KINDS = ["sql", "file", "postgres", "aws", "generic", "generic-nginx"]
SHARE = '[files.docs]\nprovider = "main"\nprefix = "docs/"\nmax_file = "200MB"\n'


@pytest.fixture(params=KINDS)
def anywhere(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Client]:
    found = Site(tmp_path, edit=lambda _: test_matrix.PROVIDERS[request.param](tmp_path) + SHARE)
    for name, provider in found.app.providers.items():
        provider.create(found.app.needed().get(name, {}))
    yield Client(found, found.token("**:*"))
    found.close()


def full(*_: Any, **__: Any) -> None:
    raise app.StorageFull("there is no room")


def test_parts_lie_in_every_kind_of_provider(anywhere: Client) -> None:
    data = os.urandom(21_000_007)
    place = anywhere.begun(len(data), "big.bin", mtime="1700000000")
    at = 0
    for size in (3_000_000, 6_000_000, 11, 11_000_000, 999_996):
        assert anywhere.send(place, at, data[at : at + size]).status == 204
        at += size
        assert anywhere.offset(place) == at
    assert anywhere.site.get("/files/docs/big.bin", anywhere.token).body == data
    trail = anywhere.site.get("/admin/audit?resource=files/docs/big.bin", anywhere.token).json["items"]
    assert {one["after"]["sha256"] for one in trail} == {hashlib.sha256(data).hexdigest()}
    empty = anywhere.begin(0, "empty.bin")
    assert (empty.status, anywhere.site.get("/files/docs/empty.bin", anywhere.token).body) == (201, b"")
    both = anywhere.begin(4, "big.bin", b"more", keep_both="1")
    assert (both.status, both["Content-Location"]) == (201, "/files/docs/big%20%282%29.bin")
    for wish, status in (("keep_both", 409 if "aws" in anywhere.site.app.providers["main"].kind else 204), ("replace", 204)):
        other = anywhere.begin(4, f"{wish}.bin", b"so")["Location"]
        anywhere.site.put(f"/files/docs/{wish}.bin", b"none", anywhere.token)
        assert anywhere.send(other, 2, b"me").status == 409
        assert anywhere.offset(other) == 3
        assert anywhere.send(other, 3, b"e", Upload_Metadata=pairs(**{wish: "1"})).status == status
    assert anywhere.site.get("/files/docs/replace.bin", anywhere.token).body == b"some"
    blobs = anywhere.site.app.resources["files/docs"].blobs  # type: ignore[attr-defined]
    for wish in ({"keep_both": "1"}, {}):
        again = anywhere.begin(6_000_000, f"again {len(wish)}", **wish)["Location"]
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(blobs, "publish", full)
            assert anywhere.send(again, 0, data[:6_000_000]).status == 507
        assert anywhere.send(again, 5_999_999, data[5_999_999:6_000_000]).status == 204
        found = anywhere.site.get(f"/files/docs/again%20{len(wish)}", anywhere.token)
        assert found.body == data[:6_000_000]
    gone = anywhere.begin(40, "gone.bin", b"some")["Location"]
    assert anywhere.site.ask("DELETE", gone, None, TUS, anywhere.token).status == 204


# ---- real servers and the official clients

CONFIG = """
[http]
bind = "127.0.0.1:PORT"
workers = 1
[files.docs]
provider = "main"
prefix = "docs/"
max_file = "200MB"
"""
SIZE = 50_000_000


class Served:
    """A server that can be killed and started again at its address."""

    def __init__(self, folder: Path, kind: str, more: str = "") -> None:
        """`more` are further settings of its share."""
        self.folder, self.port = folder, backends.free_port()
        toml = test_matrix.PROVIDERS[kind](folder)
        (folder / "app.toml").write_text(CONFIG.replace("PORT", str(self.port)) + more + toml)
        self.process: subprocess.Popen[bytes] | None = None
        if kind == "aws":
            self.command("server", "check", "--create")
        self.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        command = [*backends.SATCHEL, "server"]
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(command, cwd=self.folder, stderr=log, start_new_session=True)
        wait_for(lambda: backends.listens(self.port), "the server")

    def kill(self) -> None:
        """End every process of it at once."""
        assert self.process
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait(PATIENCE_S)
        wait_for(lambda: not backends.listens(self.port), "the end of the server")

    def token(self) -> str:
        return self.command("auth", "issue", "--subject", "ann", "--grant", "**:*", "--expires", "1h")

    def revoke(self, token: str) -> None:
        self.command("auth", "revoke", json.loads(base64.urlsafe_b64decode(token.split(".")[1] + "=="))["jti"])

    def command(self, *args: str) -> str:
        command = [*backends.SATCHEL, *args]
        return subprocess.run(command, cwd=self.folder, check=True, capture_output=True, text=True).stdout.strip()

    def status(self, token: str) -> int:
        asked = urllib.request.Request(f"{self.url}/me", headers={"Authorization": f"Bearer {token}"})
        try:
            with urllib.request.urlopen(asked) as answer:
                return int(answer.status)
        except urllib.error.HTTPError as error:
            return error.code

    def fetch(self, token: str, name: str) -> str:
        """The SHA-256 of a file."""
        asked = urllib.request.Request(f"{self.url}/files/docs/{name}", headers={"Authorization": f"Bearer {token}"})
        digest = hashlib.sha256()
        with urllib.request.urlopen(asked) as answer:
            while chunk := answer.read(1 << 20):
                digest.update(chunk)
        return digest.hexdigest()


TUS_JS = """
const fs = require("fs");
const tus = require(process.argv[2] + "/node_modules/tus-js-client");
const [, , , url, path, tokens] = process.argv;
const stream = fs.createReadStream(path);
let told = 0;
new tus.Upload(stream, {
  endpoint: url, uploadSize: fs.statSync(path).size, chunkSize: 5000000, metadata: { filename: "deep/js.bin" },
  retryDelays: Array(200).fill(200),
  onBeforeRequest: (request) => request.setHeader("Authorization", "Bearer " + fs.readFileSync(tokens, "utf8")),
  onShouldRetry: () => true,
  onChunkComplete: (size, done) => {
    if (told === 0 && done >= 10000000) { told = 1; console.log("some"); }
    if (told === 1 && done >= 30000000) { told = 2; console.log("most"); fs.readSync(0, Buffer.alloc(1)); }
  },
  onError: (error) => { console.log("failed", String(error)); process.exit(1); },
  onSuccess: () => console.log("done"),
}).start();
"""

TUSPY = """
import pathlib, sys, time
from tusclient import client, exceptions
_, url, path, tokens = sys.argv
made = client.TusClient(url, headers={"Authorization": "Bearer " + pathlib.Path(tokens).read_text()})
uploader = made.uploader(path, chunk_size=5_000_000, metadata={"filename": "deep/py.bin"})
told = ""
while uploader.offset < uploader.stop_at if uploader.stop_at else uploader.offset < uploader.get_file_size():
    try:
        made.set_headers({"Authorization": "Bearer " + pathlib.Path(tokens).read_text()})
        uploader.upload_chunk()
    except Exception:
        time.sleep(0.2)
        try:
            uploader.offset = uploader.get_offset() if uploader.url else 0
        except Exception:
            pass
    if not told and uploader.offset >= 10_000_000:
        told = "some"
        print(told, flush=True)
    if told == "some" and uploader.offset >= 30_000_000:
        told = "most"
        print(told, flush=True)
        sys.stdin.read(1)
print("done", flush=True)
"""


def js_client(folder: Path, *args: str) -> list[str]:
    tool = backends.tool("tus-js-client", "node_modules/tus-js-client").parents[1]
    script = folder / "client.cjs"
    script.write_text(TUS_JS)
    return [backends.program("node"), str(script), str(tool), *args]


def py_client(folder: Path, *args: str) -> list[str]:
    script = folder / "client.py"
    script.write_text(TUSPY)
    return [str(backends.tool("tuspy", "bin/python")), str(script), *args]


CLIENTS = [
    (js_client, "js.bin", "file"), (js_client, "js.bin", "aws"),
    (py_client, "py.bin", "sql"), (py_client, "py.bin", "postgres"), (py_client, "py.bin", "generic-nginx"),
]  # fmt: skip


@pytest.mark.parametrize(("client_of", "name", "kind"), CLIENTS, ids=lambda one: getattr(one, "__name__", one))
def test_official_clients_go_on_after_kill_9_of_the_server_and_the_end_of_their_token(
    tmp_path: Path, client_of: Callable[..., list[str]], name: str, kind: str
) -> None:
    data, tokens = tmp_path / "sent", tmp_path / "token"
    data.write_bytes(os.urandom(1_000_000) * (SIZE // 1_000_000))
    served = Served(tmp_path, kind)
    try:
        tokens.write_text(first := served.token())
        command = client_of(tmp_path, f"{served.url}/files/docs/", str(data), str(tokens))
        pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
        with subprocess.Popen(command, cwd=tmp_path, text=True, **pipes) as client:
            assert client.stdout
            assert client.stdin
            assert client.stdout.readline() == "some\n"
            served.kill()
            served.start()
            assert client.stdout.readline() == "most\n"
            served.revoke(first)
            wait_for(lambda: served.status(first) == 401, "the end of the token")
            client.stdin.write("x")
            client.stdin.flush()
            tokens.write_text(second := served.token())
            assert client.stdout.readline() == "done\n"
        with data.open("rb") as file:
            assert served.fetch(second, f"deep/{name}") == hashlib.file_digest(file, "sha256").hexdigest()
    finally:
        served.kill()


@pytest.mark.parametrize("kind", ["file", "sql"])
def test_what_is_sent_takes_memory_only_while_it_waits(tmp_path: Path, kind: str) -> None:
    served, piece = Served(tmp_path, kind), os.urandom(1_000_000) * 24
    signed = TUS | {"Authorization": f"Bearer {served.token()}"}

    def ask(method: str, place: str, body: bytes, headers: dict[str, str]) -> Any:
        asked = urllib.request.Request(served.url + place, body, signed | headers, method=method)
        with urllib.request.urlopen(asked) as answer:
            return answer.headers

    def send(count: int) -> None:
        begin = {"Upload-Length": str(len(piece) * count), "Upload-Metadata": pairs(filename=f"{count}.bin")}
        place = ask("POST", "/files/docs/", b"", begin)["Location"]
        for number in range(count):
            ask("PATCH", place, piece, BYTES | {"Upload-Offset": str(number * len(piece))})

    try:
        assert served.process
        send(1)  # whatever a first upload brings into memory
        with watched(served.process.pid) as found:
            send(6)
        assert max(found) - found[0] < 25
    finally:
        served.kill()
