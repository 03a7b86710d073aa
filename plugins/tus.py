"""Resumable uploads by the protocol tus 1.0.0 (https://tus.io/protocols/resumable-upload): begun by POST to a folder of a
share with Tus-Resumable, and sent to /tus/ID in as many requests as it takes."""

from __future__ import annotations

import base64
import hashlib
import re
import secrets
from collections.abc import Callable, Iterable, Mapping
from contextlib import closing, suppress
from datetime import datetime
from email.utils import formatdate
from itertools import islice
from mmap import MAP_ANON, MAP_PRIVATE, mmap
from typing import TYPE_CHECKING, Any, ClassVar, NoReturn, cast
from urllib.parse import quote

import app
from app import (
    Action,
    Answer,
    App,
    AppError,
    Asked,
    BadRequest,
    Busy,
    Caller,
    Condition,
    Conditions,
    Conflict,
    Delete,
    Exchange,
    Exists,
    Files,
    Host,
    Insert,
    Invalid,
    Json,
    NotFound,
    PreconditionFailed,
    Query,
    Record,
    Request,
    Response,
    Route,
    SignInNeeded,
    TooLarge,
    UnsupportedAction,
    UnsupportedMedia,
    Update,
    Value,
    check_path,
    in_units,
    json_answer,
    problem_answer,
    rfc3339,
    storable,
)

if TYPE_CHECKING:
    from plugins import upload_parts, uploads
else:
    upload_parts, uploads = map(app.plugin, ("upload_parts", "uploads"))

# ==== 1. UPLOAD ==================================================================================================
# What is known of an upload is a row in the state provider. Its offset never says more than what is durable, and becomes the
# size only when the file is in its place. Whoever sends holds the upload for some seconds, and then on with what arrives.
# uses: ERRORS VALUES RESOURCES PROVIDERS ASSEMBLY plugin:at_work plugin:file_kinds plugin:resumed_digest
#       plugin:upload_parts plugin:uploads
# defines: TABLE FLUSH_BYTES FLUSH_S HOLD_S FINISH_S InUse Over Mismatch Upload Intake forget

TABLE = "_uploads"
FLUSH_BYTES = 8 * 1024 * 1024  # that wait in memory, at most …
FLUSH_S = 2.0  # … and so long, if more comes
HOLD_S = 5.0  # that a request without a word from its client, or whose server died, keeps others off
FINISH_S = 60.0  # to publish the file
_KEPT_S = app.STAGED_KEPT_S - 600.0  # ends before the bytes are swept
_AT_ONCE = 500  # rows that are removed in one sweep
_ENOUGH_BYTES = 1024  # to see what kind of file it is, before more is taken


class InUse(Busy):
    """Another request sends bytes of the same upload, or did so until a few seconds ago."""

    code, status = "locked", 423


class Over(NotFound):
    """The upload has expired, or what it made was refused."""

    code, status = "gone", 410


class Mismatch(BadRequest):
    """The bytes do not have the checksum that was sent with them."""

    code, status = "checksum_mismatch", 460


