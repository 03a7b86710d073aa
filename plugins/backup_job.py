"""[backup]: backups that a server makes by itself, and what it says of them."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import sys
import threading
from collections.abc import Mapping
from contextlib import closing, suppress
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, NoReturn, cast

from app import (
    BUNDLED,
    LOG,
    App,
    AppError,
    ConfigError,
    Conflict,
    Insert,
    Job,
    Setting,
    Update,
    Value,
    Write,
    dump_json,
    load_json,
    load_registry,
    plugin,
    read_config,
    rfc3339,
)

if TYPE_CHECKING:
    import subprocess

# ==== 1. BACKUPS =================================================================================================
# When a backup is due, the process apart that makes it, which of the older ones go, and how the last ones went: a row beside
# the settings, so that every process of every node can tell.
# uses: ERRORS VALUES CONFIG CONTRACTS PLUGINS ASSEMBLY plugin:backup plugin:backup_places
# defines: Job:backup Backups stores_of check_mark condition make_apart

_FIRST_RETRY_S, _LAST_RETRY_S = 60.0, 3600.0  # after a failure; it doubles
_LOOK_S = 0.2  # between looks at a backup that is being made
_ENDS_S = 3.0  # for one that is told to end
_AHEAD_S = 60.0  # a moment so far in the future was noted when the clock was wrong
# Neither an environment variable nor the folder it runs in may lead it to other modules than this process has.
_PROGRAM = "import sys; sys.path[:] = sys.argv.pop().split('\\n'); import app; app.plugin('backup_job').make_apart()"


class Backups(Job):
    """Makes a backup when one is due."""

    kind = "backup"
    settings = (
        Setting("to", "text", "", 'where backups go: a provider with Blobs, or a folder such as "/mnt/backups"; "" = none'),
        Setting("every", "duration", "24h", "how often; at least a minute"),
        Setting("keep", "positive", 14, "how many are kept there; older ones go once a new one was tried out"),
        Setting("keys", "boolean", False, "with the key ring, so that tokens and sessions are good after a restore"),
    )
    every_s = 5  # in which it looks whether one is due
    scope = "site"

    def run(self, app: App, stop: threading.Event) -> None:
        if not self.options.get("to"):
            return
        row = app.state.get("_settings", "backup")
        before = row.value if row else {}
        now = app.clock()
        if now < _next_at(before, self.options["every"], now):
            return
        try:
            answer = _from_apart(app, self.options, before, stop)
        except OSError as error:  # such as no temporary file
            answer = {"failure": f"the process that makes it does not work: {error.strerror}"}
        if answer is None:  # stopped
            return
        if "failure" in answer:
            failures, why = before.get("failures", 0) + 1, answer.get("hint") or answer["failure"]
            answer = before | {"failed_at": app.clock(), "failure": answer["failure"], "failures": failures}
            again = _next_at(answer, self.options["every"], app.clock())
            LOG.error("the backup failed (%d in a row; again at %s): %s", failures, rfc3339(again), why)
        _note(app, answer)


def _next_at(row: Value, every_s: float, now: float) -> float:
    """When the next one is due."""
    good_at, failed_at = row.get("good_at", 0), row.get("failed_at", 0)
    if row.get("failures") and failed_at <= now + _AHEAD_S:
        wait_s = min(_FIRST_RETRY_S * 2 ** min(row["failures"] - 1, 10), _LAST_RETRY_S, every_s)
        return float(failed_at + wait_s)
    return 0.0 if good_at > now + _AHEAD_S else float(good_at + every_s)


def stores_of(config: Any) -> dict[str, str]:
    """By the name of each provider a mark that changes when app.toml points it at another place."""
    raw = config.raw.get("providers", {})
    return {name: hashlib.sha256(dump_json(raw.get(name, {})).encode()).hexdigest()[:16] for name in config.providers}


def check_mark(app: App, place: Any) -> None:
    """Raises Unavailable if the place of [backup] to is not the one that the server has used."""
    app.state.open()
    row = app.state.get("_settings", "backup")
    place.check_mark(row.value.get("mark") if row else None)


def _note(app: App, value: Value) -> None:
    """Keep how it went. Another node that was quicker is right."""
    row = app.state.get("_settings", "backup")
    write: Write = Update("_settings", "backup", value, row.version) if row else Insert("_settings", "backup", value)
    with suppress(Conflict):
        app.state.commit([write])


def condition(app: Any, providers: dict[str, str]) -> Value:
    """What /readyz says of backups: {} if none are made, or while a provider is away, which it says already. `why` is what
    is wrong, and missing if nothing is."""
    options = app.config.extensions.get("backup", {})
    if not options.get("to") or any(state != "ok" for state in providers.values()):
        return {}
    found = app.state.get("_settings", "backup")
    row, now = found.value if found else {}, app.clock()
    age_s = max(round(now - row["good_at"]), 0) if "good_at" in row else None
    told: Value = {"age_s": age_s, "failures": row.get("failures", 0)}
    if row.get("failures"):
        told["why"] = f"the last backup failed at {rfc3339(row['failed_at'])}: {row['failure']}"
    elif (now - app.began_at if age_s is None else age_s) > 2 * options["every"] + _LAST_RETRY_S:
        told["why"] = "no backup was made yet" if age_s is None else "the last backup is too old: none was made since"
    return told


# ---- the process apart, which takes no turn of a worker's interpreter


def _from_apart(app: App, options: Mapping[str, Any], before: Value, stop: threading.Event) -> Value | None:
    """What it answers: the row for a good backup, or {"failure": …}; None if it was stopped."""
    config = app.config
    told: Value = {"raw": dict(config.raw), "folder": str(config.folder), "origin": config.origin}
    told |= {"options": dict(options), "made": before.get("made", []), "mark": before.get("mark")}
    path = "\n".join([str(BUNDLED), *(place for place in sys.path if place)])
    import subprocess
    from tempfile import TemporaryFile

    with TemporaryFile() as output:
        try:
            process = subprocess.Popen(  # noqa: S603 (this program)
                [sys.executable, "-P", "-c", _PROGRAM, path], stdin=subprocess.PIPE, stdout=output, process_group=0
            )
        except OSError as error:
            return {"failure": f"the process that makes it does not start: {error.strerror}"}
        with process, cast(IO[bytes], process.stdin) as asked:
            with suppress(BrokenPipeError):  # it has ended already
                asked.write(dump_json(told).encode() + b"\n")
                asked.flush()  # and stays open: its end ends the process
            while process.poll() is None:
                if stop.wait(_LOOK_S):
                    _end(process)
                    return None
        output.seek(0)
        try:
            return cast(Value, load_json(output.read()))
        except AppError:
            return {"failure": f"the process that makes it ended with {process.returncode}"}


def _end(process: subprocess.Popen[bytes]) -> None:
    from subprocess import TimeoutExpired

    process.terminate()
    try:
        process.wait(_ENDS_S)
    except TimeoutExpired:
        process.kill()


def make_apart() -> NoReturn:
    """What the process apart does: read what to do from standard input, make a backup, and say what came of it."""
    import logging

    logging.basicConfig(level=logging.WARNING, format="%(message)s", stream=sys.stderr)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    plugin("backup").give_way()
    asked = b""
    while not asked.endswith(b"\n"):
        asked += os.read(0, 1 << 16) or os._exit(1)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    os.write(1, json.dumps(_made(load_json(asked.decode()))).encode())
    sys.exit(0)


def _end_with_parent() -> NoReturn:
    while os.read(0, 1):
        pass
    os._exit(1)


def _made(asked: Value) -> Value:
    """The row for a good backup, or {"failure": …} in words that everybody may read, with a `hint` for the log alone."""
    try:
        folder, options = Path(asked["folder"]), asked["options"]
        registry = load_registry(folder)
        kinds, tables, channels = registry.provider_settings, registry.tables, registry.channel_settings
        config = read_config(asked["raw"], folder, asked["origin"], kinds, tables, channels)
        app = App(config, registry)
        with closing(app):
            place = plugin("backup_places").place_of(options["to"], config, app.providers, folder)
            began_at = app.clock()
            place.check_mark(asked["mark"])
            archive = place.make(app, with_keys=options["keys"])
            row: Value = {"good_at": began_at, "name": archive.address, "size_bytes": archive.size_bytes, "failures": 0}
            row["mark"] = place.mark()
            held = place.manifest(archive).get("providers", {})
            row["stores"] = {name: mark for name, mark in stores_of(config).items() if name in held}
            return row | {"made": _keep_newest(place, archive, options["keep"], app.site_id(), asked["made"])}
    except ConfigError as error:
        return {"failure": "the place of [backup] to, or app.toml, is not right any more", "hint": error.with_hint}
    except AppError as error:
        return {"failure": error.message, "hint": error.with_hint}
    except OSError as error:
        return {"failure": error.strerror or type(error).__name__, "hint": str(error)}
    except Exception as error:
        LOG.error("the backup failed", exc_info=error)
        return {"failure": f"an error of the program: {type(error).__name__}", "hint": f"{type(error).__name__}: {error}"}


def _keep_newest(place: Any, new: Any, keep: int, site_id: str, known: list[str]) -> list[str]:
    """Remove the oldest backups of this site beyond `keep`, and return the names of those that stay. What is not known to be
    of this site, or cannot be read, is left alone. A failure is logged: the new one counts."""
    own = [new]
    try:
        for archive in place.archives():
            is_own = archive.name in known or place.manifest(archive).get("site") == site_id
            if archive.name != new.name and is_own:
                own.append(archive)
        for archive in own[keep:]:
            place.remove(archive)
    except (AppError, OSError) as error:
        LOG.error("old backups could not be removed: %s", error)
    return [archive.name for archive in own[:keep]]
