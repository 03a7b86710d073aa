"""The page of one file: what is in it as far as a browser can show it safely, and the files before and after it."""

from __future__ import annotations

import codecs
import io
import re
from collections.abc import Iterable, Mapping, Sequence
from contextlib import closing
from functools import partial
from itertools import islice
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, NamedTuple, cast
from urllib.parse import unquote, urlencode

from app import (
    PAGE_POLICY,
    Action,
    Answer,
    AppError,
    BadRequest,
    Blob,
    Caller,
    Exchange,
    Files,
    NotFound,
    Plan,
    Request,
    Response,
    Scope,
    nearest,
    no_params,
    plan_of,
    plugin,
    rfc3339,
    split_path,
)

if TYPE_CHECKING:
    from plugins import media_types, pages
else:
    media_types, pages = plugin("media_types"), plugin("pages")

# ==== 1. KINDS ===================================================================================================
# What a file is shown as, by its name. Nothing in it ever runs: media are shown from their own addresses, which are
# sandboxed; all other files as text of the page itself.
# uses: plugin:media_types
# defines: kind_of has

_BY_MEDIA = {
    "image": r"image/(png|apng|jpeg|gif|webp|avif|bmp|svg\+xml)",  # SVG in an image has neither scripts nor links
    "pdf": r"application/pdf", "audio": r"audio/.+", "video": r"video/.+", "markdown": r"text/markdown",
    "table": r"text/(csv|tab-separated-values)",
    "text": r"text/.+|application/(.+\+)?(json|xml|yaml|json5|x-ndjson|jsonl|toml|sql|xml-dtd|javascript|x-sh|x-httpd-php)",
}  # fmt: skip
_TEXTS = {"readme", "license", "licence", "copying", "makefile", "dockerfile", "changelog", "authors", ".gitignore"}


def kind_of(name: str) -> str:
    """image, pdf, audio, video, markdown, table or text; "" if nothing is known of such files."""
    if name.lower() in _TEXTS:
        return "text"
    media = media_types.media_type(name)
    return next((kind for kind, pattern in _BY_MEDIA.items() if re.fullmatch(pattern, media)), "")


def has(name: str) -> bool:
    """Whether the page of a file of this name shows more than facts."""
    return kind_of(name) != ""


# ==== 2. TEXTS ===================================================================================================
# The beginning of a file as text, whatever it was written in, and that as lines or as a table.
# uses: VALUES RESOURCES
# defines: MOST_BYTES ENCODINGS Text text_of decoded rows_of

MOST_BYTES = 256 * 1024  # of a file that is shown as text
_MOST_LINES, _MOST_ROWS, _MOST_COLUMNS, _MOST_LETTERS = 5000, 1000, 100, 1000
_CONTROLS = re.compile("[\0-\x08\x0b\x0e-\x1a\x1c-\x1f\x7f]")
_NUMBER = re.compile(r"\s*[-+]?[0-9][0-9.,' ]*%?\s*")
_GUESS = "windows-1252"  # any bytes can be this, so nothing says that they are
# Encodings by their names on the web (encoding.spec.whatwg.org), with Python's, and whose letters they are, as those call
# them, since a reader who looks for one knows it so.
ENCODINGS = {
    "utf-8": ("utf-8", ""), _GUESS: ("cp1252", "English, Deutsch, Français"),
    "windows-1250": ("cp1250", "Polski, Čeština, Magyar"), "windows-1251": ("cp1251", "Русский, Українська"),
    "koi8-r": ("koi8_r", "Русский"), "ibm866": ("cp866", "Русский"), "windows-1253": ("cp1253", "Ελληνικά"),
    "windows-1254": ("cp1254", "Türkçe"), "windows-1255": ("cp1255", "עברית"), "windows-1256": ("cp1256", "العربية"),
    "windows-1257": ("cp1257", "Eesti, Latviešu, Lietuvių"), "shift_jis": ("cp932", "日本語"),
    "euc-jp": ("euc_jp", "日本語"), "gb18030": ("gb18030", "简体中文"),
    "big5": ("big5hkscs", "繁體中文"), "euc-kr": ("cp949", "한국어"),
}  # fmt: skip


