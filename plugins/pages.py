"""The HTML format: pages for people, made of templates; what they show, and where they lead."""

from __future__ import annotations

import hashlib
import re
import secrets
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from functools import partial
from types import MappingProxyType, SimpleNamespace
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, cast
from urllib.parse import parse_qsl, quote, urlencode

import app
from app import (
    LOG,
    PAGE_POLICY,
    Action,
    Answer,
    App,
    AppError,
    Asked,
    BadRequest,
    Caller,
    Column,
    Config,
    Exchange,
    Fault,
    Format,
    Host,
    HttpRunner,
    Json,
    JsonFormat,
    NotFound,
    PreconditionFailed,
    Record,
    Request,
    Response,
    Route,
    Unauthenticated,
    Unread,
    Value,
    dump_json,
    error_headers,
    exact_number,
    load_json,
    log_fault,
    problem_details,
    rfc3339,
    see_other,
    split_path,
)

if TYPE_CHECKING:
    from plugins import cells, controls, import_files, lines, media_types, navigation, unsent
    from plugins import form_layout as layout
    from plugins.catalogue import Words
    from plugins.controls import Input
    from plugins.html_forms import form_of, read_form
    from plugins.locale import Locale
else:
    cells, controls, lines = app.plugin("cells"), app.plugin("controls"), app.plugin("lines")
    import_files = app.plugin("import_files")
    layout = app.plugin("form_layout")
    media_types, navigation, unsent = app.plugin("media_types"), app.plugin("navigation"), app.plugin("unsent")
    form_of, read_form = app.plugin("html_forms").form_of, app.plugin("html_forms").read_form

# ==== 1. PAGES ===================================================================================================
# Templates, those beside app.toml first, and what each of them shows.
# uses: ERRORS VALUES CONFIG RUNNERS ASSEMBLY plugin:around_record plugin:catalogue plugin:cells plugin:controls
#       plugin:file_pages plugin:file_view plugin:form_drafts plugin:form_layout plugin:lines plugin:list_pages
#       plugin:locale plugin:move_pages plugin:navigation plugin:public_forms plugin:sign_in plugin:template_faults
#       plugin:waiting
# defines: Again site_of submission Pages policy_of page_answer listed is_move list_state form_trail crumbs_of

_PLAIN_DETAILS = (400, 404, 406, 409, 413, 415, 422, 501, 504)  # statuses whose details a person can use

_LIST_PARAM = re.compile(r"_(sort|size|next|prev|q|count|facets|columns)|[a-z]\w*")
_DATE_SHAPES = {
    "date": r"[0-9]{4}-[0-9]{2}-[0-9]{2}", "datetime-local": r"[0-9-]{10}T[0-9]{2}:[0-9]{2}(:[0-9]{2}(\.[0-9]{1,3})?)?",
    "time": r"[0-9]{2}:[0-9]{2}(:[0-9]{2})?",
}  # fmt: skip
_RECORD_META = {"created_at": "date-time", "created_by": "", "updated_at": "date-time", "updated_by": "", "version": ""}


class Again(NamedTuple):
    """What a form is shown with: texts and Uploads by field, held files as (name, sealed text), and why."""

    submission: str = ""  # signed id of the form on the page, by which what is sent twice is stored once
    typed: Mapping[str, Sequence[Any]] | None = None
    shown: str = ""  # what the controls of a record's form showed, as marks: it says what was changed in them
    faults: Sequence[Fault] = ()
    held: Mapping[str, Sequence[SimpleNamespace]] = MappingProxyType({})
    stale: bool = False  # somebody else changed the record meanwhile
    notice: str = ""


def site_of(exchange: Exchange) -> App:
    """The application itself: pages sign people in and keep files that were chosen, which no other Format or Route does."""
    return cast(App, exchange.door.host)


def submission(exchange: Exchange) -> str:
    """A fresh signed id, by which what is sent twice is stored once."""
    return exchange.door.host.seal("submission", secrets.token_urlsafe(18))


