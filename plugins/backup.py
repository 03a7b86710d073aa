"""server backup, backups, verify and restore: everything that a site keeps in one file, tried out before it counts."""

from __future__ import annotations

import argparse
import errno
import glob
import heapq
import itertools
import operator
import os
import re
import shutil
import time
import zipfile
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from app import (
    BUNDLED,
    LOG,
    App,
    AppConfig,
    BadRequest,
    Blob,
    Blobs,
    Command,
    Config,
    ConfigError,
    Conflict,
    FilesConfig,
    Form,
    Insert,
    Provider,
    Query,
    Record,
    Records,
    Registry,
    Site,
    SqlProvider,
    StorageFull,
    Unavailable,
    Unsupported,
    Value,
    __version__,
    check_path,
    damage_of,
    dump_json,
    exact_number,
    how_many,
    load_json,
    load_registry,
    plugin,
    read_config,
    read_toml,
    stores,
)

if TYPE_CHECKING:
    from plugins import archives
else:
    archives = plugin("archives")

# ==== 1. RESTORE =================================================================================================
# From an archive to a folder that can be served, and what is compared before an archive counts.
# uses: ERRORS VALUES CONFIG CONTRACTS RESOURCES PROVIDERS PLUGINS ASSEMBLY COMMANDS plugin:archives plugin:copy
#       plugin:data_mark plugin:disk plugin:reserve plugin:sql_database
# defines: FORMAT Named Restore restore_into verify

FORMAT = 2  # of what stands in an archive; 1 had an entry for each file
_MOST_NAMED = 1000  # of what is missing or loose

_HEADER = re.compile(r"\s*\[\[?\s*([^\]]+?)\s*\]")
_NOT_LOCAL = ("backup", "audit")  # tables of app.toml: a copy of a site must not take the place of its backups


class Named:
    """The files that records of a site name, in the order of paths, by the provider that keeps them."""

    def __init__(self, app: App, folder: Path) -> None:
        """The folder is made, and is to be this object's own."""
        folder.mkdir()
        self.forms = [one for one in app.resources.values() if isinstance(one, Form) and one.files]
        self._files = {(id(one.records), one.table): one.files for one in self.forms}
        self._lists = {id(one): archives.Sorted(folder / name) for name, one in app.providers.items()}

    def tables(self, provider: Provider) -> list[str]:
        """Those of a provider whose records name files."""
        return [table for store, table in self._files if store == id(provider)]

    def add(self, provider: Provider, table: str, record: Record) -> None:
        if files := self._files.get((id(provider), table)):
            for blobs, path in files.places(record.value):
                self._lists[id(blobs)].add(path)

    def of(self, provider: Provider) -> Iterator[str]:
        """The paths of files of a provider."""
        return (path for path, _ in itertools.groupby(row[0] for row in self._lists[id(provider)]))

    def missing(self, provider: Provider, there: Iterable[str]) -> Iterator[str]:
        """The paths that a record names, but for those of the files that are there."""
        return _but_for(self.of(provider), there)

    def loose(self, provider: Provider, below: Callable[[str], Iterable[str]]) -> Iterator[str]:
        """The paths of files that were sent with a record, and that none names by now. `below` tells those in a folder."""
        for form in self.forms:
            shares = [share for share in form.shares.values() if share.blobs is provider]
            for place in dict.fromkeys(share.place(f"uploads/{form.name}") for share in shares):
                yield from _but_for(below(place), self.of(provider))


def _but_for(paths: Iterable[str], others: Iterable[str]) -> Iterator[str]:
    """The paths that are not among the others; each is there once, and in order."""
    both = heapq.merge(((path, 0) for path in paths), ((path, 1) for path in others))
    for path, found in itertools.groupby(both, operator.itemgetter(0)):
        if [kind for _, kind in found] == [0]:
            yield path


