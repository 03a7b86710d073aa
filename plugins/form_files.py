"""The files in the records of a form: fields with format = "file", whose bytes are kept in a share."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import suppress
from copy import copy
from functools import partial
from typing import TYPE_CHECKING, cast
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
    dump_json,
    how_many,
    in_units,
    is_key,
    no_params,
    plan_of,
    split_path,
    upload_chunks,
)

if TYPE_CHECKING:
    from plugins.fields import Field

media_types, file_kinds = app.plugin("media_types"), app.plugin("file_kinds")

# ==== 1. FILES ===================================================================================================
# A new file is staged with its record and published with it; one that a record no longer has is removed after the commit.
# uses: ERRORS VALUES CONTRACTS RESOURCES plugin:fields
# defines: Kept FormFiles file_id


_MOST_FILES = 20  # of a field that takes several, unless its maxItems says otherwise


class Kept(dict[str, Json]):
    """A stored file that stays in the list of a record's field."""


class FormFiles:
    """The file fields of a form."""

    def __init__(self, form: Form) -> None:
        self._form, self.shares = form, form.shares
        fields = (form.fields[name] for name in form.shares)
        self.most_files = {one.name: _most(one, _MOST_FILES) if one.is_many else 1 for one in fields}

    def of(self, form: Form) -> FormFiles:
        """The same of a form of which some is hidden; what is stored is removed all the same."""
        made = copy(self)
        made._form = form
        return made

    def most_bytes(self, one: Field) -> int:
        """The most bytes of one file of a field."""
        return min(one.config.max_file_bytes, self.shares[one.name].config.max_file_bytes)

    # -- what is stored

    def shown(self, record: Record) -> Value:
        """What a record holds, with its files at the record's own address instead of theirs in the share."""
        place, found = f"{self._form.records_at}/{quote(record.key, safe='')}", dict(record.value)
        for name in self.shares:
            if isinstance(files := record.value.get(name), list):
                found[name] = list(files)
        for name, index, one in self._stored(record.value):
            if index is None:
                found[name] = one | {"address": f"{place}/{name}"}
            else:
                found[name][index] = one | {"address": f"{place}/{name}/{index}"}
        return found

    def _stored(self, value: Value) -> Iterator[tuple[str, int | None, Value]]:
        """(field, place in its list, stored file) of each file of a record; the place is None where the field holds one.
        Another value may be there from before the field took files."""
        for name in self.shares:
            found = value.get(name)
            if _is_stored(found):
                yield name, None, cast(Value, found)
            for index, one in enumerate(found if isinstance(found, list) else ()):
                if _is_stored(one):
                    yield name, index, cast(Value, one)

    def listed(self, stored: Json, shown: Json) -> list[dict[str, str]]:
        """name, address and file_id() of each file of a field, for a page where they can be removed."""
        pairs = zip(_listed(stored), _listed(shown), strict=True)
        return [
            {"name": seen["name"], "address": seen["address"], "id": file_id(one)} for one, seen in pairs if _is_stored(one)
        ]

    def read(self, request: Request) -> Plan:
        """The bytes of a record's file: records/ID/FIELD, or of one of several records/ID/FIELD/N, from 0."""
        no_params(request)
        _, key, name, *_ = request.path
        record = self._form.store.get(self._form.table, key) if is_key(key) else None
        stored_ones = self._stored(record.value if record else {})
        found = {(field, *([] if at is None else [str(at)])): one for field, at, one in stored_ones}
        stored = found.get(tuple(request.path[2:]))
        blob = self.shares[name].blobs.stat(self._stored_path(name, stored)) if stored else None
        if not stored or not blob:
            raise NotFound(f"{request.address} does not exist")
        read = partial(self._read_file, name, blob)
        return plan_of(Response(content=Content(blob, cast(str, stored["name"]), read), etag=blob.etag))

    def _read_file(self, name: str, blob: Blob, start: int, length: int | None) -> Reader:
        try:
            return self.shares[name].reader(blob, start, length)
        except NotFound:
            raise PreconditionFailed("the file was replaced meanwhile: get it again") from None

    def removed(self, before: Value, after: Value) -> list[Remove]:
        """What removes the stored files that `before` had and `after` does not have."""
        stay = {(name, one["address"]) for name, _, one in self._stored(after)}
        gone = [(name, one) for name, _, one in self._stored(before) if (name, one["address"]) not in stay]
        return [Remove(self.shares[name].blobs, self._stored_path(name, stored)) for name, stored in gone]

    def places(self, value: Value) -> Iterator[tuple[Blobs, str]]:
        """Where the files of a record are: their providers and paths."""
        for name, _, stored in self._stored(value):
            with suppress(BadRequest):  # what was stored before the field took files may look like one
                yield self.shares[name].blobs, self._stored_path(name, stored)

    def _stored_path(self, name: str, stored: Value) -> str:
        share = self.shares[name]
        inner = split_path(stored["address"].removeprefix(f"files/{share.name}/"))
        return share.place("/".join(inner))

    # -- what is sent

    def sent(self, name: str, given: Json, stored: Json, shown: Json) -> Json:
        """What a program sends for a field, with Kept in place of the files of its list that come back as they are stored or
        were shown: at another address, too, since that has their place in the list."""
        if not (self._form.fields[name].is_many and isinstance(given, list)):
            return given
        pairs = [pair for pair in zip(_listed(stored), _listed(shown), strict=True) if _is_stored(pair[0])]
        return [self._kept(one, pairs) if _is_stored(one) else one for one in given]

    def _kept(self, one: Json, pairs: Sequence[tuple[Json, Json]]) -> Json:
        held = next((held for held, seen in pairs if one in (held, seen)), None)
        if held is None and isinstance(one, dict):
            facts = {**one, "address": ""}
            held = next((held for held, _ in pairs if facts == {**cast(Value, held), "address": ""}), None)
        return one if held is None else Kept(cast(Value, held))

    def edited(self, name: str, sent: Sequence[Json], gone: Collection[Json], stored: Json) -> tuple[Json, ...]:
        """(the new value of a field,) after an edit in a page, where files were chosen and others removed: `gone` has their
        file_id()s. () if it did not change."""
        uploads = [item for item in sent if isinstance(item, Upload) and item.name]
        before = _listed(stored)
        kept: list[Json] = [Kept(one) if _is_stored(one) else one for one in before if file_id(one) not in gone]
        if not uploads and len(kept) == len(before):
            return ()
        if self._form.fields[name].is_many:
            return ([*kept, *uploads] or None,)
        return (uploads[-1] if uploads else None,)

    def faults(self, one: Field, given: Json, pointer: str) -> list[Fault]:
        """A new file comes as an Upload or as {"name", "base64"}; of several in a list, beside what is Kept."""
        if not one.is_many:
            return self._faults_of(one, given, pointer)
        if not isinstance(given, list):
            return [Fault(pointer, "type", 'must be a list of files: [{"name": …, "base64": …}]')]
        least, most = one.config.min_items or 0, self.most_files[one.name]
        if len(given) > most:
            return [Fault(pointer, "maxItems", f"must have at most {how_many(most, 'file')}")]
        found = [Fault(pointer, "minItems", f"must have at least {how_many(least, 'file')}")] if len(given) < least else []
        kept = [item["address"] for item in given if isinstance(item, Kept)]
        if len(set(kept)) < len(kept):
            found.append(Fault(pointer, "uniqueItems", "must not have the same item twice"))
        for index, item in enumerate(given):
            found += [] if isinstance(item, Kept) else self._faults_of(one, item, f"{pointer}/{index}")
        return found

    def _faults_of(self, one: Field, given: Json, pointer: str) -> list[Fault]:
        """What is wrong with one new file."""
        share = self.shares[one.name]
        if isinstance(given, Upload):
            if given.held and given.held.share != share.name:
                return [Fault(pointer, *HELD_IS_GONE)]
        elif (
            not isinstance(given, dict) or given.keys() != _SENT_FILE or not all(isinstance(v, str) for v in given.values())
        ):
            return [Fault(pointer, "type", 'must be a file: {"name": …, "base64": …}')]
        name = given.name if isinstance(given, Upload) else cast(str, given["name"])
        for accept in (one.config.accept, share.config.accept):
            if not media_types.accepts(accept, name):
                return [Fault(pointer, "accept", f"is {_file_name(given)}; only {', '.join(accept)} is taken here")]
        try:
            check_path([_file_name(given)])
            size = _upload_bytes(given)
        except (BadRequest, ValueError) as error:
            return [Fault(pointer, "type", f"is not a file that can be stored: {error}")]
        if (one.config.accept or share.config.accept) and (why := file_kinds.misfit(_file_name(given), _beginning(given))):
            return [Fault(pointer, "accept", f"is {_file_name(given)}, which {why}")]
        most = in_units(self.most_bytes(one))
        detail = (
            f"has {_file_name(given)}, which is too large: at most {most}"
            if one.is_many
            else f"is too large: at most {most}"
        )
        return [Fault(pointer, "max_file", detail)] if size > self.most_bytes(one) else []

    def hold(self, name: str, upload: Upload, subject: str | None) -> Held | None:
        """A chosen file, staged until the form is sent again; None if the field does not take it."""
        one = self._form.fields.get(name)
        if one is None or not one.is_file or self._faults_of(one, upload, ""):
            return None
        if upload.held:
            return upload.held
        staged = self.shares[name].stage(upload_chunks(upload), "", most=one.config.max_file_bytes)
        return Held(name, self.shares[name].name, subject, _file_name(upload), staged)

    # -- what is stored anew

    def stage(self, records: Iterable[tuple[str, Value]]) -> list[BlobStep]:
        """Stage the new files of checked records, put what is stored in their place, and answer the publishing steps."""
        steps: list[BlobStep] = []
        try:
            for key, value in records:
                for name in self.shares:
                    given = value.get(name)
                    if isinstance(given, list):
                        places = (f"{key}/{name}/{index}" for index in range(len(given)))
                        value[name] = [self._staged(name, item, at, steps) for at, item in zip(places, given, strict=True)]
                    elif given is not None:
                        value[name] = self._staged(name, given, f"{key}/{name}", steps)
        except BaseException:
            for step in steps:
                if isinstance(step, Publish) and not step.held:
                    with suppress(AppError):  # the first failure counts; leftovers are swept
                        step.blobs.discard(step.staged)
            raise
        return steps

    def _staged(self, name: str, given: Json, at: str, steps: list[BlobStep]) -> Json:
        """What is stored of a file, with the step that publishes a new one added."""
        if isinstance(given, Kept) or not (isinstance(given, Upload) or given.keys() == _SENT_FILE):
            return dict(given)
        share, held = self.shares[name], given.held if isinstance(given, Upload) else None
        inner = f"uploads/{self._form.name}/{at}/{_file_name(given)}"
        path, most = share.place(inner), self._form.fields[name].config.max_file_bytes
        staged = held.staged if held else share.stage(upload_chunks(given), path, most=most)
        steps.append(Publish(share.blobs, staged, path, if_none_match=True, held=held))
        return {
            "name": _file_name(given), "size_bytes": staged.size_bytes, "sha256": staged.sha256,
            "address": f"files/{share.name}/{quote(inner)}",
        }  # fmt: skip


def _most(one: Field, usual: int) -> int:
    return usual if one.config.max_items is None else int(one.config.max_items)


def _is_stored(one: Json) -> bool:
    return isinstance(one, dict) and all(isinstance(one.get(name), str) for name in ("name", "address"))


def _listed(value: Json) -> list[Json]:
    """The files of a field: of a list, or the one that was stored before the field took several."""
    return value if isinstance(value, list) else [] if value is None else [value]


def file_id(stored: Json) -> str:
    """What stands for a stored file in a page where it can be removed."""
    return hashlib.sha256(dump_json(stored).encode()).hexdigest()[:20]


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


def _beginning(given: Json) -> bytes:
    """The first bytes of an Upload or of {"base64": …}; b"" of one that was looked at before."""
    return b"" if isinstance(given, Upload) and given.held else next(upload_chunks(given), b"")


def _upload_bytes(given: Json) -> int:
    """The size of an Upload or of {"base64": …}; ValueError if that is not base64."""
    if isinstance(given, Upload) and given.held:
        return given.held.staged.size_bytes
    return getattr(given, "dropped_bytes", 0) or sum(map(len, upload_chunks(given)))