class Pages:
    """Renders templates, and turns Responses into what the templates show."""

    def __init__(self, config: Config) -> None:
        self._title, self._contact = config.site.title, config.site.contact
        folders = (config.folder / "templates", app.BUNDLED / "templates")
        self.folders = [str(folder) for folder in folders if folder.is_dir()]
        self.own_folder = str(config.folder)  # where app.toml is
        self.static = {path.name: path.read_bytes() for path in sorted((app.BUNDLED / "static").glob("*.*"))}
        self.tags = {name: hashlib.sha256(data).hexdigest()[:16] for name, data in self.static.items()}
        self._cache: dict[str, Any] = {}
        self.kept: dict[Any, Any] = {}  # pieces of pages that stay the same, by what they depend on
        self._navigation: navigation.Navigation | None = None
        self._builders: dict[str, Callable[[Exchange, Response], dict[str, Any]]] = {
            "home.tpl": self._home, "files.tpl": self.files, "form.tpl": self.form, "record.tpl": self._record,
            "table.tpl": partial(app.plugin("list_pages").shown, self), "metrics.tpl": self._metrics,
            "person.tpl": self._person, "invited.tpl": self._invited,
        }  # fmt: skip

    def title(self, exchange: Exchange) -> str:
        """What the site is called."""
        return str(exchange.door.host.languages.text("site.title", self._title, exchange.locale))

    def contact(self, exchange: Exchange) -> str:
        """Whom pages name for help; "" if app.toml names nobody."""
        return str(exchange.door.host.languages.text("site.contact", self._contact, exchange.locale))

    # -- whole pages

    def render(
        self, exchange: Exchange, template: str, title: str, page: Mapping[str, Any], notice: str = "",
        caller: Caller | None = None,
    ) -> bytes:  # fmt: skip
        """A whole page as UTF-8; `notice` says what was done. `caller` is who was let in; None if that is still to be found
        out, for the menus."""
        caller = navigation.caller_of(exchange, site_of(exchange)) if caller is None else caller
        locale = exchange.locale
        exchange.language = locale.lang
        names = {
            "site": self.title(exchange), "title": title, "subject": exchange.subject, "url": exchange.url,
            "lang": locale.lang, "dir": locale.direction, "t": locale.t, "contact": self.contact(exchange),
            "notice": notice, "form_token": exchange.door.form_token(exchange), "page": SimpleNamespace(**page),
            "faults": _faults_for(caller, exchange), "embedded": _embedding(exchange),
            "static": lambda name: f"{exchange.prefix}/static/{name}?v={self.tags.get(name, '')}",
            **self.way(exchange).around(exchange, caller, title, page.get("crumbs", ())),
        }  # fmt: skip
        try:
            return self.part(template, names).encode()
        except AppError:
            raise
        except Exception as error:
            raise app.plugin("template_faults").fault_of(error, exchange, caller, self.folders, template) from error

    def part(self, template: str, names: Mapping[str, Any]) -> str:
        """A template, which may be a piece of a page, as HTML."""
        from bottle import SimpleTemplate

        if template not in self._cache:
            self._cache[template] = SimpleTemplate(name=template, lookup=self.folders)
        return str(self._cache[template].render(**names))

    def way(self, exchange: Exchange) -> navigation.Navigation:
        """What the site has, and how one gets there."""
        if self._navigation is None:
            self._navigation = navigation.Navigation(site_of(exchange), self.part)
        return self._navigation

    def show(self, exchange: Exchange, response: Response, notice: str = "") -> bytes:
        build = self._builders.get(response.template, self._built)
        page = build(exchange, response)
        if response.template == "files.tpl":
            page = app.plugin("file_view").around_list(exchange, response, page)
        return self.render(exchange, response.template, page["title"], page, notice, response.caller)

    def _built(self, exchange: Exchange, response: Response) -> dict[str, Any]:
        """The page of a resource that knows by itself what is in it: its `build` adds to what every page or list has."""
        if response.table is None:
            found: dict[str, Any] = {"title": response.page["title"], "crumbs": crumbs_of(exchange, response.page["trail"])}
        else:
            found = app.plugin("list_pages").shown(self, exchange, response)
        return found | cast(dict[str, Any], response.page["build"](exchange, response))

    def show_form(self, exchange: Exchange, response: Response, again: Again, notice: str = "") -> bytes:
        page = self.form(exchange, response, again)
        return self.render(exchange, "form.tpl", page["title"], page, notice, response.caller)

    def login(
        self, exchange: Exchange, code: str, after: str, error: str = "", kept: SimpleNamespace | None = None,
        tried: str = "", subject: str = "",
    ) -> bytes:  # fmt: skip
        """`tried` is the way that has failed, such as "password", and `subject` the name that was given."""
        page = {"code": code, "after": after, "error": error, "kept": kept, "tried": tried, "subject": subject}
        page["ways"] = app.plugin("sign_in").ways(exchange)
        return self.render(exchange, "login.tpl", exchange.locale.t("common.sign_in"), page)

    def fault(self, exchange: Exchange, error: AppError, kept: SimpleNamespace | None = None) -> bytes:
        """What happened and what to do, for a person; then the facts, for whoever runs the site."""
        needed = getattr(error, "needed", "")
        impersonal = error.status == 403 and not needed  # it is not about who asks
        is_away = error.retry and error.status >= 500  # it would only be waited for again
        caller = Caller() if is_away else navigation.caller_of(exchange, site_of(exchange))
        exchange.subject = exchange.subject or caller.subject  # an address that is nowhere asks for nobody
        t = exchange.locale.t
        kind = error.status if t.has(f"fault.{error.status}.title") else 500
        words = f"fault.{'let_through' if impersonal else kind}."
        happened, contact = t(words + "title"), self.contact(exchange) or t("common.operator")
        problem = problem_details(exchange.id, error)
        errors = [one | {"detail": t.said(one["detail"])} for one in problem.get("errors", ())]
        page = {
            **problem, "errors": errors, "kept": kept, "needed": needed, "title": happened, "said": t.said(error.message),
            "crumbs": self.way(exchange).trail_of_fault(exchange, caller, happened),
            "to_do": t(words + "to_do", contact=contact),
            "plain": error.status in _PLAIN_DETAILS or error.code == "template" or impersonal,
            **self._ways_on(exchange, error, needed),
        }  # fmt: skip
        return self.render(exchange, "error.tpl", happened, page, caller=caller)

    def _ways_on(self, exchange: Exchange, error: AppError, needed: str) -> dict[str, str]:
        """Where the buttons below a fault lead; "" for those that do not help."""
        found = dict.fromkeys(("sign_in_href", "again_href", "plain_href", "now_href"), "")
        looked = exchange.method in ("GET", "HEAD")
        if error.status == 401 or needed:
            after: str | None = exchange.own_address if looked else exchange.path
            if exchange.path == exchange.url("logout") or len(after or "") >= 1000:
                after = None
            found["sign_in_href"] = exchange.url("login", after=after)
        if looked and error.status in (408, 429, 500, 503, 504):
            found["again_href"] = exchange.own_address
        if looked and error.status == 400 and exchange.own_address != exchange.own_path:
            found["plain_href"] = exchange.own_path  # without what was asked of it, which did not fit
        if error.status == 412 and not looked:
            found["now_href"] = exchange.url(exchange.inner, _list=urlencode(listed(exchange)) or None)
        return found

    # -- home, applications, metrics

    def _home(self, exchange: Exchange, response: Response) -> dict[str, Any]:
        title, caller, way = response.page["title"], response.caller, self.way(exchange)
        if title:
            title = exchange.locale.t(f"index.{exchange.inner.strip('/')}")
        entries = [SimpleNamespace(**entry) for entry in response.data["resources"]]
        items = [way.item(exchange, caller, one) for one in entries if one.type != "apps"]
        groups = [SimpleNamespace(title="", href="", items=items, rest=[])] if items else []
        waiting = None if title or not exchange.subject else app.plugin("waiting").shown(exchange, site_of(exchange), caller)
        return {
            "title": title or self.title(exchange), "is_index": bool(title), "waiting": waiting,
            "apps": [one for one in entries if one.type == "apps"],
            "groups": groups if title else way.groups(exchange, caller, entries), "sign_in": not exchange.subject,
            "crumbs": crumbs_of(exchange, [(title, "")]) if title else [],
        }  # fmt: skip

    def _metrics(self, exchange: Exchange, response: Response) -> dict[str, Any]:
        title, meters = response.page["title"], []
        for one in response.data["metrics"]:
            if rows := [_meter_row(sample, exchange.locale) for sample in one["samples"]]:
                meters.append(SimpleNamespace(name=one["name"], help=one["help"], rows=rows))
        crumbs = crumbs_of(exchange, [(title, "")])
        return {"title": title, "crumbs": crumbs, "meters": meters, "text_href": exchange.url("metrics")}

    # -- folders

    def files(
        self, exchange: Exchange, response: Response, report: Mapping[str, Any] = MappingProxyType({})
    ) -> dict[str, Any]:
        """The page of a folder, with what became of an upload if `report` says it."""
        return cast(dict[str, Any], app.plugin("file_pages").shown(exchange, response, report))

    # -- forms and records

    def form(self, exchange: Exchange, response: Response, again: Again | None = None) -> dict[str, Any]:
        """The page of a form, empty, with a record, or again with what was typed and what was wrong with it."""
        page, again, t = controls.with_inputs(response.page, exchange.locale), again or Again(), exchange.locale.t
        if lookups := page.get("lookups"):
            page["inputs"] = lookups.filled(page["inputs"], again.typed)
        faults, places = again.faults, dict[str, str]()
        if again.typed is not None and getattr(page["form"], "has_lines", False):
            faults, places = lines.placed(page["form"], again.typed, faults)
            again = again._replace(typed=lines.flattened(page["form"], again.typed))
        # By the name that a pointer begins with; of each the first.
        wrong = {one.pointer.partition("/")[2].partition("/")[0]: _fault_words(one, t) for one in reversed(faults)}
        fields = [self._form_field(exchange, page, one, again, wrong) for one in page["inputs"]]
        laid_out = layout.laid_out(page, fields, again.typed, again.held)
        page["shown"] = page["shown"] and controls.marks(page["form"], laid_out.asked.values())
        titles, errors = {one.name: one.title for one in page["inputs"]} | places, []
        for name, detail in reversed(wrong.items()):
            href, title = f"#f-{name}" if name in places or name in laid_out.asked else "", titles.get(name, name)
            key = "errors.said" if detail[:1].isupper() else "errors.fault"  # a sentence of app.toml's own
            errors.append(SimpleNamespace(href=href, text=t(key, field=title, what=detail) if title else detail))
        trail = form_trail(exchange, page)[:1]
        if page["record"]:
            at = f"{page['records_at']}/{quote(page['record'].key, safe='')}"
            trail = [*form_trail(exchange, page), (page["called"], at), (exchange.locale.t("trail.edit"), "")]
        elif page["leads"] == page["records_at"]:  # a link to the form leads to its list
            trail.append((page.get("create", exchange.locale.t("trail.new")), ""))
        found = {
            "title": page["called"] or page["title"], "note": page["note"], "errors": errors, "notice": again.notice,
            "crumbs": crumbs_of(exchange, trail), "fields": fields,
            "groups": laid_out.groups, "conditional": laid_out.conditional, "moving": laid_out.moving,
            "turns": any(one.widget == "lines" for one in fields),  # Enter is to press none of their buttons
            "mark": exchange.locale.write_number(0.5)[1], **app.plugin("form_drafts").of_page(exchange, page, again),
            "multipart": any(one.widget == "file" for one in page["inputs"]), "unfit": page.get("unfit", ""),
        }  # fmt: skip
        return found | (self._edits if page["record"] else self._submits)(exchange, page, again)

    def _edits(self, exchange: Exchange, page: Mapping[str, Any], again: Again) -> dict[str, Any]:
        """What the form of a record has that a new one has not."""
        record = page["record"]
        address, state = f"{page['records_at']}/{quote(record.key, safe='')}", urlencode(listed(exchange)) or None
        t = exchange.locale.t
        sent = {"_submission": again.submission, "_method": "PUT", "_version": str(record.version), "_list": state}
        return {
            "action": exchange.url(address, **sent), "submit": t("form.save_anyway") if again.stale else t("form.save"),
            "cancel_href": exchange.url(address, _list=state),
            "cancel": t("form.take_theirs") if again.stale else t("form.cancel"),
            "shown": page["shown"] if again.stale else again.shown or page["shown"], "done": None,
            "records_href": "", "mine_href": "",
        }  # fmt: skip

    def _submits(self, exchange: Exchange, page: Mapping[str, Any], again: Again) -> dict[str, Any]:
        records, t = exchange.url(page["records_at"]) if Action.READ in page["may"] else "", exchange.locale.t
        mine, done = _mine(exchange, page, records), None
        if page["sent"]:
            href = (records or mine) and f"{records or mine}/{page['sent']}"
            done = SimpleNamespace(text=t("form.sent", reference=page["sent"]), href=href)
        return {
            "action": exchange.url(page["address"], _submission=again.submission, _embed=exchange.query.get("_embed")),
            "cancel_href": "",
            "submit": page.get("submit") or t("form.send"), "cancel": t("form.cancel"), "shown": "", "done": done,
            "records_href": records, "records": page.get("list") or t("trail.records"), "mine_href": mine,
        }  # fmt: skip

    def _form_field(
        self, exchange: Exchange, page: Mapping[str, Any], one: Input, again: Again, wrong: Mapping[str, str]
    ) -> SimpleNamespace:
        kept = again.typed is None or one.name in layout.unasked(page.get("form"), again.typed)
        typed = None if kept or again.typed is None else again.typed.get(one.name, ())
        control = self.control(exchange, one, typed, wrong.get(one.name, ""))
        if one.widget == "lines":
            lines.fill(page, control, None if kept else again.typed, wrong, partial(self.control, exchange))
        control.held, control.gone = again.held.get(one.name, ()), (again.typed or {}).get("_gone", ())
        if again.stale and one.widget != "file":
            return self._stale(exchange, page, one, control, list(typed or ()), again.shown)
        return control

    def _record(self, exchange: Exchange, response: Response) -> dict[str, Any]:
        page, data, may, locale = response.page, response.data, response.page["may"], exchange.locale
        listing = page["records_at"]
        address = f"{listing}/{quote(data['id'], safe='')}"
        fields = [
            SimpleNamespace(
                name=one.name, title=one.title, text=locale.show(one, data[one.name]),
                href=cells.target(exchange.url, data[one.name]),
                multiline=one.format == "multiline" or "\n" in str(data[one.name]),
                files=cells.files(exchange.url, one, data[one.name]),
                lines=lines.shown(page["form"], one.name, data[one.name]),
            )
            for one in page["columns"] if one.format != "state"
        ]  # fmt: skip
        meta = [
            SimpleNamespace(title=locale.t(f"record.{name}"), text=locale.show(Column(name, format=form), data[name]))
            for name, form in _RECORD_META.items()
        ]
        state = urlencode(listed(exchange)) or None
        standing = app.plugin("move_pages").of_record(exchange, response) if page["form"].states else None
        delete = exchange.url(address, _method="DELETE", _version=data["version"], _list=state)
        return {
            "title": page["called"], "fields": fields, "meta": meta, "standing": standing,
            "groups": layout.of_record(page, fields),
            "back_href": exchange.url(listing, **listed(exchange)),
            "crumbs": crumbs_of(exchange, [*form_trail(exchange, page), (page["called"], "")]),
            "edit_href": exchange.url(address, _edit=1, _list=state) if Action.UPDATE in may else "",
            "delete_action": delete if Action.DELETE in may else "", **app.plugin("around_record").shown(exchange, response),
        }  # fmt: skip

    def _invited(self, exchange: Exchange, response: Response) -> dict[str, Any]:
        page, title = response.page, exchange.locale.t("invited.title")
        crumbs = [(exchange.locale.t("admin.people"), page["address"]), (page["subject"], page["person"]), (title, "")]
        return {"mailed_to": "", **page, **page["once"], "title": title, "crumbs": crumbs_of(exchange, crumbs)}

    def _person(self, exchange: Exchange, response: Response) -> dict[str, Any]:
        page, show = response.page, exchange.locale.show
        at = Column("", "", "string", "date-time")

        def told(row: Record, text: str = "") -> SimpleNamespace:
            names = ("created_at", "issued_at", "used_at", "expires_at")
            times = {name: show(at, rfc3339(row.value[name])) if row.value.get(name) else "" for name in names}
            return SimpleNamespace(text=text, **times)

        address = f"{page['address']}/{quote(page['record'].key, safe='')}"
        found = self._record(exchange, response)
        may = SimpleNamespace(title=exchange.locale.t("person.may"), text=page["rights"], href="", multiline=True)
        asked = {"admin/audit": "subject", "admin/tokens": "subject", "admin/access": "who"}
        mine = [(one, name) for one, name in asked.items() if response.caller.may(Action.READ, one)]
        return found | {
            "ways": [(one.replace("/", "."), exchange.url(one, **{name: page["record"].key})) for one, name in mine],
            "fields": [*found["fields"], may], "suspended": page["suspended"], "reached": page["reached"],
            "sessions": None if page["sessions"] is None else list(map(told, page["sessions"])),
            "tokens": [told(one, one.value["label"]) for one in page["tokens"]],
            "link_action": exchange.url(f"{address}/link"),
            "out_action": exchange.url(f"{address}/sign-out"), "may_link": Action.CREATE in page["may"],
        }  # fmt: skip

    # -- controls

    def control(
        self, exchange: Exchange, one: Input, typed: Sequence[Any] | None = None, error: str = ""
    ) -> SimpleNamespace:
        """An input with what it shows, or with what was typed, how that was understood, and what is wrong with it."""
        texts = list(one.texts) if typed is None else [text for text in typed if isinstance(text, str)]
        last, is_checkbox, help_, widget = (texts or [""])[-1], one.widget == "checkbox", one.help, one.widget
        if typed is not None and widget == "number" and last and not error:
            understood = self._understood(exchange, last, whole=one.attrs.get("inputmode") == "numeric")
            if understood != last.strip():
                help_ = f"{help_} {exchange.locale.t('field.read_as', number=understood)}".strip()
        if last and widget in _DATE_SHAPES and not re.fullmatch(_DATE_SHAPES[widget], last):
            widget = "text"  # in its own control a browser would not show it
        if not texts and widget == "radio":
            texts = [""]
        files = [SimpleNamespace(name=file["name"], href=exchange.url(file["address"]), id=file["id"]) for file in one.files]
        return SimpleNamespace(
            name=one.name, id=f"f-{one.name}", title=one.title, help=help_, widget=widget, required=one.required,
            value="true" if is_checkbox else last, checked=is_checkbox and last == "true", attrs=one.attrs, error=error,
            options=[SimpleNamespace(value=text, title=title, selected=text in texts) for text, title in one.choices],
            files=files, groups=one.groups, held=(), now=None, gone=(),
            lookup=one.lookup and SimpleNamespace(**vars(one.lookup), href=exchange.url(one.lookup.address)),
        )  # fmt: skip

    def _understood(self, exchange: Exchange, text: str, *, whole: bool) -> str:
        """A number as it is stored, by the site's marks; the text itself if it is none."""
        read = exchange.locale.read_number(text, whole=whole)
        if isinstance(read, Unread) and re.fullmatch(r"-?[0-9]+\.[0-9]+", text):
            read = exact_number(text)  # a parameter, which is read as programs write it first
        return text if read is None or isinstance(read, Unread) else exchange.locale.write_number(read)

    def _stale(
        self,
        exchange: Exchange,
        page: Mapping[str, Any],
        one: Input,
        control: SimpleNamespace,
        texts: list[str],
        shown: str,
    ) -> SimpleNamespace:
        """The control of a record that somebody changed meanwhile, with what stands in it now; what this person did not
        touch takes that over."""
        present, field = self.control(exchange, one), page["form"].fields[one.name]
        if one.widget == "lines":
            lines.fill(page, present, None, {}, partial(self.control, exchange))
        t = exchange.locale.t
        before, now = _chosen_text(control, t), _chosen_text(present, t)
        mark = controls.mark(field, texts)
        untouched = f" {one.name}:{mark} " in f" {shown} "
        found = present if untouched else control
        found.held, found.now = (), None
        if mark != controls.mark(field, one.texts):
            label = t("field.before") if untouched else t("field.yours")
            found.now = SimpleNamespace(now=now, yours=before, label=label)
        return found


