"""What is wrong with the home and the pages of apps: what app.toml says of them, and links of pages that lead nowhere."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import suppress
from functools import partial
from itertools import chain, islice
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from app import (
    App,
    AppConfig,
    AppError,
    AppPage,
    Fault,
    FilesConfig,
    FormConfig,
    Value,
    ViewConfig,
    check_text,
    compose,
    nearest,
    plugin,
    split_path,
)

# ==== 1. DECLARED ================================================================================================
# Each setting is right by itself when this runs; here it is looked at beside what else is declared.
# uses: ERRORS VALUES CONFIG plugin:dashboards plugin:media_types
# defines: faults beside

_MEANT: Mapping[str, tuple[type, str]] = {
    "view": (ViewConfig, "a view such as views/open"), "chart": (ViewConfig, "a view such as views/sales"),
    "number": (ViewConfig, "a view such as views/open"), "form": (FormConfig, "a form such as forms/leave"),
    "files": (FilesConfig, "a share such as files/handbook, or a folder in one"),
}  # fmt: skip


def faults(one: AppConfig, declared: Mapping[str, Any], folder: Path) -> Iterator[Fault]:
    """A fault for each thing that a home names and that is not there."""
    place = f"apps.{one.name}"
    if detail := _of_pages(one, declared):
        yield Fault(f"{place}.pages", "configuration", detail)
    if isinstance(one.home, str):
        if detail := _of_text(one.home, declared, folder):
            yield Fault(f"{place}.home", "configuration", detail)
        return
    most = plugin("dashboards").MOST_BLOCKS
    if len(one.home) > most:
        yield Fault(f"{place}.home", "configuration", f"has {len(one.home)} blocks; a page has at most {most}")
    for number, block in enumerate(one.home):
        if detail := _of_block(block, declared, folder):
            yield Fault(f"{place}.home.{number}", "configuration", detail)


def beside(one: AppConfig) -> list[str]:
    """The files and folders beside app.toml that an app shows as its home and pages."""
    files = [one.pages] if one.pages and not one.pages.startswith("files/") else []
    if isinstance(one.home, str):
        return [*files, one.home] if one.home.endswith((".html", ".tpl")) else files
    return [*files, *(block.address for block in map(plugin("dashboards").block_of, one.home) if block.is_here)]


def _of_pages(one: AppConfig, declared: Mapping[str, Any]) -> str:
    """What is wrong with the place of an app's pages."""
    if one.pages.startswith("files/"):
        share = "/".join(one.pages.split("/")[:2])
        if share not in declared:
            return f"names {share!r}, which is not declared{nearest(share, declared)}"
        is_taken = plugin("media_types").accepts(declared[share].accept, "x.md")
        return "" if is_taken else f'is in {share}, which does not take such files: add ".md" to its accept'
    if one.pages and not Path(one.pages).is_dir():
        return f"names the folder {Path(one.pages).name}, which does not exist"
    return ""


def _of_text(home: str, declared: Mapping[str, Any], folder: Path) -> str:
    """What is wrong with a home that is no list of blocks."""
    if home.startswith(("forms/", "views/")):
        return "" if home in declared else f"names {home!r}, which is not declared{nearest(home, declared)}"
    if home and not home.endswith((".html", ".tpl")):
        return "must be a form or view such as forms/leave, a template .html or .tpl, or a list of blocks"
    return f"names the template {home}, which does not exist" if home and not (folder / home).is_file() else ""


def _of_block(declared_block: Value, declared: Mapping[str, Any], folder: Path) -> str:
    """What is wrong with a block."""
    dashboards = plugin("dashboards")
    try:
        block = dashboards.block_of(declared_block)
    except ValueError:
        return 'has a query that cannot be read: write it as in "views/sales?region=north"'
    if "limit" in declared_block and block.kind not in ("view", "files"):
        return "has a limit, which goes with view or files"
    if block.limit > dashboards.MOST_ROWS:
        return f"has the limit {block.limit}; it is at most {dashboards.MOST_ROWS}"
    if block.is_here:
        path = folder / block.address
        is_below = path.resolve().is_relative_to(folder.resolve())
        return "" if path.is_file() and is_below else f"names the file {block.address}, which is not beside app.toml"
    cls, meant = _MEANT.get(block.kind, (FilesConfig, ""))
    found = declared.get(block.resource)
    if found is None or not isinstance(found, cls) or (block.kind != "files" and block.address != block.resource and meant):
        known = [address for address, each in declared.items() if isinstance(each, cls)]
        return f"names {block.address!r}, which is not {meant or 'in a share'}{nearest(block.address, known)}"
    return _of_view(block, found) if isinstance(found, ViewConfig) else ""


def _of_view(block: Any, view: ViewConfig) -> str:
    """What is wrong with a block that shows a view."""
    if block.kind == "chart" and not view.chart:
        return f"names {block.resource}, which has no chart: declare [{block.resource.replace('/', '.')}.chart]"
    missing = [
        param.name for param in view.params if param.required and param.default is None and param.name not in block.params
    ]
    if missing:
        return f'needs the parameter {missing[0]} of {block.resource}: write "{block.resource}?{missing[0]}=…"'
    return ""


