"""Where the pages of an app are: in a folder beside app.toml or in one of a share; and where they lead, as HTML."""

from __future__ import annotations

import time
import unicodedata
from collections.abc import Sequence
from contextlib import closing
from functools import lru_cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, cast
from urllib.parse import quote

from app import (
    AppError,
    AppPage,
    Blob,
    Blobs,
    Exchange,
    NotFound,
    Scope,
    Table,
    TooLarge,
    UnsupportedMedia,
    check_path,
    check_text,
    compose,
    in_units,
    nearest,
    plugin,
)

if TYPE_CHECKING:
    from plugins import markdown
    from plugins.markdown import Text
else:
    markdown = plugin("markdown")

# ==== 1. SOURCES =================================================================================================
# Where pages are. A share is asked as the caller, so whoever reads a page there may read both the app and the file.
# uses: ERRORS VALUES CONFIG CONTRACTS RESOURCES plugin:markdown
# defines: ENDING Found read_file read_share read_blob PagesFolder PagesShare source_of address_of

ENDING = ".md"
_MOST_PAGES = 500  # that are listed
_TITLES_S = 1.0  # for reading what pages of a share are called; the others go by their names
_KEPT_TITLES = 2048


class Found(NamedTuple):
    """A page as it is stored; `etag` is "" beside app.toml, where it cannot be written."""

    name: str
    text: Text
    etag: str = ""


def _text_of(data: bytes, what: str) -> Text:
    """Raises UnsupportedMedia if it is not UTF-8, and TooLarge."""
    if len(data) > markdown.MOST_BYTES:
        raise TooLarge(f"{what} has over {in_units(markdown.MOST_BYTES)}, the most that a page has")
    try:
        return markdown.read_text(data.decode())
    except UnicodeDecodeError as error:
        raise UnsupportedMedia(f"{what} is not UTF-8 text: save it anew as UTF-8") from error


def read_file(path: Path) -> Text:
    """A text beside app.toml. Raises NotFound, UnsupportedMedia, TooLarge."""
    try:
        with path.open("rb") as file:
            return _text_of(file.read(markdown.MOST_BYTES + 1), path.name)
    except OSError as error:
        raise NotFound(f"the page {path.name} cannot be read: {error.strerror}") from error


def _from_share(scope: Scope, address: str, most: int = 0) -> tuple[bytes, str]:
    """The bytes of a file of a share, read as the caller, at most so many of them, and its etag."""
    content = scope.read(address, {}).content
    if content is None:
        raise NotFound(f"{address} is a folder")
    if not most and content.blob.size_bytes > markdown.MOST_BYTES:
        raise TooLarge(
            f"{address} has {in_units(content.blob.size_bytes)}; a page has at most {in_units(markdown.MOST_BYTES)}"
        )
    with closing(content.read(0, min(most, content.blob.size_bytes) if most else None)) as chunks:
        return b"".join(chunks), content.blob.etag


def read_share(scope: Scope, address: str) -> Text:
    """A text in a share, as the caller. Raises what Scope.read does, UnsupportedMedia, TooLarge."""
    return _text_of(_from_share(scope, address)[0], address)


def read_blob(blobs: Blobs, blob: Blob) -> Text:
    """A text in a provider, read for nobody. Raises UnsupportedMedia, TooLarge."""
    if blob.size_bytes > markdown.MOST_BYTES:
        raise TooLarge(f"it has {in_units(blob.size_bytes)}; a page has at most {in_units(markdown.MOST_BYTES)}")
    with closing(blobs.read(blob.path)) as chunks:
        return _text_of(b"".join(chunks), blob.path.rpartition("/")[2])


def _missing(name: str, there: Sequence[tuple[str, str]]) -> NotFound:
    return NotFound(f"there is no page {name}{nearest(name, [one for one, _ in there])}")


class PagesFolder:
    """Pages in a folder beside app.toml."""

    is_editable, at = False, ""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def names(self, scope: Scope) -> list[tuple[str, str]]:
        """(name, title) of each page, by title."""
        files = [one for one in sorted(self._folder.glob(f"?*{ENDING}")) if not check_text(one.name)]
        return [(one.stem, self._title(one)) for one in files[:_MOST_PAGES] if one.is_file()]

    def _title(self, path: Path) -> str:
        try:
            with path.open("rb") as file:
                return markdown.read_text(file.read(2000).decode(errors="ignore")).title or path.stem
        except OSError:
            return path.stem

    def read(self, name: str, scope: Scope) -> Found:
        check_path((name,), is_there=True)
        forms = (name, compose(name), unicodedata.normalize("NFD", name))  # macOS stores the last one
        path = next((one for form in forms if (one := self._folder / (form + ENDING)).is_file()), None)
        if path is None:
            raise _missing(name, self.names(scope))
        return Found(name, read_file(path))


