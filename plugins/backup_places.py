"""Where backups go: a folder, or a folder inside a provider with Blobs."""

from __future__ import annotations

import hashlib
import io
import os
import re
import secrets
import zipfile
import zlib
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, closing, contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple, cast

from app import (
    CHUNK_BYTES,
    App,
    AppConfig,
    AppError,
    BadRequest,
    Blob,
    Blobs,
    Config,
    ConfigError,
    Conflict,
    Fault,
    FilesConfig,
    FormConfig,
    NotFound,
    Provider,
    SqlProvider,
    Unavailable,
    Value,
    check_path,
    load_json,
    nearest,
    plugin,
)

# ==== 1. PLACES ==================================================================================================
# What a TARGET on the command line and `[backup] to` mean, and what is stored, listed, read and removed there.
# uses: ERRORS VALUES CONFIG CONTRACTS PROVIDERS ASSEMBLY plugin:backup plugin:disk plugin:archives plugin:reserve
# defines: FOLDER is_archive Archive Place FolderPlace BlobsPlace place_of default_place archive_at place_faults
#          folder_faults

FOLDER = "backups"  # inside a provider, where none is named
_MARK = ".satchel-backups"  # in a folder
_STALE_S = 86400.0  # a part that arrived longer ago is of a backup that was killed
# What reading a damaged zip may raise.
_UNREADABLE = (OSError, ValueError, KeyError, EOFError, RuntimeError, zipfile.BadZipFile, zlib.error)
_ARCHIVE = re.compile(r"satchel-\d{4}-\d\d-\d\dT\d{6}Z\.zip")


def is_archive(name: str) -> bool:
    """Whether a file is called as a whole backup is."""
    return _ARCHIVE.fullmatch(name) is not None


class Archive(NamedTuple):
    """A whole backup: its name, and what to write for BACKUP on the command line."""

    name: str
    address: str
    size_bytes: int


class Place(ABC):
    """Somewhere that keeps backups; `on_disk` is its folder, if it is one of this machine."""

    on_disk: Path | None = None

    @abstractmethod
    def check(self, app: App) -> None:
        """Raises ConfigError if a backup there would be shown to others, or be part of the next one."""

    @abstractmethod
    def make(self, app: App, **options: Any) -> Archive:
        """Back up an open site to there; `options` are those of make() in plugins/backup.py."""

    def check_mark(self, known: Value | None) -> None:
        """Raises Unavailable if it is not the folder in which `known`, what mark() returned before, was left: a disk that is
        not mounted leaves an empty one, which is on the disk of the system."""
        if known and self.on_disk and known["folder"] == str(self.on_disk) and self._marked() != known["mark"]:
            raise Unavailable(
                "the folder for backups is not the one that had them before: is its disk mounted?",
                hint=f"{self.on_disk / _MARK} should hold {known['mark']}: put it there to use the folder as it is now",
            )

    def mark(self) -> Value | None:
        """Leave something in its folder by which that is known again; returns what check_mark() takes then."""
        if self.on_disk is None:
            return None
        if not (mark := self._marked()):
            mark = secrets.token_hex(8)
            plugin("disk").replace_file(self.on_disk / _MARK, [f"{mark}\n".encode()])
        return {"folder": str(self.on_disk), "mark": mark}

    def _marked(self) -> str:
        """The mark that is there; "" if there is none."""
        try:
            return (cast(Path, self.on_disk) / _MARK).read_text("utf-8").strip()
        except (OSError, UnicodeDecodeError):
            return ""

    @abstractmethod
    def archives(self) -> list[Archive]:
        """Those that are whole, the newest first; none if the place is missing."""

    @abstractmethod
    def here(self, archive: Archive, scratch: Path) -> AbstractContextManager[Path]:
        """The archive as a file of this machine; if it has to be fetched, it is kept in the folder `scratch` meanwhile."""

    @abstractmethod
    def remove(self, archive: Archive) -> None: ...

    @abstractmethod
    def reading(self, archive: Archive) -> Any:
        """A file to read and seek in."""

    def manifest(self, archive: Archive) -> Value:
        """What its manifest says; {} if it cannot be read, as it is damaged or no backup."""
        try:
            with closing(self.reading(archive)) as file, zipfile.ZipFile(file) as opened:
                manifest = load_json(opened.read("manifest.json").decode())
        except (*_UNREADABLE, BadRequest, NotFound):
            return {}
        return manifest if isinstance(manifest, dict) else {}