class Text(NamedTuple):
    """The beginning of a file; `is_cut` says whether there is more of it, `is_guess` that nothing says how it is encoded."""

    text: str
    is_cut: bool
    is_guess: bool


def text_of(share: Files, blob: Blob, most_bytes: int = MOST_BYTES, encoding: str = "") -> Text | None:
    """None if it is no text. `encoding` is one of ENCODINGS, or "" if it is to be found out."""
    with closing(share.reader(blob, 0, min(blob.size_bytes, most_bytes))) as chunks:
        data = b"".join(chunks)
    is_cut = blob.size_bytes > len(data)
    coding = ENCODINGS[encoding][0] if encoding else _coding(data)
    text = decoded(data, coding, is_cut=is_cut)
    return None if text is None else Text(text, is_cut, not encoding and coding == ENCODINGS[_GUESS][0])


def decoded(data: bytes, coding: str, *, is_cut: bool = False) -> str | None:
    """Bytes as text, without a letter that is cut at their end. None if they are no text."""
    if not coding:
        return None
    text = codecs.getincrementaldecoder(coding)(errors="replace").decode(data, final=not is_cut)
    if len(_CONTROLS.findall(text)) > len(text) // 50:
        return None
    return _CONTROLS.sub("\ufffd", text)


def _coding(data: bytes) -> str:
    """UTF-8, UTF-16 or, of what is neither, the guess; "" if it is no text."""
    for mark, coding in ((b"\xef\xbb\xbf", "utf-8-sig"), (b"\xff\xfe", "utf-16"), (b"\xfe\xff", "utf-16")):
        if data.startswith(mark):
            return coding
    sample = data[:4096]
    if b"\0" in sample:  # every second byte of Latin letters
        even, odd = sample[::2].count(0) / len(sample), sample[1::2].count(0) / len(sample)
        return "utf-16-le" if odd > 0.3 > 0.05 > even else "utf-16-be" if even > 0.3 > 0.05 > odd else ""
    try:
        codecs.getincrementaldecoder("utf-8")().decode(data)
    except UnicodeDecodeError:
        return ENCODINGS[_GUESS][0]
    return "utf-8"


def rows_of(text: Text) -> tuple[list[list[str]], bool] | None:
    """The rows of a table of commas, semicolons or tabs, and whether some are left out; None if it is no table."""
    import csv

    best: tuple[int, int, str] = (0, 0, ",")
    for mark in (",", ";", "\t", "|"):
        try:
            widths = [len(row) for row in islice(csv.reader(io.StringIO(text.text, newline=""), delimiter=mark), 20) if row]
        except csv.Error:
            continue
        width = max(set(widths), key=widths.count, default=0)
        best = max(best, (widths.count(width) if width > 1 else 0, width, mark))
    try:
        rows = list(islice(csv.reader(io.StringIO(text.text, newline=""), delimiter=best[2]), _MOST_ROWS + 2))
    except csv.Error:
        return None
    if text.is_cut and len(rows) <= _MOST_ROWS + 1:
        del rows[-1:]  # whose end is not there
    is_cut = text.is_cut or len(rows) > _MOST_ROWS + 1 or any(len(row) > _MOST_COLUMNS for row in rows)
    return [[cell[:_MOST_LETTERS] for cell in row[:_MOST_COLUMNS]] for row in rows[: _MOST_ROWS + 1] if row], is_cut


# ==== 3. MARKDOWN ================================================================================================
# Markdown of a file; what is relative in it leads to files beside it, in the same share or below the same link.
# uses: RUNNERS KINDS plugin:markdown_html plugin:share_folders
# defines: html_of


def html_of(exchange: Exchange, folder: Sequence[str], text: str, level: int = 2, mark: str = "") -> str:
    """Markdown of a file in a folder as HTML, whose ids begin with `mark`."""
    place = partial(_target, exchange, folder)
    return str(plugin("markdown_html").html(text, place, "", level, exchange.locale.t("table.wide"), mark))