class Restore:
    """Puts what an archive holds into a new folder."""

    def __init__(self, path: Path, folder: Path, registry: Registry | None = None) -> None:
        """Raises BadRequest if the archive is damaged or of another version. `registry` is that of its plugins, if known."""
        archives.check_seal(path)
        try:
            self._archive = zipfile.ZipFile(path)
            self.manifest: Value = load_json(self._archive.read("manifest.json").decode())
        except (zipfile.BadZipFile, KeyError, UnicodeDecodeError) as error:
            raise BadRequest(f"{path.name} is no backup: {error}") from error
        if not isinstance(self.manifest, dict) or not isinstance(self.manifest.get("format"), int):
            raise BadRequest(f"{path.name} is no backup: its manifest says no format")
        self.form, self.version = self.manifest.get("form", 1), self.manifest.get("version", "")  # of its data
        plugin("data_mark").refuse_newer(path.name, self.manifest["format"], self.version, FORMAT)
        plugin("data_mark").refuse_newer(path.name, self.form, self.version)
        folder.mkdir(mode=0o700, exist_ok=True)
        self.folder, self._registry, self._moment = Path(os.path.realpath(folder)), registry, 0.0
        self._listed: dict[str, archives.Sorted] = {}

    def close(self) -> None:
        self._archive.close()

    def site(self, *, local: bool = False, alone: bool = False) -> Config:
        """Write app.toml, what stood beside it and the key ring, and return what app.toml then says; `local`, with providers
        in this folder. If it is to be looked at `alone`, nothing of app.toml counts that is not of what it keeps."""
        for name in self._archive.namelist():
            if name.startswith("site/"):
                path = self.folder / check_path(name.split("/")[1:])  # the digest is no signature
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(self._archive.read(name))
        place = self.folder / "app.toml"
        place.write_bytes(self._archive.read("app.toml"))
        raw, text = read_toml(place)
        if local:
            raw = self._made_local(raw)
            place.write_text(self._localized(text, raw), "utf-8")
        if alone:
            raw = self._made_local({name: table for name, table in raw.items() if name not in ("http", "sqs", "auth")})
        self.registry = self._registry or load_registry(self.folder)
        known = self.registry
        config = read_config(raw, self.folder, "app.toml", known.provider_settings, known.tables, known.channel_settings)
        data = config.site.data
        if not self._is_inside(data):
            raise ConfigError(f"its data folder is {data}, outside of the new one: use --local, which puts it inside")
        if "keys.json" in self._archive.namelist():
            data.mkdir(mode=0o700, parents=True, exist_ok=True)
            plugin("disk").replace_file(data / "keys.json", [self._archive.read("keys.json")])
        return config

    def _is_inside(self, place: Path) -> bool:
        return Path(os.path.realpath(place)).is_relative_to(self.folder)

    def _made_local(self, raw: Value) -> Value:
        """What app.toml says, with all its data in its own folder, and in SQLite or folders alone."""
        site = {name: value for name, value in raw.get("site", {}).items() if name != "data"}
        providers = {name: self._local(name) for name in raw.get("providers", {})}
        others = {name: table for name, table in raw.items() if name not in _NOT_LOCAL}
        return others | ({"site": site} if "site" in raw else {}) | {"providers": providers}

    def _local(self, name: str) -> dict[str, str]:
        facts = self.manifest["providers"].get(name, {})
        if facts.get("kind") == "file":
            return {"kind": "file", "root": f"data/local/{name}"}
        return {"kind": "sql", "url": f"sqlite:///data/local/{name}.db"}

    def _localized(self, text: str, wanted: Value) -> str:
        """The text of app.toml, changed to say what is wanted. Raises ConfigError if it cannot be changed line by line."""
        import tomllib

        lines, skips, seen = list[str](), False, set[str]()
        table: tuple[str, ...] = ()
        for line in text.split("\n"):
            if header := _HEADER.match(line):
                table = tuple(part.strip().strip("\"'") for part in header[1].split("."))
                name = table[1] if table[0] == "providers" and len(table) > 1 else ""
                skips = name in wanted["providers"] or table[0] in _NOT_LOCAL
                if skips and name and name not in seen:
                    seen.add(name)
                    lines += [line, *(f'{key} = "{value}"' for key, value in self._local(name).items()), ""]
            if not skips and not (table == ("site",) and re.match(r"\s*data\s*=", line)):
                lines.append(line)
        changed = "\n".join(lines)
        try:
            is_right = tomllib.loads(changed, parse_float=exact_number) == wanted
        except tomllib.TOMLDecodeError:
            is_right = False
        if not is_right:
            hint = "write [providers.NAME], [backup] and [audit] as tables, and data as a line of [site], before the backup"
            raise ConfigError("app.toml is written in a way that --local cannot change", hint=hint)
        return changed

    def providers(self, config: Config, step: Callable[[int], None], *, lists: Path | None = None) -> None:
        """Put back what each of them held. Raises Conflict, before anything is written, if one of them holds something.

        With a new folder for lists, files outside of databases are read to their ends and listed in it, and not written.
        """
        if lists:
            lists.mkdir()
            files = (name for name, facts in self.manifest["providers"].items() if facts["files"] and not facts["database"])
            self._listed = {name: archives.Sorted(lists / name) for name in files}
        made = {name: self._made(name, config) for name in self.manifest["providers"]}
        try:
            whole = App(config, self.registry, strict=False)
            needed = whole.needed() if whole.state else {}
            for name, provider in made.items():
                self._check_place(name, provider, needed.get(name, ()))
            for name, provider in made.items():
                self._fill(name, provider, step)
        finally:
            for provider in made.values():
                provider.close()

    def _made(self, name: str, config: Config) -> Provider:
        declared = config.providers[name]
        cls: Any = self.registry.of(Provider)[declared.kind]  # type: ignore[type-abstract]
        keeps_times = {"clock": lambda: self._moment} if declared.kind == "sql" else {}
        return cast(Provider, cls(name, declared.options, config.folder, **keeps_times))

    def _check_place(self, name: str, provider: Provider, needed: Iterable[str]) -> None:
        if not all(map(self._is_inside, provider.places())):
            raise Conflict(f"provider {name} is outside of the new folder: use --local, which puts it inside")
        facts = self.manifest["providers"][name]
        if facts["database"]:
            if cast(SqlProvider, provider).path.exists():
                raise Conflict(f"provider {name} has a database already: two providers must not share one")
            return
        provider.open()
        provider.create(dict.fromkeys([*facts["tables"], *needed], ()))
        for table in facts["tables"]:
            if cast(Records, provider).find(Query(table, limit=1)).items:
                raise Conflict(f"provider {name} holds records in {table}: restore into an empty one, or use --local")
        if facts["files"] and next(cast(Blobs, provider).scan(), None):
            raise Conflict(f"provider {name} holds files: restore into an empty one, or use --local")

    def _fill(self, name: str, provider: Provider, step: Callable[[int], None]) -> None:
        facts = self.manifest["providers"][name]
        if facts["database"]:
            path = cast(SqlProvider, provider).path
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            with self._archive.open(facts["database"]) as file:
                plugin("disk").replace_file(path, _stepped(archives.chunks_of(file), step))
            return
        for table, told in facts["tables"].items():
            self._insert(cast(Records, provider), table, told["entry"], step)
        for inner, modified_at, chunks in self._files(facts["files"]) if facts["files"] else ():
            if name in self._listed:
                self._listed[name].add(inner, *archives.digested(chunks))
            else:
                self._put(cast(Blobs, provider), inner, modified_at, chunks)
            step(1)
        for path in facts.get("folders", ()) if name not in self._listed else ():
            with suppress(Conflict, Unsupported):  # it is there, or not kept in such a place
                cast(Blobs, provider).make_folder(check_path(path.split("/"), is_there=True))

    def _put(self, blobs: Blobs, path: str, modified_at: float, chunks: Iterable[bytes]) -> None:
        self._moment = modified_at
        blobs.write(path, chunks)
        if blobs.serves_places:
            os.utime(blobs.places()[0] / path, (modified_at, modified_at))

    def _files(self, facts: Value) -> Iterator[tuple[str, float, Iterator[bytes]]]:
        if "tars" in facts:
            yield from archives.unpacked(self._archive, facts)
            return
        with self._archive.open(facts["entry"]) as listing:  # of format 1
            for path, entry, modified_at in map(load_json, listing):
                with self._archive.open(entry) as file:
                    yield check_path(path.split("/"), is_there=True), float(modified_at), archives.chunks_of(file)

    def _insert(self, records: Records, table: str, entry: str, step: Callable[[int], None]) -> None:
        most = min(records.most_writes or 100, 100) if records.atomic else 1
        batch: list[Insert] = []
        with self._archive.open(entry) as file:
            for line in file:
                key, version, value = load_json(line.decode())
                batch.append(Insert(table, key, value, version))
                if len(batch) == most:
                    records.commit(batch)
                    step(len(batch))
                    batch = []
        records.commit(batch)

    def compare(self, config: Config) -> None:
        """Raises BadRequest unless what was put back is what the manifest says."""
        for name, facts in self.manifest["providers"].items():
            provider = self._made(name, config)
            provider.open()
            with closing(provider):
                for table, told in facts["tables"].items():
                    self._same(
                        f"{name}: {table}", told, _table(cast(Records, provider), table, counts=bool(facts["database"]))
                    )
                if facts["files"]:
                    listed = self._listed.get(name)
                    found = archives.files_of(cast(Blobs, provider)) if listed is None else archives.tallied(listed)
                    self._same(f"{name}: files", facts["files"], found)
                if isinstance(provider, SqlProvider) and (fault := plugin("sql_database").integrity(provider)):
                    raise BadRequest(f"{name}: the database is damaged: {fault}")

    def paths(self, name: str, blobs: Blobs, folder: str = "") -> Iterable[str]:
        """Those of the files of a provider in a folder, in order."""
        if name in self._listed:
            return (path for path, *_ in self._listed[name] if path.startswith(folder and f"{folder}/"))
        return (one.path for one in blobs.scan(folder) if isinstance(one, Blob))

    @staticmethod
    def _same(what: str, told: Value, found: Value) -> None:
        if {one: told[one] for one in found} != found:
            raise BadRequest(f"the backup is not whole: {what} should be {told} and is {found}")


