"""forms/F/mine: one's own records of a form, for whoever may submit there."""

from __future__ import annotations

from typing import cast

from app import (
    Action,
    Form,
    Plan,
    Request,
    Response,
    Scope,
    SignInNeeded,
    part_of_record,
    plugin,
)

# ==== 1. MINE ====================================================================================================
# A place like the list of records, with the same below it, where nobody finds anything but his own.
# uses: ERRORS VALUES CONTRACTS RESOURCES plugin:row_rules
# defines: sufficient judged_at handle


def sufficient(request: Request) -> tuple[Action, ...]:
    """Who may submit may look; what is done with a record or inside it needs that action, or is judged there."""
    if request.action == Action.READ:
        return (Action.CREATE, Action.READ)
    inner = part_of_record(request.path)
    return (*inner.sufficient(request), Action.CREATE) if inner else (request.action,)


def judged_at(request: Request) -> str:
    """Looking is judged at the form, all else where it is done."""
    is_inside = request.action == Action.READ or part_of_record(request.path) is not None
    return request.resource if is_inside else request.address


def handle(form: Form, request: Request, scope: Scope) -> Plan:
    """What the form itself, or a plugin for its records, makes of it. Raises SignInNeeded for the public, which owns
    nothing."""
    if not scope.caller.subject:
        raise SignInNeeded("sign in to see what you have sent")
    mine = plugin("row_rules").own(form, scope.caller.subject, f"{form.address}/mine")
    inner = part_of_record(request.path)
    plan = cast(Plan, inner.handle(mine, request, scope) if inner else mine.within(request, scope))
    return plan._replace(respond=lambda blobs: _titled(plan.respond(blobs), mine))


def _titled(response: Response, form: Form) -> Response:
    """The answer, on whose page the list goes by its own name."""
    if "records_at" in response.page:
        t = form.locale.t
        named = {"list": t("trail.mine"), "heading": t("trail.mine_of", title=form.title)}
        response.page = {**response.page, **named}
    return response
