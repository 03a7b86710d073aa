"""Passwords of people: how they are kept, which are good enough, and how one is compared."""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
import secrets
import unicodedata
from collections.abc import Iterable, Iterator
from functools import cache

from app import PASSWORDS, Fault, Insert, Records, Unauthenticated, Update, Value, bundled_text, check_text, is_key

# ==== 1. PASSWORDS ===============================================================================================
# scrypt (RFC 7914), which takes 16 MiB and some tenths of a second; the parameters stand in what is kept, so that they can
# change. What is kept never stands in the audit trail.
# uses: ERRORS VALUES CONFIG CONTRACTS AUTH
# defines: SHORTEST LONGEST faults hashed fits is_right proved kept

SHORTEST, LONGEST = 10, 1000  # characters
_COST, _BLOCK, _TIMES = 2**14, 8, 5  # n, r and p, as OWASP's Password Storage Cheat Sheet has them for 16 MiB


def faults(password: str, about: Iterable[str] = ()) -> Iterator[Fault]:
    """What is wrong with a new password; `about` are texts that everybody knows of the person and the site."""
    if problem := check_text(password):
        yield Fault("/password", "text", problem)
    elif len(password) < SHORTEST:
        yield Fault("/password", "minLength", f"must have at least {SHORTEST} characters, such as a few words")
    elif len(password) > LONGEST:
        yield Fault("/password", "maxLength", f"must have at most {LONGEST:,} characters")
    elif _stem(password) in _common() or password.casefold() in _common() or len(set(password.casefold())) < 4:
        yield Fault("/password", "common", "is one of those that are tried first: choose another one")
    elif any(_stem(password) == _stem(text) for text in about if text):
        yield Fault("/password", "personal", "is your name, your address or the name of this site: choose another one")


def _stem(text: str) -> str:
    """A text without the digits and marks around it, which make nothing harder to guess."""
    return re.sub(r"^[\W\d_]+|[\W\d_]+$", "", text.casefold())


@cache
def _common() -> frozenset[str]:
    return frozenset(line for line in bundled_text("passwords.txt").splitlines() if not line.startswith("#"))


def hashed(password: str) -> str:
    """What is kept of a password: "scrypt$N$R$P$SALT$HASH"."""
    salt = secrets.token_bytes(16)
    made = _scrypt(password, salt, _COST, _BLOCK, _TIMES)
    return "$".join(["scrypt", str(_COST), str(_BLOCK), str(_TIMES), _text(salt), _text(made)])


def fits(password: str, kept_as: str) -> bool:
    """Whether this is the password."""
    _, cost, block, times, salt, made = kept_as.split("$")
    found = _scrypt(password, base64.b64decode(salt), int(cost), int(block), int(times))
    return hmac.compare_digest(found, base64.b64decode(made))


def _scrypt(password: str, salt: bytes, cost: int, block: int, times: int) -> bytes:
    most_bytes = 256 * cost * block
    typed = unicodedata.normalize("NFC", password).encode(errors="surrogatepass")  # keyboards differ in the form
    return hashlib.scrypt(typed, salt=salt, n=cost, r=block, p=times, maxmem=most_bytes, dklen=32)


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode()


@cache
def _nobodys() -> str:
    return hashed(secrets.token_urlsafe())


def is_right(records: Records, subject: str, password: str) -> bool:
    """Whether a person has this password. It takes as long for nobody's name."""
    row = records.get(PASSWORDS, subject) if is_key(subject) else None
    if len(password) > LONGEST:
        password = ""
    return fits(password, row.value["hash"] if row and not row.damage else _nobodys()) and row is not None


def proved(records: Records, subject: str, password: str) -> Value:
    """What stands for a person who signs in by a password, as the row of a link would. Raises Unauthenticated, with the
    same words whatever is wrong."""
    if is_right(records, subject, password):
        return {"jti": "", "subject": subject}
    raise Unauthenticated("the name or the password is wrong")


def kept(records: Records, subject: str, password: str, at: float) -> Insert | Update:
    """What keeps a new password."""
    value: Value = {"hash": hashed(password), "changed_at": int(at)}
    row = records.get(PASSWORDS, subject)
    return Update(PASSWORDS, subject, value, row.version) if row else Insert(PASSWORDS, subject, value)
