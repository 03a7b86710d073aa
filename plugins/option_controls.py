"""How people choose among options: a select up to 50, above that a search for part of the name; and where scripts ask."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import app
from app import Action, Form, Json, NotFound, Plan, Provider, Request, Response, Scope, Unavailable, no_params, plan_of

if TYPE_CHECKING:
    from plugins import options
    from plugins.controls import Input
    from plugins.fields import Field
    from plugins.options import Choice
else:
    options = app.plugin("options")

# ==== 1. SUGGESTIONS =============================================================================================
# forms/F/options/FIELD: what can be chosen in a field, for whoever may submit the form or change its records.
# uses: ERRORS VALUES CONTRACTS RESOURCES plugin:fields plugin:options
# defines: MOST sufficient judged_at handle

MOST = 50  # choices that a select shows, and matches of a search


def sufficient(request: Request) -> tuple[Action, ...]:
    """As Resource.sufficient: the source needs no grant, since nothing but values and labels is seen of it."""
    return (Action.CREATE, Action.UPDATE) if request.action == Action.READ else (request.action,)


def judged_at(request: Request) -> str:
    """As Resource.judged_at: a grant for the form covers its records, and some have one for the records alone."""
    return f"{request.resource}/records"


def handle(form: Form, request: Request, scope: Scope) -> Plan:
    """The first choices, or with `_q` those with that text in their labels."""
    no_params(request, ("_q",))
    name = request.path[1]
    if name not in form.looked_up or name not in form.taken:
        raise NotFound(f"{form.address} has no {'/'.join(request.path)}")
    found = options.choices(form, name).offered(MOST + 1, request.params.get("_q", "").strip())
    items = [{"value": value, "label": label} for value, label in found[:MOST]]
    return plan_of(Response(data={"items": items, "more": len(found) > MOST}))


# ==== 2. CONTROLS ================================================================================================
# The controls of a page with what can be chosen at that moment. Where that cannot be told, they say so and keep what is
# chosen. Without scripts a button looks up what was typed: the page comes back with the matches.
# uses: ERRORS VALUES CONTRACTS RESOURCES SUGGESTIONS plugin:controls plugin:fields plugin:options
# defines: LOOK_UP Lookups

LOOK_UP = "lookup:"  # what the button of a search says, before the name of its field
_FIND, _FOUND = (
    "_find_",
    "_found_",
)  # before the name of a field: what was typed to be looked up, and what was looked up last


def _text(typed: Mapping[str, Sequence[Any]], name: str) -> str:
    return next((text.strip() for text in typed.get(name, ()) if isinstance(text, str)), "")


class Lookups:
    """Fills in the controls of a form's fields that are looked up."""

    def __init__(self, form: Form) -> None:
        self.form = form
        self._slow: list[Provider] = []  # those that kept this page waiting in vain: they are asked no more

    def filled(self, inputs: Sequence[Input], typed: Mapping[str, Sequence[Any]] | None) -> tuple[Input, ...]:
        """The controls with their choices; `typed` is what was sent from the page before, if it comes back."""
        names = self.form.looked_up & self.form.taken.keys()
        return tuple(self._filled(one, typed) if one.name in names else one for one in inputs)

    def _filled(self, one: Input, typed: Mapping[str, Sequence[Any]] | None) -> Input:
        sent = typed or {}
        shown = one.texts if typed is None else [text for text in sent.get(one.name, ()) if isinstance(text, str) and text]
        field, text, t = self.form.fields[one.name], _text(sent, _FIND + one.name), self.form.locale.t
        found = options.choices(self.form, one.name)
        try:
            if found.provider in self._slow:
                raise Unavailable(f"{found.provider.name} does not answer")
            offered = found.offered(MOST + 1)
            if is_many := len(offered) > MOST:
                offered = found.offered(MOST + 1, text) if text else []
            labels = dict(offered) | found.named(_missing(field, shown, offered), former=True)
        except Unavailable:
            self._slow += [found.provider] if found.is_away else []
            return one._replace(choices=tuple((text, text) for text in shown), help=_joined(one.help, t("options.away")))
        choices = [(str(value), label) for value, label in offered[:MOST]]
        chosen = [(each, self._label(field, each, labels)) for each in shown if each not in dict(choices)]
        made = one._replace(choices=(*chosen, *choices))
        if not is_many:
            return made if choices else made._replace(help=_joined(one.help, t("options.none")))
        return self._searched(made, field, text, offered, pressed=_text(sent, "_again") == LOOK_UP + one.name)

    def _label(self, field: Field, text: str, labels: Mapping[Json, str]) -> str:
        value = app.plugin("fields").of_text(field, text)
        return labels.get(value) or str(self.form.locale.t("field.no_longer", value=text))

    def _searched(self, made: Input, field: Field, text: str, offered: Sequence[Choice], *, pressed: bool) -> Input:
        t = self.form.locale.t
        if not text:
            said = t("options.many", n=MOST)
        elif len(offered) > MOST:
            said = t("options.more_matches", n=MOST)
        else:
            said = t("options.matches", n=len(offered)) if offered else t("options.no_match")
        words = {
            "matches": t("options.matches_after"),
            "none": t("options.no_match"),
            "more": t("options.more_matches", n=MOST),
        }
        lookup = SimpleNamespace(
            text=text, said=said, words=words, button=LOOK_UP + made.name, find=_FIND + made.name, found=_FOUND + made.name,
            address=f"{self.form.address}/options/{made.name}",
        )  # fmt: skip
        attrs = {**made.attrs, "autofocus": "autofocus"} if pressed and made.widget == "select" else made.attrs
        return made._replace(lookup=lookup, attrs=attrs)


def _missing(field: Field, shown: Sequence[str], offered: Sequence[Choice]) -> list[Json]:
    """Values of what a control shows that are not among these choices."""
    known = {str(value) for value, _ in offered}
    return [app.plugin("fields").of_text(field, text) for text in shown if text not in known]


def _joined(*texts: str) -> str:
    return " ".join(filter(None, texts))
