"""Shares as network drives: WebDAV at /dav, its locks at every door, and the programs that use it."""

from __future__ import annotations

import base64
import os
import random
import re
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote
from xml.etree import ElementTree

import backends
import pytest
from http_client import JSON, MULTIPART, Reply, Server, Site, drip, multipart, serving
from test_file_pages import without_renames

import app

D = "{DAV:}"
WINDOWS = "{urn:schemas-microsoft-com:}"
LOCK_BODY = (
    '<D:lockinfo xmlns:D="DAV:"><D:lockscope><D:{scope}/></D:lockscope><D:locktype><D:write/></D:locktype>'
    "<D:owner><D:href>mailto:ann@example.org</D:href></D:owner></D:lockinfo>"
)
SITE = """
[providers.main]
kind = "sql"
url = "sqlite:///data/app.db"
[providers.disk]
kind = "file"
root = "data/files"
[files.docs]
provider = "disk"
prefix = "docs/"
[files.blobs]
provider = "main"
prefix = "blobs/"
"""


def basic(token: str) -> dict[str, str]:
    return {"Authorization": "Basic " + base64.b64encode(f"anything:{token}".encode()).decode()}


class Drive:
    """A client of one share."""

    def __init__(self, site: Site, share: str, token: str) -> None:
        self.site, self.share, self.token = site, share, token

    def ask(self, method: str, path: str, body: bytes | str | None = None, **headers: str) -> Reply:
        sent = body.encode() if isinstance(body, str) else body
        own = {name.replace("_", "-"): value for name, value in headers.items()}
        return self.site.ask(method, f"/dav/{self.share}/{path}", sent, basic(self.token) | own)

    def put(self, path: str, body: bytes = b"x", **headers: str) -> Reply:
        return self.ask("PUT", path, body, **headers)

    def lock(self, path: str, scope: str = "exclusive", **headers: str) -> str:
        """The token of a new lock."""
        reply = self.ask("LOCK", path, LOCK_BODY.format(scope=scope), **headers)
        assert reply.status in (200, 201), reply.text
        return reply["Lock-Token"].strip("<>")

    def found(self, path: str, body: str = "", depth: str = "1") -> dict[str, dict[str, Any]]:
        """By address what is told of it: {name: text or element} of what was found."""
        reply = self.ask("PROPFIND", path, body, Depth=depth)
        assert reply.status == 207, reply.text
        return told(reply)


def told(reply: Reply) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = {}
    for one in ElementTree.fromstring(reply.body).findall(f"{D}response"):
        properties = found.setdefault(str(one.findtext(f"{D}href")), {})
        for stat in one.findall(f"{D}propstat"):
            status = str(stat.findtext(f"{D}status")).split()[1]
            for each in stat.find(f"{D}prop") or ():
                properties[each.tag] = each if status == "200" else int(status)
    return found


@pytest.fixture(params=["docs", "blobs"])
def drive(request: pytest.FixtureRequest, site: Site) -> Drive:
    return Drive(site, request.param, site.token("files/**:*"))


@pytest.fixture
def other(drive: Drive) -> Drive:
    """Somebody else's."""
    return Drive(drive.site, drive.share, drive.site.token("files/**:*", subject="bo"))


# ---- who comes in


def test_a_stranger_is_asked_for_a_password_here_and_nowhere_else(site: Site) -> None:
    reply = site.ask("PROPFIND", "/dav/docs/")
    assert (reply.status, reply["WWW-Authenticate"].startswith("Basic realm=")) == (401, True)
    assert "Basic" not in site.ask("GET", "/files/docs/")["WWW-Authenticate"]


def test_wrong_passwords_are_slowed_and_good_ones_never(site: Site, staff: str) -> None:
    statuses = [site.ask("PROPFIND", "/dav/docs/", b"", basic("stl_" + "x" * 54)).status for _ in range(8)]
    assert statuses[:4] == [401] * 4
    assert statuses[-1] == 429
    assert site.ask("PROPFIND", "/dav/docs/", b"", basic(staff) | {"Depth": "0"}).status == 207


def test_a_short_token_is_a_password(site: Site) -> None:
    token = site.app.office.issue(app.Caller("t"), "ann", ["files/docs:*"], [], 3600)
    reply = site.ask("PUT", "/dav/docs/a", b"x", basic(site.app.authority.short(token)))
    assert reply.status == 201


def test_a_cookie_reads_and_writes_nothing(site: Site, staff: str) -> None:
    session = site.app.office.sign_in(staff, "r")[0]
    own = {"Cookie": f"satchel_session_{site.app.site_id()}={session}", "Sec-Fetch-Site": "same-origin"}
    assert site.ask("PROPFIND", "/dav/docs/", b"", own | {"Depth": "0"}).status == 207
    for method in ("PUT", "DELETE", "MKCOL", "PROPPATCH", "LOCK", "COPY"):
        assert site.ask(method, "/dav/docs/a", b"", own | {"Destination": "/dav/docs/b"}).status == 401, method
    assert site.ask("PUT", "/dav/docs/a", b"x", own | {"Sec-Fetch-Site": "cross-site"}).status == 403


def test_the_list_of_shares_has_what_one_may_open(site: Site) -> None:
    token = site.token("files/docs:read")
    found = told(site.ask("PROPFIND", "/dav/", b"", basic(token) | {"Depth": "1"}))
    assert list(found) == ["/dav/", "/dav/docs/"]
    assert site.ask("PROPFIND", "/dav/blobs/", b"", basic(token)).status == 403


@pytest.mark.parametrize(
    ("grant", "method", "headers", "status"),
    [
        ("read", "PUT", {}, 403), ("read", "DELETE", {}, 403), ("read", "MKCOL", {}, 403),
        ("read", "LOCK", {}, 403), ("read", "PROPPATCH", {}, 403),
        ("read", "MOVE", {"Destination": "/dav/docs/z"}, 403), ("create", "PUT", {}, 403), ("create", "GET", {}, 403),
        ("read", "GET", {}, 200), ("update,read", "PUT", {}, 204),
        ("create,read", "COPY", {"Destination": "/dav/docs/z"}, 201),
    ],
)  # fmt: skip
def test_grants_are_those_of_files(site: Site, grant: str, method: str, headers: dict[str, str], status: int) -> None:
    site.ask("PUT", "/files/docs/a", b"old", {}, site.token("files/docs:*"))
    body = {"LOCK": LOCK_BODY.format(scope="exclusive"), "PUT": "new", "PROPPATCH": patch("<a>1</a>")}.get(method, "")
    path = "/dav/docs/new" if method == "MKCOL" else "/dav/docs/a"
    reply = site.ask(method, path, body.encode(), basic(site.token(f"files/docs:{grant}")) | headers)
    assert reply.status == status, reply.text


# ---- files and folders

SINCE, TO_X = {"If-Unmodified-Since": "Sun, 06 Nov 1994 08:49:37 GMT"}, {"Destination": "/dav/SHARE/x"}


def test_a_file_and_a_folder_come_and_go(drive: Drive) -> None:
    assert drive.ask("MKCOL", "plans").status == 201
    assert drive.ask("MKCOL", "plans/").status == 405
    assert drive.put("plans/a b%25%23.txt", b"hello").status == 201
    assert drive.put("plans/a b%25%23.txt".replace(" ", "%20"), b"hello!").status == 204
    found = drive.found("plans/")
    assert set(found) == {f"/dav/{drive.share}/plans/", f"/dav/{drive.share}/plans/a%20b%25%23.txt"}
    file = found[f"/dav/{drive.share}/plans/a%20b%25%23.txt"]
    assert (file[f"{D}getcontentlength"].text, file[f"{D}displayname"].text) == ("6", "a b%#.txt")
    got = drive.ask("GET", "plans/a%20b%25%23.txt")
    assert (got.body, got["ETag"]) == (b"hello!", file[f"{D}getetag"].text)
    assert drive.ask("DELETE", "plans").status == 204
    assert drive.ask("PROPFIND", "plans").status == 404


