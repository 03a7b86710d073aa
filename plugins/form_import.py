"""Imports: the rows of a spreadsheet as records of a form, checked and stored as a batch of them is."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Any, cast

import app
from app import (
    Action,
    BadRequest,
    Change,
    Condition,
    Conditions,
    Fault,
    Form,
    Insert,
    Invalid,
    Json,
    Plan,
    Query,
    Record,
    Request,
    Response,
    Scope,
    TooLarge,
    Unread,
    UnsupportedMedia,
    Upload,
    Value,
    Write,
    dump_json,
    how_many,
    is_key,
    member_pointer,
    nearest,
    no_params,
    rfc3339,
    same_json,
    sort_key,
    storable,
)

if TYPE_CHECKING:
    from plugins import cell_values, sheets
    from plugins.sheets import Cell
else:
    cell_values, sheets = app.plugin("cell_values"), app.plugin("sheets")

# ==== 1. OPTIONS =================================================================================================
# How the file is to be read, which columns are which fields, and what is to become of its rows.
# uses: ERRORS VALUES CONFIG RESOURCES plugin:cell_values plugin:sheets
# defines: MOST_WHOLE ASKED Options Columns find_heading

MOST_WHOLE = 10_000  # rows that are stored all or none
_FLAGS = ("dry_run", "partial")
ASKED = (*_FLAGS, "key", "encoding", "separator", "sheet", "heading", "columns")
_TITLE_ROWS = 30  # among which the headings are looked for
_KEY_TYPES = ("string", "number", "integer")


class Options:
    """What a request asks for. Raises BadRequest for what it cannot mean."""

    def __init__(self, request: Request) -> None:
        data = request.data if isinstance(request.data, dict) else {}
        no_params(request, ASKED if request.action == Action.CREATE else (*ASKED, "report"))
        sent = {
            name: [one for one in texts if isinstance(one, str)] for name, texts in data.items() if isinstance(texts, list)
        }
        said = {name: texts[-1] for name, texts in sent.items() if texts} | dict(request.params)
        self.file = next((one for one in data.get("file", ()) if isinstance(one, Upload)), None)
        self.dry_run, self.partial = (_flag(name, said.get(name, "")) for name in _FLAGS)
        self.key = said.get("key", "")
        self.layout = sheets.Layout(said.get("encoding", ""), said.get("separator", ""), said.get("sheet", ""))
        self.heading = _row_number(said.get("heading", ""))
        self.step = said.get("step", "") if not request.typed else ""  # of a page
        columns = sent.get("columns", [])
        self.columns = columns if len(columns) > 1 else said["columns"].split(",") if said.get("columns") else []


def _flag(name: str, text: str) -> bool:
    if text not in ("", "0", "1"):
        raise BadRequest(f"{name} is {text!r}: write 1, or leave it out")
    return text == "1"


def _row_number(text: str) -> int:
    if text and not (text.isascii() and text.isdigit() and len(text) < 8):
        raise BadRequest(f"heading is {text!r}: the number of the row with the headings")
    return int(text or 0)


class Columns:
    """Which column of a file is which field. `names` has one for each column, "" for those that are left out."""

    def __init__(self, form: Form, headings: Sequence[Cell], chosen: Sequence[str], row: int) -> None:
        """By what is chosen, or else by the headings; `faults` has what is wrong with them, as errors of that row."""
        self.faults: list[Value] = []
        self.left_out: list[str] = []  # headings of columns that are known and not taken
        self._form, self._row = form, row
        self.names = [name.strip() for name in chosen] if chosen else self._found(headings)
        known = [*form.fields, "id"]
        for name in self.names if chosen else ():
            if name and name not in known:
                raise BadRequest(f"columns names {name!r}, which is no field{nearest(name, known)}")
            if name and self.names.count(name) > 1:
                raise BadRequest(f"columns names {name} twice")
            if name in form.fields and form.fields[name].is_file:
                raise BadRequest(f"columns names {name}, which takes files, and a table has none")

    def _found(self, headings: Sequence[Cell]) -> list[str]:
        """What Satchel sets by itself, and files, are left out, so that an export can be read again."""
        known, names = cell_values.known_headings(self._form), list[str]()
        for heading in headings:
            name = "" if sheets.is_blank(heading) else known.get(cell_values.same_heading(heading))
            if name is None:
                words = f"is not a field of this form{nearest(str(heading), self._form.fields)}"
                self._fault(str(heading), "unknown_field", words)
            elif name and name in names:
                self._fault(str(heading), "duplicate_heading", f"is the second column for {name}: name its columns")
                name = ""
            one = self._form.fields.get(name or "")
            is_left = one is None or one.is_file or one.made
            if name and name != "id" and is_left:
                self.left_out.append(str(heading))
            names.append("" if not name or (is_left and name != "id") else name)
        return names

    def _fault(self, heading: str, code: str, detail: str) -> None:
        self.faults.append({"row": self._row, "pointer": member_pointer("", heading), "code": code, "detail": detail})


def find_heading(form: Form, rows: Iterable[tuple[int, Sequence[Cell]]]) -> tuple[int, Sequence[Cell]]:
    """The row of the headings, which may stand below a title: the first one that names the most fields, or else the first
    that has the most texts. (0, ()) if there are no rows."""
    known, best, chosen = cell_values.known_headings(form), (-1, -1), (0, cast("Sequence[Cell]", ()))
    for number, cells in islice(rows, _TITLE_ROWS):
        texts = [str(cell) for cell in cells if isinstance(cell, str) and cell.strip()]
        fits = len({known.get(cell_values.same_heading(text)) for text in texts} - {None})
        score = (fits, len(texts) if not fits else 0)
        if score > best:
            best, chosen = score, (number, cells)
    return chosen


# ==== 2. BATCHES =================================================================================================
# Rows that are stored together, as one request of their own through the flow: so triggers, audit and replays are those of
# any batch.
# uses: ERRORS VALUES CONTRACTS RESOURCES PROVIDERS OPTIONS
# defines: Rows batch_plan most_rows

_AT_ONCE = 1000  # records of a batch
_ASKED_AT_ONCE = 50  # keys of records


class Rows(list[Value]):
    """The data of some rows, None for blank cells, and what became of them. A repeat is known by their content alone."""

    def __init__(self, items: Iterable[Value], numbers: Sequence[int], key: str, leaves_out: bool) -> None:
        """`numbers` are those of the rows; with `leaves_out` faulty ones are left out, or else they refuse the others."""
        super().__init__(items)
        self.numbers, self.key, self.leaves_out = numbers, key, leaves_out
        self.audit: Callable[[Value], Write] | None = None  # makes the entry of the import that is committed with them
        self.left: dict[int, list[Fault]] = {}  # by place, faults that were found on the way to the commit
        self.placed: list[int] = []  # the place of each change
        self.done: Value = {}  # what is answered

    def note(self, faults: Iterable[Fault]) -> bool:
        """Take up faults that point to changes; whether there were any."""
        size = sum(map(len, self.left.values()))
        for fault in faults:
            at = fault.pointer.split("/")[1] if "/" in fault.pointer else ""
            if at.isdigit() and int(at) < len(self.placed):
                found, inner = self.left.setdefault(self.placed[int(at)], []), fault.pointer[len(at) + 1 :]
                found += [one for one in [fault._replace(pointer=inner)] if one not in found]
        return sum(map(len, self.left.values())) > size

    def errors(self, faults: Mapping[int, Sequence[Fault]]) -> list[Value]:
        """Faults by place as those of a report."""
        return [{"row": self.numbers[at], **one._asdict()} for at in sorted(faults) for one in faults[at]]


class _Batch:
    """Makes the changes of rows that are committed together."""

    def __init__(self, form: Form, request: Request, scope: Scope, rows: Rows) -> None:
        self.form, self.rows, self.scope = form, rows, scope
        self._request = request._replace(path=(), params={}, idempotency_key="", typed=True, conditions=Conditions())
        self._faults: dict[int, list[Fault]] = {at: list(found) for at, found in rows.left.items()}
        self._plans: dict[int, Change] = {}  # by place
        self._also: list[Write] = []
        self._counts = {"created": 0, "updated": 0, "unchanged": 0}

    def plan(self) -> Plan:
        """Raises Invalid with the faults of all rows, unless those that have some are left out."""
        records = self._records() if self.rows.key else {}
        for at, record in records.items():
            if at not in self._faults:
                self._update(at, record)
        fresh = [at for at in range(len(self.rows)) if at not in records and at not in self._faults]
        for start in range(0, len(fresh), _AT_ONCE):
            self._create(fresh[start : start + _AT_ONCE])
        rows = self.rows
        if self._faults and not rows.leaves_out:
            pointed = [
                one._replace(pointer=f"/{at}{one.pointer}") for at in sorted(self._faults) for one in self._faults[at]
            ]
            rows.placed = list(range(len(rows)))
            raise Invalid(f"the data for {self.form.address} is not valid", faults=pointed)
        rows.placed = sorted(self._plans)
        rows.done = {**self._counts, "failed": len(self._faults), "errors": rows.errors(self._faults)}
        if rows.audit:
            self._also.append(rows.audit(rows.done))
        answer = Response(data=rows.done)
        changes = [self._plans[at] for at in rows.placed]
        return Plan(respond=lambda blobs: answer, changes=changes, action=Action.CREATE, also=self._also)

    def _create(self, places: Sequence[int]) -> None:
        """New records, as many as have no fault; of a batch some faults may be found once others are gone."""
        while places:
            items = [{name: one for name, one in self.rows[at].items() if one is not None and name != "id"} for at in places]
            data: Json = items if self.form.store.atomic else items[0]
            try:
                plan = self.form.create(self._request._replace(data=data), self.scope)
            except Invalid as error:
                found = self._pointed(error, places)
                if not found:
                    raise
                self._faults |= found
                places = [at for at in places if at not in found]
                continue
            self._plans |= dict(zip(places, plan.changes, strict=True))
            self._also += plan.also
            self._counts["created"] += len(places)
            return

    def _pointed(self, error: Invalid, places: Sequence[int]) -> dict[int, list[Fault]]:
        """The faults of a batch by place, each pointing into its record."""
        found: dict[int, list[Fault]] = {}
        for fault in error.faults:
            at, _, inner = fault.pointer.removeprefix("/").partition("/") if self.form.store.atomic else ("0", "", "")
            pointer = fault.pointer if not self.form.store.atomic else f"/{inner}" if inner else ""
            if at.isdigit() and int(at) < len(places):
                found.setdefault(places[int(at)], []).append(fault._replace(pointer=pointer))
        return found

    def _update(self, at: int, record: Record) -> None:
        """A record with other values; nothing if it has these."""
        data = {name: one for name, one in self.rows[at].items() if name != "id"}
        request = self._request._replace(data=data, partial=True, action=Action.UPDATE, path=("records", record.key))
        try:
            plan = self.form.update(request, self.scope, record)
        except Invalid as error:
            self._faults[at] = list(error.faults)
            return
        change = plan.changes[0]
        after = cast(Any, change.write).value
        names = (set(after) | set(record.value)) - {"updated_at", "updated_by"}
        is_told = self.form.hidden.isdisjoint(data)  # whether what the sender may not see is the same is not to be found out
        if is_told and all(same_json(after.get(name), record.value.get(name)) for name in names):
            self._counts["unchanged"] += 1
            return
        self._plans[at] = change
        self._also += plan.also
        self._counts["updated"] += 1

    # -- the records that rows are about

    def _records(self) -> dict[int, Record]:
        """By place those that are there. A key that occurs twice, or that several records have, is a fault."""
        key, wanted, found = self.rows.key, dict[str, int](), dict[int, Record]()
        for at, item in enumerate(self.rows):
            value = item.get(key)
            if value is None or isinstance(value, Unread | bool | list | dict):
                continue
            comparable = str(sort_key(value))
            if comparable in wanted:
                first = self.rows.numbers[wanted[comparable]]
                self._fault(at, key, "duplicate", f"is that of row {first}, too")
            else:
                wanted[comparable] = at
        stored = self._stored([self.rows[at][key] for at in wanted.values()])
        for comparable, at in wanted.items():
            records = stored.get(comparable, [])
            if len(records) > 1:
                self._fault(at, key, "ambiguous", f"is that of {how_many(len(records), 'record')}")
            elif records:
                found[at] = records[0]
            elif key == "id":
                self._fault(at, key, "not_found", "is the id of no record: leave it blank for a new one")
        return found

    def _fault(self, at: int, name: str, code: str, detail: str) -> None:
        found, fault = self._faults.setdefault(at, []), Fault(member_pointer("", name), code, detail)
        found += [fault] if fault not in found else []

    def _stored(self, values: Sequence[Json]) -> dict[str, list[Record]]:
        """The records that have these values of the key, by what is compared."""
        store, key, found = self.form.store, self.rows.key, dict[str, list[Record]]()
        if key == "id":
            records = [store.get(self.form.table, str(value)) for value in values if is_key(str(value))]
            return {str(sort_key(one.key)): [one] for one in records if one is not None}
        for start in range(0, len(values), _ASKED_AT_ONCE):
            where = (Condition(key, "in", list(values[start : start + _ASKED_AT_ONCE])),)
            for record in store.walk(Query(self.form.table, where)):
                found.setdefault(str(sort_key(record.value.get(key))), []).append(record)
        return found


def batch_plan(form: Form, request: Request, scope: Scope, rows: Rows) -> Plan:
    """What stores rows together. Raises Invalid with the faults of all rows, unless those that have some are left out."""
    return _Batch(form, request, scope, rows).plan()


def most_rows(form: Form) -> int:
    """How many rows can be stored as one."""
    if not form.store.atomic:
        return 1
    most, each = form.store.most_writes, 2 + len(form.config.unique)  # a record, its audit entry, a row for each rule
    return MOST_WHOLE if most is None else max(1, min(MOST_WHOLE, (most - 2) // each))


# ==== 3. IMPORT ==================================================================================================
# A file from its first row to its report. Without `partial` one fault stores nothing; with it rows go in batches, each of
# which is remembered by the key of the request, so that a repeat goes on where the first try stopped.
# uses: ERRORS VALUES CONFIG CONTRACTS RESOURCES BATCHES OPTIONS plugin:cell_values plugin:import_pages plugin:sheets
# defines: MOST_TOLD ImportRefused Import sufficient judged_at handle

MOST_TOLD = 1000  # errors of a report; behind them only the rows are counted


class ImportRefused(Invalid):
    """Some rows have faults, and nothing was stored. `report` is that of the import."""

    def __init__(self, message: str, report: Value) -> None:
        super().__init__(message)
        self.report = report


class _Checked(Exception):
    """Everything is right, and nothing is to be stored."""


def _only_check() -> None:
    raise _Checked


def _let_pass() -> None:
    return


class Import:
    """One import, as a request asks for it."""

    def __init__(self, form: Form, request: Request, scope: Scope) -> None:
        self.form, self.request, self.scope = form, request, scope
        self.asked = Options(request)
        if self.asked.file is None:
            raise UnsupportedMedia("send the file: as text/csv, as .xlsx, or in a form as its field file")
        self._step: Callable[[int], None] = getattr(self.asked.file, "step", lambda done: None)
        self.report: Value = dict.fromkeys(("rows", "created", "updated", "unchanged", "failed"), 0) | {"errors": []}

    def plan(self) -> Plan:
        """Raises ImportRefused with the report if faults keep everything from being stored."""
        asked, items = self.asked, self._items()
        try:
            self._check_key()
            if self.columns.faults:
                self._add({"failed": len(self.columns.faults), "errors": self.columns.faults})
            elif asked.partial or asked.dry_run:
                self._in_batches(items, min(_AT_ONCE, most_rows(self.form)) if asked.partial else most_rows(self.form))
            else:
                self._whole(items)
        finally:
            items.close()
        report = self.report
        refused = bool(report["errors"]) and not asked.dry_run and bool(self.columns.faults or not asked.partial)
        if refused and not asked.step:
            raise ImportRefused(f"nothing was stored: {how_many(report['failed'], 'row')} cannot be", report)
        also = [self._entry(report)] if asked.partial and not asked.dry_run and not refused else []
        page = app.plugin("import_pages").done(self.request, refused or asked.dry_run) if asked.step else {}
        answer = Response(data=report, page=page)
        return Plan(respond=lambda blobs: answer, also=also)

    # -- its rows

    @property
    def _is_for_people(self) -> bool:
        """Whether cells are as people write them: a program's body is as JSON."""
        return self.request.languages is not None or self.request.door == "cli"

    def _items(self) -> Any:
        """The rows below the headings as (number, data, fault or None); the columns are known at once."""
        asked, form = self.asked, self.form
        sheet = self.sheet()
        if not sheet.is_sure and not asked.layout.encoding:
            raise BadRequest(f"the file is not UTF-8: say its encoding, which may be {sheet.encoding}")
        row, headings = self.heading(sheet)
        self.columns = Columns(form, headings, asked.columns, row)
        if self.columns.left_out:
            self.report["left_out"] = self.columns.left_out
        names = [*self.columns.names, *[""] * (len(headings) - len(self.columns.names))]
        reading = cell_values.Reading(form, names, for_people=self._is_for_people)
        return self._read(sheet, row, reading)

    def sheet(self) -> Any:
        """The file as it is to be read."""
        return sheets.open_sheet(cast(Upload, self.asked.file).file, self.asked.layout)

    def heading(self, sheet: Any) -> tuple[int, Sequence[Cell]]:
        """The number of the row with the headings, and these; (0, ()) of an empty file."""
        rows = sheet.rows()
        try:
            if self.asked.heading:
                return next((row for row in rows if row[0] == self.asked.heading), (self.asked.heading, ()))
            if not self._is_for_people and sheet.kind == "csv":
                return cast("tuple[int, Sequence[Cell]]", next(rows, (1, ())))
            return find_heading(self.form, rows)
        finally:
            rows.close()

    @staticmethod
    def _read(sheet: Any, heading: int, reading: Any) -> Generator[tuple[int, Value, Fault | None], None, None]:
        for number, cells in sheet.rows():
            if number > heading:
                beyond, fault = reading.beyond(cells), None
                if beyond:
                    fault = Fault("", "no_heading", f"has a cell without a heading above it: {beyond[:80]!r}")
                yield number, reading.item(cells), fault

    def _check_key(self) -> None:
        if not (key := self.asked.key):
            return
        seen = [one for one in self.form.fields.values() if one.name not in self.form.hidden and not one.is_file]
        fit = [one.name for one in seen if one.config.type in _KEY_TYPES and one.config.format != "date-time"]
        if key not in ("id", *fit):
            raise BadRequest(f"key is {key!r}: a field with a text or number, or id{nearest(key, fit)}")
        if key not in self.columns.names and not self.columns.faults:
            raise BadRequest(f"key names {key}, which no column has")
        self.scope.caller.require(Action.UPDATE, f"{self.form.records_at}/x")

    def first_errors(self, heading: int, names: Sequence[str], most: int) -> list[Value]:
        """What is wrong with the first rows, before their import was asked for."""
        reading = cell_values.Reading(self.form, names, self._is_for_people)
        rows = self._read(self.sheet(), heading, reading)
        try:
            read = list(islice(rows, most))
        finally:
            rows.close()
        errors = self._check(read, {})["errors"] if read else []
        return cast("list[Value]", errors)

    # -- what becomes of them

    def _whole(self, items: Iterator[tuple[int, Value, Fault | None]]) -> None:
        """All or none. Raises TooLarge for more rows than one commit holds."""
        most = most_rows(self.form)
        read = list(islice(items, most + 1))
        if len(read) > most:
            raise TooLarge(f"the file has more than {how_many(most, 'row')}, which are stored all or none: send partial=1")
        rows = self._rows(read, leaves_out=False)
        rows.audit = lambda done: self._entry({**done, "rows": len(read)})
        if not read:
            return
        try:
            if not rows.left:
                self._add({"rows": len(read), **self._send(rows, 0)})
                self._step(len(read))
                return
        except Invalid as error:
            if not rows.note(error.faults):
                raise
        self._add({"rows": len(read), **self._check(read, rows.left), "created": 0, "updated": 0, "unchanged": 0})

    def _check(self, read: Sequence[tuple[int, Value, Fault | None]], known: Mapping[int, Sequence[Fault]]) -> Value:
        """Every fault of the rows, those that are known among them."""
        rows = self._rows(read, leaves_out=True)
        rows.left |= {at: list(faults) for at, faults in known.items()}
        return self._send(rows, 0, only_check=True)

    def _in_batches(self, items: Iterator[tuple[int, Value, Fault | None]], size: int) -> None:
        while read := list(islice(items, size)):
            rows = self._rows(read, leaves_out=True)
            self._add({"rows": len(read), **self._send(rows, read[0][0], only_check=self.asked.dry_run)})
            self._step(len(read))

    def _rows(self, read: Sequence[tuple[int, Value, Fault | None]], *, leaves_out: bool) -> Rows:
        rows = Rows([item for _, item, _ in read], [number for number, _, _ in read], self.asked.key, leaves_out)
        rows.left = {at: [fault] for at, (_, _, fault) in enumerate(read) if fault}
        return rows

    def _send(self, rows: Rows, number: int, *, only_check: bool = False) -> Value:
        """What became of rows; `number` names them among those of the file."""
        key = self._repeats_by()
        inner = self.request._replace(
            data=rows, params={"key": rows.key}, path=("import",), typed=True, partial=False,
            idempotency_key="" if only_check or not key else f"{key} {number}",
        )  # fmt: skip
        while True:
            try:
                if only_check and not self.form.store.atomic:  # where a commit begins before it is asked whether it may
                    return cast(Value, batch_plan(self.form, inner, self.scope, rows).respond(()).data)
                return cast(Value, self.scope.send(inner, _only_check if only_check else _let_pass).data)
            except _Checked:
                return rows.done
            except Invalid as error:
                if not rows.leaves_out or not rows.note(error.faults):
                    raise

    def _repeats_by(self) -> str:
        """What a repeat is known by: on a page, that the same file is read in the same way."""
        if not self.asked.step:
            return self.request.idempotency_key
        asked = self.asked
        way = dump_json([*asked.layout, asked.heading, asked.columns, asked.key, asked.partial])
        return f"page {'/'.join(self.request.path)} {hashlib.sha256(way.encode()).hexdigest()}"

    def _add(self, done: Value) -> None:
        """Add what became of some rows to the report."""
        for name, count in done.items():
            if name == "errors":
                self.report["errors"] += count[: MOST_TOLD - len(self.report["errors"])]
            else:
                self.report[name] += count

    def _entry(self, done: Value) -> Write:
        """The audit entry of the import as a whole."""
        request, caller = self.request, self.scope.caller
        told = {name: done[name] for name in ("rows", "created", "updated", "failed")}
        entry = {
            "at": rfc3339(self.scope.now), "subject": caller.subject, "token_id": caller.token_id, "door": request.door,
            "request_id": request.id, "resource": f"{self.form.address}/import", "action": "import", "outcome": "ok",
            "code": "", "record": "", "after": {"file": cast(Upload, self.asked.file).name, **told},
        }  # fmt: skip
        return Insert("_audit", self.scope.new_ids(1)[0], storable(entry))


def sufficient(request: Request) -> tuple[Action, ...]:
    return (Action.CREATE,)


def judged_at(request: Request) -> str:
    return request.resource


def handle(form: Form, request: Request, scope: Scope) -> Plan:
    if isinstance(request.data, Rows):
        return batch_plan(form, request, scope, request.data)
    pages = app.plugin("import_pages")
    if request.action == Action.READ:
        return cast(Plan, pages.shown(form, request, scope))
    if len(request.path) < 2 and Options(request).step:
        return cast(Plan, pages.chosen(form, request))
    return Import(form, request, scope).plan()
