"""The hourly job that removes what was kept for a time only."""

from __future__ import annotations

import threading
from functools import partial
from itertools import islice
from typing import Any

import app
from app import AppError, Condition, Delete, Query, Records, Write

# ==== 1. SWEEPS ==================================================================================================
# Idempotency records, drafts, sessions, links, tokens and uploads that are over, and what interrupted uploads left behind.
# uses: ERRORS VALUES CONTRACTS plugin:clock_watch plugin:form_drafts plugin:import_files plugin:links plugin:tus
# defines: Job:sweeps REQUESTS_KEPT_S Sweeps

REQUESTS_KEPT_S = 15 * 86400


class Sweeps(app.Job):
    """Forgets what is kept for a time only: idempotency records, sessions, links, tokens, and what interrupted
    uploads left in providers. Nothing while the clock is in doubt."""

    kind = "sweeps"
    every_s = 3600
    scope = "node"

    def run(self, site: Any, stop: threading.Event) -> None:
        """One place that fails keeps nothing else from being swept; the first failure is raised in the end."""
        now = site.clock()
        if site.state is None or app.plugin("clock_watch").watch(site).look(now):
            return
        works = [partial(self._forget, site, records, now) for records in site.audit_stores()]
        works += [partial(app.plugin("import_files").forget, site, now), partial(app.plugin("tus").forget, site, now)]
        keep = partial(app.plugin("form_drafts").keep_files, site)
        works += [keep, *(partial(provider.sweep, now) for provider in site.providers.values())]
        failures = []
        for work in works:
            if stop.is_set():
                return
            try:
                work()
            except AppError as error:
                failures.append(error)
                if work is keep:  # nobody knows which of the staged files drafts have
                    break
        if failures:
            raise failures[0]

    def _forget(self, site: Any, records: Records, now: float) -> None:
        old = Query("_requests", (Condition("at", "lt", now - REQUESTS_KEPT_S),))
        writes: list[Write] = [Delete("_requests", record.key) for record in islice(records.walk(old), 5000)]
        writes += app.plugin("form_drafts").expired(records, now)
        if records is site.state:
            writes += [*site.authority.expired(now), *app.plugin("links").expired(records, now)]
        size = records.most_writes or len(writes) or 1
        for start in range(0, len(writes), size):
            records.commit(writes[start : start + size])
