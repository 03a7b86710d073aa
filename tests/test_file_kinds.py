"""What a share with `accept` takes: the first bytes of images, PDF and office files fit the name."""

from __future__ import annotations

import base64
import io
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sites import PROVIDERS, Site

import app
from app import AppError

file_kinds = app.plugin("file_kinds")
OLE = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(600)
HTML = b"<!doctype html><script>alert(1)</script>"


def packed(*entries: tuple[str, bytes]) -> bytes:
    found = io.BytesIO()
    with zipfile.ZipFile(found, "w") as archive:
        for name, content in entries:
            archive.writestr(name, content)
    return found.getvalue()


DOCX = packed(("[Content_Types].xml", b"<Types/>"), ("word/document.xml", b"<w/>"))
XLSX = packed(("xl/workbook.xml", b"<w/>"), ("[Content_Types].xml", b"<Types/>"))
ODT = packed(("mimetype", b"application/vnd.oasis.opendocument.text"), ("content.xml", b"<x/>"))
FITS = {
    "a.png": b"\x89PNG\r\n\x1a\n....",
    "a.JPG": b"\xff\xd8\xff\xe0\0\x10JFIF",
    "a.gif": b"GIF89a..",
    "a.webp": b"RIFF\x10\0\0\0WEBPVP8 ",
    "a.avif": b"\0\0\0\x1cftypavif\0\0\0\0mif1miaf",
    "a.heic": b"\0\0\0\x18ftypmif1\0\0\0\0heic",
    "a.tiff": b"II*\0\x08\0\0\0",
    "a.tif": b"MM\0*\0\0\0\x08",
    "a.bmp": b"BM\x46\0\0\0",
    "a.pdf": b"\xef\xbb\xbf%PDF-1.7",
    "a.docx": DOCX,
    "secret.docx": OLE,
    "a.xlsx": XLSX,
    "a.pptx": packed(("[Content_Types].xml", b"<Types/>"), ("ppt/presentation.xml", b"<p/>")),
    "a.odt": ODT,
    "a.doc": OLE,
    "a.xls": OLE,
    "a.ppt": OLE,
    "._a.pdf": b"\0\x05\x16\x07\0\x02\0\0Mac OS X        ",
    "a.txt": HTML,
    "a.svg": b"<svg/>",
    "a": HTML,
}
MISFITS = [(name, HTML) for name in FITS if name not in ("a.txt", "a.svg", "a")] + [
    ("b.png", FITS["a.JPG"]), ("b.jpg", FITS["a.png"]), ("b.pdf", DOCX), ("b.docx", FITS["a.pdf"]), ("b.docx", XLSX),
    ("b.docx", ODT), ("b.odt", DOCX), ("b.ods", ODT), ("b.xls", XLSX), ("b.heic", FITS["a.webp"]),
    ("b.webp", b"RIFF....WAVE"), ("b.pdf", b"\0\x05\x16\x07"),
    ("b.png", b"\x89"), ("b.pdf", b"%PD"),
]  # fmt: skip


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    toml = (
        '[files.docs]\nprefix = "docs"\naccept = ["image/*", ".pdf", ".docx", ".txt"]\n[files.all]\nprefix = "all"\n'
        '[forms.claim.fields.paper]\nformat = "file"\nfiles = "files/all"\naccept = [".pdf"]\n'
    )
    found = Site(tmp_path, PROVIDERS["sql"] + toml)
    yield found
    found.app.close()


def status(work: Any, *args: Any, **facts: Any) -> int:
    with pytest.raises(AppError) as caught:
        work(*args, **facts)
    return caught.value.status


@pytest.mark.parametrize("name", FITS)
@pytest.mark.parametrize("size", [1, 7, 5000])
def test_what_fits_comes_through_whole_however_it_is_cut(name: str, size: int) -> None:
    body = FITS[name] + bytes(3000)
    chunks = [body[at : at + size] for at in range(0, len(body), size)]
    assert b"".join(file_kinds.checked(chunks, name)) == body


@pytest.mark.parametrize(("name", "body"), MISFITS)
def test_what_does_not_fit_its_name_is_refused(name: str, body: bytes) -> None:
    for chunks in ([body], [body[:3], body[3:]], [body + bytes(2000)]):
        with pytest.raises(app.UnsupportedMedia, match=r"is no .* as its name says"):
            list(file_kinds.checked(chunks, name))


def test_a_share_that_names_what_it_takes_looks_at_the_bytes_and_another_does_not(site: Site) -> None:
    site.put("files/docs/a.png", body=FITS["a.png"])
    assert status(site.put, "files/docs/b.png", body=HTML) == 415
    assert status(site.put, "files/docs/a.png", body=HTML) == 415
    assert site.bytes("files/docs/a.png") == FITS["a.png"]
    site.put("files/docs/a.txt", body=HTML)
    site.put("files/docs/empty.png", body=b"")
    site.put("files/all/b.png", body=HTML)


def test_a_new_name_is_checked_too(site: Site) -> None:
    site.put("files/docs/a.txt", body=HTML)
    assert status(site.create, "files/docs/a.txt", {"move": "files/docs/a.png"}) == 415
    site.put("files/all/a.png", body=HTML)
    assert status(site.create, "files/all/a.png", {"copy": "files/docs/a.png"}) == 415
    site.put("files/all/b.png", body=FITS["a.png"])
    site.create("files/all/b.png", {"copy": "files/docs/b.png"})


def test_a_field_of_a_form_says_which_file_it_is(site: Site) -> None:
    def paper(body: bytes) -> dict[str, Any]:
        return {"paper": {"name": "p.pdf", "base64": base64.b64encode(body).decode()}}

    site.create("forms/claim", paper(FITS["a.pdf"]))
    with pytest.raises(app.Invalid) as caught:
        site.create("forms/claim", paper(HTML))
    [fault] = caught.value.faults
    assert (fault.pointer, fault.code) == ("/paper", "accept")
    assert "no PDF document" in fault.detail
