"""The bodies that HTML forms send: application/x-www-form-urlencoded and multipart/form-data."""

from __future__ import annotations

import io
import itertools
import os
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, BinaryIO, NamedTuple, cast
from urllib.parse import parse_qsl

from app import BadRequest, Exchange, Held, TooLarge, UnsupportedMedia, Upload, how_many, in_units, plugin

# ==== 1. FORMS ===================================================================================================
# Parts are read as they arrive, and what came before a failure is there: nothing typed is lost.
# uses: ERRORS VALUES RUNNERS RESOURCES plugin:reserve
# defines: DROPPED_BYTES Part read_multipart SentForm form_of read_form

DROPPED_BYTES = 1 << 30  # of files over their limit, which are read so that the rest of the form comes back
_MOST_FIELDS = 50_000  # of one body: 1,000 lines of many fields are that many
_IN_MEMORY_BYTES = 64 * 1024  # of a file of a form; what is larger goes to a temporary file


class Part(NamedTuple):
    """One part of a multipart body; chunks must be read before the next part comes."""

    name: str
    file_name: str | None
    chunks: Iterator[bytes]

    def text(self, most: int = 65536) -> str:
        """The whole part as text of at most `most` bytes."""
        found = bytearray()
        for chunk in self.chunks:
            found += chunk
            if len(found) > most:
                raise TooLarge(f"the field {self.name} is longer than {how_many(most)}")
        try:
            return found.decode("utf-8")
        except UnicodeDecodeError:
            raise BadRequest(f"the field {self.name} is not UTF-8") from None


def read_multipart(body: Iterable[bytes], content_type: str) -> Iterator[Part]:
    """The parts of multipart/form-data (RFC 7578) as they arrive; BadRequest where it is malformed."""
    from multipart import MultipartError, MultipartSegment, PushMultipartParser, parse_options_header

    boundary = parse_options_header(content_type)[1].get("boundary", "")
    if not boundary:
        raise BadRequest("the multipart body names no boundary")
    limits = {
        "max_segment_count": _MOST_FIELDS,
        "max_header_size": 16_384,
        "max_header_count": 8,
        "header_charset": "latin-1",
    }

    def events() -> Iterator[Any]:
        try:
            with PushMultipartParser(boundary, **limits) as parser:
                for chunk in body:
                    yield from parser.parse(chunk)
                yield from parser.parse(b"")
        except (MultipartError, UnicodeError) as error:
            raise BadRequest(f"the multipart body is malformed: {error}") from error

    source = events()
    for event in source:
        if isinstance(event, MultipartSegment):
            _check_part(event)
            content = map(bytes, itertools.takewhile(lambda one: one is not None, source))
            file_name = None if event.filename is None else _from_latin_1(event.filename)
            yield Part(_from_latin_1(event.name), file_name, content)
            deque(content, maxlen=0)


def _from_latin_1(header: str) -> str:
    """A text of a part's header, which is UTF-8; U+FFFD stands where it is not."""
    return header.encode("latin-1").decode(errors="replace")


def _check_part(segment: Any) -> None:
    """BadRequest or UnsupportedMedia if the bytes of a part are not, as they stand, the whole of what is meant."""
    if segment.header("Content-Range") is not None:
        raise BadRequest("a part with Content-Range is not supported: send the whole file")
    for name in ("Content-Encoding", "Content-Transfer-Encoding"):  # RFC 7578 section 4.7
        if (segment.header(name) or "binary").lower() not in ("binary", "8bit", "7bit", "identity"):
            raise UnsupportedMedia(f"a part with {name} is not supported: send the bytes as they are")


class SentForm:
    """An HTML form as far as it was read."""

    def __init__(self) -> None:
        self.fields: dict[str, list[Any]] = {}  # texts and Uploads by name
        self.is_read = False  # whether reading it has begun
        self.dropped_bytes = 0  # of files over their limits
        self.held: list[Held] | None = None  # files of an earlier submit that came back with this one
        self.cut_short = False  # whether it could not be read to its end

    def text(self, name: str) -> str:
        """The first text of a field; "" if there is none."""
        return next((value for value in self.fields.get(name, ()) if isinstance(value, str)), "")

    def uploads(self) -> dict[str, list[Upload]]:
        """The files that were chosen, by field; none is empty."""
        found = {}
        for name, values in self.fields.items():
            if chosen := [one for one in values if isinstance(one, Upload) and one.name]:
                found[name] = chosen
        return found

    def data(self) -> dict[str, list[Any]]:
        """What was filled in. Fields whose names begin with "_" are the page's own."""
        return {name: list(values) for name, values in self.fields.items() if not name.startswith("_")}


