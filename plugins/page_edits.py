"""Pages of an app that are edited: in the browser by whoever may update the files of their share, and by programs."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, cast

from app import (
    Action,
    Answer,
    AppError,
    AppPage,
    BadRequest,
    Exchange,
    Exists,
    Fault,
    Forbidden,
    HttpRunner,
    Invalid,
    Plan,
    PreconditionFailed,
    Request,
    Response,
    Scope,
    TooLarge,
    UnsupportedAction,
    Value,
    check_path,
    check_text,
    in_units,
    nearest,
    no_params,
    plan_of,
    plugin,
    see_other,
    split_path,
)

if TYPE_CHECKING:
    from plugins import markdown, pages
    from plugins.page_sources import ENDING, PagesFolder, PagesShare, address_of
else:
    markdown, pages, sources = plugin("markdown"), plugin("pages"), plugin("page_sources")
    ENDING, PagesFolder, PagesShare, address_of = sources.ENDING, sources.PagesFolder, sources.PagesShare, sources.address_of

# ==== 1. EDITING =================================================================================================
# A page is written as a file of its share, by the caller, so what the share says of him holds: grants, size, audit.
# uses: ERRORS VALUES CONFIG CONTRACTS RUNNERS RESOURCES plugin:markdown plugin:page_sources plugin:pages
# defines: Edit shown_again crumbs shown

_LONGEST_TITLE = 200


def _name_of(title: str) -> str:
    """The name of a new page, by its title; not that of a device, such as "aux", which no file may have."""
    name = markdown.slug(title)
    try:
        check_path([name + ENDING])
    except BadRequest:
        return f"{name}-page"
    return name


class Edit:
    """What a request wants written."""

    def __init__(self, one: AppPage, source: PagesFolder | PagesShare, request: Request, scope: Scope) -> None:
        self.one, self.source, self.request, self.scope = one, source, request, scope
        self.is_new = request.action == Action.CREATE

    def plan(self) -> Plan:
        """Writes the page and answers; a page of a browser gets back what could not be stored."""
        no_params(self.request)
        if not isinstance(self.source, PagesShare):
            raise UnsupportedAction(f"the pages of apps/{self.one.name} lie beside app.toml, and are changed there")
        try:
            given = self._given()
            name = self._name(given)
            self._write(given, name)
        except (Invalid, Exists, PreconditionFailed, TooLarge) as error:
            if self.request.typed:
                raise
            return self._again(self._typed(), error)
        found, address = self.source.read(name, self.scope), address_of(self.one, name)
        data: Value = {"name": name, "title": found.text.title or name, "address": address, "text": found.text.source}
        page = {} if self.request.typed else {"act": _saved}
        return plan_of(Response(data=data, created=self.is_new, location=address, etag=found.etag, page=page))

    def _typed(self) -> dict[str, str]:
        """The texts that a page sent, whatever is wrong with them."""
        data = self.request.data if isinstance(self.request.data, dict) else {}
        last = {name: given[-1] if isinstance(given, list) and given else given for name, given in data.items()}
        return {name: re.sub("\r\n?", "\n", text) for name, text in last.items() if isinstance(text, str)}

    def _given(self) -> dict[str, str]:
        """What is to be written. Raises Invalid."""
        known, data = ("title", "name", "text") if self.is_new else ("text",), self.request.data
        if not isinstance(data, dict):
            raise Invalid("the body must be a JSON object", faults=[Fault("", "type", 'must be { "text": … }')])
        given = self._typed()
        faults = [Fault(f"/{name}", "unknown_field", f"is not asked for here{nearest(name, known)}")
                  for name in list(data)[:20] if name not in known]  # fmt: skip
        faults += [Fault(f"/{name}", "type", "must be a string") for name in known if name in data and name not in given]
        faults += [Fault(f"/{name}", "text", "holds a character that cannot be stored")
                   for name, text in given.items() if name in known and check_text(text)]  # fmt: skip
        if "text" not in data:
            faults.append(Fault("/text", "required", "is missing"))
        if self.is_new and not (given.get("title", "").strip() or given.get("name", "")):
            faults.append(Fault("/title", "required", "is missing"))
        if len(given.get("title", "")) > _LONGEST_TITLE:
            faults.append(Fault("/title", "maxLength", f"must have at most {_LONGEST_TITLE} characters"))
        if faults:
            raise Invalid("the page is not valid", faults=faults)
        return given

    def _name(self, given: Mapping[str, str]) -> str:
        if not self.is_new:
            return self.request.path[1].removesuffix(ENDING)
        title = " ".join(given.get("title", "").split())
        name = given.get("name", "").removesuffix(ENDING) or _name_of(title)
        if name != markdown.slug(name):
            raise Invalid("the page is not valid", faults=[Fault("/name", "pattern", "must be words with - between them")])
        return name

    def _plain(self, given: Mapping[str, str]) -> str:
        """The text as it is stored: with its title, if that was asked for apart."""
        text, title = given["text"].strip("\n") + "\n", " ".join(given.get("title", "").split())
        if title and markdown.read_text(text).title != title:
            text = markdown.with_title(text, title)
        if len(text.encode()) > markdown.MOST_BYTES:
            raise TooLarge(f"a page has at most {in_units(markdown.MOST_BYTES)}")
        return text

    def _write(self, given: Mapping[str, str], name: str) -> None:
        """Have the share write it. Raises Exists, PreconditionFailed, Forbidden …"""
        source, text = cast(PagesShare, self.source), self._plain(given)
        if not self.is_new and source.read(name, self.scope).text.source == text:
            return  # sent twice, or nothing was changed
        type_, share, *path = split_path(source.address(name))
        data = text.encode()
        self.scope.send(self.request._replace(
            action=self.request.action, resource=f"{type_}/{share}", path=tuple(path), data=None, typed=True, body=[data],
            body_bytes=len(data), idempotency_key="", page=False,
        ))  # fmt: skip

    def _again(self, given: Mapping[str, str], error: AppError) -> Plan:
        """The page once more, with what was typed, why it was not stored, and what is stored by now."""
        one, found = self.one, None
        trail = [(one.title, f"apps/{one.name}"), ("", f"apps/{one.name}/pages")]
        page: dict[str, Any] = {"title": one.title, "app": one, "typed": given, "error": error, "build": shown}
        if not self.is_new:
            found = self.source.read(self.request.path[1].removesuffix(ENDING), self.scope)
            page["title"] = found.text.title or found.name
            page["theirs"] = found.text.source if isinstance(error, PreconditionFailed) else ""
            trail.append((page["title"], address_of(one, found.name)))
        page |= {"found": found, "trail": [*trail, ("", "")], "act": _refused}
        return plan_of(Response(data={}, template="page_edit.tpl", page=page))


def shown_again(exchange: Exchange, made: pages.Pages, draft: Any) -> Answer:
    """The page with a text that was carried through signing in; nothing is stored yet. Raises what keeps its reader away."""
    asked = Request(
        exchange.id, Action.READ, draft.resource, draft.path, HttpRunner.kind, page=True, credential=exchange.credential,
        params={"_new" if len(draft.path) == 1 else "_edit": "1"}, languages=exchange.languages,
    )  # fmt: skip
    response = exchange.door.host.handle(asked)
    if response.template != "page_edit.tpl":
        raise Forbidden("you may not write this page")
    exchange.subject = response.caller.subject
    found, typed = response.page["found"], {name: texts[-1] for name, texts in draft.typed.items() if texts}
    response.page = {**response.page, "typed": typed}
    if found and draft.version != found.etag:
        response.page |= {"theirs": found.text.source, "error": PreconditionFailed("it was changed meanwhile")}
    notice = exchange.locale.t("draft.here", button=exchange.locale.t("app_pages.save"))
    return pages.page_answer(200, made.show(exchange, response, notice))


def _saved(exchange: Exchange, response: Response) -> Answer:
    pages.give_notice(exchange, exchange.url(response.location), exchange.locale.t("form.saved"))
    return see_other(exchange.url(response.location))


def _refused(exchange: Exchange, response: Response) -> Answer:
    """The page with what could not be stored."""
    error = response.page["error"]
    return pages.page_answer(error.status, pages.pages_of(exchange).show(exchange, response))


def _words(error: AppError | None, t: Any) -> str:
    """Why a page was not stored, for a person."""
    if error is None:
        return ""
    if isinstance(error, PreconditionFailed):
        return str(t("app_pages.changed"))
    if isinstance(error, Exists):
        return str(t("app_pages.taken"))
    if error.faults:
        fault = error.faults[0]
        label = t("app_pages.title_label") if fault.pointer in ("/title", "/name") else t("app_pages.text")
        return str(t("errors.fault", field=label, what=t.said(fault.detail)))
    said = str(t.said(error.message))
    return said[:1].upper() + said[1:]


def crumbs(exchange: Exchange, trail: Sequence[tuple[str, str]], last: str = "") -> Any:
    t = exchange.locale.t
    named = [(title or (last if not address and last else t("app_pages.title")), address) for title, address in trail]
    return pages.crumbs_of(exchange, named)


def shown(exchange: Exchange, response: Response) -> Mapping[str, Any]:
    """The page with a text to be changed, or again with what was typed and what is stored by now."""
    page, one, found, t = response.page, response.page["app"], response.page["found"], exchange.locale.t
    typed: Mapping[str, str] = page.get("typed", {})
    at, heading = f"apps/{one.name}/pages", t("app_pages.new") if found is None else t("app_pages.edit")
    sent = {"_submission": pages.submission(exchange)} | ({"_version": found.etag} if found else {})
    return {
        "crumbs": crumbs(exchange, page["trail"], heading), "heading": heading, "is_new": found is None,
        "title": page["title"] if found else heading, "name": typed.get("title", ""),
        "text": typed.get("text", found.text.source if found else ""), "theirs": page.get("theirs", ""),
        "alert": _words(page.get("error"), t), "action": exchange.url(address_of(one, found.name) if found else at, **sent),
        "cancel_href": exchange.url(address_of(one, found.name) if found else at), "most": markdown.MOST_BYTES,
    }  # fmt: skip