class Upload:
    """An upload, as its row was when it was read; a change that comes later than another one raises InUse."""

    def __init__(self, site: App, share: Files, record: Record) -> None:
        self.site, self.share, self.key, self.value, self.version = site, share, record.key, record.value, record.version
        self.entered_at = site.clock()  # when the credential of this request was good
        self.parts: upload_parts.Parts = upload_parts.parts_of(share.blobs, site.config.site.data / "uploads")
        self._place = share.place("/".join(self.value["path"]))

    @property
    def offset(self) -> int:
        """From where the client goes on: how many bytes are durable. Of a file that is not in its place yet, it is one byte
        less than all: then the last one asks for that once more."""
        known = int(self.value["offset"])
        return max(known, self.size_bytes - 1) if self.value["complete"] and not self.is_done else known

    @property
    def size_bytes(self) -> int:
        return int(self.value["size_bytes"])

    @property
    def is_done(self) -> bool:
        return self.value["done"] is not None

    def note(self, **facts: Json) -> None:
        """Change the row."""
        value = storable({**self.value, **facts})
        try:
            [record] = self.site.state.commit([Update(TABLE, self.key, value, self.version)])
        except Conflict:
            raise InUse("another request sends bytes of this upload: try again in some seconds") from None
        self.value, self.version = value, record.version

    def hold(self, for_s: float = HOLD_S) -> None:
        """Keep others off, for some seconds from now. Raises InUse if somebody else does."""
        now = self.site.clock()
        if self.value["held_until"] > now:
            raise InUse("another request sends bytes of this upload: try again in some seconds")
        self.note(held_until=now + for_s)

    def hold_on(self) -> None:
        """Hold what is held already, or was until a while ago. Raises InUse if somebody else came meanwhile."""
        now = self.site.clock()
        if self.value["held_until"] < now + HOLD_S / 2:
            self.note(held_until=now + HOLD_S)

    def let_go(self) -> None:
        with suppress(AppError):  # it ends by itself
            self.note(held_until=0.0)

    def lasts_until(self) -> float:
        now = self.site.clock()
        return now + _KEPT_S if self.parts.slides else float(self.value["expires_at"])

    def finish(self, handle: Callable[[], Response], *, again: bool) -> None:
        """Have the file in its place. Where its name is taken, the bytes stay for another try; what refuses it for good ends
        the upload. `again`: an earlier try may have done so."""
        try:
            with app.plugin("at_work").repeated(lambda: self.note(held_until=self.site.clock() + FINISH_S)):
                address = self._address_of_before() if again else ""
                if not address:
                    address = handle().location
        except (UnsupportedMedia, BadRequest, Invalid, TooLarge, NotFound) as error:
            if error.retry or error.status == InUse.status:
                self.let_go()
                raise
            self._refuse(error)
        except (Conflict, PreconditionFailed) as error:
            self.let_go()
            if error.retry:
                raise
            words = "what was sent is kept: send the last byte again when the name is free, or with replace or keep_both"
            raise self.taken(f"{error.message}; {words} in Upload-Metadata") from error
        except AppError:
            self.let_go()
            raise
        place = self.value["place"]
        self.note(offset=self.size_bytes, done={"address": address}, place="", held_until=0.0)
        with suppress(AppError):  # swept, else
            self.parts.tidy(place, "")

    def _refuse(self, error: AppError) -> NoReturn:
        self.note(refused=error.message, held_until=0.0)
        with suppress(AppError):
            self.parts.drop(self.value["place"])
        raise error

    def taken(self, message: str) -> Conflict:
        """What is answered where something is at the file's place, or in its way."""
        found = Conflict(message)
        found.report = {"upload": {"address": f"tus/{self.key}", "offset": self.offset}}  # type: ignore[attr-defined]
        return found

    def _address_of_before(self) -> str:
        """Where the file is, if a request whose server died has put it there; "" if none has."""
        *folders, name = self.value["path"]
        for number in range(1, 101 if self.value["keep_both"] else 2):
            inner = "/".join([*folders, uploads.numbered(name, number)])
            place = self.share.place(inner)
            blob = self.share.blobs.stat(place)
            if blob is None and not uploads.has_folder(self.share, place):
                break
            if blob and blob.size_bytes == self.size_bytes and self._is_it(blob):
                return f"{self.value['resource']}/{quote(inner)}"
        return ""

    def _is_it(self, blob: app.Blob) -> bool:
        """Whether a file of the same size is the one that was sent."""
        if self.value["sha256"]:
            return bool(self.value["sha256"] == self._digest(blob))
        tell: Any = getattr(self.parts, "is_published", None)
        return bool(tell and tell(self.value["place"], blob.path))

    def _digest(self, blob: app.Blob) -> str:
        digest = hashlib.sha256()
        with closing(self.share.reader(blob)) as chunks:
            for chunk in chunks:
                digest.update(chunk)
        return digest.hexdigest()

    def check_kind(self, first: Iterable[bytes]) -> None:
        """Raises UnsupportedMedia if the bytes that it begins with do not fit its name, where kinds matter."""
        name = self.value["path"][-1]
        if self.share.config.accept and (why := app.plugin("file_kinds").misfit(name, b"".join(first))):
            raise UnsupportedMedia(f"{name} {why}: it begins like another kind of file")

    def whole(self) -> app.Staged:
        self.check_kind(self.parts.read(self.value["place"], min(self.size_bytes, 1024)) or ())
        staged = self.parts.whole(self.value["place"], self.size_bytes, self.value["sha256"])
        return staged._replace(modified_at=self.value["modified_at"])


