"""The pages of an import: choose a file, say what its columns are, look at its first rows, check it, import it."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import partial
from itertools import islice
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import urlencode

import app
from app import (
    Action,
    Answer,
    BadRequest,
    Exchange,
    Form,
    NotFound,
    Plan,
    Request,
    Response,
    Scope,
    Value,
    no_params,
    plan_of,
    see_other,
)

if TYPE_CHECKING:
    from plugins import form_import, import_files, locale, pages, sheets
else:
    form_import, import_files, locale = app.plugin("form_import"), app.plugin("import_files"), app.plugin("locale")
    pages, sheets = app.plugin("pages"), app.plugin("sheets")

# ==== 1. STEPS ===================================================================================================
# Every step is an address of its own and works without scripts; the file waits in between where plugins/import_files.py
# keeps it.
# uses: ERRORS VALUES CONTRACTS RUNNERS RESOURCES plugin:form_import plugin:import_files plugin:locale plugin:pages
#          plugin:sheets
# defines: shown chosen done

_PREVIEWED = 200  # rows whose faults are shown before anything is checked
_SHOWN_ROWS, _SAMPLES, _SHOWN_ERRORS = 5, 3, 100
_LAYOUT = ("encoding", "separator", "sheet", "heading")


def shown(form: Form, request: Request, scope: Scope) -> Plan:
    """The page of a step; for programs what can be imported."""
    if len(request.path) < 2:
        no_params(request)
        names = [{"name": one.name, "title": one.title} for one in form.taken.values() if not one.is_file]
        data = {"fields": names, "most_rows": form_import.most_rows(form), "options": list(form_import.ASKED)}
        page = _page(form, partial(_choose_page, form))
        return plan_of(Response(data=data, template="import.tpl", page=page))
    if not request.page:
        raise NotFound(f"{request.address} is for pages alone")
    asked = form_import.Options(request)
    if request.params.get("report"):
        return plan_of(Response(page={"act": partial(_report_file, form)}))
    page = _page(form, partial(_layout_page, form, request, scope, asked))
    return plan_of(Response(data={}, template="import.tpl", page=page))


def _page(form: Form, build: Any) -> Value:
    trail = [(form.title, form.address), (form.locale.t("import.title"), f"{form.address}/import")]
    return {"title": form.locale.t("import.title_of", form=form.title), "trail": trail, "build": build}


def chosen(form: Form, request: Request) -> Plan:
    """A file that was chosen on the page: it is kept, and the next step is shown."""
    upload = form_import.Options(request).file

    def keep(exchange: Exchange, response: Response) -> Answer:
        here = exchange.url(f"{form.address}/import")
        if upload is None or not upload.name:
            pages.give_notice(exchange, here, form.locale.t("import.choose_first"))
            return see_other(here)
        sheets.open_sheet(upload.file, sheets.Layout())  # whether it is a table at all
        upload.file.seek(0)
        id_ = import_files.keep(pages.site_of(exchange), form.address, exchange.subject, upload)
        return see_other(exchange.url(f"{form.address}/import/{id_}"))

    return plan_of(Response(page={"act": keep}))


def done(request: Request, again: bool) -> Mapping[str, Any]:
    """What leads on from an import that a page asked for; `again` if there is more to do with its file."""
    data = cast(Value, request.data)
    record = data["file"][0].kept
    asked = {name: data[name] for name in (*_LAYOUT, "columns", "key", "partial") if data.get(name)}

    def tell(exchange: Exchange, response: Response) -> Answer:
        report = cast(Value, response.data) | {"dry_run": data.get("dry_run", [""])[-1] == "1", "over": not again}
        import_files.told(pages.site_of(exchange), record, report)
        query = "?" + urlencode(asked, doseq=True) if again else ""
        return see_other(exchange.url(exchange.inner) + query)

    return {"act": tell}


# ---- what each step shows


def _choose_page(form: Form, exchange: Exchange, response: Response) -> Value:
    return {
        "step": "choose", "action": exchange.url(f"{form.address}/import"), "most_bytes": import_files.MOST_FILE_BYTES,
        "most": exchange.locale.write_size(import_files.MOST_FILE_BYTES),
        "names": ", ".join(one.title for one in form.taken.values() if not one.is_file),
    }  # fmt: skip


def _kept(form: Form, exchange: Exchange) -> Any:
    kept = import_files.taken(pages.site_of(exchange), form.address, exchange.subject, exchange.path_inside[1])
    exchange.files.append(kept.upload.file)
    return kept


def _layout_page(form: Form, request: Request, scope: Scope, asked: Any, exchange: Exchange, response: Response) -> Value:
    """How the file is read, what its columns are, its first rows and faults, and what became of the last try."""
    kept, t = _kept(form, exchange), exchange.locale.t
    report = kept.record.value["report"]
    here = exchange.url(exchange.inner)
    found: Value = {
        "file": kept.upload.name, "here": here, "report": report and _report(form, exchange, report),
        "report_href": exchange.url(exchange.inner, report="csv"), "form_href": exchange.url(f"{form.address}/import"),
        "records_href": exchange.url(form.records_at) if scope.caller.may(Action.READ, form.records_at) else "",
    }  # fmt: skip
    if report and report["over"]:
        return found | {"step": "over"}
    data: Value = {"file": [kept.upload]}
    try:
        sheet = sheets.open_sheet(kept.upload.file, asked.layout)
        data["encoding"] = [asked.layout.encoding or sheet.encoding] if sheet.kind == "csv" else []
        inner = request._replace(action=Action.CREATE, data=data | {"columns": asked.columns}, typed=True)
        return found | _Preview(form, inner, scope, asked, sheet).page(exchange)
    except BadRequest as error:
        layout = _layout(asked.layout, None, asked.heading, t)
        return found | {"step": "layout", "error": t.said(error.message), **layout, "preview": None}


class _Preview:
    """The first rows of a file, read as the page says."""

    def __init__(self, form: Form, request: Request, scope: Scope, asked: Any, sheet: Any) -> None:
        self._form, self._asked, self._sheet, self._scope = form, asked, sheet, scope
        plain = request._replace(params={name: text for name, text in request.params.items() if name != "report"})
        self._import = form_import.Import(form, plain, scope)

    def page(self, exchange: Exchange) -> Value:
        form, t = self._form, exchange.locale.t
        row, headings = self._import.heading(self._sheet)
        columns = form_import.Columns(form, headings, self._asked.columns, row)
        rows, count = self._rows(row)
        width = max([len(headings), *(len(cells) for _, cells in rows[:_SHOWN_ROWS])], default=0)
        names = [*columns.names, *[""] * (width - len(columns.names))][:width]
        most, errors = form_import.most_rows(form), self._import.first_errors(row, names, _PREVIEWED)
        layout = _layout(self._asked.layout, self._sheet, row, t)
        keys = [one for one in form.fields.values() if one.name in names and one.config.type in ("string", "integer")]
        return {
            "step": "layout", "error": "", **layout,
            "columns": [self._column(n, name, headings, rows) for n, name in enumerate(names)],
            "fields": [("id", t("record.id")), *((one.name, one.title) for one in form.taken.values() if not one.is_file)],
            "keys": [(one.name, one.title) for one in keys] if self._may_update else [], "key": self._asked.key,
            "hidden": {**layout["chosen"], **({"key": self._asked.key} if self._asked.key else {})}, "names": names,
            "preview": _told(self._form, exchange, errors), "previewed": min(count, _PREVIEWED), "count": count,
            "must_be_partial": count > most, "partial": self._asked.partial, "most_rows": most,
            "action": exchange.url(exchange.inner),
        }  # fmt: skip

    @property
    def _may_update(self) -> bool:
        return self._scope.caller.may(Action.UPDATE, f"{self._form.records_at}/x")

    def _rows(self, heading: int) -> tuple[list[tuple[int, Sequence[Any]]], int]:
        """The first rows below the headings, and how many there are."""
        rows = ((number, cells) for number, cells in self._sheet.rows() if number > heading)
        first = list(islice(rows, _PREVIEWED))
        return first, len(first) + sum(1 for _ in rows)

    def _column(self, number: int, name: str, headings: Sequence[Any], rows: Sequence[tuple[int, Sequence[Any]]]) -> Any:
        samples = [
            _sample(cells[number], self._form.locale)
            for _, cells in rows[:50]
            if number < len(cells) and not sheets.is_blank(cells[number])
        ]
        heading = "" if number >= len(headings) or headings[number] is None else str(headings[number]).strip()
        return SimpleNamespace(heading=heading or _letters(number), samples=samples[:_SAMPLES], name=name)


def _sample(cell: Any, locale_: Any) -> str:
    """A cell for people, as a spreadsheet shows it."""
    if isinstance(cell, datetime):
        return str(locale_.write_date(f"{cell:%Y-%m-%d}")) + (f" {cell:%H:%M}" if cell.hour or cell.minute else "")
    return str(locale_.write_number(cell) if isinstance(cell, int | float) and not isinstance(cell, bool) else cell)[:60]


def _letters(number: int) -> str:
    """What a spreadsheet calls a column: A, B, …, AA."""
    text = ""
    number += 1
    while number:
        number, rest = divmod(number - 1, 26)
        text = chr(65 + rest) + text
    return text


def _layout(layout: Any, sheet: Any, heading: int, t: Any) -> Value:
    """The controls for how a file is read, with what holds now."""
    is_csv = sheet is None or sheet.kind == "csv"
    encoding = layout.encoding or (sheet.encoding if sheet else "")
    separator = layout.separator or (sheet.separator if sheet else "")
    chosen_ = {"encoding": encoding, "separator": separator} if is_csv else {"sheet": sheet.sheet}
    encodings = {"utf-8": "UTF-8", "utf-16": "UTF-16", "cp1252": t("import.western")}
    signs = [(one, t("import.tab") if one == "tab" else one) for one in sheets.SEPARATORS]
    return {
        "is_csv": is_csv,
        "encodings": list(encodings.items()), "encoding": encoding, "separators": signs, "separator": separator,
        "sheets": list(sheet.sheets) if sheet else [],
        "sheet": sheet.sheet if sheet else "", "heading": heading, "is_sure": sheet is None or sheet.is_sure,
        "chosen": {**chosen_, "heading": str(heading)},
    }  # fmt: skip


def _report(form: Form, exchange: Exchange, report: Value) -> Any:
    """A report for a person."""
    return SimpleNamespace(
        heading=_heading(exchange.locale.t, report), over=report["over"], counts=_counts(exchange.locale, report),
        errors=_told(form, exchange, report["errors"][:_SHOWN_ERRORS]), more=len(report["errors"]) > _SHOWN_ERRORS,
    )  # fmt: skip


def _heading(t: Any, report: Value) -> str:
    if report["dry_run"]:
        return str(t("import.checked"))
    return str(t("import.stored") if report["over"] else t("import.stored_none"))


def _counts(locale_: Any, report: Value) -> list[tuple[str, str]]:
    """The words for its counts and these, without zeros."""
    t = locale_.t
    would = (t("import.would_create"), t("import.would_update"))
    new, changed = would if report["dry_run"] else (t("import.created"), t("import.updated"))
    words = (new, "created"), (changed, "updated"), (t("import.unchanged"), "unchanged"), (t("import.failed"), "failed")
    counted = [(t("import.rows"), "rows"), *((title, name) for title, name in words if report[name])]
    return [(title, locale_.write_count(report[name])) for title, name in counted]


def _told(form: Form, exchange: Exchange, errors: Sequence[Value]) -> list[SimpleNamespace]:
    """Errors of a report for a person."""
    titles, t = {one.name: one.title for one in form.fields.values()}, exchange.locale.t
    found = []
    for one in errors:
        name, _, rest = str(one["pointer"]).removeprefix("/").partition("/")
        name = name.replace("~1", "/").replace("~0", "~")
        place = titles.get(name, name) + (f" {int(rest) + 1}" if rest.isdigit() else "")
        found.append(SimpleNamespace(row=one["row"], place=place, detail=t.said(one["detail"])))
    return found


def _report_file(form: Form, exchange: Exchange, response: Response) -> Answer:
    """The report as CSV that a spreadsheet opens."""
    report, t, text = _kept(form, exchange).record.value["report"], exchange.locale.t, io.StringIO()
    writer = csv.writer(text, delimiter=";" if "," in exchange.locale.write_number(0.5) else ",")
    writer.writerow([t("import.row"), t("import.place"), t("import.fault")])
    for one in _told(form, exchange, report["errors"] if report else ()):
        writer.writerow([one.row, locale.no_formula(one.place), locale.no_formula(one.detail)])
    headers = [("Content-Type", "text/csv; charset=utf-8"), ("Content-Disposition", 'attachment; filename="report.csv"')]
    return Answer(200, headers, b"\xef\xbb\xbf" + text.getvalue().encode(errors="replace"))
