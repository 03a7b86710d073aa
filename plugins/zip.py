"""The ZIP format: a folder of a share, or some of what is in it, as one archive that is made while it is sent."""

from __future__ import annotations

import re
import time
from collections.abc import Generator, Iterator, Sequence
from contextlib import closing
from datetime import tzinfo
from typing import Any, NamedTuple, cast
from urllib.parse import quote

from app import (
    Action,
    Answer,
    AppError,
    BadRequest,
    Blob,
    Blobs,
    Caller,
    Exchange,
    Files,
    Folder,
    Format,
    NotAcceptable,
    NotFound,
    Plan,
    PreconditionFailed,
    Request,
    Response,
    Scope,
    Unseen,
    Unsupported,
    plan_of,
    plugin,
)

file_names = plugin("file_names")

# ==== 1. ZIP =====================================================================================================
# What goes into an archive: all that its reader may read, below one folder. What cannot be read is left out and named in a
# file at the end, so that one bad file keeps nobody from the others.
# uses: ERRORS VALUES CONTRACTS RUNNERS RESOURCES plugin:file_names plugin:media_types plugin:zip_writer
# defines: Format:zip Wanted read Zip answer_of

_SEPARATOR = "\0"  # between the names of a selection, of which none has it
_MOST_EMPTY, _DEEPEST_EMPTY = 10_000, 100  # empty folders of an archive: a link that leads above itself has no end
_PACKED = re.compile(
    r"image/(?!svg|bmp|x-).*|audio/(?!.*wav).*|video/.*|application/(zip|gzip|x-7z.*|x-xz|x-bzip.*|x-rar.*|vnd\.rar|zstd|pdf"
    r"|epub.*|java-archive|vnd\.openxmlformats.*|vnd\.oasis\.opendocument.*)"
)


class Wanted(NamedTuple):
    """What is to be zipped: the names of entries of a folder, or () for all of it. `path` is the folder in the provider,
    `parts` are the names that lead there in the share."""

    share: Files
    path: str
    parts: Sequence[str]
    names: Sequence[str] = ()


def read(share: Files, request: Request, scope: Scope, path: str, parts: Sequence[str]) -> Plan:
    """The answer to `?_zip=1`, with `_name` for each entry that is wanted. Raises NotFound if one is missing."""
    if not request.whole:
        raise BadRequest("_zip makes an archive for HTTP alone: read the files one by one")
    for name in request.params:
        if name not in ("_zip", "_name"):
            raise BadRequest(f"{name} is no parameter of an archive: there are _zip and _name")
    if request.params.get("_zip") != "1":
        raise BadRequest("_zip must be 1")
    names = tuple(dict.fromkeys(request.params["_name"].split(_SEPARATOR))) if "_name" in request.params else ()
    wanted = Wanted(share, path, parts, names)
    _check(wanted, scope.caller, request.path)
    return plan_of(Response(page={"zip": wanted, "title": share.title}))


def _check(wanted: Wanted, caller: Caller, asked: Sequence[str]) -> None:
    """Raises what keeps the archive from being made."""
    share, blobs = wanted.share, wanted.share.blobs
    if not blobs.lists:
        raise Unsupported("this share cannot be listed, so its folders cannot be zipped")
    if wanted.parts and not blobs.is_folder(wanted.path):
        if asked[-1] != "" and blobs.stat(wanted.path):
            raise BadRequest("_zip is for folders, and this is a file: read it as it is")
        raise NotFound(f"files/{share.name} has no {'/'.join(wanted.parts)}")
    for name in wanted.names:
        if name in ("", ".", "..") or "/" in name:
            raise BadRequest(f"_name is {name[:100]!r}: write the name of an entry of the folder")
        caller.require(Action.READ, _address(share, [*wanted.parts, name]))
        place = share.place("/".join([*wanted.parts, name]))
        if not blobs.stat(place) and not blobs.is_folder(place):
            raise NotFound(f"{_address(share, wanted.parts)} has no {name}")


def _address(share: Files, parts: Sequence[str]) -> str:
    return "/".join([f"files/{share.name}", *[quote(part, safe="") for part in parts]])


class Zip(Format):
    """Chosen by `_zip=1`, or by Accept for a folder."""

    kind = "zip"
    media = "application/zip"
    subjects = frozenset({"folder"})
    whole = True

    def dump(self, exchange: Exchange, response: Response) -> Iterator[bytes]:
        raise NotAcceptable("only folders are written as zip")

    def answer(self, exchange: Exchange, response: Response) -> Answer | None:
        wanted = response.page.get("zip")
        if wanted is None and response.table and response.template == "files.tpl":
            response.table.close()
            share = cast(Any, exchange.door.host).resources[exchange.resource]
            parts = tuple(part for part in exchange.path_inside if part)
            wanted = Wanted(share, share.place("/".join(parts)), parts)
            if exchange.query:
                raise BadRequest(f"{min(exchange.query)} is no parameter of an archive: there are _zip and _name")
            _check(wanted, response.caller, exchange.path_inside)
        return answer_of(exchange, wanted, response.caller) if wanted else None

    def fault(self, exchange: Exchange, error: AppError) -> Answer | None:
        """As it would be answered without an archive: a person gets a page."""
        kind = exchange.door.accepted(exchange.header("accept").strip() or "*/*")
        if kind == self.kind:
            return None
        exchange.format = exchange.door.formats[kind]
        return exchange.format.fault(exchange, error)