def _table(records: Records, table: str, *, counts: bool) -> Value:
    """What the manifest says of a table."""
    if counts:
        return {"count": records.count(Query(table))}
    tally = plugin("copy").Tally()
    for record in records.walk(Query(table)):
        line = _record_line(record)
        tally.add(line, len(line))
    return archives.facts_of(tally)


def _record_line(record: Record) -> bytes:
    return dump_json([record.key, record.version, record.value]).encode()


def _stepped(chunks: Iterable[bytes], step: Callable[[int], None]) -> Iterator[bytes]:
    """The same, with a step before each of them that may refuse it."""
    for chunk in chunks:
        step(0)
        yield chunk


def restore_into(path: Path, folder: Path, *, local: bool, step: Callable[[int], None] = lambda done: None) -> Value:
    """A site in a new or empty folder, which has another name until it is whole; returns the manifest."""
    partial = folder.with_name(folder.name + ".partial")
    archives.remove_left(folder.parent, glob.escape(partial.name))
    if partial.exists():
        raise Conflict(f"{partial.name} exists: another restore seems to be running")
    plugin("disk").make_folder(folder.parent)
    partial.mkdir(mode=0o700)
    try:
        with archives.in_use(partial), closing(Restore(path, partial)) as restore:
            config = restore.site(local=local)
            restore.providers(config, step)
            restore.compare(config)
            plugin("data_mark").write(config.site.data, restore.form, restore.version)
            plugin("disk").sync_tree(partial)
            partial.rename(folder)
        plugin("disk").sync_folder(folder.parent)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise
    return restore.manifest


