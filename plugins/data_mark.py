"""The mark in a data folder: which form its data has, so that an older Satchel leaves newer data alone."""

from __future__ import annotations

import atexit
from collections.abc import Callable, Mapping
from contextlib import closing, suppress
from pathlib import Path

import app
from app import LOG, App, BadRequest, ConfigError, Value, dump_json, load_json, plugin

# ==== 1. MARK ====================================================================================================
# What the mark says, who is refused by it, and how older data gets to the form of today: a backup first, then the steps.
# uses: ERRORS VALUES ASSEMBLY plugin:backup plugin:disk
# defines: FORM STEPS mark_of refuse_newer check refuse_older write bring_up

FORM = 1  # of what stands in a data folder and in tables of providers; one that has no mark is of this first one
STEPS: Mapping[int, Callable[[App], None]] = {}
"""By form, what makes the next one of it. An App is given, not open, of which nothing else is at work; a step that was
interrupted is done again from its beginning."""
_FILE = "form.json"
_made_here: dict[Path, int] = {}
"""Folders that held nothing when this process first looked, and the form of what it puts there."""


def mark_of(folder: Path) -> Value:
    """{"form": the number, "version": of the Satchel that brought it to that form}."""
    path = folder / _FILE
    try:
        found = load_json(path.read_bytes())
    except (FileNotFoundError, NotADirectoryError):
        return {"form": _made_here.get(folder, 1), "version": ""}
    except (OSError, BadRequest) as error:
        raise ConfigError("the mark of the data folder cannot be read", hint=f"{path}: {error}") from error
    if not isinstance(found, dict) or not isinstance(found.get("form"), int) or not isinstance(found.get("version"), str):
        raise ConfigError("the mark of the data folder is damaged: restore a backup", hint=str(path))
    return found


def refuse_newer(what: str, form: int, version: str, known: int | None = None) -> None:
    """Raises ConfigError if something was written by a newer Satchel, in a form that is not known yet."""
    known = FORM if known is None else known
    if form > known:
        raise ConfigError(
            f"{what} was written by Satchel {version}, in form {form}; this is {app.__version__}, which knows {known}",
            hint=f"use Satchel {version} or newer, or a backup that was made before that one was used",
        )


def check(folder: Path) -> None:
    """ConfigError if the data in a folder is newer than this program. One that is made later is marked at the end."""
    mark = mark_of(folder)
    refuse_newer("the data folder", mark["form"], mark["version"])
    if _is_empty(folder) and folder not in _made_here:
        _made_here[folder] = FORM
        atexit.register(_mark_new, folder)


def _is_empty(folder: Path) -> bool:
    """Whether nothing is in it, as it is where it is mounted, or was not made yet; not if that cannot be known."""
    try:
        return not any(folder.iterdir())
    except OSError as error:
        return isinstance(error, FileNotFoundError)


def refuse_older(folder: Path) -> None:
    """ConfigError if the data has to be changed before something is written to it."""
    if (form := mark_of(folder)["form"]) < FORM:
        hint = "start the server once: it takes a backup and changes the data"
        raise ConfigError(f"the data folder is in form {form}, and this Satchel's is {FORM}", hint=hint)


def _mark_new(folder: Path) -> None:
    """Mark a folder that was made meanwhile."""
    if not _is_empty(folder) and not (folder / _FILE).exists():
        with suppress(OSError):
            write(folder, _made_here.get(folder, FORM))


def write(folder: Path, form: int = FORM, version: str = app.__version__) -> None:
    mark = dump_json({"form": form, "version": version}) + "\n"
    plugin("disk").replace_file(folder / _FILE, [mark.encode()])


def bring_up(app: App, *, keep: bool = True) -> None:
    """Bring the data of a site to the form of today, and mark it. `keep`: what it was goes to data/backups before."""
    data = app.config.site.data
    form = mark_of(data)["form"]
    if form < FORM and keep:
        path = plugin("backup").make(app, data / "backups", with_keys=True)
        LOG.warning("the data is of form %d and becomes one of form %d; what it was is in %s", form, FORM, path)
    for number in range(form, FORM):
        with closing(app):
            STEPS[number](app)
        write(data, number + 1)
    _mark_new(data)