def _is_embedded(exchange: Exchange) -> bool:
    """Whether the page is shown inside of another one; one whose address cannot be read is not."""
    with suppress(BadRequest):
        return exchange.query.get("_embed") == "1"
    return False


def _embedding(exchange: Exchange) -> bool | str:
    """Whether the page has none of the site's menus: inside of another one, or by a share link."""
    return "shared" if exchange.inner.startswith("s/") else _is_embedded(exchange)


def _faults_for(caller: Caller, exchange: Exchange) -> list[str]:
    """What is wrong with a later app.toml, for whoever administers the site while it is read each time it is saved."""
    found = exchange.door.fault.get()
    return found.split("\n") if found and caller.may(Action.READ, "admin/check") else []


def policy_of(exchange: Exchange) -> str:
    """The policy of a page, which may be shown inside another site's if it is a public form and app.toml says so."""
    if not _is_embedded(exchange):
        return PAGE_POLICY
    return str(app.plugin("public_forms").policy(exchange, site_of(exchange).config.public.frames))


def page_answer(status: int, body: bytes, headers: Sequence[tuple[str, str]] = (), *, policy: str = PAGE_POLICY) -> Answer:
    own = [("Content-Type", "text/html; charset=utf-8"), ("Content-Security-Policy", policy)]
    return Answer(status, [*own, *headers], body)