@pytest.mark.parametrize(
    ("method", "path", "headers", "body", "status"),
    [
        ("PUT", "no/such/file", {}, b"x", 409),
        ("PUT", "folder", {}, b"x", 405),
        ("PUT", "folder/", {}, b"x", 405),
        ("PUT", "new/", {}, b"x", 409),
        ("PUT", "", {}, b"x", 405),
        ("PUT", "file", {"Content-Range": "bytes 0-0/1"}, b"x", 400),
        ("PUT", "file", {"If-Match": '"other"'}, b"x", 412),
        ("PUT", "file", {"If-None-Match": "*"}, b"x", 412),
        *((method, "file", SINCE | TO_X, b"x", 412) for method in ("PUT", "DELETE", "MOVE", "COPY", "PROPPATCH", "LOCK")),
        ("DELETE", "folder", {"If-Match": '"other"'}, b"", 412),
        ("DELETE", "folder", {"If-None-Match": "*"}, b"", 412),
        ("MOVE", "file", {"If-Match": '"other"', "Destination": "/dav/SHARE/x"}, b"", 412),
        ("MOVE", "folder", {"If-Match": '"other"', "Destination": "/dav/SHARE/x"}, b"", 412),
        ("COPY", "file", {"If-None-Match": "*", "Destination": "/dav/SHARE/x"}, b"", 412),
        ("LOCK", "file", {"If-Match": '"other"'}, LOCK_BODY.format(scope="shared").encode(), 412),
        ("LOCK", "none", {"If-Match": "*"}, LOCK_BODY.format(scope="shared").encode(), 412),
        ("PROPPATCH", "file", {"If-Match": '"other"'}, b"", 412),
        ("MKCOL", "new", {"If-Match": "*"}, b"", 412),
        ("MKCOL", "new", {"Content-Type": "text/xml"}, b"<x/>", 415),
        ("MKCOL", "no/such", {}, b"", 409),
        ("MKCOL", "file", {}, b"", 405),
        ("MKCOL", "file/below", {}, b"", 409),
        ("DELETE", "folder", {"Depth": "0"}, b"", 400),
        ("DELETE", "", {}, b"", 405),
        ("DELETE", "none", {}, b"", 404),
        ("COPY", "file", {}, b"", 400),
        ("COPY", "file", {"Destination": "http://elsewhere.example/dav/docs/x"}, b"", 502),
        ("COPY", "file", {"Destination": "/files/docs/x"}, b"", 502),
        ("COPY", "file", {"Destination": "/dav/SHARE/no/such"}, b"", 409),
        ("COPY", "file", {"Destination": "/dav/SHARE/file"}, b"", 403),
        ("COPY", "file", {"Destination": "/dav/SHARE/folder", "Overwrite": "F"}, b"", 412),
        ("COPY", "file", {"Destination": "/dav/SHARE/x", "Overwrite": "maybe"}, b"", 400),
        ("COPY", "none", {"Destination": "/dav/SHARE/x"}, b"", 404),
        ("COPY", "file", {"Destination": "http://[bad/dav/docs/x"}, b"", 400),
        ("MOVE", "folder", {"Destination": "/dav/SHARE/folder/in"}, b"", 403),
        ("MOVE", "folder/in", {"Destination": "/dav/SHARE/folder"}, b"", 403),
        ("MOVE", "folder", {"Destination": "/dav/SHARE/x", "Depth": "0"}, b"", 400),
        ("MOVE", "", {"Destination": "/dav/SHARE/x"}, b"", 403),
        ("PROPFIND", "file", {"Depth": "2"}, b"", 400),
        ("PROPFIND", "file", {}, b"<x", 400),
        ("PROPFIND", "file", {}, b"<x/>", 400),
        ("PROPFIND", "file", {}, b'<!DOCTYPE a [<!ENTITY b "c">]><propfind xmlns="DAV:"><allprop/></propfind>', 400),
        ("PROPFIND", "file", {}, b"<a>" * 100, 400),
        ("PROPPATCH", "file", {}, b"", 400),
        ("UNLOCK", "file", {}, b"", 400),
        ("UNLOCK", "file", {"Lock-Token": "<opaquelocktoken:none>"}, b"", 409),
        ("LOCK", "file", {}, b"", 412),
        ("LOCK", "file", {"Depth": "1"}, LOCK_BODY.format(scope="shared").encode(), 400),
        ("LOCK", "file", {}, b'<lockinfo xmlns="DAV:"/>', 400),
        ("GET", "file", {"If": "(<no"}, b"", 400),
        ("GET", "file?x=1", {}, b"", 400),
        ("GET", "a%5Cb", {}, b"", 404),
        ("PROPFIND", "._.", {"Depth": "0"}, b"", 404),
        ("PUT", "a%5Cb", {}, b"x", 400),
        ("POST", "file", {}, b"", 405),
    ],
)  # fmt: skip
def test_what_cannot_be_done_has_its_status_and_changes_nothing(
    drive: Drive, method: str, path: str, headers: dict[str, str], body: bytes, status: int
) -> None:
    drive.put("file", b"old")
    drive.ask("MKCOL", "folder")
    drive.put("folder/in", b"in")
    before = sorted(drive.found("", depth="infinity"))
    sent = {name.replace("-", "_"): value.replace("SHARE", drive.share) for name, value in headers.items()}
    reply = drive.ask(method, path, body, **sent)
    assert reply.status == status, reply.text
    assert sorted(drive.found("", depth="infinity")) == before
    assert drive.ask("GET", "file").body == b"old"


def test_xml_of_over_a_megabyte_is_refused(drive: Drive) -> None:
    drive.put("file")
    body = f'<propfind xmlns="DAV:"><allprop/><!--{"x" * (1 << 20)}--></propfind>'
    assert drive.ask("PROPFIND", "file", body, Depth="0").status == 413


def test_a_folder_is_copied_moved_and_replaced_with_all_that_is_in_it(drive: Drive) -> None:
    for path in ("a", "a/b"):
        drive.ask("MKCOL", path)
    drive.put("a/b/one", b"1")
    drive.put("a/two", b"2")
    here = f"/dav/{drive.share}/"
    assert drive.ask("COPY", "a", Destination=f"{here}c").status == 201
    assert drive.ask("COPY", "a", Destination=f"{here}d", Depth="0").status == 201
    assert drive.ask("MOVE", "c", Destination=f"http://localhost{here}d/").status == 204
    assert drive.ask("GET", "d/b/one").body == b"1"
    assert drive.ask("PROPFIND", "c").status == 404
    assert drive.ask("MOVE", "a/two", Destination=f"{here}d").status == 204
    assert drive.ask("GET", "d").body == b"2"


