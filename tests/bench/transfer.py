"""A file of 4 GiB on every way in and out: sent whole and in pieces, broken off and gone on with, fetched and zipped."""

from __future__ import annotations

import contextlib
import http.client
import os
import shutil
import signal
import time
import zipfile
import zlib
from base64 import b64encode
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path

import backends
from goals import satchel
from harness import MIB, PATIENCE_S, Bench, Line, family, send_file, watched
from peers import STARTER, Satchel

LIMIT_MB = 30.0  # that each of them may add
PIECES = 4
TOML = STARTER + '[files.rows]\nprovider = "main"\nmax_file = "5GB"\n'
KEPT = {"share": "", "rows": ", kept in SQLite"}  # what a line says of each share
TUS = {"Tus-Resumable": "1.0.0"}


@dataclass(frozen=True)
class Sample:
    """A file to send. Each MiB of it begins with its number, so that none can stand in the place of another."""

    path: Path
    size: int
    crc: int

    @classmethod
    def made(cls, path: Path, count: int) -> Sample:
        """Of so many MiB; holes but for the numbers, so that the disk has it once and not twice."""
        crc, rest = 0, bytes(MIB - 8)
        with path.open("wb") as file:
            for number in range(count):
                file.seek(number * MIB)
                file.write(number.to_bytes(8, "big"))
                crc = zlib.crc32(rest, zlib.crc32(number.to_bytes(8, "big"), crc))
            file.truncate(count * MIB)
        return cls(path, count * MIB, crc)


class Failed(RuntimeError):
    """Something came back that was not sent."""


