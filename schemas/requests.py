"""This file knows what a person can ask for on the dashboard, and how the dashboard vouches for it.

The dashboard writes one sealed row into the table `request`; the aggregator opens the seal, checks what the role
allows, and carries it out. The dashboard changes nothing by itself.
"""

from typing import Annotated, Literal, TypeVar, get_args

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from schemas.names import Name, PointId

REQUEST_TOPIC = "request"
Role = Literal["viewer", "technician", "analyst", "engineer", "admin"]
CaseAction = Literal["acknowledge", "note", "maintenance", "label", "request_evidence", "close"]
WorkAction = Literal[
    "shelve", "unshelve", "work_order", "test_notification", "set_routes", "set_assets", "set_limits", "set_bearings"
]  # fmt: skip
PeopleAction = Literal[
    "create_first_admin",
    "create_person",
    "set_person",
    "set_password",
    "remove_person",
    "sign_in",
    "sign_out_everywhere",
    "create_token",
    "remove_token",
]
RolloutAction = Literal["roll_back_release", "promote_release", "pause_rollout", "resume_rollout"]
Action = Literal[CaseAction, WorkAction, PeopleAction, RolloutAction]

ROLES: tuple[Role, ...] = get_args(Role)
"""From the one that may least to the one that may most; each may all that those before it may."""

SECOND_WITHIN_S = 3600.0  # both have the same trouble before them; what was asked yesterday was about another
FIRST_OF_TWO = "roll-back wanted by the first of two people: "
"""How the line begins that the first of two leaves in a release's history, where a plant wants two for a roll-back."""

MAX_VALUES_BYTES = 1 << 20  # of a request, as JSON: a table of assets of a large plant fits

_Said = TypeVar("_Said")

_HANDS: frozenset[Role] = frozenset({"technician", "analyst", "engineer", "admin"})
_EXPERTS: frozenset[Role] = frozenset({"analyst", "engineer", "admin"})
_ENGINEERS: frozenset[Role] = frozenset({"engineer", "admin"})
_ADMINS: frozenset[Role] = frozenset({"admin"})
_ANYBODY: frozenset[Role] = frozenset({"viewer", *_HANDS})

ALLOWED: dict[Action, frozenset[Role]] = {
    "acknowledge": _HANDS,
    "note": _HANDS,
    "request_evidence": _HANDS,
    "maintenance": _HANDS,
    "label": _EXPERTS,
    "close": _EXPERTS,
    "shelve": _HANDS,
    "unshelve": _HANDS,
    "work_order": _HANDS,
    "test_notification": _ENGINEERS,
    "set_routes": _ENGINEERS,
    "set_assets": _ENGINEERS,
    "set_limits": _ENGINEERS,
    "set_bearings": _ENGINEERS,
    "create_first_admin": _ADMINS,
    "create_person": _ADMINS,
    "set_person": _ADMINS,
    "set_password": _ANYBODY,
    "remove_person": _ADMINS,
    "sign_in": _ANYBODY,
    "sign_out_everywhere": _ANYBODY,
    "create_token": _ANYBODY,
    "remove_token": _ANYBODY,
    "roll_back_release": _ENGINEERS,
    "promote_release": _ENGINEERS,
    "pause_rollout": _ENGINEERS,
    "resume_rollout": _ENGINEERS,
}

Value = str | int | float | bool | None
Values = dict[str, Value | list[dict[str, Value]]]
"""What an action needs beyond the fields that all share: names to single values, or to the rows of a table."""


def _require_whole(value: _Said) -> _Said:
    if isinstance(value, str):
        if "\0" in value:
            raise ValueError("a zero byte found, text without one is allowed")
    elif isinstance(value, list):
        for item in value:
            _require_whole(item)
    elif isinstance(value, dict):
        for name, item in value.items():
            _require_whole(name)
            _require_whole(item)
    return value


WHOLE = AfterValidator(_require_whole)
"""For texts, and for lists and tables of them: no zero byte, which PostgreSQL cannot store."""


class Request(BaseModel):
    """What one person asked for, once.

    Attributes:
        machine: What it is about; None for actions about the plant as a whole.
        values: See `Values`; each action's own module checks them.
        came_from: The address of the browser or program, as far as the dashboard can see it.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    version: Literal[1] = 1
    request_id: Annotated[str, Field(pattern=r"^[0-9a-f]{32}$")]
    action: Action
    actor: Annotated[str, Field(min_length=1, max_length=64), WHOLE]
    role: Role
    machine: Name | None = None
    point: PointId | None = None
    case_id: int | None = None
    note: Annotated[str, Field(max_length=2000), WHOLE] = ""
    label: Annotated[str, Field(max_length=32), WHOLE] = ""
    values: Annotated[Values, WHOLE] = {}
    came_from: Annotated[str, Field(max_length=64), WHOLE] = ""
    asked_at_us: int


def evidence_reason(actor: str, note: str) -> str:
    """What a gateway writes on evidence that somebody asked for; by it the page knows that it has come."""
    return f"asked for by {actor}: {note or 'no reason given'}"
