"""Folders of files and databases from which a visitor could fetch, or replace, what is the operator's alone."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from app import BUNDLED, AppConfig, Blobs, Config, Fault, Provider, plugin

# ==== 1. FOLDERS =================================================================================================
# Compares where providers and apps keep their data with what no visitor may reach: keys, secrets, databases, app.toml,
# programs, and pages that can run programs. It runs whenever an App is built.
# uses: ERRORS VALUES CONFIG CONTRACTS plugin:backup_places
# defines: and_list folder_faults


def and_list(words: Iterable[str]) -> str:
    """The words, each once, as a person lists them: "a, b and c"."""
    *most, last = dict.fromkeys(words)
    return f"{', '.join(most)} and {last}" if most else last


def folder_faults(config: Config, providers: Mapping[str, Provider], statics: Sequence[Blobs]) -> Iterator[Fault]:
    """A fault for each place that is, holds or lies in something that visitors must not reach; backups are such a thing."""
    if any(config.extensions.get(kind, {}).get(key) for kind, key in (("backup", "to"), ("audit", "keep"))):
        yield from plugin("backup_places").place_faults(config, providers)
    guarded = _Guarded(config)
    databases = [(f"provider {name}", place) for name, one in providers.items() for place in one.places()]
    static_places = {one.name: one.places()[0] for one in statics}
    served = [(f"the static folder of {name.removesuffix('.static')}", place) for name, place in static_places.items()]
    closed = [*guarded.own, *guarded.programs]
    held = [(what, _Above(path)) for what, path in [*guarded.held, *databases]]
    own = [(what, _Above(folder / "*")) for what, folder in guarded.own]
    others = [(what, _Above(folder / "*")) for what, folder in [*guarded.programs, *served]]
    for name, provider in providers.items():
        for place in provider.places():
            above = _Above(place)
            if provider.serves_places:
                holds = [what for what, one in [*held, *own, *others] if one.has(place)]
                within = [what for what, folder in [*closed, *served] if above.has(folder)]
                yield from _fault(f"providers.{name}.root", "a folder of its own, such as data/files", holds, within)
            else:
                within = [what for what, folder in closed if above.has(folder)]
                yield from _fault(f"providers.{name}.url", "a place of its own", [], within)
    for name, place in static_places.items():
        holds = [what for what, one in [*held, *own] if one.has(place)]
        yield from _fault(name, "a place of its own", holds, [])


def _fault(place: str, better: str, holds: Sequence[str], within: Sequence[str]) -> Iterator[Fault]:
    if holds:
        yield Fault(place, "configuration", f"is or holds {and_list(holds)}: give it {better}")
    elif within:
        yield Fault(place, "configuration", f"lies in {and_list(within)}: give it {better}")


class _Guarded:
    """What visitors must not reach, each as (what it is, a path): `held` are files that no share may hold. In `own`, the
    folders beside app.toml, and `programs` none may lie: files there are run as programs, or as pages that can run some."""

    def __init__(self, config: Config) -> None:
        self.own = [(f"{name}/", config.folder / name) for name in ("plugins", "templates")]
        packages = [Path(one) for one in sys.path if one.endswith("-packages")]
        bundled = [BUNDLED / name for name in ("plugins", "templates", "static")]
        if BUNDLED.name == "site-packages":
            bundled = [BUNDLED.parent.parent]
        self.programs = [("the program", one) for one in bundled]
        self.programs += [("Python", one) for one in (Path(os.__file__).parent, *packages)]
        self.held = [("the data folder", config.site.data / "keys.json")]
        self.held += [("app.toml", config.folder / name) for name in dict.fromkeys(("app.toml", config.origin))]
        self.held += [("the program", one) for one in (BUNDLED / "app.py", Path(sys.argv[0])) if one.is_file()]
        links = [(what, one) for what, folder in self.own for one in folder.rglob("*") if one.is_symlink()]
        self.held += [(what, one / "*" if one.is_dir() else one) for what, one in links]
        homes = [one for one in config.resources if isinstance(one, AppConfig) and str(one.home).endswith((".html", ".tpl"))]
        self.held += [(f"the home of apps.{one.name}", config.folder / one.home) for one in homes]
        self.held += [(f"the file that {named} names", path) for named, path in _named_files(config)]


def _named_files(config: Config) -> Iterator[tuple[str, Path]]:
    """(setting, path) of each file that app.toml names: certificates, and secrets as "file:PATH"."""
    yield from _secret_files(config.raw, "", config.folder)
    tables = {"http": vars(config.http), **config.extensions}
    tables |= {f"providers.{name}": one.options for name, one in config.providers.items()}
    for place, table in tables.items():
        for name, value in table.items():
            if isinstance(value, Path) and value.is_file():
                yield f"{place}.{name}", value


def _secret_files(raw: Any, place: str, folder: Path) -> Iterator[tuple[str, Path]]:
    """Those behind a word too, as in "Bearer file:PATH"."""
    if isinstance(raw, Mapping):
        for name, value in raw.items():
            yield from _secret_files(value, f"{place}.{name}".lstrip("."), folder)
    elif isinstance(raw, list):
        for value in raw:
            yield from _secret_files(value, place, folder)
    elif isinstance(raw, str) and (found := re.match(r"(?:\S+ )*?file:(.+)", raw)):
        yield place, folder / found[1]


class _Above:
    """The folders above a path, and above every link on the way to where it leads; whatever names, mounts and case."""

    def __init__(self, path: Path) -> None:
        folders = {str(one) for way in _ways(path) for one in way.parents}
        self._keys = set(map(_folder_key, folders))
        self._names = {name.casefold() for name in folders}

    def has(self, folder: Path) -> bool:
        """Whether the folder is one of them; one that does not exist yet is known by its name."""
        real = os.path.realpath(folder)
        key = _folder_key(real)
        return key in self._keys or real.casefold() in (self._names if isinstance(key, str) else self._keys)


def _folder_key(real: str) -> tuple[int, int] | str:
    try:
        state = os.stat(real)
        return state.st_dev, state.st_ino
    except OSError:
        return real.casefold()


def _ways(path: Path) -> set[Path]:
    """Where a path leads, and every link on the way: who may write beside a link can put another one in its place."""
    found, todo = {Path(os.path.realpath(path))}, [path.absolute()]
    while todo:
        for part in (one := todo.pop(), *one.parents):
            if os.path.islink(part) and (link := Path(os.path.realpath(part.parent), part.name)) not in found:
                found.add(link)
                todo.append(link.parent / os.readlink(link))
    return found