@pytest.mark.parametrize("share", ["strict", "kept"])
def test_what_cannot_be_put_in_the_place_of_a_folder_leaves_it_as_it_was(tmp_path: Path, share: str) -> None:
    more = '[files.strict]\nprovider = "disk"\nprefix = "strict/"\naccept = [".txt"]\n'
    more += '[files.kept]\nprovider = "main"\nprefix = "kept/"\naccept = [".txt"]\ntrash = "1d"\nquota = "1MB"\n'
    site = Site(tmp_path, edit=lambda text: text + more)
    source, target = (Drive(site, one, site.token("files/**:*")) for one in ("docs", share))
    for one in (source, target):
        one.ask("MKCOL", "a")
    source.put("a/one.exe")
    source.put("a/two.txt", b"new")
    target.put("a/two.txt", b"old")
    there = f"/dav/{share}/a"
    for path, method in (("a", "COPY"), ("a", "MOVE"), ("a/one.exe", "COPY"), ("a/one.exe", "MOVE")):
        assert source.ask(method, path, Destination=there).status == 415
        assert target.ask("GET", "a/two.txt").body == b"old"
    source.ask("DELETE", "a/one.exe")
    assert source.ask("MOVE", "a", Destination=there).status == 204
    assert target.ask("GET", "a/two.txt").body == b"new"
    usage = site.ask("GET", f"/files/{share}/", None, {}, target.token).json.get("quota", {"used_bytes": 6})
    assert usage["used_bytes"] == 6  # what was there waits in the trash
    site.close()


def test_a_destination_in_utf_8_counts_as_if_it_were_encoded(drive: Drive) -> None:
    drive.put("a")
    there = f"/dav/{drive.share}/".encode().decode("latin-1")
    done = drive.ask("COPY", "a", Destination=there + "Pläne".encode().decode("latin-1"))
    assert (done.status, done["Location"]) == (201, f"/dav/{drive.share}/Pl%C3%A4ne")
    assert drive.ask("COPY", "a", Destination=there + "Pl\xe4ne").status == 400


def test_a_link_that_leads_back_is_listed_and_not_followed(site: Site, staff: str) -> None:
    drive = Drive(site, "docs", staff)
    drive.ask("MKCOL", "a")
    drive.put("a/one")
    (site.folder / "disk" / "docs" / "a" / "loop").symlink_to("..")
    assert sorted(drive.found("", depth="infinity")) == [f"/dav/docs/{one}" for one in ("", "a/", "a/loop/", "a/one")]


def test_files_go_from_one_share_to_another(site: Site, staff: str) -> None:
    drive = Drive(site, "docs", staff)
    drive.put("a", b"across")
    assert drive.ask("MOVE", "a", Destination="/dav/blobs/b").status == 201
    assert site.ask("GET", "/files/blobs/b", None, {}, staff).body == b"across"
    assert drive.ask("GET", "a").status == 404


def test_everything_below_is_listed_up_to_a_bound(drive: Drive, monkeypatch: pytest.MonkeyPatch) -> None:
    drive.ask("MKCOL", "a")
    for number in range(5):
        drive.put(f"a/{number}")
    assert len(drive.found("", depth="infinity")) == 7
    monkeypatch.setattr(app.plugin("webdav"), "_MOST_LISTED", 4)
    reply = drive.ask("PROPFIND", "", Depth="infinity")
    assert (reply.status, b"propfind-finite-depth" in reply.body) == (403, True)


def test_below_a_prefix_addresses_carry_it(tmp_path: Path) -> None:
    site = Site(tmp_path, prefix="/ops")
    own = basic(site.token("files/**:*"))
    assert site.ask("PUT", "/ops/dav/docs/a", b"x", own).status == 201
    assert site.ask("COPY", "/ops/dav/docs/a", b"", own | {"Destination": "/dav/docs/b"}).status == 502
    assert site.ask("COPY", "/ops/dav/docs/a", b"", own | {"Destination": "http://localhost/ops/dav/docs/b"}).status == 201
    assert list(told(site.ask("PROPFIND", "/ops/dav/docs/b", b"", own))) == ["/ops/dav/docs/b"]
    site.close()


# ---- properties


def patch(set_: str = "", remove: str = "") -> str:
    done = f"<D:set><D:prop>{set_}</D:prop></D:set>" if set_ else ""
    done += f"<D:remove><D:prop>{remove}</D:prop></D:remove>" if remove else ""
    return f'<D:propertyupdate xmlns:D="DAV:" xmlns:z="urn:z">{done}</D:propertyupdate>'


def wanted(*names: str) -> str:
    return f'<D:propfind xmlns:D="DAV:" xmlns:z="urn:z"><D:prop>{"".join(names)}</D:prop></D:propfind>'


def colour(drive: Drive, path: str) -> Any:
    [found] = drive.found(path, wanted("<z:colour/>"), "0").values()
    kept = found["{urn:z}colour"]
    return kept if isinstance(kept, int) else kept.text


def test_properties_stay_with_their_file_whichever_door_it_goes_through(drive: Drive) -> None:
    site, token = drive.site, drive.token
    drive.ask("MKCOL", "a")
    drive.put("a/one")
    for path in ("a", "a/one"):
        assert drive.ask("PROPPATCH", path, patch("<z:colour>r&amp;d</z:colour>")).status == 207
    drive.put("a/one", b"other bytes")
    assert colour(drive, "a/one") == "r&d"
    made = site.ask("POST", f"/files/{drive.share}/a", b'{"copy": "files/%s/b"}' % drive.share.encode(), JSON, token)
    assert made.status < 300, made.text
    assert [colour(drive, path) for path in ("a", "a/one", "b", "b/one")] == ["r&d"] * 4
    assert drive.ask("MOVE", "b/one", Destination=f"/dav/{drive.share}/c").status == 201
    assert colour(drive, "c") == "r&d"
    assert site.ask("DELETE", f"/files/{drive.share}/c", None, {}, token).status == 204
    drive.put("c")
    assert colour(drive, "c") == 404
    assert site.ask("DELETE", f"/files/{drive.share}/a?_tree=1", None, {}, token).status < 300
    drive.ask("MKCOL", "a")
    assert colour(drive, "a") == 404


def test_properties_are_set_all_or_none(drive: Drive) -> None:
    drive.put("a")
    reply = drive.ask("PROPPATCH", "a", patch("<z:colour>red</z:colour><D:getetag>mine</D:getetag>"))
    [found] = told(reply).values()
    assert found == {"{urn:z}colour": 424, f"{D}getetag": 403}
    assert colour(drive, "a") == 404
    time = drive.ask("GET", "a")["Last-Modified"]
    both = f"<D:lastmodified>1500000000</D:lastmodified><z:colour>{'x' * 70_000}</z:colour>"
    [found] = told(drive.ask("PROPPATCH", "a", patch(both))).values()
    assert found == {"{urn:z}colour": 507, f"{D}lastmodified": 507}
    assert drive.ask("GET", "a")["Last-Modified"] == time
    drive.ask("PROPPATCH", "a", patch("<z:colour>red</z:colour>"))
    drive.ask("PROPPATCH", "a", patch("", "<z:colour/><z:never/>"))
    assert colour(drive, "a") == 404


def test_properties_come_back_character_by_character(drive: Drive) -> None:
    drive.put("a")
    text = "a\t b&#13;&#10;c &lt;&amp;&gt; \U0001f389 "
    assert drive.ask("PROPPATCH", "a", patch(f"<z:colour>{text}</z:colour>")).status == 207
    assert colour(drive, "a") == "a\t b\r\nc <&> \U0001f389 "


def windows_times(drive: Drive, path: str, depth: str = "0") -> list[str]:
    """What Windows and everybody else is told of when a file was changed."""
    found = drive.found(path, "", depth)[f"/dav/{drive.share}/a.docx"]
    return [found[name].text for name in (WINDOWS + "Win32LastModifiedTime", f"{D}getlastmodified") if name in found]