def verify(path: Path, registry: Registry | None = None) -> Value:
    """Restore an archive for a while, compare it with its manifest, and open it. StorageFull before that takes the last of
    the disk. Files outside of databases are compared as they are read, and not written: whoever else uses the disk would
    wait for the names and bytes of thousands of them.

    Returns the manifest, and in it as "loose" the first files that were sent with a record and that no record names.
    """
    step, for_a_while = plugin("reserve").guarded(path.parent, lambda done: None), plugin("disk").for_a_while
    scratched = archives.scratch_in(path.parent)
    with for_a_while(), scratched as scratch, closing(Restore(path, scratch / "site", registry)) as restore:
        config = restore.site(alone=True)
        restore.providers(config, step, lists=scratch / "lists")
        restore.compare(config)
        app = App(config, restore.registry)
        plugin("data_mark").write(config.site.data, restore.form, restore.version)
        plugin("data_mark").bring_up(app, keep=False)
        with closing(app):
            app.open()
            return restore.manifest | {"loose": _loose(app, scratch / "named", restore)}


def _loose(app: App, folder: Path, restore: Restore) -> list[str]:
    """The first files that no record names. Raises BadRequest if a record names one that should be there and is not."""
    named, found = Named(app, folder), list[str]()
    for form in named.forms:
        for record in form.store.walk(Query(form.table)):
            named.add(form.store, form.table, record)
    for name in (name for name, facts in restore.manifest["providers"].items() if facts["files"]):
        provider = app.providers[name]
        paths = partial(restore.paths, name, cast(Blobs, provider))
        missing = list(named.missing(provider, paths()))
        if len(missing) > restore.manifest.get("missing", {}).get(name, 0):
            raise BadRequest(f"the backup is not whole: a record names {missing[0]}, which is not among its files")
        found += (f"{name}: {path}" for path in itertools.islice(named.loose(provider, paths), _MOST_NAMED))
    return found[:_MOST_NAMED]


# ==== 2. BACKUP ==================================================================================================
# From an open site to an archive.
# uses: ERRORS VALUES CONFIG CONTRACTS RESOURCES PROVIDERS ASSEMBLY RESTORE plugin:app_checks plugin:archives
#       plugin:backup_places plugin:copy plugin:data_mark plugin:disk plugin:file_trees plugin:reserve
#       plugin:sql_database
# defines: Backup check_folder make

_SITE_FOLDERS = ("templates", "plugins")  # beside app.toml
_DRAWN = 3  # times, at most, if files came and went meanwhile


