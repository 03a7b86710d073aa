"""Sign-in links that go out by mail: those that are asked for, and those of invitations."""

from __future__ import annotations

import base64
import hmac
import html
from collections.abc import Sequence
from typing import Any, cast
from urllib.parse import quote

from app import (
    PEOPLE,
    AppError,
    Caller,
    Condition,
    Insert,
    Query,
    Record,
    Records,
    Scope,
    Unauthenticated,
    Update,
    Value,
    Write,
    is_key,
    plugin,
    secret_digest,
)

# ==== 1. LINKS ===================================================================================================
# The code of such a link follows from the id of its row in the outbox and a key of the site's ring. It stands nowhere, not
# even in the outbox while it waits; as of any link only its digest is kept.
# uses: ERRORS VALUES CONTRACTS AUTH plugin:outbox plugin:people plugin:tokens
# defines: CHANNEL LINK_S MAILED_S invited asked notice failed

CHANNEL = "mail"  # the one that carries them
LINK_S = 600  # for how long a link is good that was asked for, and tried to be sent
MAILED_S = 86_400.0  # for how long an invitation is tried to be sent
_PURPOSE = "mailed link"
_PAGE = """\
<!doctype html>
<html lang="{lang}" dir="{dir}">
<head><meta charset="utf-8"><title>{title}</title></head>
<body style="font-family: sans-serif; line-height: 1.5">
<p>{before}</p>
<p><a href="{link}" style="background: #1d4ed8; color: #ffffff; padding: 0.5em 1em; text-decoration: none">{button}</a></p>
<p><a href="{link}">{link}</a></p>
{after}
</body>
</html>
"""


def _code(key: bytes, row_key: str) -> str:
    """The code of the link in one mail, of 43 letters as of any link."""
    return base64.urlsafe_b64encode(hmac.digest(key, row_key.encode(), "sha256")).decode().rstrip("=")


