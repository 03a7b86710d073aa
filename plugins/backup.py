"""server backup, backups, verify and restore: everything that a site keeps in one file, tried out before it counts."""

from __future__ import annotations

import argparse
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
    App,
    BadRequest,
    Blob,
    Blobs,
    Command,
    Config,
    ConfigError,
    Conflict,
    Insert,
    NotFound,
    Provider,
    Query,
    Record,
    Records,
    Registry,
    Site,
    SqlProvider,
    Unseen,
    Unsupported,
    Value,
    check_path,
    damage_of,
    dump_json,
    how_many,
    load_json,
    load_registry,
    load_site,
    may_write,
    plugin,
    stores,
)

# ==== 1. ARCHIVE =================================================================================================
# The file: a zip whose comment, its last bytes, is the digest of all bytes before: so none of them can change unnoticed.
# uses: ERRORS VALUES CONTRACTS PROVIDERS
# defines: FORMAT seal check_seal Tally record_line blobs_of files_of scratch_in in_use remove_left

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
            raise BadRequest(f"{path.name} is damaged or is no backup: its last bytes are not the digest of all before them")


def _digest(file: IO[bytes], size_bytes: int) -> bytes:
    """The sha-256 of the next bytes of a file, in hexadecimal."""
    digest = hashlib.sha256()
    while size_bytes and (chunk := file.read(min(CHUNK_BYTES, size_bytes))):
        digest.update(chunk)
        size_bytes -= len(chunk)
    return digest.hexdigest().encode()


def _chunks(file: IO[bytes]) -> Iterator[bytes]:
    return iter(lambda: file.read(CHUNK_BYTES), b"")


class Tally:
    """How much there is of something, and one digest of all of it in order."""

    def __init__(self) -> None:
        self.count, self.size_bytes, self._digest = 0, 0, hashlib.sha256()

    def add(self, line: bytes, size_bytes: int) -> None:
        self.count, self.size_bytes = self.count + 1, self.size_bytes + size_bytes
        self._digest.update(line + b"\n")

    def facts(self) -> Value:
        return {"count": self.count, "size_bytes": self.size_bytes, "sha256": self._digest.hexdigest()}


def record_line(record: Record) -> bytes:
    return dump_json([record.key, record.version, record.value]).encode()


def blobs_of(blobs: Blobs) -> Iterator[Blob]:
    """All files. Raises ConfigError for what cannot be looked at: a backup without it would pass for a whole one."""
    for one in blobs.scan():
        if isinstance(one, Unseen):
            raise ConfigError(f"{one.path} cannot be backed up: {one.problem}")
        if isinstance(one, Blob):
            yield one


def files_of(blobs: Blobs) -> Value:
    """How many files there are, and one digest of them all."""
    tally = Tally()
    for blob in blobs_of(blobs):
        digest = hashlib.sha256()
        with closing(blobs.read(blob.path)) as reader:
            for chunk in reader:
                digest.update(chunk)
        tally.add(dump_json([blob.path, blob.size_bytes, digest.hexdigest()]).encode(), blob.size_bytes)
    return tally.facts()


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
# uses: ERRORS VALUES CONFIG CONTRACTS PROVIDERS PLUGINS ASSEMBLY COMMANDS ARCHIVE plugin:disk
# defines: Restore restore_into verify