class PagesShare:
    """Pages in a folder of a share, at the address `at`."""

    is_editable = True

    def __init__(self, at: str) -> None:
        self.at = at

    def address(self, name: str) -> str:
        return f"{self.at}/{quote(name + ENDING, safe='')}"

    def names(self, scope: Scope) -> list[tuple[str, str]]:
        """(name, title) of each page, as far as titles are known soon."""
        try:
            table = cast(Table, scope.read(self.at + "/", {"_size": "1000"}).table)
        except NotFound:  # no page was written yet
            return []
        until, found = time.monotonic() + _TITLES_S, list[tuple[str, str]]()
        with closing(table) as listed:
            for row in listed.rows:
                name, dot, rest = str(row["name"]).rpartition(ENDING)
                if row["type"] == "file" and name and dot and not rest and len(found) < _MOST_PAGES:
                    found.append((name, self._title(scope, name, str(row["etag"]), until)))
        return found

    def _title(self, scope: Scope, name: str, etag: str, until: float) -> str:
        key = (self.address(name), etag)
        if key not in _titles and time.monotonic() < until:
            try:
                data, _ = _from_share(scope, key[0], 2000)
            except AppError:
                return name
            if len(_titles) >= _KEPT_TITLES:
                _titles.clear()
            _titles[key] = markdown.read_text(data.decode(errors="ignore")).title or name
        return _titles.get(key, name)

    def read(self, name: str, scope: Scope) -> Found:
        try:
            data, etag = _from_share(scope, self.address(name))
        except NotFound as error:
            raise _missing(name, self.names(scope)) from error
        return Found(name, _text_of(data, self.address(name)), etag)


_titles: dict[tuple[str, str], str] = {}  # by address and etag


def source_of(one: AppPage) -> PagesFolder | PagesShare:
    """Where the pages of an app are. Raises NotFound if it has none."""
    if not one.config.pages:
        raise NotFound(f"apps/{one.name} has no pages")
    return (
        PagesShare(one.config.pages.rstrip("/"))
        if one.config.pages.startswith("files/")
        else PagesFolder(Path(one.config.pages))
    )


def address_of(one: AppPage, name: str) -> str:
    name += ENDING if name.endswith(ENDING) else ""  # which an address may leave out, once
    return f"apps/{one.name}/pages/{quote(name, safe='')}"


# ==== 2. PLACES ==================================================================================================
# Where the addresses in a page lead, and the page as HTML.
# uses: RUNNERS RESOURCES SOURCES plugin:markdown plugin:markdown_html
# defines: html_of place

_KEPT = 32  # pages whose HTML is remembered, if they are short
_SHORT = 100_000


def html_of(exchange: Exchange, one: AppPage, text: Text, folder: str, title: str, level: int = 2, mark: str = "") -> str:
    """A text as HTML; its relative addresses begin in `folder` of a share, or "" beside app.toml. Its ids begin with
    `mark`."""
    wide = exchange.locale.t("table.wide")
    make = _kept_html if len(text.body) < _SHORT else _kept_html.__wrapped__
    return make(text.body, exchange.prefix, one.name, folder, title, level, wide, mark)


@lru_cache(_KEPT)
def _kept_html(body: str, prefix: str, name: str, folder: str, title: str, level: int, wide: str, mark: str) -> str:
    return str(plugin("markdown_html").html(body, partial(_href, prefix, name, folder), title, level, wide, mark))


def _href(prefix: str, name: str, folder: str, target: str, is_image: bool) -> str:
    if target.startswith("?"):  # which is asked of the page itself
        return target
    found = place(name, folder, target, is_image)
    return f"{prefix}/{found}" if found is not None else ""


_TYPES = ("forms/", "views/", "files/", "apps/", "admin/")


def place(name: str, folder: str, target: str, is_image: bool) -> str | None:
    """The address on this site of what a page of the app leads to; None if that is above where pages may lead. An address
    begins with a type of resource, static/ is the app's own folder, an image or file lies beside its page in the share, and
    any other name is that of a page."""
    path, sign, rest = _cut(target)
    if path.startswith("/"):
        return path[1:] + sign + rest
    if path.startswith(_TYPES) or path in ("", "search", "me"):
        return path + sign + rest
    parts = [part for part in path.removeprefix("./").split("/") if part not in ("", ".")]
    if ".." in parts:
        return None
    if parts[:1] == ["static"]:
        return f"apps/{name}/" + "/".join(parts) + sign + rest
    is_page = not is_image and len(parts) == 1 and (parts[0].endswith(ENDING) or "." not in parts[0])
    if is_page:
        page = parts[0].removesuffix(ENDING)
        return f"apps/{name}/pages/{parts[0] if page.endswith(ENDING) else page}" + sign + rest
    return (f"{folder}/" if folder else f"apps/{name}/static/") + "/".join(parts) + sign + rest


def _cut(target: str) -> tuple[str, str, str]:
    """An address before its query or fragment, the sign, and what comes behind it."""
    at = min((target.find(sign) for sign in "?#" if sign in target), default=len(target))
    return target[:at], target[at : at + 1], target[at + 1 :]
