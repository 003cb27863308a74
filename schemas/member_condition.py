"""This file knows what a member of the learning says of its own condition beside an answer; a site chooses by it."""

import math
from dataclasses import asdict, dataclass, fields

from flwr.app import Message, MetricRecord, MetricRecordValues

RECORD = "condition"


@dataclass(frozen=True, slots=True)
class MemberCondition:
    """How a member stands, as it says; None where it does not know.

    Attributes:
        on_mains: 1 on mains, 0 on battery.
        battery_share: Charge, 0 to 1.
        link_share: Of the last minutes, how much the connection stood, 0 to 1.
        cpu_load: Runnable work over processors; 1 is fully used.
        newest_row_age_s: Age of its newest healthy row.
        rows: Healthy rows it could learn from.
    """

    on_mains: float | None = None
    battery_share: float | None = None
    link_share: float | None = None
    cpu_load: float | None = None
    newest_row_age_s: float | None = None
    rows: float | None = None

    def record(self) -> MetricRecord:
        """Write it as a record beside an answer."""
        known: dict[str, MetricRecordValues] = {
            name: float(value) for name, value in asdict(self).items() if value is not None
        }
        return MetricRecord(known)

    @classmethod
    def read(cls, message: Message) -> "MemberCondition":
        """Read what a message says; what is missing or no finite number from 0 up is not known."""
        if message.has_error() or RECORD not in message.content.metric_records:
            return cls()
        said = message.content.metric_records[RECORD]
        return cls(**{each.name: _number(said.get(each.name)) for each in fields(cls)})


def _number(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if math.isfinite(value) and value >= 0 else None