# ==== 2. LINKS ===================================================================================================
# Links of pages to what is not there. A page can be changed by people who do not run the site, so these are no faults.
# uses: ERRORS VALUES CONFIG RESOURCES ASSEMBLY plugin:markdown_links plugin:page_sources
# defines: dead_links

_MOST_PAGES, _MOST_LINES = 500, 100


def dead_links(site: App) -> list[str]:
    """For each of them, in words, the app, the page and its line, and what it names."""
    apps = {f"apps/{one.name}": one for one in site.resources.values() if isinstance(one, AppPage) and one.config.pages}
    texts = dict[str, dict[str, Any]]()
    for address, one in apps.items():
        with suppress(AppError):  # a share that is away is a fault already
            texts[address] = dict(_texts(site, one, _place_of(one)))
    found = chain.from_iterable(_of_app(site, apps[address], address, texts) for address in texts)
    return list(islice(found, _MOST_LINES))


def _place_of(one: AppPage) -> str:
    """The address of the folder of a share that has the pages of an app; "" for a folder beside app.toml."""
    return one.config.pages.rstrip("/") if one.config.pages.startswith("files/") else ""


def _of_app(site: App, one: AppPage, address: str, texts: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    """`texts` are those of each app whose pages are known, by its address."""
    page_sources = plugin("page_sources")
    for name, text in texts[address].items():
        if isinstance(text, AppError):
            yield f"apps.{one.name}.pages: {name}.md: {text.message}"
            continue
        for link in plugin("markdown_links").links(text.body):
            at = _place_of(one)
            target = page_sources.place(one.name, at, link.target, link.is_image) if _is_relative(link.target) else ""
            with suppress(AppError):  # what is away is a fault already
                if why := _why_dead(site, target, texts):
                    yield f"apps.{one.name}.pages: {name}.md, line {link.line + text.above}: {unquote(link.target)} {why}"


def _texts(site: App, one: AppPage, at: str) -> Iterator[tuple[str, Any]]:
    """(name, text, or what is wrong with it) of each page."""
    page_sources = plugin("page_sources")
    if not at:
        for path in sorted(Path(one.config.pages).glob("*.md"))[:_MOST_PAGES]:
            if check_text(path.stem):
                yield path.stem.encode(errors="replace").decode(), AppError("its name is not UTF-8: give it another one")
            else:
                yield compose(path.stem), _tried(partial(page_sources.read_file, path))
        return
    share = site.resources.get("/".join(at.split("/")[:2]))
    if share is None:
        return
    blobs, folder = share.blobs, share.place("/".join(split_path(at)[2:]))  # type: ignore[attr-defined]
    for entry in blobs.scan(folder, deep=False):
        name = entry.path.rpartition("/")[2]
        if name.endswith(".md") and hasattr(entry, "size_bytes"):
            yield compose(name.removesuffix(".md")), _tried(partial(page_sources.read_blob, blobs, entry))


def _tried(read: Any) -> Any:
    try:
        return read()
    except AppError as error:
        return error


def _is_relative(target: str) -> bool:
    return not target.startswith("#") and ":" not in target.partition("/")[0]


def _why_dead(site: App, target: str | None, texts: Mapping[str, Mapping[str, Any]]) -> str:
    """Why a link leads nowhere; "" if it leads somewhere, or that is not known."""
    if target is None:
        return "leads out of the pages"
    path = compose(unquote(target.partition("#")[0].partition("?")[0])).rstrip("/")
    kind, name, *rest = [*path.split("/"), "", ""]
    if kind not in ("forms", "views", "files", "apps", "admin") or not name:
        return ""
    resource, inside = site.resources.get(f"{kind}/{name.rpartition('.')[0] or name}"), [part for part in rest if part]
    if resource is None:
        return f"names {kind}/{name}, which is not declared{nearest(f'{kind}/{name}', [a for a in site.resources if a])}"
    if kind == "apps" and inside[:1] == ["pages"] and len(inside) == 2:
        return _why_no_page(resource, inside[1], texts.get(f"apps/{name}"))
    if kind == "apps" and inside[:1] == ["static"]:
        static = resource.static  # type: ignore[attr-defined]
        there = static is not None and static.stat("/".join(inside[1:])) is not None
        return "" if there else "names a file that is not in the static folder"
    if kind == "files" and inside:
        place = resource.place("/".join(inside))  # type: ignore[attr-defined]
        blobs = resource.blobs  # type: ignore[attr-defined]
        there = blobs.stat(place) is not None or (blobs.lists and blobs.is_folder(place))
        return "" if there else "names a file that is not there"
    return "" if resource.endpoint(inside) else f"names nothing that is in {kind}/{name}"


def _why_no_page(resource: Any, page: str, known: Mapping[str, Any] | None) -> str:
    """Why there is no such page of an app, whose pages may not be known."""
    if not resource.config.pages:
        return f"names a page of apps/{resource.name}, which has none"
    if known is None or page in known or page.removesuffix(".md") in known:
        return ""
    return f"names the page {page}, which is not there{nearest(page, known)}"
