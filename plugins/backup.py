"""server backup, backups, verify and restore: everything that a site keeps in one file, tried out before it counts."""

from __future__ import annotations

import argparse
import dataclasses
import errno
import fcntl
import glob
import hashlib
import os
import re
import shutil
import tempfile
import time
import zipfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import IO, Any, cast

from app import (
    BUNDLED,
    CHUNK_BYTES,
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
    Insert,
    NotFound,
    Provider,
    Query,
    Record,
    Records,
    Registry,
    Site,
    SqlProvider,
    StorageFull,
    Unavailable,
    Unseen,
    Unsupported,
    Value,
    check_path,
    damage_of,
    dump_json,
    exact_number,
    how_many,
    load_json,
    load_registry,
    may_write,
    plugin,
    read_config,
    read_toml,
    stores,
)

# ==== 1. ARCHIVE =================================================================================================
# The file: a zip whose comment, its last bytes, is the digest of all bytes before: so none of them can change unnoticed.
# uses: ERRORS VALUES CONTRACTS PROVIDERS plugin:copy
# defines: FORMAT seal check_seal facts_of file_line record_line files_of scratch_in in_use remove_left

FORMAT = 1  # of what stands in an archive
_SEAL_BYTES = 64  # a sha-256 in hexadecimal


def seal(path: Path) -> None:
    """Put the digest at the end of a new archive, durably."""
    with path.open("r+b") as file:
        end = path.stat().st_size - _SEAL_BYTES
        digest = _digest(file, end)
        file.seek(end)
        file.write(digest)
        file.flush()
        os.fsync(file.fileno())


def check_seal(path: Path) -> None:
    """Raises BadRequest if a byte of an archive is not what it was."""
    with path.open("rb") as file:
        if _digest(file, max(0, path.stat().st_size - _SEAL_BYTES)) != file.read():
            raise BadRequest(f"{path.name} is damaged, or is not a backup: its checksum does not match")


def _digest(file: IO[bytes], size_bytes: int) -> bytes:
    """The sha-256 of the next bytes of a file, in hexadecimal."""
    digest = hashlib.sha256()
    while size_bytes and (chunk := file.read(min(CHUNK_BYTES, size_bytes))):
        digest.update(chunk)
        size_bytes -= len(chunk)
    return digest.hexdigest().encode()


def _chunks(file: IO[bytes]) -> Iterator[bytes]:
    return iter(lambda: file.read(CHUNK_BYTES), b"")


def facts_of(tally: Any) -> Value:
    """What the manifest says of what a Tally of plugins/copy.py counted."""
    return dataclasses.asdict(tally.side())


def file_line(path: str, size_bytes: int, sha256: str) -> bytes:
    return dump_json([path, size_bytes, sha256]).encode()


def record_line(record: Record) -> bytes:
    return dump_json([record.key, record.version, record.value]).encode()


def files_of(blobs: Blobs) -> Value:
    """How many files there are, and one digest of them all."""
    tally = plugin("copy").Tally()
    for blob in (one for one in blobs.scan() if isinstance(one, Blob)):
        digest = hashlib.sha256()
        with closing(blobs.read(blob.path)) as reader:
            for chunk in reader:
                digest.update(chunk)
        tally.add(file_line(blob.path, blob.size_bytes, digest.hexdigest()), blob.size_bytes)
    return facts_of(tally)


@contextmanager
def scratch_in(folder: Path) -> Iterator[Path]:
    """A folder for what is needed for a while, in that folder or, if nothing may be written there, among temporary files."""
    remove_left(folder, ".satchel-scratch-*")
    place = folder if may_write(folder) else None
    with tempfile.TemporaryDirectory(prefix=".satchel-scratch-", dir=place) as made, in_use(Path(made)):
        yield Path(made)


