"""forms/F/drafts[/ID]: what somebody typed and did not send yet, for himself alone, for thirty days."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from types import SimpleNamespace
from typing import Any, cast
from urllib.parse import quote

from app import (
    Action,
    Answer,
    AppError,
    Column,
    Condition,
    Conflict,
    Delete,
    Exchange,
    Fault,
    Files,
    Form,
    Held,
    Insert,
    Invalid,
    Json,
    NotFound,
    Plan,
    Query,
    Record,
    Records,
    Request,
    Response,
    Scope,
    SignInNeeded,
    Staged,
    TooLarge,
    Update,
    Upload,
    Value,
    Write,
    audit_store,
    in_units,
    leads_to,
    member_pointer,
    no_params,
    plan_of,
    plugin,
    rfc3339,
    storable,
)

# ==== 1. ROWS ====================================================================================================
# A row is a draft: texts as they were typed, and the files that were chosen, staged in their shares. Its key begins with a
# digest of whose it is, so that no provider has to look at those of others. Drafts are no events: nothing is audited.
# uses: ERRORS VALUES CONTRACTS RESOURCES ASSEMBLY
# defines: TABLE KEPT_S MOST of_person sent expired keep_files

TABLE = "_drafts"
KEPT_S = 30 * 86400
MOST = 30  # of one person
_MOST_TEXT_BYTES = 200_000  # of one draft
_MOST_FILE_BYTES = 100_000_000  # of one person's drafts
_SENT = "sent"  # what a row says of a draft that was sent
_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")
_OF_PAGE = "page "  # what the idempotency key of a page's submit begins with, before the id of its draft


def _owner(subject: str) -> str:
    return hashlib.sha256(subject.encode()).hexdigest()[:32]


def _key(address: str, subject: str, draft: str) -> str:
    return f"{_owner(subject)}-{hashlib.sha256(f'{address}{chr(0)}{draft}'.encode()).hexdigest()[:32]}"


def of_person(records: Records, subject: str, address: str = "") -> list[Record]:
    """The drafts of somebody in one place, of all forms or of one, the newest first."""
    where = Condition("id", "gt", f"{_owner(subject)}-"), Condition("id", "lt", f"{_owner(subject)}.")
    rows = [one for one in records.walk(Query(TABLE, where)) if not one.damage and one.value.get("subject") == subject]
    mine = [one for one in rows if address in ("", one.value["form"])]
    return sorted(mine, key=lambda one: float(one.value["at"]), reverse=True)


def sent(form: Form, request: Request, scope: Scope) -> list[Write]:
    """What puts a mark in place of the draft that a submit was made of, with the commit of the submit: whatever still comes
    from the page afterwards is no draft any more. It says nothing of anybody, and goes when drafts go."""
    if form.type != "forms" or not request.idempotency_key.startswith(_OF_PAGE) or not scope.caller.subject:
        return []
    key = _key(form.address, scope.caller.subject, request.idempotency_key.removeprefix(_OF_PAGE))
    with suppress(AppError):  # a draft that stays is no reason to refuse what it was for
        row, mark = audit_store(form, form.state).get(TABLE, key), {_SENT: True, "at": scope.now}
        return [Update(TABLE, key, mark, row.version) if row else Insert(TABLE, key, mark)]
    return []


def expired(records: Records, now: float) -> Iterator[Write]:
    """What removes the drafts that nobody has changed for too long; their files go with the next sweeps."""
    for one in records.walk(Query(TABLE, (Condition("at", "lt", now - KEPT_S),))):
        yield Delete(TABLE, one.key)


def keep_files(site: Any) -> None:
    """Have the files of all drafts count as staged just now, for sweeps that remove what was staged over a day ago."""
    for records in site.audit_stores():
        for row in records.walk(Query(TABLE)):
            for one in _held(row.value) if not row.damage and not row.value.get(_SENT) else ():
                share = site.resources.get(f"files/{one.share}")
                if isinstance(share, Files) and (keep := getattr(share.blobs, "keep", None)):
                    keep(one.staged)


def _held(value: Value) -> list[Held]:
    """The files of a draft."""
    subject = str(value["subject"])
    return [Held(name, share, subject, called, Staged(*staged)) for name, share, called, staged in value.get("files", ())]


# ==== 2. DRAFTS ==================================================================================================
# The part of a form that answers at its drafts.
# uses: ERRORS VALUES CONTRACTS RUNNERS RESOURCES ASSEMBLY ROWS plugin:unsent
# defines: sufficient judged_at handle lines of_page

_AUTO = "_auto"  # a script saves: with the fields whose files it has sent before, and does not send again


def sufficient(request: Request) -> tuple[Action, ...]:
    """Whoever may submit may think about it."""
    return (Action.CREATE,)


def judged_at(request: Request) -> str:
    return request.resource


def handle(form: Form, request: Request, scope: Scope) -> Plan:
    """One's drafts, or one of them, or the plan that writes it. Raises NotFound, Invalid, Conflict, TooLarge, and
    SignInNeeded for the public, which is nobody in particular."""
    if not scope.caller.subject:
        raise SignInNeeded("sign in to keep drafts")
    drafts = _Drafts(form, request, scope)
    if len(request.path) == 1:
        return drafts.save(scope.new_ids(1)[0]) if request.action == Action.CREATE else drafts.listed()
    if not _ID.fullmatch(request.path[1]):
        raise NotFound(f"{request.address} does not exist")
    if request.action == Action.UPDATE:
        return drafts.save(request.path[1])
    return drafts.removed(request.path[1]) if request.action == Action.DELETE else drafts.opened(request.path[1])


class _Drafts:
    """Those of the caller in one form."""

    def __init__(self, form: Form, request: Request, scope: Scope) -> None:
        self.form, self.request, self.subject, self.scope = form, request, scope.caller.subject, scope
        self.store, self.place = audit_store(form, form.state), f"{form.address}/drafts"

    def _row(self, draft: str) -> Record:
        no_params(self.request)
        row = self.store.get(TABLE, _key(self.form.address, self.subject, draft))
        if row is None or row.damage or row.value.get(_SENT):
            raise NotFound(f"{self.place}/{draft} does not exist")
        return row

    def listed(self) -> Plan:
        no_params(self.request)
        rows = of_person(self.store, self.subject, self.form.address)
        data: Value = {"items": list(map(_item, rows)), "next": None}
        leads, t = leads_to(self.form.address, self.form.opens, self.scope.caller), self.form.locale.t
        trail = [(self.form.title, leads), (t("drafts.title"), "")]
        page = {"title": t("drafts.title"), "trail": trail, "form": self.form, "rows": rows, "build": _page}
        return plan_of(Response(data=data, template="drafts.tpl", page=page))

    def opened(self, draft: str) -> Plan:
        row = self._row(draft)
        resource = self.request.resource

        def opens(exchange: Exchange, shown_by: Any) -> Answer:
            unsent = plugin("unsent")
            sent_as = exchange.door.host.seal("submission", draft)
            found = unsent.Draft(resource, (), row.value["texts"], tuple(_held(row.value)), "", sent_as)
            return cast(Answer, unsent.Drafts(exchange, shown_by).filled(found))

        return plan_of(Response(data=_item(row), template="drafts.tpl", page={"opens": opens}))

    def removed(self, draft: str) -> Plan:
        row = self._row(draft)
        answer = Response(page={"notice": self.form.locale.t("drafts.removed")})
        return Plan(respond=lambda blobs: answer, also=[Delete(TABLE, row.key, row.version)], beside=True)

    def save(self, draft: str) -> Plan:
        """What is sent takes the place of what was there."""
        no_params(self.request, (_AUTO,))
        key = _key(self.form.address, self.subject, draft)
        rows = {one.key: one for one in of_person(self.store, self.subject)}
        old = rows.pop(key, None)
        if old is None and (mark := self.store.get(TABLE, key)) and mark.value.get(_SENT):
            raise Conflict("this form was sent already: what is typed here belongs to a new one")
        if old is None and len(rows) >= MOST:
            raise Conflict(f"you have {MOST} drafts, the most that are kept: send or delete one of them")
        texts, files = _texts(self.request.data), self._files(old)
        if not files and not any(text for name, those in texts.items() if not name.startswith("_") for text in those):
            raise Invalid("there is nothing to keep", faults=[Fault("", "required", "nothing is filled in yet")])
        size = sum(one.staged.size_bytes for row in rows.values() for one in _held(row.value))
        if size + sum(one.staged.size_bytes for one in files) > _MOST_FILE_BYTES:
            most = in_units(_MOST_FILE_BYTES)
            raise _too_large(f"the files of all your drafts may have {most}: send or delete one of them")
        now = self.scope.now
        value: Value = {
            "form": self.form.address, "id": draft, "subject": self.subject, "at": now, "texts": texts,
            "created": old.value["created"] if old else now,
            "files": [[one.field, one.share, one.name, list(one.staged)] for one in files],
        }  # fmt: skip
        write = Update(TABLE, key, storable(value)) if old else Insert(TABLE, key, storable(value))
        answer = Response(data=_item(Record(key, 1, value)), created=old is None, location=f"{self.place}/{draft}")
        return Plan(respond=lambda blobs: answer, also=[write], beside=True)

    def _files(self, old: Record | None) -> list[Held]:
        """The files that are sent, staged; of a script's request also those that were sent before."""
        auto, found = self.request.params.get(_AUTO), list[Held]()
        data = self.request.data if isinstance(self.request.data, dict) else {}
        for name in self.form.shares if not self.request.typed else ():
            one, given = self.form.fields[name], [item for item in data.get(name, ()) if _is_file(item)]
            for upload in given if one.is_many else given[-1:]:
                if held := self._hold(name, upload, must=auto is None):
                    found.append(held)
        stays = auto.split(",") if auto else ()
        return found + [one for one in (_held(old.value) if old else ()) if one.field in stays]

    def _hold(self, name: str, upload: Upload, *, must: bool) -> Held | None:
        """A chosen file, staged; None if the field does not take it, which is a fault if it must."""
        if upload.held and not upload.held.share:
            return None  # it is gone
        held = self.form.hold(name, upload, self.subject)
        if held is None and must:
            files: Any = self.form.files
            pointer = member_pointer("", name)
            raise Invalid("a file cannot be kept", faults=files.faults(self.form.fields[name], upload, pointer))
        return held


