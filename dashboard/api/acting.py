"""This file knows what programs can ask for; the site checks each again, against who the person is by then."""

from collections.abc import Callable
from typing import Annotated, get_args

from fastapi import APIRouter, Depends, Request
from pydantic import BaseModel, ConfigDict, Field

from dashboard.access import Visitor
from dashboard.api.answers import AskedAnswer
from dashboard.api.problems import refusal
from dashboard.runtime import Dashboard
from schemas.names import Name, PointId
from schemas.requests import ALLOWED, ROLES, WHOLE, Action, CaseAction, RolloutAction, Values, WorkAction

ACTIONS: tuple[Action, ...] = (*get_args(CaseAction), *get_args(WorkAction), *get_args(RolloutAction))
"""People are managed on their page alone."""


class ActionBody(BaseModel):
    """What an action is about; which of it is needed, each action's own words say."""

    model_config = ConfigDict(extra="forbid")

    machine: Name | None = None
    point: PointId | None = None
    case_id: int | None = Field(default=None, ge=1, le=2**62)
    note: Annotated[str, Field(max_length=2000), WHOLE] = ""
    label: Annotated[str, Field(max_length=32), WHOLE] = ""
    values: Annotated[Values, WHOLE] = {}


def acting_routes(board: Dashboard, caller: Callable[..., Visitor]) -> APIRouter:
    """One path for each action, so that the description names them all."""
    router = APIRouter(tags=["actions"])
    for action in ACTIONS:
        least = min(ALLOWED[action], key=ROLES.index)
        router.add_api_route(
            f"/actions/{action}", _asking(board, caller, action), methods=["POST"], status_code=202,
            name=action, summary=action.replace("_", " ").capitalize(), operation_id=action,
            description=f"Asks the site; its answer is found where `follow` says. For {least} and above.",
        )  # fmt: skip
    return router


def _asking(board: Dashboard, caller: Callable[..., Visitor], action: Action) -> Callable[..., AskedAnswer]:
    def ask(request: Request, body: ActionBody, visitor: Annotated[Visitor, Depends(caller)]) -> AskedAnswer:
        if visitor.role not in ALLOWED[action]:
            allowed = ", ".join(role for role in ROLES if role in ALLOWED[action])
            raise refusal(403, f"a {visitor.role} may not {action}; allowed: {allowed}")
        request_id = board.writer.ask(
            action, visitor, body.machine, case_id=body.case_id, point=body.point, note=body.note, label=body.label,
            values=body.values,
        )  # fmt: skip
        return AskedAnswer(request_id=request_id, follow=f"{request.scope['root_path']}/requests/{request_id}")

    return ask