@dataclass(frozen=True)
class Client:
    """Somebody who sends the sample to a share and gets it back."""

    site: Satchel
    share: str
    sample: Sample

    @property
    def folder(self) -> str:
        return f"/files/{self.share}/{self.sample.path.stem}/"

    @property
    def address(self) -> str:
        return self.folder + self.sample.path.name

    @contextlib.contextmanager
    def sent(
        self, method: str, path: str, headers: Mapping[str, str], at: int = 0, said: int = 0, count: int | None = None
    ) -> Iterator[http.client.HTTPConnection]:
        """A connection with a request that says it sends so many bytes of the sample, and has sent them, or only `count`."""
        with contextlib.closing(http.client.HTTPConnection("127.0.0.1", self.site.port, timeout=PATIENCE_S)) as one:
            one.putrequest(method, path)
            for name, value in {**self.site.signed, **headers, "Content-Length": str(said)}.items():
                one.putheader(name, value)
            one.endheaders()
            if said and one.sock:
                with self.sample.path.open("rb") as file:
                    one.sock.sendfile(file, at, said if count is None else count)
            yield one

    # -- the ways in: each returns the memory that it added, in MB

    def send(self) -> float:
        """By one PUT."""
        with watched(self.site.pid) as found:
            send_file(self.site.ask(self.address, "PUT"), self.sample.path)
        return added(found)

    def remove(self) -> None:
        self.site.ask(self.address, "DELETE").once()

    def send_in_pieces(self) -> float:
        """By tus; the server is killed in the middle of the second piece, and comes back."""
        name = b64encode(self.sample.path.name.encode()).decode()
        begin = {"Upload-Length": str(self.sample.size), "Upload-Metadata": f"filename {name}"}
        with self.sent("POST", self.folder, TUS | begin) as one:
            place = str(answered(one, 201).headers["Location"])
        piece = self.sample.size // PIECES
        with watched(self.site.pid) as before:
            at = self.patch(place, 0, piece)
            with self.sent("PATCH", place, patch_at(at), at, piece, piece // 2):
                kill(self.site)
        self.site.start()
        with self.sent("HEAD", place, TUS) as one:
            at = int(answered(one, 200).headers["Upload-Offset"])
        while self.is_held(place, at):
            time.sleep(0.2)
        if not piece <= at <= piece + piece // 2:
            raise Failed(f"the upload goes on at {at}, after {piece} bytes were acknowledged")
        with watched(self.site.pid) as after:
            while at < self.sample.size:
                at = self.patch(place, at, min(piece, self.sample.size - at))
        self.fetch()
        return max(added(before), added(after))

    def patch(self, place: str, at: int, size: int) -> int:
        """Sends one piece; where the next begins."""
        with self.sent("PATCH", place, patch_at(at), at, size) as one:
            return int(answered(one, 204).headers["Upload-Offset"])

    def is_held(self, place: str, at: int) -> bool:
        """Whether the server takes the request that was killed for one that goes on, as it does for some seconds."""
        with self.sent("PATCH", place, patch_at(at)) as one:
            return one.getresponse().status == HTTPStatus.LOCKED

    # -- the ways out

    def fetch(self) -> float:
        """By one GET."""
        with watched(self.site.pid) as found, self.sent("GET", self.address, {}) as one:
            crc = read(answered(one, 200), self.sample.size)
        self.check(crc)
        return added(found)

    def fetch_again(self) -> float:
        """Half of it; then the connection breaks, and a second request asks for the rest."""
        half = self.sample.size // 2
        with watched(self.site.pid) as found:
            with self.sent("GET", self.address, {}) as one:
                answer = answered(one, 200)
                crc = read(answer, half)
            rest = {"Range": f"bytes={half}-", "If-Range": str(answer.headers["ETag"])}
            with self.sent("GET", self.address, rest) as one:
                answer = answered(one, 206)
                crc = read(answer, self.sample.size - half, crc)
        if answer.headers["Content-Range"] != f"bytes {half}-{self.sample.size - 1}/{self.sample.size}":
            raise Failed(f"the range is {answer.headers['Content-Range']}")
        self.check(crc)
        return added(found)

    def fetch_zipped(self) -> float:
        """The archive of its folder, which is read as others read it."""
        archive = self.sample.path.with_suffix(".zip")
        asked = self.sent("GET", f"{self.folder}?_zip=1", {})
        with archive.open("wb") as file, watched(self.site.pid) as found, asked as one:
            shutil.copyfileobj(answered(one, 200), file, MIB)
        with zipfile.ZipFile(archive) as opened:
            [entry] = opened.infolist()
            if opened.testzip() or entry.file_size != self.sample.size:
                raise Failed(f"the archive has {entry}")
            self.check(entry.CRC)
        archive.unlink()
        return added(found)

    def check(self, crc: int) -> None:
        if crc != self.sample.crc:
            raise Failed("what came back is not what was sent")


def added(found: Sequence[float]) -> float:
    return max(max(found) - found[0], 0.1)


def patch_at(at: int) -> dict[str, str]:
    return TUS | {"Upload-Offset": str(at), "Content-Type": "application/offset+octet-stream"}


def answered(connection: http.client.HTTPConnection, wanted: int) -> http.client.HTTPResponse:
    answer = connection.getresponse()
    if answer.status != wanted:
        raise Failed(f"{answer.status} in place of {wanted}: {answer.read(500)!r}")
    return answer


def read(answer: http.client.HTTPResponse, size: int, crc: int = 0) -> int:
    """The checksum of so many bytes that come, after those before."""
    buffer, left = memoryview(bytearray(MIB)), size
    while left and (got := answer.readinto(buffer[: min(left, MIB)])):
        crc, left = zlib.crc32(buffer[:got], crc), left - got
    if left:
        raise Failed(f"{left} bytes of {size} are missing")
    return crc


def kill(site: Satchel) -> None:
    """Ends every process of it at once."""
    for pid in family(site.pid):
        os.kill(pid, signal.SIGKILL)
    site.stop()
    while backends.listens(site.port):  # until the last of them is gone
        time.sleep(0.01)


WAYS: Mapping[str, Callable[[Client], float]] = {
    "an upload of 4 GiB adds": Client.send,
    "a download of 4 GiB adds": Client.fetch,
    "a download of 4 GiB adds, broken off at half and resumed": Client.fetch_again,
    "a ZIP with a file of 4 GiB adds": Client.fetch_zipped,
    "an upload of 4 GiB in pieces adds, with a kill -9 and resumed": Client.send_in_pieces,
}


def transfer(bench: Bench) -> list[Line]:
    """Memory that a file of 4 GiB takes on its way in and out."""
    site, place = satchel(bench, 0, TOML), bench.place()
    small, large = Sample.made(place / "small.bin", PIECES), Sample.made(place / "large.bin", bench.size(4096, 2 * PIECES))
    lines = []
    for share, where in list(KEPT.items())[: bench.size(len(KEPT), 1)]:
        first = Client(site, share, small)  # what the first request of a kind brings into memory is no part of a transfer
        for warm in (Client.send, Client.fetch, Client.fetch_zipped):
            warm(first)
        client = Client(site, share, large)
        for work, way in WAYS.items():
            if way is Client.send_in_pieces:
                client.remove()
            found = way(client)
            against = f"a limit of {LIMIT_MB:.0f} MB"
            lines.append(Line(f"memory that {work}{where}", against, [found], [LIMIT_MB], "MB", 1.0, cost=True))
        client.remove()
    bench.notes.append("What came back each time was compared with what was sent, by a checksum of every byte.")
    return lines