def test_the_times_of_windows_are_those_of_the_file(drive: Drive) -> None:
    drive.put("a.docx", b"old")
    assert drive.ask("PROPPATCH", "a.docx", WINDOWS_PATCH).status == 207
    [found] = drive.found("a.docx", "", "0").values()
    assert found[WINDOWS + "Win32CreationTime"].text == "Sat, 28 Nov 2026 08:00:00 GMT"
    assert found[WINDOWS + "Win32FileAttributes"].text == "00000020"
    assert windows_times(drive, "a.docx") == windows_times(drive, "", "1") == ["Sat, 28 Nov 2026 08:00:00 GMT"] * 2
    assert drive.ask("GET", "a.docx").body == b"old"
    drive.site.ask("PUT", f"/files/{drive.share}/a.docx", b"new", {"X-OC-Mtime": "1500000000"}, drive.token)
    assert windows_times(drive, "a.docx") == windows_times(drive, "", "1") == ["Fri, 14 Jul 2017 02:40:00 GMT"] * 2
    bad = WINDOWS_PATCH.replace("Sat, 28 Nov 2026 08:00:00 GMT", "yesterday")
    assert drive.ask("PROPPATCH", "a.docx", bad).status == 400


def test_where_times_are_not_kept_those_of_windows_end_with_the_bytes(drive: Drive) -> None:
    drive.site.app.resources[f"files/{drive.share}"].blobs.keeps_times = False
    came = drive.put("a.docx", b"old") and drive.ask("GET", "a.docx")["Last-Modified"]
    assert drive.ask("PROPPATCH", "a.docx", WINDOWS_PATCH).status == 207
    assert windows_times(drive, "a.docx") == ["Sat, 28 Nov 2026 08:00:00 GMT", came]
    [found] = told(drive.ask("PROPPATCH", "a.docx", patch("<D:lastmodified>1</D:lastmodified><z:a/>"))).values()
    assert found == {f"{D}lastmodified": 403, "{urn:z}a": 424}
    drive.site.ask("PUT", f"/files/{drive.share}/a.docx", b"new", {}, drive.token)
    assert len(windows_times(drive, "a.docx")) == 1


def test_a_time_alone_makes_no_version_and_leaves_those_alone_that_there_are(tmp_path: Path) -> None:
    site = Site(tmp_path, edit=lambda text: re.sub('(prefix = "(?:docs|blobs)/")', r"\1\nversions = 5", text))
    for share in ("docs", "blobs"):
        drive = Drive(site, share, site.token("files/**:*"))
        for body in (b"one", b"two"):
            drive.put("a", body, X_OC_Mtime="1400000000")
        assert drive.ask("PROPPATCH", "a", patch("<D:lastmodified>1500000000</D:lastmodified>")).status == 207
        [kept] = site.ask("GET", f"/files/{share}/a?_versions=1", None, {}, drive.token).json["items"]
        assert (kept["size_bytes"], kept["modified_at"]) == (3, "2014-05-13T16:53:20.000Z")
        restored = site.ask("POST", f"/files/{share}/a", b'{"restore": "%s"}' % kept["id"].encode(), JSON, drive.token)
        assert restored.status < 300, restored.text
        assert drive.ask("PROPPATCH", "a", patch("<D:lastmodified>1600000000</D:lastmodified>")).status == 207
        items = site.ask("GET", f"/files/{share}/a?_versions=1", None, {}, drive.token).json["items"]
        assert "2020-09-13T12:26:40.000Z" not in {one["modified_at"] for one in items}
        assert drive.ask("GET", "a").body == b"one"
    site.close()


def test_a_locked_folder_lets_its_files_have_other_times_and_a_locked_file_does_not(drive: Drive, other: Drive) -> None:
    drive.ask("MKCOL", "a")
    drive.put("a/there")
    drive.lock("a", Depth="0")
    body = patch("<D:lastmodified>1500000000</D:lastmodified>")
    assert other.ask("PROPPATCH", "a/there", body).status == 207
    drive.lock("a/there")
    assert other.ask("PROPPATCH", "a/there", body).status == 423
    wish = b'{"modified_at": "2020-01-01T00:00:00Z"}'
    assert drive.site.ask("POST", f"/files/{drive.share}/a/there", wish, JSON, other.token).status == 423


def test_windows_finds_webdav_at_the_root_of_the_site(site: Site) -> None:
    for path in ("/", "/dav", "/dav/docs/a"):
        reply = site.ask("OPTIONS", path)
        assert (reply["DAV"], reply["MS-Author-Via"]) == ("1, 2", "DAV"), path
    assert "PROPFIND" in site.ask("OPTIONS", "/dav/docs/")["Allow"]


# ---- locks


def doors(site: Site, share: str, token: str) -> Iterator[tuple[str, int]]:
    """What each door answers to whoever changes the file a/locked."""
    address = f"/files/{share}/a/locked"
    yield "PUT", site.ask("PUT", address, b"new", {}, token).status
    yield "DELETE", site.ask("DELETE", address, None, {}, token).status
    yield "tree", site.ask("DELETE", f"/files/{share}/a?_tree=1", None, {}, token).status
    parts = multipart(("_replace", None, "1"), ("file", "locked", b"new"))
    yield "page", site.ask("POST", f"/files/{share}/a/", parts, MULTIPART, token).status
    for verb in ("move", "copy"):
        data = f'{{"{verb}": "files/{share}/a/locked", "overwrite": true}}'.encode()
        yield f"{verb} onto", site.ask("POST", f"/files/{share}/free", data, JSON, token).status
    yield "move", site.ask("POST", address, f'{{"move": "files/{share}/b"}}'.encode(), JSON, token).status
    yield (
        "move of folder",
        site.ask("POST", f"/files/{share}/a", f'{{"move": "files/{share}/b"}}'.encode(), JSON, token).status,
    )
    yield "dav PUT", site.ask("PUT", f"/dav/{share}/a/locked", b"new", basic(token)).status
    yield "dav PROPPATCH", site.ask("PROPPATCH", f"/dav/{share}/a/locked", patch("<z:a/>").encode(), basic(token)).status
    yield (
        "dav LOCK",
        site.ask("LOCK", f"/dav/{share}/a/locked", LOCK_BODY.format(scope="shared").encode(), basic(token)).status,
    )
    queued = app.Request(
        "r", app.Action.UPDATE, f"files/{share}", ("a", "locked"), "sqs", body=[b"new"], credential=f"Bearer {token}"
    )
    try:
        site.app.handle(queued)
        yield "queue", 200
    except app.AppError as error:
        yield "queue", error.status


@pytest.mark.parametrize("whole_folder", [False, True], ids=["the file", "its folder"])
def test_a_lock_holds_at_every_door_for_others_and_for_oneself(drive: Drive, other: Drive, whole_folder: bool) -> None:
    drive.ask("MKCOL", "a")
    drive.put("a/locked", b"old")
    drive.put("free", b"free")
    token = drive.lock("a" if whole_folder else "a/locked")
    for who in (drive, other):
        found = dict(doors(who.site, who.share, who.token))
        assert found == dict.fromkeys(found, 423)
        assert who.ask("GET", "a/locked").body == b"old"
    stolen = other.put("a/locked", b"new", If=f"(<{token}>)")
    assert (stolen.status, b"lock-token-submitted" in stolen.body) == (423, True)
    assert drive.put("a/locked", b"new", If=f"(<{token}>)").status == 204
    assert drive.ask("UNLOCK", "a/locked", Lock_Token=f"<{token}>").status == 204
    assert other.put("a/locked", b"newer").status == 204


