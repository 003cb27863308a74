"""This file knows who is told of which cases and when: a route of notifications, and when its quiet hours end."""

import re
from datetime import UTC, datetime, time, timedelta
from typing import Annotated, Self
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from schemas.names import Name

WEEKDAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
MAX_ROUTES = 100
_CLOCK = re.compile(r"([01]\d|2[0-3]):[0-5]\d")


class Route(BaseModel):
    """One row of the table of routes.

    Attributes:
        name: Who or what it is for, in words.
        channel: Where to: a channel of the aggregator's settings, which hold its address.
        after_min: Told only when nobody has acknowledged for so long; 0 tells at once.
        quiet_from: Local time at which quiet hours begin; both empty for none, both equal for the whole day.
        quiet_days: Days on which quiet hours begin.
        quiet_holds_danger: Whether danger waits too.
        zone: Whose local time.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: Annotated[str, Field(min_length=1, max_length=64)]
    channel: Name
    danger: bool = True
    alert: bool = True
    notice: bool = False
    after_min: Annotated[int, Field(ge=0, le=10_080)] = 0
    quiet_from: str = ""
    quiet_to: str = ""
    quiet_days: str = " ".join(WEEKDAYS)
    quiet_holds_danger: bool = False
    zone: str = "UTC"

    @field_validator("quiet_from", "quiet_to")
    @classmethod
    def _a_time_of_day(cls, value: str) -> str:
        if value and not _CLOCK.fullmatch(value):
            raise ValueError(f"{value!r} found, a time of day such as 22:00 expected")
        return value

    @field_validator("quiet_days")
    @classmethod
    def _known_days(cls, value: str) -> str:
        unknown = sorted(set(value.split()) - set(WEEKDAYS))
        if unknown:
            raise ValueError(f"{' '.join(unknown)} found, days of {' '.join(WEEKDAYS)} expected")
        return " ".join(day for day in WEEKDAYS if day in value.split())

    @field_validator("zone")
    @classmethod
    def _known_zone(cls, value: str) -> str:
        try:
            ZoneInfo(value)
        except (ZoneInfoNotFoundError, ValueError, OSError) as error:
            raise ValueError(f"{value!r} found, a time zone such as Europe/Berlin expected") from error
        return value

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if bool(self.quiet_from) != bool(self.quiet_to):
            raise ValueError("quiet hours need both a beginning and an end")
        if not (self.danger or self.alert or self.notice):
            raise ValueError(f"route {self.name!r} has no priority: it would never tell anything")
        return self

    def wants(self, priority: str) -> bool:
        """Whether it tells cases of a priority."""
        wanted: dict[str, bool] = {"danger": self.danger, "alert": self.alert, "notice": self.notice}
        return wanted.get(priority, False)

    def held_until_us(self, at_us: int, priority: str = "") -> int:
        """When something of a time may be told: that time, or the end of the quiet hours it falls into."""
        if not self.quiet_from or (priority == "danger" and not self.quiet_holds_danger):
            return at_us
        at = datetime.fromtimestamp(at_us / 1e6, tz=UTC)
        zone, days = ZoneInfo(self.zone), set(self.quiet_days.split())
        for _ in range(2 * len(WEEKDAYS)):  # quiet hours may follow each other for a week, not for ever
            ends = [end for begin, end in self._periods(at, zone, days) if begin <= at < end]
            if not ends:
                break
            at = max(ends)
        return max(at_us, round(at.timestamp() * 1e6))

    def _periods(self, at: datetime, zone: ZoneInfo, days: set[str]) -> list[tuple[datetime, datetime]]:
        begins, ends = time.fromisoformat(self.quiet_from), time.fromisoformat(self.quiet_to)
        local = at.astimezone(zone).date()
        found = []
        for day in (local - timedelta(days=1), local):
            if WEEKDAYS[day.weekday()] in days:
                last = day if begins < ends else day + timedelta(days=1)
                begin = datetime.combine(day, begins, tzinfo=zone)
                found.append((begin.astimezone(UTC), datetime.combine(last, ends, tzinfo=zone).astimezone(UTC)))
        return found
