"""What /readyz says: whether requests can be served, and what else an operator should look at."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from app import Value, how_many, plugin

# ==== 1. READINESS ===============================================================================================
# Asked when somebody asks, so that no state can be out of date.
# uses: VALUES plugin:backup_job plugin:clock_watch plugin:outbox plugin:reserve
# defines: told


def told(host: Any, queues: Mapping[str, str], trouble: str) -> tuple[int, Value]:
    """The status code and the answer: 503 while a provider is away. Paused queues, full disks, a wrong clock, faults of a
    later app.toml (`trouble`) and failed backups are told, and are no reason to send people elsewhere."""
    providers = host.ready()
    backup, disks = plugin("backup_job").condition(host, providers), plugin("reserve").low(host)
    dead = plugin("outbox").condition(host, providers).get("dead", 0)
    clock, rests = plugin("clock_watch").trouble(host, providers), any(state != "ok" for state in queues.values())
    is_degraded = trouble or disks or clock or dead or "why" in backup or rests
    status, code = "degraded" if is_degraded else "ok", 200
    if any(state != "ok" for state in providers.values()):
        status, code = "unavailable", 503
    found: Value = {"status": status, "providers": providers, "queues": queues, "reload": trouble, "backup": backup}
    outbox = f"{how_many(dead, 'notice')} could not be sent: see admin/outbox" if dead else ""
    found |= {"disks": disks, "clock": clock, "outbox": outbox}
    return code, {name: one for name, one in found.items() if one}