_HEADER = re.compile(r"\s*\[\[?\s*([^\]]+?)\s*\]")


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
        if self.manifest.get("format") != FORMAT:
            raise BadRequest(f"{path.name} is of format {self.manifest.get('format')}, and this Satchel reads {FORMAT}")
        self.folder, self._registry, self._moment = folder, registry, 0.0

    def close(self) -> None:
        self._archive.close()

    def site(self, *, local: bool) -> Config:
        """Write app.toml, what stood beside it and the key ring, and return what app.toml then says."""
        text = self._archive.read("app.toml").decode()
        (self.folder / "app.toml").write_text(self._localized(text) if local else text, "utf-8")
        for name in self._archive.namelist():
            if name.startswith("site/"):
                path = self.folder / check_path(name.split("/")[1:])  # the digest is no signature
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(self._archive.read(name))
        registry = self._registry or load_registry(self.folder)
        options = {"config": str(self.folder / "app.toml"), "data": None, "bind": None, "workers": None}
        config, self.registry = load_site(argparse.Namespace(**options, registry=registry))
        data = config.site.data
        if not data.is_relative_to(self.folder):
            raise ConfigError(f"its data folder is {data}, outside of {self.folder}: use --local, which puts it inside")
        if "keys.json" in self._archive.namelist():
            data.mkdir(mode=0o700, parents=True, exist_ok=True)
            plugin("disk").replace_file(data / "keys.json", [self._archive.read("keys.json")])
        return config

    def _localized(self, text: str) -> str:
        """app.toml with providers in its own folder alone: an SQLite database or a folder each."""
        lines, skips, seen = list[str](), False, set[str]()
        table: tuple[str, ...] = ()
        for line in text.splitlines():
            if header := _HEADER.match(line):
                table = tuple(part.strip().strip("\"'") for part in header[1].split("."))
                name = table[1] if table[0] == "providers" and len(table) > 1 else ""
                skips = name in self.manifest["providers"]
                if skips and name not in seen:
                    seen.add(name)
                    lines += [line, *self._local_lines(name), ""]
            if not skips and not (table == ("site",) and re.match(r"\s*data\s*=", line)):
                lines.append(line)
        if missing := sorted(self.manifest["providers"].keys() - seen):
            raise ConfigError(f"app.toml declares the provider {missing[0]} in a way that --local cannot change")
        return "\n".join(lines) + "\n"

    def _local_lines(self, name: str) -> list[str]:
        facts = self.manifest["providers"][name]
        if facts["kind"] == "file":
            return ['kind = "file"', f'root = "data/{name}"']
        return ['kind = "sql"', f'url = "sqlite:///data/{name}.db"']

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
        if any(not place.is_relative_to(self.folder) for place in provider.places()):
            raise Conflict(f"provider {name} is outside of {self.folder}: use --local, which puts it inside")
        facts = self.manifest["providers"][name]
        if facts["database"]:
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
                if isinstance(provider, SqlProvider) and (fault := provider.integrity()):
                    raise BadRequest(f"{name}: the database is damaged: {fault}")

    @staticmethod
    def _same(what: str, told: Value, found: Value) -> None:
        if told != (found | {"entry": told["entry"]} if "entry" in told else found):
            raise BadRequest(f"the backup is not whole: {what} should be {told} and is {found}")


def _table(records: Records, table: str, *, counts: bool) -> Value:
    """What the manifest says of a table."""
    if counts:
        return {"count": records.count(Query(table))}
    tally = Tally()
    for record in records.walk(Query(table)):
        line = record_line(record)
        tally.add(line, len(line))
    return tally.facts()


def restore_into(path: Path, folder: Path, *, local: bool, step: Callable[[int], None] = lambda done: None) -> Value:
    """A site in a new or empty folder, which has another name until it is whole; returns the manifest."""
    partial = folder.with_name(folder.name + ".partial")
    remove_left(folder.parent, glob.escape(partial.name))
    if partial.exists():
        raise Conflict(f"{partial.name} is there: is another restore at work?")
    partial.mkdir(mode=0o700, parents=True)
    try:
        with in_use(partial), closing(Restore(path, partial)) as restore:
            config = restore.site(local=local)
            restore.providers(config, step)
            restore.compare(config)
            partial.rename(folder)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise
    return restore.manifest


def verify(path: Path, registry: Registry | None = None) -> Value:
    """Restore an archive for a while, compare it with its manifest, and open it; returns the manifest."""
    with scratch_in(path.parent) as scratch, closing(Restore(path, scratch, registry)) as restore:
        config = restore.site(local=True)
        restore.providers(config, lambda done: None)
        restore.compare(config)
        app = App(config, restore.registry)
        with closing(app):
            app.open()
        return restore.manifest