def listed(exchange: Exchange) -> dict[str, str]:
    """What the list that a page was reached from was asked for: search, filters, order and page."""
    with suppress(ValueError, BadRequest):
        if text := exchange.query.get("_list", ""):
            pairs = parse_qsl(text, errors="strict", max_num_fields=100)
            return {name: value for name, value in pairs if _LIST_PARAM.fullmatch(name)}
    return {}


def is_move(resource: str, path: Sequence[str]) -> bool:
    """Whether this is where a record is moved from one state to another."""
    return resource.startswith("forms/") and len(path) == 3 and path[2] == "move"


def list_state(exchange: Exchange) -> str | None:
    """What the list on this page was asked for, for the pages that it leads to."""
    asked = exchange.query if exchange.method in ("GET", "HEAD") else listed(exchange)
    found = {name: text for name, text in asked.items() if text and name != "_list"}
    if "_prev" in found:  # a link for each row: the page before is enough
        found["_prev"] = found["_prev"].rpartition(",")[2]
    return urlencode(found) or None


def _chosen_text(control: SimpleNamespace, t: Words) -> str:
    """What a control shows, for people."""
    if control.widget == "lines":
        return lines.said(control)
    if control.options:
        return t("common.comma").join(option.title for option in control.options if option.selected)
    if control.widget == "checkbox":
        return t("common.yes") if control.checked else t("common.no")
    return str(control.value)