def test_a_lock_holds_for_links_the_trash_versions_and_uploads_that_go_on(tmp_path: Path) -> None:
    more = r'\1\nversions = 5\ntrash = "1d"'
    site = Site(tmp_path, edit=lambda text: re.sub('(prefix = "(?:docs|blobs)/")', more, text))
    for share in ("docs", "blobs"):
        drive, bo = Drive(site, share, site.token("files/**:*")), site.token("files/**:*", subject="bo")
        drive.ask("MKCOL", "a")
        for path in ("a/f", "a/f", "a/gone"):
            drive.put(path, b"old")
        drive.ask("DELETE", "a/gone")
        at = f"/files/{share}"
        link = site.ask("POST", f"{at}/a", b'{"link": {"action": "create", "expires": "1d"}}', JSON, bo).json["url"]
        [version] = site.ask("GET", f"{at}/a/f?_versions=1", None, {}, bo).json["items"]
        [gone] = site.ask("GET", f"{at}/?_trash=1", None, {}, bo).json["items"]
        tus = {"Tus-Resumable": "1.0.0", "Content-Type": "application/offset+octet-stream"}
        metadata = f"filename {base64.b64encode(b'f').decode()},replace {base64.b64encode(b'1').decode()}"
        begun = site.ask("POST", f"{at}/a", b"", tus | {"Upload-Length": "3", "Upload-Metadata": metadata}, bo)
        asked: list[tuple[str, str, bytes, dict[str, str], str]] = [
            ("POST", link, multipart(("file", "sent", b"x")), MULTIPART, ""),
            ("POST", f"{at}/a/f", b'{"restore": "%s"}' % version["id"].encode(), JSON, bo),
            ("POST", f"{at}/", b'{"restore": "%s"}' % gone["id"].encode(), JSON, bo),
            ("PATCH", begun["Location"], b"new", tus | {"Upload-Offset": "0"}, bo),
        ]
        token = drive.lock("a")
        assert [site.ask(*one).status for one in asked] == [423] * 4
        assert drive.ask("GET", "a/f").body == b"old"
        assert drive.ask("UNLOCK", "a", Lock_Token=f"<{token}>").status == 204
        assert [site.ask(*one).status for one in asked] == [201, 200, 201, 204]
        assert drive.ask("GET", "a/f").body == b"new"
    site.close()


def test_a_person_is_told_who_has_locked_a_file(drive: Drive, other: Drive) -> None:
    drive.put("a")
    drive.lock("a", Timeout="Second-600")
    reply = other.site.ask("PUT", f"/files/{drive.share}/a", b"x", {}, other.token)
    assert (reply.status, reply.json["code"]) == (423, "locked")
    assert re.match(rf"files/{drive.share}/a is locked by ann until 20..-", reply.json["detail"])


def test_a_lock_ends_with_its_time(drive: Drive, monkeypatch: pytest.MonkeyPatch) -> None:
    drive.put("a")
    token = drive.lock("a", Timeout="Second-60")
    now = drive.site.app.clock()
    monkeypatch.setattr(drive.site.app, "clock", lambda: now + 50)
    assert drive.put("a").status == 423
    assert drive.ask("LOCK", "a", If=f"(<{token}>)", Timeout="Second-60").status == 200
    monkeypatch.setattr(drive.site.app, "clock", lambda: now + 100)
    assert drive.put("a").status == 423
    monkeypatch.setattr(drive.site.app, "clock", lambda: now + 111)
    assert drive.put("a").status == 204
    assert drive.lock("a") != token


@pytest.mark.parametrize(
    ("timeout", "seconds"),
    [("Second-60", 60), ("Infinite, Second-60", 86_400), ("Second-99999999999", 86_400), ("soon", 3600), ("", 3600)],
)
def test_a_lock_lasts_as_long_as_asked_and_a_day_at_most(site: Site, staff: str, timeout: str, seconds: int) -> None:
    reply = Drive(site, "docs", staff).ask("LOCK", "a", LOCK_BODY.format(scope="exclusive"), Timeout=timeout)
    assert f"<D:timeout>Second-{seconds}</D:timeout>" in reply.text


def test_a_lock_of_nothing_makes_an_empty_file(drive: Drive, other: Drive) -> None:
    reply = drive.ask("LOCK", "new", LOCK_BODY.format(scope="exclusive"))
    assert (reply.status, drive.ask("GET", "new").body) == (201, b"")
    assert other.put("new").status == 423
    assert drive.ask("LOCK", "no/new", LOCK_BODY.format(scope="exclusive")).status == 409