class Backup:
    """Writes what a site keeps into an archive; `manifest` says what that was."""

    def __init__(self, app: App, archive: zipfile.ZipFile, scratch: Path, step: Callable[[int], None]) -> None:
        """`step` is called with the number of records and bytes of files that were written."""
        self._app, self._archive, self._scratch, self._step = app, archive, scratch, step
        self._drawn = scratch / "drawn"
        self.manifest: Value = {
            "format": FORMAT, "form": plugin("data_mark").mark_of(app.config.site.data)["form"], "version": __version__,
            "at": _stamp(app.clock()), "title": app.title, "keys": "", "providers": {}, "left_out": {},
        }  # fmt: skip

    def site(self, *, with_keys: bool) -> None:
        """app.toml and what stands beside it; the key ring only if that is wanted."""
        config = self._app.config
        beside = config.folder / config.origin
        starter = BUNDLED / "templates" / "starter.toml"
        self._archive.write(beside if beside.is_file() else starter, "app.toml")
        written = set[str]()
        for name in self._beside():
            top = config.folder / name
            for path in [top] if top.is_file() else sorted(top.rglob("*")):
                inner = os.path.relpath(path, config.folder)
                if inner in written:
                    continue
                if path.is_file() and "__pycache__" not in path.parts and not inner.startswith(".."):
                    written.add(inner)
                    self._archive.write(path, f"site/{inner}")
        for setting in (name for name in ("tls_cert", "tls_key") if getattr(config.http, name)):
            self.leave_out(f"[http] {setting}", "copy it yourself")
        self._keys(config, with_keys=with_keys)

    def _keys(self, config: Config, *, with_keys: bool) -> None:
        if config.auth.keys:
            self.manifest["keys"] = "elsewhere: see [auth] keys"
        elif with_keys:
            _ = self._app.authority.keys.keys  # which makes them at first use
            self._archive.write(config.site.data / "keys.json", "keys.json")
            self.manifest["keys"] = "keys.json"

    def _beside(self) -> Iterable[str]:
        """The files and folders beside app.toml that it needs."""
        apps = [one for one in self._app.config.resources if isinstance(one, AppConfig)]
        programs = [one.wsgi.partition(":")[0].partition(".")[0] for one in apps if one.wsgi]
        named = [*_SITE_FOLDERS, *(one.static for one in apps if one.static), *programs, *(f"{one}.py" for one in programs)]
        named += [path for one in apps for path in plugin("app_checks").beside(one)]
        return dict.fromkeys(map(str, named))

    def leave_out(self, what: str, why: str) -> None:
        """Names what is not in the archive; of very many, the first 1,000."""
        if len(self.manifest["left_out"]) < 1000:
            self.manifest["left_out"][what] = why

    def providers(self, kept: Mapping[str, Provider], known: Mapping[str, Iterable[str]]) -> None:
        """What they hold: the tables that they list, or else those of the `known`, and their files.

        Files are there before a record names them and go after it. So they are taken in first, then the records at one
        moment, then the files that are new by then: of those named at that moment, only such can be missing as came and
        went in between; then it is all done again.
        """
        for provider in kept.values():
            provider.open()
        packs = {name: self._packed(name, cast(Blobs, one)) for name, one in kept.items() if _is_packed(one)}
        for _ in range(_DRAWN):
            missing = self._draw(kept, known, packs)
            if not any(missing.values()):
                break
        self.manifest["missing"] = {name: len(paths) for name, paths in missing.items() if paths}
        for what in (f"{name}: {path}" for name, paths in missing.items() for path in paths):
            self.leave_out(what, "a record names it, and there is no such file")
        for name in kept:
            self._store(name, packs.get(name))

    def _packed(self, name: str, blobs: Blobs) -> archives.Pack:
        """The files of a provider."""
        skipped = partial(self._is_backup, name)
        pack = archives.Pack(name, self._archive, self._scratch / f"{name}.files", self._step, skipped)
        deque(pack.fill(blobs, (), partial(self._leave_out_of, name)), maxlen=0)
        return pack

    def _leave_out_of(self, name: str, what: str, why: str) -> None:
        self.leave_out(f"{name}: {what}", why)

    def _draw(
        self, kept: Mapping[str, Provider], known: Mapping[str, Iterable[str]], packs: Mapping[str, archives.Pack]
    ) -> dict[str, list[str]]:
        """All records as they are at one moment, in scratch files, and new files; returns the paths that are missing."""
        shutil.rmtree(self._drawn, ignore_errors=True)
        self._drawn.mkdir()
        named, missing = Named(self._app, self._drawn / "named"), dict[str, list[str]]()
        with ExitStack() as stack:
            still = {name: stack.enter_context(_still(one, self._drawn / f"{name}.db")) for name, one in kept.items()}
            for name, provider in kept.items():
                facts: Value = {"kind": provider.kind, "tables": {}, "files": None, "database": ""}
                self.manifest["providers"][name] = facts
                facts |= self._of_records(name, provider, still[name], known.get(name, ()), named)
            for name, provider in kept.items():
                missing[name] = self._missing(name, provider, still[name], packs.get(name), named)
        return missing

    def _of_records(self, name: str, provider: Provider, still: Provider, known: Iterable[str], named: Named) -> Value:
        """What the manifest says of the records of a provider, which go to scratch files unless they are in its database."""
        if isinstance(provider, SqlProvider):
            for table in named.tables(provider) if still is not provider else ():
                self._name(named, provider, table, cast(Records, still))
        elif provider.has(Records):  # type: ignore[type-abstract]
            tables = self._records(name, provider, cast(Records, still), known, named)
            return {"at_one_moment": still is not provider, "tables": tables}
        return {}

    def _missing(
        self, name: str, provider: Provider, still: Provider, pack: archives.Pack | None, named: Named
    ) -> list[str]:
        """The paths of files that records name and that cannot be had; new ones go into the pack."""
        if pack:
            blobs = still if still.has(Blobs) else provider  # type: ignore[type-abstract]
            wanted = ([path] for path in named.of(provider))
            return list(pack.fill(cast(Blobs, blobs), wanted, partial(self._leave_out_of, name)))
        if provider.has(Blobs):  # type: ignore[type-abstract]
            return [path for path in named.of(provider) if not cast(Blobs, still).stat(path)]
        return []

    @staticmethod
    def _name(named: Named, provider: Provider, table: str, still: Records) -> None:
        for record in still.walk(Query(table)):
            named.add(provider, table, record)

    def _records(self, name: str, provider: Provider, still: Records, known: Iterable[str], named: Named) -> Value:
        """Write each table to a scratch file; returns what the manifest says of them."""
        try:
            tables = still.tables()
        except Unsupported:
            tables = sorted(known)
        found: Value = {}
        first = ("_requests", "_seals")  # no answer is kept without what it is about, and no seal without its entries
        tables = sorted(tables, key=lambda table: table not in first)
        for number, table in enumerate(tables):
            tally = plugin("copy").Tally()
            with (self._drawn / f"{name}.{number}.jsonl").open("wb") as file:
                for record in still.walk(Query(table)):
                    if reason := record.damage or damage_of(record.value):
                        self.leave_out(f"{name}: {table}/{record.key}", f"is damaged: it {reason}")
                        continue
                    line = _record_line(record)
                    file.write(line + b"\n")
                    tally.add(line, len(line))
                    named.add(provider, table, record)
                    self._step(1)
            found[table] = archives.facts_of(tally) | {"entry": f"providers/{name}/records/{number}.jsonl"}
        return found

    def _store(self, name: str, pack: archives.Pack | None) -> None:
        """Put what was drawn of a provider into the archive."""
        facts, copy = self.manifest["providers"][name], self._drawn / f"{name}.db"
        if copy.exists():
            self._archive.write(copy, f"providers/{name}/database")
            with closing(_of_copy(name, copy)) as copied:
                facts |= {"database": f"providers/{name}/database", "files": archives.files_of(copied)}
                facts["tables"] = {table: {"count": copied.count(Query(table))} for table in copied.tables()}
        for number, told in enumerate(facts["tables"].values() if not facts["database"] else ()):
            self._archive.write(self._drawn / f"{name}.{number}.jsonl", told["entry"])
        if pack:
            facts["files"] = pack.close()
            facts["folders"] = list(plugin("file_trees").empty_folders(self._app.providers[name]))

    def _is_backup(self, provider: str, path: str) -> bool:
        """Whether a file is a backup itself, beside the shares, which is not to be in the next one."""
        is_one = plugin("backup_places").is_archive(path.rpartition("/")[2].removesuffix(".partial"))
        return is_one and not any(path.startswith(prefix) for prefix in self._shared(provider))

    def _shared(self, provider: str) -> list[str]:
        """The folders of a provider that shares show."""
        config = self._app.config
        shares = [one for one in config.resources if isinstance(one, FilesConfig)]
        return [one.prefix for one in shares if config.provider_name(one.provider) == provider]


