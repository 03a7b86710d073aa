"""What people typed and chose in a page that was refused: it comes back whole, and goes on after signing in."""

from __future__ import annotations

import io
import re
from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from itertools import zip_longest
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, NamedTuple, cast
from urllib.parse import quote

import app
from app import (
    Action,
    Answer,
    AppError,
    BadRequest,
    Busy,
    Exchange,
    Exists,
    Fault,
    Forbidden,
    Held,
    HttpRunner,
    IdempotencyConflict,
    NotFound,
    PreconditionFailed,
    Record,
    Request,
    Response,
    Staged,
    StorageFull,
    TooLarge,
    Unauthenticated,
    UnsupportedMedia,
    Upload,
    dump_json,
    error_headers,
    load_json,
    see_other,
    split_path,
)

if TYPE_CHECKING:
    from plugins import pages, uploads
    from plugins.catalogue import Words
    from plugins.html_forms import form_of, read_form
else:
    pages, uploads = app.plugin("pages"), app.plugin("uploads")
    form_of, read_form = app.plugin("html_forms").form_of, app.plugin("html_forms").read_form

# ==== 1. UNSENT ==================================================================================================
# Nothing that a person typed or chose is lost: it comes back with whatever kept it from being stored, and goes on after
# signing in. Nothing is remembered here but staged files: a page carries its own texts.
# uses: ERRORS VALUES RUNNERS RESOURCES plugin:catalogue plugin:html_forms plugin:lines plugin:move_pages
#       plugin:page_edits plugin:pages plugin:uploads
# defines: COMMENT THREAD CARRIED_BYTES Unfinished Draft is_of_form Drafts PageUpload

_STRANGERS_RATE = 20_000  # bytes a second, past which the form of a sender who is not signed in may take no longer
COMMENT = "_comment"  # in a draft: what was typed beside the buttons that move a record on, …
THREAD = "_thread"  # … or, with this, for its thread of comments
_OWN = ("_shown", "_gone", "_asked", "_lines")  # what a page says beside its fields
CARRIED_BYTES = 1 << 20  # of texts that are carried through signing in; what is larger waits in another tab


class _TooLong(TooLarge):
    """What was typed is longer than is taken, in the words of the page."""


class Unfinished(AppError):
    """A button named _again was pressed, such as one that looks something up: the page comes back with all that was typed
    and chosen, and nothing is stored. What the button says is in Again.typed."""

    code, status = "unfinished", 200


class Draft(NamedTuple):
    """What a person sent from the page of a form or a folder: where that is, the version of a record, texts and files."""

    resource: str
    path: tuple[str, ...]  # of the record that was to be changed, or of the folder
    typed: dict[str, list[str]]
    held: tuple[Held, ...]
    version: str = ""
    submission: str = ""
    lost: tuple[str, ...] = ()  # fields whose files have to be chosen again
    listed: str = ""  # what the list was asked for that the page was reached from

    @property
    def is_upload(self) -> bool:
        return self.resource.startswith("files/")

    @property
    def moves(self) -> bool:
        """Whether it is a comment beside the buttons that move a record on, and not of the record's form."""
        return COMMENT in self.typed

    @property
    def address(self) -> str:
        parts = [self.resource, *(quote(part, safe="") for part in self.path)]
        return "/".join([*parts, ""] if self.is_upload else parts)


_PEOPLE, _TOKENS = "admin/people", "admin/tokens"


def is_of_form(resource: str, path: Sequence[str] = ()) -> bool:
    """Whether what is typed for it is kept when it is refused."""
    if resource.startswith("forms/"):
        return path[:1] != ("several",) and (len(path) < 3 or path[2] != "history")
    if resource.startswith("apps/"):
        return tuple(path[:1]) == ("pages",)
    return len(path) < {_PEOPLE: 2, _TOKENS: 1}.get(resource, 0)


def _is_record(resource: str, path: Sequence[str]) -> bool:
    """Whether this is the place of one record."""
    return len(path) == 1 if resource == _PEOPLE else len(path) == 2 and path[0] in ("records", "mine")