@contextmanager
def in_use(path: Path) -> Iterator[None]:
    """Says of a file or folder, until the block or this process ends, that it is no leftover."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def remove_left(folder: Path, pattern: str) -> None:
    """Remove what a process that was killed left in a folder."""
    for path in folder.glob(pattern):
        descriptor = os.open(path, os.O_RDONLY)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:  # another one is at work on it
            continue
        finally:
            os.close(descriptor)
        shutil.rmtree(path, ignore_errors=True) if path.is_dir() else path.unlink(missing_ok=True)


# ==== 2. RESTORE =================================================================================================
# From an archive to a folder that can be served, and what is compared before an archive counts.
# uses: ERRORS VALUES CONFIG CONTRACTS PROVIDERS PLUGINS ASSEMBLY COMMANDS ARCHIVE plugin:copy plugin:disk
#       plugin:reserve plugin:sql_database
# defines: Restore restore_into verify

_HEADER = re.compile(r"\s*\[\[?\s*([^\]]+?)\s*\]")
_NOT_LOCAL = ("backup", "audit")  # tables of app.toml: a copy of a site must not take the place of its backups


class Restore:
    """Puts what an archive holds into a new folder."""

    def __init__(self, path: Path, folder: Path, registry: Registry | None = None) -> None:
        """Raises BadRequest if the archive is damaged or of another version. `registry` is that of its plugins, if known."""
        check_seal(path)
        try:
            self._archive = zipfile.ZipFile(path)
            self.manifest: Value = load_json(self._archive.read("manifest.json").decode())
        except (zipfile.BadZipFile, KeyError, UnicodeDecodeError) as error:
            raise BadRequest(f"{path.name} is no backup: {error}") from error
        if not isinstance(self.manifest, dict) or self.manifest.get("format") != FORMAT:
            raise BadRequest(f"{path.name} is not of the format that this Satchel reads, which is {FORMAT}")
        self.folder, self._registry, self._moment = Path(os.path.realpath(folder)), registry, 0.0

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
        config = read_config(raw, self.folder, "app.toml", self.registry.provider_settings, self.registry.tables)
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
            hint = "write each provider as a table [providers.NAME], and data as a line of [site], before the backup"
            raise ConfigError("app.toml is written in a way that --local cannot change", hint=hint)
        return changed

    def providers(self, config: Config, step: Callable[[int], None]) -> None:
        """Put back what each of them held. Raises Conflict, before anything is written, if one of them holds something."""
        made = {name: self._made(name, config) for name in self.manifest["providers"]}
        try:
            for name, provider in made.items():
                self._check_place(name, provider)
            for name, provider in made.items():
                self._fill(name, provider, step)
        finally:
            for provider in made.values():
                provider.close()

    def _made(self, name: str, config: Config) -> Provider:
        declared = config.providers[name]
        cls: Any = self.registry.of(Provider)[declared.kind]  # type: ignore[type-abstract]
        keeps_times = {"clock": lambda: self._moment} if declared.kind in ("sql", "file") else {}
        return cast(Provider, cls(name, declared.options, config.folder, **keeps_times))

    def _check_place(self, name: str, provider: Provider) -> None:
        if not all(map(self._is_inside, provider.places())):
            raise Conflict(f"provider {name} is outside of the new folder: use --local, which puts it inside")
        facts = self.manifest["providers"][name]
        if facts["database"]:
            if cast(SqlProvider, provider).path.exists():
                raise Conflict(f"provider {name} has a database already: two providers must not share one")
            return
        provider.open()
        provider.create(dict.fromkeys(facts["tables"], ()))
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
                plugin("disk").replace_file(path, _chunks(file))
            return
        for table, told in facts["tables"].items():
            self._insert(cast(Records, provider), table, told["entry"], step)
        if facts["files"]:
            for modified_at, blob, entry in sorted(self._listed(facts["files"]["entry"])):
                self._moment = modified_at
                with self._archive.open(entry) as file:
                    cast(Blobs, provider).write(blob, _chunks(file))
                step(1)

    def _listed(self, entry: str) -> Iterator[tuple[float, str, str]]:
        with self._archive.open(entry) as file:
            for line in file:
                path, inner, modified_at = load_json(line.decode())
                yield float(modified_at), path, inner

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
                    self._same(f"{name}: files", facts["files"], files_of(cast(Blobs, provider)))
                if isinstance(provider, SqlProvider) and (fault := plugin("sql_database").integrity(provider)):
                    raise BadRequest(f"{name}: the database is damaged: {fault}")

    @staticmethod
    def _same(what: str, told: Value, found: Value) -> None:
        if told != (found | {"entry": told["entry"]} if "entry" in told else found):
            raise BadRequest(f"the backup is not whole: {what} should be {told} and is {found}")


def _table(records: Records, table: str, *, counts: bool) -> Value:
    """What the manifest says of a table."""
    if counts:
        return {"count": records.count(Query(table))}
    tally = plugin("copy").Tally()
    for record in records.walk(Query(table)):
        line = record_line(record)
        tally.add(line, len(line))
    return facts_of(tally)


def restore_into(path: Path, folder: Path, *, local: bool, step: Callable[[int], None] = lambda done: None) -> Value:
    """A site in a new or empty folder, which has another name until it is whole; returns the manifest."""
    partial = folder.with_name(folder.name + ".partial")
    remove_left(folder.parent, glob.escape(partial.name))
    if partial.exists():
        raise Conflict(f"{partial.name} exists: another restore seems to be running")
    plugin("disk").make_folder(folder.parent)
    partial.mkdir(mode=0o700)
    try:
        with in_use(partial), closing(Restore(path, partial)) as restore:
            config = restore.site(local=local)
            restore.providers(config, step)
            restore.compare(config)
            plugin("disk").sync_tree(partial)
            partial.rename(folder)
        plugin("disk").sync_folder(folder.parent)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise
    return restore.manifest


def verify(path: Path, registry: Registry | None = None) -> Value:
    """Restore an archive for a while, compare it with its manifest, and open it; returns the manifest."""
    with scratch_in(path.parent) as scratch, closing(Restore(path, scratch, registry)) as restore:
        config = restore.site(alone=True)
        restore.providers(config, lambda done: None)
        restore.compare(config)
        app = App(config, restore.registry)
        with closing(app):
            app.open()
        return restore.manifest


# ==== 3. BACKUP ==================================================================================================
# From an open site to an archive.
# uses: ERRORS VALUES CONFIG CONTRACTS PROVIDERS ASSEMBLY ARCHIVE RESTORE plugin:backup_places plugin:copy
#       plugin:disk plugin:reserve plugin:sql_database
# defines: Backup check_folder make

_SITE_FOLDERS = ("templates", "plugins")  # beside app.toml


class Backup:
    """Writes what a site keeps into an archive; `manifest` says what that was."""

    def __init__(self, app: App, archive: zipfile.ZipFile, scratch: Path, step: Callable[[int], None]) -> None:
        """`step` is called with the number of records and bytes of files that were written."""
        self._app, self._archive, self._scratch, self._step = app, archive, scratch, step
        self.manifest: Value = {
            "format": FORMAT, "at": _stamp(app.clock()), "title": app.title, "keys": "", "providers": {}, "left_out": {},
        }  # fmt: skip

    def site(self, *, with_keys: bool) -> None:
        """app.toml and what stands beside it; the key ring only if that is wanted."""
        config = self._app.config
        beside = config.folder / config.origin
        starter = BUNDLED / "templates" / "starter.toml"
        self._archive.write(beside if beside.is_file() else starter, "app.toml")
        apps = [one for one in config.resources if isinstance(one, AppConfig)]
        programs = [one.wsgi.partition(":")[0].partition(".")[0] for one in apps if one.wsgi]
        named = [*_SITE_FOLDERS, *(one.static for one in apps if one.static), *programs, *(f"{one}.py" for one in programs)]
        for name in dict.fromkeys(map(str, named)):
            top = config.folder / name
            for path in [top] if top.is_file() else sorted(top.rglob("*")):
                inner = os.path.relpath(path, config.folder)
                if path.is_file() and "__pycache__" not in path.parts and not inner.startswith(".."):
                    self._archive.write(path, f"site/{inner}")
        for setting in (name for name in ("tls_cert", "tls_key") if getattr(config.http, name)):
            self.leave_out(f"[http] {setting}", "copy it yourself")
        if config.auth.keys:
            self.manifest["keys"] = "elsewhere: see [auth] keys"
        elif with_keys:
            _ = self._app.authority.keys.keys  # which makes them at first use
            self._archive.write(config.site.data / "keys.json", "keys.json")
            self.manifest["keys"] = "keys.json"

    def leave_out(self, what: str, why: str) -> None:
        """Names what is not in the archive; of very many, the first 1,000."""
        if len(self.manifest["left_out"]) < 1000:
            self.manifest["left_out"][what] = why

    def provider(self, name: str, provider: Provider, known: Iterable[str]) -> None:
        """What a provider holds: the tables it lists, or else those of the `known` that hold something, and its files."""
        facts: Value = {"kind": provider.kind, "tables": {}, "files": None, "database": ""}
        self.manifest["providers"][name] = facts
        if isinstance(provider, SqlProvider) and not provider.path.exists():
            return  # nothing was written yet
        if isinstance(provider, SqlProvider):
            copy = self._scratch / "database"
            plugin("sql_database").snapshot(provider, copy)
            self._archive.write(copy, f"providers/{name}/database")
            copied = SqlProvider(name, {"url": "sqlite:///database"}, self._scratch)
            copied.open()
            with closing(copied):
                facts |= {"database": f"providers/{name}/database", "files": files_of(copied)}
                facts["tables"] = {table: {"count": copied.count(Query(table))} for table in copied.tables()}
            for path in self._scratch.iterdir():
                path.unlink()
            return
        if provider.has(Records):  # type: ignore[type-abstract]
            facts["tables"] = self._records(name, cast(Records, provider), known)
        if provider.has(Blobs):  # type: ignore[type-abstract]
            facts["files"] = self._blobs(name, cast(Blobs, provider))

    def _records(self, name: str, records: Records, known: Iterable[str]) -> Value:
        try:
            tables = records.tables()
        except Unsupported:
            tables = sorted(known)
        found: Value = {}
        tables = sorted(tables, key=lambda table: table != "_requests")  # first: no answer is kept without what it is about
        for number, table in enumerate(tables):
            tally = plugin("copy").Tally()
            with self._archive.open(f"providers/{name}/records/{number}.jsonl", "w", force_zip64=True) as file:
                for record in records.walk(Query(table)):
                    if reason := record.damage or damage_of(record.value):
                        self.leave_out(f"{name}: {table}/{record.key}", f"is damaged: it {reason}")
                        continue
                    line = record_line(record)
                    file.write(line + b"\n")
                    tally.add(line, len(line))
                    self._step(1)
            found[table] = facts_of(tally) | {"entry": f"providers/{name}/records/{number}.jsonl"}
        return found

    def _blobs(self, name: str, blobs: Blobs) -> Value:
        """The files, and a list of them: what each is called in the archive is a number, since a path may be anything."""
        tally, at = plugin("copy").Tally(), f"providers/{name}/files"
        listed = self._scratch / "files.jsonl"
        with listed.open("wb") as listing:
            for number, blob in enumerate(self._seen(name, blobs)):
                digest, size_bytes = hashlib.sha256(), 0
                try:
                    reader = blobs.read(blob.path)
                except NotFound:  # removed meanwhile
                    continue
                with self._archive.open(f"{at}/{number}", "w", force_zip64=True) as file, closing(reader):
                    for chunk in reader:
                        file.write(chunk)
                        digest.update(chunk)
                        size_bytes += len(chunk)
                        self._step(len(chunk))
                tally.add(file_line(blob.path, size_bytes, digest.hexdigest()), size_bytes)
                listing.write(dump_json([blob.path, f"{at}/{number}", blob.modified_at]).encode() + b"\n")
        self._archive.write(listed, f"{at}.jsonl")
        listed.unlink()
        return facts_of(tally) | {"entry": f"{at}.jsonl"}

    def _seen(self, name: str, blobs: Blobs) -> Iterator[Blob]:
        """All files; what cannot be looked at is named."""
        for one in blobs.scan():
            if isinstance(one, Unseen):
                self.leave_out(f"{name}: {one.path}", one.problem)
            elif isinstance(one, Blob) and not self._is_backup(name, one.path):
                yield one

    def _is_backup(self, provider: str, path: str) -> bool:
        """Whether a file is a backup itself, beside the shares, which is not to be in the next one."""
        is_one = plugin("backup_places").is_archive(path.rpartition("/")[2].removesuffix(".partial"))
        return is_one and not any(path.startswith(prefix) for prefix in self._shared(provider))

    def _shared(self, provider: str) -> list[str]:
        """The folders of a provider that shares show."""
        config = self._app.config
        shares = [one for one in config.resources if isinstance(one, FilesConfig)]
        return [one.prefix for one in shares if config.provider_name(one.provider) == provider]


def _stamp(at: float) -> str:
    """A moment as names of archives have it."""
    return time.strftime("%Y-%m-%dT%H%M%SZ", time.gmtime(at))


def check_folder(app: App, folder: Path) -> None:
    """Raises ConfigError if others could read what is put into a folder."""
    for fault in plugin("backup_places").folder_faults(app.providers, folder):
        raise ConfigError(fault)


def make(app: App, folder: Path, *, with_keys: bool, step: Callable[[int], None] = lambda done: None) -> Path:
    """An archive of an open site in a folder, tried out; until it is whole its name ends with ".partial"."""
    check_folder(app, folder)
    plugin("disk").make_folder(folder)
    remove_left(folder, "satchel-*.zip.partial")
    step = plugin("reserve").guarded(folder, step)
    path = folder / f"satchel-{_stamp(app.clock())}.zip"
    partial = path.with_name(path.name + ".partial")
    if path.exists() or partial.exists():
        raise Conflict(f"{path.name} exists already: try again in a second")
    os.close(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
    try:
        deflated: Any = {"compression": zipfile.ZIP_DEFLATED, "compresslevel": 1, "strict_timestamps": False}
        with in_use(partial), scratch_in(folder) as scratch:
            with zipfile.ZipFile(partial, "w", **deflated) as archive:
                _write(app, Backup(app, archive, scratch, step), archive, with_keys=with_keys)
            seal(partial)
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
    kept = {id(one) for resource in app.resources.values() for one in stores(resource)} | {id(app.state)}
    needed, to = app.needed(), app.config.extensions.get("backup", {}).get("to", "")
    for name, provider in app.providers.items():
        if provider.kind == "generic":
            backup.leave_out(name, "another service keeps it")
        elif id(provider) not in kept:
            if name != to.partition("/")[0]:  # where backups go
                backup.leave_out(name, "it is only read here")
        else:
            provider.open()
            backup.provider(name, provider, needed.get(name, {}))
    archive.writestr("manifest.json", dump_json(backup.manifest, indent=1))
    archive.comment = b"0" * _SEAL_BYTES


# ==== 4. SERVER ==================================================================================================
# server backup, backups, verify and restore.
# uses: ERRORS VALUES CONTRACTS ASSEMBLY RESTORE plugin:backup_places plugin:copy
# defines: Command:server_backup Command:server_backups Command:server_verify Command:server_restore ServerBackup
#          ServerBackups ServerVerify ServerRestore


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
    with _plainly(), site.looked_at(strict=False) as app:
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
        with _plainly(), site.looked_at() as app, closing(plugin("copy").Bar()) as bar:
            bar.begin("backup", 0)
            made = _place(args.target, app).make(app, with_keys=args.with_keys, step=bar.step)
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
        with _plainly(), site.looked_at(strict=False) as app:
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
        yield f"{name} ({facts['kind']}): {how_many(records, 'record')}, {how_many(files, 'file')}"
    yield from (f"{name}: not in it, {why}" for name, why in manifest["left_out"].items())
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