def _is_packed(provider: Provider) -> bool:
    """Whether its files go into a pack: those in SQLite are in the copy of the database."""
    return provider.has(Blobs) and not isinstance(provider, SqlProvider)  # type: ignore[type-abstract]


@contextmanager
def _still(provider: Provider, copy: Path) -> Iterator[Provider]:
    """The provider as it is at one moment; itself, if it has nothing to show that by, or nothing was written yet."""
    if isinstance(provider, SqlProvider):
        if not provider.path.exists():
            yield provider
            return
        plugin("sql_database").snapshot(provider, copy)
        with closing(_of_copy(provider.name, copy)) as copied:
            yield copied
    elif freeze := getattr(provider, "frozen", None):
        with freeze() as still:
            yield still
    else:
        yield provider


def _of_copy(name: str, copy: Path) -> SqlProvider:
    """The provider of a copied database, open."""
    with plugin("disk").for_a_while():  # it switches to a log, which would bring the whole copy to the disk at once
        copied = SqlProvider(name, {"url": f"sqlite:///{copy}"}, copy.parent)
    copied.open()
    return copied


def _stamp(at: float) -> str:
    """A moment as names of archives have it."""
    return time.strftime("%Y-%m-%dT%H%M%SZ", time.gmtime(at))


def check_folder(app: App, folder: Path) -> None:
    """Raises ConfigError if others could read what is put into a folder."""
    for fault in plugin("backup_places").folder_faults(app.config, app.providers, folder):
        raise ConfigError(fault)