def _target(exchange: Exchange, folder: Sequence[str], url: str, is_image: bool) -> str:
    """Where a relative address in a file leads: inside the same share, or the same link; "" for nowhere."""
    match = cast(re.Match[str], re.match(r"([^?#]*)(?:\?[^#]*)?(#.*)?", url, re.DOTALL))
    path, mark = unquote(match[1]), match[2] or ""
    if path.startswith("/") or re.search(r"[\\\0\ufffd]", path):
        return ""
    way = list(folder)
    for part in path.split("/"):
        if part == "..":
            if len(way) <= _least(exchange, folder):
                return ""
            way.pop()
        elif part not in ("", "."):
            way.append(part)
    href, is_folder = plugin("share_folders").href, path.rpartition("/")[2] in ("", ".", "..")
    if is_image:
        return str(href(exchange, way)) if not is_folder and kind_of(way[-1]) == "image" else ""
    params = {"_view": 1} if not is_folder and has(way[-1]) else {}
    return str(href(exchange, way, is_folder=is_folder, **params)) + mark


def _least(exchange: Exchange, folder: Sequence[str]) -> int:
    """How many folders of a share lead to what may be named: all that a link begins with."""
    if not exchange.inner.startswith("s/"):
        return 0
    whole = [part for part in exchange.path_inside if part]
    return len(whole) - len([part for part in exchange.inner.split("/")[2:] if part])


# ==== 4. PAGE ====================================================================================================
# ?_view=1 of a file. Programs get what is known of it.
# uses: ERRORS VALUES CONFIG CONTRACTS RUNNERS RESOURCES KINDS TEXTS MARKDOWN plugin:file_kinds plugin:file_lists
#       plugin:file_pages plugin:media_types plugin:pages plugin:share_folders
# defines: read

_POLICY = PAGE_POLICY.replace("connect-src", "media-src 'self'; frame-src 'self'; connect-src")
_SNIFFED_BYTES = 1 << 20  # a file of unknown kind that is no larger may be text
_FIRST_BYTES = 4096  # that say whether a picture is one


class _One(NamedTuple):
    """The file of a page; `parts` are the names that lead to it in the share, `encoding` is what was asked for."""

    share: Files
    blob: Blob
    parts: Sequence[str]
    encoding: str


def read(share: Files, request: Request, scope: Scope, path: str, parts: Sequence[str]) -> Plan:
    """The answer to `_view`. Raises NotFound if there is no such file."""
    no_params(request, ("_view", "_encoding"))
    if request.params["_view"] != "1":
        raise BadRequest("_view must be 1")
    encoding = request.params.get("_encoding", "")
    if encoding and encoding not in ENCODINGS:
        known = ", ".join(ENCODINGS)
        raise BadRequest(f"_encoding is {encoding!r}: write one of {known}{nearest(encoding, ENCODINGS)}")
    blob = share.blobs.stat(path) if parts and request.path[-1] != "" else None
    if blob is None:
        if not parts or share.is_folder(path):
            raise BadRequest("_view is for files, and this is a folder")
        raise NotFound(f"files/{share.name} has no {'/'.join(parts)}")
    facts = share.entry(blob) | {"media": media_types.media_type(parts[-1])}
    return plan_of(Response(data=facts, page={"act": partial(_page, _One(share, blob, parts, encoding))}, etag=blob.etag))