def _is_file(item: Json) -> bool:
    return isinstance(item, Upload) and bool(item.name)


def _texts(data: Json) -> Value:
    """The texts by field, as they were typed. A program sends one, or a list, for each."""
    if not isinstance(data, dict):
        raise Invalid("the body must be a JSON object", faults=[Fault("", "type", "must be { FIELD: TEXT, … }")])
    found: Value = {}
    for name, given in data.items():
        texts = [one for one in (given if isinstance(given, list) else [given]) if not isinstance(one, Upload)]
        if not all(isinstance(one, str) for one in texts):
            fault = Fault(member_pointer("", name), "type", "must be a text, as it would be typed, or a list of texts")
            raise Invalid("a draft is made of texts", faults=[fault])
        found |= {name: texts} if texts else {}
    size = sum(len(text.encode(errors="replace")) for texts in found.values() for text in texts)
    if size > _MOST_TEXT_BYTES:
        raise _too_large(f"a draft has at most {in_units(_MOST_TEXT_BYTES)} of text, and this has {in_units(size)}")
    return found


def _too_large(why: str) -> TooLarge:
    """With a fault, so that the page says which limit that is."""
    return TooLarge(why, faults=[Fault("", TooLarge.code, why)])


def _item(row: Record) -> Value:
    """What a program reads of a draft."""
    value, files = row.value, dict[str, list[str]]()
    for one in _held(value):
        files.setdefault(one.field, []).append(one.name)
    texts = {name: those[0] if len(those) == 1 else those for name, those in value["texts"].items() if name[:1] != "_"}
    times = {"created_at": rfc3339(value["created"]), "updated_at": rfc3339(value["at"])}
    return {"id": value["id"], "form": value["form"], **times, "data": texts, "files": files}


