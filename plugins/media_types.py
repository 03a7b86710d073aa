"""The media type of a file by its name, from a table of our own and never the host's: templates/media.types."""

from __future__ import annotations

import fnmatch
from collections.abc import Mapping, Sequence
from functools import lru_cache

from app import bundled_text

# ==== 1. MEDIA ===================================================================================================
# Types by ending, and which files a share or a field takes.
# uses: CONFIG
# defines: media_type accepts file_input_accept


@lru_cache(maxsize=1)
def _media_types() -> tuple[Mapping[str, str], Mapping[str, str]]:
    """The media type of each ending (lower case, with its dot), and of each other name of a type: templates/media.types."""
    lines = [line.split() for line in bundled_text("media.types").splitlines() if line.strip() and not line.startswith("#")]
    types = [line for line in lines if "=" not in line]
    return (
        {"." + ending: media for media, *endings in types for ending in endings},
        {line[0]: line[2] for line in lines if "=" in line},
    )


def media_type(name: str) -> str:
    """The media type of a file by the last ending of its name, whatever its case; application/octet-stream if unknown."""
    stem, dot, ending = name.rpartition(".")
    return _media_types()[0].get(dot + ending.lower() if stem else "", "application/octet-stream")


def _fits(media: str, accepted: str) -> bool:
    accepted = accepted.lower()
    return fnmatch.fnmatchcase(media, _media_types()[1].get(accepted, accepted))


def accepts(accept: Sequence[str], name: str) -> bool:
    """Whether a file name fits one of the media types ("image/*") or endings (".pdf"); [] fits all."""
    media = media_type(name)
    return not accept or any(
        name.lower().endswith(one.lower()) if one.startswith(".") else _fits(media, one) for one in accept
    )


def file_input_accept(accept: Sequence[str]) -> str:
    """The accept attribute of a file input: media types with their endings, since browsers' tables differ from ours."""
    types = [one for one in accept if not one.startswith(".")]
    endings = [ending for ending, media in _media_types()[0].items() if any(_fits(media, one) for one in types)]
    return "" if "*/*" in accept else ",".join(dict.fromkeys([*accept, *endings]))
