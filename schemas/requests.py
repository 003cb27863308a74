"""This file knows what a person can ask for on the dashboard, and how the dashboard vouches for it.

The dashboard writes one sealed row into the table `request`; the aggregator opens the seal, checks what the role
allows, and carries it out. The dashboard changes nothing by itself.
"""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from schemas.names import Name, PointId

REQUEST_TOPIC = "request"
Role = Literal["viewer", "technician", "analyst", "engineer", "admin"]
Action = Literal["acknowledge", "note", "maintenance", "label", "request_evidence", "close"]

ALLOWED: dict[Action, frozenset[Role]] = {
    "acknowledge": frozenset({"technician", "analyst", "engineer", "admin"}),
    "note": frozenset({"technician", "analyst", "engineer", "admin"}),
    "request_evidence": frozenset({"technician", "analyst", "engineer", "admin"}),
    "maintenance": frozenset({"technician", "analyst", "engineer", "admin"}),
    "label": frozenset({"analyst", "engineer", "admin"}),
    "close": frozenset({"analyst", "engineer", "admin"}),
}


class Request(BaseModel):
    """What one person asked for, once."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    version: Literal[1] = 1
    request_id: Annotated[str, Field(pattern=r"^[0-9a-f]{32}$")]
    action: Action
    actor: Annotated[str, Field(min_length=1, max_length=64)]
    role: Role
    machine: Name
    point: PointId | None = None
    case_id: int | None = None
    note: Annotated[str, Field(max_length=2000)] = ""
    label: Annotated[str, Field(max_length=32)] = ""
    asked_at_us: int