def _page(one: _One, exchange: Exchange, response: Response) -> Answer:
    name, caller, locale = one.parts[-1], response.caller, exchange.locale
    href, folder = plugin("share_folders").href, one.parts[:-1]
    state = pages.listed(exchange)
    before, after = _neighbours(one, caller, state)
    around = {"_view": 1, "_list": urlencode(state) or None}
    page = {
        "name": name, "href": href(exchange, one.parts), "back_href": href(exchange, folder, is_folder=True, **state),
        "folder": folder[-1] if folder else one.share.title,
        "before_href": href(exchange, [*folder, before], **around) if before else "", "before": before,
        "after_href": href(exchange, [*folder, after], **around) if after else "", "after": after,
        "facts": [
            (locale.t("files.size"), locale.write_size(one.blob.size_bytes)),
            (locale.t("files.modified"), locale.write_date_time(rfc3339(one.blob.modified_at))),
            (locale.t("files.kind"), plugin("file_pages").kind_in_words(locale, name)),
        ],
        "buttons": _buttons(exchange, one, caller), **_content(exchange, one),
    }  # fmt: skip
    if not exchange.inner.startswith("s/"):
        share = exchange.resource
        trail = [(one.share.title, f"{share}/")]
        for at, part in enumerate(folder):
            trail.append((part, href(exchange, folder[: at + 1], is_folder=True).removeprefix(f"{exchange.prefix}/")))
        page["crumbs"] = pages.crumbs_of(exchange, [*trail, (name, "")])
    notice = pages.take_notice(exchange)
    body = pages.pages_of(exchange).render(exchange, "view_file.tpl", name, page, notice, caller)
    return pages.page_answer(200, body, policy=_POLICY)


def _buttons(exchange: Exchange, one: _One, caller: Caller) -> list[tuple[str, str, str]]:
    """(what, address, words) of what this caller may do with the file, as in the menu of its row."""
    if exchange.inner.startswith("s/"):
        return []
    row, state, found = one.share.entry(one.blob), urlencode(pages.listed(exchange)) or None, []
    for what, href, words in plugin("file_pages").entry(exchange, row, caller).menu:
        if what != "details":  # which stand below
            own = exchange.url(str(row["address"]), _do=what, _list=state)
            versions = exchange.url(str(row["address"]), _versions="1", _list=state)
            found.append((what, href if what == "share" else versions if what == "versions" else own, words))
    return found


def _content(exchange: Exchange, one: _One) -> dict[str, Any]:
    """What the template shows: a kind, and what that needs."""
    name, kind = one.parts[-1], kind_of(one.parts[-1])
    found: dict[str, Any] = {"kind": kind, "is_cut": False, "none": exchange.locale.t("view.none"), "encodings": []}
    is_unknown = media_types.media_type(name) == "application/octet-stream"
    if not one.blob.size_bytes:
        return found | {"kind": "", "none": exchange.locale.t("view.empty")}
    if kind in ("image", "pdf") and _misfits(one):
        return found | {"kind": ""}
    if not kind and is_unknown and one.blob.size_bytes <= _SNIFFED_BYTES:
        kind = "text"
    if kind not in ("markdown", "table", "text"):
        return found
    text = text_of(one.share, one.blob, encoding=one.encoding)
    if text is not None and (one.encoding or text.is_guess):
        shown = one.encoding or _GUESS
        names = {name: f"{whose} ({name})" if whose else name.upper() for name, (_, whose) in ENCODINGS.items()}
        found["encodings"] = [(name, words, name == shown) for name, words in names.items()]
        found |= {"state": urlencode(pages.listed(exchange)), "is_guess": text.is_guess}
    if text is None or (is_unknown and not text.text):
        return found | {"kind": ""}
    if kind == "markdown":
        return found | {"kind": kind, "html": html_of(exchange, one.parts[:-1], text.text), "is_cut": text.is_cut}
    if kind == "table" and (table := rows_of(text)) and table[0]:
        rows, is_cut = table
        width = max(map(len, rows))
        rows = [row + [""] * (width - len(row)) for row in rows]
        numeric = [all(not row[at] or _NUMBER.fullmatch(row[at]) for row in rows[1:]) for at in range(width)]
        return found | {"kind": kind, "head": rows[0], "rows": rows[1:], "numeric": numeric, "is_cut": is_cut}
    lines = re.split(r"\r\n|\r|\n", text.text)
    lines = lines[:-1] if len(lines) > 1 and not lines[-1] else lines
    is_cut, lines = text.is_cut or len(lines) > _MOST_LINES, lines[:_MOST_LINES]
    return found | {"kind": "text", "lines": lines, "is_cut": is_cut}


