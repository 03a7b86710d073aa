"""Whether the first bytes of a file fit its name, for images, PDF and office files."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import closing

import app
from app import Blob, Blobs, UnsupportedMedia

media_types = app.plugin("media_types")

# ==== 1. KINDS ===================================================================================================
# By the media type of the name: what such files are called, and how they begin. Of all others nothing is known. An empty
# file fits every name: some clients make one first, and fill it then.
# uses: ERRORS VALUES CONTRACTS plugin:media_types
# defines: KINDS misfit checked check_blob

_LOOKED_AT = 1024  # bytes from the start
_APPLE_DOUBLE = b"\0\x05\x16\x07"  # what macOS knows of plan.pdf and cannot keep with it, as ._plan.pdf (RFC 1740)
_Begins = Callable[[bytes], bool]


def _one_of(*beginnings: bytes) -> _Begins:
    return lambda first: first.startswith(beginnings)


def _riff(kind: bytes) -> _Begins:
    return lambda first: first[:4] == b"RIFF" and first[8:12] == kind


def _brand(*brands: bytes) -> _Begins:
    """Of ISO media files (ISO/IEC 14496-12 section 4.3): the major or a compatible brand."""

    def begins(first: bytes) -> bool:
        end = int.from_bytes(first[:4], "big")
        listed = [first[8:12], *(first[at : at + 4] for at in range(16, min(end, len(first)), 4))]
        return first[4:8] == b"ftyp" and any(one in brands for one in listed)

    return begins


_OLD_EXCEL = (b"\x09\x00\x04\x00", b"\x09\x02\x06\x00", b"\x09\x04\x06\x00")  # of before 1993
_ZIP, _OLE = b"PK\x03\x04", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"


def _first_entry(first: bytes) -> tuple[bytes, bytes]:
    """Name and stored bytes of the first entry of a zip, as far as they are there."""
    name, extra = int.from_bytes(first[26:28], "little"), int.from_bytes(first[28:30], "little")
    return first[30 : 30 + name], first[30 + name + extra :]


def _open_xml(folder: bytes) -> _Begins:
    """A zip as Office writes it, whose own parts are in `folder`; with a password it is an OLE file."""
    others = {b"word/", b"xl/", b"ppt/", b"META-INF/"} - {folder}

    def begins(first: bytes) -> bool:
        if first.startswith(_OLE):
            return True
        name = _first_entry(first)[0]
        return first.startswith(_ZIP) and name != b"mimetype" and not name.startswith(tuple(others))

    return begins


def _open_document(media: bytes) -> _Begins:
    """A zip that begins with its media type, if it says one there (OpenDocument 1.3 part 2, section 3.3)."""

    def begins(first: bytes) -> bool:
        name, stored = _first_entry(first)
        if name == b"mimetype":
            return first.startswith(_ZIP) and stored.startswith(media)
        return first.startswith(_ZIP) and not name.startswith((b"[Content_Types]", b"word/", b"xl/", b"ppt/", b"_rels/"))

    return begins


_HEIF = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs", b"mif1", b"msf1", b"mif2", b"avif")
_OFFICE = "application/vnd.openxmlformats-officedocument."
KINDS: dict[str, tuple[str, _Begins]] = {
    "image/png": ("PNG image", _one_of(b"\x89PNG\r\n\x1a\n")),
    "image/apng": ("PNG image", _one_of(b"\x89PNG\r\n\x1a\n")),
    "image/jpeg": ("JPEG image", _one_of(b"\xff\xd8\xff")),
    "image/gif": ("GIF image", _one_of(b"GIF87a", b"GIF89a")),
    "image/webp": ("WebP image", _riff(b"WEBP")),
    "image/avif": ("AVIF image", _brand(b"avif", b"avis")),
    "image/bmp": ("BMP image", _one_of(b"BM")),
    "image/tiff": ("TIFF image", _one_of(b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")),
    "application/pdf": ("PDF document", lambda first: b"%PDF-" in first),
    "application/msword": ("Word document", _one_of(_OLE)),
    "application/vnd.ms-excel": ("Excel workbook", _one_of(_OLE, *_OLD_EXCEL)),
    "application/vnd.ms-powerpoint": ("PowerPoint presentation", _one_of(_OLE)),
}
KINDS |= {f"image/{one}": ("HEIF image", _brand(*_HEIF)) for one in ("heic", "heif", "heic-sequence", "heif-sequence")}
KINDS |= {
    f"{_OFFICE}{media}": (words, _open_xml(folder))
    for media, words, folder in (
        ("wordprocessingml.document", "Word document", b"word/"),
        ("wordprocessingml.template", "Word template", b"word/"),
        ("spreadsheetml.sheet", "Excel workbook", b"xl/"),
        ("spreadsheetml.template", "Excel template", b"xl/"),
        ("presentationml.presentation", "PowerPoint presentation", b"ppt/"),
        ("presentationml.template", "PowerPoint template", b"ppt/"),
        ("presentationml.slideshow", "PowerPoint presentation", b"ppt/"),
    )
}
KINDS |= {
    f"application/vnd.ms-{media}.macroenabled.12": (words, _open_xml(folder))
    for media, words, folder in (
        ("word.document", "Word document", b"word/"),
        ("word.template", "Word template", b"word/"),
        ("excel.sheet", "Excel workbook", b"xl/"),
        ("excel.template", "Excel template", b"xl/"),
        ("excel.sheet.binary", "Excel workbook", b"xl/"),
        ("powerpoint.presentation", "PowerPoint presentation", b"ppt/"),
        ("powerpoint.template", "PowerPoint template", b"ppt/"),
        ("powerpoint.slideshow", "PowerPoint presentation", b"ppt/"),
    )
}
KINDS |= {
    f"application/vnd.oasis.opendocument.{one}": (
        words,
        _open_document(f"application/vnd.oasis.opendocument.{one}".encode()),
    )
    for one, words in {
        "text": "OpenDocument text",
        "text-template": "OpenDocument template",
        "spreadsheet": "OpenDocument spreadsheet",
        "spreadsheet-template": "OpenDocument template",
        "presentation": "OpenDocument presentation",
        "presentation-template": "OpenDocument template",
        "graphics": "OpenDocument drawing",
    }.items()
}


def misfit(name: str, first: bytes) -> str:
    """Why a file that begins so does not fit its name, in words; "" if it does, or if nothing is known of such names."""
    kind = KINDS.get(media_types.media_type(name))
    if name.startswith("._") and first.startswith(_APPLE_DOUBLE):
        return ""
    return "" if not first or kind is None or kind[1](first[:_LOOKED_AT]) else f"is no {kind[0]}, as its name says"


def checked(chunks: Iterable[bytes], name: str) -> Iterator[bytes]:
    """The chunks of a file. Raises UnsupportedMedia before the first one if they do not fit the name."""
    if media_types.media_type(name) not in KINDS:
        yield from chunks
        return
    first, is_checked = b"", False
    for chunk in chunks:
        if is_checked:
            yield chunk
            continue
        first += chunk
        if len(first) >= _LOOKED_AT:
            is_checked = True
            yield _checked(first, name)
    if not is_checked and first:
        yield _checked(first, name)


def _checked(first: bytes, name: str) -> bytes:
    if why := misfit(name, first):
        raise UnsupportedMedia(f"{name} {why}: it begins like another kind of file")
    return first


def check_blob(accept: Iterable[str], name: str, blobs: Blobs, blob: Blob) -> None:
    """The same of a file that is there already and gets another name, where kinds matter."""
    if accept and blob.size_bytes and media_types.media_type(name) in KINDS:
        with closing(blobs.read(blob.path, 0, _LOOKED_AT, if_match=blob.etag)) as chunks:
            _checked(b"".join(chunks), name)
