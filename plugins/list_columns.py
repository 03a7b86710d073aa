"""Which columns of a list are shown, and in which order: `_columns=days,kind` at every door."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

from app import BadRequest, Json, Request, Table, Value, load_json, nearest, plugin

# ==== 1. CHOSEN ==================================================================================================
# Whoever asks for columns gets them and no others. Pages read all of a row, and leave out columns themselves: a row leads to
# its record, whatever is shown of it.
# uses: ERRORS VALUES CONFIG plugin:list_filters
# defines: NAME chosen narrow

NAME = "_columns"


def chosen(text: str, names: Sequence[str]) -> list[str]:
    """The columns that are asked for, in their order; all if none is. Raises BadRequest if one does not exist."""
    if not text:
        return list(names)
    found = list(dict.fromkeys(plugin("list_filters").parts(text, names)))
    for name in found:
        if name not in names:
            raise BadRequest(f"{NAME} names {name!r}, which is no column here{nearest(name, names)}")
    return found


def narrow(request: Request, table: Table) -> None:
    """Takes the columns out that are not asked for. Raises BadRequest, and closes the table."""
    if not table.columns:  # of a page whose parameters are still to be filled in
        return
    by_name = {column.name: column for column in table.columns}
    try:
        names = chosen(request.params[NAME], list(by_name))
    except BadRequest:
        table.close()
        raise
    if request.page or names == list(by_name):
        return
    rows: Iterable[Mapping[str, Json]] = load_json(f"[{table.text}]") if table.text else table.rows
    of_page = isinstance(rows, list)
    table.columns, table.text = tuple(by_name[name] for name in names), ""
    table.rows = list(_narrowed(rows, names)) if of_page else _narrowed(rows, names)
    table.facts = table.facts | _facts(table.facts, names)
    table.damaged = [one for one in table.damaged if one[1] in names]


def _narrowed(rows: Iterable[Mapping[str, Json]], names: Sequence[str]) -> Iterator[Mapping[str, Json]]:
    for row in rows:
        yield {name: row[name] for name in names}


def _facts(facts: Value, names: Sequence[str]) -> Value:
    """The totals and sub-totals of these columns."""
    kept: Value = {"totals": _of(names, facts["totals"])} if "totals" in facts else {}
    if "subtotals" in facts:
        found = [one | {"totals": _of(names, one["totals"])} for one in facts["subtotals"] if one["column"] in names]
        kept["subtotals"] = [one for one in found if one["totals"]]
    return kept


def _of(names: Sequence[str], values: Value) -> Value:
    return {name: values[name] for name in names if name in values}
