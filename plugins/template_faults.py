"""What is wrong with a template: its line and the reason, in the log, and in the page for whoever is changing it."""

from __future__ import annotations

import traceback
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

from app import Action, AppError, Caller, Exchange, Value, plugin

if TYPE_CHECKING:
    from collections.abc import Sequence

# ==== 1. TEMPLATES ===============================================================================================
# A template may be the site's own, and is a program that can fail. What it said of itself is for administrators alone, and
# only while the server takes over what they change (--reload).
# uses: ERRORS VALUES RUNNERS plugin:reload
# defines: TemplateFault fault_of bare

_LONGEST = 500


class TemplateFault(AppError):
    """A template failed. `message` has where and why, if its reader may know."""

    code, status, exit_code = "template", 500, 1


def fault_of(error: Exception, exchange: Exchange, caller: Caller, folders: Sequence[str], name: str) -> TemplateFault:
    """The fault that is shown for what a template raised, and logged with where that was; `name` is that of the page."""
    if isinstance(error, DeprecationWarning) and isinstance(error.__context__, UnicodeError):
        error = error.__context__  # which bottle says of a template that is not UTF-8
    where, line = _place(error, folders)
    place = f"{where}, line {line}" if where else f"the template {name}"
    reason = f"{type(error).__name__} in {place}: {error}"[:_LONGEST]
    told = plugin("reload").watched and caller.may(Action.READ, "admin/check")
    public = reason if told else "a template of this page failed; the log says where"
    return TemplateFault(public, hint="" if told else reason)


def _place(error: Exception, folders: Sequence[str]) -> tuple[str, int]:
    """The template and the line in it that an error came from; ("", 0) if it came from none."""
    if isinstance(error, SyntaxError) and error.filename:
        return _short(error.filename, folders), error.lineno or 0
    found = [one for one in traceback.extract_tb(error.__traceback__) if _is_template(one.filename)]
    return (_short(found[-1].filename, folders), found[-1].lineno or 0) if found else ("", 0)


def _is_template(name: str) -> bool:
    return name.endswith((".tpl", ".html"))


def _short(name: str, folders: Sequence[str]) -> str:
    """The name of a template without the folder that it was found in."""
    path = Path(name)
    for folder in folders:
        if path.is_relative_to(folder):
            return str(path.relative_to(Path(folder).parent if Path(folder).name == "templates" else folder))
    return path.name


def bare(problem: Value, t: Any) -> bytes:
    """A page without any template, where the ones of faults are at fault themselves."""
    title, detail, known = escape(str(t("fault.500.title"))), escape(str(problem["detail"])), escape(problem["request_id"])
    head = f'<!doctype html>\n<html lang="en">\n<head><meta charset="utf-8"><title>{title}</title></head>\n'
    return f"{head}<body><h1>{title}</h1><p>{detail}</p><p><code>{known}</code></p></body>\n</html>\n".encode()
