"""Folders as archives: what goes into one and what does not, read back by programs of others."""

from __future__ import annotations

import io
import os
import struct
import subprocess
import zipfile
import zlib
from collections.abc import Iterator
from datetime import UTC
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
from http_client import PAGE, Reply, Site

import app

TREE = {
    "plan.txt": b"plan " * 5000,
    "2026/é ü.txt": b"umlauts",
    "2026/deep/er/a,b & c.csv": b"1;2\r\n",
    '2026/a: "b"?*.txt': b"no name for Windows",
    "2026/photo.jpg": os.urandom(90_000),
    "none": b"",
}


@pytest.fixture
def root(site: Site) -> str:
    return site.token("**:*")


def filled(site: Site, share: str, tree: dict[str, bytes] = TREE) -> None:
    """Some of the names are refused by the door: another program made those."""
    for name, content in tree.items():
        blobs_of(site, share).write(f"{share.rpartition('/')[2]}/{name}", [content])


def blobs_of(site: Site, share: str) -> Any:
    return site.app.resources[share.removeprefix("/")].blobs  # type: ignore[attr-defined]


def opened(reply: Reply) -> zipfile.ZipFile:
    assert reply.status == 200, reply.text
    found = zipfile.ZipFile(io.BytesIO(reply.body))
    assert found.testzip() is None
    return found


def contents(reply: Reply) -> dict[str, bytes]:
    archive = opened(reply)
    return {name: archive.read(name) for name in archive.namelist()}


# ---- what is in it


def test_a_folder_is_zipped_with_all_below_it_on_every_kind_of_provider(site: Site, share: str, root: str) -> None:
    filled(site, share)
    reply = site.get(f"{share}/?_zip=1", root)
    assert contents(reply) == TREE
    assert reply["Content-Type"] == "application/zip"
    name = share.rpartition("/")[2]
    assert reply["Content-Disposition"] == f"attachment; filename=\"{name}.zip\"; filename*=UTF-8''{name}.zip"
    assert "Content-Length" not in dict(reply.headers)
    inner = site.get(f"{share}/2026?_zip=1", root)
    assert contents(inner) == {one.removeprefix("2026/"): text for one, text in TREE.items() if one.startswith("2026/")}
    assert "filename*=UTF-8''2026.zip" in inner["Content-Disposition"]
    assert contents(site.get(f"{share}/2026/deep/", root, Accept="application/zip")) == {"er/a,b & c.csv": b"1;2\r\n"}
    assert site.ask("HEAD", f"{share}/?_zip=1", None, {}, root).body == b""


def test_a_program_of_others_takes_it_apart(site: Site, share: str, root: str, tmp_path: Path) -> None:
    filled(site, share)
    archive = tmp_path / "all.zip"
    archive.write_bytes(site.get(f"{share}/?_zip=1", root).body)
    target = tmp_path / "out"
    subprocess.run(["unzip", "-q", str(archive), "-d", str(target)], check=True, env=os.environ | {"LC_ALL": "C.UTF-8"})
    found = {str(one.relative_to(target)): one.read_bytes() for one in target.rglob("*") if one.is_file()}
    assert found == TREE
    blob = blobs_of(site, share).stat(f"{share.rpartition('/')[2]}/plan.txt")
    assert int((target / "plan.txt").stat().st_mtime) == int(blob.modified_at)


def test_a_reader_that_cannot_seek_finds_the_end_of_each_file(site: Site, root: str) -> None:
    filled(site, "/files/docs")
    left, found = site.get("/files/docs/?_zip=1", root).body, {}
    while left.startswith(b"PK\3\4"):
        _, flags, method = struct.unpack_from("<3H", left, 4)
        name_bytes, extra_bytes = struct.unpack_from("<2H", left, 26)
        name = left[30 : 30 + name_bytes].decode()
        assert (flags, method) == (0x0808, 8)
        packed = left[30 + name_bytes + extra_bytes :]
        reader = zlib.decompressobj(-zlib.MAX_WBITS)
        found[name] = reader.decompress(packed)
        behind = reader.unused_data
        assert struct.unpack_from("<4s3L", behind) == (
            b"PK\7\x08", zlib.crc32(found[name]), len(packed) - len(behind), len(found[name]),
        )  # fmt: skip
        left = behind[16:]
    assert found == TREE
    assert left.startswith(b"PK\1\2")