def _mine(exchange: Exchange, page: Mapping[str, Any], records: str) -> str:
    """The address of one's own records of a form; "" if there are none, or if nothing else is in the list of all."""
    has_own = page["form"].type == "forms" and exchange.subject and not (records and page["form"].owned_by)
    return exchange.url(f"{page['address']}/mine") if has_own else ""


def form_trail(exchange: Exchange, page: Mapping[str, Any]) -> list[tuple[str, str]]:
    """The way to a form's list: by the form, unless links to it lead to the list at once."""
    listing = page["records_at"]
    own = [(page["title"], page["leads"])]
    return own if page["leads"] == listing else [*own, (page.get("list") or exchange.locale.t("trail.records"), listing)]


def _fault_words(fault: Fault, t: Words) -> str:
    """What is wrong, in the words of a page: where a field is not asked for, what was sent for it will not be sent again."""
    return t("form.left_out") if fault.code == "hidden" else t.said(fault.detail)


def crumbs_of(exchange: Exchange, trail: Sequence[tuple[str, str]]) -> list[SimpleNamespace]:
    """Home and the (title, address) pairs; the last one is the page itself. A list above it is as one came from it."""

    def href(address: str) -> str:
        return exchange.url(address, **(listed(exchange) if address.endswith(("/records", "/mine")) else {}))

    links = [
        SimpleNamespace(title=title, href=href(address))
        for title, address in [(exchange.locale.t("common.home"), ""), *trail[:-1]]
    ]
    return [*links, SimpleNamespace(title=trail[-1][0], href="")]