class Drafts:
    """What one request of a page sends, and the pages that show it again."""

    def __init__(self, exchange: Exchange, shown_by: pages.Pages) -> None:
        self.exchange, self.form, self.pages = exchange, form_of(exchange), shown_by
        self.door, self.host, self.held = exchange.door, exchange.door.host, pages.site_of(exchange).held
        self.most = self.door.config.max_body_bytes

    @property
    def t(self) -> Words:
        """The words of whoever sent it, who may have signed in meanwhile."""
        return cast("Words", self.exchange.locale.t)

    # -- what was sent

    def read(self, resource: str) -> None:
        """Read the body; TooLarge after it was read, so that it can be shown again."""
        read_form(self.exchange, 4 * self.most, self.held.limits(resource), self.held.room(resource))
        if (size := self._typed_bytes()) > self.most:
            write = self.exchange.locale.write_size
            raise _TooLong(self.t("draft.too_long", most=write(self.most), size=write(size)))

    def is_unfinished(self) -> bool:
        """Whether it is not to be stored yet: see Unfinished. Enter in a search that was not looked up is no submit."""
        found = {name.removeprefix("_find_"): self.form.text(name) for name in self.form.fields if name.startswith("_find_")}
        sought = any(text.strip() and text != self.form.text(f"_found_{name}") for name, text in found.items())
        return sought or bool(self.form.text("_again"))

    def _typed_bytes(self) -> int:
        """The size of what was typed, files aside."""
        if self.exchange.media_type != "multipart/form-data":
            return self.exchange.body.seen
        return sum(len(text.encode()) for texts in self.form.fields.values() for text in texts if isinstance(text, str))

    def data(self, resource: str) -> dict[str, list[Any]]:
        """What was typed by field, with files that were chosen for an earlier submit, unless replaced or removed."""
        form, found = self.form, self.form.data()
        for held in reversed(self._held_before(resource)):  # chosen before what is chosen by now
            found.setdefault(held.field, []).insert(0, Upload(held.name, io.BytesIO(), held=held))
        return found | {name: form.fields[name] for name in _OWN if name in form.fields}

    def _chosen(self, resource: str) -> list[tuple[str, Upload]]:
        """The files that were chosen with their fields: the last one of a field that takes one."""
        return [
            (name, one)
            for name, uploads in self.form.uploads().items()
            for one in (uploads if self.held.takes_many(resource, name) else uploads[-1:])
        ]

    def _held_before(self, resource: str) -> list[Held]:
        """The held files that came back and are not replaced, in the objects of which a failed commit changes what they
        hold."""
        form = self.form
        if form.held is None:
            form.held = []
            replaced = {name for name in form.uploads() if not self.held.takes_many(resource, name)}
            for field_ in [one for one in form.fields if one.startswith("_held_")]:
                name = field_.removeprefix("_held_")
                dropped = form.fields.get(f"_drop_{name}", ())
                for number, sealed in enumerate(form.fields[field_], 1):
                    if str(number) not in dropped and name not in replaced:
                        form.held.append(self._unsealed_of(resource, name, str(sealed)))
        return form.held

    def _unsealed_of(self, resource: str, name: str, sealed: str) -> Held:
        """The held file of a field; one without a share says that it is no longer there."""
        held = self.unsealed(resource, sealed)
        return held if held and held.field == name else Held(name, "", None, "file", Staged("", 0, ""))

    def sealed(self, resource: str, held: Held) -> str:
        return self.host.seal(
            "held file", dump_json([resource, held.field, held.share, held.subject, held.name, held.staged])
        )

    def unsealed(self, resource: str, sealed: str) -> Held | None:
        """The file of this resource that was sealed; None if there is none."""
        facts = load_json(self.host.unseal("held file", sealed) or "[]")
        if not facts or facts[0] != resource:
            return None
        _, name, share, subject, file_name, staged = facts
        return Held(name, share, subject, file_name, Staged(*staged))

    def _draft(self, resource: str, path: tuple[str, ...], held: Sequence[Held | None] = ()) -> Draft:
        """What was sent, with the files that were held before; `held` has those that are held now of each _chosen() one."""
        typed = {
            name: [text for text in values if isinstance(text, str)]
            for name, values in self.form.fields.items()
            if not name.startswith(("_token", "_held_", "_drop_"))
        }
        kept = [one for one in self._held_before(resource) if self.held.is_good(resource, one)]
        chosen = [name for name, _ in self._chosen(resource)]
        lost = dict.fromkeys(name for name, one in zip_longest(chosen, held) if one is None)
        version, sent_as, list_ = (self.exchange.query.get(name, "") for name in ("_version", "_submission", "_list"))
        now, typed = (*kept, *(one for one in held if one)), app.plugin("lines").turned(typed)
        return Draft(resource, path, typed, now, version, sent_as, tuple(lost), list_)

    # -- carried through signing in, or until a provider is back

    def kept(self, draft: Draft) -> SimpleNamespace:
        """What a page shows of a draft, and carries on in a hidden field."""
        facts = {
            "at": draft.address, "version": draft.version, "submission": draft.submission, "typed": draft.typed,
            "held": [self.sealed(draft.resource, held) for held in draft.held], "lost": draft.lost,
            "list": draft.listed,
        }  # fmt: skip
        texts = [
            text for name, values in draft.typed.items() if name[:1] != "_" or name == COMMENT for text in values if text
        ]
        text, action = dump_json(facts), self.exchange.url(draft.address, _resume="1")
        return SimpleNamespace(
            text=text, is_short=len(text) <= CARRIED_BYTES, action=action, shown=texts,
            files=[held.name for held in draft.held], lost=len(draft.lost), is_whole=not self.form.cut_short,
        )  # fmt: skip

    def opened(self, text: str) -> Draft | None:
        """The draft that a page carried, as it may come from anybody; None if it is none."""
        try:
            facts: Any = load_json(text or "null")
            dump_json(facts).encode()  # half of a surrogate pair could not be shown again
            kind, name, *path = split_path(facts["at"].removesuffix("/"))
            typed = {str(one): [str(text) for text in texts] for one, texts in facts["typed"].items()}
            resource = f"{kind}/{quote(name, safe='')}"
            found = tuple(held for sealed in facts["held"] if (held := self.unsealed(resource, sealed)))
            lost = tuple(map(str, facts["lost"]))
            version, sent_as, list_ = (str(facts[one]) for one in ("version", "submission", "list"))
        except (BadRequest, LookupError, TypeError, ValueError, AttributeError):
            return None
        if kind == "files":
            return Draft(resource, tuple(path), {}, found, lost=lost) if found else None
        if is_of_form(resource, path) and (not path or _is_record(resource, path) or kind == "apps"):
            return Draft(resource, tuple(path), typed, found, version, sent_as, lost, list_)
        return None

    def resume(self, resource: str, path: tuple[str, ...]) -> Answer:
        """The page that a draft came from, with what another page of it carried on, by whoever is signed in now."""
        most = 65536 + 3 * CARRIED_BYTES
        if is_of_form(resource):
            with suppress(AppError):  # whoever may see the form may send as much as it takes
                self._form(resource, path, "0")
                most = max(most, 4 * self.most)
        draft = self.opened(read_form(self.exchange, most).text("draft"))
        if draft is None or self.door.same_origin(self.exchange) is False:
            return see_other(self.exchange.path)
        return self.filled(draft)

    def filled(self, draft: Draft) -> Answer:
        """The page that a draft came from with the draft in it, ready to be sent; nothing is stored."""
        self.exchange.path = self.exchange.own_path = self.exchange.url(draft.address)
        self.exchange.query = {"_list": draft.listed} if draft.listed else {}
        try:
            if draft.is_upload:
                return self._filled_folder(draft)
            if draft.resource.startswith("apps/"):
                return cast(Answer, app.plugin("page_edits").shown_again(self.exchange, self.pages, draft))
            if draft.moves:
                return cast(Answer, app.plugin("move_pages").shown_again(self.exchange, self.pages, draft))
            response = self._form(draft.resource, draft.path, draft.version)
        except Unauthenticated as error:
            return self.sign_in_first(draft, error)
        except AppError as error:
            if draft.is_upload:
                raise
            return self.refused(draft, error)
        self.exchange.subject = response.caller.subject
        for one in draft.held:
            one.subject = self.exchange.subject if one.subject is None else one.subject
        record = response.page["record"]
        stale = bool(record and draft.version and draft.version != str(record.version))
        notice = self.t("draft.here", button=self.t("form.save") if record else self.t("form.send"))
        if stale:
            notice = self.t("draft.stale")
        known = self.host.unseal("submission", draft.submission)
        again = pages.Again(
            submission=draft.submission if known else pages.submission(self.exchange), notice=notice, stale=stale,
            faults=[Fault(f"/{name}", "lost", self.t("draft.file_lost")) for name in draft.lost],
        )  # fmt: skip
        return self._page(response, draft, 200, again)

    def _filled_folder(self, draft: Draft) -> Answer:
        """The folder, with the files that were kept and are stored by one more button."""
        upload = PageUpload(self, draft.resource, draft.path)
        for held in draft.held:
            upload.refused.append(uploads.RefusedFile(held.name, Busy(self.t("uploaded.kept")), upload.request_for(held)))
        return upload.page(200, waiting=True)

    def sign_in_first(self, draft: Draft, error: AppError, words: str = "") -> Answer:
        """The sign-in page, which carries the draft on."""
        self.exchange.subject = ""
        edits = draft.path and not draft.is_upload and not draft.moves
        after = self.exchange.url(draft.address, **({"_new" if draft.path == ("pages",) else "_edit": "1"} if edits else {}))
        kept = None
        if draft.typed or draft.held or not self.exchange.body.size_bytes:
            kept = self.kept(draft)
        if kept is None:
            words = self.t("draft.too_long_kept")
        elif self.form.cut_short and not words:
            words = self.t("draft.cut_short")
        body = self.pages.login(self.exchange, "", after, words, kept)
        return pages.page_answer(401, body, error_headers(error))

    def refused(self, draft: Draft, error: AppError) -> Answer:
        """A page of the error, with the draft and another try, where the form itself cannot be shown."""
        self.exchange.subject = self.exchange.subject or error.subject
        if isinstance(error, Forbidden) or error.status >= 500:
            error.message = self._words(error, is_record=bool(draft.path))
        body = self.pages.fault(self.exchange, error, self.kept(draft))
        return pages.page_answer(error.status, body, error_headers(error))

    # -- the form again

    def again(self, resource: str, path: tuple[str, ...], error: AppError) -> Answer:
        """The form with everything that was sent, and in words for people what kept it from being stored."""
        if resource.startswith("apps/"):
            return self._again_of_page(resource, path, error)
        path = path if _is_record(resource, path) else ()
        try:
            response = self._form(resource, path, self.exchange.query.get("_version", ""))
        except Unauthenticated as refused:
            return self.sign_in_first(self._draft_of_ended(resource, path), refused)
        except AppError:
            self.read_late(resource, keep=False)
            held = self.held.hold(resource, self._chosen(resource), error.subject) if error.subject else []
            return self.refused(self._draft(resource, path, held), error)
        subject = self.exchange.subject = response.caller.subject
        action = Action.UPDATE if path else Action.CREATE
        trusted = action in response.page["may"] and self.door.same_origin(self.exchange) is not False
        self.read_late(resource, keep=trusted)
        draft = self._draft(resource, path, self.held.hold(resource, self._chosen(resource), subject) if trusted else [])
        renewed = isinstance(error, IdempotencyConflict) or not self.host.unseal("submission", draft.submission)
        again = pages.Again(
            submission=pages.submission(self.exchange) if renewed else draft.submission,
            faults=self._faults(draft, error, is_record=bool(path)),
            stale=bool(path) and isinstance(error, PreconditionFailed | IdempotencyConflict),
        )  # fmt: skip
        status = PreconditionFailed.status if again.stale else error.status
        if self.exchange.body.seen > self.held.body_limit(resource):
            status = TooLarge.status
        answer = self._page(response, draft, status, again)
        answer.headers += error_headers(error)
        return answer

    def _again_of_page(self, resource: str, path: tuple[str, ...], error: AppError) -> Answer:
        """A page of an app that could not be written: what was typed goes through signing in, or is shown with the error."""
        if isinstance(error, Unauthenticated):
            return self.sign_in_first(self._draft_of_ended(resource, path), error)
        self.read_late(resource, keep=bool(error.subject))
        return self.refused(self._draft(resource, path), error)

    def _draft_of_ended(self, resource: str, path: tuple[str, ...]) -> Draft:
        """What a caller sent who is not signed in: with files only for who was until lately."""
        ended = self.held.has_ended(self.exchange.former)
        self.read_late(resource, keep=ended)
        chosen = self._chosen(resource)
        held = self.held.hold_after(self.exchange.former, resource, chosen) if ended and chosen else []
        return self._draft(resource, path, held)

    def read_late(self, resource: str, *, keep: bool) -> None:
        """The body, where nothing has read it yet; of whom is not to leave files here only texts, and few of them."""
        if self.form.is_read:
            return
        try:
            if keep:
                self.read(resource)
                return
            self.exchange.body.most, self.exchange.body.rate = self.held.body_limit(resource), _STRANGERS_RATE
            read_form(self.exchange, min(4 * self.most, CARRIED_BYTES), {})
        except AppError:  # what came before the failure is there
            self.form.cut_short = True

    def _form(self, resource: str, path: tuple[str, ...], version: str) -> Response:
        """The page of the form, with its record if there is a path; raises what keeps this caller from it."""
        read = partial(
            Request, id=self.exchange.id, action=Action.READ, resource=resource, door=HttpRunner.kind,
            credential=self.exchange.credential, languages=self.exchange.languages,
        )  # fmt: skip
        failed: AppError | None = None
        if path:
            try:
                return self.host.handle(read(path=path, params={"_edit": "1"}))
            except AppError as error:
                if error.status < 500 and not isinstance(error, NotFound):
                    raise
                failed = error
        response = self.host.handle(read(params={"_new": "1"} if resource in (_PEOPLE, _TOKENS) else {}))
        if failed and not isinstance(failed, NotFound):  # its provider is away: what was typed is all there is to show
            record = Record(path[-1], int(version) if re.fullmatch("[0-9]{1,18}", version) else 0, {})
            response.page = {**response.page, "record": record}
        return response

    def _faults(self, draft: Draft, error: AppError, *, is_record: bool) -> Sequence[Fault]:
        found = list(error.faults)
        if not found and not isinstance(error, Unfinished):
            found.append(Fault("", error.code, self._words(error, is_record=is_record)))
        named = {fault.pointer.split("/")[1] for fault in found if fault.pointer}
        dropped = {name for name, one in self._chosen(draft.resource) if one.dropped_bytes}
        limits = self.held.limits(draft.resource)
        for name in [one for one in draft.lost if one not in named]:
            too_large = self.t("draft.file_too_large", most=self.exchange.locale.write_size(limits.get(name, 0)))
            found.append(Fault(f"/{name}", "lost", too_large if name in dropped else self.t("draft.file_not_kept")))
        return found

    def _words(self, error: AppError, *, is_record: bool) -> str:
        t, write = self.t, self.exchange.locale.write_size
        contact = self.pages.contact(self.exchange) or t("common.somebody")
        if isinstance(error, IdempotencyConflict):
            return t("draft.saved_before" if is_record else "draft.sent_before")
        if isinstance(error, PreconditionFailed):
            return t("draft.changed")
        if isinstance(error, Busy):
            return t("draft.busy")
        if isinstance(error, NotFound) and is_record:
            return t("draft.deleted")
        if isinstance(error, Forbidden) and error.needed:
            return t("draft.forbidden", contact=contact)
        if isinstance(error, Forbidden) and self.door.same_origin(self.exchange) is False:
            return t("draft.elsewhere")
        if isinstance(error, Forbidden | BadRequest):
            return t("draft.too_old", reason=t.said(error.message))
        if isinstance(error, StorageFull):
            return t("draft.no_room", contact=contact)
        if isinstance(error, TooLarge) and not isinstance(error, _TooLong):  # more than is read to show it again
            return t("draft.too_large", most=write(self.most))
        if error.status >= 500:
            return t("draft.not_now")
        said = t.said(error.message)
        return said[:1].upper() + said[1:]

    def _page(self, response: Response, draft: Draft, status: int, again: pages.Again) -> Answer:
        held, faults = dict[str, list[SimpleNamespace]](), list(again.faults)
        for one in draft.held:
            if one.subject in (None, self.exchange.subject):
                sealed = self.sealed(draft.resource, one)
                held.setdefault(one.field, []).append(SimpleNamespace(name=one.name, sealed=sealed))
            else:  # of somebody else
                faults.append(Fault(f"/{one.field}", "lost", self.t("draft.file_lost")))
        shown = next(iter(draft.typed.get("_shown", ())), "")
        again = again._replace(typed=draft.typed, shown=shown, held=held, faults=faults)
        body = self.pages.show_form(self.exchange, response, again)
        return pages.page_answer(status, body, policy=pages.policy_of(self.exchange))


