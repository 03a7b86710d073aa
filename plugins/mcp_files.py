"""Files of the shares as resources of the Model Context Protocol: listed folder by folder, and read as text or bytes."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from contextlib import suppress
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, unquote

from app import (
    Action,
    BadRequest,
    Content,
    Forbidden,
    Json,
    NotFound,
    TooLarge,
    Value,
    decode_cursor,
    encode_cursor,
    in_units,
    plugin,
    split_path,
)

if TYPE_CHECKING:
    from plugins.mcp import Call

# ==== 1. SHARES ==================================================================================================
# A cursor is the way to where a list stopped: the share, and for each folder on the way its name, its page and how far that
# was read.
# uses: ERRORS VALUES RESOURCES plugin:mcp plugin:media_types
# defines: MOST_READ_BYTES listed templates read

MOST_READ_BYTES = 1_000_000
_BEGIN = "satchel:///"  # of an address
_MOST_LISTED, _MOST_FOLDERS = 100, 50  # of one answer: files, and pages of folders that are looked at for them
_DEEPEST, _MOST_NAMES = 30, 1000  # folders in one another; entries of one that is read
_TEXTS = ("application/json", "application/xml", "application/toml", "application/yaml", "application/javascript")


def _shares(call: Call) -> list[Value]:
    return [one for one in call.described() if one["type"] == "files"]


def listed(call: Call, cursor: Json) -> Value:
    """A page of all files that the caller may list. Raises BadRequest for a cursor that is none."""
    shares = [one["address"] for one in _shares(call)]
    walk = _Walk(call, shares, *_place(cursor, shares))
    found = list(walk.files())
    return {"resources": found} | ({"nextCursor": walk.cursor} if walk.cursor else {})


def _place(cursor: Json, shares: list[str]) -> tuple[int, list[list[Any]]]:
    """The share and the way in it where a list goes on."""
    if cursor is None:
        return 0, []
    share, way = decode_cursor(cursor, 2) if isinstance(cursor, str) else ("", [])
    steps: list[Any] = way if isinstance(way, list) and len(way) <= _DEEPEST else [None]
    if share not in shares or not all(isinstance(one, list) and [*map(type, one)] == [str, str, int] for one in steps):
        raise BadRequest("cursor is not one of this list: use the one from its answer, unchanged")
    return shares.index(share), steps


class _Walk:
    """Goes through shares and their folders, from a place until an answer is full."""

    def __init__(self, call: Call, shares: list[str], at: int, way: list[list[Any]]) -> None:
        """`way` has [name, cursor of its page, how many entries of that were read] for the share and each folder below."""
        self._call, self._shares, self._at, self._way = call, shares, at, way
        self._left = _MOST_FOLDERS

    @property
    def cursor(self) -> str:
        """Where it stopped; "" at the end."""
        return encode_cursor(self._shares[self._at], self._way) if self._at < len(self._shares) else ""

    def files(self) -> Iterator[Value]:
        count = 0
        while self._at < len(self._shares) and self._left and count < _MOST_LISTED:
            self._way = self._way or [["", "", 0]]
            for one in self._page(_MOST_LISTED - count):
                count += 1
                yield one
            if not self._way:
                self._at += 1

    def _page(self, most: int) -> list[Value]:
        """The files of a folder's page up to its next folder, into which the way then leads."""
        here, found = self._way[-1], list[Value]()
        rows, following = self._rows()
        for row in rows[here[2] :]:
            if len(found) == most:
                return found
            here[2] += 1
            if row["type"] == "folder" and len(self._way) < _DEEPEST:
                self._way.append([row["name"], "", 0])
                return found
            if row["type"] == "file":
                found.append(_resource(row))
        if following:
            here[1:] = [following, 0]
        else:
            self._way.pop()
        return found

    def _rows(self) -> tuple[list[Value], str | None]:
        """The entries of the page where it is; none of what the caller may not list."""
        self._left -= 1
        path, params = tuple(one[0] for one in self._way[1:]), {"_next": self._way[-1][1]} if self._way[-1][1] else {}
        with suppress(Forbidden, NotFound):
            if table := self._call.handle(Action.READ, self._shares[self._at], path, params=params).table:
                return [dict(row) for row in table.rows], table.next
        return [], None


def _resource(row: Value) -> Value:
    media: str = plugin("media_types").media_type(row["name"])
    about = {"annotations": {"lastModified": row["modified_at"]}} if row.get("modified_at") else {}
    return {"uri": _BEGIN + row["address"], "name": row["name"], "mimeType": media, "size": row["size_bytes"]} | about


def templates(call: Call) -> Value:
    """A template for each share, of the addresses of its files."""
    return {
        "resourceTemplates": [
            {"uriTemplate": f"{_BEGIN}{one['address']}/{{+path}}", "name": one["address"], "title": one["title"]}
            for one in _shares(call)
        ]
    }


def read(call: Call, uri: Json) -> Value:
    """The content of a file, or what is in a folder. Raises NotFound, Forbidden, BadRequest, and TooLarge past the bound."""
    if not isinstance(uri, str) or not uri.startswith(_BEGIN + "files/"):
        raise NotFound(f"uri must be {_BEGIN}files/SHARE/PATH, such as resources/list has")
    _, share, *path = split_path(uri.removeprefix(_BEGIN))
    response = call.handle(Action.READ, f"files/{quote(share, safe='')}", tuple(path))
    if response.content:
        return {"contents": [{"uri": uri, **_contents(response.content)}]}
    names, table = list[str](), response.table
    while table:
        names += [unquote(row["address"]) + "/" * (row["type"] == "folder") for row in table.rows]
        more = {"_next": table.next} if table.next and len(names) < _MOST_NAMES else None
        names += ["and more"] if table.next and not more else []
        table = call.handle(Action.READ, f"files/{quote(share, safe='')}", tuple(path), params=more).table if more else None
    return {"contents": [{"uri": uri, "mimeType": "text/plain", "text": "\n".join(names)}]}


def _contents(content: Content) -> Value:
    size = content.blob.size_bytes
    if size > MOST_READ_BYTES:
        raise TooLarge(f"the file has {in_units(size)}; at most {in_units(MOST_READ_BYTES)} are read here: GET its address")
    reader = content.read(0, None)
    try:
        data = b"".join(reader)
    finally:
        reader.close()
    media: str = plugin("media_types").media_type(content.name)
    if media.startswith("text/") or media in _TEXTS:
        with suppress(UnicodeDecodeError):
            return {"mimeType": media, "text": data.decode()}
    return {"mimeType": media, "blob": base64.b64encode(data).decode()}