def form_of(exchange: Exchange) -> SentForm:
    """What was read of the form so far."""
    if exchange.form is None:
        exchange.form = SentForm()
    return cast(SentForm, exchange.form)


def read_form(
    exchange: Exchange, most: int, file_limits: Mapping[str, int] | None = None, room: int | None = None
) -> SentForm:
    """The HTML form that was sent: texts, at most `most` bytes of them, and Uploads kept in temporary files.

    The fields are there as they come, so that a failure loses nothing of what came before it. With limits of the files
    of each field, in bytes (0 for others), what is over its limit is read and dropped; `room` is for all files together,
    None for one of each field.
    """
    form = form_of(exchange)
    form.is_read = True
    if exchange.media_type == "application/x-www-form-urlencoded":
        _read_urlencoded(exchange, most)
    elif exchange.media_type == "multipart/form-data":
        if exchange.body.most is None and file_limits is None:
            exchange.body.bounded(most)
        _read_parts(exchange, most, file_limits, sum((file_limits or {}).values()) if room is None else room)
    else:
        raise UnsupportedMedia("send a form: application/x-www-form-urlencoded or multipart/form-data")
    return form


def _read_urlencoded(exchange: Exchange, most: int) -> None:
    try:
        text = b"".join(exchange.body.bounded(most)).decode()
        pairs = parse_qsl(text, keep_blank_values=True, errors="strict", max_num_fields=_MOST_FIELDS)
    except ValueError:
        raise BadRequest("the form is not UTF-8, or has over 50,000 fields") from None
    fields = form_of(exchange).fields
    for name, value in pairs:
        fields.setdefault(name, []).append(value)


def _read_parts(exchange: Exchange, most: int, file_limits: Mapping[str, int] | None, room: int) -> None:
    """`room` is for all files together, however often a field comes."""
    fields = form_of(exchange).fields
    for part in read_multipart(exchange.body, exchange.content_type):
        if part.file_name is None:
            value = part.text(most)
            most -= len(value.encode())
            fields.setdefault(part.name, []).append(value)
            continue
        limit = None if file_limits is None else min(room, file_limits.get(part.name, 0))
        uploads = fields.setdefault(part.name, [])
        uploads.append(Upload(part.file_name, io.BytesIO(), dropped_bytes=1))  # for one that is cut off
        one = _spooled(exchange, part, limit)
        room -= one.file.seek(0, os.SEEK_END)
        one.file.seek(0)
        if one.dropped_bytes and file_limits:  # for want of room: it is over the limit of its field, too
            one.dropped_bytes = max(one.dropped_bytes, file_limits.get(part.name, 0) + 1)
        uploads[-1] = one


def _spooled(exchange: Exchange, part: Part, limit: int | None) -> Upload:
    """A chosen file in a temporary one, in memory while small, closed after the answer; empty if it is over its limit."""
    if len(exchange.files) >= 100:
        raise TooLarge("a form takes at most 100 files")
    from tempfile import SpooledTemporaryFile

    file = cast(BinaryIO, SpooledTemporaryFile(_IN_MEMORY_BYTES))  # noqa: SIM115 (closed by HttpRunner.wsgi)
    exchange.files.append(file)
    form, size = form_of(exchange), 0
    for chunk in part.chunks:
        size += len(chunk)
        if limit is None or size <= limit:
            if size > _IN_MEMORY_BYTES:
                plugin("reserve").check_scratch("receiving files")
            file.write(chunk)
            continue
        if file.tell():
            file.seek(0)
            file.truncate()
        form.dropped_bytes += len(chunk)
        if form.dropped_bytes > DROPPED_BYTES:
            raise TooLarge(f"the files are too large: {in_units(DROPPED_BYTES)} is the most that is read here")
    file.seek(0)
    return Upload(part.file_name or "", file, size if limit is not None and size > limit else 0)
