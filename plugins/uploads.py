"""Files that are sent into a folder of a share: POST /files/SHARE/FOLDER/ with multipart/form-data.

A field _replace, before or behind the files, replaces files of the same names; _keep_both stores them beside those.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, ClassVar, NamedTuple, cast

import app
from app import (
    LOST,
    Action,
    Answer,
    AppError,
    Asked,
    BadRequest,
    Conflict,
    Exchange,
    Exists,
    Files,
    Forbidden,
    Host,
    Json,
    JsonFormat,
    NotFound,
    PreconditionFailed,
    Request,
    Response,
    Route,
    TooLarge,
    Unauthenticated,
    UnsupportedMedia,
    Value,
    compose,
    error_headers,
    how_many,
    json_answer,
    problem_details,
)

if TYPE_CHECKING:
    from plugins import html_forms
else:
    html_forms = app.plugin("html_forms")

# ==== 1. UPLOADS =================================================================================================
# A file that is refused stops no other one. What became of each is the answer: 201, 207 where some were stored, or the
# first error. plugins/pages.py answers people with a page of it.
# uses: ERRORS VALUES CONTRACTS RUNNERS RESOURCES plugin:html_forms plugin:share plugin:tus
# defines: Route:uploads LOOSE_BYTES WANTED RefusedFile FolderUpload Uploads store_beside meets_folder has_folder numbered

LOOSE_BYTES = 1 << 20  # of a multipart body that belong to no file
WANTED = "a folder takes multipart/form-data; PUT one file at its own address"


class RefusedFile(NamedTuple):
    """A file that was not stored, and why. `kept` is a request to store its staged bytes, None if they are gone."""

    name: str  # as it came, with the folders in it
    error: AppError
    kept: Request | None = None


class FolderUpload:
    """The files of one request into a folder, each stored as it arrives."""

    def __init__(self, exchange: Exchange, request: Request) -> None:
        self.exchange, self.host = exchange, exchange.door.host
        self.request = request._replace(decode=None, idempotency_key="", keeps=exchange.page)
        self.stored: list[Response] = []
        self.refused: list[RefusedFile] = []
        self.fields: dict[str, str] = {}
        self._broken = False
        self._dropped_bytes = 0

    @property
    def status(self) -> int:
        if not self.stored:
            return self.refused[0].error.status
        return 207 if self.refused else 201

    def receive(self) -> None:
        """Read the multipart body to its end. Raises what concerns the whole of it, if nothing was stored."""
        exchange = self.exchange
        exchange.body.most = LOOSE_BYTES  # until somebody is let in
        try:
            for part in html_forms.read_multipart(exchange.body, exchange.content_type):
                self._take(part)
            self._decide()
        except AppError as error:
            if not self.stored:
                raise next((one.error for one in self.refused if isinstance(one.error, Forbidden)), error) from None
            self.refused.append(RefusedFile("", error))
        self._need_any()

    def _decide(self) -> None:
        """Store what was kept because its name is taken, if a field behind the files says to replace it or to keep both."""
        if not (self.fields.get("_replace") or self.fields.get("_keep_both")):
            return
        late = [one for one in self.refused if one.kept]
        self.refused = [one for one in self.refused if not one.kept]
        for one in late:
            if one.kept:
                self.store(one.name, one.kept)

    def _take(self, part: html_forms.Part) -> None:
        if part.file_name is None:
            text = part.text()
            if part.name in ("_token", "_replace", "_keep_both"):
                self.fields[part.name] = text
        elif part.file_name:
            self.exchange.door.check_token(self.exchange, self.fields.get("_token", ""))
            name = part.file_name.replace("\\", "/")
            if LOST in name:
                self.refused.append(RefusedFile(name, BadRequest(f"the name {name} is not UTF-8: rename the file")))
            else:
                path = (*self.request.path, *name.split("/"))
                self.store(name, self.request._replace(path=path, body=self._watched(part.chunks)))
            self._drop(part.chunks)

    def _watched(self, chunks: Iterator[bytes]) -> Iterator[bytes]:
        self.exchange.body.most = None  # whoever reads this was let in
        try:
            yield from chunks
        except AppError:
            self._broken = True
            raise

    def _drop(self, chunks: Iterator[bytes]) -> None:
        """Read away what nobody wanted of a file, so that the next one comes."""
        for chunk in chunks:
            self._dropped_bytes += len(chunk)
            if self._dropped_bytes > html_forms.DROPPED_BYTES:
                raise TooLarge("too much of what was sent is not taken here")

    def _need_any(self) -> None:
        if not self.stored and not self.refused:
            raise BadRequest("the body has no file: choose one, in a field named file")
        errors = [one.error for one in self.refused]
        alone = len(errors) == 1 and not self.exchange.page
        if not self.stored and (alone or all(isinstance(error, Forbidden) for error in errors)):
            raise errors[0]

    def store(self, name: str, request: Request) -> None:
        """Store one file, or note why not. Raises what concerns the whole request."""
        keep_both = bool(self.fields.get("_keep_both"))
        action = Action.UPDATE if self.fields.get("_replace") else Action.CREATE
        request = request._replace(action=action, keeps=request.keeps or keep_both)
        try:
            self.stored.append(store_beside(self.host, request) if keep_both else self.host.handle(request))
        except Unauthenticated:
            raise
        except AppError as error:
            if self._broken:
                raise
            if not isinstance(error, Forbidden):
                self.exchange.body.most = None  # let in, and refused for the file's sake
            self.refused.append(self._refused(name, request, error))

    def _refused(self, name: str, request: Request, error: AppError) -> RefusedFile:
        kept = request if request.staged else None
        if isinstance(error, Exists) and error.staged and not kept:
            kept = request._replace(body=None, staged=error.staged)
        if isinstance(error, PreconditionFailed) and request.action == Action.CREATE:  # another one was faster
            error = Exists(f"{request.address} exists")
        if isinstance(error, NotFound) and request.staged:
            error = NotFound("it is kept here no longer: it was stored meanwhile, or waited for over a day")
        return RefusedFile(name, error, kept if isinstance(error, Exists) or error.retry else None)

    def report(self) -> Answer:
        """What became of the files, for a program: 201 if all were stored, 207 if some were, else a problem."""
        items = [response.data for response in self.stored]
        if not self.refused:
            return json_answer(201, {"items": items})
        facts = [
            {"name": one.name, "code": one.error.code, "detail": one.error.message, "status": one.error.status}
            for one in self.refused
        ]
        body: Value = {"items": items, "errors": facts}
        if self.stored:
            return json_answer(207, body)
        first = self.refused[0].error
        detail = f"none of {how_many(len(facts), 'file')} was stored"
        problem = {**problem_details(self.exchange.id, first), **body, "detail": detail}
        return json_answer(first.status, problem, error_headers(first), "application/problem+json")


class _LinkAsked(Exception):
    """The body that was sent is about a link, which is no matter of the share."""

    code = "ok"  # for the metrics

    def __init__(self, sent: Json) -> None:
        super().__init__()
        self.sent = sent


class Uploads(Route):
    """POST into a folder, for programs: files, what begins an upload by tus, and JSON, which says what else is to be done
    there or makes a link to it."""

    kind = "uploads"
    methods: ClassVar[Mapping[str, Action]] = {"POST": Action.CREATE}
    types = frozenset({"files"})

    def answer(self, asked: Asked, host: Host) -> Answer:
        exchange = cast(Exchange, asked)
        if "tus-resumable" in exchange.head.fields:
            return cast(Answer, app.plugin("tus").created(exchange, host))
        if exchange.media_type == JsonFormat.media:
            return self._said(exchange, host)
        folder = tuple(part for part in exchange.path_inside if part)
        upload = FolderUpload(exchange, exchange.door.request(exchange, exchange.resource, folder, Action.CREATE))
        if exchange.media_type != "multipart/form-data":
            raise UnsupportedMedia(WANTED)
        upload.receive()
        if upload.stored:
            exchange.subject = upload.stored[-1].caller.subject
        return upload.report()

    def _said(self, exchange: Exchange, host: Host) -> Answer:
        """What is said of a file or folder in JSON: see plugins/file_moves.py; a link is made in plugins/share.py."""
        request = exchange.door.request(exchange, exchange.resource, exchange.path_inside, Action.CREATE)

        def decode() -> Json:
            sent = cast(Callable[[], Json], request.decode)()
            if isinstance(sent, dict) and "link" in sent:
                raise _LinkAsked(sent)
            return {} if sent is None else sent

        try:
            response = host.handle(request._replace(decode=decode))
        except _LinkAsked as asked:
            return cast(Answer, app.plugin("share").asked_for(exchange, host, asked.sent))
        exchange.subject = response.caller.subject
        headers = [("ETag", f'"{response.etag}"')] if response.etag else []
        headers += [("Idempotency-Replayed", "true")] if response.replayed else []
        headers += [("Location", exchange.url(response.location))] if response.created else []
        return json_answer(201 if response.created else 200, response.data, headers)


def store_beside(host: Host, request: Request) -> Response:
    """Store a file under its name, or under the first like it that is free."""
    path, staged = request.path, request.staged
    for number in range(1, 101):
        try:
            return host.handle(request._replace(path=(*path[:-1], numbered(path[-1], number))))
        except Exists as error:
            staged = staged or error.staged
            request = request._replace(staged=staged)
    raise Conflict(f"{request.address} and a hundred names like it exist")


def meets_folder(share: Files, request: Request, path: str) -> bool:
    """Whether a folder has the name of a file that may get another one, or wait until somebody says what is to be done."""
    return bool(request.keeps or request.staged) and has_folder(share, path)


def has_folder(share: Files, path: str) -> bool:
    """The same as Files.is_folder(), and of a provider that cannot list whatever it can tell."""
    tell = getattr(share.blobs, "seems_folder", None)
    return share.is_folder(path) or bool(tell and not share.blobs.lists and tell(path))


def numbered(name: str, number: int) -> str:
    """ "plan (2).pdf" of "plan.pdf" and 2, the stem shortened where it would be too long; the name itself of 1."""
    match = re.fullmatch(r"(?s)(.+?)((?:\.tar)?\.[^. ]{1,10})?", name)
    if not match or number == 1:
        return name
    ending = f" ({number}){match[2] or ''}"
    return compose(match[1]).encode()[: 255 - len(ending.encode())].decode(errors="ignore") + ending
