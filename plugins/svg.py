"""The SVG format: the chart of a view as a picture."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, cast

import app
from app import (
    Answer,
    BadRequest,
    Conditions,
    Exchange,
    Forbidden,
    Format,
    NotAcceptable,
    Response,
    Table,
    Unsupported,
    ViewConfig,
)

if TYPE_CHECKING:
    from plugins import charts
    from plugins.locale import Locale
else:
    charts = app.plugin("charts")

# ==== 1. SVG =====================================================================================================
# The rows of the whole view, with the filters and the rights of whoever asks, as one picture that runs nothing.
# uses: ERRORS VALUES CONFIG RUNNERS plugin:chart_sheet plugin:charts plugin:locale
# defines: Format:svg SvgPicture

_POLICY = "default-src 'none'; style-src 'unsafe-inline'; sandbox"  # if it is opened by itself


class SvgPicture(Format):
    kind = "svg"
    media = "image/svg+xml"
    subjects = frozenset({"chart"})
    whole = True

    def dump(self, exchange: Exchange, response: Response) -> Iterator[bytes]:
        yield self.answer(exchange, response).body

    def answer(self, exchange: Exchange, response: Response) -> Answer:
        table, address = response.table, exchange.resource
        view = charts.view_of(self.config, address) if table and not exchange.path_inside else None
        if not table or not view or not view.chart:
            if table:
                table.close()
            raise NotAcceptable("there is no picture of this: a view has one if its chart is declared")
        try:
            _check_columns(view, table, exchange.query)
            body = _pictured(view.chart, table, str(response.page.get("title", "")), exchange.locale)
        finally:
            table.close()
        etag = hashlib.sha256(body).hexdigest()[:32]
        headers = [
            ("ETag", f'"{etag}"'), ("Cache-Control", "private, no-cache"), ("Content-Security-Policy", _POLICY),
            ("Vary", "Accept, Accept-Language, Cookie, Authorization"),
        ]  # fmt: skip
        if Conditions.name(exchange.conditions().if_none_match, etag):
            return Answer(304, headers)
        name = address.rpartition("/")[2]
        headers += [("Content-Type", self.media), ("Content-Disposition", f"inline; filename*=UTF-8''{name}.svg")]
        return Answer(200, headers, body)


def _check_columns(view: ViewConfig, table: Table, asked: Mapping[str, str]) -> None:
    """Raises Forbidden if a column of the chart is not there for the caller, BadRequest if the caller left it out, and
    Unsupported if the rows have none of this name."""
    chart = view.chart
    missing = {chart["x"], chart["y"], chart.get("series") or chart["x"]} - {one.name for one in table.columns}
    if missing and asked.get("_columns"):
        raise BadRequest(f"_columns leaves out {min(missing)}, which this chart shows: ask for it without _columns")
    if missing and view.sql:
        raise Unsupported(f"the chart of views/{view.name} names {min(missing)!r}, which is no column of its rows")
    if missing:
        raise Forbidden(f"this chart shows the column {min(missing)}, which is not among those that you may read")


def _pictured(chart: app.Value, table: Table, title: str, locale: Locale) -> bytes:
    drawn = charts.drawing(chart, table.columns, table.rows, locale)
    return cast(bytes, app.plugin("chart_sheet").picture_of(drawn, title, locale))