class Intake:
    """Takes bytes for an upload that is held. With a checksum none of them count before all are there."""

    def __init__(self, upload: Upload, checksum: tuple[str, bytes] | None, *, at_once: bool) -> None:
        self._upload, self._checksum, self._at_once = upload, checksum, at_once or checksum is not None
        self._at, self._place, self._clock = upload.offset, upload.value["place"], upload.site.clock
        # Of its own mapping, which the system has back at the end: what threads allocate of this size stays with them.
        self._waiting, self._count = mmap(-1, FLUSH_BYTES, MAP_PRIVATE | MAP_ANON), 0
        self._flushed_at = self._clock()
        self._sum = hashlib.new(checksum[0], usedforsecurity=False) if checksum else None
        self._whole = app.plugin("resumed_digest").resumed(upload.value.get("digest", ""), self._at)

    def take(self, chunks: Iterable[bytes]) -> None:
        """Store what comes. If it breaks off, what came before stays."""
        try:
            for chunk in chunks:
                if self._sum:
                    self._sum.update(chunk)
                self._add(memoryview(chunk))
                if self._count == FLUSH_BYTES or self._clock() - self._flushed_at >= FLUSH_S:
                    self._flush()
        except AppError as error:
            if isinstance(error, InUse):
                raise
            if not self._at_once:
                with suppress(AppError):  # the first failure is the one to tell
                    self._flush()
            self._upload.let_go()
            raise
        except BaseException:
            self._upload.let_go()
            raise
        self._end()

    def _add(self, chunk: memoryview) -> None:
        """Has bytes wait; those that came before are stored first where there is no room for all."""
        while chunk:
            if self._count == FLUSH_BYTES:
                self._flush()
            some = chunk[: FLUSH_BYTES - self._count]
            self._waiting[self._count : self._count + len(some)] = some
            self._count, chunk = self._count + len(some), chunk[len(some) :]

    def _end(self) -> None:
        if self._checksum and self._sum and self._sum.digest() != self._checksum[1]:
            self._upload.let_go()
            raise Mismatch("the bytes do not have the checksum that came with them: send them again")
        self._flush(is_last=True)

    def _flush(self, *, is_last: bool = False) -> None:
        upload, before = self._upload, self._place
        upload.hold_on()
        if self._count:
            if self._at == 0 and self._count >= _ENOUGH_BYTES:
                upload.check_kind([self._waiting[:_ENOUGH_BYTES]])
            with memoryview(self._waiting) as room, room[: self._count] as waiting:
                self._place = upload.parts.append(before, self._at, waiting)
                if self._whole:
                    self._whole.update(waiting)
            self._at, self._count = self._at + self._count, 0
        self._flushed_at = self._clock()
        if self._at_once and not is_last:
            return
        state = self._whole.state if self._whole else ""
        facts: Value = {"place": self._place, "digest": state, "expires_at": upload.lasts_until()}
        if self._at < upload.size_bytes:
            held = 0.0 if is_last else self._clock() + HOLD_S
            upload.note(offset=self._at, held_until=held, **facts)
        elif is_last:  # the offset follows when the file is in its place
            digest = self._whole.hexdigest() if self._whole else ""
            sha256 = digest or upload_parts.digest_of(upload.parts, self._place, self._at)
            upload.note(sha256=sha256, complete=True, held_until=self._clock() + FINISH_S, **facts)
        else:
            return
        with suppress(AppError):  # swept, else
            upload.parts.tidy(before, self._place)


def forget(site: App, now: float) -> None:
    """Removes uploads that have expired, with their bytes."""
    for record in islice(site.state.walk(Query(TABLE, (Condition("expires_at", "lt", now),))), _AT_ONCE):
        share = site.resources.get(record.value["resource"])
        if isinstance(share, Files) and record.value["place"]:
            Upload(site, share, record).parts.drop(record.value["place"])
        with suppress(Conflict):  # it went on
            site.state.commit([Delete(TABLE, record.key, record.version)])