def make(app: App, folder: Path, *, with_keys: bool, step: Callable[[int], None] = lambda done: None) -> Path:
    """An archive of an open site in a folder, tried out; until it is whole its name ends with ".partial"."""
    check_folder(app, folder)
    plugin("disk").make_folder(folder)
    archives.remove_left(folder, "satchel-*.zip.partial")
    step = plugin("reserve").guarded(folder, step)
    path = folder / f"satchel-{_stamp(app.clock())}.zip"
    partial = path.with_name(path.name + ".partial")
    if path.exists() or partial.exists():
        raise Conflict(f"{path.name} exists already: try again in a second")
    os.close(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
    try:
        deflated: Any = {"compression": zipfile.ZIP_DEFLATED, "compresslevel": 1, "strict_timestamps": False}
        with archives.in_use(partial), archives.scratch_in(folder) as scratch:
            with archives.SteadyFile(partial, "w") as file, zipfile.ZipFile(file, "w", **deflated) as archive:
                _write(app, Backup(app, archive, scratch, step), archive, with_keys=with_keys)
            archives.seal(partial)
            manifest = verify(partial, app.registry)
            partial.rename(path)
        plugin("disk").sync_folder(folder)
        for what, why in manifest["left_out"].items():
            LOG.warning("not in the backup: %s: %s", what, why)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise
    return path


def _write(app: App, backup: Backup, archive: zipfile.ZipFile, *, with_keys: bool) -> None:
    app.state.open()
    backup.manifest["site"] = app.site_id()
    backup.site(with_keys=with_keys)
    written = {id(one) for resource in app.resources.values() for one in stores(resource)} | {id(app.state)}
    shares = {id(share.blobs) for one in app.resources.values() if isinstance(one, Form) for share in one.shares.values()}
    kept: dict[str, Provider] = {}
    to = app.config.extensions.get("backup", {}).get("to", "").partition("/")[0]  # where backups go
    for name, provider in sorted(app.providers.items(), key=lambda item: id(item[1]) in shares):  # after who names them
        if provider.kind == "generic":
            backup.leave_out(name, "another service keeps it")
        elif id(provider) not in written:
            if name != to:
                backup.leave_out(name, "it is only read here")
        else:
            kept[name] = provider
    backup.providers(kept, app.needed())
    archive.writestr("manifest.json", dump_json(backup.manifest, indent=1))
    archive.comment = b"0" * archives.SEAL_BYTES


# ==== 3. SERVER ==================================================================================================
# server backup, backups, verify and restore.
# uses: ERRORS VALUES CONTRACTS ASSEMBLY COMMANDS RESTORE plugin:backup_job plugin:backup_places plugin:copy
# defines: Command:server_backup Command:server_backups Command:server_verify Command:server_restore give_way ServerBackup
#          ServerBackups ServerVerify ServerRestore


def give_way() -> None:
    """From here on this process works only when no other one wants to: a server may be busy on this machine."""
    with suppress(OSError):
        os.nice(19)


@contextmanager
def _plainly() -> Iterator[None]:
    """What the system refuses, in words."""
    try:
        yield
    except OSError as error:
        what = f"{error.filename or 'the backup'}: {error.strerror}"
        raise (StorageFull if error.errno in (errno.ENOSPC, errno.EDQUOT) else Unavailable)(what) from error
    except UnicodeEncodeError as error:
        raise ConfigError(f"the name of a file beside app.toml is not UTF-8: {error.object!r}") from error


_TARGET = "a folder, or PROVIDER or PROVIDER/FOLDER of app.toml (default [backup] to, else data/backups)"
_BACKUP = "path of the file, its address as server backups shows it, or its name in the default place"


def _place(target: str | None, app: App) -> Any:
    """The Place that TARGET means."""
    places = plugin("backup_places")
    if not target:
        return places.default_place(app.config, app.providers)
    return places.place_of(target, app.config, app.providers, Path.cwd())


@contextmanager
def _archive_here(backup: str, site: Site) -> Iterator[Path]:
    """The file of BACKUP, fetched if it is elsewhere. Of app.toml it needs the providers at most."""
    if backup.startswith(("/", ".")) and Path(backup).is_file():
        yield Path(backup).absolute()
        return
    with _plainly(), site.looked_at(strict=False, may_be_older=True) as app:
        place, archive = plugin("backup_places").archive_at(backup, app.config, app.providers)
        with place.here(archive, app.config.site.data) as path:
            yield path.absolute()


class ServerBackup(Command):
    """Prints the path of the archive. A server may run meanwhile."""

    kind = "server backup"
    help = "back up everything the site keeps into one file, and check it"
    epilog = """examples:
  app.pyz server backup
  app.pyz server backup --with-keys /mnt/backups"""

    def arguments(self, parser: argparse.ArgumentParser) -> None:
        parser.add_argument("target", metavar="TARGET", nargs="?", help=f"where it goes: {_TARGET}")
        keys = "with the key ring: tokens and sessions work after a restore, and whoever has the file can make some"
        parser.add_argument("--with-keys", action="store_true", help=keys)

    def run(self, args: argparse.Namespace, site: Site) -> int:
        give_way()
        with _plainly(), site.looked_at(may_be_older=True) as app, closing(plugin("copy").Bar()) as bar:
            bar.begin("backup", 0)
            place = _place(args.target, app)
            if not args.target:
                plugin("backup_job").check_mark(app, place)
            made = place.make(app, with_keys=args.with_keys, step=bar.step)
        site.print_json({"path": made.address, "size_bytes": made.size_bytes}) if args.json else site.print(made.address)
        if not args.with_keys:
            site.say("without the key ring: after a restore everybody needs a new token (--with-keys keeps them)")
        return 0


class ServerBackups(Command):
    """Those in a place, the newest first."""

    kind = "server backups"
    help = "list the backups"

    def arguments(self, parser: argparse.ArgumentParser) -> None:
        parser.add_argument("target", metavar="TARGET", nargs="?", help=f"where they are: {_TARGET}")

    def run(self, args: argparse.Namespace, site: Site) -> int:
        with _plainly(), site.looked_at(strict=False, may_be_older=True) as app:
            found = _place(args.target, app).archives()
        if args.json:
            site.print_json([{"path": one.address, "size_bytes": one.size_bytes} for one in found])
        else:
            site.print(*(f"{one.address}  {one.size_bytes / 1e6:,.1f} MB" for one in found))
            site.say(*([] if found else ["there is no backup yet: server backup makes one"]))
        return 0


class ServerVerify(Command):
    """The exit code is 6 if it is damaged."""

    kind = "server verify"
    help = "check a backup: restore it temporarily, compare every count and digest, and open it"

    def arguments(self, parser: argparse.ArgumentParser) -> None:
        parser.add_argument("backup", metavar="BACKUP", help=_BACKUP)

    def run(self, args: argparse.Namespace, site: Site) -> int:
        give_way()
        with _archive_here(args.backup, site) as path:
            manifest = verify(path)
        if args.json:
            site.print_json({"ok": True, "manifest": manifest})
        else:
            site.print(*_told(manifest))
            site.say("the backup is whole")
        return 0


def _told(manifest: Value) -> Iterator[str]:
    """Lines that say what an archive holds."""
    yield f"{manifest['title']}, {manifest['at']}"
    for name, facts in manifest["providers"].items():
        records = sum(table["count"] for table in facts["tables"].values())
        files = facts["files"]["count"] if facts["files"] else 0
        how = "" if facts.get("at_one_moment", True) else ", read one after the other"
        yield f"{name} ({facts['kind']}): {how_many(records, 'record')}, {how_many(files, 'file')}{how}"
    yield from (f"{name}: not in it, {why}" for name, why in manifest["left_out"].items())
    yield from (f"{what}: no record has it" for what in manifest.get("loose", ()))
    yield f"key ring: {manifest['keys'] or 'not in it'}"


class ServerRestore(Command):
    """Refuses a folder that is not empty, and providers outside of it that hold something."""

    kind = "server restore"
    help = "restore a backup as a site in a new folder"

    def arguments(self, parser: argparse.ArgumentParser) -> None:
        parser.add_argument("backup", metavar="BACKUP", help=_BACKUP)
        parser.add_argument("folder", metavar="DIR", help="new or empty folder")
        local = "keep everything in DIR, in SQLite and folders, and change app.toml to that"
        parser.add_argument("--local", action="store_true", help=local)

    def run(self, args: argparse.Namespace, site: Site) -> int:
        folder = Path(args.folder).absolute()
        if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            raise Conflict(f"{args.folder} is not empty: name a new folder")
        with _archive_here(args.backup, site) as path, closing(plugin("copy").Bar()) as bar:
            bar.begin("restore", 0)
            manifest = restore_into(path, folder, local=args.local, step=bar.step)
        if args.json:
            site.print_json({"folder": str(folder), "manifest": manifest})
        else:
            site.print(*_told(manifest))
            site.say(f"restored: python3 app.pyz server --config {args.folder}/app.toml serves it")
        return 0