def invited(site: Any, person: Value, scope: Scope, seconds: int, kind: str, url: str) -> tuple[str, list[Insert], str]:
    """A link to the site at `url` that signs a person in once within so many seconds, what stores its digest and mails it,
    and to which address; "" if there is none, or no channel. `kind`: an "invitation", or a new "link" for somebody who had
    one."""
    now, email = scope.now, person.get("email") or ""
    if not email or CHANNEL not in site.channels:
        code, link = plugin("people").invited(person["subject"], now, seconds)
        return f"{url}/login/{code}", [link], ""
    [key] = scope.new_ids(1)
    code = _code(site.authority.keys.sub_key(_PURPOSE), key)
    link = _link(code, person["subject"], now + seconds)
    facts: Value = {"subject": person["subject"], "email": email, "by": scope.caller.subject, "link": link.key}
    facts |= {"days": seconds // 86_400, "url": url}
    return f"{url}/login/{code}", [link, plugin("outbox").waiting(key, CHANNEL, kind, facts, now, MAILED_S)], email


def asked(email: str, after: str, languages: str, key: str, now: float) -> Insert:
    """What makes a link for whoever has an address, if anybody has it, and mails it; `after` is where it leads to then."""
    facts: Value = {"email": email, "after": after, "languages": languages}
    return cast(Insert, plugin("outbox").waiting(key, CHANNEL, "sign_in", facts, now, LINK_S))


def _link(code: str, subject: str, expires_at: float) -> Insert:
    return Insert("_links", secret_digest(code), {"jti": "", "subject": subject, "expires_at": int(expires_at)})


# ---- when it is sent


def notice(site: Any, row: Record) -> Value | None:
    """What the row says; None if it is for nobody who may sign in, or if its link was used or is no longer good."""
    facts, is_asked = row.value["facts"], row.value["kind"] == "sign_in"
    person = _person(site.state, facts)
    code = (_asked_code(site, row, person) if is_asked else _invited_code(site, row)) if person else ""
    if person is None or not code:
        return None
    link = f"{facts.get('url') or plugin('tokens').site_url(site.config)}/login/{code}"
    link += f"?after={quote(facts['after'], safe='/')}" if facts.get("after") else ""
    said = {"id": row.key, "at": row.value["at"], "to": facts["email"]}
    return said | _said(site, person, facts, link, row.value["kind"])


def _person(state: Records, facts: Value) -> Record | None:
    """Whom it is for; None if there is nobody, or nobody who may sign in."""
    try:
        if "subject" in facts:
            return cast(Record | None, plugin("people").standing(state, facts["subject"]))
        found = state.find(Query(PEOPLE, (Condition("email", "eq", facts["email"]),), limit=2)).items
        return cast(Record | None, plugin("people").standing(state, found[0].key)) if len(found) == 1 else None
    except Unauthenticated:
        return None


def _asked_code(site: Any, row: Record, person: Record) -> str:
    """The code of a link that is good for some minutes from this try on; "" if it was used after an earlier one."""
    code = _code(site.authority.keys.sub_key(_PURPOSE), row.key)
    fresh = _link(code, person.key, site.clock() + LINK_S)
    known = site.state.get("_links", fresh.key)
    if known is None:
        entry = site.audit.entry(Caller("job:outbox"), "job", row.key, _address(person.key), "link")
        site.state.commit([fresh, site.audit.insert(entry | {"after": {"channel": CHANNEL}})])
    elif known.value.get("used_at"):
        return ""
    else:
        site.state.commit([Update("_links", fresh.key, fresh.value, known.version)])
    return code


def _invited_code(site: Any, row: Record) -> str:
    """The code of the link of an invitation; "" if it is not good any more."""
    digest = row.value["facts"]["link"]
    link = site.state.get("_links", digest)
    if link is None or link.damage or link.value.get("used_at") or link.value["expires_at"] <= site.clock():
        return ""
    for key in site.authority.keys.sub_keys(_PURPOSE):
        if secret_digest(code := _code(key, row.key)) == digest:
            return code
    raise AppError("the key of the site with which its link was made was retired: make a new link")


def _address(subject: str) -> str:
    return f"admin/people/{quote(subject, safe='')}"


def _said(site: Any, person: Record, facts: Value, link: str, kind: str) -> Value:
    """Title, text and HTML, in the language of the person."""
    locale = site.languages.of(person.key, facts.get("languages", ""))
    t, named = locale.t, {"site": site.title}
    match kind:
        case "sign_in":
            title, before, after = t("mail.sign_in_title", **named), t("mail.sign_in_text", **named), [t("mail.not_you")]
        case "invitation":
            title, before = t("mail.invitation_title", **named), t("mail.invitation_text", n=facts["days"], **named)
            after = [t("mail.name", subject=person.key)]
        case _:
            title, before = t("mail.link_title", **named), t("mail.link_text", n=facts["days"], **named)
            after = [t("mail.name", subject=person.key)]
    if by := _named(site.state, facts.get("by", "")):
        after.append(t("mail.by", who=by))
    page = _PAGE.format(
        lang=locale.lang, dir=locale.direction, title=html.escape(title), link=html.escape(link),
        button=html.escape(t("common.sign_in")), before=html.escape(before),
        after="\n".join(f"<p>{html.escape(one)}</p>" for one in after),
    )  # fmt: skip
    return {"title": title, "text": "\n\n".join([before, link, *after]) + "\n", "html": page}


def _named(state: Records, subject: str) -> str:
    """A person by name; "" for what is no person, such as the command line."""
    row = state.get(PEOPLE, subject) if is_key(subject) else None
    return str(row.value.get("name") or subject) if row and not row.damage else ""


def failed(site: Any, row: Record, error: AppError) -> Sequence[Write]:
    """The audit entry of one that could not be sent."""
    person = _person(site.state, row.value["facts"])
    if person is None:
        return []
    entry = site.audit.entry(Caller("job:outbox"), "job", row.key, _address(person.key), "mail", "failed", error.code)
    told: Value = {"channel": CHANNEL, "to": row.value["facts"]["email"], "why": error.message}
    return [site.audit.insert(entry | {"after": told})]