class FolderPlace(Place):
    """A folder of this machine."""

    def __init__(self, folder: Path) -> None:
        self.folder = self.on_disk = folder

    def check(self, app: App) -> None:
        plugin("backup").check_folder(app, self.folder)

    def make(self, app: App, **options: Any) -> Archive:
        path = plugin("backup").make(app, self.folder, **options)
        return Archive(path.name, str(path), path.stat().st_size)

    def archives(self) -> list[Archive]:
        found = [path for path in self.folder.glob("satchel-*.zip") if is_archive(path.name)]
        return [Archive(path.name, str(path), path.stat().st_size) for path in sorted(found, reverse=True)]

    @contextmanager
    def here(self, archive: Archive, scratch: Path) -> Iterator[Path]:
        yield self.folder / archive.name

    def remove(self, archive: Archive) -> None:
        (self.folder / archive.name).unlink(missing_ok=True)
        plugin("disk").sync_folder(self.folder)

    def reading(self, archive: Archive) -> Any:
        return (self.folder / archive.name).open("rb")


class BlobsPlace(Place):
    """A folder inside a provider."""

    def __init__(self, name: str, provider: Provider, folder: str) -> None:
        """Raises ConfigError if the provider keeps no files, or cannot list them."""
        if not provider.has(Blobs) or not cast(Blobs, provider).lists:  # type: ignore[type-abstract]
            lacks = "cannot list its files" if provider.has(Blobs) else "keeps no files (it has no Blobs)"  # type: ignore[type-abstract]
            raise ConfigError(f"{name}, a {provider.kind} provider, {lacks}: name another provider, or a folder")
        self.name, self.blobs, self.folder = name, cast(Blobs, provider), folder
        self.on_disk = provider.places()[0] / folder if provider.serves_places else None

    def check(self, app: App) -> None:
        for fault in _blobs_faults(app.config, app.providers, self.name, self.folder):
            raise ConfigError(fault)

    def make(self, app: App, **options: Any) -> Archive:
        """Made and tried out on this machine, sent, and compared byte by byte with what arrived, under another name until
        then."""
        self.check(app)
        self.blobs.open()
        with plugin("archives").scratch_in(app.config.site.data) as scratch:
            path = plugin("backup").make(app, scratch, **options)
            self._remove_stale(app.clock())
            self._send(path, path.name)
            return self._archive(path.name, path.stat().st_size)

    def _send(self, path: Path, name: str) -> None:
        final, partial = self._at(name), self._at(f"{name}.partial")
        if self.blobs.stat(final) or self.blobs.stat(partial):
            raise Conflict(f"{name} exists already: try again in a second")
        try:
            with path.open("rb") as file:
                self.blobs.write(partial, _chunks(file), if_none_match=True)
            with path.open("rb") as file, closing(self.blobs.read(partial)) as reader:
                if _digest(_chunks(file)) != _digest(reader):
                    raise Unavailable(f"{name} did not arrive in {self.name} as it was sent")
            moved = self.blobs.move(partial, final)
            if moved.size_bytes != path.stat().st_size:
                self.blobs.remove(final)
                raise Unavailable(f"{name} is not whole in {self.name} under its name")
        except BaseException:
            with suppress(AppError):
                self.blobs.remove(partial)
            raise

    def _remove_stale(self, now: float) -> None:
        """Remove what a backup that was killed left there."""
        for one in self._blobs():
            name, _, end = one.path.rpartition("/")[2].rpartition(".")
            if end == "partial" and is_archive(name) and one.modified_at < now - _STALE_S:
                with suppress(NotFound):
                    self.blobs.remove(one.path)

    def _blobs(self) -> Iterator[Blob]:
        return (one for one in self.blobs.scan(self.folder, deep=False) if isinstance(one, Blob))

    def _at(self, name: str) -> str:
        return f"{self.folder}/{name}"

    def _archive(self, name: str, size_bytes: int) -> Archive:
        return Archive(name, f"{self.name}/{self._at(name)}", size_bytes)

    def archives(self) -> list[Archive]:
        self.blobs.open()
        found = [(one.path.rpartition("/")[2], one.size_bytes) for one in self._blobs()]
        return [self._archive(*one) for one in sorted(found, reverse=True) if is_archive(one[0])]

    @contextmanager
    def here(self, archive: Archive, scratch: Path) -> Iterator[Path]:
        self.blobs.open()
        with plugin("archives").scratch_in(scratch) as folder:
            path = cast(Path, folder) / archive.name
            plugin("reserve").Reserve("the backup", path).check("fetching", needs_bytes=archive.size_bytes)
            with path.open("wb") as file, closing(self.blobs.read(self._at(archive.name))) as reader:
                file.writelines(reader)
            yield path

    def remove(self, archive: Archive) -> None:
        with suppress(NotFound):
            self.blobs.remove(self._at(archive.name))

    def reading(self, archive: Archive) -> Any:
        return io.BufferedReader(_Ranges(self.blobs, self._at(archive.name), archive.size_bytes), CHUNK_BYTES)