# ==== 2. TUS =====================================================================================================
# The protocol: what its headers say, and what is answered. Every request has to be let in anew, as a write of the file that
# it is about, and by the same subject; its credential need not be the one that began the upload.
# uses: ERRORS VALUES RUNNERS RESOURCES ASSEMBLY UPLOAD plugin:quota plugin:uploads
# defines: Route:tus VERSION BYTES Tus offered created

VERSION = "1.0.0"
BYTES = "application/offset+octet-stream"
_EXTENSIONS = "creation,creation-with-upload,expiration,checksum,termination"
_ALGORITHMS = ("sha1", "sha256")
_TIMES = ("mtime", "lastmodified", "last_modified", "modified")  # names of metadata, in lower case
_PLAIN = ("Content-Type", "text/plain; charset=utf-8")
_MOST_LISTED = 1000
_MOST_S = 253_402_300_799.0  # the end of the year 9999


class Tus(Route):
    """What is done to an upload, at its own address."""

    kind = "tus"
    paths: ClassVar[Mapping[str, str]] = {"/tus": "GET", "/tus/<id>": "HEAD PATCH POST DELETE OPTIONS"}

    def answer(self, asked: Asked, host: Host) -> Answer:
        exchange, site = cast(Exchange, asked), cast(App, host)
        if exchange.inner == "tus":
            return _listed(exchange, site)
        method = exchange.header("x-http-method-override").strip().upper() or exchange.method
        if method == "OPTIONS":
            return Answer(204, [("Allow", "HEAD, PATCH, POST, DELETE, OPTIONS"), *_abilities()])
        if method not in ("HEAD", "PATCH", "DELETE"):
            raise UnsupportedAction(f"an upload takes HEAD, PATCH and DELETE, and no {method[:20]}")
        if refusal := _other_version(exchange):
            return refusal
        if exchange.method != "HEAD":  # with which browsers send no Origin
            exchange.door.check_origin(exchange, form=False)
        if method == "PATCH" and exchange.media_type != BYTES:
            raise UnsupportedMedia(f"bytes of an upload are sent as {BYTES}")
        said = _wishes(_metadata(exchange)) if method == "PATCH" and exchange.header("upload-metadata") else {}
        upload = _upload_of(exchange, site, exchange.inner.removeprefix("tus/"), said)
        if method == "DELETE":
            return _ended(upload)
        _check_alive(upload)
        return _patched(exchange, upload) if method == "PATCH" else _told(exchange, upload)


def _abilities() -> list[tuple[str, str]]:
    facts = {"Resumable": VERSION, "Version": VERSION, "Extension": _EXTENSIONS, "Checksum-Algorithm": ",".join(_ALGORITHMS)}
    return [(f"Tus-{name}", value) for name, value in facts.items()]


def offered(exchange: Exchange) -> list[tuple[str, str]]:
    """Headers for OPTIONS: what uploads a folder takes, and of what size if the caller may send any."""
    if not exchange.resource.startswith("files/"):
        return []
    found, site = _abilities(), cast(App, exchange.door.host)
    with suppress(AppError):
        folder = tuple(part for part in exchange.path_inside if part)
        request = Request(exchange.id, Action.UPDATE, exchange.resource, (*folder, "x"), credential=exchange.credential)
        caller = site.authority.identify(exchange.credential)
        share = site.resources.get(exchange.resource)
        if isinstance(share, Files) and any(caller.may(one, request.address) for one in (Action.CREATE, Action.UPDATE)):
            found.append(("Tus-Max-Size", str(share.config.max_file_bytes)))
    return found


def _other_version(exchange: Exchange) -> Answer | None:
    """The refusal of a client that speaks another version."""
    if exchange.header("tus-resumable") == VERSION:
        return None
    error = PreconditionFailed(f"Tus-Resumable has to be {VERSION}")
    told = exchange.format.fault(exchange, error) or problem_answer(exchange.id, error)
    told.headers += [("Tus-Version", VERSION)]
    if "tus-resumable" not in exchange.head.fields:
        told.headers += [("Tus-Resumable", VERSION)]
    return told


