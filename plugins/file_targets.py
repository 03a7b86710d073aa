"""Where files can be put: shares and their folders, walked from page to page by whoever moves or copies something."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice
from types import SimpleNamespace
from typing import TYPE_CHECKING, NamedTuple

import app
from app import (
    Action,
    AppError,
    BadRequest,
    Caller,
    Exchange,
    Files,
    Folder,
    Grant,
    check_path,
    split_path,
)

if TYPE_CHECKING:
    from plugins import file_pages, file_trees, pages
else:
    file_pages, file_trees, pages = app.plugin("file_pages"), app.plugin("file_trees"), app.plugin("pages")

# ==== 1. TARGETS =================================================================================================
# A caller sees the folders that he may read, of shares in which he may write somewhere, and is offered those that take what
# he has. A folder that is moved is not among its own targets.
# uses: ERRORS VALUES CONTRACTS RUNNERS RESOURCES plugin:file_names plugin:file_pages plugin:file_trees plugin:pages
# defines: Target target_at walked

_MOST_LOOKED_AT = 10_000  # entries of a folder among which folders are looked for
_MOST_SHOWN = 500  # folders


class Target(NamedTuple):
    """A folder of a share; without parts it is the share itself."""

    share: Files
    parts: tuple[str, ...]

    @property
    def address(self) -> str:
        return str(file_trees.address_of(self.share.name, self.parts))

    def may(self, caller: Caller, action: Action) -> bool:
        """Whether the caller may do this to what is in it."""
        return caller.may(action, f"{self.address}/x")


def target_at(exchange: Exchange, caller: Caller, text: str) -> Target | None:
    """The folder that an address names; None if that is no folder which the caller may see or write to."""
    try:
        kind, name, *parts = split_path(text.removesuffix("/")) or ("",)
        check_path(parts, is_there=True)
    except (ValueError, BadRequest):
        return None
    share = pages.site_of(exchange).resources.get(f"files/{name}") if kind == "files" else None
    found = Target(share, tuple(parts)) if isinstance(share, Files) else None
    is_open = found and (caller.may(Action.READ, found.address) or found.may(caller, Action.CREATE))
    return found if is_open else None


def walked(exchange: Exchange, caller: Caller, at: Target | None, barred: Sequence[str]) -> SimpleNamespace:
    """What the page shows at a folder, None for the list of shares: the trail to it and the folders in it, each as (title,
    value of its button), and whether it takes files. `barred` are addresses that lead into what is being moved."""
    t = exchange.locale.t
    if at is None:
        shares = [one for one in pages.site_of(exchange).resources.values() if isinstance(one, Files)]
        wanted = sorted((file_pages.title_of(exchange, one), f"files/{one.name}/") for one in _writable(caller, shares))
        return SimpleNamespace(trail=[], here=t("index.files"), folders=wanted, takes=False, more=False, to="", way="")
    title = file_pages.title_of(exchange, at.share)
    names = (title, *at.parts)
    above = [(name, Target(at.share, at.parts[:number]).address + "/") for number, name in enumerate(names[:-1])]
    folders, more = _folders(exchange, caller, at, barred)
    return SimpleNamespace(
        trail=[(t("index.files"), ""), *above], here=names[-1], folders=folders, more=more, to=at.address + "/",
        takes=at.may(caller, Action.CREATE), way=" / ".join(names),
    )  # fmt: skip


def _writable(caller: Caller, shares: Sequence[Files]) -> list[Files]:
    """Shares in which the caller may write somewhere, as far as his grants say."""
    return [
        one for one in shares
        if any(_reaches(grant, one.name) for grant in caller.grants)
        and (caller.may(Action.READ, f"files/{one.name}") or caller.may(Action.CREATE, f"files/{one.name}/x"))
    ]  # fmt: skip


def _reaches(grant: Grant, share: str) -> bool:
    """Whether a grant to create covers some place of a share."""
    places = zip(grant.pattern, ("files", share), strict=False)
    return Action.CREATE in grant.actions and all(one in (given, "*", "**") for one, given in places)


def _folders(exchange: Exchange, caller: Caller, at: Target, barred: Sequence[str]) -> tuple[list[tuple[str, str]], bool]:
    """(name, value) of the folders in a folder, and whether there may be more."""
    if not at.share.blobs.lists or not caller.may(Action.READ, at.address):
        return [], False
    at.share.blobs.open()
    try:
        path = at.share.place("/".join(at.parts))
        entries = list(islice(app.plugin("file_names").scan(at.share.blobs, path, deep=False), _MOST_LOOKED_AT))
    except AppError:  # the folder is gone, or its provider is away: one can go on from above
        return [], False
    names = [one.path.rpartition("/")[2] for one in entries if isinstance(one, Folder)]
    found = [(name, Target(at.share, (*at.parts, name)).address + "/") for name in names]
    kept = [one for one in found if one[1] not in barred and caller.may(Action.READ, one[1])]
    return kept[:_MOST_SHOWN], len(kept) > _MOST_SHOWN or len(entries) == _MOST_LOOKED_AT
