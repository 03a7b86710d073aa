"""Values that are made for each new record: the day, the moment, and who makes it."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

from app import Form, Json, Scope, Value, rfc3339

# ==== 1. DEFAULTS ================================================================================================
# Imported only where a form has a default of $today, $now or $me. What they make is checked as if it had been sent.
# uses: VALUES CONTRACTS RESOURCES
# defines: values shown filled


def values(form: Form, scope: Scope) -> Value:
    """What the defaults of a form's fields make at this moment for the caller, by field; the public is nobody."""
    made = {
        "$today": datetime.fromtimestamp(scope.now, UTC).astimezone(form.locale.zone).date().isoformat(),
        "$now": rfc3339(scope.now),
        "$me": scope.caller.subject,
    }
    return {name: made[one.fill] for name, one in form.fields.items() if one.fill and not one.made and made[one.fill]}


def shown(form: Form, scope: Scope) -> Value:
    """The same for a page, with the moment to the minute, as people write it."""
    return values(form, scope._replace(now=scope.now // 60 * 60))


def filled(form: Form, items: Sequence[Json], typed: bool, scope: Scope) -> list[Json]:
    """The data of new records with these values where nothing was sent under the name of their field. What a page sends
    empty stays so. A field that is not asked for in every record gets its own when that is known: plugins/conditions.py."""
    made = {
        name: value if typed else [value]
        for name, value in values(form, scope).items()
        if not getattr(form.fields[name].config, "show_if", None)
    }
    return [{**made, **one} if isinstance(one, dict) else one for one in items]