def _write_of(exchange: Exchange, value: Value) -> Request:
    """The request that stores the file, but for its bytes."""
    action = Action.UPDATE if value["replace"] else Action.CREATE
    asked = Action.READ if exchange.method == "HEAD" else action
    request = exchange.door.request(exchange, value["resource"], tuple(value["path"]), asked)
    return request._replace(
        action=action, page=False, whole=False, encoded=False, decode=None,
        body=None, body_bytes=None, partial=False, conditions=Conditions(), idempotency_key="",
        modified_at=value["modified_at"],
    )  # fmt: skip


def _let_in(exchange: Exchange, site: App, value: Value) -> tuple[Caller, Files]:
    """Whoever may store the file, and its share. Raises as the flow does."""
    caller, share = site.flow.enter(_write_of(exchange, value))
    exchange.subject = caller.subject
    if not isinstance(share, Files):
        raise NotFound(f"there is no {value['resource']}")
    return caller, share


# ---- beginning


def _metadata(exchange: Exchange) -> dict[str, str]:
    """What Upload-Metadata says, with names in lower case. Raises BadRequest if it is not as the protocol wants it."""
    found: dict[str, str] = {}
    header = exchange.header("upload-metadata").strip()
    for pair in header.split(",") if header else ():
        name, _, text = pair.strip().partition(" ")
        if not name or name.lower() in found:
            raise BadRequest("Upload-Metadata has a pair without a name, or a name twice")
        try:
            found[name.lower()] = base64.b64decode(text.strip(), validate=True).decode()
        except ValueError:
            raise BadRequest(f"Upload-Metadata: {name[:50]} is not base64 of UTF-8") from None
    return found


def _wishes(metadata: Mapping[str, str]) -> Value:
    """What is to be done if the name is taken."""
    return {one: metadata.get(one, "").lower() in ("1", "true", "yes") for one in ("replace", "keep_both")}


def _modified_at(metadata: Mapping[str, str]) -> float | None:
    """When the file was changed last: Unix seconds, milliseconds as browsers count them, or an RFC 3339 text. A time before
    1970, which browsers send of scans and old archives, counts as 1970."""
    text = next((metadata[name] for name in _TIMES if metadata.get(name)), "")
    if not text:
        return None
    try:
        at = float(text) if re.fullmatch(r"-?[0-9]+(\.[0-9]*)?", text) else datetime.fromisoformat(text).timestamp()
    except (ValueError, OverflowError):
        raise BadRequest(f"{text[:50]!r} is no time: send Unix seconds") from None
    at = at / 1000 if at > 1e11 else at
    if at > _MOST_S:
        raise BadRequest(f"{text[:50]!r} is no time of a file: send Unix seconds")
    return max(0.0, at)


def _number(exchange: Exchange, name: str) -> int:
    text = exchange.header(name).strip()
    if not re.fullmatch("[0-9]{1,18}", text):
        raise BadRequest(f"{name} has to be a number of bytes")
    return int(text)


def _wanted(exchange: Exchange, site: App) -> Value:
    """The row of an upload that a request begins, but for where its bytes are."""
    for name in ("upload-defer-length", "upload-concat"):
        if exchange.header(name):
            raise BadRequest(f"{name.title()} is an extension that is not offered here: send Upload-Length")
    metadata, size, now = _metadata(exchange), _number(exchange, "Upload-Length"), site.clock()
    name = (metadata.get("filename") or metadata.get("name") or "").replace("\\", "/")
    if not name:
        raise BadRequest("Upload-Metadata has to say the filename")
    path = [part for part in exchange.path_inside if part] + name.split("/")
    check_path(path, is_there=True)
    return {
        "resource": exchange.resource, "path": path, "size_bytes": size, "offset": 0, "created_at": now,
        "expires_at": now + _KEPT_S, "metadata": exchange.header("upload-metadata"), "modified_at": _modified_at(metadata),
        **_wishes(metadata), "complete": False, "sha256": "", "digest": "", "held_until": 0.0, "done": None, "refused": "",
        "place": "",
    }  # fmt: skip


