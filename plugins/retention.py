"""`keep` of a form: its older records go, once a backup has them."""

from __future__ import annotations

import threading
from contextlib import suppress
from typing import Any

import app
from app import Action, AppError, Caller, Condition, Conditions, Form, Query, Request, new_id, parse_grant, plugin, rfc3339

# ==== 1. RETENTION ===============================================================================================
# Each is deleted as a person would do it: with its files and an audit entry, which has what it was until [audit] keep
# prunes it.
# uses: ERRORS VALUES CONTRACTS AUTH RESOURCES plugin:audit_job
# defines: Job:retention Retention

_BATCH = 100  # records that are looked up at once
_PAUSE_S = 0.02  # between records, for others to write
_CALLER = Caller("job:retention", grants=(parse_grant("**:*"),))


class Retention(app.Job):
    """Deletes the records that are older than their form keeps them."""

    kind = "retention"
    every_s = 3600
    scope = "site"

    def run(self, site: Any, stop: threading.Event) -> None:
        forms = [
            one for one in site.resources.values() if isinstance(one, Form) and one.type == "forms" and one.config.keep_s
        ]
        row = site.state.get("_settings", "backup") if forms else None
        until = plugin("audit_job").safe_until(site, row.value) if row else 0.0
        held = {id(records) for records in plugin("audit_job").backed_up(site, row.value)} if row and until else set()
        for form in forms:
            if id(form.records) in held:
                self._prune(site, form, min(site.clock() - form.config.keep_s, until), stop)

    def _prune(self, site: Any, form: Form, before: float, stop: threading.Event) -> None:
        where, last = (Condition("created_at", "lt", rfc3339(before)),), ""
        while not stop.is_set():
            after = (Condition("id", "gt", last),) if last else ()
            rows = form.store.find(Query(form.table, (*where, *after), ("id",), _BATCH, instants=form.instants)).items
            for row in rows:
                if stop.is_set():
                    return
                with suppress(AppError):  # it was changed meanwhile, or is damaged: it stays until somebody has looked
                    self._delete(site, form, row)
                stop.wait(_PAUSE_S)
            if len(rows) < _BATCH:
                return
            last = rows[-1].key

    def _delete(self, site: Any, form: Form, row: Any) -> None:
        if not row.damage:
            request = Request(
                id=new_id(site.clock()), action=Action.DELETE, resource=form.address, path=("records", row.key), door="job",
                conditions=Conditions((str(row.version),)),
            )  # fmt: skip
            site.flow.handle_as(_CALLER, request)