def test_a_lock_that_is_one_too_many_makes_no_file(drive: Drive, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(app.plugin("locks"), "MOST_LOCKS", 1)
    drive.put("a")
    drive.lock("a")
    assert drive.ask("LOCK", "new", LOCK_BODY.format(scope="exclusive")).status == 507
    assert drive.ask("PROPFIND", "new").status == 404


def test_a_lock_goes_with_its_file(drive: Drive, other: Drive) -> None:
    drive.put("a")
    token = drive.lock("a")
    assert drive.ask("MOVE", "a", Destination=f"/dav/{drive.share}/b", If=f"(<{token}>)").status == 201
    assert other.put("b").status == 204
    assert other.put("a").status == 201


def test_a_locked_folder_keeps_its_entries(drive: Drive, other: Drive) -> None:
    drive.ask("MKCOL", "a")
    drive.put("a/there")
    drive.lock("a", Depth="0")
    assert other.put("a/there").status == 204
    assert other.put("a/new").status == 423
    assert other.ask("DELETE", "a/there").status == 423
    assert other.ask("MKCOL", "a/new").status == 423


def test_shared_locks_go_together_and_with_no_exclusive_one(drive: Drive, other: Drive) -> None:
    drive.put("a")
    drive.lock("a", "shared")
    mine = other.lock("a", "shared")
    refused = drive.ask("LOCK", "a", LOCK_BODY.format(scope="exclusive"))
    assert (refused.status, b"no-conflicting-lock" in refused.body) == (423, True)
    assert other.put("a").status == 423
    assert other.put("a", If=f"(<{mine}>)").status == 204


def test_only_its_owner_or_an_administrator_ends_a_lock(drive: Drive, other: Drive) -> None:
    drive.put("a")
    token = drive.lock("a")
    assert other.ask("UNLOCK", "a", Lock_Token=f"<{token}>").status == 403
    head = Drive(drive.site, drive.share, drive.site.token("files/**:*", "admin/*:update", subject="head"))
    assert head.ask("UNLOCK", "a", Lock_Token=f"<{token}>").status == 204
    assert other.put("a").status == 204


def test_a_lock_of_somebody_who_left_holds_nobody_up(drive: Drive, other: Drive) -> None:
    site = drive.site.app
    for number, path in enumerate(("a", "b")):
        drive.put(path)
        token = site.office.issue(app.Caller("t"), f"guest{number}", ["files/**:*"], [], 3600)
        Drive(drive.site, drive.share, site.authority.jwt(token)).lock(path)
        assert drive.put(path).status == 423
        site.state.commit(site.authority.revoke(token))
    assert drive.put("a").status == 204
    assert other.lock("b")


def test_one_of_many_who_lock_at_once_wins(drive: Drive) -> None:
    from concurrent.futures import ThreadPoolExecutor

    drive.put("a")
    with ThreadPoolExecutor(8) as pool:
        replies = list(pool.map(lambda _: drive.ask("LOCK", "a", LOCK_BODY.format(scope="exclusive")).status, range(8)))
    assert sorted(replies) == [200] + [423] * 7


def test_who_is_unknown_cannot_lock(tmp_path: Path) -> None:
    site = Site(tmp_path, edit=lambda text: text.replace('grants = ["forms/open:create"]', 'grants = ["files/docs:*"]'))
    assert site.ask("PUT", "/dav/docs/a", b"x").status == 201
    assert site.ask("LOCK", "/dav/docs/a", LOCK_BODY.format(scope="exclusive").encode()).status == 401
    site.close()


@pytest.mark.parametrize(
    ("header", "status"),
    [
        ("(<TOKEN>)", 204), ("(<TOKEN> [ETAG])", 204), ('(<TOKEN> ["other"])', 412), ("(Not <TOKEN>)", 412),
        ("(<opaquelocktoken:no>) (Not <DAV:no-lock>)", 423), ('(["other"]) (<TOKEN>)', 204),
        ("<http://localhost/dav/SHARE/a> (<TOKEN>)", 204), ("</dav/SHARE/b> (<TOKEN>)", 412),
        ("<http://elsewhere.example/dav/SHARE/a> (<TOKEN>)", 412), ("</dav/SHARE/a%5Cb> (<TOKEN>)", 412),
        ("</dav/SHARE/a%5Cb> (<TOKEN>) </dav/SHARE/a> (<TOKEN>)", 204), ("<TOKEN>", 400), ("()", 400), ("(Not)", 400),
        ("(Not Not <TOKEN>)", 400), ("((<TOKEN>))", 400), ("(<TOKEN>", 400), ("(TOKEN)", 400),
    ],
)  # fmt: skip
def test_conditions_in_the_header_if(drive: Drive, header: str, status: int) -> None:
    etag = drive.put("a")["ETag"]
    token = drive.lock("a")
    sent = header.replace("TOKEN", token).replace("SHARE", drive.share).replace("ETAG", etag)
    assert drive.put("a", b"new", If=sent).status == status


# ---- times


@pytest.mark.parametrize("door", ["/files/docs/a", "/dav/docs/a"])
def test_a_time_that_is_sent_is_kept_or_refused(site: Site, staff: str, door: str) -> None:
    reply = site.ask("PUT", door, b"x", {"X-OC-Mtime": "1500000000"}, staff)
    assert (reply.status, reply["X-OC-Mtime"]) == (201, "accepted")
    assert site.ask("GET", "/files/docs/a", None, {}, staff)["Last-Modified"] == "Fri, 14 Jul 2017 02:40:00 GMT"
    before = site.ask("PUT", door, b"x", {"X-OC-Mtime": "-2082844800"}, staff)  # it is 1970 at the earliest
    assert (before.status, before["X-OC-Mtime"]) == (204 if "/dav/" in door else 200, "")
    assert site.ask("GET", "/files/docs/a", None, {}, staff)["Last-Modified"] == "Thu, 01 Jan 1970 00:00:00 GMT"
    for bad in ("yesterday", "1e9", "999999999999"):
        assert site.ask("PUT", door, b"x", {"X-OC-Mtime": bad}, staff).status == 400


def test_rclone_sets_the_time_of_a_file_that_is_there(drive: Drive) -> None:
    drive.put("a", b"same")
    done = drive.ask("PROPPATCH", "a", patch("<D:lastmodified>1500000000</D:lastmodified><z:colour>red</z:colour>"))
    [found] = told(done).values()
    assert not any(isinstance(one, int) for one in found.values())
    assert (drive.ask("GET", "a")["Last-Modified"], drive.ask("GET", "a").body) == ("Fri, 14 Jul 2017 02:40:00 GMT", b"same")
    assert colour(drive, "a") == "red"
    assert drive.ask("PROPPATCH", "a", patch("<D:lastmodified>soon</D:lastmodified>")).status == 400


# ---- programs that use it


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Server, str]]:
    """A real server of two shares, and a short token that may do everything there."""
    folder = tmp_path_factory.mktemp("drives")
    (folder / "app.toml").write_text(SITE)
    with serving(folder, "--workers", "2") as one:
        issue = ["auth", "issue", "--subject", "ann", "--grant", "files/**:*", "--format", "short"]
        command = [*backends.SATCHEL, *issue]
        yield one, subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True).stdout.strip()


@pytest.mark.parametrize("share", ["docs", "blobs"])
def test_litmus_finds_nothing(server: tuple[Server, str], share: str, tmp_path: Path) -> None:
    one, token = server
    url = f"http://127.0.0.1:{one.tcp[1]}/dav/{share}/"
    done = subprocess.run(
        [backends.program("litmus"), "-k", url, "ann", token], cwd=tmp_path, capture_output=True, text=True, timeout=300
    )
    summaries = re.findall(r"of (\d+) tests run: (\d+) passed", done.stdout)
    assert len(summaries) == 5, done.stdout
    assert all(run == passed for run, passed in summaries), done.stdout
    assert "WARNING" not in done.stdout
    assert sum(int(run) for run, _ in summaries) > 80


ODD = [
    "a b", "100%", "50%25", "#hash", "q?x", "it's", 'say "hi"', "u\u0308mla\u0308ut", "ümläut", "שלום עולם", "a+b", "a&b",
    "<tag>", "semi;colon", "comma,", "[brackets]", "{braces}", "^caret", "`tick`", "~tilde", "$dollar", "@at", "=eq",
    "!bang", "日本語", "emoji 🎉", "x" * 200, "é" * 100, ".hidden", "a..b", "|pipe", "*star", ":colon",
    "..double", "(paren)",
]  # fmt: skip


TWINS = ("u\u0308mla\u0308ut", "ümläut")  # one name in NFD and NFC: a folder has one of them


def odd_files(folder: Path) -> int:
    """Files of every odd name in the first of folders of odd names, and two in each other, each with a time of its own; how
    many."""
    made = 0
    for number, name in enumerate(one for one in ODD if one != TWINS[0]):
        inside = folder / f"in {name[:50]}"
        inside.mkdir(parents=True)
        for other in ODD[number : number + 2] if number else ODD:
            if other != TWINS[number % 2]:
                (inside / other).write_bytes(random.randbytes(random.randint(0, 300)))
                os.utime(inside / other, (1_500_000_000 + made, 1_500_000_000 + made))
                made += 1
    return made