# ==== 3. BACKUP ==================================================================================================
# From an open site to an archive.
# uses: ERRORS VALUES CONTRACTS PROVIDERS ASSEMBLY ARCHIVE RESTORE plugin:disk
# defines: Backup make

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
        for folder in _SITE_FOLDERS:
            for path in sorted((config.folder / folder).rglob("*")):
                if path.is_file() and "__pycache__" not in path.parts:
                    self._archive.write(path, f"site/{path.relative_to(config.folder).as_posix()}")
        if config.auth.keys:
            self.manifest["keys"] = "elsewhere: see [auth] keys"
        elif with_keys:
            self._archive.write(config.site.data / "keys.json", "keys.json")
            self.manifest["keys"] = "keys.json"

    def provider(self, name: str, provider: Provider, known: Iterable[str]) -> None:
        """What a provider holds: the tables it lists, or else those of the `known` that hold something, and its files."""
        facts: Value = {"kind": provider.kind, "tables": {}, "files": None, "database": ""}
        self.manifest["providers"][name] = facts
        if isinstance(provider, SqlProvider):
            copy = self._scratch / "database"
            provider.snapshot(copy)
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
        for number, table in enumerate(tables):
            tally = Tally()
            with self._archive.open(f"providers/{name}/records/{number}.jsonl", "w", force_zip64=True) as file:
                for record in records.walk(Query(table)):
                    if reason := record.damage or damage_of(record.value):
                        raise ConfigError(f"{name}: {table}/{record.key} is damaged, so it cannot be backed up: it {reason}")
                    line = record_line(record)
                    file.write(line + b"\n")
                    tally.add(line, len(line))
                    self._step(1)
            found[table] = tally.facts() | {"entry": f"providers/{name}/records/{number}.jsonl"}
        return found

    def _blobs(self, name: str, blobs: Blobs) -> Value:
        """The files, and a list of them: what each is called in the archive is a number, since a path may be anything."""
        tally, at = Tally(), f"providers/{name}/files"
        listed = self._scratch / "files.jsonl"
        with listed.open("wb") as listing:
            for number, blob in enumerate(blobs_of(blobs)):
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
                tally.add(dump_json([blob.path, size_bytes, digest.hexdigest()]).encode(), size_bytes)
                listing.write(dump_json([blob.path, f"{at}/{number}", blob.modified_at]).encode() + b"\n")
        self._archive.write(listed, f"{at}.jsonl")
        listed.unlink()
        return tally.facts() | {"entry": f"{at}.jsonl"}


def _stamp(at: float) -> str:
    """A moment as names of archives have it."""
    return time.strftime("%Y-%m-%dT%H%M%SZ", time.gmtime(at))