def answer_of(exchange: Exchange, wanted: Wanted, caller: Caller) -> Answer:
    """The archive of what this caller may read."""
    name = wanted.parts[-1] if wanted.parts else wanted.share.name
    if len(wanted.names) == 1:
        name = wanted.names[0]
    plain = re.sub(r"[^ !#-\[\]-~]", "_", name)
    disposition = f"attachment; filename=\"{plain}.zip\"; filename*=UTF-8''{quote(name, safe='')}.zip"
    headers = [("Content-Type", Zip.media), ("Content-Disposition", disposition)]
    return Answer(200, headers, _archive(wanted, caller, exchange.locale.zone, exchange.locale.t))


def _archive(wanted: Wanted, caller: Caller, zone: tzinfo, t: Any) -> Generator[bytes, None, None]:
    """The whole archive in pieces."""
    missing: list[str] = []
    with closing(plugin("zip_writer").Writer(zone)) as writer:
        for name, one in _entries(wanted, caller):
            if isinstance(one, Folder):
                yield writer.folder(name, time.time())
            elif problem := (
                one.problem if isinstance(one, Unseen) else (yield from _file(writer, wanted.share, name, one))
            ):
                missing.append(f"{name}: {t.said(problem)}")
        if missing:
            text = "\r\n".join([t("zip.missing"), "", *missing, ""]).encode(errors="replace")
            yield from writer.file(_free(wanted), time.time(), len(text), iter([text]), is_packed=False)
        yield from writer.end()


def _free(wanted: Wanted) -> str:
    """A name for the list of what is missing that no entry has."""
    number, name = 1, "_missing.txt"
    while name in wanted.names or wanted.share.blobs.stat("/".join(filter(None, [wanted.path, name]))):
        number += 1
        name = f"_missing ({number}).txt"
    return name


def _file(writer: Any, share: Files, name: str, blob: Blob) -> Generator[bytes, None, str]:
    """A file in pieces. Returns why it is not there, or not whole; "" if it is."""
    try:
        reader, blob = _opened(share, blob)
    except AppError as error:
        return error.message
    with closing(reader):
        is_packed = bool(_PACKED.fullmatch(plugin("media_types").media_type(name)))
        broken = yield from writer.file(name, blob.modified_at, blob.size_bytes, iter(reader), is_packed=is_packed)
    return f"it broke off: {broken.message}" if broken else ""


def _opened(share: Files, blob: Blob) -> tuple[Any, Blob]:
    """The bytes of a file as it is now, and what is known of it; no more of them than that says."""
    for _ in range(3):
        try:
            return share.reader(blob, 0, blob.size_bytes), blob
        except PreconditionFailed:
            found = share.blobs.stat(blob.path)
            if found is None:
                raise NotFound("it is there no longer") from None
            blob = found
    raise NotFound("it kept changing while it was read")


# ---- what there is


def _entries(wanted: Wanted, caller: Caller) -> Iterator[tuple[str, Blob | Folder | Unseen]]:
    """(name in the archive, what it is) of all that the caller may read; of folders only those that are empty."""
    share, blobs, inside = wanted.share, wanted.share.blobs, len(wanted.path) + 1 if wanted.path else 0

    def seen(entry: Any) -> bool:
        return caller.may(Action.READ, _address(share, [*wanted.parts, *entry.path[inside:].split("/")]))

    for one in _all(blobs, wanted):
        if seen(one):
            yield one.path[inside:], one


def _all(blobs: Blobs, wanted: Wanted) -> Iterator[Blob | Folder | Unseen]:
    """Each file below a folder, or that are or lie below its entries of these names, and each empty folder there."""
    if not wanted.names:
        yield from _below(blobs, wanted.path)
    for name in wanted.names:
        place = wanted.share.place("/".join([*wanted.parts, name]))
        if blob := blobs.stat(place):
            yield blob
            continue
        is_empty = True
        for one in _below(blobs, place):
            is_empty = False
            yield one
        if is_empty:
            yield Folder(place)


def _below(blobs: Blobs, folder: str) -> Iterator[Blob | Folder | Unseen]:
    """Files come by a deep scan, which knows links that lead above themselves; then come folders that it saw nothing in."""
    held: list[set[str]] = [set()]  # of the folder that the scan is in, and those above it: the sub-folders with files
    place, left = folder, [_MOST_EMPTY]
    for one in file_names.scan(blobs, folder):
        above = one.path.rpartition("/")[0]
        while place != above and not above.startswith(f"{place}/" if place else ""):
            yield from _empty(blobs, place, held.pop(), left)
            place = place.rpartition("/")[0]
        while place != above:
            name = above[len(place) + 1 if place else 0 :].partition("/")[0]
            held[-1].add(name)
            held.append(set())
            place = f"{place}/{name}" if place else name
        yield one
    while held:
        yield from _empty(blobs, place, held.pop(), left)
        place = place.rpartition("/")[0]


def _empty(blobs: Blobs, folder: str, held: set[str], left: list[int], depth: int = 0) -> Iterator[Folder]:
    """The folders in a folder, and in those, that hold no file."""
    if not (blobs.makes_folders or blobs.keeps_folders):
        return
    for one in file_names.scan(blobs, folder, deep=False):
        if not isinstance(one, Folder) or one.path.rpartition("/")[2] in held or left[0] <= 0:
            continue
        if any(not isinstance(each, Folder) for each in blobs.scan(one.path, deep=False)):
            continue  # a link that leads above itself, or somebody put a file there meanwhile
        left[0] -= 1
        if depth == _DEEPEST_EMPTY:
            continue
        found = list(_empty(blobs, one.path, set(), left, depth + 1))
        yield from found or [one]
