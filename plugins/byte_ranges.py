"""Several ranges of a stored file as one body: multipart/byteranges."""

from __future__ import annotations

import secrets
from collections.abc import Generator, Sequence
from contextlib import closing
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from app import Content

# ==== 1. RANGES ==================================================================================================
# RFC 9110 section 14.6. Few clients ask for it; one range is a matter of the file responder.
# uses: VALUES
# defines: several


def several(
    content: Content, ranges: Sequence[tuple[int, int]], headers: Sequence[tuple[str, str]]
) -> tuple[list[tuple[str, str]], Generator[bytes, None, None]]:
    """The headers of the whole, of those of the file, and the body with a part for each (start, length) in bytes."""
    boundary, size = secrets.token_hex(16), content.blob.size_bytes
    lead = f"\r\n--{boundary}\r\nContent-Type: {dict(headers)['Content-Type']}\r\nContent-Range: bytes "
    heads = [f"{lead}{start}-{start + length - 1}/{size}\r\n\r\n".encode() for start, length in ranges]
    tail = f"\r\n--{boundary}--\r\n".encode()
    total = sum(map(len, heads)) + sum(length for _, length in ranges) + len(tail)
    found = [(name, value) for name, value in headers if name != "Content-Type"]
    found += [("Content-Type", f"multipart/byteranges; boundary={boundary}"), ("Content-Length", str(total))]

    def chunks() -> Generator[bytes, None, None]:
        for head, (start, length) in zip(heads, ranges, strict=True):
            yield head
            with closing(content.read(start, length)) as reader:
                yield from reader
        yield tail

    return found, chunks()
