"""Files that are imported: how they come over HTTP."""

from __future__ import annotations

from collections.abc import Iterable
from tempfile import SpooledTemporaryFile
from typing import TYPE_CHECKING, Any, BinaryIO, cast

import app
from app import Exchange, Json, TooLarge, UnsupportedMedia, Upload, in_units

if TYPE_CHECKING:
    from plugins.html_forms import read_form
else:
    read_form = app.plugin("html_forms").read_form

# ==== 1. RECEIVED ================================================================================================
# A file is received into a temporary one before its first row is looked at.
# uses: ERRORS VALUES RUNNERS RESOURCES plugin:html_forms plugin:reserve
# defines: PART MOST_FILE_BYTES received read_page

PART = "import"  # the segment of a form's address
MOST_FILE_BYTES = 100_000_000
_IN_MEMORY_BYTES = 1024 * 1024


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
    if exchange.path_inside[:1] != (PART,):
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
    return cast(Json, form.data())