class PageUpload(uploads.FolderUpload):
    """An upload from the page of a folder: bytes whose names are taken, or that came too late, wait for another button."""

    def __init__(self, drafts: Drafts, resource: str, folder: tuple[str, ...]) -> None:
        super().__init__(drafts.exchange, drafts.door.request(drafts.exchange, resource, folder, Action.CREATE))
        self.drafts = drafts

    def came_late(self) -> Unauthenticated | None:
        """What keeps the caller out, where the page was sent by a session that has ended."""
        if self.drafts.held.has_ended(self.exchange.former):
            try:
                self.host.handle(self._listing())
            except Unauthenticated as error:
                return error
            except AppError:
                return None
        return None

    def hold(self) -> Draft:
        """What is sent, with the files of who was signed in until lately."""
        exchange, resource = self.exchange, self.request.resource
        exchange.body.most, exchange.body.rate = self.drafts.held.body_limit(resource), _STRANGERS_RATE
        with suppress(AppError):  # what came before the failure is there
            read_form(exchange, uploads.LOOSE_BYTES, self.drafts.held.limits(resource))
        files = [one for one in form_of(exchange).fields.get("file", ()) if isinstance(one, Upload) and one.name]
        small = [("file", one) for one in files if not one.dropped_bytes]
        held = tuple(one for one in self.drafts.held.hold_after(exchange.former, resource, small) if one)
        for one in held:
            one.field, one.name = self._folder(self.request.path), one.name.replace("\\", "/")
        return Draft(resource, self.request.path, {}, held, lost=("file",) * (len(files) - len(held)))

    def take_up(self) -> tuple[Draft, Unauthenticated] | None:
        """Store the kept files that a page's form names, as it says. If the session ended meanwhile: what is kept on."""
        if self.exchange.media_type != "application/x-www-form-urlencoded":
            raise UnsupportedMedia(uploads.WANTED)
        form = read_form(self.exchange, 1 << 20)
        self.exchange.door.check_token(self.exchange, form.text("_token"))
        self.fields = {name: form.text(name) for name in ("_replace", "_keep_both")}
        staged, pending = ([self._unsealed(one) for one in form.fields.get(name, ())] for name in ("_staged", "_pending"))
        if not staged:
            raise UnsupportedMedia(uploads.WANTED)
        for held in staged:
            try:
                self.store(held.name, self.request_for(held))
            except Unauthenticated as error:
                if self.stored:
                    raise
                return Draft(self.request.resource, self.request.path, {}, (*staged, *pending)), error
        for held in pending:
            request = self.request_for(held)
            self.refused.append(uploads.RefusedFile(held.name, Exists(f"{request.address} exists"), request))
        return None

    def request_for(self, held: Held) -> Request:
        """The request to store a kept file."""
        path = (*split_path(held.field), *held.name.split("/"))
        return self.request._replace(path=path, staged=held.staged)

    def _unsealed(self, sealed: str) -> Held:
        held = self.drafts.unsealed(self.request.resource, sealed)
        if held is None:
            raise BadRequest("this is no file that was kept here: choose it again")
        return held

    def _folder(self, path: tuple[str, ...]) -> str:
        """What stands as the field of a kept file: the folder that it was sent to."""
        return "/".join(quote(part, safe="") for part in path)

    def _sealed(self, one: uploads.RefusedFile) -> str:
        """The kept bytes of a file, signed; "" if they are gone."""
        if one.kept is None or one.kept.staged is None:
            return ""
        folder = self._folder(one.kept.path[: -len(one.name.split("/"))])
        held = Held(folder, self.request.resource, None, one.name, one.kept.staged)
        return self.drafts.sealed(self.request.resource, held)

    def _listing(self) -> Request:
        """The request for the folder's own page, to show beside it what became of the files."""
        params, path = pages.listed(self.exchange), (*self.request.path, "")
        return self.request._replace(action=Action.READ, path=path, params=params, page=True, keeps=False)

    def page(self, status: int, *, waiting: bool = False) -> Answer:
        """What became of the files, for a person, with what may be done about names that are taken."""
        exchange, shown_by = self.exchange, self.drafts.pages
        listing = self.host.handle(self._listing())
        exchange.subject = listing.caller.subject
        sealed = list(map(self._sealed, self.refused))
        files = []
        for number, one in enumerate(self.refused):
            t = exchange.locale.t
            why = t("uploaded.exists") if isinstance(one.error, Exists) else t.said(one.error.message)
            pending = [other for other in sealed if other and other != sealed[number]]
            files.append(SimpleNamespace(name=one.name, sealed=sealed[number], pending=pending, why=why))
        stored = [response.data for response in self.stored]
        report = {"stored": stored, "refused": files, "pending": list(filter(None, sealed)), "waiting": waiting}
        page = shown_by.files(exchange, listing, report)
        return pages.page_answer(status, shown_by.render(exchange, "files.tpl", page["title"], page))