def _check_new(share: Files, caller: Caller, request: Request, value: Value) -> None:
    """What would refuse the whole file in the end refuses it before it is sent."""
    share.check_name(value["path"][-1])
    if value["size_bytes"] > share.config.max_file_bytes:
        limit = in_units(share.config.max_file_bytes)
        raise TooLarge(f"the file has {in_units(value['size_bytes'])}; at most {limit} are taken here")
    place, quota = share.path_of(value["path"]), app.plugin("quota")
    room = quota.room(share, place)
    if room is not None and value["size_bytes"] > room:
        raise quota.refusal(share, quota.usage(share), value["size_bytes"])
    blob = share.blobs.stat(place)
    if value["keep_both"] or not (blob or uploads.has_folder(share, place)):
        return
    if not value["replace"]:
        raise Exists(f"{request.address} exists")
    if not blob:
        raise Conflict(f"{request.address} is a folder, which no file replaces")
    caller.require(Action.UPDATE, request.address)


def created(exchange: Exchange, host: Host) -> Answer:
    """The answer to a POST to a folder that begins an upload, with the first bytes of the file or without."""
    site = cast(App, host)
    if refusal := _other_version(exchange):
        return refusal
    exchange.door.check_origin(exchange, form=False)
    if exchange.body.size_bytes != 0 and exchange.media_type != BYTES:
        raise UnsupportedMedia(f"the first bytes of an upload are sent as {BYTES}")
    value = _wanted(exchange, site)
    checksum = _checksum(exchange)
    caller, share = _let_in(exchange, site, value)
    _check_new(share, caller, _write_of(exchange, value), value)
    id_ = secrets.token_urlsafe(24)
    upload = Upload(site, share, Record(id_, 1, value | {"subject": caller.subject}))
    inner = "" if value["keep_both"] else share.place("/".join(value["path"]))
    row = storable(upload.value | {"place": upload.parts.begin(inner), "held_until": site.clock() + HOLD_S})
    site.state.commit([Insert(TABLE, id_, row)])
    upload.value = row
    try:
        _receive(exchange, upload, checksum)
    except (Mismatch, Conflict) as error:
        if not error.retry:
            _ended(upload)  # nobody knows its address
        raise
    return Answer(201, [_PLAIN, ("Location", exchange.url(f"tus/{id_}")), *_standing(exchange, upload)])


# ---- going on


def _upload_of(exchange: Exchange, site: App, id_: str, said: Value) -> Upload:
    """The upload that is meant, for the subject that began it, with what is `said` of it now."""
    site.health.ensure_open(site.state)
    record = site.state.get(TABLE, id_) if re.fullmatch("[A-Za-z0-9_-]{32}", id_) else None
    if record is None:
        site.authority.identify(exchange.credential)
        raise NotFound("there is no such upload, or it is over: begin anew")
    caller, share = _let_in(exchange, site, record.value | said)
    if caller.subject != record.value["subject"]:
        raise NotFound("there is no such upload, or it is over: begin anew")
    return Upload(site, share, record._replace(value=record.value | said))


def _listed(exchange: Exchange, site: App) -> Answer:
    """The uploads of whoever asks that can go on, so that a page finds that of a file which is chosen again."""
    site.health.ensure_open(site.state)
    caller = site.authority.identify(exchange.credential)
    if not caller.subject:
        raise SignInNeeded("sign in: only your own uploads are listed")
    exchange.subject = caller.subject
    query = Query(TABLE, (Condition("subject", "eq", caller.subject),), limit=_MOST_LISTED)
    items = [
        {
            "address": f"tus/{one.key}", "resource": one.value["resource"], "name": "/".join(one.value["path"]),
            **{name: one.value[name] for name in ("size_bytes", "offset", "modified_at", "replace", "keep_both")},
            "expires_at": rfc3339(one.value["expires_at"]),
        }
        for one in site.state.find(query).items
        if not (one.value["done"] or one.value["refused"]) and one.value["expires_at"] > site.clock()
    ]  # fmt: skip
    return json_answer(200, {"items": items})


