"""The XML of WebDAV: bodies of requests, read safely and within bounds, and the pieces that answers are made of."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cache, lru_cache
from html import escape
from typing import TYPE_CHECKING, Any, NamedTuple

from app import BadRequest, Exchange, TooLarge

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element

# ==== 1. BODIES ==================================================================================================
# What clients send (RFC 4918 section 14). Nothing in it is fetched or expanded: a document type is refused.
# uses: ERRORS RUNNERS
# defines: DAV MOST_BYTES MOST_DEPTH parsed serialized body_of Wanted wanted Patch patches Lockinfo lockinfo

DAV = "{DAV:}"  # as ElementTree writes names: {namespace}name
MOST_BYTES = 1 << 20
MOST_DEPTH = 60
_MOST_ELEMENTS = 20_000
_LANG = "{http://www.w3.org/XML/1998/namespace}lang"


def parsed(data: bytes) -> Element:
    """The root of a document. Raises BadRequest if it is not well-formed, has a document type or is nested too deeply."""
    from xml.etree.ElementTree import TreeBuilder
    from xml.parsers.expat import ExpatError, ParserCreate

    builder, parser, depth, count = TreeBuilder(), ParserCreate(None, "}"), 0, 0

    def named(name: str) -> str:
        return "{" + name if "}" in name else name

    def start(name: str, attributes: dict[str, str]) -> None:
        nonlocal depth, count
        depth, count = depth + 1, count + 1
        if depth > MOST_DEPTH or count > _MOST_ELEMENTS:
            raise BadRequest(f"the XML is nested over {MOST_DEPTH} levels deep, or has over {_MOST_ELEMENTS:,} elements")
        builder.start(named(name), {named(key): text for key, text in attributes.items()})

    def end(name: str) -> None:
        nonlocal depth
        depth -= 1
        builder.end(named(name))

    def refuse(*_: Any) -> None:
        raise BadRequest("the XML has a document type, which is not read here")

    parser.buffer_text = True
    parser.StartElementHandler, parser.EndElementHandler = start, end
    parser.CharacterDataHandler = builder.data
    parser.StartDoctypeDeclHandler = parser.EntityDeclHandler = refuse
    try:
        parser.Parse(data, True)
    except (ExpatError, ValueError, LookupError) as error:
        raise BadRequest(f"the XML is not well-formed: {error}") from error
    return builder.close()


def serialized(one: Element) -> str:
    """An element with all that is in it, with the declarations that it needs."""
    from xml.etree.ElementTree import tostring

    return tostring(one, encoding="unicode").replace("\r", "&#13;")  # as it is, it would be read as the end of a line


def body_of(exchange: Exchange) -> Element | None:
    """The root of the body; None if there is no body. Raises TooLarge beyond MOST_BYTES."""
    try:
        data = b"".join(exchange.body.bounded(MOST_BYTES))
    except TooLarge as error:
        raise TooLarge("the XML has over 1 MB") from error
    return parsed(data) if data else None


class Wanted(NamedTuple):
    """The properties that PROPFIND asks for. Without `names` they are all that are usual, and `include` beside them."""

    names: Sequence[str] | None = None
    include: Sequence[str] = ()
    only_names: bool = False


def wanted(root: Element | None) -> Wanted:
    """What the body of PROPFIND asks for; an empty one asks for all. Raises BadRequest for any other body."""
    if root is None:
        return Wanted()
    kinds = [one for one in root if one.tag in (f"{DAV}prop", f"{DAV}allprop", f"{DAV}propname")]
    if root.tag != f"{DAV}propfind" or len(kinds) != 1:
        raise BadRequest("the body must be a propfind of DAV: with one of prop, allprop and propname")
    if kinds[0].tag == f"{DAV}prop":
        return Wanted(list(dict.fromkeys(one.tag for one in kinds[0])))
    included = root.find(f"{DAV}include")
    if kinds[0].tag == f"{DAV}propname":
        return Wanted(only_names=True)
    return Wanted(include=[one.tag for one in included] if included is not None else ())


class Patch(NamedTuple):
    """One instruction of PROPPATCH; `value` is the whole element, or None to remove the property."""

    name: str
    value: Element | None


def patches(root: Element | None) -> list[Patch]:
    """The instructions of PROPPATCH, in order. Raises BadRequest if the body has none."""
    if root is None or root.tag != f"{DAV}propertyupdate":
        raise BadRequest("the body must be a propertyupdate of DAV:")
    found = []
    for step in root:
        if step.tag not in (f"{DAV}set", f"{DAV}remove"):
            continue
        for prop in step.findall(f"{DAV}prop"):
            for one in prop:
                lang = next((e.get(_LANG) for e in (one, prop, step, root) if e.get(_LANG)), None)
                if lang:
                    one.set(_LANG, lang)
                one.tail = None
                found.append(Patch(one.tag, one if step.tag == f"{DAV}set" else None))
    if not found:
        raise BadRequest("the propertyupdate sets and removes nothing")
    return found


class Lockinfo(NamedTuple):
    """What LOCK asks for. `owner` is the XML of its element, as the client wrote it; "" if there is none."""

    is_exclusive: bool
    owner: str


def lockinfo(root: Element) -> Lockinfo:
    """What the body of LOCK asks for. Raises BadRequest if it is no lock that there is."""
    scope, kind = root.find(f"{DAV}lockscope"), root.find(f"{DAV}locktype")
    scopes = [one.tag.removeprefix(DAV) for one in scope] if scope is not None else []
    if root.tag != f"{DAV}lockinfo" or scopes not in (["exclusive"], ["shared"]):
        raise BadRequest("the body must be a lockinfo of DAV: with the lockscope exclusive or shared")
    if kind is None or [one.tag for one in kind] != [f"{DAV}write"]:
        raise BadRequest("the only locktype is write")
    owner = root.find(f"{DAV}owner")
    if owner is None:
        return Lockinfo(scopes == ["exclusive"], "")
    owner.tail = None
    return Lockinfo(scopes == ["exclusive"], serialized(owner))


# ==== 2. ANSWERS =================================================================================================
# Elements as text. The prefix D stands for DAV: in all of an answer; other names declare their own.
# uses: BODIES
# defines: MEDIA HEAD empty element plain propstats response unmet multistatus document

MEDIA = "application/xml; charset=utf-8"
HEAD = '<?xml version="1.0" encoding="utf-8"?>\n'
_FORBIDDEN = re.compile("[^\t\n\r -\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_SUCCESS = {200: "OK", 207: "Multi-Status", 403: "Forbidden", 404: "Not Found", 409: "Conflict", 423: "Locked"}
_PHRASES = {**_SUCCESS, 424: "Failed Dependency", 500: "Internal Server Error", 507: "Insufficient Storage"}


@lru_cache(1000)
def _opened(name: str) -> tuple[str, str]:
    """The name as it stands in a tag, and the declaration that it needs."""
    if name.startswith(DAV):
        return "D:" + name.removeprefix(DAV), ""
    space, closed, local = name.removeprefix("{").rpartition("}")
    return ("N:" + local, f' xmlns:N="{escape(space)}"') if closed else (name, "")


def empty(name: str) -> str:
    """An element without content."""
    tag, declared = _opened(name)
    return f"<{tag}{declared}/>"


def element(name: str, content: str) -> str:
    """An element around what is XML already."""
    tag, declared = _opened(name)
    return f"<{tag}{declared}>{content}</{tag}>" if content else f"<{tag}{declared}/>"


def plain(words: str) -> str:
    """Words as XML may have them: characters that it forbids are replaced."""
    return escape(_FORBIDDEN.sub("\ufffd", words), quote=False)


@cache
def _status(status: int) -> str:
    return f"<D:status>HTTP/1.1 {status} {_PHRASES.get(status, 'Error')}</D:status>"


def propstats(found: Mapping[int, Iterable[str]], conditions: Mapping[int, str] | None = None) -> str:
    """Elements of properties by their status; `conditions` are what was not fulfilled, by status."""
    said = {status: unmet(condition) for status, condition in (conditions or {}).items()}
    return "".join(
        f"<D:propstat><D:prop>{''.join(props)}</D:prop>{_status(status)}{said.get(status, '')}</D:propstat>"
        for status, props in found.items()
    )


def response(href: str, inside: str = "", status: int = 0) -> str:
    """The answer about one place: its properties, or its status."""
    return f"<D:response><D:href>{plain(href)}</D:href>{_status(status) if status else inside}</D:response>"


def unmet(condition: str, inside: str = "") -> str:
    """The condition of DAV: that was not fulfilled (RFC 4918 section 16)."""
    return f"<D:error>{element(DAV + condition, inside)}</D:error>"


def multistatus(responses: Iterable[str], size: int = 65_536) -> Iterator[bytes]:
    """A document of such answers, in pieces of about `size` characters."""
    lines, length = [HEAD, '<D:multistatus xmlns:D="DAV:">'], 0
    for one in responses:
        lines.append(one)
        length += len(one)
        if length > size:
            yield "".join(lines).encode()
            lines, length = [], 0
    yield "".join([*lines, "</D:multistatus>\n"]).encode()


def document(name: str, inside: str) -> bytes:
    """A document of one element of DAV:."""
    return f'{HEAD}<D:{name} xmlns:D="DAV:">{inside}</D:{name}>\n'.encode()
