"""How pages ask which roles and grants somebody or some program is to have: a row for each resource, with what can be done
there in words."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, cast

from app import (
    BadRequest,
    Caller,
    Config,
    Fault,
    Form,
    Grant,
    Json,
    Value,
    parse_grant,
    plugin,
)

if TYPE_CHECKING:
    from plugins.fields import Field
else:
    Field = plugin("fields").Field

# ==== 1. PICKER ==================================================================================================
# Made from what is declared. A page offers what its caller may give; a program may send any other grant, and what is sent is
# checked in the same way wherever it comes from.
# uses: ERRORS VALUES CONFIG AUTH RESOURCES plugin:fields plugin:people
# defines: roles_field grants_field Grants offers

_KINDS = ("forms", "views", "files", "apps", "admin")  # in this order
_OFFERED = {
    "files": ("read", "create", "update,delete"), "forms": ("create", "read", "update,delete"), "admin": ("read", "*"),
}  # fmt: skip
_MINE = "/mine"  # behind a form: one's own records there
_ONLY_READ = ("audit", "metrics", "access", "providers", "check")  # of the administration: there nothing else can be done


def roles_field(title: str, config: Config, titles: Mapping[str, str], t: Any) -> Value:
    """How roles are asked for, as app.toml would say it: each with what it allows, in the words of a language."""
    in_words = plugin("people").in_words
    roles = [{"const": name, "title": f"{name}: {in_words(one.grants, titles, t)}"} for name, one in config.roles.items()]
    return {"title": title, "type": "array", "items": {"oneOf": roles}}


def grants_field(title: str, titles: Mapping[str, str], t: Any) -> Value:
    """The same of grants."""
    in_words = plugin("people").in_words
    offered = [{"const": str(one), "title": in_words([one], titles, t)} for one in _offered(titles)]
    return {"title": title, "type": "array", "items": {"oneOf": offered}}


def _offered(titles: Mapping[str, str]) -> Iterator[Grant]:
    """The grants that pages offer."""
    yield parse_grant("**:*")
    for kind in _KINDS:
        addresses = [address for address in titles if address.startswith(kind + "/")]
        if len(addresses) > 1 and kind != "admin":
            addresses.insert(0, f"{kind}/*")
        for address in addresses:
            is_read = kind == "admin" and address.partition("/")[2] in _ONLY_READ
            for actions in ("read",) if is_read else _OFFERED.get(kind, ("read",)):
                yield parse_grant(f"{address}:{actions}")
                if (kind, actions) == ("forms", "create"):
                    yield parse_grant(f"{address}{_MINE}:update,delete")


class Grants(Field):
    """A field of grants: pages offer some, and programs may send any."""

    widget = "grants"  # of pages

    def __init__(self, made: Field, titles: Mapping[str, str]) -> None:
        super().__init__(made.config, made.place)
        self._titles = titles
        self.groups = dict(_groups([str(one) for one, _ in made.choices], titles))

    def odd(self, value: Json, t: Any) -> str:
        """What a grant allows that pages do not offer."""
        try:
            return str(plugin("people").in_words([parse_grant(value)], self._titles, t))
        except (BadRequest, AttributeError):
            return str(value)

    def _schema(self) -> Value:
        return super()._schema() | {"items": {"type": "string"}}

    def faults(self, value: Json, pointer: str) -> list[Fault]:
        if not isinstance(value, list) or not all(isinstance(one, str) for one in value):
            return super().faults(value, pointer)
        found = []
        for number, text in enumerate(value):
            try:
                parse_grant(text)
            except BadRequest as error:
                found.append(Fault(f"{pointer}/{number}", "grant", error.message))
        return found


def _groups(texts: Sequence[str], titles: Mapping[str, str]) -> Iterator[tuple[str, tuple[str, str, str]]]:
    """Of each grant the kind of things that it is about, which of them, and what it allows there: the ends of keys of the
    catalogue, and a title, "" for all things of the kind."""
    for text in texts:
        address, _, actions = text.rpartition(":")
        kind, _, name = address.partition("/")
        if kind in _KINDS:
            label = "forms_mine" if name.endswith(_MINE) else f"{kind}_{actions.replace(',', '_').replace('*', 'all')}"
            place = address.removesuffix(_MINE)
            yield text, (kind, "" if place == f"{kind}/*" else titles.get(place, place), label)


def offers(
    form: Form, caller: Caller, roles: Mapping[str, Sequence[Grant]], telling: frozenset[str]
) -> dict[str, frozenset[str]]:
    """Of the fields "roles" and "grants" of a form the choices that lie within what the caller may do himself. The roles
    `telling` allow something by their name: nobody gives one that he does not hold."""
    beyond, lacking = plugin("people").beyond, plugin("people").lacking
    grants = [str(one) for one, _ in form.fields["grants"].choices]
    own = {name: those for name, those in roles.items() if not lacking(caller, [name], telling)}
    wanted = {"roles": cast(Mapping[str, Any], own), "grants": {one: [parse_grant(one)] for one in grants}}
    return {
        name: frozenset(text for text, those in choices.items() if not beyond(caller, those))
        for name, choices in wanted.items()
        if name in form.fields
    }