def _meter_row(sample: Value, locale: Locale) -> SimpleNamespace:
    """The labels and the value of a sample, for a person; of a histogram how many and their mean."""
    labels = ", ".join(f"{name} {text}" for name, text in sample["labels"].items())
    if "value" in sample:
        return SimpleNamespace(labels=labels, value=locale.write_count(sample["value"]))
    mean = sample["sum"] / sample["count"] if sample["count"] else 0.0
    value = locale.t("metrics.mean", n=sample["count"], mean=locale.write_number(float(f"{mean:.3g}")))
    return SimpleNamespace(labels=labels, value=value)


# ==== 2. HTML ====================================================================================================
# The format itself: what reads, writes, faults and submitted forms answer to people, and the pages for signing in.
# uses: ERRORS VALUES CONFIG RUNNERS PAGES plugin:file_steps plugin:file_view plugin:html_forms plugin:import_files
#       plugin:list_pages plugin:media_types plugin:move_pages plugin:public_forms plugin:template_faults
#       plugin:unsent plugin:view_extras
# defines: Format:html Route:static Html give_notice take_notice pages_of Static

_NOTICE_LENGTH = 200
_NOTICE_COOKIE = "satchel_notice_"  # what was done, for the page that shows the result
_LETTERS_OF_TOKENS = 65536