class _Ranges(io.RawIOBase):
    """A blob as a file, of which no more is fetched than is read."""

    def __init__(self, blobs: Blobs, path: str, size_bytes: int) -> None:
        self._blobs, self._path, self._size_bytes, self._at = blobs, path, size_bytes, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        self._at = max(0, {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self._size_bytes}[whence] + offset)
        return self._at

    def readinto(self, buffer: Any) -> int:
        length = min(len(buffer), self._size_bytes - self._at)
        if length <= 0:
            return 0
        with closing(self._blobs.read(self._path, self._at, length)) as reader:
            data = b"".join(reader)
        buffer[: len(data)] = data
        self._at += len(data)
        return len(data)


def _chunks(file: Any) -> Iterator[bytes]:
    return iter(lambda: file.read(CHUNK_BYTES), b"")


def _digest(chunks: Iterable[bytes]) -> str:
    digest = hashlib.sha256()
    for chunk in chunks:
        digest.update(chunk)
    return digest.hexdigest()


def place_of(text: str, config: Config, providers: Mapping[str, Provider], base: Path) -> Place:
    """What a text means: PROVIDER or PROVIDER/FOLDER if a provider of that name is declared, otherwise a folder, relative to
    `base`. ./NAME is always a folder. Raises ConfigError if it looks like a provider that is not there."""
    name, _, inside = text.partition("/")
    if name in providers:
        try:
            folder = check_path(inside.strip("/").split("/")) if inside.strip("/") else FOLDER
        except BadRequest as error:
            raise ConfigError(f"{text} is no folder of {name}: {error.message}") from error
        return BlobsPlace(name, providers[name], folder)
    folder_ = base / Path(text).expanduser()
    if "/" not in text and not folder_.is_dir() and (near := nearest(text, config.providers)):
        raise ConfigError(f"there is no provider {text}{near} A folder of that name is ./{text}")
    return FolderPlace(folder_)


def default_place(config: Config, providers: Mapping[str, Provider]) -> Place:
    """Where backups go if nothing else is said: where app.toml has them, or to data/backups."""
    to = config.extensions.get("backup", {}).get("to")
    return place_of(to, config, providers, config.folder) if to else FolderPlace(config.site.data / FOLDER)