def test_a_selection_is_what_is_named_whatever_is_in_its_names(site: Site, share: str, root: str) -> None:
    odd = {"a,b": b"comma", "a": b"other", "x\ny": b"line", "sub,folder/in": b"inside", "b": b"not wanted"}
    filled(site, share, odd)
    asked = urlencode([("_zip", 1), *[("_name", one) for one in ("a,b", "x\ny", "sub,folder", "a,b")]])
    found = contents(site.get(f"{share}/?{asked}", root))
    assert found == {one: odd[one] for one in ("a,b", "x\ny", "sub,folder/in")}
    alone = site.get(f"{share}/?_zip=1&_name=sub%2Cfolder", root)
    assert "filename*=UTF-8''sub%2Cfolder.zip" in alone["Content-Disposition"]


def test_folders_without_files_are_in_it(site: Site, share: str, root: str) -> None:
    filled(site, share, {"a/b/file": b"1", "z": b"2"})
    prefix = share.rpartition("/")[2]
    for one in ("a/empty", "a/b/two/three", "last"):
        blobs_of(site, share).make_folder(f"{prefix}/{one}")
    found = opened(site.get(f"{share}/?_zip=1", root))
    assert sorted(found.namelist()) == ["a/b/file", "a/b/two/three/", "a/empty/", "last/", "z"]
    assert found.getinfo("last/").is_dir()
    assert contents(site.get(f"{share}/?_zip=1&_name=last&_name=z", root)) == {"last/": b"", "z": b"2"}
    assert contents(site.get(f"{share}/last/?_zip=1", root)) == {}


def test_a_link_that_leads_above_itself_ends(site: Site, root: str) -> None:
    filled(site, "/files/docs", {"a/file": b"1", "b/x": b"2"})
    (site.folder / "disk/docs/a/loop").symlink_to("..")
    (site.folder / "disk/docs/a/again").symlink_to("../a")
    assert {name: text for name, text in contents(site.get("/files/docs/?_zip=1", root)).items() if text} == {
        "a/file": b"1",
        "b/x": b"2",
    }


def test_times_and_kinds_are_kept(site: Site, share: str, root: str) -> None:
    filled(site, share)
    found = opened(site.get(f"{share}/?_zip=1", root))
    packed, as_it_is = found.getinfo("plan.txt"), found.getinfo("2026/photo.jpg")
    assert packed.compress_size < packed.file_size / 20
    assert as_it_is.file_size <= as_it_is.compress_size < as_it_is.file_size + 1000
    assert all(one.flag_bits & 0x800 for one in found.infolist())
    blob = blobs_of(site, share).stat(f"{share.rpartition('/')[2]}/plan.txt")
    at = app.datetime.fromtimestamp(blob.modified_at, UTC)
    assert packed.date_time[:5] == (at.year, at.month, at.day, at.hour, at.minute)
    assert packed.extra[:5] == b"UT\x05\x00\x01"
    assert int.from_bytes(packed.extra[5:9], "little") == int(blob.modified_at)
    assert packed.external_attr >> 16 == 0o100644


# ---- what is not


