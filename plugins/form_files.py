"""The files in the records of a form: fields with format = "file", whose bytes are kept in a share."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING
from urllib.parse import quote

import app
from app import (
    HELD_IS_GONE,
    AppError,
    BadRequest,
    Blob,
    Blobs,
    BlobStep,
    Content,
    Fault,
    Form,
    Held,
    Json,
    NotFound,
    Plan,
    PreconditionFailed,
    Publish,
    Reader,
    Record,
    Remove,
    Request,
    Response,
    Upload,
    Value,
    check_path,
    compose,
    in_units,
    is_key,
    no_params,
    plan_of,
    split_path,
    upload_chunks,
)

if TYPE_CHECKING:
    from plugins.fields import Field

media_types = app.plugin("media_types")

# ==== 1. FILES ===================================================================================================
# A new file is staged with its record and published with it; one that a record no longer has is removed after the commit.
# uses: ERRORS VALUES CONTRACTS RESOURCES plugin:fields plugin:media_types
# defines: FormFiles


class FormFiles:
    """The file fields of a form."""

    def __init__(self, form: Form) -> None:
        self._form, self.shares = form, form.shares

    def most_bytes(self, one: Field) -> int:
        """The most bytes of a field's file."""
        return min(one.config.max_file_bytes, self.shares[one.name].config.max_file_bytes)

    def shown(self, record: Record) -> Value:
        """What a record holds, with its files at the record's own address instead of theirs in the share."""
        place = f"{self._form.records_at}/{quote(record.key, safe='')}"
        files = self._files_of(record.value)
        return record.value | {name: one | {"address": f"{place}/{name}"} for name, one in files.items()}

    def _files_of(self, value: Value) -> dict[str, Value]:
        """The stored files of a record by field; another value may be there from before the field took files."""
        found = {name: one for name in self.shares if isinstance(one := value.get(name), dict)}
        return {name: one for name, one in found.items() if all(isinstance(one.get(n), str) for n in ("name", "address"))}

    def read(self, request: Request, key: str, name: str) -> Plan:
        """The bytes of a record's file."""
        no_params(request)
        record = self._form.store.get(self._form.table, key) if is_key(key) else None
        stored = self._files_of(record.value).get(name) if record else None
        blob = self.shares[name].blobs.stat(self._stored_path(name, stored)) if stored else None
        if not stored or not blob:
            raise NotFound(f"{request.address} does not exist")
        read = partial(self._read_file, name, blob)
        return plan_of(Response(content=Content(blob, stored["name"], read), etag=blob.etag))

    def _read_file(self, name: str, blob: Blob, start: int, length: int | None) -> Reader:
        try:
            return self.shares[name].blobs.read(blob.path, start, length, if_match=blob.etag)
        except NotFound:
            raise PreconditionFailed("the file was replaced meanwhile: get it again") from None

    def removed(self, before: Value, after: Value) -> list[Remove]:
        """What removes the stored files that `before` had and `after` does not have."""
        gone = [(name, one) for name, one in self._files_of(before).items() if one != after.get(name)]
        return [Remove(self.shares[name].blobs, self._stored_path(name, stored)) for name, stored in gone]

    def places(self, value: Value) -> Iterator[tuple[Blobs, str]]:
        """Where the files of a record are: their providers and paths."""
        for name, stored in self._files_of(value).items():
            with suppress(BadRequest):  # what was stored before the field took files may look like one
                yield self.shares[name].blobs, self._stored_path(name, stored)

    def _stored_path(self, name: str, stored: Value) -> str:
        share = self.shares[name]
        inner = split_path(stored["address"].removeprefix(f"files/{share.name}/"))
        return share.place("/".join(inner))

    def faults(self, one: Field, given: Json, pointer: str) -> list[Fault]:
        """A new file comes as an Upload or as {"name", "base64"}."""
        share = self.shares[one.name]
        if isinstance(given, Upload):
            if given.held and given.held.share != share.name:
                return [Fault(pointer, *HELD_IS_GONE)]
        elif (
            not isinstance(given, dict) or given.keys() != _SENT_FILE or not all(isinstance(v, str) for v in given.values())
        ):
            return [Fault(pointer, "type", 'must be a file: {"name": …, "base64": …}')]
        name = given.name if isinstance(given, Upload) else given["name"]
        for accept in (one.config.accept, share.config.accept):
            if not media_types.accepts(accept, name):
                return [Fault(pointer, "accept", f"is {_file_name(given)}; only {', '.join(accept)} is taken here")]
        try:
            check_path([_file_name(given)])
            size = _upload_bytes(given)
        except (BadRequest, ValueError) as error:
            return [Fault(pointer, "type", f"is not a file that can be stored: {error}")]
        most = self.most_bytes(one)
        return [Fault(pointer, "max_file", f"is too large: at most {in_units(most)}")] if size > most else []

    def hold(self, name: str, upload: Upload, subject: str | None) -> Held | None:
        """A chosen file, staged until the form is sent again; None if the field does not take it."""
        one = self._form.fields.get(name)
        if one is None or not one.is_file or self.faults(one, upload, ""):
            return None
        if upload.held:
            return upload.held
        staged = self.shares[name].stage(upload_chunks(upload), "", most=one.config.max_file_bytes)
        return Held(name, self.shares[name].name, subject, _file_name(upload), staged)

    def stage(self, records: Iterable[tuple[str, Value]]) -> list[BlobStep]:
        """Stage the new files of checked records, put what is stored in their place, and answer the publishing steps."""
        steps: list[BlobStep] = []
        try:
            for key, value in records:
                for name, share in self.shares.items():
                    given = value.get(name)
                    if given is None or (isinstance(given, dict) and "address" in given):
                        continue
                    held = given.held if isinstance(given, Upload) else None
                    inner = f"uploads/{self._form.name}/{key}/{name}/{_file_name(given)}"
                    path, most = share.place(inner), self._form.fields[name].config.max_file_bytes
                    staged = held.staged if held else share.stage(upload_chunks(given), path, most=most)
                    steps.append(Publish(share.blobs, staged, path, if_none_match=True, held=held))
                    value[name] = {
                        "name": _file_name(given), "size_bytes": staged.size_bytes, "sha256": staged.sha256,
                        "address": f"files/{share.name}/{quote(inner)}",
                    }  # fmt: skip
        except BaseException:
            for step in steps:
                if isinstance(step, Publish) and not step.held:
                    with suppress(AppError):  # the first failure counts; leftovers are swept
                        step.blobs.discard(step.staged)
            raise
        return steps


_SENT_FILE = {"name", "base64"}


def _file_name(given: Json) -> str:
    """The last part of the name of an Upload or of {"name": …}, with what a path may not have replaced by "_"."""
    name = given.name if isinstance(given, Upload) else given["name"]
    last = re.sub(r"[\x00-\x1f\x7f-\x9f<>:\"|?*\ud800-\udfff]", "_", re.split(r"[/\\]", name)[-1])
    last = compose(last).encode()[-200:].decode(errors="ignore").strip(". ") or "file"
    try:
        return check_path([last])
    except BadRequest:  # a name of a device
        return "_" + last


def _upload_bytes(given: Json) -> int:
    """The size of an Upload or of {"base64": …}; ValueError if that is not base64."""
    if isinstance(given, Upload) and given.held:
        return given.held.staged.size_bytes
    return getattr(given, "dropped_bytes", 0) or sum(map(len, upload_chunks(given)))