def make(app: App, folder: Path, *, with_keys: bool, step: Callable[[int], None] = lambda done: None) -> Path:
    """An archive of an open site in a folder, tried out; until it is whole its name ends with ".partial"."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    remove_left(folder, "satchel-*.zip.partial")
    path = folder / f"satchel-{_stamp(app.clock())}.zip"
    partial = path.with_name(path.name + ".partial")
    if path.exists() or partial.exists():
        raise Conflict(f"{path.name} is there already, or being made: a backup a second is enough")
    os.close(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
    try:
        deflated: Any = {"compression": zipfile.ZIP_DEFLATED, "compresslevel": 1, "strict_timestamps": False}
        with in_use(partial), scratch_in(folder) as scratch:
            with zipfile.ZipFile(partial, "w", **deflated) as archive:
                _write(app, Backup(app, archive, scratch, step), archive, with_keys=with_keys)
            seal(partial)
            verify(partial, app.registry)
            partial.rename(path)
        plugin("disk").sync_folder(folder)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise
    return path


def _write(app: App, backup: Backup, archive: zipfile.ZipFile, *, with_keys: bool) -> None:
    backup.site(with_keys=with_keys)
    kept = {id(one) for resource in app.resources.values() for one in stores(resource)} | {id(app.state)}
    needed = app.needed()
    for name, provider in app.providers.items():
        if provider.kind == "generic":
            backup.manifest["left_out"][name] = "another service keeps it"
        elif id(provider) not in kept:
            backup.manifest["left_out"][name] = "it is only read here"
        else:
            provider.open()
            backup.provider(name, provider, needed.get(name, {}))
    archive.writestr("manifest.json", dump_json(backup.manifest, indent=1))
    archive.comment = b"0" * _SEAL_BYTES


# ==== 4. SERVER ==================================================================================================
# server backup, backups, verify and restore.
# uses: ERRORS VALUES CONTRACTS RESTORE BACKUP plugin:copy
# defines: Command:server_backup Command:server_backups Command:server_verify Command:server_restore ServerBackup
#          ServerBackups ServerVerify ServerRestore


def _backups(folder: Path) -> list[Path]:
    """The archives of a folder that are whole, the newest first."""
    return sorted(folder.glob("satchel-*.zip"), reverse=True)


def _named(backup: str, site: Site) -> Path:
    """The archive of that path, or of that name in data/backups."""
    path = Path(backup)
    if not path.is_file() and path.name == backup:
        path = site.config.site.data / "backups" / backup
    if not path.is_file():
        raise NotFound(f"there is no backup {backup}: server backups lists those that there are")
    return path


class ServerBackup(Command):
    """Prints the path of the archive. A server may run meanwhile."""

    kind = "server backup"
    help = "put everything that the site keeps into one file, and try it out"
    epilog = """examples:
  app.pyz server backup
  app.pyz server backup --with-keys /mnt/backups"""

    def arguments(self, parser: argparse.ArgumentParser) -> None:
        parser.add_argument("target", metavar="TARGET", nargs="?", help="folder that receives it (default data/backups)")
        keys = "with the key ring: tokens and sessions work after a restore, and whoever has the file can make some"
        parser.add_argument("--with-keys", action="store_true", help=keys)

    def run(self, args: argparse.Namespace, site: Site) -> int:
        folder = Path(args.target) if args.target else site.config.site.data / "backups"
        with site.looked_at() as app, closing(plugin("copy").Bar()) as bar:
            bar.begin("backup", 0)
            path = make(app, folder.absolute(), with_keys=args.with_keys, step=bar.step)
        site.print_json({"path": str(path), "size_bytes": path.stat().st_size}) if args.json else site.print(str(path))
        if not args.with_keys:
            site.say("without the key ring: after a restore everybody needs a new token (--with-keys keeps them)")
        return 0


class ServerBackups(Command):
    """Those in a folder, the newest first."""

    kind = "server backups"
    help = "list the backups"

    def arguments(self, parser: argparse.ArgumentParser) -> None:
        parser.add_argument("target", metavar="TARGET", nargs="?", help="folder that has them (default data/backups)")

    def run(self, args: argparse.Namespace, site: Site) -> int:
        found = _backups(Path(args.target) if args.target else site.config.site.data / "backups")
        if args.json:
            site.print_json([{"path": str(path), "size_bytes": path.stat().st_size} for path in found])
        else:
            site.print(*(f"{path}  {path.stat().st_size / 1e6:,.1f} MB" for path in found))
            site.say(*([] if found else ["there is no backup yet: server backup makes one"]))
        return 0


class ServerVerify(Command):
    """The exit code is 6 if it is damaged."""

    kind = "server verify"
    help = "restore a backup for a while, compare every count and digest, and open it"

    def arguments(self, parser: argparse.ArgumentParser) -> None:
        parser.add_argument("backup", metavar="BACKUP", help="path of the file, or its name in data/backups")

    def run(self, args: argparse.Namespace, site: Site) -> int:
        manifest = verify(_named(args.backup, site).absolute())
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
    help = "make a site of a backup, in a new folder"

    def arguments(self, parser: argparse.ArgumentParser) -> None:
        parser.add_argument("backup", metavar="BACKUP", help="path of the file, or its name in data/backups")
        parser.add_argument("folder", metavar="DIR", help="new or empty folder")
        local = "keep everything in DIR, in SQLite and folders, and change app.toml to that"
        parser.add_argument("--local", action="store_true", help=local)

    def run(self, args: argparse.Namespace, site: Site) -> int:
        path, folder = _named(args.backup, site).absolute(), Path(args.folder).absolute()
        if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            raise Conflict(f"{args.folder} is not empty: name a new folder")
        with closing(plugin("copy").Bar()) as bar:
            bar.begin("restore", 0)
            manifest = restore_into(path, folder, local=args.local, step=bar.step)
        if args.json:
            site.print_json({"folder": str(folder), "manifest": manifest})
        else:
            site.print(*_told(manifest))
            site.say(f"restored: python3 app.pyz server --config {args.folder}/app.toml serves it")
        return 0
