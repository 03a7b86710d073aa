"""What a share says of its places: never where they lie in its provider."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any

from app import AppError, Files, Form, Json, Request, plugin, split_path

# ==== 1. WORDS ===================================================================================================
# Providers name files by the paths that they have there, and a share turns its own paths into those. Here their words are
# turned back, once for every request, whichever provider refused it and whichever door it came through.
# uses: ERRORS VALUES RESOURCES plugin:file_names
# defines: tell told_by

# The place of a share by itself, where providers have paths in their words: it may be called "a", or another word.
_ALONE = r"^(?:{ways})(?= (?:is a|exists|does not)\b)|(?:(?<=ing )|(?<=ing at ))(?:{ways})(?=:|$)"


def tell(resources: Mapping[str, Any], request: Request, error: AppError) -> None:
    """Has the message of a refused request name places as they are called in the shares that it is about."""
    one = resources.get(request.resource)
    shares = list(one.shares.values()) if isinstance(one, Form) else [one]
    data = request.data if isinstance(request.data, dict) else {}
    shares += [resources.get(_resource_in(data.get(verb))) for verb in ("move", "copy")]
    _reword([share for share in shares if isinstance(share, Files)], error)


def _resource_in(address: Json) -> str:
    """The address of the share in which a place is meant to be."""
    with suppress(AppError):
        return "/".join(split_path(str(address).removeprefix("/"))[:2])
    return ""


@contextmanager
def told_by(share: Files) -> Iterator[None]:
    """The same for what the block raises about a file of the share."""
    try:
        yield
    except AppError as error:
        _reword([share], error)
        raise


def _reword(shares: list[Files], error: AppError) -> None:
    """Once for each error, though one may come by twice: a share may have a folder of the name of its own place."""
    if not shares or hasattr(error, "reworded"):
        return
    vars(error)["reworded"] = True
    message = re.sub(rf"{plugin('file_names').KEPT}/\S+/", "", error.message)
    for share in shares:
        message = _above(share, message)
    roots = {share.root: f"files/{share.name}" for share in shares if share.root}
    if roots:
        ways = "|".join(re.escape(root) for root in sorted(roots, key=len, reverse=True))
        own = "|".join(re.escape(address) for address in roots.values())
        message = re.sub(_ALONE.format(ways=ways), lambda found: roots[found[0]], message)
        message = re.sub(rf"(?<!\S)(?!(?:{own})(?:[/\s:,;]|$))(?:{ways})/", "", message)
    error.message = message


def _above(share: Files, message: str) -> str:
    """What is said where a file lies in the way to the share itself, which has no path in it."""
    path = message.removesuffix(" is a file and no folder")
    is_above = path != message and f"{share.root}/".startswith(f"{path}/")
    return f"files/{share.name} cannot be used: a file lies where its folder is to be" if is_above else message