def test_each_entry_is_there_only_for_who_may_read_it(site: Site, share: str, root: str) -> None:
    filled(site, share)
    address = share.removeprefix("/")
    here = site.token(f"{address}/*:read", f"{address}/2026/deep/**:read")
    assert site.get(f"{share}/?_zip=1", here).status == 403
    some = app.Caller("x", grants=(app.parse_grant(f"{address}/*:read"), app.parse_grant(f"{address}/2026/deep:read")))
    wanted = app.plugin("zip").Wanted(site.app.resources[address], address.rpartition("/")[2], ())
    found = [name for name, _ in app.plugin("zip")._entries(wanted, some)]
    assert found == ["2026/deep/er/a,b & c.csv", "none", "plan.txt"]
    own = site.token(f"{address}/2026:read")
    assert len(contents(site.get(f"{share}/2026/?_zip=1", own))) == 4
    assert site.get(f"{share}/?_zip=1", own).status == 403
    assert site.get(f"{share}/?_zip=1&_name=2026", own).status == 403


def test_what_vanishes_or_breaks_off_meanwhile_is_named_at_the_end(
    site: Site, share: str, root: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    filled(site, share, {"a": b"1", "b": b"2" * 9, "c": b"3", "_missing.txt": b"mine"})
    blobs, prefix = blobs_of(site, share), share.rpartition("/")[2]
    whole = blobs.read

    def read(path: str, *args: Any, **named: Any) -> Any:
        if path.endswith("/a"):
            blobs.remove(path)
        if path.endswith("/b"):
            return Broken()
        return whole(path, *args, **named)

    monkeypatch.setattr(blobs, "read", read)
    found = contents(site.get(f"{share}/?_zip=1", root))
    told = found.pop("_missing (2).txt").decode()
    assert found == {"b": b"22", "c": b"3", "_missing.txt": b"mine"}
    assert "\r\na: " in told
    assert "b: it broke off: the disk is gone" in told
    assert "\r\nc: " not in told
    assert blobs.stat(f"{prefix}/a") is None


class Broken:
    """A reader whose source goes away."""

    def __iter__(self) -> Iterator[bytes]:
        yield b"22"
        raise app.Unavailable("the disk is gone")

    def close(self) -> None:
        pass


def test_a_file_is_zipped_as_it_is_when_its_turn_comes(site: Site, share: str, root: str, monkeypatch: Any) -> None:
    filled(site, share, {"a": b"1", "log": b"old"})
    blobs = blobs_of(site, share)
    whole = blobs.read

    def read(path: str, *args: Any, **named: Any) -> Any:
        if path.endswith("/a"):
            site.put(f"{share}/log", b"new and longer", root)
        return whole(path, *args, **named)

    monkeypatch.setattr(blobs, "read", read)
    assert contents(site.get(f"{share}/?_zip=1", root)) == {"a": b"1", "log": b"new and longer"}


def test_a_file_that_grows_while_it_is_read_is_as_long_as_it_was(site: Site, root: str) -> None:
    size = 700_000
    filled(site, "/files/docs", {"log": os.urandom(size)})
    environ = site.environ("GET", "/files/docs/?_zip=1", None, {"Authorization": f"Bearer {root}"})
    _, body = site.start(environ)
    pieces = iter(body)
    data = next(pieces) + next(pieces)
    with open(site.folder / "disk/docs/log", "ab") as file:
        file.write(b"x" * size)
    data += b"".join(pieces)
    body.close()
    assert zipfile.ZipFile(io.BytesIO(data)).getinfo("log").file_size == size


def test_a_client_that_goes_stops_the_work(site: Site, root: str, monkeypatch: pytest.MonkeyPatch) -> None:
    filled(site, "/files/docs", {"a": os.urandom(900_000), "b": b"2"})
    blobs, readers = blobs_of(site, "/files/docs"), list[Any]()
    whole = blobs.read
    monkeypatch.setattr(blobs, "read", lambda *args, **named: readers.append(whole(*args, **named)) or readers[-1])
    _, body = site.start(site.environ("GET", "/files/docs/?_zip=1", None, {"Authorization": f"Bearer {root}"}))
    assert next(iter(body)).startswith(b"PK\3\4")
    body.close()
    [reader] = readers
    with pytest.raises(ValueError, match="closed"):
        reader.fileno()


# ---- large ones


@pytest.mark.parametrize(("most_32", "most_16"), [(70_000, 3), (2**32 - 1, 3), (200_000, 2**16 - 1)])
def test_numbers_that_are_too_large_are_written_as_zip64(most_32: int, most_16: int, tmp_path: Path) -> None:
    writer = app.plugin("zip_writer").Writer(UTC, most_32, most_16)
    files = {f"f{n}": os.urandom(60_000) for n in range(5)}
    data = bytearray()
    for name, content in files.items():
        for piece in writer.file(name, 1.8e9, len(content), iter([content]), is_packed=True):
            data += piece
    data += b"".join(writer.end())
    writer.close()
    assert b"PK\6\6" in data
    assert b"PK\6\7" in data
    archive = zipfile.ZipFile(io.BytesIO(data))
    assert {name: archive.read(name) for name in archive.namelist()} == files
    (tmp_path / "a.zip").write_bytes(data)
    subprocess.run(["unzip", "-tq", str(tmp_path / "a.zip")], check=True, stdout=subprocess.DEVNULL)


def test_more_entries_than_65535_are_all_there() -> None:
    writer, count, data = app.plugin("zip_writer").Writer(UTC), 70_000, bytearray()
    for number in range(count):
        data += b"".join(writer.file(f"d/{number}", 1.8e9, 1, iter([b"x"]), is_packed=True))
    data += b"".join(writer.end())
    writer.close()
    archive = zipfile.ZipFile(io.BytesIO(data))
    assert len(archive.namelist()) == count
    assert archive.read(f"d/{count - 1}") == b"x"


# ---- what is refused


@pytest.mark.parametrize(
    ("query", "status", "words"),
    [
        ("_zip=2", 400, "_zip must be 1"),
        ("_zip=1&_size=3", 400, "_size is no parameter"),
        ("_zip=1&_name=none", 404, "has no none"),
        ("_zip=1&_name=..", 400, "'..'"),
        ("_zip=1&_name=a%2Fb", 400, "'a/b'"),
        ("_zip=1&_name=", 400, "the name of an entry"),
        ("_name=a", 400, "_name is no parameter"),
    ],
)
def test_what_makes_no_archive_is_refused(site: Site, root: str, query: str, status: int, words: str) -> None:
    filled(site, "/files/docs", {"a/b": b"1"})
    reply = site.get(f"/files/docs/?{query}", root)
    assert (reply.status, words in reply.json["detail"]) == (status, True), reply.text


def test_files_and_places_without_lists_have_no_archive(site: Site, root: str, monkeypatch: pytest.MonkeyPatch) -> None:
    filled(site, "/files/docs", {"a/b": b"1"})
    assert site.get("/files/docs/a/b?_zip=1", root).status == 400
    assert site.get("/files/docs/a/b", root, Accept="application/zip").body == b"1"
    assert site.get("/files/docs/none/?_zip=1", root).status == 404
    assert site.get("/views/waiting", root, Accept="application/zip").status == 406
    assert site.get("/files/docs/?_zip=1").status == 401
    page = site.get("/files/docs/?_zip=1&_name=none", root, **PAGE)
    assert (page.status, page["Content-Type"]) == (404, "text/html; charset=utf-8")
    assert site.get("/files/docs/?_zip=1", **PAGE)["Location"].startswith("/login?after=%2Ffiles%2Fdocs%2F%3F_zip%3D1")
    monkeypatch.setattr(blobs_of(site, "/files/docs"), "lists", False)
    assert site.get("/files/docs/?_zip=1", root).status == 501
    asked = app.Request("x", app.Action.READ, "files/docs", (), "sqs", {"_zip": "1"}, credential=f"Bearer {root}")
    with pytest.raises(app.BadRequest, match="for HTTP alone"):
        site.app.handle(asked)