def _check_alive(upload: Upload) -> None:
    if upload.value["refused"]:
        raise Over(f"this upload was refused: {upload.value['refused']}")
    if upload.value["expires_at"] < upload.site.clock():
        raise Over("this upload has expired: begin anew")


def _standing(exchange: Exchange, upload: Upload) -> list[tuple[str, str]]:
    headers = [("Upload-Offset", str(upload.offset))]
    if upload.is_done:
        return [*headers, ("Content-Location", exchange.url(upload.value["done"]["address"]))]
    return [*headers, ("Upload-Expires", formatdate(upload.value["expires_at"], usegmt=True))]


def _told(exchange: Exchange, upload: Upload) -> Answer:
    if upload.value["complete"] and not upload.is_done:
        upload.hold(FINISH_S)
        with suppress(Conflict):  # its name is taken still
            _finish(exchange, upload, again=True)
    headers = [_PLAIN, ("Upload-Length", str(upload.size_bytes)), ("Cache-Control", "no-store")]
    headers += _standing(exchange, upload)
    if upload.value["metadata"]:
        headers.append(("Upload-Metadata", upload.value["metadata"]))
    return Answer(200, headers)


def _checksum(exchange: Exchange) -> tuple[str, bytes] | None:
    """The algorithm and the digest in Upload-Checksum. Raises BadRequest for one that is not offered."""
    header = exchange.header("upload-checksum").strip()
    if not header:
        return None
    name, _, text = header.partition(" ")
    if name not in _ALGORITHMS:
        raise BadRequest(f"Upload-Checksum: {name[:20]} is none of {', '.join(_ALGORITHMS)}")
    try:
        return name, base64.b64decode(text.strip(), validate=True)
    except ValueError:
        raise BadRequest("Upload-Checksum is not base64") from None


def _patched(exchange: Exchange, upload: Upload) -> Answer:
    at, checksum = _number(exchange, "Upload-Offset"), _checksum(exchange)
    also = (upload.value["offset"], upload.size_bytes) if upload.value["complete"] and not upload.is_done else ()
    if at not in (upload.offset, *also):
        raise Conflict(f"the upload goes on at {upload.offset:,} and not at {at:,}: ask for its offset with HEAD")
    if upload.is_done and exchange.body.size_bytes:
        raise TooLarge(f"no byte is missing, and {exchange.body.size_bytes:,} were sent")
    if upload.value["keep_both"] and upload.value["place"] and upload.parts.is_bound(upload.value["place"]):
        raise upload.taken("here a file can only be stored under the name that it began with: begin anew with keep_both")
    if not upload.is_done:
        upload.hold(FINISH_S if upload.value["complete"] else HOLD_S)
        _receive(exchange, upload, checksum)
    return Answer(204, _standing(exchange, upload))


def _receive(exchange: Exchange, upload: Upload, checksum: tuple[str, bytes] | None) -> None:
    """Take the body of a request for an upload that is held, and finish it if that was the last of it."""
    if upload.value["complete"]:
        return _finish(exchange, upload, again=True)
    room, body = upload.size_bytes - upload.offset, exchange.body
    if (body.size_bytes or 0) > room:
        upload.let_go()
        raise TooLarge(f"{room:,} bytes are missing, and {body.size_bytes or 0:,} were sent")
    body.most = room
    promised = any(name in exchange.head.fields for name in ("content-digest", "repr-digest"))
    Intake(upload, checksum, at_once=promised).take(body)
    if upload.value["complete"]:
        _finish(exchange, upload, again=False)
    return None


def _finish(exchange: Exchange, upload: Upload, *, again: bool) -> None:
    host = exchange.door.host

    def handle() -> Response:
        request = _write_of(exchange, upload.value)._replace(staged=upload.whole(), sent_at=upload.entered_at)
        return uploads.store_beside(host, request) if upload.value["keep_both"] else host.handle(request)

    upload.finish(handle, again=again)


def _ended(upload: Upload) -> Answer:
    """Ends an upload; a file that it has made stays."""
    if not upload.is_done:
        upload.hold()
    upload.site.state.commit([Delete(TABLE, upload.key)])
    if upload.value["place"]:
        upload.parts.drop(upload.value["place"])
    return Answer(204, [])