class Html(Format):
    """Pages. Whoever has to sign in is led to where that is done, and a write goes on to where its result is seen."""

    kind = "html"
    media = "text/html; charset=utf-8"
    subjects = frozenset({"table", "record"})
    reads = frozenset({"application/x-www-form-urlencoded", "multipart/form-data"})
    for_people = True

    def __init__(self, options: Mapping[str, Any], config: Config) -> None:
        super().__init__(options, config)
        self.pages = Pages(config)

    # -- what was read

    def dump(self, exchange: Exchange, response: Response) -> Iterator[bytes]:
        yield self.answer(exchange, response).body

    def answer(self, exchange: Exchange, response: Response) -> Answer:
        if "act" in response.page:
            return cast(Answer, response.page["act"](exchange, response))
        if not response.template:
            return cast(JsonFormat, exchange.door.formats[JsonFormat.kind]).answer(exchange, response)
        if leads := self._leads(response):
            return see_other(exchange.url(leads))
        if response.page.get("edit") and Action.UPDATE not in response.page["may"]:
            return see_other(exchange.url(exchange.inner))
        if opens := response.page.get("opens"):
            return cast(Answer, opens(exchange, self.pages))
        if response.table is not None and (tidied := app.plugin("list_pages").tidied(self.pages, exchange, response)):
            return see_other(tidied)
        notice = take_notice(exchange)
        if response.template == "form.tpl" or response.page.get("edit"):
            body = self.pages.show_form(exchange, response, Again(submission=submission(exchange)), notice)
        else:
            body = self.pages.show(exchange, response, notice)
        status = BadRequest.status if response.page.get("faults") and exchange.query else 200
        answer = page_answer(status, body, policy=policy_of(exchange))
        return cast(Answer, app.plugin("view_extras").tagged(exchange, answer)) if response.table else answer

    def _leads(self, response: Response) -> str:
        """The address that is shown in place of this one; "" if it is shown itself."""
        if response.template == "form.tpl" and Action.CREATE not in response.page["may"]:
            return str(response.page["records_at"])  # there is nothing to submit for this caller
        home = str(response.page.get("home", ""))
        return home if home.startswith(("forms/", "views/")) else ""

    # -- what was written

    def written(self, exchange: Exchange, response: Response) -> Answer | None:
        """A form of a page goes on to where the result is seen (post/redirect/get), unless it is seen only once."""
        if not exchange.is_form:
            return None
        if "act" in response.page:
            return cast(Answer, response.page["act"](exchange, response))
        if "once" in response.page:
            return page_answer(201, self.pages.show(exchange, response))
        headers = [("Idempotency-Replayed", "true")] if response.replayed else []
        return see_other(self._afterwards(exchange, response), headers)

    def _afterwards(self, exchange: Exchange, response: Response) -> str:
        """Where to go on to after a write; the page there says what was done."""
        t = exchange.locale.t
        if is_move(exchange.resource, exchange.path_inside):
            return str(app.plugin("move_pages").afterwards(exchange, response))
        if exchange.path_inside[:1] == ("drafts",) and response.data is not None:
            place = response.location.rpartition("/")[0]
            give_notice(exchange, exchange.url(place), t("drafts.saved"))
            return exchange.url(place)
        if response.location.endswith("/comments"):
            place = response.location.removesuffix("/comments")
            give_notice(exchange, exchange.url(place), t("comments.added"))
            return exchange.url(place, _list=urlencode(listed(exchange)) or None)
        if response.created and response.location.startswith("forms/"):
            form, _, key = response.location.rpartition("/records/")
            return exchange.url(form, _sent=key, _embed=exchange.query.get("_embed"))
        if response.data is None:
            name = split_path(exchange.inner)[-1] if exchange.inner.startswith("files/") else response.name
            words = t("form.deleted_name", name=name) if name else t("form.deleted")
            return self.left_at(exchange, response.page.get("notice") or words)
        place = response.location or exchange.inner
        saved = t("form.saved_name", name=response.name) if response.name else t("form.saved")
        notice = response.page.get("notice") or saved
        give_notice(exchange, exchange.url(place), notice)
        return exchange.url(place, _list=urlencode(listed(exchange)) or None)

    def left_at(self, exchange: Exchange, notice: str) -> str:
        """The list that it was in, or the nearest folder that is left, which says so."""
        above, (kind, name, *path) = exchange.inner.rpartition("/")[0], split_path(exchange.inner)[:-1]
        if kind == "files":
            while path and not self._is_left(exchange, f"files/{quote(name, safe='')}", (*path, "")):
                above, path = above.rpartition("/")[0], path[:-1]
            above += "/"
        give_notice(exchange, exchange.url(above), notice)
        return exchange.url(above, **listed(exchange))

    def _is_left(self, exchange: Exchange, resource: str, path: Sequence[str]) -> bool:
        """Whether a page is there, for this caller or for others; with its last file a folder goes, too."""
        try:
            exchange.door.host.handle(Request(
                id=exchange.id, action=Action.READ, resource=resource, path=tuple(path), door=HttpRunner.kind,
                params={"_size": "1"} if path[-1] == "" else {}, credential=exchange.credential, page=True,
            ))  # fmt: skip
        except AppError as error:
            return not isinstance(error, NotFound)
        return True

    # -- what failed

    def fault(self, exchange: Exchange, error: AppError) -> Answer:
        if isinstance(error, Unauthenticated):
            if exchange.method in ("GET", "HEAD"):
                after = exchange.own_address
                return see_other(exchange.url("login", after=after if len(after) < 1000 else None))
            if exchange.method == "POST" and exchange.path != exchange.url("logout"):
                after = exchange.path
                if "_method" in exchange.query and exchange.inner.startswith("files/"):  # a file is no page to go back to
                    after = after.rpartition("/")[0] + "/"
                body = self.pages.login(exchange, "", after, exchange.locale.t("draft.not_done"))
                return page_answer(401, body, error_headers(error))
        is_read = exchange.method in ("GET", "HEAD") and isinstance(error, BadRequest) and error.faults
        if is_read and (response := app.plugin("list_pages").refused(exchange, error)):
            return self.answer(exchange, response)
        try:
            body = self.pages.fault(exchange, error)
        except Exception as broken:  # the templates may be what is broken
            LOG.error("request %s: the page of the fault failed: %s", exchange.id, broken)
            body = app.plugin("template_faults").bare(problem_details(exchange.id, error), exchange.locale.t)
        return page_answer(error.status, body, error_headers(error))

    # -- what a page's form sends

    def load(self, exchange: Exchange, resource: str) -> Json:
        if import_files.is_place(resource, exchange.path_inside):
            return cast(Json, import_files.read_page(exchange))
        if exchange.page:
            drafts = unsent.Drafts(exchange, self.pages)
            drafts.read(resource)
            exchange.door.check_token(exchange, drafts.form.text("_token"))
            if trapped := drafts.form.text("_website"):
                app.plugin("public_forms").check_trap(exchange, trapped)
            if drafts.is_unfinished() and exchange.path_inside[:1] != ("drafts",):
                raise unsent.Unfinished("the form is not finished")
            return drafts.data(resource)
        if exchange.media_type == "multipart/form-data":
            exchange.body.bounded(site_of(exchange).held.body_limit(resource))
        form = read_form(exchange, exchange.door.config.max_body_bytes)
        exchange.door.check_token(exchange, form.text("_token"))
        return form.data()

    def submitted(self, exchange: Exchange, resource: str, path: tuple[str, ...], work: Callable[[], Answer]) -> Answer:
        if import_files.is_place(resource, path):
            return work()
        is_form, method = unsent.is_of_form(resource, path), exchange.query.get("_method")
        if exchange.query.get("_resume") and (is_form or (resource.startswith("files/") and method is None)):
            return unsent.Drafts(exchange, self.pages).resume(resource, path)
        if resource.startswith("files/") and method is None:
            if "_do" in exchange.query:
                return cast(Answer, app.plugin("file_steps").submitted(exchange, self, resource, path))
            return self._upload(exchange, resource, path)
        try:
            return work()
        except Exception as error:
            deletes = method == "DELETE"
            may_be_gone = deletes and path and isinstance(error, NotFound | PreconditionFailed)
            if may_be_gone and not self._is_left(exchange, resource, path):  # pressed twice, or somebody was faster
                return see_other(self.left_at(exchange, exchange.locale.t("form.deleted_already")))
            if deletes or not is_form:
                raise
            if isinstance(error, Unauthenticated) and exchange.by_cookie:
                exchange.cookies = exchange.door.ended_session(exchange)
            if path[:1] == ("drafts",) and len(path) == 2:  # the page has the id of its draft
                exchange.query = exchange.query | {"_submission": exchange.door.host.seal("submission", path[1])}
            if is_move(resource, path) or path[2:] == ("comments",):
                return cast(Answer, app.plugin("move_pages").refused(exchange, self.pages, path, _known(exchange, error)))
            return unsent.Drafts(exchange, self.pages).again(resource, path, _known(exchange, error))

    def _upload(self, exchange: Exchange, resource: str, path: tuple[str, ...]) -> Answer:
        """Files that go into a folder: of a multipart body, or kept from an earlier one."""
        drafts = unsent.Drafts(exchange, self.pages)
        upload = unsent.PageUpload(drafts, resource, tuple(part for part in path if part))
        if exchange.media_type == "multipart/form-data":
            if refused := upload.came_late():
                draft = upload.hold()
                if not draft.held:
                    raise refused
                return drafts.sign_in_first(draft, refused)
            upload.receive()
        elif ended := upload.take_up():
            return drafts.sign_in_first(*ended)
        if upload.stored:
            exchange.subject = upload.stored[-1].caller.subject
        names = [str(response.data["name"]) for response in upload.stored]
        t = exchange.locale.t
        notice = t("uploaded.done", name=names[0]) if len(names) == 1 else t("uploaded.done_many", n=len(names))
        if names and not upload.stored[-1].caller.may(Action.READ, upload.request.address):  # no list will show them
            notice = t("uploaded.done", name=t("common.comma").join(names))
        if upload.refused or len(notice) > _NOTICE_LENGTH:
            return upload.page(upload.status)
        give_notice(exchange, exchange.path, notice)
        state = listed(exchange)
        return see_other(exchange.path + ("?" + urlencode(state) if state else ""))


