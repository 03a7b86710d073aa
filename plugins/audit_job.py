"""[audit]: older entries of the audit trail go, once a backup has them."""

from __future__ import annotations

import threading
from typing import Any

import app
from app import Action, Caller, Condition, Delete, Query, Records, Setting, Write, new_id, plugin, rfc3339

# ==== 1. AUDITS ==================================================================================================
# Entries that are older than `keep` and than the last good backup are removed, a few at a time. Their keys sort by time, so
# that no provider has to look at others.
# uses: VALUES CONFIG CONTRACTS plugin:backup_job plugin:clock_watch plugin:locale plugin:seals
# defines: Job:audit Audits safe_until backed_up

_BATCH = 500  # entries a commit, which takes some milliseconds
_PAUSE_S = 0.1  # between commits, for others to write
_MARGIN_S = 3600.0  # between an entry's time and its commit, and between the clocks of nodes


class Audits(app.Job):
    """Prunes the audit trail wherever it is kept: beside the records of each provider."""

    kind = "audit"
    settings = (
        Setting(
            "keep", "age", "", 'how long entries are kept; "" = for ever; needs [backup], which has them first'
        ),
    )  # fmt: skip
    every_s = 3600
    scope = "site"

    def run(self, site: Any, stop: threading.Event) -> None:
        row = site.state.get("_settings", "backup") if self.options.get("keep") else None
        if not row or not (until := safe_until(site, row.value)):
            return
        now = site.clock()
        before = min(now - self.options["keep"], until)
        kept = {id(records) for records in backed_up(site, row.value)}
        removed = sum(self._prune(one, before, stop) for one in plugin("seals").stores_of(site) if id(one.records) in kept)
        if removed:
            entry = site.audit.entry(Caller("job:audit"), "job", new_id(now), "admin/audit", Action.DELETE)
            site.audit.best_effort(entry | {"after": {"entries": removed, "older_than": rfc3339(before)}})

    def _prune(self, chained: Any, before: float, stop: threading.Event) -> int:
        """Remove the entries of an earlier time from where one provider keeps them, and their seals; returns how many.
        Damaged ones, which no backup has, stay."""
        records: Records = chained.records
        size, last, removed = min(_BATCH, records.most_writes or _BATCH), "", 0
        end = f"{int(before * 1000):012x}"  # of a UUIDv7, which begins with its milliseconds
        while not stop.is_set():
            where = (Condition("id", "lt", end), *([Condition("id", "gt", last)] if last else []))
            page = records.find(Query("_audit", where, ("id",), size))
            old: list[Write] = [Delete("_audit", one.key, one.version) for one in page.items if _is_before(one, before)]
            if old and not removed:
                chained.begin_pruning(end)
            records.commit(old)
            removed += len(old)
            if page.next is None:
                break
            last = page.items[-1].key
            stop.wait(_PAUSE_S)
        chained.forget(stop)
        return removed


def safe_until(site: Any, row: app.Value) -> float:
    """What is older than that (Unix seconds) is in the last good backup, of which this is the row; 0.0 if nothing is, or if
    the clock may be wrong."""
    good_at, now = float(row.get("good_at", 0)), site.clock()
    if not good_at or good_at > now or plugin("clock_watch").watch(site).look(now):
        return 0.0  # a backup of the future was made while the clock was wrong
    return good_at - _MARGIN_S


def backed_up(site: Any, row: app.Value) -> list[Records]:
    """Where audit entries and records are that the last good backup has, as far as they are older; not what app.toml names
    since then. `row` is that of the last backup."""
    stores, names = plugin("backup_job").stores_of(site.config), {id(one): name for name, one in site.providers.items()}
    held = {name for name, mark in row.get("stores", {}).items() if stores.get(name) == mark}
    return [records for records in site.audit_stores() if names.get(id(records)) in held]


def _is_before(entry: app.Record, before: float) -> bool:
    if entry.damage or app.damage_of(entry.value):
        return False
    try:
        return float(plugin("locale").parse_rfc3339(entry.value["at"])) < before
    except (KeyError, TypeError, ValueError, OverflowError):
        return False
