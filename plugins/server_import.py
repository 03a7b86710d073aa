"""server import FORM FILE: the rows of a spreadsheet as records of a form."""

from __future__ import annotations

import argparse
import os
import time
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, cast

import app
from app import (
    Action,
    BadRequest,
    Command,
    Form,
    Invalid,
    NotFound,
    Request,
    Site,
    Upload,
    Value,
    how_many,
    nearest,
    new_id,
)

if TYPE_CHECKING:
    from plugins import copy, form_import
else:
    copy, form_import = app.plugin("copy"), app.plugin("form_import")

# ==== 1. COMMAND =================================================================================================
# The same import as over HTTP, by whoever runs the command. Cells are read as people of the site's language write them.
# uses: ERRORS VALUES CONFIG CONTRACTS AUTH RESOURCES COMMANDS plugin:copy plugin:form_import
# defines: Command:server_import ServerImport

_SAID = {
    "key": "a field: a row whose value a record has changes that record; or id",
    "columns": "fields of the columns, with commas between; an empty one is left out",
    "heading": "number of the row with the headings",
    "sheet": "name of the sheet of a workbook",
    "encoding": "of CSV: utf-8, utf-16 or cp1252",
    "separator": "of CSV: , ; | or tab",
}


class ServerImport(Command):
    """The exit code is 6 if some rows have faults, whether others were stored or not."""

    kind = "server import"
    help = "store the rows of a CSV or .xlsx file as records of a form"
    epilog = "example: app.pyz server import inventory stock.xlsx --key tag --dry-run"

    def arguments(self, parser: argparse.ArgumentParser) -> None:
        parser.add_argument("form", metavar="FORM", help="name of the form in app.toml")
        parser.add_argument("file", metavar="FILE", help="a CSV file or a workbook")
        parser.add_argument("--dry-run", action="store_true", help="check every row and store nothing")
        parser.add_argument("--partial", action="store_true", help="store the rows without faults, in batches of 1,000")
        for name, words in _SAID.items():
            parser.add_argument(f"--{name}", default="", metavar=name[0].upper(), help=words)
        words = "what stores nothing twice if the same import is run again"
        parser.add_argument("--idempotency-key", default="", metavar="TEXT", help=words)

    def run(self, args: argparse.Namespace, site: Site) -> int:
        with site.opened() as app_, closing(copy.Bar()) as bar:
            name = args.form.removeprefix("forms/")
            form = app_.resources.get(f"forms/{name}")
            if not isinstance(form, Form):
                known = [one.name for one in app_.resources.values() if isinstance(one, Form)]
                raise NotFound(f"no form is named {name!r}{nearest(name, known)}")
            try:
                with Path(args.file).open("rb") as file:
                    bar.begin(Path(args.file).name, os.path.getsize(args.file))
                    report = self._done(args, site, app_, form, file, bar)
            except OSError as error:
                raise BadRequest(f"{args.file} cannot be read: {error.strerror}") from error
        if args.json:
            site.print_json(report)
        else:
            self._tell(args, site, report)
        return Invalid.exit_code if report["errors"] else 0

    @staticmethod
    def _done(args: argparse.Namespace, site: Site, app_: Any, form: Form, file: BinaryIO, bar: Any) -> Value:
        """The report of the import."""
        upload, seen = Upload(Path(args.file).name, file), 0

        def step(rows: int) -> None:
            nonlocal seen
            at = file.tell()  # of a workbook the whole is read at its beginning
            bar.step(max(0, at - seen))
            seen = max(seen, at)

        cast(Any, upload).step = step
        asked = {name: [getattr(args, name)] for name in _SAID if getattr(args, name)}
        asked |= {name: ["1"] for name in ("dry_run", "partial") if getattr(args, name)}
        request = Request(
            id=new_id(time.time()), action=Action.CREATE, resource=form.address, path=("import",), door="cli",
            data={"file": [upload], **asked}, idempotency_key=args.idempotency_key,
        )  # fmt: skip
        try:
            caller = site.operator()._replace(grants=(app.parse_grant("**:*"),))
            return cast(Value, app_.flow.handle_as(caller, request).data)
        except form_import.ImportRefused as error:
            return error.report

    @staticmethod
    def _tell(args: argparse.Namespace, site: Site, report: Value) -> None:
        for one in report["errors"]:
            place = one["pointer"].removeprefix("/").replace("~1", "/").replace("~0", "~")
            site.print(f"row {one['row']}: {place + ' ' if place else ''}{one['detail']}")
        done = ", ".join(
            f"{report[name]:,} {name}" for name in ("created", "updated", "unchanged", "failed") if report[name]
        )
        stored_none = report["errors"] and not args.partial and not args.dry_run
        end = "; nothing was stored" if args.dry_run or stored_none else ""
        site.say(f"{how_many(report['rows'], 'row')}: {done or 'none'}{end}")
