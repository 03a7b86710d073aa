"""Uploads that come in several requests, in S3: the parts of a multipart upload, and an object for what is no part yet."""

from __future__ import annotations

import hashlib
import io
import json
import secrets
from base64 import b64encode
from collections.abc import Iterator
from contextlib import closing
from typing import TYPE_CHECKING, Any

import app
from app import NotFound, Staged

if TYPE_CHECKING:
    from plugins import aws, upload_parts
else:
    aws, upload_parts = map(app.plugin, ("aws", "upload_parts"))

# ==== 1. PARTS ===================================================================================================
# S3 takes no part of under 5 MiB but the last one: smaller bytes wait in an object of their own, which is written anew each
# time, until they are enough. Nothing can be read of a multipart upload before it is completed.
# uses: ERRORS VALUES plugin:aws plugin:upload_parts
# defines: S3Parts

_MISSING = ("NoSuchUpload", "NoSuchKey", "404")


class S3Parts:
    """Parts of a bucket. A place is JSON: the id of the upload, its key, the id of its write, where the tail is and its
    size, and the ETags of its parts."""

    slides = False  # S3 counts the age of an upload from its beginning

    def __init__(self, blobs: Any) -> None:
        self._blobs = blobs
        self._call = blobs._s3

    def begin(self, path: str) -> str:
        key = self._blobs._key(path) if path else aws.STAGED + secrets.token_hex(16)
        upload = aws.Upload(self._call, key)
        return app.dump_json([upload.id, key, upload.write_id, "", 0])

    def append(self, place: str, at: int, data: bytes | memoryview) -> str:
        id_, key, write_id, tail, size, *etags = json.loads(place)
        body = self._bytes(tail, size) + data
        if len(body) >= aws.part_bytes(len(etags) + 1):
            etags.append(self._send(id_, key, len(etags) + 1, body))
            body = b""
        tail = self._keep(body) if body else ""
        return app.dump_json([id_, key, write_id, tail, len(body), *etags])

    def _bytes(self, tail: str, size: int) -> bytes:
        if not tail:
            return b""
        try:
            found = self._call("staging", "get_object", Key=tail, expect=_MISSING)
        except aws.Refused:
            raise NotFound(upload_parts.GONE) from None
        with closing(aws.S3Reader(self._blobs._service("S3"), tail, found["Body"])) as reader:
            return b"".join(reader)[:size]

    def _keep(self, body: bytes) -> str:
        key = aws.STAGED + secrets.token_hex(16)
        self._call("staging", "put_object", Key=key, Body=io.BytesIO(body), ContentMD5=_md5(body))
        return key

    def _send(self, id_: str, key: str, number: int, body: bytes) -> str:
        facts = {"Key": key, "UploadId": id_, "PartNumber": number, "Body": io.BytesIO(body), "ContentMD5": _md5(body)}
        try:
            return str(self._call("staging", "upload_part", needs=("ETag",), expect=_MISSING, **facts)["ETag"])
        except aws.Refused:
            raise NotFound(upload_parts.GONE) from None

    def read(self, place: str, size_bytes: int) -> Iterator[bytes] | None:
        return None

    def is_bound(self, place: str) -> bool:
        return not json.loads(place)[1].startswith(aws.STAGED)

    def is_published(self, place: str, path: str) -> bool:
        """Whether the file at a path is of these bytes, which cannot be read here to be compared."""
        found = self._blobs._head(path)
        return bool(found and found.write_id == json.loads(place)[2])

    def whole(self, place: str, size_bytes: int, sha256: str) -> Staged:
        id_, key, write_id, tail, size, *etags = json.loads(place)
        is_staged = key.startswith(aws.STAGED)  # then it is copied to wherever it goes
        if is_staged and self._blobs._head(key):  # an earlier try has completed it
            return Staged(app.dump_json(["", key]), size_bytes, sha256)
        if tail or not etags:
            etags.append(self._send(id_, key, len(etags) + 1, self._bytes(tail, size)))
        if is_staged:
            self._blobs._complete(key, id_, etags)
            return Staged(app.dump_json(["", key]), size_bytes, sha256)
        return Staged(app.dump_json([id_, key, write_id, *etags]), size_bytes, sha256)

    def tidy(self, before: str, after: str) -> None:
        old, new = (json.loads(one)[3] if one else "" for one in (before, after))
        if old and old != new:
            self._call("discarding", "delete_object", Key=old)

    def drop(self, place: str) -> None:
        id_, key, *_ = json.loads(place)
        self.tidy(place, "")
        self._blobs.discard(Staged(app.dump_json([id_, key]), 0, ""))


def _md5(body: bytes) -> str:
    return b64encode(hashlib.md5(body, usedforsecurity=False).digest()).decode()
