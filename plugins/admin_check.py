"""admin/check: what `server check` finds, in the page: faults and warnings of app.toml and of what it names."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from types import SimpleNamespace
from typing import Any

from app import (
    LOG,
    App,
    AppError,
    Command,
    Exchange,
    Fault,
    Plan,
    Request,
    Resource,
    Response,
    Scope,
    Value,
    no_params,
    plan_of,
    plugin,
    read_config,
    read_toml,
    rfc3339,
)  # fmt: skip

# ==== 1. CHECK ===================================================================================================
# One look at a time in each process, by a thread of its own: whoever asks waits for it for some seconds, and is shown what
# is known by then. Who asks again soon gets the same.
# uses: ERRORS VALUES CONFIG CONTRACTS RUNNERS RESOURCES ASSEMBLY COMMANDS plugin:toml_advice
# defines: Look Check

_PATIENCE_S = 8.0  # of whoever asks
_FRESH_S = 10.0  # for so long what was found is not looked for again
_DAMAGE_S = 5.0  # for looking through records
_Found = tuple[Sequence[Fault], Sequence[str]]  # faults and warnings


class Look:
    """One look at everything, step by step. What is known so far can be read at any time."""

    def __init__(self, steps: Sequence[tuple[str, Callable[[], _Found]]]) -> None:
        self.faults: list[Fault] = []
        self.warnings: list[str] = []
        self.at = time.time()
        self.doing = ""  # what is being looked at; "" once all is done
        self._steps, self.is_done = steps, threading.Event()

    def run(self) -> None:
        try:
            for doing, step in self._steps:
                self.doing = doing
                try:
                    faults, warnings = step()
                except AppError as error:
                    faults, warnings = error.faults or [Fault("", error.code, error.with_hint)], ()
                except Exception:
                    LOG.exception("the check of %s failed", self.doing)
                    faults, warnings = [Fault("", AppError.code, f"{self.doing} could not be checked: see the log")], ()
                self.faults += [one for one in faults if one not in self.faults]
                self.warnings += [one for one in warnings if one not in self.warnings]
        finally:
            self.doing, self.ended_at = "", time.monotonic()
            self.is_done.set()


class Check(Resource):
    """What is wrong with the site, and what its operator should know."""

    type, name, title = "admin", "check", "Check"

    def __init__(self, app: App) -> None:
        self._app, self.locale, self._lock = app, app.languages.site, threading.Lock()
        self._looks: list[Look] = []  # the last one; shared by all copies for readers of other languages

    def handle(self, request: Request, scope: Scope) -> Plan:
        no_params(request)
        look = self._looked()
        look.is_done.wait(_PATIENCE_S)
        doing, faults, warnings = look.doing, list(look.faults), list(look.warnings)
        rows = [one._asdict() | {"line": plugin("toml_advice").line_of(self._app.config, one)} for one in faults]
        data: Value = {"ok": not faults and not doing, "complete": not doing, "at": rfc3339(look.at)}
        data |= {"faults": rows, "warnings": warnings}
        title = self.locale.t("admin.check")
        page = {"title": title, "trail": [(title, "")], "build": self._page, "doing": doing}
        return plan_of(Response(data=data, template="check.tpl", page=page))

    def _looked(self) -> Look:
        """The look that is under way or has just ended, or a new one."""
        with self._lock:
            look = self._looks[-1] if self._looks else None
            if look is None or (look.is_done.is_set() and time.monotonic() > look.ended_at + _FRESH_S):
                look = Look(list(self._steps()))
                self._looks[:] = [look]
                threading.Thread(target=look.run, daemon=True).start()
            return look

    def _steps(self) -> Iterator[tuple[str, Callable[[], _Found]]]:
        inspection = self._app.inspection
        yield "app.toml", self._of_file
        yield "the providers", lambda: (inspection.check(), ())
        yield "the settings", lambda: ((), inspection.warnings())
        for kind, command in self._app.registry.of(Command).items():  # type: ignore[type-abstract]
            yield kind, partial(command().check, self._app.config)
        yield "the records", lambda: ((), inspection.damage(_DAMAGE_S))

    def _of_file(self) -> _Found:
        """What is wrong with app.toml as it is now, if that is not what this server runs with."""
        config, path = self._app.config, self._app.config.folder / self._app.config.origin
        if not path.is_file():
            return (), ()
        raw, text = read_toml(path)
        for table, name in (("site", "data"), ("http", "bind"), ("http", "workers")):  # which the command line may say
            if name in config.raw.get(table, {}) and isinstance(raw.setdefault(table, {}), dict):
                raw[table][name] = config.raw[table][name]
        if raw == config.raw:
            return (), ()
        registry = self._app.registry
        kinds = registry.provider_settings, registry.tables, registry.channel_settings
        read = read_config(raw, config.folder, config.origin, *kinds)
        read = read._replace(lines=lambda: plugin("toml_advice").toml_lines(text))
        faults = plugin("toml_advice").located(read, App(read, registry, strict=False).faults)
        return faults, [f"{config.origin}: was changed since this server read it: it works with what it said before"]

    def _page(self, exchange: Exchange, response: Response) -> Mapping[str, Any]:
        data = response.data
        lines = [SimpleNamespace(place=one["pointer"] or "app.toml", text=one["detail"]) for one in data["faults"]]
        warnings = [SimpleNamespace(place=place, text=text) for place, text in map(_split, data["warnings"])]
        return {
            "faults": lines,
            "warnings": warnings,
            "doing": response.page["doing"],
            "ok": data["ok"],
            "here": exchange.url("admin/check"),
        }


def _split(warning: str) -> tuple[str, str]:
    """The place that a warning names first, and what it says of it."""
    place, mark, text = warning.partition(": ")
    return (place, text) if mark and " " not in place.replace(", ", "").replace(" and ", "") else ("", warning)