# ---- pages


def _page(exchange: Exchange, response: Response) -> Mapping[str, Any]:
    """The page of one's drafts in a form."""
    form: Form = response.page["form"]
    return {"called": form.title, "drafts": lines(exchange, {form.address: form}, response.page["rows"]),
            "back_href": exchange.url(form.address)}  # fmt: skip


def lines(exchange: Exchange, forms: Mapping[str, Any], rows: Sequence[Record]) -> list[SimpleNamespace]:
    """Drafts for people: what they are called and when they were saved, with where they are opened and deleted."""
    found, at = [], Column("", "", "string", "date-time")
    for row in rows:
        form, value = forms.get(row.value["form"]), row.value
        if isinstance(form, Form):
            address = f"{form.address}/drafts/{quote(value['id'], safe='')}"
            found.append(SimpleNamespace(
                href=exchange.url(address), delete_action=exchange.url(address, _method="DELETE"), form=form.title,
                called=_called(form, value) or exchange.locale.t("drafts.unnamed"),
                saved=exchange.locale.show(at, rfc3339(value["at"])),
            ))  # fmt: skip
    return found


def _called(form: Form, value: Value) -> str:
    """The first that was typed of what records are called by, or else of any field."""
    names = [column.name for column in form.called_by if column.name in value["texts"]]
    for name in (*names, *form.fields):
        if name in value["texts"] and (text := " ".join(" ".join(value["texts"][name]).split())):
            return text if len(text) <= 60 else text[:59].rstrip() + "…"
    return ""


def of_page(exchange: Exchange, page: Mapping[str, Any], again: Any) -> Value:
    """What the page of a form shows of drafts: where it saves its own, which the submit of that page removes, and those that
    are there. Nothing for the public, and where a record is changed."""
    form: Form = page["form"]
    draft = exchange.door.host.unseal("submission", again.submission) or ""
    is_kept = form.type == "forms" and hasattr(form, "state")  # which the forms of the administration have not
    if not is_kept or page["record"] or not exchange.subject or not _ID.fullmatch(draft):
        return {"later": "", "drafts": ()}
    rows = list[Record]()
    if again.typed is None:
        with suppress(AppError):  # the page is whole without them
            rows = of_person(audit_store(form, form.state), exchange.subject, form.address)
    return {"later": exchange.url(f"{form.address}/drafts/{draft}"), "drafts": lines(exchange, {form.address: form}, rows)}