def _known(exchange: Exchange, error: Exception) -> AppError:
    """What failed, as a person may be told of it."""
    if isinstance(error, AppError):
        log_fault(exchange, error)
        return error
    LOG.exception("request %s failed", exchange.id)
    return AppError("something went wrong here; the operator finds it in the log by the request id")


def _path_digest(path: str) -> str:
    return hashlib.sha256(path.encode()).hexdigest()[:16]


def give_notice(exchange: Exchange, path: str, notice: str) -> None:
    """Have the page at the path say this once: in a cookie, so that no address can make a page say something."""
    sealed = exchange.door.host.seal("notice", dump_json([_path_digest(path), notice[:_NOTICE_LENGTH]]))
    exchange.cookies.append(exchange.door.cookie(exchange, sealed, 60, _NOTICE_COOKIE))


def take_notice(exchange: Exchange) -> str:
    """What this page is to say was done; "" if it is not the one that was meant."""
    sealed = exchange.cookie_values(_NOTICE_COOKIE).partition(" ")[0]
    page, notice = load_json((sealed and exchange.door.host.unseal("notice", sealed)) or '["", ""]')
    if page != _path_digest(exchange.path):
        return ""
    exchange.cookies.append(exchange.door.cookie(exchange, "", 0, _NOTICE_COOKIE))
    return str(notice)


def pages_of(exchange: Exchange) -> Pages:
    """The pages of the site that is asked."""
    return cast(Html, exchange.door.formats[Html.kind]).pages


class Static(Route):
    """The stylesheet, the script and the icons of the pages."""

    kind = "static"
    paths: ClassVar[Mapping[str, str]] = {"/static/<name>": "GET"}

    def answer(self, asked: Asked, host: Host) -> Answer:
        exchange = cast(Exchange, asked)
        name, pages = exchange.inner.partition("/")[2], cast(Html, exchange.door.formats[Html.kind]).pages
        data = pages.static.get(name)
        if data is None:
            raise NotFound(f"there is no static file {name[:100]}")
        tag, lasting = f'"{pages.tags[name]}"', exchange.query.get("v") == pages.tags[name]
        headers = [("ETag", tag), ("Cache-Control", "public, max-age=31536000, immutable" if lasting else "no-cache")]
        if tag in exchange.header("if-none-match"):
            return Answer(304, headers)
        return Answer(200, [*headers, ("Content-Type", media_types.media_type(name))], data)
