"""Where other accounts of this machine could change what a site keeps, or the programs that it runs."""

from __future__ import annotations

import grp
import os
import pwd
import sys
from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from stat import S_ISDIR, S_ISVTX, S_IWGRP, S_IWOTH
from typing import Any

from app import Config, Provider, SqlProvider

# ==== 1. PERMISSIONS =============================================================================================
# By the rule of sshd's StrictModes: the bits of group and others count, on a place and on the folders above it. Outside of
# the data folder, which Satchel makes with mode 0700, a group counts if another account is in it: no private one of a user.
# Shares are left out: to be written from outside is what a folder of files may be for.
# uses: CONFIG CONTRACTS PROVIDERS
# defines: warnings


def warnings(config: Config, providers: Mapping[str, Provider]) -> list[str]:
    """A line for each place, with the command that mends it. Places that do not exist or cannot be seen are left out."""
    data, found = config.site.data, []
    trusted = {0, os.geteuid(), *_owner_of(data)}
    if reason := _writers(data, trusted, any_group=True):
        found.append(f"site.data: {reason} can write there: chmod 700 {data}")
    for place, path in _places(config, providers):
        if path.is_relative_to(data) and (path == data or found):
            continue  # said already
        if reason := _writers(path, trusted, any_group=path.is_relative_to(data)):
            found.append(f"{place}: {reason} can write there: chmod go-w {path}")
    return found + [f"{place}: {reason}" for place, reason in _above(config, trusted)]


def _owner_of(path: Path) -> Iterable[int]:
    try:
        return [path.stat().st_uid]
    except OSError:
        return []


def _places(config: Config, providers: Mapping[str, Provider]) -> Iterator[tuple[str, Path]]:
    """What matters, and what it is in app.toml or beside it: records, backups, and everything that is run. A key file that
    others may even read is refused anyway."""
    data, folder = config.site.data, config.folder
    for name, one in providers.items():
        for path in one.places() if isinstance(one, SqlProvider) else ():
            yield f"providers.{name}", path.absolute()
            yield f"providers.{name}", path.absolute().parent
    yield "backups", data / "backups"
    if (folder / config.origin).is_file():
        yield "app.toml", folder / config.origin
        yield "the folder of app.toml", folder
    for inner in ("plugins", "templates"):
        yield inner, folder / inner
        yield from ((inner, path) for path in sorted((folder / inner).glob("*")) if path.suffix in (".py", ".tpl", ".html"))
    if sys.argv[0].endswith(".pyz"):
        yield "app.pyz", Path(sys.argv[0]).resolve()


def _above(config: Config, trusted: set[int]) -> Iterator[tuple[str, str]]:
    """Folders in whose place others could put their own: they can write in the one above it, which has no sticky bit."""
    said: set[Path] = {config.folder}
    for place, path in (("site.data", config.site.data), ("the folder of app.toml", config.folder)):
        for parent in path.absolute().parents:
            if parent not in said and (reason := _writers(parent, trusted, sticky_is_fine=True)):
                said.add(parent)
                yield place, f"{reason} can write in {parent} and put another one in its place"


def _writers(path: Path, trusted: set[int], *, any_group: bool = False, sticky_is_fine: bool = False) -> str:
    """Who else can write there, in words; "" if nobody can."""
    try:
        state = path.stat()
    except OSError:
        return ""
    if state.st_uid not in trusted:
        return f"the account {_name_of(state.st_uid)}"
    if sticky_is_fine and state.st_mode & S_ISVTX and S_ISDIR(state.st_mode):
        return ""
    if state.st_mode & S_IWOTH:
        return "other accounts of this machine"
    if state.st_mode & S_IWGRP and (any_group or _has_others(state.st_gid, frozenset(trusted))):
        return "other accounts of its group"
    return ""


def _name_of(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


@lru_cache(16)
def _has_others(gid: int, trusted: frozenset[int]) -> bool:
    """Whether an account that is not trusted is in a group, as its own or as one more; True if the group is not known."""
    try:
        members: Any = grp.getgrgid(gid).gr_mem
    except KeyError:
        return True
    known = {one.pw_name: one for one in pwd.getpwall()}
    if any(name not in known or known[name].pw_uid not in trusted for name in members):
        return True
    return any(one.pw_gid == gid and one.pw_uid not in trusted for one in known.values())
