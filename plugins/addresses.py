"""Whether hosts, networks, paths and addresses in app.toml are right, and how they are written."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable

# ==== 1. ADDRESSES ===============================================================================================
# Imported by servers, and if app.toml says something else than the defaults. Those that check return what they were given,
# or raise a ValueError that says what to write instead.
# uses: nothing
# defines: bind_address hosts networks prefix site_address ip parsed


def bind_address(text: str) -> str:
    """HOST:PORT or unix:/PATH, to listen on."""
    match = re.fullmatch(r"(\[[0-9a-fA-F:.]+\]|[A-Za-z0-9_-]*(?:\.[A-Za-z0-9_-]+)*):([0-9]{1,5})", text)
    if text.startswith("unix:/") or (match and int(match[2]) < 65536):
        return text
    such = "127.0.0.1:8080"
    if text.isdigit():
        such = f"127.0.0.1:{text}"
    elif re.fullmatch(r"[\w.-]+", text):
        such = f"{text}:8080"
    raise ValueError(f'must be HOST:PORT, [IPV6]:PORT or unix:/PATH, such as "{such}"')


def hosts(names: tuple[str, ...]) -> tuple[str, ...]:
    """Names and addresses of hosts without a port, and "*"."""
    for host in names:
        if host != "*" and not re.fullmatch(r"[A-Za-z0-9_.-]+|[0-9a-fA-F]*:[0-9a-fA-F:]*:[0-9a-fA-F:]*", host):
            raise ValueError(f"{host!r} is not a host name: write it without scheme and port, such as intranet.local")
    return names


def networks(texts: tuple[str, ...]) -> tuple[str, ...]:
    """IP addresses and networks, and "unix"."""
    for network in texts:
        try:
            _ = network == "unix" or ipaddress.ip_network(network, strict=False)
        except ValueError:
            raise ValueError(f"{network!r} is neither an address such as 10.0.0.7 or 10.0.0.0/8, nor unix") from None
    return texts


def prefix(text: str) -> str:
    """A path without a slash at its end."""
    if not re.fullmatch(r"(/[A-Za-z0-9._~-]+)*", text) or {".", ".."} & set(text.split("/")):
        raise ValueError('must be "" or a path such as "/ops", with no slash at the end')
    return text


def site_address(text: str) -> str:
    """An http or https URL of a host and at most a path without a slash at its end."""
    host = r"(?:[A-Za-z0-9_-]+(?:\.[A-Za-z0-9_-]+)*|\[[0-9A-Fa-f:.]+\])"
    found = re.fullmatch(rf"https?://{host}(?::([0-9]{{1,5}}))?((?:/[A-Za-z0-9._~-]+)*)", text)
    if not found or not 0 < int(found[1] or 443) < 65536 or {".", ".."} & set(found[2].split("/")):
        raise ValueError('must be "" or an address such as "https://intranet.example.org", with no slash at the end')
    return text


def ip(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """The address that a text is, one of IPv4 in the form of IPv6 as that of IPv4; None if it is none."""
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address


def parsed(texts: Iterable[str]) -> list[ipaddress.IPv4Network | ipaddress.IPv6Network]:
    """The networks of `networks`, without "unix"."""
    return [ipaddress.ip_network(text, strict=False) for text in texts if text != "unix"]