def archive_at(backup: str, config: Config, providers: Mapping[str, Provider]) -> tuple[Place, Archive]:
    """The backup of an address, of a path, or of a name in the usual places. Raises NotFound."""
    name = backup.rpartition("/")[2]
    if backup.partition("/")[0] in providers and "/" in backup:
        places = [place_of(backup.rpartition("/")[0], config, providers, Path())]
    elif Path(backup).is_file():
        path = Path(backup).absolute()
        return FolderPlace(path.parent), Archive(path.name, str(path), path.stat().st_size)
    else:
        usual = [default_place(config, providers), FolderPlace(config.site.data / FOLDER)]
        places = usual if name == backup else []
    for place in places:
        for archive in place.archives():
            if archive.name == name:
                return place, archive
    raise NotFound(f"there is no backup {backup}: server backups lists those that there are")


# ---- what is wrong with a place


def place_faults(config: Config, providers: Mapping[str, Provider]) -> Iterator[Fault]:
    """What is wrong with [backup] and [audit], whose single settings are right."""
    backup, audit = config.extensions.get("backup", {}), config.extensions.get("audit", {})
    to = backup.get("to")
    if audit.get("keep") and not to:
        why = "needs [backup] to: entries are removed only once a backup has them, and none is made"
        yield Fault("audit.keep", "configuration", why)
    if to:
        if backup["every"] < 60:
            yield Fault("backup.every", "configuration", 'must be at least one minute, such as "24h"')
        for detail in _to_faults(to, config, providers):
            yield Fault("backup.to", "configuration", detail)
    if audit.get("keep") and audit["keep"] < 86400:
        yield Fault("audit.keep", "configuration", 'must be at least one day, such as "2y"')


def _to_faults(to: str, config: Config, providers: Mapping[str, Provider]) -> Iterator[str]:
    name = to.partition("/")[0]
    if name in config.providers and name not in providers:
        return  # which has a fault already
    if "/" not in to and name not in providers and not (config.folder / to).is_dir():
        yield f"names {to!r}, which is not a provider{nearest(to, providers)}; a folder is written with a slash: ./{to}"
        return
    try:
        place = place_of(to, config, providers, config.folder)
    except ConfigError as error:
        yield error.message
        return
    if isinstance(place, BlobsPlace):
        yield from _blobs_faults(config, providers, place.name, place.folder)
    else:
        yield from folder_faults(config, providers, cast(FolderPlace, place).folder)


def folder_faults(config: Config, providers: Mapping[str, Provider], folder: Path) -> Iterator[str]:
    """Why no backup may go to a folder."""
    real = Path(os.path.realpath(folder))
    served = [(f"provider {name}", place) for name, one in providers.items() if one.serves_places for place in one.places()]
    apps = [one for one in config.resources if isinstance(one, AppConfig)]
    served += [(f"apps/{one.name}", one.static) for one in apps if one.static]
    for name, place in served:
        if real.is_relative_to(os.path.realpath(place)):
            yield f"{folder} is in a folder that {name} serves, where others can read it: name another one"


def _blobs_faults(config: Config, providers: Mapping[str, Provider], name: str, folder: str) -> Iterator[str]:
    """The same of a folder of a provider."""
    provider, same = providers[name], [one for one in providers if _is_same_store(config, one, name)]
    kept = {config.provider_name(one.provider) for one in config.resources if isinstance(one, FilesConfig | FormConfig)}
    kept.add(config.provider_name(config.site.state))
    if isinstance(provider, SqlProvider) and kept.intersection(same):
        yield f"{name} is itself what is backed up: each backup would hold all those before; name another place"
    for one in config.resources:
        is_there = isinstance(one, FilesConfig) and config.provider_name(one.provider) in same
        if is_there and f"{folder}/".startswith(cast(FilesConfig, one).prefix):
            yield f"{name}/{folder} is in files/{one.name}, where others can read it: name another folder of {name}"
    if provider.serves_places:
        place = provider.places()[0] / folder
        others = {other: one for other, one in providers.items() if other not in same}
        yield from folder_faults(config, others, place)


def _is_same_store(config: Config, one: str, other: str) -> bool:
    """Whether two providers are names of one place."""
    first, second = config.providers[one], config.providers[other]
    if first.kind != second.kind:
        return False
    keys = ("bucket", "endpoint") if first.kind == "aws" else tuple(first.options)
    return all(first.options.get(key) == second.options.get(key) for key in keys)
