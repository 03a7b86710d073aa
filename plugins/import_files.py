"""Files that are imported: how they come over HTTP, and where they stand between the steps of a page."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Sequence
from contextlib import suppress
from functools import partial
from itertools import islice
from tempfile import SpooledTemporaryFile
from typing import TYPE_CHECKING, Any, BinaryIO, NamedTuple, cast

import app
from app import (
    App,
    Condition,
    Conflict,
    Delete,
    Exchange,
    Insert,
    Json,
    NotFound,
    Query,
    Record,
    TooLarge,
    UnsupportedMedia,
    Update,
    Upload,
    Value,
    in_units,
    is_key,
    new_id,
)

if TYPE_CHECKING:
    from plugins.html_forms import read_form
else:
    read_form = app.plugin("html_forms").read_form

# ==== 1. STAGED ==================================================================================================
# Between the steps of a page the file stands in the state provider, in pieces, so that any node of the site goes on with it.
# uses: ERRORS VALUES RESOURCES ASSEMBLY
# defines: PART MOST_FILE_BYTES STAGED keep Kept taken told forget

PART = "import"  # the segment of a form's address
MOST_FILE_BYTES = 100_000_000
_IN_MEMORY_BYTES = 1024 * 1024
STAGED = "_imports"
_PIECE_BYTES = 180_000  # as base64 within what any provider keeps as one record
_KEPT_S = 86_400
_AT_ONCE = 500  # rows that are removed in one go


def keep(site: App, form: str, subject: str, upload: Upload) -> str:
    """Stages a file for somebody, in place of the one before for the same form; returns the id of the import."""
    now, id_ = site.clock(), new_id(site.clock())
    _remove(site, Query(STAGED, (Condition("subject", "eq", subject), Condition("form", "eq", form))))
    facts: Value = {"at": now, "subject": subject, "form": form}
    pieces = 0
    for piece in iter(partial(upload.file.read, _PIECE_BYTES), b""):
        text = base64.b64encode(piece).decode()
        site.state.commit([Insert(STAGED, f"{id_}-{pieces:05}", facts | {"data": text})])
        pieces += 1
    whole = facts | {"name": upload.name, "pieces": pieces, "report": None}
    site.state.commit([Insert(STAGED, id_, whole)])
    return id_


class Kept(NamedTuple):
    """A staged file: its record, and its bytes from the start."""

    record: Record
    upload: Upload


def taken(site: App, form: str, subject: str, id_: str) -> Kept:
    """The file of an import, to be closed. Raises NotFound unless this person staged it for this form."""
    record = site.state.get(STAGED, id_) if is_key(id_) else None
    if record is None or (record.value.get("subject"), record.value.get("form")) != (subject, form):
        raise NotFound("the file is no longer kept here: choose it again")
    file = cast(Any, SpooledTemporaryFile(_IN_MEMORY_BYTES))  # noqa: SIM115
    for number in range(record.value["pieces"]):
        piece = site.state.get(STAGED, f"{id_}-{number:05}")
        if piece is None:
            file.close()
            raise NotFound("the file is no longer kept here: choose it again")
        file.write(base64.b64decode(piece.value["data"]))
    file.seek(0)
    return Kept(record, Upload(record.value["name"], cast(BinaryIO, file)))


def told(site: App, record: Record, report: Value) -> None:
    """Keep the report of an import with its file."""
    with suppress(Conflict):  # another submit of the same page
        site.state.commit([Update(STAGED, record.key, record.value | {"report": report}, record.version)])


def forget(site: App, now: float) -> None:
    """Removes what was staged over a day before."""
    _remove(site, Query(STAGED, (Condition("at", "lt", now - _KEPT_S),)))


def _remove(site: App, query: Query) -> None:
    keys = [record.key for record in islice(site.state.walk(query), _AT_ONCE)]
    size = min(site.state.most_writes or 100, 100)
    for start in range(0, len(keys), size):
        site.state.commit([Delete(STAGED, key) for key in keys[start : start + size]])


# ==== 2. RECEIVED ================================================================================================
# A file is received into a temporary one before its first row is looked at.
# uses: ERRORS VALUES RUNNERS RESOURCES ASSEMBLY STAGED plugin:html_forms plugin:navigation plugin:reserve
# defines: is_place received read_page


def is_place(resource: str, path: Sequence[str]) -> bool:
    """Whether files are imported there."""
    return resource.startswith("forms/") and tuple(path[:1]) == (PART,)


def received(exchange: Exchange) -> Json:
    """A body that is the file. Raises UnsupportedMedia where no file is imported."""
    _check_place(exchange)
    params = exchange.content_type.partition(";")[2]
    upload = Upload("", _spooled(exchange, exchange.body.bounded(_most_bytes(exchange))))
    charset = next((one.partition("=")[2] for one in params.split(";") if one.strip().lower().startswith("charset=")), "")
    return cast(Json, {"file": [upload], "encoding": [charset.strip().strip('"')] if charset else []})


def _most_bytes(exchange: Exchange) -> int:
    """A stranger sends no more than any other body."""
    return MOST_FILE_BYTES if exchange.credential else exchange.door.config.max_body_bytes


def _check_place(exchange: Exchange) -> None:
    if not is_place(exchange.resource, exchange.path_inside):
        where = " (it is imported at a form's own address and /import)" if exchange.resource.startswith("forms/") else ""
        raise UnsupportedMedia(f"{exchange.media_type} is not read here: send application/json{where}")


def _spooled(exchange: Exchange, chunks: Iterable[bytes]) -> BinaryIO:
    """The chunks in a temporary file, closed after the answer."""
    file, size = cast(Any, SpooledTemporaryFile(_IN_MEMORY_BYTES)), 0  # noqa: SIM115
    exchange.files.append(file)
    for chunk in chunks:
        size += len(chunk)
        if size > _IN_MEMORY_BYTES:
            app.plugin("reserve").check_scratch("receiving files")
        file.write(chunk)
    file.seek(0)
    return cast(BinaryIO, file)


def read_page(exchange: Exchange) -> Json:
    """An HTML form with the file in it, or with how it is to be read."""
    most = _most_bytes(exchange)
    form = read_form(exchange, exchange.door.config.max_body_bytes, {"file": most})
    exchange.door.check_token(exchange, form.text("_token"))
    if any(one.dropped_bytes for uploads in form.uploads().values() for one in uploads):
        raise TooLarge(f"the file is too large: at most {in_units(most)} are imported")
    data = form.data()
    if len(exchange.path_inside) > 1:
        site = cast(App, exchange.door.host)
        subject = app.plugin("navigation").caller_of(exchange, site).subject
        kept = taken(site, exchange.resource, subject, exchange.path_inside[1])
        exchange.files.append(kept.upload.file)
        cast(Any, kept.upload).kept = kept.record
        data |= {"file": [kept.upload]}
    return cast(Json, data)