@pytest.mark.parametrize(("vendor", "share"), [("owncloud", "docs"), ("other", "blobs")])
def test_rclone_syncs_copies_checks_and_moves_odd_names(
    server: tuple[Server, str], vendor: str, share: str, tmp_path: Path
) -> None:
    one, token = server
    rclone, source = backends.program("rclone"), tmp_path / "source"
    count = odd_files(source)
    secret = subprocess.run([rclone, "obscure", token], capture_output=True, text=True, check=True).stdout.strip()
    url = f"http://127.0.0.1:{one.tcp[1]}/dav/{share}"
    (tmp_path / "rclone.conf").write_text(
        f"[s]\ntype = webdav\nurl = {url}\nvendor = {vendor}\nuser = ann\npass = {secret}\n"
    )

    def run(*args: str) -> str:
        command = [rclone, "--config", str(tmp_path / "rclone.conf"), "--retries", "1", "--low-level-retries", "1", *args]
        done = subprocess.run(command, capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, (args, done.stderr[-2000:])
        return done.stdout + done.stderr

    run("sync", str(source), "s:rc/one")
    assert f"{count} matching files" in run("check", "--download", str(source), "s:rc/one")
    run("copy", "s:rc/one/in a b", "s:rc/two")
    run("move", "s:rc/one", "s:rc/three")
    assert f"{count} matching files" in run("check", str(source), "s:rc/three")
    if vendor == "owncloud":
        assert "Copied" not in run("sync", str(source), "s:rc/three", "-v"), "times were kept"
    run("sync", "s:rc/three", str(tmp_path / "back"))
    assert names_below(tmp_path / "back") == {app.compose(name): data for name, data in names_below(source).items()}
    run("purge", "s:rc/three")
    assert run("lsf", "s:rc") == "two/\n"
    run("purge", "s:rc")


def names_below(folder: Path) -> Mapping[str, bytes]:
    return {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


def test_cadaver_makes_and_fetches_and_locks(server: tuple[Server, str], tmp_path: Path) -> None:
    one, token = server
    (tmp_path / ".netrc").write_text(f"machine 127.0.0.1 login ann password {token}\n")
    (tmp_path / ".netrc").chmod(0o600)
    (tmp_path / "up.txt").write_text("by cadaver")
    script = (
        "mkcol cad\ncd cad\nput up.txt\ncopy up.txt b.txt\nmove b.txt c.txt\nlock c.txt\nunlock c.txt\nget c.txt\nls\nquit\n"
    )
    url = f"http://127.0.0.1:{one.tcp[1]}/dav/docs/"
    done = subprocess.run(
        [backends.program("cadaver"), url], input=script, cwd=tmp_path, env=os.environ | {"HOME": str(tmp_path)},
        capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert (tmp_path / "c.txt").read_text() == "by cadaver", done.stdout
    assert done.stdout.count("succeeded") >= 7, done.stdout
    assert "failed" not in done.stdout, done.stdout


def test_a_folder_of_many_files_is_listed_in_pieces(server: tuple[Server, str]) -> None:
    one, token = server
    folder = one.folder / "data/files/docs/many"
    folder.mkdir(parents=True)
    for number in range(3000):
        (folder / f"{number:05}").touch()
    reply = one.ask("PROPFIND", f"/dav/docs/{quote('many')}", b"", basic(token) | {"Depth": "1"})
    assert (reply.status, reply["Transfer-Encoding"], len(told(reply))) == (207, "chunked", 3001)


def test_the_finder_sends_files_in_chunks(server: tuple[Server, str]) -> None:
    one, token = server
    own = basic(token) | {"X-Expected-Entity-Length": "10"}  # and no length
    assert one.ask("PUT", "/dav/docs/._a.txt", drip([b"hello", b"world"]), own).status == 201
    assert one.ask("PUT", "/dav/docs/.DS_Store", drip([]), basic(token)).status == 201
    assert one.ask("GET", "/dav/docs/._a.txt", None, basic(token)).body == b"helloworld"
    assert one.ask("GET", "/dav/docs/.DS_Store", None, basic(token)).body == b""


def test_the_room_that_is_left_is_told_on_request(tmp_path: Path) -> None:
    site = Site(tmp_path, edit=lambda text: text.replace('prefix = "docs/"', 'prefix = "docs/"\nquota = "1MB"'))
    drive = Drive(site, "docs", site.token("files/**:*"))
    drive.put("a", b"x" * 1000)
    names = ("<D:quota-available-bytes/>", "<D:quota-used-bytes/>")
    [found] = drive.found("", wanted(*names), "0").values()
    assert [one.text for one in found.values()] == ["999000", "1000"]
    assert f"{D}quota-used-bytes" not in drive.found("", "", "0")["/dav/docs/"]
    site.close()


# ---- what the programs of desktops send, in their order

WINDOWS_TIMES = "".join(
    f"<Z:Win32{name}Time>Sat, 28 Nov 2026 08:00:00 GMT</Z:Win32{name}Time>"
    for name in ("Creation", "LastAccess", "LastModified")
)
WINDOWS_PATCH = (
    '<?xml version="1.0" encoding="utf-8" ?><D:propertyupdate xmlns:D="DAV:" xmlns:Z="urn:schemas-microsoft-com:"><D:set>'
    f"<D:prop>{WINDOWS_TIMES}<Z:Win32FileAttributes>00000020</Z:Win32FileAttributes></D:prop></D:set></D:propertyupdate>"
)
FINDER_WANTS = (
    '<?xml version="1.0" encoding="utf-8"?>\n<D:propfind xmlns:D="DAV:">\n<D:prop>\n<D:getlastmodified/>\n'
    "<D:getcontentlength/>\n<D:creationdate/>\n<D:resourcetype/>\n<D:quota-available-bytes/>\n<D:quota-used-bytes/>\n"
    "</D:prop>\n</D:propfind>\n"
)
OLD_COPY = '<?xml version="1.0"?><d:propertybehavior xmlns:d="DAV:"><d:keepalive>*</d:keepalive></d:propertybehavior>'
LOCKED = {"If": "(<TOKEN>)"}
Step = tuple[str, str, dict[str, str], str, int]  # method, path in the share, headers, body, status
CLIENTS: dict[str, list[Step]] = {
    "Windows": [
        ("PROPFIND", "", {"Depth": "0", "Translate": "f"}, "", 207),
        ("PROPFIND", "", {"Depth": "1", "Translate": "f"}, "", 207),
        ("PROPFIND", "", {"Depth": "1,noroot"}, "", 207),
        ("PROPFIND", "desktop.ini", {"Depth": "0"}, "", 404),
        ("PUT", "New%20Text%20Document.txt", {"Translate": "f", "Overwrite": "F"}, "", 201),
        ("LOCK", "New%20Text%20Document.txt", {"Timeout": "Second-3600"}, "LOCK", 200),
        ("PROPPATCH", "New%20Text%20Document.txt", LOCKED, WINDOWS_PATCH, 207),
        ("HEAD", "New%20Text%20Document.txt", {"Translate": "f"}, "", 200),
        ("PUT", "New%20Text%20Document.txt", LOCKED, "hello", 204),
        ("LOCK", "New%20Text%20Document.txt", LOCKED | {"Timeout": "Second-3600"}, "", 200),
        ("UNLOCK", "New%20Text%20Document.txt", {"Lock-Token": "<TOKEN>"}, "", 204),
        ("MKCOL", "New%20folder", {}, "", 201),
        ("MOVE", "New%20folder", {"Destination": "HTTP://LOCALHOST/dav/SHARE/Pl%c3%a4ne/", "Overwrite": "F"}, "", 201),
        ("MOVE", "New%20Text%20Document.txt",
         {"Destination": "http://localhost:80/dav/SHARE/Pl%C3%A4ne/a.txt", "Overwrite": "F"}, "", 201),
        ("MOVE", "Pl%c3%a4ne/a.txt", {"Destination": "http://localhost/dav/SHARE/Pl%c3%a4ne/A.txt", "Overwrite": "F"},
         "", 201),
        ("GET", "Pl%C3%A4ne/A.txt", {"Translate": "f"}, "", 200),
        ("DELETE", "Pl%c3%a4ne/", {"Depth": "infinity"}, "", 204),
    ],
    "Office": [
        ("PUT", "a.docx", {}, "old", 201),
        ("HEAD", "a.docx", {"X-Office-Major-Version": "16"}, "", 200),
        ("LOCK", "a.docx", {"Timeout": "Second-3600", "Depth": "0"}, "LOCK", 200),
        ("GET", "a.docx", LOCKED | {"Translate": "f"}, "", 200),
        ("PUT", "~%24a.docx", {}, "who", 201),
        ("PUT", "a.docx", LOCKED | {"Content-Type": "application/msword"}, "new", 204),
        ("LOCK", "a.docx", {"If": "<http://localhost/dav/SHARE/a.docx> (<TOKEN>)"}, "", 200),
        ("PUT", "a.docx", {"If": "<http://localhost/dav/SHARE/a.docx> (<TOKEN>)"}, "newer", 204),
        ("DELETE", "~%24a.docx", {}, "", 204),
        ("UNLOCK", "a.docx", {"Lock-Token": "<TOKEN>"}, "", 204),
    ],
    "Finder": [
        ("PROPFIND", "", {"Depth": "0"}, FINDER_WANTS, 207),
        ("PROPFIND", "._.", {"Depth": "0"}, FINDER_WANTS, 404),
        ("PROPFIND", ".metadata_never_index", {"Depth": "0"}, FINDER_WANTS, 404),
        ("PUT", "a.txt", {}, "", 201),
        ("LOCK", "a.txt", {"Timeout": "Second-600", "Depth": "0"}, "LOCK", 200),
        ("PUT", "a.txt", LOCKED | {"X-Expected-Entity-Length": "5", "Expect": "100-continue"}, "hello", 204),
        ("LOCK", "a.txt", LOCKED | {"Timeout": "Second-600"}, "", 200),
        ("UNLOCK", "a.txt", {"Lock-Token": "<TOKEN>"}, "", 204),
        ("PUT", "._a.txt", {}, "fork", 201),
        ("GET", "a.txt", {"Range": "bytes=1-3"}, "", 206),
        ("MOVE", "a.txt", {"Destination": "http://localhost/dav/SHARE/b%3A.txt", "Overwrite": "T"}, "", 201),
        ("DELETE", "._a.txt", {}, "", 204),
    ],
    "gvfs": [
        ("PROPFIND", "", {"Depth": "1"}, '<propfind xmlns="DAV:"><prop><x:executable xmlns:x="http://apache.org/dav/props/"/>'
         "<quota-available-bytes/></prop></propfind>", 207),
        ("PUT", "a.txt", {"If-None-Match": "*"}, "one", 201),
        ("PUT", "a.txt", {"If-Match": "*"}, "two", 204),
        ("COPY", "a.txt", {"Destination": "/dav/SHARE/b.txt", "Overwrite": "F"}, "", 201),
        ("MOVE", "a.txt", {"Destination": "/dav/SHARE/b.txt", "Overwrite": "F"}, "", 412),
        ("MOVE", "a.txt", {"Destination": "/dav/SHARE/b.txt", "Overwrite": "T"}, "", 204),
    ],
    "KDE": [
        ("PROPFIND", "", {"Depth": "0", "Content-Type": "text/xml; charset=utf-8"}, FINDER_WANTS, 207),
        ("MKCOL", "a/", {"Content-Type": "text/xml; charset=utf-8"}, "", 201),
        ("PUT", "a/b.json", {"Content-Type": "application/json", "Overwrite": "F"}, "{}", 201),
        ("COPY", "a", {"Destination": "http://localhost/dav/SHARE/c", "Depth": "infinity"}, OLD_COPY, 201),
        ("MOVE", "c/", {"Destination": "http://localhost/dav/SHARE/d/", "Depth": "infinity", "Overwrite": "F"},
         OLD_COPY, 201),
        ("GET", "d/b.json", {}, "", 200),
        ("DELETE", "d/", {"Depth": "infinity"}, "", 204),
    ],
    "Cyberduck": [
        ("HEAD", "", {}, "", 200),
        ("PROPFIND", "", {"Depth": "1"}, '<D:propfind xmlns:D="DAV:"><D:allprop/></D:propfind>', 207),
        ("PUT", "a.bin", {"Expect": "100-continue", "Content-Type": "application/x-www-form-urlencoded"}, "a=1&b=2", 201),
        ("PROPPATCH", "a.bin", {}, patch('<s:lastmodified xmlns:s="SAR:">2026-11-28T08:00:00Z</s:lastmodified>'), 207),
        ("PUT", "a.bin", {"Content-Type": "multipart/form-data; boundary=x"}, "--x--", 204),
        ("GET", "a.bin", {"Accept-Encoding": "gzip"}, "", 200),
    ],
}  # fmt: skip


@pytest.mark.parametrize("client", CLIENTS)
def test_what_each_client_sends_is_answered_as_it_expects(drive: Drive, client: str) -> None:
    token, sent = "", ""
    for method, path, headers, body, status in CLIENTS[client]:
        made = {
            name.replace("-", "_"): one.replace("TOKEN", token).replace("SHARE", drive.share)
            for name, one in headers.items()
        }
        reply = drive.ask(method, path, LOCK_BODY.format(scope="exclusive") if body == "LOCK" else body, **made)
        assert reply.status == status, (method, path, headers, reply.text)
        token = reply["Lock-Token"].strip("<>") or token
        sent = body if method == "PUT" and not path.startswith(("._", "~")) else sent
        if method == "GET":
            assert reply.text == (sent[1:4] if status == 206 else sent)
        if method in ("PROPFIND", "PROPPATCH") and status == 207:
            assert all(one.startswith(f"/dav/{drive.share}/") for one in told(reply)), path


@pytest.mark.parametrize("depth", ["1,noroot", "infinity, noroot"])
def test_microsofts_clients_may_ask_for_what_is_in_a_folder_without_the_folder(drive: Drive, depth: str) -> None:
    drive.put("a.txt")
    assert list(drive.found("", depth=depth)) == [f"/dav/{drive.share}/a.txt"]
    assert list(drive.found("a.txt", depth=depth)) == [f"/dav/{drive.share}/a.txt"]
    drive.ask("DELETE", "a.txt")
    assert drive.found("", depth=depth) == {}


@pytest.mark.parametrize("destination", ["https://files.example.org/dav/docs/b", "HTTPS://Files.Example.org:443/dav/docs/b"])
def test_behind_a_proxy_a_destination_may_name_the_site_as_its_clients_do(tmp_path: Path, destination: str) -> None:
    edit = 'url = "https://files.example.org"\n'
    site = Site(tmp_path, edit=lambda text: text.replace("[site]\n", "[site]\n" + edit))
    own = basic(site.token("files/**:*"))
    assert site.ask("PUT", "/dav/docs/a", b"x", own).status == 201
    done = site.ask("MOVE", "/dav/docs/a", b"", own | {"Destination": destination})
    assert (done.status, done["Location"]) == (201, "/dav/docs/b")
    other = site.ask("MOVE", "/dav/docs/b", b"", own | {"Destination": "http://files.example.org:8080/dav/docs/c"})
    assert other.status == 502
    site.close()


def test_a_large_folder_is_carried_and_deleted_by_one_request(drive: Drive, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(app.plugin("file_trees"), "MOST_ENTRIES", 2)
    monkeypatch.setattr(app.plugin("big_folders"), "STEP_S", 0.0)
    without_renames(drive.site, monkeypatch)
    for folder in ("x", "x/y"):
        assert drive.ask("MKCOL", folder).status == 201
        for number in range(3):
            assert drive.put(f"{folder}/{number}").status == 201
    assert drive.ask("COPY", "x", Destination=f"/dav/{drive.share}/z").status == 201
    assert drive.ask("COPY", "x", Destination=f"/dav/{drive.share}/z").status == 204
    assert drive.ask("MOVE", "z", Destination=f"/dav/{drive.share}/w").status == 201
    assert len(drive.found("w/", depth="infinity")) == 8
    assert drive.ask("PROPFIND", "z", Depth="0").status == 404
    assert drive.ask("DELETE", "w").status == 204
    assert drive.ask("PROPFIND", "w", Depth="0").status == 404