def _misfits(one: _One) -> bool:
    """Whether the first bytes are not of what the name says: a browser could not show it."""
    with closing(one.share.reader(one.blob, 0, min(one.blob.size_bytes, _FIRST_BYTES))) as chunks:
        return bool(plugin("file_kinds").misfit(one.parts[-1], b"".join(chunks)))


def _neighbours(one: _One, caller: Caller, state: Mapping[str, str]) -> tuple[str, str]:
    """The names of the files before and after one, in the order that its folder was listed in; "" for none, and where
    there are no lists, or they were found by a search."""
    blobs, path, lists = one.share.blobs, one.blob.path, plugin("file_lists")
    if not blobs.lists or state.get("_q"):
        return "", ""
    entries = lists.sortable(blobs, path.rpartition("/")[0])
    if entries is None:  # so the list is in path order, too
        return _first(one, caller, lists.files_before(blobs, path)), _first(one, caller, lists.files_after(blobs, path))
    files = [each for each in lists.in_order(entries, state.get("_sort") or "name")[0] if isinstance(each, Blob)]
    at = next((number for number, each in enumerate(files) if each.path == path), -1)
    if at < 0:
        return "", ""
    return _first(one, caller, files[:at][::-1]), _first(one, caller, files[at + 1 :])


def _first(one: _One, caller: Caller, others: Iterable[Blob]) -> str:
    """The name of the first one that the caller may read; "" if there is none."""
    seen = (each for each in others if caller.may(Action.READ, str(one.share.entry(each)["address"])))
    return next((each.path.rpartition("/")[2] for each in seen), "")


# ==== 5. README ==================================================================================================
# What a folder says of itself, below its list; and rows of a list, which lead to the pages of files.
# uses: ERRORS VALUES RUNNERS KINDS TEXTS MARKDOWN plugin:pages plugin:share_folders
# defines: around_list

_READMES = ("readme.md", "readme.markdown", "readme.txt", "readme")
_TRIED = ("README.md", "readme.md", "Readme.md", "README.txt", "readme.txt", "README")  # where not all names were read
_MOST_README_BYTES = 64 * 1024


def around_list(exchange: Exchange, response: Response, page: dict[str, Any]) -> dict[str, Any]:
    """The page of a folder, whose files lead to their own pages, with its README. What cannot be read is left out."""
    state = pages.list_state(exchange)
    for entry in page["entries"]:
        if not entry.is_folder and entry.href and has(entry.name.rpartition("/")[2]):
            entry.href += f"?{urlencode({'_view': 1, **({'_list': state} if state else {})})}"
    page["readme"] = None
    if response.table is not None and not exchange.query.keys() & {"_q", "_next"}:
        try:
            page["readme"] = _readme(exchange, response)
        except AppError:  # it was replaced or removed meanwhile, or is away
            page["readme"] = None
    return page


def _readme(exchange: Exchange, response: Response) -> SimpleNamespace | None:
    share: Any = cast(Any, exchange.door.host).resources[exchange.resource or "/".join(split_path(exchange.inner)[:2])]
    parts, table = [part for part in response.page["parts"] if part], cast(Any, response.table)
    names = {str(row["name"]): row["name"].lower() for row in table.rows if row["type"] == "file"}
    found = [name for wanted in _READMES for name, small in names.items() if small == wanted]
    for name in found or (_TRIED if table.next else ()):
        blob = share.blobs.stat(share.place("/".join([*parts, name])))
        if blob is None or not response.caller.may(Action.READ, str(share.entry(blob)["address"])):
            continue
        text = text_of(share, blob, _MOST_README_BYTES)
        if text is None or not text.text.strip():
            return None
        is_markdown = kind_of(name) == "markdown"
        html = html_of(exchange, parts, text.text, level=3, mark="readme-") if is_markdown else ""
        href = plugin("share_folders").href(exchange, [*parts, name], _view=1)
        return SimpleNamespace(name=name, href=href, html=html, text=text.text, is_cut=text.is_cut, is_guess=text.is_guess)
    return None
